"""Bring records of another host home: beside the columns measured here where that is sound, else as a run of their own.

Columns stand beside each other only where every one of them ran the same suite with the same seed. What was measured
elsewhere says so: ``ColumnInfo.origin`` has the other host's facts, and the file ``imported`` beside run.json the ids of
the runs that came in, so that none comes twice.
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
from bench.store.run import read_info, record_files
from bench.store.run_folder import RunFolder, now, reports_lock, unwritable, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.store.run_info import ColumnInfo, KernelInfo, RunInfo

#: Facts of the other host that a column keeps, from ``RunInfo.host``.
_OF_HOST = ("name", "system", "cpu", "cores", "memory_gb", "gpu")
_IMPORTED = "imported"


def tell(text: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"{text}\n")


def importing(file: Path, reports: Path, into: Path | None = None, say: Callable[[str], None] = tell) -> Path:
    """Verify a records archive and show its columns beside those of the run ``into`` (default: the newest here).

    Returns a new run folder: both runs together, or the imported one alone where they cannot stand beside each other,
    which ``say`` is told with the reason.

    Raises:
        StorageError: the archive is not what its manifest says, or was imported already.
        BusyError: a run holds the reports folder.
    """
    with reports_lock(reports, f"import {file.name}"):
        scratch = reports / f".import-{secrets.token_hex(4)}"
        try:
            unpacked = unpack(file, scratch / "theirs")
            for name, why in unpacked.unreadable.items():
                say(f"{name} cannot be read and will not count: {why}")
            theirs = unpacked.info
            _refuse_twice(reports, theirs)
            base = into or next(reversed(find_run.every(reports)), None)
            mine = read_info(base) if base else None
            why = apart(mine, theirs) if mine else "there is no run here yet"
            folder = scratch / "ours"
            if base and mine and not why:
                _copy(base, folder)
                merged = together(mine, theirs)
            else:
                say(f"imported as a run of its own: {why}")
                merged = alone(theirs)
            _copy(scratch / "theirs", folder)
            ids = [*(_imported(base) if base and not why else ()), theirs.id]
            write_atomic(folder / _IMPORTED, "".join(f"{one}\n" for one in ids))
            return _settle(folder, merged, reports)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _settle(folder: Path, info: RunInfo, reports: Path) -> Path:
    """Give the folder its name among the runs: it appears there whole."""
    place = RunFolder.create(reports)
    write_atomic(folder / "run.json", dataclasses.replace(info, id=place.id).to_json())
    return folder.rename(place.path)  # onto an empty folder


def _imported(folder: Path) -> tuple[str, ...]:
    """Ids of the runs that were imported into a run folder."""
    try:
        return tuple((folder / _IMPORTED).read_text(encoding="utf-8").split())
    except OSError:
        return ()


def _refuse_twice(reports: Path, theirs: RunInfo) -> None:
    """The same records must not stand on the page as two columns, and then as evidence for each other."""
    for folder in find_run.every(reports):
        if theirs.id in (folder.name, *_imported(folder)):
            message = f"Run {theirs.id} is here already, in {folder}."
            raise StorageError(message, "To import it again, remove that folder first.")


def apart(mine: RunInfo, theirs: RunInfo) -> str:
    """Why two runs cannot stand on one page, "" where they can."""
    clash = sorted({column.id for column in mine.columns} & {column.id for column in theirs.columns})
    known = {kernel.name: kernel for kernel in mine.kernels}
    other = [kernel.name for kernel in theirs.kernels if known.get(kernel.name, kernel) != kernel]
    checks = (
        (not mine.finished, f"the run here, {mine.id}, is not finished"),
        (not theirs.finished, "it was not played to its end"),
        (mine.suite_hash != theirs.suite_hash, f"it ran another version of the suite than the run here, {mine.id}"),
        (mine.seed != theirs.seed, f"its seed is {theirs.seed}, and {mine.seed} is that of the run here, {mine.id}"),
        (bool(clash), f"the run here, {mine.id}, has a column {clash[0] if clash else ''} already"),
        (bool(other), f"its kernel {other[0] if other else ''} is another one than in the run here, {mine.id}"),
    )
    return next((why for bad, why in checks if bad), "")


def alone(theirs: RunInfo) -> RunInfo:
    """The imported run as a run of its own."""
    return dataclasses.replace(
        theirs, columns=tuple(_from_elsewhere(column, theirs) for column in theirs.columns), warnings=_warnings(theirs)
    )


def together(mine: RunInfo, theirs: RunInfo) -> RunInfo:
    """Both runs as one: head, plan and engine are those of the run here, columns and variations those of both."""
    names = {kernel.name for kernel in mine.kernels}
    kernels = (*mine.kernels, *(kernel for kernel in theirs.kernels if kernel.name not in names))
    variations = _variations(mine, theirs, kernels)
    modes = {name: tuple(sorted({*_modes(mine, name), *_modes(theirs, name)})) for name in variations}
    return dataclasses.replace(
        mine,
        command=f"{mine.command} + import of {theirs.id}",
        finished=now(),
        modes=tuple(sorted({*mine.modes, *theirs.modes})),
        variations=variations,
        variation_modes=modes,
        columns=(*mine.columns, *(_from_elsewhere(column, theirs) for column in theirs.columns)),
        kernels=kernels,
        warnings=(*mine.warnings, *_warnings(theirs)),
        reused={**mine.reused, **theirs.reused},
    )


def _modes(info: RunInfo, variation: str) -> tuple[str, ...]:
    return info.variation_modes.get(variation, info.modes) if variation in info.variations else ()


def _variations(mine: RunInfo, theirs: RunInfo, kernels: tuple[KernelInfo, ...]) -> dict[str, tuple[str, ...]]:
    """Variation -> the kernels that either run had planned for it, in the order of the rows."""
    found: dict[str, tuple[str, ...]] = {}
    for variation in (*mine.variations, *(name for name in theirs.variations if name not in mine.variations)):
        planned = [
            {kernel.name for kernel in run.kernels} if not names else set(names)
            for run in (mine, theirs)
            if (names := run.variations.get(variation)) is not None
        ]
        either = set[str]().union(*planned)
        found[variation] = tuple(kernel.name for kernel in kernels if kernel.name in either)
    return found


def _from_elsewhere(column: ColumnInfo, theirs: RunInfo) -> ColumnInfo:
    """A column with the facts of where it was measured; whatever the archive itself says of that is not taken."""
    facts = {key: theirs.host[key] for key in _OF_HOST if theirs.host.get(key)}
    return dataclasses.replace(column, origin={**facts, "engine": theirs.engine})


def _warnings(theirs: RunInfo) -> tuple[str, ...]:
    """What their run warned of, and where its columns come from."""
    columns = ", ".join(column.id for column in theirs.columns)
    host = theirs.host.get("name") or "another host"
    told = (
        f"{columns}: measured on {host}, engine {theirs.engine}, profile {theirs.profile} "
        f"({theirs.rounds} rounds), in run {theirs.id}, and imported."
    )
    return (*(f"{columns}: {sentence}" for sentence in theirs.warnings), told)


def _copy(source: Path, target: Path) -> None:
    """Records, kept values and logs of a run, hard-linked where that works; their places are the same in both."""
    folder = RunFolder(target)
    for file in record_files(source):
        folder.take(file, file.relative_to(source).as_posix())
    for file in (*kept_files(source), *sorted((source / "logs").glob("*/*.log"))):
        copy = target / file.relative_to(source)
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            if not copy.exists():
                shutil.copyfile(file, copy)
        except OSError as error:
            raise unwritable(copy, error) from error
