"""Run a command without a network, with read-only files and without new privileges, as far as the system allows it.

Run as a program by the Python of an environment: ``python confine.py FOLDER COMMAND...``. It starts by its path and
imports nothing of the package, so it has its own calls of the system, as ``bench.suite.private_tmp`` has.

This limits what a kernel does by mistake. It is no boundary against hostile code, which can still read what the user
can read.

Sources: unshare(2), mount_setattr(2), netdevice(7), prctl(2).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import re
import socket
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: What is given up, as ``check`` names it.
NO_PRIVILEGES, NO_NETWORK, READ_ONLY = "no new privileges", "no network", "files read-only"
_CHECK = "--check"
_CHECK_LIMIT_S = 60.0
_NO_NEW_PRIVILEGES = 38
_NEW_MOUNTS, _NEW_USER, _NEW_NETWORK = 0x20000, 0x10000000, 0x40000000
_BIND, _RECURSIVE, _PRIVATE = 4096, 16384, 1 << 18
_MOUNT_SETATTR, _HERE, _READ_ONLY = 442, -100, 1
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 0x1
#: Folders that stay writable: processes share them, rounds mount private ones there, and drivers make devices.
_WRITABLE = ("/tmp", "/var/tmp", "/dev", "/proc")  # noqa: S108 - the folders themselves are meant
_OCTAL = re.compile(r"\\([0-7]{3})")
#: Where container engines listen; whoever may write there is root.
_SOCKETS = ("/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock")


def command(python: str, folder: Path, arguments: tuple[str, ...]) -> list[str]:
    """Return the command that runs Python with arguments, confined; only ``folder`` can be written."""
    return [python, "-I", str(Path(__file__).resolve()), str(folder), python, *arguments]


def restrictions() -> str:
    """Return what commands started by this module give up on this host, for a report."""
    return ", ".join(check()) or "none, because this system refuses them"


def check() -> tuple[str, ...]:
    """Return what a command started by this module gives up on this host."""
    words = [sys.executable, "-I", str(Path(__file__).resolve()), "/nonexistent", _CHECK]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_CHECK_LIMIT_S)
        return tuple(map(str, json.loads(done.stdout)))
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ()


def confine(folder: Path) -> list[str]:
    """Confine this process and its children; returns what was given up."""
    done = []
    if _in_a_child(_new_namespaces) and _new_namespaces():
        _loopback_up()
        done.append(NO_NETWORK)
        if _files_read_only(folder):
            done.append(READ_ONLY)
    if ctypes.CDLL(None).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0:
        done.append(NO_PRIVILEGES)
    return done


def _in_a_child(attempt: Callable[[], bool]) -> bool:
    """Return whether something works, by trying it in a child: namespaces that are half made cannot be left again.

    AppArmor, for instance, lets a user make them but not enter its id there (Ubuntu since 23.10).
    """
    child = os.fork()
    if child == 0:
        worked = False
        try:
            worked = attempt()
        finally:
            os._exit(0 if worked else 1)
    return os.waitpid(child, 0)[1] == 0


def _new_namespaces() -> bool:
    """Move this process to a network and a mount namespace of its own; False where the system refuses."""
    uid, gid = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        if libc.unshare(_NEW_MOUNTS | _NEW_NETWORK) != 0:  # only root may do so without a user namespace
            if libc.unshare(_NEW_MOUNTS | _NEW_NETWORK | _NEW_USER) != 0:
                return False
            Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
            Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
            Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")
        _mount("none", "/", _RECURSIVE | _PRIVATE)
    except (OSError, AttributeError):
        return False
    return True


def _loopback_up() -> None:
    """Enable the loopback interface of a new network namespace: libraries talk to their own processes over it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14s", b"lo", 0, b"")
        try:
            flags = struct.unpack("16sH14s", fcntl.ioctl(any_socket, _GET_FLAGS, request))[1]
            fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH14s", b"lo", flags | _UP, b""))
        except OSError as error:
            sys.stderr.write(f"tfrepro: the loopback interface cannot be enabled: {error}\n")


def _files_read_only(folder: Path) -> bool:
    """Make all files read-only in this mount namespace, except those in ``folder`` and in ``_WRITABLE``.

    Each mount outside these folders is made read-only by itself, and none is made writable, whatever fails.
    """
    writable = [os.path.realpath(path) for path in (*_WRITABLE, str(folder)) if Path(path).is_dir()]
    try:
        for path in _sockets():
            _mount("/dev/null", path, _BIND)
        for path in writable:
            if not os.path.ismount(path):
                _mount(path, path, _BIND | _RECURSIVE)
        for path in _mount_points():
            if not any(path == place or path.startswith(f"{place}/") for place in writable):
                _set_read_only(path)
    except (OSError, AttributeError) as error:
        sys.stderr.write(f"tfrepro: not all files can be made read-only: {error}\n")
        return False
    return True


def _mount_points() -> list[str]:
    """Return where something is mounted; a later mount may hide an earlier one."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    # spaces and other special characters are octal escapes
    return list(dict.fromkeys(_OCTAL.sub(lambda match: chr(int(match[1], 8)), line.split()[4]) for line in lines))


def _sockets() -> list[str]:
    """Return the sockets of container engines on this host that this process can reach."""
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    found = []
    for path in (*_SOCKETS, f"{runtime}/docker.sock", f"{runtime}/podman/podman.sock"):
        with suppress(PermissionError):  # in a folder that is closed to this user
            if Path(path).is_socket():
                found.append(os.path.realpath(path))
    return found


def _mount(source: str, target: str, flags: int) -> None:
    """Call mount(2); raises OSError where it fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(flags), None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)


def _set_read_only(path: str) -> None:
    """Call mount_setattr(2) for one mount, unless it cannot be reached by its path; raises OSError where it fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = struct.pack("QQQQ", _READ_ONLY, 0, 0, 0)
    size = ctypes.c_size_t(len(attributes))
    if libc.syscall(_MOUNT_SETATTR, _HERE, os.fsencode(path), 0, attributes, size) != 0:
        code = ctypes.get_errno()
        if code not in (errno.ENOENT, errno.EACCES, errno.EINVAL):  # hidden below another mount, or in a closed folder
            raise OSError(code, os.strerror(code), path)


def main(arguments: list[str]) -> None:
    """Confine this process and become the command."""
    done = confine(Path(arguments[0]))
    if arguments[1] == _CHECK:
        sys.stdout.write(json.dumps(done))
        return
    missing = [name for name in (NO_NETWORK, READ_ONLY, NO_PRIVILEGES) if name not in done]
    if missing:
        sys.stderr.write(f"tfrepro: this system does not allow: {', '.join(missing)}\n")
    os.execv(arguments[1], arguments[1:])  # noqa: S606 - the command is a list


if __name__ == "__main__":
    main(sys.argv[1:])
