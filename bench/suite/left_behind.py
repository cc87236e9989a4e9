"""What a kernel leaves behind in its process: whatever could affect the kernel after it.

A snapshot is taken before a kernel and compared with the state after it. What TensorFlow and Keras create for
themselves is no trace of a kernel: native threads, device files, and the files of AutoGraph.
"""

from __future__ import annotations

import _thread
import ctypes
import gc
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, FrozenSet, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from bench.suite import processes
from bench.suite.private_tmp import SHARED

#: Seconds that threads and processes may take to end by themselves.
GRACE_S = 0.2
#: Names that a sentence lists, and characters of each.
_MOST_NAMES, _LONGEST = 5, 100
#: Targets of descriptors that are no files: event queues, devices, and what the system reports about itself.
_SYSTEM = ("anon_inode:", "/dev/", "/proc/", "/sys/")
_LAST_STANDARD = 2
_CHANNELS = ("pipe:", "socket:")
#: Lines of /proc/self/status: the file mode mask, and the signals that are ignored and caught.
_UMASK, _SIGNALS = "Umask", ("SigIgn", "SigCgt")
#: The two signals that the C library handles for itself once there are threads (32 and 33), as bits of such a line.
_INTERNAL_SIGNALS = 0b11 << 31
#: AutoGraph writes the code that it generates to files of this name, and deletes them at the end of the process.
_AUTOGRAPH = "__autograph_generated_file"
#: The project's own folders in a /tmp that other processes use as well.
_OWN = "tfrepro-"


class Snapshot(NamedTuple):
    """The state of this process that a kernel could change.

    ``threads`` maps ids of Python threads to their names, ``descriptors`` numbers of open files to what they refer
    to, ``files`` folders for temporary files to their entries.
    """

    threads: Dict[int, str]
    children: Dict[int, str]
    descriptors: Dict[int, str]
    streams: Tuple[Any, ...]
    environment: Dict[str, str]
    directory: str
    status: Dict[str, str]
    handlers: Dict[int, Any]
    timer: bool
    files: Dict[str, FrozenSet[str]]


def snapshot(*, private_tmp: bool, folders: Optional[Iterable[str]] = None) -> Snapshot:
    """Return the current state.

    Args:
        private_tmp: Whether no other process writes to /tmp; else only this user's entries of shared folders count.
        folders: The folders for temporary files; by default those that are in use now.
    """
    chosen = _folders() if folders is None else folders
    return Snapshot(
        threads=_threads(),
        children=processes.descendants(os.getpid()) if processes.has_children() else {},
        descriptors=_descriptors(),
        streams=(sys.stdin, sys.stdout, sys.stderr),
        environment=variables(),
        directory=_directory(),
        status=_status(),
        handlers={number: signal.getsignal(number) for number in signal.valid_signals()},
        timer=signal.getitimer(signal.ITIMER_REAL)[0] > 0,
        files={folder: _entries(folder, private=private_tmp) for folder in chosen},
    )


def sentences(before: Snapshot, *, private_tmp: bool, channels: bool = True) -> List[str]:
    """Return one sentence for everything that was left behind since a snapshot.

    Args:
        before: The state before the kernel.
        private_tmp: Whether no other process writes to /tmp.
        channels: Whether new pipes and sockets count; CUDA opens some for itself.
    """
    deadline = time.monotonic() + GRACE_S
    after = snapshot(private_tmp=private_tmp, folders=before.files)
    while _pending(before, after) and time.monotonic() < deadline:
        gc.collect()  # closes files and ends iterators that nothing refers to any more
        time.sleep(0.02)
        after = snapshot(private_tmp=private_tmp, folders=before.files)
    return [
        *_started(before, after),
        *_opened(before, after, channels=channels),
        *_changed(before, after),
        *_written(before, after, private_tmp=private_tmp),
    ]


def running(names: Iterable[str]) -> str:
    """Return the sentence about processes that were left running."""
    programs = sorted(names)
    return f"left {_count(len(programs), 'process', 'processes')} running: {_listed(programs)}"


def _pending(before: Snapshot, after: Snapshot) -> bool:
    """Return whether there is something new that may go away by itself."""
    new = (
        after.threads.keys() - before.threads.keys(),
        after.children.keys() - before.children.keys(),
        _new_descriptors(before, after),
    )
    return any(new)


def _started(before: Snapshot, after: Snapshot) -> List[str]:
    threads = sorted(name for ident, name in after.threads.items() if ident not in before.threads)
    children = [name for pid, name in after.children.items() if pid not in before.children]
    result = [f"left {_count(len(threads), 'thread')} running: {_listed(threads)}"] if threads else []
    return result + ([running(children)] if children else [])


def _opened(before: Snapshot, after: Snapshot, *, channels: bool) -> List[str]:
    opened = sorted(
        target for target in _new_descriptors(before, after).values() if channels or not target.startswith(_CHANNELS)
    )
    result = [f"left {_count(len(opened), 'file descriptor')} open: {_listed(opened)}"] if opened else []
    names = ("standard input", "standard output", "standard error")
    changed = [
        name
        for number, name in enumerate(names)
        if before.descriptors.get(number) != after.descriptors.get(number)
        or before.streams[number] is not after.streams[number]
        or getattr(after.streams[number], "closed", False)
    ]
    return result + ([f"closed or redirected {_listed(changed)}"] if changed else [])


