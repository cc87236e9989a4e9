"""Logs: complete while they are short, and their beginning and end when they are not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.portable import limited_log
from bench.portable.limited_log import LimitedLog

if TYPE_CHECKING:
    from pathlib import Path


def test_what_a_process_and_the_host_write_is_in_order(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text("before\n")
    with LimitedLog(path) as log:
        log.write(b"host\n")
        subprocess.run([sys.executable, "-c", "import os; os.write(2, b'child\\n')"], stderr=log.fileno(), check=True)
        log.write(b"end\n")
    assert path.read_text() == "before\nhost\nchild\nend\n"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=60), max_size=20))
def test_beginning_and_end_are_kept(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, parts: list[bytes]
) -> None:
    monkeypatch.setattr(limited_log, "HEAD_BYTES", 40)
    monkeypatch.setattr(limited_log, "TAIL_BYTES", 10)
    path = tmp_path_factory.mktemp("log") / "x.log"
    with LimitedLog(path) as log:
        for part in parts:
            log.write(part)
    whole, shown = b"".join(parts), path.read_bytes()
    if len(whole) <= 50:
        assert shown == whole
    else:
        left_out = f"\n[{len(whole) - 50} bytes of this log were left out]\n".encode()
        assert shown == whole[:40] + left_out + whole[-10:]


@pytest.mark.fault("A process floods its log", "The log keeps the beginning and the end.")
def test_a_flood_does_not_fill_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    flood = "import os\nfor _ in range(1500): os.write(2, b'flood\\n' * 10_000)\nos.write(2, b'the end')"
    with LimitedLog(path) as log:
        subprocess.run([sys.executable, "-c", flood], stderr=log.fileno(), check=True)
    assert path.stat().st_size < limited_log.HEAD_BYTES + limited_log.TAIL_BYTES + 100
    assert path.read_bytes().endswith(b"flood\nthe end")


@pytest.mark.fault("A child keeps a log open after its round", "It is not waited for.")
def test_a_child_that_keeps_the_log_open_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limited_log, "_CLOSE_S", 0.5)
    for script in ("import time; time.sleep(20)", "import os\nwhile True: os.write(2, b'flood' * 1000)"):
        began = time.monotonic()
        with LimitedLog(tmp_path / "x.log") as log:
            child = subprocess.Popen([sys.executable, "-c", script], stderr=log.fileno())
            time.sleep(0.3)
        assert time.monotonic() - began < 5
        child.kill()
        child.wait()


@pytest.mark.fault("The disk is full while a log is written", "The process that writes goes on.")
def test_a_full_disk_does_not_stop_the_process_that_writes(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):  # noqa: PTH110 - a device
        pytest.skip("this system has no /dev/full")
    (tmp_path / "x.log").symlink_to("/dev/full")
    with LimitedLog(tmp_path / "x.log") as log:
        script = "import os\nfor _ in range(100): os.write(2, b'x' * 10_000)"
        done = subprocess.run([sys.executable, "-c", script], stderr=log.fileno(), check=False, timeout=20)
    assert done.returncode == 0


@pytest.mark.fault("A kernel prints a token", "It is masked in the log.")
@pytest.mark.parametrize("parts", [1, 7, 1000])
def test_credentials_do_not_reach_the_log(parts: int, tmp_path: Path) -> None:
    """They are recognised even where a process writes them in pieces."""
    path = tmp_path / "x.log"
    text = "\udcff start\nAPI_TOKEN=abcd1234\nhttps://user:hunter2@example.com/simple\npassword: hunter2".encode(
        "utf-8", "surrogateescape"
    )
    size = -(-len(text) // parts)
    with LimitedLog(path) as log:
        for start in range(0, len(text), size):
            log.write(text[start : start + size])
            time.sleep(0.001)
    assert path.read_bytes() == b"\xff start\nAPI_TOKEN=***\nhttps://***@example.com/simple\npassword: ***"


def test_the_names_of_kernels_in_the_marks_of_a_driver_stay(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    text = b"tfrepro: token_embedding: crashed\nin lookup_token:\n  RuntimeError: boom\n"
    with LimitedLog(path) as log:
        log.write(text)
    assert path.read_bytes() == text
