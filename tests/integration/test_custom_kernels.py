"""Custom kernels in real environments: folders, hooks, variations, hostile files, and other people's interpreters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench import errors
from bench.engines.base import declare_command
from bench.engines.venv import VenvEngine
from bench.plan import custom_kernels
from bench.suite.kernel_files import hashes_of, read_source, stage
from tests.integration.own_kernels import DECLARED, FACTS, HEAD, MODEL, matrix, the_run, write

if TYPE_CHECKING:
    from tests.integration.conftest import Bench

ROOT = Path(__file__).parents[2]
HOOKED = (
    HEAD
    + "def before_tensorflow(tf):\n    cpu = tf.config.list_physical_devices('CPU')[0]\n"
    + "    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)\n\n"
    + DECLARED
    + "def two_devices(tf, seed):\n    count = len(tf.config.list_logical_devices('CPU'))\n"
    "    return lambda: {'y': tf.constant([float(count), float(seed)])}\n"
)
DEVICES = (
    HEAD + DECLARED + "def mirrored(tf, seed):\n    cpu = tf.config.list_physical_devices('CPU')[0]\n"
    "    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)\n"
    "    strategy = tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])\n"
    "    return lambda: {'y': tf.constant([float(strategy.num_replicas_in_sync), float(seed)])}\n"
)
CONSTANT = "def constant(tf, seed):\n    return lambda: {'y': tf.constant([float(seed)])}\n"
SETS = (
    HEAD
    + DECLARED
    + "def by_set(tf, seed):\n    words, table = 'the cat sat on a mat'.split(), tf.constant(normal(seed, (6, 4)))\n"
    "    def work():\n        ids = {word: number for number, word in enumerate(set(words))}\n"
    "        return {'vectors': tf.gather(table, [ids[word] for word in words])}\n    return work\n"
)
LOOP = (
    "import tensorflow\n" + HEAD + "def make(number):\n    def work(tf, seed):\n"
    "        return lambda: {'y': tf.constant([float(seed)])}\n    work.__name__ = f'own_{number}'\n"
    f"    kernel({FACTS})(work)\n\nfor number in range(2):\n    make(number)\n"
)


@pytest.mark.fault(
    "A file of custom kernels exits while it is read",
    "The command ends with exit code 2 and names file and line.",
)
def test_a_file_that_exits_is_bad_configuration_and_nothing_is_measured(tmp_path: Path) -> None:
    file = write(tmp_path, {"exits.py": "import os\n\nos._exit(0)\n"}) / "exits.py"
    done = matrix(tmp_path, "--kernel-file", str(file))
    assert done.returncode == errors.CONFIG, done.stderr
    assert "error: exits.py, line 3: the file ended its process (exit code 0)" in done.stderr
    assert not (tmp_path / "reports").exists()


def ask(bench: Bench, folder: Path, files: dict[str, str]) -> custom_kernels.Suite:
    """Ask the environment of a bench what files declare."""
    sources = [read_source(write(folder, {name: text}) / name) for name, text in files.items()]
    for source in sources:
        stage(source, bench.engine.kernel_store)
    hashes = hashes_of(source.hash for source in sources)
    log, environment = folder / "log", bench.environment
    return custom_kernels.declared_by(
        sources,
        lambda request: bench.engine.run_python(environment, bench.column, declare_command(request), log, hashes),
    )


def test_computed_declarations_are_read_in_the_environment_where_tensorflow_is(bench: Bench, tmp_path: Path) -> None:
    suite = ask(bench, tmp_path, {"loop.py": LOOP, "sets.py": SETS})
    assert [kernel.name for kernel in suite.kernels.values() if kernel.file] == ["own_0", "own_1", "by_set"]
    assert not suite.errors


def settings(bench: Bench, text: str, kernel: str, **changes: Any) -> tuple[dict[str, Any], Any]:
    record = bench.run([kernel], kernel_files={"file.py": text}, **changes)
    return dict(record.processes[0].settings), record.outcomes[0]


def test_a_hook_runs_before_tensorflow_makes_its_devices(bench: Bench) -> None:
    found, outcome = settings(bench, HOOKED, "two_devices")
    assert outcome.outcome == "ok", outcome
    assert found["devices"] == ["/device:CPU:0", "/device:CPU:1"]


def test_what_a_file_sets_when_it_is_loaded_is_reported(bench: Bench) -> None:
    text = HEAD + "import os\nos.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'\n" + DECLARED + CONSTANT
    _, outcome = settings(bench, text, "constant")
    assert outcome.outcome == "ok", outcome
    assert list(outcome.left_behind) == ["its file changed 1 environment variable: TF_CPP_MIN_LOG_LEVEL"]


def test_a_file_that_switches_determinism_on_costs_only_its_own_kernels(bench: Bench) -> None:
    text = HEAD + "import tensorflow\ntensorflow.config.experimental.enable_op_determinism()\n" + DECLARED + CONSTANT
    record = bench.run(["constant", "control_integer"], kernel_files={"file.py": text})
    ended = {outcome.kernel: outcome for outcome in record.outcomes}
    assert ended["control_integer"].outcome == "ok"
    assert ended["constant"].outcome == "mismatch"
    assert (
        "file.py switches determinism on, which is for tfrepro to do: leave that call out" in ended["constant"].message
    )


def test_without_a_hook_the_error_says_what_to_do_and_the_variation_does_it(bench: Bench) -> None:
    _, outcome = settings(bench, DEVICES, "mirrored")
    assert outcome.outcome == "error"
    assert "set this in a function before_tensorflow(tf)" in outcome.message
    assert outcome.where == "file.py, line 6"
    found, outcome = settings(bench, DEVICES, "mirrored", variation="devices=2", devices=2)
    assert outcome.outcome == "ok", outcome
    assert len(found["devices"]) == 2


def test_one_inter_op_thread(bench: Bench) -> None:
    found, outcome = settings(bench, SETS, "by_set", variation="inter=1", inter=1)
    assert (outcome.outcome, found["inter_op_threads"]) == ("ok", 1)


def test_local_measures_custom_kernels_and_the_archive_carries_them(bench: Bench, tmp_path: Path) -> None:
    assert bench.environment.details["interpreter"]  # it is installed
    assert isinstance(bench.engine, VenvEngine)
    python = bench.engine.place(bench.column) / "bin" / "python"
    model = write(tmp_path / "model", MODEL)
    bad = write(tmp_path, {"bad.py": "import nowhere\n"}) / "bad.py"
    command = [str(python), "-m", "bench", "local", "--rounds", "1", "--repetitions", "2", "--kernels", "my_layer"]
    command += ["--variation", "inter=1", "--mode", "off", "--out", str(tmp_path / "out")]
    command += ["--kernel-file", str(model), "--kernel-file", str(bad)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == errors.CONFIG, done.stderr
    assert "warning: bad.py, line 1: ModuleNotFoundError" in done.stderr
    assert "None of 1 kernels produced more than one digest" in done.stdout
    (archive,) = (tmp_path / "out").glob("*.tar.gz")
    command = [sys.executable, "-m", "bench", "import", str(archive), "--reports", str(tmp_path / "reports")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    run = the_run(tmp_path)
    assert [kernel.name for kernel in run.info.kernels if kernel.file] == ["my_layer"], done.stderr
    assert len(list((max((tmp_path / "reports" / "runs").iterdir()) / "kernel-files").iterdir())) == 2
    (record,) = run.records.values()
    assert (record.request.variation, record.request.inter) == ("inter=1", 1)


@pytest.mark.parametrize("version", ["3.6", "3.7", "3.8"])
def test_an_old_python_gets_one_sentence(version: str) -> None:
    found = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    if not found:
        pytest.skip(f"no Python {version} here")
    for command, words in (("local", "local needs Python 3.9 and TensorFlow 2.9"), ("plan", "needs Python 3.11")):
        arguments = [str(found[0]), "-B", "-m", "bench", command]
        done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (errors.CONFIG, 1)
        assert words in done.stderr
