"""Linear algebra: matrix products of several dtypes and shapes, Fourier transforms and factorisations."""

from __future__ import annotations

import importlib
from typing import Any, Dict, Tuple

import numpy as np

from bench.suite.kernels import Outputs, Work, has_gpu, integers, kernel, normal, op

Array = np.ndarray[Any, Any]

_HALF = ((512, 2048), (2048, 512))
_TALL = ((8, 100_000), (100_000, 8))
_BATCH = (32, 64, 64)
_LARGE = np.float32(3e19)
_LARGE_SOURCE = "tensorflow/tensorflow#118380 (2026)"
_CONTRACTION = "abcd,cdef->abef"
_CONTRACTED = ((16, 16, 16, 16), (16, 16, 8, 8))


@kernel(
    exercises="a matrix product, and its mean by NumPy, so that NumPy's release affects it; the variations default and "
    "isa=avx2 act as two different devices",
    shapes="[1000,1000] x [1000,1000]",
    source="article 'Are TensorFlow results reproducible?' (2025), example 2",
)
def matmul_mean(tf: Any, seed: int) -> Work:  # noqa: ARG001 - uses the global seed, as the article does
    """The article's ``matrix_multiply_test``, eager; compares the whole product in addition to its mean."""
    a, b = _article_matrices(tf)

    def work() -> Outputs:
        product = tf.matmul(a, b)
        return {"mean": product.numpy().mean(), "product": product}

    return work


@kernel(
    exercises="the matrix product of matmul_mean, and its mean by TensorFlow",
    shapes="[1000,1000] x [1000,1000]",
    source="article 'Are TensorFlow results reproducible?' (2025), example 2, without its arithmetic in NumPy",
)
def matmul_reduce_mean(tf: Any, seed: int) -> Work:  # noqa: ARG001 - uses the global seed, as the article does
    """``MatMul`` and ``Mean``."""

    def work(a: Any, b: Any) -> Outputs:
        product = tf.matmul(a, b)
        return {"mean": tf.reduce_mean(product), "product": product}

    return op(tf, work, *_article_matrices(tf))


def _article_matrices(tf: Any) -> Tuple[Any, Any]:
    return tf.random.normal((1000, 1000), dtype=tf.float32), tf.random.normal((1000, 1000), dtype=tf.float32)


def _product(tf: Any, a: Array, b: Array, *, xla: bool = False) -> Work:
    return op(tf, lambda a, b: {"product": tf.matmul(a, b)}, tf.constant(a), tf.constant(b), xla=xla)


def _square(tf: Any) -> Tuple[int, int]:
    side = 4096 if has_gpu(tf) else 768
    return side, side


def _square_reference(seed: int) -> Dict[str, Array]:
    shape = _square(importlib.import_module("tensorflow"))
    return {"product": np.matmul(*_pair(seed, shape, shape), dtype="float64")}


@kernel(
    exercises="a large matrix product",
    shapes="[4096,4096] x [4096,4096] on a GPU, [768,768] x [768,768] on a CPU",
    source="openxla/xla#6796",
    reference=_square_reference,
)
def matmul_f32(tf: Any, seed: int) -> Work:
    """``MatMul``."""
    return _product(tf, *_pair(seed, _square(tf), _square(tf)))


@kernel(
    exercises="a large matrix product compiled by XLA, which may choose a different algorithm in each process",
    shapes="[4096,4096] x [4096,4096] on a GPU, [768,768] x [768,768] on a CPU",
    source="openxla/xla#6796",
    heavy=True,
    reference=_square_reference,
)
def matmul_f32_xla(tf: Any, seed: int) -> Work:
    """The product of ``matmul_f32`` in a ``tf.function(jit_compile=True)``."""
    return _product(tf, *_pair(seed, _square(tf), _square(tf)), xla=True)


@kernel(
    exercises="a matrix product in double precision, whose bits depend on the number of threads",
    shapes="[2048,2048] x [2048,2048] on a GPU, [768,768] x [768,768] on a CPU",
    dtypes="float64",
)
def matmul_f64(tf: Any, seed: int) -> Work:
    """``MatMul``."""
    shape = (2048, 2048) if has_gpu(tf) else (768, 768)
    return _product(tf, *_pair(seed, shape, shape, dtype="float64"))


