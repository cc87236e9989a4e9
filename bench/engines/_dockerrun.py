"""One container from creation to removal: its options, its output, its end, and who owns it."""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docker.errors import APIError, NotFound
from docker.types import LogConfig

from bench.engines._dockerd import TROUBLE, reason_of
from bench.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from docker.client import DockerClient
    from docker.models.containers import Container
    from docker.models.images import Image

    Chunk = tuple[bytes | None, bytes | None]

PROJECT = "org.tfrepro.project"
RUN = "org.tfrepro.run"
COLUMN = "org.tfrepro.column"
HOST = "org.tfrepro.host"
OWNER = "org.tfrepro.owner"

_KEPT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "XLA_FLAGS")
_FIXED = {
    "HOME": "/tmp",  # noqa: S108  # the container's own tmpfs, the one place it can write to
    "TMPDIR": "/tmp",  # noqa: S108
    "XDG_CACHE_HOME": "/tmp/cache",  # noqa: S108
    "CUDA_CACHE_PATH": "/tmp/cuda",  # noqa: S108
    "PYTHONUNBUFFERED": "1",
    "LANG": "C.UTF-8",
}
_GIB = 1024**3
#: Silence after which the container's state is looked up, and look-ups without an end before the stream is given up.
_QUIET_S = 5.0
_PATIENCE = 2


class LineSplitter:
    """Cuts a byte stream into lines, wherever its chunks end."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that this chunk completes, each with its newline."""
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        return [(line + b"\n").decode(errors="replace") for line in whole]

    def rest(self) -> str:
        """What is left after the last newline."""
        rest, self._rest = self._rest, b""
        return rest.decode(errors="replace")


def this_process() -> str:
    """Id and start time of this process: an id alone is given out again."""
    return f"{os.getpid()}:{_started(os.getpid())}"


def this_host() -> str:
    """The host that process ids on labels are of."""
    return socket.gethostname()


def owner_lives(owner: str) -> bool:
    """Whether the process that a label names still runs on this host; when in concern, yes."""
    number, _, started = owner.partition(":")
    if not number.isdigit():
        return True
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        pass
    return not started or _started(int(number)) in {started, ""}


def _started(pid: int) -> str:
    """Start time in ticks since boot, empty where the system does not tell."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]


def containers_here(client: DockerClient) -> list[dict[str, Any]]:
    """What the daemon lists of this project's containers that processes of this host started, ended ones too."""
    wanted = [f"{PROJECT}=tfrepro", f"{HOST}={this_host()}"]
    listed: list[dict[str, Any]] = client.api.containers(all=True, filters={"label": wanted})
    return listed


def environment_of(image: Image, more: Mapping[str, str]) -> list[str]:
    """The allow-list and ``more`` as Docker wants them; a name without a value takes a variable of the image out."""
    entries = image.attrs["Config"].get("Env") or []
    baked = dict(entry.partition("=")[::2] for entry in entries)
    wanted = {name: baked[name] for name in _KEPT if baked.get(name)} | _FIXED | dict(more)
    return [*(name for name in baked if name not in wanted), *(f"{name}={value}" for name, value in wanted.items())]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One container to run: everything that differs from round to round.

    ``memory`` is its limit in bytes. ``options`` and ``environment`` are what the route to a GPU adds.
    """

    image: Image
    command: tuple[str, ...]
    name: str
    labels: Mapping[str, str]
    memory: int
    options: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def create(client: DockerClient, job: Job) -> Container:
    """Create the container, hardened; not started."""
    return client.containers.create(
        job.image,
        list(job.command),
        name=job.name,
        labels={**job.labels},
        environment=environment_of(job.image, job.environment),
        hostname=job.name,  # the record tells containers apart by it
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
        pids_limit=16384,
        log_config=LogConfig(type="none", config={}),  # the stream is read as it comes; a second copy is waste
        use_config_proxy=False,  # else docker-py puts the proxies of the user's config.json in
        working_dir="/opt/tfrepro",
        **job.options,
    )


def run(client: DockerClient, job: Job, on_line: Callable[[str], None], log: Path, limit_s: float) -> tuple[int, bool]:
    """Create, start, follow, remove; returns the exit code and whether memory ran out.

    Removal is by name, so that even an interrupt inside ``create`` leaves nothing behind.
    """
    try:
        container = create(client, job)
        # Attached before it starts, so that no line is lost.
        with _output(client, container) as chunks:
            container.start()
            deadline = time.monotonic() + limit_s
            _follow(container, chunks, on_line, log, deadline)
            state = _ended(container, deadline)
        return int(state["ExitCode"]), bool(state["OOMKilled"])
    finally:
        remove(client, job.name, log)


@contextmanager
def _output(client: DockerClient, container: Container) -> Iterator[queue.Queue[Chunk | None]]:
    """The container's output as a queue, which can be waited for with a limit; None is its end."""
    stream = client.api.attach(str(container.id), stdout=True, stderr=True, stream=True, demux=True)
    chunks: queue.Queue[Chunk | None] = queue.Queue(maxsize=1024)
    wanted = threading.Event()
    wanted.set()

    def hand_on(chunk: Chunk | None) -> None:
        while wanted.is_set():
            with suppress(queue.Full):
                return chunks.put(chunk, timeout=0.5)
        return None

    def pump() -> None:
        try:
            for chunk in stream:
                hand_on(chunk)
        except (
            *TROUBLE,
            OSError,
            ValueError,
            AttributeError,
        ):  # closed from the other thread, in one of docker-py's ways
            pass
        finally:
            hand_on(None)

    thread = threading.Thread(target=pump, name="tfrepro-container-output", daemon=True)
    thread.start()
    try:
        yield chunks
    finally:
        wanted.clear()
        with suppress(Exception):  # shutting down a stream that has ended already
            stream.close()
        thread.join(timeout=5)
        # docker-py's close leaves the response open, and with it the socket.
        response = getattr(stream, "_response", None)
        if response is not None:
            response.close()


