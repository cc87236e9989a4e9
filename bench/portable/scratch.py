"""Temporary folders that are removed even after their process was killed: by the next run on this host."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX = "tfrepro-scratch-"
_RM_LIMIT_S = 300.0


@contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """Yield a new folder for temporary files, with ``purpose`` in its name, and remove it afterwards.

    It is locked meanwhile. The kernel releases the lock when this process ends, however it ends, so that
    ``remove_abandoned`` recognises a folder whose process is gone.
    """
    folder, descriptor = _locked_folder(purpose)
    try:
        yield folder
    finally:
        _remove(folder)
        os.close(descriptor)


def _locked_folder(purpose: str) -> tuple[Path, int]:
    """Return a new folder and the descriptor that holds its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{purpose}-"))
        with suppress(FileNotFoundError):  # another run found it before it was locked, and removed it
            descriptor = os.open(folder, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if folder.is_dir():
                return folder, descriptor
            os.close(descriptor)


def remove_abandoned() -> int:
    """Remove this user's scratch folders whose process was killed; returns how many were removed."""
    found = 0
    for folder in filter(_ours, Path(tempfile.gettempdir()).glob(f"{_PREFIX}*")):
        with suppress(OSError):  # it belongs to a process that still runs, or has just been removed
            descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_NONBLOCK)
            try:
                if os.fstat(descriptor).st_uid == os.getuid():
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _remove(folder)
                    found += not folder.exists()
            finally:
                os.close(descriptor)
    return found


def _ours(folder: Path) -> bool:
    """Return whether a folder has a name that ``tempfile`` made."""
    return re.fullmatch(r"[a-z]+-[a-z0-9_]{8}", folder.name.removeprefix(_PREFIX)) is not None


def _remove(folder: Path) -> None:
    """Delete a folder, also where a kernel took permissions away; what cannot be deleted stays."""
    try:
        for parent, names, _ in os.walk(folder):
            for path in (Path(parent, name) for name in names):
                with suppress(OSError):
                    if not path.is_symlink():
                        path.chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:  # before Python 3.13, both recurse once for each level of folders
        subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], check=False, timeout=_RM_LIMIT_S)
