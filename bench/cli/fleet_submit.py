"""``matrix --engine slurm``: plan the cells of a fleet run, state what they cost, and submit them."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING

from bench import errors
from bench.cli.fleet import show_collected, wait
from bench.cli.planning import LOCKS, read_inputs, warn
from bench.fleet import planning, slurm
from bench.fleet.state import Fleet
from bench.fleet.submit import file_hash, new_folder, submit_arrays
from bench.plan import custom_kernels
from bench.portable.plan_runner import print_progress
from bench.portable.run_folder import now
from bench.run import progress
from bench.suite.suite_hash import ROOT, suite_hash

if TYPE_CHECKING:
    import argparse

    from bench.cli.planning import Inputs
    from bench.fleet.planning import Planned
    from bench.fleet.state import FleetFolder

#: Options of ``matrix`` that a node gets as they are, and those that ``local`` knows as well.
_PASSED = ("profile", "mode", "rounds", "repetitions", "timing_pairs", "from_registry")
_PASSED_LISTS = ("kernels", "variation", "kernel_exclude")
_LOCAL = frozenset({"mode", "rounds", "repetitions", "kernels", "variation", "kernel_exclude"})


def submit(options: argparse.Namespace) -> int:
    """Submit the selected cells to Slurm; with ``--dry-run`` print the scripts, with ``--wait`` collect the results.

    Raises:
        ConfigError: matrix.toml has no ``[[fleet.gpus]]``, or the cluster lacks a GPU model or node.
        EngineError: Slurm does not answer, or refuses.
        NothingError: the selection leaves no cell.
    """
    if options.device not in {"auto", "cpu", "gpu"}:
        message = f"--device {options.device} names a device of this host, but nodes are measured."
        raise errors.ConfigError(message, "Give cpu or gpu; [[fleet.gpus]] in matrix.toml has the models.")
    inputs = read_inputs(options)
    settings = inputs.matrix.fleet
    request = planning.Request(
        matrix=inputs.matrix, profile=inputs.profile, selection=inputs.selection, locks=LOCKS,
        suite=custom_kernels.suite(inputs.sources), device="cpu" if options.device == "cpu" else "gpu",
    )  # fmt: skip
    warn(request.suite.errors.values())
    planned = planning.cells(request)
    most = slurm.most_tasks()
    fleet = _fleet(options, inputs, planned, most)
    slurm.check_requests(fleet.arrays, settings)
    folder = new_folder(options.reports)
    fleet = dataclasses.replace(fleet, id=folder.id)
    _state_cost(fleet, planned)
    if options.dry_run:
        for array in fleet.arrays:
            print(f"# {folder.path / 'scripts' / array.name}.sh\n{slurm.script(fleet, array, folder, settings)}")
        print("nothing was submitted")
        return errors.OK
    folder.write(fleet)
    submit_arrays(folder, fleet, fleet.arrays, settings, print_progress)
    return _after(folder, options)


def _fleet(options: argparse.Namespace, inputs: Inputs, planned: Planned, most: int) -> Fleet:
    settings = inputs.matrix.fleet
    path = options.matrix.absolute()
    python = settings.python or ("python3" if settings.engine == "pyxis" else sys.executable)
    arrays = planning.arrays(planned.cells, most, settings.time_limit_min)
    return Fleet(
        id="", engine="slurm", command=options.command, submitted=now(), suite_hash=suite_hash(), root=str(ROOT),
        cells=planned.cells, arrays=arrays, matrix=str(path), matrix_hash=file_hash(path),
        node_engine=settings.engine, device="cpu" if options.device == "cpu" else "gpu", python=python,
        arguments=_arguments(options, local=settings.engine in {"local", "pyxis"}), scratch=settings.scratch,
        wait_for_gpu_s=settings.wait_for_gpu_s,
    )  # fmt: skip


def _arguments(options: argparse.Namespace, *, local: bool) -> tuple[str, ...]:
    """Return the options of ``matrix``, or of ``local``, on a node."""
    words: list[str] = []
    for key in (*_PASSED, *_PASSED_LISTS):
        value = getattr(options, key)
        if value not in (None, "", ()) and (not local or key in _LOCAL):
            words += [f"--{key.replace('_', '-')}", ",".join(value) if key in _PASSED_LISTS else str(value)]
    for path in options.kernel_file:
        words += ["--kernel-file", str(path.absolute())]
    if local:
        return (*words, *(["--quick"] if options.profile == "quick" else []))
    words += ["--matrix", str(options.matrix.absolute())]
    return (*words, *(["--allow-root-kernels"] if options.allow_root_kernels else []))


def _state_cost(fleet: Fleet, planned: Planned) -> None:
    for note in planned.notes:
        print(f"note: {note}", file=sys.stderr)
    seconds = [cell.seconds for cell in fleet.cells]
    what = "GPU hours" if fleet.device == "gpu" else "hours"
    print(
        f"{len(fleet.cells)} cells in {len(fleet.arrays)} job arrays: about {sum(seconds) / 3600:.1f} {what}, "
        f"the longest cell {progress.duration(max(seconds))}, without making environments"
    )


def _after(folder: FleetFolder, options: argparse.Namespace) -> int:
    """Collect the results if the command waits for them, else say how to."""
    if options.wait:
        return show_collected(folder, wait(folder), options)
    print(f"submitted as {folder.id}; this command may end now. Continue with:")
    print(f"  nox -s fleet -- status {folder.id}\n  nox -s fleet -- collect {folder.id} --wait")
    return errors.OK
