"""Runs of cells put together, and what Slurm's clients print."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from bench.errors import ConfigError
from bench.fleet import collect, slurm
from bench.fleet.state import FAILED, MEASURED, Array, Cell, CellState, Fleet, FleetFolder
from bench.fleet.status import statuses
from bench.plan.config_models import Fleet as FleetSettings
from bench.store.run import read_info
from tests.unit import factory

if TYPE_CHECKING:
    from pathlib import Path

    from bench.store.run_info import RunInfo


@pytest.fixture
def folder(tmp_path: Path) -> FleetFolder:
    """A fleet run of two cells in one array."""
    found = FleetFolder(tmp_path / "fleet" / "20250101T000000Z-0000")
    cells = (Cell(0, "tf2.18.1-cpu"), Cell(1, "tf2.19.0-cpu"))
    found.write(
        Fleet(
            id=found.id, engine="slurm", command="", submitted="", suite_hash="", root="", cells=cells,
            arrays=(Array("any", "", "", (0, 1), 10),),
        )
    )  # fmt: skip
    return found


def write_run(folder: FleetFolder, number: int, name: str, **changes: object) -> None:
    """Write the run.json of a run of a cell; its column is named after the number of the cell."""
    column = factory.column(("2.18.1", "2.19.0")[number])
    info: RunInfo = dataclasses.replace(factory.info(columns=(column,)), id=name, **changes)  # type: ignore[arg-type]
    place = folder.reports(number) / "runs" / name
    place.mkdir(parents=True)
    (place / "run.json").write_text(info.to_json(), encoding="utf-8")


def collected(folder: FleetFolder, reports: Path) -> RunInfo:
    return read_info(collect.collect(folder, statuses(folder, folder.read(), {}), reports)[0])


def test_the_run_of_the_latest_attempt_is_collected_although_an_earlier_node_had_a_clock_ahead(
    folder: FleetFolder, tmp_path: Path
) -> None:
    write_run(folder, 0, "20250101T110000Z-0000", finished="")  # one hour ahead, and it died
    write_run(folder, 0, "20250101T100500Z-0000", rounds=7)
    folder.write_state(0, CellState(phase=MEASURED, run="20250101T100500Z-0000"))
    assert collected(folder, tmp_path).rounds == 7


@pytest.mark.parametrize(("run", "says"), [("", "there is no result of it: its run is missing"), ("x", "not finished")])
def test_a_measured_cell_without_a_finished_run_is_a_warning(
    folder: FleetFolder, tmp_path: Path, run: str, says: str
) -> None:
    write_run(folder, 0, "20250101T100500Z-0000")
    if run:
        write_run(folder, 1, "20250101T100500Z-0001", finished="")
    for number in (0, 1):
        folder.write_state(number, CellState(phase=MEASURED))
    (warning,) = [text for text in collected(folder, tmp_path).warnings if "tf2.19.0-cpu on any node" in text]
    assert says in warning


def test_links_that_lead_out_of_a_run_are_not_followed(folder: FleetFolder, tmp_path: Path) -> None:
    write_run(folder, 0, name := "20250101T100500Z-0000")
    outside = tmp_path / "private"
    outside.mkdir()
    for file in ("key.log", "off-001.jsonl.xz"):
        (outside / file).write_text("a secret", encoding="utf-8")
    place = folder.reports(0) / "runs" / name
    for part, target in (
        ("logs/c/x.log", "key.log"),
        ("logs/d", ""),
        ("records/c/default/off-001.jsonl.xz", "off-001.jsonl.xz"),
    ):
        (place / part).parent.mkdir(parents=True, exist_ok=True)
        (place / part).symlink_to(outside / target)
    folder.write_state(0, CellState(phase=MEASURED))
    run, _ = collect.collect(folder, statuses(folder, folder.read(), {}), tmp_path)
    assert {file.name for file in run.rglob("*") if file.is_file()} == {"run.json", "imported"}


def test_gpu_models_may_begin_with_a_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "client", lambda *_: "n1|gpu:2080ti:4(S:0-1)\nn2|gpu:1g.10gb:7,gpu:a100:1\nn3|gpu:8\n")
    slurm.check_requests(
        [Array(model, model, "n1", (0,), 1) for model in ("2080ti", "1g.10gb", "a100")], FleetSettings()
    )
    with pytest.raises(ConfigError) as caught:
        slurm.check_requests([Array("8", "8", "", (0,), 1)], FleetSettings())
    assert caught.value.hint == "Its models are: 1g.10gb, 2080ti, a100."


@pytest.mark.parametrize(
    "settings",
    [
        *({"options": (option,)} for option in ("--job-name=x", "-J x", "--array=0-9", "-o/dev/null", "--signal=KILL")),
        {"partition": 'a"\ntouch x\n"'},
        {"account": 'a"b'},
    ],
)
def test_settings_that_would_break_the_batch_script_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"sets itself|no name of Slurm"):
        FleetSettings.model_validate(settings)


def test_the_latest_submission_of_a_cell_counts(folder: FleetFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    name = slurm.job_name(folder, folder.read().arrays[0])
    monkeypatch.setattr(slurm, "client", lambda *_: f"{name}|0|CANCELLED|None|n1\n{name}|0|NODE_FAIL|None|n2\n")
    tasks = slurm.tasks(folder, folder.read().arrays)
    assert (tasks[0].state, tasks[0].node) == ("NODE_FAIL", "n2")
    assert statuses(folder, folder.read(), tasks)[0].state.phase == FAILED
