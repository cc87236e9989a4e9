"""Import the records of another host: merged with a run of this host where they are comparable, else as a run alone.

Columns are merged only where all of them ran the same suite with the same seed. ``ColumnInfo.origin`` of an imported
column has the facts of its host, and the file ``imported`` beside run.json lists the imported runs, so that none is
imported twice.
"""

from __future__ import annotations

import dataclasses
import secrets
import shutil
import sys
from typing import TYPE_CHECKING

from bench.errors import StorageError
from bench.portable.value_limits import kept_files
from bench.store import find_run
from bench.store.archive import unpack
from bench.store.run import pair_files, read_info, record_files
from bench.store.run_folder import RunFolder, now, reports_lock, unwritable, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.store.run_info import ColumnInfo, KernelInfo, RunInfo

#: Facts of ``RunInfo.host`` that go into ``ColumnInfo.origin``.
_HOST_FACTS = ("name", "system", "cpu", "cores", "memory_gb", "gpu", "boot_id")
#: The file of a run folder that lists the runs that were imported into it.
IMPORTED = "imported"


def print_line(text: str) -> None:
    """Print one line to standard error."""
    sys.stderr.write(f"{text}\n")


def import_archive(file: Path, reports: Path, say: Callable[[str], None] = print_line) -> Path:
    """Verify a records archive and merge it with the newest run in ``reports``.

    Returns a new run folder: both runs together, or the imported one alone where they cannot be merged; then ``say``
    gets the reason.

    Raises:
        StorageError: the archive is not what its manifest says, or was imported already.
        BusyError: another process uses the reports folder.
    """
    with reports_lock(reports, f"import {file.name}"):
        scratch = reports / f".import-{secrets.token_hex(4)}"
        try:
            unpacked = unpack(file, scratch / "imported")
            for name, reason in unpacked.unreadable.items():
                say(f"{name} cannot be read and will not count: {reason}")
            imported = unpacked.info
            _check_new(reports, imported)
            base = next(reversed(find_run.every(reports)), None)
            existing, obstacle = _existing(base)
            obstacle = merge_obstacle(existing, imported) if existing else obstacle
            folder = scratch / "merged"
            if base and existing and not obstacle:
                copy_records(base, folder)
                info = merged(existing, imported)
            else:
                say(f"imported as a run of its own: {obstacle}")
                info = alone(imported)
            copy_records(scratch / "imported", folder)
            ids = [*(_imported(base) if base and not obstacle else ()), imported.id]
            write_atomic(folder / IMPORTED, "".join(f"{run}\n" for run in ids))
            return move_to_runs(folder, info, reports)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _existing(base: Path | None) -> tuple[RunInfo | None, str]:
    """Return the facts of the run to merge with, or None and the reason."""
    if base is None:
        return None, "there is no other run yet"
    try:
        return read_info(base), ""
    except StorageError as error:
        return None, f"the newest run cannot be read ({error})"


def move_to_runs(folder: Path, info: RunInfo, reports: Path) -> Path:
    """Move a complete folder to the runs under a new id, in one step."""
    place = RunFolder.create(reports)
    write_atomic(folder / "run.json", dataclasses.replace(info, id=place.id).to_json())
    return folder.rename(place.path)  # replaces the empty folder that ``create`` made


