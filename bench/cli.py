"""``python -m bench``, also installed as ``tfrepro``: the roof over both wings.

Exit codes: 0 ok, 1 a gate failed, 2 bad configuration, 3 nothing selected or measured, 4 engine, build or
storage trouble, 5 a GPU was demanded and is missing, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from bench import console, errors, report, runner, verdict
from bench.engines import choose
from bench.options import parser
from bench.plan import estimate, load, locks, own, planner
from bench.plan.planner import Plan, Selection
from bench.report import catalogue, diverge
from bench.store import run as store
from bench.suite.identity import HOUSE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bench.engines.base import Engine
    from bench.plan.cell import Cell
    from bench.plan.models import Mode

#: Seconds a missing environment takes to build, downloads from a nearby cache: for --dry-run only.
BUILD_S = {"docker": 60.0, "venv": 15.0}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code and never lets a traceback out without ``--debug``."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser(_COMMANDS).parse_args(given)
    options.command = shlex.join(["python", "-m", "bench", *given])
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        return int(options.run(options))
    except errors.TfreproError as error:
        if options.debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        if error.hint:
            print(f"\nhint: {error.hint}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("\ninterrupted: finished rounds are kept, and the same command goes on from there;", file=sys.stderr)
        print("nox -s report shows what there is so far", file=sys.stderr)
        return errors.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return errors.OK
    except Exception as error:
        if options.debug:
            raise
        print(f"error: this should not have happened: {type(error).__name__}: {error}", file=sys.stderr)
        print("\nhint: run it again with --debug and report what it prints", file=sys.stderr)
        return errors.ENGINE


def _as_interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _matrix(options: argparse.Namespace) -> int:
    """``matrix``: measure, then write the pages."""
    if options.device == "gpu":
        raise errors.NoGpuError(
            "A GPU was demanded, and this version of tfrepro measures cpu pairs only.",
            "Leave --device out to measure the CPU, which says nothing about a GPU.",
        )
    plan = _plan(options)
    engine, why = choose.choose(options.engine, HOUSE)
    print(f"engine {engine.name}: {why}", file=sys.stderr)
    if options.dry_run:
        return _dry_run(plan, engine)
    job = runner.Job(
        plan=plan, engine=engine, engine_why=why, house=HOUSE, reports=options.reports.absolute(),
        command=options.command, fresh=options.fresh,
    )  # fmt: skip
    with console.view() as view:
        folder = runner.run(job, view)
    code = _show(folder, options)
    if code == errors.OK and plan.suite.errors:
        print("kernels of your own were not all measured: mend what the warnings say", file=sys.stderr)
        return errors.CONFIG
    return code


def _dry_run(plan: Plan, engine: Engine) -> int:
    builds = [cell for cell in plan.ready if not engine.cached(cell)]
    place, need = engine.disk_need(plan.ready)
    measuring = sum(estimate.round_seconds(one) for one in plan.rounds)
    building = len(builds) * BUILD_S[engine.name]
    _print_cells(plan.cells, engine)
    for condition, names in plan.conditions.items():
        modes = "/".join(plan.condition_modes[condition])
        print(f"condition {condition} ({modes}): {', '.join(names)}")
    print(
        f"would build {len(builds)} environments ({need / 1e9:.1f} GB at {place}), about {console.duration(building)}"
    )
    print(f"would run {len(plan.rounds)} rounds, about {console.duration(measuring)}; nothing was run")
    print("rounds that an interrupted run of the same plan has finished would be taken over")
    return errors.OK


def _list_plan(options: argparse.Namespace) -> int:
    """``plan``: cells with ids, engine, device, lock and status."""
    plan = _plan(options)
    engine, why = choose.choose(options.engine, HOUSE)
    if options.json:
        rounds = {cell.id: sum(one.cell.id == cell.id for one in plan.rounds) for cell in plan.cells}
        cells = [{**_cell_facts(cell, engine), "rounds": rounds[cell.id]} for cell in plan.cells]
        kernels = [kernel.name for kernel in plan.kernels]
        conditions = {name: list(names) for name, names in plan.conditions.items()}
        _print_json(
            {
                "schema": 1, "profile": plan.profile_name, "engine": engine.name, "engine_why": why,
                "cells": cells, "kernels": kernels, "conditions": conditions,
            }
        )  # fmt: skip
        return errors.OK
    print(f"profile {plan.profile_name}; engine {engine.name}: {why}")
    _print_cells(plan.cells, engine)
    return errors.OK


def _cell_facts(cell: Cell, engine: Engine) -> dict[str, Any]:
    return {
        "id": cell.id,
        "tensorflow": cell.pair.tensorflow,
        "cuda": cell.pair.cuda,
        "keras": cell.pair.keras,
        "python": cell.pair.python,
        "engine": engine.name,
        "device": cell.device,
        "lock": cell.lock.name,
        "status": cell.status,
        "reason": cell.reason,
        "built": cell.status == "ready" and engine.cached(cell),
    }


def _print_cells(cells: Sequence[Cell], engine: Engine) -> None:
    rows = []
    for cell in cells:
        facts = _cell_facts(cell, engine)
        status = f"{facts['status']}: {facts['reason']}" if facts["reason"] else facts["status"]
        rows.append([facts["id"], engine.name, cell.device, cell.lock.name, "yes" if facts["built"] else "no", status])
    print(tabulate(rows, headers=["cell", "engine", "device", "lock", "built", "status"]))


def _list_kernels(options: argparse.Namespace) -> int:
    """``kernels``: the fixed suite."""
    found = own.suite(options.extra)
    for sentence in found.errors.values():
        print(f"warning: {sentence}", file=sys.stderr)
    if options.markdown:
        print(catalogue.page(found.kernels.values()), end="")
        return errors.OK
    kernels = [kernel.declaration() for kernel in found.kernels.values()]
    if options.json:
        _print_json({"schema": 1, "kernels": kernels})
        return errors.OK
    keys = ("name", "family", "shapes", "dtypes", "control", "source")
    print(
        tabulate(
            [[kernel[key] for key in keys] for kernel in kernels],
            headers=keys,
            maxcolwidths=[None, None, 34, 14, 12, 44],
        )
    )
    return errors.OK


def _lock(options: argparse.Namespace) -> int:
    """``lock``: resolve every selected pair into its lock."""
    plan = _plan(options)
    for cell in plan.cells:
        if cell.pair.cuda != "cpu":
            print(f"{cell.lock.name}: skipped, {cell.reason}")
            continue
        changed = locks.make(cell.pair, cell.lock, upgrade=options.upgrade)
        print(f"{cell.lock.name}: {'written' if changed else 'unchanged'}, {len(locks.pins(cell.lock))} distributions")
    return errors.OK


def _report(options: argparse.Namespace) -> int:
    """``report``: write the pages again from the records of a run."""
    folder = options.run_folder or _newest(options.reports)
    return _show(folder, options)


def _show(folder: Path, options: argparse.Namespace) -> int:
    """Write the pages of a run, print its table, and say what its gates say."""
    run = store.load(folder)
    pages = (report.Format.HTML, report.Format.MARKDOWN, report.Format.JSON, report.Format.JUNIT)
    judgement = _write(run, options.reports, pages)
    width = shutil.get_terminal_size((120, 24)).columns
    print(report.render(judgement, report.Format.TERMINAL, width=width), end="")
    print(f"page: {(options.reports / report.FORMATS[report.Format.HTML]).absolute()}", file=sys.stderr)
    broken = verdict.gate(judgement, options.fail_on)
    for sentence in broken:
        print(f"gate {sentence}", file=sys.stderr)
    if broken:
        return errors.GATE
    lost = [cell.id for cell in run.info.cells if cell.status not in {"ready", "impossible"}]
    if not run.records:
        reasons = "\n".join(f"{cell.id}: {cell.status}: {cell.reason}" for cell in run.info.cells if cell.reason)
        kind = errors.EngineError if lost else errors.NothingError
        raise kind(f"Nothing was measured.\n{reasons}", f"Mend the reasons given; full logs are in {folder / 'logs'}.")
    if not run.info.finished:
        print("the run is not finished; the same command goes on from there", file=sys.stderr)
        return errors.ENGINE
    if lost:
        print(f"not measured, or not to the end: {', '.join(lost)}; the page says why", file=sys.stderr)
        return errors.ENGINE
    return errors.OK


def _write(run: store.Run, folder: Path, pages: Sequence[report.Format]) -> verdict.Judgement:
    """Write pages of a run into a folder."""
    judgement = verdict.judge(run)
    report.write(judgement, {form: folder / report.FORMATS[form] for form in pages})
    return judgement


def _diverge(options: argparse.Namespace) -> int:
    """``diverge``: where the samples of one kernel part, tensor by tensor."""
    run = store.load(options.run_folder or _newest(options.reports))
    width = shutil.get_terminal_size((120, 24)).columns
    text = diverge.text(
        run, verdict.judge(run), options.cell, options.kernel, one=options.one, other=options.other, width=width
    )
    print(text, end="")
    return errors.OK


def _schema(_: argparse.Namespace) -> int:
    """``schema``: the JSON Schema of matrix.toml."""
    print(load.schema(), end="")
    return errors.OK


def _sample(options: argparse.Namespace) -> int:
    """``sample``: copy a finished run into a folder to keep, without logs, and write its pages for people there."""
    folder = options.run_folder or _newest(options.reports)
    if not store.load(folder).info.finished:
        raise errors.NothingError(f"{folder} is not finished.", "Name another run, or go on with: nox -s matrix")
    store.compact(folder, options.to)
    _write(store.load(options.to), options.to, (report.Format.HTML, report.Format.MARKDOWN))
    return errors.OK


def _newest(reports: Path) -> Path:
    folders = sorted((reports / "runs").glob("*/run.json"))
    if not folders:
        raise errors.NothingError(f"There is no run in {reports / 'runs'}.", "Measure first: nox -s matrix")
    return folders[-1].parent


def _plan(options: argparse.Namespace) -> Plan:
    if not (HOUSE / "docker" / "Dockerfile").is_file():
        raise errors.ConfigError(
            "tfrepro works in its checkout, where its Dockerfile and locks are, and this is not one.",
            "Clone the repository and run nox there.",
        )
    matrix = load.load(options.matrix)
    modes: tuple[Mode, ...] = ("off", "on") if options.mode == "both" else (options.mode,)
    selection = Selection(
        only=options.only, kernels=options.kernels, modes=modes, rounds=options.rounds, repeats=options.repeats
    )
    files = [options.matrix.parent / name for name in matrix.suite.extra] + options.extra
    found = own.suite(files)
    for sentence in found.errors.values():
        print(f"warning: {sentence}", file=sys.stderr)
    return planner.make(matrix, options.profile, selection, HOUSE / "docker" / "locks", found)


def _print_json(body: dict[str, Any]) -> None:
    print(json.dumps(body, indent=1))


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "matrix": _matrix,
    "plan": _list_plan,
    "kernels": _list_kernels,
    "lock": _lock,
    "report": _report,
    "sample": _sample,
    "diverge": _diverge,
    "schema": _schema,
}
