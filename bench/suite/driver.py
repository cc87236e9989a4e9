"""The driver: starts the worker processes of a round, survives their crashes and enforces time limits.

It is started in the column as ``python -m bench.suite.driver REQUEST``. The record goes to standard output, everything
else to standard error. It uses only the standard library, so that a crash of TensorFlow cannot take it down.

Kernels of the suite share a process until one of them leaves something behind; each custom kernel has a process of its
own. Nothing survives a process: the driver adopts and kills its descendants and deletes its temporary files.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from bench.suite import left_behind, private_tmp, processes
from bench.suite.record import RECORD_CLOSED, RESTART, SCHEMA, Request, line
from bench.suite.suite_hash import suite_hash

#: Seconds a worker may take before its first kernel, including the import of TensorFlow from a cold disk.
START_LIMIT_S = 300.0
#: Seconds a worker may take to end after its last kernel; it then lists the libraries that it has loaded.
END_LIMIT_S = 30.0
#: Seconds between the end of a worker's output and the end of the worker, in either order.
GRACE_S = 2.0
_POLL_S = 1.0


def main(arguments: List[str]) -> int:
    """Run one round to its end; returns 0 whenever the record is complete."""
    request = Request.from_json(arguments[0])
    start = time.perf_counter()
    processes.adopt_orphans()
    signal.signal(signal.SIGTERM, _stop)
    emit(line("header", {"schema": SCHEMA, "request": json.loads(request.to_json()), "suite_hash": suite_hash()}))
    process = 0
    for group in process_groups(request):
        remaining = group
        while remaining:
            process += 1
            remaining = Worker(request, remaining, process).run()
    emit(line("end", {"seconds": round(time.perf_counter() - start, 3), "processes": process}))
    return 0


def process_groups(request: Request) -> List[List[str]]:
    """Return the kernels that may share a process: those of the suite, then each custom kernel alone."""
    suite = [name for name in request.kernels if name not in request.kernel_files]
    alone = [[name] for name in request.kernels if name in request.kernel_files]
    return [suite, *alone] if suite else alone


class Worker:
    """One worker process and the kernels that it still has to run."""

    def __init__(self, request: Request, kernels: List[str], process: int) -> None:
        self.request = request
        self.remaining = kernels
        self.process = process
        self.current = ""
        self.ended = 0  # kernels that have ended in this process
        self.restart = self.output_closed = self.output_ended = False
        self.lines: queue.Queue[Optional[str]] = queue.Queue()
        self.last_event = time.perf_counter()

    def run(self) -> List[str]:
        """Run until the process ends; returns the kernels that a new process must run."""
        with private_tmp.place(keep_cuda_cache=self.request.device == "gpu") as place:
            oom_kills_before = oom_kills()
            child = self._start(place)
            threading.Thread(target=self._read, args=(child,), daemon=True).start()
            timed_out = True
            try:
                timed_out = self._follow(child)
            finally:
                child.kill()
                code = child.wait()
                survivors = processes.kill_descendants()
            self._drain()
        if self.remaining and (self.current or not self.ended):
            out_of_memory = oom_kills() > oom_kills_before
            self._write_death(code, survivors, timed_out=timed_out, out_of_memory=out_of_memory)
        elif self.remaining and not self.restart:
            sys.stderr.write(f"\ntfrepro: process {self.process} ended with {ending(code)} between two kernels\n")
        return self.remaining  # fewer than before, so the number of processes is bounded

    def _follow(self, child: subprocess.Popen[str]) -> bool:
        """Forward lines until the process ends; returns whether it exceeded a time limit.

        The end of the process counts, not the end of its output: a child of a kernel may hold the pipe open, and a
        kernel may close it.
        """
        parent = os.getppid()
        while child.poll() is None:
            try:
                text = self.lines.get(timeout=_POLL_S)
            except queue.Empty:
                if os.getppid() != parent:
                    raise SystemExit(1) from None  # the process that requested this round is gone
                text = ""
            if text is None:
                self.output_ended = True
                return self._await_end(child)
            self._forward(text)
            if self._elapsed() > self._limit():
                return True
        return False

    def _await_end(self, child: subprocess.Popen[str]) -> bool:
        """Wait briefly for the end of a process whose output has ended. If it goes on, it cannot report any more."""
        try:
            child.wait(timeout=GRACE_S)
        except subprocess.TimeoutExpired:
            self.output_closed = True
        return False

    def _drain(self) -> None:
        """Forward the lines that the process wrote before its end."""
        deadline = time.perf_counter() + GRACE_S
        while not self.output_ended:
            try:
                text = self.lines.get(timeout=max(0.0, deadline - time.perf_counter()))
            except queue.Empty:
                return  # a process that could not be killed holds the pipe open
            self.output_ended = text is None
            self._forward(text or "")

    def _start(self, place: private_tmp.Place) -> subprocess.Popen[str]:
        processes.skip_process_ids()
        environment = process_environment(self.request, place.environment)
        request = json.loads(self.request.to_json())
        request["kernels"] = self.remaining
        command = [sys.executable, "-m", "bench.suite.worker_start", str(os.getpid()), str(place.folder or "")]
        return subprocess.Popen(
            [*command, json.dumps(request), str(self.process)],
            cwd=place.directory, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            text=True, encoding="utf-8", errors="replace",
        )  # fmt: skip

    def _read(self, child: subprocess.Popen[str]) -> None:
        for text in child.stdout or ():
            self.lines.put(text)
        self.lines.put(None)

    def _forward(self, text: str) -> None:
        """Forward a line of the worker and update the worker's progress from it."""
        try:
            row: Dict[str, Any] = json.loads(text)
            kind = row["line"]
        except (ValueError, TypeError, KeyError):
            return  # the truncated last line of a process that died, or text that a kernel wrote
        if kind == RESTART:
            self.restart = True
            return
        emit(text)
        if kind == "kernel":
            self.current = row["kernel"]
            self.last_event = time.perf_counter()
        elif kind == "outcome":
            self.remaining = [name for name in self.remaining if name != row["kernel"]]
            self.current = ""
            self.ended += 1
            self.last_event = time.perf_counter()

    def _elapsed(self) -> float:
        return time.perf_counter() - self.last_event

    def _limit(self) -> float:
        if self.current:
            return self.request.time_limit_s
        return START_LIMIT_S if self.remaining and not self.restart else END_LIMIT_S

    def _write_death(self, code: int, survivors: List[str], *, timed_out: bool, out_of_memory: bool) -> None:
        """Write the outcome of the current kernel, or of all remaining kernels if the worker died before the first."""
        if timed_out:
            outcome, message = "timeout", f"stopped at its time limit of {self._limit():g} s"
        elif self.output_closed or code == RECORD_CLOSED:
            outcome, message = "crashed", "the kernel closed a file descriptor of its process that it did not open"
        elif out_of_memory:
            outcome, message = "oom", "the system's out-of-memory killer ended the process"
        else:
            outcome, message = "crashed", f"the process ended with {ending(code)}; see the end of its log"
        sys.stderr.write(death_marker(self.current or self.remaining[0], outcome))
        sys.stderr.flush()
        for name in [self.current] if self.current else self.remaining:
            body = {
                "process": self.process,
                "kernel": name,
                "outcome": outcome,
                "seconds": round(self._elapsed(), 3),
                "error_class": "",
                "message": message,
                **({"left_behind": [left_behind.running(survivors)]} if survivors and self.current else {}),
            }
            emit(line("outcome", body))
        self.remaining = [name for name in self.remaining if name != self.current] if self.current else []


