"""Build the interval plots of the first screen: what determinism costs, and what an upgrade changes."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from bench.report.build.ratio_text import bound_text, factor_text
from bench.report.view.charts import IntervalMark, IntervalPlot
from bench.verdict.messages import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.report.view import ColumnComparison, Line, Row
    from bench.verdict.ratio import TimeRatio

#: Ratios that a plot draws: those that are furthest from 1.
MOST_MARKS = 12


def overhead_plots(lines: Sequence[Line], rows: Sequence[Row]) -> tuple[IntervalPlot, ...]:
    """Return one plot of the overhead of determinism for each measured column, the best column first."""
    by_column: dict[str, list[tuple[str, str, TimeRatio | None]]] = {}
    for row in rows:
        for entry in () if row.control else row.deciding:
            if not entry.blocked:
                by_column.setdefault(entry.column, []).append((row.kernel, entry.anchor, entry.on.overhead_data))
    plots = []
    for line in lines:
        entries = by_column.get(line.column, [])
        if any(overhead for *_, overhead in entries):
            title = f"on {line.label}: {_slower(entries)}"
            plots.append(_plot(title, "time with determinism on, divided by time with it off", "overhead", entries))
    return tuple(plots)


def upgrade_plots(comparisons: Sequence[ColumnComparison], rows: Sequence[Row]) -> tuple[IntervalPlot, ...]:
    """Return one plot of changed run times for each comparison, the run's own steps first."""
    anchors = {row.kernel: row for row in rows}
    plots = []
    for item in sorted(comparisons, key=lambda item: not item.is_step):
        changed = [
            (f"{row.kernel}, {row.mode}", anchors[row.kernel].deciding[item.after].anchor, row.overhead)
            for row in item.upgrade.rows
            if row.variation == "default" and row.kernel in anchors
        ]
        title = f"{item.upgrade.label}: {item.upgrade.changed} of {count(item.upgrade.results, 'result')} changed"
        plot = _plot(title, "time after, divided by time before", "slowdown", changed)
        if not item.upgrade.timed:
            reasons = [reason for reason, _ in item.upgrade.untimed_why[:1]]
            rest = f"No times were compared{''.join(f' ({reason})' for reason in reasons)}."
        else:
            rest = plot.rest or ("" if plot.marks else "No time changed significantly.")
        plots.append(dataclasses.replace(plot, rest=f"{rest} A result is a kernel in one mode and variation.".strip()))
    return tuple(plots)


def _slower(entries: Iterable[tuple[str, str, TimeRatio | None]]) -> str:
    """Return how many kernels are significantly slower, and by how much at most."""
    known = [overhead for *_, overhead in entries if overhead is not None and overhead.high is not None]
    if not known:
        return "too few timing pairs for an interval"
    slower = [overhead.ratio for overhead in known if overhead.significant and overhead.ratio > 1]
    if not slower:
        return f"none of {count(len(known), 'kernel')} significantly slower"
    return f"{len(slower)} of {count(len(known), 'kernel')} slower (most: {factor_text(max(slower))})"


def _plot(title: str, axis: str, what: str, ratios: Iterable[tuple[str, str, TimeRatio | None]]) -> IntervalPlot:
    """Return the plot of all significant ratios, with a sentence about the others."""
    known = [(kernel, anchor, overhead) for kernel, anchor, overhead in ratios if overhead is not None]
    drawn = [
        IntervalMark(
            kernel=kernel,
            ratio=overhead.ratio,
            low=overhead.low,
            high=overhead.high,
            text=factor_text(overhead.ratio),
            interval=factor_text(overhead.ratio, (overhead.low, overhead.high)),
            anchor=anchor,
        )
        for kernel, anchor, overhead in known
        if overhead.significant and overhead.low is not None and overhead.high is not None
    ]
    drawn.sort(key=lambda mark: -abs(math.log(mark.ratio)))
    shown = sorted(drawn[:MOST_MARKS], key=lambda mark: -mark.ratio)
    return IntervalPlot(title=title, axis=axis, marks=tuple(shown), rest=_rest(known, len(drawn), len(shown), what))


def _rest(known: Sequence[tuple[str, str, TimeRatio]], drawn: int, shown: int, what: str) -> str:
    """Say what is known about the ratios that are not drawn."""
    more = f"{count(drawn - shown, 'smaller difference')} not drawn. " if drawn > shown else ""
    thing = "kernel" if what == "overhead" else "changed result"
    unknown = sum(overhead.high is None for *_, overhead in known)
    if unknown:
        more += f"Too few timing pairs for an interval in {count(unknown, thing)}. "
    ends = [overhead.high for *_, overhead in known if not overhead.significant and overhead.high is not None]
    if not ends:
        return more.strip()
    others = count(len(ends), f"{'more ' if shown else ''}{thing}")
    anywhere = " in any of them" if len(ends) > 1 else ""
    return f"{more}Not significant in {others}: {bound_text(max(ends), what)}{anywhere}."
