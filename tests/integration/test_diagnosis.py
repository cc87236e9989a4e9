"""The doctor's eyes on real engines: a daemon that answers, and none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.engines import diagnosis

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.docker
def test_a_daemon_tells_what_it_is_and_has() -> None:
    found = diagnosis.docker(["tfrepro.invalid/no-such-image:1", "tfrepro.invalid/no-such-image:1"])
    assert found.answers
    assert found.daemon.endswith("answers")
    assert found.builds, found.builder
    assert found.bases == {"tfrepro.invalid/no-such-image:1": False}
    assert "runc" in found.facts["runtimes"]
    assert found.routes


def test_no_daemon_is_a_sentence_with_its_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    found = diagnosis.docker(["python:3.11-slim-bookworm"])
    assert not found.answers
    assert found.daemon.startswith(f"there is no Docker socket at {tmp_path}/docker.sock; install and start Docker")
    assert found.bases == {}


def test_uv_tells_its_version() -> None:
    assert diagnosis.uv_version()[0].isdecimal()
