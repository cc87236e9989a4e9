"""The state of a run while it measures, and the execution of its rounds and timing pairs."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import Counter, deque
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.errors import BuildError, EngineError, NoGpuError, TfreproError
from bench.plan.schedule import TimingPair
from bench.portable.value_limits import ValueLimits
from bench.run import pairs, rounds
from bench.store.run import record_files

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
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
    """Counts complete passes. ``every`` is all that the run measures, ``left`` what is still to be measured."""

    def __init__(self, every: Iterable[Round | TimingPair], left: Iterable[Round | TimingPair]) -> None:
        remaining = list(left)
        self.planned = max((item.pass_number for item in every), default=0)
        self._open = Counter(item.pass_number for item in remaining)
        self._by_device = Counter((item.column.gpu, item.pass_number) for item in remaining)
        self._by_column = Counter((item.column.id, item.pass_number) for item in remaining)
        self._lock = threading.Lock()

    def finish(self, item: Round | TimingPair) -> bool:
        """Count as measured, or as given up. Return whether an interim page is due.

        That is after each pass of a device, and in the first pass after each column: the first pass of many columns
        takes long, and a page with some of them is better than none.
        """
        number = item.pass_number
        with self._lock:
            self._open[number] -= 1
            self._by_device[item.column.gpu, number] -= 1
            self._by_column[item.column.id, number] -= 1
            column_ends = number == 1 and not self._by_column[item.column.id, number]
            return column_ends or not self._by_device[item.column.gpu, number]

    def progress(self, seconds_left: float) -> PassProgress:
        """Return how far the run is. A pass is complete when no device has a round of it left."""
        with self._lock:
            done = min((number for number, left in self._open.items() if left), default=self.planned + 1) - 1
        # an estimate of 0 would say that the run has ended
        seconds = 0.0 if done == self.planned else max(1.0, round(seconds_left, 1))
        return PassProgress(done=done, planned=self.planned, seconds_left=seconds)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A round or a timing pair, and its requests by side. A round has one, under ""."""

    item: Round | TimingPair
    requests: Mapping[str, Request]

    @property
    def request(self) -> Request:
        """The request of a round, or one of a pair's."""
        return next(iter(self.requests.values()))

    @property
    def resume_key(self) -> str:
        """A hash of all that could change what is measured."""
        return str(self.request.context["resume_key"])

    def record_path(self, folder: RunFolder) -> Path:
        """Return where its compressed record belongs."""
        item = self.item
        if isinstance(item, TimingPair):
            return folder.pair_path(item.column.id, item.name)
        return folder.record_path(item.column.id, item.variation, item.mode, item.number)


@dataclass
class State:
    """What a run knows so far; becomes run.json. All threads that measure share it.

    ``running`` counts the rounds of each column that are being measured.
    """

    info: RunInfo
    folder: RunFolder
    environments: dict[str, Environment] = field(default_factory=dict)
    keeper: ValueLimits = field(default_factory=ValueLimits)
    running: Counter[str] = field(default_factory=Counter)
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

    def ready(self, columns: Collection[str]) -> dict[str, Environment]:
        """Return the environments of those of these columns that were not given up."""
        with self.lock:
            return {column: self.environments[column] for column in columns if column in self.environments}

    def drop_column(self, item: Round, status: str, reason: str) -> None:
        """Give up the column of a round that could not be run or saw no GPU; its other records stay valid."""
        column = item.column.id
        own = self.folder.record_path(column, item.variation, item.mode, item.number)
        with self.lock:
            others = any(file.parts[-3] == column and file != own for file in record_files(self.folder.path))
            if not others and not self.running[column]:
                self.give_up(column, status, reason)
            elif self.environments.pop(column, None):
                place = f"{column} was given up in round {item.number} ({item.variation}, determinism {item.mode})"
                self.warn(f"{place}: {reason}")

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
    """Return an error in one line: what happened, and what to do, each as a sentence."""
    if not error.hint:
        return str(error)
    return f"{str(error).removesuffix('.')}. {error.hint[0].upper()}{error.hint[1:]}"


