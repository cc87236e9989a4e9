"""What the engines of this host can do, for people who ask why a run would not start."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import uv
from docker.errors import NotFound

from bench.engines import _dockercli, gpu_options
from bench.engines._dockerd import TROUBLE, connect, reason_of
from bench.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from docker.client import DockerClient


@dataclass(frozen=True, kw_only=True)
class Docker:
    """Docker as this user finds it.

    ``daemon`` and ``builder`` say what there is, or why there is nothing and what to do; ``answers`` and ``builds``
    whether there is. ``bases`` maps each base image asked about to whether it is on this host, ``routes`` each way by
    which a container may get a GPU to what speaks for it (a run tries it). ``facts`` are the daemon's own.
    """

    answers: bool
    daemon: str
    builds: bool
    builder: str
    bases: Mapping[str, bool] = field(default_factory=dict)
    routes: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


def docker(bases: Iterable[str]) -> Docker:
    """Ask the daemon, and look for a command line that can build; never raises for a host in trouble."""
    builds, builder = _builder()
    try:
        client = connect(timeout=10)
    except EngineError as error:
        return Docker(answers=False, daemon=_sentence(error), builds=builds, builder=builder)
    try:
        version, info = client.version(), client.info()
        here = {base: _has(client, base) for base in sorted(set(bases))}
    except TROUBLE as error:
        words = f"the Docker daemon gave an error: {reason_of(error)}"
        return Docker(answers=False, daemon=words, builds=builds, builder=builder)
    finally:
        client.close()
    daemon = f"{version.get('Version', '?')} answers"
    return Docker(
        answers=True,
        daemon=daemon,
        builds=builds,
        builder=builder,
        bases=here,
        routes={route.name: route.why for route in gpu_options.candidates(info, version)},
        facts=_facts(version, info),
    )


def uv_version() -> str:
    """The version of uv, or why it does not run."""
    try:
        done = subprocess.run([uv.find_uv_bin(), "--version"], capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        return f"does not run ({error}): install the package uv anew"
    return done.stdout.strip().removeprefix("uv ").split(" ")[0]


def _builder() -> tuple[bool, str]:
    try:
        cli = _dockercli.find_cli(os.environ)
    except EngineError as error:
        return False, _sentence(error)
    return True, f"{cli.path} ({'buildx' if cli.buildx else 'BuildKit built in'})"


def _has(client: DockerClient, base: str) -> bool:
    try:
        client.images.get(base)
    except NotFound:
        return False
    return True


def _facts(version: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, str]:
    parts = ", ".join(f"{one['Name']} {one['Version']}" for one in version.get("Components") or ())
    security = [str(one) for one in info.get("SecurityOptions") or ()]
    told = {
        "parts": parts,
        "runtimes": ", ".join(sorted(info.get("Runtimes") or ())),
        "CDI folders": ", ".join(info.get("CDISpecDirs") or ()),
        "rootless": "yes" if any("rootless" in one for one in security) else "",
    }
    return {name: value for name, value in told.items() if value}


def _sentence(error: EngineError) -> str:
    return f"{error}; {error.hint}" if error.hint else str(error)
