"""Normalisations and bias gradients: reductions over all axes except the channels."""

from __future__ import annotations

from typing import Any, Dict, Tuple

import numpy as np

from bench.suite.kernels import Outputs, Work, _loops, has_gpu, kernel, normal

BATCH_NORM = "tensorflow/python/ops/nn_fused_batchnorm_d9m_test.py"
BIAS = "bias_op_d9m_test.py of TensorFlow, and of NVIDIA/framework-reproducibility's test/d9m"

FROZEN_SHAPES = {"wide": (10, 5, 5000, 3), "deep": (5000, 4, 4, 3)}
BIAS_SHAPES = {"1d": (10, 8, 14), "2d": (10, 8, 14, 14), "3d": (10, 8, 14, 14, 14)}
BIAS_TEXT = "[10,8,14], [10,8,14,14], [10,8,14,14,14]"
DTYPES = ("float16", "float32", "float64")
ROWS, WIDTH = 1024, 256


@kernel(
    family="normalisation",
    exercises="batch normalisation in training: output, and gradients of input, scale and offset",
    shapes="[10,5,5000,3] and [5000,4,4,3] on GPU; [10,5,1000,3] and [1000,4,4,3] on CPU",
    dtypes="float32",
    source=BATCH_NORM,
)
def batchnorm_train(tf: Any, seed: int) -> Work:
    """``FusedBatchNormV3`` and ``FusedBatchNormGradV3``, random upstream gradient."""
    size = 5000 if has_gpu(tf) else 1000
    shapes = {"wide": (10, 5, size, 3), "deep": (size, 4, 4, 3)}
    inputs = {name: _batch_norm_inputs(tf, seed, shape) for name, shape in shapes.items()}

    def work() -> Outputs:
        outputs: Dict[str, Any] = {}
        for name, (x, scale, offset, upstream) in inputs.items():
            with tf.GradientTape() as tape:
                tape.watch([x, scale, offset])
                y = tf.raw_ops.FusedBatchNormV3(x=x, scale=scale, offset=offset, mean=[], variance=[], epsilon=1e-3).y
            gradients = tape.gradient(y, [x, scale, offset], output_gradients=upstream)
            outputs[f"{name} output"] = y
            outputs.update({f"{name} gradient {of}": g for of, g in zip(("input", "scale", "offset"), gradients)})
        return outputs

    return work


def frozen_reference(seed: int) -> Dict[str, np.ndarray[Any, Any]]:
    """Return the offset gradients of ``batchnorm_frozen`` in float64, which are sums of the upstream gradient."""
    return {
        f"{name} offset": normal(seed, shape, salt=3).astype("float64").sum(axis=(0, 1, 2))
        for name, shape in FROZEN_SHAPES.items()
    }


@kernel(
    family="normalisation",
    exercises="gradients of a batch normalisation with frozen statistics",
    shapes="[10,5,5000,3] and [5000,4,4,3], is_training=False",
    dtypes="float32",
    source=f"{BATCH_NORM}; tensorflow/tensorflow#10857",
    reference=frozen_reference,
)
def batchnorm_frozen(tf: Any, seed: int) -> Work:
    """``FusedBatchNormGradV3`` with ``is_training=False``, random upstream gradient."""
    inputs = {name: _batch_norm_inputs(tf, seed, shape) for name, shape in FROZEN_SHAPES.items()}
    variance = tf.constant(normal(seed, (3,), salt=4) ** 2)

    def work() -> Outputs:
        outputs: Dict[str, Any] = {}
        for name, (x, scale, mean, upstream) in inputs.items():
            gradients = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=upstream,
                x=x,
                scale=scale,
                reserve_space_1=mean,
                reserve_space_2=variance,
                reserve_space_3=tf.zeros([0]),
                epsilon=1e-3,
                is_training=False,
            )
            outputs.update({f"{name} {of}": value for of, value in zip(("input", "scale", "offset"), gradients)})
        return outputs

    return work


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
    """Return output, scale gradient and offset gradient of ``layer_norm`` in float64."""
    x, scale, offset, upstream = (value.astype("float64") for value in _layer_norm_inputs(seed))
    normed = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    return {
        "output": normed * scale + offset,
        "gradient scale": (normed * upstream).sum(axis=0),
        "gradient offset": upstream.sum(axis=0),
    }


@kernel(
    family="normalisation",
    exercises="layer normalisation: output, and gradients of input, scale and offset",
    shapes=f"[{ROWS},{WIDTH}]",
    dtypes="float32",
    source="tfrepro",
    reference=layer_norm_reference,
)
def layer_norm(tf: Any, seed: int) -> Work:
    """Moments, Rsqrt, Mul, AddV2 and their gradients, random upstream gradient."""
    x, scale, offset, upstream = (tf.constant(value) for value in _layer_norm_inputs(seed))

    def work() -> Outputs:
        with tf.GradientTape() as tape:
            tape.watch([x, scale, offset])
            output = _loops.layer_norm(tf, x, scale, offset)
        gradients = tape.gradient(output, [x, scale, offset], output_gradients=upstream)
        return {"output": output, **{f"gradient {of}": g for of, g in zip(("input", "scale", "offset"), gradients)}}

    return work


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
    return lambda: {
        name: tf.raw_ops.BiasAddGrad(out_backprop=value, data_format=data_format) for name, value in inputs.items()
    }


def _bias_reference(seed: int, channels: int) -> Dict[str, np.ndarray[Any, Any]]:
    return {
        name: np.moveaxis(value.astype("float64"), channels, 0).reshape(value.shape[channels], -1).sum(axis=1)
        for name, value in _bias_inputs(seed).items()
    }
