"""Who uses what this project made on this host: runs hold a lock, so that cleaning up does not take it from them."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BusyError
from bench.portable.lock import FileLock, LockedError

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME = "in-use.lock"
#: Cleaning up is waited for this long before a run.
_TIMEOUT_S = 600.0


def cache_folder() -> Path:
    """``$TFREPRO_CACHE``, else ``tfrepro`` in the user's cache folder."""
    named = os.environ.get("TFREPRO_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "tfrepro"


class Hold:
    """Keeps what a run uses from being cleaned up, from the first ``take`` until this process ends.

    The lock is the kernel's, shared among runs. Where the folder cannot be written there is none.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._lock: FileLock | None = None
        self._guard = threading.Lock()

    def take(self) -> None:
        """Hold it from now on; waits while somebody cleans up."""
        with self._guard:
            if self._lock is None:
                with suppress(OSError):  # what needs this folder says so itself, in better words
                    self._cache.mkdir(parents=True, exist_ok=True)
                    lock = FileLock(self._cache / _NAME, shared=True, timeout_s=_TIMEOUT_S)
                    lock.acquire()
                    self._lock = lock

    def __del__(self) -> None:
        if self._lock is not None:
            self._lock.release()


@contextmanager
def alone(cache: Path) -> Iterator[None]:
    """Nobody uses what is cleaned up meanwhile; the lock's file goes with the rest.

    Raises:
        BusyError: a run does.
    """
    path = cache / _NAME
    if not cache.is_dir():
        yield
        return
    lock = FileLock(path)
    try:
        lock.acquire()
    except LockedError as error:
        message = f"What would be removed is in use by {error.owner}."
        raise BusyError(message, "Wait until it has ended, then clean up.") from error
    with lock:
        yield
        path.unlink(missing_ok=True)
