"""Gradients of pooling with overlapping windows, where several outputs contribute to one input pixel."""

from __future__ import annotations

from typing import Any, Dict, Tuple

from bench.suite.kernels import Outputs, Work, has_gpu, kernel, normal, op

_WINDOW = {"ksize": [1, 3, 3, 1], "strides": [1, 1, 1, 1], "padding": "SAME"}
_SHAPES = "in[8,64,64,16] on a GPU, in[2,64,64,16] on a CPU, window 3, stride 1, SAME"


def _image(tf: Any) -> Tuple[int, int, int, int]:
    return (8 if has_gpu(tf) else 2, 64, 64, 16)


@kernel(
    exercises="the gradient of maximum pooling",
    shapes=_SHAPES,
    source="tfrepro; TensorFlow has no test, only a TODO in cudnn_deterministic_base.py",
)
def max_pool_grad(tf: Any, seed: int) -> Work:
    """``MaxPoolGrad``."""
    return _max_pool_grad(tf, seed)


@kernel(
    exercises="the gradient of maximum pooling, compiled by XLA",
    shapes=_SHAPES,
    source="TensorFlow's error 'GPU MaxPool gradient ops do not yet have a deterministic XLA implementation.'",
    heavy=True,
)
def max_pool_grad_xla(tf: Any, seed: int) -> Work:
    """The gradient of ``max_pool_grad`` in a ``tf.function(jit_compile=True)``, XLA's select-and-scatter."""
    return _max_pool_grad(tf, seed, xla=True)


def _max_pool_grad(tf: Any, seed: int, *, xla: bool = False) -> Work:
    x = tf.constant(normal(seed, _image(tf)))
    pooled = tf.raw_ops.MaxPool(input=x, **_WINDOW)
    inputs = {"orig_input": x, "orig_output": pooled, "grad": tf.constant(normal(seed, _image(tf), salt=1))}
    return op(tf, lambda inputs: {"gradient": tf.raw_ops.MaxPoolGrad(**inputs, **_WINDOW)}, inputs, xla=xla)


@kernel(
    exercises="the gradient of 3-D maximum pooling",
    shapes="in[2,8,32,32,8] on a GPU, in[2,4,16,16,8] on a CPU, window 3, stride 1, SAME",
)
def max_pool3d_grad(tf: Any, seed: int) -> Work:
    """``MaxPool3DGrad``."""
    shape = (2, 8, 32, 32, 8) if has_gpu(tf) else (2, 4, 16, 16, 8)
    window = {"ksize": [1, 3, 3, 3, 1], "strides": [1] * 5, "padding": "SAME"}
    x, upstream = tf.constant(normal(seed, shape)), tf.constant(normal(seed, shape, salt=1))
    pooled = tf.raw_ops.MaxPool3D(input=x, **window)
    inputs = {"orig_input": x, "orig_output": pooled, "grad": upstream}
    return op(tf, lambda inputs: {"gradient": tf.raw_ops.MaxPool3DGrad(**inputs, **window)}, inputs)


@kernel(
    exercises="the gradient of maximum pooling, computed from the positions of the maxima",
    shapes="in[8,64,64,16], window 3, stride 1, SAME",
    dtypes="float32, int64",
    source="based on TensorFlow's error 'Determinism is not yet supported for MaxPoolGradWithArgmax.'",
)
def max_pool_argmax_grad(tf: Any, seed: int) -> Work:
    """``MaxPoolGradWithArgmax``."""
    image = (8, 64, 64, 16)  # a smaller input would leave the second thread of a CPU without work
    x, upstream = tf.constant(normal(seed, image)), tf.constant(normal(seed, image, salt=1))
    positions = tf.raw_ops.MaxPoolWithArgmax(input=x, **_WINDOW).argmax
    inputs = {"input": x, "grad": upstream, "argmax": positions}
    return op(tf, lambda inputs: {"gradient": tf.raw_ops.MaxPoolGradWithArgmax(**inputs, **_WINDOW)}, inputs)


@kernel(exercises="the gradient of average pooling", shapes=_SHAPES)
def avg_pool_grad(tf: Any, seed: int) -> Work:
    """``AvgPoolGrad``."""
    upstream = tf.constant(normal(seed, _image(tf)))

    def work(upstream: Any) -> Outputs:
        return {"gradient": tf.raw_ops.AvgPoolGrad(orig_input_shape=upstream.shape, grad=upstream, **_WINDOW)}

    return op(tf, work, upstream)


@kernel(
    exercises="the gradients of a grey-scale dilation with respect to its input and its filter",
    shapes="in[2,64,64,8], filter[3,3,8], SAME",
    source="based on TensorFlow's error 'Determinism is not yet supported for Dilation2DBackpropFilter.'",
)
def dilation2d_grad(tf: Any, seed: int) -> Work:
    """``Dilation2DBackpropInput`` and ``Dilation2DBackpropFilter``."""
    shape = (2, 64, 64, 8)
    attributes: Dict[str, Any] = {"strides": [1, 1, 1, 1], "rates": [1, 1, 1, 1], "padding": "SAME"}
    inputs = {
        "input": tf.constant(normal(seed, shape)),
        "filter": tf.constant(normal(seed, (3, 3, 8), salt=1)),
        "out_backprop": tf.constant(normal(seed, shape, salt=2)),
    }

    def work(inputs: Any) -> Outputs:
        return {
            "input gradient": tf.raw_ops.Dilation2DBackpropInput(**inputs, **attributes),
            "filter gradient": tf.raw_ops.Dilation2DBackpropFilter(**inputs, **attributes),
        }

    return op(tf, work, inputs)
