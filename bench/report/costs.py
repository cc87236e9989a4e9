"""What a kernel takes, and what an upgrade costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report.columns import labels
from bench.report.matrix import price_text
from bench.report.text import DASH, clean, seconds, significant
from bench.report.view import Cost, Upgrade
from bench.verdict.sentences import count
from bench.verdict.timing import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.verdict.judgement import Judgement, Verdict
    from bench.verdict.steps import Step
    from bench.verdict.timing import Price

_GB = 1000.0


def cost(verdict: Verdict) -> Cost:
    """Wall and CPU time of a call, first call and peak memory."""
    timing = verdict.timing
    peak, gpu_peak = memory(verdict.peak_mb), memory(verdict.peak_gpu_mb)
    if timing is None:
        return Cost(peak=peak, gpu_peak=gpu_peak)
    steady = timing.kind is Kind.STEADY
    alike = timing.low_s == timing.high_s
    return Cost(
        wall=seconds(timing.median_s) if steady else "",
        span="" if alike else f"{seconds(timing.low_s)} {DASH} {seconds(timing.high_s)}",
        cpu=_known(timing.cpu_median_s),
        first=_known(timing.first_median_s if steady else timing.median_s),
        peak=peak,
        gpu_peak=gpu_peak,
    )


def _known(time: float | None) -> str:
    return seconds(time) if time is not None else ""


def memory(megabytes: float | None) -> str:
    """``512 MB``, ``1.25 GB``; "" where unknown."""
    if megabytes is None:
        return ""
    return f"{significant(megabytes / _GB)} GB" if megabytes >= _GB else f"{megabytes:.0f} MB"


def upgrades(judgement: Judgement) -> tuple[Upgrade, ...]:
    """One table for each step between columns of which something is known, in the order of the columns."""
    names = dict(zip((cell.id for cell in judgement.info.cells), labels(judgement), strict=True))
    found = (_upgrade(judgement, names, step) for step in judgement.steps)
    return tuple(one for one in found if one.sentences)


def _upgrade(judgement: Judgement, names: Mapping[str, str], step: Step) -> Upgrade:
    prices = {
        (kernel, mode): price
        for (kernel, mode, before, after), price in judgement.upgrades.items()
        if (before, after) == (step.before.id, step.after.id)
    }
    resolved = dict.fromkeys(kernel for (kernel, _), price in prices.items() if price.resolved)
    told = (
        (mode, [price for (_, one), price in prices.items() if one == mode], judgement.bits_moved(step, mode))
        for mode in ("off", "on")
    )
    return Upgrade(
        label=f"{names[step.before.id]} to {names[step.after.id]}",
        step=step.name,
        alone=not step.mixed,
        moved=clean(step.sentence),
        before=clean(step.before.id),
        after=clean(step.after.id),
        sentences=tuple(_sentence(mode, paid, bits) for mode, paid, bits in told if paid or bits[1]),
        rows=tuple(
            (clean(kernel), _told(prices.get((kernel, "off"))), _told(prices.get((kernel, "on"))))
            for kernel in resolved
        ),
        prices=tuple((clean(kernel), mode, price) for (kernel, mode), price in prices.items()),
    )


def _sentence(mode: str, prices: list[Price], bits: tuple[int, int]) -> str:
    slower = sum(price.resolved and price.ratio > 1 for price in prices)
    faster = sum(price.resolved and price.ratio <= 1 for price in prices)
    unresolved = len(prices) - slower - faster
    times = f"{count(slower, 'kernel')} slower, {faster} faster, {unresolved} not resolved" if prices else ""
    moved = f"bits moved in {bits[0]} of {count(bits[1], 'kernel')}" if bits[1] else ""
    return f"Determinism {mode}: {'; '.join(filter(None, (times, moved)))}."


def _told(price: Price | None) -> str:
    if price is None:
        return "not measured"
    if not price.resolved:
        return "not resolved"
    return f"{price_text(price)} {'slower' if price.ratio > 1 else 'faster'}"
