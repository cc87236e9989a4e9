"""The run that a run is compared with: the last finished one with the same plan on the same host."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from bench import cli
from bench.errors import StorageError
from bench.store import run as store
from bench.store.previous_run import previous_run
from tests.unit import factory

if TYPE_CHECKING:
    from pathlib import Path

    from bench.store.run import Run
    from bench.store.run_info import RunInfo

HOST = {"name": "box"}
NOW = factory.info(id="20250130T120000Z-0000", started="2025-01-30T12:00:00+00:00", host=HOST)


def write(reports: Path, name: str, **changes: Any) -> RunInfo:
    """Write a run that began on the day in its name."""
    day = f"{name[:4]}-{name[4:6]}-{name[6:8]}"
    times = {"started": f"{day}T12:00:00+00:00", "finished": f"{day}T12:10:00+00:00"}
    facts = dataclasses.replace(NOW, **{"id": name, **times, **changes})
    place = reports / "runs" / name
    place.mkdir(parents=True)
    (place / "run.json").write_text(facts.to_json(), encoding="utf-8")
    return facts


def found(reports: Path, **changes: Any) -> tuple[str, tuple[str, ...]]:
    """The name of the previous run, and the notes."""
    info = write(reports, "20250130T120000Z-0000", **changes)
    result = previous_run(reports / "runs" / "20250130T120000Z-0000", info)
    return (result.folder.name if result.folder else ""), result.notes


def test_the_first_run_has_no_previous_run(tmp_path: Path) -> None:
    assert found(tmp_path) == ("", ())


def test_it_is_the_newest_earlier_run(tmp_path: Path) -> None:
    for name in ("20250110T120000Z-0000", "20250120T120000Z-0000", "20250201T120000Z-0000"):
        write(tmp_path, name)
    assert found(tmp_path) == ("20250120T120000Z-0000", ())


@pytest.mark.parametrize(
    "changes",
    [
        {"finished": ""},
        {"host": {"name": "other"}},
        {"engine": "venv"},
        {"columns": (factory.column("2.15.1"),)},
        {"columns": (factory.column(gpu="GPU-1"),)},
        {"columns": (factory.column(status="build-failed"),)},
        {"columns": (factory.column(origin={"name": "elsewhere", "engine": "docker"}),)},
        {"started": "2025-01-30T12:00:00+00:00"},  # another one was imported into it
    ],
)
def test_a_run_that_shares_no_column_is_skipped(tmp_path: Path, changes: dict[str, Any]) -> None:
    write(tmp_path, "20250110T120000Z-0000")
    write(tmp_path, "20250120T120000Z-0000", **changes)
    assert found(tmp_path) == ("20250110T120000Z-0000", ())


def test_an_imported_column_is_compared_with_its_own_host(tmp_path: Path) -> None:
    there = (factory.column(origin={"name": "elsewhere", "engine": "venv"}),)
    write(tmp_path, "20250110T120000Z-0000", columns=there)
    write(tmp_path, "20250120T120000Z-0000")
    assert found(tmp_path, columns=there) == ("20250110T120000Z-0000", ())


def test_a_run_of_the_same_plan_is_preferred_to_a_newer_one(tmp_path: Path) -> None:
    write(tmp_path, "20250110T120000Z-0000")
    write(tmp_path, "20250120T120000Z-0000", profile="smoke")
    write(tmp_path, "20250121T120000Z-0000", seed=7)
    write(tmp_path, "20250122T120000Z-0000", kernels=factory.info().kernels[1:])
    assert found(tmp_path) == ("20250110T120000Z-0000", ())


def test_a_run_of_another_plan_is_better_than_none(tmp_path: Path) -> None:
    write(tmp_path, "20250110T120000Z-0000", profile="quick")
    write(tmp_path, "20250120T120000Z-0000", profile="smoke")
    assert found(tmp_path) == ("20250120T120000Z-0000", ())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}', "\x00", '{"schema": 4}'])
def test_a_damaged_run_or_one_of_another_schema_is_a_note(tmp_path: Path, text: str) -> None:
    write(tmp_path, "20250110T120000Z-0000")
    place = tmp_path / "runs" / "20250120T120000Z-0000"
    place.mkdir()
    (place / "run.json").write_text(text, encoding="utf-8")
    (tmp_path / "runs" / "20250121T120000Z-0000").mkdir()  # has no run.json
    name, (note,) = found(tmp_path)
    assert name == "20250110T120000Z-0000"
    assert note.startswith("Run 20250120T120000Z-0000 was skipped: run.json")
    assert str(tmp_path) not in note


@pytest.mark.parametrize("body", [b'{"schema": 4, "id": "\xff"}', b"[" * 100_000])
def test_a_run_json_that_cannot_be_parsed_is_a_note(tmp_path: Path, body: bytes) -> None:
    write(tmp_path, "20250110T120000Z-0000")
    place = tmp_path / "runs" / "20250120T120000Z-0000"
    place.mkdir()
    (place / "run.json").write_bytes(body)
    name, (note,) = found(tmp_path)
    assert name == "20250110T120000Z-0000"
    assert note.startswith("Run 20250120T120000Z-0000 was skipped: ")
    assert str(tmp_path) not in note


def test_a_run_outside_runs_has_no_previous_run(tmp_path: Path) -> None:
    write(tmp_path, "20250110T120000Z-0000")
    (tmp_path / "runs").rename(tmp_path / "samples")
    assert previous_run(tmp_path / "samples" / "20250130T120000Z-0000", NOW).folder is None


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("", "Nothing changed: 4 of 4 results keep status and bits."),
        ("20250120T120000Z-0000", "Run 20250120T120000Z-0000 was skipped: run.json: cut off."),
    ],
)
def test_the_report_compares_with_the_previous_run_if_it_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], broken: str, words: str
) -> None:
    runs = {name: factory.run(write(tmp_path, name)) for name in ("20250120T120000Z-0000", "20250130T120000Z-0000")}

    def load(folder: Path, **_: bool) -> Run:
        if folder.name == broken:
            message = f"{folder}/run.json: cut off"
            raise StorageError(message)
        return runs[folder.name]

    monkeypatch.setattr(store, "load", load)
    assert cli.main(["report", "--reports", str(tmp_path)]) == 0
    assert words in " ".join(capsys.readouterr().out.split())
    assert words in (tmp_path / "index.html").read_text(encoding="utf-8")
