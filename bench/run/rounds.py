"""Measure one round into its record: follow its lines, watch the GPU, repeat what was timed while it was disturbed.

A retake is one more request for those kernels alone whose times are discarded. Its lines follow in the same record as
further processes, so any bits it produces count like all others. Controls are never retaken: they have run in this
round already, and their times are not used.
"""

from __future__ import annotations

import dataclasses
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.errors import EngineError
from bench.gpu.guard import Guard, UnavailableGpu
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

#: How often the discarded times of a round are taken again.
RETAKES = 2
#: Seconds to wait before a retake for a GPU that is still throttled or shared, and between two looks at it.
SETTLE_S = 20.0
_STEP_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all rounds of a run share.

    ``suite`` is the hash of this checkout's suite, ``controls`` names the kernels whose times are not used. ``wants``
    returns whether values of (group, kernel, digest, size) are to be kept. ``watching`` opens the guard of a GPU by
    its UUID; ``stopped`` returns whether another thread has interrupted the run.
    """

    engine: Engine
    folder: RunFolder
    view: View
    suite: str
    controls: frozenset[str]
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
        guard = stack.enter_context(_guard(setting, request)) if request.device == "gpu" else None
        streams = stack.enter_context(setting.folder.recording(path))
        writer = _Writer(setting, item, environment, streams, guard, log)
        discarded = writer.take(request)
        for _ in range(RETAKES):
            if not discarded or guard is None:
                break
            _settle(guard, setting.stopped)
            reasons = "; ".join(dict.fromkeys(discarded.values()))
            number = f"{len(discarded)} kernel{'s' * (len(discarded) > 1)}"
            setting.view.say(f"{label(item)}: the times of {number} are taken again ({reasons})")
            kernels = tuple(name for name in request.kernels if name in discarded)
            discarded = writer.take(dataclasses.replace(request, kernels=kernels, second_seed=False))
        writer.end()
    return writer.no_gpu


def _guard(setting: Setting, request: Request) -> AbstractContextManager[Guard]:
    uuid = str(request.gpu.get("uuid", ""))
    return setting.watching(uuid) if uuid else Guard(UnavailableGpu("the UUID of the GPU is not known"))


def _settle(guard: Guard, stopped: Callable[[], bool]) -> None:
    """Give the GPU some time to cool down or to become free."""
    end = time.monotonic() + SETTLE_S
    while guard.current_problem() and time.monotonic() < end and not stopped():
        time.sleep(_STEP_S)


class _Writer:
    """Writes the record of one round, from one request or several."""

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
        self._processes = 0
        self._seconds = 0.0
        self.no_gpu = ""

    def take(self, request: Request) -> dict[str, str]:
        """Execute a request and write its lines. Return the kernels whose times are discarded, each with the reason."""
        follower = _Follower(self._setting, label(self._item), self._guard)
        first = not self._processes

        def on_line(text: str) -> None:
            kind, row = follower.see(text)
            if kind == "header" and first:
                self._write(text)
            elif kind and kind not in ("header", "end"):
                self._pass_on(kind, row, text)
                if kind == "sample":
                    self._write_guard(row, follower.seen(row))

        execution = self._setting.engine.execute(self._environment, request, on_line, self._log)
        if not follower.header:
            message = f"The round gave no record (exit code {execution.exit_code})."
            raise EngineError(message, f"The end of its output is in {self._log}.")
        if not follower.ended:
            if self._setting.stopped():
                raise EngineError("The round was interrupted.")
            for row in _missing(request, follower, execution):
                self._pass_on("outcome", row)
        self._processes += max(follower.process, 1)
        self._seconds += follower.seconds
        self.no_gpu = self.no_gpu or (follower.no_gpu if request.device == "gpu" else "")
        timed = request.steady_s > 0 and request.device == "gpu"
        discarded = follower.discarded.items()
        return {name: reason for name, reason in discarded if timed and name not in self._setting.controls}

    def end(self) -> None:
        """Write the last line, which marks the round as complete."""
        self._write(line("end", {"seconds": round(self._seconds, 3), "processes": self._processes}))

    def _pass_on(self, kind: str, row: dict[str, Any], text: str = "") -> None:
        """Write a line as it came, or, in a retake, with the number that its process has in this record."""
        if self._processes or not text:
            body = {key: value for key, value in row.items() if key != "line"}
            text = line(kind, {**body, "process": int(row["process"]) + self._processes})
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
            self._pass_on("guard", {**name, "seen": seen})

    def _write(self, text: str) -> None:
        self._streams.lines.write(text)
        self._streams.lines.flush()


def _missing(request: Request, follower: _Follower, execution: Execution) -> list[dict[str, Any]]:
    """Return the outcomes that a process which died could not write."""
    if execution.oom_killed:
        return follower.missing(request, "oom", "the container reached its memory limit")
    message = f"the process ended with exit code {execution.exit_code}; the end of its output is in the log"
    return follower.missing(request, "crashed", message)


class _Follower(RecordReader):
    """Reads the lines of one request, shows its progress, and keeps what the guard saw.

    ``discarded`` has the kernels all of whose times were taken on a throttled or shared GPU, each with the reason.
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
        """Take one line and return its kind and content.

        Raises:
            EngineError: the column runs another suite than that of this checkout.
        """
        kind, row = self.follow(text)
        if self.strange:
            message = "The suite inside the column is not the one of this checkout."
            raise EngineError(message, "It was edited during the run: start the run again.")
        if kind == "kernel":
            self._since, self._times = time.monotonic(), {}
            self._view.kernel(self._label, str(row["kernel"]))
        elif kind == "outcome":
            self._end_kernel(row)
        return kind, row

    def seen(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """Return what the guard saw while a sample was taken; None for the second seed, and on a CPU."""
        if self._guard is None:
            return None
        start, role = self._since, str(row["role"])
        if role == "timing":
            self._guard.sample()  # a short pass may lie between two looks
        self._since = time.monotonic()
        if role == "second-seed":
            return None
        seen = self._guard.summary(start, self._since)
        self._times.setdefault(role, []).append(str(seen["discarded"]))
        return seen

    def _end_kernel(self, row: dict[str, Any]) -> None:
        """Decide whether the times of a kernel are discarded: those of its timing pass, or else of its first calls."""
        reasons = self._times.get("timing") or self._times.get("repetition") or []
        if row["outcome"] == "ok" and reasons and all(reasons):
            self.discarded[str(row["kernel"])] = reasons[-1]
