"""``report``: write the pages of a run again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.cli import options as shared
from bench.cli.command import Command
from bench.cli.results import show
from bench.store import find_run

if TYPE_CHECKING:
    import argparse


def report(options: argparse.Namespace) -> int:
    """Evaluate a run again and write its pages."""
    return show(find_run.chosen(options.reports, options.run_folder), options)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_run(parser, option=False)
    shared.add_output(parser)


REPORT = Command(
    name="report",
    summary="Write the pages again from the records of a run, and print its results.",
    example="nox -s report -- reports/sample",
    add_arguments=_add_arguments,
    run=report,
)
