"""Wall times and the price of determinism. The process is the sampling unit.

Times inside one process are correlated (same clocks, same caches, same picks of oneDNN and cuDNN), so
each process gives one number, the median of its times, and only those numbers are compared.

The price is median(on) / median(off) over processes. Its interval is the percentile bootstrap over
processes (Efron, B., "Bootstrap methods: another look at the jackknife", Ann. Statist. 7 (1979), 1-26):
both sides are drawn anew, independently. The percentile form is the same on a log scale, which suits a
ratio, and stays defined where all processes took the same time. With a handful of processes it spans
about min/max to max/min, and with 3 against 3 it would still miss 1 by chance alone in 1 case of 10 (all
of one side above all of the other: 2 of 20 orders). So a price is stated only if an exact rank test
(Mann, H. B. and Whitney, D. R., Ann. Math. Statist. 18 (1947), 50-60) agrees at 1 %,
for a page asks hundreds of times; it needs 5 processes a side, each on its own side of all others.

The median of a draw is one of the sorted values (or the middle of two), and which one depends on the number
of processes only. So the draws are made once for each number, from NumPy's frozen generator: the interval is
that of ``scipy.stats.bootstrap``, a hundred times quicker, and the same on every machine.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bench.verdict import guard
from bench.verdict.strength import percent_up

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.verdict.evidence import Witness

#: Fewer processes a side carry no interval.
MIN_PROCESSES = 3
#: An interval wider than this factor (high / low) says too little to state a price.
MAX_WIDTH = 2.0
CONFIDENCE = 0.95
#: How often chance alone may order the processes as clearly as they are.
MAX_CHANCE = 0.01
RESAMPLES = 10_000
_SEED = 1979


class Kind(StrEnum):
    """Which times: calls after the first, or first calls (trace and compile included)."""

    STEADY = "steady"
    FIRST = "first"


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of one kernel in one cell, condition and mode.

    ``per_process`` has one median a process, by round; ``median_s`` is their median, ``low_s`` and
    ``high_s`` their range. ``cpu_median_s`` is the same of CPU seconds (all threads), and ``first_median_s``
    of first calls, trace and compile included; None where unknown.
    """

    kind: Kind
    per_process: tuple[float, ...]
    cpu_median_s: float | None = None
    first_median_s: float | None = None

    @property
    def median_s(self) -> float:
        """Median over processes of the process medians."""
        return statistics.median(self.per_process)

    @property
    def low_s(self) -> float:
        """The fastest process."""
        return min(self.per_process)

    @property
    def high_s(self) -> float:
        """The slowest process."""
        return max(self.per_process)


@dataclass(frozen=True, kw_only=True)
class Price:
    """What determinism costs: ``ratio`` of the median time on to off (below 1: on was faster).

    ``low`` and ``high`` bound it at 95 %; None with fewer than three processes a side. ``resolved`` is
    False with fewer, where the interval contains 1 or is wider than a factor of 2, and where chance alone
    orders so few processes as clearly; the ratio must not be stated as a finding then. ``why`` says which.
    """

    kind: Kind
    ratio: float
    low: float | None
    high: float | None
    processes_on: int
    processes_off: int
    resolved: bool
    why: str


def process_median(witness: Witness, kind: Kind) -> float | None:
    """Seconds: the median of one process's usable times of this kind, None where it has none.

    What was timed on a throttled or shared GPU is not usable.
    """
    if kind is Kind.FIRST:
        return _middle(sample.first_s for sample in guard.clean(witness.repeats))
    return _middle(time for sample in guard.clean(witness.timings) for time in sample.steady_s)


def timing(witnesses: Sequence[Witness], kind: Kind | None = None) -> Timing | None:
    """The times over processes; of steady calls where every process that was timed to its end has them.

    Else of first calls: of kernels that may not be called again, and of rounds without a timing pass. None where
    every process was timed on a throttled or shared GPU: first calls are no substitute for the times asked for.
    """
    sane = [witness for witness in witnesses if witness.repeats and not guard.silenced(witness)]
    if kind is None:
        whole = [one for one in sane if one.timed and one.outcome == "ok"]
        if not whole and any(guard.silenced(one) for one in witnesses):
            return None
        every = bool(whole) and all(process_median(one, Kind.STEADY) is not None for one in whole)
        kind = Kind.STEADY if every else Kind.FIRST
    medians = [median for one in sane if (median := process_median(one, kind)) is not None]
    if not medians:
        return None
    return Timing(
        kind=kind,
        per_process=tuple(medians),
        cpu_median_s=_over_processes(_cpu(one, kind) for one in sane),
        first_median_s=_over_processes(process_median(one, Kind.FIRST) for one in sane),
    )


