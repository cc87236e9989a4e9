"""The matrix of the view: families, rows, and the two halves of every entry."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from bench.report import apart, words
from bench.report.text import DASH, TIMES, clean, seconds, share, significant
from bench.report.view import Entry, Fact, Family, Half, Row, SubRow
from bench.verdict.sentences import count
from bench.verdict.status import Rung, Status
from bench.verdict.strength import percent_up
from bench.verdict.timing import Kind

if TYPE_CHECKING:
    from bench.report.words import Word
    from bench.store.run_info import KernelInfo
    from bench.verdict.guard import Spoil
    from bench.verdict.judgement import Judgement, Verdict
    from bench.verdict.timing import Price, Timing

_MIN_CONDITIONS = 2
#: Of a price: off and on.
_SIDES = 2


def families(judgement: Judgement) -> tuple[Family, ...]:
    """Families in the order of run.json, controls last."""
    kernels = sorted(judgement.info.kernels, key=lambda kernel: bool(kernel.control))
    names = dict.fromkeys(_family(kernel) for kernel in kernels)
    index = {kernel.name: number for number, kernel in enumerate(judgement.info.kernels)}
    return tuple(
        Family(
            name=name,
            rows=tuple(_row(judgement, kernel, index[kernel.name]) for kernel in kernels if _family(kernel) == name),
        )
        for name in names
    )


def _family(kernel: KernelInfo) -> str:
    return "controls" if kernel.control else clean(kernel.family)


def _row(judgement: Judgement, kernel: KernelInfo, index: int) -> Row:
    facts = [("exercises", kernel.exercises), ("shapes", kernel.shapes), ("dtypes", kernel.dtypes)]
    facts += [("source", kernel.source), ("control", _control(kernel)), ("own file", kernel.file)]
    keras = "" if kernel.portable else "its code is part of the kernel: compare letters within one Keras release only"
    facts.append(("Keras", keras))
    planned = [
        condition
        for condition in judgement.conditions
        if any(
            judgement.of(cell.id, kernel.name, condition, mode)
            for cell in judgement.info.cells
            for mode in ("off", "on")
        )
    ]
    subs = planned if len(planned) >= _MIN_CONDITIONS else []
    return Row(
        index=index,
        kernel=clean(kernel.name),
        family=_family(kernel),
        control=kernel.control,
        own=f"own, {clean(PurePath(kernel.file).name)}" if kernel.file else "",
        facts=tuple(Fact(label=label, value=clean(value)) for label, value in facts if value),
        entries=tuple(_entry(judgement, kernel, index, place, None) for place in range(len(judgement.info.cells))),
        conditions=tuple(
            SubRow(
                condition=clean(condition),
                entries=tuple(
                    _entry(judgement, kernel, index, place, condition) for place in range(len(judgement.info.cells))
                ),
            )
            for condition in subs
        ),
    )


def _control(kernel: KernelInfo) -> str:
    """What a control must do."""
    demand = kernel.control.replace("-", " ")
    return f"{demand} in {share(kernel.rate)}" if demand and kernel.rate else demand


def _entry(judgement: Judgement, kernel: KernelInfo, index: int, place: int, condition: str | None) -> Entry:
    """One kernel in one column: under one condition, or the worst of all where that is None."""
    cell = judgement.info.cells[place]

    def half(mode: str) -> Half:
        if condition is not None:
            return of_verdict(judgement, judgement.of(cell.id, kernel.name, condition, mode), mode)
        several = len(judgement.over_conditions(cell.id, kernel.name, mode)) >= _MIN_CONDITIONS
        return of_verdict(judgement, judgement.headline(cell.id, kernel.name, mode), mode, several=several)

    return Entry(
        cell=clean(cell.id),
        kernel=clean(kernel.name),
        anchor=f"d{index}-{place}",
        blocked=cell.id in judgement.unmeasured,
        off=half("off"),
        on=half("on"),
    )


def of_verdict(judgement: Judgement, verdict: Verdict | None, mode: str, *, several: bool = False) -> Half:
    """A verdict as shown. With ``several`` it leads over other conditions, and says which it is of."""
    if verdict is None:
        word = words.NOT_PLANNED
        return Half(mode=mode, symbol=word.symbol, word=word.word, tone=word.tone, why=word.meaning)
    word = _word(verdict)
    price = judgement.prices.get((verdict.cell, verdict.kernel, verdict.condition)) if mode == "on" else None
    lost = "" if price or mode != "on" else _lost(judgement, verdict)
    letters = [verdict.digest_class]
    if several and verdict.digest_class:  # a crash that leads must not wear the letters of the conditions behind it
        letters = [one.digest_class for one in judgement.over_conditions(verdict.cell, verdict.kernel, mode)]
    return Half(
        mode=mode,
        symbol=word.symbol,
        word=word.word,
        tone=word.tone,
        why=clean(verdict.why),
        condition=clean(verdict.condition) if several else "",
        strength=strength(verdict),
        apart="" if verdict.control else apart.short(verdict.difference),
        letters=" ".join(dict.fromkeys(filter(None, letters))),
        time=_time(verdict.timing, verdict.spoil),
        price=price_text(price) or lost,
        new_value=verdict.changed_value is True,
        verdict=verdict,
        price_data=price,
    )


def _word(verdict: Verdict) -> Word:
    judged = verdict.witnesses and verdict.status not in (Status.NO_GPU, Status.NOT_RUN)
    if not verdict.control or not judged or (verdict.status is Status.FAILED and verdict.passed is None):
        return words.WORDS[verdict.status]
    return {True: words.PASS, False: words.FAIL, None: words.UNDECIDED}[verdict.passed]


def strength(verdict: Verdict) -> str:
    """The evidence behind a status in a few words: ``0 of 4 differed, ≤ 53 %``."""
    found = verdict.comparison
    if verdict.status in (Status.UNSUPPORTED, Status.RAISED):
        return clean(verdict.error_class)
    total = sum(number for _, number in verdict.outcomes)
    if verdict.status in (Status.CRASHED, Status.TIMEOUT, Status.OOM):
        return f"in {dict(verdict.outcomes).get(verdict.status.value, 0)} of {count(total, 'process')}"
    if not found.repeats or verdict.status in (Status.BLIND, Status.FAILED):
        return ""
    if found.unsteady:
        return f"{count(len(found.digests), 'digest')} in {count(found.repeats + found.timings, 'sample')}"
    if not found.compared:
        return f"{count(found.repeats, 'repeat')}, 1 process"
    bound = "" if found.varies else f", ≤ {percent_up(found.bound)} %"
    return f"{found.differed} of {found.compared} differed{bound}"


def rung(found: Rung | None) -> str:
    """A rung in words."""
    return found.label.replace("-", " ") if found is not None else ""


def _time(timing: Timing | None, spoil: Spoil | None) -> str:
    if timing is None:
        return spoil.word if spoil else ""
    return seconds(timing.median_s) + (" first call" if timing.kind is Kind.FIRST else "")


def _lost(judgement: Judgement, verdict: Verdict) -> str:
    """What a price reads where one of its sides was only timed on a throttled or shared GPU."""
    off = judgement.of(verdict.cell, verdict.kernel, verdict.condition, "off")
    sides = [one for one in (verdict, off) if one is not None and not one.control]
    if len(sides) < _SIDES or not all(one.timing or one.spoil for one in sides):
        return ""
    return next((one.spoil.word for one in sides if one.timing is None and one.spoil), "")


def price_text(price: Price | None) -> str:
    """The ratio and its interval, or ``price not resolved`` with the interval."""
    if price is None:
        return ""
    interval = ""
    if price.low is not None and price.high is not None:
        interval = f"{significant(price.low)}{DASH}{significant(price.high)}"
    if price.resolved:
        return f"{TIMES}{significant(price.ratio)} ({interval})"
    return f"{TIMES} not resolved ({interval})" if interval else f"{TIMES} not resolved"
