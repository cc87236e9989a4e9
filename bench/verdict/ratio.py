"""The ratio of two medians with its interval, and whether it is significant. Numbers only.

``numerator`` and ``denominator`` have one time per process. The interval is the percentile bootstrap over processes
(Efron, B., "Bootstrap methods: another look at the jackknife", Ann. Statist. 7 (1979), 1-26); both sides are resampled
independently. Nothing is drawn at random: the median of a resample is one of the sorted values (or the middle of two),
and how often it is which one follows from counting (Maritz, J. S. and Jarrett, R. G., "A note on estimating the
variance of the sample median", J. Am. Stat. Assoc. 73 (1978), 194-196). So the interval has no simulation noise and is
the same on every machine.

The percentile form is the same on a log scale, which suits a ratio, and remains defined if all processes took the
same time. With a handful of processes it spans about min/max to max/min, and with 3 against 3 it would still exclude 1
by chance in 1 case of 10 (all of one side above all of the other: 2 of 20 orders). Therefore a ratio is significant
only if an exact rank test (Mann, H. B. and Whitney, D. R., Ann. Math. Statist. 18 (1947), 50-60) agrees at 1 %, because
a page makes hundreds of comparisons. This takes 5 processes per side, with no overlap between the sides.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from bench.verdict.evidence import percent_up

if TYPE_CHECKING:
    from collections.abc import Sequence

#: With fewer processes per side there is no interval.
MIN_PROCESSES = 3
#: A ratio whose interval is wider than this factor (high / low) is not significant.
MAX_WIDTH = 2.0
CONFIDENCE = 0.95
#: The highest p-value of the rank test for a significant ratio.
MAX_CHANCE = 0.01
#: Medians less probable than this are left out: with many processes nearly all of them are.
_RARE = 1e-9

#: Positions (from 0) of the two sorted values that a median lies halfway between, and its probability.
_Share = tuple[int, int, float]


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """``value`` is median over median; ``low`` and ``high`` bound it at 95 %, None with fewer than three processes.

    ``significant`` is False if there is no interval, if it contains 1 or is wider than a factor of 2, and if chance
    alone puts so few processes in this order too often. ``why`` says which.
    """

    value: float
    low: float | None
    high: float | None
    significant: bool
    why: str


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Ratio:
    """Return the ratio of the medians of two sides; each needs at least one value, and all must be above 0."""
    low, high = _interval(numerator, denominator)
    significant, why = _significance(numerator, denominator, low, high)
    value = statistics.median(numerator) / statistics.median(denominator)
    return Ratio(value=value, low=low, high=high, significant=significant, why=why)


def _significance(
    numerator: Sequence[float], denominator: Sequence[float], low: float | None, high: float | None
) -> tuple[bool, str]:
    if low is None or high is None:
        return False, f"{min(len(numerator), len(denominator))} processes per side, but {MIN_PROCESSES} are needed"
    if high > low * MAX_WIDTH:
        return False, f"the interval is wider than a factor of {MAX_WIDTH:g}"
    if low <= 1 <= high:
        return False, "the interval contains 1"
    chance = _chance_of_order(numerator, denominator)
    if chance > MAX_CHANCE:
        return False, f"so few processes are in this order by chance in {percent_up(chance)} % of cases"
    return True, "the interval excludes 1"


def _chance_of_order(numerator: Sequence[float], denominator: Sequence[float]) -> float:
    """Return the two-sided p-value of the exact Mann-Whitney test, as ``scipy.stats.mannwhitneyu`` computes it.

    It is computed here because importing ``scipy.stats`` takes longer than evaluating a whole run. Like SciPy's
    ``method="exact"``, it uses the distribution without ties.
    """
    ordered = sorted(denominator)
    # pairs in which the numerator is larger; a tie counts one half
    larger = sum(bisect_left(ordered, value) + bisect_right(ordered, value) for value in numerator) / 2
    pairs = len(numerator) * len(denominator)
    counts = _rank_sums(len(numerator), len(denominator))
    tail = sum(counts[int(max(larger, pairs - larger)) :])
    return min(1.0, 2 * tail / sum(counts))


@lru_cache(maxsize=256)
def _rank_sums(first: int, other: int) -> tuple[int, ...]:
    """Return how many orders of two sides give each value of the Mann-Whitney statistic, from 0 to first * other.

    They are the coefficients of the Gaussian binomial coefficient, the product of (1 - q^(other + i)) / (1 - q^i) for
    i from 1 to first.
    """
    size = first * other + 1
    counts = [1] + [0] * (size - 1)
    for i in range(1, first + 1):
        for power in range(size - 1, other + i - 1, -1):  # multiply by 1 - q^(other + i)
            counts[power] -= counts[power - other - i]
        for power in range(i, size):  # divide by 1 - q^i
            counts[power] += counts[power - i]
    return tuple(counts)


def _interval(numerator: Sequence[float], denominator: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the smallest ratios that at least 2.5 % and 97.5 % of all pairs of resamples do not exceed."""
    if min(len(numerator), len(denominator)) < MIN_PROCESSES:
        return None, None
    import numpy as np  # noqa: PLC0415 - slow to import, and --help does not need it

    values, shares = zip(*(_medians(side) for side in (numerator, denominator)), strict=True)
    ratios = np.divide.outer(values[0], values[1]).ravel()
    order = np.argsort(ratios, kind="stable")
    below = np.cumsum(np.multiply.outer(shares[0], shares[1]).ravel()[order])
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(ratios[order[np.searchsorted(below, share * below[-1])]]) for share in (tail, 1 - tail))
    return low, high


def _medians(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return the possible medians of a resample with replacement, and the probability of each."""
    ordered = sorted(values)
    shares = _shares(len(ordered))
    return [(ordered[low] + ordered[high]) / 2 for low, high, _ in shares], [share for *_, share in shares]


@lru_cache(maxsize=256)
def _shares(number: int) -> tuple[_Share, ...]:
    """Return the probability that the median of ``number`` draws from as many sorted values is each of them.

    For an odd number: the probability that at least (number + 1) / 2 draws are among the first i values, minus that for
    i - 1. For an even one: one half of the draws ends at the i-th value, the other half begins at the j-th.
    """
    if number % 2:
        need = number // 2 + 1
        up_to = [_at_least(need, number, place / number) for place in range(number + 1)]
        shares = [(place, place, up_to[place + 1] - up_to[place]) for place in range(number)]
    else:
        half = number // 2
        ways = math.comb(number, half)
        ends = [((place + 1) / number) ** half - (place / number) ** half for place in range(number)]
        begins = ends[::-1]
        shares = [
            (low, high, ways * ends[low] * begins[high]) for low in range(number) for high in range(low + 1, number)
        ]
        # the remaining draws whose lower half ends at a value have an upper half that begins at the same value
        up_to = [_at_least(half, number, place / number) for place in range(number + 1)]
        unequal = [sum(share for low, _, share in shares if low == place) for place in range(number)]
        shares += [(place, place, up_to[place + 1] - up_to[place] - unequal[place]) for place in range(number)]
    return tuple(sorted(share for share in shares if share[2] > _RARE))


def _at_least(need: int, number: int, chance: float) -> float:
    """Return the probability that at least ``need`` of ``number`` trials succeed, each with probability ``chance``."""
    return sum(
        math.comb(number, successes) * chance**successes * (1 - chance) ** (number - successes)
        for successes in range(need, number + 1)
    )
