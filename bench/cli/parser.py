"""The command line parser: every command with its options, a sentence and an example."""

from __future__ import annotations

import argparse
import importlib
import textwrap
from typing import TYPE_CHECKING

import bench

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.cli.command import Command

#: Every command in the order of ``-h``, with its module. A module is imported only when its command is needed: all of
#: them together import Docker's client and more, which takes longer than most commands.
MODULES = {
    "matrix": "matrix",
    "nightly": "nightly",
    "history": "history",
    "bisect": "bisect_kernel",
    "fleet": "fleet",
    "plan": "plan",
    "doctor": "doctor",
    "report": "report",
    "choose": "choose",
    "compare": "compare",
    "reproduce": "reproduce",
    "diff": "diff",
    "local": "local",
    "bundle": "bundle",
    "import": "import_records",
    "export": "export",
    "lock": "lock",
    "images": "images",
    "sbom": "sbom",
    "clean": "clean",
    "kernels": "kernels",
    "schema": "schema",
}
#: Columns of help texts.
_WIDTH = 78


def commands(names: Iterable[str] = MODULES) -> list[Command]:
    """Import and return commands by name."""
    return [importlib.import_module(f"bench.cli.{MODULES[name]}").COMMAND for name in names]


def parser(names: Iterable[str] = MODULES) -> argparse.ArgumentParser:
    """Build the parser of the named commands; ``run`` of the parsed options is the function to call."""
    top = argparse.ArgumentParser(
        prog="tfrepro",
        description="Measure which TensorFlow x CUDA pair gives bitwise-reproducible results,\n"
        "and what determinism costs.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=textwrap.fill(
            "Exit codes: 0 ok; 1 a gate failed or an alarm was raised; 2 bad configuration or input; "
            "3 nothing selected, measured or compared; 4 engine, build or storage failure; 5 a required GPU is "
            "missing; 130 interrupted; 141 output pipe closed.",
            _WIDTH,
        ),
    )
    top.add_argument("--version", action="version", version=f"tfrepro {bench.__version__}")
    subparsers = top.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for command in commands(names):
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
