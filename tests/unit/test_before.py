"""Which run a run is compared with: the last finished one of its kind, in the same place."""

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
NOW = factory.info(id="20250130", started="2025-01-30T12:00:00+00:00", host=HOST)


def write(reports: Path, name: str, **changes: Any) -> RunInfo:
    """A run of the day in its name."""
    day = f"{name[:4]}-{name[4:6]}-{name[6:8]}T12:00:00+00:00"
    found = dataclasses.replace(NOW, **{"id": name, "started": day, **changes})
    place = reports / "runs" / name
    place.mkdir(parents=True)
    (place / "run.json").write_text(found.to_json(), encoding="utf-8")
    return found


def found(reports: Path, **changes: Any) -> tuple[str, tuple[str, ...]]:
    """The name of the run found, and the notes."""
    info = write(reports, "20250130", **changes)
    told = previous_run(reports / "runs" / "20250130", info)
    return (told.folder.name if told.folder else ""), told.notes


def test_there_may_be_none(tmp_path: Path) -> None:
    assert found(tmp_path) == ("", ())


def test_it_is_the_newest_older_one(tmp_path: Path) -> None:
    for name in ("20250110", "20250120", "20250201"):
        write(tmp_path, name)
    assert found(tmp_path) == ("20250120", ())


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
def test_one_that_shares_no_column_is_passed_over(tmp_path: Path, changes: dict[str, Any]) -> None:
    write(tmp_path, "20250110")
    write(tmp_path, "20250120", **changes)
    assert found(tmp_path) == ("20250110", ())


def test_an_imported_column_is_compared_with_its_own_host(tmp_path: Path) -> None:
    there = (factory.column(origin={"name": "elsewhere", "engine": "venv"}),)
    write(tmp_path, "20250110", columns=there)
    write(tmp_path, "20250120")
    assert found(tmp_path, columns=there) == ("20250110", ())


def test_one_of_its_kind_goes_before_a_newer_one_of_another(tmp_path: Path) -> None:
    write(tmp_path, "20250110")
    write(tmp_path, "20250120", profile="smoke")
    write(tmp_path, "20250121", seed=7)
    write(tmp_path, "20250122", kernels=factory.info().kernels[1:])
    assert found(tmp_path) == ("20250110", ())


def test_one_of_another_kind_is_better_than_none(tmp_path: Path) -> None:
    write(tmp_path, "20250110", profile="quick")
    write(tmp_path, "20250120", profile="smoke")
    assert found(tmp_path) == ("20250120", ())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}', "\x00", '{"schema": 4}'])
def test_a_damaged_or_older_one_is_a_note(tmp_path: Path, text: str) -> None:
    write(tmp_path, "20250110")
    place = tmp_path / "runs" / "20250120"
    place.mkdir()
    (place / "run.json").write_text(text, encoding="utf-8")
    (tmp_path / "runs" / "20250121").mkdir()  # never came to its run.json
    name, (note,) = found(tmp_path)
    assert name == "20250110"
    assert note.startswith("Run 20250120 was skipped: run.json")
    assert str(tmp_path) not in note


@pytest.mark.parametrize("body", [b'{"schema": 4, "id": "\xff"}', b"[" * 100_000])
def test_one_that_no_parser_takes_is_a_note(tmp_path: Path, body: bytes) -> None:
    write(tmp_path, "20250110")
    place = tmp_path / "runs" / "20250120"
    place.mkdir()
    (place / "run.json").write_bytes(body)
    name, (note,) = found(tmp_path)
    assert name == "20250110"
    assert note.startswith("Run 20250120 was skipped: ")
    assert str(tmp_path) not in note


def test_a_run_kept_elsewhere_has_no_neighbours(tmp_path: Path) -> None:
    write(tmp_path, "20250110")
    (tmp_path / "runs").rename(tmp_path / "samples")
    assert previous_run(tmp_path / "samples" / "20250130", NOW).folder is None


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("", "Nothing changed: 4 of 4 results keep status and bits."),
        ("20250120", "Run 20250120 was skipped: run.json: cut off."),
    ],
)
def test_report_says_what_changed_since_then_and_survives_what_it_cannot_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], broken: str, words: str
) -> None:
    runs = {name: factory.run(write(tmp_path, name)) for name in ("20250120", "20250130")}

    def load(folder: Path) -> Run:
        if folder.name == broken:
            message = f"{folder}/run.json: cut off"
            raise StorageError(message)
        return runs[folder.name]

    monkeypatch.setattr(store, "load", load)
    assert cli.main(["report", "--reports", str(tmp_path)]) == 0
    assert words in " ".join(capsys.readouterr().out.split())
    assert words in (tmp_path / "index.html").read_text(encoding="utf-8")
