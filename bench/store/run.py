"""Read a whole run folder, and copy one without its logs.

Layout of ``reports/runs/<utc-time>-<id>/``::

    run.json                                              bench.store.run_info
    records/<column>/<variation>/<mode>-<round>.jsonl.xz  bench.suite.record
    records/<column>/<variation>/<mode>-<round>.kept.xz   stored values, each digest of a column once
    paired/<column>/<comparison>-<pair>.jsonl.xz          bench.suite.paired_record
    kernel-files/<hash>.tar.xz                            files of custom kernels
    logs/<column>/...                                     full logs of builds and rounds
    tails.json                                            in a copy without logs: the ends of those that matter
"""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from bench.errors import StorageError
from bench.portable.value_limits import kept_files
from bench.regular_file import read_text
from bench.store.kept_values import StoredValues, load_stored_values
from bench.store.log_tails import Tails, load_tails, write_tails
from bench.store.partial_info import parse_partly
from bench.store.read_record import UNREADABLE, paused_garbage_collection, read_pair, read_record
from bench.store.run_folder import now, unwritable, write_atomic
from bench.store.valid_info import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.store.run_info import RunInfo
    from bench.suite.paired_record import PairedRecord
    from bench.suite.record import Record

#: Folders of a run that hold records, and are copied as a whole.
RECORD_FOLDERS = ("records", "paired")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run: its facts, its records by path relative to the run folder, and what could not be read, with the reason.

    ``paired`` has the records of pairs, also by path; ``kept`` has its stored values, ``tails`` the ends of the logs of
    processes that died. ``read_at`` is the time at which it was read, ISO 8601, to find times in the future; "" if it
    was not read from a folder.
    """

    info: RunInfo
    records: Mapping[str, Record]
    paired: Mapping[str, PairedRecord] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    kept: StoredValues = field(default_factory=StoredValues)
    tails: Tails = field(default_factory=Tails)
    read_at: str = ""


def load(folder: Path, *, partly: bool = False) -> Run:
    """Read a whole run folder; records and folders of them that cannot be read are listed in ``Run.unreadable``.

    Args:
        folder: the run folder.
        partly: also list parts of run.json there. Only who shows that list may ask for it: to compare or choose with
            part of a run could miss what the rest would say.

    Raises:
        StorageError: run.json is missing, or what is wrong in it may not be left out.
    """
    unreadable: dict[str, str] = {}
    if partly:
        info, unreadable = parse_partly(_text_of(folder), str(folder / "run.json"))
    else:
        info = read_info(folder)

    def list_folder(error: OSError) -> None:
        unreadable[Path(error.filename).relative_to(folder).as_posix()] = str(error.strerror)

    def read_all(files: list[Path], reader: Callable[[Path], T]) -> dict[str, T]:
        contents: dict[str, T] = {}
        for file in files:
            name = file.relative_to(folder).as_posix().removesuffix(".xz")
            try:
                content = reader(file)
                if contents.setdefault(name, content) != content:
                    unreadable[name] = "the file and its compressed copy have different contents"
            except UNREADABLE as error:
                unreadable[name] = str(error)
        for name in unreadable:
            contents.pop(name, None)
        return contents

    with paused_garbage_collection():
        records = read_all(record_files(folder, list_folder), read_record)
        paired = read_all(pair_files(folder, list_folder), read_pair)
        kept = load_stored_values(folder)
    tails = load_tails(folder, info.columns, records)
    return Run(info=info, records=records, paired=paired, unreadable=unreadable, kept=kept, tails=tails, read_at=now())


def read_info(folder: Path) -> RunInfo:
    """Read the facts of a run folder; raises StorageError where run.json is missing or not valid.

    An imported run and one of this host are checked alike (see ``bench.store.valid_info``).
    """
    return parse(_text_of(folder), str(folder / "run.json"))


def _text_of(folder: Path) -> str:
    try:
        return read_text(folder / "run.json")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        message = f"{folder} is no run folder: run.json cannot be read ({reason})"
        raise StorageError(message, "Use a folder under reports/runs/.") from error


def record_files(folder: Path, on_error: Callable[[OSError], None] | None = None) -> list[Path]:
    """Return the record files of a run folder, compressed or not, sorted.

    ``on_error`` is called for each folder that cannot be read; a missing one is no error, as a run may have no record.
    """
    return _files(folder / "records", 2, on_error)


def pair_files(folder: Path, on_error: Callable[[OSError], None] | None = None) -> list[Path]:
    """Return the records of the pairs of a run folder, sorted; ``on_error`` as in ``record_files``."""
    return _files(folder / "paired", 1, on_error)


def _files(top: Path, depth: int, on_error: Callable[[OSError], None] | None) -> list[Path]:
    """Return the records in the folders that are so many levels below ``top``."""

    def report(error: OSError) -> None:
        if on_error and not isinstance(error, FileNotFoundError):
            on_error(error)

    files: list[Path] = []
    for place, subfolders, names in os.walk(top, onerror=report, followlinks=True):
        if len(Path(place).relative_to(top).parts) == depth:
            subfolders.clear()
            files += (Path(place, name) for name in names if name.endswith((".jsonl", ".jsonl.xz")))
    return sorted(files)


def compact(source: Path, target: Path) -> None:
    """Copy a run without its logs, but with the ends of those in which something died.

    An earlier copy in ``target`` is replaced once the new one is complete. Raises StorageError where ``source`` is no
    run or cannot be read completely, and where ``target`` contains anything else or cannot be written.
    """
    read_info(source)  # a copy of a part would look like the whole
    run = load(source)
    _check_target(source, target)
    fresh = target / f".records-{secrets.token_hex(4)}"
    try:
        for name in RECORD_FOLDERS:
            (fresh / name).mkdir(parents=True)
        for file in [*record_files(source, _raise), *kept_files(source), *pair_files(source, _raise)]:
            copy = fresh / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        # run.json goes first and comes back last: new records must never be read with the facts of another run
        (target / "run.json").unlink(missing_ok=True)
        for name in RECORD_FOLDERS:
            if (target / name).exists():
                shutil.rmtree(target / name)
            if name == "records" or any((fresh / name).iterdir()):
                (fresh / name).rename(target / name)
        write_tails(target, run.tails)
        write_atomic(target / "run.json", run.info.to_json())
    except OSError as error:
        message = f"{source} cannot be copied to {target}: {error.filename}: {error.strerror}."
        raise StorageError(message, "Give this user the right to read and write there, or free some space.") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _raise(error: OSError) -> NoReturn:
    raise error


def _check_target(source: Path, target: Path) -> None:
    """Raise StorageError unless ``target`` is free or an earlier copy: another run, or other files, would be lost."""
    place = target.resolve()
    if (target / "logs").exists() or place == source.resolve() or place.parent.name == "runs":
        raise StorageError(f"{target} is a run of its own, and would be lost.", "Use another folder.")
    ours: set[Path] = set()
    if (target / "run.json").exists():
        try:
            read_info(target)
        except StorageError as error:
            raise StorageError(f"{target} has a run.json that is no copy of a run.", "Use another folder.") from error
        ours = {*record_files(target, _raise), *kept_files(target), *pair_files(target, _raise)}
    try:
        for folder in (target / name for name in RECORD_FOLDERS):
            foreign = next((path for path in folder.rglob("*") if not path.is_dir() and path not in ours), None)
            if foreign:
                raise StorageError(
                    f"{foreign} is not part of a copy of a run, and would be lost.", "Use another folder."
                )
    except OSError as error:
        raise unwritable(target, error) from error
