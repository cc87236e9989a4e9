"""What a fleet of 10,000 cells costs: ``nox -s self-benchmark -- --fleet``, or ``python -m tests.fleet_benchmark``.

A cell is one environment on one host. Planning, submitting (to a real Slurm, whose jobs stay pending because its nodes
never start), the status, collecting and the pages are each measured in a process of their own, with its peak memory.
The runs of the cells are simulated: few kernels, ten rounds, no pairs.
"""

from __future__ import annotations

import argparse
import gc
import io
import lzma
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from bench import cli, report, verdict
from bench.cli.results import PAGES
from bench.fleet import planning, slurm
from bench.fleet.collect import collect
from bench.fleet.slurm_backend import submit_arrays
from bench.fleet.state import MEASURED, Cell, CellState, Fleet, FleetFolder
from bench.fleet.status import statuses
from bench.plan import config, custom_kernels
from bench.plan.config_models import Fleet as FleetSettings
from bench.plan.config_models import FleetGpus
from bench.plan.planner import Selection
from bench.store import run as store
from bench.suite.record import SCHEMA
from bench.suite.suite_hash import ROOT
from tests.integration.slurm_cluster import Node, SlurmCluster
from tests.unit import factory
from tests.unit.test_import import text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.fleet.state import Array

GPU_MODEL = "h200"
#: Pairs of the profile ``nightly`` for GPUs; with more environments, each is requested several times.
PAIRS = 34
MOST_TASKS = 1000
#: A step that takes longer, or more memory, is out of reach.
LIMIT_S, LIMIT_BYTES = 900.0, 12 << 30
#: What stands for the host and the run in a simulated run, as long as what replaces it.
ANY_HOST, ANY_RUN = "host000", "20250130T120000Z-ffff"
KERNELS = ("matmul", "conv2d", "reduce_sum")


