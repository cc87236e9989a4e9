"""The command line parser: every command with its options, a sentence and an example."""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING

import bench
from bench.cli.bundle import BUNDLE
from bench.cli.choose import CHOOSE
from bench.cli.clean import CLEAN
from bench.cli.compare import COMPARE
from bench.cli.diff import DIFF
from bench.cli.doctor import DOCTOR
from bench.cli.export import EXPORT
from bench.cli.images import IMAGES
from bench.cli.import_records import IMPORT
from bench.cli.kernels import KERNELS
from bench.cli.local import LOCAL
from bench.cli.lock import LOCK
from bench.cli.matrix import MATRIX
from bench.cli.plan import PLAN
from bench.cli.report import REPORT
from bench.cli.reproduce import REPRODUCE
from bench.cli.schema import SCHEMA

if TYPE_CHECKING:
    from bench.cli.command import Command

COMMANDS: tuple[Command, ...] = (
    *(MATRIX, PLAN, DOCTOR),
    *(REPORT, CHOOSE, COMPARE, REPRODUCE, DIFF),
    *(LOCAL, BUNDLE, IMPORT, EXPORT),
    *(LOCK, IMAGES, CLEAN, KERNELS, SCHEMA),
)

#: Columns of help texts.
_WIDTH = 78


def parser() -> argparse.ArgumentParser:
    """Build the parser; ``run`` of the parsed options is the function to call."""
    top = argparse.ArgumentParser(
        prog="tfrepro",
        description="Measure which TensorFlow x CUDA pair gives bitwise-reproducible results, and the cost of determinism.",
        epilog="Exit codes: 0 ok; 1 a gate failed; 2 bad configuration or input; 3 nothing selected or measured; "
        "4 engine, build or storage failure; 5 a required GPU is missing; 130 interrupted; 141 output pipe closed.",
    )
    top.add_argument("--version", action="version", version=f"tfrepro {bench.__version__}")
    subparsers = top.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for command in COMMANDS:
        added = subparsers.add_parser(
            command.name,
            help=command.summary,
            description=textwrap.fill(f"{command.summary} {command.details}".strip(), _WIDTH),
            epilog=f"example:\n  {command.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,  # an example stays on one line
            allow_abbrev=False,
        )
        added.add_argument("--debug", action="store_true", help="show tracebacks")
        command.add_arguments(added)
        added.set_defaults(run=command.run, name=command.name)
    return top
