"""The cluster that tests of Slurm use: it assigns GPUs, requeues after a node's end, and leaves no process behind."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.integration.slurm_cluster import ClusterError, Node, SlurmCluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slurm

NODES = {"a1": Node("a100", 2), "a2": Node("a100", 2), "h1": Node("h100", 3)}
#: Each task appends when it began and ended, where, and with which GPU.
TASK = """\
#!/bin/sh
file="$1/$SLURM_JOB_NAME-$SLURM_ARRAY_TASK_ID"
line() { echo "$1 $SLURMD_NODENAME $SLURM_JOB_GPUS ${SLURM_RESTART_COUNT:-0} $(date +%s.%N)" >> "$file"; }
line begin
sleep 1
line end
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[SlurmCluster]:
    """Start a cluster of three nodes, and check that its end leaves no process."""
    with SlurmCluster(tmp_path, NODES) as one:
        yield one
    assert processes(str(tmp_path)) == []


def processes(text: str) -> list[str]:
    """The command lines of processes that name a text there or in their environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if text in " ".join([*process.cmdline(), *process.environ().values()]):
                found.append(" ".join(process.cmdline()))
    return found


def submit(cluster: SlurmCluster, *options: str, script: str = TASK) -> str:
    """Submit a script and return the number of its job."""
    (cluster.folder / "results").mkdir(exist_ok=True)
    (cluster.folder / "task").write_text(script, encoding="utf-8")
    command = ["sbatch", "--parsable", "--output=/dev/null", *options, "task", str(cluster.folder / "results")]
    done = cluster.run(*command)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def jobs(cluster: SlurmCluster) -> list[dict[str, Any]]:
    """Every job that the controller remembers."""
    found: list[dict[str, Any]] = json.loads(cluster.run("squeue", "--json").stdout)["jobs"]
    return found


def wait(done: Callable[[], bool], limit_s: float) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < end, f"not within {limit_s} s"
        time.sleep(0.1)


def wait_for_completion(cluster: SlurmCluster, tasks: int) -> None:
    """Wait until so many jobs are complete and there is no other."""
    wait(lambda: [one["job_state"] for one in jobs(cluster)] == ["COMPLETED"] * tasks, 60)


def lines(cluster: SlurmCluster, word: str) -> list[list[str]]:
    """The lines of all tasks that begin with a word, each after the name of its task."""
    files = sorted((cluster.folder / "results").iterdir())
    found = [[file.name, *line.split()] for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return [line for line in found if line[1] == word]


def test_every_task_of_two_arrays_ends_on_a_gpu_of_its_model_although_a_node_fails(cluster: SlurmCluster) -> None:
    for model in ("a100", "h100"):
        submit(cluster, f"--job-name={model}", f"--gres=gpu:{model}:1", "--array=0-5")
    wait(lambda: any(node == "a1" for _, _, node, *_ in lines(cluster, "begin")), 10)
    cluster.kill_node("a1")
    cluster.wait_for_state("a1", "down")
    wait_for_completion(cluster, 12)
    ended = lines(cluster, "end")
    assert {task for task, *_ in ended} == {f"{model}-{index}" for model in ("a100", "h100") for index in range(6)}
    assert all(task.startswith(NODES[node].model) for task, _, node, *_ in ended)
    interrupted = [
        one
        for one in lines(cluster, "begin")
        if one[2] == "a1" and [one[0], "end", *one[2:5]] not in [line[:5] for line in ended]
    ]
    again = {task: int(restarts) for task, _, _, _, restarts, _ in ended}
    assert interrupted
    assert all(again[task] == 1 for task, *_ in interrupted)
    assert_no_gpu_twice(cluster)
    cluster.start_node("a1")
    cluster.wait_until_idle()


def assert_no_gpu_twice(cluster: SlurmCluster) -> None:
    """No two tasks that ended had one GPU at the same time."""
    uses = defaultdict(list)
    begun = {(task, restarts): when for task, _, _, _, restarts, when in lines(cluster, "begin")}
    for task, _, node, gpu, restarts, when in lines(cluster, "end"):
        assert int(gpu) in range(NODES[node].gpus)
        uses[node, gpu].append((float(begun[task, restarts]), float(when)))
    assert len(uses) > len(NODES)  # several GPUs of a node were in use
    for times in uses.values():
        ordered = sorted(times)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(ordered))


def test_jobs_go_on_while_the_controller_is_stopped(cluster: SlurmCluster) -> None:
    submit(cluster, "--job-name=a100", "--gres=gpu:a100:1", "--array=0-7")
    wait(lambda: len(lines(cluster, "begin")) == 4, 10)
    cluster.stop_controller()
    wait(lambda: len(lines(cluster, "end")) == 4, 10)
    assert cluster.node_states() == {}
    cluster.start_controller()
    wait_for_completion(cluster, 8)
    assert len(lines(cluster, "end")) == 8
    assert {restarts for *_, restarts, _ in lines(cluster, "end")} == {"0"}


def test_a_cancelled_job_leaves_no_process(cluster: SlurmCluster) -> None:
    job = submit(cluster, "--gres=gpu:h100:1", script="#!/bin/sh\nsetsid sleep 98765 &\nsleep 98765\n")
    wait(lambda: len(processes("98765")) == 2, 10)
    assert cluster.run("scancel", job).returncode == 0
    cluster.wait_until_idle()
    assert processes("98765") == []
    assert [one["job_state"] for one in jobs(cluster)] == ["CANCELLED"]


def test_the_example_of_the_documentation_runs_until_it_is_stopped(root: Path) -> None:
    command = [sys.executable, "-m", "tests.integration.slurm_cluster"]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True, start_new_session=True) as example:
        assert example.stdout is not None
        name, _, configuration = example.stdout.readline().strip().partition("=")
        environment = {**os.environ, name.removeprefix("export "): configuration}
        nodes = subprocess.run(
            ["sinfo", "-h", "-N", "-o", "%N %G"], env=environment, capture_output=True, text=True, check=True
        )
        example.terminate()
        assert example.wait(30) == 0
    assert nodes.stdout.split() == ["a1", "gpu:a100:2", "a2", "gpu:a100:2", "h1", "gpu:h100:2"]
    assert processes(configuration) == []


def test_an_error_shows_the_end_of_the_log(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"(?s)slurmctld ended.*NoSuchSetting"):
        SlurmCluster(tmp_path, NODES, {"NoSuchSetting": "1"}).__enter__()
    assert processes(str(tmp_path)) == []
