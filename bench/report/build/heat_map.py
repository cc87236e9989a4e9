"""Build the heat map: a tile for each kernel, column and mode, under the variation that decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report import labels
from bench.report.formatting import listed
from bench.report.view.charts import HeatMap, HeatMapLine, Problem, Tile
from bench.verdict.status import Status, severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.report.view import Column, Family, Row

_REPRODUCIBLE = labels.STATUS_LABELS[Status.REPRODUCIBLE].word
#: What says nothing about a kernel: it was not planned, or was not reached yet.
_NOT_MEASURED = frozenset({labels.NOT_PLANNED.word, labels.STATUS_LABELS[Status.NOT_RUN].word})
#: Kernels that a problem names: more would hide the problems below it.
MOST_NAMED = 15


def heat_map(columns: Sequence[Column], families: Sequence[Family]) -> HeatMap:
    """Return the heat map of a matrix; controls have no tile."""
    members = [(family.name, [row for row in family.rows if not row.control]) for family in families]
    members = [(name, rows) for name, rows in members if rows]
    rows = [row for _, kernels in members for row in kernels]
    lines: list[HeatMapLine] = []
    for place, column in enumerate(columns):
        if column.blocked:
            lines.append(HeatMapLine(label=column.label, mode="", tiles=(), blocked=column.blocked))
            continue
        for mode in ("off", "on"):
            tiles = tuple(_tile(row, place, mode) for row in rows)
            if any(tile.word != labels.NOT_PLANNED.word for tile in tiles):
                lines.append(HeatMapLine(label=column.label, mode=mode, tiles=tiles))
    return HeatMap(
        families=tuple((name, len(kernels)) for name, kernels in members),
        lines=tuple(lines),
        problems=_problems([line for line in lines if line.mode == "on"]),
    )


def _problems(lines: Sequence[HeatMapLine]) -> tuple[Problem, ...]:
    """Return the kernels that are not reproducible, by status, the most severe first."""
    found: dict[str, dict[str, list[tuple[str, Tile]]]] = {}
    for line in lines:
        for tile in line.tiles:
            if tile.word != _REPRODUCIBLE and tile.word not in _NOT_MEASURED:
                found.setdefault(tile.word, {}).setdefault(tile.kernel, []).append((line.label, tile))
    severities = {word.word: severity(status) for status, word in labels.STATUS_LABELS.items()}
    problems = []
    for word in sorted(found, key=lambda word: severities.get(word, 0)):
        kernels = tuple(
            (kernel, "" if len(places) == len(lines) else listed([label for label, _ in places]), places[0][1].anchor)
            for kernel, places in found[word].items()
        )
        tile = next(iter(found[word].values()))[0][1]
        problems.append(
            Problem(
                symbol=tile.symbol,
                word=word,
                tone=tile.tone,
                kernels=kernels[:MOST_NAMED],
                more=max(0, len(kernels) - MOST_NAMED),
            )
        )
    return tuple(problems)


def _tile(row: Row, place: int, mode: str) -> Tile:
    entry = row.deciding[place]
    result = entry.in_mode(mode)
    return Tile(
        kernel=row.kernel,
        symbol=result.symbol,
        word=result.word,
        tone=result.tone,
        anchor=entry.anchor,
        also=row.also(place, mode),
    )
