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


def choose(name: str, house: Path) -> tuple[Engine, str]:
    """The engine for ``auto``, ``docker`` or ``venv``, and the reason in one sentence.

    Raises EngineError where Docker was demanded and cannot be used.
    """
    if name == "venv":
        return VenvEngine(house), "asked for with --engine venv"
    probe = docker.probe()
    if probe.answers:
        why = "asked for with --engine docker" if name == "docker" else probe.why
        return docker.DockerEngine(house), why
    if name == "docker":
        raise EngineError(
            f"Docker was asked for and cannot be used: {probe.why}",
            "Leave --engine out to run in virtual environments.",
        )
    return VenvEngine(house), f"Docker cannot be used: {probe.why}"
