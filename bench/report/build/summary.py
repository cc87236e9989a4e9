"""Build the first screen: the headline, the ranking, the counts, and the facts of the run."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bench.report import labels as status_labels
from bench.report.build import gpu, hosts, timing
from bench.report.build.columns import labels_by_column
from bench.report.build.ranking import also_under, cost_text
from bench.report.formatting import clean, listed, moment
from bench.report.view import Count, Fact, Line
from bench.verdict.evidence import percent_up
from bench.verdict.messages import count
from bench.verdict.ranking import choose, summarize_overheads
from bench.verdict.status import SEVERITY, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.report.view import ControlChecks
    from bench.store.run_info import RunInfo
    from bench.verdict.ranking import Candidate
    from bench.verdict.results import RunResults

_HOST = {"cpu": "CPU", "cpu_model": "CPU", "gpu": "GPU", "memory_gb": "Memory in GB", "boot_id": "Boot ID"}
#: Columns that the headline names besides the best ones, and characters of a hash that are shown.
_MOST_OTHERS, _HASH_LENGTH = 4, 12


def sentences(results: RunResults, controls: ControlChecks) -> tuple[str, ...]:
    """Return the headline: which columns are reproducible, how strong the evidence is, and the detection limit."""
    names = labels_by_column(results)
    columns = [column for column in choose(results) if column.rank is not None and column.kernels]
    if not columns:
        invalid = any(one.mode == "on" and one.status is Status.MISMATCH for one in results.verdicts)
        return (f"Nothing {'valid ' if invalid else ''}was measured with determinism on, so there is no answer.",)
    total = columns[0].kernels
    start = "With determinism on, "
    if results.deciding_variation != "default":
        start += f"under the variation {clean(results.deciding_variation)}, "
    texts = []
    safe = [names[column.column] for column in columns if column.fits]
    rest = [column for column in columns if not column.fits]
    if safe:
        every = f"all {total} kernels are" if total > 1 else "the one kernel is"
        texts.append(f"{start}{every} reproducible on {listed(safe)}.")
    elif not any(column.reproducible for column in rest) and any(map(_inconclusive, rest)):
        few = _too_few_processes(rest, total, names)
        return (
            "Too little evidence to call a kernel reproducible.",
            start + few,
            *hosts.headline(results),
            *([controls.sentence] if controls.sentence else []),
        )
    else:
        most = rest[0].reproducible
        best = [names[column.column] for column in rest if column.reproducible == most]
        verb = "is" if most == 1 else "are"
        some = f"{most} of {total} kernels {verb}" if most else "no kernel is"
        texts.append(f"{start}{some} reproducible on {listed(best)}{'' if most else _why_none(rest, total)}.")
        if most and len(columns) > 1:
            texts.append("No column is reproducible on every kernel.")
        rest = [column for column in rest if column.reproducible != most]
    if rest:
        parts = [f"{column.reproducible} of {total}{_not_run(column)} on {names[column.column]}" for column in rest]
        texts.append(f"Reproducible elsewhere: {listed(parts, _MOST_OTHERS)}.")
    texts += hosts.headline(results)
    texts += _weakest_evidence([column for column in columns if column.reproducible])
    return (*texts, *([controls.sentence] if controls.sentence else []))


def _why_none(columns: list[Candidate], total: int) -> str:
    """Return the status that all kernels of all columns have: `` (all 8: crashed)``; "" if they have several."""
    found = {status for column in columns for status, _ in column.counts}
    if len(found) != 1 or Status.REPRODUCIBLE in found:  # that is what hosts with other bits make of it
        return ""
    word = status_labels.STATUS_LABELS[found.pop()].word
    return f" (all {total}: {word})" if total > 1 else f" ({word})"


def _not_run(column: Candidate) -> str:
    number = dict(column.counts).get(Status.NOT_RUN, 0)
    return f" ({number} not run)" if number else ""


def _inconclusive(column: Candidate) -> int:
    return dict(column.counts).get(Status.INCONCLUSIVE, 0)


def _too_few_processes(columns: list[Candidate], total: int, names: Mapping[str, str]) -> str:
    """Return what is known of a run with too little evidence to call anything reproducible."""
    most = max(map(_inconclusive, columns))
    labels = listed([names[column.column] for column in columns if _inconclusive(column) == most])
    return f"no difference was seen in {most} of {total} kernels on {labels}."


def _weakest_evidence(columns: list[Candidate]) -> list[str]:
    if not columns:
        return []
    weakest = min(columns, key=lambda column: column.compared)
    text = (
        f"Weakest evidence for reproducible: 0 of {count(weakest.compared, 'process')} differed from the first, so at "
        f"most {percent_up(weakest.bound)} % of processes can differ (95 %)."
    )
    return [text]


def progress(info: RunInfo) -> str:
    """Return how far a run is that is in progress, such as ``pass 1 of 10 is complete, about 65 min left``; else ""."""
    if not info.in_progress:
        return ""
    done = f"pass {info.passes_done} of {info.passes_planned} is complete" if info.passes_done else "in its first pass"
    return f"{done}, about {max(1, round(info.seconds_left / 60))} min left"


def lines(results: RunResults) -> tuple[Line, ...]:
    """Return one line for each column, the best first."""
    names = labels_by_column(results)
    kernels = [kernel.name for kernel in results.info.kernels if not kernel.control]
    return tuple(
        Line(
            column=clean(column.column),
            label=names[column.column],
            rank="" if column.rank is None else f"{column.rank}{' (tie)' if column.tied else ''}",
            safe=column.fits,
            sentence=_sentence(results, column),
            counts=_counts(dict(column.counts)),
            not_on_all_hosts=sum(number for _, number in column.on_other_hosts),
            overhead=cost_text(summarize_overheads(results, column.column, kernels)) if column.rank is not None else "",
        )
        for column in choose(results)
    )


def _sentence(results: RunResults, column: Candidate) -> str:
    if column.rank is None:
        reason = clean(results.unmeasured[column.column][1]) if column.column in results.unmeasured else ""
        if not reason and "on" not in results.info.modes:
            return "not measured with determinism on"
        states = [status_labels.STATUS_LABELS[status].word for status, _ in column.counts] or ["not-run"]
        return f"{', '.join(states)}{f': {reason}' if reason else ''}"
    kernels = count(column.kernels, "kernel")
    text = f"All {kernels}" if column.fits else f"{column.reproducible} of {kernels}"
    text += " reproducible"
    if column.reproducible and column.compared:
        text += f"; weakest evidence: 0 of {column.compared} differed, ≤ {percent_up(column.bound)} %"
    others = [
        f"{status_labels.STATUS_LABELS[status].word} {number}"
        for status, number in column.counts
        if status is not Status.REPRODUCIBLE
    ]
    others += [f"{kind} {number}" for kind, number in column.on_other_hosts]
    return "; ".join([text, *others, *also_under(column.also_under)])


def _counts(numbers: dict[Status, int]) -> tuple[Count, ...]:
    return tuple(
        Count(symbol=word.symbol, word=word.word, tone=word.tone, number=numbers[status])
        for status in reversed(SEVERITY)
        if numbers.get(status)
        for word in [status_labels.STATUS_LABELS[status]]
    )


def counts(results: RunResults, mode: str) -> tuple[Count, ...]:
    """Count the kernels by status over all columns, under the variation that decides; controls do not count."""
    names = [kernel.name for kernel in results.info.kernels if not kernel.control]
    heads = [results.headline(column.id, name, mode) for column in results.info.columns for name in names]
    return _counts(Counter(head.status for head in heads if head))


def facts(results: RunResults) -> tuple[Fact, ...]:
    """Return date, host, engine and what was measured."""
    info = results.info
    host = {key: clean(str(value)) for key, value in sorted(info.host.items()) if str(value)}
    name = host.pop("name", "") or host.pop("hostname", "")
    engine = clean(info.engine)
    version = f"{clean(info.suite_hash)[:_HASH_LENGTH]}, tfrepro {clean(info.version)} {clean(info.revision)}".rstrip()
    ended = f" to {moment(info.finished)}" if info.finished else f", {progress(info) or 'not finished'}"
    rows = [
        ("Measured", f"{moment(info.started)}{ended}"),
        ("Host", name or "not recorded"),
        *((_HOST.get(key, key.replace("_", " ").capitalize()), host[key]) for key in host),
        ("GPU measured", gpu.measured(results)),
        ("Engine", f"{engine}, because {clean(info.engine_why)}" if info.engine_why else engine),
        *((f"{engine.capitalize()} {clean(key)}", str(info.engine_facts[key])) for key in sorted(info.engine_facts)),
        ("Plan", f"profile {clean(info.profile)}: {_plan(results)}"),
        *timing.facts(results),
        ("Evidence", f"{count(results.measured, 'record')} measured now, {results.reused} reused"),
        ("Suite", version),
        ("Command", clean(info.command)),
    ]
    return tuple(Fact(label=label, value=clean(value)) for label, value in rows if value)


def _plan(results: RunResults) -> str:
    info = results.info
    heavy = any(kernel.heavy for kernel in info.kernels)
    fewer = " (fewer for heavy kernels and other variations)" if heavy else ""
    return f"{count(info.rounds, 'round')} of {count(info.repetitions, 'repetition')} per mode{fewer}, seed {info.seed}"
