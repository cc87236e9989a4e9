"""The ratio of two medians with its interval, and whether it may be stated. Numbers only.

``dear`` and ``cheap`` are one time a process. The interval is the percentile bootstrap over processes (Efron, B.,
"Bootstrap methods: another look at the jackknife", Ann. Statist. 7 (1979), 1-26), both sides drawn anew and
independently. Nothing is drawn here: the median of a draw is one of the sorted values (or the middle of two), and how
often it is which one follows from counting (Maritz, J. S. and Jarrett, R. G., "A note on estimating the variance of
the sample median", J. Am. Stat. Assoc. 73 (1978), 194-196). So the interval has no noise of its own, is the same on
every machine, and the page's script, which does the same sums, gives the same digits.

The percentile form is the same on a log scale, which suits a ratio, and stays defined where all processes took the
same time. With a handful of processes it spans about min/max to max/min, and with 3 against 3 it would still miss 1 by
chance alone in 1 case of 10 (all of one side above all of the other: 2 of 20 orders). So a ratio is stated only if an
exact rank test (Mann, H. B. and Whitney, D. R., Ann. Math. Statist. 18 (1947), 50-60) agrees at 1 %, for a page asks
hundreds of times; it needs 5 processes a side, each on its own side of all others.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from bench.verdict.evidence import percent_up

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Fewer processes a side carry no interval.
MIN_PROCESSES = 3
#: An interval wider than this factor (high / low) says too little to state a ratio.
MAX_WIDTH = 2.0
CONFIDENCE = 0.95
#: How often chance alone may order the processes as clearly as they are.
MAX_CHANCE = 0.01
#: Medians rarer than this are left out: with many processes nearly all of them are.
_RARE = 1e-9

#: Which two of the sorted values (from 0) a median lies in the middle of, and how often.
_Share = tuple[int, int, float]


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """``value`` is median over median. ``low`` and ``high`` bound it at 95 %, None with fewer than three processes.

    ``resolved`` is False with fewer, where the interval contains 1 or is wider than a factor of 2, and where chance
    alone orders so few processes as clearly; the ratio must not be stated as a finding then. ``why`` says which.
    """

    value: float
    low: float | None
    high: float | None
    resolved: bool
    why: str


def ratio(dear: Sequence[float], cheap: Sequence[float]) -> Ratio:
    """The ratio of the medians of two sides; each needs one value at least, and all must be above 0."""
    low, high = _interval(dear, cheap)
    resolved, why = _resolve(dear, cheap, low, high)
    value = statistics.median(dear) / statistics.median(cheap)
    return Ratio(value=value, low=low, high=high, resolved=resolved, why=why)


def _resolve(dear: Sequence[float], cheap: Sequence[float], low: float | None, high: float | None) -> tuple[bool, str]:
    if low is None or high is None:
        return False, f"{min(len(dear), len(cheap))} processes a side, and {MIN_PROCESSES} are needed"
    if high > low * MAX_WIDTH:
        return False, f"the interval is wider than a factor of {MAX_WIDTH:g}"
    if low <= 1 <= high:
        return False, "the interval contains 1"
    chance = _chance(dear, cheap)
    if chance > MAX_CHANCE:
        return False, f"so few processes fall in this order by chance in {percent_up(chance)} % of cases"
    return True, "the interval lies clear of 1"


def _chance(dear: Sequence[float], cheap: Sequence[float]) -> float:
    """Two-sided p of the exact Mann-Whitney test. It depends on the order of the values only."""
    order = {value: rank for rank, value in enumerate(sorted({*dear, *cheap}))}
    return _chance_of_order(tuple(order[value] for value in dear), tuple(order[value] for value in cheap))


@lru_cache(maxsize=4096)
def _chance_of_order(dear: tuple[int, ...], cheap: tuple[int, ...]) -> float:
    from scipy.stats import mannwhitneyu  # noqa: PLC0415 - with SciPy a second of import that --help need not pay

    return float(mannwhitneyu(dear, cheap, alternative="two-sided", method="exact").pvalue)


def _interval(dear: Sequence[float], cheap: Sequence[float]) -> tuple[float | None, float | None]:
    """The smallest ratios that at least 2.5 % and 97.5 % of all pairs of draws do not exceed."""
    if min(len(dear), len(cheap)) < MIN_PROCESSES:
        return None, None
    import numpy as np  # noqa: PLC0415 - as above

    values, often = zip(*(_medians(side) for side in (dear, cheap)), strict=True)
    ratios = np.divide.outer(values[0], values[1]).ravel()
    order = np.argsort(ratios, kind="stable")
    below = np.cumsum(np.multiply.outer(often[0], often[1]).ravel()[order])
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(ratios[order[np.searchsorted(below, share * below[-1])]]) for share in (tail, 1 - tail))
    return low, high


def _medians(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """What the median of a draw with replacement can be, and how often it is."""
    ordered = sorted(values)
    shares = _shares(len(ordered))
    return [(ordered[one] + ordered[other]) / 2 for one, other, _ in shares], [share for *_, share in shares]


@lru_cache(maxsize=256)
def _shares(number: int) -> tuple[_Share, ...]:
    """How often the median of ``number`` draws from as many sorted values is which of them.

    For an odd number: that at least (number + 1) / 2 draws are among the first i values, less the same of i - 1. For an
    even one: a half of the draws ends at the i-th value, the other begins at the j-th.
    """
    if number % 2:
        need = number // 2 + 1
        up_to = [_at_least(need, number, one / number) for one in range(number + 1)]
        found = [(one, one, up_to[one + 1] - up_to[one]) for one in range(number)]
    else:
        half = number // 2
        ways = math.comb(number, half)
        ends = [((one + 1) / number) ** half - (one / number) ** half for one in range(number)]
        begins = ends[::-1]
        found = [
            (one, other, ways * ends[one] * begins[other]) for one in range(number) for other in range(one + 1, number)
        ]
        # what is left of the draws whose lower half ends at a value has its upper half begin at the same one
        up_to = [_at_least(half, number, one / number) for one in range(number + 1)]
        apart = [sum(share for left, _, share in found if left == one) for one in range(number)]
        found += [(one, one, up_to[one + 1] - up_to[one] - apart[one]) for one in range(number)]
    return tuple(sorted(share for share in found if share[2] > _RARE))


def _at_least(need: int, number: int, chance: float) -> float:
    """That at least ``need`` of ``number`` tries succeed, each by ``chance``."""
    return sum(
        math.comb(number, some) * chance**some * (1 - chance) ** (number - some) for some in range(need, number + 1)
    )
