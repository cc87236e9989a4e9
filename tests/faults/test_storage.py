"""Faults of disks, folders and files: a clear error, and every finished record is still there."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from bench import errors
from bench.store.run import load
from tests.faults.conftest import outcomes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.conftest import Checkout

#: The tool requires 200 MB of free space for records before it starts.
SIZE = "size=230m"


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """Mount an empty file system; skips the test where this user may not mount any."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Use all free space of a file system, while others may still write to it."""
    filler = folder / "filler"
    with filler.open("wb") as stream, suppress(OSError):
        while block := b"\0" * min(1 << 20, shutil.disk_usage(folder).free):
            stream.write(block)
            stream.flush()
    return filler


def contents(paths: list[Path]) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.mark.fault(
    "The disk is full while records are written",
    "The run ends with exit code 4 and says so; finished records are kept, and the same command resumes the run.",
)
def test_the_disk_is_full_while_records_are_written(checkout: Checkout) -> None:
    with mounted(checkout.reports, SIZE):
        child = checkout.start(*checkout.arguments("--rounds", "6"))
        checkout.wait_for(checkout.records, "no record", 120)
        filler = fill(checkout.reports)
        _, err = child.communicate(timeout=120)
        assert child.returncode == errors.ENGINE, err
        assert "No space left on device" in err
        assert "hint: Free some space" in err
        before = contents(checkout.records())
        assert before
        filler.unlink()
        done = checkout.matrix("--rounds", "6")
        assert done.code == 0, done.err
        assert "reused from interrupted runs" in done.err
        assert contents([path for path in checkout.records() if str(path) in before]) == before
        assert len(checkout.newest().records) == 6


@pytest.mark.fault(
    "The disk is full while the page is written",
    "The command ends with exit code 4 and says so; the earlier page and the records are unchanged.",
)
def test_the_disk_is_full_while_the_page_is_written(checkout: Checkout) -> None:
    with mounted(checkout.reports, SIZE):
        assert checkout.matrix().code == 0
        before = contents([path for path in checkout.reports.rglob("*") if path.is_file()])
        filler = fill(checkout.reports)
        done = checkout.run("report", "--reports", str(checkout.reports))
        assert done.code == errors.ENGINE
        assert "index.html cannot be written: No space left on device" in done.err
        assert "hint: Free some space" in done.err
        filler.unlink()
        assert contents([path for path in checkout.reports.rglob("*") if path.is_file()]) == before


@pytest.mark.fault(
    "The disk is full while an environment is built",
    "The column is build-failed with the reason, exit code 4; a later run builds it again.",
)
def test_the_disk_is_full_while_an_environment_is_built(checkout: Checkout) -> None:
    with mounted(checkout.folder / "full", "size=30g,nr_inodes=300") as cache:
        checkout.environment["XDG_CACHE_HOME"] = str(cache)
        done = checkout.run(*checkout.builtin())
        assert done.code == errors.ENGINE, done.err
        assert "the disk is full. Free some space, or set TFREPRO_CACHE to another folder" in done.err
        assert [column.status for column in checkout.newest().info.columns] == ["build-failed"]
        subprocess.run(["mount", "-o", "remount,nr_inodes=100000", str(cache)], check=True)
        done = checkout.matrix()
        assert done.code == 0, done.err


@pytest.mark.fault(
    "The reports folder is read-only", "The command ends with exit code 4 and names the folder; nothing is measured."
)
def test_the_reports_folder_is_read_only(checkout: Checkout) -> None:
    with mounted(checkout.reports, SIZE):
        assert checkout.matrix().code == 0
        before = contents([path for path in checkout.reports.rglob("*") if path.is_file()])
        subprocess.run(["mount", "-o", "remount,ro", str(checkout.reports)], check=True)
        for words in (checkout.arguments(), ["report", "--reports", str(checkout.reports)]):
            done = checkout.run(*words)
            assert done.code == errors.ENGINE
            assert "Read-only file system" in done.err
            assert "hint: " in done.err
        assert contents([path for path in checkout.reports.rglob("*") if path.is_file()]) == before


