"""Ratios of times with their intervals, corrected for how many are on one page. Numbers only.

Each pair of processes contributes one value, the logarithm of time b over time a; see ``bench.verdict.paired_times``.
The mean over pairs is a ratio of times, and its interval is Student's t:

* Where at least two pairs were started in either order, half the difference between the orders is estimated too and
  removed, because the process started second tends to be faster.
* A variance from five pairs is itself a poor estimate. It is therefore combined with those of all other kernels of
  the run, weighted by how much these differ from each other (empirical Bayes: Smyth, G. K., "Linear models and
  empirical Bayes methods for assessing differential expression", Stat. Appl. Genet. Mol. Biol. 3 (2004), article 3).

A page states hundreds of ratios. ``corrected`` keeps the false ones among those called significant below 5 %
(Benjamini, Y. and Hochberg, Y., J. R. Stat. Soc. B 57 (1995), 289-300). Their intervals are widened to the level
1 - 0.05 R / m, with R significant ones of m, because what is selected for being far from 1 is on average too far
(Benjamini, Y. and Yekutieli, D., J. Am. Stat. Assoc. 100 (2005), 71-81). All other intervals have the level 95 %.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from bench.verdict.timing import TimeKind  # noqa: TC001 - the report schema resolves annotations at run time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Key = TypeVar("Key")

#: With fewer pairs there is no interval.
MIN_PAIRS = 3
#: Rate of false discoveries on a page, and 1 - the level of an interval that was not selected.
FALSE_DISCOVERIES = 0.05
#: Pairs of each start order from which on the order's effect is removed.
_OF_EACH_ORDER = 2
#: With fewer kernels, their variances say too little of each other.
_MIN_KERNELS = 10
#: The other kernels count for at most this many degrees of freedom: few kernels can agree by chance.
_MOST_PRIOR = 30.0
#: Weight of the other kernels. At full weight, intervals are too narrow where spreads do not follow the distribution
#: that the method supposes: up to 5.9 % false discoveries in ``tests.timing_simulation``, at half weight up to 4.2 %.
_WEIGHT = 0.5
#: A logarithm that is 0 but for rounding.
_NEGLIGIBLE = 1e-9
#: Of a ratio and of its inverse, so that both are finite.
_LARGEST_LOG = 700.0


@dataclass(frozen=True, kw_only=True)
class TimeRatio:
    """The ratio of two times; below 1, the second side (determinism on, the newer column) was faster.

    ``low`` and ``high`` bound it at the level ``confidence``, None with fewer than three pairs. ``significant``: the
    interval excludes 1 after correction for all ratios of the page; ``p_value`` is before this correction. ``spread``
    is the standard deviation of the logarithms over pairs. Not ``paired``: the two sides were measured at different
    times, and ``pairs`` is the number of processes of the side with fewer.
    """

    kind: TimeKind
    ratio: float
    low: float | None = None
    high: float | None = None
    confidence: float = 1 - FALSE_DISCOVERIES
    p_value: float | None = None
    significant: bool = False
    pairs: int
    spread: float | None = None
    paired: bool = True

    @property
    def inverted(self) -> TimeRatio:
        """The same with sides swapped."""
        low, high = (None if end is None else 1 / end for end in (self.high, self.low))
        return replace(self, ratio=1 / self.ratio, low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class PairValues:
    """Logarithms of the ratio, one for each pair, and whether side a was started first in it."""

    kind: TimeKind
    logs: tuple[float, ...]
    a_first: tuple[bool, ...]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean logarithm with its standard error; ``freedom`` is 0 if there are too few pairs for an interval."""

    kind: TimeKind
    mean: float
    error: float
    freedom: float
    pairs: int
    spread: float | None
    paired: bool = True


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What the variances of all kernels say of that of one: ``variance``, worth ``freedom`` degrees of freedom."""

    variance: float = 1.0
    freedom: float = 0.0


def estimates(samples: Mapping[Key, PairValues]) -> dict[Key, Estimate]:
    """Return an estimate for each kernel, its variance combined with that of all others of its kind of times.

    First calls vary more than later ones, of which a pair has many.
    """
    fits = {key: _fit(values) for key, values in samples.items()}
    priors = {
        kind: prior_of([fit[1::2] for key, fit in fits.items() if samples[key].kind is kind])
        for kind in {values.kind for values in samples.values()}
    }
    found = {}
    for key, (mean, variance, share, freedom) in fits.items():
        prior = priors[samples[key].kind]
        total = freedom + prior.freedom if freedom else 0
        pooled = (freedom * variance + prior.freedom * prior.variance) / total if total else 0.0
        found[key] = Estimate(
            kind=samples[key].kind,
            mean=mean,
            error=math.sqrt(pooled * share),
            freedom=total,
            pairs=len(samples[key].logs),
            spread=math.sqrt(variance) if freedom else None,
        )
    return found


def _fit(values: PairValues) -> tuple[float, float, float, int]:
    """Return the mean, the variance of pairs, the mean's share of it, and the degrees of freedom (0: too few)."""
    logs, number = values.logs, len(values.logs)
    mean = statistics.fmean(logs)
    if number < MIN_PAIRS:
        return mean, 0.0, 1.0, 0
    first = sum(values.a_first)
    if min(first, number - first) < _OF_EACH_ORDER:
        return mean, statistics.variance(logs, mean), 1 / number, number - 1
    # least squares for a mean and an effect of the order, +1 where a was started first and -1 otherwise
    pairs = list(zip(logs, values.a_first, strict=True))
    means = [statistics.fmean(log for log, a in pairs if a is order) for order in (True, False)]
    rest = sum((log - means[0 if a else 1]) ** 2 for log, a in pairs)
    share = (1 / first + 1 / (number - first)) / 4
    return sum(means) / 2, rest / (number - 2), share, number - 2


