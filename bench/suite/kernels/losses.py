"""Loss functions, forward and backward.

TensorFlow computes a softmax or CTC loss and its gradient in one op, so they cannot be timed separately.
"""

from __future__ import annotations

import importlib
from typing import Any, Callable, Dict, Tuple

import numpy as np

from bench.suite.kernels import Outputs, Work, has_gpu, integers, kernel, normal, op

SOFTMAX = "tensorflow/python/kernel_tests/nn_ops/xent_op_d9m_test.py"
SPARSE = "tensorflow/python/kernel_tests/sparse_ops/sparse_xent_op_d9m_test.py"

#: Label smoothing: the fraction of a dense label that is distributed over all classes.
SMOOTHING = 0.1
CLASSES, WIDE_CLASSES = 3000, 20_000
SPARSE_ROWS, SPARSE_CLASSES = 1024, 1000
#: Number of rows without a GPU; with a GPU it is 1024, as in the sources.
ROWS, ROWS_F64, WIDE_ROWS = 128, 64, 16


def softmax_reference(seed: int) -> Dict[str, np.ndarray[Any, Any]]:
    """Return loss and gradient of ``softmax_xent`` in float64."""
    logits, targets, upstream = _dense_inputs(seed, _rows(_tensorflow(), ROWS), CLASSES)
    return _reference(logits, targets.astype("float64"), upstream)


def sparse_reference(seed: int) -> Dict[str, np.ndarray[Any, Any]]:
    """Return loss and gradient of ``sparse_xent`` in float64."""
    logits, classes, upstream = _sparse_inputs(seed, "int32")
    return _reference(logits, np.eye(SPARSE_CLASSES)[classes], upstream)


def wide_reference(seed: int) -> Dict[str, np.ndarray[Any, Any]]:
    """Return the loss of ``softmax_xent_f16_wide`` in float64."""
    rows = _rows(_tensorflow(), WIDE_ROWS)
    logits, targets, upstream = _dense_inputs(seed, rows, WIDE_CLASSES, "float16")
    return {"loss": _reference(logits, targets.astype("float64"), upstream)["loss"]}


@kernel(
    exercises="softmax cross-entropy with dense labels: loss and gradient",
    shapes=f"logits[1024,{CLASSES}] on GPU, [{ROWS},{CLASSES}] on CPU",
    source=SOFTMAX,
    reference=softmax_reference,
)
def softmax_xent(tf: Any, seed: int) -> Work:
    """``softmax_cross_entropy_with_logits`` with a random upstream gradient."""
    return _softmax_xent(tf, *_dense_inputs(seed, _rows(tf, ROWS), CLASSES))


@kernel(
    exercises="softmax cross-entropy with dense labels in double precision: loss and gradient",
    shapes=f"logits[1024,{CLASSES}] on GPU, [{ROWS_F64},{CLASSES}] on CPU",
    dtypes="float64",
    source=SOFTMAX,
)
def softmax_xent_f64(tf: Any, seed: int) -> Work:
    """``softmax_cross_entropy_with_logits`` in float64, with a random upstream gradient."""
    return _softmax_xent(tf, *_dense_inputs(seed, _rows(tf, ROWS_F64), CLASSES, "float64"))


@kernel(
    exercises="softmax cross-entropy over 20,000 classes in half precision: loss",
    shapes=f"logits[1024,{WIDE_CLASSES}] on GPU, [{WIDE_ROWS},{WIDE_CLASSES}] on CPU",
    dtypes="float16",
    source=SOFTMAX,
    reference=wide_reference,
)
def softmax_xent_f16_wide(tf: Any, seed: int) -> Work:
    """``softmax_cross_entropy_with_logits`` in float16, forward only."""
    inputs = _dense_inputs(seed, _rows(tf, WIDE_ROWS), WIDE_CLASSES, "float16")
    logits, targets, _ = (tf.constant(value) for value in inputs)

    def work(logits: Any, targets: Any) -> Outputs:
        return {"loss": tf.nn.softmax_cross_entropy_with_logits(labels=targets, logits=logits)}

    return op(tf, work, logits, targets)


@kernel(
    exercises="softmax cross-entropy with dense labels, compiled by XLA: loss and gradient",
    shapes=f"logits[1024,{CLASSES}] on GPU, [{ROWS},{CLASSES}] on CPU",
    source=SOFTMAX,
    heavy=True,
    reference=softmax_reference,
)
def softmax_xent_xla(tf: Any, seed: int) -> Work:
    """``softmax_cross_entropy_with_logits`` and its gradient as one XLA cluster."""
    inputs = _dense_inputs(seed, _rows(tf, ROWS), CLASSES)
    return _softmax_xent(tf, *inputs, xla=True)


