"""The engine ``venv``: one virtual environment per pair, installed by uv from the same hash-pinned locks.

Environments are stored in the user's cache next to uv's own, so that uv can hard-link files and other checkouts can
reuse them. Before each run every file is verified against its wheel's RECORD. Each round runs in its own session with
a minimal environment. A CUDA pair finds its libraries through search paths, and the driver's on the host.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uv

from bench.engines import build_context, disk_usage, install_errors, network
from bench.engines.base import PROBE_S, Environment, Execution
from bench.engines.build_context import stage, suite_hash
from bench.engines.usage_lock import CACHE_HINT, KERNEL_FILES, UsageLock, cache_folder
from bench.engines.wheelhouse import LOCK_TIMEOUT_S
from bench.errors import BuildError, EngineError
from bench.plan import locks
from bench.portable import confine
from bench.portable.limited_log import LimitedLog
from bench.portable.lock import FileLock
from bench.portable.scratch import scratch_folder
from bench.portable.session import ProcessSession, SilentError, follow, reap, silence_limit_s
from bench.portable.terminate import terminate_session
from bench.suite.kernel_files import STORE_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from bench.plan.column import Column
    from bench.portable.session import Session
    from bench.suite.record import Request

#: The file that marks a completely installed environment.
_COMPLETE = "tfrepro.whole"
#: Seconds that uv may take to answer a question about itself.
_UV_S = 60.0
_DRIVER_LIBRARIES = ("libcuda.so.1", "libnvidia-ml.so.1")


@dataclass(frozen=True, kw_only=True)
class _Installation:
    """Where a column is installed, and the text of its lock."""

    folder: Path
    python: str
    lock: str

    @property
    def site(self) -> str:
        return str(self.folder / "lib" / f"python{self.python}" / "site-packages")


class VenvEngine:
    """Runs columns in virtual environments on this host."""

    name = "venv"

    def __init__(self, root: Path, cache: Path | None = None) -> None:
        self._root = root
        self._cache = cache or cache_folder()
        self.kernel_store = self._cache / KERNEL_FILES
        self._installations: dict[str, _Installation] = {}
        self._uv = uv.find_uv_bin()  # looked up here because the first call is not thread-safe
        self._usage = UsageLock(self._cache)
        self._guard = threading.Lock()
        self._sessions: set[subprocess.Popen[str]] = set()
        self._halted = False

    def host(self) -> Mapping[str, str]:
        """Return nothing: processes run on this host, with the cores of this one."""
        return {}

    def describe(self) -> Mapping[str, str]:
        """Return the version of uv, and what the processes of a round cannot do on this host."""
        done = subprocess.run([self._uv, "--version"], capture_output=True, text=True, check=True, timeout=_UV_S)
        version = done.stdout.strip().removeprefix("uv ").split(" ")[0]
        return {"uv": version, "restrictions": confine.restrictions()}

    def disk_need(self, columns: tuple[Column, ...]) -> tuple[Path, int]:
        """Return the folder of the environments, and the bytes that the missing ones need there.

        On the file system of uv's cache, environments share files with it by hard links; elsewhere each has copies.
        """
        missing = [column.pair for column in columns if not self.cached(column)]
        return self._cache, disk_usage.need(missing, shared=not missing or self._linked())

    def _linked(self) -> bool:
        """Return whether environments are on the file system of uv's cache."""
        command = [self._uv, "--no-progress", "--color", "never", "cache", "dir"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_UV_S)
        try:
            return _device(Path(done.stdout.strip())) == _device(self._cache)
        except OSError:
            return False

    def cached(self, column: Column) -> bool:
        """Return whether the lock of this column is already installed."""
        try:
            return _complete(self.place(column))
        except OSError:  # the cache cannot be read, which prepare reports
            return False

    def prepare(self, column: Column, log: Path, say: Callable[[str], None]) -> Environment:
        """Install the lock of a column, or verify an existing installation; see ``Engine.prepare``."""
        start = time.perf_counter()
        folder = self.place(column)
        self._usage.acquire()
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _one_at_a_time(folder.with_name(folder.name + ".lock")):
                python, problem = self._inspect(column, folder) if _complete(folder) else ("", "it is not installed")
                reused = not problem
                if problem:
                    python = self._install(column, folder, log, say)
        except OSError as error:
            raise BuildError(f"{column.id}: {folder} cannot be written ({error.strerror}).", CACHE_HINT) from error
        self._installations[column.id] = _Installation(
            folder=folder, python=column.pair.python, lock=column.lock.read_text(encoding="utf-8")
        )
        return Environment(
            column=column.id,
            identity=f"{column.lock_hash()}/{python}",
            reused=reused,
            seconds=time.perf_counter() - start,
            details={"interpreter": python, "lock_hash": column.lock_hash()},
        )

    def execute(
        self, environment: Environment, request: Request, on_line: Callable[[str], None], log: Path
    ) -> Execution:
        """Run the driver in a new session, which is killed as a whole at the end, whatever happens."""
        arguments = ("-m", "bench.suite.driver", request.to_json())
        gpu = str(request.gpu.get("uuid", "")) if request.device == "gpu" else None
        try:
            return Execution(
                exit_code=self._session(environment.column, arguments, gpu, on_line, log, silence_limit_s(request))
            )
        except SilentError:
            return Execution(exit_code=-signal.SIGKILL, silent=True)

    def run_python(
        self,
        environment: Environment,
        column: Column,
        arguments: tuple[str, ...],
        log: Path,
        hashes: Iterable[str] = (),  # noqa: ARG002 - the whole store is there
    ) -> str:
        """Run a command that prints one line, and return it; see ``Engine.run_python``."""
        lines: list[str] = []
        with suppress(SilentError):
            self._session(environment.column, arguments, column.gpu, lines.append, log, PROBE_S)
        if not lines:
            raise EngineError(f"{column.id}: {arguments[1]} printed nothing.", f"See the end of {log}.")
        return lines[-1].strip()

    def halt(self) -> None:
        """Kill every session of this engine, and start no more."""
        with self._guard:
            self._halted = True
            sessions = list(self._sessions)
        for child in sessions:
            terminate_session(child)

    @contextmanager
    def open_session(self, environment: Environment, request: Request, log: Path) -> Iterator[Session]:
        """Start a timing worker in a session of its own; see ``Engine.open_session``."""
        arguments = ("-m", "bench.suite.timing_start", request.to_json())
        gpu = str(request.gpu.get("uuid", "")) if request.device == "gpu" else None
        with self._process(environment.column, arguments, gpu, log, stdin=subprocess.PIPE) as child:
            yield _Session(child, environment.column, lambda: self._halted)

    def _session(
        self,
        column: str,
        arguments: tuple[str, ...],
        gpu: str | None,
        on_line: Callable[[str], None],
        log: Path,
        limit_s: float,
    ) -> int:
        """Run Python in a column to its end and return its exit code; ``gpu`` as in ``_device_environment``.

        Raises SilentError where it writes no line for ``limit_s`` seconds.
        """
        with self._process(column, arguments, gpu, log) as child:
            code = follow(child, limit_s, on_line)
        if self._halted:
            raise EngineError(f"{column}: the run was interrupted")
        return code

    @contextmanager
    def _process(
        self, column: str, arguments: tuple[str, ...], gpu: str | None, log: Path, stdin: int = subprocess.DEVNULL
    ) -> Iterator[subprocess.Popen[str]]:
        """Yield Python running in a column, in a session that is killed as a whole on exit."""
        installation, suite = self._installations[column], self._staged_suite()
        with scratch_folder("round") as scratch, LimitedLog(log) as errors:
            command = confine.command(str(installation.folder / "bin" / "python"), scratch, arguments)
            environment = _minimal_environment(installation, suite, str(scratch)) | _device_environment(gpu)
            environment[STORE_VARIABLE] = str(self.kernel_store)
            with self._guard:
                if self._halted:
                    raise EngineError(f"{column}: the run was interrupted")
                try:
                    child = subprocess.Popen(
                        command, cwd=scratch, env=environment, stdin=stdin, stdout=subprocess.PIPE,
                        stderr=errors.fileno(), text=True, encoding="utf-8", start_new_session=True,
                    )  # fmt: skip
                except OSError as error:
                    hint = f"Remove {installation.folder} and run again; it will be created again."
                    raise EngineError(f"{column}: its Python cannot be started ({error}).", hint) from error
                self._sessions.add(child)
            try:
                yield child
            finally:
                with self._guard:
                    self._sessions.discard(child)
                terminate_session(child)
                reap(child)

    def sweep(self) -> int:
        """Return 0: no session outlives its round."""
        return 0

    def place(self, column: Column) -> Path:
        """Return the folder of a column's environment, whether it exists or not."""
        digest = hashlib.sha256(column.lock.read_bytes()).hexdigest()
        return self._cache / "venvs" / f"{column.pair.stem}-{digest[:16]}"

    def _staged_suite(self) -> Path:
        """Return a copy of the suite named by its hash, so that an edit during a run cannot mix two suites."""
        target = self._cache / "suites" / suite_hash(self._root)
        if not target.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
            stage(self._root, fresh)
            try:
                fresh.rename(target)
            except OSError:
                shutil.rmtree(fresh)  # another run has just created it
        return target

    def _install(self, column: Column, folder: Path, log: Path, say: Callable[[str], None]) -> str:
        """Install the environment from scratch and return its Python version."""
        python = str(folder / "bin" / "python")
        steps = (
            (
                f"venv with Python {column.pair.python}",
                ["venv", "--clear", "--python", column.pair.python, str(folder)],
            ),
            (
                f"install {column.lock.name}",
                ["pip", "sync", "--require-hashes", "--compile-bytecode", "--python", python, str(column.lock)],
            ),
        )
        redact = network.Redactor(network.settings(os.environ))
        with log.open("a", encoding="utf-8") as stream:
            for title, arguments in steps:
                say(title)
                stream.write("+ uv " + " ".join(arguments) + "\n")
                stream.flush()
                command = [self._uv, "--no-progress", "--color", "never", *arguments]
                code, printed = install_errors.run(f"{column.id}: its installation", command, _index_environment())
                output = redact(printed)
                stream.write(output)
                if code != 0:
                    raise build_error(column, output, log)
        version, problem = self._inspect(column, folder)
        if problem:
            hint = "The cache of uv contains a modified file: clear it with 'uv cache clean', then run again."
            raise BuildError(f"{column.id}: the environment does not match {column.lock.name}: {problem}", hint)
        (folder / _COMPLETE).touch()
        return version

    def _inspect(self, column: Column, folder: Path) -> tuple[str, str]:
        """Return the environment's Python version and how it differs from its lock; "" if every file matches."""
        command = [str(folder / "bin" / "python"), "-m", "bench.suite.verify_install"]
        installation = _Installation(folder=folder, python=column.pair.python, lock="")
        environment = _minimal_environment(installation, self._staged_suite(), str(folder))
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, check=False,
                timeout=install_errors.VERIFY_LIMIT_S,
            )  # fmt: skip
            state = json.loads(done.stdout)
        except subprocess.TimeoutExpired:
            raise install_errors.too_slow(
                f"{column.id}: verifying its installation", install_errors.VERIFY_LIMIT_S
            ) from None
        except (OSError, ValueError) as error:
            return "", f"its Python cannot be run ({error})"
        pinned = locks.pins(column.lock)
        if state["distributions"] != pinned:
            differing = sorted(set(state["distributions"].items()) ^ set(pinned.items()))
            return state["python"], f"its distributions differ, for instance {' '.join(differing[0])}"
        return state["python"], "; ".join(state["problems"])