def _cpu(witness: Witness, kind: Kind) -> float | None:
    if kind is Kind.FIRST:
        return _middle(sample.first_cpu_s for sample in guard.clean(witness.repeats))
    return _middle(time for sample in guard.clean(witness.timings) for time in sample.steady_cpu_s)


def _middle(times: Iterable[float]) -> float | None:
    """The median of what a clock can have shown; None where nothing is left."""
    usable = [time for time in times if math.isfinite(time) and time > 0]
    return statistics.median(usable) if usable else None


def _over_processes(medians: Iterable[float | None]) -> float | None:
    known = [median for median in medians if median is not None]
    return statistics.median(known) if known else None


def price(
    on: Sequence[Witness], off: Sequence[Witness], known: tuple[Timing | None, Timing | None] | None = None
) -> Price | None:
    """The price of determinism, like compared with like; None where a side has no times or was not timed.

    ``known`` are the timings of both sides where they were made already.
    """
    if not all(any(one.timed for one in side) for side in (on, off)):
        return None
    left, right = known or (timing(on), timing(off))
    if left is None or right is None:
        return None
    if left.kind is not right.kind:
        left, right = timing(on, Kind.FIRST), timing(off, Kind.FIRST)
        if left is None or right is None:
            return None
    low, high = _interval(left.per_process, right.per_process)
    resolved, why = _resolve(left.per_process, right.per_process, low, high)
    return Price(
        kind=left.kind,
        ratio=left.median_s / right.median_s,
        low=low,
        high=high,
        processes_on=len(left.per_process),
        processes_off=len(right.per_process),
        resolved=resolved,
        why=why,
    )


def _resolve(on: Sequence[float], off: Sequence[float], low: float | None, high: float | None) -> tuple[bool, str]:
    if low is None or high is None:
        return False, f"{min(len(on), len(off))} processes a side, and {MIN_PROCESSES} are needed"
    if high > low * MAX_WIDTH:
        return False, f"the interval is wider than a factor of {MAX_WIDTH:g}"
    if low <= 1 <= high:
        return False, "the interval contains 1"
    chance = _chance(on, off)
    if chance > MAX_CHANCE:
        return False, f"so few processes fall in this order by chance in {percent_up(chance)} % of cases"
    return True, "the interval lies clear of 1"


def _chance(on: Sequence[float], off: Sequence[float]) -> float:
    """Two-sided p of the exact Mann-Whitney test. It depends on the order of the values only."""
    order = {value: rank for rank, value in enumerate(sorted({*on, *off}))}
    return _chance_of_order(tuple(order[value] for value in on), tuple(order[value] for value in off))


@lru_cache(maxsize=4096)
def _chance_of_order(on: tuple[int, ...], off: tuple[int, ...]) -> float:
    from scipy.stats import mannwhitneyu  # noqa: PLC0415 - with SciPy a second of import that --help need not pay

    return float(mannwhitneyu(on, off, alternative="two-sided", method="exact").pvalue)


def _interval(on: Sequence[float], off: Sequence[float]) -> tuple[float | None, float | None]:
    if min(len(on), len(off)) < MIN_PROCESSES:
        return None, None
    import numpy as np  # noqa: PLC0415 - as above

    ratios = _medians(on, _SEED) / _medians(off, _SEED + 1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(ratios, (tail, 1 - tail))
    return float(low), float(high)


def _medians(values: Sequence[float], seed: int) -> Any:
    """The medians of all draws with replacement, as an array."""
    import numpy as np  # noqa: PLC0415 - as above

    lower, upper = _draws(len(values), seed)
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    return (ordered[lower] + ordered[upper]) / 2


@lru_cache(maxsize=64)
def _draws(number: int, seed: int) -> tuple[Any, Any]:
    """For every draw of ``number`` from so many: which of the sorted values its two middle ones are."""
    import numpy as np  # noqa: PLC0415 - as above

    drawn = np.sort(np.random.RandomState(seed).randint(0, number, (RESAMPLES, number)), axis=1)
    return drawn[:, (number - 1) // 2], drawn[:, number // 2]
