"""``matrix --engine slurm`` and ``ssh``: plan the cells of a fleet run, state what they cost, and submit them."""

from __future__ import annotations

import dataclasses
import re
import secrets
import shutil
import sys
from typing import TYPE_CHECKING

from tabulate import tabulate

from bench import bundle, errors
from bench.cli.fleet import show_collected, wait
from bench.cli.planning import LOCKS, read_inputs, warn
from bench.engines import registry as images
from bench.fleet import planning, slurm
from bench.fleet.backend import backend
from bench.fleet.slurm_backend import submit_arrays
from bench.fleet.ssh_backend import SshBackend
from bench.fleet.ssh_hosts import read_hosts
from bench.fleet.state import Fleet, FleetFolder, file_hash
from bench.plan import custom_kernels
from bench.portable.plan_runner import print_progress
from bench.portable.run_folder import now, stamp
from bench.run import progress
from bench.suite.suite_hash import ROOT, suite_hash

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from bench.cli.planning import Inputs
    from bench.fleet.planning import Planned
    from bench.fleet.state import Cell
    from bench.plan.config_models import Fleet as FleetSettings

#: Options of ``matrix`` that a node gets as they are, and those that ``local`` knows as well.
_PASSED = ("profile", "mode", "rounds", "repetitions", "timing_pairs")
_PASSED_LISTS = ("kernels", "variation", "kernel_exclude")
_LOCAL = frozenset({"mode", "rounds", "repetitions", "kernels", "variation", "kernel_exclude"})


def submit(options: argparse.Namespace) -> int:
    """Submit the selected cells to Slurm, or start them on hosts over ssh; returns the exit code.

    Raises:
        ConfigError: an option or matrix.toml is wrong, or names what is not there.
        EngineError: Slurm or a host does not answer, or refuses.
        NothingError: the selection leaves no cell.
    """
    if options.device not in {"auto", "cpu", "gpu"}:
        message = f"--device {options.device} names a device of this host, but other hosts are measured."
        raise errors.ConfigError(message, "Give cpu or gpu.")
    return _submit_ssh(options) if options.engine == "ssh" else _submit_slurm(options)


def _submit_slurm(options: argparse.Namespace) -> int:
    """Submit the selected cells to Slurm; with ``--dry-run`` print the scripts, with ``--wait`` collect the results."""
    inputs, request = _request(options)
    settings = inputs.matrix.fleet
    _check_slurm(options, settings)
    planned = planning.cells(request)
    if options.from_registry:
        planned = dataclasses.replace(planned, cells=_with_images(planned.cells, request, options.from_registry))
    most = slurm.most_tasks()
    fleet = _fleet(options, inputs, planned, most)
    slurm.check_requests(fleet.arrays, settings)
    folder = _new_folder(options.reports)
    fleet = dataclasses.replace(fleet, id=folder.id)
    _state_cost(fleet, planned, f"in {len(fleet.arrays)} job arrays")
    if options.dry_run:
        for array in fleet.arrays:
            print(f"# {folder.path / 'scripts' / array.name}.sh\n{slurm.script(fleet, array, folder, settings)}")
        print("nothing was submitted")
        return errors.OK
    folder.write(fleet)
    submit_arrays(folder, fleet, fleet.arrays, settings, print_progress)
    return _after(folder, fleet, options)


def _submit_ssh(options: argparse.Namespace) -> int:
    """Send bundles to hosts and start them; with ``--dry-run`` print the cells, with ``--wait`` collect the results."""
    config = _check_ssh(options)
    hosts = read_hosts(options.hosts)
    inputs, request = _request(options)
    planned = planning.host_cells(request, hosts)
    folder, path = _new_folder(options.reports), options.matrix.absolute()
    fleet = Fleet(
        id=folder.id, engine="ssh", command=options.command, submitted=now(), suite_hash=suite_hash(), root=str(ROOT),
        cells=planned.cells, matrix=str(path), matrix_hash=file_hash(path), node_engine="venv", device=request.device,
        ssh_config=config,
    )  # fmt: skip
    _state_cost(fleet, planned, f"on {len(hosts)} host{'s' if len(hosts) > 1 else ''}")
    if options.dry_run:
        rows = [[cell.node, cell.pair, progress.duration(cell.seconds)] for cell in fleet.cells]
        print(tabulate(rows, headers=["host", "environment", "about"]))
        print("nothing was sent")
        return errors.OK
    try:
        _make_bundles(inputs, fleet, folder)
        folder.write(fleet)
    except BaseException:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise
    SshBackend(folder, fleet).submit(fleet.cells, print_progress)
    return _after(folder, fleet, options)


