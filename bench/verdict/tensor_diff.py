"""Two digests compared tensor by tensor, by the values a run has kept of them. Damaged rows are told, never raised."""

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

#: What a damaged or foreign row can raise on the way to its numbers.
DAMAGE = (ValueError, TypeError, IndexError, OverflowError, AttributeError, KeyError, MemoryError)
#: Characters of a digest that are shown, and that digests of different length are compared by.
SHORT = 16
#: No suite keeps more elements of a tensor than this; a row that says so is damaged.
MOST_KEPT = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Line:
    """One tensor of two digests side by side.

    ``step`` counts from 1 and is None for an output. ``first_digest`` and ``other_digest`` are shortened, ""
    where a side lacks the tensor. Of the first kept element that differs there are ``index`` and both
    values, of the ``kept`` elements of ``elements`` the ``distance``; None or "" where no two values can be
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
    """Every tensor of two digests in the order in which they came about; what only one side has at its place."""
    return tuple(_line(step, name, one, two) for step, name, one, two in _pairs(first, other))


def _pairs(
    first: Sequence[KeptTensor], other: Sequence[KeptTensor]
) -> Iterator[tuple[int | None, str, KeptTensor | None, KeptTensor | None]]:
    twins = {(one.step, one.name): one for one in other}
    known = {(one.step, one.name) for one in first}
    for one in first:
        yield one.step, one.name, one, twins.get((one.step, one.name))
    for one in other:
        if (one.step, one.name) not in known:
            yield one.step, one.name, None, one


def _line(step: int | None, name: str, one: KeptTensor | None, two: KeptTensor | None) -> Line:
    digests = tuple(tensor.digest[:SHORT] if tensor else "" for tensor in (one, two))
    blank: dict[str, Any] = {
        "step": step if type(step) is int else None,
        "tensor": name,
        "first_digest": digests[0],
        "other_digest": digests[1],
    }
    if one is None or two is None:
        return Line(**blank, same=False, note=f"only the {'other' if one is None else 'first'} sample has it")
    if digests[0] == digests[1]:
        return Line(**blank, same=True)
    if (one.dtype, one.shape) != (two.dtype, two.shape):
        return Line(**blank, same=False, note=f"{_form(one)} against {_form(two)}")
    try:
        return _apart(blank, one, two)
    except DAMAGE:
        return Line(**blank, same=False, note="its kept values are damaged")


def _form(tensor: KeptTensor) -> str:
    return f"{tensor.dtype}[{', '.join(str(size) for size in tensor.shape)}]"


def _apart(blank: dict[str, Any], one: KeptTensor, two: KeptTensor) -> Line:
    """Two tensors of one form; raises one of ``DAMAGE`` where their rows cannot be understood."""
    elements = one.size
    kept = _kept_elements(one)
    if one.most != two.most or one.raw.size != two.raw.size:
        raise ValueError("not the same elements were kept")
    (values, bits), (others, other_bits) = numbers(one.dtype, one.raw), numbers(two.dtype, two.raw)
    if bits.size % kept:
        raise ValueError("not as many elements as the shape promises")
    unequal = np.flatnonzero(bits != other_bits)
    counted = measured(one.dtype, one.raw, two.raw)
    if not unequal.size:
        note = f"in none of the {kept} kept of {elements} elements"
        return Line(**blank, same=False, distance=counted, kept=kept, elements=elements, note=note)
    place = int(unequal[0])
    parts = max(1, bits.size // kept)  # a complex number is two, and text is its bytes
    return Line(
        **blank,
        same=False,
        index=one.index(min(place // parts, kept - 1)),
        first=_text(one, values, place),
        other=_text(two, others, place),
        distance=counted,
        kept=kept,
        elements=elements,
    )


def _text(tensor: KeptTensor, values: Any, place: int) -> str:
    """One value; integers as they are, for a float has no room for all of theirs."""
    if tensor.dtype.startswith(("int", "uint")):
        return str(tensor.raw.view(tensor.dtype)[place])
    return repr(float(values[place]))


def _kept_elements(tensor: KeptTensor) -> int:
    """How many elements the row has; raises where that is not what its shape promises."""
    elements = tensor.size
    if not 0 < tensor.most <= MOST_KEPT or elements <= 0 or any(size <= 0 for size in tensor.shape):
        raise ValueError("no such tensor can have been kept")
    return int(positions(elements, tensor.most).size)


def measured(dtype: str, first: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> Distance:
    """The distance of two arrays of bytes; a measure that overflows is None, as in a record."""
    with np.errstate(all="ignore"):
        found = measures.distance(dtype, first, other)
    sane = {name: value if math.isfinite(value) else None for name, value in vars(found).items()}
    return Distance(**sane)  # type: ignore[arg-type] # the record's word for infinite is None


def distance_of(row: Any) -> Distance | None:
    """A distance as a record holds it; None where the row is damaged or foreign."""
    try:
        values = {name: row[name] for name in Distance.__dataclass_fields__}
    except (KeyError, TypeError, IndexError):
        return None
    if any(isinstance(one, bool) or not isinstance(one, int | float | None) for one in values.values()):
        return None
    counts = ("elements", "differing", "nan_changes", "inf_changes", "sign_changes")
    if any(type(values[name]) is not int for name in counts) or values["v_c"] is None:
        return None
    return Distance(**values)


def size_of(distance: Distance) -> float:
    """What distances are ordered by: ``rel_max``, infinite where it is no finite number."""
    value: Any = distance.rel_max  # None where it was infinite
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.inf
