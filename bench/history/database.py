"""The SQLite file behind the history. It is an index over run folders: deleting it loses nothing that was measured.

Write-ahead logging lets a reader look while a night is added, and keeps the file consistent after a power cut. It needs
all processes on one host, so every host that uses a shared reports folder has a file of its own.
"""

from __future__ import annotations

import re
import socket
import sqlite3
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from bench.errors import StorageError
from bench.portable.lock import FileLock, LockedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: The version of the tables below; the file has it as SQLite's ``user_version``.
SCHEMA = 1
#: Seconds to wait for another process that writes to the file.
BUSY_S = 60.0
#: SQL that turns a file of a schema into the next one, by the older schema. Schema 0 is an empty file.
MIGRATIONS = {
    0: """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,   -- in the order in which runs were indexed
        name TEXT NOT NULL UNIQUE,              -- of the run folder
        stamp TEXT NOT NULL,                    -- what the folder looked like when it was read
        state TEXT NOT NULL,                    -- indexed, incomplete, skipped or missing
        reason TEXT NOT NULL,                   -- why it is not indexed, or what it lacks
        started TEXT NOT NULL,
        finished TEXT NOT NULL,
        profile TEXT NOT NULL
    );
    CREATE TABLE columns (
        run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
        name TEXT NOT NULL,
        machine TEXT NOT NULL,                  -- device, CPU, cores and engine, as JSON
        facts TEXT NOT NULL,                    -- provenance, as JSON
        PRIMARY KEY (run, name)
    ) WITHOUT ROWID;
    CREATE TABLE series (
        id INTEGER PRIMARY KEY,
        machine TEXT NOT NULL,
        name TEXT NOT NULL,                     -- of the column
        kernel TEXT NOT NULL,
        variation TEXT NOT NULL,
        mode TEXT NOT NULL,
        UNIQUE (machine, name, kernel, variation, mode)
    );
    CREATE TABLE statuses (id INTEGER PRIMARY KEY, word TEXT NOT NULL UNIQUE);
    CREATE TABLE cells (
        series INTEGER NOT NULL REFERENCES series,
        run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
        status INTEGER NOT NULL REFERENCES statuses,
        digest BLOB NOT NULL,                   -- first 8 bytes; empty unless all samples had the same
        code BLOB NOT NULL,                     -- first 4 bytes of a hash of the kernel's code, inputs and settings
        processes INTEGER NOT NULL,
        seconds REAL,                           -- median over processes; NULL if the kernel was not timed in pairs
        PRIMARY KEY (series, run)
    ) WITHOUT ROWID;
    CREATE INDEX cells_of_run ON cells (run);
    """,
}
_DAMAGED = "It is only an index: 'nox -s history -- rebuild' writes it again from the run folders."


def path_of(reports: Path) -> Path:
    """Return where this host keeps the history of a reports folder."""
    host = re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname()) or "host"
    return reports / f"history-{host}.sqlite"


def remove(reports: Path) -> None:
    """Delete this host's index of a reports folder; does nothing where there is none. Raises StorageError."""
    path = path_of(reports)
    try:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path} cannot be removed: {error.strerror}.", "Check who may write there.") from error


@contextmanager
def opened(reports: Path) -> Iterator[sqlite3.Connection]:
    """Yield the history of a reports folder, made or brought up to date if necessary.

    Nothing is written outside ``with connection:``, which is one transaction.

    Raises:
        StorageError: the file is damaged, of a newer version, or cannot be written.
    """
    path = path_of(reports)
    connection: sqlite3.Connection | None = None
    try:
        reports.mkdir(parents=True, exist_ok=True)
        # switching to write-ahead logging does not wait for another process that does the same
        with FileLock(path.with_name(f".{path.name}.lock"), timeout_s=BUSY_S):
            connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
            _prepare(connection, path)
        yield connection
    except sqlite3.Error as error:
        raise StorageError(f"The history {path} cannot be used: {error}.", _DAMAGED) from error
    except LockedError as error:
        raise StorageError(str(error), error.hint) from error
    except OSError as error:
        raise StorageError(f"The history {path} cannot be written: {error.strerror}.", _DAMAGED) from error
    finally:
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run statements as one transaction: after an error none of them has happened."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with suppress(sqlite3.Error):  # the first error is the one to report
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Set up a connection and migrate the file; raises StorageError if it is of a newer version."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA:
        message = f"The history {path} has schema {version}, and this version knows schema {SCHEMA}."
        raise StorageError(message, f"Use the tfrepro that wrote it. {_DAMAGED}")
    if version == SCHEMA:
        return
    with transaction(connection):  # the version changes with the tables or not at all
        # another process may have made them meanwhile
        for older in range(connection.execute("PRAGMA user_version").fetchone()[0], SCHEMA):
            for statement in _statements(MIGRATIONS[older]):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {older + 1}")


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script. ``executescript`` would run them outside the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
