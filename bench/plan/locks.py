"""Locks: one hash-pinned requirements file per pair and Python minor, made by ``uv pip compile``.

A lock names no index: the same file serves a public index, a company's mirror and a wheelhouse.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import uv
from packaging.version import Version

from bench.errors import LockError
from bench.plan import cuda
from bench.plan.releases import release

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.plan.column import Pair

PLATFORM = "x86_64-manylinux_2_28"
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)

#: Distributions whose versions every worker checks against its lock before it measures, besides all of NVIDIA's.
WATCHED = ("tensorflow", "tensorflow-cpu", "keras", "numpy", "protobuf", "ml-dtypes")
_NVIDIA = "nvidia-"
#: uv's words where an index does not answer.
_UNREACHED = re.compile(r"error sending request|failed to fetch|dns error|connection refused|timed out", re.IGNORECASE)


def requirements(pair: Pair) -> tuple[str, ...]:
    """What a pair asks for; everything else follows from it and is pinned by the lock.

    A CUDA pair is plain TensorFlow and our own set of wheels, never the ``[and-cuda]`` extra.
    """
    known = release(pair.tensorflow)
    name = "tensorflow-cpu" if pair.cuda == "cpu" else "tensorflow"
    own = (f"{name}=={pair.tensorflow}", f"keras=={pair.keras}")
    return (*own, *cuda.wheels(pair), *(known.constraints if known else ()))


def make(pair: Pair, lock: Path, *, upgrade: bool = False) -> bool:
    """Resolve a pair into its lock; True where the file changed.

    Pins of an existing lock are kept unless ``upgrade`` is set; a new one takes those of its release's other
    pairs, so that only the CUDA set moves between them. Raises LockError with uv's own words where it cannot be
    resolved; the old lock then stays as it was.
    """
    before = lock.read_text(encoding="utf-8") if lock.is_file() else ""
    options = ["--generate-hashes", *(["--upgrade"] if upgrade else [])]
    after = _resolved(pair, requirements(pair), options, before or _sibling(pair, lock))
    if after == before:
        return False
    lock.parent.mkdir(parents=True, exist_ok=True)
    fresh = lock.with_suffix(".part")
    fresh.write_text(after, encoding="utf-8")
    fresh.replace(lock)
    return True


def check(pair: Pair, lock: Path) -> tuple[str, ...]:
    """Which newer patch releases there are of what a pair names itself, one sentence each; nothing is changed.

    TensorFlow and Keras are looked for within their minor, cuDNN and NCCL too; of the CUDA set those parts that carry
    the toolkit's own number within its minor, the others within their first three numbers, for a set moves as one.

    Raises:
        LockError: there is no lock, the index cannot be reached, or it has nothing that fits.
    """
    pinned = pins(lock)
    names = [name for name in (re.split("[=<]", line)[0] for line in requirements(pair)) if name in pinned]
    newest = _resolved(pair, [_loose(name, pinned[name]) for name in names], ["--no-deps"], "")
    found = _pinned(newest)
    return tuple(
        f"{name} {found[name]} is out, the lock has {pinned[name]}"
        for name in names
        if Version(found[name]) > Version(pinned[name])
    )


def _sibling(pair: Pair, lock: Path) -> str:
    """The lock of another pair of the same release and Python, "" where there is none."""
    there = sorted(lock.parent.glob(f"tf{pair.tensorflow}-*-py{pair.python.replace('.', '')}.txt"))
    return there[0].read_text(encoding="utf-8") if there else ""


def _loose(name: str, version: str) -> str:
    """The requirement for the newest patch release of a version."""
    fixed = 2 if not name.startswith(_NVIDIA) or name in _moving() else 3
    return f"{name}=={'.'.join(version.split('.')[:fixed])}.*"


@cache
def _moving() -> frozenset[str]:
    """Wheels of NVIDIA's whose first two numbers say for which minor they are."""
    table = cuda.table()
    names = [table.components[key].name for key in (*cuda.NUMBERED, "nccl")] + [table.cudnn_name]
    return frozenset(f"{name}-cu{major}" for name in names for major in (11, 12))


def _resolved(pair: Pair, asked: Iterable[str], options: list[str], before: str) -> str:
    """The answer of uv to some requirements, its pins of ``before`` kept; raises LockError with uv's own words."""
    with tempfile.TemporaryDirectory(prefix="tfrepro-lock-") as folder:
        wanted, made = Path(folder) / "pair.in", Path(folder) / "lock.txt"
        wanted.write_text("\n".join(asked) + "\n", encoding="utf-8")
        if before:
            made.write_text(before, encoding="utf-8")
        command = [
            *(uv.find_uv_bin(), "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--no-emit-index-url"),
            *("--no-emit-find-links", "--python-version", pair.python, "--python-platform", PLATFORM),
            *("--only-binary", ":all:", "--output-file", str(made), *options, str(wanted)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        if done.returncode != 0:
            raise _refusal(pair, " ".join(done.stderr.split()))
        return made.read_text(encoding="utf-8")


def _refusal(pair: Pair, reason: str) -> LockError:
    if _UNREACHED.search(reason):
        hint = (
            "Try again with a network; for a mirror of your own set UV_DEFAULT_INDEX. A lock that is there still works."
        )
        return LockError(f"{pair.id}: the package index cannot be reached. uv says: {reason}", hint)
    hint = "Check the versions of this pair in matrix.toml, and that the package index has them."
    return LockError(f"{pair.id}: its wheels cannot be resolved. uv says: {reason}", hint)


def pins(lock: Path) -> dict[str, str]:
    """Distribution -> version of every pin; raises LockError where the file cannot be read."""
    try:
        text = lock.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LockError(f"The lock {lock.name} cannot be read ({error}).", "Make it with: nox -s lock") from error
    return _pinned(text)


def expected(lock: Path) -> dict[str, str]:
    """The pins that a worker must find installed."""
    return {name: version for name, version in pins(lock).items() if name in WATCHED or name.startswith(_NVIDIA)}


def _pinned(text: str) -> dict[str, str]:
    return {name.lower().replace("_", "-"): version for name, version in _PIN.findall(text)}
