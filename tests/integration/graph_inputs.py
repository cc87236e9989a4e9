"""A custom kernel that fails where the graph of an op holds an input as a constant.

TensorFlow could compute with constants in advance, and the times of such an op would be meaningless.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.suite.kernels import Work, all_kernels, kernel

#: Elements of the largest constant that is no input: shapes, strides, seeds, fixed bins.
MOST = 16
#: Zeros, ones and masks have no more distinct values than this.
MASK = 2
#: Trainings and layers have graphs of their own; pipelines and controls have none.
LEFT_OUT = ("training", "sequences", "data", "controls")


@kernel(family="own", exercises="inputs of all ops", shapes="as in the suite", dtypes="all", source="tfrepro")
def constants_in_graphs(tf: Any, seed: int) -> Work:
    """Trace every op and look for large constants."""
    traced: list[Any] = []
    original = tf.function

    def recording(function: Any, **options: Any) -> Any:
        traced.append(original(function, **options))
        return traced[-1]

    tf.function = recording
    bad, graphs = [], 0
    try:
        for name, one in all_kernels().items():
            traced.clear()
            if one.family not in LEFT_OUT:
                one.function(tf, seed)
            for function in traced:
                graphs += 1
                bad += [name] if _largest(tf, function) > MOST else []
    finally:
        tf.function = original
    assert not bad, bad
    return lambda: {"graphs": np.array(graphs + seed)}


def _largest(tf: Any, function: Any) -> int:
    constants = (
        tf.make_ndarray(node.get_attr("value"))
        for concrete in function._list_all_concrete_functions()
        for node in concrete.graph.get_operations()
        if node.type == "Const" and node.outputs[0].dtype.is_floating
    )
    return max((value.size for value in constants if np.unique(value).size > MASK), default=0)
