"""A bundle: one pair for a host without network, in parts small enough to travel; and its records back.

It holds the wheels (or the image) of the pair, uv, the suite, the lock and the rounds of every profile. On the other
side ``run-bundle.sh`` needs a Python and nothing else (``bench/portable/bundle_start.py``).
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import uv

import bench
from bench import host
from bench.engines import _dockercli
from bench.engines.build_context import compiler_path, library_path, stage, xla_flags
from bench.engines.docker import DockerEngine
from bench.engines.wheelhouse import wheels
from bench.errors import BuildError, ConfigError, StorageError
from bench.gpu.facts import Gpu, GpuInventory
from bench.plan import column_selection, custom_kernels, locks, planner
from bench.plan.devices import Devices
from bench.plan.planner import Selection
from bench.store.import_records import importing
from bench.store.run_info import ColumnInfo, KernelInfo, RunInfo
from bench.suite.record import SCHEMA
from bench.suite.suite_hash import suite_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.plan.column import Column, Pair
    from bench.plan.config_models import Matrix
    from bench.plan.planner import Plan
    from bench.plan.schedule import Round

__all__ = ["Bundle", "Order", "importing", "make", "size"]

#: Of the bundle's manifest.
_SCHEMA = 1
#: Stands for the folder of installed packages, which only the other side knows.
_SITE = "{site}"
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_LEAST = 1 << 20
_BLOCK = 1 << 20
#: What the other side's GPU is called until it is known.
_SOME_GPU = Gpu(uuid="", name="gpu", capability=(0, 0), memory_mb=0)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be packed.

    ``pair`` is a pattern that means one pair of the matrix, ``profile`` the one that is run unless the other side says
    another, ``python`` the minor of the other side ("" for the pair's own), ``split`` the bytes of a part at most.
    """

    matrix: Matrix
    pair: str
    out: Path
    root: Path
    engine: str = "venv"
    split: int = 60 << 20
    python: str = ""
    profile: str = "standard"
    selection: Selection | None = None
    kernel_files: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle that was made: its folder, how many parts, their bytes, and the seconds it took.

    ``manifest`` is the SHA-256 of its manifest, to be compared on the other side.
    """

    folder: Path
    parts: int
    bytes: int
    seconds: float
    manifest: str


def size(text: str) -> int:
    """Bytes of ``60M``, ``1G`` or ``500000``; raises ConfigError for what is none, or less than 1 MiB."""
    found = re.fullmatch(r"(\d+)([KMG]?)(?:i?B)?", text.strip())
    number = int(found[1]) * _UNITS[found[2]] if found else 0
    if number < _LEAST:
        raise ConfigError(f"{text!r} is no size of a part.", "Name at least 1M, as in --split 60M.")
    return number


def make(order: Order, say: Callable[[str], None]) -> Bundle:
    """Pack one pair into ``order.out``.

    Raises:
        ConfigError: the pair, Python or profile is not to be had, or the folder holds something else.
        NothingError: no pair or kernel matches.
        LockError, BuildError, EngineError: lock, wheels or image could not be had.
        StorageError: the folder cannot be written.
    """
    start = time.monotonic()
    if order.out.exists() and any(order.out.iterdir()):
        raise ConfigError(f"{order.out} is not empty.", "Name a folder for this bundle alone with --out.")
    try:
        with tempfile.TemporaryDirectory(prefix="tfrepro-bundle-") as scratch:
            plans = _plans(order, Path(scratch) / "locks", say)
            made = _pack(order, plans, Path(scratch), say)
    except OSError as error:
        raise StorageError(f"{order.out} cannot be written: {error.strerror}.", "Free some space.") from error
    return dataclasses.replace(made, seconds=time.monotonic() - start)


def _plans(order: Order, folder: Path, say: Callable[[str], None]) -> dict[str, Plan]:
    """The plan of every profile for the one column of the bundle, the one that is run by itself first."""
    if order.engine == "docker" and order.python:
        raise ConfigError("--python is for virtual environments: an image brings its own Python.", "Leave it out.")
    pair = _pair(order.matrix, order.pair)
    matrix = _narrowed(order, pair)
    pair = _pair(matrix, pair.id)
    place = order.root / "docker" / "locks"
    if not (place / f"{pair.stem}.txt").is_file():
        say(f"making the lock {pair.stem}.txt")
        locks.make(pair, folder / f"{pair.stem}.txt")
        place = folder
    survey = GpuInventory() if pair.cuda == "cpu" else GpuInventory(gpus=(_SOME_GPU,))
    devices = Devices(kind="cpu" if pair.cuda == "cpu" else "gpu", survey=survey, gpus=survey.gpus)
    selection = dataclasses.replace(order.selection or Selection(), only=(pair.id,))
    suite = custom_kernels.suite([*order.kernel_files])
    names = [order.profile, *sorted(set(matrix.profiles) - {order.profile})]
    plans = {name: planner.make(matrix, name, selection, place, suite, devices) for name in names}
    column = plans[order.profile].columns[0]
    if column.status != "ready":
        raise ConfigError(f"{column.id} cannot be packed: {column.reason}.", "Select another pair with --pair.")
    return plans


def _pair(matrix: Matrix, glob: str) -> Pair:
    """The one pair that a pattern means; raises ConfigError where it means none, several, or one that cannot run."""
    pairs = [one.pair for one in column_selection.listed(matrix)]
    found = [pair for pair in pairs if fnmatchcase(pair.id, glob) or fnmatchcase(pair.stem, glob)]
    if len(found) != 1:
        names = ", ".join(pair.id for pair in found or pairs)
        message = f"{glob} means {len(found)} pairs, and a bundle holds one."
        raise ConfigError(message, f"Name it whole, one of: {names}.")
    if found[0].refused:
        raise ConfigError(f"{found[0].id}: {found[0].refused}.", "Select another pair with --pair.")
    return found[0]


def _narrowed(order: Order, pair: Pair) -> Matrix:
    """The matrix with nothing but this release and CUDA, on the other side's Python, in every profile."""
    changes: dict[str, Any] = {
        "cuda": (pair.cuda,),
        "profiles": None,
        **({"python": order.python} if order.python else {}),
    }
    tables = [one for one in order.matrix.pairs if one.tensorflow == pair.tensorflow and pair.cuda in one.cuda]
    changed = tuple(one.model_copy(update=changes) for one in tables)
    overrides = tuple(one for one in order.matrix.overrides if fnmatchcase(pair.id, one.select))
    return order.matrix.model_copy(update={"pairs": changed, "overrides": overrides})


