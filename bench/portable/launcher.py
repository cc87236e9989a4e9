"""Start rounds without ``bench.engines``: in an interpreter of this host, or in a container."""

from __future__ import annotations

import os
import secrets
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.portable import confine
from bench.portable.errors import NO_GPU, PortableError
from bench.portable.scratch import scratch_folder
from bench.portable.session import ProcessSession, reap
from bench.portable.terminate import terminate_session
from bench.suite.kernel_files import STORE_VARIABLE, protect
from bench.suite.private_tmp import IN_CONTAINER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from bench.portable.limited_log import LimitedLog
    from bench.portable.session import Session
    from bench.suite.record import Request

_COMMAND_TIMEOUT_S = 120.0
_SCRATCH = "/tmp:rw,nosuid,nodev,mode=1777,size=4g"  # noqa: S108 - the container's own tmpfs
#: Nothing is pulled from a registry: the image came with the bundle.
_RUN = ("run", "--rm", "--pull", "never", "--network", "none")
#: Where a container finds custom kernel files.
_KERNEL_FILES = "/opt/kernel-files"
_DRIVER_MODULE = ("-m", "bench.suite.driver")
_TIMING_MODULE = ("-m", "bench.suite.timing_start")
#: Checks that a container has the driver: an engine may accept an option and ignore it (Podman does).
_OPEN_DRIVER = "import ctypes; ctypes.CDLL('libcuda.so.1')"


class Launcher:
    """Starts the driver of a round, which writes the record to its standard output, or the sides of a pair."""

    @contextmanager
    def start(self, request: Request, log: LimitedLog) -> Iterator[subprocess.Popen[str]]:
        """Yield the running driver; on exit its processes are killed and its scratch files removed."""
        with self._process((*_DRIVER_MODULE, request.to_json()), log, subprocess.DEVNULL) as child:
            yield child

    @contextmanager
    def open_session(self, request: Request, log: LimitedLog) -> Iterator[Session]:
        """Yield a session with a timing worker; on exit its processes are killed and its scratch files removed."""
        with self._process((*_TIMING_MODULE, request.to_json()), log, subprocess.PIPE) as child:
            yield ProcessSession(child)

    def _process(
        self, arguments: tuple[str, ...], log: LimitedLog, stdin: int
    ) -> AbstractContextManager[subprocess.Popen[str]]:
        """Return a context with Python running in the environment, which is killed on exit."""
        raise NotImplementedError

    def _spawn(
        self, command: list[str], log: LimitedLog, environment: Mapping[str, str], folder: str, stdin: int
    ) -> subprocess.Popen[str]:
        try:
            return subprocess.Popen(
                command, cwd=folder, env=dict(environment), stdin=stdin, stdout=subprocess.PIPE,
                stderr=log.fileno(), text=True, encoding="utf-8", errors="replace", start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise PortableError(f"{command[0]} cannot be started: {error.strerror}.") from error


@dataclass(frozen=True)
class Local(Launcher):
    """An interpreter of this host. A round gets ``environment`` and a scratch folder of its own, and is confined.

    ``inherits`` leaves HOME and TMPDIR as they are, where the environment is part of what is measured, and everything
    allowed that is allowed to this process.
    """

    python: str
    suite: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    inherits: bool = False

    @contextmanager
    def _process(self, arguments: tuple[str, ...], log: LimitedLog, stdin: int) -> Iterator[subprocess.Popen[str]]:
        """Run Python in a session of its own; the whole session is killed on exit."""
        with scratch_folder("round") as scratch:
            paths = [str(self.suite), *filter(None, [self.environment.get("PYTHONPATH", "")])]
            own = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
            places = {} if self.inherits else dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(scratch))
            plain = [self.python, *arguments]
            command = plain if self.inherits else confine.command(self.python, scratch, arguments)
            inherited = {name: value for name, value in self.environment.items() if name != IN_CONTAINER}
            child = self._spawn(command, log, {**inherited, **places, **own}, str(scratch), stdin)
            try:
                yield child
            finally:
                terminate_session(child)
                reap(child)


#: Libraries of the NVIDIA driver; in some containers only LD_LIBRARY_PATH names their folder.
_DRIVER = ("libcuda.so.1", "libnvidia-ml.so.1")


