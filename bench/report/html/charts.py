"""Lay out the charts of the first screen: positions in an SVG, from which ``charts.html`` draws them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.report.view import ModeResult
    from bench.report.view.charts import HeatMap, HeatMapLine, IntervalMark, IntervalPlot, Tile

#: Widths in pixels of a heat map for wide and for narrow screens; the SVG is scaled to the space it gets.
WIDE, NARROW = 1320, 470
#: Pixels from tile to tile, between families, between the lines of a column, and before the next column.
_LARGEST_PITCH, _NARROW_PITCH, _FAMILY_GAP, _LINE, _COLUMN_GAP = 13.0, 11.0, 7.0, 16.0, 5.0
#: Pixels for the mode of a line and its number, for names of columns at most, and for the names of the families.
_NUMBERS, _LONGEST_LABEL, _HEAD = 70.0, 240.0, 18.0
#: Pixels of a name for each character, for deciding whether it fits.
_CHARACTER = 6.4


class PlacedTile(NamedTuple):
    """A tile with the place of its upper left corner."""

    x: float
    y: float
    tile: Tile


class PlacedName(NamedTuple):
    """A text with the place of its start."""

    x: float
    y: float
    text: str


class PlacedLine(NamedTuple):
    """A line of the heat map, with the name of its column; None if a line above has it.

    ``reproducible`` counts the reproducible kernels among the tiles beside it.
    """

    y: float
    line: HeatMapLine
    label: PlacedName | None
    reproducible: int


@dataclass(frozen=True, kw_only=True)
class HeatMapLayout:
    """What the SVG of a heat map draws, in pixels. ``tile`` is the width of a tile, ``names`` of the labels."""

    width: float
    height: float
    tile: float
    names: float
    families: tuple[PlacedName, ...]
    lines: tuple[PlacedLine, ...]
    tiles: tuple[PlacedTile, ...]


def heat_map_layout(chart: HeatMap, width: float) -> HeatMapLayout:
    """Place the tiles: families side by side, wrapped into as many bands as the width requires.

    On narrow screens the name of a column stands above its lines, because it leaves no space for tiles beside it.
    """
    longest = max((len(line.label) for line in chart.lines), default=0)
    beside = min(_LONGEST_LABEL, longest * _CHARACTER) if width >= WIDE else 0.0
    names = float(round(_NUMBERS + beside))
    gaps = _FAMILY_GAP * max(0, len(chart.families) - 1)
    widest = chart.kernels if width >= WIDE else max((number for _, number in chart.families), default=0)
    largest, gaps = (_LARGEST_PITCH, gaps) if width >= WIDE else (_NARROW_PITCH, 0.0)
    pitch = min(largest, (width - names - gaps) / max(1, widest))
    families: list[PlacedName] = []
    lines: list[PlacedLine] = []
    tiles: list[PlacedTile] = []
    top = 0.0
    for band in _bands(chart.families, width - names, pitch):
        shown = slice(band[0][1], band[-1][1] + band[-1][2][1]) if band else slice(0)
        placed = list(_placed_lines(chart.lines, shown, top + _HEAD, beside, beside or width))
        lines += placed
        for place, (x, start, (name, number)) in enumerate(band):
            following = band[place + 1][0] if place + 1 < len(band) else width - names
            families.append(PlacedName(round(names + x, 1), top + _HEAD - 6, _shortened(name, following - x)))
            for y, line, *_ in placed:
                tiles += (
                    PlacedTile(round(names + x + pitch * offset, 1), y, tile)
                    for offset, tile in enumerate(line.tiles[start : start + number])
                )
        top = (placed[-1].y if placed else top + _HEAD) + _LINE + 8
    return HeatMapLayout(
        width=width, height=top, tile=round(max(0.6 * pitch, pitch - 1.5), 1), names=names,
        families=tuple(families), lines=tuple(lines), tiles=tuple(tiles),
    )  # fmt: skip


def _bands(
    families: Sequence[tuple[str, int]], width: float, pitch: float
) -> list[list[tuple[float, int, tuple[str, int]]]]:
    """Return the families of each band, each with its distance from the left and the number of kernels before it."""
    bands: list[list[tuple[float, int, tuple[str, int]]]] = [[]]
    with_names = [max(number * pitch, (len(name) + 1) * _CHARACTER) for name, number in families]
    # where there is space for it, a family of few kernels is as wide as its name
    names_fit = sum(with_names) + _FAMILY_GAP * len(families) <= width
    x, kernels = 0.0, 0
    for (name, number), with_name in zip(families, with_names, strict=True):
        # a pixel of tolerance: the last family of a full band must not wrap because of rounding
        if bands[-1] and x + number * pitch > width + 1:
            bands.append([])
            x = 0.0
        bands[-1].append((round(x, 1), kernels, (name, number)))
        x += (with_name if names_fit else number * pitch) + _FAMILY_GAP
        kernels += number
    return bands


def _placed_lines(
    lines: Sequence[HeatMapLine], shown: slice, top: float, beside: float, space: float
) -> Iterator[PlacedLine]:
    """Yield the lines with some of their tiles from the top down.

    The names of columns have some ``space``, ``beside`` their lines or above.
    """
    before = ""
    for place, line in enumerate(lines):
        label = None
        if not place or line.label != before:
            top += _COLUMN_GAP if place else 0.0
            label = PlacedName(0.0, top, _shortened(line.label, space))
            top += 0.0 if beside else _LINE
        yield PlacedLine(top, line, label, line.reproducible(shown))
        before = line.label
        top += _LINE


def _shortened(name: str, space: float) -> str:
    """Return a name that fits into some pixels, cut off where it must be."""
    most = max(1, int(space / _CHARACTER))
    return name if len(name) <= most else name[: max(1, most - 1)] + "."


#: Widths in pixels of an interval plot for wide and for narrow screens.
WIDE_PLOT, NARROW_PLOT = 600.0, 370.0
#: The wide plot, in pixels: the space for kernel names and for texts beside the axis, and the height of a line.
_PLOT_NAMES, _PLOT_TEXTS, _PLOT_LINE = 208.0, 150.0, 20.0
#: The narrow plot has names and texts above each interval: the space beside the axis, and the height of both lines.
_NARROW_MARGIN, _NARROW_LINE = 14.0, 33.0
#: The factors that an axis can show: it takes the first of these series that has few enough in its range.
_TICKS: tuple[tuple[float, ...], ...] = (
    (0.8, 0.9, 1.0, 1.1, 1.2, 1.4, 1.6),
    (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0),
    (0.01, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 100.0),
    tuple(10.0**power for power in range(-3, 4)),
    tuple(10.0**power for power in range(-9, 10, 3)),
)
#: The axis reaches at least from one to the other, so that small differences look small, and never further than these.
_LEAST_RANGE, _MOST_RANGE = (0.8, 1.25), (1e-9, 1e9)
#: Pixels that the text of a tick needs.
_TICK_TEXT = 34.0


class PlacedMark(NamedTuple):
    """A mark of an interval plot: its line, the places of the interval's ends and of the ratio, and its short name.

    ``baseline`` is the height at which its name and text are written.
    """

    y: float
    baseline: float
    low: float
    ratio: float
    high: float
    name: str
    mark: IntervalMark


@dataclass(frozen=True, kw_only=True)
class IntervalPlotLayout:
    """Everything that the SVG of an interval plot draws, in pixels.

    Names end and texts begin at ``names`` and ``texts``, or the reverse if it is ``narrow``: then both stand above
    their interval. ``one`` is the place of the factor 1.
    """

    width: float
    height: float
    narrow: bool
    names: float
    texts: float
    one: float
    ticks: tuple[PlacedName, ...]
    marks: tuple[PlacedMark, ...]


def interval_plot_layout(chart: IntervalPlot, width: float) -> IntervalPlotLayout:
    """Place ratios on a logarithmic axis that covers all intervals and 1."""
    narrow = width < WIDE_PLOT
    left, right = (_NARROW_MARGIN, width - _NARROW_MARGIN) if narrow else (_PLOT_NAMES, width - _PLOT_TEXTS)
    line, above = (_NARROW_LINE, 13.0) if narrow else (_PLOT_LINE, 0.0)
    ends = [_within_range(end) for mark in chart.marks for end in (mark.low, mark.ratio, mark.high)]
    low, high = min([_LEAST_RANGE[0], *ends]), max([_LEAST_RANGE[1], *ends])

    def place(ratio: float) -> float:
        share = math.log(_within_range(ratio) / low) / math.log(high / low)
        return round(left + (right - left) * share, 1)

    bottom = line * len(chart.marks) + 4
    series = ([tick for tick in ticks if low <= tick <= high] for ticks in _TICKS if _covers(ticks, low, high))
    ticks = next((ticks for ticks in series if _legible([place(tick) for tick in ticks])), [1.0])
    return IntervalPlotLayout(
        width=width,
        height=bottom + 22,
        narrow=narrow,
        names=0.0 if narrow else left - 10,
        texts=width if narrow else right + 12,
        one=place(1.0),
        ticks=tuple(PlacedName(place(tick), bottom + 14, f"{tick:g}x") for tick in ticks),
        marks=tuple(
            PlacedMark(
                y=line * number + 12 + above,
                baseline=line * number + (11 if narrow else 16),
                low=place(mark.low),
                ratio=place(mark.ratio),
                high=place(mark.high),
                name=_shortened(mark.kernel, width - _PLOT_TEXTS if narrow else _PLOT_NAMES - 10),
                mark=mark,
            )
            for number, mark in enumerate(chart.marks)
        ),
    )


def _within_range(ratio: float) -> float:
    """Return a ratio that an axis can show; times that are 0 or without end make ratios that it cannot."""
    return min(_MOST_RANGE[1], max(_MOST_RANGE[0], ratio))


def _legible(places: Sequence[float]) -> bool:
    """Return whether the texts of ticks at these places do not overlap."""
    return all(after - before >= _TICK_TEXT for before, after in pairwise(places))


def _covers(ticks: Sequence[float], low: float, high: float) -> bool:
    """Return whether a series reaches about as far as an axis."""
    return ticks[0] <= low * 2 and high <= ticks[-1] * 2


#: Pixels from sample to sample, and of a sample; digests with this number and later ones share a colour.
_SAMPLE_PITCH, _SAMPLE, _LAST_COLOUR = 9, 7, 6


def sample_paths(samples: Sequence[int]) -> list[tuple[int, str]]:
    """Return a path for each number of a digest, which draws a square for each of its samples, in their order."""
    paths: dict[int, str] = {}
    for place, number in enumerate(samples):
        key = min(number, _LAST_COLOUR)
        paths[key] = f"{paths.get(key, '')}M{_SAMPLE_PITCH * place},5h{_SAMPLE}"
    return sorted(paths.items())


#: The mark of an overhead in the matrix: its width in pixels, and the factor at its right end (inverse at the left).
_MARK_WIDTH, _MARK_END = 40.0, 2.0


class IntervalMarkLayout(NamedTuple):
    """The mark of one overhead. ``kind`` is "slower", "faster", or "" where the overhead is not significant."""

    low: float
    ratio: float
    high: float
    kind: str


def interval_mark(result: ModeResult) -> IntervalMarkLayout | None:
    """Place an overhead on the axis of the matrix; what lies beyond its ends is drawn at the end."""
    overhead = result.overhead_data
    if overhead is None or overhead.low is None or overhead.high is None:
        return None

    def place(ratio: float) -> float:
        share = math.log(_within_range(ratio)) / math.log(_MARK_END)
        return round(_MARK_WIDTH / 2 * (1 + min(1.0, max(-1.0, share))), 1)

    kind = ("slower" if overhead.ratio > 1 else "faster") if overhead.significant else ""
    return IntervalMarkLayout(place(overhead.low), place(overhead.ratio), place(overhead.high), kind)
