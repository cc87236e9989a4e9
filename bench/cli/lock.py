"""``lock``: resolve environments into hash-pinned lock files."""

from __future__ import annotations

import dataclasses
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bench import errors
from bench.cli import options as shared
from bench.cli.command import Command
from bench.cli.planning import environments_plan
from bench.plan import locks

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from bench.plan.column import Column, Pair

#: Resolutions at the same time.
RESOLVERS = 4


def lock(options: argparse.Namespace) -> int:
    """Write the lock of every selected environment, or list newer patch releases with ``--check``."""
    columns = one_column_per_environment(environments_plan(options).columns)
    if options.check:
        return _check(columns)
    with ThreadPoolExecutor(RESOLVERS) as pool:
        changes = [pool.submit(locks.make, column.pair, column.lock, upgrade=options.upgrade) for column in columns]
        for column, change in zip(columns, changes, strict=True):
            word = "written" if change.result() else "unchanged"
            print(f"{column.lock.name}: {word}, {len(locks.pins(column.lock))} distributions")
    return errors.OK


def _check(columns: list[Column]) -> int:
    with ThreadPoolExecutor(RESOLVERS) as pool:
        checks = [pool.submit(locks.check, column.pair, column.lock) for column in columns]
        for column, check in zip(columns, checks, strict=True):
            print(f"{column.lock.name}: {'; '.join(check.result()) or 'nothing newer'}")
    return errors.OK


def one_column_per_environment(columns: Iterable[Column]) -> list[Column]:
    """One column without a GPU for each environment: several GPUs share a lock and an image, and neither needs one."""
    by_pair: dict[Pair, Column] = {}
    for column in columns:
        if column.pair.refused:
            print(f"{column.pair.id}: skipped, {column.pair.refused}", file=sys.stderr)
        else:
            by_pair.setdefault(column.pair, dataclasses.replace(column, gpu=""))
    return list(by_pair.values())


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_environments(parser)
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--upgrade", action="store_true", help="also take newer releases of what matrix.toml does not pin"
    )
    action.add_argument("--check", action="store_true", help="list newer patch releases and change nothing")


LOCK = Command(
    name="lock",
    summary="Write the lock files of the selected environments: all packages with hashes.",
    example="nox -s lock -- --env 'tf2.21*'",
    add_arguments=_add_arguments,
    run=lock,
)
