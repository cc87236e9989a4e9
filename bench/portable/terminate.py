"""End this process in order on a signal, and the driver of a round with everything that it started."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from bench.suite import processes

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Seconds the driver gets to kill its worker and the worker's descendants.
_CLEAN_UP_S = 5.0


def interrupt_on_signals() -> None:
    """Handle SIGTERM and SIGHUP as Ctrl-C, so that processes, containers and temporary files are removed.

    SIGHUP stays ignored where it is, as under nohup.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _interrupt)


def _interrupt(number: int, _frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one must not disturb the clean-up
    raise KeyboardInterrupt


def terminate_session(driver: subprocess.Popen[str]) -> None:
    """End a driver that leads a session, if it still runs, and what is left of the session.

    The driver is given time to end its worker and all descendants. Those that are left afterwards are killed, as when a
    kernel had stopped the driver.
    """
    family = _handles(processes.descendants(driver.pid)) if driver.poll() is None else []
    for number in (signal.SIGTERM, signal.SIGCONT):
        with suppress(ProcessLookupError):
            driver.send_signal(number)
    with suppress(subprocess.TimeoutExpired):
        driver.wait(timeout=_CLEAN_UP_S)
    with suppress(ProcessLookupError):
        os.killpg(driver.pid, signal.SIGKILL)
    for descriptor in family:  # those that left the session
        with suppress(OSError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)


def _handles(ids: Iterable[int]) -> list[int]:
    """Return a descriptor of each process that still runs; unlike an id, it is never that of another process later."""
    found = []
    for pid in ids:
        with suppress(OSError):
            found.append(os.pidfd_open(pid))
    return found
