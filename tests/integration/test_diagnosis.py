"""Diagnosis of real engines: with and without a Docker daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.engines import diagnosis

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.docker
def test_the_state_of_a_daemon() -> None:
    state = diagnosis.docker(["tfrepro.invalid/no-such-image:1", "tfrepro.invalid/no-such-image:1"])
    assert state.answers
    assert state.daemon.endswith("answers")
    assert state.builds, state.builder
    assert state.bases == {"tfrepro.invalid/no-such-image:1": False}
    assert "runc" in state.facts["runtimes"]
    assert state.routes


@pytest.mark.fault("The Docker engine is not running", "The diagnosis says so, with a hint.")
def test_a_missing_daemon_is_explained_with_a_hint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    state = diagnosis.docker(["python:3.11-slim-bookworm"])
    assert not state.answers
    assert state.daemon.startswith(f"there is no Docker socket at {tmp_path}/docker.sock. Install and start Docker")
    assert state.bases == {}


def test_the_version_of_uv() -> None:
    assert diagnosis.uv_version()[0].isdecimal()
