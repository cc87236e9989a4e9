"""The fixed suite: one module per family, one small function per kernel.

A kernel is a function ``(tf, seed) -> work``: it builds its inputs, models and data sets from the
seed, and returns a callable without arguments that does the work and returns its outputs as a
mapping of names to tensors or arrays. Only the work is timed. Adding one::

    @kernel(
        family="reductions",
        exercises="a sum over one axis",
        shapes="[4096, 4096]",
        dtypes="float32",
        source="own",
    )
    def reduce_sum_axis(tf, seed):
        x = tf.constant(stream(seed).random_sample((4096, 4096)).astype("float32"))
        return lambda: {"sum": tf.reduce_sum(x, axis=0)}

TensorFlow is handed in, so the declarations can be listed where it is not installed.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from dataclasses import dataclass
from typing import Any, Callable, Dict, Mapping

import numpy as np

#: Modules of this folder, in the order of the page's rows.
FAMILIES = ("training", "linalg", "reductions", "segments", "convolutions", "losses", "data", "controls")

Outputs = Mapping[str, Any]
Work = Callable[[], Outputs]
Function = Callable[[Any, int], Work]


@dataclass(frozen=True)
class Kernel:
    """One row of the matrix.

    ``call_again`` says that the work may be called repeatedly and must give the same bits each time
    (no state moves), so it can be timed after its first call. ``portable`` says that no Keras code
    is involved, so the bits may be compared across Keras versions. ``control`` is "", "must-differ"
    or "must-not-differ".
    """

    name: str
    family: str
    exercises: str
    shapes: str
    dtypes: str
    source: str
    function: Function
    call_again: bool = True
    portable: bool = True
    control: str = ""

    def declaration(self) -> Dict[str, Any]:
        """What the page and ``python -m bench kernels`` show: plain values only."""
        keys = ("name", "family", "exercises", "shapes", "dtypes", "source", "control", "portable")
        return {key: getattr(self, key) for key in keys}

    def source_hash(self) -> str:
        """SHA-256 of the function's source text."""
        return hashlib.sha256(inspect.getsource(self.function).encode()).hexdigest()


_REGISTRY: Dict[str, Kernel] = {}


def kernel(
    family: str,
    exercises: str,
    shapes: str,
    dtypes: str,
    source: str,
    *,
    call_again: bool = True,
    portable: bool = True,
    control: str = "",
) -> Callable[[Function], Function]:
    """Declare a kernel; its name is the function's. Raises ValueError on a name already taken."""

    def declare(function: Function) -> Function:
        name = function.__name__
        if name in _REGISTRY:
            raise ValueError(f"two kernels are named {name!r}")
        _REGISTRY[name] = Kernel(
            name, family, exercises, shapes, dtypes, source, function, call_again, portable, control
        )
        return function

    return declare


def all_kernels() -> Dict[str, Kernel]:
    """Every kernel by name, family by family, in the order of their declaration."""
    for family in FAMILIES:
        importlib.import_module(f"{__name__}.{family}")
    order = {family: position for position, family in enumerate(FAMILIES)}
    return {found.name: found for found in sorted(_REGISTRY.values(), key=lambda found: order[found.family])}


def stream(seed: int) -> np.random.RandomState:
    """NumPy's frozen generator: same numbers in every NumPy release (NEP 19)."""
    return np.random.RandomState(seed)
