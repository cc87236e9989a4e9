"""The cells of a fleet run: which environment is measured on which GPU model, node or host, and for how long."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from bench.errors import ConfigError, NothingError
from bench.fleet.state import Array, Cell
from bench.gpu.facts import Gpu, GpuInventory
from bench.plan import duration, planner
from bench.plan.devices import Devices

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from bench.plan.column import Column
    from bench.plan.config_models import FleetGpus, Matrix
    from bench.plan.custom_kernels import Suite
    from bench.plan.planner import Plan, Selection

#: What ``Column.facts`` says of the environment, wherever it is measured.
_OF_ENVIRONMENT = ("tensorflow", "cuda", "cudnn", "kind", "keras", "python")
#: Estimate for an existing environment, which is not planned here.
_LOCAL_S = 3600.0
#: Rounds that a node runs side by side on its CPU, for the estimate.
_PROCESSES = 2


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line and matrix.toml request; ``device`` is ``cpu`` or ``gpu``."""

    matrix: Matrix
    profile: str
    selection: Selection
    suite: Suite
    locks: Path
    device: str


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The cells, in the order of the tables, and sentences about what is left out."""

    cells: tuple[Cell, ...]
    notes: tuple[str, ...] = ()


def cells(request: Request) -> Planned:
    """Return a cell for each environment, GPU model and node.

    Raises:
        ConfigError: matrix.toml has no ``[[fleet.gpus]]``, or an environment has no lock.
        NothingError: the selection leaves no cell.
    """
    settings = request.matrix.fleet
    if not settings.gpus:
        raise ConfigError(
            "matrix.toml does not say on which GPU models to measure.",
            'Add a table [[fleet.gpus]] with gpu = "h200" for each model; `sinfo -o %G` lists them.',
        )
    if settings.engine in {"local", "pyxis"}:
        found = [Cell(0, "", table.gpu, node, table.driver, _LOCAL_S) for table, node in _places(settings.gpus)]
        return Planned(cells=_numbered(found))
    notes = _notes(request)
    found = []
    for table in settings.gpus:
        ready = _ready(request, table.gpu, table.env, notes)
        if not ready:
            notes.setdefault(f"nothing is measured on {table.gpu or 'any node'}: no pair fits {', '.join(table.env)}")
        for cell in ready:
            found += [replace(cell, gpu=table.gpu, node=node, driver=table.driver) for node in table.nodes or ("",)]
    if not found:
        raise NothingError("The selection leaves no cell.", "Relax --env, or the key env of [[fleet.gpus]].")
    for (pair, gpu), number in Counter((cell.pair, cell.gpu) for cell in found if not cell.node).items():
        if number > 1:
            place = gpu or "any node"
            notes.setdefault(f"{pair} is measured on {place} {number} times: of results on one node, one counts")
    return Planned(cells=_numbered(found), notes=tuple(notes))


def columns(request: Request) -> tuple[Column, ...]:
    """Return the columns of a node with any GPU: its environments, whatever the model."""
    return _plan(request, "").columns


def host_cells(request: Request, hosts: Iterable[str]) -> Planned:
    """Return a cell for each host and environment.

    Raises:
        ConfigError: an environment has no lock.
        NothingError: the selection leaves no cell.
    """
    notes = _notes(request)
    ready = _ready(request, "", ("*",), notes)
    if not ready:
        raise NothingError("The selection leaves no cell.", "Relax --env, or name another --device.")
    found = [replace(cell, node=host) for host in hosts for cell in ready]
    return Planned(cells=_numbered(found), notes=tuple(notes))


def _notes(request: Request) -> dict[str, None]:
    return dict.fromkeys(f"the estimate does not fit: {text}" for text in request.suite.unknown.values())


def _ready(request: Request, gpu: str, globs: Iterable[str], notes: dict[str, None]) -> list[Cell]:
    """Return a cell, without a place, for each pair that can be measured on a GPU model; adds to ``notes`` the others.

    Raises ConfigError if an environment has no lock.
    """
    plan = _plan(request, gpu)
    estimates = _estimates(plan)
    found = []
    for column in plan.columns:
        if not any(fnmatchcase(column.pair.id, glob) for glob in globs):
            continue
        if column.status == "build-failed":
            raise ConfigError(f"{column.pair.id} cannot be built: {column.reason}.", "Make the lock first.")
        if column.status == "ready":
            known = column.facts()
            facts = {name: known[name] for name in _OF_ENVIRONMENT}
            lock = {"lock": known["lock"], "lock_hash": known["lock_hash"]}
            found.append(Cell(0, column.pair.id, seconds=estimates[column.id], facts=facts, **lock))
        else:
            notes.setdefault(f"{column.pair.id} is left out: {column.reason}")
    return found


def _places(tables: Iterable[FleetGpus]) -> Iterator[tuple[FleetGpus, str]]:
    for table in tables:
        for node in table.nodes or ("",):
            yield table, node


def _numbered(found: list[Cell]) -> tuple[Cell, ...]:
    return tuple(replace(cell, number=number) for number, cell in enumerate(found))


def _plan(request: Request, model: str) -> Plan:
    """Return the plan of one node with a GPU of this model, of which only the name is known."""
    gpu = Gpu(uuid="unknown", name=model or "gpu", capability=(0, 0), memory_mb=0)
    gpus = (gpu,) if request.device == "gpu" else ()
    devices = Devices(kind="gpu" if gpus else "cpu", survey=GpuInventory(gpus=gpus), gpus=gpus)
    selection = request.selection
    if request.suite.unknown:  # --kernels may name kernels that only a node can list
        selection = replace(selection, kernels=())
    return planner.make(request.matrix, request.profile, selection, request.locks, request.suite, devices)


def _estimates(plan: Plan) -> dict[str, float]:
    """Return the seconds of each column when it is measured alone, as a cell is."""
    rounds, pairs = defaultdict(list), defaultdict(list)
    for planned in plan.rounds:
        rounds[planned.column.id].append(planned)
    for pair in plan.pairs:
        pairs[pair.column.id].append(pair)
    return {
        column.id: duration.total_seconds(rounds[column.id], pairs[column.id], _PROCESSES) for column in plan.columns
    }


def limit_min(seconds: float) -> int:
    """Return a time limit in minutes for an estimate: half as much again, and ten minutes to make the environment."""
    return int(seconds * 1.5 / 60) + 11


def arrays(planned: Iterable[Cell], most: int, limit: int | None = None, prefix: str = "") -> tuple[Array, ...]:
    """Group cells into job arrays of at most ``most`` tasks: all of an array have the same GPU model and node.

    ``limit`` is the time limit in minutes, by default one from the estimates; ``prefix`` begins the arrays' names.
    """
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in planned:
        groups.setdefault((cell.gpu, cell.node), []).append(cell)
    names: Counter[str] = Counter()
    found = []
    for (gpu, node), group in groups.items():
        minutes = limit or limit_min(max(cell.seconds for cell in group))
        for start in range(0, len(group), most):
            name = prefix + ("-".join(filter(None, (gpu, node))) or "any")
            names[name] += 1
            unique = name if names[name] == 1 else f"{name}.{names[name]}"
            numbers = tuple(cell.number for cell in group[start : start + most])
            found.append(Array(unique, gpu, node, numbers, minutes))
    return tuple(found)
