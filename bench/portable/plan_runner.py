"""Run the rounds and timing pairs of a plan one after the other, and resume where an earlier start was interrupted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.portable.errors import PortableError
from bench.portable.limited_log import LimitedLog
from bench.portable.lock import measuring_lock
from bench.portable.paired_timing import run_pair
from bench.portable.record_reader import NO_GPU, RecordReader
from bench.portable.run_folder import PlannedFolder, Recording, now
from bench.portable.scratch import remove_abandoned
from bench.portable.session import SilentError, follow, silence_limit_s, silence_message
from bench.portable.value_limits import ValueLimits
from bench.suite.record import line
from bench.suite.suite_hash import suite_hash

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bench.portable.launcher import Launcher
    from bench.portable.paired_timing import PairPlan
    from bench.portable.session import Session
    from bench.suite.kernel_files import Source
    from bench.suite.record import Request


def print_progress(text: str) -> None:
    """Print one line of progress to standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@dataclass(frozen=True)
class Job:
    """What is to be measured.

    ``run`` is run.json without id and times, with one column; ``requests`` are its rounds and ``pairs`` its timing
    pairs, in order. ``no_gpu`` says why this host has no GPU for the column, "" where it has one or none is needed. If
    it is set, only the first round is run: it records what TensorFlow sees. ``sources`` are the custom kernel files,
    which the run folder keeps.
    """

    run: dict[str, Any]
    requests: tuple[Request, ...]
    launcher: Launcher
    out: Path
    pairs: tuple[PairPlan, ...] = ()
    no_gpu: str = ""
    sources: tuple[Source, ...] = ()
    say: Callable[[str], None] = field(default=print_progress)


def run_rounds(job: Job) -> Path:
    """Run all rounds and pairs of a job that have no record yet; returns the run folder.

    Raises PortableError where a folder cannot be written, or a round gives no record.
    """
    parts = [*map(dataclasses.asdict, job.requests), *map(dataclasses.asdict, job.pairs)]
    plan = hashlib.sha256(json.dumps([job.run, parts], sort_keys=True).encode()).hexdigest()
    folder, resumed = PlannedFolder.open(job.out, plan)
    earlier = folder.info()
    info = {**job.run, "id": folder.id, "started": earlier.get("started") or now(), "finished": ""}
    info["warnings"] = list(earlier.get("warnings") or info["warnings"])
    folder.write_info(info)
    folder.keep_kernel_files(job.sources)
    limits = ValueLimits()
    limits.count_stored(folder.path)
    requests = [_with_run(request, folder.id) for request in job.requests]
    tasks: list[_Task] = [
        *(_Round(job, folder, request, limits) for request in requests),
        *(_Pair(job, folder, _pair_with_run(pair, folder.id)) for pair in job.pairs if not job.no_gpu),
    ]
    remaining = _remaining(folder, tasks, info)
    if resumed:
        finished = len(tasks) - len(remaining)
        job.say(f"resuming {folder.path}: {finished} of {len(tasks)} rounds and timing pairs are finished")
    gpus = {request.gpu["uuid"] for request in requests if request.gpu}
    remove_abandoned()
    with measuring_lock(job.say, sorted(gpus)):
        missing = _measure(job, remaining)
    if missing or job.no_gpu:
        info["columns"] = [{**column, "status": NO_GPU, "reason": job.no_gpu or missing} for column in info["columns"]]
    folder.write_info({**info, "finished": now()})
    return folder.path


def _remaining(folder: PlannedFolder, tasks: list[_Task], info: dict[str, Any]) -> list[_Task]:
    """Return what is to be run. If a kernel died in it, it is run again, and run.json gets a warning about it."""
    remaining, suite = [], suite_hash()
    for task in tasks:
        finished = task.finished(suite)
        failures = task.failures() if finished else []
        if failures:  # it may have been killed from outside, but the page must not lose it
            info["warnings"].append(
                f"{task.name} was measured again, because these failed the first time: {', '.join(failures)}"
            )
            folder.write_info(info)
        if failures or not finished:
            remaining.append(task)
    return remaining


def _with_run(request: Request, run: str) -> Request:
    return dataclasses.replace(request, context={**request.context, "run": run})


def _pair_with_run(pair: PairPlan, run: str) -> PairPlan:
    requests = {side: _with_run(request, run) for side, request in pair.requests.items()}
    return dataclasses.replace(pair, requests=requests)


def _measure(job: Job, remaining: list[_Task]) -> str:
    """Run what remains. Stop at the first without a required GPU and return the reason, else return ""."""
    start = time.monotonic()
    for number, task in enumerate(remaining[:1] if job.no_gpu else remaining, 1):
        task_start = time.monotonic()
        missing = task.run()
        seconds, elapsed = time.monotonic() - task_start, time.monotonic() - start
        left = elapsed / number * (len(remaining) - number)
        position = f"[{number}/{len(remaining)}]"
        job.say(f"{position} {task.name}  {seconds:.1f} s  elapsed {elapsed:.0f} s, left about {left:.0f} s")
        if missing:
            return missing
    return ""


