"""Normalisations and bias gradients: reductions over all axes except the channels."""

from __future__ import annotations

from typing import Any, Dict, Tuple

import numpy as np

from bench.suite.kernels import Outputs, Work, _loops, gradients, has_gpu, kernel, normal, op

BATCH_NORM = "tensorflow/python/ops/nn_fused_batchnorm_d9m_test.py"
BIAS = "bias_op_d9m_test.py of TensorFlow, and of NVIDIA/framework-reproducibility's test/d9m"

FROZEN_SHAPES = {"wide": (10, 5, 5000, 3), "deep": (5000, 4, 4, 3)}
BIAS_SHAPES = {"1d": (10, 8, 14), "2d": (10, 8, 14, 14), "3d": (10, 8, 14, 14, 14)}
BIAS_TEXT = "[10,8,14], [10,8,14,14], [10,8,14,14,14]"
DTYPES = ("float16", "float32", "float64")
ROWS, WIDTH = 1024, 256


TRAIN_SHAPES = "[10,5,5000,3] and [5000,4,4,3] on GPU; [10,5,1000,3] and [1000,4,4,3] on CPU"


@kernel("normalisation", "batch normalisation in training", TRAIN_SHAPES, "float32", BATCH_NORM)
def batchnorm_train(tf: Any, seed: int) -> Work:
    """``FusedBatchNormV3``."""

    def work(inputs: Any) -> Outputs:
        return {name: _batch_norm(tf, *each).y for name, (*each, _) in inputs.items()}

    return op(tf, work, _train_inputs(tf, seed))


@kernel("normalisation", "batch normalisation in training: gradients of input, scale and offset", TRAIN_SHAPES,
        "float32", BATCH_NORM)  # fmt: skip
def batchnorm_train_grad(tf: Any, seed: int) -> Work:
    """``FusedBatchNormGradV3``, random upstream gradient."""
    inputs = {
        name: (upstream, x, scale, *_batch_norm(tf, x, scale, offset)[3:])
        for name, (x, scale, offset, upstream) in _train_inputs(tf, seed).items()
    }
    return op(tf, lambda inputs: _batch_norm_gradients(tf, inputs, is_training=True), inputs)


def _train_inputs(tf: Any, seed: int) -> Dict[str, Tuple[Any, ...]]:
    size = 5000 if has_gpu(tf) else 1000
    shapes = {"wide": (10, 5, size, 3), "deep": (size, 4, 4, 3)}
    return {name: _batch_norm_inputs(tf, seed, shape) for name, shape in shapes.items()}


def _batch_norm(tf: Any, x: Any, scale: Any, offset: Any) -> Any:
    return tf.raw_ops.FusedBatchNormV3(x=x, scale=scale, offset=offset, mean=[], variance=[], epsilon=1e-3)


def _batch_norm_gradients(tf: Any, inputs: Any, *, is_training: bool) -> Outputs:
    """Return the gradients of each set of inputs: upstream gradient, input, scale and the three reserved tensors."""
    outputs: Dict[str, Any] = {}
    for name, (upstream, x, scale, *reserved) in inputs.items():
        spaces = {f"reserve_space_{number}": value for number, value in enumerate(reserved, start=1)}
        found = tf.raw_ops.FusedBatchNormGradV3(
            y_backprop=upstream, x=x, scale=scale, **spaces, epsilon=1e-3, is_training=is_training
        )
        outputs.update({f"{name} {of}": value for of, value in zip(("input", "scale", "offset"), found)})
    return outputs


def frozen_reference(seed: int) -> Dict[str, np.ndarray[Any, Any]]:
    """Return the offset gradients of ``batchnorm_frozen`` in float64, which are sums of the upstream gradient."""
    return {
        f"{name} offset": normal(seed, shape, salt=3).astype("float64").sum(axis=(0, 1, 2))
        for name, shape in FROZEN_SHAPES.items()
    }


@kernel(
    exercises="gradients of a batch normalisation with frozen statistics",
    shapes="[10,5,5000,3] and [5000,4,4,3], is_training=False",
    source=f"{BATCH_NORM}; tensorflow/tensorflow#10857",
    reference=frozen_reference,
)
def batchnorm_frozen(tf: Any, seed: int) -> Work:
    """``FusedBatchNormGradV3`` with ``is_training=False``, random upstream gradient."""
    variance = tf.constant(normal(seed, (3,), salt=4) ** 2)
    inputs = {}
    for name, shape in FROZEN_SHAPES.items():
        x, scale, mean, upstream = _batch_norm_inputs(tf, seed, shape)
        inputs[name] = upstream, x, scale, mean, variance, tf.zeros([0])
    return op(tf, lambda inputs: _batch_norm_gradients(tf, inputs, is_training=False), inputs)


