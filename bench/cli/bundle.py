"""``bundle``: pack an environment for a host without a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench import bundle, errors
from bench.cli import options as shared
from bench.cli.command import Command
from bench.cli.planning import kernel_sources
from bench.plan import config
from bench.run import progress
from bench.suite.suite_hash import ROOT

if TYPE_CHECKING:
    import argparse


def pack(options: argparse.Namespace) -> int:
    """Pack one environment with everything it needs to be measured offline."""
    matrix = config.load(options.matrix)
    contents = bundle.BundleContents(
        matrix=matrix, sources=kernel_sources(matrix, options), pair=options.env, out=options.out, root=ROOT,
        engine=options.engine, split=bundle.size(options.split), python=options.python, profile=options.profile,
    )  # fmt: skip
    with progress.view() as view:
        made = bundle.make(contents, view.say)
    print(f"{made.folder}: {made.parts} parts, {made.bytes / 1e9:.2f} GB, in {made.seconds:.0f} s")
    print("Copy the folder to the offline host, run ./run-bundle.sh there, copy the records archive back,")
    print("and evaluate it with: nox -s import -- FILE")
    print("Compare this line with what run-bundle.sh prints first:")
    print(f"manifest SHA-256 {made.manifest}")
    return errors.OK


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--env", required=True, metavar="PATTERN", help="one environment of matrix.toml: tf2.18.1-cuda12.5")
    add("--out", type=Path, required=True, metavar="DIR", help="an empty folder for the bundle")
    add("--engine", choices=["venv", "docker"], default="venv", help="venv: wheels, docker: an image (default: venv)")
    add("--split", default="60M", metavar="SIZE", help="largest size of one file (default: 60M)")
    add("--python", default="", metavar="MINOR", help="Python of the offline host: 3.12 (default: the environment's)")
    add("--profile", default="standard", help="default profile on the offline host (default: standard)")
    shared.add_kernel_file(parser)
    shared.add_matrix_file(parser)


COMMAND = Command(
    name="bundle",
    summary="Pack one environment and the suite for a host without a network.",
    example="nox -s bundle -- --env tf2.18.1-cuda12.5 --out bundle",
    add_arguments=_add_arguments,
    run=pack,
)
