"""The driver: starts one worker process per round, survives its crash, enforces time limits.

Started in the column as ``python -m bench.suite.driver REQUEST``; the record goes to standard output,
everything else to standard error. Standard library only: it must live where TensorFlow dies.
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

#: Seconds a worker may need before its first kernel: import of TensorFlow from a cold disk.
START_LIMIT_S = 300.0
_POLL_S = 1.0


def main(arguments: List[str]) -> int:
    """Run one round to its end; 0 whenever the record is whole."""
    request = Request.from_json(arguments[0])
    start = time.perf_counter()
    emit(line("header", {"schema": SCHEMA, "request": json.loads(request.to_json()), "suite_hash": suite_hash()}))
    left = list(request.kernels)
    process = 0
    while left:
        process += 1
        left = Worker(request, left, process).run()
    emit(line("end", {"seconds": round(time.perf_counter() - start, 3), "processes": process}))
    return 0


class Worker:
    """One worker process and what it still has to do."""

    def __init__(self, request: Request, kernels: List[str], process: int) -> None:
        self.request = request
        self.left = kernels
        self.process = process
        self.current = ""
        self.lines: queue.Queue[Optional[str]] = queue.Queue()
        self.since = time.perf_counter()

    def run(self) -> List[str]:
        """Run until the process ends; returns the kernels that a new process must still run."""
        child = self._start()
        before = oom_kills()
        threading.Thread(target=self._read, args=(child,), daemon=True).start()
        parent = os.getppid()
        timed_out = False
        try:
            while True:
                try:
                    text = self.lines.get(timeout=_POLL_S)
                except queue.Empty:
                    if os.getppid() != parent:
                        raise SystemExit(1) from None  # whoever asked for this round is gone
                    if self._elapsed() > self._limit():
                        timed_out = True
                        break
                    continue
                if text is None:
                    child.wait(timeout=START_LIMIT_S)  # its pipe closes before it has ended
                    break
                self._take(text)
                if self._elapsed() > self._limit():  # it talks, and is late all the same
                    timed_out = True
                    break
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            child.kill()
            code = child.wait()
        if self.left and code != RESTART:
            self._died(code, timed_out=timed_out, out_of_memory=oom_kills() > before)
        return self.left

    def _start(self) -> subprocess.Popen[str]:
        environment = {**os.environ, **self.request.env}
        for name in ("TF_DETERMINISTIC_OPS", "TF_CUDNN_DETERMINISTIC"):
            environment.pop(name, None)
        if self.request.mode == "on" and self.request.switch == "env":
            environment["TF_DETERMINISTIC_OPS"] = "1"
        asked = json.loads(self.request.to_json())
        asked["kernels"] = self.left
        command = [sys.executable, "-m", "bench.suite.worker", json.dumps(asked), str(self.process)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, encoding="utf-8")

    def _read(self, child: subprocess.Popen[str]) -> None:
        for text in child.stdout or ():
            self.lines.put(text)
        self.lines.put(None)

    def _take(self, text: str) -> None:
        """Pass a line of the worker on, and learn from it where the worker is."""
        try:
            row: Dict[str, Any] = json.loads(text)
        except ValueError:
            return  # the torn last line of a dying process
        emit(text)
        if row["line"] == "kernel":
            self.current = row["kernel"]
            self.since = time.perf_counter()
        elif row["line"] == "outcome":
            self.left = [name for name in self.left if name != row["kernel"]]
            self.current = ""
            self.since = time.perf_counter()

    def _elapsed(self) -> float:
        return time.perf_counter() - self.since

    def _limit(self) -> float:
        return self.request.time_limit_s if self.current else START_LIMIT_S

    def _died(self, code: int, *, timed_out: bool, out_of_memory: bool) -> None:
        """Write the outcome the worker could not: for its kernel, or for all if it never began one."""
        if timed_out:
            outcome, message = "timeout", f"stopped after its limit of {self._limit():g} s"
        elif out_of_memory:
            outcome, message = "oom", "the system's out-of-memory killer ended the process"
        else:
            outcome, message = "crashed", f"the process ended with {ending(code)}; its last words are in the log"
        sys.stderr.write(epitaph(self.current or self.left[0], outcome))
        sys.stderr.flush()
        for name in [self.current] if self.current else self.left:
            body = {
                "process": self.process,
                "kernel": name,
                "outcome": outcome,
                "seconds": round(self._elapsed(), 3),
                "error_class": "",
                "message": message,
            }
            emit(line("outcome", body))
        self.left = [name for name in self.left if name != self.current] if self.current else []


def epitaph(kernel: str, outcome: str) -> str:
    """What the log says where a process died, so that its last words are found before those of the next one."""
    return f"\ntfrepro: {kernel}: {outcome}\n"


def ending(code: int) -> str:
    """``SIGABRT`` for -6, ``exit code 3`` for 3."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:  # a real-time signal has no name
        return f"signal {-code}"


def oom_kills() -> int:
    """How often the out-of-memory killer has struck in this control group; 0 where it cannot be read."""
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
    """Write a line of the record now."""
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
