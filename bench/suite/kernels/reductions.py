"""Reductions: the result of a parallel float sum depends on its order."""

from __future__ import annotations

import importlib
from typing import Any, Dict, Tuple

import numpy as np

from bench.suite.kernels import Outputs, Work, has_gpu, integers, kernel, normal, op

Array = np.ndarray[Any, Any]

_VECTOR = (10_000_000,)
_TABLE = (512, 1000)


def _sum_reference(seed: int) -> Dict[str, Array]:
    return {"sum": np.sum(normal(seed, _VECTOR), dtype="longdouble").astype("float64")}


@kernel(
    exercises="a long float sum, split over threads",
    shapes="[10000000]",
    source="tensorflow/tensorflow#3103, #6253",
    reference=_sum_reference,
)
def reduce_sum_1d(tf: Any, seed: int) -> Work:
    """``Sum`` of a vector."""
    return op(tf, lambda x: {"sum": tf.reduce_sum(x)}, tf.constant(normal(seed, _VECTOR)))


@kernel(
    exercises="a long float sum, compiled by XLA",
    shapes="[10000000]",
    source="tensorflow/tensorflow#3103, #6253",
    heavy=True,
    reference=_sum_reference,
)
def reduce_sum_1d_xla(tf: Any, seed: int) -> Work:
    """The sum of ``reduce_sum_1d`` in a ``tf.function(jit_compile=True)``."""
    return op(tf, lambda x: {"sum": tf.reduce_sum(x)}, tf.constant(normal(seed, _VECTOR)), xla=True)


def _square(tf: Any) -> Tuple[int, int]:
    side = 4096 if has_gpu(tf) else 1024
    return side, side


def _mean_reference(seed: int) -> Dict[str, Array]:
    x = normal(seed, _square(importlib.import_module("tensorflow")))
    return {"columns": np.mean(x, axis=0, dtype="float64"), "rows": np.mean(x, axis=1, dtype="float64")}


@kernel(
    exercises="means over the outer and over the inner axis of a matrix",
    shapes="[4096,4096] on a GPU, [1024,1024] on a CPU",
    source="tensorflow/tensorflow#3103, #6253",
    reference=_mean_reference,
)
def reduce_mean_axis(tf: Any, seed: int) -> Work:
    """``Mean``, twice."""
    x = tf.constant(normal(seed, _square(tf)))
    return op(tf, lambda x: {"columns": tf.reduce_mean(x, axis=0), "rows": tf.reduce_mean(x, axis=1)}, x)


def _rows(tf: Any) -> Tuple[int, int]:
    return (64, 100_000) if has_gpu(tf) else (64, 10_000)


def _cumsum_reference(seed: int) -> Dict[str, Array]:
    x = normal(seed, _rows(importlib.import_module("tensorflow")))
    return {"sums": np.cumsum(x, axis=1, dtype="float64")}


@kernel(
    exercises="cumulative sums",
    shapes="[64,100000] on a GPU, [64,10000] on a CPU",
    source="tensorflow/core/kernels/scan_ops_gpu.h",
    reference=_cumsum_reference,
)
def cumsum(tf: Any, seed: int) -> Work:
    """``Cumsum`` along the inner axis."""
    x = tf.constant(normal(seed, _rows(tf)))
    return op(tf, lambda x: {"sums": tf.cumsum(x, axis=1)}, x)


def _variance_reference(seed: int) -> Dict[str, Array]:
    return {"variance": np.var(normal(seed, _TABLE), axis=0, dtype="float64")}


@kernel(
    exercises="variances: the mean of squared deviations from a mean",
    shapes="[512,1000]",
    reference=_variance_reference,
)
def reduce_variance(tf: Any, seed: int) -> Work:
    """``tf.math.reduce_variance`` over the outer axis: ``Mean`` twice."""
    x = tf.constant(normal(seed, _TABLE))
    return op(tf, lambda x: {"variance": tf.math.reduce_variance(x, axis=0)}, x)


def _logsumexp_reference(seed: int) -> Dict[str, Array]:
    return {"logsumexp": np.log(np.exp(normal(seed, _TABLE).astype("float64")).sum(axis=1))}


@kernel(exercises="logarithms of sums of exponentials", shapes="[512,1000]", reference=_logsumexp_reference)
def reduce_logsumexp(tf: Any, seed: int) -> Work:
    """``tf.reduce_logsumexp`` over the inner axis: ``Max``, ``Exp``, ``Sum`` and ``Log``."""
    x = tf.constant(normal(seed, _TABLE))
    return op(tf, lambda x: {"logsumexp": tf.reduce_logsumexp(x, axis=1)}, x)


@kernel(exercises="maxima: nothing is rounded, so the order cannot matter", shapes="[512,1000]")
def reduce_max(tf: Any, seed: int) -> Work:
    """``Max`` over the outer axis."""
    x = tf.constant(normal(seed, _TABLE))
    return op(tf, lambda x: {"maxima": tf.reduce_max(x, axis=0)}, x)


def _rows_of_three(seed: int) -> Array:
    """Return rows of three normal numbers, and rows of three equal numbers near 7.5e10."""
    equal = np.float32(7.5e10) * (1 + integers(seed, 100, (32, 1), salt=1).astype("float32") / 1000)
    return np.concatenate([normal(seed, (32, 3)), np.ones((32, 3), "float32") * equal])


def _moments_reference(seed: int) -> Dict[str, Array]:
    x = _rows_of_three(seed).astype("float64")
    return {"mean": x.mean(axis=1), "variance": x.var(axis=1)}


def _moments(tf: Any, x: Any) -> Outputs:
    return dict(zip(("mean", "variance"), tf.nn.moments(x, axes=[1])))


@kernel(
    exercises="mean and variance, also of equal large numbers",
    shapes="[64,3]",
    source="tensorflow/tensorflow#118179 (2026)",
    reference=_moments_reference,
)
def moments_large(tf: Any, seed: int) -> Work:
    """``tf.nn.moments``: the variance of equal numbers is 0."""
    return op(tf, lambda x: _moments(tf, x), tf.constant(_rows_of_three(seed)))


@kernel(
    exercises="mean and variance, also of equal large numbers, for which XLA returns variances above 0",
    shapes="[64,3]",
    source="tensorflow/tensorflow#118179 (2026)",
    heavy=True,
    reference=_moments_reference,
)
def moments_large_xla(tf: Any, seed: int) -> Work:
    """The moments of ``moments_large`` in a ``tf.function(jit_compile=True)``."""
    return op(tf, lambda x: _moments(tf, x), tf.constant(_rows_of_three(seed)), xla=True)
