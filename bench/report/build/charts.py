"""Small plots of times: one tick per process. They are decoration, for the numbers stand beside them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.report.view import Entry

#: The plot in the matrix: width in pixels, ticks per mode at most, height of a tick, top of the second mode.
_WIDTH, _MOST, _HEIGHT, _SECOND = 96, 20, 7, 9
#: The axis spans at least this share of the fastest time, so that small differences look small.
_SHARE = 0.25


def small(entry: Entry) -> str:
    """Return the times of both modes of a cell as one SVG path, off above on, on one scale.

    Returns "" where there are no times, or where one mode has first calls only.
    """
    sides = [half.timing.per_process if half.timing else () for half in entry.mode_results]
    if not any(sides) or len({half.time_kind for half in entry.mode_results} - {""}) > 1:
        return ""
    times = [time for side in sides for time in side]
    scale = min(times), max(*times, min(times) * (1 + _SHARE))
    return "".join(ticks(_few(side), scale, _WIDTH, _SECOND * place, _HEIGHT) for place, side in enumerate(sides))


def _few(times: Sequence[float]) -> Sequence[float]:
    """Return at most twenty times, the fastest and the slowest among them."""
    if len(times) <= _MOST:
        return times
    ordered = sorted(times)
    return [ordered[round(place * (len(ordered) - 1) / (_MOST - 1))] for place in range(_MOST)]


def ticks(times: Sequence[float], scale: tuple[float, float], width: int, top: int, height: int) -> str:
    """Return an SVG path with one vertical tick per time; equal ticks are drawn once.

    The path has no space, so that the attribute needs no quotes.
    """
    low, span = scale[0], (scale[1] - scale[0]) or 1.0
    places = sorted({round(width * (time - low) / span) for time in times})
    if not places:
        return ""
    path = f"M{places[0]},{top}v{height}"
    for before, place in pairwise(places):
        path += f"m{place - before}-{height}v{height}"
    return path
