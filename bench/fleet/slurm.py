"""Slurm's command line clients: what the cluster has, submitting job arrays, their state, and cancelling them.

Jobs are found by their names, which contain the id of the fleet run, so that nothing is lost if the submitting process
is killed between two arrays. Only options and formats that every Slurm since 20.11 has are used.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.errors import ConfigError, EngineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from bench.fleet.state import Array, Fleet, FleetFolder
    from bench.plan.config_models import Fleet as FleetSettings

#: A client without a controller waits for minutes; most answer within a second.
CLIENT_S = 60.0
#: How long Slurm may take to end cancelled jobs: its KillWait is 30 s by default.
CANCEL_S = 180.0
#: Tasks of one array where Slurm does not say how many it allows: its own default.
_MAX_ARRAY = 1000
_POLL_S = 2.0
#: Variables that give clients other options than a script or command has: jobs would run elsewhere, or not be found.
#: Those of sbatch that name an account or a place remain; what [fleet] says is on the command line, which decides.
_OTHER_OPTIONS = re.compile("(SQUEUE|SCANCEL|SINFO)_.*|SBATCH_(?!(ACCOUNT|PARTITION|QOS|RESERVATION|CONSTRAINT)$).*")
#: What to try where a client fails; for the others, whether the controller answers.
_HINTS = {
    "sbatch": "Check partition, account and options of [fleet].",
    "scancel": "Jobs are cancelled by the user who submitted them. For other reasons, try: scontrol ping",
}
#: States of a task in which Slurm will not run it (again), although it is still listed.
_ENDED = frozenset(
    {"CANCELLED", "COMPLETED", "FAILED", "TIMEOUT", "DEADLINE", "OUT_OF_MEMORY", "BOOT_FAIL", "NODE_FAIL", "PREEMPTED"}
)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task of an array that Slurm still lists: its state (``PENDING``, ``RUNNING``), the reason, and its node."""

    state: str
    reason: str
    node: str

    @property
    def alive(self) -> bool:
        """Whether it runs or may still run."""
        return self.state not in _ENDED


def client(*words: str) -> str:
    """Run a client of Slurm and return what it prints.

    Raises:
        EngineError: it is not installed, fails, or has no answer within ``CLIENT_S``.
    """
    if shutil.which(words[0]) is None:
        message = f"Slurm's {words[0]} is not installed on this host."
        raise EngineError(message, "Submit from a login node of the cluster, or measure here without --engine slurm.")
    variables = {name: value for name, value in os.environ.items() if not _OTHER_OPTIONS.fullmatch(name)}
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=CLIENT_S,
            check=False,
            env=variables,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        printed = _shortened((error.stderr or b"").decode(errors="replace"))
        message = f"{words[0]} had no answer within {CLIENT_S:.0f} s{f': {printed}' if printed else '.'}"
        raise EngineError(message, "The controller may be down: `scontrol ping` says more. Try again later.") from error
    if done.returncode != 0:
        printed = _shortened(done.stderr or done.stdout) or f"exit code {done.returncode}"
        raise EngineError(f"{words[0]} failed: {printed}", _HINTS.get(words[0], "Try: scontrol ping"))
    return done.stdout


def _shortened(output: str) -> str:
    """Return what a client printed as one line for an error message."""
    return " ".join(output.split())[:1000]


def check_requests(arrays: Iterable[Array], settings: FleetSettings) -> None:
    """Refuse GPU models and nodes that the cluster does not have, before anything is submitted.

    Raises:
        ConfigError: a model or a node is unknown; the hint lists the cluster's own.
        EngineError: Slurm does not answer.
    """
    partition = ["--partition", settings.partition] if settings.partition else []
    rows = [line.split("|") for line in client("sinfo", "--noheader", "-N", "-o", "%N|%G", *partition).splitlines()]
    if not rows and partition:
        known = ", ".join(sorted(set(client("sinfo", "--noheader", "-o", "%R").split())))
        raise ConfigError(f"The cluster has no partition {settings.partition!r}.", f"Its partitions are: {known}.")
    nodes = {row[0].strip() for row in rows}
    models = {model for row in rows for model in _models(row)}
    where = f"The partition {settings.partition}" if settings.partition else "The cluster"
    for array in arrays:
        if array.gpu and array.gpu not in models:
            known = ", ".join(sorted(models)) or "none"
            raise ConfigError(f"{where} has no GPU model {array.gpu!r}.", f"Its models are: {known}.")
        if array.node and array.node not in nodes:
            raise ConfigError(f"{where} has no node {array.node!r}.", f"Its nodes are: {', '.join(sorted(nodes))}.")
        of_node = {model for row in rows if row[0].strip() == array.node for model in _models(row)}
        if array.gpu and array.node and array.gpu not in of_node:
            known = ", ".join(sorted(of_node)) or "none"
            raise ConfigError(f"The node {array.node} has no GPU model {array.gpu!r}.", f"Its models are: {known}.")


def _models(row: Sequence[str]) -> list[str]:
    """Return the GPU models of a row ``node|gres`` of sinfo."""
    return re.findall(r"\bgpu:(?!\d+(?:[(,]|$))([^:,()]+)", row[-1])


