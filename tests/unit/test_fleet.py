"""Fleet runs: cells and their arrays, scripts, the GPU of a job, what Slurm's clients print, and collecting."""

from __future__ import annotations

import dataclasses
import itertools
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.cli import fleet as fleet_cli
from bench.cli.parser import parser
from bench.errors import ConfigError, EngineError, StorageError
from bench.fleet import collect, node_gpu, planning, slurm
from bench.fleet.state import FAILED, MEASURED, STOPPED, Array, Cell, CellState, Fleet, FleetFolder
from bench.fleet.status import statuses
from bench.plan.config_models import Fleet as FleetSettings
from bench.portable.errors import PortableError
from bench.portable.host_facts import Gpu, GpuInventory
from bench.report.build.page import build
from bench.store.run import load, read_info
from bench.verdict import Status, evaluate
from tests.unit import factory

if TYPE_CHECKING:
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


def test_a_cell_without_a_result_is_a_column_that_was_not_run(folder: FleetFolder, tmp_path: Path) -> None:
    facts = {
        "tensorflow": "2.19.0", "cuda": "12.5", "cudnn": "9.3", "kind": "official", "keras": "3.15.1", "python": "3.11",
    }  # fmt: skip
    lost = Cell(1, "tf2.19.0-cuda12.5", "H200", lock="tf2.19.0-cuda12.5-py311.txt", facts=facts)
    fleet = folder.read()
    folder.write(dataclasses.replace(fleet, cells=(*fleet.cells[:1], lost)))
    write_run(folder, 0, "20250101T100500Z-0000")
    folder.write_state(0, CellState(phase=MEASURED))
    folder.write_state(1, CellState(phase=FAILED, host="gpu07", message="its job ended (NODE_FAIL)"))
    run, _ = collect.collect(folder, statuses(folder, folder.read(), {}), tmp_path)
    results = evaluate(load(run))
    column = results.info.columns[1]
    assert (column.id, column.host) == ("tf2.19.0-cuda12.5-py311@h200-gpu07", "gpu07")
    assert {(one.status, one.why) for one in results.verdicts if one.column == column.id} == {
        (Status.NOT_RUN, "failed: its job ended (NODE_FAIL)")
    }
    shown = build(results).columns[1]
    assert (shown.blocked, shown.reason) == ("not-run", "failed: its job ended (NODE_FAIL).")


@pytest.mark.parametrize("reason", ["JobHeldUser", "launch failed requeued held", "DependencyNeverSatisfied"])
def test_nobody_waits_for_ever_for_a_job_that_is_held(
    folder: FleetFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], reason: str
) -> None:
    folder.write_state(0, CellState(phase=MEASURED))
    now = itertools.count(0, 1000)
    monkeypatch.setattr("bench.cli.fleet.time", SimpleNamespace(monotonic=lambda: next(now), sleep=lambda _: None))
    tasks = {1: slurm.Task(state="PENDING", reason=reason, node="")}
    cells: Any = SimpleNamespace(statuses=lambda: statuses(folder, folder.read(), tasks))
    (_, held) = fleet_cli.wait(cells)
    assert not held.over
    assert f"1 waiting ({reason})" in (said := capsys.readouterr().err)
    assert "1 of them will not start until their jobs are released or changed." in said


def test_a_collection_that_cannot_be_recorded_leaves_no_run(folder: FleetFolder, tmp_path: Path) -> None:
    write_run(folder, 0, "20250101T100500Z-0000")
    (folder.path / "collected.json").mkdir()  # as if it were another user's
    with pytest.raises(StorageError, match=r"collected\.json cannot be written"):
        collected(folder, tmp_path / "reports")
    assert not list((tmp_path / "reports" / "runs").iterdir())


