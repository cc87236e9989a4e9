"""``schema``: print a JSON Schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import errors
from bench.cli.command import Command
from bench.plan import config
from bench.report.json import render as report_json

if TYPE_CHECKING:
    import argparse


def schema(options: argparse.Namespace) -> int:
    """Print the JSON Schema of matrix.toml, of report.json or of nightly.json."""
    chosen = report_json.schema() if options.report else report_json.night_schema() if options.nightly else ""
    print(chosen or config.schema(), end="")
    return errors.OK


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--report", action="store_true", help="the schema of report.json instead")
    group.add_argument("--nightly", action="store_true", help="the schema of nightly.json instead")


COMMAND = Command(
    name="schema",
    summary="Print the JSON Schema of matrix.toml, report.json or nightly.json.",
    example="python -m bench schema --report",
    add_arguments=_add_arguments,
    run=schema,
)