@dataclass(frozen=True)
class Size:
    """How many cells: environments times hosts."""

    environments: int
    hosts: int

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the hosts."""
        return tuple(f"host{number:03d}" for number in range(1, self.hosts + 1))


SIZES = (Size(10, 10), Size(10, 100), Size(100, 100))


class Cluster(SlurmCluster):
    """A cluster whose nodes never start: their jobs stay pending."""

    def start_node(self, name: str) -> None:
        """Start nothing."""


def plan(size: Size) -> tuple[Cell, ...]:
    """Return the cells of the shipped matrix on these hosts."""
    tables = (FleetGpus(gpu=GPU_MODEL, nodes=size.names),) * -(-size.environments // PAIRS)
    fleet = FleetSettings(gpus=tables, engine="venv")
    request = planning.Request(
        matrix=config.load(ROOT / "matrix.toml").model_copy(update={"fleet": fleet}), profile="nightly",
        selection=Selection(), suite=custom_kernels.suite(()), locks=ROOT / "docker" / "locks", device="gpu",
    )  # fmt: skip
    return planning.cells(request).cells[: size.environments * size.hosts]


def fleet_of(cells: Sequence[Cell], arrays: Sequence[Array] = ()) -> Fleet:
    """Return what would be submitted for these cells."""
    return Fleet(
        id="", engine="slurm", command="matrix", submitted="2025-01-30T12:00:00+00:00", suite_hash=factory.SUITE,
        root=str(ROOT), cells=tuple(cells), arrays=tuple(arrays), python=sys.executable, node_engine="venv",
    )  # fmt: skip


def submit(folder: FleetFolder) -> None:
    """Submit all arrays of a fleet run that is written."""
    fleet = folder.read()
    settings = FleetSettings(gpus=(FleetGpus(gpu=GPU_MODEL),))
    slurm.check_requests(fleet.arrays, settings)
    submit_arrays(folder, fleet, fleet.arrays, settings, lambda _: None)


def status(folder: FleetFolder) -> str:
    """Return the counts that ``fleet status`` prints."""
    out = io.StringIO()
    with redirect_stdout(out):
        cli.main(["fleet", "status", str(folder.path), "--reports", str(folder.path)])
    return out.getvalue().splitlines()[1]


def write_states(folder: FleetFolder) -> None:
    """Let every cell but each tenth report that it was measured."""
    for cell in folder.read().cells:
        if cell.number % 10:
            folder.write_state(cell.number, _state(cell))


def _state(cell: Cell) -> CellState:
    return CellState(
        phase=MEASURED, host=cell.node, job=f"1_{cell.number}", gpu=f"{GPU_MODEL} GPU-{cell.node}",
        driver=factory.DRIVER, started="2025-01-30T12:00:00+00:00", updated="2025-01-30T12:10:00+00:00",
    )  # fmt: skip


def simulate(folder: FleetFolder, size: Size) -> None:
    """Write a measured fleet run: each cell has a small run folder and its last state."""
    cells: list[Cell] = []
    for environment in range(size.environments):
        tensorflow = f"2.{10 + environment // 10}.{environment % 10}"
        files = _simulated_run(tensorflow)
        for host in size.names:
            cell = Cell(len(cells), f"tf{tensorflow}-cuda12.5", GPU_MODEL, host)
            cells.append(cell)
            run = f"{ANY_RUN[:-4]}{cell.number:04x}"
            place = folder.reports(cell.number) / "runs" / run
            for name, body in files.items():
                path = place / name.replace(ANY_HOST, host)
                path.parent.mkdir(parents=True, exist_ok=True)
                data = body.replace(ANY_HOST, host).replace(ANY_RUN, run).encode()
                path.write_bytes(lzma.compress(data, preset=0) if path.suffix == ".xz" else data)
            folder.write_state(cell.number, _state(cell))
    folder.write(fleet_of(cells))


def _simulated_run(tensorflow: str) -> dict[str, str]:
    """Return the files of a run on any host, by path."""
    column = factory.column(
        tensorflow, "12.5", id=f"tf{tensorflow}-cuda12.5-py311@{GPU_MODEL}-{ANY_HOST}", device=GPU_MODEL, host=ANY_HOST,
        gpu=f"GPU-{ANY_HOST}", lock_hash=factory.digest(tensorflow),
    )  # fmt: skip
    facts = factory.info(
        schema=SCHEMA, id=ANY_RUN, columns=(column,),
        host={"name": ANY_HOST, "boot_id": ANY_HOST, "cpu": "Xeon", "cores": "2"},
        kernels=(*map(factory.kernel, KERNELS), *factory.CONTROLS),
    )  # fmt: skip
    codes = {kernel.name: factory.digest(kernel.name) for kernel in facts.kernels}
    actual = factory.facts_of_process(kernel_hashes=codes, hostname=ANY_HOST, cpu_model="Xeon")
    run = factory.changed(factory.run(facts, keep=False), actual)
    return {"run.json": facts.to_json()} | {f"{name}.xz": text(one) for name, one in run.records.items()}


def collect_all(folder: FleetFolder, reports: Path) -> Path:
    """Put the runs of all cells into one."""
    return collect(folder, statuses(folder, folder.read(), {}), reports)[0]


def show(run: Path, reports: Path) -> dict[str, float]:
    """Evaluate a run and write its pages, as the command does; return the seconds of CPU time of each part."""
    taken: dict[str, float] = {}
    start = time.process_time()

    def passed(what: str) -> None:
        taken[what] = time.process_time() - start - sum(taken.values())

    loaded = store.load(run, partly=True)
    passed("read")
    results = verdict.evaluate(loaded)
    gc.freeze()
    passed("evaluate")
    pages = report.Pages(results, report.Last(), "")
    passed("build")
    pages.write(reports, PAGES)
    passed("pages")
    return taken


def disk_use(folder: Path) -> tuple[int, int]:
    """Return the bytes that a folder takes on its disk, and its number of files."""
    files = [Path(place, name) for place, folders, names in os.walk(folder) for name in (*folders, *names)]
    return sum(path.stat().st_blocks for path in files) * 512, len(files)


def _timed(step: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, float, float, float]:
    """Return the result of a step, its seconds, its seconds of CPU time, and the peak memory in MB."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    start, used = time.perf_counter(), time.process_time()
    result = step(*arguments)
    taken, busy = time.perf_counter() - start, time.process_time() - used
    return result, taken, busy, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


