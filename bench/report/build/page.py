"""From a results to the view model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report import labels
from bench.report.build import summary
from bench.report.build.columns import columns
from bench.report.build.control_checks import instrument
from bench.report.build.details import details
from bench.report.build.environment import environments
from bench.report.build.matrix import families
from bench.report.build.previous_run import since
from bench.report.build.ranking import choice, needs
from bench.report.build.upgrade import upgrades
from bench.report.build.warnings import notices
from bench.report.formatting import clean
from bench.report.view import View
from bench.verdict.messages import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.verdict.results import RunResults


def build(results: RunResults, before: RunResults | None = None, notes: Sequence[str] = ()) -> View:
    """The view of a run. Pure: the same results gives the same view. ``before`` is the last run of its kind."""
    groups = families(results)
    rows = [row for family in groups for row in family.rows]
    names = columns(results)
    seen = instrument(results)
    controls = sum(bool(row.control) for row in rows)
    legend = [*labels.WORDS.values(), labels.PASS, labels.FAIL, labels.UNDECIDED, labels.NOT_PLANNED]
    return View(
        run=clean(results.info.id),
        title=f"tfrepro {clean(results.info.id)}",
        answer=summary.sentences(results, seen),
        lines=summary.lines(results),
        facts=summary.facts(results),
        counts_off=summary.counts(results, "off"),
        counts_on=summary.counts(results, "on"),
        notices=notices(results),
        since=since(results, before, notes),
        caption=f"{count(len(rows) - controls, 'kernel')}, {count(controls, 'control')}, {count(len(names), 'pair')}.",
        columns=names,
        families=groups,
        details=details(results, rows),
        instrument=seen,
        choice=choice(results),
        needs=needs(results),
        upgrades=upgrades(results),
        environments=environments(results),
        legend=tuple((word.symbol, word.word, word.tone, word.meaning) for word in legend),
        terms=labels.TERMS,
        results=results,
    )
