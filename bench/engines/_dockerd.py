"""Connecting to the Docker daemon, and explaining in one sentence why that failed."""

from __future__ import annotations

import os
import platform
import socket
from typing import TYPE_CHECKING, Any

import requests
from docker.client import DockerClient
from docker.context import ContextAPI
from docker.errors import APIError, DockerException

from bench.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from docker.context.context import Context


#: What a request raises when the daemon has a problem. OSError is not one of these: it is a problem of this host.
TROUBLE = (DockerException, requests.RequestException)

_MIB = 1 << 20
_DEFAULT = "unix:///var/run/docker.sock"


def connect(timeout: int) -> DockerClient:
    """Return a client of a daemon that has answered.

    Raises:
        EngineError: the daemon does not answer, or does not run Linux containers.
    """
    try:
        _check_socket(timeout)
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
        raise EngineError(
            f"this Docker daemon runs {system} containers, not Linux ones",
            "Switch it to Linux containers, or use --engine venv.",
        )
    return client


def _endpoint() -> str:
    """Return where docker-py will look for the daemon: DOCKER_HOST, else the client's context, else the default."""
    host = os.environ.get("DOCKER_HOST")
    if host:
        return host
    context: Context | None = ContextAPI.get_context(os.environ.get("DOCKER_CONTEXT"))
    return (context.Host if context else "") or _DEFAULT


def _check_socket(timeout: int) -> None:
    """Connect to a local socket directly first, because docker-py leaks its socket when nothing answers."""
    scheme, _, path = _endpoint().partition("://")
    if scheme in {"unix", "http+unix"}:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(path)


def no_answer(error: Exception) -> EngineError:
    """Explain why the daemon did not answer, from what docker-py raised."""
    endpoint = _endpoint().removeprefix("http+").removeprefix("unix://")
    causes = list(causes_of(error))
    if any(isinstance(cause, FileNotFoundError) for cause in causes):
        return EngineError(
            f"there is no Docker socket at {endpoint}", "Install and start Docker, or use --engine venv."
        )
    if any(isinstance(cause, PermissionError) for cause in causes):
        return EngineError(
            f"no permission to use the Docker socket {endpoint}",
            "Add yourself to the docker group, or use --engine venv.",
        )
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return EngineError(f"no Docker daemon answers at {endpoint}", "Start it, or use --engine venv.")
    return EngineError(f"the Docker daemon at {endpoint} reported an error: {reason_of(error)}")


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and everything it wraps; requests and urllib3 also hide the original error in ``args``."""
    seen: set[int] = set()
    pending = [error]
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        wrapped = (argument for argument in current.args if isinstance(argument, BaseException))
        pending += [current.__cause__, current.__context__, *wrapped]


def reason_of(error: Exception | None) -> str:
    """Return the first line of an error, without docker-py's wrapping."""
    text = error.explanation if isinstance(error, APIError) and error.explanation else str(error)
    return str(text).strip().split("\n", 1)[0][:300]


def host_facts(info: Mapping[str, Any]) -> dict[str, str]:
    """Return the cores of a daemon by its ``info``, and the facts that differ if it is not on this host.

    A daemon in a virtual machine or elsewhere does not say which CPU and how much memory its host has.
    """
    facts = {"cores": str(cpu_set(info).count(",") + 1 if cpu_set(info) else info["NCPU"])}
    if not _on_this_host(info):
        system = f"Linux-{info['KernelVersion']}-{info['Architecture']}"
        facts |= {"name": str(info["Name"]), "system": system, "cpu": "", "memory_gb": "", "boot_id": ""}
    return facts


def _on_this_host(info: Mapping[str, Any]) -> bool:
    return bool(info["KernelVersion"] == platform.release() and info.get("Name") == socket.gethostname())


def cpu_set(info: Mapping[str, Any]) -> str:
    """Return the cores of a container, as in ``0,2,3``, by the daemon's ``info``; "" for all of the host.

    The daemon starts containers outside the limits of this process, so those of a Slurm job or of ``taskset`` are
    passed on.
    """
    own = sorted(os.sched_getaffinity(0))
    return ",".join(map(str, own)) if _on_this_host(info) and len(own) < int(info["NCPU"]) else ""


def memory_limit(info: Mapping[str, Any], environment: Mapping[str, str]) -> int:
    """Return the memory limit of a container in bytes: nine tenths of the daemon's memory, or of a Slurm job's.

    At least 1 GiB is left for the daemon and this process, unless the container would get less than 512 MiB.
    """
    names = ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE")
    per_node, per_cpu, cpus = (int(text) if (text := environment.get(name, "")).isdecimal() else 0 for name in names)
    total = min(_MIB * (per_node or per_cpu * cpus) or int(info["MemTotal"]), int(info["MemTotal"]))
    return max(total - max(total // 10, 1024 * _MIB), min(512 * _MIB, total))
