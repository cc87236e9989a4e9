"""What the engines of this host can do, for the ``doctor`` command."""

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
    """The state of Docker for this user.

    ``answers`` and ``builds`` tell whether the daemon answers and whether a command line can build; ``daemon`` and
    ``builder`` describe them, or say why there is none and what to do. ``bases`` maps each base image to whether it is
    on this host. ``routes`` maps each way to pass a GPU into a container to the reason to try it (only a run tries
    it). ``facts`` are further facts about the daemon.
    """

    answers: bool
    daemon: str
    builds: bool
    builder: str
    bases: Mapping[str, bool] = field(default_factory=dict)
    routes: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


def docker(bases: Iterable[str]) -> Docker:
    """Query the daemon and look for a command line that can build; problems are described, never raised."""
    builds, builder = _builder()
    try:
        client = connect(timeout=10)
    except EngineError as error:
        return Docker(answers=False, daemon=_with_hint(error), builds=builds, builder=builder)
    try:
        version, info = client.version(), client.info()
        present = {base: _has(client, base) for base in sorted(set(bases))}
    except TROUBLE as error:
        problem = f"the Docker daemon reported an error: {reason_of(error)}"
        return Docker(answers=False, daemon=problem, builds=builds, builder=builder)
    finally:
        client.close()
    return Docker(
        answers=True,
        daemon=f"{version.get('Version', '?')} answers",
        builds=builds,
        builder=builder,
        bases=present,
        routes={route.name: route.why for route in gpu_options.candidates(info, version)},
        facts=_facts(version, info),
    )


def uv_version() -> str:
    """Return the version of uv, or why it cannot be run."""
    try:
        done = subprocess.run([uv.find_uv_bin(), "--version"], capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        return f"cannot be run ({error}): reinstall the package uv"
    return done.stdout.strip().removeprefix("uv ").split(" ")[0]


def _builder() -> tuple[bool, str]:
    try:
        cli = _dockercli.find_cli(os.environ)
    except EngineError as error:
        return False, _with_hint(error)
    return True, f"{cli.path} ({'buildx' if cli.buildx else 'built-in BuildKit'})"


def _has(client: DockerClient, base: str) -> bool:
    try:
        client.images.get(base)
    except NotFound:
        return False
    return True


def _facts(version: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, str]:
    components = ", ".join(f"{part['Name']} {part['Version']}" for part in version.get("Components") or ())
    security = [str(option) for option in info.get("SecurityOptions") or ()]
    facts = {
        "components": components,
        "runtimes": ", ".join(sorted(info.get("Runtimes") or ())),
        "CDI folders": ", ".join(info.get("CDISpecDirs") or ()),
        "rootless": "yes" if any("rootless" in option for option in security) else "",
    }
    return {name: value for name, value in facts.items() if value}


def _with_hint(error: EngineError) -> str:
    return f"{error}. {error.hint}" if error.hint else str(error)
