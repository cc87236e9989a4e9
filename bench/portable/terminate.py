"""End the driver of a round with everything that it started."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress

from bench.suite import processes

#: Seconds the driver gets to kill its worker and the worker's descendants.
_CLEAN_UP_S = 5.0


def terminate_session(driver: subprocess.Popen[str]) -> None:
    """End a driver that leads a session, if it still runs, and what is left of the session.

    The driver is given time to end its worker's descendants. One that does not, for instance because a kernel stopped
    it with SIGSTOP and it is stopped again at once, is killed with all of them.
    """
    for number in (signal.SIGTERM, signal.SIGCONT):
        with suppress(ProcessLookupError):
            driver.send_signal(number)
    family: list[int] = []
    try:
        driver.wait(timeout=_CLEAN_UP_S)
    except subprocess.TimeoutExpired:
        family = list(processes.descendants(driver.pid))
    with suppress(ProcessLookupError):
        os.killpg(driver.pid, signal.SIGKILL)
    for pid in family:  # those that left the session
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
