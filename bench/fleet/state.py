"""The folder of a fleet run: what was submitted, and what each cell reports. Standard library alone, for nodes.

::

    reports/fleet/<utc-time>-<id>/
        fleet.json               what was submitted; a retry adds its arrays
        scripts/<array>.sh       what Slurm runs
        logs/<array>-<task>.txt  the output of a node
        cells/<number>/
            state.json           how far the cell is; only the node that measures it writes it, or who asks over ssh
            reports/runs/...     its run folder, copied from the node's own disk as records are finished
        cancelled                exists once somebody cancelled the fleet run
        collected.json           which run the results were put into
        bundles/<environment>/   what is sent to hosts over ssh
        removed/<host>           exists once the folder on that host was removed

Every file is written completely or not at all, and has one writer.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from bench.portable.errors import CONFIG, PortableError
from bench.portable.run_folder import UNREADABLE, write_atomic
from bench.regular_file import read_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: Version of the two file formats.
SCHEMA = 1
#: The phases of a cell; the last four are final.
WAITING, RUNNING, MEASURED, FAILED, REFUSED, STOPPED = "waiting", "running", "measured", "failed", "refused", "stopped"
#: Seconds that a task gets at the end of its time, less if it has little time at all.
_SIGNAL_S = 240
FINAL = frozenset({MEASURED, FAILED, REFUSED, STOPPED})


@dataclass(frozen=True)
class Cell:
    """One environment on one host or GPU model.

    ``pair`` is an id such as ``tf2.18.1-cuda12.5``, "" where an existing environment is measured. ``gpu`` is the model
    as the cluster names it, "" where none is requested; ``node`` the host, "" where Slurm chooses. ``driver`` is what
    the version of the GPU's driver must begin with. ``seconds`` is the estimate of its measurement. ``lock`` is the
    name of the lock and ``lock_hash`` its SHA-256; ``image`` is the digest of the image to pull, "" for none. ``facts``
    has the versions of the environment by the field names of ``ColumnInfo``, nothing where they are not known.
    """

    number: int
    pair: str
    gpu: str = ""
    node: str = ""
    driver: str = ""
    seconds: float = 0.0
    lock: str = ""
    lock_hash: str = ""
    image: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``tf2.18.1-cuda12.5 on h200 (gpu01)``, for people."""
        place = " ".join([*([self.gpu] if self.gpu else []), *([f"({self.node})"] if self.node else [])])
        return f"{self.pair or 'the existing environment'} on {place or 'any node'}"