def _follow(
    container: Container,
    chunks: queue.Queue[Chunk | None],
    on_line: Callable[[str], None],
    log: Path,
    deadline: float,
) -> None:
    """Hand lines on until the stream ends; looks after a silent container, for a stream alone may hang for ever."""
    lines = LineSplitter()
    ended = 0
    with log.open("ab") as errors:
        while True:
            try:
                chunk = chunks.get(timeout=_QUIET_S)
            except queue.Empty:
                ended += 0 if _running(_state(container)) else 1
                if ended > _PATIENCE:
                    break
                _check_time(container, deadline)
                continue
            if chunk is None:
                break
            out, err = chunk
            for line in lines.feed(out or b""):
                on_line(line)
            if err:
                errors.write(err)
                errors.flush()
    if rest := lines.rest():
        on_line(rest)


def _ended(container: Container, deadline: float) -> Mapping[str, Any]:
    """The state of the container once it has ended; its stream can close a little earlier."""
    pause = 0.02
    while _running(state := _state(container)):
        _check_time(container, deadline)
        time.sleep(pause)
        pause = min(pause * 2, 1.0)
    return state


def _running(state: Mapping[str, Any]) -> bool:
    return state["Status"] not in {"exited", "dead"}


def _state(container: Container) -> Mapping[str, Any]:
    """The state as the daemon tells it.

    Raises:
        EngineError: the container has vanished, or the daemon does not answer any more.
    """
    trouble: Exception | None = None
    for _ in range(_PATIENCE):
        try:
            container.reload()
        except NotFound as error:
            raise EngineError(
                "the container vanished while it ran", "did somebody prune containers? Run again: it resumes"
            ) from error
        except TROUBLE as error:
            trouble = error
            time.sleep(1.0)
        else:
            state: Mapping[str, Any] = container.attrs["State"]
            return state
    raise EngineError(f"the Docker daemon stopped answering: {reason_of(trouble)}", "see the daemon's own log")


def _check_time(container: Container, deadline: float) -> None:
    if time.monotonic() > deadline:
        raise EngineError(
            f"container {container.short_id} outlived every time limit of its round and was removed",
            "the driver inside enforces the limits: this is a fault of the driver or of the host",
        )


def remove(client: DockerClient, name: str, log: Path | None = None) -> bool:
    """Remove a container, running or not; False where it was gone, or could not be removed (the sweep tries again)."""
    trouble: Exception | None = None
    for pause in (0.2, 1.0, 0.0):
        try:
            client.api.remove_container(name, v=True, force=True)
        except NotFound:
            return False
        except APIError as error:  # 409: a removal is in progress already
            trouble = error
            time.sleep(pause)
        except TROUBLE as error:  # nobody answers: asking again would only wait again
            trouble = error
            break
        else:
            return True
    if log:
        with log.open("a", encoding="utf-8") as out:
            out.write(f"tfrepro: container {name} could not be removed: {reason_of(trouble)}\n")
    return False
