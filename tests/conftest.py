"""Fixtures of all tests: what is missing on this host is skipped with the reason, or a failure where demanded."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import hypothesis
import pytest

from bench.engines import docker_probe

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure() -> None:
    """Let what tests interrupt be interrupted (a job in a shell's background gets SIGINT as ignored, and hangs)."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # a busy machine is no defect: without a deadline, one slow example fails no test
    hypothesis.settings.register_profile("tests", deadline=None)
    hypothesis.settings.load_profile("tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what cannot run here, unless the environment demands it (continuous integration does)."""
    missing: dict[str, str] = {}
    if any(item.get_closest_marker("docker") for item in items) and "TFREPRO_REQUIRE_DOCKER" not in os.environ:
        probe = docker_probe.probe()
        if not probe.answers:
            missing["docker"] = probe.why
    if shutil.which("chromium") is None and "TFREPRO_REQUIRE_BROWSER" not in os.environ:
        missing["browser"] = "no chromium on the PATH"
    for item in items:
        for marker, reason in missing.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT
