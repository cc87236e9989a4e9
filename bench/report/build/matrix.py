"""Build the matrix: families, kernels, and the result of every cell."""

from __future__ import annotations

import dataclasses
import math
from pathlib import PurePath
from typing import TYPE_CHECKING

from bench.report import labels
from bench.report.build import distances
from bench.report.build.ratio_text import ratio_text
from bench.report.build.training_curves import training_curves
from bench.report.formatting import cap, clean, seconds, share
from bench.report.view import Entry, Fact, Family, ModeResult, Row, VariationRow, Worst
from bench.verdict import detection
from bench.verdict.crash_log import log_tail
from bench.verdict.digest_comparison import Comparison
from bench.verdict.evidence import percent_up
from bench.verdict.messages import count
from bench.verdict.status import EvidenceLevel, Status, severity
from bench.verdict.timing import TimeKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.report.labels import StatusLabel
    from bench.store.run_info import ColumnInfo, KernelInfo
    from bench.verdict.gpu_timing import DiscardedTimings
    from bench.verdict.results import RunResults, Verdict
    from bench.verdict.timing import Timing

MODES = ("off", "on")
#: Digests of a result that are listed, and hexadecimal characters of each: enough to tell any two apart.
_MOST_DIGESTS, _DIGEST_LENGTH = 6, 16


def families(results: RunResults) -> tuple[Family, ...]:
    """Return the families in the order of run.json, controls last."""
    kernels = sorted(results.info.kernels, key=lambda kernel: bool(kernel.control))
    index = {kernel.name: number for number, kernel in enumerate(results.info.kernels)}
    rows: dict[str, list[Row]] = {}
    for kernel in kernels:
        rows.setdefault(_family(kernel), []).append(_row(results, kernel, index[kernel.name]))
    return tuple(Family(name=name, rows=tuple(members)) for name, members in rows.items())


def _family(kernel: KernelInfo) -> str:
    return "controls" if kernel.control else clean(kernel.family)


def _row(results: RunResults, kernel: KernelInfo, index: int) -> Row:
    planned = [
        variation
        for variation in results.variations
        if any(results.of(column.id, kernel.name, variation, mode) for column in results.info.columns for mode in MODES)
    ]
    rows = tuple(_variation(results, kernel, index, variation) for variation in planned)
    places = range(len(results.info.columns))
    return Row(
        index=index,
        kernel=clean(kernel.name),
        family=_family(kernel),
        control=kernel.control,
        own=f"custom, {clean(PurePath(kernel.file).name)}" if kernel.file else "",
        facts=_facts(kernel),
        entries=tuple(_headline(results, kernel, index, place, rows) for place in places),
        results=rows,
        worst=tuple(worst for column in results.info.columns for worst in _worst(results, column, kernel)),
        digest_groups=_digest_groups(results, kernel, planned),
        curves=training_curves(results, kernel.name),
    )


def _facts(kernel: KernelInfo) -> tuple[Fact, ...]:
    demand = kernel.control.replace("-", " ")
    control = f"{demand} in {share(kernel.rate)}" if demand and kernel.rate else demand
    keras = "" if kernel.portable else "its code is part of the kernel: compare digests within one Keras release only"
    facts = (
        ("exercises", kernel.exercises),
        ("shapes", kernel.shapes),
        ("dtypes", kernel.dtypes),
        ("source", kernel.source),
        ("control", control),
        ("custom file", kernel.file),
        ("Keras", keras),
    )
    return tuple(Fact(label=label, value=clean(value)) for label, value in facts if value)