def _pack(order: Order, plans: Mapping[str, Plan], scratch: Path, say: Callable[[str], None]) -> Bundle:
    """Everything into parts, then the manifest and what starts it."""
    column = plans[order.profile].columns[0]
    lock = column.lock.read_text(encoding="utf-8")
    order.out.mkdir(parents=True, exist_ok=True)
    root = scratch / "root"
    stage(order.root, root)
    for file in sorted((order.root / "bench" / "portable").glob("*.py")):
        copy = root / file.relative_to(order.root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    files = {f"root/{path.relative_to(root).as_posix()}": path for path in sorted(root.rglob("*.py"))}
    files["lock.txt"] = column.lock
    carried, where = _image(order, column, scratch, say) if order.engine == "docker" else _wheels(column, lock, say)
    files |= carried
    for name, plan in plans.items():
        path = scratch / f"plan-{name}.json"
        body = {"run": _run(order, plan), "requests": _requests(order, plan), "where": where}
        path.write_text(json.dumps(body, sort_keys=True), encoding="utf-8")
        files[path.name] = path
    say(f"packing {sum(path.stat().st_size for path in files.values()) / 1e9:.2f} GB")
    with (
        _Parts(order.out, order.split) as parts,
        tarfile.open(fileobj=parts, mode="w|", bufsize=_BLOCK, format=tarfile.PAX_FORMAT) as archive,
    ):
        listed = {name: _add(archive, name, path) for name, path in sorted(files.items())}
    return _close(order, column, list(plans), parts.done, listed)


def _close(
    order: Order,
    column: Column,
    profiles: list[str],
    parts: dict[str, dict[str, Any]],
    files: dict[str, dict[str, Any]],
) -> Bundle:
    for name in ("run-bundle.sh", "bundle_start.py"):
        shutil.copyfile(order.root / "bench" / "portable" / name, order.out / name)
    (order.out / "run-bundle.sh").chmod(0o755)
    total = sum(facts["bytes"] for facts in parts.values())
    manifest = {
        "schema": _SCHEMA,
        "kind": "tfrepro bundle",
        "pair": column.pair.id,
        "python": column.pair.python,
        "engine": order.engine,
        "lock": column.lock.name,
        "profiles": profiles,
        "bytes": total,
        "parts": parts,
        "files": files,
        "starters": {name: _digest(order.out / name) for name in ("run-bundle.sh", "bundle_start.py")},
    }
    text = json.dumps(manifest, indent=1) + "\n"
    (order.out / "manifest.json").write_text(text, encoding="utf-8")
    mark = hashlib.sha256(text.encode()).hexdigest()
    return Bundle(folder=order.out, parts=len(parts), bytes=total, seconds=0.0, manifest=mark)


def _wheels(column: Column, lock: str, say: Callable[[str], None]) -> tuple[dict[str, Path], dict[str, Any]]:
    """The wheels of the lock and uv; and how a round is started there."""
    found = wheels(column.lock, column.pair.python, say)
    files = {f"wheels/{path.name}": path for path in found} | {"uv": Path(uv.find_uv_bin())}
    programs = [folder for folder in [compiler_path(_SITE, lock)] if folder]
    wanted = {"LD_LIBRARY_PATH": library_path(_SITE, lock), "XLA_FLAGS": xla_flags(_SITE, lock)}
    env = {name: value for name, value in wanted.items() if value}
    where = {"engine": "venv", "programs": programs, "env": env, "lock_hash": column.lock_hash()}
    return files, {**where, "details": {"lock_hash": column.lock_hash(), "bundle": "venv"}}


def _image(
    order: Order, column: Column, scratch: Path, say: Callable[[str], None]
) -> tuple[dict[str, Path], dict[str, Any]]:
    """The saved image, built here where it is not there; and how a round is started from it."""
    with closing(DockerEngine(order.root)) as engine:
        environment = engine.prepare(column, order.out / "build.log", say)
    (order.out / "build.log").unlink(missing_ok=True)
    image, target = environment.details["tag"] or environment.identity, scratch / "image.tar"
    say(f"saving {image}")
    command = [_dockercli.find_cli(os.environ).path, "save", "--output", str(target), image]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(
            f"{column.id}: its image cannot be saved: {' '.join(done.stderr.split())}", "Is the disk full?"
        )
    return {"image.tar": target}, {"engine": "docker", "image": image, "details": dict(environment.details)}


def _run(order: Order, plan: Plan) -> dict[str, Any]:
    """run.json as the other side begins it; id, times and host come there."""
    info = RunInfo(
        schema=SCHEMA,
        id="",
        started="",
        finished="",
        version=bench.__version__,
        revision=host.revision(order.root),
        command=f"./run-bundle.sh --profile {plan.profile_name}",
        **plan.facts(),
        engine=order.engine,
        engine_why="a bundle, for a host without network",
        engine_facts={},
        host={},
        suite_hash=suite_hash(order.root),
        # what the preflight said would be of a GPU that nobody has seen
        columns=tuple(ColumnInfo(**{**column.facts(), "advice": ""}) for column in plan.columns),
        kernels=tuple(KernelInfo(**kernel.declaration()) for kernel in plan.kernels),
    )
    return dataclasses.asdict(info)


def _requests(order: Order, plan: Plan) -> list[dict[str, Any]]:
    """The rounds in their order; what is known of a GPU is said there."""

    def request(one: Round) -> dict[str, Any]:
        context = {"engine": order.engine, "lock_hash": one.column.lock_hash(), "rounds": one.planned}
        return dataclasses.asdict(dataclasses.replace(one.request(plan.suite.sources), gpu={}, context=context))

    return [request(one) for one in plan.rounds]


def _digest(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


class _Hashed:
    """A file that is read, hashed on the way."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream, self.total = stream, hashlib.sha256()

    def read(self, number: int = -1) -> bytes:
        """The next bytes."""
        block = self._stream.read(number)
        self.total.update(block)
        return block


def _add(archive: tarfile.TarFile, name: str, path: Path) -> dict[str, Any]:
    member = tarfile.TarInfo(name)
    member.size, member.mode = path.stat().st_size, 0o644
    with path.open("rb") as stream:
        hashed = _Hashed(stream)
        archive.addfile(member, hashed)
    return {"sha256": hashed.total.hexdigest(), "bytes": member.size}


class _Parts(io.RawIOBase):
    """A stream that begins a new file whenever one is full. ``done`` has SHA-256 and bytes of each."""

    def __init__(self, folder: Path, limit: int) -> None:
        super().__init__()
        self._folder, self._limit = folder, limit
        self._stream: io.BufferedWriter | None = None
        self._total, self._written = hashlib.sha256(), 0
        self.done: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        return self

    def writable(self) -> bool:
        """It is for writing only."""
        return True

    def write(self, data: Any) -> int:
        """All of it, over as many parts as it takes."""
        view = memoryview(data)
        while view:
            if self._stream is None:
                self._stream = (self._folder / f"part-{len(self.done):03d}").open("wb")
                self._total, self._written = hashlib.sha256(), 0
            block = view[: self._limit - self._written]
            self._stream.write(block)
            self._total.update(block)
            self._written += len(block)
            view = view[len(block) :]
            if self._written == self._limit:
                self._end()
        return len(data)

    def _end(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
            name = f"part-{len(self.done):03d}"
            self.done[name] = {"sha256": self._total.hexdigest(), "bytes": self._written}

    def close(self) -> None:
        """End the last part."""
        self._end()
        super().close()