@kernel(
    exercises="softmax cross-entropy with integer labels: loss and gradient",
    shapes=f"logits[{SPARSE_ROWS},{SPARSE_CLASSES}], labels[{SPARSE_ROWS}]",
    dtypes="float32, int32",
    source=SPARSE,
    reference=sparse_reference,
)
def sparse_xent(tf: Any, seed: int) -> Work:
    """``sparse_softmax_cross_entropy_with_logits`` with a random upstream gradient."""
    return _sparse_xent(tf, seed, "int32")


@kernel(
    exercises="softmax cross-entropy with 64-bit integer labels: loss and gradient",
    shapes=f"logits[{SPARSE_ROWS},{SPARSE_CLASSES}], labels[{SPARSE_ROWS}]",
    dtypes="float32, int64",
    source=SPARSE,
    reference=sparse_reference,
)
def sparse_xent_i64(tf: Any, seed: int) -> Work:
    """``sparse_softmax_cross_entropy_with_logits`` with int64 labels and a random upstream gradient."""
    return _sparse_xent(tf, seed, "int64")


@kernel(
    exercises="connectionist temporal classification with dense labels: loss and gradient",
    shapes="classes 10, batch 32, labels 50, frames 100 on GPU; batch 4, labels 5, frames 20 on CPU",
    dtypes="float32, int32",
    source="tensorflow/python/kernel_tests/nn_ops/ctc_loss_op_test.py, CTCLossDeterministicTest",
    heavy=True,
)
def ctc_loss(tf: Any, seed: int) -> Work:
    """``tf.nn.ctc_loss``: cuDNN's on a GPU, a loop of TensorFlow's own ops on a CPU."""
    classes, batch, length, frames = (10, 32, 50, 100) if has_gpu(tf) else (10, 4, 5, 20)
    logits = tf.constant(normal(seed, (frames, batch, classes)))
    labels = tf.constant(integers(seed, classes - 1, (batch, length), salt=1) + 1)  # 0 is the blank
    upstream = tf.constant(normal(seed, (batch,), salt=2))

    def loss(labels: Any, logits: Any) -> Any:
        lengths, spans = tf.fill([batch], length), tf.fill([batch], frames)
        return tf.nn.ctc_loss(labels, logits, lengths, spans, logits_time_major=True, blank_index=0)

    return _loss_and_gradient(tf, loss, labels, logits, upstream)


def _softmax_xent(tf: Any, logits: Any, targets: Any, upstream: Any, *, xla: bool = False) -> Work:
    inputs = tf.constant(targets), tf.constant(logits), tf.constant(upstream)
    return _loss_and_gradient(tf, tf.nn.softmax_cross_entropy_with_logits, *inputs, xla=xla)


def _sparse_xent(tf: Any, seed: int, dtype: str) -> Work:
    logits, classes, upstream = (tf.constant(value) for value in _sparse_inputs(seed, dtype))
    return _loss_and_gradient(tf, tf.nn.sparse_softmax_cross_entropy_with_logits, classes, logits, upstream)


def _loss_and_gradient(
    tf: Any, loss: Callable[[Any, Any], Any], labels: Any, logits: Any, upstream: Any, *, xla: bool = False
) -> Work:
    """Return the work of a loss of labels and logits, and of its gradient for the given upstream gradient."""

    def work(labels: Any, logits: Any, upstream: Any) -> Outputs:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(labels, logits)
        return {"loss": value, "gradient": tape.gradient(value, logits, output_gradients=upstream)}

    return op(tf, work, labels, logits, upstream, xla=xla)


def _rows(tf: Any, without_gpu: int) -> int:
    return 1024 if has_gpu(tf) else without_gpu


def _tensorflow() -> Any:
    """Import TensorFlow for a reference whose shape depends on the device; declarations do not need it."""
    return importlib.import_module("tensorflow")


def _dense_inputs(seed: int, rows: int, classes: int, dtype: str = "float32") -> Tuple[Any, Any, Any]:
    """Return logits, smoothed labels and upstream gradient."""
    targets = np.full((rows, classes), SMOOTHING / classes, dtype)
    targets[np.arange(rows), integers(seed, classes, (rows,), salt=1)] += np.asarray(1 - SMOOTHING, dtype)
    return normal(seed, (rows, classes), dtype=dtype), targets, normal(seed, (rows,), salt=2, dtype=dtype)


def _sparse_inputs(seed: int, dtype: str) -> Tuple[Any, Any, Any]:
    """Return logits, classes and upstream gradient."""
    classes = integers(seed, SPARSE_CLASSES, (SPARSE_ROWS,), salt=1, dtype=dtype)
    return normal(seed, (SPARSE_ROWS, SPARSE_CLASSES)), classes, normal(seed, (SPARSE_ROWS,), salt=2)


def _reference(logits: Any, targets: Any, upstream: Any) -> Dict[str, np.ndarray[Any, Any]]:
    shifted = logits.astype("float64") - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=1, keepdims=True)
    loss = (targets * (np.log(sums) - shifted)).sum(axis=1)
    return {"loss": loss, "gradient": (exponentials / sums - targets) * upstream.astype("float64")[:, None]}
