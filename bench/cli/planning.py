"""Turns the selection options of a command into a plan."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tabulate import tabulate

from bench import errors
from bench.gpu import facts
from bench.plan import config, custom_kernels, devices, planner
from bench.plan.planner import Selection
from bench.suite.suite_hash import ROOT

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from bench.engines.base import Engine
    from bench.plan.column import Column
    from bench.plan.config_models import Mode
    from bench.plan.planner import Plan

LOCKS = ROOT / "docker" / "locks"


def make_plan(options: argparse.Namespace) -> Plan:
    """The plan of the commands that take every selection option.

    Raises:
        ConfigError: not a checkout, or a wrong option or matrix.toml.
        NothingError: nothing is selected.
    """
    selection = Selection(
        only=options.env, kernels=options.kernels, modes=modes(options), rounds=options.rounds,
        repetitions=options.repetitions, variations=options.variation,
    )  # fmt: skip
    return _plan(options, selection, options.device, options.kernel_file)


def environments_plan(options: argparse.Namespace, device: str = "any") -> Plan:
    """The plan of the commands that only need environments; ``device`` as ``bench.plan.devices`` takes it."""
    return _plan(options, Selection(only=options.env), device, [])


def _plan(options: argparse.Namespace, selection: Selection, device: str, kernel_files: Sequence[Path]) -> Plan:
    require_checkout()
    matrix = config.load(options.matrix)
    files = [options.matrix.parent / name for name in matrix.suite.kernel_files] + list(kernel_files)
    suite = custom_kernels.suite(files)
    warn(suite.errors.values())
    return planner.make(matrix, options.profile, selection, LOCKS, suite, devices.choose(device, facts.survey()))


def require_checkout() -> None:
    """Raise ConfigError outside a checkout."""
    if not (ROOT / "docker" / "Dockerfile").is_file():
        raise errors.ConfigError(
            "tfrepro runs in its checkout, which has its Dockerfile and locks, and this is not one.",
            "Clone the repository and run nox there.",
        )


def modes(options: argparse.Namespace) -> tuple[Mode, ...]:
    """The modes that ``--mode`` selects."""
    return ("off", "on") if options.mode == "both" else (options.mode,)


def warn(messages: Iterable[str]) -> None:
    """Print each message as a warning."""
    for message in messages:
        print(f"warning: {message}", file=sys.stderr)


def print_columns(columns: Sequence[Column], engine: Engine) -> None:
    """Print a table of columns; a remark that several share is printed once, below the table."""
    remarks: dict[str, int] = {}
    rows = []
    for column in columns:
        text = column.reason or column.advice
        mark = f" [{remarks.setdefault(text, len(remarks) + 1)}]" if text else ""
        built = "yes" if column.status == "ready" and engine.cached(column) else "no"
        rows.append([column.id, column.pair.kind, built, f"{column.status}{mark}"])
    print(tabulate(rows, headers=["column", "pair", "built", "status"]))
    for text, number in remarks.items():
        print(f"[{number}] {text}")
