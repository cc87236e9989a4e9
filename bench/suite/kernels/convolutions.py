"""Convolutions and their gradients. Upstream gradients are random, because ones would hide the order of sums."""

from __future__ import annotations

import importlib
from typing import Any, Dict, Iterator, Tuple

import numpy as np

from bench.suite.kernels import Outputs, Work, gradients, has_gpu, kernel, normal, op

Array = np.ndarray[Any, Any]
Shape = Tuple[int, ...]

_SOURCE = "tensorflow/python/kernel_tests/nn_ops/cudnn_deterministic_base.py"
_ONES = [1, 1, 1, 1]
_IMAGE: Shape = (8, 64, 64, 8)
_FILTER: Shape = (3, 3, 8, 8)
_SMALL_FILTER: Shape = (7, 7, 1, 3)


def _taps(image: Array, side: int, dilation: int = 1) -> Iterator[Tuple[int, int, Array]]:
    """Yield each position of a square filter with the pixels of the SAME-padded image under it, one row per output."""
    height, width, channels = image.shape[1:]
    margin = dilation * (side // 2)
    padded = np.pad(image.astype("float64"), ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    for i in range(side):
        for j in range(side):
            y, x = i * dilation, j * dilation
            yield i, j, padded[:, y : y + height, x : x + width].reshape(-1, channels)


def _filter_gradient(image: Array, upstream: Array, shape: Shape, dilation: int = 1) -> Array:
    """Return the gradient of a SAME convolution with respect to its filter, in float64."""
    gradient = np.empty(shape)
    rows = upstream.reshape(-1, shape[3]).astype("float64")
    for i, j, pixels in _taps(image, shape[0], dilation):
        gradient[i, j] = pixels.T @ rows
    return gradient


def _convolved(image: Array, weights: Array) -> Array:
    """Return a SAME convolution in float64."""
    total = sum(pixels @ weights[i, j].astype("float64") for i, j, pixels in _taps(image, weights.shape[0]))
    return np.asarray(total).reshape(*image.shape[:3], -1)


def _transposed(weights: Array) -> Array:
    """Return the filter of the input gradient of a SAME convolution: rotated by 180 degrees, channels swapped."""
    return weights[::-1, ::-1].swapaxes(2, 3)


def _filter_reference(seed: int) -> Dict[str, Array]:
    return {"gradient": _filter_gradient(normal(seed, _IMAGE), normal(seed, _IMAGE, salt=1), _FILTER)}


@kernel(
    exercises="the gradient of a convolution with respect to its filter",
    shapes="in[8,64,64,8], filter[3,3,8,8], SAME",
    source=_SOURCE,
    gpu_control=True,
    reference=_filter_reference,
)
def conv2d_bwd_filter(tf: Any, seed: int) -> Work:
    """``Conv2DBackpropFilter``."""
    return _filter_work(tf, seed, dilation=1)


def _dilated_reference(seed: int) -> Dict[str, Array]:
    return {"gradient": _filter_gradient(normal(seed, _IMAGE), normal(seed, _IMAGE, salt=1), _FILTER, dilation=2)}


@kernel(
    exercises="the gradient of a dilated convolution with respect to its filter",
    shapes="in[8,64,64,8], filter[3,3,8,8], SAME, dilation 2",
    source=_SOURCE,
    reference=_dilated_reference,
)
def conv2d_bwd_filter_dilated(tf: Any, seed: int) -> Work:
    """``Conv2DBackpropFilter`` with dilations; on a CPU, only oneDNN implements it."""
    return _filter_work(tf, seed, dilation=2)


def _filter_work(tf: Any, seed: int, dilation: int) -> Work:
    x, upstream = tf.constant(normal(seed, _IMAGE)), tf.constant(normal(seed, _IMAGE, salt=1))

    def work(x: Any, upstream: Any) -> Outputs:
        gradient = tf.raw_ops.Conv2DBackpropFilter(
            input=x,
            filter_sizes=_FILTER,
            out_backprop=upstream,
            strides=_ONES,
            padding="SAME",
            dilations=[1, dilation, dilation, 1],
        )
        return {"gradient": gradient}

    return op(tf, work, x, upstream)


#: Shapes of image, filter and upstream gradient of the kernels that run a small and a large convolution.
_SIZES: Dict[str, Tuple[Shape, Shape, Shape]] = {
    "small": ((1, 16, 16, 1), _SMALL_FILTER, (1, 16, 16, 3)),
    "large": (_IMAGE, _FILTER, _IMAGE),
}


def _input_reference(seed: int) -> Dict[str, Array]:
    return {
        name: _convolved(normal(seed, upstream, salt=1), _transposed(normal(seed, weights)))
        for name, (_, weights, upstream) in _SIZES.items()
    }


@kernel(
    exercises="the gradient of a convolution with respect to its input",
    shapes="in[1,16,16,1], filter[7,7,1,3]; in[8,64,64,8], filter[3,3,8,8]; SAME",
    source=_SOURCE + "; the large shape is that of its filter test",
    reference=_input_reference,
)
def conv2d_bwd_input(tf: Any, seed: int) -> Work:
    """``Conv2DBackpropInput``, a small and a large one."""
    inputs = {
        name: (tf.constant(normal(seed, weights)), tf.constant(normal(seed, upstream, salt=1)))
        for name, (_, weights, upstream) in _SIZES.items()
    }

    def work(inputs: Any) -> Outputs:
        return {
            name: tf.raw_ops.Conv2DBackpropInput(
                input_sizes=_SIZES[name][0], filter=weights, out_backprop=upstream, strides=_ONES, padding="SAME"
            )
            for name, (weights, upstream) in inputs.items()
        }

    return op(tf, work, inputs)


def _transpose_reference(seed: int) -> Dict[str, Array]:
    return {
        name: _convolved(normal(seed, upstream), _transposed(normal(seed, weights, salt=1)))
        for name, (_, weights, upstream) in _SIZES.items()
    }


def _transpose_grad_reference(seed: int) -> Dict[str, Array]:
    # in a transposed convolution, input and upstream gradient swap roles
    return {
        name: _filter_gradient(normal(seed, image, salt=2), normal(seed, upstream), weights)
        for name, (image, weights, upstream) in _SIZES.items()
    }


@kernel(
    exercises="a transposed convolution",
    shapes="in[1,16,16,3], filter[7,7,1,3]; in[8,64,64,8], filter[3,3,8,8]; SAME",
    source=_SOURCE,
    reference=_transpose_reference,
)
def conv2d_transpose(tf: Any, seed: int) -> Work:
    """``Conv2DBackpropInput``, a small and a large one."""

    def work(inputs: Any) -> Outputs:
        return {
            name: tf.nn.conv2d_transpose(x, weights, _SIZES[name][0], strides=1)
            for name, (x, weights, _) in inputs.items()
        }

    return op(tf, work, _transpose_inputs(tf, seed))


@kernel(
    exercises="the gradient of a transposed convolution with respect to its filter",
    shapes="in[1,16,16,3], filter[7,7,1,3]; in[8,64,64,8], filter[3,3,8,8]; SAME",
    source=_SOURCE,
    reference=_transpose_grad_reference,
)
def conv2d_transpose_grad(tf: Any, seed: int) -> Work:
    """``Conv2DBackpropFilter``, a small and a large one."""

    def gradient(name: str, x: Any, weights: Any, upstream: Any) -> Any:
        shape = _SIZES[name][0]
        return gradients(tf, lambda weights: tf.nn.conv2d_transpose(x, weights, shape, strides=1), weights, upstream)

    return op(
        tf, lambda inputs: {name: gradient(name, *each) for name, each in inputs.items()}, _transpose_inputs(tf, seed)
    )


def _transpose_inputs(tf: Any, seed: int) -> Dict[str, Tuple[Any, Any, Any]]:
    """Return input, filter and upstream gradient of the transposed convolutions."""
    return {
        name: (
            tf.constant(normal(seed, upstream)),
            tf.constant(normal(seed, weights, salt=1)),
            tf.constant(normal(seed, image, salt=2)),
        )
        for name, (image, weights, upstream) in _SIZES.items()
    }


def _forward_reference(seed: int) -> Dict[str, Array]:
    return {"convolution": _convolved(normal(seed, _IMAGE), normal(seed, _FILTER, salt=1))}


@kernel(exercises="a forward convolution", shapes="in[8,64,64,8], filter[3,3,8,8], SAME", reference=_forward_reference)
def conv2d_fwd(tf: Any, seed: int) -> Work:
    """``Conv2D``."""
    x, weights = tf.constant(normal(seed, _IMAGE)), tf.constant(normal(seed, _FILTER, salt=1))
    return op(tf, lambda x, weights: {"convolution": tf.nn.conv2d(x, weights, strides=1, padding="SAME")}, x, weights)


@kernel(
    exercises="the gradients of a depthwise convolution with respect to its input and its filter",
    shapes="in[2,500,1000,2] on a GPU, in[2,64,64,2] (float32) or [2,24,24,2] on a CPU, filter[7,7,2,10], SAME; "
    "also one channel in float32",
    dtypes="float16, float32, float64",
    source="tensorflow/python/kernel_tests/nn_ops/depthwise_conv_op_d9m_test.py",
)
def depthwise_bwd(tf: Any, seed: int) -> Work:
    """``DepthwiseConv2dNativeBackpropInput`` and ``...BackpropFilter``; cuDNN handles a single channel."""
    small = (2, 24, 24)  # a CPU is slow with these dtypes
    sizes = {"float32": (2, 64, 64), "float16": small, "float64": small, "one channel": small}
    inputs = {
        kind: _depthwise(tf, seed, (2, 500, 1000) if has_gpu(tf) else size, 1 if kind == "one channel" else 2, kind)
        for kind, size in sizes.items()
    }

    def work(inputs: Any) -> Outputs:
        outputs = {}
        for kind, (x, weights, upstream) in inputs.items():
            common = {"out_backprop": upstream, "strides": _ONES, "padding": "SAME"}
            outputs[f"input gradient {kind}"] = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=x.shape, filter=weights, **common
            )
            outputs[f"filter gradient {kind}"] = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=x, filter_sizes=weights.shape, **common
            )
        return outputs

    return op(tf, work, inputs)


