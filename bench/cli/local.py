"""``local``: measure the interpreter at hand.

``bench.__main__`` runs this command before anything else is imported, because it must work in an environment that has
numpy and tensorflow only, from Python 3.9 on. The entry here makes ``-h`` list it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.cli.command import Command
from bench.portable.local import main

if TYPE_CHECKING:
    import argparse


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: ``bench.portable.local`` has a parser of its own."""


def _run(_options: argparse.Namespace) -> int:
    return main([])


LOCAL = Command(
    name="local",
    summary="Measure the Python environment you are in, without Docker, and pack the records for `import`.",
    example="python -m bench local --quick",
    add_arguments=_add_arguments,
    run=_run,
)