def _bfloat16_reference(seed: int) -> Dict[str, Array]:
    return {"product": np.matmul(*map(_to_bfloat16, _pair(seed, *_HALF)), dtype="float64")}


@kernel(
    exercises="a matrix product in bfloat16; the variation isa=avx2 can crash the process",
    shapes="[512,2048] x [2048,512]",
    dtypes="bfloat16",
    reference=_bfloat16_reference,
)
def matmul_bf16(tf: Any, seed: int) -> Work:
    """``MatMul``; NumPy truncates the inputs to bfloat16, so that TensorFlow need not round them."""
    a, b = (tf.cast(tf.constant(_to_bfloat16(matrix)), tf.bfloat16) for matrix in _pair(seed, *_HALF))
    return op(tf, lambda a, b: {"product": tf.matmul(a, b)}, a, b)


def _float16(tf: Any, seed: int) -> Tuple[Array, Array]:
    return _pair(seed, *(_HALF if has_gpu(tf) else ((64, 512), (512, 64))), dtype="float16")


def _float16_reference(seed: int) -> Dict[str, Array]:
    return {"product": np.matmul(*_float16(importlib.import_module("tensorflow"), seed), dtype="float64")}


@kernel(
    exercises="a matrix product in float16",
    shapes="[512,2048] x [2048,512] on a GPU, [64,512] x [512,64] on a CPU, where it can take a second",
    dtypes="float16",
    reference=_float16_reference,
)
def matmul_f16(tf: Any, seed: int) -> Work:
    """``MatMul``."""
    return _product(tf, *_float16(tf, seed))


def _tall_reference(seed: int) -> Dict[str, Array]:
    return {"product": np.matmul(*_pair(seed, *_TALL), dtype="float64")}


@kernel(
    exercises="a product of a wide and a tall matrix, whose long inner sum favours split-K algorithms",
    shapes="[8,100000] x [100000,8]",
    reference=_tall_reference,
)
def matmul_splitk(tf: Any, seed: int) -> Work:
    """``MatMul`` with 64 outputs, each a sum of 100000 products."""
    return _product(tf, *_pair(seed, *_TALL))


def _batch_reference(seed: int) -> Dict[str, Array]:
    return {"product": np.matmul(*_pair(seed, _BATCH, _BATCH), dtype="float64")}


@kernel(exercises="a batch of small matrix products", shapes="[32,64,64] x [32,64,64]", reference=_batch_reference)
def matmul_batched(tf: Any, seed: int) -> Work:
    """``BatchMatMulV2``."""
    return _product(tf, *_pair(seed, _BATCH, _BATCH))


def _contraction_reference(seed: int) -> Dict[str, Array]:
    a, b = _pair(seed, *_CONTRACTED)
    return {"contraction": np.einsum(_CONTRACTION, a.astype("float64"), b.astype("float64"), optimize=True)}


@kernel(
    exercises="a contraction over two axes at once",
    shapes="abcd[16,16,16,16], cdef[16,16,8,8] -> abef",
    reference=_contraction_reference,
)
def einsum_contract(tf: Any, seed: int) -> Work:
    """``Einsum``: reshapes and a ``MatMul`` in one op."""
    a, b = map(tf.constant, _pair(seed, *_CONTRACTED))
    return op(tf, lambda a, b: {"contraction": tf.einsum(_CONTRACTION, a, b)}, a, b)


@kernel(
    exercises="a batch of two-dimensional Fourier transforms",
    shapes="[16,256,256] on a GPU, [4,128,128] on a CPU",
    dtypes="complex64",
)
def fft2d(tf: Any, seed: int) -> Work:
    """``FFT2D``."""
    shape = (16, 256, 256) if has_gpu(tf) else (4, 128, 128)
    x = tf.complex(*map(tf.constant, _pair(seed, shape, shape)))
    return op(tf, lambda x: {"transform": tf.signal.fft2d(x)}, x)


def _matrices(tf: Any, seed: int) -> Array:
    """Return square matrices for the factorisations; smaller on a CPU, where these are slow."""
    return normal(seed, (4, 128, 128) if has_gpu(tf) else (4, 64, 64))


