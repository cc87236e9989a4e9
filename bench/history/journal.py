"""Notes on cells, and changes that somebody accepted: a file that people may read, and that no rebuild touches."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import time
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, BinaryIO

from bench.errors import StorageError
from bench.regular_file import read_bytes
from bench.store.run_folder import now, unwritable

if TYPE_CHECKING:
    from pathlib import Path

#: The file below the reports folder, one JSON object a line.
NAME = "history-notes.jsonl"
#: Characters of a note, and seconds that another process may hold the file.
MOST_TEXT, _LOCK_S = 2000, 10.0


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A note, or an accepted change.

    ``cell`` is a pattern for names of cells (``Place.name``), in which the parts after the kernel may be left out.
    ``run`` is the newest run that has any of these cells and ``started`` its start: an accepted change makes this run
    the first that later ones are compared with. ``who`` and ``when`` are filled in when the entry is made.
    """

    kind: str
    cell: str
    text: str
    run: str = ""
    started: str = ""
    who: str = ""
    when: str = ""

    def matches(self, name: str) -> bool:
        """Whether the entry is about a cell."""
        return fnmatchcase(name, self.cell) or fnmatchcase(name, f"{self.cell}/*")


def add(reports: Path, entry: Entry) -> None:
    """Append an entry to the file of a reports folder; raises StorageError. Two processes may append at once."""
    path = reports / NAME
    made = {**asdict(entry), "text": entry.text[:MOST_TEXT], "who": _user(), "when": now()}
    line = json.dumps(made, sort_keys=True) + "\n"
    try:
        reports.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as stream:
            _lock(stream)
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - 1))
            cut_off = stream.read() not in {b"", b"\n"}  # by a crash: the next entry gets a line of its own
            stream.write((b"\n" if cut_off else b"") + line.encode())
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise unwritable(path, error) from error


def _lock(stream: BinaryIO) -> None:
    """Lock the file, which others hold for one write; raises OSError if it is not free within ``_LOCK_S``."""
    deadline = time.monotonic() + _LOCK_S
    while True:
        try:
            return fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                message = f"another process has locked it for {_LOCK_S:.0f} s"
                raise OSError(error.errno, message, stream.name) from error
        time.sleep(0.05)


def read(reports: Path) -> tuple[list[Entry], list[str]]:
    """Return the entries of a reports folder, and a sentence for each line that is none. Raises StorageError."""
    path = reports / NAME
    try:
        lines = read_bytes(path).decode(errors="replace").rstrip("\n").split("\n")
    except FileNotFoundError:
        return [], []
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}.", "Check who may read it.") from error
    entries: list[Entry] = []
    problems: list[str] = []
    for number, line in enumerate(lines if lines != [""] else [], 1):
        try:
            entries.append(_entry(json.loads(line)))
        except (ValueError, TypeError, RecursionError):
            problems.append(f"{NAME}, line {number} is no entry")
    return entries, problems


def accepted(entries: list[Entry]) -> list[Entry]:
    """Return the entries that accept a change."""
    return [entry for entry in entries if entry.kind == "accept"]


def _entry(row: Any) -> Entry:
    entry = Entry(**row)
    if not all(isinstance(value, str) for value in asdict(entry).values()):
        raise TypeError("an entry has texts only")
    return entry


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run as a user without a name
        return f"uid {os.getuid()}"
