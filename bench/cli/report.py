"""Commands of the reading wing: pages from records, records from elsewhere, and what the suite holds."""

from __future__ import annotations

import gc
import json
import shutil
import sys
from typing import TYPE_CHECKING

from tabulate import tabulate

from bench import errors, report, verdict
from bench.plan import config, custom_kernels
from bench.report.commands import diff
from bench.report.commands import kernels as kernel_catalogue
from bench.report.json import render as report_json
from bench.store import find_run
from bench.store import import_records as importer
from bench.store import run as store
from bench.store.previous_run import before
from bench.verdict.status import FROM_DIGESTS, Status

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

#: What a kernel has to come to for a run to have an answer: bits, or TensorFlow's own refusal.
_RESULTS = FROM_DIGESTS | {Status.UNSUPPORTED}


def kernels(options: argparse.Namespace) -> int:
    """``kernels``: the fixed suite."""
    found = custom_kernels.suite(options.kernel_file)
    for sentence in found.errors.values():
        print(f"warning: {sentence}", file=sys.stderr)
    if options.markdown:
        print(kernel_catalogue.page(found.kernels.values()), end="")
        return errors.OK
    declared = [kernel.declaration() for kernel in found.kernels.values()]
    if options.json:
        print(json.dumps({"schema": 1, "kernels": declared}, indent=1))
        return errors.OK
    keys = ("name", "family", "shapes", "dtypes", "control", "source")
    print(
        tabulate(
            [[kernel[key] for key in keys] for kernel in declared],
            headers=keys,
            maxcolwidths=[None, None, 34, 14, 12, 44],
        )
    )
    return errors.OK


def report_again(options: argparse.Namespace) -> int:
    """``report``: write the pages again from the records of a run."""
    folder = find_run.chosen(options.reports, options.run_folder)
    return show(folder, options)


def show(folder: Path, options: argparse.Namespace) -> int:
    """Write the pages of a run, print its table, and say what its gates say."""
    run = store.load(folder)
    pages = (report.Format.HTML, report.Format.MARKDOWN, report.Format.JSON, report.Format.JUNIT)
    results, last = verdict.evaluate(run), _last(folder, run)
    gc.freeze()  # they stay to the end: to look through them for garbage takes as long as to make the pages
    made = report.Pages(results, last)
    made.write(options.reports, pages)
    print(made.render(report.Format.TERMINAL, shutil.get_terminal_size((120, 24)).columns), end="")
    print(f"page: {(options.reports / report.FORMATS[report.Format.HTML]).absolute()}", file=sys.stderr)
    broken = verdict.gate(results, options.fail_on)
    for sentence in broken:
        print(f"gate {sentence}", file=sys.stderr)
    if broken:
        return errors.GATE
    lost = [column.id for column in run.info.columns if column.status not in {"ready", "incompatible"}]
    if not run.records:
        reasons = "".join(
            f"\n{column.id}: {column.status}: {column.reason}" for column in run.info.columns if column.reason
        )
        kind = _missing_gpu(run) or (errors.EngineError if lost else errors.NothingError)
        logs = f"; full logs are in {folder / 'logs'}" if (folder / "logs").is_dir() else ""
        raise kind(f"Nothing was measured.{reasons}", f"Mend the reasons given{logs}." if reasons else "")
    if lost:
        print(f"not measured, or not to the end: {', '.join(lost)}; the page says why", file=sys.stderr)
        return (_missing_gpu(run) or errors.EngineError).code
    if run.unreadable:
        print(f"records that cannot be read: {len(run.unreadable)}; the page names them", file=sys.stderr)
        return errors.ENGINE
    if not run.info.finished:
        print("the run is not finished; the same command goes on from there", file=sys.stderr)
        return errors.ENGINE
    silent = _silent(results)
    if silent:
        raise errors.NothingError(silent, "The page says why of each kernel; full logs are beside the records.")
    return errors.OK


def _silent(results: verdict.RunResults) -> str:
    """Why the run says nothing of determinism, "" where a kernel of some column that was measured gave a result."""
    ready = {column.id for column in results.info.columns if column.status == "ready"} - results.unmeasured.keys()
    on = [one for one in results.verdicts if one.column in ready and one.mode == "on" and not one.control]
    if on and not any(one.status in _RESULTS for one in on):
        return "No kernel gave a result with determinism on."
    return ""


def _missing_gpu(run: store.Run) -> type[errors.TfreproError] | None:
    """The error of a run whose columns are for a GPU that is not there."""
    return errors.NoGpuError if any(column.status == "gpu-not-visible" for column in run.info.columns) else None


def _last(folder: Path, run: store.Run) -> report.Last:
    """The last run of this kind, evaluated; one that cannot be read is a note on the page, never an error."""
    found = before(folder, run.info)
    if found.folder is None:
        return report.Last(notes=found.notes)
    try:
        return report.Last(results=verdict.evaluate(store.load(found.folder)), notes=found.notes)
    except errors.StorageError as error:
        why = str(error).replace(f"{found.folder}/", "")  # a page is mailed: it needs no path of this host
        return report.Last(notes=(*found.notes, f"Run {found.folder.name} was passed over: {why}."))


def diverging(options: argparse.Namespace) -> int:
    """``diverge``: where the samples of one kernel part, tensor by tensor."""
    run = store.load(find_run.chosen(options.reports, options.run_folder))
    width = shutil.get_terminal_size((120, 24)).columns
    text = diff.text(
        run,
        verdict.evaluate(run),
        options.column,
        options.kernel,
        one=options.digest_a,
        other=options.digest_b,
        width=width,
    )
    print(text, end="")
    return errors.OK


def schema(options: argparse.Namespace) -> int:
    """``schema``: the JSON Schema of matrix.toml, or of report.json."""
    print(report_json.schema() if options.report else config.schema(), end="")
    return errors.OK


def sample(options: argparse.Namespace) -> int:
    """``sample``: copy a finished run into a folder to keep, without logs, and write its pages for people there."""
    folder = find_run.chosen(options.reports, options.run_folder)
    if not store.load(folder).info.finished:
        raise errors.NothingError(f"{folder} is not finished.", "Name another run, or go on with: nox -s matrix")
    store.compact(folder, options.to)
    report.Pages(verdict.evaluate(store.load(options.to))).write(
        options.to, (report.Format.HTML, report.Format.MARKDOWN)
    )
    return errors.OK


def import_records(options: argparse.Namespace) -> int:
    """``import``: verify a records archive of another host, and show its columns beside those measured here."""
    folder = importer.importing(options.file, options.reports.absolute())
    return show(folder, options)
