"""Read files whose names come from outside: a pipe or a device in the place of a file must not block or never end."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; raises OSError, also for anything else, which is not opened for long."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    stream = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        stream.close()
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return stream


def refuse_special(path: Path) -> None:
    """Raise OSError if ``path`` is a pipe, a device or a socket, which a later read could wait for without end."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "it is neither a regular file nor a folder", str(path))


def read_bytes(path: Path) -> bytes:
    """Return the content of a regular file; raises OSError."""
    with open_regular(path) as stream:
        return stream.read()


def read_text(path: Path) -> str:
    """Return the text of a regular UTF-8 file; raises OSError or UnicodeDecodeError."""
    return read_bytes(path).decode()
