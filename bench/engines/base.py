"""The interface of an engine: prepare the environment of a column, then run rounds in it."""

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
    """The environment of a column, ready to run rounds.

    ``identity`` pins its content (image id, or lock hash and interpreter version of a venv) and is part of the resume
    key. ``details`` is stored in the run folder and shown on the page as provenance.
    """

    column: str
    identity: str
    reused: bool
    seconds: float
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How the container or process of a round ended."""

    exit_code: int
    oom_killed: bool = False


def probe_command(column: Column) -> tuple[str, ...]:
    """Return the Python arguments that make a column report which libraries it can load, and from where."""
    return ("-m", "bench.suite.probe", json.dumps({"libraries": dict(cuda.libraries(column.pair))}))


class Engine(Protocol):
    """An engine. All paths are absolute."""

    @property
    def name(self) -> str:
        """``docker`` or ``venv``."""

    def describe(self) -> Mapping[str, str]:
        """Return facts about the engine for the report (version, client, storage driver, ...)."""

    def disk_need(self, columns: tuple[Column, ...]) -> tuple[Path, int]:
        """Return the folder where new environments are stored, and the bytes that the missing ones need there."""

    def cached(self, column: Column) -> bool:
        """Return whether the environment of this column is already built."""

    def prepare(self, column: Column, log: Path, say: Callable[[str], None]) -> Environment:
        """Build the environment of a column, or reuse it; may be called from several threads.

        ``log`` receives the full output; ``say`` receives one short line per step for the progress display.

        Raises:
            BuildError: the build failed; the message is one sentence (it names package and lock for a wrong hash).
            NoGpuError: the column needs a GPU that the engine cannot pass through.
        """

    def execute(
        self, environment: Environment, request: Request, on_line: Callable[[str], None], log: Path
    ) -> Execution:
        """Run the driver with this request and block until it ends; whatever interrupts it, nothing is left running.

        ``on_line`` receives each line of the record as it arrives, newline included; stderr is appended to ``log``.
        A request for a GPU names it by UUID in ``gpu``; without a UUID the column runs and finds no GPU.

        Raises:
            EngineError: the round could not be started at all.
            NoGpuError: the GPU cannot be passed through.
        """

    def examine(self, environment: Environment, column: Column, log: Path) -> str:
        """Run ``bench.suite.probe`` in a prepared column and return its line of JSON; stderr is appended to ``log``.

        Works with and without a GPU, because the CUDA libraries report their versions in both cases.

        Raises:
            EngineError: the probe could not be run or printed nothing.
        """

    def sweep(self) -> int:
        """Remove containers that an earlier, killed run left behind; returns how many were removed."""

    def halt(self) -> None:
        """Stop everything that this engine is running, from any thread; waiting calls raise EngineError.

        Nothing is started afterwards. Used when a run over several devices is interrupted.
        """
