"""A private, empty /tmp for every process of a round.

A file that one process leaves in /tmp could make a random value of the next one look reproducible. In a container /tmp
belongs to the round, so the driver empties it before each process. Elsewhere each process gets a folder of its own; it
is mounted over /tmp and /var/tmp in a mount namespace, which needs no privileges where the system allows user
namespaces; so is System V shared memory. Where it does not, only TMPDIR and HOME are private, and the record says so.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional

#: Set by an engine whose container has a /tmp of its own, which the driver may therefore empty.
IN_CONTAINER = "TFREPRO_PRIVATE_TMP"
#: Folders for temporary files that all processes of a host share.
SHARED = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - the folders themselves are meant
#: Variables that point to temporary folders.
_PLACES = ("TMPDIR", "HOME", "XDG_CACHE_HOME")
_CUDA_CACHE = "CUDA_CACHE_PATH"
#: Most seconds to delete what a kernel left.
DELETE_S = 300.0
#: Start of the names of variables by which the project names folders that a worker needs.
_PROJECT = "TFREPRO_"
_NEW_MOUNTS, _NEW_IPC, _NEW_USER = 0x20000, 0x8000000, 0x10000000
_BIND, _RECURSIVE, _PRIVATE = 4096, 16384, 1 << 18


class Place(NamedTuple):
    """Where a worker runs.

    Attributes:
        folder: The folder to mount over /tmp; None in a container, where /tmp is private already.
        directory: The working directory; None for that of the driver.
        environment: Variables that differ from the driver's.
    """

    folder: Optional[Path]
    directory: Optional[str]
    environment: Mapping[str, str]


@contextmanager
def place(*, keep_cuda_cache: bool) -> Iterator[Place]:
    """Yield an empty place for one process, and delete afterwards what the process left there.

    Args:
        keep_cuda_cache: Leave the code that CUDA compiled for the GPU in a container's /tmp, because compiling it
            again can take minutes for each process.
    """
    if os.environ.get(IN_CONTAINER) == "1":
        kept = {os.environ.get(_CUDA_CACHE, "")} if keep_cuda_cache else set()
        for name in filter(os.path.ismount, SHARED):  # an engine mounts them; a host's own /tmp is left alone
            _empty(Path(name), kept)
        yield Place(None, None, {})
        return
    folder = Path(tempfile.mkdtemp(prefix="tfrepro-process-"))
    try:
        yield place_in(folder)
    finally:
        _delete(folder)


def place_in(folder: Path) -> Place:
    """Make the folders that ``mount`` needs in an empty folder, and return the place."""
    private = folder / "tmp"
    private.mkdir()
    (folder / "var").mkdir()
    return Place(folder, str(private), _private_places(os.environ, str(private)))


def mount(folder: Path) -> bool:
    """Mount a folder made by ``place`` over /tmp and /var/tmp, for this process and its children; False if refused.

    Must run before any thread is started. What this interpreter needs below /tmp stays visible there.
    """
    if SHARED[0] in map(os.path.normpath, sys.path) or not _new_namespace():
        return False  # modules that lie in /tmp itself would vanish
    private = folder / "tmp"
    try:
        for path in _needed(folder):
            target = private / Path(path).relative_to(SHARED[0])
            target.mkdir(parents=True, exist_ok=True)
            _mount(path, str(target), _BIND | _RECURSIVE)
        if Path(SHARED[2]).is_dir():
            _mount("tmpfs", SHARED[2], 0, "tmpfs")
        if Path(SHARED[1]).is_dir():
            _mount(str(folder / "var"), SHARED[1], _BIND | _RECURSIVE)
        _mount(str(private), SHARED[0], _BIND | _RECURSIVE)
    except OSError as error:
        sys.stderr.write(f"tfrepro: a private /tmp cannot be mounted: {error}\n")
        return False
    sys.path[:] = [path for path in sys.path if not _below(path, str(folder))]
    os.chdir(SHARED[0])
    for name in _PLACES:
        if _below(os.environ.get(name, ""), str(private)):
            os.environ[name] = os.environ[name].replace(str(private), SHARED[0], 1)
    return True


def _private_places(environment: Mapping[str, str], private: str) -> Dict[str, str]:
    """Return TMPDIR, and the other variables that point into the round's scratch folder, for a private folder.

    PYTHONPATH names the folder of the suite, because the working directory changes.
    """
    scratch = environment.get("TMPDIR", "")
    own = {name: private for name in _PLACES if _below(environment.get(name, ""), scratch)}
    root = str(Path(__file__).resolve().parents[2])
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {**own, "TMPDIR": private, "PYTHONPATH": os.pathsep.join(paths if root in paths else [root, *paths])}


def _needed(folder: Path) -> List[str]:
    """Return the folders below /tmp that must stay visible, outermost first.

    They hold this interpreter, its libraries, CUDA's cache, and what variables of the project name.
    """
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    own = [value for name, value in os.environ.items() if name.startswith(_PROJECT)]
    paths = [sys.prefix, sys.base_prefix, *sys.path, *libraries, *own]
    cache = os.environ.get(_CUDA_CACHE, "")
    if cache:
        with suppress(OSError):
            Path(cache).mkdir(parents=True, exist_ok=True)
        paths.append(cache)
    chosen: List[str] = []
    for path in sorted({os.path.normpath(path) for path in paths if path}, key=len):
        inside = _below(path, SHARED[0]) and path != SHARED[0] and not _below(path, str(folder))
        if inside and Path(path).is_dir() and not any(_below(path, other) for other in chosen):
            chosen.append(path)
    return chosen


def _below(path: str, folder: str) -> bool:
    """Return whether a path is a folder or lies inside it."""
    return bool(path and folder) and (path == folder or path.startswith(folder.rstrip("/") + "/"))


def _new_namespace() -> bool:
    """Give this process its own mounts, and its own System V shared memory; False where the system refuses."""
    uid, gid = os.getuid(), os.getgid()
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        own = _NEW_MOUNTS | _NEW_IPC
        if libc.unshare(own) != 0:  # only root may do so without a user namespace
            if libc.unshare(own | _NEW_USER) != 0:
                return False
            Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
            Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
            Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")
        _mount("none", "/", _RECURSIVE | _PRIVATE)
    except (OSError, AttributeError):
        return False
    return True


def _mount(source: str, target: str, flags: int, kind: str = "") -> None:
    """Call mount(2); raises OSError where it fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    texts = [source.encode(), os.fsencode(target), kind.encode() or None]
    if libc.mount(*texts, ctypes.c_ulong(flags), None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)


def _empty(folder: Path, kept: set[str]) -> None:
    """Delete everything in a folder except the paths ``kept``."""
    try:
        entries = list(folder.iterdir())
    except OSError:
        return  # the container does not have it
    for entry in entries:
        if str(entry) not in kept:
            _delete(entry)


def _delete(path: Path) -> None:
    """Delete a file or folder, even one whose permissions were taken away; what cannot be deleted stays."""
    if path.is_symlink() or not path.is_dir():
        with suppress(OSError):
            path.unlink()
        return
    # a kernel may have nested folders deeper than shutil.rmtree can recurse, or longer than a path may be
    for command in (["chmod", "-R", "u+rwX", "--"], ["rm", "-rf", "--"]):
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                [*command, str(path)],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
                timeout=DELETE_S,
            )