def test_the_folder_of_another_user_is_an_error_that_says_so(
    folder: FleetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests may run as root, who can read everything: the refusal is simulated."""

    def refuse(path: Path, *_: object, **__: object) -> NoReturn:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(type(tmp_path), "is_file", refuse)
    monkeypatch.setattr(type(tmp_path), "glob", refuse)
    for name in (folder.path, None):
        with pytest.raises(StorageError, match="cannot be read: Permission denied") as caught:
            fleet_cli.find(tmp_path, name)
        assert "--reports" in caught.value.hint


def test_what_another_user_cancelled_cannot_be_submitted_again(
    folder: FleetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.cancelled.mkdir()  # as if it were another user's file
    monkeypatch.setattr(slurm, "client", lambda *_: "")
    options = parser().parse_args(["fleet", "retry", "--reports", str(tmp_path), "--matrix", str(tmp_path)])
    with pytest.raises(StorageError, match="cancelled cannot be removed"):
        fleet_cli.fleet(options)


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
    slurm.check_requests([Array(model, model, "", (0,), 1) for model in ("2080ti", "1g.10gb", "a100")], FleetSettings())
    slurm.check_requests([Array("a100", "a100", "n2", (0,), 1)], FleetSettings())
    with pytest.raises(ConfigError, match="The node n1 has no GPU model 'a100'") as caught:
        slurm.check_requests([Array("a100", "a100", "n1", (0,), 1)], FleetSettings())
    assert caught.value.hint == "Its models are: 2080ti."
    with pytest.raises(ConfigError) as caught:
        slurm.check_requests([Array("8", "8", "", (0,), 1)], FleetSettings())
    assert caught.value.hint == "Its models are: 1g.10gb, 2080ti, a100."


@pytest.mark.parametrize(
    ("config", "most"),
    [
        ("MaxArraySize            = 1001\nSchedulerParameters     = (null)\n", 1000),
        ("MaxArraySize            = 10001\nSchedulerParameters     = bf_max=1,max_array_tasks=3\n", 3),
        ("MaxArraySize            = 10001\n", 10000),
        ("", 1000),
    ],
)
def test_an_array_has_as_many_tasks_as_the_cluster_allows(
    monkeypatch: pytest.MonkeyPatch, config: str, most: int
) -> None:
    monkeypatch.setattr(slurm, "client", lambda *_: config)
    assert slurm.most_tasks() == most


def test_a_cluster_without_arrays_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "client", lambda *_: "MaxArraySize            = 0\n")
    with pytest.raises(EngineError, match="no job arrays"):
        slurm.most_tasks()


def test_waiting_cells_that_were_cancelled_are_stopped_and_not_lost(folder: FleetFolder) -> None:
    folder.cancelled.touch()
    found = statuses(folder, folder.read(), {})
    assert {(status.state.phase, status.state.message) for status in found} == {(STOPPED, "its job was cancelled")}


@pytest.mark.parametrize(
    ("action", "option"), [("cancel", "gpu"), ("retry", "env"), ("status", "wait"), ("collect", "json")]
)
def test_an_option_of_another_action_is_refused(action: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["fleet", action, f"--{option}=a"])
    assert f"unrecognized arguments: --{option}=a" in capsys.readouterr().err


def test_the_folder_of_a_fleet_run_may_follow_the_options() -> None:
    options = parser().parse_args(["fleet", "collect", "--wait", "--reports", "r", "f"])
    assert (options.wait, options.reports, options.folder) == (True, Path("r"), Path("f"))


@pytest.mark.parametrize(
    "settings",
    [
        *({"options": (option,)} for option in ("--job-name=x", "-J x", "--array=0-9", "-o/dev/null", "--signal=KILL")),
        *({"options": (option,)} for option in ("--test-only", "--wait", "--no-requeue", "--time=1", "--gres=gpu:2")),
        *({"options": (option,)} for option in ("-M other", "--wrap=x", "--nodes=2", "-w n1", "--ntasks=4", "-G1")),
        {"partition": 'a"\ntouch x\n"'},
        {"account": 'a"b'},
    ],
)
def test_settings_that_would_break_the_batch_script_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"sets itself|hides its jobs|no name of Slurm"):
        FleetSettings.model_validate(settings)


def test_the_latest_submission_of_a_cell_counts(folder: FleetFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    name = slurm.job_name(folder, folder.read().arrays[0])
    monkeypatch.setattr(slurm, "client", lambda *_: f"{name}|0|CANCELLED|None|n1\n{name}|0|NODE_FAIL|None|n2\n")
    tasks = slurm.tasks(folder, folder.read().arrays)
    assert (tasks[0].state, tasks[0].node) == ("NODE_FAIL", "n2")
    assert statuses(folder, folder.read(), tasks)[0].state.phase == FAILED


def driver_folder(tmp_path: Path, *uuids: str) -> Path:
    """Describe GPUs as the driver does; the number of each device file is its position here."""
    for number, uuid in enumerate(uuids):
        place = tmp_path / "gpus" / f"0000:{9 - number}a:00.0"  # the order on the bus is another one
        place.mkdir(parents=True)
        text = f"Model: \t\t NVIDIA H200\nIRQ:   \t\t 16\nGPU UUID: \t {uuid}\nDevice Minor: \t {number}\n"
        (place / "information").write_text(text, encoding="utf-8")
    return tmp_path / "gpus"


def inventory(*uuids: str) -> GpuInventory:
    return GpuInventory(driver="580.65.06", gpus=tuple(Gpu(uuid, "NVIDIA H200") for uuid in uuids), why="no driver")


@pytest.mark.parametrize(("numbers", "uuid"), [("0", "GPU-a"), ("1", "GPU-b"), ("2,0", "GPU-c")])
def test_the_gpu_of_a_job_is_found_by_its_number_not_by_what_cuda_shows(
    tmp_path: Path, numbers: str, uuid: str
) -> None:
    job = {"SLURM_JOB_GPUS": numbers, "CUDA_VISIBLE_DEVICES": "0"}
    seen = inventory("GPU-c", "GPU-b", "GPU-a")
    folder = driver_folder(tmp_path, "GPU-a", "GPU-b", "GPU-c")
    assert node_gpu.allocated(job, seen, lambda: 3, folder).uuid == uuid


def test_a_gpu_that_is_not_known_to_be_the_jobs_is_not_measured(tmp_path: Path) -> None:
    folder = driver_folder(tmp_path, "GPU-a", "GPU-b")
    both, job = inventory("GPU-a", "GPU-b"), {"SLURM_JOB_GPUS": "1"}
    for environment, seen, configured, says in (
        (job, both, 1, "which of 2 GPUs is not known"),  # Slurm counts only some of the GPUs
        ({"SLURM_JOB_GPUS": "2"}, both, 2, "which of 2 GPUs is not known"),
        ({"SLURM_JOB_GPUS": "x"}, both, 2, "which of 2 GPUs is not known"),
        ({}, both, 2, "Slurm gave the job no GPU, although the node has 2"),
        ({}, inventory("GPU-a"), 1, "Slurm gave the job no GPU, although the node has 1"),
        (job, inventory(), 2, "The node has no GPU: no driver"),
    ):
        with pytest.raises(PortableError, match=says):
            node_gpu.allocated(environment, seen, lambda number=configured: number, folder)  # type: ignore[misc]
    assert node_gpu.allocated(job, inventory("GPU-b"), lambda: 2, folder).uuid == "GPU-b", (
        "a job that sees its own only"
    )


@pytest.mark.parametrize(("wanted", "found"), [("", ""), ("580", "580.65.06"), ("580.65.06", "580.65.06")])
def test_the_promised_driver_is_right(wanted: str, found: str) -> None:
    assert not node_gpu.wrong_driver(wanted, found)


@pytest.mark.parametrize("found", ["5800.1", "570.10", ""])
def test_another_driver_than_the_promised_one_is_named(found: str) -> None:
    assert node_gpu.wrong_driver("580", found) == f"its driver is {found or 'unknown'}, but [[fleet.gpus]] requires 580"


def test_a_gpu_that_others_use_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_gpu, "_POLL_S", 0.001)
    answers = iter([["71"], ["71"], []])
    said: list[str] = []
    assert node_gpu.wait_until_free(Gpu("GPU-a", "NVIDIA H200"), 60, said.append, lambda _: next(answers)) == ""
    assert said == ["waiting up to 60 s for NVIDIA H200 GPU-a, which process 71 uses"]
    assert node_gpu.wait_until_free(Gpu("GPU-a", "NVIDIA H200"), 0.01, said.append, lambda _: ["7", "8"]) == "7, 8"


@given(
    places=st.lists(st.tuples(st.sampled_from(["", "a", "a-b"]), st.sampled_from(["", "b", "c"])), max_size=60),
    most=st.integers(1, 20),
)
def test_every_cell_is_in_one_array_of_its_place(places: list[tuple[str, str]], most: int) -> None:
    cells = [Cell(number, "tf", gpu, node, seconds=600) for number, (gpu, node) in enumerate(places)]
    arrays = planning.arrays(cells, most)
    assert sorted(number for array in arrays for number in array.cells) == list(range(len(cells)))
    assert len({array.name for array in arrays}) == len(arrays)
    for array in arrays:
        assert 1 <= len(array.cells) <= most
        assert {(cells[number].gpu, cells[number].node) for number in array.cells} == {(array.gpu, array.node)}
        assert array.limit_min == 26, "half as much again as ten minutes, and ten minutes more"


def test_a_script_names_paths_with_odd_characters(tmp_path: Path) -> None:
    place = tmp_path / "a b%j $HOME 'c'"
    array = Array("h200", "h200", "gpu01", (0, 1), 90)
    fleet = Fleet(
        id="x", engine="slurm", command="", submitted="", suite_hash="", root=str(place), cells=(), python="/py 3",
        arguments=("--matrix", "/shared/m.toml"), node_engine="pyxis", scratch="/local",
    )  # fmt: skip
    settings = FleetSettings(image="registry#tf:2.18", cpus=8, memory="64G", account="team", exclusive=True)
    text = slurm.script(fleet, array, FleetFolder(place / "fleet" / "x"), settings)
    lines = text.splitlines()
    wanted = ("--array=", "--gres=", "--nodelist=", "--cpus-per-task=", "--mem=", "--account=", "--signal=")
    assert [line for line in lines if line.startswith(tuple(f"#SBATCH {name}" for name in wanted))] == [
        *('#SBATCH --array="0-1"', '#SBATCH --signal="B:TERM@240"', '#SBATCH --gres="gpu:h200:1"'),
        *(
            '#SBATCH --nodelist="gpu01"',
            '#SBATCH --cpus-per-task="8"',
            '#SBATCH --mem="64G"',
            '#SBATCH --account="team"',
        ),
    ]
    assert f'#SBATCH --output="{place}/fleet/x/logs/h200-%a.txt"'.replace("%j", "%%j") in lines
    assert {"#SBATCH --requeue", "#SBATCH --exclusive"} <= set(lines)
    words = shlex.split(lines[-1])
    assert words[:3] == ["exec", "srun", "--container-image=registry#tf:2.18"]
    mounted = [place, place / "fleet" / "x", "/shared/m.toml", "/local"]
    assert f"--container-mounts={','.join(f'{one}:{one}' for one in mounted)}" in words
    assert words[-5:] == ["/py 3", "-m", "bench.fleet.node", str(place / "fleet" / "x"), "h200"]
    assert shlex.split(lines[-2]) == ["cd", str(place), "||", "exit", "4"]
