"""``matrix``: measure, then write the pages."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench import errors, host, report, verdict
from bench.cli import options as shared
from bench.cli.command import Command
from bench.cli.declarations import declared_suite
from bench.cli.planning import print_columns, read_inputs
from bench.cli.results import PAGES, show
from bench.engines import ENGINES, select
from bench.plan import custom_kernels, duration
from bench.report.write import refuse_foreign_page
from bench.run import progress, runner
from bench.store import run as store
from bench.suite.suite_hash import ROOT

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from bench.engines.base import Engine
    from bench.plan.column import Column
    from bench.plan.custom_kernels import Suite
    from bench.plan.devices import Devices
    from bench.plan.planner import Plan
    from bench.run.progress import View
    from bench.run.scheduler import OnPass, PassProgress
    from bench.suite.kernel_files import Source

    #: An engine, and why it was chosen.
    Chosen = tuple[Engine, str]

#: Seconds to build one environment when a nearby cache has the wheels. Used by ``--dry-run`` only.
BUILD_S = {"docker": 60.0, "venv": 15.0}


def matrix(options: argparse.Namespace) -> int:
    """Measure what the options select, here or on a cluster, then write and print the results."""
    if (options.hosts or options.ssh_config) and options.engine != "ssh":
        raise errors.ConfigError(
            "--hosts and --ssh-config are for --engine ssh.", "Add --engine ssh, or leave them out."
        )
    if options.engine in {"slurm", "ssh"}:
        from bench.cli.fleet_submit import submit  # noqa: PLC0415 - start-up stays quick without it

        return submit(options)
    refuse_foreign_page(options.reports)  # before hours of measuring, not after
    inputs = read_inputs(options)
    suite, chosen = read_suite(inputs.sources, inputs.columns, inputs.devices, options)
    plan = inputs.plan(suite)
    folder = measure(plan, options, chosen)
    if folder is None:
        return errors.OK
    return exit_code(show(folder, options), suite)


def exit_code(code: int, suite: Suite) -> int:
    """Return the exit code of a run: CONFIG in the place of OK if a file with custom kernels could not be used."""
    if code == errors.OK and suite.errors:
        print("Not all custom kernels were measured: fix what the warnings say.", file=sys.stderr)
        return errors.CONFIG
    return code


def read_suite(
    sources: Sequence[Source], columns: Callable[[], Sequence[Column]], devices: Devices, options: argparse.Namespace
) -> tuple[Suite, Chosen | None]:
    """Return the suite with what custom kernel files declare, and the engine if one had to be asked for it.

    With ``--dry-run`` nothing is asked: declarations are read without running the files.

    Raises:
        ConfigError: they would run as root without isolation, or a file cannot be used.
    """
    if not sources or options.dry_run:
        return custom_kernels.suite(sources), None
    _require_gpu(devices)
    chosen = choose_engine(options)
    _refuse_root(chosen[0], options)
    return declared_suite(chosen[0], columns(), sources), chosen


def _require_gpu(devices: Devices) -> None:
    if devices.kind == "gpu" and not devices.gpus:
        raise errors.NoGpuError(
            f"A GPU is required, but {devices.survey.why}.",
            "nox -s doctor says more. Without --device the CPU is measured, which says nothing about a GPU.",
        )


def _refuse_root(engine: Engine, options: argparse.Namespace) -> None:
    """Raise ConfigError if custom kernels would run as root without isolation, unless the options allow it."""
    if engine.name == "venv" and os.geteuid() == 0 and not options.allow_root_kernels:
        raise errors.ConfigError(
            "Custom kernels would run as root: virtual environments do not isolate them from this host.",
            "Run as another user or with --engine docker, or add --allow-root-kernels if you trust these files.",
        )


def choose_engine(options: argparse.Namespace) -> Chosen:
    """Return the engine of ``--engine`` and why; raises EngineError where none can be used."""
    return select.choose(options.engine, ROOT, registry=options.from_registry, revision=host.revision(ROOT))


def measure(plan: Plan, options: argparse.Namespace, chosen: Chosen | None = None) -> Path | None:
    """Measure a plan and return its run folder, or None after ``--dry-run``; ``chosen`` is the engine and why.

    Raises:
        NoGpuError: a GPU is required and none was found.
    """
    _require_gpu(plan.devices)
    chosen = chosen or choose_engine(options)
    if not options.dry_run:
        return run_plan(plan, options, chosen)
    _introduce(plan, chosen)
    _print_dry_run(plan, chosen[0], resume=not options.no_resume)
    return None


def run_plan(
    plan: Plan, options: argparse.Namespace, chosen: Chosen, *, reports: Path | None = None, final: bool = False
) -> Path:
    """Measure a plan with an engine and return its run folder.

    Args:
        plan: the plan.
        options: those of the command: ``reports``, ``command`` and ``no_resume``.
        chosen: the engine and why.
        reports: the folder for the run, that of ``options`` by default.
        final: a run that had to give up a column has ended, and is not resumed by the next one.

    Raises:
        NoGpuError: a GPU is required and none was found.
        ConfigError: custom kernels would run as root without isolation.
    """
    _require_gpu(plan.devices)
    if plan.suite.sources:
        _refuse_root(chosen[0], options)
    _introduce(plan, chosen)
    place, (engine, reason) = (reports or options.reports).absolute(), chosen
    with progress.view() as view:
        job = runner.Job(
            plan=plan, engine=engine, engine_why=reason, root=ROOT, reports=place, command=options.command,
            fresh=options.no_resume, final=final, on_pass=_interim_page(place, view),
        )  # fmt: skip
        return runner.run(job, view)


def _introduce(plan: Plan, chosen: Chosen) -> None:
    """Print the engine with the reason for it, and the notes of a plan."""
    engine, reason = chosen
    print(f"engine {engine.name}: {reason}", file=sys.stderr)
    for note in plan.notes:
        print(f"note: {note}", file=sys.stderr)


def _interim_page(reports: Path, view: View) -> OnPass:
    """Return the callback that writes the pages of a run in progress from the records measured so far."""

    def write(folder: Path, passes: PassProgress) -> None:
        report.Pages(verdict.evaluate(store.load(folder))).write(reports, PAGES)
        done = f"pass {passes.done} of {passes.planned} is complete" if passes.done else "the first pass goes on"
        page = reports / report.FORMATS[report.Format.HTML]
        view.say(f"{done}, about {progress.duration(passes.seconds_left)} left; page so far: {page}")

    return write


def _print_dry_run(plan: Plan, engine: Engine, *, resume: bool) -> None:
    builds = [column for column in plan.ready if not engine.cached(column)]
    place, need = engine.disk_need(plan.ready)
    measuring = duration.total_seconds(plan.rounds, plan.pairs, host.parallel_processes())
    building = len({column.pair for column in builds}) * BUILD_S[engine.name]
    print_columns(plan.columns, engine)
    for variation, names in plan.variations.items():
        modes = "/".join(plan.variation_modes[variation])
        print(f"variation {variation} ({modes}): {', '.join(names)}")
    size = f"{need / 1e9:.1f} GB at {place}"
    print(f"would build {len(builds)} environments ({size}), about {progress.duration(building)}")
    amount = progress.amount(len(plan.rounds), len(plan.pairs))
    print(f"would run {amount}, about {progress.duration(measuring)}; nothing was run")
    if resume:
        print("completed rounds of an interrupted run of the same plan would be reused")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_selection(parser, engines=(*ENGINES, "slurm", "ssh"))
    shared.add_output(parser)
    add = parser.add_argument
    add("--hosts", type=Path, metavar="FILE", help="with --engine ssh: the hosts to measure, one name in each line")
    add("--ssh-config", type=Path, metavar="FILE", help="with --engine ssh: configuration file of ssh, as in ssh -F")
    add("--wait", action="store_true", help="with --engine slurm or ssh: wait for all cells, then show the results")
    add("--no-resume", action="store_true", help="measure everything again, even what an interrupted run completed")
    add("--dry-run", action="store_true", help="print what would be built and run, and how long it would take")
    shared.add_registry(parser)


COMMAND = Command(
    name="matrix",
    summary="Measure TensorFlow x CUDA pairs with determinism off and on, and write the pages.",
    details="Run the same command again to resume an interrupted run.",
    example="nox -s matrix -- --profile quick --env 'tf2.18*'",
    add_arguments=_add_arguments,
    run=matrix,
)
