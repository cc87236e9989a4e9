"""``nightly``: measure within a budget, compare with the earlier nights, and raise alarms."""

from __future__ import annotations

import argparse
import dataclasses
import re
import shutil
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from bench import errors, host
from bench.cli import night_files
from bench.cli import options as shared
from bench.cli.command import Command
from bench.cli.history import write_page
from bench.cli.matrix import measure, read_suite
from bench.cli.night_log import night_log
from bench.cli.night_pairs import LastEnvironments
from bench.cli.planning import read_inputs
from bench.cli.results import show
from bench.engines import clean
from bench.history import database, index, journal, reproducibility, run_times
from bench.history import night as nights
from bench.plan import budget
from bench.portable.lock import FileLock, LockedError
from bench.report.build.night import build
from bench.report.text import night as text
from bench.report.view.night import LeftOut
from bench.run import progress
from bench.store import retention
from bench.store.run_folder import unwritable

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

    from bench.cli.matrix import Chosen
    from bench.cli.planning import Inputs
    from bench.plan.config_models import Nightly
    from bench.plan.custom_kernels import Suite
    from bench.plan.planner import Plan
    from bench.report.view.night import NightView

#: What ``--rehearse`` measures, and where.
REHEARSAL = {"kernels": ("matmul_f32", "reduce_sum_1d"), "rounds": 2, "repetitions": 2, "timing_pairs": 1}
REHEARSAL_FOLDER = "rehearsal"
#: Seconds of the units of a duration.
_UNITS = {"s": 1, "m": 60, "h": 3600}


def nightly(options: argparse.Namespace) -> int:
    """Measure a night, write its pages and the history, print its alarms, and return the exit code.

    Raises:
        BusyError: another night is going on, for longer than ``--wait``.
        TfreproError: as for ``matrix``.
    """
    if options.rehearse:
        options.reports /= REHEARSAL_FOLDER
        for name, value in REHEARSAL.items():
            setattr(options, name, value)
    with lock(options), night_log(options.reports) as log:
        inputs = read_inputs(options)
        _remove_environments(inputs.matrix.nightly.keep_environments_days, options.reports)
        suite, chosen = read_suite(inputs.sources, inputs.columns, inputs.devices, options)
        plan, left_out = _within_budget(inputs, suite, options)
        folder = measure(plan, options, chosen)
        if folder is None:
            return errors.OK
        log.name_after(folder.name)
        code = _shown(folder, options)
        view = _examine(folder, plan, options, chosen, left_out)
        print(text.terminal(view, shutil.get_terminal_size((80, 24)).columns), end="")
        _finish(view, inputs.matrix.nightly, options.reports)
        return errors.GATE if view.alarms else code


def _remove_environments(days: int | None, reports: Path) -> None:
    """Remove environments that no run of the last days has used, before this night uses any; None: keep all."""
    if days is None:
        return
    with database.opened(reports) as connection:
        index.update(connection, reports)
        used = nights.recent_locks(connection, days)
    try:
        for sentence in clean.remove_unused(used, days):
            print(f"note: {sentence}", file=sys.stderr)
    except errors.BusyError as error:
        print(f"note: {error}", file=sys.stderr)


def _finish(view: NightView, settings: Nightly, reports: Path) -> None:
    """Start the program of ``on_alarm`` if there is an alarm, and remove what is older than the limits say."""
    problem = night_files.report_alarm(settings.on_alarm, reports) if view.alarms and settings.on_alarm else ""
    if problem:
        print(f"warning: on_alarm: {problem}", file=sys.stderr)
    for sentence in retention.apply(reports, settings.keep_logs_days, settings.keep_runs_days):
        print(f"note: {sentence}", file=sys.stderr)


def _shown(folder: Path, options: argparse.Namespace) -> int:
    """Write and print the pages of the run; a night goes on where a matrix would end with an error."""
    try:
        return show(folder, options)
    except errors.TfreproError as error:
        print(f"error: {error}\n{error.hint}".rstrip(), file=sys.stderr)
        return error.code


