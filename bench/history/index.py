"""Keep the history up to date with the run folders of a reports folder."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from bench import verdict
from bench.errors import StorageError
from bench.history.database import transaction
from bench.store import find_run
from bench.store import run as store
from bench.verdict.comparability import Side
from bench.verdict.status import Status

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bench.store.run_info import ColumnInfo, KernelInfo, RunInfo
    from bench.verdict.results import RunResults, Verdict

#: Facts of a host that identify a machine for the history of its times: nothing that a measurement or a boot changes.
MACHINE = ("device", "CPU", "cores", "engine")
#: What ended a kernel in some of its processes, whether or not those that finished agree.
_DIED = frozenset({Status.CRASHED, Status.OOM, Status.TIMEOUT, Status.ERROR, Status.FAILED})


@dataclass(frozen=True, kw_only=True)
class Update:
    """What an update of the history did: names of runs that were added, and why others were not."""

    added: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]


def update(connection: sqlite3.Connection, reports: Path, show: Callable[[str], None] = lambda _: None) -> Update:
    """Add the run folders that are new or have changed, in the order of their names.

    A run that is not finished, cannot be read, or is dated in the future is listed with the reason and has no cells.
    One that lacks planned records has the cells that it can have, and is read again when its folder has changed. The
    cells of a run whose folder is gone stay until the history is rebuilt.

    Args:
        connection: an opened history.
        reports: the reports folder.
        show: called with the name of each run before it is read, which takes seconds.

    Raises:
        StorageError: the folder of runs cannot be read.
        sqlite3.Error: the history cannot be written; runs added so far stay.
    """
    known = dict(connection.execute("SELECT name, stamp FROM runs WHERE state != 'missing'"))
    added: list[str] = []
    folders = find_run.every(reports)
    for folder in folders:
        name, stamp = _name(folder), _stamp(folder)
        before = known.pop(name, "")
        if before == stamp or (before.startswith(f"{stamp} ") and before == f"{stamp} {_record_stamp(folder)}"):
            continue
        show(name)
        if _add(connection, folder, stamp):
            added.append(name)
    with transaction(connection):
        connection.executemany(
            "UPDATE runs SET state = 'missing', reason = 'its folder is gone' WHERE name = ?",
            [(name,) for name in known],
        )
    rows = connection.execute("SELECT name, reason FROM runs WHERE reason != '' ORDER BY id")
    return Update(added=tuple(added), skipped=tuple(rows))


def _name(folder: Path) -> str:
    """Return the name of a run folder as text that can be stored, whatever bytes it has."""
    return os.fsencode(folder.name).decode("utf-8", "backslashreplace")


def _stamp(folder: Path) -> str:
    """Return what changes when run.json does."""
    try:
        facts = (folder / "run.json").stat()
    except OSError as error:
        return f"unreadable: {error.strerror}"
    return f"{facts.st_mtime_ns} {facts.st_size}"


def _record_stamp(folder: Path) -> str:
    """Return what changes when a record is added or replaced: then an incomplete run is read again."""
    files = [*store.record_files(folder), *store.pair_files(folder)]
    return f"{len(files)} {sum(file.stat().st_size for file in files)}"


def _add(connection: sqlite3.Connection, folder: Path, stamp: str) -> bool:
    """Write a run to the history in one transaction; return whether it has cells.

    A run that cannot be read, for whatever reason, costs only its own nights.
    """
    state, reason = "skipped", ""
    info: RunInfo | None = None
    columns: list[_Column] = []
    try:
        info = store.read_info(folder)
        reason = _unusable(info)
        if not reason:
            run = store.load(folder)
            results = verdict.evaluate(run)
            lacking = sorted(run.unreadable) or results.incomplete
            state = "incomplete" if lacking else "indexed"
            reason = f"{len(lacking)} parts cannot be read, the first is {lacking[0]}" if lacking else ""
            stamp += f" {_record_stamp(folder)}" if lacking else ""
            columns = [_column(results, column) for column in results.info.columns]
    except Exception as error:  # noqa: BLE001 - run folders come from anywhere, and one must not stop all nights
        kind = "" if isinstance(error, StorageError) else f"{type(error).__name__}: "
        reason = ascii(f"{kind}{error}".replace(f"{folder}/", "").replace(str(folder), "it"))[1:-1]
        state, columns = "skipped", []
    with transaction(connection):
        # an incomplete run that is read again keeps its place among the nights
        identity = connection.execute(
            "INSERT INTO runs (name, stamp, state, reason, started, finished, profile) VALUES (?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (name) DO UPDATE SET stamp = excluded.stamp, state = excluded.state, "
            "reason = excluded.reason, started = excluded.started, finished = excluded.finished, "
            "profile = excluded.profile RETURNING id",
            (_name(folder), stamp, state, reason, *_facts(info)),
        ).fetchone()[0]
        connection.execute("DELETE FROM cells WHERE run = ?", (identity,))
        connection.execute("DELETE FROM columns WHERE run = ?", (identity,))
        for column in columns:
            _add_column(connection, identity, column)
    return state != "skipped"


def _facts(info: RunInfo | None) -> tuple[str, str, str]:
    return (info.started, info.finished, info.profile) if info else ("", "", "")


def _unusable(info: RunInfo) -> str:
    """Say why a run is not a night of the history, "" if it is."""
    if not info.finished:
        return "it is not finished"
    if datetime.fromisoformat(info.started) > datetime.now(UTC) + find_run.CLOCK_TOLERANCE:
        return f"it began at {info.started}, which is in the future: the clock was wrong"
    return ""


class _Column(NamedTuple):
    """What the history keeps of a column: its cells are rows without series and run, by kernel, variation and mode."""

    name: str
    machine: str
    facts: str
    cells: dict[tuple[str, str, str], tuple[str, bytes, bytes, int, float | None]]


def _column(results: RunResults, column: ColumnInfo) -> _Column:
    side = Side(results=results, column=column.id)
    host = column.origin or results.info.host
    # the history compares whole hashes, and knows of the host's system what comparisons of one night need not say
    more = {title: str(host.get(title) or "") for title in ("system", "microcode")}
    facts = side.facts | more | {"lock": column.lock_hash}
    cells = [cell for cell in results.verdicts if cell.column == column.id and not cell.control]
    places = {(cell.variation, cell.mode) for cell in cells}
    codes = {place: side.codes(*place) for place in places}
    settings = {place: f"{results.info.seed} {side.requested_settings(*place)}" for place in places}
    return _Column(
        name=column.id,
        machine=json.dumps({name: facts[name] for name in MACHINE}),
        facts=json.dumps(facts),
        cells={
            (cell.kernel, cell.variation, cell.mode): (
                str(_status(cell)),
                _digest(cell),
                _work(side.kernels[cell.kernel], codes[cell.variation, cell.mode], settings[cell.variation, cell.mode]),
                cell.comparison.processes,
                _seconds(cell),
            )
            for cell in cells
        },
    )


def _status(cell: Verdict) -> Status:
    """Return the status, but nondeterministic where bits differed before a process died: an alarm must not miss it."""
    return Status.NONDETERMINISTIC if cell.comparison.varies and cell.status in _DIED else cell.status


def _work(kernel: KernelInfo, codes: Mapping[str, str], settings: str) -> bytes:
    """Identify what a kernel computes by its code, its inputs and the settings of its processes; b"" if unknown."""
    code = codes.get(kernel.name)
    if not code:
        return b""
    return hashlib.sha256(f"{code} {kernel.shapes} {kernel.dtypes} {settings}".encode()).digest()[:4]


def _add_column(connection: sqlite3.Connection, run: int, column: _Column) -> None:
    connection.execute(
        "INSERT INTO columns VALUES (?, ?, ?, ?)", (run, column.name, column.machine, column.facts)
    )  # fmt: skip
    for place, (status, *rest) in column.cells.items():
        connection.execute("INSERT OR IGNORE INTO statuses (word) VALUES (?)", (status,))
        series = (column.machine, column.name, *place)
        connection.execute(
            "INSERT OR IGNORE INTO series (machine, name, kernel, variation, mode) VALUES (?, ?, ?, ?, ?)", series
        )
        connection.execute(
            "INSERT INTO cells SELECT series.id, ?, statuses.id, ?, ?, ?, ? FROM series, statuses "
            "WHERE machine = ? AND name = ? AND kernel = ? AND variation = ? AND mode = ? AND word = ?",
            (run, *rest, *series, status),
        )


def _digest(cell: Verdict) -> bytes:
    single = not cell.invalid and cell.digest_class and cell.comparison.digests
    return bytes.fromhex(cell.comparison.digests[0][0][:16]) if single else b""


def _seconds(cell: Verdict) -> float | None:
    return cell.timing.median_s if cell.complete and cell.timing and cell.timing.paired else None
