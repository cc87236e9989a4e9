"""Positive and negative controls: they prove that the measurement detects differences and reports no false ones.

If ``control_flicker`` does not differ, or ``control_integer`` does, the results of the column are marked
``control-failed``. The controls that differ less often show how rare a difference the samples can still detect.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from bench.suite.kernels import Work, integers, kernel, normal

_BUFFER = np.empty(1024, dtype=np.float32)


@kernel(
    exercises="must differ in every sample: it adds random numbers from the operating system",
    shapes="[1024]",
    call_again=False,
    control="must-differ",
    rate=1.0,
    on_host=True,
)
def control_flicker(tf: Any, seed: int) -> Work:  # noqa: ARG001
    """A sum that cannot be reproduced."""
    return _flicker(seed, 1.0)


@kernel(
    exercises="must differ in half of the samples: it adds random numbers from the operating system to these",
    shapes="[1024]",
    call_again=False,
    control="must-differ",
    rate=0.5,
    on_host=True,
)
def control_flicker_p50(tf: Any, seed: int) -> Work:  # noqa: ARG001
    """``control_flicker`` with probability 0.5, otherwise the unmodified value."""
    return _flicker(seed, 0.5)


@kernel(
    exercises="must differ in 1 of 10 samples: it adds random numbers from the operating system to these",
    shapes="[1024]",
    call_again=False,
    control="must-differ",
    rate=0.1,
    on_host=True,
)
def control_flicker_p10(tf: Any, seed: int) -> Work:  # noqa: ARG001
    """``control_flicker`` with probability 0.1, otherwise the unmodified value."""
    return _flicker(seed, 0.1)


@kernel(
    exercises="must differ in 1 of 50 samples: it adds random numbers from the operating system to these",
    shapes="[1024]",
    call_again=False,
    control="must-differ",
    rate=0.02,
    on_host=True,
)
def control_flicker_p02(tf: Any, seed: int) -> Work:  # noqa: ARG001
    """``control_flicker`` with probability 0.02, otherwise the unmodified value."""
    return _flicker(seed, 0.02)


@kernel(
    exercises="must not differ: integer arithmetic does not round, so its order does not matter",
    shapes="[1000000]",
    dtypes="int64",
    control="must-not-differ",
    on_host=True,
)
def control_integer(tf: Any, seed: int) -> Work:
    """Sum and maximum of a million integers."""
    with tf.device("/CPU:0"):
        x = tf.constant(integers(seed, 2**32, (1_000_000,), dtype="int64") - 2**31)

    def work() -> Any:
        with tf.device("/CPU:0"):
            return {"sum": tf.reduce_sum(x), "maximum": tf.reduce_max(x)}

    return work


@kernel(
    exercises="must not differ: consecutive float additions, whose order is fixed",
    shapes="[32,1024], summed over the first axis",
    control="must-not-differ",
    on_host=True,
)
def control_fixed_float(tf: Any, seed: int) -> Work:
    """A chain of 31 element-wise additions. Without reductions and fused products, IEEE 754 determines every bit."""
    with tf.device("/CPU:0"):
        rows = [tf.constant(row) for row in normal(seed, (32, 1024))]

    def work() -> Any:
        with tf.device("/CPU:0"):
            total = rows[0]
            for row in rows[1:]:
                total = total + row
        return {"sum": total}

    return work


def _flicker(seed: int, rate: float) -> Work:
    """Return fixed values; with probability ``rate``, add a random number between 1 and 256 to each element.

    It is at least 1, so that the sum always differs from the fixed values, and is drawn from 1024 random bytes, so that
    no two sums are equal.
    """
    base = normal(seed, (1024,))
    # four random bytes below this threshold select a sample that differs; for rate 1, all of them are below
    threshold = round(rate * 2**32)

    def work() -> Any:
        flickers = int.from_bytes(os.urandom(4), "little") < threshold
        addend = np.frombuffer(os.urandom(1024), dtype=np.uint8) + np.float32(1) if flickers else np.float32(0)
        # reuse one buffer, as custom kernels may do: a measurement that does not copy it would see no difference
        np.add(base, addend, out=_BUFFER)
        return {"sum": _BUFFER}

    return work
