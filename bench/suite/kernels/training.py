"""Trainings, each in two forms: Keras' ``fit``, and a portable loop whose results do not depend on the Keras release.

Model, data set and optimizer are rebuilt in every repetition.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping, Sequence, Tuple

import numpy as np

from bench.suite.kernels import Outputs, Traced, Work, _loops, has_gpu, integers, kernel, normal

ARTICLE = "article 'Are TensorFlow results reproducible?' (2025), examples 1 and 3"
SMALL_CNN = "16-filter SmallCNN of usyd-fsalab/NeuralNetworkRandomness"
BERT = "tfrepro; motivated by tensorflow/tensorflow#40514"
SLOW_EMBEDDING = "tensorflow/tensorflow#62100, with a tenth of its table, because every step is recorded"

MLP_SHAPES = "X[1000,20], Dense 64-64-1, batch 100, 2 epochs"
CNN_SHAPES = "GPU [256,32,32,3], 16 filters, batch 32, 2 epochs; CPU [80,8,8,3], 8 filters, batch 8, 1 epoch"
TRANSFORMER_SHAPES = (
    "GPU ids[32,64], 2 layers, width 128, 4 heads, vocabulary 1000; "
    "CPU ids[8,12], 1 layer, width 16, 2 heads, vocabulary 50; 10 steps"
)
EMBEDDING_SHAPES = "GPU ids[256,100], table[20000,100]; CPU ids[32,20], table[500,16]; 10 steps"

FEATURES, UNITS, DROPOUT = 20, 64, 0.1
CLASSES = 10
STEPS = 10


@kernel(
    exercises="seeded initialisation, shuffled data set, Adam, two epochs; all final weights are compared",
    shapes="X[100,10], Dense 16-1, batch 32, 2 epochs",
    source=ARTICLE,
    call_again=False,
    portable=False,
    heavy=True,
)
def seeded_mlp(tf: Any, seed: int) -> Work:
    """The article's ``train_model``; the worker reseeds all generators, which covers the article's two seed calls.

    Since Keras 3, these two calls alone do not seed the initialisers, so the worker also seeds
    Python's ``random`` (``tf.keras.utils.set_random_seed``).
    """
    samples, features = 100, 10
    x = np.random.rand(samples, features).astype(np.float32)  # noqa: NPY002 - the article uses the global stream
    y = np.random.randint(0, 2, samples).astype(np.int32)  # noqa: NPY002
    model = tf.keras.Sequential(
        [
            tf.keras.Input(shape=(features,)),
            tf.keras.layers.Dense(16, activation="relu"),
            tf.keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    # Keras 3 would enable XLA on a GPU by itself; XLA has separate kernels
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"], jit_compile=False)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(samples, seed=seed).batch(32)

    def work() -> Outputs:
        model.fit(dataset, epochs=2, verbose=0)
        return {f"weights_{number}": value for number, value in enumerate(model.get_weights())}

    return work


@kernel("training", "Keras fit: dense layers, dropout, Adam, shuffled data set", MLP_SHAPES, "float32", ARTICLE,
        call_again=False, portable=False, heavy=True)  # fmt: skip
def mlp_fit(tf: Any, seed: int) -> Work:
    """``Model.fit`` of Dense, Dropout, Dense, Dense with Adam."""
    return _mlp_fit(tf, seed, xla=False)


@kernel("training", "Keras fit under XLA: dense layers, dropout, Adam, shuffled data set", MLP_SHAPES, "float32",
        ARTICLE, call_again=False, portable=False, heavy=True)  # fmt: skip
def mlp_fit_xla(tf: Any, seed: int) -> Work:
    """``mlp_fit`` with ``jit_compile=True``."""
    return _mlp_fit(tf, seed, xla=True)


@kernel("training", "portable loop: dense layers, stateless dropout, Adam", MLP_SHAPES, "float32", ARTICLE, heavy=True)
def mlp_loop(tf: Any, seed: int) -> Work:
    """MatMul, bias add, ReLU, stateless dropout, sigmoid cross-entropy and their gradients; hand-written Adam."""
    x, y = _mlp_data(seed)
    layers = {"first": (FEATURES, UNITS), "second": (UNITS, UNITS), "last": (UNITS, 1)}

    def loss(variables: Mapping[str, Any], x: Any, y: Any, step_seed: Any) -> Any:
        hidden = tf.nn.relu(_loops.dense(variables, "first", x))
        hidden = _loops.dropout(tf, hidden, DROPOUT, step_seed)
        hidden = tf.nn.relu(_loops.dense(variables, "second", hidden))
        logits = _loops.dense(variables, "last", hidden)
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=logits))

    weights = _loops.initial_weights(seed, _dense_shapes(layers))
    return _loops.training(tf, seed, weights, loss, _loops.adam, _loops.shuffled(seed, x, y, 100, epochs=2))


@kernel("training", "Keras fit: convolutions, batch normalisation, pooling, SGD with momentum", CNN_SHAPES, "float32",
        SMALL_CNN, call_again=False, portable=False, heavy=True)  # fmt: skip
def cnn_fit(tf: Any, seed: int) -> Work:
    """``Model.fit`` of Conv, BatchNorm, ReLU, MaxPool, Conv, global average, Dense."""
    x, y, filters, batch, epochs = _cnn_data(tf, seed)
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            tf.keras.Input(shape=x.shape[1:]),
            layers.Conv2D(filters, 3, padding="same", use_bias=False, name="first"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(name="relu"),
            layers.MaxPooling2D(name="pool"),
            layers.Conv2D(filters, 3, padding="same", activation="relu", name="second"),
            layers.GlobalAveragePooling2D(name="average"),
            layers.Dense(CLASSES, name="last"),
        ],
        name="cnn",
    )
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return _fit(tf, seed, model, loss, _sgd(tf), (x, y), batch, epochs)


@kernel("training", "portable loop: convolutions, batch normalisation, pooling, SGD with momentum", CNN_SHAPES,
        "float32", SMALL_CNN, heavy=True)  # fmt: skip
def cnn_loop(tf: Any, seed: int) -> Work:
    """Conv2D, FusedBatchNormV3, MaxPool, Conv2D, mean, MatMul and their gradients; hand-written SGD with momentum."""
    x, y, filters, batch, epochs = _cnn_data(tf, seed)

    def loss(variables: Mapping[str, Any], x: Any, y: Any, step_seed: Any) -> Any:  # noqa: ARG001 - has no dropout
        hidden = tf.nn.conv2d(x, variables["first/kernel"], 1, "SAME")
        hidden = tf.raw_ops.FusedBatchNormV3(
            x=hidden, scale=variables["norm/scale"], offset=variables["norm/bias"], mean=[], variance=[], epsilon=1e-3
        ).y
        hidden = tf.nn.max_pool2d(tf.nn.relu(hidden), 2, 2, "VALID")
        hidden = tf.nn.relu(tf.nn.conv2d(hidden, variables["second/kernel"], 1, "SAME") + variables["second/bias"])
        logits = _loops.dense(variables, "last", tf.reduce_mean(hidden, axis=(1, 2)))
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))

    shapes: Dict[str, Tuple[int, ...]] = {
        "first/kernel": (3, 3, 3, filters),
        "norm/scale": (filters,),
        "norm/bias": (filters,),
        "second/kernel": (3, 3, filters, filters),
        "second/bias": (filters,),
        **_dense_shapes({"last": (filters, CLASSES)}),
    }
    batches = _loops.shuffled(seed, x, y, batch, epochs)
    return _loops.training(tf, seed, _loops.initial_weights(seed, shapes), loss, _loops.sgd, batches)


@kernel("training", "Keras fit: embedding, attention, layer normalisation, Adam", TRANSFORMER_SHAPES, "float32", BERT,
        call_again=False, portable=False, heavy=True)  # fmt: skip
def transformer_fit(tf: Any, seed: int) -> Work:
    """``Model.fit`` of Embedding, then LayerNormalization, MultiHeadAttention and a wide Dense per layer."""
    x, y, depth, width, heads, vocabulary = _transformer_data(tf, seed)
    layers = tf.keras.layers
    inputs = tf.keras.Input(shape=x.shape[2:], dtype="int32")
    hidden = layers.Embedding(vocabulary, width, name="tokens")(inputs)
    for number in range(depth):
        normed = layers.LayerNormalization(name=f"norm_{number}")(hidden)
        attend = layers.MultiHeadAttention(
            heads, width // heads, dropout=DROPOUT, use_bias=False, name=f"attention_{number}"
        )
        hidden = layers.Add(name=f"attended_{number}")([hidden, attend(normed, normed)])
        wide = layers.Dense(4 * width, activation="relu", name=f"wide_{number}")(hidden)
        narrow = layers.Dense(width, name=f"narrow_{number}")(wide)
        hidden = layers.Add(name=f"widened_{number}")([hidden, narrow])
    model = tf.keras.Model(inputs, layers.Dense(vocabulary, name="last")(hidden), name="transformer")
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return _fit(tf, seed, model, loss, _adam(tf), (np.concatenate(x), np.concatenate(y)), x.shape[1])


@kernel("training", "portable loop: gathered embedding, attention, layer normalisation, Adam", TRANSFORMER_SHAPES,
        "float32", BERT, heavy=True)  # fmt: skip
def transformer_loop(tf: Any, seed: int) -> Work:
    """Gather, layer norm, attention, ReLU, sparse softmax cross-entropy and their gradients; hand-written Adam."""
    x, y, depth, width, heads, vocabulary = _transformer_data(tf, seed)
    length = x.shape[2]

    def loss(variables: Mapping[str, Any], x: Any, y: Any, step_seed: Any) -> Any:
        hidden = tf.gather(variables["tokens/table"], tf.reshape(x, [-1]))
        for number in range(depth):
            normed = _loops.layer_norm(tf, hidden, variables[f"norm_{number}/scale"], variables[f"norm_{number}/bias"])
            prefix = f"attention_{number}"
            block_seed = tf.stack([step_seed[0], step_seed[1] + number * STEPS])
            hidden += _loops.attention(tf, variables, prefix, normed, length, heads, DROPOUT, block_seed)
            wide = tf.nn.relu(_loops.dense(variables, f"wide_{number}", hidden))
            hidden += _loops.dense(variables, f"narrow_{number}", wide)
        logits = _loops.dense(variables, "last", hidden)
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.reshape(y, [-1]), logits=logits))

    shapes: Dict[str, Tuple[int, ...]] = {"tokens/table": (vocabulary, width)}
    for number in range(depth):
        shapes.update({f"norm_{number}/scale": (width,), f"norm_{number}/bias": (width,)})
        shapes.update(_loops.attention_shapes(f"attention_{number}", width))
        shapes.update(_dense_shapes({f"wide_{number}": (width, 4 * width), f"narrow_{number}": (4 * width, width)}))
    shapes.update(_dense_shapes({"last": (width, vocabulary)}))
    return _loops.training(tf, seed, _loops.initial_weights(seed, shapes), loss, _loops.adam, list(zip(x, y)))


@kernel("training", "Keras fit: a large embedding with repeated rows, Adam", EMBEDDING_SHAPES,
        "float32", SLOW_EMBEDDING, call_again=False, portable=False, heavy=True)  # fmt: skip
def embedding_fit(tf: Any, seed: int) -> Work:
    """``Model.fit`` of Embedding, average, Dense with Adam."""
    x, y, rows, width = _embedding_data(tf, seed)
    model = tf.keras.Sequential(
        [
            tf.keras.Input(shape=x.shape[2:], dtype="int32"),
            tf.keras.layers.Embedding(rows, width, name="table"),
            tf.keras.layers.GlobalAveragePooling1D(name="average"),
            tf.keras.layers.Dense(1, name="last"),
        ],
        name="embedding",
    )
    loss = tf.keras.losses.BinaryCrossentropy(from_logits=True)
    return _fit(tf, seed, model, loss, _adam(tf), (np.concatenate(x), np.concatenate(y)), x.shape[1])


@kernel("training", "portable loop: an embedding whose rows are updated by resource scatters, Adam", EMBEDDING_SHAPES,
        "float32", SLOW_EMBEDDING, heavy=True)  # fmt: skip
def embedding_loop(tf: Any, seed: int) -> Work:
    """Gather, mean, MatMul and their gradients; ResourceScatterAdd with duplicate rows in Adam's step."""
    x, y, rows, width = _embedding_data(tf, seed)

    def loss(variables: Mapping[str, Any], x: Any, y: Any, step_seed: Any) -> Any:  # noqa: ARG001 - has no dropout
        average = tf.reduce_mean(tf.gather(variables["table/rows"], x), axis=1)
        logits = _loops.dense(variables, "last", average)
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=logits))

    shapes = {"table/rows": (rows, width), **_dense_shapes({"last": (width, 1)})}
    return _loops.training(tf, seed, _loops.initial_weights(seed, shapes), loss, _loops.adam, list(zip(x, y)))


