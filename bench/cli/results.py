"""Evaluates a run, writes its pages, prints it and checks its gates: for ``matrix``, ``report`` and ``import``."""

from __future__ import annotations

import gc
import shutil
import sys
from typing import TYPE_CHECKING

from bench import errors, report, verdict
from bench.report.text.layout import supports_colour
from bench.store import run as store
from bench.store.previous_run import previous_run
from bench.verdict.status import FROM_DIGESTS, Status

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

#: Statuses that answer the question: compared digests, or TensorFlow's own refusal.
_RESULTS = FROM_DIGESTS | {Status.UNSUPPORTED}
#: Statuses that run.json gives to columns that were measured, or cannot be measured on this host.
_NOT_LOST = frozenset({"ready", "incompatible"})
#: The page of all runs, which ``nightly`` and ``history`` write beside that of one run.
HISTORY_PAGE = "history.html"
#: The formats that a run is written in.
PAGES = tuple(form for form in report.Format if form is not report.Format.TERMINAL)


def show(folder: Path, options: argparse.Namespace) -> int:
    """Write the pages of a run, print it, check its gates, and return the exit code.

    Raises:
        NothingError: nothing was measured, or no kernel gave a result with determinism on.
        NoGpuError: nothing was measured because a GPU is missing.
        EngineError: nothing was measured because no environment could be built.
        StorageError: the run cannot be read or the pages cannot be written.
    """
    run = store.load(folder, partly=True)
    results = verdict.evaluate(run)
    previous = _previous(folder, run)
    # The results live until the end; scanning them for garbage would take as long as rendering the pages.
    gc.freeze()
    history = HISTORY_PAGE if (options.reports / HISTORY_PAGE).is_file() else ""
    pages = report.Pages(results, previous, history)
    pages.write(options.reports, PAGES)
    page = (options.reports / report.FORMATS[report.Format.HTML]).absolute()
    width = shutil.get_terminal_size((80, 24)).columns
    print(pages.terminal(page, width, full=options.full, colour=supports_colour(sys.stdout)), end="")
    failures = verdict.gate(results, options.fail_on)
    for message in failures:
        print(f"gate {message}", file=sys.stderr)
    if failures:
        return errors.GATE
    return _completeness(folder, run, results)


def _completeness(folder: Path, run: store.Run, results: verdict.RunResults) -> int:
    """Return the exit code of a run whose gates passed: not OK where something is missing from it."""
    without_gpu = [column for column, (status, _) in results.unmeasured.items() if status is Status.GPU_NOT_VISIBLE]
    not_measured = [column.id for column in run.info.columns if column.status not in _NOT_LOST]
    lost = dict.fromkeys([*not_measured, *without_gpu])
    lost_error = errors.NoGpuError if without_gpu else errors.EngineError
    if not run.records:
        raise _nothing_measured(folder, run, lost_error if lost else errors.NothingError)
    if lost:
        print(f"not measured completely: {', '.join(lost)}; the page gives the reasons", file=sys.stderr)
        return lost_error.code
    if run.unreadable:
        print(f"unreadable records: {len(run.unreadable)}; the page names them", file=sys.stderr)
        return errors.ENGINE
    if not run.info.finished:
        print("The run is not complete: run the same command again to resume.", file=sys.stderr)
        return errors.ENGINE
    if _without_result(results):
        message = "No kernel gave a result with determinism on."
        raise errors.NothingError(message, "The page gives the reason for each kernel; logs are beside the records.")
    if results.incomplete:
        print(f"planned records are missing or cut off: {', '.join(results.incomplete)}", file=sys.stderr)
        return errors.ENGINE
    return errors.OK


def _nothing_measured(folder: Path, run: store.Run, error: type[errors.TfreproError]) -> errors.TfreproError:
    reasons = "".join(
        f"\n{column.id}: {column.status}: {column.reason}" for column in run.info.columns if column.reason
    )
    logs = f" Full logs are in {folder / 'logs'}." if (folder / "logs").is_dir() else ""
    return error(f"Nothing was measured.{reasons}", f"Fix the reasons given.{logs}" if reasons else "")


def _without_result(results: verdict.RunResults) -> bool:
    """Whether columns were measured, but no kernel gave a result with determinism on."""
    ready = {column.id for column in results.info.columns if column.status == "ready"}
    on = [
        result for result in results.verdicts if result.column in ready and result.mode == "on" and not result.control
    ]
    return bool(on) and not any(result.status in _RESULTS for result in on)


def _previous(folder: Path, run: store.Run) -> report.Last:
    """The previous run of the same columns, evaluated. One that cannot be read becomes a note on the page."""
    previous = previous_run(folder, run.info)
    if previous.folder is None:
        return report.Last(notes=previous.notes)
    try:
        return report.Last(results=verdict.evaluate(store.load(previous.folder)), notes=previous.notes)
    except errors.StorageError as error:
        # Pages are sent to other people, so they contain no path of this host.
        reason = str(error).replace(f"{previous.folder}/", "")
        return report.Last(notes=(*previous.notes, f"Run {previous.folder.name} was skipped: {reason}."))
