"""Where two calls of one kernel part: the first tensor, element and values that differ, and how far all are apart."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

import numpy as np

from bench.suite.digest import Array, Result, raw
from bench.suite.distance import as_dict, distance, numbers


def parting(first: Result, other: Result) -> Optional[Dict[str, Any]]:
    """What the record says of a sample that left the first one (see ``record.Sample.first_difference``).

    ``step`` counts from 1 and is None for an output; ``index`` is the place of the first element that differs;
    ``first`` and ``other`` are the two values as decimal strings that round-trip.
    None where no tensor of the same name, dtype and shape differs: then there are no two values to show.
    """
    found = _first_difference(first, other)
    if found is None:
        return None
    step, name, one, two = found
    ours, theirs = (numbers(array.dtype.name, raw(array)) for array in (one, two))
    place = int(np.argmax(ours[1] != theirs[1]))
    parts = ours[0].size // one.size or 1  # a complex number is two
    outputs = {
        key: as_dict(distance(array.dtype.name, raw(array), raw(other.outputs[key])))
        for key, array in first.outputs.items()
        if _comparable(array, other.outputs.get(key)) and not np.array_equal(raw(array), raw(other.outputs[key]))
    }
    return {
        "step": step,
        "tensor": name,
        "index": [int(number) for number in np.unravel_index(min(place // parts, one.size - 1), one.shape)],
        "first": _text(one, ours[0], place),
        "other": _text(two, theirs[0], place),
        "distance": as_dict(distance(one.dtype.name, raw(one), raw(two))),
        "outputs": outputs,
    }


def _text(array: Array, values: Array, place: int) -> str:
    """One value; integers as they are, for a float has no room for all of theirs."""
    return str(array.reshape(-1)[place]) if array.dtype.kind in "iu" else repr(float(values[place]))


def _first_difference(one: Result, other: Result) -> Optional[Tuple[Optional[int], str, Array, Array]]:
    """Step, name and both arrays of the first tensor in which two calls differ, in the order they came about."""
    known = {(step, name): array for step, name, array in other.tensors()}
    for step, name, array in one.tensors():
        twin = known.get((step, name))
        if twin is not None and _comparable(array, twin) and not np.array_equal(raw(array), raw(twin)):
            return step, name, array, twin
    return None


def _comparable(one: Array, other: Optional[Array]) -> bool:
    return other is not None and one.dtype == other.dtype and one.shape == other.shape