class _Task:
    """One round or one timing pair of the plan."""

    name = ""

    def finished(self, suite: str) -> bool:
        """Return whether its record exists."""
        raise NotImplementedError

    def failures(self) -> list[str]:
        """Return the kernels that ended without a result in its record."""
        raise NotImplementedError

    def run(self) -> str:
        """Measure it into its record; returns why no GPU was seen, or ""."""
        raise NotImplementedError


class _Pair(_Task):
    """A timing pair; its record is written by ``bench.portable.paired_timing``."""

    def __init__(self, job: Job, folder: PlannedFolder, plan: PairPlan) -> None:
        self._job = job
        self._folder = folder
        self._plan = plan
        self._column = plan.requests["b"].column
        self.name = f"{self._column} timing pair {plan.name}"

    def finished(self, suite: str) -> bool:
        """Return whether its record exists."""
        return self._folder.has_pair(self._plan, suite)

    def failures(self) -> list[str]:
        """Return the kernels that ended without a result in its record."""
        return self._folder.pair_failures(self._plan)

    def run(self) -> str:
        """Measure it into its record; returns why no GPU was seen, or ""."""
        requests, folder = self._plan.requests, self._folder
        path = folder.pair_path(self._column, self._plan.name)
        with ExitStack() as stack:
            logs = {
                side: stack.enter_context(LimitedLog(folder.log_path(self._column, f"{self._plan.name}-{side}")))
                for side in requests
            }
            streams = stack.enter_context(folder.recording(path))

            def write(text: str) -> None:
                streams.lines.write(text)
                streams.lines.flush()

            def open_session(side: str, request: Request) -> AbstractContextManager[Session]:
                return self._job.launcher.open_session(request, logs[side])

            return run_pair(self._plan, open_session, suite_hash(), write)


class _Round(_Task):
    """A round; its driver writes its record."""

    def __init__(self, job: Job, folder: PlannedFolder, request: Request, limits: ValueLimits) -> None:
        self._job = job
        self._folder = folder
        self._request = request
        self._limits = limits
        self.name = f"{request.column} {request.variation} {request.mode} round {request.round}"

    def finished(self, suite: str) -> bool:
        """Return whether its record exists."""
        return self._folder.has(self._request, suite)

    def failures(self) -> list[str]:
        """Return the kernels that ended without a result in its record."""
        return self._folder.failures(self._request)

    def run(self) -> str:
        """Run the round into its record, and complete the record of a driver that died; see ``_Task.run``."""
        request, folder = self._request, self._folder
        log = folder.log_of(request)
        watch = Watch(suite_hash())
        with folder.recording(folder.record_of(request)) as streams, LimitedLog(log) as errors:
            limit_s = silence_limit_s(request)
            outcome, message = "crashed", ""
            with self._job.launcher.start(request, errors) as child:
                try:
                    code = follow(child, limit_s, _writer(request, streams, watch, self._limits))
                    message = f"the round ended with exit code {code}; the end of its log may say more"
                except SilentError:
                    outcome, message = "timeout", silence_message(limit_s)
            if not watch.header:
                raise PortableError(f"The round gave no record: {message}.", f"The end of {log} says more.")
            if not watch.ended:
                streams.lines.write(closing(request, watch, outcome, message))
        return watch.no_gpu if request.device == "gpu" else ""


def _writer(request: Request, streams: Recording, watch: Watch, limits: ValueLimits) -> Callable[[str], None]:
    """Return what writes a line of the driver to the record; stored values only within the limits."""
    group = (request.column, request.variation, request.mode)

    def write(text: str) -> None:
        kind, row = watch.read_line(text)
        if kind == "kept":
            if limits.accepts(group, row["kernel"], row["digest"], len(text)):
                streams.kept.write(text)
        elif kind:
            streams.lines.write(text)
            streams.lines.flush()

    return write


class Watch(RecordReader):
    """A RecordReader that also notices processes without a GPU, and refuses another version of the suite."""

    def read_line(self, text: str) -> tuple[str, dict[str, Any]]:
        """Take one line (see ``follow``); raises PortableError where the driver's suite is not this one."""
        kind, row = self.parse_line(text)
        if self.strange:
            message = "The round ran another version of the suite than this command uses."
            raise PortableError(
                message, "The suite's files were edited: unpack the bundle, or check out tfrepro, again."
            )
        if kind == "process" and "GPU" not in json.dumps(row["settings"].get("devices")):
            self.no_gpu = "TensorFlow lists no GPU among its devices"
        return kind, row


def closing(request: Request, watch: Watch, outcome: str, message: str) -> str:
    """Return the lines that a dead driver could not write: an outcome for every kernel without one, and the end."""
    ends = [line("outcome", row) for row in watch.missing(request, outcome, message)]
    return "".join(ends) + line("end", {"seconds": 0.0, "processes": max(watch.process, 1)})
