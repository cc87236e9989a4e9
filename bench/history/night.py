"""One night of the history, with the earlier nights of everything that it measured."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from bench.errors import NothingError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from bench.history.journal import Entry

#: Earlier nights of a cell that tonight is compared with.
NIGHTS = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A cell of the matrix on one kind of machine; ``machine`` has its device, CPU, cores and engine as JSON."""

    machine: str
    column: str
    kernel: str
    variation: str
    mode: str

    @property
    def name(self) -> str:
        """The cell as commands take it: ``tf2.18.1-cpu-py311@cpu/matmul_f32/default/on``."""
        return f"{self.column}/{self.kernel}/{self.variation}/{self.mode}"


class Cell(NamedTuple):
    """What one run measured at a place.

    ``digest`` has the first 8 bytes, none unless all samples had the same; ``code`` identifies the kernel's code,
    inputs and settings. ``seconds`` is the median over processes, None if it was not
    timed in pairs.
    """

    run: int
    status: str
    digest: bytes
    code: bytes
    processes: int
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A run of the history; ``state`` is indexed, incomplete, skipped or missing, and ``reason`` says why."""

    id: int
    name: str
    started: str
    finished: str
    profile: str
    state: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Series:
    """A place with its cells from the oldest to tonight's; they begin at an accepted change, if there is one."""

    place: Place
    cells: tuple[Cell, ...]

    @property
    def tonight(self) -> Cell:
        """The newest cell."""
        return self.cells[-1]

    @property
    def earlier(self) -> tuple[Cell, ...]:
        """All but the newest."""
        return self.cells[:-1]


@dataclass(frozen=True, kw_only=True)
class Night:
    """A run with the history of its cells.

    ``runs`` has all runs by id; ``facts`` the provenance of a column in a run, by (id of the run, column). ``last`` is
    the id of the last earlier night, None for the first one.
    """

    run: RunRow
    runs: Mapping[int, RunRow]
    series: tuple[Series, ...]
    facts: Mapping[tuple[int, str], Mapping[str, str]]
    last: int | None = None

    @cached_property
    def by_place(self) -> Mapping[Place, Series]:
        """The series by place."""
        return {one.place: one for one in self.series}

    def facts_of(self, cell: Cell, place: Place) -> Mapping[str, str]:
        """Return the provenance behind a cell."""
        return self.facts.get((cell.run, place.column), {})


def runs(connection: sqlite3.Connection) -> list[RunRow]:
    """Return all runs of the history, in the order in which they were indexed."""
    columns = "id, name, started, finished, profile, state, reason"
    names = columns.split(", ")
    rows = connection.execute(f"SELECT {columns} FROM runs ORDER BY id")  # noqa: S608 - a constant
    return [RunRow(**dict(zip(names, row, strict=True))) for row in rows]


def load(
    connection: sqlite3.Connection, name: str, accepted: Sequence[Entry] = (), nights: Collection[str] | None = None
) -> Night:
    """Return a run with the earlier nights of all its cells.

    Args:
        connection: an opened history.
        name: the id of the run.
        accepted: changes that were accepted: a series has no cells from before the run of the newest one.
        nights: the ids of the runs that count as earlier nights; None for all. Their findings were reported.

    Raises:
        NothingError: the history has no cells of this run.
    """
    every = {run.id: run for run in runs(connection)}
    run = next((run for run in every.values() if run.name == name and run.state in {"indexed", "incomplete"}), None)
    if run is None:
        reason = next((run.reason for run in every.values() if run.name == name), "it is in no run folder")
        raise NothingError(f"The history does not have run {name}: {reason}.", "nox -s history -- runs lists all runs.")
    counted = [one.id for one in every.values() if one.id < run.id and (nights is None or one.name in nights)]
    series = [
        Series(place=place, cells=_since_accepted(cells, place, every, accepted))
        for place, cells in _cells(connection, run.id, [*counted, run.id])
    ]
    rows = connection.execute("SELECT run, name, facts FROM columns WHERE run <= ?", (run.id,))
    needed = {(cell.run, one.place.column) for one in series for cell in one.cells}
    facts = {(number, column): json.loads(text) for number, column, text in rows if (number, column) in needed}
    return Night(run=run, runs=every, series=tuple(series), facts=facts, last=counted[-1] if counted else None)


