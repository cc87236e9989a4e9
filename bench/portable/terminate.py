"""End the driver of a round with everything that it started."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress

#: Seconds the driver gets to kill its worker and the worker's descendants.
_CLEAN_UP_S = 5.0


def terminate_session(driver: subprocess.Popen[str]) -> None:
    """End a driver that leads a session, if it still runs, and what is left of the session.

    The driver alone knows all descendants of its worker, so it is asked first; if it dies, the system kills the worker.
    """
    with suppress(ProcessLookupError):
        driver.terminate()
    with suppress(subprocess.TimeoutExpired):
        driver.wait(timeout=_CLEAN_UP_S)
    with suppress(ProcessLookupError):
        os.killpg(driver.pid, signal.SIGKILL)
