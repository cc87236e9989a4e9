"""Building blocks of the portable training loops: weights from NumPy, hand-written layers and optimizers, no Keras.

Changes between Keras releases (initialisers, seed streams, optimizers) therefore cannot change the results. This
module declares no kernels.
"""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np

from bench.suite.kernels import Outputs, Traced, Work, integers, normal, stream

#: Variables, inputs, targets and the seed of the step -> loss of the step.
Loss = Callable[[Mapping[str, Any], Any, Any, Any], Any]
#: TensorFlow, variable, its slots, its gradient and the two bias corrections -> updates the variable in place.
Update = Callable[[Any, Any, Sequence[Any], Any, Any], None]
Batches = Sequence[Tuple[Any, Any]]

#: Salts from this number on are used for data, those below for weights.
DATA = 1000
RATE, MOMENTUM = 0.05, 0.9
ADAM_RATE, BETA_1, BETA_2, EPSILON = 0.01, 0.9, 0.999, 1e-7


def initial_weights(seed: int, shapes: Mapping[str, Tuple[int, ...]]) -> Dict[str, np.ndarray[Any, Any]]:
    """Return initial weights by name: zeros for biases, ones for scales, otherwise normal numbers scaled by fan-in."""
    weights: Dict[str, np.ndarray[Any, Any]] = {}
    for salt, (name, shape) in enumerate(shapes.items(), start=1):
        if name.endswith("/bias"):
            weights[name] = np.zeros(shape, "float32")
        elif name.endswith("/scale"):
            weights[name] = np.ones(shape, "float32")
        else:
            weights[name] = normal(seed, shape, salt) * np.float32(1 / math.sqrt(math.prod(shape[:-1])))
    return weights


def shuffled(seed: int, x: Any, y: Any, batch: int, epochs: int) -> List[Tuple[Any, Any]]:
    """Return the batches of all epochs, shuffled by the frozen generator."""
    numbers = stream(seed, DATA - 1)
    orders = [numbers.permutation(len(x)).reshape(-1, batch) for _ in range(epochs)]
    return [(x[chosen], y[chosen]) for order in orders for chosen in order]


