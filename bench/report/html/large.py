"""Render a large run as several files: a summary with the heat map, and the evidence in files beside it.

Each of those files has some kernels of one family, with their lines of the matrix.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup, escape

from bench.report.html.charts import WIDE, heat_map_layout
from bench.report.html.render import page_values, shared_values, templates

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.report.html.charts import HeatMapLayout, PlacedTile
    from bench.report.view import ColumnComparison, Family, View
    from bench.report.view.charts import HeatMap, IntervalPlot

#: The folder of the files beside the summary, and their names: no text of a run becomes part of a name.
FOLDER, NAME, NAMES = "details", "kernels-{:03d}.html", "kernels-[0-9]*.html"
#: What each of these files has in its head, so that nothing else is ever removed.
MARK = Markup('<meta name="generator" content="tfrepro details">')
#: Kernels times columns of a file, unless a single kernel has more: about 1 kB each.
CELLS = 6000
#: Lines of a comparison that the summary lists; a command prints all of them.
_LINES_OF_COMPARISON = 3
_SCRIPTS = ("helpers.js", "choose.js", "address.js", "theme.js", "large.js")


class _Part(NamedTuple):
    """The kernels of one file, all of one family, and its address from the summary."""

    file: str
    title: str
    family: Family


class _Line(NamedTuple):
    """A kernel in the list of the summary.

    ``off`` and ``on`` count the columns in which it is reproducible; ``counts`` has symbol, word, tone and number of
    columns of each status with determinism on.
    """

    kernel: str
    address: str
    off: int
    on: int
    counts: tuple[tuple[str, str, str, int], ...]


def details(view: View) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each file with evidence."""
    template = templates().get_template("detail.html")
    own: dict[int, list[int]] = {}
    for place, detail in enumerate(view.details):
        own.setdefault(detail.index, []).append(place)
    for part in _parts(view):
        evidence = (view.details[place] for row in part.family.rows for place in own.get(row.index, ()))
        only = dataclasses.replace(
            view,
            title=f"{view.title}: {part.title}",
            families=(part.family,),
            details=tuple(dataclasses.replace(detail, environment="") for detail in evidence),
            caption=part.title,
            history="",
        )
        # the versions of the columns are in the summary
        values = {**page_values(only, charts=False), "anchors": {}, "title": part.title, "mark": MARK}
        yield part.file.removeprefix(f"{FOLDER}/"), template.render(values)


def summary(view: View, most: int) -> str:
    """Return the page that links to the files with evidence; ``most`` is the size in bytes that one file exceeded."""
    parts = _parts(view)
    files = {row.index: part.file for part in parts for row in part.family.rows}
    chart = _linked_map(view.heat_map, files)
    linked = dataclasses.replace(
        view,
        heat_map=chart,
        overhead_plots=_linked_plots(view.overhead_plots, files),
        upgrade_plots=_linked_plots(view.upgrade_plots, files),
    )
    values = {
        **shared_values(linked, _SCRIPTS),
        "link": "",
        "tiles": Markup("").join(_tiles(chart)),
        "most": most // 1_000_000,
        "files": len(parts),
        "parts": [{"file": part.file, "title": part.title, "lines": _lines(part)} for part in parts],
        "comparisons": tuple(map(_shortened, view.comparisons)),
    }
    return templates().get_template("large.html").render(values)


def _shortened(item: ColumnComparison) -> ColumnComparison:
    return dataclasses.replace(item, lines_shown=_LINES_OF_COMPARISON)


