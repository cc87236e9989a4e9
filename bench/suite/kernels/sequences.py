"""Recurrent layers and attention, forward and backward."""

from __future__ import annotations

from typing import Any, Dict, Tuple

import numpy as np

from bench.suite.kernels import Outputs, Work, _loops, gradients, has_gpu, kernel, normal, op

RECURRENT = "tfrepro; tensorflow/tensorflow#59281, #60192"
RECURRENT_SHAPES = "in[16,50,32], 64 units on GPU; in[4,8,8], 8 units on CPU"


@kernel("sequences", "LSTM (cuDNN on a GPU): all outputs", RECURRENT_SHAPES, "float32", RECURRENT, portable=False,
        heavy=True)  # fmt: skip
def lstm_fwd(tf: Any, seed: int) -> Work:
    """``tf.keras.layers.LSTM`` with weights from NumPy: no other public API uses cuDNN's."""
    return _recurrent(tf, seed, tf.keras.layers.LSTM)


@kernel("sequences", "LSTM (cuDNN on a GPU): all gradients", RECURRENT_SHAPES, "float32", RECURRENT, portable=False,
        heavy=True)  # fmt: skip
def lstm_grad(tf: Any, seed: int) -> Work:
    """The gradients of ``lstm_fwd``, which need its values."""
    return _recurrent_gradients(tf, seed, tf.keras.layers.LSTM)


@kernel("sequences", "GRU (cuDNN on a GPU): all outputs", RECURRENT_SHAPES, "float32", RECURRENT, portable=False,
        heavy=True)  # fmt: skip
def gru_fwd(tf: Any, seed: int) -> Work:
    """``tf.keras.layers.GRU`` with weights from NumPy: no other public API uses cuDNN's."""
    return _recurrent(tf, seed, tf.keras.layers.GRU)


@kernel("sequences", "GRU (cuDNN on a GPU): all gradients", RECURRENT_SHAPES, "float32", RECURRENT, portable=False,
        heavy=True)  # fmt: skip
def gru_grad(tf: Any, seed: int) -> Work:
    """The gradients of ``gru_fwd``, which need its values."""
    return _recurrent_gradients(tf, seed, tf.keras.layers.GRU)


ATTENTION_SHAPES = "in[8,64,256], 8 heads on GPU; in[4,16,64], 4 heads on CPU"


@kernel("sequences", "multi-head attention with seeded dropout", ATTENTION_SHAPES, "float32", "tfrepro")
def attention_block(tf: Any, seed: int) -> Work:
    """MatMul, BatchMatMul, Softmax and stateless dropout."""
    inputs, key, _ = _attention_inputs(tf, seed)
    return op(tf, lambda inputs, key: {"output": _attention(tf, inputs, key)}, inputs, key)


@kernel("sequences", "multi-head attention with seeded dropout: all gradients", ATTENTION_SHAPES, "float32", "tfrepro")
def attention_block_grad(tf: Any, seed: int) -> Work:
    """The gradients of ``attention_block``, which need its values; random upstream gradient."""

    def work(inputs: Any, key: Any, upstream: Any) -> Outputs:
        return dict(gradients(tf, lambda inputs: _attention(tf, inputs, key), inputs, upstream))

    return op(tf, work, *_attention_inputs(tf, seed))


def _attention_size(tf: Any) -> Tuple[int, int, int, int]:
    """Return batch, length, width and number of heads."""
    return (8, 64, 256, 8) if has_gpu(tf) else (4, 16, 64, 4)


def _attention(tf: Any, inputs: Any, key: Any) -> Any:
    _, length, _, heads = _attention_size(tf)
    return _loops.attention(tf, inputs, "attention", inputs["input"], length, heads, 0.1, key)


def _attention_inputs(tf: Any, seed: int) -> Tuple[Dict[str, Any], Any, Any]:
    """Return input and weights by name, the seed of the dropout, and the upstream gradient."""
    batch, length, width, _ = _attention_size(tf)
    weights = _loops.initial_weights(seed, _loops.attention_shapes("attention", width))
    inputs = {"input": tf.constant(normal(seed, (batch * length, width), _loops.DATA))}
    inputs.update({name: tf.constant(value) for name, value in weights.items()})
    upstream = tf.constant(normal(seed, (batch * length, width), _loops.DATA + 1))
    return inputs, tf.constant([seed, 0]), upstream


def _recurrent(tf: Any, seed: int, layer_class: Any) -> Work:
    layer, x, _ = _recurrent_layer(tf, seed, layer_class)
    return op(tf, lambda x: {"output": layer(x, training=True)}, x)


def _recurrent_gradients(tf: Any, seed: int, layer_class: Any) -> Work:
    layer, x, upstream = _recurrent_layer(tf, seed, layer_class)
    names = ("input", "kernel", "recurrent_kernel", "bias")

    def work(x: Any, upstream: Any) -> Outputs:
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = layer(x, training=True)
        found = tape.gradient(output, [x, *layer.trainable_variables], output_gradients=upstream)
        return dict(zip(names, found))

    return op(tf, work, x, upstream)


def _recurrent_layer(tf: Any, seed: int, layer_class: Any) -> Tuple[Any, Any, Any]:
    """Return the layer, its input, and the upstream gradient."""
    batch, length, features, units = (16, 50, 32, 64) if has_gpu(tf) else (4, 8, 8, 8)
    layer = layer_class(units, return_sequences=True, name="recurrent")
    layer.build((batch, length, features))
    shapes = [value.shape for value in layer.get_weights()]
    layer.set_weights([normal(seed, shape, salt) * np.float32(0.2) for salt, shape in enumerate(shapes, start=1)])
    x = tf.constant(normal(seed, (batch, length, features), _loops.DATA))
    return layer, x, tf.constant(normal(seed, (batch, length, units), _loops.DATA + 1))
