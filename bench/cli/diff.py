"""``diff``: compare two samples of one kernel tensor by tensor."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from bench import errors, verdict
from bench.cli import options as shared
from bench.cli.command import Command
from bench.report.commands import diff as diff_report
from bench.store import find_run
from bench.store import run as store

if TYPE_CHECKING:
    import argparse


def diff(options: argparse.Namespace) -> int:
    """Print where two samples of one kernel differ."""
    run = store.load(find_run.chosen(options.reports, options.run_folder))
    text = diff_report.text(
        run, verdict.evaluate(run), options.column, options.kernel, digest_a=options.digest_a,
        digest_b=options.digest_b,
        width=shutil.get_terminal_size((80, 24)).columns,
    )  # fmt: skip
    print(text, end="")
    return errors.OK


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("column", metavar="COLUMN", help="a column of the run, by id or environment: tf2.18.1-cpu")
    add("kernel", metavar="KERNEL", help="a kernel of the run")
    add("--digest-a", default="", metavar="DIGEST", help="first characters of the digest to compare")
    add("--digest-b", default="", metavar="DIGEST", help="first characters of the digest to compare it with")
    shared.add_run(parser)
    shared.add_reports(parser)


COMMAND = Command(
    name="diff",
    summary="Show where two samples of one kernel differ, tensor by tensor.",
    example="nox -s diff -- tf2.18.1-cpu bincount_weighted --run reports/sample",
    add_arguments=_add_arguments,
    run=diff,
)