def prior_of(variances: Sequence[tuple[float, int]]) -> Prior:
    """Return what many (variance, degrees of freedom) say of one variance: Smyth 2004, section 6.2.

    The logarithms of variances are compared with what chance alone makes of equal ones; the more they differ beyond
    that, the less the prior counts.
    """
    known = [(variance, freedom) for variance, freedom in variances if freedom and variance > 0]
    if len(known) < _MIN_KERNELS:
        return Prior()
    from scipy.special import digamma, polygamma  # noqa: PLC0415 - slow to import, and --help does not need it

    logs = [math.log(variance) - float(digamma(f / 2)) + math.log(f / 2) for variance, f in known]
    excess = statistics.variance(logs) - statistics.fmean(float(polygamma(1, f / 2)) for _, f in known)
    freedom = min(_MOST_PRIOR, 2 * _inverse_trigamma(excess)) if excess > 0 else _MOST_PRIOR
    variance = math.exp(statistics.fmean(logs) + float(digamma(freedom / 2)) - math.log(freedom / 2))
    return Prior(variance=variance, freedom=_WEIGHT * freedom)


def _inverse_trigamma(value: float) -> float:
    """Return the x with trigamma(x) = value, by Newton's method on 1 / trigamma, which is nearly linear."""
    from scipy.special import polygamma  # noqa: PLC0415 - see prior_of

    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, x))
        x += step
        if abs(step) < 1e-8 * x:
            break
    return x


def welch(numerator: Sequence[float], denominator: Sequence[float], kind: TimeKind) -> Estimate:
    """Compare processes that were not paired, by the logarithms of their times (Welch, B. L., Biometrika 34 (1947)).

    Args:
        numerator: one time of each process, in seconds.
        denominator: those of the other side.
        kind: which times they are.
    """
    sides = [[math.log(seconds) for seconds in side] for side in (numerator, denominator)]
    pairs = min(map(len, sides))
    mean = statistics.fmean(sides[0]) - statistics.fmean(sides[1])
    if pairs < MIN_PAIRS:
        return Estimate(kind=kind, mean=mean, error=0.0, freedom=0, pairs=pairs, spread=None, paired=False)
    variances = [statistics.variance(side) for side in sides]
    parts = [variance / len(side) for variance, side in zip(variances, sides, strict=True)]
    below = sum(part**2 / (len(side) - 1) for part, side in zip(parts, sides, strict=True))
    return Estimate(
        kind=kind,
        mean=mean,
        error=math.sqrt(sum(parts)),
        freedom=sum(parts) ** 2 / below if below else sum(map(len, sides)) - 2,
        pairs=pairs,
        spread=math.sqrt(statistics.fmean(variances)),
        paired=False,
    )


def corrected(of_page: Mapping[Key, Estimate]) -> dict[Key, TimeRatio]:
    """Return the ratios of one page, with significance and intervals corrected for their number."""
    p_values = {key: _p_value(estimate) for key, estimate in of_page.items() if estimate.freedom}
    selected = _selected(p_values)
    chance = FALSE_DISCOVERIES * len(selected) / len(p_values) if selected else FALSE_DISCOVERIES
    return {
        key: _ratio(
            estimate,
            p_values.get(key),
            chance if key in selected else FALSE_DISCOVERIES,
            significant=key in selected,
        )
        for key, estimate in of_page.items()
    }


def _p_value(estimate: Estimate) -> float:
    """Return the two-sided p-value of a ratio of 1."""
    from scipy.special import stdtr  # noqa: PLC0415 - see prior_of

    if abs(estimate.mean) < _NEGLIGIBLE:
        return 1.0
    if not estimate.error:
        return 0.0
    return 2 * float(stdtr(estimate.freedom, -abs(estimate.mean) / estimate.error))


def _selected(p_values: Mapping[Key, float]) -> frozenset[Key]:
    """Return the keys that Benjamini and Hochberg's step-up procedure selects."""
    ordered = sorted(p_values, key=lambda key: p_values[key])
    passing = [rank for rank, key in enumerate(ordered, 1) if p_values[key] <= FALSE_DISCOVERIES * rank / len(ordered)]
    return frozenset(ordered[: max(passing, default=0)])


def _ratio(estimate: Estimate, p_value: float | None, chance: float, *, significant: bool) -> TimeRatio:
    from scipy.special import stdtrit  # noqa: PLC0415 - see prior_of

    low = high = None
    if estimate.freedom:
        half = float(stdtrit(estimate.freedom, 1 - chance / 2)) * estimate.error
        low, high = _exp(estimate.mean - half), _exp(estimate.mean + half)
    return TimeRatio(
        kind=estimate.kind,
        ratio=_exp(estimate.mean),
        low=low,
        high=high,
        confidence=1 - chance,
        p_value=p_value,
        significant=significant,
        pairs=estimate.pairs,
        spread=estimate.spread,
        paired=estimate.paired,
    )


def _exp(log: float) -> float:
    """Return a ratio that is a finite number, whatever a damaged record says of times."""
    return math.exp(max(-_LARGEST_LOG, min(_LARGEST_LOG, log)))
