"""Small plots: one tick a process. The numbers stand beside them, so they are decoration to those who cannot see."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.report.view import Entry

#: Of the plot in the matrix: pixels, and the ticks of one mode.
_WIDTH, _MOST, _TALL, _SECOND = 96, 20, 7, 9
#: A line of times is at least this share of the fastest long, so that small differences look small.
_SHARE = 0.25


def small(entry: Entry) -> str:
    """The times of both modes of a field as one SVG path, off above on on one scale; "" without times of one kind."""
    sides = [half.verdict.timing.per_process if half.verdict and half.verdict.timing else () for half in entry.halves]
    if not any(sides) or len({half.time_kind for half in entry.halves} - {""}) > 1:
        return ""
    flat = [time for side in sides for time in side]
    scale = min(flat), max(*flat, min(flat) * (1 + _SHARE))
    return "".join(ticks(_few(side), scale, _WIDTH, _SECOND * place, _TALL) for place, side in enumerate(sides))


def _few(times: Sequence[float]) -> Sequence[float]:
    """At most twenty, the fastest and the slowest among them."""
    if len(times) <= _MOST:
        return times
    ordered = sorted(times)
    return [ordered[round(place * (len(ordered) - 1) / (_MOST - 1))] for place in range(_MOST)]


def ticks(times: Sequence[float], scale: tuple[float, float], width: int, top: int, tall: int) -> str:
    """An SVG path with one upright tick a time, none twice. It has no space, so that it needs no quotes."""
    low, span = scale[0], (scale[1] - scale[0]) or 1.0
    places = sorted({round(width * (time - low) / span) for time in times})
    if not places:
        return ""
    told = f"M{places[0]},{top}v{tall}"
    for before, place in pairwise(places):
        told += f"m{place - before}-{tall}v{tall}"
    return told
