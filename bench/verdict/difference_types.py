"""Data classes that say how far two samples are apart and where they first differ."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - pydantic reads the types of the fields
from dataclasses import dataclass

from bench.suite.distance import Distance  # noqa: TC001 - pydantic reads the types of the fields


@dataclass(frozen=True, kw_only=True)
class FirstDifference:
    """The first tensor that differs, in the order of computation.

    ``step`` counts from 1 and is None for an output. ``index`` is the position of the first element that
    differs, ``first`` and ``other`` are the two values there as decimal strings that round-trip, and
    ``distance`` covers the whole tensor (only its kept elements, across processes). ``index`` is None
    and the values are "" if no two values can be shown, for instance because none of the kept elements
    differs; ``note`` says why. If other samples differ earlier than the compared pair, ``note`` names them.
    """

    step: int | None
    tensor: str
    index: tuple[int, ...] | None
    first: str
    other: str
    distance: Distance | None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far two samples are apart.

    ``outputs`` has the measures of each output that differs: of the pair with the largest ``rel_max``
    within a process, of the compared pair otherwise. ``whole`` says that all elements were compared; otherwise
    only ``kept_elements`` of ``elements`` were. ``first`` and ``other`` name the two samples
    ("round 1 repetition 0"). ``first_difference`` is None if there are no two values to show.
    """

    outputs: Mapping[str, Distance]
    whole: bool
    kept_elements: int
    elements: int
    first: str
    other: str
    first_difference: FirstDifference | None
