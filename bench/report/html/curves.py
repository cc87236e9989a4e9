"""Lay out the curves of a training: the values of each step above, and how far they are from the first curve below."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.report.view.charts import TrainingCurves

#: Pixels: the whole drawing, the space for the numbers of the axes, a panel, and the space between the panels.
WIDTH, _LEFT, _RIGHT, _PANEL, _GAP = 420.0, 70.0, 8.0, 84.0, 30.0
#: The smallest difference that is drawn, a power of ten: a smaller one is below any float32 value of interest.
_SMALLEST = -12


class Axis(NamedTuple):
    """A panel: its top in pixels, what it shows, and the texts at its upper and lower end."""

    top: float
    title: str
    high: str
    low: str


@dataclass(frozen=True, kw_only=True)
class CurvesLayout:
    """What the SVG draws. ``values`` and ``differences`` have one list of points for each curve.

    The first curve has no differences, and neither has a step without a difference: its list is split there.
    """

    width: float
    height: float
    left: float
    panel: float
    axes: tuple[Axis, ...]
    values: tuple[str, ...]
    differences: tuple[tuple[str, ...], ...]
    first_step: int
    last_step: int


def curves_layout(chart: TrainingCurves) -> CurvesLayout:
    """Place the curves: values on a linear axis, differences on a logarithmic one."""
    known = [curve.values for curve in chart.curves]
    low, high = min(map(min, known)), max(map(max, known))
    first = known[0]
    powers = [
        [
            max(_SMALLEST, math.log10(abs(value - start))) if value != start else None
            for value, start in zip(of, first, strict=True)
        ]
        for of in known[1:]
    ]
    drawn = [power for of in powers for power in of if power is not None]
    bottom, top = (math.floor(min(drawn)), math.ceil(max(drawn))) if drawn else (_SMALLEST, 0)
    below = _PANEL + _GAP
    return CurvesLayout(
        width=WIDTH,
        height=2 * _PANEL + _GAP + 24,
        left=_LEFT,
        panel=_PANEL,
        axes=(
            Axis(0.0, chart.tensor, f"{high:.3g}", f"{low:.3g}"),
            Axis(below, "difference", f"1e{top}", f"1e{bottom}"),
        ),
        values=tuple(" ".join(_points(of, low, high, 0.0)) for of in known),
        differences=tuple(_split(_points(of, bottom, top, below)) for of in powers),
        first_step=chart.steps[0],
        last_step=chart.steps[-1],
    )


def _points(values: Sequence[float | None], low: float, high: float, top: float) -> list[str]:
    """Return ``x,y`` for each value; "" for one that is missing."""
    span, width = (high - low) or 1.0, WIDTH - _LEFT - _RIGHT
    last = max(1, len(values) - 1)
    return [
        "" if value is None else f"{_LEFT + width * place / last:.1f},{top + _PANEL * (1 - (value - low) / span):.1f}"
        for place, value in enumerate(values)
    ]


def _split(points: Sequence[str]) -> tuple[str, ...]:
    """Return the unbroken parts of a line; a point alone is doubled, so that it is drawn."""
    parts: list[list[str]] = [[]]
    for point in points:
        if point:
            parts[-1].append(point)
        elif parts[-1]:
            parts.append([])
    return tuple(" ".join(part if len(part) > 1 else part * 2) for part in parts if part)