def _mlp_fit(tf: Any, seed: int, *, xla: bool) -> Work:
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            tf.keras.Input(shape=(FEATURES,)),
            layers.Dense(UNITS, activation="relu", name="first"),
            layers.Dropout(DROPOUT, name="dropout"),
            layers.Dense(UNITS, activation="relu", name="second"),
            layers.Dense(1, name="last"),
        ],
        name="mlp",
    )
    loss = tf.keras.losses.BinaryCrossentropy(from_logits=True)
    return _fit(tf, seed, model, loss, _adam(tf), _mlp_data(seed), 100, epochs=2, xla=xla)


def _fit(
    tf: Any,
    seed: int,
    model: Any,
    loss: Any,
    optimizer: Any,
    data: Tuple[Any, Any],
    batch: int,
    epochs: int = 1,
    *,
    xla: bool = False,
) -> Work:
    """Return the work of a Keras fit over the shuffled data; a callback records every step."""
    model.compile(optimizer=optimizer, loss=loss, jit_compile=xla)
    # create the slots before the first call, so that the step is traced once instead of twice
    optimizer.build(model.trainable_variables)
    dataset = tf.data.Dataset.from_tensor_slices(data).shuffle(len(data[0]), seed=seed).batch(batch)
    steps = []

    def record(_batch: int, logs: Mapping[str, Any]) -> None:
        steps.append(
            {
                "loss": np.float32(logs["loss"]),
                **_named("weight", model.weights),
                **_named("slot", model.optimizer.variables),
            }
        )

    def work() -> Traced:
        recorder = tf.keras.callbacks.LambdaCallback(on_train_batch_end=record)
        model.fit(dataset, epochs=epochs, verbose=0, callbacks=[recorder])
        # convert to tensors, which know their device; the callback's copies do not
        variables = [variable for variable in model.weights if len(variable.shape)]
        weights = {f"weight {_name(variable)}": tf.convert_to_tensor(variable) for variable in variables}
        return Traced({**_loops.final(steps), **weights}, steps)

    return work


