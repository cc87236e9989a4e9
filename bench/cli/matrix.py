"""Commands of the measuring wing: what would run, whether it can, and running it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from bench import doctor, errors, host, report, verdict
from bench.cli.report import PAGES, show
from bench.engines import select
from bench.gpu import facts
from bench.plan import config, custom_kernels, devices, duration, planner
from bench.plan.planner import Plan, Selection
from bench.run import progress, runner
from bench.store import run as store
from bench.suite.suite_hash import ROOT

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from bench.engines.base import Engine
    from bench.plan.column import Column
    from bench.plan.config_models import Mode
    from bench.run.progress import View
    from bench.run.scheduler import OnPass, PassProgress

#: Seconds a missing environment takes to build, downloads from a nearby cache: for --dry-run only.
BUILD_S = {"docker": 60.0, "venv": 15.0}
LOCKS = ROOT / "docker" / "locks"


def make_plan(options: argparse.Namespace, device: str) -> Plan:
    """The plan that the options select, on ``device`` (see ``bench.plan.devices``)."""
    refuse_elsewhere()
    matrix = config.load(options.matrix)
    selection = Selection(
        only=options.env, kernels=options.kernels, modes=modes(options), rounds=options.rounds,
        repetitions=options.repetitions, variations=options.variation,
    )  # fmt: skip
    files = [options.matrix.parent / name for name in matrix.suite.kernel_files] + options.kernel_file
    found = custom_kernels.suite(files)
    for sentence in found.errors.values():
        print(f"warning: {sentence}", file=sys.stderr)
    here = devices.choose(device, facts.survey())
    return planner.make(matrix, options.profile, selection, LOCKS, found, here)


def refuse_elsewhere() -> None:
    """Raise ConfigError outside a checkout."""
    if not (ROOT / "docker" / "Dockerfile").is_file():
        raise errors.ConfigError(
            "tfrepro works in its checkout, where its Dockerfile and locks are, and this is not one.",
            "Clone the repository and run nox there.",
        )


def modes(options: argparse.Namespace) -> tuple[Mode, ...]:
    """What ``--mode`` says."""
    return ("off", "on") if options.mode == "both" else (options.mode,)


def matrix(options: argparse.Namespace) -> int:
    """``matrix``: measure, then write the pages."""
    plan = make_plan(options, options.device)
    folder = measure(plan, options)
    if folder is None:
        return errors.OK
    code = show(folder, options)
    if code == errors.OK and plan.suite.errors:
        print("kernels of your own were not all measured: mend what the warnings say", file=sys.stderr)
        return errors.CONFIG
    return code


def measure(plan: Plan, options: argparse.Namespace) -> Path | None:
    """Measure a plan into a run folder; None after ``--dry-run``. Raises NoGpuError where a demanded GPU is missing."""
    if plan.devices.kind == "gpu" and not plan.devices.gpus:
        raise errors.NoGpuError(
            f"A GPU was demanded, and {plan.devices.survey.why}.",
            "Leave --device out to measure the CPU, which says nothing about a GPU; nox -s doctor tells more.",
        )
    engine, why = select.choose(options.engine, ROOT, registry=options.from_registry, revision=host.revision(ROOT))
    print(f"engine {engine.name}: {why}", file=sys.stderr)
    for sentence in plan.notes:
        print(f"note: {sentence}", file=sys.stderr)
    if options.dry_run:
        _dry_run(plan, engine, fresh=options.no_resume)
        return None
    with progress.view() as view:
        job = runner.Job(
            plan=plan, engine=engine, engine_why=why, root=ROOT, reports=options.reports.absolute(),
            command=options.command, fresh=options.no_resume, on_pass=_interim_page(options.reports.absolute(), view),
        )  # fmt: skip
        return runner.run(job, view)


def _interim_page(reports: Path, view: View) -> OnPass:
    """Return the callback that writes the pages of a run in progress from the records measured so far."""

    def write(folder: Path, done: PassProgress) -> None:
        report.Pages(verdict.evaluate(store.load(folder))).write(reports, PAGES)
        left = progress.duration(done.seconds_left)
        view.say(
            f"pass {done.done} of {done.planned} is complete, about {left} left; "
            f"page so far: {reports / report.FORMATS[report.Format.HTML]}"
        )

    return write


def _dry_run(plan: Plan, engine: Engine, *, fresh: bool) -> None:
    builds = [column for column in plan.ready if not engine.cached(column)]
    place, need = engine.disk_need(plan.ready)
    measuring = duration.total_seconds(plan.rounds)
    building = len({column.pair for column in builds}) * BUILD_S[engine.name]
    _print_columns(plan.columns, engine)
    for variation, names in plan.variations.items():
        modes = "/".join(plan.variation_modes[variation])
        print(f"variation {variation} ({modes}): {', '.join(names)}")
    print(
        f"would build {len(builds)} environments ({need / 1e9:.1f} GB at {place}), about {progress.duration(building)}"
    )
    print(f"would run {len(plan.rounds)} rounds, about {progress.duration(measuring)}; nothing was run")
    if not fresh:
        print("rounds that an interrupted run of the same plan has finished would be reused")


def plan(options: argparse.Namespace) -> int:
    """``plan``: columns with ids, engine, device, lock and status."""
    made = make_plan(options, options.device)
    engine, why = select.choose(options.engine, ROOT)
    if options.json:
        rounds = {column.id: sum(one.column.id == column.id for one in made.rounds) for column in made.columns}
        columns = [{**_column_facts(column, engine), "rounds": rounds[column.id]} for column in made.columns]
        kernels = [kernel.name for kernel in made.kernels]
        variations = {name: list(names) for name, names in made.variations.items()}
        body = {
            "schema": 1, "profile": made.profile_name, "engine": engine.name, "engine_why": why,
            "notes": list(made.notes), "columns": columns, "kernels": kernels, "variations": variations,
        }  # fmt: skip
        print(json.dumps(body, indent=1))
        return errors.OK
    print(f"profile {made.profile_name}; engine {engine.name}: {why}")
    for sentence in made.notes:
        print(f"note: {sentence}")
    _print_columns(made.columns, engine)
    return errors.OK


def _column_facts(column: Column, engine: Engine) -> dict[str, Any]:
    built = column.status == "ready" and engine.cached(column)
    return {**column.facts(), "engine": engine.name, "built": built}


def _print_columns(columns: Sequence[Column], engine: Engine) -> None:
    """A table of columns; what is to be said of many of them stands once, below it."""
    told: dict[str, int] = {}
    rows = []
    for column in columns:
        text = column.reason or column.advice
        mark = f" [{told.setdefault(text, len(told) + 1)}]" if text else ""
        built = "yes" if column.status == "ready" and engine.cached(column) else "no"
        rows.append([column.id, engine.name, column.pair.kind, column.lock.name, built, f"{column.status}{mark}"])
    print(tabulate(rows, headers=["column", "engine", "pair", "lock", "built", "status"]))
    for text, number in told.items():
        print(f"[{number}] {text}")


def diagnose(options: argparse.Namespace) -> int:
    """``doctor``: whether this host can run the plan, and what to do where it cannot."""
    made = make_plan(options, options.device)
    findings = doctor.examine(made, options.engine, ROOT, options.reports.absolute())
    print(json.dumps(doctor.as_json(findings), indent=1) if options.json else doctor.text(findings))
    return findings.code
