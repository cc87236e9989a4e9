"""Away and home again, on real TensorFlow: a bundle on a host without network, and ``here`` in its own interpreter."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from bench import bundle
from bench.engines.venv import VenvEngine
from bench.plan import config
from bench.plan.planner import Selection
from bench.portable import digest_counts
from bench.store import run as store
from bench.verdict import Status, evaluate

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Bench

pytestmark = pytest.mark.tensorflow

KERNELS = ("matmul_f32", "reduce_sum_1d")


def offline(command: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    """Run with nothing of this root: no network where the system lets us take it, else one that leads nowhere."""
    cut = shutil.which("unshare")
    alone = [cut, "--net"] if cut and subprocess.run([cut, "--net", "true"], check=False).returncode == 0 else []
    nowhere = "http://127.0.0.1:9"
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home), "HTTPS_PROXY": nowhere, "HTTP_PROXY": nowhere,
        "ALL_PROXY": nowhere,
    }  # fmt: skip
    return subprocess.run([*alone, *command], capture_output=True, text=True, check=False, env=environment)


def interpreter(bench: Bench) -> Path:
    """The Python of a ready environment."""
    assert bench.environment.column == bench.column.id
    assert isinstance(bench.engine, VenvEngine)
    return bench.engine.place(bench.column) / "bin" / "python"


def statuses(run: store.Run) -> dict[tuple[str, str], Status]:
    return {(one.mode, one.kernel): one.status for one in evaluate(run).verdicts if one.kernel in KERNELS}


def test_a_bundle_measures_without_network_and_its_records_come_home(root: Path, tmp_path: Path) -> None:
    order = bundle.Order(
        matrix=config.load(root / "matrix.toml"), pair="tf2.18.1-cpu", out=tmp_path / "bundle", root=root,
        profile="quick", selection=Selection(kernels=(*KERNELS, "matmul_mean"), rounds=1, repetitions=2),
    )  # fmt: skip
    made = bundle.make(order, lambda _: None)
    assert made.parts > 1
    assert max(path.stat().st_size for path in order.out.iterdir()) <= 60 << 20
    far = tmp_path / "far"
    shutil.move(order.out, far)
    words = ["--kernels", ",".join(KERNELS), "--rounds", "2", "--repetitions", "3", "--dir", str(tmp_path / "work")]
    done = offline(["sh", str(far / "run-bundle.sh"), *words], tmp_path)
    assert done.returncode == 0, done.stderr
    archive = tmp_path / done.stdout.strip()
    folder = bundle.importing(archive, tmp_path / "reports", say=lambda _: None)
    run = store.load(folder)
    (column,) = run.info.columns
    assert (column.id, column.status, column.origin["engine"]) == ("tf2.18.1-cpu-py311@cpu", "ready", "venv")
    assert len(run.records) == 4
    assert (run.info.rounds, run.info.repetitions) == (2, 3)
    assert {one.name for one in run.info.kernels if not one.control} == set(KERNELS)
    assert not run.unreadable
    assert run.kept.rows
    # two processes prove nothing, and are no fault
    assert set(statuses(run).values()) == {Status.INCONCLUSIVE}
    assert not evaluate(run).left_out


def test_a_bundle_for_a_gpu_says_no_gpu_where_there_is_none(root: Path, bench: Bench, tmp_path: Path) -> None:
    """The rounds of a CUDA pair, played in the CPU's environment: its inside must not pass for a GPU's."""
    order = bundle.Order(
        matrix=config.load(root / "matrix.toml"), pair="tf2.18.1-cuda12.5", out=tmp_path / "bundle", root=root,
        profile="quick", selection=Selection(kernels=KERNELS, rounds=2),
    )  # fmt: skip
    plan = bundle._plans(order, tmp_path / "locks", lambda _: None)["quick"]
    where = {"engine": "venv", "programs": [], "env": {}, "lock_hash": "", "details": {}}
    body = {"run": bundle._run(order, plan), "requests": bundle._requests(order, plan), "where": where}
    (tmp_path / "plan.json").write_text(json.dumps(body))
    python = interpreter(bench)
    command = [
        str(python),
        "-m",
        "bench.portable.run_plan",
        str(tmp_path / "plan.json"),
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(root)}
    )
    assert done.returncode == 5, done.stderr
    assert "no-gpu: tf2.18.1-cuda12.5-py311@gpu was not measured" in done.stderr
    folder = bundle.importing(tmp_path / done.stdout.strip(), tmp_path / "reports", say=lambda _: None)
    run = store.load(folder)
    assert [column.status for column in run.info.columns] == ["gpu-not-visible"]
    assert len(run.records) == 1
    assert set(statuses(run).values()) == {Status.GPU_NOT_VISIBLE}


def test_here_says_no_more_than_the_evaluate(root: Path, bench: Bench, tmp_path: Path) -> None:
    python = interpreter(bench)
    words = ["--kernels", ",".join(KERNELS), "--repetitions", "2", "--mode", "on", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [str(python), "-m", "bench", "here", *words],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(root), "TF_DETERMINISTIC_OPS": "1", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "TF_DETERMINISTIC_OPS=1 is set here" in done.stderr
    line, archive = done.stdout.splitlines()[:2]
    assert line.startswith("reproducible here? ")
    folder = bundle.importing(tmp_path / archive.removeprefix("records: "), tmp_path / "reports", say=lambda _: None)
    run = store.load(folder)
    (column,) = run.info.columns
    assert (column.id, column.kind, column.lock_hash) == ("tf2.18.1-here-py311@cpu", "here", "")
    told = digest_counts.tell(dataclasses.asdict(run.info), list(run.records.values()))
    exact = {kernel for (_, kernel), status in statuses(run).items() if status is Status.REPRODUCIBLE}
    assert set(told["on"].same) <= exact
    assert exact == set(KERNELS), evaluate(run).verdicts
    assert set(told["on"].same) == exact
    assert "yes, as far as 5 processes tell" in line
