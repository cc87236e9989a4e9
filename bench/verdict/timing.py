"""Wall times and the overhead of determinism. The process is the sampling unit.

Times inside one process are correlated (same clocks, same caches, same picks of oneDNN and cuDNN), so
each process gives one number, the median of its times, and only those numbers are compared.

The overhead is median(on) / median(off) over processes, with the interval and the rules of ``bench.verdict.ratio``.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bench.verdict import gpu_timing
from bench.verdict.ratio import ratio

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.verdict.observations import ProcessObservation


class Kind(StrEnum):
    """Which times: calls after the first, or first calls (trace and compile included)."""

    STEADY = "steady"
    FIRST = "first"


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of one kernel in one column, variation and mode.

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
class Overhead:
    """What determinism costs: ``ratio`` of the median time on to off (below 1: on was faster).

    ``low``, ``high``, ``resolved`` and ``why`` are those of ``bench.verdict.ratio.Ratio``.
    """

    kind: Kind
    ratio: float
    low: float | None
    high: float | None
    processes_on: int
    processes_off: int
    resolved: bool
    why: str


def process_median(observation: ProcessObservation, kind: Kind) -> float | None:
    """Seconds: the median of one process's usable times of this kind, None where it has none.

    What was timed on a throttled or shared GPU is not usable.
    """
    if kind is Kind.FIRST:
        return _middle(sample.first_s for sample in gpu_timing.clean(observation.repetitions))
    return _middle(time for sample in gpu_timing.clean(observation.timings) for time in sample.steady_s)


def timing(observations: Sequence[ProcessObservation], kind: Kind | None = None) -> Timing | None:
    """The times over processes: of steady calls, and where no process that was timed to its end has any, of first ones.

    Those are kernels that may not be called again, and rounds without a timing pass. None where
    every process was timed on a throttled or shared GPU: first calls are no substitute for the times asked for.
    """
    sane = [
        observation for observation in observations if observation.repetitions and not gpu_timing.silenced(observation)
    ]
    if kind is None:
        whole = [one for one in sane if one.timed and one.outcome == "ok"]
        if not whole and any(gpu_timing.silenced(one) for one in observations):
            return None
        # one process without its times must not turn all others into first calls
        steady = any(process_median(one, Kind.STEADY) is not None for one in whole)
        kind = Kind.STEADY if steady else Kind.FIRST
    medians = [median for one in sane if (median := process_median(one, kind)) is not None]
    if not medians:
        return None
    return Timing(
        kind=kind,
        per_process=tuple(medians),
        cpu_median_s=_over_processes(_cpu(one, kind) for one in sane),
        first_median_s=_over_processes(process_median(one, Kind.FIRST) for one in sane),
    )


def _cpu(observation: ProcessObservation, kind: Kind) -> float | None:
    if kind is Kind.FIRST:
        return _middle(sample.first_cpu_s for sample in gpu_timing.clean(observation.repetitions))
    return _middle(time for sample in gpu_timing.clean(observation.timings) for time in sample.steady_cpu_s)


def _middle(times: Iterable[float]) -> float | None:
    """The median of what a clock can have shown; None where nothing is left."""
    usable = [time for time in times if math.isfinite(time) and time > 0]
    return statistics.median(usable) if usable else None


def _over_processes(medians: Iterable[float | None]) -> float | None:
    known = [median for median in medians if median is not None]
    return statistics.median(known) if known else None


def overhead(
    on: Sequence[ProcessObservation],
    off: Sequence[ProcessObservation],
    known: tuple[Timing | None, Timing | None] | None = None,
) -> Overhead | None:
    """The overhead of determinism; None where a side has no times, was not timed, or has times of another kind.

    ``known`` are the timings of both sides where they were made already.
    """
    if not all(any(one.timed for one in side) for side in (on, off)):
        return None
    left, right = known or (timing(on), timing(off))
    if left is None or right is None or left.kind is not right.kind:
        return None
    found = ratio(left.per_process, right.per_process)
    return Overhead(
        kind=left.kind,
        ratio=found.value,
        low=found.low,
        high=found.high,
        processes_on=len(left.per_process),
        processes_off=len(right.per_process),
        resolved=found.resolved,
        why=found.why,
    )
