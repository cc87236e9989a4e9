"""What every engine offers: prepare a cell's environment, execute one round in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bench.plan.cell import Cell
    from bench.suite.record import Request


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A place where a cell's rounds run, ready to use.

    ``identity`` is what pins it (image id, or lock hash and interpreter of a venv) and goes into the
    resume key. ``details`` is written to the run folder and shown on the page as provenance.
    """

    cell: str
    identity: str
    reused: bool
    seconds: float
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a round's container or process ended."""

    exit_code: int
    oom_killed: bool = False


class Engine(Protocol):
    """An engine. All paths are absolute."""

    @property
    def name(self) -> str:
        """``docker`` or ``venv``."""

    def describe(self) -> Mapping[str, str]:
        """Facts of the engine for the report (version, client, storage driver, ...)."""

    def disk_need(self, cells: tuple[Cell, ...]) -> tuple[Path, int]:
        """Where new environments land, and how many bytes the missing ones need there."""

    def cached(self, cell: Cell) -> bool:
        """Whether the environment of this cell stands already."""

    def prepare(self, cell: Cell, log: Path, say: Callable[[str], None]) -> Environment:
        """Make the environment of a cell, or find it made; may be called from several threads.

        ``log`` gets the full output; ``say`` gets one short line per step for the progress view.
        Raises BuildError, its message one sentence of what failed (package and lock by name for a
        wrong hash).
        """

    def execute(
        self, environment: Environment, request: Request, on_line: Callable[[str], None], log: Path
    ) -> Execution:
        """Run the driver with this request; blocks until it ends.

        ``on_line`` gets each line of the record as it comes, newline included; stderr goes to ``log``
        (appended). Whatever interrupts it, nothing it started stays behind. Raises EngineError where
        the round could not be started at all.
        """

    def sweep(self) -> int:
        """Remove what an earlier, killed run left behind (containers); the number removed."""
