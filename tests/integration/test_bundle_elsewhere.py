"""Real TensorFlow: a bundle on a host without network, and ``local`` in its own interpreter."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from bench import bundle
from bench.engines.venv import VenvEngine
from bench.plan import config
from bench.plan.planner import Selection
from bench.store import run as store
from bench.store.import_records import import_archive
from bench.verdict import Status, evaluate

if TYPE_CHECKING:
    from tests.integration.conftest import Bench

pytestmark = pytest.mark.tensorflow

KERNELS = ("matmul_f32", "reduce_sum_1d")


def offline(command: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    """Run a command without network access: in a network namespace if allowed, else with a dead proxy."""
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


def test_a_bundle_measures_without_network_and_its_records_can_be_imported(root: Path, tmp_path: Path) -> None:
    contents = bundle.BundleContents(
        matrix=config.load(root / "matrix.toml"), pair="tf2.18.1-cpu", out=tmp_path / "bundle", root=root,
        profile="quick", selection=Selection(kernels=(*KERNELS, "matmul_mean"), rounds=1, repetitions=2, pairs=1),
    )  # fmt: skip
    made = bundle.make(contents, lambda _: None)
    assert made.parts > 1
    assert max(path.stat().st_size for path in contents.out.iterdir()) <= 60 << 20
    offline_folder = tmp_path / "far"
    shutil.move(contents.out, offline_folder)
    options = ["--kernels", ",".join(KERNELS), "--rounds", "2", "--repetitions", "3", "--dir", str(tmp_path / "work")]
    done = offline(["sh", str(offline_folder / "run-bundle.sh"), *options], tmp_path)
    assert done.returncode == 0, done.stderr
    archive = tmp_path / done.stdout.strip()
    folder = import_archive(archive, tmp_path / "reports", say=lambda _: None)
    run = store.load(folder)
    (column,) = run.info.columns
    assert (column.id, column.status, column.origin["engine"]) == ("tf2.18.1-cpu-py311@cpu", "ready", "venv")
    assert len(run.records) == 4
    assert {record.comparison for record in run.paired.values()} == {"overhead", "noise-floor"}
    assert {kernel.outcome for record in run.paired.values() for kernel in record.kernels} == {"ok"}
    assert (run.info.rounds, run.info.repetitions) == (2, 3)
    assert {one.name for one in run.info.kernels if not one.control} == set(KERNELS)
    assert not run.unreadable
    assert run.kept.rows
    # two processes are too few for a verdict, but the run is in order
    assert set(statuses(run).values()) == {Status.INCONCLUSIVE}
    assert not evaluate(run).left_out
    options[options.index("--rounds") + 1] = "4"
    assert_a_signal_ends_it(["sh", str(offline_folder / "run-bundle.sh"), *options], tmp_path)


def assert_a_signal_ends_it(command: list[str], folder: Path) -> None:
    """Start a bundle again, and end it while it measures: no process is left, and it can be resumed."""

    def left() -> list[str]:
        lines = [" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])]
        return [line for line in lines if str(folder) in line]

    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for _ in range(1200):
        if any("bench.suite.driver" in line for line in left()):
            break
        time.sleep(0.1)
    child.terminate()
    _, output = child.communicate(timeout=60)
    assert child.returncode == 130, output
    assert "finished rounds are kept; run the same command again to resume" in output
    for _ in range(50):
        if not left():
            break
        time.sleep(0.1)
    assert not left()


def test_a_bundle_for_a_gpu_says_no_gpu_where_there_is_none(root: Path, bench: Bench, tmp_path: Path) -> None:
    """The rounds of a CUDA pair, run in the CPU pair's environment, must not count as a GPU's."""
    contents = bundle.BundleContents(
        matrix=config.load(root / "matrix.toml"), pair="tf2.18.1-cuda12.5", out=tmp_path / "bundle", root=root,
        profile="quick", selection=Selection(kernels=KERNELS, rounds=2),
    )  # fmt: skip
    plan = bundle._plans(contents, tmp_path / "locks", lambda _: None)["quick"]
    where = {"engine": "venv", "programs": [], "env": {}, "lock_hash": "", "details": {}}
    rounds, pairs = bundle._requests(contents, plan), bundle._pairs(contents, plan)
    body = {"run": bundle._run(contents, plan), "requests": rounds, "pairs": pairs, "where": where}
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
    assert "gpu-not-visible: tf2.18.1-cuda12.5-py311@gpu was not measured" in done.stderr
    folder = import_archive(tmp_path / done.stdout.strip(), tmp_path / "reports", say=lambda _: None)
    run = store.load(folder)
    assert [column.status for column in run.info.columns] == ["gpu-not-visible"]
    assert len(run.records) == 1
    assert not run.paired
    assert set(statuses(run).values()) == {Status.GPU_NOT_VISIBLE}


def test_local_counts_digests_and_its_archive_can_be_imported(root: Path, bench: Bench, tmp_path: Path) -> None:
    python = interpreter(bench)
    options = ["--kernels", ",".join(KERNELS), "--repetitions", "2", "--mode", "on", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [str(python), "-m", "bench", "local", *options],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(root), "TF_DETERMINISTIC_OPS": "1", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "TF_DETERMINISTIC_OPS=1 is ignored" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "None of 2 kernels produced more than one digest with determinism on."
    archive = Path(lines[-1].removeprefix("records: "))
    folder = import_archive(archive, tmp_path / "reports", say=lambda _: None)
    run = store.load(folder)
    (column,) = run.info.columns
    assert (column.id, column.kind, column.lock_hash) == ("tf2.18.1-local-py311@cpu", "local", "")
    reproducible = {kernel for (_, kernel), status in statuses(run).items() if status is Status.REPRODUCIBLE}
    assert reproducible == set(KERNELS), evaluate(run).verdicts
