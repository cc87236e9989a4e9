"""Segment sums, gradients of gathers, and scatters: many updates of the same address."""

from __future__ import annotations

import importlib
from typing import Any, Callable, Dict, Tuple

import numpy as np

from bench.suite.kernels import Outputs, Work, gradients, has_gpu, integers, kernel, normal, op

Array = np.ndarray[Any, Any]

_SEGMENTS = 4
_COLLISIONS = 100_000
_BINS = (16, 8)
_VARIABLE = (1000, 64)


def _unsorted(tf: Any, seed: int) -> Tuple[Array, Array]:
    shape = (30, 256, 256) if has_gpu(tf) else (30, 64, 64)
    return normal(seed, shape), integers(seed, _SEGMENTS, shape, salt=1)


def _unsorted_reference(seed: int) -> Dict[str, Array]:
    data, ids = _unsorted(importlib.import_module("tensorflow"), seed)
    return {"sums": np.bincount(ids.ravel(), weights=data.ravel(), minlength=_SEGMENTS)}


@kernel(
    exercises="up to two million float additions into four sums",
    shapes="data and ids in [0,4): [30,256,256] on a GPU, [30,64,64] on a CPU; data[64,2], ids[64] in [0,64)",
    dtypes="float32, int32",
    source="tensorflow/tensorflow#39751; NVIDIA framework-reproducibility, test of unsorted_segment_sum",
    gpu_control=True,
    reference=_unsorted_reference,
)
def unsorted_segment_sum(tf: Any, seed: int) -> Work:
    """``UnsortedSegmentSum``: many values into few sums, and few values into many sums."""
    data, ids = map(tf.constant, _unsorted(tf, seed))
    few, scattered = tf.constant(normal(seed, (64, 2), salt=2)), tf.constant(integers(seed, 64, (64,), salt=3))

    def work(data: Any, ids: Any, few: Any, scattered: Any) -> Outputs:
        return {
            "sums": tf.math.unsorted_segment_sum(data, ids, _SEGMENTS),
            "small": tf.math.unsorted_segment_sum(few, scattered, 64),
        }

    return op(tf, work, data, ids, few, scattered)


@kernel(
    exercises="up to two million float additions into four sums, compiled by XLA",
    shapes="data and ids in [0,4): [30,256,256] on a GPU, [30,64,64] on a CPU",
    dtypes="float32, int32",
    source="tensorflow/tensorflow#39751",
    heavy=True,
    reference=_unsorted_reference,
)
def unsorted_segment_sum_xla(tf: Any, seed: int) -> Work:
    """The sums of ``unsorted_segment_sum`` in a ``tf.function(jit_compile=True)``, which uses XLA's scatter."""
    data, ids = map(tf.constant, _unsorted(tf, seed))
    return op(tf, lambda data, ids: {"sums": tf.math.unsorted_segment_sum(data, ids, _SEGMENTS)}, data, ids, xla=True)


def _scatter(seed: int) -> Dict[str, Tuple[Array, Array, Tuple[int, ...]]]:
    """Return indices, updates and shape of two scatters: all updates into one address, and rows into a few."""
    return {
        "one": (np.zeros((_COLLISIONS, 1), dtype="int32"), normal(seed, (_COLLISIONS,)), (1,)),
        "few": (
            integers(seed, _BINS[0], (_COLLISIONS, 1), salt=1),
            normal(seed, (_COLLISIONS, _BINS[1]), salt=2),
            _BINS,
        ),
    }


def _scatter_reference(seed: int) -> Dict[str, Array]:
    sums = {}
    for name, (indices, updates, shape) in _scatter(seed).items():
        sums[name] = np.zeros(shape)
        np.add.at(sums[name], indices[:, 0], updates)
    return sums


def _scatter_work(tf: Any, seed: int, scatter: Callable[[Any, Any, Any], Any], *, xla: bool = False) -> Work:
    scatters = _scatter(seed)
    inputs = {name: (tf.constant(indices), tf.constant(updates)) for name, (indices, updates, _) in scatters.items()}

    def work(inputs: Any) -> Outputs:
        return {name: scatter(indices, updates, scatters[name][2]) for name, (indices, updates) in inputs.items()}

    return op(tf, work, inputs, xla=xla)


