"""Wall and CPU time of a single call, and of a series of calls after a warm-up.

The time covers the work until it is complete. It excludes copying the outputs to the host for the comparison: for a
small kernel that copy would dominate the time.
"""

from __future__ import annotations

import copy
import resource
import time
from dataclasses import dataclass
from typing import Any, Callable, Iterator, List, Mapping, Tuple, TypeVar

from bench.suite.kernels import Traced

T = TypeVar("T")

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


#: The clock of something that did not happen.
NO_TIME = Clock(0.0, 0.0, 0)


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
    if isinstance(value, Traced) and hasattr(value.steps, "__next__"):
        return Traced(value.outputs, tuple(map(_copied, value.steps)))
    return value


def _copied(step: Any) -> Any:
    """Return a copy of a step, whose arrays the next step may overwrite."""
    try:
        return copy.deepcopy(step)
    except Exception:  # noqa: BLE001 - whatever cannot be copied is no output either: ``outputs.leaves`` says why
        return step


def timed(call: Callable[[], T]) -> Tuple[T, Clock]:
    """Call once and return its value and times."""
    switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    wall, cpu = time.perf_counter(), time.process_time()
    value = call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return value, Clock(wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - switches)


def is_warm(warm: List[Clock], budget_s: float) -> bool:
    """Return whether these calls warmed a kernel up; ``budget_s`` is for all its calls, timed ones included."""
    if not warm:
        return False
    if len(warm) >= MAX_WARMUPS or sum(clock.wall for clock in warm) >= budget_s * WARMUP_SHARE:
        return True
    last = sorted(clock.wall for clock in warm[-2:])
    return len(last) > 1 and last[1] <= last[0] * SETTLED


def seconds(value: float) -> float:
    """Round a time to the four significant digits of the record, which is far below the noise of any clock."""
    return float(f"{value:.4g}")


def _copy_scalars(tf: Any, value: Any) -> None:
    """Copy one element of every tensor to the host, which completes everything queued before on the same stream."""
    outputs, steps = value if isinstance(value, Traced) else (value, ())
    for tensors in (outputs, *steps):
        for tensor in _flat(tensors):
            if hasattr(tensor, "numpy") and not hasattr(tensor, "row_splits"):
                tf.reshape(tensor, [-1])[:1].numpy()


def _flat(value: Any) -> Iterator[Any]:
    """Yield what is inside mappings, lists and tuples."""
    if isinstance(value, (Mapping, list, tuple)):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _flat(part)
    else:
        yield value