def driver_folders() -> list[str]:
    """Return the folders of LD_LIBRARY_PATH with the NVIDIA driver, by the rule of ``bench.engines.venv``."""
    folders = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))
    return [folder for folder in folders if any((Path(folder) / name).exists() for name in _DRIVER)]


def venv_environment(python: Path, programs: list[str], extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a round in a bundle's virtual environment, with nothing of the host's environment."""
    return {
        "PATH": os.pathsep.join([str(python.parent), *programs, "/usr/bin", "/bin"]),
        "LANG": "C.UTF-8",
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **extra,
    }


@dataclass(frozen=True)
class Store:
    """The folder with the custom kernel files of a bundle, and the hashes of the sources in it."""

    folder: Path
    hashes: tuple[str, ...]

    def options(self) -> list[str]:
        """Return the options of ``docker run`` that mount each source read-only."""
        words = ["--env", f"{STORE_VARIABLE}={_KERNEL_FILES}"]
        for name in self.hashes:
            protect(self.folder / name, 0o755)  # the container's user must be able to read it
            words += ["--volume", f"{self.folder / name}:{_KERNEL_FILES}/{name}:ro"]
        return words


@dataclass(frozen=True)
class Container(Launcher):
    """One hardened container per round, through the ``docker`` command line. ``gpu`` has the options for the GPU."""

    cli: str
    image: str
    gpu: tuple[str, ...] = ()
    files: Store | None = None

    @contextmanager
    def _process(self, arguments: tuple[str, ...], log: LimitedLog, stdin: int) -> Iterator[subprocess.Popen[str]]:
        """Run Python in a container, which is removed on exit."""
        name = f"tfrepro-{secrets.token_hex(6)}"
        interactive = ["--interactive"] if stdin == subprocess.PIPE else []
        command = [*self._command(name, *interactive), "/opt/venv/bin/python", *arguments]
        child = self._spawn(command, log, os.environ, os.sep, stdin)
        try:
            yield child
        finally:
            if child.poll() is None:
                command_output([self.cli, "rm", "--force", "--volumes", name])
                child.kill()
            reap(child)

    def _command(self, name: str, *options: str) -> list[str]:
        """Return the ``docker run`` command, as hardened as the engine's: no network, and only /tmp can be written."""
        settings = {
            "HOME": "/tmp",  # noqa: S108 - the container's own tmpfs
            "TMPDIR": "/tmp",  # noqa: S108
            "XDG_CACHE_HOME": "/tmp/cache",  # noqa: S108
            "CUDA_CACHE_PATH": "/tmp/cuda",  # noqa: S108
            IN_CONTAINER: "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",  # AutoGraph would leave __pycache__ in /tmp
            "LANG": "C.UTF-8",
        }
        words = [self.cli, *_RUN, *options, "--name", name, "--hostname", name, "--read-only"]
        words += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "65534:65534", "--init"]
        words += ["--tmpfs", _SCRATCH, "--shm-size", "1g", "--pids-limit", "16384"]
        for key, value in settings.items():
            words += ["--env", f"{key}={value}"]
        words += self.files.options() if self.files else []
        return [*words, *self.gpu, self.image]


def gpu_options(cli: str, image: str, uuid: str) -> tuple[str, ...]:
    """Return the options that give a container this GPU: the first that this engine accepts and that bring the driver.

    Raises PortableError with the engine's messages where none works.
    """
    candidates = (
        ("--device", f"nvidia.com/gpu={uuid}"),
        ("--gpus", f"device={uuid}"),
        ("--runtime", "nvidia", "--env", f"NVIDIA_VISIBLE_DEVICES={uuid}"),
    )
    refusals = []
    for option in candidates:
        command = [cli, *_RUN, *option, image, "/opt/venv/bin/python", "-c", _OPEN_DRIVER]
        code, output = command_output(command)
        if code == 0:
            return option
        refusals.append(f"{' '.join(option)}: {output[-300:]}")
    hint = "Install nvidia-container-toolkit on this host, or make the bundle with --engine venv."
    raise PortableError(f"Docker cannot give a container the GPU {uuid}. {'; '.join(refusals)}", hint, NO_GPU)


def command_output(command: list[str]) -> tuple[int, str]:
    """Run a command and return its exit code and output on one line; 127 where it cannot be run or does not end."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_COMMAND_TIMEOUT_S, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, str(error)
    return done.returncode, " ".join((done.stdout + done.stderr).split())
