"""Three nights with real TensorFlow: a changed environment is paired with the last one, and changed bits alarm."""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest

from bench import errors
from bench.cli import main, planning
from bench.engines.usage_lock import cache_folder
from bench.history import run_times
from bench.store import find_run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.tensorflow

STEM = "tf2.18.1-cpu-py311"
#: A kernel whose result is the content of a file: its bits change although its code does not.
KERNEL = """
from pathlib import Path
from bench.suite.kernels import kernel

@kernel(family="own", exercises="x", shapes="x", dtypes="x", source="x")
def reads_a_file(tf, seed):
    return lambda: {{"x": tf.constant([float(Path({path!r}).read_text()), float(seed)])}}
"""


def test_three_nights(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setattr(run_times, "BATCH_PAIRS", 3)
    monkeypatch.setattr(run_times, "MOST_BATCHES", 1)
    locks = tmp_path / "locks"
    shutil.copytree(root / "docker" / "locks", locks)
    monkeypatch.setattr(planning, "LOCKS", locks)
    # every process has a /tmp of its own, so the file that they read is elsewhere
    values, received = cache_folder() / f"values-of-test-{os.getpid()}.txt", tmp_path / "received.json"
    values.parent.mkdir(parents=True, exist_ok=True)
    request.addfinalizer(lambda: values.unlink(missing_ok=True))
    (tmp_path / "own.py").write_text(KERNEL.format(path=str(values)))
    matrix, reports = tmp_path / "matrix.toml", tmp_path / "reports"
    command = json.dumps([sys.executable, "-c", f"import sys; open({str(received)!r}, 'w').write(sys.stdin.read())"])
    matrix.write_text((root / "matrix.toml").read_text() + f"\n[nightly]\non_alarm = {command}\n")
    options = [
        *("nightly", "--matrix", str(matrix), "--profile", "quick", "--engine", "venv", "--env", "tf2.18.1-cpu"),
        *("--kernels", "reduce_sum_1d,reads_a_file", "--kernel-file", str(tmp_path / "own.py"), "--rounds", "1"),
        "--allow-root-kernels",
        *("--repetitions", "2", "--timing-pairs", "1", "--reports", str(reports)),
    ]

    def night() -> tuple[int, dict[str, Any]]:
        code = main(options)
        return code, json.loads((reports / "nightly.json").read_text())

    values.write_text("1")
    code, first = night()
    assert code == errors.OK
    assert first["headline"] == "The first night: 4 results measured, nothing to compare them with."

    with (locks / f"{STEM}.txt").open("a", encoding="utf-8") as stream:
        stream.write("# another night\n")
    code, second = night()
    assert (code, second["alarms"]) == (errors.OK, [])
    paired = find_run.every(reports / "paired-with-last")
    assert len(paired) == 2, "one batch for each mode"
    columns = json.loads((paired[0] / "run.json").read_text())["columns"]
    assert len({column["lock_hash"] for column in columns}) == 2
    assert not received.exists()

    values.write_text("2")
    code, third = night()
    assert code == errors.GATE
    (alarm,) = third["alarms"]
    assert alarm["kind"] == "same environment, different bits"
    assert [(result["kernel"], result["mode"]) for result in alarm["results"]] == [
        ("reads_a_file", "off"), ("reads_a_file", "on"),
    ]  # fmt: skip
    assert json.loads(received.read_text()) == third
    assert third["run"] in (reports / "history.html").read_text()
    log = (reports / "nightly-logs" / f"{third['run']}.log").read_text()
    assert "ALARM" in log
    assert 'href="history.html"' in (reports / "index.html").read_text()

    history = ["history", "--reports", str(reports)]
    capsys.readouterr()
    assert main([*history, "show", "reads_a_file", "tf2.18.1-cpu"]) == errors.OK
    assert capsys.readouterr().out.count("inconclusive") == 6
    assert main([*history, "accept", f"{STEM}@cpu/reads_a_file", "the file has changed"]) == errors.OK
    assert main([*history, "rebuild"]) == errors.OK
