"""The command line without an engine: exit codes, sentences, no tracebacks."""

from __future__ import annotations

import collections
import json
import shutil
from typing import TYPE_CHECKING

import pytest

from bench import cli, errors
from bench.engines import docker
from bench.plan import load

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _in_the_house(monkeypatch: pytest.MonkeyPatch, house: Path) -> None:
    monkeypatch.chdir(house)


def test_kernels_as_json_have_what_the_page_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["kernels", "--json"]) == 0
    kernels = json.loads(capsys.readouterr().out)["kernels"]
    assert len(kernels) >= 10
    assert all({"name", "family", "shapes", "dtypes", "source"} <= set(kernel) for kernel in kernels)


def test_kernels_and_plan_as_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["kernels"]) == 0
    assert "seeded_mlp" in capsys.readouterr().out
    assert cli.main(["plan", "--engine", "venv"]) == 0
    assert "tf2.21.0-cpu-py311@cpu" in capsys.readouterr().out


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Matrix"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["plan", "--engine", "venv", "--only", "tf9*"], errors.NOTHING, ["No pair matches tf9*", "tf2.18.1-cpu"]),
        (["plan", "--engine", "venv", "--kernels", "nope"], errors.NOTHING, ["No kernel matches nope"]),
        (["plan", "--engine", "venv", "--profile", "nope"], errors.CONFIG, ["no profile 'nope'", "quick"]),
        (["plan", "--matrix", "nowhere.toml"], errors.CONFIG, ["nowhere.toml cannot be read"]),
        (["matrix", "--engine", "venv", "--device", "gpu"], errors.NO_GPU, ["GPU was demanded"]),
        (["report", "--reports", "nowhere"], errors.NOTHING, ["There is no run", "nox -s matrix"]),
        (["report", "tests"], errors.ENGINE, ["is no run folder"]),
    ],
)
def test_every_mistake_has_its_sentence_and_its_code(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: list[str]
) -> None:
    assert cli.main(arguments) == code
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    for word in [*words, "error:", "hint:"]:
        assert word in said.err
    assert not said.out


@pytest.mark.parametrize(
    "arguments", [["matrix", "--rounds", "0"], ["plan", "--only", ","], ["matrix", "--mode", "x"], []]
)
def test_wrong_options_are_bad_configuration(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == errors.CONFIG


def test_an_unknown_gate_is_told_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["matrix", "--engine", "venv", "--fail-on", "on-vareis", "--reports", str(tmp_path)]
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == errors.CONFIG
    assert "there is no gate 'on-vareis'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_too_little_disk_is_told_before_anything_is_built(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = collections.namedtuple("usage", "total used free")  # noqa: PYI024 - the shape of shutil's own answer
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 1000))
    monkeypatch.setenv("TFREPRO_CACHE", str(tmp_path / "cache"))
    assert cli.main(["matrix", "--engine", "venv", "--reports", str(tmp_path / "reports")]) == errors.ENGINE
    said = capsys.readouterr().err
    assert "Not enough disk space" in said
    assert "GB needed" in said
    assert not (tmp_path / "reports" / "runs").exists()


def test_docker_demanded_and_missing_says_why_and_auto_falls_back(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = docker.Probe(answers=False, why="no socket")
    monkeypatch.setattr(docker, "probe", lambda: missing)
    assert cli.main(["matrix", "--dry-run", "--engine", "docker"]) == errors.ENGINE
    assert "Docker was asked for and cannot be used: no socket" in capsys.readouterr().err
    assert cli.main(["matrix", "--dry-run"]) == 0
    said = capsys.readouterr()
    assert "engine venv: Docker cannot be used: no socket" in said.err
    assert "would run" in said.out


def test_a_surprise_is_one_line_and_a_traceback_only_with_debug(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        message = "boom"
        raise RuntimeError(message)

    monkeypatch.setattr(load, "schema", fail)
    assert cli.main(["schema"]) == errors.ENGINE
    said = capsys.readouterr().err
    assert "should not have happened: RuntimeError: boom" in said
    assert "Traceback" not in said
    with pytest.raises(RuntimeError):
        cli.main(["schema", "--debug"])


def test_interruption_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(load, "schema", interrupt)
    assert cli.main(["schema"]) == errors.INTERRUPTED
    assert "goes on from there" in capsys.readouterr().err
