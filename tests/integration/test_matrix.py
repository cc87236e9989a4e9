"""`python -m bench matrix` as a user runs it: a page at the end, selection, resume, and bad luck."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from bench.store.run import Run, load
from tests.integration.own_kernels import joins

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.tensorflow

QUICK = ("--kernels", "reduce_sum_1d", "--profile", "quick", "--rounds", "1", "--repetitions", "2", "--env", "tf2.18*")
#: Timing pairs take most of the time of so short a run, and most tests are about its rounds.
UNTIMED = (*QUICK, "--timing-pairs", "0")


def bench(root: Path, *arguments: str, engine: str = "venv", **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in the checkout."""
    command = [sys.executable, "-m", "bench", *arguments]
    if arguments[0] in {"matrix", "plan"}:
        command += ["--engine", engine]
    return subprocess.run(
        command, cwd=root, env={**os.environ, **env}, capture_output=True, text=True, check=False, timeout=550
    )


def newest(reports: Path) -> Run:
    return load(max((reports / "runs").iterdir()))


def test_a_run_ends_with_a_page_a_table_and_records(root: Path, tmp_path: Path) -> None:
    done = bench(root, "matrix", *QUICK, "--timing-pairs", "1", "--reports", str(tmp_path), "--fail-on", "inconclusive")
    assert done.returncode == 1, done.stderr
    assert "gate inconclusive: reduce_sum_1d is inconclusive in tf2.18.1-cpu-py311@cpu" in done.stderr
    run = newest(tmp_path)
    assert run.info.finished
    assert len(run.records) == 2
    assert {record.request.mode for record in run.records.values()} == {"off", "on"}
    assert {record.comparison for record in run.paired.values()} == {"overhead", "noise-floor"}
    assert {kernel.outcome for record in run.paired.values() for kernel in record.kernels} == {"ok"}
    assert run.info.engine == "venv"
    assert run.info.engine_why == "requested with --engine venv"
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "reduce_sum_1d" in page
    assert "2.18.1" in page
    assert "reduce_sum_1d" in done.stdout
    assert "engine venv: requested with" in done.stderr
    for word in ("round 1", "overhead pair 1"):
        assert word in done.stderr, "progress in plain lines where the output is no terminal"
    logs = list((tmp_path / "runs" / run.info.id / "logs").rglob("*.log"))
    assert {log.name for log in logs} >= {"default-off-001.log", "default-on-001.log", "overhead-001-a.log"}
    assert "\x1b[" not in done.stdout + done.stderr
    folder = tmp_path / "runs" / run.info.id
    assert {path.suffix for path in (folder / "records").rglob("*") if path.is_file()} == {".xz"}
    digest = next(
        sample.digest for record in run.records.values() for sample in record.samples if sample.role == "repetition"
    )
    assert run.kept.problems == {}
    assert any(
        run.kept.tensors("reduce_sum_1d", sample.digest) for r in run.records.values() for sample in r.samples
    ), digest
    (tmp_path / "index.html").unlink()
    assert bench(root, "report", "--reports", str(tmp_path), "--fail-on", "control-failed").returncode == 0
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == page


def test_mode_and_rounds_narrow_the_run(root: Path, tmp_path: Path) -> None:
    done = bench(root, "matrix", *QUICK, "--mode", "on", "--rounds", "3", "--reports", str(tmp_path))
    assert done.returncode == 0, done.stderr
    run = newest(tmp_path)
    assert sorted(record.request.round for record in run.records.values()) == [1, 2, 3]
    assert {record.request.mode for record in run.records.values()} == {"on"}
    wanted = {record.request.round: record.request for record in run.records.values()}
    assert {number: one.second_seed for number, one in wanted.items()} == {1: True, 2: False, 3: False}
    assert {number: one.order_seed for number, one in wanted.items()} == {1: 1, 2: 2, 3: 3}
    assert len({one.kernels for one in wanted.values()}) > 1, "every round has an order of its own"
    for record in run.records.values():
        assert list(dict.fromkeys(outcome.kernel for outcome in record.outcomes)) == list(record.request.kernels)
        roles = {sample.role for sample in record.samples}
        assert ("second-seed" in roles) is record.request.second_seed
        assert roles <= {"repetition", "later-call", "second-seed"}
    assert not run.paired, "one mode has no overhead"


def test_custom_kernels_join_a_real_run(tmp_path: Path) -> None:
    joins(tmp_path, "venv")


def test_variations_run_with_their_settings_and_only_the_default_one_is_timed(root: Path, tmp_path: Path) -> None:
    text = (root / "matrix.toml").read_text(encoding="utf-8")
    text += (
        "\n[profiles.variations]\nrounds = 1\nrepetitions = 3\noverhead_pairs = 1\nnoise_floor_pairs = 0\n"
        'variations = ["default", "threads=1", "onednn=0", "tf32=off"]\n'
    )
    (tmp_path / "matrix.toml").write_text(text.replace("repetitions = 5\n", "repetitions = 2\n"), encoding="utf-8")
    arguments = ["--profile", "variations", "--kernels", "reduce_sum_1d", "--env", "tf2.18*", "--fail-on", "none"]
    reports = tmp_path / "reports"
    done = bench(root, "matrix", "--matrix", str(tmp_path / "matrix.toml"), *arguments, "--reports", str(reports))
    assert done.returncode == 0, done.stderr
    run = newest(reports)
    found = {(record.request.variation, record.request.mode): record for record in run.records.values()}
    assert set(found) == {(name, mode) for name in ("default", "threads=1", "onednn=0") for mode in ("off", "on")}
    for (variation, _), one in found.items():
        settings = one.processes[0].settings
        assert (settings["intra_op_threads"] == 1) is (variation == "threads=1")
        assert settings["onednn"] == "off" or variation != "onednn=0"  # on some CPUs it is off by default
        samples = [sample for sample in one.samples if sample.kernel == "reduce_sum_1d"]
        assert [sample.role for sample in samples].count("repetition") == (3 if variation == "default" else 2)
    assert [sorted(record.requests) for record in run.paired.values()] == [["a", "b"]]