@kernel(
    exercises="a scatter of 100000 updates into one address, and into 16",
    shapes="indices zeros[100000,1] -> [1]; updates[100000,8] -> [16,8]",
    dtypes="float32, int32",
    source="tensorflow/python/kernel_tests/array_ops/scatter_nd_ops_test.py, ScatterNdDeterminismTest",
    gpu_control=True,
    reference=_scatter_reference,
)
def scatter_nd(tf: Any, seed: int) -> Work:
    """``ScatterNd``."""
    return _scatter_work(tf, seed, tf.scatter_nd)


@kernel(
    exercises="the scatters of scatter_nd, compiled by XLA",
    shapes="indices zeros[100000,1] -> [1]; updates[100000,8] -> [16,8]",
    dtypes="float32, int32",
    source="tensorflow/python/kernel_tests/array_ops/scatter_nd_ops_test.py, ScatterNdDeterminismTest",
    heavy=True,
    reference=_scatter_reference,
)
def scatter_nd_xla(tf: Any, seed: int) -> Work:
    """``ScatterNd`` in a ``tf.function(jit_compile=True)``, which uses XLA's scatter."""
    return _scatter_work(tf, seed, tf.scatter_nd, xla=True)


@kernel(
    exercises="a scatter added to a tensor: 100000 updates into one address, and into 16",
    shapes="indices zeros[100000,1] -> [1]; updates[100000,8] -> [16,8]",
    dtypes="float32, int32",
    source="tensorflow/python/kernel_tests/array_ops/scatter_nd_ops_test.py, ScatterNdDeterminismTest",
    gpu_control=True,
    reference=_scatter_reference,
)
def tensor_scatter_nd_add(tf: Any, seed: int) -> Work:
    """``TensorScatterAdd`` into zeros."""
    return _scatter_work(
        tf, seed, lambda indices, updates, shape: tf.tensor_scatter_nd_add(tf.zeros(shape), indices, updates)
    )


@kernel(
    exercises="the dense gradient of a gather of 32768 rows, 50 of them distinct",
    shapes="table[1000,64], ids[64,512] in [0,50)",
    dtypes="float32, int32",
    source="NVIDIA/framework-reproducibility, doc/d9m/tensorflow_status.md: 'slice index more than twice'",
)
def gather_grad(tf: Any, seed: int) -> Work:
    """Converts ``IndexedSlices`` to a dense tensor by ``UnsortedSegmentSum``."""
    table = tf.constant(normal(seed, _VARIABLE))
    ids = tf.constant(integers(seed, 50, (64, 512), salt=1))
    upstream = tf.constant(normal(seed, (64, 512, 64), salt=2))

    def work(table: Any, ids: Any, upstream: Any) -> Outputs:
        slices = gradients(tf, lambda table: tf.gather(table, ids), table, upstream)
        return {"gradient": tf.convert_to_tensor(slices)}

    return op(tf, work, table, ids, upstream)


