"""`python -m bench matrix` as a user runs it: a page at the end, selection, resume, and bad luck."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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