def _digest_groups(results: RunResults, kernel: KernelInfo, variations: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the digest behind each letter of a kernel."""
    groups = {}
    for column in results.info.columns:
        for variation in variations:
            for mode in MODES:
                verdict = results.of(column.id, kernel.name, variation, mode)
                if verdict is not None and verdict.digest_class:
                    groups[verdict.digest_class] = clean(verdict.comparison.digests[0][0])
    return tuple(sorted(groups.items()))


def _worst(results: RunResults, column: ColumnInfo, kernel: KernelInfo) -> list[Worst]:
    heads = [results.worst(column.id, kernel.name, mode) for mode in MODES if column.id not in results.unmeasured]
    return [
        Worst(column=clean(column.id), mode=head.mode, variation=clean(head.variation))
        for head in heads
        if head is not None and head.variation != results.variations[0]
    ]


def _variation(results: RunResults, kernel: KernelInfo, index: int, variation: str) -> VariationRow:
    entries = []
    for place, column in enumerate(results.info.columns):
        off, on = (
            of_verdict(
                results, results.of(column.id, kernel.name, variation, mode), mode, blocked=_blocked(results, column)
            )
            for mode in MODES
        )
        entries.append(_entry(results, column, kernel, f"d{index}-{place}", off, on))
    return VariationRow(variation=clean(variation), entries=tuple(entries))


def _headline(results: RunResults, kernel: KernelInfo, index: int, place: int, rows: Sequence[VariationRow]) -> Entry:
    """Return the worst variation of one cell; with several variations it names the one that it shows."""
    column = results.info.columns[place]
    by_variation = {row.variation: row.entries[place] for row in rows}
    off, on = (_worst_result(results, column, kernel, mode, by_variation) for mode in MODES)
    return _entry(results, column, kernel, f"d{index}-{place}", off, on)


def _worst_result(
    results: RunResults, column: ColumnInfo, kernel: KernelInfo, mode: str, by_variation: dict[str, Entry]
) -> ModeResult:
    head = results.worst(column.id, kernel.name, mode)
    if head is None:
        return of_verdict(results, None, mode)
    entry = by_variation[clean(head.variation)]
    result = entry.off if mode == "off" else entry.on
    verdicts = results.over_variations(column.id, kernel.name, mode)
    if len(verdicts) == 1:
        return result
    # a crash must not show the letters of the other variations
    letters = [verdict.digest_class for verdict in verdicts] if head.digest_class else []
    return dataclasses.replace(
        result, variation=clean(head.variation), letters=" ".join(dict.fromkeys(filter(None, letters)))
    )


def _entry(
    results: RunResults, column: ColumnInfo, kernel: KernelInfo, anchor: str, off: ModeResult, on: ModeResult
) -> Entry:
    return Entry(
        column=clean(column.id),
        kernel=clean(kernel.name),
        anchor=anchor,
        blocked=_blocked(results, column),
        off=off,
        on=on,
    )


def _blocked(results: RunResults, column: ColumnInfo) -> bool:
    return column.id in results.unmeasured


def of_verdict(results: RunResults, verdict: Verdict | None, mode: str, *, blocked: bool = False) -> ModeResult:
    """Return a verdict as the report shows it.

    Args:
        results: the run that the verdict belongs to.
        verdict: None where the run did not plan this kernel in this mode and variation.
        mode: "off" or "on".
        blocked: the whole column has one reason for not being measured, so the result does not repeat it.
    """
    if verdict is None:
        word = labels.NOT_PLANNED
        return ModeResult(mode=mode, symbol=word.symbol, word=word.word, tone=word.tone, planned=False)
    word = _word(verdict)
    overhead = results.overheads.get((verdict.column, verdict.kernel, verdict.variation)) if mode == "on" else None
    result = ModeResult(
        mode=mode,
        symbol=word.symbol,
        word=word.word,
        tone=word.tone,
        why="" if blocked or _says_it_all(verdict) else clean(verdict.why),
        plain=_plain(verdict),
        severity=severity(verdict.status),
        evidence_text=strength(verdict),
        distance_text="" if verdict.control else distances.short(verdict.difference),
        letters=verdict.digest_class,
        time=_time(verdict.timing, verdict.discarded),
        overhead=ratio_text(overhead) or (_no_overhead(results, verdict) if mode == "on" else ""),
        new_value=verdict.changed_value is True,
        passed=verdict.passed,
        error_class=clean(verdict.error_class),
        error_where=next((clean(process.where) for process in verdict.observations if process.where), ""),
        error_message=cap(clean(verdict.error_message, lines=True)),
        log_tail=_log_tail(results, verdict),
        known_issue=clean(verdict.known_issue.id) if verdict.known_issue else "",
        warnings=tuple(map(clean, verdict.warnings)),
        overhead_data=overhead,
        measured=verdict.measured,
        reused=verdict.reused,
    )
    return _with_numbers(result, verdict)


def _with_numbers(result: ModeResult, verdict: Verdict) -> ModeResult:
    """Add what the samples say. Where something else ran than was planned, none of their numbers is shown."""
    comparison = Comparison() if verdict.invalid else verdict.comparison
    proves = verdict.status is not Status.CONTROL_FAILED  # equal bits prove something only where the controls passed
    listed = () if verdict.digest_class else comparison.digests[:_MOST_DIGESTS]
    outcomes = tuple((clean(name), number) for name, number in verdict.outcomes)
    return dataclasses.replace(
        result,
        level=verdict.level.label if verdict.level is not None else "",
        processes=comparison.processes,
        repetitions=comparison.repetitions,
        compared=comparison.compared,
        differed=comparison.differed,
        bound=comparison.bound if comparison.compared and proves else None,
        differ_within=comparison.unsteady,
        detection_power=_power(comparison) if proves else None,
        distinct_digests=0 if verdict.digest_class else len(comparison.digests),
        digests=tuple((clean(digest)[:_DIGEST_LENGTH], number) for digest, number in listed),
        nan=comparison.nan,
        outcomes=() if {name for name, _ in outcomes} == {"ok"} else outcomes,
        difference=distances.compact(verdict.difference),
        difference_why=clean(verdict.difference_why),
        errors=verdict.errors,
        timing=verdict.timing,
        discarded=verdict.discarded,
        peak_mb=verdict.peak_mb,
        peak_gpu_mb=verdict.peak_gpu_mb,
    )


def _power(comparison: Comparison) -> float | None:
    """Return the detection power in thousandths, rounded down: no number of samples finds everything."""
    return math.floor(detection.found(comparison.repetitions) * 1000) / 1000 if comparison.repetitions > 1 else None


def _says_it_all(verdict: Verdict) -> bool:
    """Return whether the status and its numbers need no sentence."""
    return verdict.status is Status.REPRODUCIBLE and not verdict.control


def _plain(verdict: Verdict) -> bool:
    """Return whether the matrix says all: reproducible with every process ended well, or a control that passed."""
    if verdict.discarded or verdict.warnings or {name for name, _ in verdict.outcomes} != {"ok"}:
        return False
    return bool(verdict.passed) if verdict.control else verdict.status is Status.REPRODUCIBLE


def _log_tail(results: RunResults, verdict: Verdict) -> str:
    """Return the end of the log of a kernel that died; the kernels of a round share it, so the first one has it."""
    words = log_tail(results, verdict)
    return clean(words.text, lines=True) if words and words.kernel == verdict.kernel else ""


def _word(verdict: Verdict) -> StatusLabel:
    evaluated = verdict.observations and verdict.status not in (Status.GPU_NOT_VISIBLE, Status.NOT_RUN)
    if not verdict.control or not evaluated or (verdict.status is Status.MISMATCH and verdict.passed is None):
        return labels.STATUS_LABELS[verdict.status]
    return {True: labels.PASS, False: labels.FAIL, None: labels.UNDECIDED}[verdict.passed]


def strength(verdict: Verdict) -> str:
    """Return the evidence behind a status in a few words: ``0 of 4 differed, ≤ 53 %``."""
    comparison = verdict.comparison
    if verdict.status in (Status.UNSUPPORTED, Status.ERROR):
        return clean(verdict.error_class)
    total = sum(number for _, number in verdict.outcomes)
    if verdict.status in (Status.CRASHED, Status.TIMEOUT, Status.OOM):
        return f"in {dict(verdict.outcomes).get(verdict.status.value, 0)} of {count(total, 'process')}"
    if not comparison.repetitions or verdict.status in (Status.CONTROL_FAILED, Status.MISMATCH, Status.FAILED):
        return ""
    if comparison.unsteady:
        samples = comparison.repetitions + comparison.later_calls
        return f"{count(len(comparison.digests), 'digest')} in {count(samples, 'sample')}"
    if not comparison.compared:
        return f"{count(comparison.repetitions, 'repetition')}, 1 process"
    bound = "" if comparison.varies else f", ≤ {percent_up(comparison.bound)} %"
    return f"{comparison.differed} of {comparison.compared} differed{bound}"


def level(evidence: EvidenceLevel | None) -> str:
    """Return an evidence level in words."""
    return evidence.label.replace("-", " ") if evidence is not None else ""


def _time(timing: Timing | None, discarded: DiscardedTimings | None) -> str:
    if timing is None:
        return discarded.word if discarded else ""
    return seconds(timing.median_s) + (" first call" if timing.kind is TimeKind.FIRST else "")


def _no_overhead(results: RunResults, verdict: Verdict) -> str:
    """Return "throttled" or "shared" where that is why there is no overhead, "" otherwise."""
    off = results.of(verdict.column, verdict.kernel, verdict.variation, "off")
    discarded = off and not off.control and off.complete and verdict.complete and (verdict.discarded or off.discarded)
    return discarded.word if discarded else ""
