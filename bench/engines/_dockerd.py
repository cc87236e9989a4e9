"""Reaching the Docker daemon, and saying in one sentence why it cannot be reached."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import requests
from docker.client import DockerClient
from docker.context import ContextAPI
from docker.errors import APIError, DockerException

from bench.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker.context.context import Context


#: What a request to the daemon raises when the daemon is in trouble. Not OSError: that is this host's own.
TROUBLE = (DockerException, requests.RequestException)

_DEFAULT = "unix:///var/run/docker.sock"


def connect(timeout: int) -> DockerClient:
    """A client whose daemon has answered.

    Raises:
        EngineError: it has not; the message says why, the hint what to do.
    """
    try:
        _knock(timeout)
        client = DockerClient.from_env(timeout=timeout)
    except (*TROUBLE, OSError, ValueError) as error:
        raise no_answer(error) from error
    try:
        system = str(client.version().get("Os", "linux"))
    except TROUBLE as error:
        client.close()
        raise no_answer(error) from error
    if system != "linux":
        client.close()
        raise EngineError(f"this Docker daemon runs {system} containers, not Linux ones", "switch it, or --engine venv")
    return client


def _endpoint() -> str:
    """Where docker-py will look for the daemon: DOCKER_HOST, else the client's context, else the default socket."""
    named = os.environ.get("DOCKER_HOST")
    if named:
        return named
    context: Context | None = ContextAPI.get_context(os.environ.get("DOCKER_CONTEXT"))
    return (context.Host if context else "") or _DEFAULT


def _knock(timeout: int) -> None:
    """Try a local socket by hand: docker-py would leave its own one open when nobody answers."""
    scheme, _, path = _endpoint().partition("://")
    if scheme in {"unix", "http+unix"}:
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(timeout)
            door.connect(path)


def no_answer(error: Exception) -> EngineError:
    """Why nobody answered, out of what docker-py raised."""
    where = _endpoint().removeprefix("http+").removeprefix("unix://")
    causes = list(causes_of(error))
    if any(isinstance(cause, FileNotFoundError) for cause in causes):
        return EngineError(f"there is no Docker socket at {where}", "install and start Docker, or use --engine venv")
    if any(isinstance(cause, PermissionError) for cause in causes):
        return EngineError(
            f"no permission on the Docker socket {where}", "add yourself to the docker group or use --engine venv"
        )
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return EngineError(f"no Docker daemon answers at {where}", "start it, or use --engine venv")
    return EngineError(f"the Docker daemon at {where} gave an error: {reason_of(error)}")


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """An error and all that it wraps: requests and urllib3 hide the system's error in arguments."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__, *(arg for arg in one.args if isinstance(arg, BaseException))]


def reason_of(error: Exception | None) -> str:
    """The first line of what went wrong, without docker-py's wrapping."""
    text = error.explanation if isinstance(error, APIError) and error.explanation else str(error)
    return str(text).strip().split("\n", 1)[0][:300]
