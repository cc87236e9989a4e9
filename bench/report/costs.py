"""What a kernel takes, and what an upgrade costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report.matrix import labels, price_text
from bench.report.text import DASH, clean, seconds, significant
from bench.report.view import Cost, Upgrade
from bench.verdict.sentences import count
from bench.verdict.timing import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.verdict.judgement import Judgement, Verdict
    from bench.verdict.timing import Price

_GB = 1000.0


def cost(verdict: Verdict) -> Cost:
    """Wall and CPU time of a call, first call and peak memory."""
    timing = verdict.timing
    peak = memory(verdict.peak_mb)
    if timing is None:
        return Cost(peak=peak)
    steady = timing.kind is Kind.STEADY
    alike = timing.low_s == timing.high_s
    return Cost(
        wall=seconds(timing.median_s) if steady else "",
        span="" if alike else f"{seconds(timing.low_s)} {DASH} {seconds(timing.high_s)}",
        cpu=_known(timing.cpu_median_s),
        first=_known(timing.first_median_s if steady else timing.median_s),
        peak=peak,
    )


def _known(time: float | None) -> str:
    return seconds(time) if time is not None else ""


def memory(megabytes: float | None) -> str:
    """``512 MB``, ``1.25 GB``; "" where unknown."""
    if megabytes is None:
        return ""
    return f"{significant(megabytes / _GB)} GB" if megabytes >= _GB else f"{megabytes:.0f} MB"


def upgrades(judgement: Judgement) -> tuple[Upgrade, ...]:
    """One table for each neighbouring pair of columns that has prices, in the order of the columns."""
    names = dict(zip((cell.id for cell in judgement.info.cells), labels(judgement), strict=True))
    by_pair: dict[tuple[str, str], dict[tuple[str, str], Price]] = {}
    for (kernel, mode, before, after), price in judgement.upgrades.items():
        by_pair.setdefault((before, after), {})[kernel, mode] = price
    return tuple(_upgrade(names, pair, prices) for pair, prices in by_pair.items())


def _upgrade(names: Mapping[str, str], pair: tuple[str, str], prices: Mapping[tuple[str, str], Price]) -> Upgrade:
    resolved = dict.fromkeys(kernel for (kernel, _), price in prices.items() if price.resolved)
    return Upgrade(
        label=f"{names[pair[0]]} to {names[pair[1]]}",
        before=clean(pair[0]),
        after=clean(pair[1]),
        sentences=tuple(
            _sentence(mode, [price for (_, one), price in prices.items() if one == mode])
            for mode in ("off", "on")
            if any(one == mode for _, one in prices)
        ),
        rows=tuple(
            (clean(kernel), _told(prices.get((kernel, "off"))), _told(prices.get((kernel, "on"))))
            for kernel in resolved
        ),
        prices=tuple((clean(kernel), mode, price) for (kernel, mode), price in prices.items()),
    )


def _sentence(mode: str, prices: list[Price]) -> str:
    slower = sum(price.resolved and price.ratio > 1 for price in prices)
    faster = sum(price.resolved and price.ratio <= 1 for price in prices)
    unresolved = len(prices) - slower - faster
    return f"Determinism {mode}: {count(slower, 'kernel')} slower, {faster} faster, {unresolved} not resolved."


def _told(price: Price | None) -> str:
    if price is None:
        return "not measured"
    if not price.resolved:
        return "not resolved"
    return f"{price_text(price)} {'slower' if price.ratio > 1 else 'faster'}"
