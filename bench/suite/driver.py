"""The driver: starts the worker processes of a round, survives their crashes and enforces time limits.

It is started in the column as ``python -m bench.suite.driver REQUEST``. The record goes to standard output, everything
else to standard error. It uses only the standard library, so that a crash of TensorFlow cannot take it down.
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
from typing import Any, Dict, List, Optional

from bench.suite.record import RESTART, SCHEMA, Request, line
from bench.suite.suite_hash import suite_hash

#: Seconds a worker may take before its first kernel, including the import of TensorFlow from a cold disk.
START_LIMIT_S = 300.0
_POLL_S = 1.0


def main(arguments: List[str]) -> int:
    """Run one round to its end; returns 0 whenever the record is complete."""
    request = Request.from_json(arguments[0])
    start = time.perf_counter()
    emit(line("header", {"schema": SCHEMA, "request": json.loads(request.to_json()), "suite_hash": suite_hash()}))
    remaining = list(request.kernels)
    process = 0
    while remaining:
        process += 1
        remaining = Worker(request, remaining, process).run()
    emit(line("end", {"seconds": round(time.perf_counter() - start, 3), "processes": process}))
    return 0


class Worker:
    """One worker process and the kernels that it still has to run."""

    def __init__(self, request: Request, kernels: List[str], process: int) -> None:
        self.request = request
        self.remaining = kernels
        self.process = process
        self.current = ""
        self.lines: queue.Queue[Optional[str]] = queue.Queue()
        self.last_event = time.perf_counter()

    def run(self) -> List[str]:
        """Run until the process ends; returns the kernels that a new process must run."""
        child = self._start()
        oom_kills_before = oom_kills()
        threading.Thread(target=self._read, args=(child,), daemon=True).start()
        parent = os.getppid()
        timed_out = False
        try:
            while True:
                try:
                    text = self.lines.get(timeout=_POLL_S)
                except queue.Empty:
                    if os.getppid() != parent:
                        raise SystemExit(1) from None  # the process that requested this round is gone
                    if self._elapsed() > self._limit():
                        timed_out = True
                        break
                    continue
                if text is None:
                    child.wait(timeout=START_LIMIT_S)  # the pipe is closed before the process ends
                    break
                self._forward(text)
                if self._elapsed() > self._limit():  # it still writes lines, but is over its limit
                    timed_out = True
                    break
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            child.kill()
            code = child.wait()
        if self.remaining and code != RESTART:
            self._write_death(code, timed_out=timed_out, out_of_memory=oom_kills() > oom_kills_before)
        return self.remaining

    def _start(self) -> subprocess.Popen[str]:
        environment = {**os.environ, **self.request.env}
        for name in ("TF_DETERMINISTIC_OPS", "TF_CUDNN_DETERMINISTIC"):
            environment.pop(name, None)
        if self.request.mode == "on" and self.request.switch == "env":
            environment["TF_DETERMINISTIC_OPS"] = "1"
        request = json.loads(self.request.to_json())
        request["kernels"] = self.remaining
        command = [sys.executable, "-m", "bench.suite.worker", json.dumps(request), str(self.process)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, encoding="utf-8")

    def _read(self, child: subprocess.Popen[str]) -> None:
        for text in child.stdout or ():
            self.lines.put(text)
        self.lines.put(None)

    def _forward(self, text: str) -> None:
        """Forward a line of the worker and update the worker's progress from it."""
        try:
            row: Dict[str, Any] = json.loads(text)
        except ValueError:
            return  # the truncated last line of a process that died
        emit(text)
        if row["line"] == "kernel":
            self.current = row["kernel"]
            self.last_event = time.perf_counter()
        elif row["line"] == "outcome":
            self.remaining = [name for name in self.remaining if name != row["kernel"]]
            self.current = ""
            self.last_event = time.perf_counter()

    def _elapsed(self) -> float:
        return time.perf_counter() - self.last_event

    def _limit(self) -> float:
        return self.request.time_limit_s if self.current else START_LIMIT_S

    def _write_death(self, code: int, *, timed_out: bool, out_of_memory: bool) -> None:
        """Write the outcome of the current kernel, or of all remaining kernels if the worker died before the first."""
        if timed_out:
            outcome, message = "timeout", f"stopped at its time limit of {self._limit():g} s"
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
            }
            emit(line("outcome", body))
        self.remaining = [name for name in self.remaining if name != self.current] if self.current else []


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
