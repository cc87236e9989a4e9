"""Input pipelines."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.suite.kernels import Outputs, Work, kernel


@kernel(
    family="data",
    exercises="shuffle, interleave with deterministic=False, parallel map with a stateful random op",
    shapes="2000 elements, 8 parallel calls",
    dtypes="int64, float32",
    source="own; TensorFlow's tf.data pass make_deterministic",
    call_again=False,
)
def data_pipeline(tf: Any, seed: int) -> Work:
    """One pass over a racing pipeline: the elements in the order they came."""
    dataset = (
        tf.data.Dataset.range(20)
        .shuffle(20, seed=seed)
        .interleave(
            lambda part: tf.data.Dataset.range(part * 100, part * 100 + 100),
            cycle_length=8,
            num_parallel_calls=8,
            deterministic=False,
        )
        .map(
            lambda element: (element, tf.random.uniform([])),
            num_parallel_calls=8,
            deterministic=False,
        )
    )

    def work() -> Outputs:
        elements, numbers = zip(*dataset.as_numpy_iterator())
        return {"elements": np.array(elements), "random": np.array(numbers)}

    return work