def nchw_reference(seed: int) -> Dict[str, np.ndarray[Any, Any]]:
    """Return the outputs of ``bias_add_grad_nchw`` in float64."""
    return _bias_reference(seed, channels=1)


def nhwc_reference(seed: int) -> Dict[str, np.ndarray[Any, Any]]:
    """Return the outputs of ``bias_add_grad_nhwc`` in float64."""
    return _bias_reference(seed, channels=-1)


@kernel("normalisation", "gradient of a bias, channels first, for 1, 2 and 3 spatial axes", BIAS_TEXT,
        "float16, float32, float64", BIAS, reference=nchw_reference)  # fmt: skip
def bias_add_grad_nchw(tf: Any, seed: int) -> Work:
    """``BiasAddGrad`` with ``data_format="NCHW"`` of random upstream gradients."""
    return _bias_add_grad(tf, seed, "NCHW")


@kernel("normalisation", "gradient of a bias, channels last, for 1, 2 and 3 spatial axes", BIAS_TEXT,
        "float16, float32, float64", BIAS, reference=nhwc_reference)  # fmt: skip
def bias_add_grad_nhwc(tf: Any, seed: int) -> Work:
    """``BiasAddGrad`` with ``data_format="NHWC"`` of random upstream gradients."""
    return _bias_add_grad(tf, seed, "NHWC")


def layer_norm_reference(seed: int) -> Dict[str, np.ndarray[Any, Any]]:
    """Return the output of ``layer_norm`` in float64."""
    x, scale, offset, _ = (value.astype("float64") for value in _layer_norm_inputs(seed))
    return {"output": _normed(x) * scale + offset}


def layer_norm_grad_reference(seed: int) -> Dict[str, np.ndarray[Any, Any]]:
    """Return the gradients of scale and offset of ``layer_norm_grad`` in float64."""
    x, _, _, upstream = (value.astype("float64") for value in _layer_norm_inputs(seed))
    return {"scale": (_normed(x) * upstream).sum(axis=0), "offset": upstream.sum(axis=0)}


def _normed(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray((x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5))


@kernel(exercises="layer normalisation", shapes=f"[{ROWS},{WIDTH}]", reference=layer_norm_reference)
def layer_norm(tf: Any, seed: int) -> Work:
    """Moments, Rsqrt, Mul and AddV2."""
    *inputs, _ = map(tf.constant, _layer_norm_inputs(seed))
    return op(tf, lambda *inputs: {"output": _loops.layer_norm(tf, *inputs)}, *inputs)


@kernel(
    exercises="layer normalisation: gradients of input, scale and offset",
    shapes=f"[{ROWS},{WIDTH}]",
    reference=layer_norm_grad_reference,
)
def layer_norm_grad(tf: Any, seed: int) -> Work:
    """The gradients of Moments, Rsqrt, Mul and AddV2, which need their values; random upstream gradient."""
    *inputs, upstream = map(tf.constant, _layer_norm_inputs(seed))

    def work(inputs: Any, upstream: Any) -> Outputs:
        found = gradients(tf, lambda inputs: _loops.layer_norm(tf, *inputs), inputs, upstream)
        return dict(zip(("input", "scale", "offset"), found))

    return op(tf, work, inputs, upstream)


def _batch_norm_inputs(tf: Any, seed: int, shape: Tuple[int, ...]) -> Tuple[Any, ...]:
    """Return input, scale, offset (or mean) and upstream gradient."""
    channels = shape[-1:]
    return tuple(tf.constant(normal(seed, size, salt)) for salt, size in enumerate((shape, channels, channels, shape)))


def _layer_norm_inputs(seed: int) -> Tuple[np.ndarray[Any, Any], ...]:
    """Return input, scale, offset and upstream gradient."""
    sizes = ((ROWS, WIDTH), (WIDTH,), (WIDTH,), (ROWS, WIDTH))
    return tuple(normal(seed, size, salt) for salt, size in enumerate(sizes))


def _bias_inputs(seed: int) -> Dict[str, np.ndarray[Any, Any]]:
    return {
        f"{axes} {dtype}": normal(seed, shape, dtype=dtype) for axes, shape in BIAS_SHAPES.items() for dtype in DTYPES
    }


def _bias_add_grad(tf: Any, seed: int, data_format: str) -> Work:
    inputs = {name: tf.constant(value) for name, value in _bias_inputs(seed).items()}

    def work(inputs: Any) -> Outputs:
        return {
            name: tf.raw_ops.BiasAddGrad(out_backprop=value, data_format=data_format) for name, value in inputs.items()
        }

    return op(tf, work, inputs)


def _bias_reference(seed: int, channels: int) -> Dict[str, np.ndarray[Any, Any]]:
    return {
        name: np.moveaxis(value.astype("float64"), channels, 0).reshape(value.shape[channels], -1).sum(axis=1)
        for name, value in _bias_inputs(seed).items()
    }