def _cells(connection: sqlite3.Connection, run: int, counted: Sequence[int]) -> Iterator[tuple[Place, list[Cell]]]:
    """Yield the places of a run, each with its last cells among the runs that count, the oldest first."""
    words = dict(connection.execute("SELECT id, word FROM statuses"))
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS counted (run INTEGER PRIMARY KEY)")
    connection.execute("DELETE FROM temp.counted")
    connection.executemany("INSERT INTO temp.counted VALUES (?)", [(number,) for number in counted])
    for number, place in places(connection, run).items():
        rows = connection.execute(
            "SELECT run, status, digest, code, processes, seconds FROM cells WHERE series = ? AND run <= ? "
            "AND run IN temp.counted ORDER BY run DESC LIMIT ?",
            (number, run, NIGHTS + 1),
        ).fetchall()
        yield place, [Cell(at, words[status], *rest) for at, status, *rest in reversed(rows)]


def places(
    connection: sqlite3.Connection, run: int, without_statuses: Collection[str] = frozenset()
) -> dict[int, Place]:
    """Return the places of the cells of a run, without those of some statuses, by the id of their series."""
    rows = connection.execute(
        "SELECT series.id, machine, name, kernel, variation, mode, word FROM cells "
        "JOIN series ON series.id = cells.series JOIN statuses ON statuses.id = cells.status "
        "WHERE run = ? ORDER BY series.id",
        (run,),
    )
    return {
        number: Place(machine=machine, column=column, kernel=kernel, variation=variation, mode=mode)
        for number, machine, column, kernel, variation, mode, status in rows
        if status not in without_statuses
    }


def _since_accepted(
    cells: Sequence[Cell], place: Place, every: Mapping[int, RunRow], accepted: Sequence[Entry]
) -> tuple[Cell, ...]:
    """Return the cells from the run of the newest accepted change on; tonight's is always among them."""
    since = max((entry.started for entry in accepted if entry.matches(place.name)), default="")
    return (*(cell for cell in cells[:-1] if every[cell.run].started >= since), cells[-1])


@dataclass(frozen=True, kw_only=True)
class LastMeasurement:
    """The last run that measured a column; ``kernels`` has the start of the last run of each kernel."""

    column: str
    run: str
    started: str
    lock: str
    kernels: Mapping[str, str]


def recent_locks(connection: sqlite3.Connection, days: int) -> set[str]:
    """Return the hashes of the locks that runs of the last days have used."""
    since = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    rows = connection.execute(
        "SELECT facts FROM columns JOIN runs ON runs.id = columns.run WHERE runs.started >= ?", (since,)
    )
    return {str(json.loads(facts).get("lock", "")) for (facts,) in rows}


def last_measurements(connection: sqlite3.Connection, host: str, engine: str) -> list[LastMeasurement]:
    """Return the last measurement of every column on a host with an engine."""
    here = (host, engine)
    rows = connection.execute(
        "SELECT columns.name, runs.name, runs.started, columns.facts, max(runs.id) FROM columns "
        "JOIN runs ON runs.id = columns.run WHERE json_extract(columns.facts, '$.host') = ? "
        "AND json_extract(columns.facts, '$.engine') = ? "
        "AND EXISTS (SELECT 1 FROM cells WHERE cells.run = runs.id) GROUP BY columns.name",
        here,
    )
    kernels: dict[str, dict[str, str]] = defaultdict(dict)
    for column, kernel, started in connection.execute(
        "SELECT series.name, series.kernel, max(runs.started) FROM cells JOIN series ON series.id = cells.series "
        "JOIN runs ON runs.id = cells.run JOIN columns ON columns.run = runs.id AND columns.name = series.name "
        "WHERE json_extract(columns.facts, '$.host') = ? AND json_extract(columns.facts, '$.engine') = ? "
        "GROUP BY series.name, series.kernel",
        here,
    ):
        kernels[column][kernel] = started
    return [
        LastMeasurement(
            column=column, run=run, started=started, lock=json.loads(facts).get("lock", ""), kernels=kernels[column]
        )
        for column, run, started, facts, _ in rows
    ]
