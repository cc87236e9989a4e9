"""A whole run folder read back, and copied without its logs.

Layout of ``reports/runs/<utc-time>-<id>/``::

    run.json                                           bench.store.run_info
    records/<column>/<variation>/<mode>-<round>.jsonl.xz bench.suite.record
    records/<column>/<variation>/<mode>-<round>.kept.xz  kept values, each digest of a column once (bench.store.kept_values)
    logs/<column>/...                                    full logs of builds and rounds
    tails.json                                         of a run kept without logs: their tails (bench.store.log_tails)
"""

from __future__ import annotations

import lzma
import os
import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from bench.errors import StorageError
from bench.portable.value_limits import kept_files
from bench.store.kept_values import Kept, load_kept
from bench.store.log_tails import Tails, keep, load_tails
from bench.store.run_folder import unwritable, write_atomic
from bench.store.run_info import RunInfo
from bench.suite import record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Folders between ``records`` and a record: column and variation.
_DEPTH = 2
#: What reading a record can raise; RecursionError where it nests too deep.
UNREADABLE = (record.RecordError, OSError, lzma.LZMAError, EOFError, RecursionError)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run read back: its facts, its records by path relative to the run folder, and what was unreadable.

    ``kept`` has its kept values, ``tails`` the last words of what died.
    """

    info: RunInfo
    records: Mapping[str, record.Record]
    unreadable: Mapping[str, str] = field(default_factory=dict)
    kept: Kept = field(default_factory=Kept)
    tails: Tails = field(default_factory=Tails)


def load(folder: Path) -> Run:
    """Read a whole run folder. A record, or a folder of them, that cannot be read is listed, never fatal.

    Raises StorageError where run.json itself is missing or not understood.
    """
    info = read_info(folder)
    records: dict[str, record.Record] = {}
    unreadable: dict[str, str] = {}

    def refused(error: OSError) -> None:
        unreadable[Path(error.filename).relative_to(folder).as_posix()] = str(error.strerror)

    for file in record_files(folder, refused):
        name = file.relative_to(folder).as_posix().removesuffix(".xz")
        try:
            records[name] = record.read(file)
        except UNREADABLE as error:
            unreadable[name] = str(error)
    tails = load_tails(folder, info.columns, records)
    return Run(info=info, records=records, unreadable=unreadable, kept=load_kept(folder), tails=tails)


def read_info(folder: Path) -> RunInfo:
    """The facts of a run folder; raises StorageError where run.json is missing or not understood."""
    path = folder / "run.json"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        message = f"{folder} is no run folder: run.json cannot be read ({why})"
        raise StorageError(message, "Name a folder under reports/runs/.") from error
    return RunInfo.from_json(text, str(path))


def record_files(folder: Path, refused: Callable[[OSError], None] | None = None) -> list[Path]:
    """The record files of a run folder, compressed or not, sorted. ``refused`` hears of folders that cannot be read."""

    def tell(error: OSError) -> None:
        if refused and not isinstance(error, FileNotFoundError):  # a run that came to no record has no folder of them
            refused(error)

    found: list[Path] = []
    top = folder / "records"
    for place, below, names in os.walk(top, onerror=tell, followlinks=True):
        if len(Path(place).relative_to(top).parts) == _DEPTH:
            below.clear()
            found += (Path(place, name) for name in names if name.endswith((".jsonl", ".jsonl.xz")))
    return sorted(found)


def compact(source: Path, target: Path) -> None:
    """Copy a run without its logs; what lies in ``target`` from an earlier copy goes once the new one is whole.

    The tails of logs in which something died are kept. Raises StorageError where ``source`` is no run or not all of it
    can be read, and where ``target`` has anything else in it than an earlier copy, or cannot be written.
    """
    run = load(source)
    _refuse_target(source, target)
    fresh = target / f".records-{secrets.token_hex(4)}"
    try:
        fresh.mkdir(parents=True)
        for file in [*record_files(source, _raise), *kept_files(source)]:
            copy = fresh / file.relative_to(source / "records")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        (target / "run.json").unlink(missing_ok=True)  # new records under old facts would be another run
        if (target / "records").exists():
            shutil.rmtree(target / "records")
        fresh.rename(target / "records")
        keep(target, run.tails)
        write_atomic(target / "run.json", run.info.to_json())
    except OSError as error:
        message = f"{source} cannot be copied to {target}: {error.filename}: {error.strerror}."
        raise StorageError(message, "Give this user the right to read and write there, or free some space.") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _raise(error: OSError) -> NoReturn:
    raise error


def _refuse_target(source: Path, target: Path) -> None:
    """What is no earlier copy must not be lost: another run, or anything else of the user's."""
    place = target.resolve()
    if (target / "logs").exists() or place == source.resolve() or place.parent.name == "runs":
        raise StorageError(f"{target} is a run of its own, and would be lost.", "Name another folder.")
    try:
        foreign = not (target / "run.json").exists() and any((target / "records").iterdir())
    except FileNotFoundError:
        foreign = False
    except OSError as error:
        raise unwritable(target, error) from error
    if foreign:
        raise StorageError(f"{target}/records is there, and no copy of a run.", "Name another folder.")
