"""The first difference between two calls of a kernel: tensor, element and values, and the distance of all outputs."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

import numpy as np

from bench.suite.arrays import Array, text_of
from bench.suite.digest import Result, by_identity, dtype_name, raw
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
    (values_a, order_a), (values_b, order_b) = (numbers(dtype_name(array), raw(array)) for array in (array_a, array_b))
    position = int(np.argmax(order_a != order_b))
    numbers_per_element = values_a.size // array_a.size or 1  # 2 for complex numbers
    element = min(position // numbers_per_element, array_a.size - 1)
    others = by_identity(other)[0]
    pairs = [(key, array, others.get(first.identities[0][key])) for key, array in first.outputs.items()]
    outputs = {
        key: as_dict(distance(dtype_name(array), raw(array), raw(counterpart)))
        for key, array, counterpart in pairs
        if counterpart is not None and _comparable(array, counterpart) and not _equal(array, counterpart)
    }
    return {
        "step": step,
        "tensor": name,
        "index": [int(number) for number in np.unravel_index(element, array_a.shape)],
        "first": _text(array_a, values_a, position),
        "other": _text(array_b, values_b, position),
        "distance": as_dict(distance(dtype_name(array_a), raw(array_a), raw(array_b))),
        "outputs": outputs,
    }


def _text(array: Array, values: Array, position: int) -> str:
    """Return one value as text. Integers are not taken from ``values``, because float64 cannot hold all of them."""
    if array.dtype.kind in "iu":
        return str(array.reshape(-1)[position])
    if array.dtype.kind in "SUMm":
        element = array.reshape(-1)[position // (values.size // array.size)]
        return text_of(element) if array.dtype.kind == "S" else str(element)
    return repr(float(values[position]))


def _first_differing_tensor(first: Result, other: Result) -> Optional[Tuple[Optional[int], str, Array, Array]]:
    """Return step, name and both arrays of the first differing tensor, in the order of computation."""
    others = by_identity(other)
    for step, name, array in first.tensors():
        part = step or 0  # the outputs come before the steps
        counterpart = others[part].get(first.identities[part][name]) if part < len(others) else None
        if counterpart is None or not _comparable(array, counterpart):
            continue
        if not _equal(array, counterpart):
            return step, name, array, counterpart
    return None


def _comparable(first: Array, other: Array) -> bool:
    return bool(first.dtype == other.dtype and first.shape == other.shape)


def _equal(first: Array, other: Array) -> bool:
    return bool(np.array_equal(raw(first), raw(other)))
