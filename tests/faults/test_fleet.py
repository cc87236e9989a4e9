"""A matrix on a real Slurm cluster of this host, with the stand-in for TensorFlow: what arrives after which fault."""

from __future__ import annotations

import itertools
import json
import re
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from bench import errors
from bench.store.run import load
from tests.faults.conftest import RELEASES
from tests.integration.slurm_cluster import Node, SlurmCluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.conftest import Checkout, Done

pytestmark = pytest.mark.slurm

NODES = {"a1": Node("a100", 2), "a2": Node("a100", 2), "h1": Node("h100", 2)}
TWO_MODELS = """
[fleet]
engine = "venv"
time_limit_min = 10
{more}
[[fleet.gpus]]
gpu = "a100"
[[fleet.gpus]]
gpu = "h100"
"""
#: What the measurement of a cell prints.
LOG = "fleet/*/cells/*/log.txt"
#: Every release of the small checkout, on two models.
ALL = ",".join(f"tf{release}-cpu" for release in ("2.18.1", *RELEASES))
CELLS = 2 * (len(RELEASES) + 1)


class Fleet:
    """Commands of the small checkout about its cluster."""

    def __init__(self, checkout: Checkout, cluster: SlurmCluster) -> None:
        self.checkout = checkout
        self.cluster = cluster
        checkout.environment |= {name: cluster.env[name] for name in ("SLURM_CONF", "PATH")}

    def words(self, *more: str, text: str = TWO_MODELS, settings: str = "", **codes: str) -> list[str]:
        """Return the command line of a submission with these lines of matrix.toml; ``codes`` are custom kernels."""
        file = self.checkout.folder / "matrix.toml"
        shipped = (self.checkout.root / "matrix.toml").read_text(encoding="utf-8")
        file.write_text(shipped + text.format(more=settings), encoding="utf-8")
        words = self.checkout.arguments("--matrix", str(file), "--device", "cpu", *more, codes=codes)
        words[words.index("venv")] = "slurm"
        return words

    def submit(self, *more: str, text: str = TWO_MODELS, settings: str = "", **codes: str) -> Done:
        """Submit the matrix."""
        done = self.checkout.run(*self.words(*more, text=text, settings=settings, **codes))
        assert done.code == 0, done.err
        return done

    def run(self, action: str, *more: str) -> Done:
        """Run ``fleet`` with the newest submission."""
        gates = ("--fail-on", "none") if action == "collect" else ()
        return self.checkout.run("fleet", action, "--reports", str(self.checkout.reports), *gates, *more)

    def cells(self) -> list[dict[str, Any]]:
        """Return every cell as ``fleet status --json`` prints it."""
        done = self.run("status", "--json")
        assert done.code == 0, done.err
        return [{**row["cell"], **row["state"], "over": row["over"]} for row in json.loads(done.out)["cells"]]

    def wait_for(self, phase: str, limit_s: float = 60) -> None:
        """Wait until a cell is in a phase."""
        self.checkout.wait_for(
            lambda: any(cell["phase"] == phase for cell in self.cells()), f"no {phase} cell", limit_s, every_s=0.5
        )

    def states(self) -> Iterator[Path]:
        """Return the files in which nodes report."""
        return self.checkout.reports.glob("fleet/*/cells/*/state.json")


