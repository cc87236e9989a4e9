"""Run folders below a reports folder, and the lock of that folder: ``bench.portable`` with this package's errors."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.errors import BusyError, StorageError
from bench.portable import run_folder
from bench.portable.lock import FileLock, LockedError
from bench.portable.run_folder import Recording, kept_path, now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.store.run_info import RunInfo

__all__ = ["Recording", "RunFolder", "kept_path", "now", "reports_lock", "unwritable", "write_atomic"]


def write_atomic(path: Path, text: str) -> None:
    """Write a file completely or not at all; raises StorageError."""
    try:
        run_folder.write_atomic(path, text)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> StorageError:
    """Return the error to raise where a file could not be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    action = "Free some space" if full else "Check what is there and who may write"
    hint = f"{action}, or use another folder with --reports; what was measured so far is kept."
    return StorageError(f"{path} cannot be written: {error.strerror}.", hint)


class RunFolder(run_folder.RunFolder):
    """One folder ``reports/runs/<utc-time>-<id>/``; its methods raise StorageError where they cannot write."""

    @staticmethod
    def unwritable(path: Path, error: OSError) -> Exception:
        """Return the error to raise where a file or folder could not be written."""
        return unwritable(path, error)

    def write_info(self, info: RunInfo) -> None:
        """Write run.json."""
        write_atomic(self.path / "run.json", info.to_json())

    def take(self, source: Path, relative: str) -> None:
        """Reuse a finished record of another run with its stored values, hard-linked where that works.

        ``relative`` is its path in this folder. Raises StorageError where that fails.
        """
        target = self.path / relative
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            # the record comes last: where it exists, its stored values do
            for old, new in ((kept_path(source), kept_path(target)), (source, target)):
                if old.is_file():
                    _link_or_copy(old, new)
        except OSError as error:
            raise unwritable(target, error) from error


def _link_or_copy(old: Path, new: Path) -> None:
    try:
        os.link(old, new)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(old, new)


@contextmanager
def reports_lock(
    reports: Path,
    command: str,
    name: str = ".lock",
    *,
    timeout_s: float = 0.0,
    on_wait: Callable[[str], None] | None = None,
    hint: str = "",
) -> Iterator[None]:
    """Hold the reports folder for one command; ``name``, ``timeout_s`` and ``on_wait`` are those of the lock file.

    ``hint`` says how to wait for the other process.

    Raises:
        BusyError: another process holds it; the message names that process.
        StorageError: the folder cannot be written.
    """
    lock = FileLock(reports / name, command=command, timeout_s=timeout_s, on_wait=on_wait)
    try:
        reports.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except LockedError as error:
        message = f"{reports} is in use by {error.owner}."
        raise BusyError(message, f"Wait until it has ended{hint}, or use another folder with --reports.") from error
    except OSError as error:
        raise unwritable(lock.path, error) from error
    with lock:
        yield
