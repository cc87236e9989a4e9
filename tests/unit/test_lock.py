"""File locks: exclusive and shared, with a time limit, and safe where anybody may put files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import pytest

from bench.portable.lock import FileLock, LockedError, measuring_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLD = (
    "from bench.portable.lock import FileLock\nfrom pathlib import Path\nimport sys\n"
    "with FileLock(Path(sys.argv[1]), shared=sys.argv[2] == 'shared', command='the first command'):\n"
    " print('held', flush=True)\n sys.stdin.read()\n"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.lock"


class Holder:
    """Another process that holds a lock until it is killed."""

    def __init__(self, path: Path, how: str) -> None:
        command = [sys.executable, "-c", HOLD, str(path), how]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.child.stdout is not None
        assert self.child.stdout.readline() == "held\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.communicate()


@pytest.fixture(params=["exclusive", "shared"])
def holder(request: pytest.FixtureRequest, path: Path) -> Iterator[Holder]:
    with Holder(path, request.param) as process:
        yield process


@pytest.mark.fault(
    "The holder of a lock is killed",
    "The lock is free; an error about a lock that is held names its owner.",
)
def test_the_error_names_the_owner_and_the_lock_of_a_killed_process_is_free(path: Path, holder: Holder) -> None:
    with pytest.raises(LockedError) as caught:
        FileLock(path).acquire()
    assert f"process {holder.child.pid} on " in caught.value.owner
    assert "(the first command)" in caught.value.owner
    assert caught.value.hint
    holder.child.kill()
    holder.child.wait()
    with FileLock(path, timeout_s=5):
        pass


def test_shared_locks_do_not_exclude_each_other(path: Path) -> None:
    with FileLock(path, shared=True), FileLock(path, shared=True), pytest.raises(LockedError):
        FileLock(path).acquire()
    with FileLock(path), pytest.raises(LockedError):
        FileLock(path, shared=True).acquire()


@pytest.mark.fault(
    "Another process holds a lock for too long",
    "The wait is announced and ends at its time limit with an error.",
)
def test_a_wait_ends_at_its_time_limit_and_is_announced_once(path: Path) -> None:
    owners: list[str] = []
    start = time.monotonic()
    with FileLock(path), pytest.raises(LockedError):
        FileLock(path, timeout_s=0.3, on_wait=owners.append).acquire()
    assert 0.3 <= time.monotonic() - start < 5
    assert len(owners) == 1


def test_the_owner_is_recorded_only_once_the_lock_is_held(path: Path) -> None:
    """A second process must not truncate what the first has written."""
    with FileLock(path, command="first"):
        with pytest.raises(LockedError):
            FileLock(path, command="second").acquire()
        facts = json.loads(path.read_text())
        assert (facts["command"], facts["pid"]) == ("first", os.getpid())
        assert facts["host"]
        assert facts["since"]
    assert path.read_text() == ""


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
@pytest.mark.fault("A lock file is a named pipe, a link or a folder", "It is refused at once.")
def test_what_is_no_regular_file_is_refused_without_blocking(path: Path, kind: str) -> None:
    if kind == "link":
        path.with_name("target").touch()
        path.symlink_to(path.with_name("target"))
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(OSError, match=r"symbolic links|not a regular file|directory"):
        FileLock(path).acquire()


@pytest.mark.fault(
    "A user whose umask hides new files measures first on a host that others share",
    "Their lock file can be read by all: the others wait for the measurement, and are not refused.",
)
def test_the_lock_of_a_measurement_can_be_used_by_every_user(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with measuring_lock(print, ["GPU-1"]):
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"tfrepro-measuring-GPU-1.lock": 0o644, "tfrepro-measuring-cpu.lock": 0o644}


def test_the_mode_of_a_file_that_is_linked_to_a_lock_stays(path: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(0o600)
    path.hardlink_to(secret)
    with FileLock(path, every_user=True):
        assert secret.stat().st_mode & 0o777 == 0o600


def test_another_users_file_can_be_locked_by_reading_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may run as root, who can write everything: the refusal is simulated."""
    path.write_text("not JSON")
    real = os.open

    def refuse(name: Any, flags: int, mode: int = 0o777) -> int:
        if flags & (os.O_RDWR | os.O_CREAT):
            raise PermissionError(13, "Permission denied", str(name))
        return real(name, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    with FileLock(path):
        with pytest.raises(LockedError, match="another process, which is not recorded"):
            FileLock(path).acquire()
        assert path.read_text() == "not JSON"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"pid": "x"}', '{"pid": 1}', "[" * 100_000])
def test_an_owner_that_cannot_be_read_is_not_recorded(path: Path, text: str) -> None:
    with FileLock(path):
        path.write_text(text)
        with pytest.raises(LockedError, match="not recorded"):
            FileLock(path).acquire()


@pytest.mark.fault("A lock file names an owner with escape sequences", "They are replaced before the owner is shown.")
def test_an_owner_cannot_send_escape_sequences_to_the_terminal(path: Path) -> None:
    with FileLock(path):
        path.write_text(json.dumps({"pid": 1, "host": "\x1b[2J", "since": "s", "command": "c"}))
        with pytest.raises(LockedError) as caught:
            FileLock(path).acquire()
    assert str(caught.value).isprintable()


@pytest.mark.fault(
    "A lock file is removed while others wait for it",
    "The new file is locked, so that the lock still excludes others.",
)
def test_a_file_that_was_removed_while_waiting_is_locked_anew(path: Path) -> None:
    """Whoever cleans up removes the lock file: the next holder must lock the new one."""
    first, second = FileLock(path), FileLock(path, timeout_s=10)
    first.acquire()
    thread = threading.Thread(target=second.acquire)
    thread.start()
    time.sleep(0.1)
    path.unlink()
    first.release()
    thread.join(10)
    with pytest.raises(LockedError):
        FileLock(path).acquire()
    second.release()