@pytest.fixture
def fleet(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A cluster of three nodes with two GPU models; at its end no job is left, and no temporary file of one."""
    with SlurmCluster(tmp_path_factory.mktemp("c"), NODES) as cluster:
        yield Fleet(checkout, cluster)
        cluster.wait_until_idle(60)


@pytest.mark.fault(
    "A node of a cluster loses power while it measures cells",
    "Slurm starts them on another node; every cell arrives once, on a node of its GPU model.",
)
def test_every_cell_arrives_although_a_node_is_killed(fleet: Fleet) -> None:
    fleet.submit("--env", ALL)
    fleet.checkout.wait_for(lambda: any("a1" in path.read_text("utf-8") for path in fleet.states()), "nothing on a1")
    fleet.cluster.kill_node("a1")
    for file in (fleet.checkout.folder / "tmp").iterdir():
        if "tfrepro" not in file.name and file.is_file():  # of the standard library, in the middle of its first use
            file.unlink()
    fleet.cluster.wait_for_state("a1", "down")
    done = fleet.run("collect", "--wait")
    assert done.code == 0, done.err
    cells = fleet.cells()
    assert [cell["phase"] for cell in cells] == ["measured"] * CELLS
    wanted = ["a100"] * (CELLS // 2) + ["h100"] * (CELLS // 2)
    assert [NODES[cell["host"]].model for cell in cells] == wanted
    assert any(cell["attempt"] for cell in cells)
    info = fleet.checkout.newest().info
    assert len(info.columns) == len(load(fleet.checkout.runs()[-1]).records) == CELLS
    assert {column.host for column in info.columns} <= {"a1", "a2", "h1"}
    assert info.warnings == ()
    assert_no_gpu_twice(cells)


def assert_no_gpu_twice(cells: list[dict[str, Any]]) -> None:
    """No GPU of a node had two cells at the same time."""
    uses: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for cell in cells:
        uses.setdefault((cell["host"], cell["gpu"]), []).append((cell["started"], cell["updated"]))
    assert len(uses) > 2
    for times in map(sorted, uses.values()):
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(times)), times


@pytest.mark.fault(
    "The submitting process is killed, and the controller of the cluster restarted",
    "The jobs go on; another process collects their results.",
)
def test_the_submitter_is_killed_and_the_controller_restarted(fleet: Fleet) -> None:
    with fleet.checkout.start(*fleet.words("--wait", "--env", "tf2.18*")) as submitter:
        fleet.checkout.wait_for(lambda: list(fleet.states()), "no cell has started", 60)
        submitter.send_signal(signal.SIGKILL)
        submitter.communicate()
    fleet.cluster.stop_controller()
    fleet.cluster.start_controller()
    done = fleet.run("collect", "--wait")
    assert done.code == 0, done.err
    assert len(fleet.checkout.newest().info.columns) == 2


@pytest.mark.fault(
    "The cells of a cluster are cancelled while they measure",
    "No process, container or temporary file is left; finished rounds can be collected.",
)
def test_cancelled_cells_leave_nothing_behind(fleet: Fleet) -> None:
    fleet.submit("--env", "tf2.18*", "--rounds", "50")
    records = fleet.checkout.reports / "fleet"
    fleet.wait_for("running")
    fleet.checkout.wait_for(lambda: list(records.rglob("state.json")), "nothing runs", 30)
    done = fleet.run("cancel")
    assert done.code == 0, done.err
    assert {cell["phase"] for cell in fleet.cells()} == {"stopped"}
    assert not fleet.checkout.processes()
    assert not list((fleet.checkout.folder / "tmp").iterdir())


@pytest.mark.fault(
    "A cell reaches the time limit of its job", "Its finished rounds are kept, and the report says that it was stopped."
)
def test_a_cell_at_its_time_limit_keeps_its_rounds(fleet: Fleet) -> None:
    text = TWO_MODELS.replace("time_limit_min = 10", "time_limit_min = 1").partition('[[fleet.gpus]]\ngpu = "h100"')[0]
    fleet.submit("--env", "tf2.18*", "--rounds", "60", text=text)
    done = fleet.run("collect", "--wait")
    assert done.code == errors.ENGINE
    (cell,) = fleet.cells()
    assert (cell["phase"], cell["over"]) == ("stopped", True)
    assert "It reached its time limit; finished rounds are kept" in cell["message"]
    run = fleet.checkout.newest()
    assert 1 <= len(run.records) < 60
    assert any("stopped, its finished rounds are here: It reached its time limit" in text for text in run.info.warnings)
    assert "1 of 1 cells are missing from these results, or incomplete" in done.err
    again = fleet.run("retry")
    assert again.code == 0, again.err
    fleet.wait_for("running")
    assert fleet.run("cancel").code == 0
    fleet.run("collect")
    assert len(fleet.checkout.newest().records) >= len(run.records)
    assert len(fleet.checkout.runs()) == 1, "the new collection replaces the earlier one"


@pytest.mark.fault(
    "A job is requeued while it measures",
    "It ends its round in order, and continues with the others when it starts again.",
)
def test_a_requeued_cell_continues(fleet: Fleet) -> None:
    text = TWO_MODELS.partition('[[fleet.gpus]]\ngpu = "h100"')[0]
    fleet.submit("--env", "tf2.18*", "--rounds", "8", text=text)
    logs = fleet.checkout.reports.glob
    fleet.checkout.wait_for(lambda: any("[2/8]" in log.read_text("utf-8") for log in logs(LOG)), "no second round", 60)
    assert fleet.cluster.run("scontrol", "requeue", fleet.cells()[0]["job"]).returncode == 0
    done = fleet.run("collect", "--wait")
    assert done.code == 0, done.err
    assert fleet.cells()[0]["attempt"] == 1
    run = fleet.checkout.newest()
    assert len(run.records) == 8
    assert next(logs(LOG)).read_text("utf-8").count("[1/8]") == 1, "a finished round was measured again"


@pytest.mark.fault(
    "A cell is preempted by a job of a partition with a higher priority",
    "Slurm starts it again when that job has ended; finished rounds are not measured again.",
)
def test_a_preempted_cell_continues(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = {"PreemptType": "preempt/partition_prio", "PreemptMode": "REQUEUE"}
    partitions = {"all": "Default=YES PriorityTier=1 PreemptMode=REQUEUE", "urgent": "PriorityTier=10"}
    with SlurmCluster(tmp_path_factory.mktemp("c"), {"a1": Node("a100", 1)}, settings, partitions) as cluster:
        fleet = Fleet(checkout, cluster)
        one_model = TWO_MODELS.replace('[[fleet.gpus]]\ngpu = "h100"\n', "")
        fleet.submit("--env", "tf2.18*", "--rounds", "8", text=one_model)
        logs = checkout.reports.glob
        checkout.wait_for(lambda: any("[2/8]" in log.read_text("utf-8") for log in logs(LOG)), "no second round", 90)
        urgent = ("sbatch", "--partition=urgent", "--gres=gpu:a100:1", "--output=/dev/null", "--wrap=sleep 3")
        assert cluster.run(*urgent).returncode == 0
        running = ("squeue", "-h", "--partition=urgent", "--states=running,completing,completed")
        checkout.wait_for(lambda: cluster.run(*running).stdout, "it does not preempt", 60, every_s=0.5)
        done = fleet.run("collect", "--wait")
        assert done.code == 0, done.err
        (cell,) = fleet.cells()
        assert (cell["phase"], cell["attempt"]) == ("measured", 1)
        assert len(checkout.newest().records) == 8
        finished = re.findall(r"\[\d/\d\].* round (\d)", next(logs(LOG)).read_text("utf-8"))
        assert "2" in finished
        assert len(set(finished)) == len(finished), "a finished round was measured again"
        cluster.wait_until_idle(60)


def test_variables_with_options_for_slurm_do_not_hide_jobs(fleet: Fleet) -> None:
    fleet.checkout.environment |= {
        "SBATCH_JOB_NAME": "x", "SBATCH_SIGNAL": "KILL", "SQUEUE_STATES": "PREEMPTED", "SQUEUE_USERS": "nobody",
        "SCANCEL_STATE": "SUSPENDED", "SBATCH_WAIT": "1", "SBATCH_GRES": "gpu:h100:2", "SBATCH_TIMELIMIT": "1",
    }  # fmt: skip
    fleet.submit("--env", "tf2.18*", "--rounds", "50")
    fleet.wait_for("running")
    assert fleet.run("cancel").code == 0
    assert {cell["phase"] for cell in fleet.cells()} == {"stopped"}
    assert fleet.cluster.run("squeue", "-h").stdout == ""


def test_what_the_cluster_lacks_is_refused_before_anything_is_submitted(fleet: Fleet) -> None:
    for old, new, says in (
        ('"a100"', '"a200"', "The cluster has no GPU model 'a200'.\n\nhint: Its models are: a100, h100."),
        ('gpu = "a100"', 'gpu = "a100"\nnodes = ["a9"]', "has no node 'a9'.\n\nhint: Its nodes are: a1, a2, h1."),
        ('gpu = "a100"', 'gpu = "a100"\nnodes = ["h1"]', "The node h1 has no GPU model 'a100'."),
        ("[fleet]", '[fleet]\npartition = "none"', "no partition 'none'.\n\nhint: Its partitions are: all."),
        ("[fleet]", '[fleet]\noptions = ["--nonsense"]', "sbatch failed: sbatch: unrecognized option '--nonsense'"),
    ):
        done = fleet.checkout.run(*fleet.words(text=TWO_MODELS.replace(old, new, 1)))
        assert done.code in {errors.CONFIG, errors.ENGINE}
        assert says in done.err, done.err
    for engine, more, says in (
        ("venv", ("--host-name", "x"), "--host-name cannot be used with --engine slurm"),
        ("venv", ("--no-resume",), "--no-resume cannot be used"),
        ("venv", ("--from-registry", "127.0.0.1:9"), "--from-registry cannot be used"),
        ("venv", ("--device", "all"), "--device all names a device of this host"),
        ("local", ("--env", "tf2.18*"), "--env cannot be used with --engine slurm and engine local"),
        ("pyxis", (), "[fleet] with engine = 'pyxis' needs the key image"),
    ):
        words = fleet.words(*more, text=TWO_MODELS.replace('engine = "venv"', f'engine = "{engine}"'))
        if engine != "venv":  # options of the small checkout that an existing environment does not have
            del words[words.index("--timing-pairs") : words.index("--timing-pairs") + 2]
            if "--env" not in more:
                del words[words.index("--env") : words.index("--env") + 2]
        done = fleet.checkout.run(*words)
        assert done.code == errors.CONFIG
        assert says in done.err, done.err
    assert fleet.cluster.run("squeue", "-h").stdout == ""


@pytest.mark.fault("The controller of a cluster does not answer", "The command ends with exit code 4 within a minute.")
def test_the_controller_does_not_answer(fleet: Fleet) -> None:
    fleet.submit("--env", "tf2.18*")
    fleet.cluster.stop_controller()
    try:
        done = fleet.run("status")
    finally:
        fleet.cluster.start_controller()
    assert done.code == errors.ENGINE
    assert "squeue" in done.err
    assert fleet.run("collect", "--wait").code == 0


def test_200_cells_wait_in_two_arrays_while_another_matrix_is_measured(fleet: Fleet) -> None:
    table = '[[fleet.gpus]]\ngpu = "a100"\n'
    many = TWO_MODELS.partition("[[fleet.gpus]]")[0] + 20 * table + 20 * table.replace("a100", "h100")
    first = fleet.submit("--env", ALL.partition(",")[2], text=many)
    assert "200 cells in 2 job arrays" in first.out
    assert len(fleet.cells()) == 200
    other = fleet.checkout.folder / "others"
    done = fleet.checkout.run(*fleet.words("--env", "tf2.18*", "--reports", str(other)))
    assert done.code == 0, done.err
    assert fleet.run("cancel").code == 0
    assert all(cell["over"] for cell in fleet.cells())
    done = fleet.checkout.run("fleet", "collect", "--wait", "--reports", str(other), "--fail-on", "none")
    assert done.code == 0, done.err


def test_the_scripts_can_be_read_before_they_are_submitted(fleet: Fleet) -> None:
    done = fleet.checkout.run(*fleet.words("--env", ALL, "--dry-run"))
    assert done.code == 0, done.err
    assert f"{CELLS} cells in 2 job arrays: about 0.1 hours, the longest cell" in done.out
    assert '#SBATCH --gres="gpu:h100:1"\n' in done.out
    assert not list(fleet.checkout.reports.glob("fleet/*"))
    script = fleet.checkout.folder / "script.sh"
    script.write_text(done.out[done.out.index("#!/bin/sh") :].partition("\n\n")[0], encoding="utf-8")
    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0


def test_the_bits_of_two_hosts_are_compared(fleet: Fleet) -> None:
    text = TWO_MODELS.replace('gpu = "a100"\n', 'gpu = "a100"\nnodes = ["a1", "a2"]\n').partition(
        '[[fleet.gpus]]\ngpu = "h100"'
    )[0]
    other = 'return {"x": tf.constant([float(seed + sum(map(ord, os.uname().nodename)))])}'
    fleet.submit(
        "--env", "tf2.18*", "--mode", "both", "--rounds", "5", "--repetitions", "4", text=text, names_its_host=other
    )
    done = fleet.run("collect", "--wait", "--fail-on", "host-conflict")
    assert done.code == errors.GATE, done.err
    assert "names_its_host has other bits on another host" in done.err
    assert "A on a1; B on a2" in done.err
    assert "With determinism on, 1 of 2 kernels is reproducible" in done.out
    page = (fleet.checkout.reports / "index.html").read_text(encoding="utf-8")
    assert "Across hosts" in page