def most_tasks() -> int:
    """Return how many tasks an array of this cluster may have; raises EngineError if it has no arrays."""
    config = client("scontrol", "show", "config")
    size = re.search(r"^MaxArraySize\s*=\s*(\d+)", config, re.MULTILINE)
    limit = re.search(r"\bmax_array_tasks=(\d+)", config)
    if size and int(size[1]) == 0:
        raise EngineError("This cluster has no job arrays (MaxArraySize is 0).", "Ask its administrator for them.")
    most = max(int(size[1]) - 1, 1) if size else _MAX_ARRAY
    return min(most, int(limit[1])) if limit else most


def script(fleet: Fleet, array: Array, folder: FleetFolder, settings: FleetSettings) -> str:
    """Return the batch script of an array; raises ConfigError for a path that a container cannot mount."""
    options = {
        "--job-name": job_name(folder, array),
        "--array": f"0-{len(array.cells) - 1}",
        "--nodes": "1",
        "--ntasks": "1",
        "--time": str(array.limit_min),
        "--signal": f"B:TERM@{array.signal_s}",
        "--output": f"{str(folder.path).replace('%', '%%')}/logs/{array.name}-%a.txt",
        "--open-mode": "append",
        **({"--gres": f"gpu:{array.gpu}:1"} if array.gpu else {}),
        **({"--nodelist": array.node} if array.node else {}),
        **({"--cpus-per-task": str(settings.cpus)} if settings.cpus else {}),
        **({"--mem": settings.memory} if settings.memory else {}),
        **_place(settings),
    }
    flags = ["--requeue", *(["--exclusive"] if settings.exclusive else []), *settings.options]
    lines = [*(f'{name}="{value}"' for name, value in options.items()), *flags]
    node = [fleet.python, "-m", "bench.fleet.node", str(folder.path), array.name]
    if fleet.node_engine == "pyxis":
        files = (word for word in fleet.arguments if word.startswith("/"))
        places = dict.fromkeys([fleet.root, str(folder.path), *files, *([fleet.scratch] if fleet.scratch else [])])
        if odd := [place for place in places if re.search("[,:]", place)]:
            raise ConfigError(f"{odd[0]!r} has a comma or a colon, which a mount cannot name.", "Use another folder.")
        mounts = ",".join(f"{place}:{place}" for place in places)
        container = [f"--container-image={settings.image}", f"--container-mounts={mounts}", "--no-container-mount-home"]
        node = ["srun", *container, f"--container-workdir={fleet.root}", *node]
    head = "".join(f"#SBATCH {line}\n" for line in lines)
    return f"#!/bin/sh\n{head}cd {shlex.quote(fleet.root)} || exit 4\nexec {shlex.join(node)}\n"


def job_name(folder: FleetFolder, array: Array) -> str:
    """Return the name of an array's jobs."""
    return f"tfrepro-{folder.id}-{array.name}"


def _place(settings: FleetSettings) -> dict[str, str]:
    """Return the options of sbatch that say where and for whom jobs run."""
    return {f"--{key}": value for key in ("partition", "account", "qos") if (value := getattr(settings, key))}


def submit(path: Path, settings: FleetSettings) -> None:
    """Submit a batch script; raises EngineError with what Slurm says."""
    client("sbatch", "--parsable", *(f"{name}={value}" for name, value in _place(settings).items()), str(path))


def tasks(folder: FleetFolder, arrays: Sequence[Array]) -> dict[int, Task]:
    """Return the tasks that Slurm lists, by the number of their cell; the latest submission of a cell counts.

    Raises:
        EngineError: Slurm does not answer.
    """
    by_name = {job_name(folder, array): array for array in arrays}
    if not by_name:
        return {}
    found: dict[int, Task] = {}
    output = client(
        "squeue", "--noheader", "--array", "--states=all", "--sort=i", f"--name={','.join(by_name)}",
        "-o", "%j|%K|%T|%r|%N",
    )  # fmt: skip
    for row in (line.strip().split("|") for line in output.splitlines()):
        name, index, state, reason, node = (*row, "", "", "", "", "")[:5]
        if name in by_name and index.isdecimal() and int(index) < len(by_name[name].cells):
            number = by_name[name].cells[int(index)]
            task = Task(state=state, reason="" if reason == "None" else reason, node=node)
            if task.alive or number not in found or not found[number].alive:
                found[number] = task
    return found


def cancel(folder: FleetFolder, arrays: Sequence[Array]) -> None:
    """Cancel all jobs of a fleet run, and wait until none runs any more.

    Raises:
        EngineError: Slurm does not answer, or has not ended them within ``CANCEL_S``.
    """
    for array in arrays:
        client("scancel", f"--name={job_name(folder, array)}")
    deadline = time.monotonic() + CANCEL_S
    while left := [number for number, task in tasks(folder, arrays).items() if task.alive]:
        if time.monotonic() > deadline:
            message = f"{len(left)} jobs still run {CANCEL_S:.0f} s after they were cancelled."
            raise EngineError(message, f"See: squeue --name={job_name(folder, arrays[0])}")
        time.sleep(_POLL_S)