def _new_descriptors(before: Snapshot, after: Snapshot) -> Dict[int, str]:
    return {
        number: target
        for number, target in after.descriptors.items()
        if number > _LAST_STANDARD and before.descriptors.get(number) != target and _is_file(target)
    }


def _is_file(target: str) -> bool:
    return target.startswith(SHARED[2] + "/") or not target.startswith(_SYSTEM)


def _changed(before: Snapshot, after: Snapshot) -> List[str]:
    result = changed_variables(before.environment, after.environment)
    if before.directory != after.directory:
        result.append(f"changed the working directory to {_clean(after.directory)}")
    if before.status.get(_UMASK) != after.status.get(_UMASK):
        result.append(f"changed the umask to {after.status.get(_UMASK)}")
    handlers = [_signal(number) for number, handler in after.handlers.items() if handler != before.handlers[number]]
    if handlers:
        result.append(f"changed {_count(len(handlers), 'signal handler')}: {_listed(handlers)}")
    elif any(_mask(before.status, name) != _mask(after.status, name) for name in _SIGNALS):
        result.append("changed a signal handler")
    if after.timer and not before.timer:
        result.append("left a timer running that sends SIGALRM")
    return result


def changed_variables(before: Mapping[str, str], after: Optional[Mapping[str, str]] = None) -> List[str]:
    """Return a sentence about the environment variables that changed, or none; ``after`` is by default what is now."""
    now = variables() if after is None else after
    changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    return [f"changed {_count(len(changed), 'environment variable')}: {_listed(changed)}"] if changed else []


def _written(before: Snapshot, after: Snapshot, *, private_tmp: bool) -> List[str]:
    result = []
    for folder, entries in after.files.items():
        new = sorted(name for name in entries - before.files.get(folder, frozenset()) if not _expected(name))
        if not new:
            continue
        number = _count(len(new), "file or folder", "files or folders")
        if private_tmp or folder not in SHARED:
            result.append(f"left {number} in {_shown(folder)}: {_listed(new)}")
        else:
            result.append(f"{number} appeared in {folder} while it ran: {_listed(new)}")
    return result


def _expected(name: str) -> bool:
    return name.startswith((_AUTOGRAPH, _OWN))


def _shown(folder: str) -> str:
    return folder if folder in SHARED else "its folder for temporary files"


def _threads() -> Dict[int, str]:
    """Return the threads that Python started; those of TensorFlow count as little when they call Python code.

    Threads started without ``threading`` are only counted, so they get invented, negative ids.
    """
    dummy = threading._DummyThread  # noqa: SLF001 - stands for a thread of TensorFlow
    threads = {thread.ident or 0: thread.name for thread in threading.enumerate() if not isinstance(thread, dummy)}
    unlisted = _thread._count() + 1 - len(threads)  # noqa: SLF001 - documented nowhere else; + 1 for the main thread
    return {**threads, **{-number: "without a name" for number in range(1, unlisted + 1)}}


def _descriptors() -> Dict[int, str]:
    result = {}
    with suppress(OSError):
        for entry in list(Path("/proc/self/fd").iterdir()):
            with suppress(OSError):  # the descriptor of this listing is closed by now
                result[int(entry.name)] = str(entry.readlink())
    return result


def variables() -> Dict[str, str]:
    """Return the environment variables as C code sees it: ``os.environ`` does not show what ``putenv`` changed."""
    result = {}
    with suppress(ValueError, OSError):
        entries = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
        position = 0
        while entries[position]:
            name, _, value = os.fsdecode(entries[position]).partition("=")
            result[name] = value
            position += 1
    return result


def _directory() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return "a folder that no longer exists"


def _status() -> Dict[str, str]:
    with suppress(OSError):
        rows = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines()
        pairs = (row.partition(":")[::2] for row in rows)
        return {name: value.strip() for name, value in pairs if name in (_UMASK, *_SIGNALS)}
    return {}


def _mask(status: Dict[str, str], name: str) -> int:
    return int(status.get(name, "0"), 16) & ~_INTERNAL_SIGNALS


def _folders() -> List[str]:
    return list(dict.fromkeys(filter(None, [os.environ.get("TMPDIR", "").rstrip("/"), *SHARED])))


def _entries(folder: str, *, private: bool) -> FrozenSet[str]:
    """Return the names in a folder; of a folder that others share, those of this user."""
    try:
        names = [entry.name for entry in Path(folder).iterdir()]
    except OSError:
        return frozenset()
    if private or folder not in SHARED:
        return frozenset(names)
    return frozenset(name for name in names if _owner(f"{folder}/{name}") == os.getuid())


def _owner(path: str) -> int:
    try:
        return os.lstat(path).st_uid
    except OSError:  # it has just been deleted
        return -1


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no name
        return f"signal {number}"


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number} {one if number == 1 else several or one + 's'}"


def _listed(names: List[str]) -> str:
    more = [f"and {len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else []
    return ", ".join([*map(_clean, names[:_MOST_NAMES]), *more])


def _clean(name: str) -> str:
    """Return a name that is short and valid text, whatever bytes a kernel chose."""
    text = os.fsencode(name).decode("utf-8", errors="replace")
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