def _imported(folder: Path) -> tuple[str, ...]:
    """Return the ids of the runs that were imported into a run folder."""
    try:
        return tuple((folder / IMPORTED).read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return ()


def _check_new(reports: Path, imported: RunInfo) -> None:
    """Raise StorageError for a run that exists already: as a second column, it would be evidence for itself."""
    for folder in find_run.every(reports):
        if imported.id in (folder.name, *_imported(folder)):
            message = f"Run {imported.id} was imported or measured already: see {folder}."
            raise StorageError(message, "To import it again, remove that folder first.")


def merge_obstacle(existing: RunInfo, imported: RunInfo) -> str:
    """Return why two runs cannot be merged, "" where they can."""
    clash = sorted({column.id for column in existing.columns} & {column.id for column in imported.columns})
    known = {kernel.name: kernel for kernel in existing.kernels}
    other = [kernel.name for kernel in imported.kernels if known.get(kernel.name, kernel) != kernel]
    same_suite, run = existing.suite_hash == imported.suite_hash, f"run {existing.id}"
    checks = (
        (not existing.finished, f"{run} is not finished"),
        (not imported.finished, "it was not finished on its host"),
        (not same_suite, f"it ran another version of the suite than {run}"),
        (existing.seed != imported.seed, f"its seed is {imported.seed}, that of {run} is {existing.seed}"),
        (bool(clash), f"{run} already has a column {clash[0] if clash else ''}"),
        (bool(other), f"its kernel {other[0] if other else ''} differs from that of {run}"),
    )
    return next((reason for failed, reason in checks if failed), "")


def alone(imported: RunInfo) -> RunInfo:
    """Return the facts of an imported run that is not merged."""
    return dataclasses.replace(
        imported,
        columns=tuple(_with_origin(column, imported) for column in imported.columns),
        warnings=_warnings(imported),
        merged_from="",
    )


def merged(existing: RunInfo, imported: RunInfo) -> RunInfo:
    """Return the facts of both runs as one: plan and engine of the existing run, columns and variations of both."""
    names = {kernel.name for kernel in existing.kernels}
    kernels = (*existing.kernels, *(kernel for kernel in imported.kernels if kernel.name not in names))
    variations = _variations(existing, imported, kernels)
    modes = {name: tuple(sorted({*_modes(existing, name), *_modes(imported, name)})) for name in variations}
    return dataclasses.replace(
        existing,
        command=f"{existing.command} + import of {imported.id}",
        finished=now(),
        modes=tuple(sorted({*existing.modes, *imported.modes})),
        variations=variations,
        variation_modes=modes,
        columns=(*existing.columns, *(_with_origin(column, imported) for column in imported.columns)),
        kernels=kernels,
        warnings=(*existing.warnings, *_warnings(imported)),
        reused={**existing.reused, **imported.reused},
        merged_from=existing.merged_from or existing.id,
    )


def _modes(info: RunInfo, variation: str) -> tuple[str, ...]:
    return info.variation_modes.get(variation, info.modes) if variation in info.variations else ()


def _variations(existing: RunInfo, imported: RunInfo, kernels: tuple[KernelInfo, ...]) -> dict[str, tuple[str, ...]]:
    """Return variation -> the kernels that either run had planned for it, in the order of ``kernels``."""
    variations: dict[str, tuple[str, ...]] = {}
    for variation in (*existing.variations, *(name for name in imported.variations if name not in existing.variations)):
        planned = [
            {kernel.name for kernel in run.kernels} if not names else set(names)
            for run in (existing, imported)
            if (names := run.variations.get(variation)) is not None
        ]
        either = set[str]().union(*planned)
        variations[variation] = tuple(kernel.name for kernel in kernels if kernel.name in either)
    return variations


def _with_origin(column: ColumnInfo, imported: RunInfo) -> ColumnInfo:
    """Return a column with the facts of its host and run; an ``origin`` in the archive itself is not trusted."""
    facts = {key: imported.host[key] for key in _HOST_FACTS if imported.host.get(key)}
    run = {"run": imported.id, "started": imported.started, "finished": imported.finished}
    return dataclasses.replace(column, origin={**facts, "engine": imported.engine, **run})


def _warnings(imported: RunInfo) -> tuple[str, ...]:
    """Return the warnings of an imported run, and where its columns come from."""
    columns = ", ".join(column.id for column in imported.columns)
    host = imported.host.get("name") or "another host"
    source = (
        f"{columns}: measured on {host}, engine {imported.engine}, profile {imported.profile} "
        f"({imported.rounds} rounds), in run {imported.id}, and imported."
    )
    return (*(f"{columns}: {warning}" for warning in imported.warnings), source)


def copy_records(source: Path, target: Path) -> None:
    """Copy records, stored values, kernel files and logs to the same relative paths, hard-linked where that works.

    Links that lead out of ``source`` are left out: whoever may write there could have other files shown on a page.
    """
    folder, inside = RunFolder(target), source.resolve()
    for file in (*record_files(source), *pair_files(source)):
        if file.resolve().is_relative_to(inside):
            folder.take(file, file.relative_to(source).as_posix())
    others = (*sorted((source / "kernel-files").glob("*.tar.xz")), *sorted((source / "logs").glob("*/*.log")))
    for file in (*kept_files(source), *others):
        copy = target / file.relative_to(source)
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            if not copy.exists() and file.resolve().is_relative_to(inside):
                shutil.copyfile(file, copy)
        except OSError as error:
            raise unwritable(copy, error) from error
