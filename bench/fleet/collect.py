"""Put the runs of all cells together into one run, in which each column names its host."""

from __future__ import annotations

import dataclasses
import json
import secrets
import shutil
from typing import TYPE_CHECKING, Any

from bench.errors import NothingError, StorageError
from bench.fleet.state import MEASURED
from bench.regular_file import read_text
from bench.store import find_run, import_records
from bench.store.run import read_info
from bench.store.run_folder import now, write_atomic
from bench.store.run_info import ColumnInfo
from bench.store.valid_info import is_run_id

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bench.fleet.state import FleetFolder
    from bench.fleet.status import CellStatus
    from bench.store.run_info import RunInfo


def collect(folder: FleetFolder, found: Iterable[CellStatus], reports: Path) -> tuple[Path, int]:
    """Put the results of all cells so far into one run, which replaces the one collected from this fleet run before.

    Records are linked, not copied, where that works. A cell without a result is a column that was not run; what was not
    measured, or not completely, is also in the warnings.

    Returns:
        The run folder, and how many cells have a result that is not in it.

    Raises:
        NothingError: no cell has a result yet.
        StorageError: ``reports`` cannot be written.
    """
    warnings: list[str] = []
    missing: list[tuple[CellStatus, str]] = []
    runs: list[tuple[Path, RunInfo]] = []
    for status in found:
        place = _latest(folder.reports(status.cell.number), status.state.run)
        try:
            info = read_info(place) if place else None
        except StorageError as error:
            info = None
            warnings.append(f"{status.cell.name}: its run cannot be read: {error}")
        if status.state.phase != MEASURED or status.remark or not (info and info.finished):
            part = "its finished rounds are here" if info else "there is no result of it"
            remark = status.remark.rstrip(".") or ("it is not finished" if info else "its run is missing")
            warnings.append(f"{status.cell.name}: {status.state.phase}, {part}: {remark}.")
            if not info:
                missing.append((status, f"{status.state.phase}: {remark}"))
        if place and info:
            runs.append((place, info))
    together, kept = _together(runs, warnings)
    command = folder.read().command
    if together is None:
        raise NothingError(f"No cell of {folder.id} has a result yet.", "See: python -m bench fleet status")
    columns = _with_missing(together.columns, missing)
    run = _store(folder, dataclasses.replace(together, command=command, columns=columns), kept, reports)
    return run, len(runs) - len(kept)


def _with_missing(measured: tuple[ColumnInfo, ...], missing: list[tuple[CellStatus, str]]) -> tuple[ColumnInfo, ...]:
    """Return the columns with one for each cell that has no result, where its environment is known."""
    columns = {column.id: column for column in measured}
    for status, reason in missing:
        cell, host = status.cell, status.state.host or status.cell.node
        if not cell.facts:
            continue
        device = "cpu" if cell.facts["cuda"] == "cpu" else cell.gpu.lower() or "gpu"
        # where Slurm chooses the node, cells of one environment and model have one id, and one column is enough
        name = f"{cell.lock.removesuffix('.txt')}@{device}{f'-{host}' if host else ''}"
        facts: dict[str, Any] = {**cell.facts, "lock": cell.lock, "lock_hash": cell.lock_hash}
        missing_column = ColumnInfo(id=name, device=device, host=host, status="not-run", reason=reason, **facts)
        columns.setdefault(name, missing_column)
    return tuple(columns.values())


def _latest(reports: Path, name: str) -> Path | None:
    """Return the run that a node names as its latest, by default the one that began last; None where there is none."""
    runs = find_run.every(reports)
    return next((run for run in runs if run.name == name), runs[-1] if runs else None)


def _together(runs: list[tuple[Path, RunInfo]], warnings: list[str]) -> tuple[RunInfo | None, list[Path]]:
    """Return all runs as one, and the folders of those that could be put together; adds the others to ``warnings``."""
    together: RunInfo | None = None
    kept = []
    for place, info in runs:
        ended = dataclasses.replace(info, finished=info.finished or now())  # a part of a run is no run in progress
        columns = ", ".join(column.id for column in info.columns)
        if together is None:
            together = import_records.alone(ended)
        elif obstacle := import_records.merge_obstacle(together, ended):
            warnings.append(f"{columns} is left out: {obstacle}.")
            continue
        else:
            together = import_records.merged(together, ended)
        warnings += (f"{columns}: {warning}" for warning in info.warnings)
        kept.append(place)
    if together is not None:
        together = dataclasses.replace(together, warnings=tuple(warnings), merged_from="")
    return together, kept


def _store(folder: FleetFolder, info: RunInfo, places: list[Path], reports: Path) -> Path:
    """Write the run below ``reports``, then remove the one that was collected from this fleet run before."""
    scratch = reports / f".collect-{secrets.token_hex(4)}"
    try:
        for place in places:
            import_records.copy_records(place, scratch)
        write_atomic(scratch / import_records.IMPORTED, "".join(f"{place.name}\n" for place in places))
        run = import_records.move_to_runs(scratch, info, reports)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    collected = folder.path / "collected.json"
    earlier = _earlier(collected)
    try:
        write_atomic(collected, json.dumps({"run": run.name}) + "\n")
    except StorageError:  # another user's folder, or a full disk: nothing would ever replace this run
        shutil.rmtree(run, ignore_errors=True)
        raise
    if earlier and earlier != run.name:
        shutil.rmtree(reports / "runs" / earlier, ignore_errors=True)
    return run


def _earlier(collected: Path) -> str:
    """Return the id of the run that was collected before, "" if there is none."""
    try:
        earlier = str(json.loads(read_text(collected))["run"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return earlier if is_run_id(earlier) else ""
