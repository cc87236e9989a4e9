"""Installations and builds that do not end are ended at their time limit."""

from __future__ import annotations

import subprocess

import pytest

from bench.engines import install_errors
from bench.errors import BuildError


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that a test can wait for."""
    monkeypatch.setattr(install_errors, "LIMIT_S", 0.6)


def output_of(process: subprocess.Popen[str]) -> list[str]:
    """Read what a process writes, within the limit."""
    with process, install_errors.limited(process, "The build"):
        return list(process.stdout or ())


@pytest.mark.fault("An installation does not end", "It is ended at its time limit, and the error says why.")
@pytest.mark.parametrize("ignored", ["", "trap '' TERM; "])
def test_a_build_that_does_not_end(ignored: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it ignores the request to end."""
    monkeypatch.setattr(install_errors, "_END_S", 0.5)
    command = ["sh", "-c", f"{ignored}echo up; while :; do sleep 0.1; done"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with pytest.raises(BuildError, match=r"The build has not finished after 0\.01 min, and was ended") as caught:
        output_of(process)
    assert "index" in caught.value.hint
    assert process.returncode


def test_what_ends_in_time_is_left_alone() -> None:
    with subprocess.Popen(["true"], text=True) as process, install_errors.limited(process, "The build"):
        process.wait()
    assert process.returncode == 0
    assert install_errors.run("It", ["sh", "-c", "echo out; echo err >&2; exit 3"], {}) == (3, "out\nerr\n")
