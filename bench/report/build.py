"""From a judgement to the view model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report import head, words
from bench.report.choice import choice, needs
from bench.report.columns import columns
from bench.report.details import details
from bench.report.environment import environments
from bench.report.instrument import instrument
from bench.report.matrix import families
from bench.report.notices import notices
from bench.report.since import since
from bench.report.text import clean
from bench.report.upgrade import upgrades
from bench.report.view import View
from bench.verdict.sentences import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.verdict.judgement import Judgement


def build(judgement: Judgement, before: Judgement | None = None, notes: Sequence[str] = ()) -> View:
    """The view of a run. Pure: the same judgement gives the same view. ``before`` is the last run of its kind."""
    groups = families(judgement)
    rows = [row for family in groups for row in family.rows]
    names = columns(judgement)
    seen = instrument(judgement)
    controls = sum(bool(row.control) for row in rows)
    legend = [*words.WORDS.values(), words.PASS, words.FAIL, words.UNDECIDED, words.NOT_PLANNED]
    return View(
        run=clean(judgement.info.id),
        title=f"tfrepro {clean(judgement.info.id)}",
        answer=head.sentences(judgement, seen),
        lines=head.lines(judgement),
        facts=head.facts(judgement),
        counts_off=head.counts(judgement, "off"),
        counts_on=head.counts(judgement, "on"),
        notices=notices(judgement),
        since=since(judgement, before, notes),
        caption=f"{count(len(rows) - controls, 'kernel')}, {count(controls, 'control')}, {count(len(names), 'pair')}.",
        columns=names,
        families=groups,
        details=details(judgement, rows),
        instrument=seen,
        choice=choice(judgement),
        needs=needs(judgement),
        upgrades=upgrades(judgement),
        environments=environments(judgement),
        legend=tuple((word.symbol, word.word, word.tone, word.meaning) for word in legend),
        terms=words.TERMS,
        judgement=judgement,
    )
