"""Digests: SHA-256 over name, dtype, shape and bytes of every output.

Bytes are compared, never values: -0.0 is not 0.0, and a NaN is equal to itself only bit for bit.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Tuple

import numpy as np

#: Leading values of every output that are kept in the record.
KEPT = 16


@dataclass(frozen=True)
class Digest:
    """The digest of all outputs of one call, and the facts of each."""

    hexadecimal: str
    outputs: Dict[str, Dict[str, Any]]
    kept: Dict[str, Tuple[str, ...]]


def arrays(outputs: Mapping[str, Any]) -> Dict[str, np.ndarray[Any, Any]]:
    """Copy outputs to host memory; the copy also forces the work to be complete, so it is timed.

    Raises:
        TypeError: an output is no tensor or array of numbers.
        ValueError: there are no outputs, or one of them is empty: nothing to compare.
    """
    found = {name: np.ascontiguousarray(_numpy(value)).reshape(np.shape(value)) for name, value in outputs.items()}
    if not found:
        raise ValueError("the kernel gave no outputs: there is nothing to compare")
    for name, array in found.items():
        if array.dtype.hasobject:
            raise TypeError(f"output {name!r} holds Python objects, not numbers")
        if array.size == 0:
            raise ValueError(f"output {name!r} is empty: there is nothing to compare")
    return found


def digest(outputs: Mapping[str, Any]) -> Digest:
    """Digest the outputs of one call; raises as ``arrays`` does."""
    whole = hashlib.sha256()
    facts: Dict[str, Dict[str, Any]] = {}
    kept: Dict[str, Tuple[str, ...]] = {}
    for name, array in sorted(arrays(outputs).items()):
        single = hashlib.sha256()
        single.update(f"{name}\0{array.dtype.name}\0{array.shape}\0".encode())
        # memory order and byte order of the host: all hosts measured are little-endian
        single.update(_bytes(array).data)
        whole.update(single.digest())
        floats = _floats(array)
        facts[name] = {
            "dtype": array.dtype.name,
            "shape": list(array.shape),
            "digest": single.hexdigest(),
            "nan": int(np.isnan(floats).sum()),
            "inf": int(np.isinf(floats).sum()),
        }
        kept[name] = tuple(repr(value) for value in array.reshape(-1)[:KEPT].tolist())
    return Digest(whole.hexdigest(), facts, kept)


def same_bits(one: Mapping[str, np.ndarray[Any, Any]], other: Mapping[str, np.ndarray[Any, Any]]) -> bool:
    """Whether two calls gave the same bytes under the same names, dtypes and shapes; quicker than a digest."""
    return one.keys() == other.keys() and all(
        (a.dtype, a.shape) == (b.dtype, b.shape) and bool(np.array_equal(_bytes(a), _bytes(b)))
        for a, b in ((array, other[name]) for name, array in one.items())
    )


def _bytes(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array.reshape(-1).view(np.uint8)


def _floats(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The numbers that can be NaN: bfloat16 and the float8 types are foreign to NumPy, so they are widened."""
    if np.issubdtype(array.dtype, np.inexact):
        return array
    return array.astype("float32") if array.dtype.kind in "Vf" else np.zeros(0)


def _numpy(value: Any) -> Any:
    return value.numpy() if hasattr(value, "numpy") else np.asarray(value)
