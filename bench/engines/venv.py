"""Engine ``venv``: one virtual environment per pair, made by uv from the same hash locks.

Environments live in the user's cache beside uv's own, so files are hard-linked and a second checkout
finds them ready. Before each run every file is held against its wheel's record. Rounds run in a session
of their own with a bare environment. A CUDA pair finds its libraries by search paths, the driver's on the host.
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
from bench.engines.base import Environment, Execution, probe_command
from bench.engines.build_context import stage, suite_hash
from bench.engines.usage_lock import Hold, cache_folder
from bench.engines.wheelhouse import LOCK_TIMEOUT_S
from bench.errors import BuildError, EngineError
from bench.plan import locks
from bench.portable.lock import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bench.plan.column import Column
    from bench.suite.record import Request

_READY = "tfrepro.whole"
_DRIVER = ("libcuda.so.1", "libnvidia-ml.so.1")


@dataclass(frozen=True, kw_only=True)
class _Home:
    """Where a column is installed, and the text of its lock."""

    folder: Path
    python: str
    lock: str

    @property
    def site(self) -> str:
        return str(self.folder / "lib" / f"python{self.python}" / "site-packages")


class VenvEngine:
    """Runs columns in virtual environments of this host."""

    name = "venv"

    def __init__(self, root: Path, cache: Path | None = None) -> None:
        self._root = root
        self._cache = cache or cache_folder()
        self._homes: dict[str, _Home] = {}
        self._uv = uv.find_uv_bin()  # here, for its first call is not safe in two threads
        self._hold = Hold(self._cache)
        self._guard = threading.Lock()
        self._sessions: set[subprocess.Popen[str]] = set()
        self._halted = False

    def describe(self) -> Mapping[str, str]:
        """Version of uv."""
        done = subprocess.run([self._uv, "--version"], capture_output=True, text=True, check=True)
        return {"uv": done.stdout.strip().removeprefix("uv ").split(" ")[0]}

    def disk_need(self, columns: tuple[Column, ...]) -> tuple[Path, int]:
        """Folder of the environments, and bytes that the missing ones need there.

        On the disk of uv's cache, files lie once: environments are made of links to it. Elsewhere each has its own.
        """
        missing = [column.pair for column in columns if not self.cached(column)]
        return self._cache, disk_usage.need(missing, shared=not missing or self._linked())

    def _linked(self) -> bool:
        """Whether environments lie on the disk of uv's cache."""
        command = [self._uv, "--no-progress", "--color", "never", "cache", "dir"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        try:
            return _device(Path(done.stdout.strip())) == _device(self._cache)
        except OSError:
            return False

    def cached(self, column: Column) -> bool:
        """Whether this lock is installed already."""
        try:
            return _whole(self.place(column))
        except OSError:  # a cache folder that may not be read; prepare says so in its own words
            return False

    def prepare(self, column: Column, log: Path, say: Callable[[str], None]) -> Environment:
        """Install the lock of a column, hashes required; raises BuildError with the reason in one sentence."""
        start = time.perf_counter()
        folder = self.place(column)
        self._hold.take()
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _one_at_a_time(folder.with_name(folder.name + ".lock")):
                python, problem = self._inspect(column, folder) if _whole(folder) else ("", "it is not there")
                reused = not problem
                if problem:
                    python = self._install(column, folder, log, say)
        except OSError as error:
            raise BuildError(f"{column.id}: {folder} cannot be written ({error.strerror}).", _CACHE_HINT) from error
        self._homes[column.id] = _Home(
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
        """Run the driver in a session of its own; the whole session is ended whatever happens."""
        arguments = ("-m", "bench.suite.driver", request.to_json())
        gpu = str(request.gpu.get("uuid", "")) if request.device == "gpu" else None
        return Execution(exit_code=self._session(environment.column, arguments, gpu, on_line, log))

    def examine(self, environment: Environment, column: Column, log: Path) -> str:
        """Ask the column what it can load; see the protocol."""
        lines: list[str] = []
        self._session(environment.column, probe_command(column), column.gpu, lines.append, log)
        if not lines:
            raise EngineError(f"{column.id}: the probe inside said nothing", f"its last words are in {log}")
        return lines[-1].strip()

    def halt(self) -> None:
        """End every session this engine has started, and start none any more."""
        with self._guard:
            self._halted = True
            for child in self._sessions:
                _kill(child)

    def _session(
        self, column: str, arguments: tuple[str, ...], gpu: str | None, on_line: Callable[[str], None], log: Path
    ) -> int:
        """Run Python in a column to its end; its exit code. ``gpu`` is a UUID, "" hides them all, None is for the CPU."""
        home, suite = self._homes[column], self._staged_suite()
        with tempfile.TemporaryDirectory(prefix="tfrepro-round-") as scratch, log.open("ab") as errors:
            command = [str(home.folder / "bin" / "python"), *arguments]
            bare = _bare_environment(home, suite, scratch) | _device_environment(gpu)
            with self._guard:
                if self._halted:
                    raise EngineError(f"{column}: this engine was halted")
                try:
                    child = subprocess.Popen(
                        command, cwd=scratch, env=bare, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                        stderr=errors, text=True, encoding="utf-8", start_new_session=True,
                    )  # fmt: skip
                except OSError as error:
                    hint = f"Remove {home.folder} and run again: it will be made anew."
                    raise EngineError(f"{column}: its Python cannot be started ({error}).", hint) from error
                self._sessions.add(child)
            try:
                for text in child.stdout or ():
                    on_line(text)
                code = child.wait()
            finally:
                with self._guard:
                    self._sessions.discard(child)
                _end_session(child)
        if self._halted:
            raise EngineError(f"{column}: this engine was halted")
        return code

    def sweep(self) -> int:
        """Nothing outlives a round here: sessions are ended with it."""
        return 0

    def place(self, column: Column) -> Path:
        """The folder of a column's environment, there or not."""
        digest = hashlib.sha256(column.lock.read_bytes()).hexdigest()
        return self._cache / "venvs" / f"{column.pair.stem}-{digest[:16]}"

    def _staged_suite(self) -> Path:
        """A copy of the suite under its hash: an edit during a run cannot mix two suites."""
        target = self._cache / "suites" / suite_hash(self._root)
        if not target.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
            stage(self._root, fresh)
            try:
                fresh.rename(target)
            except OSError:
                shutil.rmtree(fresh)  # another run was quicker
        return target

    def _install(self, column: Column, folder: Path, log: Path, say: Callable[[str], None]) -> str:
        """Make the environment from nothing; returns its Python's version."""
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
                done = subprocess.run(
                    [self._uv, "--no-progress", "--color", "never", *arguments],
                    stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=_index_environment(),
                )  # fmt: skip
                told = redact(done.stdout + done.stderr)
                stream.write(told)
                if done.returncode != 0:
                    raise build_error(column, told, log)
        version, problem = self._inspect(column, folder)
        if problem:
            hint = "uv's cache holds an edited file: remove it with 'uv cache clean', then run again"
            raise BuildError(f"{column.id}: the environment is not what {column.lock.name} pins: {problem}", hint)
        (folder / _READY).touch()
        return version

    def _inspect(self, column: Column, folder: Path) -> tuple[str, str]:
        """Python's version in the environment, and why it is not what its lock pins ("" where every file is)."""
        command = [str(folder / "bin" / "python"), "-m", "bench.suite.verify_install"]
        home = _Home(folder=folder, python=column.pair.python, lock="")
        bare = _bare_environment(home, self._staged_suite(), str(folder))
        try:
            done = subprocess.run(command, cwd=folder, env=bare, capture_output=True, text=True, check=False)
            found = json.loads(done.stdout)
        except (OSError, ValueError) as error:
            return "", f"its Python does not answer ({error})"
        pinned = locks.pins(column.lock)
        if found["distributions"] != pinned:
            other = sorted(set(found["distributions"].items()) ^ set(pinned.items()))
            return found["python"], f"its distributions differ, {' '.join(other[0])} among them"
        return found["python"], "; ".join(found["problems"])


_CACHE_HINT = "Name a folder you can write with TFREPRO_CACHE."


def _whole(folder: Path) -> bool:
    """Whether an environment was once installed to its end."""
    return (folder / _READY).is_file()


def build_error(column: Column, output: str, log: Path) -> BuildError:
    """The failure of uv in one sentence; a wrong hash names package and lock."""
    message, hint = install_errors.explain(output.splitlines(), column.lock.name, log, install_errors.VENV)
    return BuildError(f"{column.id}: {message}", hint)


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    with FileLock(path, timeout_s=LOCK_TIMEOUT_S):
        yield


def _index_environment() -> dict[str, str]:
    """The host's environment, pip's index setting included where uv has none of its own."""
    environment = dict(os.environ)
    if "PIP_INDEX_URL" in environment and not {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & set(environment):
        environment["UV_DEFAULT_INDEX"] = environment["PIP_INDEX_URL"]
    return environment


def _bare_environment(home: _Home, suite: Path, scratch: str) -> dict[str, str]:
    """Nothing of the host's environment reaches a column: a stray TF_ variable would change its bits."""
    libraries = build_context.library_path(home.site, home.lock)
    compiler = build_context.compiler_path(home.site, home.lock)
    flags = build_context.xla_flags(home.site, home.lock)
    return {
        "PATH": ":".join(filter(None, (str(home.folder / "bin"), compiler, "/usr/bin:/bin"))),
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
    """Folders of the host's library path that hold the driver: the system finds it there only, in some containers.

    They come last, so that nothing else in them stands before the pinned libraries.
    """
    folders = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))
    return [folder for folder in folders if any((Path(folder) / name).exists() for name in _DRIVER)]


def _device_environment(gpu: str | None) -> dict[str, str]:
    """By UUID, for CUDA and the driver's tools number GPUs differently; "" hides them all."""
    return {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}


def _device(folder: Path) -> int:
    """The file system of a folder, or of its nearest parent that exists; raises OSError."""
    there = next(one for one in (folder, *folder.parents) if one.exists())
    return there.stat().st_dev


def _kill(child: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _end_session(child: subprocess.Popen[str]) -> None:
    _kill(child)
    child.communicate()  # reaps it and closes its pipe
