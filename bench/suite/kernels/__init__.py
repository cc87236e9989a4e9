"""The built-in suite: one module per family, one small function per kernel.

A kernel is a function ``(tf, seed) -> work``. It builds its inputs, models and data sets from the seed and returns a
callable without arguments that does the work and returns its outputs: a mapping of names to tensors or arrays (see
``bench.suite.outputs`` for all that is accepted), or for a training a ``Traced``, which adds the tensors of every step.
Only the work is timed. Ops run inside a ``tf.function``, because that is how people train: ``op`` makes the work of a
function and its inputs. To add a kernel::

    @kernel(
        family="reductions",
        exercises="a sum over one axis",
        shapes="[4096,4096]",
        dtypes="float32",
        source="tfrepro",
    )
    def reduce_sum_axis(tf, seed):
        x = tf.constant(normal(seed, (4096, 4096)))
        return op(tf, lambda x: {"sum": tf.reduce_sum(x, axis=0)}, x)

TensorFlow is passed as an argument, so that the declarations can be listed where it is not installed.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

#: Modules of this folder, in the order in which the report lists them.
FAMILIES = (
    "training", "linalg", "reductions", "segments", "sparse", "convolutions", "pooling", "normalisation", "losses",
    "sequences", "images", "random", "data", "controls",
)  # fmt: skip

Outputs = Mapping[str, Any]


class Traced(NamedTuple):
    """The result of a training kernel's work: the final outputs, and the tensors of every step.

    ``steps[i]`` maps names such as ``loss``, ``gradient dense/kernel`` and ``weight dense/kernel`` to the tensors of
    step ``i``, in order of computation, so that the first tensor that differs is where two trainings diverge.
    """

    outputs: Outputs
    steps: Sequence[Outputs]


Work = Callable[[], Union[Outputs, Traced]]
Function = Callable[[Any, int], Work]
#: Seed -> float64 reference values of some outputs, by output name.
Reference = Callable[[int], Mapping[str, Any]]


@dataclass(frozen=True)
class Kernel:
    """One kernel and its properties. A new property is a new field here and in ``bench.store.run_info.KernelInfo``.

    Attributes:
        call_again: The work keeps no state, so it can be called repeatedly and must give the same bits each time;
            only such kernels are timed after their first call.
        call_again_declared: The declaration of a custom kernel says so itself. Otherwise a later call with other bits
            is only remarked: most trainings continue a stream of random numbers.
        portable: No Keras code is involved, so results may be compared across Keras versions.
        control: "", "must-differ" or "must-not-differ".
        rate: Fraction of samples in which a control differs.
        heavy: The kernel is slow and gets the profile's ``heavy_repetitions``.
        gpu_control: The kernel is known to be nondeterministic on GPUs when determinism is off.
        on_host: The outputs are computed on the CPU, whatever the device.
        reference: Computes float64 outputs for measuring the error.
        file: The user's file that declares the kernel; "" for the built-in suite.
        code_hash: SHA-256 of that file; "" for the built-in suite.
    """

    name: str
    family: str
    exercises: str
    shapes: str
    dtypes: str
    source: str
    function: Function
    call_again: bool = True
    call_again_declared: bool = False
    portable: bool = True
    control: str = ""
    rate: float = 0.0
    heavy: bool = False
    gpu_control: bool = False
    on_host: bool = False
    reference: Optional[Reference] = None
    file: str = ""
    code_hash: str = ""

    @property
    def later_calls_must_agree(self) -> bool:
        """Whether a later call with other bits, without a new seed, is nondeterminism."""
        return self.call_again and (not self.file or self.call_again_declared)

    def declaration(self) -> Dict[str, Any]:
        """Return all properties that can be written as JSON, for run.json and ``python -m bench kernels``."""
        names = [field.name for field in fields(self) if field.name not in _UNDECLARED]
        return {**{name: getattr(self, name) for name in names}, "accuracy": self.reference is not None}

    def source_hash(self) -> str:
        """Return the SHA-256 of the kernel's whole module, because kernels share code, or of the user's file."""
        return self.code_hash or _module_hash(self.function.__module__)


#: Fields that are not part of ``Kernel.declaration``.
_UNDECLARED = ("function", "reference", "code_hash")
#: The texts of a declaration.
_TEXTS = ("family", "exercises", "shapes", "dtypes", "source")
#: The fields that a declaration may set by optional arguments of ``kernel``.
_OPTIONS = tuple(
    name
    for name in Kernel.__annotations__
    if name not in {"name", "function", "file", "code_hash", "call_again_declared", *_TEXTS}
)

_REGISTRY: Dict[str, Kernel] = {}
#: Kernels of the user's file that is being loaded (see ``custom.py``); None while the suite itself is imported.
_collected: Optional[List[Kernel]] = None


def kernel(
    family: str = "", exercises: str = "", shapes: str = "", dtypes: str = "", source: str = "", **options: Any
) -> Callable[[Function], Function]:
    """Declare the decorated function as a kernel of the same name.

    Args:
        family: Group under which the report lists the kernel; by default the name of its module, or "custom" for the
            user's kernels.
        exercises: What the kernel tests, in a few words; by default the first line of the function's docstring.
        shapes: Shapes of its inputs.
        dtypes: Its dtypes; of the suite, by default, float32.
        source: Where the test case comes from; of the suite, by default, tfrepro.
        options: Further properties, see the attributes of ``Kernel``.

    Raises:
        TypeError: A text is not a string, or an option is unknown.
        ValueError: The name is already taken, or a user's file declares a control.
    """
    for option in options:
        if option not in _OPTIONS:
            raise TypeError(f"kernel() has no option {option!r}; its options are {', '.join(_OPTIONS)}")

    def declare(function: Function) -> Function:
        name = function.__name__
        given: Tuple[Any, ...] = (family, exercises, shapes, dtypes, source)
        for key, text in zip(_TEXTS, given):
            if not isinstance(text, str):
                raise TypeError(f"{key!r} of the kernel {name!r} must be a string, not {text!r}")
        usual = (function.__module__.rpartition(".")[2], "", "", "float32", "tfrepro")
        if _collected is not None:
            usual = ("custom", (function.__doc__ or "").strip().partition("\n")[0], "", "", "")
        texts: Tuple[Any, ...] = tuple(text.strip() or default for text, default in zip(given, usual))
        if name in _REGISTRY or name in {declared.name for declared in _collected or ()}:
            raise ValueError(f"two kernels are named {name!r}")
        if _collected is not None and options.get("control"):
            raise ValueError("only the built-in suite can declare controls; remove 'control' from this kernel")
        new = Kernel(name=name, function=function, **dict(zip(_TEXTS, texts)), **options)
        new = replace(new, call_again_declared=options.get("call_again") is True)
        if _collected is None:
            _REGISTRY[name] = new
        else:
            _collected.append(new)
        return function

    return declare


@contextmanager
def collecting() -> Iterator[List[Kernel]]:
    """Collect the kernels declared inside this context into a list instead of adding them to the built-in suite."""
    global _collected  # noqa: PLW0603 - the decorator has no other way to reach the list
    _collected = []
    try:
        yield _collected
    finally:
        _collected = None


def all_kernels() -> Dict[str, Kernel]:
    """Return the built-in kernels by name, ordered by family and then by declaration."""
    for family in FAMILIES:
        importlib.import_module(f"{__name__}.{family}")
    order = {family: position for position, family in enumerate(FAMILIES)}
    return {kernel.name: kernel for kernel in sorted(_REGISTRY.values(), key=lambda kernel: order[kernel.family])}


def op(tf: Any, function: Callable[..., Outputs], *inputs: Any, xla: bool = False) -> Work:
    """Return the work ``function(*inputs)`` inside a ``tf.function``, compiled by XLA if ``xla`` is set.

    It is traced here, so that tracing belongs to the setup and not to the work. The inputs are arguments: tensors that
    the function captured could become constants, with which TensorFlow computes in advance. Under the variation
    ``eager=on`` the function runs eagerly.
    """
    traced = tf.function(function, jit_compile=True if xla else None, autograph=False)
    if not tf.config.functions_run_eagerly():
        traced.get_concrete_function(*inputs)
    return lambda: traced(*inputs)


def gradients(tf: Any, function: Callable[[Any], Any], inputs: Any, upstream: Any) -> Any:
    """Return the gradients of ``function(inputs)`` with respect to the inputs, for the given upstream gradient."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = function(inputs)
    return tape.gradient(value, inputs, output_gradients=upstream)


