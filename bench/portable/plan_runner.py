"""Plays the rounds of a plan one after the other, and goes on where it was stopped."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.portable.errors import PortableError
from bench.portable.host_lock import measuring_lock
from bench.portable.record_reader import NO_GPU, RecordReader
from bench.portable.run_folder import Folder, Recording, now
from bench.portable.value_limits import Keeper
from bench.suite.record import line
from bench.suite.suite_hash import suite_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from bench.portable.launcher import Launcher
    from bench.suite.record import Request


def tell(text: str) -> None:
    """One line of progress on standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@dataclass(frozen=True)
class Job:
    """What is to be measured.

    ``run`` is run.json but for id and times, with one column; ``requests`` are its rounds, in order. ``no_gpu`` says why
    this host has no GPU for the column, "" where it has one or none is needed: then one round is played, for what the
    inside of the column says, and no more.
    """

    run: dict[str, Any]
    requests: tuple[Request, ...]
    launcher: Launcher
    out: Path
    no_gpu: str = ""
    say: Callable[[str], None] = field(default=tell)


def play(job: Job) -> Path:
    """Play all rounds of a job; returns its run folder.

    Raises PortableError where a folder cannot be written, or a round gives no record.
    """
    asked = [dataclasses.asdict(request) for request in job.requests]
    plan = hashlib.sha256(json.dumps([job.run, asked], sort_keys=True).encode()).hexdigest()
    folder, known = Folder.open(job.out, plan)
    before = folder.info()
    info = {**job.run, "id": folder.id, "started": before.get("started") or now(), "finished": ""}
    info["warnings"] = list(before.get("warnings") or info["warnings"])
    folder.write_info(info)
    keeper = Keeper()
    keeper.recall(folder.path)
    requests = [_named(request, folder.id) for request in job.requests]
    left = _left(folder, requests, info)
    if known:
        job.say(f"going on in {folder.path}: {len(requests) - len(left)} of {len(requests)} rounds are there")
    gpus = {request.gpu["uuid"] for request in requests if request.gpu}
    with measuring_lock(job.say, sorted(gpus)):
        missing = _measure(job, folder, left, keeper)
    if missing or job.no_gpu:
        info["columns"] = [{**column, "status": NO_GPU, "reason": job.no_gpu or missing} for column in info["columns"]]
    folder.write_info({**info, "finished": now()})
    return folder.path


def _left(folder: Folder, requests: list[Request], info: dict[str, Any]) -> list[Request]:
    """The rounds that are still to be played; a death is played again, and run.json says so."""
    left, suite = [], suite_hash()
    for request in requests:
        there = folder.has(request, suite)
        died = folder.died(request) if there else []
        if died:  # it may have been killed from outside, but the page must not forget it
            info["warnings"].append(f"{_name(request)} was measured again; first there died {', '.join(died)}")
            folder.write_info(info)
        if died or not there:
            left.append(request)
    return left


def _named(request: Request, run: str) -> Request:
    return dataclasses.replace(request, context={**request.context, "run": run})


def _name(request: Request) -> str:
    return f"{request.column} {request.variation} {request.mode} round {request.round}"


def _measure(job: Job, folder: Folder, left: list[Request], keeper: Keeper) -> str:
    """Play what is left; why TensorFlow saw no GPU where it should have, else "". Nothing is measured after that."""
    start = time.monotonic()
    for number, request in enumerate(left[:1] if job.no_gpu else left, 1):
        begun = time.monotonic()
        missing = _round(job, folder, request, keeper)
        took, spent = time.monotonic() - begun, time.monotonic() - start
        rest = spent / number * (len(left) - number)
        job.say(
            f"[{number}/{len(left)}] {_name(request)}  {took:.1f} s  elapsed {spent:.0f} s, left about {rest:.0f} s"
        )
        if missing:
            return missing
    return ""


def _round(job: Job, folder: Folder, request: Request, keeper: Keeper) -> str:
    """One round into its record, closed with what is known of its end where its driver died."""
    log = folder.log_path(request)
    watch = Watch(suite_hash())
    with folder.recording(request) as streams, log.open("a", encoding="utf-8") as errors:
        with job.launcher.start(request, errors) as child:
            _follow(child.stdout or (), request, streams, watch, keeper)
            code = child.wait()
        if not watch.header:
            message = f"The round gave no record (exit code {code})."
            raise PortableError(message, f"Its last words are in {log}.")
        if not watch.ended:
            streams.lines.write(closing(request, watch, code))
    return watch.no_gpu if request.device == "gpu" else ""


def _follow(texts: Iterable[str], request: Request, streams: Recording, watch: Watch, keeper: Keeper) -> None:
    """Write the driver's lines as they come."""
    group = (request.column, request.variation, request.mode)
    for text in texts:
        kind, row = watch.see(text)
        if kind == "kept":
            if keeper.wants(group, row["kernel"], row["digest"], len(text)):
                streams.kept.write(text)
        elif kind:
            streams.lines.write(text)
            streams.lines.flush()


class Watch(RecordReader):
    """Also says that there is no GPU where a process lists none among its devices, and refuses another suite."""

    def see(self, text: str) -> tuple[str, dict[str, Any]]:
        """Take one line (see ``follow``); raises PortableError where the driver runs another suite than this one."""
        kind, row = self.follow(text)
        if self.strange:
            message = "The suite that ran is not the one that plays."
            raise PortableError(message, "One of the two was edited: take the bundle, or the checkout, afresh.")
        if kind == "process" and "GPU" not in json.dumps(row["settings"].get("devices")):
            self.no_gpu = "TensorFlow lists no GPU among its devices"
        return kind, row


def closing(request: Request, watch: Watch, code: int) -> str:
    """The lines a dead driver could not write: an outcome for every kernel without one, and the end."""
    message = f"the round ended with exit code {code}; its last words are in the log"
    ends = [line("outcome", row) for row in watch.missing(request, "crashed", message)]
    return "".join(ends) + line("end", {"seconds": 0.0, "processes": max(watch.process, 1)})
