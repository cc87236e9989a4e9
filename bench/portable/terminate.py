"""End this process in order on a signal, and the driver of a round with everything that it started."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress

from bench.suite import processes

#: Seconds the driver gets to kill its worker and the worker's descendants.
_CLEAN_UP_S = 5.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt_on_signals() -> None:
    """Handle SIGTERM and SIGHUP as Ctrl-C, so that processes, containers and temporary files are removed.

    The clean-up takes a limited time, and a second signal does not disturb it. What is ignored stays ignored, as SIGHUP
    under nohup and SIGINT in a background job of a shell.
    """
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: object) -> None:
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: None)  # unlike SIG_IGN, a child process does not inherit it
    raise KeyboardInterrupt


def terminate_session(driver: subprocess.Popen[str]) -> None:
    """End a driver that leads a session, if it still runs, and what is left of the session.

    The driver is given time to end its worker and all descendants. Those that are left afterwards are killed, as when a
    kernel had stopped the driver.
    """
    family = [_Handle(pid) for pid in processes.descendants(driver.pid)] if driver.poll() is None else []
    for number in (signal.SIGTERM, signal.SIGCONT):
        with suppress(ProcessLookupError):
            driver.send_signal(number)
    with suppress(subprocess.TimeoutExpired):
        driver.wait(timeout=_CLEAN_UP_S)
    with suppress(ProcessLookupError):
        os.killpg(driver.pid, signal.SIGKILL)
    for process in family:  # those that left the session
        process.kill()


class _Handle:
    """A process that can be killed later: an id alone could be that of another process by then.

    Where Python or the system has no descriptors for processes, it is the id alone.
    """

    def __init__(self, pid: int) -> None:
        self._pid, self._descriptor = pid, -1
        with suppress(OSError, AttributeError):
            self._descriptor = os.pidfd_open(pid)

    def kill(self) -> None:
        """Kill the process, unless it has ended."""
        with suppress(OSError):
            if self._descriptor >= 0:
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
                os.close(self._descriptor)
            elif not hasattr(os, "pidfd_open"):
                os.kill(self._pid, signal.SIGKILL)
