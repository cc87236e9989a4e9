"""``plan``: list what would be measured."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bench import errors, host
from bench.cli import options as shared
from bench.cli.command import Command
from bench.cli.planning import make_plan, print_columns
from bench.engines import select
from bench.plan import duration
from bench.run import progress
from bench.suite.suite_hash import ROOT

if TYPE_CHECKING:
    import argparse

    from bench.engines.base import Engine
    from bench.plan.planner import Plan


def plan(options: argparse.Namespace) -> int:
    """Print the columns of the plan and how much would run."""
    made = make_plan(options)
    engine, reason = select.choose(options.engine, ROOT)
    if options.json:
        print(json.dumps(_as_json(made, engine, reason), indent=1))
        return errors.OK
    print(f"profile {made.profile_name}; engine {engine.name}: {reason}")
    for note in made.notes:
        print(f"note: {note}")
    print_columns(made.columns, engine)
    time = progress.duration(duration.total_seconds(made.rounds, made.pairs, host.parallel_processes()))
    variations = ", ".join(made.variations)
    print(f"{len(made.kernels)} kernels; variations: {variations}")
    print(f"{progress.amount(len(made.rounds), len(made.pairs))}, about {time}")
    return errors.OK


def _as_json(made: Plan, engine: Engine, reason: str) -> dict[str, Any]:
    columns = [
        {
            **column.facts(),
            "engine": engine.name,
            "built": column.status == "ready" and engine.cached(column),
            "rounds": sum(planned.column.id == column.id for planned in made.rounds),
            "timing_pairs": sum(planned.column.id == column.id for planned in made.pairs),
        }
        for column in made.columns
    ]
    return {
        "schema": 1,
        "profile": made.profile_name,
        "engine": engine.name,
        "engine_why": reason,
        "notes": list(made.notes),
        "columns": columns,
        "kernels": [kernel.name for kernel in made.kernels],
        "variations": {name: list(names) for name, names in made.variations.items()},
    }


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_selection(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


COMMAND = Command(
    name="plan",
    summary="List the columns that would be measured, without running anything.",
    example="nox -s plan -- --env 'tf2.21*'",
    add_arguments=_add_arguments,
    run=plan,
)
