"""What only the HTML page shows: comparisons of columns, rankings by family, and the data its script works on."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Any

from bench.report.build.ranking import choice
from bench.report.build.upgrade import compared
from bench.report.formatting import clean
from bench.verdict.comparison import Distances, Side
from bench.verdict.evidence import percent_up
from bench.verdict.requirements import Requirements
from bench.verdict.status import Status, severity

if TYPE_CHECKING:
    from bench.report.view import Choice, ModeResult, Upgrade, View
    from bench.verdict.results import RunResults, Verdict

#: Up to this many columns, a page compares every column with every other one; beyond it, only along the run's steps.
ALL_PAIRS_LIMIT = 6
#: Lines that a page lists for each comparison where it has more columns than that.
_LINES_OF_LARGE_RUNS = 20


@dataclass(frozen=True, kw_only=True)
class ColumnComparison:
    """What changes from one column to another. ``before`` and ``after`` are places in the view's columns.

    ``lines_shown`` is the number of lines that the page lists; ``command`` prints all of them.
    """

    before: int
    after: int
    is_step: bool
    upgrade: Upgrade
    lines_shown: int
    command: str


@dataclass(frozen=True, kw_only=True)
class FamilyRanking:
    """The columns ranked by one family of kernels, and the command that computes the same ranking."""

    family: str
    choice: Choice
    command: str


def comparisons(view: View) -> tuple[ColumnComparison, ...]:
    """Return the run's steps and, in a run of few columns, every other ordered pair of measured columns."""
    results = view.results
    index = {column.column: place for place, column in enumerate(view.columns)}
    steps = {(index[step.before], index[step.after]): step for step in view.upgrades}
    upgrades = dict(steps)
    all_pairs = len(view.columns) <= ALL_PAIRS_LIMIT
    if all_pairs:
        columns = results.info.columns
        measured = [place for place, column in enumerate(columns) if column.id not in results.unmeasured]
        sides = {place: Side(results=results, column=columns[place].id) for place in measured}
        distances = Distances(results)
        for before, after in permutations(measured, 2):
            if (before, after) not in steps:
                upgrades[before, after] = compared(sides[before], sides[after], known=distances)
    return tuple(
        ColumnComparison(
            before=before,
            after=after,
            is_step=(before, after) in steps,
            upgrade=upgrade,
            lines_shown=len(upgrade.lines) if all_pairs else _LINES_OF_LARGE_RUNS,
            command=f"python -m bench compare {argument(view, before)} {argument(view, after)}",
        )
        for (before, after), upgrade in upgrades.items()
    )


def argument(view: View, place: int) -> str:
    """Return a column as ``compare`` takes it, quoted for a shell: ``RUN:COLUMN``."""
    return shlex.quote(f"{view.run}:{view.columns[place].column}")


def family_rankings(results: RunResults) -> tuple[FamilyRanking, ...]:
    """Return one ranking for each family, in the order of run.json; none where there is a single family."""
    families = dict.fromkeys(kernel.family for kernel in results.info.kernels if not kernel.control)
    if len(families) < 2:  # noqa: PLR2004 - the ranking over all kernels is that of the only family
        return ()
    return tuple(
        FamilyRanking(
            family=clean(family),
            choice=choice(results, Requirements(needs=(family,))),
            command=f"nox -s choose -- --families {shlex.quote(clean(family))}",
        )
        for family in families
    )


#: What the script knows of one kernel in one column and mode, in the order in which it copies it.
_CELL_FIELDS = (
    "status", "variation", "evidence", "compared", "bound_percent", "digest_groups", "difference",
    "seconds", "overhead", "overhead_low", "overhead_high",
)  # fmt: skip


def script_data(view: View) -> dict[str, Any]:
    """Return what the page's script filters, sorts and copies, as plain JSON values.

    ``rows`` are in the order of the matrix, ``cells`` in that of ``columns``. A cell leaves out what is not known.
    """
    results = view.results
    return {
        "cell_fields": _CELL_FIELDS,
        "columns": [
            {
                "id": shown.column,
                "label": shown.label,
                "tensorflow": clean(column.tensorflow),
                "cuda": clean(column.cuda),
                "device": shown.device,
                "argument": argument(view, place),
            }
            for place, (shown, column) in enumerate(zip(view.columns, results.info.columns, strict=True))
        ],
        "rows": [
            {
                "kernel": row.kernel,
                "family": row.family,
                "control": bool(row.control),
                "cells": [{"off": _cell(results, cell.off), "on": _cell(results, cell.on)} for cell in row.entries],
            }
            for row in view.rows
        ],
    }


def _cell(results: RunResults, shown: ModeResult) -> dict[str, Any]:
    verdict = shown.verdict
    facts: dict[str, Any] = {
        "status": shown.word,
        "evidence": shown.strength,
        "digest_groups": shown.letters,
        "difference": shown.apart,
    }
    if verdict is not None:
        facts["severity"] = severity(verdict.status)
        facts |= _bound(results, verdict)
        if verdict.variation == results.variations[0]:
            facts |= _times(shown, verdict)
        else:  # times of another variation would not be comparable with those of the other rows
            facts["variation"] = clean(verdict.variation)
    return {name: value for name, value in facts.items() if value not in ("", None)}


def _bound(results: RunResults, verdict: Verdict) -> dict[str, Any]:
    """Return the weakest evidence behind a kernel that is reproducible in all variations."""
    if verdict.status is not Status.REPRODUCIBLE:
        return {}
    found = [one.comparison for one in results.over_variations(verdict.column, verdict.kernel, verdict.mode)]
    return {
        "compared": min(comparison.compared for comparison in found),
        "bound_percent": percent_up(max(comparison.bound for comparison in found)),
    }


def _times(shown: ModeResult, verdict: Verdict) -> dict[str, Any]:
    overhead = shown.overhead_data if shown.overhead_data and shown.overhead_data.resolved else None
    return {
        "seconds": verdict.timing.median_s if verdict.timing else None,
        "overhead": overhead.ratio if overhead else None,
        "overhead_low": overhead.low if overhead else None,
        "overhead_high": overhead.high if overhead else None,
    }