def process_environment(request: Request, place: Mapping[str, str]) -> Dict[str, str]:
    """Return the environment variables of a process that measures: this process's, its place's and the request's."""
    environment = {**os.environ, **place, **request.env}
    for name in ("TF_DETERMINISTIC_OPS", "TF_CUDNN_DETERMINISTIC"):
        environment.pop(name, None)
    if request.mode == "on" and request.switch == "env":
        environment["TF_DETERMINISTIC_OPS"] = "1"
    return environment


def _stop(number: int, _frame: object) -> None:
    """End the driver on a signal through its clean-up, which kills the worker and its descendants."""
    raise SystemExit(128 + number)


def death_marker(kernel: str, outcome: str) -> str:
    """Return the line that marks the end of a dead process in the log, before the output of the next process."""
    return f"\ntfrepro: {kernel}: {outcome}\n"


def ending(code: int) -> str:
    """Describe an exit status: ``SIGABRT`` for -6, ``exit code 3`` for 3."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:  # real-time signals have no name
        return f"signal {-code}"


def oom_kills() -> int:
    """Return how many processes of this control group the out-of-memory killer ended; 0 if unknown."""
    for name in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        try:
            rows = Path(name).read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        for row in rows:
            if row.startswith("oom_kill "):
                return int(row.split()[1])
    return 0


def emit(text: str) -> None:
    """Write one line of the record and flush it."""
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
