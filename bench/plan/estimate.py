"""How long a plan will take: a rough figure for people, never used as a result."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.plan.planner import Round

#: Two cores, seen with 2.15.1 to 2.21.0: start of a process with its import, the first execution of a kernel there,
#: and each one after it, of a mean kernel and of a heavy one.
START_S = 4.0
FIRST_S = 0.05
EXECUTION_S = 0.008
HEAVY_S = 0.3


def round_seconds(one: Round) -> float:
    """Seconds one round will take: its start, the repeats of each kernel and its timing pass."""
    each = [FIRST_S + (HEAVY_S if name in one.heavy else EXECUTION_S) * count for name, count in one.repeats.items()]
    return START_S + sum(each) + one.steady_s * len(one.kernels)


class Pace:
    """Time left: the estimate of what is to come, scaled by how the estimates held so far."""

    def __init__(self, rounds: list[Round]) -> None:
        self._left = sum(round_seconds(one) for one in rounds)
        self._guessed = self._took = 0.0

    def skip(self, one: Round) -> None:
        """A round that will not be run."""
        self._left -= round_seconds(one)

    def took(self, one: Round, seconds: float) -> float:
        """A round has taken so long; returns the seconds left."""
        self._guessed += round_seconds(one)
        self._took += seconds
        self.skip(one)
        return self.left_s()

    def left_s(self) -> float:
        """Seconds left, as far as one can know."""
        return self._left * (self._took / self._guessed if self._guessed else 1.0)
