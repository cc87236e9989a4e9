"""Where a round runs away from home: this host's interpreter in an environment of its own, or a container."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from bench.portable.errors import NO_GPU, PortableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bench.suite.record import Request

_ANSWER_S = 120.0
_SCRATCH = "/tmp:rw,nosuid,nodev,mode=1777,size=4g"  # noqa: S108 - the container's own tmpfs
#: No registry is asked: the image came with the bundle.
_RUN = ("run", "--rm", "--pull", "never", "--network", "none")
_DRIVE = ("-m", "bench.suite.driver")
#: An engine may take a way without a word and hand nothing on (Podman does).
_OPEN = "import ctypes; ctypes.CDLL('libcuda.so.1')"


class Launcher:
    """Starts the driver of a round; the driver's lines are the standard output of what it yields."""

    @contextmanager
    def start(self, request: Request, log: TextIO) -> Iterator[subprocess.Popen[str]]:
        """The running round; whatever happens inside, nothing of it is left afterwards."""
        raise NotImplementedError

    def _spawn(
        self, command: list[str], log: TextIO, environment: Mapping[str, str], folder: str
    ) -> subprocess.Popen[str]:
        try:
            return subprocess.Popen(
                command, cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=log, text=True, encoding="utf-8", errors="replace", start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise PortableError(f"{command[0]} cannot be started: {error.strerror}.") from error


@dataclass(frozen=True)
class Local(Launcher):
    """An interpreter of this host. ``environment`` is all that a round gets, besides a scratch folder of its own.

    ``inherits`` leaves HOME and TMPDIR as they are: the environment is part of what is measured.
    """

    python: str
    suite: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    inherits: bool = False

    @contextmanager
    def start(self, request: Request, log: TextIO) -> Iterator[subprocess.Popen[str]]:
        """Run the driver in a session of its own; the whole session is ended whatever happens."""
        with tempfile.TemporaryDirectory(prefix="tfrepro-round-") as scratch:
            paths = [str(self.suite), *filter(None, [self.environment.get("PYTHONPATH", "")])]
            own = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
            places = {} if self.inherits else dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), scratch)
            command = [self.python, *_DRIVE, request.to_json()]
            child = self._spawn(command, log, {**self.environment, **places, **own}, scratch)
            try:
                yield child
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.communicate()  # reaps it and closes its pipe


#: What the driver brings; a host may have it in a folder that its library path alone names (some containers do).
_DRIVER = ("libcuda.so.1", "libnvidia-ml.so.1")


def driver_folders() -> list[str]:
    """Folders of the host's library path that hold the driver, as ``bench.engines.venv`` takes them over."""
    folders = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))
    return [one for one in folders if any((Path(one) / name).exists() for name in _DRIVER)]


def bare(python: Path, programs: list[str], extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a round in a bundle's own virtual environment: nothing of the host's reaches it."""
    return {
        "PATH": os.pathsep.join([str(python.parent), *programs, "/usr/bin", "/bin"]),
        "LANG": "C.UTF-8",
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **extra,
    }


@dataclass(frozen=True)
class Container(Launcher):
    """One hardened container per round, through the ``docker`` command line. ``gpu`` are its options for the GPU."""

    cli: str
    image: str
    gpu: tuple[str, ...] = ()

    @contextmanager
    def start(self, request: Request, log: TextIO) -> Iterator[subprocess.Popen[str]]:
        """Run the driver in a container, which is removed whatever happens."""
        name = f"tfrepro-{secrets.token_hex(6)}"
        command = [*self._command(name), "/opt/venv/bin/python", *_DRIVE, request.to_json()]
        child = self._spawn(command, log, os.environ, os.sep)
        try:
            yield child
        finally:
            if child.poll() is None:
                ask([self.cli, "rm", "--force", "--volumes", name])
                child.kill()
            child.communicate()

    def _command(self, name: str) -> list[str]:
        """``docker run`` as the engine of the root runs a container: no network, nothing to write to but /tmp."""
        settings = {
            "HOME": "/tmp",  # noqa: S108 - the container's own tmpfs
            "TMPDIR": "/tmp",  # noqa: S108
            "XDG_CACHE_HOME": "/tmp/cache",  # noqa: S108
            "CUDA_CACHE_PATH": "/tmp/cuda",  # noqa: S108
            "PYTHONUNBUFFERED": "1",
            "LANG": "C.UTF-8",
        }
        words = [self.cli, *_RUN, "--name", name, "--hostname", name, "--read-only"]
        words += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "65534:65534", "--init"]
        words += ["--tmpfs", _SCRATCH, "--shm-size", "1g", "--pids-limit", "16384"]
        for key, value in settings.items():
            words += ["--env", f"{key}={value}"]
        return [*words, *self.gpu, self.image]


def gpu_options(cli: str, image: str, uuid: str) -> tuple[str, ...]:
    """How a container gets this GPU: the first way that the engine here accepts, and that brings the driver.

    Raises PortableError with the engine's own words where it accepts none.
    """
    ways = (
        ("--device", f"nvidia.com/gpu={uuid}"),
        ("--gpus", f"device={uuid}"),
        ("--runtime", "nvidia", "--env", f"NVIDIA_VISIBLE_DEVICES={uuid}"),
    )
    refusals = []
    for way in ways:
        command = [cli, *_RUN, *way, image, "/opt/venv/bin/python", "-c", _OPEN]
        code, words = ask(command)
        if code == 0:
            return way
        refusals.append(f"{' '.join(way)}: {words[-300:]}")
    hint = "Install nvidia-container-toolkit there, or make the bundle with --engine venv."
    raise PortableError(f"Docker gives no container the GPU {uuid}. {'; '.join(refusals)}", hint, NO_GPU)


def ask(command: list[str]) -> tuple[int, str]:
    """Exit code and words of a command."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_ANSWER_S, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, str(error)
    return done.returncode, " ".join((done.stdout + done.stderr).split())
