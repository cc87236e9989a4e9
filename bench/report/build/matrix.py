"""The matrix of the view: families, rows, and the two halves of every entry."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from bench.report import labels
from bench.report.build import distances
from bench.report.formatting import DASH, TIMES, clean, seconds, share, significant
from bench.report.view import Entry, Fact, Family, ModeResult, Row, SubRow
from bench.verdict.evidence import percent_up
from bench.verdict.messages import count
from bench.verdict.status import EvidenceLevel, Status
from bench.verdict.timing import Kind

if TYPE_CHECKING:
    from bench.report.labels import Word
    from bench.store.run_info import KernelInfo
    from bench.verdict.gpu_timing import DiscardedTimings
    from bench.verdict.results import RunResults, Verdict
    from bench.verdict.timing import Overhead, Timing

_MIN_VARIATIONS = 2
#: Of a overhead: off and on.
_SIDES = 2


def families(results: RunResults) -> tuple[Family, ...]:
    """Families in the order of run.json, controls last."""
    kernels = sorted(results.info.kernels, key=lambda kernel: bool(kernel.control))
    names = dict.fromkeys(_family(kernel) for kernel in kernels)
    index = {kernel.name: number for number, kernel in enumerate(results.info.kernels)}
    return tuple(
        Family(
            name=name,
            rows=tuple(_row(results, kernel, index[kernel.name]) for kernel in kernels if _family(kernel) == name),
        )
        for name in names
    )


def _family(kernel: KernelInfo) -> str:
    return "controls" if kernel.control else clean(kernel.family)


def _row(results: RunResults, kernel: KernelInfo, index: int) -> Row:
    facts = [("exercises", kernel.exercises), ("shapes", kernel.shapes), ("dtypes", kernel.dtypes)]
    facts += [("source", kernel.source), ("control", _control(kernel)), ("own file", kernel.file)]
    keras = "" if kernel.portable else "its code is part of the kernel: compare letters within one Keras release only"
    facts.append(("Keras", keras))
    planned = [
        variation
        for variation in results.variations
        if any(
            results.of(column.id, kernel.name, variation, mode)
            for column in results.info.columns
            for mode in ("off", "on")
        )
    ]
    subs = planned if len(planned) >= _MIN_VARIATIONS else []
    return Row(
        index=index,
        kernel=clean(kernel.name),
        family=_family(kernel),
        control=kernel.control,
        own=f"own, {clean(PurePath(kernel.file).name)}" if kernel.file else "",
        facts=tuple(Fact(label=label, value=clean(value)) for label, value in facts if value),
        entries=tuple(_entry(results, kernel, index, place, None) for place in range(len(results.info.columns))),
        variations=tuple(
            SubRow(
                variation=clean(variation),
                entries=tuple(
                    _entry(results, kernel, index, place, variation) for place in range(len(results.info.columns))
                ),
            )
            for variation in subs
        ),
    )


def _control(kernel: KernelInfo) -> str:
    """What a control must do."""
    demand = kernel.control.replace("-", " ")
    return f"{demand} in {share(kernel.rate)}" if demand and kernel.rate else demand


def _entry(results: RunResults, kernel: KernelInfo, index: int, place: int, variation: str | None) -> Entry:
    """One kernel in one column: under one variation, or the worst of all where that is None."""
    column = results.info.columns[place]

    def half(mode: str) -> ModeResult:
        if variation is not None:
            return of_verdict(results, results.of(column.id, kernel.name, variation, mode), mode)
        several = len(results.over_variations(column.id, kernel.name, mode)) >= _MIN_VARIATIONS
        return of_verdict(results, results.worst(column.id, kernel.name, mode), mode, several=several)

    return Entry(
        column=clean(column.id),
        kernel=clean(kernel.name),
        anchor=f"d{index}-{place}",
        blocked=column.id in results.unmeasured,
        off=half("off"),
        on=half("on"),
    )


def of_verdict(results: RunResults, verdict: Verdict | None, mode: str, *, several: bool = False) -> ModeResult:
    """A verdict as shown. With ``several`` it leads over other variations, and says which it is of."""
    if verdict is None:
        word = labels.NOT_PLANNED
        return ModeResult(mode=mode, symbol=word.symbol, word=word.word, tone=word.tone, why=word.meaning)
    word = _word(verdict)
    overhead = results.overheads.get((verdict.column, verdict.kernel, verdict.variation)) if mode == "on" else None
    lost = "" if overhead or mode != "on" else _lost(results, verdict)
    letters = [verdict.digest_class]
    if several and verdict.digest_class:  # a crash that leads must not wear the letters of the variations behind it
        letters = [one.digest_class for one in results.over_variations(verdict.column, verdict.kernel, mode)]
    return ModeResult(
        mode=mode,
        symbol=word.symbol,
        word=word.word,
        tone=word.tone,
        why=clean(verdict.why),
        variation=clean(verdict.variation) if several else "",
        strength=strength(verdict),
        apart="" if verdict.control else distances.short(verdict.difference),
        letters=" ".join(dict.fromkeys(filter(None, letters))),
        time=_time(verdict.timing, verdict.discarded),
        overhead=overhead_text(overhead) or lost,
        new_value=verdict.changed_value is True,
        verdict=verdict,
        overhead_data=overhead,
    )


def _word(verdict: Verdict) -> Word:
    evaluated = verdict.observations and verdict.status not in (Status.GPU_NOT_VISIBLE, Status.NOT_RUN)
    if not verdict.control or not evaluated or (verdict.status is Status.MISMATCH and verdict.passed is None):
        return labels.WORDS[verdict.status]
    return {True: labels.PASS, False: labels.FAIL, None: labels.UNDECIDED}[verdict.passed]


def strength(verdict: Verdict) -> str:
    """The evidence behind a status in a few words: ``0 of 4 differed, ≤ 53 %``."""
    found = verdict.comparison
    if verdict.status in (Status.UNSUPPORTED, Status.ERROR):
        return clean(verdict.error_class)
    total = sum(number for _, number in verdict.outcomes)
    if verdict.status in (Status.CRASHED, Status.TIMEOUT, Status.OOM):
        return f"in {dict(verdict.outcomes).get(verdict.status.value, 0)} of {count(total, 'process')}"
    if not found.repetitions or verdict.status in (Status.CONTROL_FAILED, Status.MISMATCH):
        return ""
    if found.unsteady:
        return f"{count(len(found.digests), 'digest')} in {count(found.repetitions + found.timings, 'sample')}"
    if not found.compared:
        return f"{count(found.repetitions, 'repeat')}, 1 process"
    bound = "" if found.varies else f", ≤ {percent_up(found.bound)} %"
    return f"{found.differed} of {found.compared} differed{bound}"


def level(found: EvidenceLevel | None) -> str:
    """A level in words."""
    return found.label.replace("-", " ") if found is not None else ""


def _time(timing: Timing | None, discarded: DiscardedTimings | None) -> str:
    if timing is None:
        return discarded.word if discarded else ""
    return seconds(timing.median_s) + (" first call" if timing.kind is Kind.FIRST else "")


def _lost(results: RunResults, verdict: Verdict) -> str:
    """What a overhead reads where one of its sides was only timed on a throttled or shared GPU."""
    off = results.of(verdict.column, verdict.kernel, verdict.variation, "off")
    sides = [one for one in (verdict, off) if one is not None and not one.control]
    if len(sides) < _SIDES or not all(one.timing or one.discarded for one in sides):
        return ""
    return next((one.discarded.word for one in sides if one.timing is None and one.discarded), "")


def overhead_text(overhead: Overhead | None) -> str:
    """The ratio and its interval, or ``overhead not significant`` with the interval."""
    if overhead is None:
        return ""
    interval = ""
    if overhead.low is not None and overhead.high is not None:
        interval = f"{significant(overhead.low)}{DASH}{significant(overhead.high)}"
    if overhead.significant:
        return f"{TIMES}{significant(overhead.ratio)} ({interval})"
    return f"{TIMES} not significant ({interval})" if interval else f"{TIMES} not significant"