class Table:
    """The steps that were measured; each is printed at once."""

    def __init__(self) -> None:
        self._rows: list[list[str]] = []

    def measure(self, name: str, step: Callable[..., Any], *arguments: Any) -> Any:
        """Run a step in a process of its own, and return its result; None where it is out of reach."""
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            try:
                result, seconds, busy, memory = pool.apply_async(_timed, (step, arguments)).get(LIMIT_S)
                pool.close()
                pool.join()
            except (multiprocessing.TimeoutError, MemoryError) as error:
                self.add(name, f"out of reach ({type(error).__name__})")
                return None
        self.add(name, f"{seconds:.1f} s, CPU {busy:.1f} s", f"{memory:.0f} MB")
        return result

    def add(self, name: str, *facts: str) -> None:
        """Add a row."""
        self._rows.append([name, *facts])
        print(f"  {name}: {', '.join(facts)}", file=sys.stderr, flush=True)

    def text(self) -> str:
        """Return all rows."""
        return tabulate(self._rows, headers=["step", "", "peak memory"]) + "\n"


def planned_and_submitted(table: Table, size: Size, scratch: Path) -> None:
    """Measure planning, submitting, the status and cancelling, with cells that name their host and without."""
    cells = table.measure(f"plan {size.environments} x {size.hosts} cells", plan, size)
    for where, placed in (("a host each", cells), ("any host", [replace(cell, node="") for cell in cells])):
        folder = FleetFolder(scratch / f"fleet-{where.replace(' ', '-')}")
        arrays = planning.arrays(placed, MOST_TASKS)
        folder.write(fleet_of(placed, arrays))
        table.measure(f"{where}: submit {len(arrays)} arrays", submit, folder)
        table.add("", str(table.measure(f"{where}: status, all wait", status, folder)))
        write_states(folder)
        table.add("", str(table.measure(f"{where}: status, 9 of 10 measured", status, folder)))
        table.measure(f"{where}: cancel", slurm.cancel, folder, arrays)
        table.add("fleet.json and scripts", f"{disk_use(folder.path / 'scripts')[0] / 1e3:.0f} kB of scripts")


def collected_and_shown(table: Table, size: Size, scratch: Path) -> None:
    """Measure collecting simulated runs, and their pages."""
    cells = size.environments * size.hosts
    folder, reports = FleetFolder(scratch / "fleet" / f"{cells}"), scratch / f"reports-{cells}"
    table.measure(f"{cells} cells: simulate", simulate, folder, size)
    before, files = disk_use(folder.path)
    table.add("in the shared folder, a cell", f"{before / cells / 1e3:.1f} kB", f"{files / cells:.0f} files")
    run = table.measure(f"{cells} cells: collect", collect_all, folder, reports)
    if run is None:
        return
    added = disk_use(scratch)
    table.add("collected, a cell", f"{_own(run) / cells / 1e3:.2f} kB besides links, {added[1]} files in all")
    taken = table.measure(f"{cells} columns: read, evaluate, pages", show, run, reports)
    if taken:
        table.add("of it, CPU", ", ".join(f"{name} {seconds:.1f} s" for name, seconds in taken.items()))
        page = (reports / "index.html").stat().st_size
        table.add("index.html, report.json", f"{page / 1e6:.1f} MB, {_size(reports / 'report.json'):.1f} MB")


def _own(run: Path) -> int:
    """Return the bytes of a folder's files that are no links to others, and of its folders."""
    files = [Path(place, name).stat() for place, folders, names in os.walk(run) for name in (*folders, *names)]
    return sum(facts.st_blocks for facts in files if facts.st_nlink == 1 or facts.st_mode & 0o040000) * 512


def _size(path: Path) -> float:
    return path.stat().st_size / 1e6 if path.exists() else 0.0


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=10_000, help="the most cells: 100, 1000 or 10000")
    parser.add_argument("--only", choices=["submit", "collect"], help="measure one part")
    options = parser.parse_args(arguments)
    sizes = [size for size in SIZES if size.environments * size.hosts <= options.cells]
    table = Table()
    with tempfile.TemporaryDirectory(prefix="fleet-") as name:
        if options.only != "collect":
            nodes = {host: Node(GPU_MODEL, 8) for host in sizes[-1].names}
            (Path(name) / "c").mkdir()
            with Cluster(Path(name) / "c", nodes, {"MaxJobCount": "50000"}) as cluster:
                os.environ |= cluster.env
                planned_and_submitted(table, sizes[-1], Path(name))
        for size in sizes if options.only != "submit" else ():
            collected_and_shown(table, size, Path(name))
    print(table.text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
