"""Locks: one hash-pinned requirements file for each pair and Python minor, made by ``uv pip compile``.

A lock names no index, so the same file works with a public index, a company's mirror and a folder of wheels.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import uv
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from bench.errors import LockError
from bench.plan import cuda

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.plan.column import Pair

PLATFORM = "x86_64-manylinux_2_28"
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)

#: Distributions whose versions every process checks against its lock before it measures, as well as all of NVIDIA's.
WATCHED = ("tensorflow", "tensorflow-cpu", "keras", "numpy", "protobuf", "ml-dtypes")
_NVIDIA = "nvidia-"
#: Seconds that resolving one lock may take.
_LIMIT_S = 600
#: What uv prints if an index does not answer.
_UNREACHED = re.compile(r"error sending request|failed to fetch|dns error|connection refused|timed out", re.IGNORECASE)


def requirements(pair: Pair) -> tuple[str, ...]:
    """Return the requirements of a pair; the lock also pins everything that they depend on.

    A CUDA pair is plain TensorFlow with the wheels of ``cuda.toml``, never the ``[and-cuda]`` extra.
    """
    name = "tensorflow-cpu" if pair.cuda == "cpu" else "tensorflow"
    numpy = (f"numpy=={pair.numpy}",) if pair.numpy else ()
    return (f"{name}=={pair.tensorflow}", f"keras=={pair.keras}", *numpy, *cuda.wheels(pair), *pair.packages)


def make(pair: Pair, lock: Path, *, upgrade: bool = False) -> bool:
    """Resolve a pair into its lock, and return whether the file changed.

    Pins of an existing lock are kept unless ``upgrade`` is set. A new lock starts from that of another pair of the
    release, so that only the CUDA wheels differ between them.

    Raises:
        LockError: the pair cannot be resolved; the message has uv's output. An existing lock is left unchanged.
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
    """Return one sentence for each newer patch release of a pair's direct requirements; nothing is changed.

    TensorFlow, Keras, cuDNN, NCCL and the CUDA components whose version starts with the CUDA minor are compared within
    their minor. Other CUDA components are compared within their first three numbers: wheels of one toolkit must not be
    mixed with those of another.

    Raises:
        LockError: there is no lock, the index cannot be reached, or it has no version that fits.
    """
    pinned = pins(lock)
    wanted = [canonicalize_name(Requirement(line).name) for line in requirements(pair)]
    names = [name for name in wanted if name in pinned]
    newest = _resolved(pair, [_loose(name, pinned[name]) for name in names], ["--no-deps"], "")
    available = _pinned(newest)
    return tuple(
        f"{name} {available[name]} is available, the lock has {pinned[name]}"
        for name in names
        if Version(available[name]) > Version(pinned[name])
    )


def _sibling(pair: Pair, lock: Path) -> str:
    """Return the lock of another pair of the same release and Python, "" where there is none."""
    siblings = sorted(lock.parent.glob(f"tf{pair.tensorflow}-*-py{pair.python.replace('.', '')}.txt"))
    return siblings[0].read_text(encoding="utf-8") if siblings else ""


def _loose(name: str, version: str) -> str:
    """Return the requirement for the newest patch release of a version."""
    fixed = 2 if not name.startswith(_NVIDIA) or name in _numbered_by_minor() else 3
    return f"{name}=={'.'.join(version.split('.')[:fixed])}.*"


@cache
def _numbered_by_minor() -> frozenset[str]:
    """Return the NVIDIA wheels whose first two numbers are their minor."""
    table = cuda.table()
    names = [table.components[key].name for key in (*cuda.NUMBERED, "nccl")] + [table.cudnn_name]
    return frozenset(f"{name}-cu{major}" for name in names for major in (11, 12))


def _resolved(pair: Pair, wanted: Iterable[str], options: list[str], before: str) -> str:
    """Return the lock that uv makes of some requirements, keeping the pins of ``before``; raises LockError."""
    with tempfile.TemporaryDirectory(prefix="tfrepro-lock-") as folder:
        source, target = Path(folder) / "pair.in", Path(folder) / "lock.txt"
        source.write_text("\n".join(wanted) + "\n", encoding="utf-8")
        if before:
            target.write_text(before, encoding="utf-8")
        command = [
            *(uv.find_uv_bin(), "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--no-emit-index-url"),
            *("--no-emit-find-links", "--python-version", pair.python, "--python-platform", PLATFORM),
            *("--only-binary", ":all:", "--output-file", str(target), *options, str(source)),
        ]
        if pair.cuda == "cpu":
            # packages such as tf-keras need "tensorflow", whose files would overwrite those of tensorflow-cpu
            overrides = Path(folder) / "overrides.txt"
            overrides.write_text("tensorflow; python_version < '3'\n", encoding="utf-8")
            command += ["--overrides", str(overrides)]
        done = _uv(pair, command, folder)
        if done.returncode < 0:  # killed by a signal, as the system does when memory runs out: not an answer
            done = _uv(pair, command, folder)
        if done.returncode != 0:
            raise _refusal(pair, " ".join(done.stderr.split()) or f"(nothing; its exit status is {done.returncode})")
        return target.read_text(encoding="utf-8")


def _uv(pair: Pair, command: list[str], folder: str) -> subprocess.CompletedProcess[str]:
    """Run uv within the time limit of a lock; raises LockError where it exceeds it."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=_LIMIT_S)
    except subprocess.TimeoutExpired as error:
        reason = f"uv has not finished after {_LIMIT_S} s"
        hint = "The package index is probably very slow. Try again later, or set UV_DEFAULT_INDEX to a mirror."
        raise LockError(f"{pair.id}: its lock was not made: {reason}.", hint) from error


def _refusal(pair: Pair, reason: str) -> LockError:
    if _UNREACHED.search(reason):
        hint = "Try again with a network connection, or set UV_DEFAULT_INDEX to your mirror. Existing locks still work."
        return LockError(f"{pair.id}: the package index cannot be reached. uv says: {reason}", hint)
    hint = "Check the versions of this pair in matrix.toml, and that the package index has them."
    return LockError(f"{pair.id}: its wheels cannot be resolved. uv says: {reason}", hint)


def pins(lock: Path) -> dict[str, str]:
    """Return distribution -> version of every pin; raises LockError where the file cannot be read."""
    try:
        text = lock.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LockError(f"The lock {lock.name} cannot be read ({error}).", "Make it with: nox -s lock") from error
    return _pinned(text)


def expected(lock: Path) -> dict[str, str]:
    """Return the pins that a process must find installed."""
    return {name: version for name, version in pins(lock).items() if name in WATCHED or name.startswith(_NVIDIA)}


def _pinned(text: str) -> dict[str, str]:
    return {name.lower().replace("_", "-"): version for name, version in _PIN.findall(text)}
