"""The locks of all environments that were measured, by hash, so that each can be built again after it has changed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from bench.errors import StorageError
from bench.store.run_folder import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

#: The folder below the reports folder; its files are named ``SHA256.txt``.
_FOLDER = "locks"


def keep(reports: Path, lock: Path) -> None:
    """Copy a lock into a reports folder, unless it is there already; raises StorageError."""
    try:
        content = lock.read_bytes()
    except OSError as error:
        raise StorageError(f"{lock} cannot be read: {error.strerror}.", "Write it with: nox -s lock") from error
    target = _path(reports, hashlib.sha256(content).hexdigest())
    if not target.is_file():
        write_atomic(target, content.decode())


def kept(reports: Path, lock_hash: str) -> Path | None:
    """Return the copy of a lock with this SHA-256, None if there is none or it was changed."""
    path = _path(reports, lock_hash)
    try:
        return path if hashlib.sha256(path.read_bytes()).hexdigest() == lock_hash else None
    except OSError:
        return None


def _path(reports: Path, lock_hash: str) -> Path:
    return reports / _FOLDER / f"{lock_hash}.txt"
