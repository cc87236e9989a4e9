"""How long a plan will take: a rough figure for people, never used as a result."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bench.plan.schedule import Round

#: Two cores, seen with 2.15.1 to 2.21.0: start of a process with its import, the first execution of a kernel there,
#: and each one after it, of a mean kernel and of a heavy one.
START_S = 4.0
FIRST_S = 0.05
EXECUTION_S = 0.008
HEAVY_S = 0.3


def round_seconds(one: Round) -> float:
    """Seconds one round will take: its start, the repetitions of each kernel and its timing pass."""
    each = [
        FIRST_S + (HEAVY_S if name in one.heavy else EXECUTION_S) * count for name, count in one.repetitions.items()
    ]
    return START_S + sum(each) + one.steady_s * len(one.kernels)


def total_seconds(rounds: Iterable[Round]) -> float:
    """Seconds all these rounds will take: GPUs are measured side by side, the CPU alone."""
    return _whole(_by_device(rounds))


def _by_device(rounds: Iterable[Round]) -> dict[str, float]:
    """Seconds of each GPU by its UUID, and of the CPU under ""."""
    found: dict[str, float] = defaultdict(float)
    for one in rounds:
        found[one.column.gpu] += round_seconds(one)
    return found


def _whole(seconds: Mapping[str, float]) -> float:
    """The CPU's time, and that of the slowest GPU."""
    return seconds.get("", 0.0) + max((time for gpu, time in seconds.items() if gpu), default=0.0)


class EtaEstimator:
    """Time left: the estimate of what is to come, scaled by how the estimates held so far. Threads may share one."""

    def __init__(self, rounds: list[Round]) -> None:
        self._left = _by_device(rounds)
        self._guessed = self._took = 0.0
        self._hold = threading.Lock()

    def skip(self, one: Round) -> None:
        """A round that will not be run."""
        with self._hold:
            self._left[one.column.gpu] -= round_seconds(one)

    def took(self, one: Round, seconds: float) -> float:
        """A round has taken so long; returns the seconds left."""
        with self._hold:
            self._guessed += round_seconds(one)
            self._took += seconds
        self.skip(one)
        return self.left_s()

    def left_s(self) -> float:
        """Seconds left, as far as one can know."""
        with self._hold:
            return _whole(self._left) * (self._took / self._guessed if self._guessed else 1.0)
