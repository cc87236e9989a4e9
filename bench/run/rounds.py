"""Measure one round into its record: follow its lines, show its progress, and watch the GPU meanwhile."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.errors import EngineError
from bench.gpu.guard import Guard, UnavailableGpu
from bench.portable.record_reader import RecordReader
from bench.portable.session import silence_limit_s, silence_message
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


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all rounds of a run share.

    ``suite`` is the hash of this checkout's suite. ``wants`` returns whether values of (group, kernel, digest, size)
    are to be kept. ``watching`` opens the guard of a GPU by its UUID; ``stopped`` returns whether another thread has
    interrupted the run.
    """

    engine: Engine
    folder: RunFolder
    view: View
    suite: str
    wants: Wants
    watching: Watching
    stopped: Callable[[], bool]


def label(item: Round) -> str:
    """Return the name of a round in the output."""
    return f"{item.column.id} {item.variation} {item.mode} round {item.number}"


def measure(setting: Setting, environment: Environment, item: Round, request: Request) -> str:
    """Measure one round into its record. Return why its column saw no GPU, "" where it did or needs none.

    Raises:
        EngineError: the round could not be run, or gave no record; nothing of it is kept.
        NoGpuError: the engine cannot pass the GPU on.
    """
    path = setting.folder.record_path(item.column.id, item.variation, item.mode, item.number)
    log = setting.folder.log_path(item.column.id, f"{item.variation}-{item.mode}-{item.number:03d}")
    with ExitStack() as stack:
        guard = stack.enter_context(open_guard(setting, request)) if request.device == "gpu" else None
        streams = stack.enter_context(setting.folder.recording(path))
        writer = _Writer(setting, item, environment, streams, guard, log)
        writer.take(request)
        writer.end()
    return writer.no_gpu


def open_guard(setting: Setting, request: Request) -> AbstractContextManager[Guard]:
    """Return the guard of the GPU that a request names; a GPU without a UUID cannot be watched."""
    uuid = str(request.gpu.get("uuid", ""))
    return setting.watching(uuid) if uuid else Guard(UnavailableGpu("the UUID of the GPU is not known"))


class _Writer:
    """Writes the record of one round."""

    def __init__(
        self,
        setting: Setting,
        item: Round,
        environment: Environment,
        streams: Recording,
        guard: Guard | None,
        log: Path,
    ) -> None:
        self._setting = setting
        self._item = item
        self._environment = environment
        self._streams = streams
        self._guard = guard
        self._log = log
        self._follower = _Follower(setting, label(item), guard)
        self.no_gpu = ""

    def take(self, request: Request) -> None:
        """Execute the request and write its lines."""
        follower = self._follower

        def on_line(text: str) -> None:
            kind, row = follower.read_line(text)
            if kind and kind != "end":
                self._pass_on(kind, row, text)
            if kind == "sample":
                self._write_guard(row, follower.seen(row))

        execution = self._setting.engine.execute(self._environment, request, on_line, self._log)
        if not follower.header:
            why = f"it wrote nothing for {silence_limit_s(request):g} s" if execution.silent else ""
            message = f"The round gave no record ({why or f'exit code {execution.exit_code}'})."
            raise EngineError(message, f"The end of its output is in {self._log}.")
        if not follower.ended:
            if self._setting.stopped():
                raise EngineError("The round was interrupted.")
            for row in _missing(request, follower, execution):
                self._write(line("outcome", row))
        self.no_gpu = follower.no_gpu if request.device == "gpu" else ""

    def end(self) -> None:
        """Write the last line, which marks the round as complete."""
        processes = max(self._follower.process, 1)
        self._write(line("end", {"seconds": round(self._follower.seconds, 3), "processes": processes}))

    def _pass_on(self, kind: str, row: dict[str, Any], text: str) -> None:
        """Write a line of the driver, or store values that are wanted."""
        if kind != "kept":
            self._write(text)
        elif self._setting.wants(self._group, row["kernel"], row["digest"], len(text)):
            self._streams.kept.write(text)

    @property
    def _group(self) -> tuple[str, str, str]:
        return (self._item.column.id, self._item.variation, self._item.mode)

    def _write_guard(self, row: dict[str, Any], seen: dict[str, Any] | None) -> None:
        if seen is not None:
            name = {key: row[key] for key in ("process", "kernel", "role", "repetition")}
            self._write(line("guard", {**name, "seen": seen}))

    def _write(self, text: str) -> None:
        self._streams.lines.write(text)
        self._streams.lines.flush()


def _missing(request: Request, follower: _Follower, execution: Execution) -> list[dict[str, Any]]:
    """Return the outcomes that a process which died could not write."""
    if execution.oom_killed:
        return follower.missing(request, "oom", "the container reached its memory limit")
    if execution.silent:
        return follower.missing(request, "timeout", silence_message(silence_limit_s(request)))
    message = f"the process ended with exit code {execution.exit_code}; the end of its output is in the log"
    return follower.missing(request, "crashed", message)


class _Follower(RecordReader):
    """Reads the lines of one request, shows its progress, and asks the guard what it saw."""

    def __init__(self, setting: Setting, label: str, guard: Guard | None) -> None:
        super().__init__(setting.suite)
        self._view = setting.view
        self._label = label
        self._guard = guard
        self._since = time.monotonic()

    def read_line(self, text: str) -> tuple[str, dict[str, Any]]:
        """Take one line and return its kind and content.

        Raises:
            EngineError: the column runs another suite than that of this checkout.
        """
        kind, row = self.parse_line(text)
        if self.strange:
            message = "The suite inside the column is not the one of this checkout."
            raise EngineError(message, "It was edited during the run: start the run again.")
        if kind == "kernel":
            self._since = time.monotonic()
            self._view.kernel(self._label, str(row["kernel"]))
        return kind, row

    def seen(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """Return what the guard saw while a sample was taken; None for the second seed, and on a CPU."""
        if self._guard is None:
            return None
        start, self._since = self._since, time.monotonic()
        return None if row["role"] == "second-seed" else self._guard.summary(start, self._since)
