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
