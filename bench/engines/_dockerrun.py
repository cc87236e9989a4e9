"""One container from creation to removal: its options, its output, how it ended, and which process owns it."""

from __future__ import annotations

import math
import os
import queue
import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import psutil
from docker.errors import APIError, NotFound
from docker.types import LogConfig, Mount

from bench.engines._dockerd import TROUBLE, reason_of
from bench.errors import EngineError
from bench.portable.limited_log import LimitedLog
from bench.portable.session import SilentError
from bench.suite.kernel_files import STORE_VARIABLE
from bench.suite.private_tmp import IN_CONTAINER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from docker.client import DockerClient
    from docker.models.containers import Container
    from docker.models.images import Image

    #: Bytes of stdout and of stderr, as docker-py's demultiplexer yields them.
    Chunk = tuple[bytes | None, bytes | None]

PROJECT = "org.tfrepro.project"
RUN = "org.tfrepro.run"
COLUMN = "org.tfrepro.column"
HOST = "org.tfrepro.host"
OWNER = "org.tfrepro.owner"

#: Variables of an image that its containers keep; all others of the image are removed.
_KEPT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "XLA_FLAGS")
_FIXED = {
    "HOME": "/tmp",  # noqa: S108  # the container's own tmpfs, the only place it can write to
    "TMPDIR": "/tmp",  # noqa: S108
    "XDG_CACHE_HOME": "/tmp/cache",  # noqa: S108
    "CUDA_CACHE_PATH": "/tmp/cuda",  # noqa: S108
    IN_CONTAINER: "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",  # AutoGraph would leave __pycache__ in /tmp
    "LANG": "C.UTF-8",
}
#: Where a container finds custom kernel files.
_KERNEL_FILES = "/opt/kernel-files"
_GIB = 1024**3
#: Seconds without output after which the state of the container is queried.
QUIET_S = 5.0
#: Attempts before a daemon, or the output of an ended container, is given up.
ATTEMPTS = 2
#: Start times that differ by less than this, in seconds, belong to the same process.
_SAME_START_S = 2.0


class LineSplitter:
    """Splits a byte stream into lines, wherever its chunks end."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[str]:
        """Return the lines that this chunk completes, each with its newline."""
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        return [(line + b"\n").decode(errors="replace") for line in whole]

    def rest(self) -> str:
        """Return what follows the last newline."""
        rest, self._rest = self._rest, b""
        return rest.decode(errors="replace")


@cache
def this_process() -> str:
    """Return id and start time of this process, for the owner label; an id alone may be reused by the system."""
    return f"{os.getpid()}:{_started(os.getpid()) or 0:.2f}"


def this_host() -> str:
    """Return the name of the host on which the process ids of owner labels are valid."""
    return socket.gethostname()


def owner_labels() -> dict[str, str]:
    """Return the labels that say which process of which host a container belongs to."""
    return {PROJECT: "tfrepro", HOST: this_host(), OWNER: this_process()}


def owner_of(container: Mapping[str, Any]) -> str:
    """Return the owner label of a container as the daemon lists it; "" if it has none."""
    return str((container.get("Labels") or {}).get(OWNER, ""))


def owner_lives(owner: str) -> bool:
    """Return whether the process that an owner label names still runs on this host; True if in doubt."""
    number, _, start = owner.partition(":")
    if not number.isdecimal():
        return True
    if not psutil.pid_exists(int(number)):
        return False
    started = _started(int(number))
    try:
        return not started or not float(start) or abs(float(start) - started) < _SAME_START_S
    except ValueError:
        return True


def _started(pid: int) -> float | None:
    """Return when a process started, in seconds since boot; None if the system does not tell.

    Seconds since boot, because a time of day would shift whenever the clock of the host is set.
    """
    try:
        return psutil.Process(pid).create_time() - psutil.boot_time()
    except (psutil.Error, OSError):
        return None


def containers_here(client: DockerClient) -> list[dict[str, Any]]:
    """Return the daemon's entries for containers that this project started from this host, ended ones too."""
    labels = [f"{PROJECT}=tfrepro", f"{HOST}={this_host()}"]
    containers: list[dict[str, Any]] = client.api.containers(all=True, filters={"label": labels})
    return containers


