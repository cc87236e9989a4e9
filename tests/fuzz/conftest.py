"""A reports folder with one small run, cut from the sample, and no Docker engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fuzz import small_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True, scope="module")
def _no_docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let no command reach a Docker engine or another cache: what is fuzzed could remove or build something there."""
    place = tmp_path_factory.mktemp("host")
    with pytest.MonkeyPatch.context() as patch:  # tests elsewhere that run in the same process need their own
        patch.setenv("DOCKER_HOST", f"unix://{place / 'no-docker.sock'}")
        patch.setenv("TFREPRO_CACHE", str(place / "cache"))
        patch.setenv("HOME", str(place))
        yield


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A reports folder with the small run."""
    place = tmp_path_factory.mktemp("fuzz") / "reports"
    small_run.write(root / "reports" / "sample", place / "runs" / small_run.RUN)
    return place


@pytest.fixture(scope="module")
def folder(reports: Path) -> Path:
    """The run folder in it."""
    return reports / "runs" / small_run.RUN