@kernel(
    exercises="singular value decompositions",
    shapes="[4,128,128] on a GPU, [4,64,64] on a CPU",
    source="TensorFlow's error 'Determinism is not yet supported for Svd.' (up to 2.10)",
)
def svd(tf: Any, seed: int) -> Work:
    """``Svd`` with left and right singular vectors."""
    x = tf.constant(_matrices(tf, seed))
    return op(tf, lambda x: dict(zip(("values", "left", "right"), tf.linalg.svd(x))), x)


@kernel(
    exercises="singular value decompositions of single columns",
    shapes="[64,1024,1]",
    source="TensorFlow's error 'Determinism is not yet supported for SVD of matrices with 1 column.' (from 2.12)",
)
def svd_one_column(tf: Any, seed: int) -> Work:
    """``Svd``; the right singular vector is only a sign, so it is not an output."""
    x = tf.constant(normal(seed, (64, 1024, 1)))
    return op(tf, lambda x: dict(zip(("values", "left"), tf.linalg.svd(x))), x)


@kernel(exercises="Cholesky factorisations", shapes="[4,128,128] on a GPU, [4,64,64] on a CPU")
def cholesky(tf: Any, seed: int) -> Work:
    """``Cholesky`` of symmetric matrices with a dominant diagonal."""
    x = _matrices(tf, seed)
    # made by element-wise sums, because the bits of a product x @ x.T would depend on the machine
    x = tf.constant((x + x.swapaxes(1, 2)) / 2 + 24 * np.eye(x.shape[-1], dtype="float32"))
    return op(tf, lambda x: {"factor": tf.linalg.cholesky(x)}, x)


@kernel(exercises="QR factorisations", shapes="[4,128,128] on a GPU, [4,64,64] on a CPU")
def qr(tf: Any, seed: int) -> Work:
    """``Qr``."""
    x = tf.constant(_matrices(tf, seed))
    return op(tf, lambda x: dict(zip(("q", "r"), tf.linalg.qr(x))), x)


@kernel(exercises="matrix inverses", shapes="[4,128,128] on a GPU, [4,64,64] on a CPU")
def inverse(tf: Any, seed: int) -> Work:
    """``MatrixInverse``."""
    x = tf.constant(_matrices(tf, seed))
    return op(tf, lambda x: {"inverse": tf.linalg.inv(x)}, x)


def _large_matrices(seed: int) -> Array:
    """Return matrices [[v, v], [v, v]] with v near 3e19, whose square exceeds the largest float32."""
    return np.ones((64, 2, 2), "float32") * _LARGE * (1 + integers(seed, 100, (64, 1, 1)).astype("float32") / 1000)


def _large_reference(seed: int) -> Dict[str, Array]:
    values = _large_matrices(seed)[:, 0, 0].astype("float64")
    return {"eigenvalues": np.stack([0 * values, 2 * values], axis=1)}


@kernel(
    exercises="eigenvalues of symmetric matrices of large numbers",
    shapes="[64,2,2]",
    source=_LARGE_SOURCE,
    reference=_large_reference,
)
def eigvalsh_large(tf: Any, seed: int) -> Work:
    """``SelfAdjointEigV2``, without eigenvectors."""
    return op(tf, lambda x: {"eigenvalues": tf.linalg.eigvalsh(x)}, tf.constant(_large_matrices(seed)))


@kernel(
    exercises="eigenvalues of symmetric matrices of large numbers, compiled by XLA, which returns wrong ones",
    shapes="[64,2,2]",
    source=_LARGE_SOURCE,
    heavy=True,
    reference=_large_reference,
)
def eigvalsh_large_xla(tf: Any, seed: int) -> Work:
    """The eigenvalues of ``eigvalsh_large`` in a ``tf.function(jit_compile=True)``."""
    return op(tf, lambda x: {"eigenvalues": tf.linalg.eigvalsh(x)}, tf.constant(_large_matrices(seed)), xla=True)


def _pair(seed: int, a: Tuple[int, ...], b: Tuple[int, ...], dtype: str = "float32") -> Tuple[Array, Array]:
    return normal(seed, a, dtype=dtype), normal(seed, b, salt=1, dtype=dtype)


def _to_bfloat16(array: Array) -> Array:
    """Truncate float32 to bfloat16 precision, the upper half of its bits."""
    return (array.view("uint32") & np.uint32(0xFFFF0000)).view("float32")