def _check_slurm(options: argparse.Namespace, settings: FleetSettings) -> None:
    """Raise ConfigError for options and keys that nodes could not honour; print a note about cores."""
    ignored = ["host_name", "no_resume", *(["timing_pairs", "env"] if settings.engine in {"local", "pyxis"} else [])]
    if settings.engine in {"local", "pyxis"}:
        ignored += ["profile"] if options.profile not in {"standard", "quick"} else []
        if any(table.env != ("*",) for table in settings.gpus):
            message = f"env in [[fleet.gpus]] cannot be used: the engine {settings.engine} measures what is there."
            raise errors.ConfigError(message, "Leave it out.")
    ignored += ["from_registry"] if settings.engine not in {"auto", "docker"} else []
    for name in ignored:
        if getattr(options, name) not in (None, "", (), False):
            message = f"--{name.replace('_', '-')} cannot be used with --engine slurm and engine {settings.engine}."
            raise errors.ConfigError(message, "Leave it out.")
    needed = {"pyxis": "image", "local": "python"}.get(settings.engine, "engine")
    if not getattr(settings, needed):
        message = f"[fleet] with engine = {settings.engine!r} needs the key {needed}."
        raise errors.ConfigError(message, "matrix.toml describes it.")
    if not (settings.cpus or settings.exclusive or any("cpus-per" in option for option in settings.options)):
        print("note: without cpus in [fleet], a job may get one core, and races between threads cannot show",
              file=sys.stderr)  # fmt: skip


def _with_images(cells: tuple[Cell, ...], request: planning.Request, registry: str) -> tuple[Cell, ...]:
    """Return the cells with the digests of their images, so that all nodes pull the same ones.

    Raises:
        BuildError: the registry lacks an image, or does not answer.
        EngineError: there is no Docker here to ask it.
    """
    pairs = {cell.pair for cell in cells}
    columns = [column for column in planning.columns(request) if column.pair.id in pairs]
    digests = images.digests(ROOT, columns, registry)
    return tuple(dataclasses.replace(cell, image=digests[cell.pair]) for cell in cells)


def _check_ssh(options: argparse.Namespace) -> str:
    """Return the path of the configuration of ssh, "" for the user's own; raises ConfigError for unusable options."""
    if not options.hosts:
        raise errors.ConfigError("--engine ssh needs a list of hosts.", "Add --hosts FILE, with one host per line.")
    for name in ("from_registry", "host_name", "no_resume"):
        if getattr(options, name):
            message = f"--{name.replace('_', '-')} cannot be used with --engine ssh."
            raise errors.ConfigError(message, "Hosts receive bundles, and their names come from the file of --hosts.")
    if options.ssh_config and not options.ssh_config.is_file():
        raise errors.ConfigError(f"{options.ssh_config} is not a file.", "Name a configuration file of ssh.")
    return str(options.ssh_config.absolute()) if options.ssh_config else ""


def _make_bundles(inputs: Inputs, fleet: Fleet, folder: FleetFolder) -> None:
    with progress.view() as view:
        for pair in dict.fromkeys(cell.pair for cell in fleet.cells):
            contents = bundle.BundleContents(
                matrix=inputs.matrix, pair=pair, out=folder.path / "bundles" / pair, root=ROOT, profile=inputs.profile,
                selection=inputs.selection, sources=inputs.sources,
            )  # fmt: skip
            view.say(f"{pair}: making the bundle")
            made = bundle.make(contents, view.say)
            view.say(f"{pair}: {made.bytes / 1e9:.2f} GB for each host")


def _request(options: argparse.Namespace) -> tuple[Inputs, planning.Request]:
    """Return what the options select; prints errors of custom kernel files."""
    inputs = read_inputs(options)
    request = planning.Request(
        matrix=inputs.matrix, profile=inputs.profile, selection=inputs.selection, locks=LOCKS,
        suite=custom_kernels.suite(inputs.sources), device="cpu" if options.device == "cpu" else "gpu",
    )  # fmt: skip
    warn(request.suite.errors.values())
    return inputs, request


def _new_folder(reports: Path) -> FleetFolder:
    """Return a folder for a new fleet run, which is not made yet; raises ConfigError if scripts cannot name it."""
    if re.search(r'["\\\n]', str(reports.absolute())):
        message = f"{str(reports)!a} has a quote, a backslash or a line break, which batch scripts cannot name."
        raise errors.ConfigError(message, "Use another folder with --reports.")
    return FleetFolder(reports.absolute() / "fleet" / f"{stamp()}-{secrets.token_hex(2)}")


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
        wait_for_gpu_s=settings.wait_for_gpu_s, registry=options.from_registry,
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


def _state_cost(fleet: Fleet, planned: Planned, places: str) -> None:
    for note in planned.notes:
        print(f"note: {note}", file=sys.stderr)
    seconds = [cell.seconds for cell in fleet.cells]
    what = "GPU hours" if fleet.device == "gpu" else "hours"
    print(
        f"{len(fleet.cells)} cells {places}: about {sum(seconds) / 3600:.1f} {what}, "
        f"the longest cell {progress.duration(max(seconds))}, without making environments"
    )


def _after(folder: FleetFolder, fleet: Fleet, options: argparse.Namespace) -> int:
    """Collect the results if the command waits for them, else say how to."""
    if options.wait:
        cells = backend(folder, fleet, options.matrix)
        return show_collected(folder, cells.fetch(wait(cells)), options)
    print(f"submitted as {folder.id}; this command may end now. Continue with:")
    print(f"  nox -s fleet -- status {folder.id}\n  nox -s fleet -- collect {folder.id} --wait")
    return errors.OK
