"""Planted controls: they prove that the instrument can see a difference, and invents none.

A cell in which ``control_flicker`` looks the same, or ``control_integer`` does not, is blind.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from bench.suite.kernels import Work, kernel, stream


@kernel(
    family="controls",
    exercises="must differ: one addend comes from the operating system's entropy",
    shapes="[1024]",
    dtypes="float32",
    source="own",
    call_again=False,
    control="must-differ",
)
def control_flicker(tf: Any, seed: int) -> Work:
    """A sum that nobody can repeat."""
    x = tf.constant(stream(seed).standard_normal(1024).astype("float32"))

    def work() -> Any:
        flicker = np.frombuffer(os.urandom(1024), dtype=np.uint8).astype("float32")
        return {"sum": tf.constant(flicker) + x}

    return work


@kernel(
    family="controls",
    exercises="must not differ: integer arithmetic has no rounding, whatever its order",
    shapes="[1000000]",
    dtypes="int64",
    source="own",
    control="must-not-differ",
)
def control_integer(tf: Any, seed: int) -> Work:
    """Sum and maximum of a million integers."""
    x = tf.constant(stream(seed).randint(-(2**31), 2**31, 1_000_000).astype("int64"))
    return lambda: {"sum": tf.reduce_sum(x), "maximum": tf.reduce_max(x)}
