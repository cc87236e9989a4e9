"""Losses, forward and backward."""

from __future__ import annotations

from typing import Any

from bench.suite.kernels import Outputs, Work, kernel, stream


@kernel(
    family="losses",
    exercises="softmax cross-entropy with integer labels: loss and gradient",
    shapes="logits[1024,1000], labels[1024]",
    dtypes="float32, int32",
    source="tensorflow/python/kernel_tests/sparse_ops/sparse_xent_op_d9m_test.py",
)
def sparse_xent(tf: Any, seed: int) -> Work:
    """``sparse_softmax_cross_entropy_with_logits`` with a random upstream gradient."""
    numbers = stream(seed)
    logits = tf.constant(numbers.standard_normal((1024, 1000)).astype("float32"))
    labels = tf.constant(numbers.randint(0, 1000, 1024).astype("int32"))
    upstream = tf.constant(numbers.standard_normal(1024).astype("float32"))

    def work() -> Outputs:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        return {"loss": loss, "gradient": tape.gradient(loss, logits, output_gradients=upstream)}

    return work
