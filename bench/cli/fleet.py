"""``fleet``: the status, results and end of a matrix that was submitted with ``matrix --engine slurm`` or ``ssh``."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

from bench import errors
from bench.cli import options as shared
from bench.cli.command import Command
from bench.cli.results import show
from bench.errors import EngineError, NothingError, StorageError
from bench.fleet import collect
from bench.fleet.backend import Backend, backend
from bench.fleet.state import MEASURED, FleetFolder
from bench.fleet.status import CellStatus, counts
from bench.portable.overrides import names
from bench.portable.plan_runner import print_progress

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from bench.fleet.state import Fleet

#: Seconds between two questions to the cluster or the hosts while waiting.
POLL_S = 20.0
#: Seconds until a cell without an end is asked for again: network file systems keep what they know of files so long.
CONFIRM_S = 60.0
#: Cells that the table of the terminal shows; those that were measured come last.
_MOST_ROWS = 40
#: How long nothing may answer while somebody waits: a controller or a host may be restarted.
_SILENCE_S = 1800.0


def fleet(options: argparse.Namespace) -> int:
    """Do what the action says with a fleet run, and return the exit code."""
    folder = find(options.reports, options.folder)
    return int(options.act(folder, folder.read(), options))


def find(reports: Path, name: Path | None) -> FleetFolder:
    """Return a fleet run by its folder or id, or the newest.

    Raises:
        NothingError: there is none.
        StorageError: it may not be read, because it is another user's.
    """
    place = reports.absolute() / "fleet"
    try:
        if name is not None:
            return FleetFolder(name.absolute() if (name / "fleet.json").is_file() else place / name.name)
        found = sorted(file.parent for file in place.glob("*/fleet.json"))
    except PermissionError as error:
        message = f"{error.filename} cannot be read: {error.strerror}."
        raise StorageError(message, "Name a folder of your own with --reports, or ask its owner.") from error
    if not found:
        raise NothingError(f"Nothing was submitted in {place}.", "Submit: nox -s matrix -- --engine slurm")
    return FleetFolder(found[-1])


def wait(cells: Backend) -> tuple[CellStatus, ...]:
    """Wait until no cell can be measured any more; prints the counts when they change.

    Waits without a limit for what is queued or runs, because Slurm decides when jobs run and limits how long. After
    half an hour in which only jobs are left that are held, or hosts that do not answer, it returns; raises EngineError
    if Slurm does not answer for so long.
    """
    printed, answered, confirmed = "", time.monotonic(), False
    while True:
        try:
            found = cells.statuses()
        except EngineError as error:
            if time.monotonic() - answered > _SILENCE_S:
                raise
            print(f"{error} Asking again.", file=sys.stderr)
            time.sleep(POLL_S)
            continue
        if counts(found) != printed:
            printed = counts(found)
            print(printed, file=sys.stderr)
            if held := sum(status.held for status in found):
                print(f"{held} of them will not start until their jobs are released or changed.", file=sys.stderr)
        if any(status.answered and not status.over and not status.held for status in found):
            answered = time.monotonic()
        over = all(status.over for status in found)
        if over and not confirmed and any(status.lost for status in found):
            confirmed = True  # the file in which a node reports its end may take a while to be seen on this host
            time.sleep(CONFIRM_S)
            continue
        if over or time.monotonic() - answered > _SILENCE_S:
            return found
        time.sleep(POLL_S)


def show_collected(folder: FleetFolder, found: tuple[CellStatus, ...], options: argparse.Namespace) -> int:
    """Put the results of cells, which were fetched, into one run, show it, and return the exit code."""
    run, left_out = collect.collect(folder, found, options.reports.absolute())
    code = show(run, options)
    missing = left_out + sum(status.state.phase != MEASURED for status in found)
    if missing:
        rest = f"{missing} of {len(found)} cells are missing from these results, or incomplete"
        print(f"{rest}: see the warnings, and `fleet status`.", file=sys.stderr)
    return code or (errors.ENGINE if missing else errors.OK)


def _status(folder: FleetFolder, submitted: Fleet, options: argparse.Namespace) -> int:
    found = backend(folder, submitted, options.matrix).statuses()
    code = errors.OK if all(status.answered for status in found) else errors.ENGINE
    if options.json:
        rows = [
            {"cell": dataclasses.asdict(status.cell), "state": dataclasses.asdict(status.state), "over": status.over}
            for status in found
        ]
        print(json.dumps({"id": folder.id, "cells": rows}, indent=1))
        return code
    print_status(folder, found)
    return code


def print_status(folder: FleetFolder, found: tuple[CellStatus, ...]) -> None:
    """Print the counts, and a table of cells: those that were not measured first."""
    print(f"{folder.path}\n{counts(found)}")
    order = sorted(found, key=lambda status: (status.state.phase == MEASURED, status.cell.number))
    rows = [
        [status.cell.number, status.cell.pair or "(existing)", status.cell.gpu or "-",
         status.state.host or status.cell.node or "-", status.state.phase, status.remark[:200]]
        for status in order[:_MOST_ROWS]
    ]  # fmt: skip
    print(tabulate(rows, headers=["cell", "environment", "GPU", "node", "state", "remark"]))
    if len(order) > _MOST_ROWS:
        print(f"and {len(order) - _MOST_ROWS} more; --json has all")


def _collect(folder: FleetFolder, submitted: Fleet, options: argparse.Namespace) -> int:
    cells = backend(folder, submitted, options.matrix)
    found = cells.fetch(wait(cells) if options.wait else cells.statuses())
    chosen = tuple(status for status in found if _selected(status, options))
    if not chosen:
        raise NothingError(f"No cell of {folder.id} fits --env and --gpu.", "See: python -m bench fleet status --json")
    return show_collected(folder, chosen, options)


def _selected(status: CellStatus, options: argparse.Namespace) -> bool:
    """Whether a cell is to be collected."""
    wanted = ((options.env, status.cell.pair), (options.gpu, status.cell.gpu))
    return all(not globs or any(fnmatchcase(name, glob) for glob in globs) for globs, name in wanted)


def _cancel(folder: FleetFolder, submitted: Fleet, options: argparse.Namespace) -> int:
    try:
        folder.cancelled.touch()
        unwritable = None
    except OSError as error:  # jobs must end all the same: the disk may be full because of them
        unwritable = StorageError(
            f"{folder.cancelled} cannot be written: {error.strerror}.", "The jobs were cancelled all the same."
        )
    cells = backend(folder, submitted, options.matrix)
    cells.cancel()
    if unwritable:
        raise unwritable
    found = cells.statuses()
    kept = "cells" if submitted.engine == "ssh" else "rounds"
    print(f"cancelled; {counts(found)}. Finished {kept} are kept: see `fleet collect`.")
    return errors.OK


def _retry(folder: FleetFolder, submitted: Fleet, options: argparse.Namespace) -> int:
    """Submit the cells again that are over without a result."""
    cells = backend(folder, submitted, options.matrix)
    again = [status.cell for status in cells.statuses() if status.over and status.state.phase != MEASURED]
    if not again:
        raise NothingError(
            f"Every cell of {folder.id} has a result or may still get one.", "See: python -m bench fleet status"
        )
    try:
        folder.cancelled.unlink(missing_ok=True)
    except OSError as error:
        message = f"{folder.cancelled} cannot be removed: {error.strerror}."
        raise StorageError(message, "Only a user who can write there can submit its cells again.") from error
    cells.retry(again, print_progress)
    amount = f"{len(again)} cell{'s' if len(again) > 1 else ''}"
    print(f"submitted {amount} again; finished rounds are reused on the same device")
    return errors.OK


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", title="actions", required=True)

    def action(name: str, text: str, act: Callable[..., int]) -> argparse.ArgumentParser:
        added = shared.add_action(actions, name, text, act)
        help_text = "folder or id of a fleet run (default: the newest)"
        added.add_argument("folder", nargs="?", type=Path, metavar="FLEET", help=help_text)
        shared.add_matrix_file(added)
        return added

    status = action("status", "List the cells.", _status)
    status.add_argument("--json", action="store_true", help="print every cell as JSON")
    text = "Put the results so far into one run, which replaces the one collected before, and show it."
    collecting = action("collect", text, _collect)
    add = collecting.add_argument
    add("--wait", action="store_true", help="wait until nothing runs any more")
    add("--env", type=names, default=(), metavar="PATTERNS", help="only cells of these environments")
    add("--gpu", type=names, default=(), metavar="PATTERNS", help="only cells of these GPU models")
    shared.add_output(collecting)
    cancel = action("cancel", "Stop running cells; what was measured is kept.", _cancel)
    retry = action("retry", "Submit the cells again that ended without a result.", _retry)
    for added in (status, cancel, retry):
        shared.add_reports(added)


COMMAND = Command(
    name="fleet",
    summary="Show, collect, cancel or retry a matrix that was submitted with matrix --engine slurm or ssh.",
    example="nox -s fleet -- status",
    add_arguments=_add_arguments,
    run=fleet,
)
