"""What every engine offers: prepare a column's environment, execute one round in it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from bench.plan import cuda

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bench.plan.column import Column
    from bench.suite.record import Request


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A place where a column's rounds run, ready to use.

    ``identity`` is what pins it (image id, or lock hash and interpreter of a venv) and goes into the
    resume key. ``details`` is written to the run folder and shown on the page as provenance.
    """

    column: str
    identity: str
    reused: bool
    seconds: float
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a round's container or process ended."""

    exit_code: int
    oom_killed: bool = False


def probe_command(column: Column) -> tuple[str, ...]:
    """What Python is given to ask a column what it can load, and from where."""
    return ("-m", "bench.suite.probe", json.dumps({"libraries": dict(cuda.libraries(column.pair))}))


class Engine(Protocol):
    """An engine. All paths are absolute."""

    @property
    def name(self) -> str:
        """``docker`` or ``venv``."""

    def describe(self) -> Mapping[str, str]:
        """Facts of the engine for the report (version, client, storage driver, ...)."""

    def disk_need(self, columns: tuple[Column, ...]) -> tuple[Path, int]:
        """Where new environments land, and how many bytes the missing ones need there."""

    def cached(self, column: Column) -> bool:
        """Whether the environment of this column stands already."""

    def prepare(self, column: Column, log: Path, say: Callable[[str], None]) -> Environment:
        """Make the environment of a column, or find it made; may be called from several threads.

        ``log`` gets the full output; ``say`` gets one short line per step for the progress view.
        Raises BuildError, its message one sentence of what failed (package and lock by name for a
        wrong hash); NoGpuError where the column has a GPU that the engine cannot hand on.
        """

    def execute(
        self, environment: Environment, request: Request, on_line: Callable[[str], None], log: Path
    ) -> Execution:
        """Run the driver with this request; blocks until it ends.

        ``on_line`` gets each line of the record as it comes, newline included; stderr goes to ``log``
        (appended). Whatever interrupts it, nothing it started stays behind. A request for a GPU names
        it by UUID in ``gpu``; without one the column runs and finds none. Raises EngineError where the
        round could not be started at all, NoGpuError where the GPU cannot be handed on.
        """

    def examine(self, environment: Environment, column: Column, log: Path) -> str:
        """Run ``bench.suite.probe`` in a prepared column and return its line of JSON; stderr goes to ``log``.

        Works with and without a GPU: the libraries of CUDA tell their versions either way. Raises
        EngineError where the probe could not be run or said nothing.
        """

    def sweep(self) -> int:
        """Remove what an earlier, killed run left behind (containers); the number removed."""

    def halt(self) -> None:
        """End all that this engine has running, from any thread; what waits for it gets an EngineError.

        Nothing starts any more after it: it is for an interrupt while several devices are measured.
        """
