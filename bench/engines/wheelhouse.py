"""The wheels of a lock as files, for a host that reaches no index. Each is held against the lock's hashes.

uv installs and keeps no wheel, so pip downloads, with the host's own settings of index and certificates; uv brings it.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from typing import TYPE_CHECKING

import uv
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from bench.engines import network
from bench.engines.usage_lock import cache_folder
from bench.errors import BuildError
from bench.portable.lock import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Another process may be downloading the same wheels, several GB.
LOCK_TIMEOUT_S = 2 * 3600.0
#: From the newest C library a lock may ask for to the oldest a wheel names.
_GLIBC = range(28, 4, -1)
_OLD_NAMES = ("manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64")
_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def wheels(lock: Path, python: str, say: Callable[[str], None]) -> list[Path]:
    """One wheel for each pin of a lock, downloaded where the user's cache has it not; sorted.

    Raises:
        BuildError: a wheel cannot be had, or is not the one that the lock promises.
    """
    folder = cache_folder() / "bundled-wheels"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = hashes(lock.read_text(encoding="utf-8"))
    with FileLock(folder / ".lock", timeout_s=LOCK_TIMEOUT_S):
        found = _found(folder, wanted, python)
        if set(found) != set(wanted):
            say(f"downloading {len(set(wanted) - set(found))} wheels")
            _download(lock, python, folder)
            found = _found(folder, wanted, python)
    missing = sorted(set(wanted) - set(found))
    if missing:
        message = f"{missing[0]} was downloaded, and is not the file that {lock.name} promises (wrong hash)."
        raise BuildError(message, f"If you trust the index, make {lock.name} anew.")
    return sorted(found.values())


def hashes(lock: str) -> dict[str, frozenset[str]]:
    """``name==version`` -> the SHA-256s that a lock allows for it."""
    found: dict[str, set[str]] = {}
    pin = ""
    for row in lock.splitlines():
        if begins := _PIN.match(row):
            pin = f"{_normal(begins[1])}=={begins[2]}"
        if pin:
            found.setdefault(pin, set()).update(_HASH.findall(row))
    return {pin: frozenset(digests) for pin, digests in found.items()}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _found(folder: Path, wanted: dict[str, frozenset[str]], python: str) -> dict[str, Path]:
    """The wheels in a folder that a lock asks for, each by its own bytes; a lock knows those of other Pythons too."""
    found: dict[str, Path] = {}
    minor = tuple(int(number) for number in python.split("."))
    platforms = _platforms()
    fitting = {*cpython_tags(minor, platforms=platforms), *compatible_tags(minor, platforms=platforms)}
    for path in sorted(folder.glob("*.whl")):
        name, version = path.name.split("-")[:2]
        pin = f"{_normal(name)}=={version}"
        if pin not in wanted or pin in found or fitting.isdisjoint(parse_wheel_filename(path.name)[3]):
            continue
        if _sha256(path) in wanted[pin]:
            found[pin] = path
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _platforms() -> list[str]:
    return [*(f"manylinux_2_{minor}_x86_64" for minor in _GLIBC), *_OLD_NAMES, "linux_x86_64"]


def _download(lock: Path, python: str, folder: Path) -> None:
    command = [
        *(uv.find_uv_bin(), "run", "--quiet", "--no-project", "--isolated", "--with", "pip", "python", "-m", "pip"),
        *("download", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-cache-dir"),
        *("--disable-pip-version-check", "--python-version", python, "--implementation", "cp"),
        *(word for platform in _platforms() for word in ("--platform", platform)),
        *("--dest", str(folder), "--requirement", str(lock)),
    ]
    redact = network.Redactor(network.settings(os.environ))
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=_environment()
    )
    if done.returncode != 0:
        words = " ".join(redact(done.stderr + done.stdout).split())[-600:]
        message = f"The wheels of {lock.name} cannot be downloaded: {words}"
        raise BuildError(message, "Check the network, and PIP_INDEX_URL and HTTPS_PROXY if yours needs them.")


def _environment() -> dict[str, str]:
    """The host's environment; uv's index and certificates where pip has none of its own."""
    environment = dict(os.environ)
    for mine, theirs in (("PIP_INDEX_URL", ("UV_DEFAULT_INDEX", "UV_INDEX_URL")), ("PIP_CERT", ("SSL_CERT_FILE",))):
        value = next((os.environ[name] for name in theirs if os.environ.get(name)), "")
        if value and not environment.get(mine):
            environment[mine] = value
    return environment
