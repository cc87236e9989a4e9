"""Which engine runs the matrix, and why: said on the terminal and on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.engines import docker
from bench.engines.venv import VenvEngine
from bench.errors import EngineError

if TYPE_CHECKING:
    from pathlib import Path

    from bench.engines.base import Engine

NAMES = ("auto", "docker", "venv")


def choose(name: str, root: Path, *, registry: str = "", revision: str = "") -> tuple[Engine, str]:
    """The engine for ``auto``, ``docker`` or ``venv``, and the reason in one sentence.

    ``registry`` is where images come from instead of being built, ``revision`` what images built here are labelled
    with. Raises EngineError where Docker was demanded, by name or by a registry, and cannot be used.
    """
    if name == "venv" and registry:
        raise EngineError("--from-registry is for images, and --engine venv has none", "leave one of the two out")
    if name == "venv":
        return VenvEngine(root), "asked for with --engine venv"
    probe = docker.probe()
    if probe.answers:
        why = "asked for with --engine docker" if name == "docker" else probe.why
        return docker.DockerEngine(root, registry=registry, revision=revision), why
    if name == "docker" or registry:
        raise EngineError(
            f"Docker was asked for and cannot be used: {probe.why}",
            "Leave --engine out to run in virtual environments.",
        )
    return VenvEngine(root), f"Docker cannot be used: {probe.why}"