def _parts(view: View) -> list[_Part]:
    """Split the kernels into files: one for each family, and several for one with very many results."""
    most = max(1, CELLS // max(1, len(view.columns)))
    groups = [
        (family, dataclasses.replace(family, rows=family.rows[start : start + most]))
        for family in view.families
        for start in range(0, len(family.rows), most)
    ]
    return [
        _Part(
            file=f"{FOLDER}/{NAME.format(number)}",
            title=family.name if len(some.rows) == len(family.rows) else f"{family.name}, from {some.rows[0].kernel}",
            family=some,
        )
        for number, (family, some) in enumerate(groups, 1)
    ]


def _lines(part: _Part) -> list[_Line]:
    lines = []
    for row in part.family.rows:
        measured = [entry for entry in row.deciding if not entry.blocked]
        results = [entry.on for entry in measured]
        counts = Counter((result.symbol, result.word, result.tone) for result in results)
        lines.append(
            _Line(
                kernel=row.kernel,
                address=f"{part.file}#{measured[0].anchor}" if measured else part.file,
                off=sum(entry.off.tone == "good" for entry in measured),
                on=sum(result.tone == "good" for result in results),
                counts=tuple((*word, number) for word, number in counts.most_common()),
            )
        )
    return lines


def _address(anchor: str, files: Mapping[int, str]) -> str:
    """Return where the evidence with an anchor (``d3-0``: row 3, column 0) is."""
    return f"{files[int(anchor[1:].partition('-')[0])]}#{anchor}"


def _linked_map(chart: HeatMap, files: Mapping[int, str]) -> HeatMap:
    """Return the heat map with addresses in place of anchors."""
    lines = (
        dataclasses.replace(
            line, tiles=tuple(dataclasses.replace(tile, anchor=_address(tile.anchor, files)) for tile in line.tiles)
        )
        for line in chart.lines
    )
    problems = (
        dataclasses.replace(
            problem,
            kernels=tuple((kernel, where, _address(anchor, files)) for kernel, where, anchor in problem.kernels),
        )
        for problem in chart.problems
    )
    return dataclasses.replace(chart, lines=tuple(lines), problems=tuple(problems))


def _linked_plots(plots: Sequence[IntervalPlot], files: Mapping[int, str]) -> tuple[IntervalPlot, ...]:
    """Return interval plots with addresses in place of anchors."""
    return tuple(
        dataclasses.replace(
            plot,
            marks=tuple(dataclasses.replace(mark, anchor=_address(mark.anchor, files)) for mark in plot.marks),
        )
        for plot in plots
    )


def _tiles(chart: HeatMap) -> Iterator[Markup]:
    """Yield the heat map as one SVG; the style sheet has the height of a tile, and ``--tile`` its width."""
    layout = heat_map_layout(chart, WIDE)
    yield Markup(
        '<svg class="chart heat-map many" viewBox="0 0 {} {}" style=--tile:{}px role=group aria-label="Heat map">\n'
    ).format(layout.width, layout.height, layout.tile)
    for name in layout.families:
        yield Markup("<text x={} y={} class=family>{}</text>\n").format(*name)
    for placed in layout.lines:
        line, y = placed.line, placed.y + 11
        if placed.label:
            yield Markup("<text x=0 y={}>{}</text>\n").format(placed.label.y + 11, placed.label.text)
        if line.blocked:
            yield Markup("<text x={} y={} class=note>{}</text>\n").format(layout.names, y, line.blocked)
            continue
        yield Markup("<text x={} y={} class=note text-anchor=end>{}</text>").format(layout.names - 44, y, line.mode)
        yield Markup("<text x={} y={} class=number text-anchor=end>{}</text>\n").format(
            layout.names - 10, y, placed.reproducible
        )
    yield from _links(layout)
    yield from _signs(layout)
    yield Markup("</svg>")


def _links(layout: HeatMapLayout) -> Iterator[Markup]:
    """Yield one link for each kernel in each column, with a tile for each mode."""
    modes = {placed.y: placed.line.mode for placed in layout.lines}
    cells: dict[str, list[PlacedTile]] = {}
    for placed in layout.tiles:
        cells.setdefault(placed.tile.anchor, []).append(placed)
    for address, tiles in cells.items():
        by_word: dict[str, list[str]] = {}
        for _, y, tile in tiles:
            by_word.setdefault(f"{tile.word}{f' (also {tile.also})' if tile.also else ''}", []).append(modes[y])
        words = ", ".join(f"{' and '.join(where)} {word}" for word, where in by_word.items())
        title = escape(f"{tiles[0].tile.kernel}: {words}")
        tones = {tile.tone for *_, tile in tiles}
        shared = _class(tones.pop()) if len(tones) == 1 else ""
        rects = (
            f"<rect x={x:g} y={y:g}{'' if shared else _class(tile.tone)} />"
            + (f"<circle cx={x + layout.tile - 2:.1f} cy={y + 2:g} r=2 />" if tile.also else "")
            for x, y, tile in tiles
        )
        yield Markup(f"<a href={address}{shared}><title>{title}</title>{''.join(rects)}</a>")  # noqa: S704 - escaped


def _class(tone: str) -> str:
    return "" if tone == "good" else f" class={tone}"


def _signs(layout: HeatMapLayout) -> Iterator[Markup]:
    """Yield the symbols of the tiles that are not good, as one text for each line and tone."""
    found: dict[tuple[float, str], list[PlacedTile]] = {}
    for placed in layout.tiles:
        if placed.tile.tone != "good":
            found.setdefault((placed.y, placed.tile.tone), []).append(placed)
    for (y, tone), tiles in found.items():
        places = " ".join(f"{placed.x + layout.tile / 2:.4g}" for placed in tiles)
        symbols = "".join(placed.tile.symbol[:1] for placed in tiles)
        yield Markup('<text class="sign {}" y={} x="{}">{}</text>\n').format(tone, y + 11, places, symbols)