def environment_of(image: Image, more: Mapping[str, str]) -> list[str]:
    """Return the environment of a container as Docker expects it: the allow-list and ``more``.

    An entry that is a name without a value removes a variable of the image.
    """
    entries = image.attrs["Config"].get("Env") or []
    from_image = dict(entry.partition("=")[::2] for entry in entries)
    wanted = {name: from_image[name] for name in _KEPT if from_image.get(name)} | _FIXED | dict(more)
    removed = (name for name in from_image if name not in wanted)
    return [*removed, *(f"{name}={value}" for name, value in wanted.items())]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One container to run: everything that differs from round to round.

    ``interactive`` keeps its standard input open until the first client that attached to it goes away. ``memory`` is
    its limit in bytes, ``cpus`` the cores that it may use, "" for all. ``options`` and ``environment`` are what passing
    a GPU into it requires. ``kernel_files`` are the folders of this host that it gets read-only, each under its name.
    """

    image: Image
    command: tuple[str, ...]
    name: str
    labels: Mapping[str, str]
    memory: int
    cpus: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    interactive: bool = False
    kernel_files: tuple[Path, ...] = ()

    def mounts(self) -> list[Mount]:
        """Return the bind mounts of the custom kernel files."""
        return [
            Mount(f"{_KERNEL_FILES}/{folder.name}", str(folder), type="bind", read_only=True)
            for folder in self.kernel_files
        ]


def create(client: DockerClient, job: Job) -> Container:
    """Create a hardened container without starting it."""
    return client.containers.create(
        job.image,
        list(job.command),
        name=job.name,
        labels={**job.labels},
        environment=environment_of(job.image, {**job.environment, STORE_VARIABLE: _KERNEL_FILES}),
        mounts=job.mounts(),
        hostname=job.name,  # records identify their container by it
        network_mode="none",
        read_only=True,
        tmpfs={"/tmp": f"rw,nosuid,nodev,mode=1777,size={job.memory // 4}"},  # noqa: S108
        shm_size=min(_GIB, job.memory // 4),
        user="65534:65534",
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        init=True,
        mem_limit=job.memory,
        memswap_limit=job.memory,  # swapping would be measured as slowness
        cpuset_cpus=job.cpus or None,
        pids_limit=16384,
        log_config=LogConfig(type="none", config={}),  # the stream is read live, so a log would be a second copy
        use_config_proxy=False,  # docker-py would add the proxies of the user's config.json
        working_dir="/opt/tfrepro",
        stdin_open=job.interactive,
        **job.options,
    )


def run(
    client: DockerClient,
    job: Job,
    on_line: Callable[[str], None],
    log: Path,
    limit_s: float,
    silence_s: float = math.inf,
) -> tuple[int, bool]:
    """Run a container to its end and remove it; returns the exit code and whether it was killed for memory.

    It is removed by name, so that even an interrupt during ``create`` leaves nothing behind.

    Raises:
        EngineError: it vanished, exceeded ``limit_s`` seconds, or the daemon stopped answering.
        SilentError: it wrote no line for ``silence_s`` seconds.
    """
    try:
        container = create(client, job)
        # Attach before the start, so that no line is lost.
        with output_of(client, container) as chunks:
            container.start()
            deadline = time.monotonic() + limit_s
            _follow(container, chunks, on_line, log, deadline, silence_s)
            state = wait_for_end(container, deadline)
        return int(state["ExitCode"]), bool(state["OOMKilled"])
    finally:
        remove(client, job.name, log)


@contextmanager
def output_of(client: DockerClient, container: Container) -> Iterator[queue.Queue[Chunk | None]]:
    """Yield the output of a container as a queue, because only a queue can be read with a timeout; None ends it."""
    stream = client.api.attach(str(container.id), stdout=True, stderr=True, stream=True, demux=True)
    chunks: queue.Queue[Chunk | None] = queue.Queue(maxsize=1024)
    reading = threading.Event()
    reading.set()

    def put(chunk: Chunk | None) -> None:
        while reading.is_set():
            with suppress(queue.Full):
                return chunks.put(chunk, timeout=0.5)
        return None

    def pump() -> None:
        try:
            for chunk in stream:
                put(chunk)
        except (*TROUBLE, OSError, ValueError, AttributeError):
            pass  # the reader closed the stream; docker-py reports that in any of these ways
        finally:
            put(None)

    thread = threading.Thread(target=pump, name="tfrepro-container-output", daemon=True)
    thread.start()
    try:
        yield chunks
    finally:
        reading.clear()
        with suppress(Exception):  # the stream may have ended already
            stream.close()
        thread.join(timeout=5)
        # docker-py's close() leaves the response and its socket open.
        response = getattr(stream, "_response", None)
        if response is not None:
            response.close()


def _follow(
    container: Container,
    chunks: queue.Queue[Chunk | None],
    on_line: Callable[[str], None],
    log: Path,
    deadline: float,
    silence_s: float,
) -> None:
    """Pass lines on until the stream ends, and check on a silent container, because a stream alone can hang forever."""
    lines = LineSplitter()
    ended, silent, before = 0, 0.0, time.monotonic()
    with LimitedLog(log) as errors:
        while True:
            if silent > silence_s:
                raise SilentError
            waited, before = time.monotonic() - before, time.monotonic()
            silent += min(waited, QUIET_S)  # not the time in which this process itself was stopped
            try:
                chunk = chunks.get(timeout=QUIET_S)
            except queue.Empty:
                ended += 0 if is_running(state_of(container)) else 1
                if ended > ATTEMPTS:
                    break
                _check_time(container, deadline)
                continue
            if chunk is None:
                break
            out, err = chunk
            for line in lines.feed(out or b""):
                on_line(line)
                silent = 0.0
            if err:
                errors.write(err)
    if rest := lines.rest():
        on_line(rest)


def wait_for_end(container: Container, deadline: float) -> Mapping[str, Any]:
    """Wait until the container has ended and return its state; its stream can close slightly earlier."""
    pause = 0.02
    while is_running(state := state_of(container)):
        _check_time(container, deadline)
        time.sleep(pause)
        pause = min(pause * 2, 1.0)
    return state


def is_running(state: Mapping[str, Any]) -> bool:
    """Return whether a container in this state has not ended."""
    return state["Status"] not in {"exited", "dead"}


def state_of(container: Container) -> Mapping[str, Any]:
    """Return the container's state from the daemon.

    Raises:
        EngineError: the container has vanished, or the daemon no longer answers.
    """
    problem: Exception | None = None
    for _ in range(ATTEMPTS):
        try:
            container.reload()
        except NotFound as error:
            raise EngineError(
                "the container vanished while it was running",
                "Were containers pruned? Run the same command again; it resumes.",
            ) from error
        except TROUBLE as error:
            problem = error
            time.sleep(1.0)
        else:
            state: Mapping[str, Any] = container.attrs["State"]
            return state
    raise EngineError(f"the Docker daemon stopped answering: {reason_of(problem)}", "See the log of the daemon.")


def _check_time(container: Container, deadline: float) -> None:
    if time.monotonic() > deadline:
        raise EngineError(
            f"container {container.short_id} exceeded every time limit of its round and was removed",
            "The driver inside should have enforced them: this is a defect of the driver or a problem of this host.",
        )


def remove(client: DockerClient, name: str, log: Path | None = None) -> bool:
    """Remove a container, running or not; False if it was gone already or could not be removed (a sweep retries)."""
    problem: Exception | None = None
    for pause in (0.2, 1.0, 0.0):
        try:
            client.api.remove_container(name, v=True, force=True)
        except NotFound:
            return False
        except APIError as error:  # 409: it is already being removed
            problem = error
            time.sleep(pause)
        except TROUBLE as error:  # the daemon does not answer: do not wait again
            problem = error
            break
        else:
            return True
    if log:
        with log.open("a", encoding="utf-8") as out:
            out.write(f"tfrepro: container {name} could not be removed: {reason_of(problem)}\n")
    return False
