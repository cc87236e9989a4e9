"""The `reproduce` command of a real run gives the same bits again, and log tails say why a kernel died."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bench import verdict
from bench.report.build.reproduce import line
from bench.store.run import compact, load

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.tensorflow

DIES = """\
import os, sys
from bench.suite.kernels import kernel

@kernel(family="own", exercises="a death", shapes="[1]", dtypes="float32", source="own")
def dies(tf, seed):
    def work():
        os.write(2, b"index https://me:hunter2@example.org/simple\\nits last words")
        os.abort()
    return work
"""


def bench(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in the checkout."""
    command = [sys.executable, "-m", "bench", *arguments, "--engine", "venv", "--allow-root-kernels"]
    return subprocess.run(
        command, cwd=root, env={**os.environ}, capture_output=True, text=True, check=False, timeout=550
    )


def test_the_command_gives_the_same_bits_again(root: Path, tmp_path: Path) -> None:
    own, reports, again = tmp_path / "my_kernels.py", tmp_path / "reports", tmp_path / "again"
    own.write_text(DIES, encoding="utf-8")
    select = ("--profile", "quick", "--rounds", "1", "--repetitions", "2", "--timing-pairs", "0", "--env", "tf2.18*")
    done = bench(
        root,
        "matrix",
        *select,
        "--kernels",
        "reduce_sum_1d,dies",
        "--kernel-file",
        str(own),
        "--reports",
        str(reports),
    )
    assert done.returncode == 0, done.stderr
    run = load(max((reports / "runs").iterdir()))
    results = verdict.evaluate(run)
    lines = {one.name: line(results, run.info.columns[0], one) for one in run.info.kernels}

    words = shlex.split(lines["reduce_sum_1d"])[4:]
    done = bench(root, "reproduce", *words, "--reports", str(again))
    assert done.returncode == 0, done.stderr
    assert "determinism on: same bits as before, " in done.stdout
    reproduced = load(max((again / "runs").iterdir()))
    assert {one.request.seed for one in reproduced.records.values()} == {run.info.seed}
    assert reproduced.info.profile == "reproduce"
    done = bench(root, "reproduce", *words, "--reports", str(again), "--mode", "on", "--digest", "0123456789ab")
    assert done.returncode == 1, done.stderr
    assert "determinism on: other bits, " in done.stdout
    assert "expected: 0123456789ab" in done.stdout

    words = shlex.split(lines["dies"])[4:]
    assert words[-2:] == ["--kernel-file", "my_kernels.py"]
    own.write_text(DIES + "# changed\n", encoding="utf-8")
    done = bench(root, "reproduce", *words[:-1], str(own), "--reports", str(again))
    assert done.returncode == 2
    assert "The code of dies in my_kernels.py has the hash" in done.stderr

    (tmp_path / "kept").mkdir()
    compact(max((reports / "runs").iterdir()), tmp_path / "kept")
    for tails in (run.tails, load(tmp_path / "kept").tails):
        assert len(tails.records) == 2
        for text in tails.records.values():
            assert "index https://***@example.org/simple\nits last words" in text
            assert text.endswith("\ntfrepro: dies: crashed")
    page = (reports / "index.html").read_text(encoding="utf-8")
    assert "its last words" in page
    assert "hunter2" not in page
