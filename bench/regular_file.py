"""Read files whose names come from outside: a pipe or a device in the place of a file must not block or never end."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def read_bytes(path: Path) -> bytes:
    """Return the content of a regular file; raises OSError, also for anything else, which is not opened for long."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        return stream.read()


def read_text(path: Path) -> str:
    """Return the text of a regular UTF-8 file; raises OSError or UnicodeDecodeError."""
    return read_bytes(path).decode()
