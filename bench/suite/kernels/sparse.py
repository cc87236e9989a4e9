"""Sparse matrices, sparse segments and histograms."""

from __future__ import annotations

import importlib
from typing import Any, Dict, Tuple

import numpy as np

from bench.suite.kernels import Outputs, Work, gradients, has_gpu, integers, kernel, normal, op

Array = np.ndarray[Any, Any]

_BINS = 10


def _sparse(seed: int, rows: int, columns: int, entries: int) -> Tuple[Array, Array]:
    """Return sorted indices and values of a sparse matrix: one entry at a random position in each interval."""
    interval = rows * columns // entries
    flat = np.arange(entries, dtype="int64") * interval + integers(seed, interval, (entries,), salt=1, dtype="int64")
    return np.stack([flat // columns, flat % columns], axis=1), normal(seed, (entries,), salt=2)


def _product_shape(tf: Any) -> Tuple[int, int, int, int]:
    """Return rows and columns of the sparse matrix, columns of the dense matrix, and entries of the sparse matrix."""
    return (2430, 615, 857, 65_779) if has_gpu(tf) else (512, 256, 64, 8192)


def _product_inputs(tf: Any, seed: int) -> Tuple[Array, Array, Array, Array]:
    """Return indices and values of the sparse matrix, the dense matrix, and the upstream gradient."""
    rows, columns, width, entries = _product_shape(tf)
    return (
        *_sparse(seed, rows, columns, entries),
        normal(seed, (columns, width)),
        normal(seed, (rows, width), salt=3),
    )


def _product_reference(seed: int) -> Dict[str, Array]:
    sparse, dense, _ = _dense_product_inputs(seed)
    return {"product": sparse @ dense}


def _product_grad_reference(seed: int) -> Dict[str, Array]:
    sparse, _, upstream = _dense_product_inputs(seed)
    return {"gradient": sparse.T @ upstream}


def _dense_product_inputs(seed: int) -> Tuple[Array, Array, Array]:
    """Return the sparse matrix as a dense one in float64, the dense matrix, and the upstream gradient."""
    tf = importlib.import_module("tensorflow")
    indices, values, dense, upstream = _product_inputs(tf, seed)
    sparse = np.zeros(_product_shape(tf)[:2])
    sparse[indices[:, 0], indices[:, 1]] = values
    return sparse, dense, upstream


_PRODUCT_SHAPES = "[2430,615] with 65779 entries x [615,857] on a GPU, [512,256] with 8192 entries x [256,64] on a CPU"
_PRODUCT_SOURCE = "tensorflow/python/kernel_tests/sparse_ops/sparse_tensor_dense_matmul_op_d9m_test.py"


@kernel(
    exercises="a sparse-dense matrix product",
    shapes=_PRODUCT_SHAPES,
    dtypes="float32, int64",
    source=_PRODUCT_SOURCE,
    reference=_product_reference,
)
def sparse_dense_matmul(tf: Any, seed: int) -> Work:
    """``SparseTensorDenseMatMul``."""
    sparse, dense, _ = _product_tensors(tf, seed)
    return op(tf, lambda sparse, dense: {"product": tf.sparse.sparse_dense_matmul(sparse, dense)}, sparse, dense)


@kernel(
    exercises="the gradient of a sparse-dense matrix product with respect to the dense matrix",
    shapes=_PRODUCT_SHAPES,
    dtypes="float32, int64",
    source=_PRODUCT_SOURCE,
    reference=_product_grad_reference,
)
def sparse_dense_matmul_grad(tf: Any, seed: int) -> Work:
    """``SparseTensorDenseMatMul`` with the sparse matrix transposed."""

    def work(sparse: Any, dense: Any, upstream: Any) -> Outputs:
        return {"gradient": gradients(tf, lambda dense: tf.sparse.sparse_dense_matmul(sparse, dense), dense, upstream)}

    return op(tf, work, *_product_tensors(tf, seed))


def _product_tensors(tf: Any, seed: int) -> Tuple[Any, Any, Any]:
    """Return the sparse matrix, the dense matrix, and the upstream gradient."""
    indices, values, dense, upstream = map(tf.constant, _product_inputs(tf, seed))
    return tf.SparseTensor(indices, values, _product_shape(tf)[:2]), dense, upstream


#: Rows, columns, columns of the dense matrix, entries; with fewer rows, two threads would seldom share the work.
_TALL = (4096, 256, 64, 65_536)


def _tall_reference(seed: int) -> Dict[str, Array]:
    rows, columns, width, entries = _TALL
    indices, values = _sparse(seed, rows, columns, entries)
    sparse = np.zeros((rows, columns))
    sparse[indices[:, 0], indices[:, 1]] = values
    return {"product": sparse.T @ normal(seed, (rows, width), salt=3)}


@kernel(
    exercises="a product of a transposed CSR matrix and a dense matrix: several threads add to the same sum",
    shapes="transposed [4096,256] with 65536 entries x [4096,64]",
    dtypes="float32, int64",
    source="based on tensorflow/core/kernels/sparse/mat_mul_op.cc",
    reference=_tall_reference,
)
def csr_matmul_transpose_a(tf: Any, seed: int) -> Work:
    """``SparseTensorToCSRSparseMatrix`` and ``SparseMatrixMatMul`` with ``transpose_a``."""
    rows, columns, width, entries = _TALL
    indices, values = map(tf.constant, _sparse(seed, rows, columns, entries))
    dense = tf.constant(normal(seed, (rows, width), salt=3))

    def work(indices: Any, values: Any, dense: Any) -> Outputs:
        # made here, because a graph does not know the shape of a CSR matrix that it gets as an argument
        shape = tf.constant([rows, columns], dtype=tf.int64)
        sparse = tf.raw_ops.SparseTensorToCSRSparseMatrix(indices=indices, values=values, dense_shape=shape)
        return {"product": tf.raw_ops.SparseMatrixMatMul(a=sparse, b=dense, transpose_a=True)}

    return op(tf, work, indices, values, dense)


@kernel(
    exercises="sums of the rows of a sparse matrix",
    shapes="[512,256] with 8192 entries",
    dtypes="float32, int64",
    on_host=True,
)
def sparse_reduce_sum(tf: Any, seed: int) -> Work:
    """``SparseReduceSum``, which TensorFlow implements only for CPUs."""
    indices, values = map(tf.constant, _sparse(seed, 512, 256, 8192))
    sparse = tf.SparseTensor(indices, values, (512, 256))
    return op(tf, lambda sparse: {"sums": tf.sparse.reduce_sum(sparse, axis=1)}, sparse)


_SEGMENTS = "data[1000,64], indices[20000] in [0,1000), 500 sorted segments"


@kernel(exercises="sums of gathered rows, with repeated rows", shapes=_SEGMENTS, dtypes="float32, int32")
def sparse_segment_sum(tf: Any, seed: int) -> Work:
    """``SparseSegmentSum``."""
    *inputs, _ = _segment_inputs(tf, seed)
    return op(tf, lambda *inputs: {"sums": tf.sparse.segment_sum(*inputs)}, *inputs)


@kernel(
    exercises="the gradient of sums of gathered rows, with repeated rows", shapes=_SEGMENTS, dtypes="float32, int32"
)
def sparse_segment_sum_grad(tf: Any, seed: int) -> Work:
    """``SparseSegmentSumGrad``."""

    def work(data: Any, indices: Any, segments: Any, upstream: Any) -> Outputs:
        return {"gradient": gradients(tf, lambda data: tf.sparse.segment_sum(data, indices, segments), data, upstream)}

    return op(tf, work, *_segment_inputs(tf, seed))


def _segment_inputs(tf: Any, seed: int) -> Tuple[Any, Any, Any, Any]:
    """Return data, indices, segment ids and upstream gradient."""
    return (
        tf.constant(normal(seed, (1000, 64))),
        tf.constant(integers(seed, 1000, (20_000,), salt=1)),
        tf.constant(np.arange(20_000, dtype="int32") // 40),
        tf.constant(normal(seed, (500, 64), salt=2)),
    )


def _ids(tf: Any, seed: int) -> Array:
    return integers(seed, _BINS, _count(tf))


def _count(tf: Any) -> Tuple[int]:
    return (1_000_000,) if has_gpu(tf) else (100_000,)


@kernel(
    exercises="counts of integers: nothing is rounded, so the order cannot matter",
    shapes="ids in 10 bins: [1000000] on a GPU, [100000] on a CPU",
    dtypes="int32",
    source="based on TensorFlow's error 'Determinism is not yet supported in GPU implementation of Bincount.'",
)
def bincount_int(tf: Any, seed: int) -> Work:
    """``tf.math.bincount`` without weights."""
    ids = tf.constant(_ids(tf, seed))
    return op(tf, lambda ids: {"counts": tf.math.bincount(ids, minlength=_BINS, maxlength=_BINS)}, ids)


def _weighted_reference(seed: int) -> Dict[str, Array]:
    tf = importlib.import_module("tensorflow")
    return {"sums": np.bincount(_ids(tf, seed), weights=normal(seed, _count(tf), salt=1), minlength=_BINS)}


@kernel(
    exercises="sums of float weights by integer bin",
    shapes="ids in 10 bins: [1000000] on a GPU, [100000] on a CPU",
    dtypes="float32, int32",
    source="based on TensorFlow's error 'Determinism is not yet supported in GPU implementation of Bincount.'",
    reference=_weighted_reference,
)
def bincount_weighted(tf: Any, seed: int) -> Work:
    """``tf.math.bincount`` with float weights."""
    ids, weights = tf.constant(_ids(tf, seed)), tf.constant(normal(seed, _count(tf), salt=1))

    def work(ids: Any, weights: Any) -> Outputs:
        return {"sums": tf.math.bincount(ids, weights=weights, minlength=_BINS, maxlength=_BINS)}

    return op(tf, work, ids, weights)


@kernel(
    exercises="counts of floats by bin",
    shapes="values in 100 bins: [1000000] on a GPU, [100000] on a CPU",
    dtypes="float32, int32",
)
def histogram_fixed_width(tf: Any, seed: int) -> Work:
    """``HistogramFixedWidth``."""
    values = tf.constant(normal(seed, _count(tf)))
    return op(tf, lambda values: {"counts": tf.histogram_fixed_width(values, [-3.0, 3.0], nbins=100)}, values)
