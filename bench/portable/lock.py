"""File locks that record their owner, and the lock that keeps measurements on one host apart.

The locks are those of flock(2): the kernel releases them when the process ends, however it ends.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import stat
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.portable.errors import PortableError
from bench.portable.run_folder import now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: The folder of the host's measuring locks. It does not follow TMPDIR, or two users would not see each other's locks.
HOST_LOCK_FOLDER = Path("/tmp")  # noqa: S108 - opened with O_NOFOLLOW and checked to be regular files
#: A measurement waits this long for another one on the same host: longer than any profile runs.
MEASURING_TIMEOUT_S = 24 * 3600.0
_HOST_LOCK = "tfrepro-measuring"
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a link is refused, and a pipe cannot block the open
_MODE = 0o644  # less the umask
_FIRST_POLL_S, _LAST_POLL_S = 0.02, 0.5
_OWNER_BYTES, _OWNER_CHARACTERS = 4096, 200


class LockedError(PortableError):
    """Another process still holds a lock after the time limit; ``owner`` describes that process."""

    def __init__(self, path: Path, owner: str) -> None:
        super().__init__(f"{path} is locked by {owner}.", "Wait until that process has ended, then try again.")
        self.owner = owner


class FileLock:
    """A lock on a file, exclusive or shared, usable as a context manager.

    ``acquire`` waits up to ``timeout_s`` seconds (0: not at all) and calls ``on_wait`` once with a description of the
    owner when it has to wait. ``command`` is what the owner is recorded as doing (default: this process's arguments).
    ``every_user`` makes a new file readable by all users whatever the umask, so that they can lock it as well.
    """

    def __init__(
        self,
        path: Path,
        *,
        shared: bool = False,
        timeout_s: float = 0.0,
        command: str = "",
        on_wait: Callable[[str], None] | None = None,
        every_user: bool = False,
    ) -> None:
        self.path = path
        self._shared = shared
        self._timeout_s = timeout_s
        self._command = command or " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
        self._on_wait = on_wait
        self._every_user = every_user
        self._descriptor = -1

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            LockedError: another process holds it for longer than the time limit.
            OSError: the file cannot be opened, or is not a regular file.
        """
        deadline = time.monotonic() + self._timeout_s
        while self._descriptor < 0:
            descriptor = _open(self.path, every_user=self._every_user)
            try:
                self._wait(descriptor, deadline)
                # a previous owner may have removed the file meanwhile: a lock on a removed file protects nothing
                if _is_at(descriptor, self.path):
                    _write_owner(descriptor, self._command)
                    self._descriptor = descriptor
            finally:
                if self._descriptor < 0:
                    os.close(descriptor)

    def release(self) -> None:
        """Release the lock; does nothing where it is not held."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        if not self._shared:  # other holders of a shared lock may be the ones recorded
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
        os.close(descriptor)

    def __enter__(self) -> FileLock:  # noqa: PYI034 - Python 3.9 has no typing.Self
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _wait(self, descriptor: int, deadline: float) -> None:
        """Poll for the lock: flock itself cannot be given a time limit."""
        how = (fcntl.LOCK_SH if self._shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
        pause = _FIRST_POLL_S
        while True:
            try:
                fcntl.flock(descriptor, how)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise LockedError(self.path, _owner(descriptor)) from None
            else:
                return
            if self._on_wait:
                self._on_wait(_owner(descriptor))
                self._on_wait = None
            time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
            pause = min(2 * pause, _LAST_POLL_S)


def _open(path: Path, *, every_user: bool) -> int:
    """Open a lock file, creating it if needed, and never truncating it: it may be locked by another process."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, _MODE)
    except PermissionError:  # another user's file: reading is enough to lock it
        time.sleep(_FIRST_POLL_S)  # its owner may have made it just now, and not yet readable for all
        descriptor = os.open(path, os.O_RDONLY | _FLAGS)
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    # where others can write, they can also make a link to a file of this user, whose mode must stay as it is
    if every_user and facts.st_uid == os.geteuid() and facts.st_nlink == 1:
        with suppress(OSError):
            os.fchmod(descriptor, _MODE)
    return descriptor


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether ``path`` still names the file that is open as ``descriptor``."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _write_owner(descriptor: int, command: str) -> None:
    """Record this process in the lock file; another user's file, opened for reading only, stays as it is."""
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": now(), "command": command[:_OWNER_CHARACTERS]}
    body = json.dumps(owner).encode()
    with suppress(OSError):
        os.pwrite(descriptor, body, 0)
        os.ftruncate(descriptor, len(body))


def _owner(descriptor: int) -> str:
    """Describe the process recorded in a lock file. Any user can write such a file, so nothing in it is trusted."""
    try:
        owner: Any = json.loads(os.pread(descriptor, _OWNER_BYTES, 0).rstrip(b"\0"))
        text = f"process {int(owner['pid'])} on {owner['host']} since {owner['since']} ({owner['command']})"
        ended = owner["host"] == socket.gethostname() and not Path(f"/proc/{int(owner['pid'])}").exists()
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process, which is not recorded"
    if ended:  # left by a process that was killed; the present owner could not write
        return "another process, which is not recorded"
    return "".join(char if char.isprintable() else "?" for char in text)[: 2 * _OWNER_CHARACTERS]


@contextmanager
def measuring_lock(say: Callable[[str], None], gpus: Sequence[str] = ()) -> Iterator[None]:
    """Wait until nothing else measures on this host, or on ``gpus`` (UUIDs), and keep others from starting.

    Two measurements at a time would make each other's times worthless. A measurement of the CPU excludes all others;
    one of GPUs excludes those of the CPU and of the same GPUs, and runs on other GPUs may go on beside it.

    Raises:
        LockedError: another measurement has not ended within ``MEASURING_TIMEOUT_S``.
        PortableError: the lock file cannot be used.
    """
    with ExitStack() as held:
        # every run takes the locks in this order, the host's last, so that no two runs wait for each other
        for uuid in sorted(gpus):
            name = f"{_HOST_LOCK}-{uuid.replace('/', '_')}.lock"
            held.enter_context(_measuring(name, f"the GPU {uuid}", say, shared=False))
        held.enter_context(_measuring(f"{_HOST_LOCK}-cpu.lock", "this host", say, shared=bool(gpus)))
        yield


def _measuring(name: str, what: str, say: Callable[[str], None], *, shared: bool) -> FileLock:
    """Take one of the host's measuring locks."""

    def report(owner: str) -> None:
        say(f"another run measures on {what}: {owner}; waiting for it to end")

    path = HOST_LOCK_FOLDER / name
    lock = FileLock(path, shared=shared, timeout_s=MEASURING_TIMEOUT_S, on_wait=report, every_user=True)
    try:
        lock.acquire()
    except OSError as error:
        message = f"The lock file {path} cannot be used: {error.strerror}."
        raise PortableError(
            message, "It must be a regular file that you can read: remove whatever is there."
        ) from error
    return lock