def labels(seed: int, classes: int, shape: Tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return random class indices."""
    return integers(seed, classes, shape, DATA + 1)


def dense(variables: Mapping[str, Any], name: str, x: Any) -> Any:
    """Apply a dense layer with the variables ``name/kernel`` and ``name/bias``."""
    return x @ variables[f"{name}/kernel"] + variables[f"{name}/bias"]


def dropout(tf: Any, x: Any, rate: float, seed: Any) -> Any:
    """Apply dropout with a stateless random op, whose mask depends only on the seed."""
    kept = tf.random.stateless_uniform(tf.shape(x), seed) >= rate
    return tf.where(kept, x / (1.0 - rate), tf.zeros_like(x))


def layer_norm(tf: Any, x: Any, scale: Any, offset: Any) -> Any:
    """Normalise over the last axis."""
    mean, variance = tf.nn.moments(x, axes=[-1], keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + 1e-5) * scale + offset


def attention_shapes(prefix: str, width: int) -> Dict[str, Tuple[int, ...]]:
    """Return the shapes of the weights of ``attention``."""
    return {f"{prefix}/{part}": (width, width) for part in ("query", "key", "value", "output")}


def attention(
    tf: Any, variables: Mapping[str, Any], prefix: str, x: Any, length: int, heads: int, rate: float, seed: Any
) -> Any:
    """Apply multi-head self-attention to ``x[tokens,width]``, with ``length`` tokens per sequence and dropout."""
    width = x.shape[-1]
    query, key, value = (
        tf.transpose(tf.reshape(x @ variables[f"{prefix}/{part}"], (-1, length, heads, width // heads)), (0, 2, 1, 3))
        for part in ("query", "key", "value")
    )
    scores = tf.nn.softmax(tf.matmul(query, key, transpose_b=True) / math.sqrt(width // heads))
    mixed = tf.matmul(dropout(tf, scores, rate, seed), value)
    return tf.reshape(tf.transpose(mixed, (0, 2, 1, 3)), (-1, width)) @ variables[f"{prefix}/output"]


def sgd(tf: Any, variable: Any, slots: Sequence[Any], gradient: Any, corrections: Any) -> None:  # noqa: ARG001
    """Apply one step of SGD with momentum; uses one slot."""
    (velocity,) = slots
    velocity.assign(MOMENTUM * velocity + gradient)
    variable.assign_sub(RATE * velocity)


def adam(tf: Any, variable: Any, slots: Sequence[Any], gradient: Any, corrections: Any) -> None:
    """Apply one step of Adam; uses two slots. A sparse gradient updates the rows of an embedding by scatter ops."""
    mean, square = slots
    if isinstance(gradient, tf.IndexedSlices):
        # squares need the summed gradient of each row; the mean is linear, so it can add duplicates one by one
        rows, positions = tf.unique(gradient.indices)
        sums = tf.math.unsorted_segment_sum(gradient.values, positions, tf.size(rows))
        mean.assign(BETA_1 * mean)
        mean.scatter_add(tf.IndexedSlices((1 - BETA_1) * gradient.values, gradient.indices))
        square.assign(BETA_2 * square)
        square.scatter_add(tf.IndexedSlices((1 - BETA_2) * sums * sums, rows))
    else:
        mean.assign(BETA_1 * mean + (1 - BETA_1) * gradient)
        square.assign(BETA_2 * square + (1 - BETA_2) * gradient * gradient)
    step = (mean / corrections[0]) / (tf.sqrt(square / corrections[1]) + EPSILON)
    variable.assign_sub(ADAM_RATE * step)


def training(
    tf: Any,
    seed: int,
    weights: Mapping[str, np.ndarray[Any, Any]],
    loss: Loss,
    update: Update,
    batches: Batches,
) -> Work:
    """Return the work of a training over all batches; every call restarts from the initial weights."""
    variables = {name: tf.Variable(value) for name, value in weights.items()}
    number = 2 if update is adam else 1
    slots = {name: [tf.Variable(np.zeros_like(value)) for _ in range(number)] for name, value in weights.items()}
    inputs = [
        (tf.constant(x), tf.constant(y), tf.constant(corrections), tf.constant([seed, step], tf.int32))
        for step, ((x, y), corrections) in enumerate(zip(batches, _corrections(len(batches))))
    ]

    def train(x: Any, y: Any, corrections: Any, step_seed: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss(variables, x, y, step_seed)
        gradients = tape.gradient(value, variables)
        for name, gradient in gradients.items():
            update(tf, variables[name], slots[name], gradient, corrections)
        # return a list, because a traced function would sort a mapping
        dense_gradients = [tf.convert_to_tensor(gradients[name]) for name in variables]
        return [value, *dense_gradients, *(variable.read_value() for variable in variables.values())]

    step = tf.function(train, autograph=False)
    names = ["loss", *(f"gradient {name}" for name in variables), *(f"weight {name}" for name in variables)]

    def work() -> Traced:
        for name, variable in variables.items():
            variable.assign(weights[name])
            for slot in slots[name]:
                slot.assign(np.zeros_like(weights[name]))
        steps = [dict(zip(names, step(*batch))) for batch in inputs]
        return Traced(final(steps), steps)

    return work


def final(steps: Sequence[Outputs]) -> Outputs:
    """Return the outputs of a training: loss and weights of its last step."""
    return {name: value for name, value in steps[-1].items() if name == "loss" or name.startswith("weight ")}


def _corrections(steps: int) -> List[np.ndarray[Any, Any]]:
    """Return Adam's bias corrections of each step, by multiplication, because ``pow`` may round differently."""
    powers = np.cumprod(np.full((steps, 2), [BETA_1, BETA_2]), axis=0)
    return list((1.0 - powers).astype("float32"))
