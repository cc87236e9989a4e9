"""The state of a run while it measures, and the execution of its rounds: one at a time on each device."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import Counter
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.errors import BuildError, EngineError, NoGpuError, TfreproError
from bench.portable.value_limits import ValueLimits
from bench.run import rounds
from bench.store.run import record_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from bench.engines.base import Engine, Environment
    from bench.plan.duration import EtaEstimator
    from bench.plan.schedule import Round
    from bench.run.progress import View
    from bench.run.rounds import Watching
    from bench.store.run_folder import RunFolder
    from bench.store.run_info import RunInfo
    from bench.suite.record import Request

    OnPass = Callable[[Path, "PassProgress"], None]

#: Seconds between two calls of the callback that writes interim pages: on a short run they must not cost more than the
#: measurement.
PAGE_INTERVAL_S = 30.0


@dataclass(frozen=True, kw_only=True)
class PassProgress:
    """How far a run is: how many of its planned passes over all columns are complete, and the estimated time left."""

    done: int
    planned: int
    seconds_left: float

    def facts(self) -> dict[str, Any]:
        """Return what run.json records of it, by the field names of ``bench.store.run_info.RunInfo``."""
        return {"passes_done": self.done, "passes_planned": self.planned, "seconds_left": self.seconds_left}


class PassCounter:
    """Counts complete passes. ``every`` are all rounds of the run, ``left`` those still to be measured."""

    def __init__(self, every: Iterable[Round], left: Iterable[Round]) -> None:
        self.planned = max((item.pass_number for item in every), default=0)
        self._open = Counter(item.pass_number for item in left)
        self._lock = threading.Lock()

    def finish(self, item: Round) -> None:
        """Count a round as measured, or as given up."""
        with self._lock:
            self._open[item.pass_number] -= 1

    def progress(self, seconds_left: float) -> PassProgress:
        """Return how far the run is. A pass is complete when no device has a round of it left."""
        with self._lock:
            done = min((number for number, left in self._open.items() if left), default=self.planned + 1) - 1
        # an estimate of 0 would say that the run has ended
        seconds = 0.0 if done == self.planned else max(1.0, round(seconds_left, 1))
        return PassProgress(done=done, planned=self.planned, seconds_left=seconds)


@dataclass
class State:
    """What a run knows so far; becomes run.json. The threads of several devices share it."""

    info: RunInfo
    folder: RunFolder
    environments: dict[str, Environment] = field(default_factory=dict)
    keeper: ValueLimits = field(default_factory=ValueLimits)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def save(self, **changes: Any) -> None:
        """Change fields of ``info`` and write run.json."""
        with self.lock:
            self.info = dataclasses.replace(self.info, **changes)
            self.folder.write_info(self.info)

    def warn(self, *sentences: str) -> None:
        """Add warnings to run.json; the page shows them."""
        with self.lock:
            self.save(warnings=(*self.info.warnings, *sentences))

    def wants(self, group: tuple[str, str, str], kernel: str, digest: str, size: int) -> bool:
        """Return whether values are to be kept (see ``ValueLimits.accepts``)."""
        with self.lock:
            return self.keeper.accepts(group, kernel, digest, size)

    def drop_column(self, item: Round, status: str, reason: str) -> None:
        """Give up the column of a round that could not be run or saw no GPU; its earlier records stay valid."""
        column = item.column.id
        own = self.folder.record_path(column, item.variation, item.mode, item.number)
        with self.lock:
            if any(file.parts[-3] == column and file != own for file in record_files(self.folder.path)):
                self.environments.pop(column)
                place = f"{column} was given up in round {item.number} ({item.variation}, determinism {item.mode})"
                self.warn(f"{place}: {reason}")
            else:
                self.give_up(column, status, reason)

    def give_up(self, column: str, status: str, reason: str) -> None:
        """Mark a column of which nothing can be measured; the others continue."""
        with self.lock:
            self.environments.pop(column, None)
            columns = tuple(
                dataclasses.replace(info, status=status, reason=reason) if info.id == column else info
                for info in self.info.columns
            )
            self.save(columns=columns)


def reason(error: TfreproError) -> str:
    """Return an error in one line: what happened, and what to do."""
    return f"{error} {error.hint}".strip()


def status(error: EngineError | NoGpuError) -> str:
    """Return the status that an error gives to its column."""
    if isinstance(error, NoGpuError):
        return "gpu-not-visible"
    return "build-failed" if isinstance(error, BuildError) else error.status


class Scheduler:
    """Runs rounds: one at a time on a device, several devices side by side.

    ``watching`` opens the guard of a GPU by its UUID. ``on_pass`` is called with the run folder after each pass of a
    device, and in the first pass after each column (see ``Job``). ``given_up`` says whether a column was given up.
    """

    def __init__(
        self,
        engine: Engine,
        watching: Watching,
        state: State,
        view: View,
        eta: EtaEstimator,
        passes: PassCounter,
        on_pass: OnPass | None,
    ) -> None:
        self._state = state
        self._view = view
        self._eta = eta
        self._passes = passes
        self._on_pass = on_pass
        self._page_lock = threading.Lock()
        self._page_at: float | None = None
        self._page_failed = False
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
        """Run the rounds of several devices, each device in a thread. Whatever stops one of them stops all."""
        if len(lanes) == 1:
            self.lane(lanes[0])
            return
        pool = ThreadPoolExecutor(len(lanes), thread_name_prefix="tfrepro-device")
        try:
            ended, _ = wait([pool.submit(self.lane, lane) for lane in lanes], return_when=FIRST_EXCEPTION)
            for future in ended:
                future.result()
        except BaseException:
            self._stop.set()
            self._halt()
            raise
        finally:
            pool.shutdown()

    def lane(self, left: list[tuple[Round, Request]]) -> None:
        """Run the rounds of one device in their order."""
        following = [item for item, _ in left[1:]]
        for (item, request), next_item in zip(left, [*following, None], strict=True):
            if self._stop.is_set():
                return
            self._run(item, request)
            if self._stop.is_set():
                return
            self._passes.finish(item)
            if next_item is None or self._page_due(item, next_item):
                self._end_pass()

    @staticmethod
    def _page_due(item: Round, next_item: Round) -> bool:
        """Return whether an interim page is due between two rounds: after a pass, and in the first after each column.

        The first pass of many columns takes long, and a page with some of them is better than none.
        """
        if next_item.pass_number != item.pass_number:
            return True
        return item.pass_number == 1 and next_item.column.id != item.column.id

    def _run(self, item: Round, request: Request) -> None:
        """Run one round and show it; skip it where its column was given up."""
        environment = self._state.environments.get(item.column.id)
        if environment is None:
            self._eta.skip(item)
            return
        self._view.round(rounds.label(item))
        start = time.monotonic()
        self._measure(item, environment, request)
        if not self._stop.is_set():
            seconds = time.monotonic() - start
            self._view.done(rounds.label(item), seconds, self._eta.took(item, seconds))

    def _measure(self, item: Round, environment: Environment, request: Request) -> None:
        """Measure one round. An engine that cannot run it costs only its own column."""
        try:
            no_gpu = rounds.measure(self._setting, environment, item, request)
            if no_gpu:  # no later round would see a GPU either; the record that says so stays
                raise NoGpuError(no_gpu)
        except (EngineError, NoGpuError) as error:
            if self._stop.is_set():
                return
            self.given_up = True
            self._view.say(f"{item.column.id}: {reason(error)}")
            self._state.drop_column(item, status(error), reason(error))

    def _end_pass(self) -> None:
        """Record how far the run is, and have an interim page written."""
        progress = self._passes.progress(self._eta.left_s())
        self._state.save(**progress.facts())
        if progress.done == progress.planned:
            return  # the final page is about to be written
        # a device does not wait while another device has the page written
        if self._on_pass is not None and self._page_lock.acquire(blocking=False):
            try:
                if self._page_at is None or time.monotonic() - self._page_at >= PAGE_INTERVAL_S:
                    self._call(self._on_pass, progress)
                    self._page_at = time.monotonic()
            finally:
                self._page_lock.release()

    def _call(self, on_pass: OnPass, progress: PassProgress) -> None:
        """Call the callback; its failure is reported once and does not stop the measurement."""
        try:
            on_pass(self._state.folder.path, progress)
        except Exception as error:  # noqa: BLE001 - whatever a page fails with, the measurement goes on
            if not self._page_failed:
                kind = "" if isinstance(error, TfreproError) else f"{type(error).__name__}: "
                self._view.say(f"warning: the interim page could not be written ({kind}{error}); measuring goes on")
            self._page_failed = True
