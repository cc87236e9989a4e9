"""Wall and CPU seconds of one repeat: set-up, first call, and the calls after it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Callable, List, Mapping, Optional, Tuple, TypeVar

T = TypeVar("T")

#: Bounds on the timed calls after the first one.
FEWEST, MOST = 2, 20


@dataclass(frozen=True)
class Clock:
    """Wall and CPU seconds (all threads of this process) of one call."""

    wall: float
    cpu: float


def timed(call: Callable[[], T]) -> Tuple[T, Clock]:
    """Call once and read both clocks around it."""
    wall, cpu = time.perf_counter(), time.process_time()
    value = call()
    return value, Clock(time.perf_counter() - wall, time.process_time() - cpu)


def steady(call: Callable[[], T], budget_s: float, same: Callable[[T], bool]) -> Tuple[Optional[bool], List[Clock]]:
    """Call again until the budget (seconds) is spent: at least 2, at most 20 times.

    Returns whether every call was the ``same`` (asked outside the clock; None without a call), and the
    clocks of all calls. A budget of 0 means no call at all.
    """
    clocks: List[Clock] = []
    agrees: Optional[bool] = None
    while budget_s > 0 and len(clocks) < MOST:
        value, clock = timed(call)
        clocks.append(clock)
        agrees = same(value) and agrees is not False
        if len(clocks) >= FEWEST and sum(clock.wall for clock in clocks) >= budget_s:
            break
    return agrees, clocks


def walls(clocks: List[Clock]) -> Mapping[str, List[float]]:
    """The clocks as the record's two lists, rounded to a microsecond."""
    return {
        "steady_s": [round(clock.wall, 6) for clock in clocks],
        "steady_cpu_s": [round(clock.cpu, 6) for clock in clocks],
    }
