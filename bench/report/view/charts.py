"""The charts of the first screen. All that they show is also elsewhere in the view, so report.json lacks them."""

from __future__ import annotations

from dataclasses import dataclass

from bench.verdict.status import Status


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One kernel in one column and mode, as a tile of the heat map.

    ``anchor`` is the element to jump to. ``also`` names the variations under which the result is worse than the one
    that the tile shows, "" where there are none.
    """

    kernel: str
    symbol: str
    word: str
    tone: str
    anchor: str
    also: str = ""


@dataclass(frozen=True, kw_only=True)
class HeatMapLine:
    """One column in one mode. ``tiles`` are in the order of ``HeatMap.families``.

    ``blocked`` is the status of a column without measurements, which has a single line without tiles.
    """

    label: str
    mode: str
    tiles: tuple[Tile, ...]
    blocked: str = ""

    def reproducible(self, shown: slice) -> int:
        """Return how many of some tiles are reproducible."""
        return sum(tile.word == Status.REPRODUCIBLE for tile in self.tiles[shown])


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The kernels with one status other than reproducible, with determinism on.

    ``kernels`` has the name of each, the columns where it has the status ("" for all), and the element to jump to;
    ``more`` counts further ones.
    """

    symbol: str
    word: str
    tone: str
    kernels: tuple[tuple[str, str, str], ...]
    more: int = 0


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """All kernels (without the controls) in all columns and modes, under the variation that decides.

    ``families`` has the name of each family and its number of kernels, in the order of the matrix. ``problems`` names
    what is not reproducible with determinism on, the most severe status first.
    """

    families: tuple[tuple[str, int], ...]
    lines: tuple[HeatMapLine, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def also(self) -> bool:
        """Whether a tile has a worse result under another variation."""
        return any(tile.also for line in self.lines for tile in line.tiles)

    @property
    def has_tiles(self) -> bool:
        """Whether a column has results."""
        return any(line.tiles for line in self.lines)

    @property
    def not_run(self) -> str:
        """The symbol of kernels that were planned and have not run, "" where all have."""
        tiles = (tile for line in self.lines for tile in line.tiles if tile.word == Status.NOT_RUN)
        return next((tile.symbol for tile in tiles), "")

    @property
    def kernels(self) -> int:
        """The number of tiles in a line."""
        return sum(number for _, number in self.families)


@dataclass(frozen=True, kw_only=True)
class IntervalMark:
    """One ratio of times with its interval, as a line of an interval plot.

    ``text`` states the ratio in words, ``interval`` the ratio and its interval.
    """

    kernel: str
    ratio: float
    low: float
    high: float
    text: str
    interval: str
    anchor: str


@dataclass(frozen=True, kw_only=True)
class IntervalPlot:
    """Ratios on a logarithmic axis, the largest first. ``rest`` is a sentence about the ratios that are not drawn."""

    title: str
    axis: str
    marks: tuple[IntervalMark, ...]
    rest: str


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One value for each step of a training. ``label`` names the results whose digest this is."""

    label: str
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class TrainingCurves:
    """A scalar of each step of a training, for each of its digests.

    ``more`` counts digests that are not drawn, ``left_out`` steps that a digest lacks, as its value is not finite.
    """

    tensor: str
    steps: tuple[int, ...]
    curves: tuple[Curve, ...]
    more: int = 0
    left_out: int = 0
