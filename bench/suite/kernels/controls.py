"""Planted controls: they prove that the instrument can see a difference, and invents none.

A column in which ``control_flicker`` looks the same, or ``control_integer`` does not, is blind. The rarer
flickers show how often a difference must happen for that many samples to see it.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from bench.suite.kernels import Work, integers, kernel, normal

_BUFFER = np.empty(1024, dtype=np.float32)


@kernel(
    family="controls",
    exercises="must differ: one addend comes from the operating system's entropy",
    shapes="[1024]",
    dtypes="float32",
    source="own",
    call_again=False,
    control="must-differ",
    rate=1.0,
    on_host=True,
)
def control_flicker(tf: Any, seed: int) -> Work:  # noqa: ARG001
    """A sum that nobody can repeat."""
    return _flicker(seed, 1.0)


@kernel(
    family="controls",
    exercises="must differ in half of the samples: there one addend comes from the operating system's entropy",
    shapes="[1024]",
    dtypes="float32",
    source="own",
    call_again=False,
    control="must-differ",
    rate=0.5,
    on_host=True,
)
def control_flicker_p50(tf: Any, seed: int) -> Work:  # noqa: ARG001
    """``control_flicker`` with probability 0.5, else the plain value."""
    return _flicker(seed, 0.5)


@kernel(
    family="controls",
    exercises="must differ in one of ten samples: there one addend comes from the operating system's entropy",
    shapes="[1024]",
    dtypes="float32",
    source="own",
    call_again=False,
    control="must-differ",
    rate=0.1,
    on_host=True,
)
def control_flicker_p10(tf: Any, seed: int) -> Work:  # noqa: ARG001
    """``control_flicker`` with probability 0.1, else the plain value."""
    return _flicker(seed, 0.1)


@kernel(
    family="controls",
    exercises="must differ in one of fifty samples: there one addend comes from the operating system's entropy",
    shapes="[1024]",
    dtypes="float32",
    source="own",
    call_again=False,
    control="must-differ",
    rate=0.02,
    on_host=True,
)
def control_flicker_p02(tf: Any, seed: int) -> Work:  # noqa: ARG001
    """``control_flicker`` with probability 0.02, else the plain value."""
    return _flicker(seed, 0.02)


@kernel(
    family="controls",
    exercises="must not differ: integer arithmetic has no rounding, whatever its order",
    shapes="[1000000]",
    dtypes="int64",
    source="own",
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
    family="controls",
    exercises="must not differ: float additions one after another, so nobody may choose their order",
    shapes="[32,1024], summed over the first axis",
    dtypes="float32",
    source="own",
    control="must-not-differ",
    on_host=True,
)
def control_fixed_float(tf: Any, seed: int) -> Work:
    """A chain of 31 element-wise additions: no reduction, no product to fuse, so IEEE 754 fixes every bit."""
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
    """The plain value, plus with probability ``rate`` an addend between 1 and 256 for each element.

    At least 1, so the sum is never the plain value; 1024 random bytes, so no two addends are the same.
    """
    base = normal(seed, (1024,))
    # of the 2**32 numbers that four random bytes make, those below the threshold flicker: for rate 1 all of them
    threshold = round(rate * 2**32)

    def work() -> Any:
        flickers = int.from_bytes(os.urandom(4), "little") < threshold
        addend = np.frombuffer(os.urandom(1024), dtype=np.uint8) + np.float32(1) if flickers else np.float32(0)
        # one array for ever, as a kernel of a user's own may do: whoever forgets to copy it sees no flicker
        np.add(base, addend, out=_BUFFER)
        return {"sum": _BUFFER}

    return work
