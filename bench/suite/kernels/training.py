"""Training with Keras: model, data set and optimizer are rebuilt in every repeat."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.suite.kernels import Outputs, Work, kernel


@kernel(
    family="training",
    exercises="seeded initialisation, shuffled data set, Adam, two epochs; all final weights are compared",
    shapes="X[100,10], Dense 16-1, batch 32, 2 epochs",
    dtypes="float32",
    source="article 'Are TensorFlow results reproducible?' (2025), examples 1 and 3",
    call_again=False,
    portable=False,
)
def seeded_mlp(tf: Any, seed: int) -> Work:
    """Article's ``train_model``; the frame's reseeding covers its two seed calls.

    From Keras 3 on those two calls alone do not seed the initialisers, so the frame also seeds
    Python's ``random`` (``tf.keras.utils.set_random_seed``).
    """
    samples, features = 100, 10
    x = np.random.rand(samples, features).astype(np.float32)  # noqa: NPY002 - the article's own global stream
    y = np.random.randint(0, 2, samples).astype(np.int32)  # noqa: NPY002
    model = tf.keras.Sequential(
        [
            tf.keras.Input(shape=(features,)),
            tf.keras.layers.Dense(16, activation="relu"),
            tf.keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    # Keras 3 would choose XLA on a GPU by itself; XLA belongs in rows of its own
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"], jit_compile=False)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(samples, seed=seed).batch(32)

    def work() -> Outputs:
        model.fit(dataset, epochs=2, verbose=0)
        return {f"weights_{number}": value for number, value in enumerate(model.get_weights())}

    return work
