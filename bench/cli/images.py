"""``images``: build images and verify that their libraries load."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tabulate import tabulate

from bench import errors, host
from bench.cli import options as shared
from bench.cli.command import Command
from bench.cli.lock import one_column_per_environment
from bench.cli.planning import environments_plan
from bench.engines import registry
from bench.engines.base import probe_command
from bench.engines.docker import DockerEngine
from bench.portable.scratch import scratch_folder
from bench.run import progress, runner
from bench.suite.suite_hash import ROOT

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from bench.engines.base import Environment
    from bench.plan.column import Column
    from bench.run.progress import View


@dataclass(frozen=True, kw_only=True)
class _Check:
    """An image and what the probe inside it found; ``problem`` is "" where every library loads as pinned."""

    column: Column
    environment: Environment | None
    opened: int
    expected: int
    problem: str
    digest: str = ""


def images(options: argparse.Namespace) -> int:
    """Build the images of the selected environments, and check without a GPU that each loads what its lock pins."""
    columns = one_column_per_environment(environments_plan(options, "any" if options.env else options.device).columns)
    target = registry.normalized_name(options.push) if options.push else ""
    engine = DockerEngine(ROOT, registry=options.from_registry, revision=host.revision(ROOT))
    runner.check_space(*engine.disk_need(tuple(columns)), "images")
    with progress.view() as view, scratch_folder("images") as folder:
        with ThreadPoolExecutor(runner.BUILDERS) as pool:
            waiting = [
                pool.submit(_check, engine, column, folder / f"{column.pair.stem}.log", view) for column in columns
            ]
            checks = [check.result() for check in waiting]
        if target:
            checks = [_push(engine, check, target, view) for check in checks]
    _print_checks(checks)
    return errors.ENGINE if any(check.problem for check in checks) else errors.OK


def _check(engine: DockerEngine, column: Column, log: Path, view: View) -> _Check:
    """Build or find an image and run the probe in it; a failure affects this image only."""
    try:
        environment = engine.prepare(column, log, lambda step: view.say(f"{column.pair.stem}: {step}"))
    except errors.BuildError as error:
        return _Check(column=column, environment=None, opened=0, expected=0, problem=f"{error} {error.hint}".strip())
    try:
        answer = json.loads(engine.run_python(environment, column, probe_command(column), log))
    except (errors.EngineError, ValueError) as error:
        problem = f"the probe inside gave no answer: {error}"
        return _Check(column=column, environment=environment, opened=0, expected=0, problem=problem)
    problems = [f"{name}: {reason}" for name, reason in answer["missing"].items()] + answer["problems"]
    opened = len(answer["libraries"])
    return _Check(
        column=column, environment=environment, opened=opened, expected=opened + len(answer["missing"]),
        problem="; ".join(problems),
    )  # fmt: skip


def _push(engine: DockerEngine, check: _Check, target: str, view: View) -> _Check:
    """Push an image unless it has a problem; a failed push does not stop the others."""
    if check.problem:
        return check
    view.say(f"{check.column.pair.stem}: pushing to {target}")
    try:
        return dataclasses.replace(check, digest=engine.push(check.column, target))
    except errors.EngineError as error:
        return dataclasses.replace(check, problem=f"{error} {error.hint}".strip())


def _print_checks(checks: list[_Check]) -> None:
    rows = []
    for check in checks:
        environment = check.environment
        size = f"{int(environment.details['bytes']) / 1e9:.1f} GB" if environment else ""
        took = (
            f"{'found' if environment.reused else 'built'} in {environment.seconds:.0f} s"
            if environment
            else "build failed"
        )
        digest = check.digest or (environment.details.get("digest", "") if environment else "")
        libraries = f"{check.opened} of {check.expected} open" if check.expected else "CPU"
        rows.append([check.column.pair.stem, took, size, libraries, digest, check.problem or "as pinned"])
    headers = ["image", "built", "size", "libraries", "digest", "check"]
    print(tabulate(rows, headers=headers, maxcolwidths=[None, None, None, None, 28, 60]))


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    group = shared.add_environments(parser)
    text = "environments for auto (default: a GPU if there is one, else the CPU), cpu, gpu or all; no effect with --env"
    group.add_argument("--device", default="auto", metavar="DEVICE", help=text)
    parser.add_argument("--push", metavar="REGISTRY", default="", help="push the images there for other hosts")
    shared.add_registry(parser)


COMMAND = Command(
    name="images",
    summary="Build the images of the selected environments and verify that their libraries load.",
    example="nox -s images -- --env 'tf2.18.1-cuda12.5'",
    add_arguments=_add_arguments,
    run=images,
)
