"""Run the rounds of a plan one after the other, and resume where an earlier start was interrupted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.portable.errors import PortableError
from bench.portable.lock import measuring_lock
from bench.portable.record_reader import NO_GPU, RecordReader
from bench.portable.run_folder import PlannedFolder, Recording, now
from bench.portable.value_limits import ValueLimits
from bench.suite.record import line
from bench.suite.suite_hash import suite_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from bench.portable.launcher import Launcher
    from bench.suite.record import Request


def print_progress(text: str) -> None:
    """Print one line of progress to standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@dataclass(frozen=True)
class Job:
    """What is to be measured.

    ``run`` is run.json without id and times, with one column; ``requests`` are its rounds, in order. ``no_gpu`` says
    why this host has no GPU for the column, "" where it has one or none is needed. If it is set, only the first round
    is run: it records what TensorFlow sees.
    """

    run: dict[str, Any]
    requests: tuple[Request, ...]
    launcher: Launcher
    out: Path
    no_gpu: str = ""
    say: Callable[[str], None] = field(default=print_progress)


def run_rounds(job: Job) -> Path:
    """Run all rounds of a job that have no record yet; returns the run folder.

    Raises PortableError where a folder cannot be written, or a round gives no record.
    """
    rounds = [dataclasses.asdict(request) for request in job.requests]
    plan = hashlib.sha256(json.dumps([job.run, rounds], sort_keys=True).encode()).hexdigest()
    folder, resumed = PlannedFolder.open(job.out, plan)
    earlier = folder.info()
    info = {**job.run, "id": folder.id, "started": earlier.get("started") or now(), "finished": ""}
    info["warnings"] = list(earlier.get("warnings") or info["warnings"])
    folder.write_info(info)
    limits = ValueLimits()
    limits.count_stored(folder.path)
    requests = [_with_run(request, folder.id) for request in job.requests]
    remaining = _remaining(folder, requests, info)
    if resumed:
        finished = len(requests) - len(remaining)
        job.say(f"resuming {folder.path}: {finished} of {len(requests)} rounds are finished")
    gpus = {request.gpu["uuid"] for request in requests if request.gpu}
    with measuring_lock(job.say, sorted(gpus)):
        missing = _measure(job, folder, remaining, limits)
    if missing or job.no_gpu:
        info["columns"] = [{**column, "status": NO_GPU, "reason": job.no_gpu or missing} for column in info["columns"]]
    folder.write_info({**info, "finished": now()})
    return folder.path


def _remaining(folder: PlannedFolder, requests: list[Request], info: dict[str, Any]) -> list[Request]:
    """Return the rounds to run. One in which a kernel died is run again, and run.json gets a warning about it."""
    remaining, suite = [], suite_hash()
    for request in requests:
        finished = folder.has(request, suite)
        failures = folder.failures(request) if finished else []
        if failures:  # it may have been killed from outside, but the page must not lose it
            info["warnings"].append(
                f"{_name(request)} was measured again, because these failed the first time: {', '.join(failures)}"
            )
            folder.write_info(info)
        if failures or not finished:
            remaining.append(request)
    return remaining


def _with_run(request: Request, run: str) -> Request:
    return dataclasses.replace(request, context={**request.context, "run": run})


def _name(request: Request) -> str:
    return f"{request.column} {request.variation} {request.mode} round {request.round}"


def _measure(job: Job, folder: PlannedFolder, remaining: list[Request], limits: ValueLimits) -> str:
    """Run the remaining rounds. Stop at the first without a required GPU and return the reason, else return ""."""
    start = time.monotonic()
    for number, request in enumerate(remaining[:1] if job.no_gpu else remaining, 1):
        round_start = time.monotonic()
        missing = _round(job, folder, request, limits)
        seconds, elapsed = time.monotonic() - round_start, time.monotonic() - start
        left = elapsed / number * (len(remaining) - number)
        position = f"[{number}/{len(remaining)}]"
        job.say(f"{position} {_name(request)}  {seconds:.1f} s  elapsed {elapsed:.0f} s, left about {left:.0f} s")
        if missing:
            return missing
    return ""


def _round(job: Job, folder: PlannedFolder, request: Request, limits: ValueLimits) -> str:
    """Run one round into its record, completing the record of a driver that died; why no GPU was seen, or ""."""
    log = folder.log_of(request)
    watch = Watch(suite_hash())
    with folder.recording(folder.record_of(request)) as streams, log.open("a", encoding="utf-8") as errors:
        with job.launcher.start(request, errors) as child:
            _write(child.stdout or (), request, streams, watch, limits)
            code = child.wait()
        if not watch.header:
            message = f"The round gave no record (exit code {code})."
            raise PortableError(message, f"The end of {log} says more.")
        if not watch.ended:
            streams.lines.write(closing(request, watch, code))
    return watch.no_gpu if request.device == "gpu" else ""


def _write(texts: Iterable[str], request: Request, streams: Recording, watch: Watch, limits: ValueLimits) -> None:
    """Write the driver's lines as they come; stored values only within the limits."""
    group = (request.column, request.variation, request.mode)
    for text in texts:
        kind, row = watch.see(text)
        if kind == "kept":
            if limits.accepts(group, row["kernel"], row["digest"], len(text)):
                streams.kept.write(text)
        elif kind:
            streams.lines.write(text)
            streams.lines.flush()


class Watch(RecordReader):
    """A RecordReader that also notices processes without a GPU, and refuses another version of the suite."""

    def see(self, text: str) -> tuple[str, dict[str, Any]]:
        """Take one line (see ``follow``); raises PortableError where the driver's suite is not this one."""
        kind, row = self.follow(text)
        if self.strange:
            message = "The round ran another version of the suite than this command uses."
            raise PortableError(
                message, "The suite's files were edited: unpack the bundle, or check out tfrepro, again."
            )
        if kind == "process" and "GPU" not in json.dumps(row["settings"].get("devices")):
            self.no_gpu = "TensorFlow lists no GPU among its devices"
        return kind, row


def closing(request: Request, watch: Watch, code: int) -> str:
    """Return the lines that a dead driver could not write: an outcome for every kernel without one, and the end."""
    message = f"the round ended with exit code {code}; the end of its log may say more"
    ends = [line("outcome", row) for row in watch.missing(request, "crashed", message)]
    return "".join(ends) + line("end", {"seconds": 0.0, "processes": max(watch.process, 1)})
