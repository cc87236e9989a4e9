"""Put ratios of times into words: the one sentence that pages, terminal, gates and comparisons show for a ratio."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bench.report.formatting import significant
from bench.verdict.messages import count
from bench.verdict.ratio import MIN_PAIRS

if TYPE_CHECKING:
    from bench.verdict.ratio import TimeRatio

#: Percent from which on an exponent keeps a bound within its table.
_LARGE = 1e6


def ratio_text(ratio: TimeRatio | None, what: str = "overhead") -> str:
    """Return a ratio with its interval, or the bound where it is not significant; "" without a ratio.

    ``1.46x slower (1.41 to 1.52)``, ``1.12x faster (1.08 to 1.17)``, ``no overhead above 3 %``, or ``not measured: 2
    pairs, 3 needed``. Ratios of processes that were not paired end in ``, not paired``.

    Args:
        ratio: the ratio of two times.
        what: what the second side costs: "overhead" of determinism, "slowdown" of an upgrade.
    """
    if ratio is None:
        return ""
    if ratio.low is None or ratio.high is None:
        return f"not measured: {count(ratio.pairs, 'pair' if ratio.paired else 'process')}, {MIN_PAIRS} needed"
    unpaired = "" if ratio.paired else ", not paired"
    if ratio.significant:
        return f"{factor_text(ratio.ratio, (ratio.low, ratio.high))}{unpaired}"
    return f"{bound_text(ratio.high, what)}{unpaired}"


def factor_text(ratio: float, ends: tuple[float, float] | None = None) -> str:
    """Return a ratio as a factor of at least 1, "slower" or "faster", with the interval of that factor."""
    word = "slower" if ratio > 1 else "faster"
    if ratio <= 1:
        ratio, ends = 1 / ratio, ends and (1 / ends[1], 1 / ends[0])
    return f"{significant(ratio)}x {word}" + (f" ({significant(ends[0])} to {significant(ends[1])})" if ends else "")


def bound_text(high: float, what: str = "overhead") -> str:
    """Return ``no overhead above 3 %`` for the upper end of an interval, rounded up and at least 1 %."""
    percent = max(1, math.ceil((high - 1) * 100 - 1e-9))
    return f"no {what} above {percent if percent < _LARGE else format(percent, '.1e')} %"
