"""Times of one kernel in one column, variation and mode. The process is the sampling unit.

Times within one process are correlated (same clocks, same memory layout, same algorithms picked by oneDNN and cuDNN),
so each process contributes one number, the median of its times. They come from the paired timing; where there is none,
only the first calls of the reproducibility pass are known.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.verdict.observations import ProcessObservation


class TimeKind(StrEnum):
    """Which times: calls after the first, or first calls (trace and compile included)."""

    STEADY = "steady"
    FIRST = "first"


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of one kernel in one column, variation and mode.

    ``per_process`` has one median per process, by number of the pair or round; ``median_s`` is their median, ``low_s``
    and ``high_s`` their range. ``cpu_median_s`` is the same of CPU seconds (all threads), and ``first_median_s``
    of first calls, trace and compile included; None if unknown. Not ``paired``: the times are first calls of the
    reproducibility pass, whose processes may run side by side, so they are compared with nothing.
    """

    kind: TimeKind
    per_process: tuple[float, ...]
    cpu_median_s: float | None = None
    first_median_s: float | None = None
    paired: bool = True

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


#: No clock shows more seconds: the bound keeps sums and products of times finite.
_LONGEST_S = 1e12


def median(times: Iterable[float | None]) -> float | None:
    """Return the median of the times that a clock can have shown, in seconds; None if there are none."""
    valid = [seconds for seconds in times if seconds is not None and 0 < seconds < _LONGEST_S]
    return statistics.median(valid) if valid else None


def first_calls(observations: Sequence[ProcessObservation]) -> Timing | None:
    """Return the times of the first calls of the reproducibility pass; None if no process has any."""
    processes = [process.repetitions for process in observations if process.repetitions]
    medians = [known for samples in processes if (known := median(sample.first_s for sample in samples)) is not None]
    if not medians:
        return None
    return Timing(
        kind=TimeKind.FIRST,
        per_process=tuple(medians),
        cpu_median_s=median(median(sample.first_cpu_s for sample in samples) for samples in processes),
        first_median_s=statistics.median(medians),
        paired=False,
    )
