"""``kernels``: list the kernels of the suite."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from bench import errors
from bench.cli import options as shared
from bench.cli.command import Command
from bench.cli.planning import warn
from bench.plan import custom_kernels
from bench.report.commands import kernels as kernel_catalogue

if TYPE_CHECKING:
    import argparse


def kernels(options: argparse.Namespace) -> int:
    """Print the kernels of the suite and of the given files."""
    suite = custom_kernels.suite(custom_kernels.sources((), Path(), options.kernel_file, options.kernel_exclude))
    warn((*suite.errors.values(), *suite.unknown.values()))
    if options.markdown:
        print(kernel_catalogue.page(suite.kernels.values()), end="")
        return errors.OK
    if options.json:
        declarations = [kernel.declaration() for kernel in suite.kernels.values()]
        print(json.dumps({"schema": 1, "kernels": declarations}, indent=1))
        return errors.OK
    print(kernel_catalogue.text(suite.kernels.values(), shutil.get_terminal_size((80, 24)).columns), end="")
    return errors.OK


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument("--json", action="store_true", help="print JSON")
    formats.add_argument("--markdown", action="store_true", help="print the page docs/suite.md")
    shared.add_kernel_file(parser)


COMMAND = Command(
    name="kernels",
    summary="List the kernels of the suite.",
    example="python -m bench kernels --kernel-file my_kernels.py",
    add_arguments=_add_arguments,
    run=kernels,
)
