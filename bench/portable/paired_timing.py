"""Paired timing: two processes alive at the same time take turns on the same kernel, so that both see the same host.

The two sides of a comparison are called "a" and "b" (see ``bench.suite.paired_record``). Each is one
``bench.suite.timing_worker``, opened as a session. For every kernel both prepare it, then they time short blocks in the
order A B B A, B A A B, ...; while one is timed, the other waits for its next command. Inputs are built anew in the
middle, because a process keeps the memory layout of its inputs, and with it a few per cent of its speed. On a CPU, both
sides prepare and build at the same time, because most of that is Python code that uses one core. A kernel that must be
built anew for every call (most trainings) has one call in each block; one that takes seconds has one block on each
side, and the side that has its first turn changes every two pairs.

A failure ends one kernel: its outcome goes to the record, and a process that died, hangs or was left in a changed
state is replaced before the next kernel.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bench.portable.errors import PortableError
from bench.portable.pair_side import END_LIMIT_S, Side, SideError, StartError
from bench.portable.record_reader import NO_GPU
from bench.suite.paired_record import pair_name
from bench.suite.record import SCHEMA, Request, line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from bench.portable.session import Session

SIDES = ("a", "b")
#: Least seconds of timed calls in a block (one call may take longer).
MIN_BLOCK_S = 0.005
#: Most groups of four blocks (A B B A) for one kernel. A kernel whose calls take longer than the budget gets one.
#: Longer blocks narrow the intervals more than rebuilding the inputs before each group did.
MAX_GROUPS = 8
#: Clock readings to aim for in a block of short calls.
READINGS = 20
#: A kernel that takes longer to build, with one call, is not built anew between its blocks.
REBUILD_LIMIT_S = 2.0
#: How often a kernel is taken again whose blocks the guard discards.
RETAKES = 2


@dataclass(frozen=True)
class PairPlan:
    """One pair to be timed.

    Attributes:
        comparison: One of ``paired_record.COMPARISONS``.
        number: From 1, within the comparison and column.
        first: The side whose process is started first.
        budget_s: Seconds of timed calls for each kernel and side.
        requests: Side -> its request; both have the same kernels in the same order.
    """

    comparison: str
    number: int
    first: str
    budget_s: float
    requests: Mapping[str, Request]

    @property
    def name(self) -> str:
        """The name of its record within the column of side "b" (see ``paired_record.pair_name``)."""
        return pair_name(self.comparison, self.number, self.requests["a"].column)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> PairPlan:
        """Return a pair from what ``asdict`` made of it; raises TypeError or KeyError if fields are missing."""
        requests = {side: Request.from_json(json.dumps(fields["requests"][side])) for side in SIDES}
        return cls(**{**fields, "requests": requests})

    def header(self) -> dict[str, Any]:
        """Return what the first line of its record says of it."""
        fields = asdict(self)
        fields["started_first"] = fields.pop("first")
        return fields


@dataclass(frozen=True)
class Hooks:
    """What the coordinator reports to, and what it asks.

    Attributes:
        kernel: Called with the name of each kernel before it is measured.
        observe: Returns what a guard saw of the GPU between two moments of ``time.monotonic()``, with the reason to
            discard times under "discarded"; returns None on a CPU.
        settle: Called with kernel and reason before a kernel is taken again: waits until the GPU may be free again.
    """

    kernel: Callable[[str], None] = field(default=lambda _name: None)
    observe: Callable[[float, float], Mapping[str, Any] | None] = field(default=lambda _start, _end: None)
    settle: Callable[[str, str], None] = field(default=lambda _kernel, _reason: None)


def run_pair(
    plan: PairPlan,
    open_session: Callable[[str, Request], AbstractContextManager[Session]],
    suite: str,
    write: Callable[[str], None],
    hooks: Hooks | None = None,
) -> str:
    """Time all kernels of a pair.

    Args:
        plan: The pair.
        open_session: Starts a process of a side for the kernels of a request.
        suite: The hash of the suite that this command uses.
        write: Takes the lines of the record.
        hooks: What is called meanwhile.

    Returns:
        Why a side saw no GPU; "" where both did or need none.

    Raises:
        PortableError: A side runs another suite than that with the hash ``suite``.
    """
    start = time.perf_counter()
    write(line("header", {"schema": SCHEMA, "suite_hash": suite, **plan.header()}))
    with ExitStack() as stack:
        coordinator = _Coordinator(plan, suite, write, hooks or Hooks())
        for side in SIDES:
            coordinator.sides[side] = Side(side, open_session, coordinator.begin_process, write)
            stack.callback(coordinator.sides[side].kill)
        no_gpu = coordinator.run()
    write(line("end", {"seconds": round(time.perf_counter() - start, 3)}))
    return no_gpu


def first_turns(kernels: Sequence[str], number: int) -> dict[str, str]:
    """Return kernel -> the side that has its first turn in the pair of this number.

    Half of the kernels begin with each side, and every two pairs a kernel begins with the other side: the process that
    is started first changes from pair to pair, so that four pairs have every combination once.
    """
    return {name: SIDES[(place + (number - 1) // 2) % 2] for place, name in enumerate(sorted(kernels))}


@dataclass
class _Taken:
    """What one attempt at a kernel gave: the fields of its line in the record."""

    kind: str = "steady"
    outcome: str = "ok"
    message: str = ""
    blocks: list[dict[str, Any]] = field(default_factory=list)
    first_seconds: dict[str, float] = field(default_factory=dict)
    guard: Mapping[str, Any] | None = None


class _Coordinator:
    """Measures the kernels of one pair."""

    def __init__(self, plan: PairPlan, suite: str, write: Callable[[str], None], hooks: Hooks) -> None:
        self.plan = plan
        self.suite = suite
        self.write = write
        self.hooks = hooks
        self.sides: dict[str, Side] = {}
        self.processes = 0
        self.limit_s = plan.requests["a"].time_limit_s
        self.custom = plan.requests["a"].kernel_files
        self.left = sorted(plan.requests["a"].kernels, key=lambda name: name in self.custom)  # stable: custom ones last
        self.shared = tuple(name for name in self.left if name not in self.custom)

    def begin_process(self, side: str, row: dict[str, Any]) -> int:
        """Write the line of a process that is ready, and return its number within the record.

        Raises:
            PortableError: It runs another suite.
        """
        if row.pop("suite_hash") != self.suite:
            hint = "The suite's files were edited: start again."
            raise PortableError(f"Side {side} runs another version of the suite than this command uses.", hint)
        self.processes += 1
        self.write(line("process", {"side": side, **row}))
        return self.processes

    def run(self) -> str:
        """Measure every kernel; returns why a side saw no GPU, or ""."""
        turns = first_turns(self.left, self.plan.number)
        no_gpu = ""
        try:
            if self.shared:
                self._ready(self.left[0])
            no_gpu = self._no_gpu()
            while self.left and not no_gpu:
                name = self.left[0]
                self.hooks.kernel(name)
                self._write_kernel(name, self._measure(name, turns[name]))
                no_gpu = self._no_gpu()
        except StartError as error:
            for name in tuple(self.left):
                self._write_kernel(name, _Taken(outcome=error.outcome, message=str(error)))
        for name in tuple(self.left):
            self._write_kernel(name, _Taken(outcome=NO_GPU, message=no_gpu))
        for side in self.sides.values():
            side.end()
        return no_gpu

    def _no_gpu(self) -> str:
        return next((side.no_gpu for side in self.sides.values() if side.no_gpu), "")

    def _ready(self, name: str) -> None:
        """Start the processes that are missing for a kernel, both at once, and wait until they are ready.

        Those for a custom kernel are for it alone.
        """
        kernels = (name,) if name in self.custom else self.shared
        order = (self.plan.first, *(side for side in SIDES if side != self.plan.first))
        for side in order:
            self.sides[side].launch(replace(self.plan.requests[side], kernels=kernels))
        for side in order:
            self.sides[side].wait_until_ready()

    def _measure(self, name: str, turn: str) -> _Taken:
        """Measure one kernel, again if the guard discards what was measured; the last attempt counts.

        A custom kernel gets processes of its own, because it may change anything in them.
        """
        left, alone = RETAKES, name in self.custom
        while True:
            if alone:
                self._end_used()
            try:
                self._ready(name)
            except StartError as error:
                if not alone:
                    raise
                return _Taken(outcome=error.outcome, message=str(error))
            start = time.monotonic()
            taken = self._time_kernel(name, turn)
            taken.guard = self.hooks.observe(start, time.monotonic())
            reason = str((taken.guard or {}).get("discarded", ""))
            if not reason or taken.outcome != "ok" or not left:
                break
            left -= 1
            self.hooks.settle(name, reason)
        if alone:
            self._end_used()
        return taken

    def _end_used(self) -> None:
        for side in self.sides.values():
            if side.used:
                side.end()

    def _time_kernel(self, name: str, turn: str) -> _Taken:
        """Let both sides prepare a kernel, time its blocks, and let both drop it again."""
        taken = _Taken()
        deadline = time.monotonic() + self.limit_s
        pair = (self.sides[turn], self.sides["b" if turn == "a" else "a"])
        try:
            for side in pair:
                side.used = True
            ready = self._both(pair, deadline, do="prepare", kernel=name)
            taken.kind = str(ready[0]["kind"])
            for side, row in zip(pair, ready):  # noqa: B905 - Python 3.9 has no strict=
                taken.first_seconds[side.name] = float(row["first_s"])
            self._time_blocks(pair, deadline, taken, max(float(row["rebuild_s"]) for row in ready))
        except SideError as error:
            taken.outcome, taken.message = error.outcome, str(error)
        for side in pair:
            self._release(side, taken)
        return taken

    def _time_blocks(self, pair: tuple[Side, Side], deadline: float, taken: _Taken, rebuild_s: float) -> None:
        """Time the blocks of a prepared kernel, and add them to what was taken; ``pair`` has the first turn first."""
        budget_s, command = self.plan.budget_s, {"seconds": 0.0, "batch": 1, "warm": False}
        if taken.kind == "first":
            steps: list[int | None] = [0, 1]
            if rebuild_s <= REBUILD_LIMIT_S:
                steps = [*_turns(_groups(max(rebuild_s, MIN_BLOCK_S), budget_s))]
        else:
            warm = [side.ask(deadline, self.limit_s, do="warm-up", seconds=budget_s) for side in pair]
            groups, command = _block_command(max(float(row["call_s"]) for row in warm), budget_s)
            steps = _steps(groups, rebuild_s)
        for place in steps:
            if place is None:
                self._both(pair, deadline, do="rebuild")
                continue
            row = pair[place].ask(deadline, self.limit_s, do="block", **command)
            taken.blocks.append({"side": pair[place].name, "batch": command["batch"], **row})

    def _both(self, pair: tuple[Side, Side], deadline: float, **command: Any) -> list[dict[str, Any]]:
        """Let both sides carry out a command that is not timed: at the same time on a CPU, else one after the other.

        Raises:
            SideError: A side failed; the answers of both have been read.
        """
        answers, errors = [], []
        at_once = self.plan.requests["a"].device == "cpu"
        for side in pair if at_once else ():
            side.send(**command)
        for side in pair:
            try:
                if not at_once:
                    side.send(**command)
                answers.append(side.answer(deadline, self.limit_s))
            except SideError as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return answers

    def _release(self, side: Side, taken: _Taken) -> None:
        """Let a side drop its kernel, and end its process if it cannot be used for another one."""
        if not side.running:
            return
        try:
            limit_s = max(END_LIMIT_S, self.limit_s)
            if not side.ask(time.monotonic() + limit_s, limit_s, do="release")["usable"]:
                side.end()
        except SideError as error:
            if taken.outcome == "ok":
                taken.outcome, taken.message = error.outcome, str(error)

    def _write_kernel(self, name: str, taken: _Taken) -> None:
        self.left.remove(name)
        self.write(line("kernel", {"kernel": name, "load": round(os.getloadavg()[0], 2), **asdict(taken)}))


def _block_command(call_s: float, budget_s: float) -> tuple[int, dict[str, Any]]:
    """Return the number of groups of four blocks for a kernel whose calls take so long, and the command for a block."""
    block_s = max(call_s, MIN_BLOCK_S, budget_s / (2 * MAX_GROUPS))
    batch = max(1, int(block_s / (READINGS * call_s))) if call_s > 0 else 1
    # the other side has used the caches meanwhile
    return _groups(block_s, budget_s), {"seconds": block_s, "batch": batch, "warm": call_s < block_s / 4}


def _groups(block_s: float, budget_s: float) -> int:
    """Return how many groups of four blocks a kernel gets, which has two blocks of a side in each."""
    return min(MAX_GROUPS, max(1, round(budget_s / (2 * block_s))))


def _turns(groups: int) -> list[int]:
    """Return whose turn is next, 0 or 1, in the order 0 1 1 0, 1 0 0 1, ..."""
    return [place for group in range(groups) for place in ((0, 1, 1, 0) if group % 2 == 0 else (1, 0, 0, 1))]


def _steps(groups: int, rebuild_s: float) -> list[int | None]:
    """Return whose turn is next, 0 or 1; None in the middle, where both sides build anew unless it takes too long."""
    steps: list[int | None] = [*_turns(groups)]
    if rebuild_s <= REBUILD_LIMIT_S:
        steps.insert(groups // 2 * 4 or 2, None)
    return steps
