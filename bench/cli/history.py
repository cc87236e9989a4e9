"""``history``: look at all runs together, keep notes, accept changes, and rebuild the index."""

from __future__ import annotations

import csv
import dataclasses
import sys
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from bench import errors
from bench.cli import night_files
from bench.cli import options as shared
from bench.cli.command import Command
from bench.cli.results import HISTORY_PAGE
from bench.history import database, index, journal
from bench.history import night as nights
from bench.report.build import history as history_build
from bench.report.html import history as history_page
from bench.report.text.layout import table
from bench.store.run_folder import unwritable, write_atomic

if TYPE_CHECKING:
    import argparse
    import sqlite3
    from collections.abc import Iterator, Sequence

    from bench.history.journal import Entry

#: Fields of ``export``, in their order.
FIELDS = ("run", "started", "column", "kernel", "variation", "mode", "status", "digest", "processes", "seconds")


def history(options: argparse.Namespace) -> int:
    """Bring the history up to date, and run one of its actions."""
    if options.action == "rebuild":
        database.remove(options.reports)
    with database.opened(options.reports) as connection:
        done = index.update(
            connection, options.reports, lambda name: print(f"reading run {name}", file=sys.stderr)
        )  # fmt: skip
        for name, reason in done.skipped if options.action in {"rebuild", "runs"} else ():
            print(f"note: run {name}: {reason}", file=sys.stderr)
        return int(options.act(connection, options))


def write_page(connection: sqlite3.Connection, reports: Path, entries: Sequence[Entry]) -> Path:
    """Write history.html and return its path; raises StorageError."""
    view = history_build.build(connection, entries, night_files.read_all(reports))
    write_atomic(reports / HISTORY_PAGE, history_page.render(view))
    return reports / HISTORY_PAGE


def _runs(connection: sqlite3.Connection, _: argparse.Namespace) -> int:
    """Print every run of the history."""
    rows = [[run.name, run.started[:16], run.profile, run.state, run.reason] for run in nights.runs(connection)]
    if not rows:
        raise errors.NothingError("The history has no run.", "Measure first: nox -s nightly")
    print(table(rows, ["run", "started", "profile", "state", "reason"]))
    return errors.OK


def _show(connection: sqlite3.Connection, options: argparse.Namespace) -> int:
    """Print what all runs measured of a kernel."""
    shown = [
        row
        for row in _cells(connection)
        if fnmatchcase(row[3], options.kernel) and _is_environment(row[2], options.environment)
    ]
    if not shown:
        where = f" in {options.environment}" if options.environment else ""
        raise errors.NothingError(
            f"The history has no kernel {options.kernel!r}{where}.", "nox -s history -- runs lists all runs."
        )
    rows = [
        [row[1][:16], row[2], f"{row[5]}, {row[4]}", row[6], row[7][:8], f"{row[9]:.3g} s" if row[9] else "-"]
        for row in shown
    ]
    print(table(rows, ["started", "column", "mode", "status", "digest", "time"]))
    entries, _ = journal.read(options.reports)
    for entry in entries:
        if any(entry.matches("/".join(row[2:6])) for row in shown):
            print(f"{entry.when[:10]} {entry.who} ({entry.kind}): {entry.text}")
    return errors.OK


def _is_environment(column: str, wanted: str) -> bool:
    """Whether a column is what the user named: its id or its pair, with or without Python, or a pattern for these."""
    names = {column, column.partition("@")[0], column.partition("-py")[0]}
    return not wanted or any(fnmatchcase(name, wanted) for name in names)


def _cells(connection: sqlite3.Connection) -> Iterator[tuple[str, str, str, str, str, str, str, str, int, float]]:
    yield from connection.execute(
        "SELECT runs.name, runs.started, series.name, kernel, variation, mode, word, lower(hex(digest)), processes, "
        "seconds FROM cells JOIN series ON series.id = cells.series JOIN runs ON runs.id = cells.run "
        "JOIN statuses ON statuses.id = cells.status ORDER BY kernel, series.name, variation, mode, runs.id"
    )


