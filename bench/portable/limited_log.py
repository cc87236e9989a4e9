"""Log files that cannot fill a disk: the beginning and the end of what a process writes, without credentials."""

from __future__ import annotations

import os
import select
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from bench.portable.redaction import without_credentials

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

#: Bytes of a log that are kept from its beginning and from its end.
HEAD_BYTES, TAIL_BYTES = 20_000_000, 1_000_000
_CHUNK = 65536
#: Bytes of an unfinished line that are held back, because credentials are recognised in whole lines.
_LONGEST_LINE = 65536
#: Seconds between two looks at whether the log is being closed, and that closing it may take.
_LOOK_S, _CLOSE_S = 0.2, 10.0


class LimitedLog:
    """A log that is appended to, as a context manager.

    It can be the standard error of a process, because it has a descriptor: that of a pipe, which a thread empties into
    the file. When it is closed, a child that still holds the pipe is not waited for.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ends = float("inf")

    def __enter__(self) -> LimitedLog:  # noqa: PYI034 - Python 3.9 has no typing.Self
        """Open the file; raises OSError."""
        self._file = self._path.open("ab")
        self._read, self._write = os.pipe()
        self._thread = threading.Thread(target=self._copy, name="tfrepro-log", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._write)
        self._ends = time.monotonic()
        self._thread.join(timeout=2 * _CLOSE_S)

    def fileno(self) -> int:
        """Return the descriptor that a process writes to."""
        return self._write

    def write(self, content: bytes) -> None:
        """Write as a process would."""
        view = memoryview(content)
        while view:
            view = view[os.write(self._write, view) :]

    def _copy(self) -> None:
        """Copy from the pipe until everybody has closed it, or the log is being closed and nothing more comes."""
        with suppress(OSError), self._file as file:  # closing may fail on a full disk
            tail, pipe = _Tail(file), select.poll()  # select() fails for descriptors above 1023
            pipe.register(self._read, select.POLLIN)
            while True:
                ready = pipe.poll(1000 * _LOOK_S)
                content = os.read(self._read, _CHUNK) if ready else b""
                tail.add(content)
                waited = time.monotonic() - self._ends
                if (ready and not content) or (waited > 0 and not ready) or waited > _CLOSE_S:
                    break
            os.close(self._read)
            tail.finish()


class _Tail:
    """Writes the first bytes to a file and keeps the last ones."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._room = max(0, HEAD_BYTES - file.tell())
        self._line = b""
        self._end = bytearray()
        self._left_out = 0

    def add(self, content: bytes) -> None:
        """Write the whole lines that there is room for, and remember the rest as far as it is the end."""
        start = self._line + content[: self._room]
        whole = start.rfind(b"\n") + 1 or (len(start) if len(start) > _LONGEST_LINE else 0)
        self._line = start[whole:]
        with suppress(OSError):  # the disk is full: a process that could not write its log would end or wait
            self._file.write(_redacted(start[:whole]))
            self._file.flush()
        self._end += content[self._room :]
        self._room = max(0, self._room - len(content))
        extra = len(self._end) - TAIL_BYTES
        if extra > TAIL_BYTES:  # not for every chunk: removing from the front copies the rest
            del self._end[:extra]
            self._left_out += extra

    def finish(self) -> None:
        """Write the end, and how much is missing before it."""
        extra = max(0, len(self._end) - TAIL_BYTES)
        if self._left_out + extra:
            left_out = f"\n[{self._left_out + extra} bytes of this log were left out]\n"
            self._file.write(_redacted(self._line) + left_out.encode() + _redacted(bytes(self._end[extra:])))
        else:
            self._file.write(_redacted(self._line + self._end))


def _redacted(content: bytes) -> bytes:
    return without_credentials(content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
