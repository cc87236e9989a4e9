"""Who uses what this project made on this host: runs hold a lock, so that cleaning up does not take it from them."""

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
        self._descriptor = -1
        self._guard = threading.Lock()

    def take(self) -> None:
        """Hold it from now on; waits while somebody cleans up."""
        with self._guard:
            if self._descriptor < 0:
                with suppress(OSError):  # what needs this folder says so itself, in better words
                    self._cache.mkdir(parents=True, exist_ok=True)
                    self._descriptor = _locked(self._cache / _NAME, fcntl.LOCK_SH)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


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
    try:
        descriptor = _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BusyError("A run uses what would be removed.", "Wait until it has ended, then clean up.") from error
    try:
        yield
        path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _locked(path: Path, how: int) -> int:
    """A descriptor that holds the lock of the file that is at ``path``, and not of one just removed from there."""
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
