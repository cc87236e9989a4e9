"""Make a bundle: everything needed to measure one pair on a host without network, in parts of limited size.

A bundle contains the wheels (or the image) of the pair, uv, the suite, the lock and the rounds of every profile. On the
offline host ``run-bundle.sh`` needs Python and nothing else (see ``bench/portable/bundle_start.py``).
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
from bench.portable.paired_timing import PairPlan
from bench.portable.scratch import scratch_folder
from bench.store.run_info import ColumnInfo, RunInfo, kernel_infos
from bench.suite.kernel_files import protect
from bench.suite.kernel_files import stage as stage_kernels
from bench.suite.record import SCHEMA
from bench.suite.suite_hash import suite_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.plan.column import Column, Pair
    from bench.plan.config_models import Matrix
    from bench.plan.custom_kernels import Suite
    from bench.plan.planner import Plan
    from bench.plan.schedule import Round, TimingPair
    from bench.suite.kernel_files import Source
    from bench.suite.record import Request

#: Schema of the bundle's manifest.
_SCHEMA = 1
#: Placeholder for the site-packages folder, which is known on the offline host only.
_SITE = "{site}"
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_MIN_PART_BYTES = 1 << 20
_BLOCK = 1 << 20
#: Seconds that saving an image may take.
_SAVE_LIMIT_S = 3600
#: Stands for the GPU of the offline host while planning.
_UNKNOWN_GPU = Gpu(uuid="", name="gpu", capability=(0, 0), memory_mb=0)


@dataclass(frozen=True, kw_only=True)
class BundleContents:
    """What is to be packed.

    ``pair`` is a pattern that matches one pair of the matrix, ``profile`` the default profile on the offline host,
    ``python`` its minor version of Python ("": the pair's), ``split`` the largest size of a part in bytes.
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
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle that was made: its folder, the number of parts, their total bytes, and the seconds it took.

    ``manifest`` is the SHA-256 of its manifest, which can be compared after copying.
    """

    folder: Path
    parts: int
    bytes: int
    seconds: float
    manifest: str


def size(text: str) -> int:
    """Return the bytes of a size like ``60M``, ``1G`` or ``5000000``; raises ConfigError if invalid or below 1 MiB."""
    match = re.fullmatch(r"(\d+)([KMG]?)(?:i?B)?", text.strip())
    number = int(match[1]) * _UNITS[match[2]] if match else 0
    if number < _MIN_PART_BYTES:
        raise ConfigError(f"Invalid size of a part: {text!r}.", "Give at least 1M, as in --split 60M.")
    return number


def make(contents: BundleContents, say: Callable[[str], None]) -> Bundle:
    """Pack one pair into ``contents.out``.

    Raises:
        ConfigError: pair, Python or profile is not available, or the folder is not empty.
        NothingError: no pair or kernel matches.
        LockError, BuildError, EngineError: lock, wheels or image could not be made.
        StorageError: the folder cannot be written.
    """
    start = time.monotonic()
    if contents.out.exists() and not (contents.out.is_dir() and not any(contents.out.iterdir())):
        raise ConfigError(f"{contents.out} is not an empty folder.", "Use an empty folder for the bundle with --out.")
    try:
        with scratch_folder("bundle") as scratch:
            plans = _plans(contents, scratch / "locks", say)
            bundle = _pack(contents, plans, scratch, say)
    except OSError as error:
        raise StorageError(f"{contents.out} cannot be written: {error.strerror}.", "Free some space.") from error
    return dataclasses.replace(bundle, seconds=time.monotonic() - start)


def _plans(contents: BundleContents, folder: Path, say: Callable[[str], None]) -> dict[str, Plan]:
    """Return the plan of every profile for the column of the bundle, the default profile first."""
    if contents.engine == "docker" and contents.python:
        raise ConfigError(
            "--python is for virtual environments: an image brings its own Python.", "Leave out --python."
        )
    pair = _pair(contents.matrix, contents.pair)
    matrix = _only_pair(contents, pair)
    pair = _pair(matrix, pair.id)
    lock_folder = contents.root / "docker" / "locks"
    if not (lock_folder / f"{pair.stem}.txt").is_file():
        say(f"making the lock {pair.stem}.txt")
        locks.make(pair, folder / f"{pair.stem}.txt")
        lock_folder = folder
    inventory = GpuInventory() if pair.cuda == "cpu" else GpuInventory(gpus=(_UNKNOWN_GPU,))
    devices = Devices(kind="cpu" if pair.cuda == "cpu" else "gpu", survey=inventory, gpus=inventory.gpus)
    selection = dataclasses.replace(contents.selection or Selection(), only=(pair.id,))
    suite = _suite(contents)
    names = [contents.profile, *sorted(set(matrix.profiles) - {contents.profile})]
    plans = {name: planner.make(matrix, name, selection, lock_folder, suite, devices) for name in names}
    column = plans[contents.profile].columns[0]
    if column.status != "ready":
        raise ConfigError(f"{column.id} cannot be packed: {column.reason}.", "Select another environment with --env.")
    return plans


def _suite(contents: BundleContents) -> Suite:
    """Return the suite with custom kernels, whose declarations are read without running them: no environment exists."""
    suite = custom_kernels.suite(contents.sources)
    if suite.errors:
        raise ConfigError("; ".join(suite.errors.values()), "Fix the file, or leave it out.")
    if suite.unknown:
        message = f"A bundle cannot list computed kernels: {'; '.join(suite.unknown.values())}."
        raise ConfigError(
            message, "Decorate one function at the top of the file for each kernel, with literal options."
        )
    return suite


def _pair(matrix: Matrix, glob: str) -> Pair:
    """Return the pair that a pattern matches; raises ConfigError unless it is exactly one, which can run."""
    pairs = [listed.pair for listed in column_selection.listed(matrix)]
    matches = [pair for pair in pairs if fnmatchcase(pair.id, glob) or fnmatchcase(pair.stem, glob)]
    if len(matches) != 1:
        names = ", ".join(pair.id for pair in matches or pairs)
        message = f"{glob} matches {len(matches)} pairs, but a bundle contains one."
        raise ConfigError(message, f"Use one of these names: {names}.")
    if matches[0].refused:
        raise ConfigError(f"{matches[0].id}: {matches[0].refused}.", "Select another environment with --env.")
    return matches[0]


def _only_pair(contents: BundleContents, pair: Pair) -> Matrix:
    """Return the matrix with this pair alone, in every profile, for the Python of the offline host."""
    changes: dict[str, Any] = {
        "cuda": (pair.cuda,),
        "profiles": None,
        **({"python": contents.python} if contents.python else {}),
    }
    tables = [row for row in contents.matrix.pairs if row.tensorflow == pair.tensorflow and pair.cuda in row.cuda]
    changed = tuple(row.model_copy(update=changes) for row in tables)
    overrides = tuple(override for override in contents.matrix.overrides if fnmatchcase(pair.id, override.select))
    return contents.matrix.model_copy(update={"pairs": changed, "overrides": overrides})


def _pack(contents: BundleContents, plans: Mapping[str, Plan], scratch: Path, say: Callable[[str], None]) -> Bundle:
    """Write the parts, then the manifest and the two files that start the bundle."""
    column = plans[contents.profile].columns[0]
    lock = column.lock.read_text(encoding="utf-8")
    contents.out.mkdir(parents=True, exist_ok=True)
    root = scratch / "root"
    stage(contents.root, root)
    for file in sorted((contents.root / "bench" / "portable").glob("*.py")):
        copy = root / file.relative_to(contents.root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    files = {f"root/{path.relative_to(root).as_posix()}": path for path in sorted(root.rglob("*.py"))}
    files["lock.txt"] = column.lock
    for source in contents.sources:
        copy = stage_kernels(source, scratch / "kernel-files")
        protect(copy, 0o755)  # the scratch folder is removed at the end
        files |= {f"kernel-files/{source.hash}/{name}": copy / name for name in source.files}
    content, where = (
        _image(contents, column, scratch, say) if contents.engine == "docker" else _wheels(column, lock, say)
    )
    files |= content
    for name, plan in plans.items():
        path = scratch / f"plan-{name}.json"
        rounds, pairs = _requests(contents, plan), _pairs(contents, plan)
        body = {"run": _run(contents, plan), "requests": rounds, "pairs": pairs, "where": where}
        path.write_text(json.dumps(body, sort_keys=True), encoding="utf-8")
        files[path.name] = path
    say(f"packing {sum(path.stat().st_size for path in files.values()) / 1e9:.2f} GB")
    with (
        _Parts(contents.out, contents.split) as parts,
        tarfile.open(fileobj=parts, mode="w|", bufsize=_BLOCK, format=tarfile.PAX_FORMAT) as archive,
    ):
        listed = {name: _add(archive, name, path) for name, path in sorted(files.items())}
    return _finish(contents, column, list(plans), parts.done, listed)


def _finish(
    contents: BundleContents,
    column: Column,
    profiles: list[str],
    parts: dict[str, dict[str, Any]],
    files: dict[str, dict[str, Any]],
) -> Bundle:
    """Write the manifest and copy the two files that start the bundle."""
    for name in ("run-bundle.sh", "bundle_start.py"):
        shutil.copyfile(contents.root / "bench" / "portable" / name, contents.out / name)
    (contents.out / "run-bundle.sh").chmod(0o755)
    total = sum(facts["bytes"] for facts in parts.values())
    manifest = {
        "schema": _SCHEMA,
        "kind": "tfrepro bundle",
        "pair": column.pair.id,
        "python": column.pair.python,
        "engine": contents.engine,
        "lock": column.lock.name,
        "profiles": profiles,
        "bytes": total,
        "parts": parts,
        "files": files,
        "starters": {name: _digest(contents.out / name) for name in ("run-bundle.sh", "bundle_start.py")},
    }
    text = json.dumps(manifest, indent=1) + "\n"
    (contents.out / "manifest.json").write_text(text, encoding="utf-8")
    mark = hashlib.sha256(text.encode()).hexdigest()
    return Bundle(folder=contents.out, parts=len(parts), bytes=total, seconds=0.0, manifest=mark)


def _wheels(column: Column, lock: str, say: Callable[[str], None]) -> tuple[dict[str, Path], dict[str, Any]]:
    """Return the wheels of the lock and uv as files, and how a round is started with them."""
    paths = wheels(column.lock, column.pair.python, say)
    files = {f"wheels/{path.name}": path for path in paths} | {"uv": Path(uv.find_uv_bin())}
    programs = [folder for folder in [compiler_path(_SITE, lock)] if folder]
    settings = {"LD_LIBRARY_PATH": library_path(_SITE, lock), "XLA_FLAGS": xla_flags(_SITE, lock)}
    env = {name: value for name, value in settings.items() if value}
    where = {"engine": "venv", "programs": programs, "env": env, "lock_hash": column.lock_hash()}
    return files, {**where, "details": {"lock_hash": column.lock_hash(), "bundle": "venv"}}


def _image(
    contents: BundleContents, column: Column, scratch: Path, say: Callable[[str], None]
) -> tuple[dict[str, Path], dict[str, Any]]:
    """Return the saved image, which is built first if needed, and how a round is started from it."""
    with closing(DockerEngine(contents.root)) as engine:
        environment = engine.prepare(column, contents.out / "build.log", say)
    (contents.out / "build.log").unlink(missing_ok=True)
    image, target = environment.details["tag"] or environment.identity, scratch / "image.tar"
    say(f"saving {image}")
    command = [_dockercli.find_cli(os.environ).path, "save", "--output", str(target), image]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SAVE_LIMIT_S)
        fault = " ".join(done.stderr.split()) if done.returncode != 0 else ""
    except subprocess.TimeoutExpired:
        fault = f"docker save has not ended within {_SAVE_LIMIT_S} s, and was stopped"
    if fault:
        message = f"{column.id}: its image cannot be saved: {fault}"
        raise BuildError(message, "Free some disk space, and check that Docker has the image.")
    return {"image.tar": target}, {"engine": "docker", "image": image, "details": dict(environment.details)}


def _run(contents: BundleContents, plan: Plan) -> dict[str, Any]:
    """Return run.json as the offline host starts with it; id, times and host are set there."""
    info = RunInfo(
        schema=SCHEMA,
        id="",
        started="",
        finished="",
        version=bench.__version__,
        revision=host.revision(contents.root),
        command=f"./run-bundle.sh --profile {plan.profile_name}",
        **plan.facts(),
        engine=contents.engine,
        engine_why="a bundle for a host without network",
        engine_facts={},
        host={},
        suite_hash=suite_hash(contents.root),
        # the preflight's advice would be about the placeholder for the GPU
        columns=tuple(ColumnInfo(**{**column.facts(), "advice": ""}) for column in plan.columns),
        kernels=kernel_infos(plan.kernels),
    )
    return dataclasses.asdict(info)


def _requests(contents: BundleContents, plan: Plan) -> list[dict[str, Any]]:
    """Return the rounds in their order; the facts of the GPU are added on the offline host."""
    return [dataclasses.asdict(_request(contents, planned, planned.request(plan.suite))) for planned in plan.rounds]


def _pairs(contents: BundleContents, plan: Plan) -> list[dict[str, Any]]:
    """Return the timing pairs in their order, as ``bench.portable.paired_timing.PairPlan`` reads them."""
    pairs = []
    for pair in plan.pairs:
        sides = pair.requests(plan.suite)
        requests = {side: _request(contents, pair, request) for side, request in sides.items()}
        planned = PairPlan(pair.comparison, pair.number, pair.first, pair.budget_s, requests)
        pairs.append(dataclasses.asdict(planned))
    return pairs


def _request(contents: BundleContents, planned: Round | TimingPair, request: Request) -> Request:
    """Return the request of a round, or of a side of a pair, with what is known of the offline host."""
    context = {"engine": contents.engine, "lock_hash": planned.column.lock_hash(), "rounds": planned.planned}
    return dataclasses.replace(request, gpu={}, context=context)


def _digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        return {"sha256": hashlib.file_digest(stream, "sha256").hexdigest(), "bytes": path.stat().st_size}


def _add(archive: tarfile.TarFile, name: str, path: Path) -> dict[str, Any]:
    member = tarfile.TarInfo(name)
    member.size, member.mode = path.stat().st_size, 0o644
    with path.open("rb") as stream:
        archive.addfile(member, stream)
    return _digest(path)


class _Parts(io.RawIOBase):
    """A stream that starts a new file whenever one is full; ``done`` maps the files to their SHA-256 and bytes."""

    def __init__(self, folder: Path, limit: int) -> None:
        super().__init__()
        self._folder, self._limit = folder, limit
        self._stream: io.BufferedWriter | None = None
        self._total, self._written = hashlib.sha256(), 0
        self.done: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        return self

    def writable(self) -> bool:
        """Return True: the stream can only be written."""
        return True

    def write(self, data: Any) -> int:
        """Write all bytes, over as many parts as needed."""
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
        """Close the last part."""
        self._end()
        super().close()