def _complete(folder: Path) -> bool:
    """Return whether an environment was installed completely."""
    return (folder / _COMPLETE).is_file()


def build_error(column: Column, output: str, log: Path) -> BuildError:
    """Turn the output of uv into an error with one sentence; a wrong hash names package and lock."""
    message, hint = install_errors.explain(output.splitlines(), column.lock.name, log, install_errors.VENV)
    return BuildError(f"{column.id}: {message}", hint)


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    with FileLock(path, timeout_s=LOCK_TIMEOUT_S):
        yield


def _index_environment() -> dict[str, str]:
    """Return the environment of this host, with pip's index for uv if uv has none of its own."""
    environment = dict(os.environ)
    if "PIP_INDEX_URL" in environment and not {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & set(environment):
        environment["UV_DEFAULT_INDEX"] = environment["PIP_INDEX_URL"]
    return environment


def _minimal_environment(installation: _Installation, suite: Path, scratch: str) -> dict[str, str]:
    """Return an environment without the variables of this host, because a stray TF_ variable could change results."""
    libraries = build_context.library_path(installation.site, installation.lock)
    compiler = build_context.compiler_path(installation.site, installation.lock)
    flags = build_context.xla_flags(installation.site, installation.lock)
    return {
        "PATH": ":".join(filter(None, (str(installation.folder / "bin"), compiler, "/usr/bin:/bin"))),
        "HOME": scratch,
        "TMPDIR": scratch,
        "XDG_CACHE_HOME": scratch,
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(suite),
        "PYTHONNOUSERSITE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **({"XLA_FLAGS": flags} if flags else {}),
        **({"LD_LIBRARY_PATH": ":".join([libraries, *_driver_folders()])} if libraries else {}),
        **({"CUDA_CACHE_PATH": f"{scratch}/cuda"} if libraries else {}),
    }


def _driver_folders() -> list[str]:
    """Return the folders of LD_LIBRARY_PATH that contain the driver; some containers provide it only there.

    They come last in a column's path, so that nothing in them precedes the pinned libraries.
    """
    folders = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))
    return [folder for folder in folders if any((Path(folder) / name).exists() for name in _DRIVER_LIBRARIES)]


def _device_environment(gpu: str | None) -> dict[str, str]:
    """Return the variable that selects a GPU by UUID (CUDA and NVML number GPUs differently).

    "" hides all GPUs; None, for a CPU column, sets nothing.
    """
    return {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}


def _device(folder: Path) -> int:
    """Return the device of a folder, or of its nearest existing parent; raises OSError."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return existing.stat().st_dev


class _Session(ProcessSession):
    """A session that tells a process which ``halt`` killed from one that died."""

    def __init__(self, child: subprocess.Popen[str], column: str, halted: Callable[[], bool]) -> None:
        super().__init__(child)
        self._column = column
        self._halted = halted

    def read(self, timeout_s: float) -> str | None:
        """Return the next line; see ``bench.portable.session.Session.read``."""
        text = super().read(timeout_s)
        if text is None and self._halted():
            raise EngineError(f"{self._column}: the run was interrupted")
        return text
