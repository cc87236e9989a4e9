"""The benchmark of a fleet runs at a tiny size: its simulated runs are collected, and every host agrees."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest import mock

from bench import cli, errors, verdict
from bench.fleet import planning
from bench.fleet.state import FleetFolder
from bench.store import run as store
from bench.verdict import EvidenceLevel
from bench.verdict.host_groups import Agreement
from tests import fleet_benchmark
from tests.fleet_benchmark import Size

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SIZE = Size(2, 3)


def test_cells_and_arrays_of_the_shipped_matrix() -> None:
    cells = fleet_benchmark.plan(SIZE)
    assert len(cells) == 6
    assert {cell.node for cell in cells} == set(SIZE.names)
    assert [array.node for array in planning.arrays(cells, 1000)] == list(SIZE.names)


def test_a_part_of_the_cells_is_collected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = FleetFolder(tmp_path / "fleet" / "20250130T120000Z-abcd")
    fleet_benchmark.simulate(folder, SIZE)
    place = ["--reports", str(tmp_path), "--fail-on", "none"]
    with mock.patch("bench.fleet.slurm.client", return_value=""):  # Slurm no longer lists a job
        assert cli.main(["fleet", "collect", *place, "--env", "tf2.10.1*", "--gpu", "h*"]) == errors.OK
        (run,) = (tmp_path / "runs").iterdir()
        assert [column.tensorflow for column in store.read_info(run).columns] == ["2.10.1"] * 3
        assert cli.main(["fleet", "collect", *place, "--gpu", "b200"]) == errors.NOTHING
    assert "No cell of 20250130T120000Z-abcd fits --env and --gpu" in capsys.readouterr().err


def test_simulated_cells_are_collected_and_shown(tmp_path: Path) -> None:
    folder, reports = FleetFolder(tmp_path / "fleet"), tmp_path / "reports"
    fleet_benchmark.simulate(folder, SIZE)
    run = fleet_benchmark.collect_all(folder, reports)
    results = verdict.evaluate(store.load(run))
    assert not results.left_out
    assert len(results.info.columns) == 6
    on = [one for one in results.verdicts if one.mode == "on" and not one.control]
    assert {one.level for one in on} == {EvidenceLevel.SAME_ACROSS_HOSTS}
    assert {one.agreement for group in results.hosts for one in group.results} == {Agreement.AGREE}
    assert fleet_benchmark.show(run, reports).keys() == {"read", "evaluate", "build", "pages"}
    assert (reports / "index.html").is_file()
    assert fleet_benchmark.disk_use(reports)[1] > len(results.info.columns)
