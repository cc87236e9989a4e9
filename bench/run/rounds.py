"""One round into its record: reads along, watches the GPU, and takes anew what was timed on a throttled or shared one.

A retake is one more request for the discarded kernels alone; its lines follow in the same record as further processes,
so whatever bits they give count like any others. Controls stay out of it: they were run in this round, and nobody
asks for their times.
"""

from __future__ import annotations

import dataclasses
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.errors import EngineError
from bench.gpu.guard import Guard, Nobody
from bench.portable.record_reader import RecordReader
from bench.suite.record import line

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bench.engines.base import Engine, Environment, Execution
    from bench.plan.schedule import Round
    from bench.run.progress import View
    from bench.store.run_folder import Recording, RunFolder
    from bench.suite.record import Request

    Watching = Callable[[str], AbstractContextManager[Guard]]
    Wants = Callable[[tuple[str, str, str], str, str, int], bool]

#: How often the discarded times of a round are taken anew.
RETAKES = 2
#: Seconds to wait before a retake for a GPU that is still throttled or shared, and between two looks at it.
SETTLE_S = 20.0
_STEP_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all rounds of a run share.

    ``suite`` is the hash of this checkout's suite, ``controls`` names the kernels that nobody times. ``wants`` says
    whether values of (group, kernel, digest, size) are kept. ``watching`` opens the guard of a GPU by its UUID;
    ``stopped`` says whether the run was interrupted meanwhile, by another thread.
    """

    engine: Engine
    folder: RunFolder
    view: View
    suite: str
    controls: frozenset[str]
    wants: Wants
    watching: Watching
    stopped: Callable[[], bool]


def label(one: Round) -> str:
    """What a person reads of a round."""
    return f"{one.column.id} {one.variation} {one.mode} round {one.number}"


def measure(setting: Setting, environment: Environment, one: Round, request: Request) -> str:
    """Measure one round into its record; returns why its column saw no GPU, "" where it did or needs none.

    Raises:
        EngineError: it could not be run, or gave no record; nothing of it is kept.
        NoGpuError: the engine cannot hand on the GPU.
    """
    path = setting.folder.record_path(one.column.id, one.variation, one.mode, one.number)
    log = setting.folder.log_path(one.column.id, f"{one.variation}-{one.mode}-{one.number:03d}")
    with ExitStack() as held:
        guard = held.enter_context(_guard(setting, request)) if request.device == "gpu" else None
        streams = held.enter_context(setting.folder.recording(path))
        writer = _Writer(setting, one, environment, streams, guard, log)
        discarded = writer.take(request)
        for _ in range(RETAKES):
            if not discarded or guard is None:
                break
            _settle(guard, setting.stopped)
            reasons = "; ".join(dict.fromkeys(discarded.values()))
            many = f"{len(discarded)} kernel{'s' * (len(discarded) > 1)}"
            setting.view.say(f"{label(one)}: the times of {many} are taken anew ({reasons})")
            kernels = tuple(name for name in request.kernels if name in discarded)
            discarded = writer.take(dataclasses.replace(request, kernels=kernels, second_seed=False))
        writer.end()
    return writer.no_gpu


def _guard(setting: Setting, request: Request) -> AbstractContextManager[Guard]:
    uuid = str(request.gpu.get("uuid", ""))
    return setting.watching(uuid) if uuid else Guard(Nobody("the UUID of the GPU is not known"))


def _settle(guard: Guard, stopped: Callable[[], bool]) -> None:
    """Give the GPU some time to cool down, or to be free."""
    end = time.monotonic() + SETTLE_S
    while guard.trouble() and time.monotonic() < end and not stopped():
        time.sleep(_STEP_S)


class _Writer:
    """The record of one round, from one request or several."""

    def __init__(
        self,
        setting: Setting,
        one: Round,
        environment: Environment,
        streams: Recording,
        guard: Guard | None,
        log: Path,
    ) -> None:
        self._setting = setting
        self._one = one
        self._environment = environment
        self._streams = streams
        self._guard = guard
        self._log = log
        self._processes = 0
        self._seconds = 0.0
        self.no_gpu = ""

    def take(self, request: Request) -> dict[str, str]:
        """Have a request executed and write its lines; the kernels whose times are discarded, each with the reason."""
        watch = _Watch(self._setting, label(self._one), self._guard)
        first = not self._processes

        def on_line(text: str) -> None:
            kind, row = watch.see(text)
            if kind == "header" and first:
                self._write(text)
            elif kind and kind not in ("header", "end"):
                self._pass_on(kind, row, text)
                if kind == "sample":
                    self._write_guard(row, watch.seen(row))

        execution = self._setting.engine.execute(self._environment, request, on_line, self._log)
        if not watch.header:
            message = f"The round gave no record (exit code {execution.exit_code})."
            raise EngineError(message, f"Its last words are in {self._log}.")
        if not watch.ended:
            if self._setting.stopped():
                raise EngineError("The round was interrupted.")
            for row in _missing(request, watch, execution):
                self._pass_on("outcome", row)
        self._processes += max(watch.process, 1)
        self._seconds += watch.seconds
        self.no_gpu = self.no_gpu or (watch.no_gpu if request.device == "gpu" else "")
        timed = request.steady_s > 0 and request.device == "gpu"
        return {name: why for name, why in watch.discarded.items() if timed and name not in self._setting.controls}

    def end(self) -> None:
        """The last line: the round is whole."""
        self._write(line("end", {"seconds": round(self._seconds, 3), "processes": self._processes}))

    def _pass_on(self, kind: str, row: dict[str, Any], text: str = "") -> None:
        """Write a line as it came, or with the number that its process has in this record."""
        if self._processes or not text:
            body = {key: value for key, value in row.items() if key != "line"}
            text = line(kind, {**body, "process": int(row["process"]) + self._processes})
        if kind != "kept":
            self._write(text)
        elif self._setting.wants(self._group, row["kernel"], row["digest"], len(text)):
            self._streams.kept.write(text)

    @property
    def _group(self) -> tuple[str, str, str]:
        return (self._one.column.id, self._one.variation, self._one.mode)

    def _write_guard(self, row: dict[str, Any], seen: dict[str, Any] | None) -> None:
        if seen is not None:
            name = {key: row[key] for key in ("process", "kernel", "role", "repetition")}
            self._pass_on("guard", {**name, "seen": seen})

    def _write(self, text: str) -> None:
        self._streams.lines.write(text)
        self._streams.lines.flush()


def _missing(request: Request, watch: _Watch, execution: Execution) -> list[dict[str, Any]]:
    """The outcomes a dead column could not write."""
    if execution.oom_killed:
        return watch.missing(request, "oom", "the container reached its memory limit")
    message = f"the column ended with exit code {execution.exit_code}; its last words are in the log"
    return watch.missing(request, "crashed", message)


class _Watch(RecordReader):
    """Also tells the view what goes on, and keeps what the guard saw.

    ``discarded`` has the kernels whose every time was taken on a throttled or shared GPU, each with the reason.
    """

    def __init__(self, setting: Setting, label: str, guard: Guard | None) -> None:
        super().__init__(setting.suite)
        self._view = setting.view
        self._label = label
        self._guard = guard
        self._since = time.monotonic()
        self._times: dict[str, list[str]] = {}
        self.discarded: dict[str, str] = {}

    def see(self, text: str) -> tuple[str, dict[str, Any]]:
        """Take one line (see ``follow``); raises EngineError where the column runs another suite than this checkout's."""
        kind, row = self.follow(text)
        if self.strange:
            message = "The suite inside the column is not the one of this checkout."
            raise EngineError(message, "It was edited during the run: start the run again.")
        if kind == "kernel":
            self._since, self._times = time.monotonic(), {}
            self._view.kernel(self._label, str(row["kernel"]))
        elif kind == "outcome":
            self._outcome(row)
        return kind, row

    def seen(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """What the guard saw while a sample was taken; None for a second_seed, and on a CPU."""
        if self._guard is None:
            return None
        start, role = self._since, str(row["role"])
        if role == "timing":
            self._guard.look()  # a short pass may lie between two looks
        self._since = time.monotonic()
        if role == "second-seed":
            return None
        found = self._guard.seen(start, self._since)
        self._times.setdefault(role, []).append(str(found["discarded"]))
        return found

    def _outcome(self, row: dict[str, Any]) -> None:
        """A kernel ended: its times are those of the timing pass, or of its first calls where it has none."""
        times = self._times.get("timing") or self._times.get("repetition") or []
        if row["outcome"] == "ok" and times and all(times):
            self.discarded[str(row["kernel"])] = times[-1]