@pytest.mark.fault(
    "A wheel has another hash than the lock pins",
    "Its column is build-failed; the other one is measured; exit code 4.",
)
def test_a_wrong_hash_costs_only_its_own_column(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "root"
    for name in ("bench", "docker", "matrix.toml"):
        source = root / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    lock = copy / "docker" / "locks" / "tf2.15.1-cpu-py311.txt"
    lines = lock.read_text(encoding="utf-8").splitlines(keepends=True)
    start = next(number for number, text in enumerate(lines) if text.startswith("absl-py=="))
    for number in range(start + 1, len(lines)):
        if not lines[number].startswith(" "):
            break
        lines[number] = f"    --hash=sha256:{'0' * 64}{' ' + chr(92) if chr(92) in lines[number] else ''}\n"
    lock.write_text("".join(lines), encoding="utf-8")
    only = (*UNTIMED, "--env", "tf2.15*,tf2.18*")
    done = bench(copy, "matrix", *only, "--reports", str(tmp_path / "reports"), PYTHONPATH=str(copy))
    assert done.returncode == 4, done.stderr
    assert "absl-py" in done.stderr
    assert "tf2.15.1-cpu-py311.txt" in done.stderr
    assert "Traceback" not in done.stderr
    run = newest(tmp_path / "reports")
    assert [column.status for column in run.info.columns] == ["build-failed", "ready"]
    assert {record.request.column for record in run.records.values()} == {"tf2.18.1-cpu-py311@cpu"}
    page = (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    assert "build-failed" in page
    assert "absl-py" in page


def start_run(root: Path, reports: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench", "matrix", "--engine", "venv", "--reports", str(reports), *UNTIMED]
    command += ["--rounds", "3"]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_records(reports: Path, number: int) -> None:
    for _ in range(3000):  # another measurement on this host may have to end first
        if len(list(reports.glob("runs/*/records/*/*/*.jsonl.xz"))) >= number:
            return
        time.sleep(0.1)
    pytest.fail("no record within five minutes")


@pytest.mark.fault("Ctrl-C during a run with TensorFlow", "The same command reuses every finished round.")
def test_an_interrupted_run_is_resumed(root: Path, tmp_path: Path) -> None:
    with start_run(root, tmp_path) as first:
        wait_for_records(tmp_path, 2)
        held = bench(root, "matrix", *UNTIMED, "--reports", str(tmp_path))
        assert held.returncode == 4
        assert f"process {first.pid}" in held.stderr
        first.send_signal(signal.SIGINT)
        _, errors = first.communicate(timeout=60)
    assert first.returncode == 130, errors
    before = newest(tmp_path)
    assert not before.info.finished
    kept = len(before.records)
    assert 2 <= kept < 6
    done = bench(root, "matrix", *UNTIMED, "--rounds", "3", "--reports", str(tmp_path))
    assert done.returncode == 0, done.stderr
    after = newest(tmp_path)
    assert len(after.records) == 6
    assert len(after.info.reused) == kept
    assert set(after.info.reused.values()) == {before.info.id}
    assert f"reused from interrupted runs: {kept} of 6" in done.stderr
    assert set(after.info.reused) <= set(after.records), "under the names they are read by"
    assert f"{kept} reused" in (tmp_path / "index.html").read_text(encoding="utf-8")
    # a finished run gives nothing to the next: every night measures afresh
    again = bench(root, "matrix", *UNTIMED, "--rounds", "1", "--reports", str(tmp_path))
    assert again.returncode == 0
    assert not newest(tmp_path).info.reused


def test_plan_lists_without_running(root: Path, tmp_path: Path) -> None:
    done = bench(root, "plan", "--json", "--env", "tf2.18*")
    listed: dict[str, Any] = json.loads(done.stdout)
    column = listed["columns"][0]
    assert column["id"] == "tf2.18.1-cpu-py311@cpu"
    assert (column["engine"], column["device"], column["status"]) == ("venv", "cpu", "ready")
    assert column["lock"] == "tf2.18.1-cpu-py311.txt"
    assert "tf2.18.1-cpu-py311@cpu" in bench(root, "plan").stdout
    dry = bench(root, "matrix", *QUICK, "--dry-run", "--reports", str(tmp_path))
    assert dry.returncode == 0
    assert "would run 2 rounds and 6 timing pairs, about" in dry.stdout
    assert "nothing was run" in dry.stdout
    assert not list(tmp_path.iterdir())
