"""The first difference between two calls of a kernel: tensor, element and values, and the distance of all outputs."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

import numpy as np

from bench.suite.digest import Array, Result, raw
from bench.suite.distance import as_dict, distance, numbers


def find_first_difference(first: Result, other: Result) -> Optional[Dict[str, Any]]:
    """Describe where ``other`` first differs from ``first``, as recorded in ``record.Sample.first_difference``.

    Returns:
        ``step`` counts from 1 and is None for an output; ``index`` is the position of the first differing element;
        ``first`` and ``other`` are its values as decimal strings that round-trip; ``distance`` is that of the
        tensor; ``outputs`` maps every differing output to its distance (see ``distance.Distance``).
        None if no tensor of the same name, dtype and shape differs, because then there are no values to compare.
    """
    pair = _first_differing_tensor(first, other)
    if pair is None:
        return None
    step, name, array_a, array_b = pair
    (values_a, order_a), (values_b, order_b) = (numbers(array.dtype.name, raw(array)) for array in (array_a, array_b))
    position = int(np.argmax(order_a != order_b))
    numbers_per_element = values_a.size // array_a.size or 1  # 2 for complex numbers
    element = min(position // numbers_per_element, array_a.size - 1)
    outputs = {
        key: as_dict(distance(array.dtype.name, raw(array), raw(other.outputs[key])))
        for key, array in first.outputs.items()
        if _comparable(array, other.outputs.get(key)) and not np.array_equal(raw(array), raw(other.outputs[key]))
    }
    return {
        "step": step,
        "tensor": name,
        "index": [int(number) for number in np.unravel_index(element, array_a.shape)],
        "first": _text(array_a, values_a, position),
        "other": _text(array_b, values_b, position),
        "distance": as_dict(distance(array_a.dtype.name, raw(array_a), raw(array_b))),
        "outputs": outputs,
    }


def _text(array: Array, values: Array, position: int) -> str:
    """Return one value as text. Integers are not taken from ``values``, because float64 cannot hold all of them."""
    return str(array.reshape(-1)[position]) if array.dtype.kind in "iu" else repr(float(values[position]))


def _first_differing_tensor(first: Result, other: Result) -> Optional[Tuple[Optional[int], str, Array, Array]]:
    """Return step, name and both arrays of the first differing tensor, in the order of computation."""
    others = {(step, name): array for step, name, array in other.tensors()}
    for step, name, array in first.tensors():
        counterpart = others.get((step, name))
        if counterpart is None or not _comparable(array, counterpart):
            continue
        if not np.array_equal(raw(array), raw(counterpart)):
            return step, name, array, counterpart
    return None


def _comparable(first: Array, other: Optional[Array]) -> bool:
    return other is not None and first.dtype == other.dtype and first.shape == other.shape
