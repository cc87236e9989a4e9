"""Recurrent layers and attention, forward and backward."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.suite.kernels import Outputs, Work, _loops, has_gpu, kernel, normal

RECURRENT = "tfrepro; tensorflow/tensorflow#59281, #60192"
RECURRENT_SHAPES = "in[16,50,32], 64 units on GPU; in[4,8,8], 8 units on CPU"


@kernel("sequences", "LSTM (cuDNN on a GPU): all outputs and all gradients", RECURRENT_SHAPES, "float32", RECURRENT,
        portable=False, heavy=True)  # fmt: skip
def lstm_fwd_bwd(tf: Any, seed: int) -> Work:
    """``tf.keras.layers.LSTM`` with weights from NumPy: no other public API uses cuDNN's."""
    return _recurrent(tf, seed, tf.keras.layers.LSTM)


@kernel("sequences", "GRU (cuDNN on a GPU): all outputs and all gradients", RECURRENT_SHAPES, "float32", RECURRENT,
        portable=False, heavy=True)  # fmt: skip
def gru_fwd_bwd(tf: Any, seed: int) -> Work:
    """``tf.keras.layers.GRU`` with weights from NumPy: no other public API uses cuDNN's."""
    return _recurrent(tf, seed, tf.keras.layers.GRU)


@kernel(
    family="sequences",
    exercises="multi-head attention with seeded dropout: output and all gradients",
    shapes="in[8,64,256], 8 heads on GPU; in[4,16,64], 4 heads on CPU",
    dtypes="float32",
    source="tfrepro",
)
def attention_block(tf: Any, seed: int) -> Work:
    """MatMul, BatchMatMul, Softmax, stateless dropout and their gradients, random upstream gradient."""
    (batch, length, width), heads = ((8, 64, 256), 8) if has_gpu(tf) else ((4, 16, 64), 4)
    weights = _loops.initial_weights(seed, _loops.attention_shapes("attention", width))
    inputs = {"input": tf.constant(normal(seed, (batch * length, width), _loops.DATA))}
    inputs.update({name: tf.constant(value) for name, value in weights.items()})
    upstream = tf.constant(normal(seed, (batch * length, width), _loops.DATA + 1))

    def work() -> Outputs:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            output = _loops.attention(tf, inputs, "attention", inputs["input"], length, heads, 0.1, [seed, 0])
        gradients = tape.gradient(output, inputs, output_gradients=upstream)
        return {"output": output, **{f"gradient {name}": value for name, value in gradients.items()}}

    return work


def _recurrent(tf: Any, seed: int, layer_class: Any) -> Work:
    batch, length, features, units = (16, 50, 32, 64) if has_gpu(tf) else (4, 8, 8, 8)
    layer = layer_class(units, return_sequences=True, name="recurrent")
    layer.build((batch, length, features))
    shapes = [value.shape for value in layer.get_weights()]
    layer.set_weights([normal(seed, shape, salt) * np.float32(0.2) for salt, shape in enumerate(shapes, start=1)])
    x = tf.constant(normal(seed, (batch, length, features), _loops.DATA))
    upstream = tf.constant(normal(seed, (batch, length, units), _loops.DATA + 1))
    names = ("input", "kernel", "recurrent_kernel", "bias")

    def work() -> Outputs:
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = layer(x, training=True)
        gradients = tape.gradient(output, [x, *layer.trainable_variables], output_gradients=upstream)
        return {"output": output, **{f"gradient {name}": value for name, value in zip(names, gradients)}}

    return work
