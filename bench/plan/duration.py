"""Estimate how long a plan takes. The figure is only shown; no result depends on it."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING

from bench.plan.schedule import TimingPair

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.plan.schedule import Round

    Item = Round | TimingPair

#: Seconds on two cores, measured with TensorFlow 2.15.1 to 2.21.0: start of a process with its imports, the first
#: execution of a kernel in it, and each further one of an average kernel (mostly tracing) and of a heavy one.
START_S = 5.0
FIRST_S = 0.12
EXECUTION_S = 0.03
HEAVY_S = 0.45
#: A round takes longer by this factor while another one runs beside it.
CONTENTION = 1.25
#: Seconds of a timing pair: the start of its two processes, all builds of an average kernel on one side, and all
#: blocks of a heavy one.
PAIR_START_S = 5.0
PAIR_BUILDS_S = 0.25
PAIR_HEAVY_S = 1.5


def seconds(item: Item) -> float:
    """Return the seconds that a round or a timing pair takes with the machine to itself."""
    if isinstance(item, TimingPair):
        heavy = sum(name in item.heavy for name in item.kernels)
        light = len(item.kernels) - heavy
        return PAIR_START_S + light * 2 * (PAIR_BUILDS_S + item.budget_s) + heavy * PAIR_HEAVY_S
    processes = bool(len(item.kernels) - len(item.custom)) + len(item.custom)
    second_seed = item.pass_number == 1
    kernels = [
        FIRST_S + (HEAVY_S if name in item.heavy else EXECUTION_S) * (count + second_seed)
        for name, count in item.repetitions.items()
    ]
    return START_S * processes + sum(kernels)


def total_seconds(rounds: Iterable[Round], pairs: Iterable[TimingPair] = (), processes: int = 1) -> float:
    """Return the seconds all this takes, if ``processes`` rounds run side by side on the CPU.

    Timing pairs have the CPU to themselves. GPUs are measured side by side, each one round or pair at a time.
    """
    return EtaEstimator([*rounds, *pairs], processes).left_s()


class EtaEstimator:
    """Estimates the time left: the estimate of what remains, scaled by the error so far. It is thread-safe."""

    def __init__(self, items: Iterable[Item], processes: int = 1) -> None:
        self._processes = processes
        self._left: dict[str, float] = defaultdict(float)  # GPU, or "" for the CPU, -> seconds
        for item in items:
            self._left[item.column.gpu] += self._share(item)
        self._estimated_s = self._actual_s = 0.0
        self._lock = threading.Lock()

    def skip(self, item: Item) -> None:
        """Leave out a round or a pair that will not be run."""
        with self._lock:
            self._left[item.column.gpu] -= self._share(item)

    def took(self, item: Item, took_s: float) -> float:
        """Record how long a round or a pair has taken, and return the seconds left."""
        with self._lock:
            self._estimated_s += self._share(item)
            self._actual_s += took_s / self._parallel(item)
        self.skip(item)
        return self.left_s()

    def left_s(self) -> float:
        """Return the estimated seconds left: those of the CPU plus those of the slowest GPU."""
        with self._lock:
            gpus = max((left for gpu, left in self._left.items() if gpu), default=0.0)
            left = self._left.get("", 0.0) + gpus
            return left * (self._actual_s / self._estimated_s if self._estimated_s else 1.0)

    def _share(self, item: Item) -> float:
        """Return the seconds by which an item prolongs the run: a part of its own where others run beside it."""
        parallel = self._parallel(item)
        return seconds(item) * (CONTENTION if parallel > 1 else 1.0) / parallel

    def _parallel(self, item: Item) -> int:
        return self._processes if not item.column.gpu and not isinstance(item, TimingPair) else 1
