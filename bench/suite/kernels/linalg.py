"""Linear algebra."""

from __future__ import annotations

from typing import Any

from bench.suite.kernels import Outputs, Work, kernel


@kernel(
    family="linalg",
    exercises="a matrix product and its mean; compare conditions default and isa=avx2 as device A and device B",
    shapes="[1000,1000] x [1000,1000]",
    dtypes="float32",
    source="article 'Are TensorFlow results reproducible?' (2025), example 2",
)
def matmul_mean(tf: Any, seed: int) -> Work:  # noqa: ARG001 - seeded through the global generator, as the article does
    """The article's ``matrix_multiply_test``; the whole product is compared beside its mean."""
    a = tf.random.normal((1000, 1000), dtype=tf.float32)
    b = tf.random.normal((1000, 1000), dtype=tf.float32)

    def work() -> Outputs:
        product = tf.matmul(a, b)
        return {"mean": product.numpy().mean(), "product": product}

    return work
