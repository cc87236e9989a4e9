"""Wall times and the overhead of determinism. The process is the sampling unit.

Times within one process are correlated (same clocks, same caches, same algorithms picked by oneDNN and cuDNN), so
each process contributes one number, the median of its times, and only those numbers are compared.

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

    ``per_process`` has one median per process, by round; ``median_s`` is their median, ``low_s`` and
    ``high_s`` their range. ``cpu_median_s`` is the same of CPU seconds (all threads), and ``first_median_s``
    of first calls, trace and compile included; None if unknown.
    """

    kind: Kind
    per_process: tuple[float, ...]
    cpu_median_s: float | None = None
    first_median_s: float | None = None

    @property
    def median_s(self) -> float:
        """The median over processes of the process medians."""
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

    ``low``, ``high``, ``significant`` and ``why`` are those of ``bench.verdict.ratio.Ratio``.
    """

    kind: Kind
    ratio: float
    low: float | None
    high: float | None
    processes_on: int
    processes_off: int
    significant: bool
    why: str


def process_median(observation: ProcessObservation, kind: Kind) -> float | None:
    """Return the median of one process's usable times of this kind in seconds, None if it has none.

    Times on a throttled or shared GPU are not usable.
    """
    if kind is Kind.FIRST:
        return _median([sample.first_s for sample in gpu_timing.clean(observation.repetitions)])
    return _median([seconds for sample in gpu_timing.clean(observation.timings) for seconds in sample.steady_s])


def timing(observations: Sequence[ProcessObservation], kind: Kind | None = None) -> Timing | None:
    """Return the times over processes: of steady calls, or of first calls if no completely timed process has any.

    First calls are used for kernels that may not be called again, and for rounds without a timing pass. The result is
    None if every process was timed on a throttled or shared GPU: first calls do not replace the requested times.
    """
    usable = [
        observation
        for observation in observations
        if observation.repetitions and not gpu_timing.all_discarded(observation)
    ]
    if kind is None:
        complete = [observation for observation in usable if observation.timed and observation.outcome == "ok"]
        if not complete and any(gpu_timing.all_discarded(observation) for observation in observations):
            return None
        # one process without its times must not turn all others into first calls
        steady = any(process_median(observation, Kind.STEADY) is not None for observation in complete)
        kind = Kind.STEADY if steady else Kind.FIRST
    medians = [median for observation in usable if (median := process_median(observation, kind)) is not None]
    if not medians:
        return None
    return Timing(
        kind=kind,
        per_process=tuple(medians),
        cpu_median_s=_over_processes(_cpu_median(observation, kind) for observation in usable),
        first_median_s=_over_processes(process_median(observation, Kind.FIRST) for observation in usable),
    )


def _cpu_median(observation: ProcessObservation, kind: Kind) -> float | None:
    if kind is Kind.FIRST:
        return _median([sample.first_cpu_s for sample in gpu_timing.clean(observation.repetitions)])
    return _median([seconds for sample in gpu_timing.clean(observation.timings) for seconds in sample.steady_cpu_s])


def _median(times: Sequence[float]) -> float | None:
    """Return the median of the times that a clock can have shown; None if there are none."""
    valid = [seconds for seconds in times if math.isfinite(seconds) and seconds > 0]
    return statistics.median(valid) if valid else None


def _over_processes(medians: Iterable[float | None]) -> float | None:
    known = [median for median in medians if median is not None]
    return statistics.median(known) if known else None


def overhead(
    on: Sequence[ProcessObservation],
    off: Sequence[ProcessObservation],
    timings: tuple[Timing | None, Timing | None] | None = None,
) -> Overhead | None:
    """Return the overhead of determinism; None if a side has no times, was not timed, or has times of another kind.

    ``timings`` are those of both sides if they were computed already.
    """
    if not all(any(observation.timed for observation in side) for side in (on, off)):
        return None
    left, right = timings or (timing(on), timing(off))
    if left is None or right is None or left.kind is not right.kind:
        return None
    result = ratio(left.per_process, right.per_process)
    return Overhead(
        kind=left.kind,
        ratio=result.value,
        low=result.low,
        high=result.high,
        processes_on=len(left.per_process),
        processes_off=len(right.per_process),
        significant=result.significant,
        why=result.why,
    )
