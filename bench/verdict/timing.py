"""Wall times and the price of determinism. The process is the sampling unit.

Times inside one process are correlated (same clocks, same caches, same picks of oneDNN and cuDNN), so
each process gives one number, the median of its times, and only those numbers are compared.

The price is median(on) / median(off) over processes. Its interval is the percentile bootstrap over
processes (Efron, B., "Bootstrap methods: another look at the jackknife", Ann. Statist. 7 (1979), 1-26):
both sides are drawn anew, independently. The percentile form is the same on a log scale, which suits a
ratio, and stays defined where all processes took the same time. With a handful of processes it spans
about min/max to max/min, and with 3 against 3 it would still miss 1 by chance alone in 1 case of 10 (all
of one side above all of the other: 2 of 20 orders). So a price is stated only if an exact rank test
(Mann, H. B. and Whitney, D. R., Ann. Math. Statist. 18 (1947), 50-60) agrees; it needs 4 processes a side.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from bench.verdict.strength import percent_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.verdict.evidence import Witness

#: Fewer processes a side carry no interval.
MIN_PROCESSES = 3
#: An interval wider than this factor (high / low) says too little to state a price.
MAX_WIDTH = 2.0
CONFIDENCE = 0.95
#: How often chance alone may order the processes as clearly as they are.
MAX_CHANCE = 0.05
RESAMPLES = 2000
_SEED = 1979


class Kind(StrEnum):
    """Which times: calls after the first, or first calls (trace and compile included)."""

    STEADY = "steady"
    FIRST = "first"


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of one kernel in one cell, condition and mode.

    ``per_process`` has one median a process, by round; ``median_s`` is their median, ``low_s`` and
    ``high_s`` their range.
    """

    kind: Kind
    per_process: tuple[float, ...]

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
    """Seconds: the median of one process's usable times of this kind, None where it has none."""
    times: list[float] = []
    for sample in witness.repeats:
        times += sample.steady_s if kind is Kind.STEADY else (sample.first_s,)
    usable = [time for time in times if math.isfinite(time) and time > 0]
    return statistics.median(usable) if usable else None


def timing(witnesses: Sequence[Witness], kind: Kind | None = None) -> Timing | None:
    """The times over processes; of steady calls where every process has them, else of first calls."""
    sane = [witness for witness in witnesses if witness.repeats]
    if kind is None:
        every = bool(sane) and all(process_median(one, Kind.STEADY) is not None for one in sane)
        kind = Kind.STEADY if every else Kind.FIRST
    medians = [median for one in sane if (median := process_median(one, kind)) is not None]
    return Timing(kind=kind, per_process=tuple(medians)) if medians else None


def price(on: Sequence[Witness], off: Sequence[Witness]) -> Price | None:
    """The price of determinism, like compared with like; None where a side has no times."""
    left, right = timing(on), timing(off)
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
    """Two-sided p of the exact Mann-Whitney test."""
    from scipy.stats import mannwhitneyu  # noqa: PLC0415

    return float(mannwhitneyu(on, off, alternative="two-sided", method="exact").pvalue)


def _interval(on: Sequence[float], off: Sequence[float]) -> tuple[float | None, float | None]:
    if min(len(on), len(off)) < MIN_PROCESSES:
        return None, None
    import numpy as np  # noqa: PLC0415 - with SciPy a second of import that --help need not pay
    from scipy.stats import bootstrap  # noqa: PLC0415

    def ratio(left: Any, right: Any, axis: int = -1) -> Any:
        return np.median(left, axis=axis) / np.median(right, axis=axis)

    result = bootstrap(
        (np.asarray(on), np.asarray(off)),
        ratio,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        vectorized=True,
        random_state=np.random.default_rng(_SEED),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
