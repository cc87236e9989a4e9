"""Ask an environment of the run what the custom kernel files declare: their code never runs on the host."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from bench.engines import usage_lock
from bench.engines.base import declare_command
from bench.errors import BuildError, EngineError, NoGpuError, StorageError
from bench.plan import custom_kernels
from bench.portable.scratch import scratch_folder
from bench.run.runner import check_space, temporary_files
from bench.suite import kernel_files
from bench.suite.kernel_files import Source, hashes_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.engines.base import Engine, Environment
    from bench.plan.column import Column
    from bench.plan.custom_kernels import Suite

#: Characters of a log that an error shows.
_TAIL = 500


def declared_suite(engine: Engine, columns: Sequence[Column], sources: Sequence[Source]) -> Suite:
    """Return the suite with what the files declare in the first environment of the run that can be prepared.

    Where none can, the declarations are read without running them, and the run then says why it has no environment.

    Raises:
        BuildError, NoGpuError: no environment can be prepared, and some declarations are only known by running them.
        ConfigError: a file ended its process, did not end or closed its streams.
        EngineError: the process could not be run.
        StorageError: there is no space for the environment or the files.
    """
    failure: BuildError | NoGpuError | None = None
    for column in columns:
        if column.status != "ready":
            continue
        check_space(*engine.disk_need((column,)), "environments")
        with temporary_files(), scratch_folder("declare") as folder:
            log = folder / "log"
            try:
                environment = engine.prepare(column, log, _say)
            except (BuildError, NoGpuError) as error:
                failure = error
                continue
            return _ask(engine, environment, column, sources, log)
    suite = custom_kernels.suite(sources)
    if failure and suite.unknown:
        raise failure
    return suite


def _ask(engine: Engine, environment: Environment, column: Column, sources: Sequence[Source], log: Path) -> Suite:
    _say(f"{column.id}: reading the declarations of {', '.join(source.name for source in sources)}")
    take(engine.kernel_store, sources)
    hashes = hashes_of(source.hash for source in sources)
    try:
        return custom_kernels.declared_by(
            sources, lambda request: engine.run_python(environment, column, declare_command(request), log, hashes)
        )
    except EngineError as error:
        tail = " ".join(log.read_text(encoding="utf-8", errors="replace")[-_TAIL:].split()) if log.is_file() else ""
        raise type(error)(f"{error}" + (f": {tail}" if tail else ""), error.hint) from error


def take(store: Path, sources: Sequence[Source]) -> None:
    """Copy custom kernel files into a store; raises StorageError."""
    try:
        for source in sources:
            kernel_files.stage(source, store)
    except OSError as error:
        raise StorageError(f"{store} cannot be written ({error.strerror}).", usage_lock.CACHE_HINT) from error


def _say(text: str) -> None:
    print(text, file=sys.stderr)
