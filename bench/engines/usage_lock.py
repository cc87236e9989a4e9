"""A lock that keeps ``clean`` from removing what a run is using: runs share it, cleaning up needs it exclusively."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BusyError, StorageError
from bench.portable.lock import FileLock, LockedError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The subfolder of the cache with copies of custom kernel files.
KERNEL_FILES = "kernel-files"
CACHE_HINT = "Set TFREPRO_CACHE to a folder that you can write."
_NAME = "in-use.lock"
#: Cleaning up is waited for this long before a run.
_TIMEOUT_S = 600.0


def cache_folder() -> Path:
    """Return ``$TFREPRO_CACHE``, else ``tfrepro`` in the user's cache folder."""
    configured = os.environ.get("TFREPRO_CACHE")
    if configured:
        return Path(configured).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "tfrepro"


class UsageLock:
    """Protects the environments of a run from being removed, from the first ``acquire`` until this process ends.

    It is a file lock that the kernel releases with the process. If the cache cannot be written, there is no lock.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._lock: FileLock | None = None
        self._guard = threading.Lock()

    def acquire(self) -> None:
        """Acquire the lock, unless this object has it already; waits while a clean-up is running."""
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
def exclusive(cache: Path) -> Iterator[None]:
    """Hold the lock exclusively, and remove its file at the end.

    Raises:
        BusyError: a run is using the cache.
        StorageError: the lock cannot be taken.
    """
    path = cache / _NAME
    if not cache.is_dir():
        yield
        return
    lock = FileLock(path)
    try:
        lock.acquire()
    except LockedError as error:
        message = f"Nothing was removed, because the cache is in use by {error.owner}."
        raise BusyError(message, "Wait until that process has ended, then clean up again.") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be locked: {error.strerror}.", "Remove what is in its place.") from error
    with lock:
        yield
        path.unlink(missing_ok=True)