def _name(variable: Any) -> str:
    """Return the full name of a variable: ``path`` in Keras 3, ``name`` in Keras 2."""
    return str(getattr(variable, "path", variable.name)).split(":")[0]


def _named(kind: str, variables: Sequence[Any]) -> Dict[str, Any]:
    """Return copies of the variables by name, without scalars, which only count steps."""
    return {f"{kind} {_name(variable)}": variable.numpy() for variable in variables if len(variable.shape)}


def _adam(tf: Any) -> Any:
    return tf.keras.optimizers.Adam(learning_rate=_loops.ADAM_RATE, name="adam")


def _sgd(tf: Any) -> Any:
    return tf.keras.optimizers.SGD(learning_rate=_loops.RATE, momentum=_loops.MOMENTUM, name="sgd")


def _dense_shapes(layers: Mapping[str, Tuple[int, int]]) -> Dict[str, Tuple[int, ...]]:
    shapes: Dict[str, Tuple[int, ...]] = {}
    for name, (inputs, outputs) in layers.items():
        shapes.update({f"{name}/kernel": (inputs, outputs), f"{name}/bias": (outputs,)})
    return shapes


def _mlp_data(seed: int) -> Tuple[Any, Any]:
    return normal(seed, (1000, FEATURES), _loops.DATA), _loops.labels(seed, 2, (1000, 1)).astype("float32")


