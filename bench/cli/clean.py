"""``clean``: remove what this project created on this host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import errors
from bench.cli.command import Command
from bench.engines import clean

if TYPE_CHECKING:
    import argparse


def clean_up(options: argparse.Namespace) -> int:
    """Remove images, containers and virtual environments of this project."""
    for line in clean.clean(dry=options.dry_run, everything=options.all):
        print(line)
    return errors.OK


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="print what would be removed")
    parser.add_argument("--all", action="store_true", help="also remove the base image that `nox -s base-image` made")


CLEAN = Command(
    name="clean",
    summary="Remove the images, containers and virtual environments that this project created, and nothing else.",
    example="nox -s clean -- --dry-run",
    add_arguments=_add_arguments,
    run=clean_up,
)
