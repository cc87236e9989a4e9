"""Choose what a limited time is spent on: columns and, if not even one fits, kernels of the first one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.plan import duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.plan.column import Column
    from bench.plan.planner import Plan


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is known of the last measurement of a column: when it began, its lock, and whether it raised an alarm.

    ``kernels`` has the start of the last measurement of each kernel. Times are ISO 8601 in UTC.
    """

    started: str
    lock_hash: str
    failing: bool
    kernels: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What fits: ids of columns, names of kernels (empty: all), and what was left out with its last measurement."""

    columns: tuple[str, ...]
    kernels: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]


def choose(plan: Plan, budget_s: float, last: Mapping[str, Measured], processes: int) -> Choice:
    """Choose columns in the order never measured, changed, failing, oldest, as long as their estimates fit.

    Args:
        plan: everything that could be measured.
        budget_s: the time for measuring, in seconds.
        last: the last measurement of each column that was measured before.
        processes: rounds that run side by side on the CPU.
    """
    order = sorted(plan.ready, key=lambda column: _rank(plan, column, last.get(column.id)))
    taken: list[str] = []
    left = budget_s
    kernels: tuple[str, ...] = ()
    for column in order:
        seconds = _seconds(plan, column, (), processes)
        if seconds <= left:
            taken.append(column.id)
            left -= seconds
        elif not taken:  # it is first in order and would never fit: some of its kernels do
            kernels = _kernels(plan, column, budget_s, last.get(column.id), processes)
            taken = [column.id]
            break
    left_out = [(column.id, last[column.id].started if column.id in last else "") for column in order]
    skipped = [(name, started) for name, started in left_out if name not in taken]
    if kernels:
        known = last[taken[0]].kernels if taken[0] in last else {}
        names = [kernel.name for kernel in plan.kernels if not kernel.control and kernel.name not in kernels]
        skipped += [(f"{taken[0]} {name}", known.get(name, "")) for name in names]
    return Choice(columns=tuple(taken), kernels=kernels, left_out=tuple(skipped))


def _rank(plan: Plan, column: Column, last: Measured | None) -> tuple[int, str]:
    """Return the place of a column in the order; it is as old as the oldest of its kernels."""
    if last is None:
        return 0, ""
    oldest = min((last.kernels.get(kernel.name, "") for kernel in plan.kernels if not kernel.control), default="")
    if last.lock_hash != column.lock_hash():
        return 1, oldest
    return (2 if last.failing else 3), oldest


def _kernels(plan: Plan, column: Column, budget_s: float, last: Measured | None, processes: int) -> tuple[str, ...]:
    """Return as many kernels of a column as fit, those that were never measured first, at least one."""
    known = last.kernels if last else {}
    names = [kernel.name for kernel in plan.kernels if not kernel.control]
    chosen: list[str] = []
    for name in sorted(names, key=lambda name: known.get(name, "")):
        if chosen and _seconds(plan, column, (*chosen, name), processes) > budget_s:
            break
        chosen.append(name)
    return tuple(chosen)


def _seconds(plan: Plan, column: Column, kernels: tuple[str, ...], processes: int) -> float:
    """Return the estimate for a column, of only some kernels if any are given, in proportion to all of them."""
    rounds = [item for item in plan.rounds if item.column is column]
    pairs = [item for item in plan.pairs if column in (item.column, item.other)]
    whole = duration.total_seconds(rounds, pairs, processes)
    if not kernels:
        return whole
    starts = duration.START_S * len(rounds) / processes + duration.PAIR_START_S * len(pairs)
    every = sum(not kernel.control for kernel in plan.kernels)
    return starts + max(0.0, whole - starts) * len(kernels) / every
