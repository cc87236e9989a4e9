"""Choose the engine that runs the matrix, with the reason, which the terminal and the page show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.engines.venv import VenvEngine
from bench.errors import EngineError

if TYPE_CHECKING:
    from pathlib import Path

    from bench.engines.base import Engine


def choose(name: str, root: Path, *, registry: str = "", revision: str = "") -> tuple[Engine, str]:
    """Return the engine for ``auto``, ``docker`` or ``venv``, and the reason in one sentence.

    Args:
        name: the value of --engine.
        root: the checkout.
        registry: where images are pulled from instead of being built; requires Docker.
        revision: the source revision that images built here carry as a label.

    Raises:
        EngineError: Docker is required, by name or by a registry, and cannot be used.
    """
    if name == "venv" and registry:
        raise EngineError(
            "--from-registry pulls images, and --engine venv does not use any", "Omit one of the two options."
        )
    if name == "venv":
        return VenvEngine(root), "requested with --engine venv"
    from bench.engines import docker_probe  # noqa: PLC0415 - Docker's client takes 0.3 s to import
    from bench.engines.docker import DockerEngine  # noqa: PLC0415

    probe = docker_probe.probe()
    if probe.answers:
        why = "requested with --engine docker" if name == "docker" else probe.why
        return DockerEngine(root, registry=registry, revision=revision), why
    if name == "docker" or registry:
        raise EngineError(
            f"Docker was requested, but it cannot be used: {probe.why}",
            "Omit --engine to run in virtual environments.",
        )
    return VenvEngine(root), f"Docker cannot be used: {probe.why}"
