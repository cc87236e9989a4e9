"""A run under way: what it knows so far, and its rounds, one after the other on a device, devices side by side."""

from __future__ import annotations

import dataclasses
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.errors import BuildError, EngineError, NoGpuError, TfreproError
from bench.portable.value_limits import ValueLimits
from bench.run import rounds
from bench.store.run import record_files

if TYPE_CHECKING:
    from bench.engines.base import Engine, Environment
    from bench.plan.duration import EtaEstimator
    from bench.plan.planner import Round
    from bench.run.progress import View
    from bench.run.rounds import Watching
    from bench.store.run_folder import RunFolder
    from bench.store.run_info import RunInfo
    from bench.suite.record import Request


@dataclass
class State:
    """What a run knows so far; becomes run.json. Threads of several devices share it."""

    info: RunInfo
    folder: RunFolder
    environments: dict[str, Environment] = field(default_factory=dict)
    keeper: ValueLimits = field(default_factory=ValueLimits)
    hold: threading.RLock = field(default_factory=threading.RLock)

    def save(self, **changes: Any) -> None:
        """Change what is known, and write it."""
        with self.hold:
            self.info = dataclasses.replace(self.info, **changes)
            self.folder.write_info(self.info)

    def wants(self, group: tuple[str, str, str], kernel: str, digest: str, size: int) -> bool:
        """Whether values are kept (see ``ValueLimits.accepts``)."""
        with self.hold:
            return self.keeper.accepts(group, kernel, digest, size)

    def lose(self, one: Round, status: str, reason: str) -> None:
        """A column whose round could not be run, or saw no GPU, is given up; what it has measured stays and is evaluated."""
        own = self.folder.record_path(one.column.id, one.variation, one.mode, one.number)
        with self.hold:
            if any(file.parts[-3] == one.column.id and file != own for file in record_files(self.folder.path)):
                self.environments.pop(one.column.id)
                place = f"{one.column.id} was given up in round {one.number} ({one.variation}, determinism {one.mode})"
                self.save(warnings=(*self.info.warnings, f"{place}: {reason}"))
            else:
                self.give_up(one.column.id, status, reason)

    def give_up(self, column: str, status: str, reason: str) -> None:
        """Mark a column that cannot go on; the others do."""
        with self.hold:
            self.environments.pop(column, None)
            columns = tuple(
                dataclasses.replace(known, status=status, reason=reason) if known.id == column else known
                for known in self.info.columns
            )
            self.save(columns=columns)


def reason(error: TfreproError) -> str:
    """An error in one line: what happened, and what to do."""
    return f"{error} {error.hint}".strip()


def status(error: EngineError | NoGpuError) -> str:
    """What an error makes of its column."""
    if isinstance(error, NoGpuError):
        return "gpu-not-visible"
    return "build-failed" if isinstance(error, BuildError) else error.status


class Scheduler:
    """The rounds under way: one after the other on a device, devices side by side.

    ``given_up`` says whether a column had to be. ``watching`` opens the guard of a GPU by its UUID.
    """

    def __init__(self, engine: Engine, watching: Watching, state: State, view: View, pace: EtaEstimator) -> None:
        self._state = state
        self._view = view
        self._pace = pace
        self._halt = engine.halt
        self._stop = threading.Event()
        self.given_up = False
        self._setting = rounds.Setting(
            engine=engine,
            folder=state.folder,
            view=view,
            suite=state.info.suite_hash,
            controls=frozenset(kernel.name for kernel in state.info.kernels if kernel.control),
            wants=state.wants,
            watching=watching,
            stopped=self._stop.is_set,
        )

    def side_by_side(self, lanes: list[list[tuple[Round, Request]]]) -> None:
        """Run lanes of rounds, each in a thread of its own. Whatever stops one of them, or this thread, stops all."""
        if len(lanes) == 1:
            self.lane(lanes[0])
            return
        pool = ThreadPoolExecutor(len(lanes), thread_name_prefix="tfrepro-device")
        try:
            ended, _ = wait([pool.submit(self.lane, lane) for lane in lanes], return_when=FIRST_EXCEPTION)
            for one in ended:
                one.result()
        except BaseException:
            self._stop.set()
            self._halt()
            raise
        finally:
            pool.shutdown()

    def lane(self, left: list[tuple[Round, Request]]) -> None:
        """Run the rounds of one device in their order."""
        for one, request in left:
            if self._stop.is_set():
                return
            environment = self._state.environments.get(one.column.id)
            if environment is None:
                self._pace.skip(one)
                continue
            self._view.round(rounds.label(one))
            start = time.monotonic()
            self._round(one, environment, request)
            if self._stop.is_set():
                return
            seconds = time.monotonic() - start
            self._view.done(rounds.label(one), seconds, self._pace.took(one, seconds))

    def _round(self, one: Round, environment: Environment, request: Request) -> None:
        """One round; an engine that cannot run it costs its own column only."""
        try:
            no_gpu = rounds.measure(self._setting, environment, one, request)
            if no_gpu:  # no further round would see it: the record that says so stays
                raise NoGpuError(no_gpu)
        except (EngineError, NoGpuError) as error:
            if self._stop.is_set():
                return
            self.given_up = True
            self._view.say(f"{one.column.id}: {reason(error)}")
            self._state.lose(one, status(error), reason(error))
