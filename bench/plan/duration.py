"""Estimate how long a plan takes. The figure is only shown; no result depends on it."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bench.plan.schedule import Round

#: Seconds on two cores, measured with TensorFlow 2.15.1 to 2.21.0: start of a process with its imports, the first
#: execution of a kernel in it, and each further execution of an average kernel and of a heavy one.
START_S = 4.0
FIRST_S = 0.05
EXECUTION_S = 0.008
HEAVY_S = 0.3


def round_seconds(item: Round) -> float:
    """Return the seconds one round will take: its start, the repetitions of each kernel and the timing pass."""
    kernels = [
        FIRST_S + (HEAVY_S if name in item.heavy else EXECUTION_S) * count for name, count in item.repetitions.items()
    ]
    return START_S + sum(kernels) + item.steady_s * len(item.kernels)


def total_seconds(rounds: Iterable[Round]) -> float:
    """Return the seconds all these rounds will take: GPUs are measured side by side, the CPU alone."""
    return _total(_by_device(rounds))


def _by_device(rounds: Iterable[Round]) -> dict[str, float]:
    """Return the seconds of each GPU by its UUID, and of the CPU under ""."""
    seconds: dict[str, float] = defaultdict(float)
    for item in rounds:
        seconds[item.column.gpu] += round_seconds(item)
    return seconds


def _total(seconds: Mapping[str, float]) -> float:
    """Return the time of the CPU plus that of the slowest GPU."""
    return seconds.get("", 0.0) + max((time for gpu, time in seconds.items() if gpu), default=0.0)


class EtaEstimator:
    """Estimates the time left: the estimate of the remaining rounds, scaled by the error so far. It is thread-safe."""

    def __init__(self, rounds: list[Round]) -> None:
        self._left = _by_device(rounds)
        self._estimated_s = self._actual_s = 0.0
        self._lock = threading.Lock()

    def skip(self, item: Round) -> None:
        """Leave out a round that will not be run."""
        with self._lock:
            self._left[item.column.gpu] -= round_seconds(item)

    def took(self, item: Round, seconds: float) -> float:
        """Record how long a round has taken, and return the seconds left."""
        with self._lock:
            self._estimated_s += round_seconds(item)
            self._actual_s += seconds
        self.skip(item)
        return self.left_s()

    def left_s(self) -> float:
        """Return the estimated seconds left."""
        with self._lock:
            return _total(self._left) * (self._actual_s / self._estimated_s if self._estimated_s else 1.0)
