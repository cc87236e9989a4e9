"""``nightly``: measure within a budget, compare with the earlier nights, and raise alarms."""

from __future__ import annotations

import argparse
import dataclasses
import math
import re
import shutil
import socket
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import errors, host
from bench.cli import night_files
from bench.cli import options as shared
from bench.cli.command import Command
from bench.cli.history import write_page
from bench.cli.matrix import choose_engine, exit_code, read_suite, run_plan
from bench.cli.night_log import NightLog, night_log
from bench.cli.night_pairs import ChangedEnvironments
from bench.cli.planning import read_inputs
from bench.cli.results import show
from bench.engines import clean
from bench.history import database, index, journal, reproducibility, run_times
from bench.history import night as nights
from bench.plan import budget
from bench.report.build.night import build, failed
from bench.report.text import night as text
from bench.report.view.night import LeftOut
from bench.run import progress
from bench.store import retention
from bench.store.run_folder import reports_lock
from bench.verdict.status import UNMEASURED

if TYPE_CHECKING:
    import sqlite3
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bench.cli.matrix import Chosen
    from bench.cli.planning import Inputs
    from bench.history.finding import Finding
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
        try:
            return _night(inputs, options, log)
        except errors.TfreproError as error:
            view = failed(f"{error}", error.hint)
            night_files.write(options.reports, view)
            _call_program(view, inputs.matrix.nightly, options.reports)
            raise


def _night(inputs: Inputs, options: argparse.Namespace, log: NightLog) -> int:
    """Measure and examine the night; return the exit code."""
    deadline = time.monotonic() + options.budget if options.budget else math.inf
    settings = inputs.matrix.nightly
    if settings.keep_environments_days is not None and not options.rehearse:
        _remove_environments(settings.keep_environments_days, options.reports)
    suite, chosen = read_suite(inputs.sources, inputs.columns, inputs.devices, options)
    chosen = chosen or choose_engine(options)
    plan, left_out = _within_budget(inputs, suite, options, chosen[0].name)
    # a night that had to give up a column has ended: the next one measures everything anew
    folder = run_plan(plan, options, chosen, final=True)
    log.name_after(folder.name)
    code = _shown(folder, options)
    view = _Examination(folder, plan, options, chosen, left_out, deadline).run()
    print(text.terminal(view, shutil.get_terminal_size((80, 24)).columns), end="")
    _call_program(view, settings, options.reports)
    accepted = [entry.run for entry in journal.accepted(journal.read(options.reports)[0])]
    for sentence in retention.apply(options.reports, settings.keep_logs_days, settings.keep_runs_days, accepted):
        print(f"note: {sentence}", file=sys.stderr)
    return errors.GATE if view.alarms else exit_code(code, suite)


def _remove_environments(days: int, reports: Path) -> None:
    """Remove environments that no run of the last days has used, before this night uses any."""
    with database.opened(reports) as connection:
        index.update(connection, reports)
        used = nights.recent_locks(connection, days)
    try:
        for sentence in clean.remove_unused(used, days):
            print(f"note: {sentence}", file=sys.stderr)
    except errors.BusyError as error:
        print(f"note: {error}", file=sys.stderr)


def _call_program(view: NightView, settings: Nightly, reports: Path) -> None:
    """Start the program of ``on_alarm`` if there is an alarm, or if the night has failed."""
    if settings.on_alarm and (view.alarms or view.failed):
        problem = night_files.report_alarm(settings.on_alarm, reports)
        if problem:
            print(f"warning: on_alarm: {problem}", file=sys.stderr)


def _shown(folder: Path, options: argparse.Namespace) -> int:
    """Write and print the pages of the run; a night goes on where a matrix would end with an error."""
    try:
        return show(folder, options)
    except errors.TfreproError as error:
        print(f"error: {error}\n{error.hint}".rstrip(), file=sys.stderr)
        return error.code


