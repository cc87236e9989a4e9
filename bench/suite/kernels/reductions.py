"""Reductions: the result of a parallel float sum depends on its order."""

from __future__ import annotations

import importlib
from typing import Any, Dict, Tuple

import numpy as np

from bench.suite.kernels import Work, has_gpu, kernel, normal

Array = np.ndarray[Any, Any]

_VECTOR = (10_000_000,)
_TABLE = (512, 1000)


def _sum_reference(seed: int) -> Dict[str, Array]:
    return {"sum": np.sum(normal(seed, _VECTOR), dtype="longdouble").astype("float64")}


@kernel(
    family="reductions",
    exercises="a long float sum, split over threads",
    shapes="[10000000]",
    dtypes="float32",
    source="tensorflow/tensorflow#3103, #6253",
    reference=_sum_reference,
)
def reduce_sum_1d(tf: Any, seed: int) -> Work:
    """``Sum`` of a vector."""
    x = tf.constant(normal(seed, _VECTOR))
    return lambda: {"sum": tf.reduce_sum(x)}


@kernel(
    family="reductions",
    exercises="a long float sum, compiled by XLA",
    shapes="[10000000]",
    dtypes="float32",
    source="tensorflow/tensorflow#3103, #6253",
    heavy=True,
    reference=_sum_reference,
)
def reduce_sum_1d_xla(tf: Any, seed: int) -> Work:
    """The sum of ``reduce_sum_1d`` in a ``tf.function(jit_compile=True)``."""
    x = tf.constant(normal(seed, _VECTOR))
    total = tf.function(tf.reduce_sum, jit_compile=True)
    return lambda: {"sum": total(x)}


def _square(tf: Any) -> Tuple[int, int]:
    side = 4096 if has_gpu(tf) else 1024
    return side, side


def _mean_reference(seed: int) -> Dict[str, Array]:
    x = normal(seed, _square(importlib.import_module("tensorflow")))
    return {"columns": np.mean(x, axis=0, dtype="float64"), "rows": np.mean(x, axis=1, dtype="float64")}


@kernel(
    family="reductions",
    exercises="means over the outer and over the inner axis of a matrix",
    shapes="[4096,4096] on a GPU, [1024,1024] on a CPU",
    dtypes="float32",
    source="tensorflow/tensorflow#3103, #6253",
    reference=_mean_reference,
)
def reduce_mean_axis(tf: Any, seed: int) -> Work:
    """``Mean``, twice."""
    x = tf.constant(normal(seed, _square(tf)))
    return lambda: {"columns": tf.reduce_mean(x, axis=0), "rows": tf.reduce_mean(x, axis=1)}


def _rows(tf: Any) -> Tuple[int, int]:
    return (64, 100_000) if has_gpu(tf) else (64, 10_000)


def _cumsum_reference(seed: int) -> Dict[str, Array]:
    x = normal(seed, _rows(importlib.import_module("tensorflow")))
    return {"sums": np.cumsum(x, axis=1, dtype="float64")}


@kernel(
    family="reductions",
    exercises="cumulative sums",
    shapes="[64,100000] on a GPU, [64,10000] on a CPU",
    dtypes="float32",
    source="tensorflow/core/kernels/scan_ops_gpu.h",
    reference=_cumsum_reference,
)
def cumsum(tf: Any, seed: int) -> Work:
    """``Cumsum`` along the inner axis."""
    x = tf.constant(normal(seed, _rows(tf)))
    return lambda: {"sums": tf.cumsum(x, axis=1)}


def _variance_reference(seed: int) -> Dict[str, Array]:
    return {"variance": np.var(normal(seed, _TABLE), axis=0, dtype="float64")}


@kernel(
    family="reductions",
    exercises="variances: the mean of squared deviations from a mean",
    shapes="[512,1000]",
    dtypes="float32",
    source="tfrepro",
    reference=_variance_reference,
)
def reduce_variance(tf: Any, seed: int) -> Work:
    """``tf.math.reduce_variance`` over the outer axis: ``Mean`` twice."""
    x = tf.constant(normal(seed, _TABLE))
    return lambda: {"variance": tf.math.reduce_variance(x, axis=0)}


def _logsumexp_reference(seed: int) -> Dict[str, Array]:
    return {"logsumexp": np.log(np.exp(normal(seed, _TABLE).astype("float64")).sum(axis=1))}


@kernel(
    family="reductions",
    exercises="logarithms of sums of exponentials",
    shapes="[512,1000]",
    dtypes="float32",
    source="tfrepro",
    reference=_logsumexp_reference,
)
def reduce_logsumexp(tf: Any, seed: int) -> Work:
    """``tf.reduce_logsumexp`` over the inner axis: ``Max``, ``Exp``, ``Sum`` and ``Log``."""
    x = tf.constant(normal(seed, _TABLE))
    return lambda: {"logsumexp": tf.reduce_logsumexp(x, axis=1)}


@kernel(
    family="reductions",
    exercises="maxima: nothing is rounded, so the order cannot matter",
    shapes="[512,1000]",
    dtypes="float32",
    source="tfrepro",
)
def reduce_max(tf: Any, seed: int) -> Work:
    """``Max`` over the outer axis."""
    x = tf.constant(normal(seed, _TABLE))
    return lambda: {"maxima": tf.reduce_max(x, axis=0)}
