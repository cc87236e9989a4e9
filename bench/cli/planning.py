"""Turns the selection options of a command into a plan."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tabulate import tabulate

from bench import errors
from bench.gpu import facts
from bench.plan import column_selection, config, custom_kernels, devices, planner
from bench.plan.planner import Selection
from bench.suite.suite_hash import ROOT

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

    from bench.engines.base import Engine
    from bench.plan.column import Column
    from bench.plan.config_models import Matrix, Mode
    from bench.plan.custom_kernels import Suite
    from bench.plan.devices import Devices
    from bench.plan.planner import Plan
    from bench.suite.kernel_files import Source

LOCKS = ROOT / "docker" / "locks"


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the options of a command select, before it is known which kernels the custom files declare."""

    matrix: Matrix
    profile: str
    selection: Selection
    devices: Devices
    sources: tuple[Source, ...] = ()

    def columns(self) -> tuple[Column, ...]:
        """Return the columns; raises what ``plan`` raises about them."""
        found, _ = column_selection.columns(self.matrix, self.profile, self.selection.only, LOCKS, self.devices)
        return found

    def plan(self, suite: Suite) -> Plan:
        """Return the plan for a suite, and print its errors and what is not known about it."""
        warn(suite.errors.values())
        for sentence in suite.unknown.values():
            print(f"note: {sentence}", file=sys.stderr)
        return planner.make(self.matrix, self.profile, self.selection, LOCKS, suite, self.devices)


def read_inputs(options: argparse.Namespace) -> Inputs:
    """Read matrix.toml and the custom kernel files of the commands that take every selection option.

    Raises:
        ConfigError: not a checkout, or a wrong option, kernel file or matrix.toml.
    """
    selection = Selection(
        only=options.env, kernels=options.kernels, modes=modes(options), rounds=options.rounds,
        repetitions=options.repetitions, pairs=options.timing_pairs, variations=options.variation,
    )  # fmt: skip
    require_checkout()
    matrix = config.load(options.matrix)
    return Inputs(
        matrix=matrix,
        profile=options.profile,
        selection=selection,
        devices=replace(devices.choose(options.device, facts.survey()), host=options.host_name),
        sources=kernel_sources(matrix, options),
    )


def make_plan(options: argparse.Namespace) -> Plan:
    """The plan of the commands that measure nothing: custom kernels are read without running their files.

    Raises:
        ConfigError: not a checkout, or a wrong option, kernel file or matrix.toml.
        NothingError: nothing is selected.
    """
    inputs = read_inputs(options)
    return inputs.plan(custom_kernels.suite(inputs.sources))


def environments_plan(options: argparse.Namespace, device: str = "any") -> Plan:
    """The plan of the commands that only need environments; ``device`` as ``bench.plan.devices`` takes it."""
    require_checkout()
    selection, chosen = Selection(only=options.env), devices.choose(device, facts.survey())
    matrix = config.load(options.matrix)
    return planner.make(matrix, options.profile, selection, LOCKS, custom_kernels.suite([]), chosen)


def kernel_sources(matrix: Matrix, options: argparse.Namespace) -> tuple[Source, ...]:
    """The files and folders with custom kernels, of matrix.toml and of the command line."""
    found = custom_kernels.sources(
        matrix.suite.kernel_files, options.matrix.parent, options.kernel_file, options.kernel_exclude
    )
    return tuple(found)


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
