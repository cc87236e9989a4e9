"""The log of a night: a copy of everything that it prints."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, TextIO, cast

from bench.errors import TfreproError
from bench.store.run_folder import unwritable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: The folder below the reports folder, with a file for each night.
FOLDER = "nightly-logs"


class _Tee:
    """A stream whose text also goes to a file; it has all other methods and attributes of the stream."""

    def __init__(self, stream: TextIO, file: TextIO) -> None:
        self._stream, self._file = stream, file

    def write(self, text: str) -> int:
        """Write to both."""
        self._file.write(text)
        self._file.flush()
        return self._stream.write(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


class NightLog:
    """The file of one night; it is named after the run as soon as there is one."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def name_after(self, run: str) -> None:
        """Rename the file; raises StorageError."""
        try:
            self._path = self._path.rename(self._path.with_name(f"{run}.log"))
        except OSError as error:
            raise unwritable(self._path, error) from error


@contextmanager
def night_log(reports: Path) -> Iterator[NightLog]:
    """Copy what is printed meanwhile, and the error that ends it, into a file; raises StorageError."""
    path = reports / FOLDER / "latest.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # nothing that a link leads to, and no pipe: another file would be lost, or the night would wait
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.fdopen(os.open(path, flags, 0o644), "w", encoding="utf-8", errors="replace")
    except OSError as error:
        raise unwritable(path, error) from error
    with file:
        out, err = (cast("TextIO", _Tee(stream, file)) for stream in (sys.stdout, sys.stderr))
        try:
            with redirect_stdout(out), redirect_stderr(err):
                yield NightLog(path)
        except TfreproError as error:
            file.write(f"error: {error}\n{error.hint}\n")
            raise
