"""Processes on Linux: adopting orphans, dying with the driver, and ending all descendants.

Standard library only. Where the system lacks a call, nothing happens: the time limits of the driver still apply.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

_SET_DEATH_SIGNAL, _SET_CHILD_SUBREAPER = 1, 36
#: States of processes that have ended and are not reaped yet.
_ENDED = "ZX"
_MOST_SCANS = 5
#: Ids that are skipped before a process, at most. Each takes about a millisecond.
_MOST_SKIPPED = 100
#: Seconds after which descendants that do not die (they wait for a device) are given up.
_GIVE_UP_S = 5.0


class _Process(NamedTuple):
    parent: int
    program: Optional[str]  # None: it has ended, and waits to be reaped


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose own parent ends; otherwise they would be lost from sight."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """Let the system kill this process when its parent dies; ends it now if ``parent`` is already gone."""
    _prctl(_SET_DEATH_SIGNAL, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(1)


def skip_process_ids() -> None:
    """Let the next process have an id that cannot be foreseen.

    A container counts processes from 1, so that the same kernel would have the same id in every round, and a random
    value made from it would look reproducible.
    """
    for _ in range(random.SystemRandom().randrange(_MOST_SKIPPED)):
        with suppress(OSError):
            os.waitpid(os.posix_spawnp("true", ["true"], os.environ), 0)


def has_children() -> bool:
    """Return whether this process has any child, running or ended; much faster than looking for descendants."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def descendants(ancestor: int) -> Dict[int, str]:
    """Return the running descendants of a process: id -> name of the program. Ended processes are left out."""
    before: Dict[int, Optional[str]] = {}
    now = _family(ancestor)
    for _ in range(_MOST_SCANS):  # a process may fork and end while the table is read, so its child is missed
        if before == now:
            break
        before, now = now, _family(ancestor)
    return {pid: name for pid, name in now.items() if name is not None}


def _family(ancestor: int) -> Dict[int, Optional[str]]:
    """Return the program of each descendant of a process by id, or None if it has ended."""
    table = _table()
    family = {ancestor}
    while more := {pid for pid, process in table.items() if process.parent in family} - family:
        family |= more
    return {pid: table[pid].program for pid in sorted(family - {ancestor})}


def _table() -> Dict[int, _Process]:
    """Return all processes of the system by id."""
    table = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                text = (entry / "stat").read_text(encoding="utf-8", errors="replace")
                start, _, rest = text.rpartition(")")
                state, parent = rest.split()[:2]
                program = None if state in _ENDED else start.partition("(")[2]
                table[int(entry.name)] = _Process(int(parent), program)
    return table


def kill_descendants() -> List[str]:
    """Kill every descendant of this process, and reap them; returns the names of the programs that were running."""
    killed: Dict[int, str] = {}
    deadline = time.monotonic() + _GIVE_UP_S
    while has_children() and time.monotonic() < deadline:
        running = descendants(os.getpid())
        killed.update(running)
        for pid in running:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01 if running else 0.0)
    return list(killed.values())


def _prctl(option: int, value: int) -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))
