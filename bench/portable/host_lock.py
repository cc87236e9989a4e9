"""Measure alone: the locks of a host, held by runs of the root, of bundles and of ``here`` alike."""

from __future__ import annotations

import fcntl
import os
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: One place for all, which does not follow TMPDIR, or two users of one host would each hold their own.
PLACE = Path("/tmp")  # noqa: S108 - the files are never read or written, only locked
_LOCK = "tfrepro-measuring"


@contextmanager
def measuring_lock(say: Callable[[str], None], gpus: Sequence[str] = ()) -> Iterator[None]:
    """Measure alone: runs of this host, whatever their reports folders, wait for each other.

    Two measurements at a time make each other's times worthless. A measurement of the CPU has the host for itself;
    one of ``gpus`` (UUIDs) has them, and keeps those of the CPU away: runs on other GPUs may go on beside it.
    """
    with ExitStack() as held:
        for uuid in sorted(gpus):  # all runs in one order, and the host last: nobody waits in a circle
            held.enter_context(_lock(PLACE / f"{_LOCK}-{uuid.replace('/', '_')}.lock", f"the GPU {uuid}", say))
        held.enter_context(_lock(PLACE / f"{_LOCK}-cpu.lock", "this host", say, shared=bool(gpus)))
        yield


@contextmanager
def _lock(path: Path, what: str, say: Callable[[str], None], *, shared: bool = False) -> Iterator[None]:
    """Hold a lock of the kernel's, alone or with others who share it; waits until that is possible."""
    how = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW  # anybody may leave a link there
    try:
        descriptor = os.open(path, how | os.O_CREAT, 0o644)
    except PermissionError:
        descriptor = os.open(path, how)  # another user's: reading is enough to lock
    wanted = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        try:
            fcntl.flock(descriptor, wanted | fcntl.LOCK_NB)
        except OSError:
            say(f"another run measures on {what}; waiting for it to end")
            fcntl.flock(descriptor, wanted)
        yield
    finally:
        os.close(descriptor)
