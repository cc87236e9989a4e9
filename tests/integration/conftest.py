"""Real environments for integration tests: made once, from the shipped locks, in the user's cache."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from bench.engines.venv import VenvEngine
from bench.plan import load, locks, planner
from bench.plan.planner import Selection
from bench.suite import record
from bench.suite.record import Record, Request

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.engines.base import Engine, Environment
    from bench.plan.cell import Cell

#: The release most tests use; one is enough where the release is not what is tested.
RELEASE = "2.18.1"


def cell_of(house: Path, release: str = RELEASE) -> Cell:
    """The shipped cell of a release."""
    matrix = load.load(house / "matrix.toml")
    plan = planner.make(matrix, "quick", Selection(only=(f"tf{release}-cpu",)), house / "docker" / "locks")
    return plan.cells[0]


@dataclass
class Bench:
    """Runs requests in one cell and reads their records; its environment is made and checked once."""

    engine: Engine
    cell: Cell
    folder: Path

    @cached_property
    def environment(self) -> Environment:
        """The cell, ready."""
        return self.engine.prepare(self.cell, self.folder / "build.log", lambda _: None)

    def run(self, kernels: Sequence[str], **changes: Any) -> Record:
        """One round; ``changes`` are fields of the request."""
        facts: dict[str, Any] = {
            "cell": self.cell.id,
            "mode": "off",
            "condition": "default",
            "round": 1,
            "kernels": tuple(kernels),
            "repeats": 2,
            "steady_s": 0.01,
            "expect": locks.expected(self.cell.lock),
        }
        got: list[str] = []
        self.engine.execute(self.environment, Request(**{**facts, **changes}), got.append, self.folder / "round.log")
        return record.parse(got)


@pytest.fixture(scope="session")
def benches(house: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    """The suite as shipped, in a virtual environment of each release."""
    engine, folder = VenvEngine(house), tmp_path_factory.mktemp("benches")
    return {release: Bench(engine, cell_of(house, release), folder) for release in ("2.15.1", RELEASE, "2.21.0")}


@pytest.fixture(scope="session")
def bench(benches: dict[str, Bench]) -> Bench:
    """The one for tests to which the release does not matter."""
    return benches[RELEASE]


@pytest.fixture(scope="session")
def planted(house: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The suite with kernels that misbehave."""
    folder = tmp_path_factory.mktemp("planted")
    copy = folder / "house"
    shutil.copytree(house / "bench", copy / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / "bench" / "suite" / "kernels" / "controls.py").open("a", encoding="utf-8") as stream:
        stream.write(PLANTED)
    return Bench(VenvEngine(copy), cell_of(house), folder)


PLANTED = """
import signal, sys, time

def _plant(function):
    facts = dict(family="controls", exercises="x", shapes="x", dtypes="x", source="planted")
    return kernel(**facts, call_again=False)(function)

@_plant
def planted_abort(tf, seed):
    return lambda: os.abort()

@_plant
def planted_exit(tf, seed):
    return lambda: os._exit(7)

@_plant
def planted_hang(tf, seed):
    return lambda: time.sleep(3600)

@_plant
def planted_unimplemented(tf, seed):
    def work():
        raise tf.errors.UnimplementedError(None, None, "A deterministic GPU implementation of X is not available.")
    return work

@_plant
def planted_nothing(tf, seed):
    return lambda: {}

@_plant
def planted_nan(tf, seed):
    return lambda: {"x": tf.constant([float("nan"), 1.0 + seed])}

@_plant
def planted_noise_on_stdout(tf, seed):
    def work():
        print("{\\\\"line\\\\": \\\\"end\\\\"}", flush=True)
        os.write(1, b"raw words\\\\n")
        return {"x": tf.constant([float(seed)])}
    return work

@_plant
def planted_switch(tf, seed):
    def work():
        tf.config.experimental.enable_op_determinism()
        return {"x": tf.constant([float(seed)])}
    return work

@_plant
def planted_slow(tf, seed):
    def work():
        time.sleep(0.4)
        return {"x": tf.constant([float(seed)])}
    return work

@_plant
def planted_resource(tf, seed):
    def work():
        raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
    return work
""".replace("\\\\", "\\")
