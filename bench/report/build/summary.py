"""The first screen of the view: the answer, the counts, the facts of the run, and what warns."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bench.report import labels as status_labels
from bench.report.build import gpu
from bench.report.build.columns import labels
from bench.report.build.ranking import also_under, bill_text
from bench.report.formatting import clean, listed, moment
from bench.report.view import Count, Fact, Line
from bench.verdict.evidence import percent_up
from bench.verdict.gates import answer
from bench.verdict.messages import count
from bench.verdict.ranking import summarize_overheads
from bench.verdict.status import SEVERITY, Status

if TYPE_CHECKING:
    from bench.report.view import Instrument
    from bench.verdict.gates import ColumnSummary
    from bench.verdict.results import RunResults

_HOST = {"cpu": "CPU", "cpu_model": "CPU", "gpu": "GPU", "memory_gb": "Memory in GB"}


def sentences(results: RunResults, instrument: Instrument) -> tuple[str, ...]:
    """The answer in a few sentences: what is safe, how strong the evidence is, and what could have been seen."""
    names = dict(zip((column.id for column in results.info.columns), labels(results), strict=True))
    found = [one for one in answer(results).columns if one.rank is not None and one.kernels]
    if not found:
        return ("Nothing was measured with determinism on, so there is no answer.",)
    total = found[0].kernels
    every = f"all {total} kernels are" if total > 1 else "the one kernel is"
    safe = [names[one.column] for one in found if one.safe]
    rest = [one for one in found if not one.safe]
    told = []
    if safe:
        told.append(f"With determinism on, {every} exact on {listed(safe)}.")
    elif rest:
        best = [names[one.column] for one in rest if one.reproducible == rest[0].reproducible]
        verb = "is" if rest[0].reproducible == 1 else "are"
        told.append(f"With determinism on, {rest[0].reproducible} of {total} kernels {verb} exact on {listed(best)}.")
        told.append("No pair is exact on every kernel." if len(found) > 1 else "It is not exact on every kernel.")
        rest = [one for one in rest if one.reproducible != rest[0].reproducible]
    if rest:
        parts = [f"{one.reproducible} of {total} on {names[one.column]}" for one in rest]
        told.append(f"Exact elsewhere: {listed(parts, 4)}.")
    weakest = min((one for one in found if one.reproducible), key=lambda one: one.compared, default=None)
    if weakest:
        share = percent_up(weakest.bound)
        told.append(
            f"The weakest evidence behind an exact: 0 of {count(weakest.compared, 'process')} differed from the first, "
            f"so at most {share} % do (95 %)."
        )
    seen = instrument.sentence
    return (*told, *([seen] if seen else []))


def lines(results: RunResults) -> tuple[Line, ...]:
    """One line for each column, the best first."""
    names = dict(zip((column.id for column in results.info.columns), labels(results), strict=True))
    kernels = [kernel.name for kernel in results.info.kernels if not kernel.control]
    return tuple(
        Line(
            column=clean(one.column),
            label=names[one.column],
            rank="" if one.rank is None else f"{one.rank}{' (tie)' if one.tied else ''}",
            safe=one.safe,
            sentence=_sentence(one),
            counts=_counts(dict(one.counts)),
            overhead=bill_text(summarize_overheads(results, one.column, kernels)) if one.rank is not None else "",
        )
        for one in answer(results).columns
    )


def _sentence(one: ColumnSummary) -> str:
    if one.rank is None:
        states = [status_labels.WORDS[status].word for status, _ in one.counts] or ["not-run"]
        return f"{', '.join(states)}{': ' + clean(one.reason) if one.reason else ''}"
    told = f"{'Safe: ' if one.safe else ''}{one.reproducible} of {count(one.kernels, 'kernel')} exact"
    if one.reproducible and one.compared:
        told += f"; weakest evidence: 0 of {one.compared} differed, ≤ {percent_up(one.bound)} %"
    others = [
        f"{status_labels.WORDS[status].word} {number}"
        for status, number in one.counts
        if status is not Status.REPRODUCIBLE
    ]
    return "; ".join([told, *others, *also_under(one.also_under)])


def _counts(numbers: dict[Status, int]) -> tuple[Count, ...]:
    return tuple(
        Count(symbol=word.symbol, word=word.word, tone=word.tone, number=numbers[status])
        for status in reversed(SEVERITY)
        if numbers.get(status)
        for word in [status_labels.WORDS[status]]
    )


def counts(results: RunResults, mode: str) -> tuple[Count, ...]:
    """Kernels by status over all columns, each by its worst variation; controls do not count."""
    names = [kernel.name for kernel in results.info.kernels if not kernel.control]
    heads = [results.headline(column.id, name, mode) for column in results.info.columns for name in names]
    return _counts(Counter(head.status for head in heads if head))


def facts(results: RunResults) -> tuple[Fact, ...]:
    """Date, host, engine and what was measured."""
    info = results.info
    host = {key: clean(str(value)) for key, value in sorted(info.host.items()) if str(value)}
    name = host.pop("name", "") or host.pop("hostname", "")
    engine = f"{clean(info.engine)}, because {clean(info.engine_why)}" if info.engine_why else clean(info.engine)
    fewer = " (fewer of heavy kernels and under other variations)" if any(one.heavy for one in info.kernels) else ""
    plan = f"{count(info.rounds, 'round')} of {count(info.repetitions, 'repeat')} a mode{fewer}, seed {info.seed}"
    records = f"{count(results.measured, 'record')} measured now, {results.reused} reused"
    rows = [
        ("Measured", moment(info.started) + (f" to {moment(info.finished)}" if info.finished else ", not finished")),
        ("Host", name or "not recorded"),
        *((_HOST.get(key, key.replace("_", " ").capitalize()), host[key]) for key in host),
        ("GPU measured", gpu.measured(results)),
        ("Engine", engine),
        *(
            (f"{clean(info.engine).capitalize()} {clean(key)}", str(info.engine_facts[key]))
            for key in sorted(info.engine_facts)
        ),
        ("Plan", f"profile {clean(info.profile)}: {plan}"),
        ("Evidence", records),
        ("Suite", f"{clean(info.suite_hash)[:12]}, tfrepro {clean(info.version)} {clean(info.revision)}".rstrip()),
        ("Command", clean(info.command)),
    ]
    return tuple(Fact(label=label, value=clean(value)) for label, value in rows if value)
