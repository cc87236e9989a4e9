"""The view as JSON, words and numbers, under a schema version of its own: ``bench.report.json.document`` declares it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bench.report.formatting import clean
from bench.report.json import document, numbers
from bench.report.view import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.report import view as v
    from bench.store.run_info import ColumnInfo
    from bench.verdict.results import RunResults


def render(view: v.View) -> str:
    """The page as JSON. Unknown is null; times are in seconds, bounds and rates are shares from 0 to 1."""
    return json.dumps(report(view), default=vars, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def report(view: v.View) -> document.Report:
    """The page as the document that is declared."""
    columns = zip(view.columns, view.results.info.columns, strict=True)
    return document.Report(
        schema=SCHEMA,
        run=view.run,
        answer=view.answer,
        pairs=tuple(map(_pair, view.lines)),
        counts=document.Counts(off=_counts(view.counts_off), on=_counts(view.counts_on)),
        since=_since(view.since),
        facts=tuple(document.Label(label=fact.label, value=fact.value) for fact in view.facts),
        notices=tuple(
            document.Notice(kind=one.kind, title=one.title, text=one.text, items=one.items) for one in view.notices
        ),
        caption=view.caption,
        columns=tuple(_column(matrix_column, column) for matrix_column, column in columns),
        kernels=tuple(map(_row, view.rows)),
        choice=_choice(view.choice),
        needs=tuple(map(_need, view.needs)),
        upgrades=tuple(map(upgrade, view.upgrades)),
        evidence=tuple(_evidence(one) for one in view.details if one.notes or one.replay),
        changes=tuple(_change(one, change) for one in view.details for change in one.changes),
        accuracy=numbers.accuracies(view.results),
        instrument=_instrument(view.results, view.instrument),
        environments=tuple(map(_environment, view.environments)),
        legend=tuple(
            document.Meaning(word=word, symbol=symbol, meaning=meaning) for symbol, word, _, meaning in view.legend
        ),
        terms=tuple(document.Meaning(word=word, symbol=None, meaning=meaning) for word, meaning in view.terms),
    )


def _pair(line: v.Line) -> document.Pair:
    return document.Pair(
        column=line.column,
        label=line.label,
        rank=line.rank or None,
        safe=line.safe,
        sentence=line.sentence,
        overhead=line.overhead or None,
        counts=_counts(line.counts),
    )


def _counts(counts: Iterable[v.Count]) -> dict[str, int]:
    return {one.word: one.number for one in counts}


def _column(matrix_column: v.Column, column: ColumnInfo) -> document.Column:
    return document.Column(
        column=matrix_column.column,
        label=matrix_column.label,
        status=matrix_column.blocked or "ready",
        reason=matrix_column.reason or None,
        note=matrix_column.note or None,
        tensorflow=clean(column.tensorflow),
        cuda=clean(column.cuda),
        cudnn=numbers.told(column.cudnn),
        python=clean(column.python),
        keras=numbers.told(column.keras),
        device=clean(column.device),
        gpu=numbers.told(column.gpu),
        kind=numbers.told(column.kind),
        locked=bool(column.lock_hash),
        origin={clean(key): clean(str(value)) for key, value in column.origin.items()},
    )


def _row(row: v.Row) -> document.Kernel:
    return document.Kernel(
        kernel=row.kernel,
        family=row.family,
        control=row.control or None,
        own=row.own or None,
        facts=_facts(row.facts),
        worst=tuple(map(_entry, row.entries)),
        variations=tuple(
            document.Variation(variation=sub.variation, columns=tuple(map(_entry, sub.entries)))
            for sub in row.variations
        ),
    )


def _entry(entry: v.Entry) -> document.Entry:
    return document.Entry(column=entry.column, off=_half(entry.off), on=_half(entry.on))


def _half(half: v.ModeResult) -> document.ModeResult:
    return document.ModeResult(
        status=half.word,
        symbol=half.symbol,
        variation=half.variation or None,
        why=half.why,
        strength=half.strength or None,
        apart=half.apart or None,
        classes=tuple(half.letters.split()),
        time_text=half.time or None,
        new_value=half.new_value,
        overhead_text=half.overhead or None,
        overhead=numbers.overhead(half.overhead_data) if half.overhead_data else None,
        verdict=numbers.verdict(half.verdict) if half.verdict else None,
    )


def _since(since: v.Since) -> document.Since:
    return document.Since(
        run=since.run or None,
        moment=since.moment or None,
        sentence=since.sentence,
        notes=since.notes,
        upgrades=tuple(map(upgrade, since.upgrades)),
    )


def upgrade(one: v.Upgrade) -> document.Upgrade:
    """One change as report.json and ``compare --format json`` have it."""
    return document.Upgrade(
        label=one.label,
        before=one.before,
        after=one.after,
        step=one.step,
        alone=one.alone,
        moved=one.moved,
        sentences=one.sentences,
        counts=dict(one.counts),
        rows=tuple(map(_event, one.rows)),
        quiet=one.quiet,
        kept=one.kept,
        so_far=one.so_far,
        as_before=one.as_before,
        unknown=one.unknown,
        unknown_why=dict(one.unknown_why),
        untimed_why=dict(one.untimed_why),
        gone=one.gone,
        new=one.new,
        note=one.note or None,
    )


def _event(row: v.UpgradeRow) -> document.Event:
    return document.Event(
        kernel=row.kernel,
        family=row.family or None,
        variation=row.variation or None,
        mode=row.mode,
        before=row.before.word if row.before else None,
        after=row.after.word if row.after else None,
        events=row.events,
        bits=row.bits or None,
        distance=row.distance or None,
        time=row.time or None,
        why=row.why or None,
        time_why=row.time_why or None,
        overhead=numbers.overhead(row.overhead) if row.overhead else None,
        difference=numbers.difference(row.difference) if row.difference else None,
    )


def _choice(choice: v.Choice) -> document.Choice:
    return document.Choice(
        question=choice.question,
        rules=choice.rules,
        sentence=choice.sentence or None,
        candidates=tuple(
            document.Candidate(
                column=one.column,
                label=one.label,
                rank=one.rank or None,
                fit=one.fit,
                symbol=one.symbol,
                evidence=one.evidence,
                overhead=one.overhead or None,
                reasons=one.reasons,
                unknowns=one.unknowns,
            )
            for one in choice.candidates
        ),
        more=choice.more or None,
        missing=tuple(document.Missing(why=one.why, command=one.command) for one in choice.missing),
    )


def _need(need: v.Need) -> document.Need:
    return document.Need(
        family=need.family,
        columns=tuple(
            document.NeedColumn(
                column=one.column,
                reproducible=one.reproducible,
                kernels=one.kernels,
                text=one.text,
                dearest=one.dearest or None,
            )
            for one in need.columns
        ),
    )


def _evidence(detail: v.Detail) -> document.Evidence:
    return document.Evidence(
        column=detail.column,
        kernel=detail.kernel,
        notes=tuple(
            document.Note(label=one.label, where=one.where or None, sentences=one.sentences, block=one.block or None)
            for one in detail.notes
        ),
        replay=detail.replay or None,
    )


def _change(detail: v.Detail, change: v.Change) -> document.Change:
    return document.Change(
        column=detail.column,
        kernel=detail.kernel,
        variation=change.variation,
        difference=numbers.difference(change.difference),
    )


def _instrument(results: RunResults, shown: v.Instrument) -> document.Instrument:
    return document.Instrument(
        sentence=shown.sentence or None,
        lines=tuple(
            document.ControlSummary(
                label=one.label,
                places=one.places,
                seen=one.seen or None,
                out_of_reach=one.out_of_reach or None,
                failed=one.failed or None,
                sentence=one.sentence,
            )
            for one in shown.lines
        ),
        places=numbers.control_summaries(results),
        gpu=shown.gpu,
        gpu_controls=numbers.gpu_controls(results),
    )


def _environment(one: v.Environment) -> document.Environment:
    return document.Environment(
        column=one.column,
        provenance=_facts(one.provenance),
        gpu=_facts(one.gpu),
        libraries=_facts(one.libraries),
        settings={name: dict(zip(one.groups, values, strict=True)) for name, values in one.settings},
        records=_facts(one.records),
    )


def _facts(facts: Iterable[v.Fact]) -> dict[str, str]:
    return {fact.label: fact.value for fact in facts}