def _depthwise(tf: Any, seed: int, size: Shape, channels: int, kind: str) -> Tuple[Any, Any, Any]:
    """Return input, filter and upstream gradient for one dtype and number of channels."""
    dtype = kind if kind.startswith("float") else "float32"
    shapes = (*size, channels), (7, 7, channels, 10), (*size, 10 * channels)
    x, weights, upstream = (tf.constant(normal(seed, shape, salt, dtype)) for salt, shape in enumerate(shapes))
    return x, weights, upstream


#: Shapes of input, filter and output of the 3-D convolutions, channels last.
_VOLUME: Tuple[Shape, Shape, Shape] = ((2, 5, 12, 15, 8), (3, 3, 3, 8, 1), (2, 1, 8, 11, 1))
_VOLUME_SHAPES = "in[2,8,5,12,15], filter[3,3,3,8,1], VALID, dilation 2, NCDHW on a GPU, NDHWC on a CPU"


def _laid_out(tf: Any, volume: Array) -> Array:
    """Return a volume in the layout of the device: TensorFlow has no channels-first kernel for CPUs."""
    return np.moveaxis(volume, 4, 1).copy() if has_gpu(tf) else volume


def _volume(tf: Any, seed: int) -> Tuple[Any, Any, Dict[str, Any]]:
    """Return input, filter and attributes of the 3-D convolution."""
    layout = ("NCDHW", [1, 1, 2, 2, 2]) if has_gpu(tf) else ("NDHWC", [1, 2, 2, 2, 1])
    x, weights = _laid_out(tf, normal(seed, _VOLUME[0])), normal(seed, _VOLUME[1], salt=1)
    attributes = {"strides": [1] * 5, "padding": "VALID", **dict(zip(("data_format", "dilations"), layout))}
    return tf.constant(x), tf.constant(weights), attributes


