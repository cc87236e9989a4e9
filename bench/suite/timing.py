"""Wall and CPU seconds: of one call, and of a calibrated series of calls."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from typing import Callable, List, Mapping, Optional, Tuple, TypeVar

T = TypeVar("T")

#: Bounds on the timed calls of a series.
FEWEST, MOST = 3, 20
#: Warm-up: at most so many calls, and no more than this share of the series' budget after the first one.
MOST_WARMUPS, WARMUP_SHARE = 5, 0.25
#: Two calls as alike as this say that it is warm.
SETTLED = 1.1


@dataclass(frozen=True)
class Clock:
    """Wall and CPU seconds (all threads of this process) of one call, and involuntary context switches."""

    wall: float
    cpu: float
    switches: int


@dataclass(frozen=True)
class Series:
    """Timed calls after their warm-up. ``agrees`` says whether every call was the same, None without a call."""

    agrees: Optional[bool]
    warmups: int
    clocks: Tuple[Clock, ...]


def timed(call: Callable[[], T]) -> Tuple[T, Clock]:
    """Call once and read the clocks around it."""
    switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    wall, cpu = time.perf_counter(), time.process_time()
    value = call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return value, Clock(wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - switches)


def steady(call: Callable[[], T], budget_s: float, same: Callable[[T], bool]) -> Series:
    """Warm up until two calls take alike, then call until the budget (seconds) is spent: 3 to 20 times.

    Every call, warm-up included, is asked whether it is the ``same``, outside the clock.
    """
    agrees: Optional[bool] = None
    warm: List[Clock] = []
    clocks: List[Clock] = []
    while True:
        value, clock = timed(call)
        agrees = same(value) and agrees is not False
        if not _is_warm(warm, budget_s):
            warm.append(clock)
            continue
        clocks.append(clock)
        spent = sum(one.wall for one in clocks)
        if len(clocks) >= MOST or (len(clocks) >= FEWEST and spent >= budget_s):
            return Series(agrees, len(warm), tuple(clocks))


def _is_warm(warm: List[Clock], budget_s: float) -> bool:
    if not warm:
        return False
    if len(warm) >= MOST_WARMUPS or sum(clock.wall for clock in warm) >= budget_s * WARMUP_SHARE:
        return True
    last = sorted(clock.wall for clock in warm[-2:])
    return len(last) > 1 and last[1] <= last[0] * SETTLED


def walls(clocks: Tuple[Clock, ...]) -> Mapping[str, List[float]]:
    """The clocks as the record's two lists."""
    return {
        "steady_s": [seconds(clock.wall) for clock in clocks],
        "steady_cpu_s": [seconds(clock.cpu) for clock in clocks],
    }


def seconds(value: float) -> float:
    """As the record holds it: four significant digits, far below the noise of any clock."""
    return float(f"{value:.4g}")