def stream(seed: int, salt: int = 0) -> np.random.RandomState:
    """Return NumPy's frozen generator, the same in every release (NEP 19); ``salt`` separates a kernel's inputs."""
    return np.random.RandomState([seed, salt] if salt else seed)


@lru_cache(maxsize=32)
def normal(seed: int, shape: Tuple[int, ...], salt: int = 0, dtype: str = "float32") -> np.ndarray[Any, Any]:
    """Return standard normal numbers from the frozen generator, read-only and cached for later repetitions."""
    return _frozen(stream(seed, salt).standard_normal(shape).astype(dtype))


@lru_cache(maxsize=32)
def integers(seed: int, high: int, shape: Tuple[int, ...], salt: int = 0, dtype: str = "int32") -> np.ndarray[Any, Any]:
    """Return integers in [0, high) from the frozen generator, read-only and cached for later repetitions."""
    return _frozen(stream(seed, salt).randint(0, high, shape).astype(dtype))


@lru_cache(maxsize=64)
def _module_hash(name: str) -> str:
    return hashlib.sha256(inspect.getsource(sys.modules[name]).encode()).hexdigest()


def clear_input_cache() -> None:
    """Release the cached inputs of the previous kernel."""
    normal.cache_clear()
    integers.cache_clear()


def has_gpu(tf: Any) -> bool:
    """Return whether this process computes on a GPU, where some kernels use larger inputs."""
    return bool(tf.config.list_logical_devices("GPU"))


def _frozen(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    array.flags.writeable = False
    return array
