"""Digests: SHA-256 over identity, dtype, shape and bytes of every output.

Bytes are compared, not values: -0.0 differs from 0.0, and NaNs are equal only if their bits are. What has no meaning
does not count: memory layout, byte order, and padding.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple

import numpy as np

from bench.suite.arrays import Array
from bench.suite.kernels import Traced
from bench.suite.outputs import Leaf, OutputError, identities_of_first, leaves

#: Name under which the steps of a training appear among its outputs.
TRAIL = "trail"
#: Hexadecimal characters of the abbreviated digest of a single tensor.
SHORT = 16


@dataclass(frozen=True)
class Result:
    """The outputs and training steps of one call, in host memory.

    ``devices`` maps outputs to their former devices. ``identities`` maps the names of the outputs, and then those of
    each step, to what they are called in a digest.
    """

    outputs: Mapping[str, Array]
    steps: Tuple[Mapping[str, Array], ...]
    devices: Mapping[str, str]
    identities: Tuple[Mapping[str, str], ...]

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


def collect(value: Any, tf: Any = None) -> Result:
    """Copy the value of a kernel's work to host memory. It is not timed; the work is complete (see ``timing``).

    Args:
        value: What the work returned (see ``outputs.leaves``), or a ``Traced``.
        tf: TensorFlow, which is needed for variants only.

    Raises:
        OutputError: An output cannot be compared, there is nothing to compare, the output of a training is named
            ``trail``, or a step holds something whose value the next step changes.
    """
    outputs, steps = value if isinstance(value, Traced) else (value, ())
    found = leaves(outputs, tf)
    if isinstance(steps, (str, bytes, Mapping)) or not isinstance(steps, Iterable):
        raise OutputError(f"the steps of a Traced are a {type(steps).__name__}, but must be a list of mappings")
    found_steps = [leaves(step, tf, step=True) for step in steps]
    if found_steps and any(leaf.name == TRAIL for leaf in found):
        raise OutputError(f"a training kernel cannot have an output named {TRAIL!r}: its steps use that name")
    return Result(
        outputs=_arrays(found),
        steps=tuple(_arrays(step) for step in found_steps),
        devices={leaf.name: leaf.device for leaf in found},
        identities=tuple({leaf.name: leaf.identity for leaf in part} for part in (found, *found_steps)),
    )


def with_names_of(first: Result, later: Result) -> Result:
    """Return the result of a later call with the names of the first call, where only automatic numbers differ."""
    if first.identities == later.identities or len(first.identities) != len(later.identities):
        return later
    renamed = tuple(identities_of_first(own, names) for own, names in zip(later.identities, first.identities))
    return replace(later, identities=renamed)


def digest(result: Result) -> Digest:
    """Compute the digest of one call: all outputs by identity, and the steps as an additional output ``trail``."""
    whole = hashlib.sha256()
    facts: Dict[str, Dict[str, Any]] = {}
    identities, *of_steps = result.identities
    for name in sorted(identities, key=identities.__getitem__):
        array = result.outputs[name]
        full = tensor_digest(identities[name], array)
        whole.update(bytes.fromhex(full))
        facts[name] = _facts(array, full, result.devices[name])
    steps = tuple(
        {name: tensor_digest(names[name], array) for name, array in step.items()}
        for names, step in zip(of_steps, result.steps)
    )
    if steps:
        trail = _trail_digest(steps, of_steps)
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


def tensor_digest(identity: str, array: Array) -> str:
    """Return the SHA-256 over identity, dtype, shape and bytes of one tensor, hexadecimal."""
    single = hashlib.sha256()
    single.update(f"{identity}\0{dtype_name(array)}\0{array.shape}\0".encode("utf-8", "surrogatepass"))
    # native byte order, which is little-endian on all supported hosts
    single.update(raw(array).data)
    return single.hexdigest()


def dtype_name(array: Array) -> str:
    """Return the name of the dtype, the same for both names that C has for an integer of 64 bits."""
    if array.dtype.kind in "iu":
        return f"{'u' if array.dtype.kind == 'u' else ''}int{8 * array.dtype.itemsize}"
    return str(array.dtype.name)


def same_bits(first: Result, other: Result) -> bool:
    """Return whether two calls gave the same identities, dtypes, shapes and bytes; faster than comparing digests."""
    return len(first.steps) == len(other.steps) and all(
        _same(a, b) for a, b in zip(by_identity(first), by_identity(other))
    )


def by_identity(result: Result) -> List[Dict[str, Array]]:
    """Return the arrays of the outputs, and then those of each step, by identity."""
    return [
        {names[name]: array for name, array in arrays.items()}
        for names, arrays in zip(result.identities, (result.outputs, *result.steps))
    ]


def raw(array: Array) -> Array:
    """Return the bytes of a contiguous array as a one-dimensional uint8 view."""
    if not array.nbytes:
        return np.empty(0, np.uint8)
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


def _arrays(found: Iterable[Leaf]) -> Dict[str, Array]:
    return {leaf.name: leaf.array for leaf in found}


def _trail_digest(steps: Iterable[Mapping[str, str]], identities: Iterable[Mapping[str, str]]) -> Any:
    trail = hashlib.sha256()
    for number, (step, names) in enumerate(zip(steps, identities)):
        # the identity is part of each digest, so that no name can imitate a boundary
        digests = " ".join(step[name] for name in sorted(names, key=names.__getitem__))
        trail.update(f"{number} {digests}\n".encode())
    return trail


def _facts(array: Array, full: str, device: str) -> Dict[str, Any]:
    return {
        "dtype": "string" if array.dtype.kind == "S" else dtype_name(array),
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
    if array.dtype.kind not in "Vf" or array.dtype.type is np.void:
        return 0
    return int(test(array.astype("float32")).sum())
