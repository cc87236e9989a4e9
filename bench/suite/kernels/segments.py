"""Segment sums and scatters: many updates of one address."""

from __future__ import annotations

from typing import Any

from bench.suite.kernels import Outputs, Work, kernel, stream


@kernel(
    family="segments",
    exercises="two million float additions into four sums",
    shapes="data[30,256,256], ids[30,256,256] in [0,4)",
    dtypes="float32, int32",
    source="tensorflow/tensorflow#39751",
)
def unsorted_segment_sum(tf: Any, seed: int) -> Work:
    """Float sums by unsorted segment ids."""
    numbers = stream(seed)
    data = tf.constant(numbers.standard_normal((30, 256, 256)).astype("float32"))
    ids = tf.constant(numbers.randint(0, 4, (30, 256, 256)).astype("int32"))
    return lambda: {"sums": tf.math.unsorted_segment_sum(data, ids, num_segments=4)}


@kernel(
    family="segments",
    exercises="scatter-add into a resource variable, each index many times",
    shapes="variable[1000,64], indices[100000] in [0,50), updates[100000,64]",
    dtypes="float32, int32",
    source="TensorFlow's resource-variable scatter; determinism since 2.8 (#52270)",
)
def variable_scatter_add(tf: Any, seed: int) -> Work:
    """``Variable.scatter_add`` with duplicate indices."""
    numbers = stream(seed)
    indices = tf.constant(numbers.randint(0, 50, 100_000).astype("int32"))
    updates = tf.constant(numbers.standard_normal((100_000, 64)).astype("float32"))

    def work() -> Outputs:
        variable = tf.Variable(tf.zeros((1000, 64)))
        variable.scatter_add(tf.IndexedSlices(updates, indices))
        return {"variable": variable}

    return work
