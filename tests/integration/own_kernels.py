"""Custom kernel files in a real run, shared by the tests of both engines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench import errors
from bench.store.run import load

if TYPE_CHECKING:
    from bench.suite.record import Record

ROOT = Path(__file__).resolve().parents[2]

MINE = """\
from bench.suite.kernels import kernel, normal


@kernel(family="own", exercises="a sum of squares", shapes="[1000]", dtypes="float32", source="own")
def my_squares(tf, seed):
    x = tf.constant(normal(seed, (1000,)))
    return lambda: {"sum": tf.reduce_sum(x * x)}


@kernel(family="own", exercises="a misspelled op", shapes="[1]", dtypes="float32", source="own")
def my_broken(tf, seed):
    def work():
        return {"sum": tf.nonsense(seed)}

    return work
"""
BROKEN = "import tensorflow as tf\n"
UNREADABLE = "def f(:\n"


def joins(folder: Path, engine: str) -> None:
    """Run the matrix with three custom kernel files, one valid and two faulty."""
    files = {"my_kernels.py": MINE, "imports.py": BROKEN, "syntax.py": UNREADABLE}
    arguments = []
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
        arguments += ["--kernel-file", str(folder / name)]
    command = [sys.executable, "-m", "bench", "matrix", "--engine", engine, "--profile", "quick", "--rounds", "1"]
    command += ["--repetitions", "2", "--env", "tf2.18*", "--reports", str(folder / "reports"), "--fail-on", "none"]
    kernels = ["--kernels", "my_*,reduce_sum_1d"]
    done = subprocess.run(
        [*command, *kernels, *arguments], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False,
        timeout=550,
    )  # fmt: skip
    # everything else was measured, but the exit code reports the faulty files
    assert done.returncode == errors.CONFIG, done.stderr
    assert "Not all custom kernels were measured" in done.stderr
    for sentence in ("imports.py, line 1: ModuleNotFoundError", "syntax.py, line 1: SyntaxError"):
        assert f"warning: {sentence}" in done.stderr
    run = load(max((folder / "reports" / "runs").iterdir()))
    assert run.info.finished
    assert run.info.engine == engine
    assert {kernel.name: kernel.file for kernel in run.info.kernels if kernel.file} == dict.fromkeys(
        ("my_squares", "my_broken"), "my_kernels.py"
    )
    assert [warning for warning in run.info.warnings if "imports.py" in warning]
    assert [warning for warning in run.info.warnings if "syntax.py" in warning]
    assert {record.request.mode for record in run.records.values()} == {"off", "on"}
    for record in run.records.values():
        check(record)
    page = (folder / "reports" / "index.html").read_text(encoding="utf-8")
    for word in ("my_squares", "my_broken", "syntax.py, line 1", "my_kernels.py, line 13"):
        assert word in page
    digest = next(
        sample.digest for record in run.records.values() for sample in record.samples if sample.kernel == "my_squares"
    )
    assert run.kept.tensors("my_squares", digest)


def check(record: Record) -> None:
    """Check one round: the valid kernel is measured, the broken one has a location, and the rest is unaffected."""
    assert record.complete
    assert set(record.request.kernel_files) == {"my_kernels.py", "imports.py", "syntax.py"}
    ended = {outcome.kernel: outcome for outcome in record.outcomes}
    assert ended["my_squares"].outcome == ended["reduce_sum_1d"].outcome == ended["control_integer"].outcome == "ok"
    broken = ended["my_broken"]
    assert (broken.outcome, broken.error_class) == ("error", "AttributeError")
    assert broken.where == "my_kernels.py, line 13"
    digests = {(sample.role, sample.digest) for sample in record.samples if sample.kernel == "my_squares"}
    assert len({digest for role, digest in digests if role == "repetition"}) == 1
    assert len({digest for _, digest in digests}) == 2, "the repetitions, and the second seed"
