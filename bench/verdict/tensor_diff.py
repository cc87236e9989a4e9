"""Compares two digests tensor by tensor, by the values a run has kept. Damaged rows are reported, never raised."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.suite import distance as measures
from bench.suite.distance import Distance, numbers
from bench.suite.kept_values import positions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.suite.kept_values import KeptTensor

#: What reading a damaged or foreign row can raise.
DAMAGE = (ValueError, TypeError, IndexError, OverflowError, AttributeError, KeyError, MemoryError)
#: Characters of a digest that are shown, and that digests of different length are compared by.
SHORT = 16
#: No suite keeps more elements of a tensor than this; a row that claims more is damaged.
MOST_KEPT = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Line:
    """One tensor of two digests, side by side.

    ``step`` counts from 1 and is None for an output. ``first_digest`` and ``other_digest`` are shortened, and ""
    if a side lacks the tensor. ``index``, ``first`` and ``other`` are the position and both values of the first kept
    element that differs; ``distance`` covers the ``kept`` of ``elements``. They are None or "" if no two values can be
    shown, and ``note`` says why.
    """

    step: int | None
    tensor: str
    same: bool
    first_digest: str
    other_digest: str
    index: tuple[int, ...] | None = None
    first: str = ""
    other: str = ""
    distance: Distance | None = None
    kept: int = 0
    elements: int = 0
    note: str = ""


def lines(first: Sequence[KeptTensor], other: Sequence[KeptTensor]) -> tuple[Line, ...]:
    """Compare every tensor of two digests in the order of computation, including those that only one side has."""
    return tuple(_line(step, name, one, two) for step, name, one, two in _pairs(first, other))


def _pairs(
    first: Sequence[KeptTensor], other: Sequence[KeptTensor]
) -> Iterator[tuple[int | None, str, KeptTensor | None, KeptTensor | None]]:
    by_name = {(tensor.step, tensor.name): tensor for tensor in other}
    of_first = {(tensor.step, tensor.name) for tensor in first}
    for tensor in first:
        yield tensor.step, tensor.name, tensor, by_name.get((tensor.step, tensor.name))
    for tensor in other:
        if (tensor.step, tensor.name) not in of_first:
            yield tensor.step, tensor.name, None, tensor


def _line(step: int | None, name: str, first: KeptTensor | None, other: KeptTensor | None) -> Line:
    digests = tuple(tensor.digest[:SHORT] if tensor else "" for tensor in (first, other))
    blank: dict[str, Any] = {
        "step": step if type(step) is int else None,
        "tensor": name,
        "first_digest": digests[0],
        "other_digest": digests[1],
    }
    if first is None or other is None:
        return Line(**blank, same=False, note=f"only the {'other' if first is None else 'first'} sample has it")
    if digests[0] == digests[1]:
        return Line(**blank, same=True)
    if (first.dtype, first.shape) != (other.dtype, other.shape):
        return Line(**blank, same=False, note=f"{_type_and_shape(first)} against {_type_and_shape(other)}")
    try:
        return _compare(blank, first, other)
    except DAMAGE:
        return Line(**blank, same=False, note="its kept values are damaged")


def _type_and_shape(tensor: KeptTensor) -> str:
    return f"{tensor.dtype}[{', '.join(str(size) for size in tensor.shape)}]"


def _compare(blank: dict[str, Any], first: KeptTensor, other: KeptTensor) -> Line:
    """Compare two tensors of one type and shape; raises one of ``DAMAGE`` if their rows make no sense."""
    elements = first.size
    kept = _kept_elements(first)
    if first.most != other.most or first.raw.size != other.raw.size:
        raise ValueError("not the same elements were kept")
    (values, bits), (others, other_bits) = numbers(first.dtype, first.raw), numbers(other.dtype, other.raw)
    if bits.size % kept:
        raise ValueError("not as many elements as the shape promises")
    unequal = np.flatnonzero(bits != other_bits)
    counted = measured(first.dtype, first.raw, other.raw)
    if not unequal.size:
        note = f"in none of the {kept} kept of {elements} elements"
        return Line(**blank, same=False, distance=counted, kept=kept, elements=elements, note=note)
    place = int(unequal[0])
    parts = max(1, bits.size // kept)  # numbers per element: a complex number has two, text its bytes
    return Line(
        **blank,
        same=False,
        index=first.index(min(place // parts, kept - 1)),
        first=_text(first, values, place),
        other=_text(other, others, place),
        distance=counted,
        kept=kept,
        elements=elements,
    )


def _text(tensor: KeptTensor, values: Any, place: int) -> str:
    """Return one value as text; integers exactly, because a float cannot represent all of them."""
    if tensor.dtype.startswith(("int", "uint")):
        return str(tensor.raw.view(tensor.dtype)[place])
    return repr(float(values[place]))


def _kept_elements(tensor: KeptTensor) -> int:
    """Return how many elements the row has; raises if its shape contradicts that."""
    elements = tensor.size
    if not 0 < tensor.most <= MOST_KEPT or elements <= 0 or any(size <= 0 for size in tensor.shape):
        raise ValueError("no such tensor can have been kept")
    return int(positions(elements, tensor.most).size)


def measured(dtype: str, first: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> Distance:
    """Return the distance of two arrays of bytes; a measure that overflows is None, as in a record."""
    with np.errstate(all="ignore"):
        found = measures.distance(dtype, first, other)
    sane = {name: value if math.isfinite(value) else None for name, value in vars(found).items()}
    return Distance(**sane)  # type: ignore[arg-type] # a record has None for infinite


#: No count of elements, or of units in the last place, is as large.
_MORE_THAN_ANY = 2**65


def distance_of(row: Any) -> Distance | None:
    """Read a distance from a record; None if the row is damaged or foreign, such as a number that no worker counts."""
    try:
        values = {name: row[name] for name in Distance.__dataclass_fields__}
    except (KeyError, TypeError, IndexError):
        return None
    if any(isinstance(value, bool) or not isinstance(value, int | float | None) for value in values.values()):
        return None
    if any(isinstance(value, int) and abs(value) >= _MORE_THAN_ANY for value in values.values()):
        return None
    counts = ("elements", "differing", "nan_changes", "inf_changes", "sign_changes")
    if any(type(values[name]) is not int for name in counts) or values["v_c"] is None:
        return None
    return Distance(**values)


def size_of(distance: Distance) -> float:
    """Return the value that distances are sorted by: ``rel_max``, infinite if it is no finite number."""
    value: Any = distance.rel_max  # None if it was infinite
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.inf
