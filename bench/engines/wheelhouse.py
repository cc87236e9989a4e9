"""Download the wheels of a lock for a host without a package index, and verify them against its hashes.

uv cannot download wheels without installing them, so it runs pip, with the index and certificate settings of this host.
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
_DOWNLOAD_LIMIT_S = 3600
#: From the newest C library a lock may ask for to the oldest a wheel names.
_GLIBC = range(28, 4, -1)
_OLD_NAMES = ("manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64")
_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def wheels(lock: Path, python: str, say: Callable[[str], None]) -> list[Path]:
    """Return one wheel for each pin of a lock, sorted; downloads those that are not in the user's cache.

    Raises:
        BuildError: a wheel could not be downloaded, or has another hash than the lock pins.
    """
    folder = cache_folder() / "bundled-wheels"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = hashes(lock.read_text(encoding="utf-8"))
    with FileLock(folder / ".lock", timeout_s=LOCK_TIMEOUT_S):
        available = _matching(folder, wanted, python)
        if set(available) != set(wanted):
            say(f"downloading {len(set(wanted) - set(available))} wheels")
            _download(lock, python, folder)
            available = _matching(folder, wanted, python)
    missing = sorted(set(wanted) - set(available))
    if missing:
        message = f"{missing[0]} was downloaded but is not the file that {lock.name} pins (wrong hash)."
        raise BuildError(message, f"If you trust the index, create {lock.name} again.")
    return sorted(available.values())


def hashes(lock: str) -> dict[str, frozenset[str]]:
    """Return ``name==version`` -> the SHA-256 hashes that a lock accepts for it."""
    accepted: dict[str, set[str]] = {}
    pin = ""
    for line in lock.splitlines():
        if start := _PIN.match(line):
            pin = f"{_normalized(start[1])}=={start[2]}"
        if pin:
            accepted.setdefault(pin, set()).update(_HASH.findall(line))
    return {pin: frozenset(digests) for pin, digests in accepted.items()}


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _matching(folder: Path, wanted: dict[str, frozenset[str]], python: str) -> dict[str, Path]:
    """Return the wheels in a folder that match a lock by hash and also this Python version, by pin."""
    wheels_by_pin: dict[str, Path] = {}
    minor = tuple(int(number) for number in python.split("."))
    platforms = _platforms()
    fitting = {*cpython_tags(minor, platforms=platforms), *compatible_tags(minor, platforms=platforms)}
    for path in sorted(folder.glob("*.whl")):
        name, version = path.name.split("-")[:2]
        pin = f"{_normalized(name)}=={version}"
        if pin not in wanted or pin in wheels_by_pin or fitting.isdisjoint(parse_wheel_filename(path.name)[3]):
            continue
        if _sha256(path) in wanted[pin]:
            wheels_by_pin[pin] = path
    return wheels_by_pin


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
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=_environment(),
            timeout=_DOWNLOAD_LIMIT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        message = f"The wheels of {lock.name} were not downloaded within {_DOWNLOAD_LIMIT_S} s."
        hint = "Try again, or set UV_DEFAULT_INDEX to a mirror that is nearer."
        raise BuildError(message, hint) from error
    if done.returncode != 0:
        output = " ".join(redact(done.stderr + done.stdout).split())[-600:]
        message = f"The wheels of {lock.name} could not be downloaded: {output}"
        raise BuildError(message, "Check the network, and set PIP_INDEX_URL and HTTPS_PROXY if it needs them.")


def _environment() -> dict[str, str]:
    """Return the environment of this host, with uv's index and certificates for pip if pip has none of its own."""
    environment = dict(os.environ)
    for pip_name, uv_names in (
        ("PIP_INDEX_URL", ("UV_DEFAULT_INDEX", "UV_INDEX_URL")),
        ("PIP_CERT", ("SSL_CERT_FILE",)),
    ):
        value = next((os.environ[name] for name in uv_names if os.environ.get(name)), "")
        if value and not environment.get(pip_name):
            environment[pip_name] = value
    return environment