@dataclass(frozen=True)
class _Examination:
    """Compares a night with the earlier ones, and writes what it finds."""

    folder: Path
    plan: Plan
    options: argparse.Namespace
    chosen: Chosen
    left_out: tuple[LeftOut, ...]
    deadline: float

    def run(self) -> NightView:
        """Add the run to the history and return what it shows.

        What it shows without pairs is written before they are measured. Only a night that was examined to its end
        counts as an earlier one: otherwise the next night would take an alarm for known that was never reported.
        """
        reports = self.options.reports
        entries, notes = journal.read(reports)
        with database.opened(reports) as connection:
            index.update(connection, reports, lambda name: print(f"reading run {name}", file=sys.stderr))
            night = nights.load(
                connection, self.folder.name, journal.accepted(entries), night_files.read_all(reports).keys()
            )
            times = run_times.examine(night)
            found = [*self._changes(connection, night), *run_times.from_history(night, times.suspects), *times.host]
            night_files.write(reports, build(night, found, entries, self.left_out, notes))
            last = ChangedEnvironments(
                night=night, plan=self.plan, reports=reports, measure=self._pairs, deadline=self.deadline, notes=notes
            )
            view = build(night, [*found, *last.findings()], entries, self.left_out, notes)
            night_files.write(reports, view)
            night_files.keep(reports, view)
            write_page(connection, reports, entries)
        return view

    def _changes(self, connection: sqlite3.Connection, night: nights.Night) -> list[Finding]:
        """Return changes of reproducibility, and what is missing unless the command line left it out."""
        options = self.options
        narrowed = options.env or options.kernels or options.variation or options.mode != "both" or options.rehearse
        found = reproducibility.findings(night)
        if night.last is not None and not narrowed:
            before = nights.places(connection, night.last, UNMEASURED)
            found += reproducibility.missing(night, before, [one.name for one in self.left_out])
        return found

    def _pairs(self, plan: Plan) -> Path:
        """Measure pairs in a folder of their own, and return their run folder."""
        return run_plan(plan, self.options, self.chosen, reports=self.options.reports / "paired-with-last")


def _within_budget(
    inputs: Inputs, suite: Suite, options: argparse.Namespace, engine: str
) -> tuple[Plan, tuple[LeftOut, ...]]:
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
        last = _last_measured(connection, options.reports, engine)
    choice = budget.choose(plan, options.budget, last, host.parallel_processes())
    left_out = tuple(LeftOut(name=name, measured=started) for name, started in choice.left_out)
    if not left_out:
        return plan, ()
    print(f"the budget has time for {', '.join(choice.columns)}; {len(left_out)} left out", file=sys.stderr)
    kernels = choice.kernels or inputs.selection.kernels
    # a column that cannot be measured takes no time, and its reason is a result
    names = (*choice.columns, *(column.id for column in plan.columns if column.status != "ready"))
    selection = dataclasses.replace(inputs.selection, only=names, kernels=kernels)
    return dataclasses.replace(inputs, selection=selection).plan(suite), left_out


def _last_measured(connection: sqlite3.Connection, reports: Path, engine: str) -> dict[str, budget.Measured]:
    """Return the last measurement of every column on this host, by its id."""
    alarms = {
        (run, alarm.column) for run, view in night_files.read_all(reports).items() for alarm in view.alarms
    }  # fmt: skip
    return {
        last.column: budget.Measured(
            started=last.started, lock_hash=last.lock, failing=(last.run, last.column) in alarms, kernels=last.kernels
        )
        for last in nights.last_measurements(connection, socket.gethostname(), engine)
    }


def lock(options: argparse.Namespace) -> AbstractContextManager[None]:
    """Hold the lock of nights in a reports folder, waiting for another night as long as ``--wait`` says."""

    def waiting(owner: str) -> None:
        print(f"waiting up to {progress.duration(options.wait)} for another night: {owner}", file=sys.stderr)

    return reports_lock(
        options.reports, options.command, ".nightly.lock", timeout_s=options.wait, on_wait=waiting, hint=" (--wait 1h)"
    )


def seconds(text: str) -> float:
    """Parse a duration such as ``90m``, ``2h`` or ``1h30m``; raises ArgumentTypeError."""
    parts = re.findall(r"(\d+)([smh])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        message = f"{text!r} is not a duration such as 90m or 2h"
        raise argparse.ArgumentTypeError(message)
    return float(sum(int(number) * _UNITS[unit] for number, unit in parts))


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_selection(parser, "nightly")
    shared.add_output(parser, gates=())  # alarms are what a night fails on
    parser.set_defaults(no_resume=False, dry_run=False)
    add = parser.add_argument
    add(
        "--budget", type=seconds, metavar="TIME",
        help="measure what fits into this time, such as 2h: first columns that were never measured, then those with a "
        "changed lock, those with an alarm, and the oldest",
    )  # fmt: skip
    add(
        "--wait",
        type=seconds,
        default=0.0,
        metavar="TIME",
        help="wait this long for a nightly run in progress (default: 0s)",
    )
    text = f"try everything in about three minutes with two kernels, in DIR/{REHEARSAL_FOLDER}"
    add("--rehearse", action="store_true", help=text)
    shared.add_registry(parser)


COMMAND = Command(
    name="nightly",
    summary="Run the nightly measurement, compare it with earlier nights, and raise alarms.",
    details="Writes the page of the run, history.html, and nightly.json, .md, .xml and .prom. Exit code 1: an alarm.",
    example="nox -s nightly -- --budget 2h",
    add_arguments=_add_arguments,
    run=nightly,
)
