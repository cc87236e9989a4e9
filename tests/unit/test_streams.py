"""What the command line prints cannot make a finished command fail, and signals end it without a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from bench import errors
from tests.fuzz import small_run
from tests.unit import shipped_sample

if TYPE_CHECKING:
    from pathlib import Path


def bench(root: Path, *words: str, out: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line; ``out`` is a file for its standard output."""
    with open(out or os.devnull, "w", encoding="utf-8") as stream:  # noqa: PTH123 - a device
        return subprocess.run(
            [sys.executable, "-m", "bench", *words], cwd=root, env={**os.environ, **environment}, text=True,
            stdout=stream if out else subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=120,
        )  # fmt: skip


def report_of_a_small_run(folder: Path) -> tuple[str, ...]:
    """Return the words of the report of a small run."""
    run = small_run.write(shipped_sample.SAMPLE, folder / "run")
    return ("report", str(run), "--full", "--reports", str(folder))


@pytest.mark.fault("The disk behind the output is full", "The pages are written, and the exit code is that of the run.")
def test_a_full_disk_behind_the_output_does_not_fail_a_command_that_writes_pages(root: Path, tmp_path: Path) -> None:
    done = bench(root, *report_of_a_small_run(tmp_path), out="/dev/full")
    assert done.returncode == errors.OK, done.stderr
    assert "could not be written: No space left on device. The pages are complete." in done.stderr
    assert (tmp_path / "index.html").is_file()


def test_a_full_disk_behind_the_output_fails_a_command_that_only_prints(root: Path) -> None:
    done = bench(root, "kernels", out="/dev/full")
    assert done.returncode == errors.ENGINE
    assert "error: The output could not be written: No space left on device." in done.stderr


@pytest.mark.fault("A terminal knows only ASCII", "Other characters are shown as question marks.")
def test_an_ascii_terminal_shows_question_marks(root: Path, tmp_path: Path) -> None:
    done = bench(root, *report_of_a_small_run(tmp_path), PYTHONIOENCODING="ascii")
    assert done.returncode == errors.OK, done.stderr
    assert done.stdout.isascii()
    assert "?" in done.stdout


@pytest.mark.fault("Ctrl-C, SIGTERM or SIGHUP while modules are imported", "The command ends without a traceback.")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("delay", [0.05, 0.2, 1.5])
def test_signals_leave_no_traceback(root: Path, number: signal.Signals, delay: float) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "bench", "plan"]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr
        for line in child.stderr:  # until Python itself has started
            if line.rstrip().endswith("| runpy"):
                break
        time.sleep(delay)
        child.send_signal(number)
        rest = child.communicate(timeout=60)[1]
    assert "Traceback" not in rest
    assert child.returncode in {errors.INTERRUPTED, errors.OK, -number}, rest[-500:]
