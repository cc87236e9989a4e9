"""``export``: copy a run into a folder to keep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench import errors, report, verdict
from bench.cli import options as shared
from bench.cli.command import Command
from bench.store import find_run
from bench.store import run as store

if TYPE_CHECKING:
    import argparse


def export(options: argparse.Namespace) -> int:
    """Copy a complete run without its logs, and write its pages there.

    Raises:
        NothingError: the run is not complete.
    """
    folder = find_run.chosen(options.reports, options.run_folder)
    if not store.load(folder).info.finished:
        raise errors.NothingError(f"{folder} is not complete.", "Name another run, or resume it with: nox -s matrix")
    store.compact(folder, options.to)
    pages = report.Pages(verdict.evaluate(store.load(options.to)))
    pages.write(options.to, (report.Format.HTML, report.Format.MARKDOWN))
    return errors.OK


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_run(parser, option=False)
    shared.add_reports(parser)
    parser.add_argument(
        "--to", type=Path, default=Path("reports/sample"), metavar="DIR", help="target folder (default: reports/sample)"
    )


EXPORT = Command(
    name="export",
    summary="Copy a complete run to a folder to keep: compressed records and pages, without logs.",
    example="nox -s export -- --to reports/sample",
    add_arguments=_add_arguments,
    run=export,
)
