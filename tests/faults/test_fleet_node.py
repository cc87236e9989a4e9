"""A cell on a node, started as Slurm starts it, but without Slurm: what the node refuses, and what it saves."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench import errors
from bench.fleet.state import Array, Cell, CellState, Fleet, FleetFolder
from tests.faults.test_storage import mounted

if TYPE_CHECKING:
    from tests.faults.conftest import Checkout

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


def submitted(checkout: Checkout, **changes: object) -> FleetFolder:
    """Write a fleet run of one cell, as ``matrix --engine slurm`` does."""
    folder = FleetFolder(checkout.reports / "fleet" / "20260101T000000Z-0000")
    code = "from bench.suite.suite_hash import suite_hash; print(suite_hash())"
    suite = subprocess.run(
        [sys.executable, "-c", code], cwd=checkout.root, capture_output=True, text=True, check=True
    ).stdout.strip()
    fleet = Fleet(
        id=folder.id, engine="slurm", command="", submitted="", suite_hash=suite, root=str(checkout.root),
        cells=(Cell(0, "tf2.18.1-cpu"),), arrays=(Array("any", "", "", (0,), 10),), node_engine="venv",
        arguments=("--profile", "quick", "--kernels", "control_integer", "--mode", "off", "--timing-pairs", "0",
                   "--rounds", "2"),
    )  # fmt: skip
    folder.write(dataclasses.replace(fleet, **changes))  # type: ignore[arg-type]
    return folder


def measure(checkout: Checkout, folder: FleetFolder, **environment: str) -> tuple[int, CellState, str]:
    """Measure the cell; returns the exit code, what the node reported, and its output."""
    command = [sys.executable, "-m", "bench.fleet.node", str(folder.path), "any"]
    variables = checkout.variables(**{"SLURM_ARRAY_TASK_ID": "0", "SLURMD_NODENAME": "n1", **environment})
    done = subprocess.run(
        command, cwd=checkout.root, timeout=120, check=False, env=variables, capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr
    return done.returncode, folder.state(0), done.stderr


def records(folder: FleetFolder) -> int:
    return len(list(folder.reports(0).glob("runs/*/records/*/*/*.jsonl.xz")))


def test_a_cell_is_measured_and_its_records_copied(checkout: Checkout) -> None:
    folder = submitted(checkout)
    code, state, _ = measure(checkout, folder)
    assert (code, state.phase, state.host, records(folder)) == (0, "measured", "n1", 2)
    assert abs(state.clock_s) < 5


def test_an_existing_environment_is_measured(checkout: Checkout) -> None:
    python = next(Path(checkout.environment["XDG_CACHE_HOME"]).glob("tfrepro/**/tf2.18.1-*/bin/python"))
    file = str(checkout.kernels())
    words = ("--kernels", "sound", "--kernel-file", file, "--mode", "off", "--rounds", "2", "--quick")
    folder = submitted(checkout, cells=(Cell(0, ""),), node_engine="local", python=str(python), arguments=words)
    code, state, said = measure(checkout, folder)
    assert (code, state.phase) == (0, "measured"), said + state.message
    (info,) = folder.reports(0).glob("runs/*/run.json")
    assert '"id": "tf2.18.1-local-py311@cpu-n1"' in info.read_text("utf-8")


@pytest.mark.fault(
    "The shared folder of a cluster is full",
    "The node tries again for ten minutes, then keeps the records on its own disk and says where.",
)
def test_the_shared_folder_is_full(checkout: Checkout) -> None:
    folder = submitted(checkout)
    with mounted(folder.path / "cells", "size=1m") as cells:
        subprocess.run(["dd", "if=/dev/zero", f"of={cells / 'filler'}"], check=False, capture_output=True)
        code, _, said = measure(checkout, folder)
        assert code == errors.ENGINE
        assert "No space left on device" in said
        (kept,) = (checkout.folder / "tmp").glob("tfrepro-records-*")
        assert f"the records are kept on the node in {kept}" in said
        assert len(list(kept.glob("runs/*/records/*/*/*.jsonl.xz"))) == 2
        subprocess.run(["rm", "-r", str(kept)], check=True)


@pytest.mark.fault(
    "The job is stopped while the shared folder is full",
    "The node gives up within half a minute and keeps the records on its own disk.",
)
def test_a_job_is_stopped_while_the_shared_folder_is_full(checkout: Checkout) -> None:
    folder = submitted(checkout)
    with mounted(folder.path / "cells", "size=1m") as cells:
        subprocess.run(["dd", "if=/dev/zero", f"of={cells / 'filler'}"], check=False, capture_output=True)
        command = [sys.executable, "-m", "bench.fleet.node", str(folder.path), "any"]
        variables = checkout.variables(SLURM_ARRAY_TASK_ID="0", SLURMD_NODENAME="n1")
        temporary, run_json = checkout.folder / "tmp", "tfrepro-scratch-cell-*/reports/runs/*/run.json"
        with subprocess.Popen(command, cwd=checkout.root, env=variables, stderr=subprocess.PIPE, text=True) as node:
            checkout.wait_for(
                lambda: any('"finished": "2' in file.read_text("utf-8") for file in temporary.glob(run_json)),
                "not finished", 60,
            )  # fmt: skip
            time.sleep(3)  # the measurement has ended, and the node tries to copy
            node.terminate()
            _, said = node.communicate(timeout=60)
        assert "the records are kept on the node in" in said
        (kept,) = temporary.glob("tfrepro-records-*")
        assert len(list(kept.glob("runs/*/records/*/*/*.jsonl.xz"))) == 2
        subprocess.run(["rm", "-r", str(kept)], check=True)


@pytest.mark.fault("The clock of a node is wrong", "The status names the node and the difference.")
def test_the_clock_of_a_node_is_wrong(checkout: Checkout) -> None:
    folder = submitted(checkout)
    # as in ``test_the_clock_jumps``: libfaketime makes Python's sleep fail
    (checkout.folder / "sitecustomize.py").write_text(
        "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds)\n", encoding="utf-8"
    )
    checkout.environment["PYTHONPATH"] = str(checkout.folder)
    wrong = {"LD_PRELOAD": FAKETIME, "FAKETIME": "-2h", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
    code, state, _ = measure(checkout, folder, **wrong)
    assert (code, state.phase) == (0, "measured"), state.message
    assert -7260 < state.clock_s < -7140


@pytest.mark.fault(
    "Suite or matrix.toml change between the submission and the start of a cell",
    "The cell is refused, with the reason.",
)
def test_what_changed_after_the_submission_is_not_measured(checkout: Checkout) -> None:
    matrix = checkout.folder / "matrix.toml"
    matrix.write_text("", encoding="utf-8")
    cases = (
        ({"suite_hash": "0" * 64}, "The checkout changed after it was submitted"),
        ({"matrix": str(matrix), "matrix_hash": "0" * 64}, "matrix.toml changed after it was submitted"),
        ({"matrix": str(matrix) + "x", "matrix_hash": "0" * 64}, "matrix.tomlx cannot be read: No such file"),
        ({"device": "gpu"}, "The node has no GPU: this host has no NVIDIA driver"),
    )
    for changes, says in cases:
        code, state, _ = measure(checkout, submitted(checkout, **changes))
        assert (code, state.phase) in {(errors.CONFIG, "refused"), (errors.NO_GPU, "refused")}
        assert says in state.message


def test_a_cancelled_cell_does_not_start(checkout: Checkout) -> None:
    folder = submitted(checkout)
    folder.cancelled.touch()
    code, state, _ = measure(checkout, folder)
    assert (code, state.phase) == (errors.CONFIG, "refused")
    assert "cancelled" in state.message


def test_a_measurement_that_fails_says_why(checkout: Checkout) -> None:
    folder = submitted(checkout, arguments=("--profile", "none"))
    code, state, _ = measure(checkout, folder)
    assert (code, state.phase) == (errors.CONFIG, "failed")
    assert state.message.startswith("There is no profile 'none'")
    assert f"See {folder.cell(0) / 'log.txt'}" in state.message


def test_a_measurement_that_cannot_start_is_no_result(checkout: Checkout) -> None:
    folder = submitted(checkout, python=shutil.which("python3", path="/usr/bin"))  # without the packages of tfrepro
    code, state, _ = measure(checkout, folder)
    assert (code, state.phase) == (1, "failed")
    assert state.message.startswith("exit code 1")


def test_a_node_name_may_have_an_underscore(checkout: Checkout) -> None:
    code, state, _ = measure(checkout, folder := submitted(checkout), SLURMD_NODENAME="gpu_01")
    assert (code, state.phase, state.host) == (0, "measured", "gpu_01")
    assert list(folder.reports(0).glob("runs/*/records/*-gpu-01"))
    assert (folder.reports(0) / "runs" / state.run).is_dir()


@pytest.mark.fault(
    "A node that Slurm took for dead goes on after its cell was started elsewhere",
    "It does not overwrite what the later attempt reports.",
)
def test_an_earlier_attempt_does_not_report(checkout: Checkout) -> None:
    folder = submitted(checkout)
    folder.write_state(0, later := CellState(phase="measured", job="0", attempt=1))
    assert measure(checkout, folder)[1] == later


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"phase": "moon"}', "\xff", '{"phase": 3}', '{"cells": 1}'])
@pytest.mark.fault("A file of a fleet run is damaged", "The command names it; a damaged state is a failed cell.")
def test_a_damaged_file_is_named(checkout: Checkout, text: str) -> None:
    folder = submitted(checkout)
    (folder.path / "cells" / "00000").mkdir(parents=True)
    (folder.path / "cells" / "00000" / "state.json").write_text(text, encoding="latin-1")
    if text != "{}":
        assert folder.state(0).phase == "failed"
        assert "state.json cannot be read" in folder.state(0).message
    (folder.path / "fleet.json").write_text(text, encoding="latin-1")
    done = checkout.run("fleet", "status", "--reports", str(checkout.reports))
    assert done.code == errors.CONFIG
    assert "fleet.json" in done.err


def test_a_host_without_slurm_says_so(checkout: Checkout) -> None:
    submitted(checkout)
    done = checkout.run("fleet", "status", "--reports", str(checkout.reports), env=checkout.variables(PATH=""))
    assert done.code == errors.ENGINE
    assert "squeue is not installed on this host" in done.err
    assert "hint: Submit from a login node" in done.err