def status(error: EngineError | NoGpuError) -> str:
    """Return the status that an error gives to its column."""
    if isinstance(error, NoGpuError):
        return "gpu-not-visible"
    return "build-failed" if isinstance(error, BuildError) else error.status


class Scheduler:
    """Runs rounds and timing pairs, from one queue or several side by side.

    ``watching`` opens the guard of a GPU by its UUID. ``on_pass`` is called with the run folder after each pass of a
    device, and in the first pass after each column (see ``Job``). ``given_up`` says whether a column was given up, or
    the timing pairs of one.
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
        self._broken: set[tuple[str, str]] = set()  # column and comparison of pairs
        self._setting = rounds.Setting(
            engine=engine,
            folder=state.folder,
            view=view,
            suite=state.info.suite_hash,
            wants=state.wants,
            watching=watching,
            stopped=self._stop.is_set,
        )

    def side_by_side(self, queues: list[deque[Task]]) -> None:
        """Run all queues, each in a thread; a queue that is given twice has two threads.

        Whatever stops one thread stops all.
        """
        if len(queues) == 1:
            self.one_by_one(queues[0])
            return
        pool = ThreadPoolExecutor(len(queues), thread_name_prefix="tfrepro-measuring")
        try:
            ended, _ = wait([pool.submit(self.one_by_one, queue) for queue in queues], return_when=FIRST_EXCEPTION)
            for future in ended:
                future.result()
        except BaseException:
            self._stop.set()
            self._halt()
            raise
        finally:
            pool.shutdown()

    def one_by_one(self, queue: deque[Task]) -> None:
        """Run what is in a queue, in its order."""
        while queue and not self._stop.is_set():
            try:
                task = queue.popleft()
            except IndexError:  # another thread took the last one
                return
            self._run(task)
            if self._stop.is_set():
                return
            if self._passes.finish(task.item):
                self._end_pass()

    def _run(self, task: Task) -> None:
        """Run a task and show it; skip it where its column, or its comparison, was given up."""
        item = task.item
        columns = {request.column for request in task.requests.values()}
        environments = self._state.ready(columns)
        if len(environments) < len(columns) or (isinstance(item, TimingPair) and self._is_broken(item)):
            self._eta.skip(item)
            return
        name = pairs.label(item) if isinstance(item, TimingPair) else rounds.label(item)
        self._view.round(name)
        start = time.monotonic()
        self._measure(task, environments)
        if not self._stop.is_set():
            seconds = time.monotonic() - start
            self._view.done(name, seconds, self._eta.took(item, seconds))

    def _measure(self, task: Task, environments: Mapping[str, Environment]) -> None:
        """Measure a task. An engine that cannot run it costs only its own column or comparison."""
        item, column = task.item, task.item.column.id
        error = self._attempt(task, environments)
        if error is None or self._stop.is_set():
            return
        self.given_up = True
        self._view.say(f"{column}: {reason(error)}")
        if isinstance(item, TimingPair):
            self._broken.add((column, item.comparison))
            self._state.warn(f"{pairs.label(item)} failed, and no further one was tried: {reason(error)}")
        else:
            self._state.drop_column(item, status(error), reason(error))

    def _attempt(self, task: Task, environments: Mapping[str, Environment]) -> EngineError | NoGpuError | None:
        """Measure a task and return why it could not be measured, None if it was."""
        item, column = task.item, task.item.column.id
        with self._state.lock:
            self._state.running[column] += 1
        try:
            if isinstance(item, TimingPair):
                no_gpu = pairs.measure_pair(self._setting, environments, item, task.requests)
            else:
                no_gpu = rounds.measure(self._setting, environments[column], item, task.request)
        except (EngineError, NoGpuError) as error:
            return error
        finally:
            with self._state.lock:
                self._state.running[column] -= 1
        # no later round would see a GPU either; the record that says so stays
        return NoGpuError(no_gpu) if no_gpu else None

    def _is_broken(self, pair: TimingPair) -> bool:
        """Return whether a pair of this column and comparison could not be run before."""
        return (pair.column.id, pair.comparison) in self._broken

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
