"""Locks: one hash-pinned requirements file per pair and Python minor, made by ``uv pip compile``.

A lock names no index: the same file serves a public index, a company's mirror and a wheelhouse.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import uv

from bench.errors import LockError

if TYPE_CHECKING:
    from bench.plan.cell import Pair

PLATFORM = "x86_64-manylinux_2_28"
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)

#: Distributions whose versions every worker checks against its lock before it measures.
WATCHED = ("tensorflow", "tensorflow-cpu", "keras", "numpy", "protobuf", "ml-dtypes")


def requirements(pair: Pair) -> tuple[str, ...]:
    """What a pair asks for; everything else follows from it and is pinned by the lock."""
    return (f"tensorflow-cpu=={pair.tensorflow}", f"keras=={pair.keras}")


def make(pair: Pair, lock: Path, *, upgrade: bool = False) -> bool:
    """Resolve a pair into its lock; True where the file changed.

    Pins of an existing lock are kept unless ``upgrade`` is set. Raises LockError with uv's own words
    where it cannot be resolved; the old lock then stays as it was.
    """
    before = lock.read_text(encoding="utf-8") if lock.is_file() else ""
    with tempfile.TemporaryDirectory(prefix="tfrepro-lock-") as folder:
        asked, made = Path(folder) / "pair.in", Path(folder) / "lock.txt"
        asked.write_text("\n".join(requirements(pair)) + "\n", encoding="utf-8")
        if before:
            made.write_text(before, encoding="utf-8")
        command = [
            *(uv.find_uv_bin(), "pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"),
            *("--no-emit-index-url", "--no-emit-find-links", "--python-version", pair.python),
            *("--python-platform", PLATFORM, "--only-binary", ":all:", "--output-file", str(made)),
            *(["--upgrade"] if upgrade else []),
            str(asked),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        if done.returncode != 0:
            reason = " ".join(done.stderr.split())
            hint = "Check the versions of this pair in matrix.toml, and that the package index can be reached."
            raise LockError(f"{pair.id}: no lock could be made. uv says: {reason}", hint)
        after = made.read_text(encoding="utf-8")
    if after == before:
        return False
    lock.parent.mkdir(parents=True, exist_ok=True)
    fresh = lock.with_suffix(".part")
    fresh.write_text(after, encoding="utf-8")
    fresh.replace(lock)
    return True


def pins(lock: Path) -> dict[str, str]:
    """Distribution -> version of every pin; raises LockError where the file cannot be read."""
    try:
        text = lock.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LockError(f"The lock {lock.name} cannot be read ({error}).", "Make it with: nox -s lock") from error
    return {name.lower().replace("_", "-"): version for name, version in _PIN.findall(text)}


def expected(lock: Path) -> dict[str, str]:
    """The pins that a worker must find installed."""
    return {name: version for name, version in pins(lock).items() if name in WATCHED}
