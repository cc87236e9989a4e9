"""The interface of an engine: prepare the environment of a column, then run rounds in it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from bench.plan import cuda

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bench.plan.column import Column
    from bench.portable.session import Session
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
    silent: bool = False  # it was killed because it exceeded ``silence_limit_s`` of ``bench.portable.session``


#: Seconds that a process may take that is not a round: it reports libraries, or what custom kernels declare.
PROBE_S = 600.0


def declare_command(request: str) -> tuple[str, ...]:
    """Return the Python arguments that make a column report what custom kernel files declare."""
    return ("-m", "bench.suite.declare", request)


def probe_command(column: Column) -> tuple[str, ...]:
    """Return the Python arguments that make a column report which libraries it can load, and from where."""
    return ("-m", "bench.suite.probe", json.dumps({"libraries": dict(cuda.libraries(column.pair))}))


class Engine(Protocol):
    """An engine. All paths are absolute."""

    @property
    def name(self) -> str:
        """``docker`` or ``venv``."""

    @property
    def kernel_store(self) -> Path:
        """The folder of this host with copies of custom kernel files, which rounds get read-only by their hashes."""

    def describe(self) -> Mapping[str, str]:
        """Return facts about the engine for the report (version, client, storage driver, ...)."""

    def host(self) -> Mapping[str, str]:
        """Return the facts of the host that measures where they differ from those that ``bench.host`` sees here."""

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

    def open_session(self, environment: Environment, request: Request, log: Path) -> AbstractContextManager[Session]:
        """Start one side of a pair (``bench.suite.timing_worker``); leaving the context ends it, whatever it does.

        A session reads and writes lines, and raises EngineError if the engine is halted or can no longer be reached.
        stderr is appended to ``log``. Several sessions may be open at the same time.

        Raises:
            EngineError: the process could not be started at all.
            NoGpuError: the GPU cannot be passed through.
        """

    def run_python(
        self,
        environment: Environment,
        column: Column,
        arguments: tuple[str, ...],
        log: Path,
        hashes: Iterable[str] = (),
    ) -> str:
        """Run Python with these arguments in a prepared column and return the last line that it prints.

        ``arguments`` are those of ``probe_command`` or ``declare_command``; ``hashes`` name the custom kernel files
        that the process gets. Stderr is appended to ``log``. Works with and without a GPU.

        Raises:
            EngineError: the process could not be run or printed nothing.
        """

    def sweep(self) -> int:
        """Remove containers that an earlier, killed run left behind; returns how many were removed."""

    def halt(self) -> None:
        """Stop everything that this engine is running, from any thread; waiting calls raise EngineError.

        Nothing is started afterwards. Used when a run over several devices is interrupted.
        """