def _examine(
    folder: Path, plan: Plan, options: argparse.Namespace, chosen: Chosen | None, left_out: tuple[LeftOut, ...]
) -> NightView:
    """Add the run to the history, compare it with the earlier nights, and write what it found."""
    entries, notes = journal.read(options.reports)
    with database.opened(options.reports) as connection:
        index.update(connection, options.reports, lambda name: print(f"reading run {name}", file=sys.stderr))
        night = nights.load(connection, folder.name, journal.accepted(entries))
        times = run_times.examine(night)

        def measure_pairs(paired: Plan) -> Path:
            quiet = argparse.Namespace(**{**vars(options), "reports": options.reports / "paired-with-last"})
            return cast("Path", measure(paired, quiet, chosen))  # it is None in a dry run only, which ends before

        last = LastEnvironments(night=night, plan=plan, reports=options.reports, measure=measure_pairs, notes=notes)
        findings = [
            *reproducibility.findings(night),
            *last.findings(),
            *run_times.from_history(night, times.suspects),
            *times.host,
        ]
        view = build(night, findings, entries, left_out, notes)
        night_files.write(options.reports, view)
        write_page(connection, options.reports, entries)
    return view


def _within_budget(inputs: Inputs, suite: Suite, options: argparse.Namespace) -> tuple[Plan, tuple[LeftOut, ...]]:
    """Return the plan of the night, and what it leaves out."""
    plan = inputs.plan(suite)
    if options.rehearse:
        first = plan.ready[0].id if plan.ready else plan.columns[0].id
        only = dataclasses.replace(inputs.selection, only=(first,))
        return dataclasses.replace(inputs, selection=only).plan(suite), ()
    if options.budget is None:
        return plan, ()
    with database.opened(options.reports) as connection:
        index.update(connection, options.reports)
        last = _last_measured(connection, options.reports)
    choice = budget.choose(plan, options.budget, last, host.parallel_processes())
    left_out = tuple(LeftOut(name=name, measured=started) for name, started in choice.left_out)
    if not left_out:
        return plan, ()
    print(f"the budget has time for {', '.join(choice.columns)}; {len(left_out)} left out", file=sys.stderr)
    kernels = choice.kernels or inputs.selection.kernels
    selection = dataclasses.replace(inputs.selection, only=choice.columns, kernels=kernels)
    return dataclasses.replace(inputs, selection=selection).plan(suite), left_out


def _last_measured(connection: sqlite3.Connection, reports: Path) -> dict[str, budget.Measured]:
    """Return the last measurement of every column, by its id."""
    alarms = {
        (run, str(alarm.get("column")))
        for run, content in night_files.read_all(reports).items()
        for alarm in content.get("alarms", ())
    }
    return {
        last.column: budget.Measured(
            started=last.started, lock_hash=last.lock, failing=(last.run, last.column) in alarms, kernels=last.kernels
        )
        for last in nights.last_measurements(connection)
    }


@contextmanager
def lock(options: argparse.Namespace) -> Iterator[None]:
    """Hold the lock of nights in a reports folder, waiting for another night as long as ``--wait`` says."""
    path = options.reports / ".nightly.lock"

    def waiting(owner: str) -> None:
        print(f"waiting up to {progress.duration(options.wait)} for another night: {owner}", file=sys.stderr)

    held = FileLock(path, timeout_s=options.wait, command=options.command, on_wait=waiting)
    try:
        options.reports.mkdir(parents=True, exist_ok=True)
        held.acquire()
    except LockedError as error:
        message = f"Another night is going on in {options.reports}: {error.owner}."
        raise errors.BusyError(message, "Wait for it with --wait 1h, or use another folder with --reports.") from error
    except OSError as error:
        raise unwritable(path, error) from error
    with held:
        yield


def seconds(text: str) -> float:
    """Parse a duration such as ``90m``, ``2h`` or ``1h30m``; raises ArgumentTypeError."""
    parts = re.findall(r"(\d+)([smh])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        message = f"{text!r} is not a duration such as 90m or 2h"
        raise argparse.ArgumentTypeError(message)
    return float(sum(int(number) * _UNITS[unit] for number, unit in parts))


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_selection(parser)
    shared.add_output(parser)
    parser.set_defaults(profile="nightly", no_resume=False, dry_run=False, fail_on=())
    add = parser.add_argument
    add(
        "--budget", type=seconds, metavar="TIME",
        help="measure what fits into this time, such as 2h: first what was never measured, then what changed, what "
        "raised an alarm, and the oldest",
    )  # fmt: skip
    add("--wait", type=seconds, default=0.0, metavar="TIME", help="wait this long for another night (default: 0s)")
    text = f"try everything in about three minutes with two kernels, in DIR/{REHEARSAL_FOLDER}"
    add("--rehearse", action="store_true", help=text)
    shared.add_registry(parser)


COMMAND = Command(
    name="nightly",
    summary="Measure a night, compare it with the earlier ones, and raise alarms.",
    details="Writes the page of the run, history.html, and nightly.json, .md, .xml and .prom. Exit code 1: an alarm.",
    example="nox -s nightly -- --budget 2h",
    add_arguments=_add_arguments,
    run=nightly,
)
