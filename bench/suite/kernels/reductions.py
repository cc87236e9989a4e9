"""Reductions: the order of a float sum is where parallel bits part."""

from __future__ import annotations

from typing import Any

from bench.suite.kernels import Work, kernel, stream


@kernel(
    family="reductions",
    exercises="one long float sum split over threads",
    shapes="[10000000]",
    dtypes="float32",
    source="tensorflow/tensorflow#3103, #6253",
)
def reduce_sum_1d(tf: Any, seed: int) -> Work:
    """Sum of ten million numbers in [-0.5, 0.5)."""
    x = tf.constant((stream(seed).random_sample(10_000_000) - 0.5).astype("float32"))
    return lambda: {"sum": tf.reduce_sum(x)}
