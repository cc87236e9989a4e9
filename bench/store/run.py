"""The run folder's facts: ``run.json`` as typed data, and a whole run read back.

Layout of ``reports/runs/<utc-time>-<id>/``::

    run.json                                           this module
    records/<cell>/<condition>/<mode>-<round>.jsonl.xz bench.suite.record
    records/<cell>/<condition>/<mode>-<round>.kept.xz  kept values, each digest of a cell once (bench.store.kept)
    logs/<cell>/...                                    full logs of builds and rounds
    tails.json                                         of a run kept without logs: their tails (bench.store.tails)
"""

from __future__ import annotations

import dataclasses
import json
import lzma
import os
import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from bench.away.keeping import kept_files
from bench.errors import StorageError
from bench.store.folder import unwritable, write_atomic
from bench.store.kept import Kept, load_kept
from bench.store.tails import Tails, keep, load_tails
from bench.suite import record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SCHEMA = 3
#: Folders between ``records`` and a record: cell and condition.
_DEPTH = 2
#: Schemas that can be read: 2 knew no GPU.
READABLE = (2, SCHEMA)
#: What reading a record can raise; RecursionError where it nests too deep.
UNREADABLE = (record.RecordError, OSError, lzma.LZMAError, EOFError, RecursionError)


@dataclass(frozen=True, kw_only=True)
class CellInfo:
    """One column as planned and as it was prepared.

    ``status`` is ``ready``, ``impossible``, ``no-gpu``, ``build-failed``, or ``failed`` or ``image-gone`` where not
    one round could be run; ``reason`` says why it is not ready. ``device``, ``gpu``, ``kind``, ``cudnn`` and
    ``advice`` are those of ``bench.plan.cell``; ``origin`` has the host's facts where the cell was measured on
    another host and imported, empty where it was measured here.
    """

    id: str
    tensorflow: str
    cuda: str
    python: str
    keras: str
    device: str
    lock: str
    lock_hash: str
    status: str
    reason: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    gpu: str = ""
    kind: str = "cpu"
    cudnn: str = ""
    advice: str = ""
    origin: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class KernelInfo:
    """One row: the declaration of a kernel (see ``bench.suite.kernels``).

    ``control`` is ``""``, ``"must-differ"`` or ``"must-not-differ"``, and ``rate`` the share of samples in which
    it differs. ``accuracy`` says whether it has a float64 reference. ``file`` is the user's file, "" for the suite.
    """

    name: str
    family: str
    exercises: str
    shapes: str
    dtypes: str
    source: str
    control: str
    portable: bool
    rate: float = 0.0
    heavy: bool = False
    call_again: bool = True
    gpu_control: bool = False
    on_host: bool = False
    accuracy: bool = False
    file: str = ""


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """One invocation over the matrix. Times are ISO 8601 in UTC; ``finished`` is "" while it runs.

    ``conditions`` maps a condition to the kernels it runs (all where the tuple is empty) and
    ``condition_modes`` to its modes. ``taken_over`` maps a record's path, relative to the run
    folder, to the id of the run that measured it. ``rounds`` is the number planned per mode.
    """

    schema: int
    id: str
    started: str
    finished: str
    version: str
    revision: str
    command: str
    profile: str
    rounds: int
    repeats: int
    seed: int
    modes: tuple[str, ...]
    conditions: Mapping[str, tuple[str, ...]]
    condition_modes: Mapping[str, tuple[str, ...]]
    engine: str
    engine_why: str
    engine_facts: Mapping[str, str]
    host: Mapping[str, str]
    suite_hash: str
    cells: tuple[CellInfo, ...]
    kernels: tuple[KernelInfo, ...]
    warnings: tuple[str, ...] = ()
    taken_over: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text of run.json."""
        return json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str = "run.json") -> RunInfo:
        """Read run.json; raises StorageError naming the file where it cannot be understood."""
        try:
            data = json.loads(text)
            if data.get("schema") not in READABLE:
                known = " and ".join(map(str, READABLE))
                message = f"{name}: schema {data.get('schema')!r}, but this version reads schemas {known}"
                raise StorageError(message, "Read it with the tfrepro that wrote it, or measure again.")
            unknown = _unknown(data)
            if unknown:
                message = f"{name} has fields that this version does not know: {', '.join(map(ascii, unknown))}"
                raise StorageError(message, "Read it with the tfrepro that wrote it, or measure again.")
            return _build(data)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            message = f"{name} is not a run's description ({error})"
            raise StorageError(message, "The file was cut off or edited; measure again.") from error


def _unknown(data: dict[str, Any]) -> list[str]:
    """Fields of run.json that nobody here reads: leaving them out could leave out what makes a green one red."""
    parts = ((RunInfo, [data]), (CellInfo, data["cells"]), (KernelInfo, data["kernels"]))
    known = [({one.name for one in dataclasses.fields(made)}, told) for made, told in parts]
    return sorted({key for names, told in known for one in told for key in one if key not in names})


def _build(data: dict[str, Any]) -> RunInfo:
    data["cells"] = tuple(CellInfo(**cell) for cell in data["cells"])
    data["kernels"] = tuple(KernelInfo(**kernel) for kernel in data["kernels"])
    for key in ("conditions", "condition_modes"):
        data[key] = {name: tuple(values) for name, values in data[key].items()}
    for key in ("modes", "warnings"):
        data[key] = tuple(data[key])
    return RunInfo(**data)


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
    tails = load_tails(folder, info.cells, records)
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