def _note(connection: sqlite3.Connection, options: argparse.Namespace) -> int:
    """Add a note to cells."""
    return _add(connection, options, "note")


def _accept(connection: sqlite3.Connection, options: argparse.Namespace) -> int:
    """Make the newest run of some cells the first that later nights compare them with."""
    return _add(connection, options, "accept")


def _add(connection: sqlite3.Connection, options: argparse.Namespace, kind: str) -> int:
    entry = journal.Entry(kind=kind, cell=options.cell, text=options.text)
    rows = connection.execute("SELECT id, name, kernel, variation, mode FROM series").fetchall()
    matching = [number for number, *parts in rows if entry.matches("/".join(parts))]
    if not matching:
        raise errors.ConfigError(
            f"No cell matches {options.cell!r}.",
            "A cell is COLUMN/KERNEL, with /VARIATION/MODE if needed: tf2.18.1-cpu-py311@cpu/matmul_f32/default/on.",
        )
    # the newest run that measured any of them: one of other cells only would compare nothing
    started, run = max(
        connection.execute(
            "SELECT runs.started, runs.name FROM runs JOIN cells ON cells.run = runs.id WHERE cells.series = ? "
            "ORDER BY runs.started DESC LIMIT 1",
            (number,),
        ).fetchone()
        or ("", "")
        for number in matching
    )
    journal.add(options.reports, dataclasses.replace(entry, run=run, started=started))
    what = f"accepted as of run {run}" if kind == "accept" else "noted"
    print(f"{what}: {len(matching)} cells match {options.cell}")
    entries, _ = journal.read(options.reports)
    write_page(connection, options.reports, entries)
    return errors.OK


def _export(connection: sqlite3.Connection, options: argparse.Namespace) -> int:
    """Write all cells as CSV, to a file or to standard output."""
    if options.file is None:
        _write_csv(connection, sys.stdout)
        return errors.OK
    try:
        with options.file.open("w", encoding="utf-8", newline="") as stream:
            _write_csv(connection, stream)
    except OSError as error:
        raise unwritable(options.file, error) from error
    return errors.OK


def _write_csv(connection: sqlite3.Connection, stream: TextIO) -> None:
    writer = csv.writer(stream)
    writer.writerow(FIELDS)
    writer.writerows(_cells(connection))


def _page(connection: sqlite3.Connection, options: argparse.Namespace) -> int:
    """Write history.html."""
    entries, problems = journal.read(options.reports)
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
    print(f"Page: {write_page(connection, options.reports, entries).absolute()}")
    return errors.OK


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_reports(parser)
    parser.set_defaults(action="page", act=_page)
    actions = parser.add_subparsers(metavar="ACTION", title="actions (default: write history.html)")
    action = partial(shared.add_action, actions)
    action("runs", "List all runs, and why the history does not use some.", _runs)
    show = action("show", "Show what all runs measured of a kernel.", _show)
    show.add_argument("kernel", metavar="KERNEL", help="a kernel, or a pattern")
    show.add_argument("environment", nargs="?", default="", metavar="ENV", help="only this environment or column")
    for name, text, act in (
        ("note", "Write a note that the report shows.", _note),
        ("accept", "Accept a change: later nights are compared with the newest run.", _accept),
    ):
        added = action(name, text, act)
        added.add_argument("cell", metavar="CELL", help="COLUMN/KERNEL[/VARIATION/MODE]; patterns are allowed")
        added.add_argument("text", metavar="TEXT", help="what the report shows, such as the reason")
    export = action("export", "Write everything as CSV.", _export)
    export.add_argument("file", nargs="?", type=Path, metavar="FILE", help="file to write (default: standard output)")
    action("rebuild", "Delete the index and make it again from the run folders.", _page)


COMMAND = Command(
    name="history",
    summary="Show all runs together, keep notes, and accept changes.",
    details="Without an action it writes history.html. The history is an index over the run folders.",
    example="nox -s history -- show matmul_f32 tf2.18.1-cpu",
    add_arguments=_add_arguments,
    run=history,
)
