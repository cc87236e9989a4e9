"""The run in reports/sample, read and evaluated once in each process that runs tests."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report.build.page import build
from bench.store.run import load
from bench.verdict import evaluate

if TYPE_CHECKING:
    from bench.report.view import View
    from bench.store.run import Run
    from bench.verdict.results import RunResults

SAMPLE = Path(__file__).parents[2] / "reports" / "sample"


@cache
def run() -> Run:
    """Return its records."""
    return load(SAMPLE)


@cache
def results() -> RunResults:
    """Return its verdicts."""
    return evaluate(run())


@cache
def view() -> View:
    """Return what its page shows."""
    return build(results())
