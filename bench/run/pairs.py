"""Measure one pair into its record: open both sides in their environments, watch the GPU, show the progress."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench.errors import EngineError
from bench.portable.errors import PortableError
from bench.portable.paired_timing import Hooks, PairPlan, run_pair
from bench.run.rounds import open_guard

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from bench.engines.base import Environment
    from bench.gpu.guard import Guard
    from bench.plan.schedule import TimingPair
    from bench.portable.session import Session
    from bench.run.rounds import Setting
    from bench.suite.record import Request


#: Seconds to wait, before a kernel is taken again, for a GPU that is still throttled or shared.
SETTLE_S = 20.0
_STEP_S = 0.5


def label(pair: TimingPair) -> str:
    """Return the name of a pair in the output."""
    comparison = f"upgrade from {pair.other.id}" if pair.comparison == "upgrade" else pair.comparison
    return f"{pair.column.id} {comparison} pair {pair.number}"


def measure_pair(
    setting: Setting, environments: Mapping[str, Environment], pair: TimingPair, requests: Mapping[str, Request]
) -> str:
    """Measure a pair into its record. Return why a column saw no GPU, "" where both did or need none.

    ``environments`` maps columns to their environments, ``requests`` the sides "a" and "b" to their requests.

    Raises:
        EngineError: a side could not be started, runs another suite, or the run was interrupted; nothing is kept.
        NoGpuError: the engine cannot pass the GPU on.
    """
    path = setting.folder.pair_path(pair.column.id, pair.name)
    logs = {side: setting.folder.log_path(pair.column.id, f"{pair.name}-{side}") for side in requests}
    plan = PairPlan(pair.comparison, pair.number, pair.first, pair.budget_s, requests)

    def open_session(side: str, request: Request) -> AbstractContextManager[Session]:
        return setting.engine.open_session(environments[request.column], request, logs[side])

    with ExitStack() as stack:
        on_gpu = requests["b"].device == "gpu"
        guard = stack.enter_context(open_guard(setting, requests["b"])) if on_gpu else None
        if guard is not None:
            guard.workers = len(requests)  # both sides hold the GPU, although only one is ever at work
        streams = stack.enter_context(setting.folder.recording(path))

        def write(text: str) -> None:
            streams.lines.write(text)
            streams.lines.flush()

        try:
            return run_pair(plan, open_session, setting.suite, write, _hooks(setting, pair, guard))
        except PortableError as error:
            raise EngineError(str(error), error.hint) from error


def _hooks(setting: Setting, pair: TimingPair, guard: Guard | None) -> Hooks:
    """Return what connects the coordinator with the output and the guard of a GPU."""

    def show(kernel: str) -> None:
        setting.view.kernel(label(pair), kernel)

    if guard is None:
        return Hooks(kernel=show)

    def observe(start: float, end: float) -> Mapping[str, object]:
        guard.sample()  # a short kernel may lie between two looks
        return guard.summary(start, end)

    def take_again(kernel: str, reason: str) -> None:
        setting.view.say(f"{label(pair)}: {kernel} is taken again ({reason})")
        _settle(guard, setting.stopped)

    return Hooks(kernel=show, observe=observe, settle=take_again)


def _settle(guard: Guard, stopped: Callable[[], bool]) -> None:
    """Give the GPU some time to cool down or to become free."""
    end = time.monotonic() + SETTLE_S
    while guard.current_problem() and time.monotonic() < end and not stopped():
        time.sleep(_STEP_S)
