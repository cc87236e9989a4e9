"""A conversation with a process: commands go to its standard input, lines come from its standard output.

Engines and launchers open sessions (``open_session``); ``bench.portable.paired_timing`` uses them. Every read has a
time limit, and leaving the context of a session ends its process, whatever state it is in.
"""

from __future__ import annotations

import queue
import subprocess
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from bench.suite.driver import END_LIMIT_S, START_LIMIT_S, ending, oom_kills

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.suite.record import Request

#: Seconds between two looks at whether a silent process still runs: a child of its own may hold its output open.
_LOOK_S = 0.5
#: Looks after the end of a process, in which the last lines may still arrive.
_LOOKS = 4
#: Seconds that an ended process may take to be reaped.
_REAP_S = 10.0
#: Seconds that a driver may take for a line beyond its own time limits, on a busy host.
_MARGIN_S = 60.0


class SilentError(Exception):
    """A process wrote no line for longer than its limit."""


def silence_limit_s(request: Request) -> float:
    """Return the seconds after which a driver that writes no line no longer runs: a kernel may have stopped it.

    A driver that runs ends each kernel at its time limit, and each process that does not start or end in time.
    """
    return max(request.time_limit_s, START_LIMIT_S) + END_LIMIT_S + _MARGIN_S


def silence_message(limit_s: float) -> str:
    """Return what happened to a round whose driver exceeded ``silence_limit_s``."""
    return f"the round was ended because its driver wrote nothing for {limit_s:g} s: a kernel may have stopped it"


def follow(child: subprocess.Popen[str], limit_s: float, on_line: Callable[[str], None]) -> int:
    """Pass on each line that a process writes, and return its exit code.

    Raises:
        SilentError: it wrote no line for ``limit_s`` seconds, or did not end after its last one.
    """
    session = ProcessSession(child)
    while True:
        try:
            text = session.read(limit_s)
        except TimeoutError:
            raise SilentError from None
        if text is None:
            break
        on_line(text)
    end = threading.Thread(target=child.wait, name="tfrepro-end", daemon=True)  # wait(timeout) would poll
    end.start()
    end.join(limit_s)
    if child.returncode is None:
        raise SilentError
    return child.returncode


class Session:
    """A process that answers commands."""

    def send(self, text: str) -> None:
        """Write one line; a process that has ended is noticed by ``read``."""
        raise NotImplementedError

    def read(self, timeout_s: float) -> str | None:
        """Return the next line, None when the process has ended; raises TimeoutError after so many seconds."""
        raise NotImplementedError

    def outcome(self) -> tuple[str, str]:
        """Return how a process ended that was not asked to: ``crashed`` or ``oom``, and a sentence about it."""
        raise NotImplementedError


class ProcessSession(Session):
    """A session with a child whose standard input and output are text pipes."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self._child = child
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._oom_kills = oom_kills()
        threading.Thread(target=self._pump, name="tfrepro-session", daemon=True).start()

    def send(self, text: str) -> None:
        """Write one line; see ``Session.send``."""
        try:
            if self._child.stdin:
                self._child.stdin.write(text)
                self._child.stdin.flush()
        except (OSError, ValueError):
            pass  # it has ended

    def read(self, timeout_s: float) -> str | None:
        """Return the next line; see ``Session.read``."""
        # waits are added up, so that the time in which this process itself was stopped (Ctrl-Z) does not count
        remaining, looks = timeout_s, _LOOKS
        while True:
            ended = self._child.poll() is not None
            wait = _LOOK_S if ended else max(0.0, min(_LOOK_S, remaining))
            try:
                return self._lines.get(timeout=wait)
            except queue.Empty:
                looks -= ended
                remaining -= wait
                if looks == 0:
                    return None
                if remaining <= 0 and not ended:
                    raise TimeoutError from None

    def outcome(self) -> tuple[str, str]:
        """Return how the process ended; see ``Session.outcome``."""
        try:
            code = self._child.wait(timeout=_REAP_S)
        except subprocess.TimeoutExpired:
            return "crashed", "the process closed its output, but did not end"
        if oom_kills() > self._oom_kills:
            return "oom", "the system's out-of-memory killer ended the process"
        return "crashed", f"the process ended with {ending(code)}; see the end of its log"

    def _pump(self) -> None:
        try:
            for text in self._child.stdout or ():
                self._lines.put(text)
        except (OSError, ValueError):
            pass  # the pipe was closed while it was read
        self._lines.put(None)
        if self._child.stdout:
            self._child.stdout.close()  # here, because closing it elsewhere waits for a read that may never end


def reap(child: subprocess.Popen[str]) -> None:
    """Wait for a killed process and close its standard input; its ``ProcessSession`` closes its output."""
    child.wait()
    if child.stdin:
        with suppress(OSError):  # a command that was never read
            child.stdin.close()
