"""``import``: take over the records of another host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli import options as shared
from bench.cli.command import Command
from bench.cli.results import show
from bench.store import import_records as importer

if TYPE_CHECKING:
    import argparse


def import_records(options: argparse.Namespace) -> int:
    """Verify a records archive, store it beside the runs of this host, and write the pages."""
    return show(importer.importing(options.file, options.reports.absolute()), options)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="records archive written by a bundle or `tfrepro local`"
    )
    shared.add_output(parser)


IMPORT = Command(
    name="import",
    summary="Verify a records archive from another host, evaluate it, and show it beside what was measured here.",
    example="nox -s import -- tfrepro-records-tf2.18.1-cpu-py311.tar.gz",
    add_arguments=_add_arguments,
    run=import_records,
)
