"""A conversation with a container: commands go to its standard input, lines come from its standard output."""

from __future__ import annotations

import queue
import time
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from bench.engines import _dockerrun
from bench.portable.limited_log import LimitedLog
from bench.portable.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from docker.client import DockerClient
    from docker.models.containers import Container

    from bench.engines._dockerrun import Chunk

#: Seconds that a container may take to end once its output has ended.
_END_S = 30.0


class ContainerSession(Session):
    """A conversation with a container; the daemon passes its standard input and output on."""

    def __init__(self, container: Container, chunks: queue.Queue[Chunk | None], stdin: Any, errors: LimitedLog) -> None:
        self._container = container
        self._chunks = chunks
        self._stdin = stdin
        self._errors = errors
        self._splitter = _dockerrun.LineSplitter()
        self._lines: deque[str] = deque()

    def send(self, text: str) -> None:
        """Write one line; see ``Session.send``."""
        with suppress(OSError):  # a container that has ended is noticed by ``read``
            self._stdin.sendall(text.encode())

    def read(self, timeout_s: float) -> str | None:
        """Return the next line; see ``Session.read``. Raises EngineError where the container vanished."""
        deadline = time.monotonic() + timeout_s
        ended = 0
        while not self._lines:
            try:
                chunk = self._chunks.get(timeout=max(0.0, min(_dockerrun.QUIET_S, deadline - time.monotonic())))
            except queue.Empty:
                ended += 0 if _dockerrun.is_running(_dockerrun.state_of(self._container)) else 1
                if ended > _dockerrun.ATTEMPTS:
                    return None
                if time.monotonic() >= deadline:
                    raise TimeoutError from None
                continue
            if chunk is None:
                return None
            out, err = chunk
            self._lines.extend(self._splitter.feed(out or b""))
            self._errors.write(err or b"")
        return self._lines.popleft()

    def outcome(self) -> tuple[str, str]:
        """Return how the container ended; see ``Session.outcome``."""
        state = _dockerrun.wait_for_end(self._container, time.monotonic() + _END_S)
        if state["OOMKilled"]:
            return "oom", "the container reached its memory limit"
        return "crashed", f"the container ended with exit code {state['ExitCode']}; see the end of its log"


@contextmanager
def converse(client: DockerClient, job: _dockerrun.Job, log: Path) -> Iterator[ContainerSession]:
    """Yield a conversation with a container of an interactive job, which is removed by name on exit.

    Raises:
        EngineError: the daemon stopped answering.
    """
    try:
        container = _dockerrun.create(client, job)
        with (
            _dockerrun.output_of(client, container) as chunks,
            _input(client, container) as stdin,
            LimitedLog(log) as errors,
        ):
            container.start()
            yield ContainerSession(container, chunks, stdin, errors)
    finally:
        _dockerrun.remove(client, job.name, log)


@contextmanager
def _input(client: DockerClient, container: Container) -> Iterator[Any]:
    """Yield a socket that writes to the standard input of a container."""
    stream = client.api.attach_socket(str(container.id), params={"stdin": 1, "stream": 1})
    sock = getattr(stream, "_sock", stream)  # docker-py wraps a plain socket so that it can only be read
    try:
        yield sock
    finally:
        for part in (stream, sock):
            with suppress(OSError):
                part.close()
        response = getattr(stream, "_response", None)  # as in ``_dockerrun.output_of``
        if response is not None:
            with suppress(ValueError):  # it flushes the stream, which is closed already
                response.close()
