"""The fixed suite: one module per family, one small function per kernel.

A kernel is a function ``(tf, seed) -> work``: it builds its inputs, models and data sets from the
seed, and returns a callable without arguments that does the work and returns its outputs as a
mapping of names to tensors or arrays (a training kernel returns ``Traced``: its steps beside them).
Only the work is timed. Adding one::

    @kernel(
        family="reductions",
        exercises="a sum over one axis",
        shapes="[4096,4096]",
        dtypes="float32",
        source="own",
    )
    def reduce_sum_axis(tf, seed):
        x = tf.constant(normal(seed, (4096, 4096)))
        return lambda: {"sum": tf.reduce_sum(x, axis=0)}

TensorFlow is handed in, so the declarations can be listed where it is not installed.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

#: Modules of this folder, in the order of the page's rows.
FAMILIES = (
    "training", "linalg", "reductions", "segments", "sparse", "convolutions", "pooling", "normalisation", "losses",
    "sequences", "images", "random", "data", "controls",
)  # fmt: skip

Outputs = Mapping[str, Any]


class Traced(NamedTuple):
    """What a training kernel's work returns: final outputs, and the tensors of every step in their order.

    ``steps[i]`` maps names such as ``loss``, ``gradient dense/kernel`` and ``weight dense/kernel`` to what
    step ``i`` gave, in the order in which they came about: the first one that differs is where two
    trainings part.
    """

    outputs: Outputs
    steps: Sequence[Outputs]


Work = Callable[[], Union[Outputs, Traced]]
Function = Callable[[Any, int], Work]
#: Seed -> float64 reference of some outputs, by their names.
Reference = Callable[[int], Mapping[str, Any]]


@dataclass(frozen=True)
class Kernel:
    """One row of the matrix.

    ``call_again`` says that the work may be called repeatedly and must give the same bits each time
    (no state moves), so it can be timed after its first call. ``portable`` says that no Keras code
    is involved, so the bits may be compared across Keras versions. ``control`` is "", "must-differ"
    or "must-not-differ", ``rate`` the share of samples in which a control differs. ``heavy`` kernels
    (training) get the profile's ``heavy_repetitions``. ``gpu_control`` marks what is known to vary on GPUs
    with determinism off. ``on_host`` says that its outputs are made on the CPU, whatever the device.
    ``reference`` gives float64 outputs to measure the error against. ``file`` is the user's own file
    it comes from, "" for the fixed suite.
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
    rate: float = 0.0
    heavy: bool = False
    gpu_control: bool = False
    on_host: bool = False
    reference: Optional[Reference] = None
    file: str = ""
    code_hash: str = ""

    def declaration(self) -> Dict[str, Any]:
        """What the page and ``python -m bench kernels`` show: plain values only."""
        keys = (
            "name", "family", "exercises", "shapes", "dtypes", "source", "control", "rate", "portable", "heavy",
            "call_again", "gpu_control", "on_host", "file",
        )  # fmt: skip
        return {**{key: getattr(self, key) for key in keys}, "accuracy": self.reference is not None}

    def source_hash(self) -> str:
        """SHA-256 of the module the kernel stands in, for it shares code with its neighbours; of a user's own file."""
        return self.code_hash or _module_hash(self.function.__module__)


#: What every declaration says in words.
_TEXTS = ("family", "exercises", "shapes", "dtypes", "source")

_REGISTRY: Dict[str, Kernel] = {}
#: Kernels of a user's file while it is read (see ``custom.py``); None while the suite itself is imported.
_collected: Optional[List[Kernel]] = None


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
    rate: float = 0.0,
    heavy: bool = False,
    gpu_control: bool = False,
    on_host: bool = False,
    reference: Optional[Reference] = None,
) -> Callable[[Function], Function]:
    """Declare a kernel; its name is the function's.

    Raises:
        TypeError: a declaration that is no text.
        ValueError: a name already taken, or a control in a file of the user's own.
    """

    def declare(function: Function) -> Function:
        name = function.__name__
        texts: Tuple[object, ...] = (family, exercises, shapes, dtypes, source)
        for key, text in zip(_TEXTS, texts):
            if not (isinstance(text, str) and text.strip()):
                raise TypeError(f"the kernel {name!r} must say its {key} as text, and says {text!r}")
        if name in _REGISTRY or name in {one.name for one in _collected or ()}:
            raise ValueError(f"two kernels are named {name!r}")
        if _collected is not None and control:
            raise ValueError("controls belong to the fixed suite: a kernel of your own cannot be one")
        declared = Kernel(
            name, family, exercises, shapes, dtypes, source, function, call_again, portable, control, rate, heavy,
            gpu_control, on_host, reference,
        )  # fmt: skip
        if _collected is None:
            _REGISTRY[name] = declared
        else:
            _collected.append(declared)
        return function

    return declare


@contextmanager
def collecting() -> Iterator[List[Kernel]]:
    """Whatever is declared inside belongs to a user's file: it goes into this list, not into the fixed suite."""
    global _collected  # noqa: PLW0603 - a declaration finds its registry where the decorator is
    _collected = []
    try:
        yield _collected
    finally:
        _collected = None


def all_kernels() -> Dict[str, Kernel]:
    """Every kernel of the fixed suite by name, family by family, in the order of their declaration."""
    for family in FAMILIES:
        importlib.import_module(f"{__name__}.{family}")
    order = {family: position for position, family in enumerate(FAMILIES)}
    return {found.name: found for found in sorted(_REGISTRY.values(), key=lambda found: order[found.family])}


def stream(seed: int, salt: int = 0) -> np.random.RandomState:
    """NumPy's frozen generator: same numbers in every NumPy release (NEP 19). ``salt`` parts the inputs of a kernel."""
    return np.random.RandomState([seed, salt] if salt else seed)


@lru_cache(maxsize=32)
def normal(seed: int, shape: Tuple[int, ...], salt: int = 0, dtype: str = "float32") -> np.ndarray[Any, Any]:
    """Standard normal numbers of the frozen stream, read-only; made once, for repetitions ask for the same again."""
    return _frozen(stream(seed, salt).standard_normal(shape).astype(dtype))


@lru_cache(maxsize=32)
def integers(seed: int, high: int, shape: Tuple[int, ...], salt: int = 0, dtype: str = "int32") -> np.ndarray[Any, Any]:
    """Integers in [0, high) of the frozen stream, read-only; made once, for repetitions ask for the same again."""
    return _frozen(stream(seed, salt).randint(0, high, shape).astype(dtype))


@lru_cache(maxsize=64)
def _module_hash(name: str) -> str:
    return hashlib.sha256(inspect.getsource(sys.modules[name]).encode()).hexdigest()


def forget_inputs() -> None:
    """Let go of the inputs of the kernel before."""
    normal.cache_clear()
    integers.cache_clear()


def has_gpu(tf: Any) -> bool:
    """Whether this process computes on a GPU: a few kernels are larger there."""
    return bool(tf.config.list_logical_devices("GPU"))


def _frozen(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    array.flags.writeable = False
    return array
