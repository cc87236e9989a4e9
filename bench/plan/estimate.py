"""How long a plan will take: a rough figure for people, never used as a result."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.plan.planner import Round

#: Two cores, seen with 2.15.1 to 2.21.0: start of a process with its import, and one execution of a mean kernel.
START_S = 3.5
EXECUTION_S = 0.18


def round_seconds(one: Round) -> float:
    """Seconds one round will take: its start, and repeats plus one contrast of each kernel."""
    return START_S + EXECUTION_S * len(one.kernels) * (one.repeats + 1)


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