def _volume_reference(seed: int) -> Dict[str, Array]:
    x, weights = (normal(seed, shape, salt).astype("float64") for salt, shape in enumerate(_VOLUME[:2]))
    depth, height, width = _VOLUME[2][1:4]
    total = np.zeros(_VOLUME[2])
    for i, j, k in np.ndindex(weights.shape[:3]):
        total += x[:, 2 * i : 2 * i + depth, 2 * j : 2 * j + height, 2 * k : 2 * k + width] @ weights[i, j, k]
    return {"convolution": _laid_out(importlib.import_module("tensorflow"), total)}


@kernel(
    exercises="a dilated 3-D forward convolution", shapes=_VOLUME_SHAPES, source=_SOURCE, reference=_volume_reference
)
def conv3d_fwd(tf: Any, seed: int) -> Work:
    """``Conv3D``; on a CPU, only oneDNN implements dilation."""
    return _convolve(tf, seed)


@kernel(
    exercises="a dilated 3-D forward convolution, compiled by XLA",
    shapes=_VOLUME_SHAPES,
    source=_SOURCE + ", testConvForwardXLA",
    heavy=True,
    reference=_volume_reference,
)
def conv3d_fwd_xla(tf: Any, seed: int) -> Work:
    """The convolution of ``conv3d_fwd`` in a ``tf.function(jit_compile=True)``."""
    return _convolve(tf, seed, xla=True)


def _convolve(tf: Any, seed: int, *, xla: bool = False) -> Work:
    x, weights, attributes = _volume(tf, seed)
    return op(tf, lambda x, weights: {"convolution": tf.nn.conv3d(x, weights, **attributes)}, x, weights, xla=xla)


@kernel(
    exercises="the gradients of a dilated 3-D convolution with respect to its input and its filter",
    shapes=_VOLUME_SHAPES,
    source=_SOURCE,
)
def conv3d_bwd(tf: Any, seed: int) -> Work:
    """``Conv3DBackpropInputV2`` and ``Conv3DBackpropFilterV2``; on a CPU, only oneDNN implements dilation."""
    x, weights, attributes = _volume(tf, seed)
    upstream = tf.constant(_laid_out(tf, normal(seed, _VOLUME[2], salt=2)))

    def work(x: Any, weights: Any, upstream: Any) -> Outputs:
        common = {"out_backprop": upstream, **attributes}
        return {
            "input gradient": tf.raw_ops.Conv3DBackpropInputV2(input_sizes=x.shape, filter=weights, **common),
            "filter gradient": tf.raw_ops.Conv3DBackpropFilterV2(input=x, filter_sizes=weights.shape, **common),
        }

    return op(tf, work, x, weights, upstream)
