"""Custom kernel files in a real run, shared by the tests of both engines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench import errors
from bench.store.run import load
from bench.suite.kernel_files import read_source

if TYPE_CHECKING:
    from bench.store.run import Run
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
BROKEN = "import nowhere\n"
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
    command += ["--timing-pairs", "1", "--allow-root-kernels"]
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
    timed = {(kernel.kernel, kernel.outcome) for record in run.paired.values() for kernel in record.kernels}
    assert timed == {("my_squares", "ok"), ("my_broken", "error"), ("reduce_sum_1d", "ok")}
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
    assert set(record.request.kernel_files) == {"my_squares", "my_broken"}
    assert {path.partition("/")[2] for path in record.request.kernel_files.values()} == {"my_kernels.py"}
    ended = {outcome.kernel: outcome for outcome in record.outcomes}
    assert ended["my_squares"].outcome == ended["reduce_sum_1d"].outcome == ended["control_integer"].outcome == "ok"
    broken = ended["my_broken"]
    assert (broken.outcome, broken.error_class) == ("error", "AttributeError")
    assert broken.where == "my_kernels.py, line 13"
    digests = {(sample.role, sample.digest) for sample in record.samples if sample.kernel == "my_squares"}
    assert len({digest for role, digest in digests if role == "repetition"}) == 1
    assert len({digest for _, digest in digests}) == 2, "the repetitions, and the second seed"


HEAD = "from bench.suite.kernels import kernel, normal\n\n"
FACTS = 'family="own", exercises="x", shapes="[4]", dtypes="float32", source="own"'
DECLARED = f"@kernel({FACTS})\n"

#: A folder with a package of its own and data beside the code.
MODEL = {
    "check_model.py": HEAD
    + "from pathlib import Path\nfrom net.layers import scaled\n\n"
    + DECLARED
    + "def my_layer(tf, seed):\n"
    "    factor = float(Path(__file__).with_name('factor.txt').read_text())\n"
    "    x = tf.constant(normal(seed, (64, 64)))\n"
    "    return lambda: {'y': scaled(tf, x) * factor}\n\n" + DECLARED + "def my_writer(tf, seed):\n"
    "    Path(__file__).with_name('left.txt').write_text('x')\n",
    "net/__init__.py": "",
    "net/layers.py": "def scaled(tf, x):\n    from net.half import HALF\n    return tf.nn.relu(x) * HALF\n",
    "net/half.py": "HALF = 0.5\n",
    "factor.txt": "3.0\n",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def matrix(folder: Path, *arguments: str, engine: str = "venv") -> subprocess.CompletedProcess[str]:
    """Run the command ``matrix`` on the column that most tests use, with determinism off and without timing pairs."""
    command = [sys.executable, "-m", "bench", "matrix", "--engine", engine, "--profile", "quick", "--env", "tf2.18*"]
    command += ["--rounds", "2", "--repetitions", "2", "--mode", "off", "--timing-pairs", "0", "--fail-on", "none"]
    command += ["--reports", str(folder / "reports"), "--allow-root-kernels", *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False, timeout=580)


def the_run(folder: Path) -> Run:
    return load(max((folder / "reports" / "runs").iterdir()))


def joins_from_a_folder(folder: Path, engine: str) -> None:
    """Run the matrix with a folder: its package and data are there, and it is read-only where the engine can do it."""
    model = write(folder / "model", MODEL)
    protected = engine == "docker" or os.getuid() != 0  # root can write to the copy, and later processes refuse it then
    names = "my_layer,my_writer" if protected else "my_layer"
    done = matrix(folder, "--kernel-file", str(model), "--kernels", names, engine=engine)
    assert done.returncode == errors.OK, done.stderr
    run = the_run(folder)
    for record in run.records.values():
        outcomes = {outcome.kernel: outcome for outcome in record.outcomes}
        assert outcomes["my_layer"].outcome == "ok", outcomes["my_layer"]
        assert len(json.dumps(record.request.kernel_files)) < 300, "hashes, no texts"
        if protected:
            assert outcomes["my_writer"].error_class in {"OSError", "PermissionError"}
            assert outcomes["my_writer"].where == "model/check_model.py, line 14"
    assert {kernel.file for kernel in run.info.kernels if not kernel.control} == {"model/check_model.py"}
    (kept,) = (max((folder / "reports" / "runs").iterdir()) / "kernel-files").iterdir()
    assert kept.name == f"{read_source(model).hash}.tar.xz"
