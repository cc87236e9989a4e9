"""Measure one cell on a node: ``python -m bench.fleet.node FOLDER ARRAY``, as a task of a Slurm job array.

The run is measured on the node's own disk. Finished records are copied to the shared folder while it goes on, so that a
node that dies loses at most the round it was in, and the restarted job continues with the others.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.fleet import node_gpu
from bench.fleet.state import FAILED, MEASURED, REFUSED, RUNNING, STOPPED, CellState, FleetFolder, file_hash
from bench.portable import host_facts
from bench.portable.errors import CONFIG, ENGINE, INTERRUPTED, NOTHING, PortableError
from bench.portable.plan_runner import print_progress
from bench.portable.run_folder import now, write_atomic
from bench.portable.scratch import remove_abandoned, scratch_folder
from bench.portable.terminate import interrupt_on_signals
from bench.suite.suite_hash import suite_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.fleet.state import Cell, Fleet

#: Seconds between two copies of finished records.
COPY_EVERY_S = 30.0
#: How long copying is tried at the end, if the shared folder is full or does not answer; less once the job must end.
LAST_COPY_S, LAST_COPY_STOPPED_S = 600.0, 20.0
#: How long a stopped measurement gets to end its round and remove its container.
_END_S = 150.0
#: Slurm may warn a job that much too early, and the job began before this process.
_EARLY_S = 65.0


def main(arguments: list[str], job: Mapping[str, str]) -> int:
    """Measure the cell of a Slurm task; returns the exit code. ``job`` is the environment of the job."""
    interrupt_on_signals()
    folder = FleetFolder(Path(arguments[0]))
    try:
        fleet = folder.read()
        if (folder.path / "fleet.json").stat().st_uid != os.geteuid():
            message = f"{folder.path} belongs to another user, whose commands would run with your rights."
            raise PortableError(message, "Submit it yourself.", CONFIG)
        array = fleet.array(arguments[1])
        cell = fleet.cells[array.cells[int(job["SLURM_ARRAY_TASK_ID"])]]
    except PortableError as error:
        print_progress(f"error: {error}\n\nhint: {error.hint}")
        return error.code
    return NodeCell(folder, fleet, cell, job, array.limit_min * 60 - array.signal_s).run()


class NodeCell:
    """One cell on this node."""

    def __init__(self, folder: FleetFolder, fleet: Fleet, cell: Cell, job: Mapping[str, str], warning_s: float) -> None:
        """Take what is measured, and after how many seconds the job is warned of its time limit."""
        self._folder = folder
        self._fleet = fleet
        self._cell = cell
        self._job = job
        self._warned_at = time.monotonic() + warning_s - _EARLY_S
        self._copied: dict[Path, tuple[int, int]] = {}
        name = "_".join(job[key] for key in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID") if job.get(key))
        self._state = CellState(
            phase=RUNNING, host=job.get("SLURMD_NODENAME") or socket.gethostname().partition(".")[0], job=name,
            attempt=int(job.get("SLURM_RESTART_COUNT") or 0), gpu=job.get("SLURM_JOB_GPUS", ""), started=now(),
            run=folder.state(cell.number).run,
        )  # fmt: skip

    def run(self) -> int:
        """Measure and report; returns the exit code."""
        self._report()
        for part in self._folder.cell(self._cell.number).rglob(".*.part"):  # of a node that died while it wrote
            part.unlink(missing_ok=True)
        try:
            uuid = self._check()
            if self._fleet.scratch:
                tempfile.tempdir = self._fleet.scratch
            remove_abandoned()
            with scratch_folder("cell") as scratch:
                code, message = self._measure(scratch / "reports", uuid)
        except PortableError as error:
            self._report(phase=REFUSED, message=f"{error} {error.hint}")
            return error.code
        except OSError as error:
            self._report(phase=FAILED, message=f"{error}: check the disk of the node, and scratch in [fleet].")
            return ENGINE
        except KeyboardInterrupt:  # before anything was measured
            self._report(phase=STOPPED, message=self._why_stopped())
            return INTERRUPTED
        phase = {0: MEASURED, INTERRUPTED: STOPPED}.get(code, FAILED)
        self._report(phase=phase, message=message or self._few_cores())
        return code

    def _check(self) -> str:
        """Return the UUID of the GPU to measure, "" for none; raises PortableError where the cell must not run."""
        fleet, cell = self._fleet, self._cell
        if self._folder.cancelled.exists():
            raise PortableError("The fleet run was cancelled.", "Submit it again to measure.", CONFIG)
        if suite_hash() != fleet.suite_hash:
            raise PortableError("The checkout changed after it was submitted.", "Submit again.", CONFIG)
        submitted = [(Path(fleet.matrix), fleet.matrix_hash)] if fleet.matrix else []
        submitted += [(Path(fleet.root, "docker", "locks", cell.lock), cell.lock_hash)] if cell.lock else []
        for path, content in submitted:
            if file_hash(path) != content:
                raise PortableError(f"{path} changed after it was submitted.", "Submit again.", CONFIG)
        if fleet.device == "cpu":
            return ""
        inventory = host_facts.gpu_inventory()
        gpu = node_gpu.allocated(self._job, inventory, lambda: node_gpu.known_to_slurm(self._state.host))
        self._report(gpu=f"{gpu.name} {gpu.uuid}", driver=inventory.driver)
        wrong = node_gpu.wrong_driver(cell.driver, inventory.driver)
        if wrong:
            raise PortableError(f"{self._state.host} was not measured: {wrong}.", "Correct driver or nodes there.")
        users = node_gpu.wait_until_free(gpu, fleet.wait_for_gpu_s, print_progress)
        if users:
            message = f"{gpu.name} {gpu.uuid} is still used by process {users} after {fleet.wait_for_gpu_s:.0f} s."
            raise PortableError(message, "That process does not belong to this job: ask the administrator of the node.")
        return gpu.uuid

    def _measure(self, reports: Path, uuid: str) -> tuple[int, str]:
        """Measure into ``reports`` on the node's own disk; returns the exit code, and why the run is not complete."""
        shared = self._folder.reports(self._cell.number)
        if shared.is_dir():  # of an earlier attempt, whose finished rounds are not measured again on the same device
            shutil.copytree(shared, reports)
            self._copied = {file: _facts(file) for file in reports.rglob("*") if file.is_file()}
        log = self._folder.cell(self._cell.number) / "log.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        stopped = ""
        with log.open("ab") as output:
            child = subprocess.Popen(
                self._command(reports, uuid), cwd=self._fleet.root, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True, env=self._environment(uuid),
            )  # fmt: skip
            try:
                self._follow(child, reports)
            except KeyboardInterrupt:
                stopped = self._why_stopped()
            finally:
                _end(child)
        trouble = self._copy_last(reports, LAST_COPY_STOPPED_S if stopped else LAST_COPY_S)
        if trouble or stopped:
            return INTERRUPTED if stopped and not trouble else ENGINE, trouble or stopped
        complete = child.returncode == 0 or (child.returncode == NOTHING and _finished(reports))
        return (0, "") if complete else (child.returncode, _last_error(log, child.returncode))

    def _follow(self, child: subprocess.Popen[bytes], reports: Path) -> None:
        """Wait for a measurement without a limit, because each of its rounds has one, and copy what it finishes."""
        while True:
            with suppress(subprocess.TimeoutExpired):
                child.wait(timeout=COPY_EVERY_S)
                return
            try:
                self._copy(reports)
            except OSError as error:
                print_progress(f"{self._folder.path} cannot be written: {error}; tried again later")
            self._report()

    def _command(self, reports: Path, uuid: str) -> list[str]:
        """Return the command line that measures the cell."""
        fleet, cell = self._fleet, self._cell
        host = ["--host-name", re.sub("[^A-Za-z0-9.-]", "-", self._state.host)]  # Slurm's names may have underscores
        python = [fleet.python or sys.executable, "-m", "bench"]
        if not cell.pair:
            device = ["--device", "gpu" if uuid else "cpu"]
            return [*python, "local", "--out", str(reports), *host, *device, *fleet.arguments]
        fixed = ["--env", cell.pair, "--device", uuid or "cpu", "--reports", str(reports), "--fail-on", "none"]
        fixed += ["--engine", fleet.node_engine, *host]
        if fleet.registry:
            fixed += ["--from-registry", "@".join(filter(None, (fleet.registry, cell.image)))]
        return [*python, "matrix", *fixed, *fleet.arguments]

    def _environment(self, uuid: str) -> dict[str, str]:
        """Return the environment of the measurement; ``local`` measures the GPU that CUDA shows first."""
        shown = {"CUDA_VISIBLE_DEVICES": uuid} if uuid and not self._cell.pair else {}
        return {**self._job, "PYTHONUNBUFFERED": "1", **shown}

    def _copy(self, reports: Path, *, logs: bool = False) -> None:
        """Copy finished files of runs to the shared folder, run.json after the records; raises OSError."""
        shared = self._folder.reports(self._cell.number)
        for folder in sorted((reports / "runs").glob("*")):
            files = [file for file in folder.rglob("*") if file.is_file() and not file.name.endswith(".part")]
            for file in sorted(files, key=lambda file: (file.name == "run.json", file)):
                facts = _facts(file)
                growing = file.relative_to(folder).parts[0] == "logs"
                if self._copied.get(file) != facts and (logs or not growing):
                    write_atomic(shared / file.relative_to(reports), file.read_bytes())
                    self._copied[file] = facts
                    if file == folder / "run.json":  # of this attempt: those of earlier ones do not change
                        self._state = replace(self._state, run=folder.name)

    def _copy_last(self, reports: Path, limit_s: float) -> str:
        """Copy everything, again and again if the shared folder cannot be written; returns what went wrong, or "".

        A signal shortens the time for that: the job ends soon.
        """
        deadline, trouble = time.monotonic() + limit_s, ""
        while not trouble or time.monotonic() < deadline:
            try:
                if trouble:
                    time.sleep(min(5.0, limit_s / 4))
                self._copy(reports, logs=True)
            except OSError as error:
                trouble = str(error)
            except KeyboardInterrupt:
                deadline = min(deadline, time.monotonic() + LAST_COPY_STOPPED_S)
            else:
                return ""
        kept = Path(tempfile.mkdtemp(prefix=f"tfrepro-records-{self._fleet.id}-{self._cell.number}-"))
        reports.rename(kept)  # needs no space, which the disk may not have
        return f"The shared folder cannot be written ({trouble}); the records are kept on the node in {kept}."

    def _report(self, **changes: Any) -> None:
        """Write how far the cell is; a shared folder that cannot be written must not end the measurement."""
        self._state = replace(self._state, updated=now(), **changes)
        if "message" in changes and self._state.message:
            print_progress(self._state.message)
        written = time.time()
        shared = self._folder.state(self._cell.number)
        if shared.job == self._state.job and shared.attempt > self._state.attempt:
            return  # Slurm lost this node and started the cell again elsewhere
        try:
            file = self._folder.write_state(self._cell.number, self._state)
            # the time of a file is that of the shared folder's clock; the next report has the difference
            self._state = replace(self._state, clock_s=round(written - file.stat().st_mtime, 1))
        except (PortableError, OSError) as error:
            print_progress(f"error: {error}")

    def _few_cores(self) -> str:
        """Return a remark about a job with one core, "" for any other."""
        one = len(os.sched_getaffinity(0)) == 1
        return "The job had one core, so races between threads cannot show: set cpus in [fleet]." if one else ""

    def _why_stopped(self) -> str:
        if self._folder.cancelled.exists():
            return "It was cancelled."
        if time.monotonic() >= self._warned_at:
            return "It reached its time limit; finished rounds are kept."
        return "Its job was stopped: preempted, or cancelled in Slurm. Finished rounds are kept."


def _facts(file: Path) -> tuple[int, int]:
    """Return size and time of a file, by which a change is noticed."""
    return file.stat().st_size, file.stat().st_mtime_ns


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a measurement that still runs, and whatever is left of its process group."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=_END_S)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _finished(reports: Path) -> bool:
    """Return whether the newest run has ended; it may have no result, which its page explains."""
    newest = max((reports / "runs").glob("*/run.json"), default=None)
    with suppress(OSError, ValueError):
        return bool(newest and json.loads(newest.read_text(encoding="utf-8"))["finished"])
    return False


def _last_error(log: Path, code: int) -> str:
    """Return the last error in a log, else the exit code."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    found = next((line for line in reversed(lines) if line.startswith("error: ")), f"exit code {code}")
    return f"{found.removeprefix('error: ')} See {log}."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], dict(os.environ)))