def _sorted(seed: int) -> Dict[str, Tuple[Array, Array]]:
    """Return data and sorted ids of 32 segments: the shape of NVIDIA's test, and a larger one."""
    return {
        "small": (normal(seed, (256, 8)), np.arange(256, dtype="int32") // 8),
        "large": (normal(seed, (200_000, 8), salt=1), np.arange(200_000, dtype="int32") // 6250),
    }


def _sorted_reference(seed: int) -> Dict[str, Array]:
    return {name: data.reshape(32, -1, 8).sum(axis=1, dtype="float64") for name, (data, _) in _sorted(seed).items()}


@kernel(
    exercises="sums of rows by sorted segment ids",
    shapes="data[256,8] and [200000,8], 32 ids",
    dtypes="float32, int32",
    source="NVIDIA/framework-reproducibility, test_segment_sum_d9m.py; with an additional large shape",
    reference=_sorted_reference,
)
def segment_sum(tf: Any, seed: int) -> Work:
    """``SegmentSum``, a small and a large one."""
    arguments = {name: tuple(map(tf.constant, inputs)) for name, inputs in _sorted(seed).items()}
    return op(tf, lambda inputs: {name: tf.math.segment_sum(*both) for name, both in inputs.items()}, arguments)


@kernel(exercises="means of rows by sorted segment ids", shapes="data[200000,8], 32 ids", dtypes="float32, int32")
def segment_mean(tf: Any, seed: int) -> Work:
    """``SegmentMean``."""
    data, ids = map(tf.constant, _sorted(seed)["large"])
    return op(tf, lambda data, ids: {"means": tf.math.segment_mean(data, ids)}, data, ids)


@kernel(
    exercises="the gradient of means of rows by sorted segment ids",
    shapes="data[200000,8], 32 ids",
    dtypes="float32, int32",
)
def segment_mean_grad(tf: Any, seed: int) -> Work:
    """The gradient of ``SegmentMean`` counts the rows by ``SegmentSum`` and gathers."""
    data, ids = map(tf.constant, _sorted(seed)["large"])
    upstream = tf.constant(normal(seed, (32, 8), salt=2))

    def work(data: Any, ids: Any, upstream: Any) -> Outputs:
        return {"gradient": gradients(tf, lambda data: tf.math.segment_mean(data, ids), data, upstream)}

    return op(tf, work, data, ids, upstream)


def _slices(tf: Any, seed: int, count: int) -> Any:
    """Return ``count`` updates for 50 rows of a variable."""
    updates, indices = normal(seed, (count, _VARIABLE[1])), integers(seed, 50, (count,), salt=1)
    return tf.IndexedSlices(tf.constant(updates), tf.constant(indices))


def _variable_work(tf: Any, initial: Any, update: Callable[[Any, Any], Any], slices: Any) -> Work:
    """Return the work of updating a variable that starts from the same values in every call."""
    variable = tf.Variable(initial)

    def work(slices: Any) -> Outputs:
        variable.assign(initial)
        update(variable, slices)
        return {"variable": variable.read_value()}

    return op(tf, work, slices)


@kernel(
    exercises="scatter-add into a resource variable with repeated indices",
    shapes="variable[1000,64], indices[100000] in [0,50), updates[100000,64]",
    dtypes="float32, int32",
    source="TensorFlow's resource-variable scatter; determinism since 2.8 (#52270)",
)
def variable_scatter_add(tf: Any, seed: int) -> Work:
    """``ResourceScatterAdd``."""
    slices = _slices(tf, seed, 100_000)
    return _variable_work(tf, tf.zeros(_VARIABLE), lambda variable, slices: variable.scatter_add(slices), slices)


@kernel(
    exercises="scatter-multiply into a resource variable with repeated indices and factors near 1",
    shapes="variable[1000,64], indices[10000] in [0,50), updates[10000,64]",
    dtypes="float32, int32",
    source="TensorFlow's resource-variable scatter; determinism since 2.8 (#52270)",
)
def variable_scatter_mul(tf: Any, seed: int) -> Work:
    """``ResourceScatterMul``."""
    updates = _slices(tf, seed, 10_000)
    slices = tf.IndexedSlices(1 + 0.01 * updates.values, updates.indices)
    return _variable_work(tf, tf.ones(_VARIABLE), lambda variable, slices: variable.scatter_mul(slices), slices)


@kernel(
    exercises="scatter-maximum into a resource variable: nothing is rounded, so the order cannot matter",
    shapes="variable[1000,64], indices[10000] in [0,50), updates[10000,64]",
    dtypes="float32, int32",
)
def variable_scatter_max(tf: Any, seed: int) -> Work:
    """``ResourceScatterMax``."""
    slices = _slices(tf, seed, 10_000)
    return _variable_work(tf, tf.zeros(_VARIABLE), lambda variable, slices: variable.scatter_max(slices), slices)


@kernel(
    exercises="a sparse optimizer step with repeated rows, a race unless the caller merges them first",
    shapes="variable and accumulator [1000,64], indices[10000] in [0,50), gradients[10000,64]",
    dtypes="float32, int32",
    source="based on SparseApplyAdagrad in tensorflow/core/kernels/training_ops.cc",
)
def resource_sparse_apply_adagrad(tf: Any, seed: int) -> Work:
    """``ResourceSparseApplyAdagradV2``: it distributes the rows over threads and assumes that they are distinct."""
    slices = _slices(tf, seed, 10_000)

    initial = tf.zeros(_VARIABLE), tf.ones(_VARIABLE)
    variable, accumulator = map(tf.Variable, initial)

    def work(gradients: Any, indices: Any) -> Outputs:
        variable.assign(initial[0])
        accumulator.assign(initial[1])
        tf.raw_ops.ResourceSparseApplyAdagradV2(
            var=variable.handle,
            accum=accumulator.handle,
            lr=0.1,
            epsilon=1e-7,
            grad=gradients,
            indices=indices,
        )
        return {"variable": variable.read_value(), "accumulator": accumulator.read_value()}

    return op(tf, work, slices.values, slices.indices)
