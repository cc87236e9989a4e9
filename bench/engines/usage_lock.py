"""A lock that keeps ``clean`` from removing what a run is using: runs share it, cleaning up needs it exclusively."""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME = "in-use.lock"


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
        self._descriptor = -1
        self._guard = threading.Lock()

    def acquire(self) -> None:
        """Acquire the lock, unless this object has it already; waits while a clean-up is running."""
        with self._guard:
            if self._descriptor < 0:
                with suppress(OSError):  # whatever needs this folder reports the problem more precisely
                    self._cache.mkdir(parents=True, exist_ok=True)
                    self._descriptor = _locked(self._cache / _NAME, fcntl.LOCK_SH)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


@contextmanager
def exclusive(cache: Path) -> Iterator[None]:
    """Hold the lock exclusively, and remove its file at the end.

    Raises:
        BusyError: a run is using the cache.
    """
    path = cache / _NAME
    if not cache.is_dir():
        yield
        return
    try:
        descriptor = _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BusyError(
            "A run is using what would be removed.", "Wait until it has finished, then clean up."
        ) from error
    try:
        yield
        path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _locked(path: Path, how: int) -> int:
    """Lock the file at ``path`` and return its descriptor; retries if the file was removed in the meantime."""
    while True:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, how)
            if path.exists() and os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
