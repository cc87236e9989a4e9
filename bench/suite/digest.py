"""Digests: SHA-256 over name, dtype, shape and bytes of every output.

Bytes are compared, never values: -0.0 is not 0.0, and a NaN is equal to itself only bit for bit.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Dict, Iterator, Mapping, Optional, Tuple

import numpy as np

from bench.suite.kernels import Traced

Array = np.ndarray[Any, Any]

#: Under this name the steps of a training stand among its outputs.
TRAIL = "trail"
#: Hexadecimal characters of the digest of a single tensor, where the digest of the whole stands beside it.
SHORT = 16


@dataclass(frozen=True)
class Result:
    """All that one call gave, in host memory. ``devices`` says where each output lived before."""

    outputs: Mapping[str, Array]
    steps: Tuple[Mapping[str, Array], ...]
    devices: Mapping[str, str]

    def tensors(self) -> Iterator[Tuple[Optional[int], str, Array]]:
        """Every tensor in the order in which it came about: step by step, then the outputs (step None)."""
        for number, step in enumerate(self.steps, 1):
            for name, array in step.items():
                yield number, name, array
        for name, array in self.outputs.items():
            yield None, name, array


@dataclass(frozen=True)
class Digest:
    """The digest of one call, the facts of each output, and the digests of the tensors of its steps."""

    hexadecimal: str
    outputs: Dict[str, Dict[str, Any]]
    steps: Tuple[Mapping[str, str], ...]


def collect(value: Any) -> Result:
    """Copy what a work returned to host memory; outside the clock, for the work is complete already (``timing``).

    Raises:
        TypeError: an output is no tensor or array of numbers.
        ValueError: there are no outputs, or one of them is empty: nothing to compare; or a name that is taken.
    """
    outputs, steps = value if isinstance(value, Traced) else (value, ())
    found = _arrays(outputs)
    if steps and TRAIL in found:
        raise ValueError(f"no output may be named {TRAIL!r} beside the steps of a training")
    if not found:
        raise ValueError("the kernel gave no outputs: there is nothing to compare")
    return Result(found, tuple(_arrays(step) for step in steps), {name: _device(one) for name, one in outputs.items()})


def digest(result: Result) -> Digest:
    """Digest one call: every output by name, and the steps as one more output named ``trail``."""
    whole = hashlib.sha256()
    facts: Dict[str, Dict[str, Any]] = {}
    for name, array in sorted(result.outputs.items()):
        full = bits(name, array)
        whole.update(bytes.fromhex(full))
        facts[name] = _facts(array, full, result.devices[name])
    steps = tuple({name: bits(name, array) for name, array in step.items()} for step in result.steps)
    if steps:
        text = "\n".join(
            f"{number} {name} {found}" for number, step in enumerate(steps) for name, found in sorted(step.items())
        )
        trail = hashlib.sha256(text.encode())
        whole.update(trail.digest())
        facts[TRAIL] = {
            "dtype": "trail",
            "shape": [len(steps)],
            "digest": trail.hexdigest()[:SHORT],
            "nan": sum(_count(np.isnan, array) for step in result.steps for array in step.values()),
            "inf": sum(_count(np.isinf, array) for step in result.steps for array in step.values()),
            "device": "",
        }
    return Digest(whole.hexdigest(), facts, steps)


def bits(name: str, array: Array) -> str:
    """SHA-256 over name, dtype, shape and bytes of one tensor, hexadecimal."""
    single = hashlib.sha256()
    single.update(f"{name}\0{array.dtype.name}\0{array.shape}\0".encode())
    # memory order and byte order of the host: all hosts measured are little-endian
    single.update(raw(array).data)
    return single.hexdigest()


def same_bits(one: Result, other: Result) -> bool:
    """Whether two calls gave the same bytes under the same names, dtypes and shapes; far quicker than a digest."""
    return len(one.steps) == len(other.steps) and all(
        _same(a, b) for a, b in zip((one.outputs, *one.steps), (other.outputs, *other.steps))
    )


def raw(array: Array) -> Array:
    """The bytes of a contiguous array, one dimension of uint8."""
    return array.reshape(-1).view(np.uint8)


def _same(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    return one.keys() == other.keys() and all(
        (a.dtype, a.shape) == (b.dtype, b.shape) and bool(np.array_equal(_words(a), _words(b)))
        for a, b in ((array, other[name]) for name, array in one.items())
    )


def _words(array: Array) -> Array:
    """The bytes in words of eight where they fit: an eighth of the comparisons."""
    found = raw(array)
    return found.view(np.uint64) if found.size % 8 == 0 else found


def _arrays(outputs: Mapping[str, Any]) -> Dict[str, Array]:
    found = {name: np.ascontiguousarray(_numpy(value)).reshape(np.shape(value)) for name, value in outputs.items()}
    for name, array in found.items():
        if array.dtype.hasobject or array.dtype.names:
            raise TypeError(f"output {name!r} holds Python objects or records, not numbers")
        if array.size == 0:
            raise ValueError(f"output {name!r} is empty: there is nothing to compare")
    return found


def _facts(array: Array, full: str, device: str) -> Dict[str, Any]:
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "digest": full[:SHORT],
        "nan": _count(np.isnan, array),
        "inf": _count(np.isinf, array),
        "device": device,
    }


def _count(test: Any, array: Array) -> int:
    """How many elements pass a test; bfloat16 and the float8 types are foreign to NumPy, so they are widened."""
    if np.issubdtype(array.dtype, np.inexact):
        return int(test(array).sum())
    return int(test(array.astype("float32")).sum()) if array.dtype.kind in "Vf" else 0


def _device(value: Any) -> str:
    """``GPU:0``, ``CPU:0``, or "" for an array that no device of TensorFlow held."""
    name = str(getattr(value, "device", "") or "")
    return ":".join(name.rsplit(":", 2)[-2:]) if "device:" in name else ""


def _numpy(value: Any) -> Any:
    # TensorFlow's ``numpy()`` copies; an array of the kernel's own may be a buffer that its next call overwrites
    return value.numpy() if hasattr(value, "numpy") else np.array(value)
