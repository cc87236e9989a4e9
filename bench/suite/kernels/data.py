"""Input pipelines; the order of the elements is part of the result."""

from __future__ import annotations

from typing import Any

from bench.suite.kernels import Outputs, Work, kernel, normal

DOCUMENTED = "tfrepro; TensorFlow's tf.data pass make_deterministic"
#: More elements than any of these pipelines has.
MAX_ELEMENTS = 10_000


@kernel(
    exercises="shuffle, interleave with deterministic=False, parallel map with a stateful random op",
    shapes="2000 elements, 8 parallel calls",
    dtypes="int64, float32",
    source=DOCUMENTED,
    call_again=False,
    on_host=True,
)
def data_pipeline(tf: Any, seed: int) -> Work:
    """One pass over a pipeline with races; the order of its elements is part of the result."""
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
        elements, numbers = _drain(dataset)
        return {"elements": elements, "random": numbers}

    return work


@kernel(
    exercises="parallel map with a stateful random op; the order of the elements is preserved",
    shapes="100 elements, 8 parallel calls",
    source=DOCUMENTED,
    call_again=False,
    on_host=True,
)
def map_stateful_random(tf: Any, seed: int) -> Work:
    """``Dataset.map``: the order of the elements is fixed, the order in which they draw random numbers is not."""
    dataset = tf.data.Dataset.from_tensor_slices(normal(seed, (100,))).map(
        lambda element: element + tf.random.uniform([]), num_parallel_calls=8, deterministic=True
    )
    return lambda: {"elements": _drain(dataset)}


@kernel(
    exercises="interleave with deterministic=False, which yields elements as they become ready",
    shapes="16 parts of 16 elements, 8 parallel calls",
    source=DOCUMENTED,
    call_again=False,
    on_host=True,
)
def interleave_sloppy(tf: Any, seed: int) -> Work:
    """``Dataset.interleave`` of parts that do not wait for each other."""
    values = normal(seed, (16, 16))
    dataset = tf.data.Dataset.range(16).interleave(
        lambda part: tf.data.Dataset.from_tensor_slices(tf.gather(values, part)),
        cycle_length=8,
        num_parallel_calls=8,
        deterministic=False,
    )
    return lambda: {"elements": _drain(dataset)}


@kernel(
    exercises="a seeded shuffle that reshuffles in the second epoch",
    shapes="2 epochs of 500 elements, buffer 100",
    dtypes="int64",
    source="tfrepro; tensorflow/tensorflow#31706, #58925",
    call_again=False,
    on_host=True,
)
def shuffle_reshuffle(tf: Any, seed: int) -> Work:
    """``Dataset.shuffle`` with ``reshuffle_each_iteration=True``, two passes over one data set."""
    dataset = tf.data.Dataset.range(500).shuffle(100, seed=seed, reshuffle_each_iteration=True)
    return lambda: {epoch: _drain(dataset) for epoch in ("first", "second")}


@kernel(
    exercises="elements drawn at random from three data sets",
    shapes="3 data sets of 100 elements",
    source="tfrepro; tensorflow/tensorflow#53846",
    call_again=False,
    on_host=True,
)
def sample_from_datasets(tf: Any, seed: int) -> Work:
    """``Dataset.sample_from_datasets`` with weights and a seed."""
    parts = [tf.data.Dataset.from_tensor_slices(normal(seed, (100,), salt)) for salt in range(3)]
    dataset = tf.data.Dataset.sample_from_datasets(parts, weights=[0.5, 0.3, 0.2], seed=seed)
    return lambda: {"elements": _drain(dataset)}


def _drain(dataset: Any) -> Any:
    """Read all elements in one batch: a slow reader would let the parallel calls finish in order, without a race.

    ``take`` limits nothing; it prevents ``batch`` from being fused with the preceding ``map``.
    """
    return next(iter(dataset.take(MAX_ELEMENTS).batch(MAX_ELEMENTS)))