@pytest.mark.fault(
    "The cache cannot be written", "The command ends with exit code 4 and says how to name another cache."
)
def test_the_cache_cannot_be_written(checkout: Checkout) -> None:
    with mounted(checkout.folder / "read-only", "size=30g,ro") as cache:
        checkout.environment["XDG_CACHE_HOME"] = str(cache)
        done = checkout.matrix()
        assert done.code == errors.ENGINE
        assert "Read-only file system" in done.err
        assert "hint: Set TFREPRO_CACHE" in done.err


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.fault(f"reports/.lock is {words}", "It is refused, and names the file."))
        for kind, words in (("link", "a symbolic link"), ("pipe", "a named pipe"), ("folder", "a folder"))
    ],
)
def test_the_lock_of_the_reports_folder_is_something_else(checkout: Checkout, kind: str) -> None:
    checkout.reports.mkdir()
    lock, target = checkout.reports / ".lock", checkout.folder / "target"
    target.write_text("precious", encoding="utf-8")
    if kind == "link":
        lock.symlink_to(target)
    elif kind == "pipe":
        os.mkfifo(lock)
    else:
        lock.mkdir()
    done = checkout.matrix()
    assert done.code == errors.ENGINE
    assert str(lock) in done.err
    assert "hint: " in done.err
    assert target.read_text(encoding="utf-8") == "precious"
    assert not (checkout.reports / "runs").exists()


@pytest.mark.fault(
    "Garbage, symbolic links and pipes are in the folder of runs",
    "They are passed over; what was there is unchanged, and the run is measured.",
)
def test_garbage_in_the_folder_of_runs(checkout: Checkout) -> None:
    runs = checkout.reports / "runs"
    for name in ("20990101T000000Z-none", "20990101T000000Z-pipe", "20990101T000000Z-text", "20990101T000000Z-list"):
        (runs / name).mkdir(parents=True)
    os.mkfifo(runs / "20990101T000000Z-pipe" / "run.json")
    (runs / "20990101T000000Z-text" / "run.json").write_bytes(b"\xff\x00garbage")
    (runs / "20990101T000000Z-list" / "run.json").write_text("[" * 5000, encoding="utf-8")
    (runs / "loop").symlink_to(runs / "loop")
    (runs / "self").symlink_to(runs)
    (runs / "20990102T000000Z-zero").symlink_to("/dev/zero")
    (runs / "notes.txt").write_text("mine", encoding="utf-8")
    names = {path.name for path in runs.iterdir()}
    done = checkout.matrix()
    assert done.code == 0, done.err
    (new,) = {path.name for path in runs.iterdir()} - names
    assert outcomes(load(runs / new)) == {"sound": {"ok"}}
    assert (runs / "notes.txt").read_text(encoding="utf-8") == "mine"
    done = checkout.run("report", new, "--reports", str(checkout.reports))
    assert done.code == 0, done.err


@pytest.mark.fault(
    "Records of an interrupted run are truncated, foreign or pipes",
    "Only whole records are reused; the others are measured again, and none is lost.",
)
def test_records_of_an_interrupted_run_are_damaged(checkout: Checkout) -> None:
    child = checkout.start(*checkout.arguments("--rounds", "9"))
    checkout.wait_for(lambda: len(checkout.records()) >= 3, "no three records", 120)
    checkout.kill(child)
    truncated, pipe, *whole = checkout.records()
    truncated.write_bytes(truncated.read_bytes()[:200])
    pipe.unlink()
    os.mkfifo(pipe)
    (pipe.parent / "off-999.jsonl.xz").write_bytes(b"foreign")
    (pipe.parent / "notes.txt").write_bytes(b"foreign")
    kept = contents(whole)
    done = checkout.matrix("--rounds", "9")
    assert done.code == 0, done.err
    assert f"reused from interrupted runs: {len(whole)} of 9" in done.err
    assert len(checkout.newest().records) == 9
    assert contents(whole) == kept


@pytest.mark.fault(
    "The run folder is deleted during the run", "The run ends with exit code 4 and names the file it could not write."
)
def test_the_run_folder_is_deleted_during_the_run(checkout: Checkout) -> None:
    child = checkout.start(*checkout.arguments("--rounds", "6"))
    checkout.wait_for(checkout.records, "no record", 120)
    shutil.rmtree(checkout.runs()[-1], ignore_errors=True)
    _, err = child.communicate(timeout=120)
    assert child.returncode == errors.ENGINE, err
    assert "Traceback" not in err
    assert "internal error" not in err
    assert "cannot be" in err