def _cnn_data(tf: Any, seed: int) -> Tuple[Any, Any, int, int, int]:
    """Return images, classes, number of filters, batch size and epochs."""
    images, side, filters, batch, epochs = (256, 32, 16, 32, 2) if has_gpu(tf) else (80, 8, 8, 8, 1)
    x = normal(seed, (images, side, side, 3), _loops.DATA)
    return x, _loops.labels(seed, CLASSES, (images,)), filters, batch, epochs


def _transformer_data(tf: Any, seed: int) -> Tuple[Any, Any, int, int, int, int]:
    """Return ids and targets of every step, depth, width, number of heads and size of the vocabulary."""
    batch, length, depth, width, heads, vocabulary = (32, 64, 2, 128, 4, 1000) if has_gpu(tf) else (8, 12, 1, 16, 2, 50)
    shape = (STEPS, batch, length)
    x = integers(seed, vocabulary, shape, _loops.DATA)
    return x, _loops.labels(seed, vocabulary, shape), depth, width, heads, vocabulary


def _embedding_data(tf: Any, seed: int) -> Tuple[Any, Any, int, int]:
    """Return ids and targets of every step, rows and width of the table; the ids use only a tenth of the rows."""
    batch, length, rows, width = (256, 100, 20_000, 100) if has_gpu(tf) else (32, 20, 500, 16)
    x = integers(seed, rows // 10, (STEPS, batch, length), _loops.DATA)
    return x, _loops.labels(seed, 2, (STEPS, batch, 1)).astype("float32"), rows, width
