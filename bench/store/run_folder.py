"""A run folder that is being written: atomic files, and the lock of the reports folder."""

from __future__ import annotations

import errno
import fcntl
import json
import lzma
import os
import secrets
import shutil
import socket
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from bench.errors import BusyError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.store.run_info import RunInfo

#: Of xz: level 6 packs a record to a few per cent in a tenth of a second.
_PRESET = 6


def write_atomic(path: Path, text: str) -> None:
    """Write a file whole or not at all; raises StorageError where the folder cannot be written."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()  # on a full disk, half a page would keep it full
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> StorageError:
    """The sentence for a file that could not be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    do = "Free some space" if full else "See what is there, and who may write"
    hint = f"{do}, or name another folder with --reports; what was measured so far is kept."
    return StorageError(f"{path} cannot be written: {error.strerror}.", hint)


def now() -> str:
    """This moment in UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class RunFolder:
    """One folder ``reports/runs/<utc-time>-<id>/`` and the paths inside it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, reports: Path) -> RunFolder:
        """A new, empty run folder; raises StorageError where it cannot be made."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        path = reports / "runs" / f"{stamp}-{secrets.token_hex(2)}"
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise unwritable(path, error) from error
        return cls(path)

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.path.name

    def write_info(self, info: RunInfo) -> None:
        """Write run.json."""
        write_atomic(self.path / "run.json", info.to_json())

    def record_path(self, column: str, variation: str, mode: str, number: int) -> Path:
        """Where the record of one round belongs, compressed."""
        return self.path / "records" / column / variation / f"{mode}-{number:03d}.jsonl.xz"

    def log_path(self, column: str, name: str) -> Path:
        """Where a log belongs; its folder is made."""
        path = self.path / "logs" / column / f"{name}.log"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(path, error) from error
        return path

    @contextmanager
    def recording(self, path: Path) -> Iterator[Recording]:
        """Streams for a record and its kept values; their files are compressed and named when the round ended well."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with (
                _stream(path) as lines,
                _stream(kept_path(path)) as kept,
            ):
                yield Recording(lines=lines, kept=kept)
            _close(kept_path(path))  # the record last: where it stands, its kept values do
            _close(path)
        except OSError as error:
            raise unwritable(path, error) from error

    def take(self, source: Path, relative: str) -> None:
        """Take a finished record of another run over, with its kept values: hard-linked where that works.

        Raises StorageError where that cannot be done.
        """
        target = self.path / relative
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            for old, new in ((kept_path(source), kept_path(target)), (source, target)):
                if old.is_file():
                    _linked(old, new)
        except OSError as error:
            raise unwritable(target, error) from error


def _linked(old: Path, new: Path) -> None:
    try:
        os.link(old, new)
    except OSError:
        shutil.copyfile(old, new)


@dataclass(frozen=True)
class Recording:
    """The two streams of a round that is being measured."""

    lines: TextIO
    kept: TextIO


def kept_path(record: Path) -> Path:
    """The file of kept values beside a record."""
    return record.with_name(record.name.partition(".")[0] + ".kept.xz")


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


@contextmanager
def _stream(path: Path) -> Iterator[TextIO]:
    """A plain stream: lines must be on the disk as they come, which a compressor would delay."""
    with _part(path).open("w", encoding="utf-8") as stream:
        yield stream


def _close(path: Path) -> None:
    """Compress what was written and give it its name; an empty file gets none."""
    part = _part(path)
    packed = lzma.compress(part.read_bytes(), preset=_PRESET)
    if part.stat().st_size:
        fresh = path.with_name(f".{path.name}.{os.getpid()}.part")
        with fresh.open("wb") as stream:
            stream.write(packed)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(path)
    part.unlink()


@contextmanager
def reports_lock(reports: Path, command: str) -> Iterator[None]:
    """Hold the reports folder for one run.

    The lock is the kernel's (flock), so a killed run leaves none behind. Raises BusyError that says who
    holds it, StorageError where the folder cannot be written.
    """
    path = reports / ".lock"
    try:
        reports.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise unwritable(path, error) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BusyError(
                f"Another run holds {reports}: {_holder(stream)}.",
                "Wait until it has ended, or name another folder with --reports.",
            ) from error
        stream.seek(0)
        stream.truncate()
        json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": now(), "command": command}, stream)
        stream.flush()
        yield


def _holder(stream: TextIO) -> str:
    stream.seek(0)
    try:
        facts = json.loads(stream.read())
        return f"process {facts['pid']} on {facts['host']} since {facts['since']} ({facts['command']})"
    except (ValueError, KeyError, TypeError):
        return "it has not said who it is"