@dataclass(frozen=True)
class Array:
    """Cells that one job array measures: task ``n`` measures ``cells[n]``. All have the same GPU model and node.

    ``limit_min`` is the time limit of each task, in minutes.
    """

    name: str
    gpu: str
    node: str
    cells: tuple[int, ...]
    limit_min: int

    @property
    def signal_s(self) -> int:
        """Seconds before the time limit at which a task is told to end its round and copy its records."""
        return min(_SIGNAL_S, self.limit_min * 60 // 3)


@dataclass(frozen=True)
class Fleet:
    """What was submitted.

    ``engine`` is ``slurm`` or ``ssh``; ``node_engine`` is where a node measures, and ``python`` the interpreter that it
    starts; ``device`` is ``cpu`` or ``gpu``. ``root`` is the checkout, ``matrix`` the configuration file and
    ``arguments`` the options of ``matrix`` or ``local`` on a node. A node refuses to measure if suite or configuration
    are no longer the submitted ones. ``registry`` is where a node pulls images from, "" for building them.
    ``ssh_config`` is the configuration file of ssh, "" for the user's own.
    """

    id: str
    engine: str
    command: str
    submitted: str
    suite_hash: str
    root: str
    cells: tuple[Cell, ...]
    arrays: tuple[Array, ...] = ()
    matrix: str = ""
    matrix_hash: str = ""
    node_engine: str = ""
    device: str = "cpu"
    python: str = ""
    arguments: tuple[str, ...] = ()
    scratch: str = ""
    wait_for_gpu_s: float = 0.0
    registry: str = ""
    ssh_config: str = ""
    schema: int = SCHEMA

    def array(self, name: str) -> Array:
        """Return an array by its name; raises PortableError if there is none."""
        found = next((array for array in self.arrays if array.name == name), None)
        if found is None:
            raise PortableError(f"The fleet run {self.id} has no array {name!r}.", "Submit it again.", CONFIG)
        return found


@dataclass(frozen=True)
class CellState:
    """How far a cell is, as its node reports it. Times are ISO 8601 in UTC.

    ``job`` names the Slurm job, ``attempt`` counts its restarts. ``gpu`` is the number of the GPU that Slurm gave, with
    name and UUID where it is measured. ``message`` says why it was not measured completely.
    ``clock_s`` is how far the node's clock is ahead of that of the shared folder, in seconds. ``run`` is the run folder
    of the latest attempt: names of runs begin with the time of their node, so they do not say which one is the newest.
    """

    phase: str = WAITING
    host: str = ""
    job: str = ""
    attempt: int = 0
    gpu: str = ""
    driver: str = ""
    started: str = ""
    updated: str = ""
    message: str = ""
    clock_s: float = 0.0
    run: str = ""

    @property
    def final(self) -> bool:
        """Whether the cell is no longer measured."""
        return self.phase in FINAL


@dataclass(frozen=True)
class FleetFolder:
    """The folder of one fleet run."""

    path: Path

    @property
    def id(self) -> str:
        """The folder's name, which is part of the names of its jobs."""
        return self.path.name

    @property
    def cancelled(self) -> Path:
        """The file that says that no cell may start any more."""
        return self.path / "cancelled"

    def cell(self, number: int) -> Path:
        """Return the folder of one cell."""
        return self.path / "cells" / f"{number:05d}"

    def reports(self, number: int) -> Path:
        """Return the folder with the run of one cell."""
        return self.cell(number) / "reports"

    def write(self, fleet: Fleet) -> None:
        """Write what was submitted; raises PortableError."""
        _write(self.path / "fleet.json", asdict(fleet))

    def read(self) -> Fleet:
        """Read what was submitted; raises PortableError if it is missing or not valid."""
        path = self.path / "fleet.json"
        try:
            fields = _read(path)
            fields["cells"] = tuple(Cell(**cell) for cell in fields["cells"])
            fields["arrays"] = tuple(Array(**{**one, "cells": tuple(one["cells"])}) for one in fields["arrays"])
            fields["arguments"] = tuple(map(str, fields["arguments"]))
            fleet = Fleet(**fields)
            if fleet.schema != SCHEMA:
                raise ValueError(f"its schema is {fleet.schema!a}, and this version reads {SCHEMA}")
        except UNREADABLE as error:
            message = f"{path} cannot be read: {error}."
            raise PortableError(message, "Name the folder of a fleet run, below reports/fleet.", CONFIG) from error
        except ValueError as error:
            raise PortableError(f"{path} is not valid: {error}.", "Submit again.", CONFIG) from error
        return fleet

    def write_state(self, number: int, state: CellState) -> Path:
        """Write how far a cell is, and return the file; raises PortableError."""
        path = self.cell(number) / "state.json"
        _write(path, asdict(state))
        return path

    def state(self, number: int) -> CellState:
        """Read how far a cell is; ``waiting`` if no node has reported yet, ``failed`` if its file is not valid."""
        path = self.cell(number) / "state.json"
        try:
            state = CellState(**_read(path))
            if state.phase not in {WAITING, RUNNING, *FINAL}:
                raise ValueError(f"unknown phase {state.phase!a}")
        except FileNotFoundError:
            return CellState()
        except (*UNREADABLE, ValueError) as error:
            return CellState(phase=FAILED, message=f"{path.name} cannot be read: {error}")
        return state


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; raises PortableError if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}."
        raise PortableError(message, "The checkout must be on a folder that all nodes share.", CONFIG) from error


def _read(path: Path) -> dict[str, Any]:
    found = json.loads(read_text(path))
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - a wrong content, not a wrong argument
    return found


def _write(path: Path, fields: dict[str, Any]) -> None:
    try:
        write_atomic(path, json.dumps(fields, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror}."
        raise PortableError(message, "Free some space there, and check who may write.") from error
