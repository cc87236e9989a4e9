"""What only the HTML page shows: comparisons of columns, rankings by family and limit, and data for its script."""

from __future__ import annotations

import shlex
from itertools import permutations, product
from typing import TYPE_CHECKING, Any

from bench.report.build.ranking import choice
from bench.report.build.upgrade import compared
from bench.report.formatting import clean
from bench.report.view import ColumnComparison, NarrowerRanking
from bench.verdict.comparison import Distances, Side
from bench.verdict.evidence import percent_up
from bench.verdict.requirements import Requirements

if TYPE_CHECKING:
    from bench.report.view import ModeResult, Row, View
    from bench.verdict.results import RunResults

#: Up to this many columns, a page compares every column with every other one; beyond it, only along the run's steps.
ALL_PAIRS_LIMIT = 6
#: Lines that a page lists for each comparison where it has more columns than that.
_LINES_OF_LARGE_RUNS = 20


def comparisons(view: View, results: RunResults) -> tuple[ColumnComparison, ...]:
    """Return the run's steps and, in a run of few columns, every other ordered pair of measured columns."""
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


#: Limits on the overhead of determinism that a page has rankings for, in per cent.
LIMITS_PERCENT = (5, 10, 25, 50, 100)


def narrower_rankings(results: RunResults) -> tuple[NarrowerRanking, ...]:
    """Return one ranking for each limit on the overhead, each family, and in a run of few columns each pair of both.

    There are none for limits where no overhead was measured, and none for families where there is a single one.
    """
    limits = LIMITS_PERCENT if results.overheads else ()
    families = list(dict.fromkeys(kernel.family for kernel in results.info.kernels if not kernel.control))
    families = families if len(families) > 1 else []
    both = product(families, limits) if len(results.info.columns) <= ALL_PAIRS_LIMIT else ()
    requirements = [*(("", limit) for limit in limits), *((family, 0) for family in families), *both]
    return tuple(_ranking(results, family, percent) for family, percent in requirements)


def _ranking(results: RunResults, family: str, percent: int) -> NarrowerRanking:
    """Return the ranking for a family, "" for all kernels, and a limit on the overhead, 0 for none."""
    options = [f"--families {shlex.quote(clean(family))}"] if family else []
    options += [f"--max-overhead {percent}%"] if percent else []
    question = Requirements(families=(family,) if family else (), max_overhead=1 + percent / 100 if percent else None)
    return NarrowerRanking(
        title=(clean(family) or "all kernels") + (f", at most {percent} % slower" if percent else ""),
        family=clean(family),
        limit_percent=str(percent or ""),
        choice=choice(results, question),
        command=f"nox -s choose -- {' '.join(options)}",
    )


#: What the script knows of one kernel in one column and mode, in the order in which it copies it.
_CELL_FIELDS = (
    "status", "evidence", "compared", "bound_percent", "digest_groups", "difference",
    "seconds", "time_kind", "overhead", "overhead_low", "overhead_high", "overhead_text",
)  # fmt: skip


def script_data(view: View) -> dict[str, Any]:
    """Return what the page's script filters, sorts and copies, as plain JSON values.

    ``rows`` are in the order of the matrix, ``cells`` in that of ``columns``. A cell leaves out what is not known.
    """
    return {
        "run": view.run,
        "measured": next((fact.value for fact in view.facts if fact.label == "Measured"), ""),
        "cell_fields": _CELL_FIELDS,
        "columns": [
            {
                "id": column.column,
                "label": column.label,
                "tensorflow": column.tensorflow,
                "cuda": column.cuda,
                "device": column.device,
                "argument": argument(view, place),
            }
            for place, column in enumerate(view.columns)
        ],
        "rows": [
            {
                "kernel": row.kernel,
                "family": row.family,
                "control": bool(row.control),
                "problem": row.has_problem,
                "differs": row.differs,
                "cells": [
                    {result.mode: _cell(row, place, result) for result in cell.mode_results}
                    for place, cell in enumerate(row.deciding)
                ],
            }
            for row in view.rows
        ],
    }


def _cell(row: Row, place: int, result: ModeResult) -> dict[str, Any]:
    """Return one result under the variation that decides; ``statuses`` has its statuses under all variations."""
    statuses = {variation.entries[place].in_mode(result.mode).word for variation in row.results} | {result.word}
    overhead = result.overhead_data if result.overhead_data and result.overhead_data.significant else None
    good = result.tone == "good"
    facts: dict[str, Any] = {
        "status": result.word,
        "statuses": sorted(statuses),
        "evidence": result.evidence_text,
        "digest_groups": result.letters,
        "difference": result.distance_text,
        "severity": result.severity,
        "compared": result.compared if good else None,
        "bound_percent": percent_up(result.bound) if good and result.bound is not None else None,
        "seconds": result.timing.median_s if result.timing else None,
        "time_kind": result.time_kind,
        "overhead_text": result.overhead,
        "overhead": overhead.ratio if overhead else None,
        "overhead_low": overhead.low if overhead else None,
        "overhead_high": overhead.high if overhead else None,
    }
    return {name: value for name, value in facts.items() if value not in ("", None)}
