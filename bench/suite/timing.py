"""Wall and CPU seconds: of one call, and of a calibrated series of calls.

What is timed is the work until it is complete. Copying its outputs to the host to compare them is not: it would
time the bus, and of a small kernel nothing else.
"""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from typing import Any, Callable, List, Mapping, Optional, Tuple, TypeVar

from bench.suite.kernels import Traced

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


def finisher(tf: Any, device: str) -> Callable[[Any], Any]:
    """How to wait for a work on this device (``cpu`` or ``gpu``): a function that hands on what the work returned.

    On a CPU TensorFlow's eager calls return when they are done. On a GPU they return when the work is queued.
    """
    if device == "cpu":
        return whole
    sync = getattr(tf.test.experimental, "sync_devices", None)  # from TensorFlow 2.12 on

    def finish(value: Any) -> Any:
        value = whole(value)
        if sync is not None:
            sync()
        else:
            _copy_scalars(tf, value)
        return value

    return finish


def whole(value: Any) -> Any:
    """The same outputs with nothing left to be made: steps that are generated on the way are taken one by one."""
    if isinstance(value, Traced):
        return Traced(dict(value.outputs), tuple(dict(step) for step in value.steps))
    return value


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
        del value  # the next call must find the memory of this one free
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


def _copy_scalars(tf: Any, value: Any) -> None:
    """Copy one number of every tensor to the host: a stream is emptied in its order, so what came before is done."""
    outputs, steps = value if isinstance(value, Traced) else (value, ())
    for tensors in (outputs, *steps):
        for tensor in tensors.values() if isinstance(tensors, Mapping) else ():
            if hasattr(tensor, "numpy"):
                tf.reshape(tensor, [-1])[:1].numpy()
