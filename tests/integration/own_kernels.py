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
#: Kernel that raises an error -> its file and line.
FAILING = {"my_broken": ("my_kernels.py", 13), "my_writer": ("model/check_model.py", 14)}
BROKEN = "import nowhere\n"
UNREADABLE = "def f(:\n"


def joins(folder: Path, engine: str) -> None:
    """Run the matrix with a custom kernel file, two faulty files, and a folder with a package and data.

    The folder is read-only where the engine can do it. Containers also time the kernels, which takes half of the time;
    ``test_pairs`` does it in virtual environments.
    """
    files = {"my_kernels.py": MINE, "imports.py": BROKEN, "syntax.py": UNREADABLE}
    given = [*(write(folder, files) / name for name in files), write(folder / "model", MODEL)]
    protected = engine == "docker" or os.getuid() != 0  # root can write to the copy, and later processes refuse it then
    timed = engine == "docker"
    failing = "my_writer" if protected else "my_broken"
    names = ["my_squares", "my_layer", failing, "reduce_sum_1d"]
    done = matrix(
        *(folder, "--kernels", ",".join(names), "--rounds", "1", "--timing-pairs", str(int(timed)), "--mode", "both"),
        *(word for path in given for word in ("--kernel-file", str(path))),
        engine=engine,
    )
    # everything else was measured, but the exit code reports the faulty files
    assert done.returncode == errors.CONFIG, done.stderr
    assert "Not all custom kernels were measured" in done.stderr
    for sentence in ("imports.py, line 1: ModuleNotFoundError", "syntax.py, line 1: SyntaxError"):
        assert f"warning: {sentence}" in done.stderr
    run = the_run(folder)
    assert run.info.finished
    assert run.info.engine == engine
    assert {kernel.name: kernel.file for kernel in run.info.kernels if kernel.file} == {
        "my_squares": "my_kernels.py",
        "my_layer": "model/check_model.py",
        failing: FAILING[failing][0],
    }
    assert [warning for warning in run.info.warnings if "imports.py" in warning]
    assert [warning for warning in run.info.warnings if "syntax.py" in warning]
    assert {record.request.mode for record in run.records.values()} == {"off", "on"}
    for record in run.records.values():
        check(record, {"my_squares", "my_layer", failing}, failing)
    assert {record.comparison for record in run.paired.values()} == ({"overhead", "noise-floor"} if timed else set())
    pairs = {kernel.kernel: kernel.outcome for record in run.paired.values() for kernel in record.kernels}
    assert pairs == ({**dict.fromkeys(names, "ok"), failing: "error"} if timed else {})
    page = (folder / "reports" / "index.html").read_text(encoding="utf-8")
    for word in ("my_squares", failing, "syntax.py, line 1", "{}, line {}".format(*FAILING[failing]), "my_layer"):
        assert word in page
    digest = next(
        sample.digest for record in run.records.values() for sample in record.samples if sample.kernel == "my_squares"
    )
    assert run.kept.tensors("my_squares", digest)
    kept = {path.name for path in (max((folder / "reports" / "runs").iterdir()) / "kernel-files").iterdir()}
    assert {f"{read_source(given[0]).hash}.tar.xz", f"{read_source(given[-1]).hash}.tar.xz"} <= kept


def check(record: Record, names: set[str], failing: str) -> None:
    """Check one round: valid kernels are measured, those that fail have a location, and the rest is unaffected."""
    assert record.complete
    assert set(record.request.kernel_files) == names
    assert {path.partition("/")[2] for path in record.request.kernel_files.values()} == {
        "my_kernels.py", "model/check_model.py",
    }  # fmt: skip
    assert len(json.dumps(record.request.kernel_files)) < 150 * len(names), "hashes, no texts"
    ended = {outcome.kernel: outcome for outcome in record.outcomes}
    for name in ("my_squares", "my_layer", "reduce_sum_1d", "control_integer"):
        assert ended[name].outcome == "ok", ended[name]
    broken = ended[failing]
    assert broken.outcome == "error"
    assert broken.error_class in ({"AttributeError"} if failing == "my_broken" else {"OSError", "PermissionError"})
    assert broken.where == "{}, line {}".format(*FAILING[failing])
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
