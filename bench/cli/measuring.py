"""Commands of the measuring wing: what would run, whether it can, and running it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from bench import console, doctor, errors, host, runner
from bench.cli.reading import show
from bench.engines import choose
from bench.gpu import facts
from bench.plan import devices, estimate, load, own, planner
from bench.plan.planner import Plan, Selection
from bench.suite.identity import HOUSE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from bench.engines.base import Engine
    from bench.plan.cell import Cell
    from bench.plan.models import Mode

#: Seconds a missing environment takes to build, downloads from a nearby cache: for --dry-run only.
BUILD_S = {"docker": 60.0, "venv": 15.0}
LOCKS = HOUSE / "docker" / "locks"


def make_plan(options: argparse.Namespace, device: str) -> Plan:
    """The plan that the options select, on ``device`` (see ``bench.plan.devices``)."""
    refuse_elsewhere()
    matrix = load.load(options.matrix)
    selection = Selection(
        only=options.only, kernels=options.kernels, modes=modes(options), rounds=options.rounds,
        repeats=options.repeats, conditions=options.condition,
    )  # fmt: skip
    files = [options.matrix.parent / name for name in matrix.suite.extra] + options.extra
    found = own.suite(files)
    for sentence in found.errors.values():
        print(f"warning: {sentence}", file=sys.stderr)
    here = devices.choose(device, facts.survey())
    return planner.make(matrix, options.profile, selection, LOCKS, found, here)


def refuse_elsewhere() -> None:
    """Raise ConfigError outside a checkout."""
    if not (HOUSE / "docker" / "Dockerfile").is_file():
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
    engine, why = choose.choose(options.engine, HOUSE, registry=options.from_registry, revision=host.revision(HOUSE))
    print(f"engine {engine.name}: {why}", file=sys.stderr)
    for sentence in plan.notes:
        print(f"note: {sentence}", file=sys.stderr)
    if options.dry_run:
        _dry_run(plan, engine, fresh=options.fresh)
        return None
    job = runner.Job(
        plan=plan, engine=engine, engine_why=why, house=HOUSE, reports=options.reports.absolute(),
        command=options.command, fresh=options.fresh,
    )  # fmt: skip
    with console.view() as view:
        return runner.run(job, view)


def _dry_run(plan: Plan, engine: Engine, *, fresh: bool) -> None:
    builds = [cell for cell in plan.ready if not engine.cached(cell)]
    place, need = engine.disk_need(plan.ready)
    measuring = estimate.total_seconds(plan.rounds)
    building = len({cell.pair for cell in builds}) * BUILD_S[engine.name]
    _print_cells(plan.cells, engine)
    for condition, names in plan.conditions.items():
        modes = "/".join(plan.condition_modes[condition])
        print(f"condition {condition} ({modes}): {', '.join(names)}")
    print(
        f"would build {len(builds)} environments ({need / 1e9:.1f} GB at {place}), about {console.duration(building)}"
    )
    print(f"would run {len(plan.rounds)} rounds, about {console.duration(measuring)}; nothing was run")
    if not fresh:
        print("rounds that an interrupted run of the same plan has finished would be taken over")


def plan(options: argparse.Namespace) -> int:
    """``plan``: cells with ids, engine, device, lock and status."""
    made = make_plan(options, options.device)
    engine, why = choose.choose(options.engine, HOUSE)
    if options.json:
        rounds = {cell.id: sum(one.cell.id == cell.id for one in made.rounds) for cell in made.cells}
        cells = [{**_cell_facts(cell, engine), "rounds": rounds[cell.id]} for cell in made.cells]
        kernels = [kernel.name for kernel in made.kernels]
        conditions = {name: list(names) for name, names in made.conditions.items()}
        body = {
            "schema": 1, "profile": made.profile_name, "engine": engine.name, "engine_why": why,
            "notes": list(made.notes), "cells": cells, "kernels": kernels, "conditions": conditions,
        }  # fmt: skip
        print(json.dumps(body, indent=1))
        return errors.OK
    print(f"profile {made.profile_name}; engine {engine.name}: {why}")
    for sentence in made.notes:
        print(f"note: {sentence}")
    _print_cells(made.cells, engine)
    return errors.OK


def _cell_facts(cell: Cell, engine: Engine) -> dict[str, Any]:
    built = cell.status == "ready" and engine.cached(cell)
    return {**cell.facts(), "engine": engine.name, "built": built}


def _print_cells(cells: Sequence[Cell], engine: Engine) -> None:
    """A table of cells; what is to be said of many of them stands once, below it."""
    told: dict[str, int] = {}
    rows = []
    for cell in cells:
        text = cell.reason or cell.advice
        mark = f" [{told.setdefault(text, len(told) + 1)}]" if text else ""
        built = "yes" if cell.status == "ready" and engine.cached(cell) else "no"
        rows.append([cell.id, engine.name, cell.pair.kind, cell.lock.name, built, f"{cell.status}{mark}"])
    print(tabulate(rows, headers=["cell", "engine", "pair", "lock", "built", "status"]))
    for text, number in told.items():
        print(f"[{number}] {text}")


def diagnose(options: argparse.Namespace) -> int:
    """``doctor``: whether this host can run the plan, and what to do where it cannot."""
    made = make_plan(options, options.device)
    findings = doctor.examine(made, options.engine, HOUSE, options.reports.absolute())
    print(json.dumps(doctor.as_json(findings), indent=1) if options.json else doctor.text(findings))
    return findings.code
