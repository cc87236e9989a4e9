"""Digests: SHA-256 over name, dtype, shape and bytes of every output.

Bytes are compared, not values: -0.0 differs from 0.0, and NaNs are equal only if their bits are.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Dict, Iterator, Mapping, Optional, Tuple

import numpy as np

from bench.suite.kernels import Traced

Array = np.ndarray[Any, Any]

#: Name under which the steps of a training appear among its outputs.
TRAIL = "trail"
#: Hexadecimal characters of the abbreviated digest of a single tensor.
SHORT = 16


@dataclass(frozen=True)
class Result:
    """The outputs and training steps of one call, in host memory. ``devices`` maps outputs to their former devices."""

    outputs: Mapping[str, Array]
    steps: Tuple[Mapping[str, Array], ...]
    devices: Mapping[str, str]

    def tensors(self) -> Iterator[Tuple[Optional[int], str, Array]]:
        """Yield step, name and array of every tensor in order of computation; the outputs come last, with step None."""
        for number, step in enumerate(self.steps, 1):
            for name, array in step.items():
                yield number, name, array
        for name, array in self.outputs.items():
            yield None, name, array


@dataclass(frozen=True)
class Digest:
    """The digest of one call, facts about each output, and the digest of every tensor of its steps."""

    hexadecimal: str
    outputs: Dict[str, Dict[str, Any]]
    steps: Tuple[Mapping[str, str], ...]


def collect(value: Any) -> Result:
    """Copy the value of a kernel's work to host memory. It is not timed; the work is complete (see ``timing``).

    Raises:
        TypeError: An output is not a tensor or array of numbers.
        ValueError: There are no outputs, an output is empty, or the output of a training is named ``trail``.
    """
    outputs, steps = value if isinstance(value, Traced) else (value, ())
    arrays = _arrays(outputs)
    if steps and TRAIL in arrays:
        raise ValueError(f"a training kernel cannot have an output named {TRAIL!r}: its steps use that name")
    if not arrays:
        raise ValueError("the kernel returned no outputs, so there is nothing to compare")
    devices = {name: _device(output) for name, output in outputs.items()}
    return Result(arrays, tuple(_arrays(step) for step in steps), devices)


def digest(result: Result) -> Digest:
    """Compute the digest of one call: all outputs by name, and the steps as an additional output named ``trail``."""
    whole = hashlib.sha256()
    facts: Dict[str, Dict[str, Any]] = {}
    for name, array in sorted(result.outputs.items()):
        full = tensor_digest(name, array)
        whole.update(bytes.fromhex(full))
        facts[name] = _facts(array, full, result.devices[name])
    steps = tuple({name: tensor_digest(name, array) for name, array in step.items()} for step in result.steps)
    if steps:
        text = "\n".join(
            f"{number} {name} {value}" for number, step in enumerate(steps) for name, value in sorted(step.items())
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


def tensor_digest(name: str, array: Array) -> str:
    """Return the SHA-256 over name, dtype, shape and bytes of one tensor, hexadecimal."""
    single = hashlib.sha256()
    single.update(f"{name}\0{array.dtype.name}\0{array.shape}\0".encode())
    # native byte order, which is little-endian on all supported hosts
    single.update(raw(array).data)
    return single.hexdigest()


def same_bits(first: Result, other: Result) -> bool:
    """Return whether two calls gave the same names, dtypes, shapes and bytes; much faster than comparing digests."""
    return len(first.steps) == len(other.steps) and all(
        _same(a, b) for a, b in zip((first.outputs, *first.steps), (other.outputs, *other.steps))
    )


def raw(array: Array) -> Array:
    """Return the bytes of a contiguous array as a one-dimensional uint8 view."""
    return array.reshape(-1).view(np.uint8)


def _same(first: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    return first.keys() == other.keys() and all(
        (a.dtype, a.shape) == (b.dtype, b.shape) and bool(np.array_equal(_words(a), _words(b)))
        for a, b in ((array, other[name]) for name, array in first.items())
    )


def _words(array: Array) -> Array:
    """Return the bytes as 8-byte words if the size permits, which takes an eighth of the comparisons."""
    data = raw(array)
    return data.view(np.uint64) if data.size % 8 == 0 else data


def _arrays(outputs: Mapping[str, Any]) -> Dict[str, Array]:
    arrays = {name: np.ascontiguousarray(_numpy(value)).reshape(np.shape(value)) for name, value in outputs.items()}
    for name, array in arrays.items():
        if array.dtype.hasobject or array.dtype.names:
            raise TypeError(f"output {name!r} holds Python objects or records, not numbers")
        if array.size == 0:
            raise ValueError(f"output {name!r} is empty, so there is nothing to compare")
    return arrays


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
    """Count the elements that pass a test. NumPy lacks bfloat16 and float8, so these are converted to float32."""
    if np.issubdtype(array.dtype, np.inexact):
        return int(test(array).sum())
    return int(test(array.astype("float32")).sum()) if array.dtype.kind in "Vf" else 0


def _device(value: Any) -> str:
    """Return the device of a tensor (``GPU:0``, ``CPU:0``), or "" for an array that is not a TensorFlow tensor."""
    name = str(getattr(value, "device", "") or "")
    return ":".join(name.rsplit(":", 2)[-2:]) if "device:" in name else ""


def _numpy(value: Any) -> Any:
    # an array may be a buffer that the kernel's next call overwrites, so copy it
    return value.numpy() if hasattr(value, "numpy") else np.array(value)
