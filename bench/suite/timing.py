"""Wall and CPU time of a single call, and of a series of calls after a warm-up.

The time covers the work until it is complete. It excludes copying the outputs to the host for the comparison: for a
small kernel that copy would dominate the time.
"""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from typing import Any, Callable, List, Mapping, Optional, Tuple, TypeVar

from bench.suite.kernels import Traced

T = TypeVar("T")

#: Minimum and maximum number of timed calls in a series.
MIN_CALLS, MAX_CALLS = 3, 20
#: Limits of the warm-up: number of calls, and share of the time budget after which no further warm-up call starts.
MAX_WARMUPS, WARMUP_SHARE = 5, 0.25
#: Two successive calls whose times differ by at most this factor end the warm-up.
SETTLED = 1.1


@dataclass(frozen=True)
class Clock:
    """Wall and CPU seconds (all threads of this process) of one call, and involuntary context switches."""

    wall: float
    cpu: float
    switches: int


@dataclass(frozen=True)
class Series:
    """The timed calls of a series. ``agrees`` says whether all calls gave the same bits; None without calls."""

    agrees: Optional[bool]
    warmups: int
    clocks: Tuple[Clock, ...]


def finisher(tf: Any, device: str) -> Callable[[Any], Any]:
    """Return a function that waits until work on this device (``cpu`` or ``gpu``) is complete and returns its value.

    On a CPU, TensorFlow's eager calls return when they are done. On a GPU, they return when the work is queued.
    """
    if device == "cpu":
        return materialise
    sync = getattr(tf.test.experimental, "sync_devices", None)  # available since TensorFlow 2.12

    def finish(value: Any) -> Any:
        value = materialise(value)
        if sync is not None:
            sync()
        else:
            _copy_scalars(tf, value)
        return value

    return finish


def materialise(value: Any) -> Any:
    """Return the same outputs with all training steps computed: a kernel may return a generator of steps."""
    if isinstance(value, Traced):
        return Traced(dict(value.outputs), tuple(dict(step) for step in value.steps))
    return value


def timed(call: Callable[[], T]) -> Tuple[T, Clock]:
    """Call once and return its value and times."""
    switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    wall, cpu = time.perf_counter(), time.process_time()
    value = call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return value, Clock(wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - switches)


def steady(call: Callable[[], T], budget_s: float, same: Callable[[T], bool]) -> Series:
    """Warm up until two calls take about the same time, then make 3 to 20 timed calls within the budget in seconds.

    The value of every call, including the warm-up, is checked with ``same``; the check is not timed.
    """
    agrees: Optional[bool] = None
    warm: List[Clock] = []
    clocks: List[Clock] = []
    while True:
        value, clock = timed(call)
        agrees = same(value) and agrees is not False
        del value  # release its memory before the next call
        if not _is_warm(warm, budget_s):
            warm.append(clock)
            continue
        clocks.append(clock)
        spent = sum(clock.wall for clock in clocks)
        if len(clocks) >= MAX_CALLS or (len(clocks) >= MIN_CALLS and spent >= budget_s):
            return Series(agrees, len(warm), tuple(clocks))


def _is_warm(warm: List[Clock], budget_s: float) -> bool:
    if not warm:
        return False
    if len(warm) >= MAX_WARMUPS or sum(clock.wall for clock in warm) >= budget_s * WARMUP_SHARE:
        return True
    last = sorted(clock.wall for clock in warm[-2:])
    return len(last) > 1 and last[1] <= last[0] * SETTLED


def walls(clocks: Tuple[Clock, ...]) -> Mapping[str, List[float]]:
    """Return the times as the two lists of a record."""
    return {
        "steady_s": [seconds(clock.wall) for clock in clocks],
        "steady_cpu_s": [seconds(clock.cpu) for clock in clocks],
    }


def seconds(value: float) -> float:
    """Round a time to the four significant digits of the record, which is far below the noise of any clock."""
    return float(f"{value:.4g}")


def _copy_scalars(tf: Any, value: Any) -> None:
    """Copy one element of every tensor to the host, which completes everything queued before on the same stream."""
    outputs, steps = value if isinstance(value, Traced) else (value, ())
    for tensors in (outputs, *steps):
        for tensor in tensors.values() if isinstance(tensors, Mapping) else ():
            if hasattr(tensor, "numpy"):
                tf.reshape(tensor, [-1])[:1].numpy()
