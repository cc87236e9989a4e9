"""Engine ``docker``: one image per pair, built by BuildKit; one hardened container per round."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uv
from docker.errors import APIError, ImageNotFound, NotFound

from bench.engines import _dockercli, _dockerrun, network, words
from bench.engines._dockerd import TROUBLE, connect, reason_of
from bench.engines._dockerrun import CELL, HOST, OWNER, PROJECT, RUN
from bench.engines.base import Environment, Execution
from bench.engines.staging import nvidia_folders, nvidia_part, stage, suite_hash
from bench.errors import BuildError, EngineError, ImageGoneError, NoGpuError, TfreproError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from docker.client import DockerClient
    from docker.models.images import Image

    from bench.engines._dockercli import Cli
    from bench.plan.cell import Cell
    from bench.suite.record import Request

_PAIR = "org.tfrepro.pair"
_LOCK = "org.tfrepro.lock"
_SUITE = "org.tfrepro.suite"
_RECIPE = "org.tfrepro.recipe"
_BASE_NAME = "org.tfrepro.base.name"
_BASE_ID = "org.tfrepro.base.id"
#: Bytes of an image as measured (1.6 to 1.9 GB for CPU pairs, 5.1 GB with a CUDA set), with the cached downloads.
_CPU_BYTES = 2_600_000_000
_CUDA_BYTES = 5_000_000_000
_MIB = 1024**2
_ELF = b"\x7fELF"
_BASE_HINT = (
    "make it without a registry: 'nox -s base' (needs root and debootstrap), or load it with 'docker load', "
    "or use --engine venv"
)


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Whether Docker can be used here, and in one sentence why (not); ``version`` is the daemon's."""

    answers: bool
    why: str
    version: str = ""


def probe() -> Probe:
    """Ask the daemon and look for a command line that can build; takes a second at most where nothing hangs."""
    try:
        with _closing(connect(timeout=10)) as client:
            version = str(client.version()["Version"])
        cli = _dockercli.find_cli(os.environ)
    except EngineError as error:
        return Probe(answers=False, why=f"{error}; {error.hint}" if error.hint else str(error))
    except TROUBLE as error:
        return Probe(answers=False, why=f"the Docker daemon gave an error: {reason_of(error)}")
    kind = "buildx" if cli.buildx else "BuildKit built in"
    return Probe(answers=True, why=f"Docker {version} answers, and {cli.path} builds ({kind})", version=version)


@contextmanager
def _closing(client: DockerClient) -> Iterator[DockerClient]:
    try:
        yield client
    finally:
        client.close()


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    """All that decides what an image holds, the base apart."""

    pair: str
    lock: str
    suite: str
    dockerfile: str
    base: str

    def labels(self) -> dict[str, str]:
        return {
            PROJECT: "tfrepro",
            _PAIR: self.pair,
            _LOCK: self.lock,
            _SUITE: self.suite,
            _RECIPE: self.dockerfile,
            _BASE_NAME: self.base,
        }


class DockerEngine:
    """Runs cells in containers.

    ``house`` is the checkout, which holds ``docker/`` and ``bench/``. ``memory`` is the limit of a
    container in bytes (default: the daemon's memory less a tenth, 1 GiB at least). ``gpu`` is what the
    cells of a GPU device get: ``all``, or the UUID of one. ``cli`` is looked for where none is given.
    """

    name = "docker"

    def __init__(self, house: Path, cli: Cli | None = None, *, memory: int | None = None, gpu: str = "all") -> None:
        self._house = house
        self._cli = cli or _dockercli.find_cli(os.environ)
        # Looked up here, not where builds run side by side: it reads sysconfig, whose first use is not thread-safe.
        self._uv = _find_uv()
        self._client = connect(timeout=60)
        self._gpu = gpu
        total = int(self._client.info()["MemTotal"])
        self._memory = memory or max(total - max(total // 10, 1024 * _MIB), 512 * _MIB)
        self._guard = threading.Lock()
        self._locks: dict[_Recipe | str, threading.Lock] = {}

    def close(self) -> None:
        """Close the connections to the daemon."""
        self._client.close()

    def describe(self) -> Mapping[str, str]:
        """Daemon, client and what of them can matter to a measurement."""
        version, info = self._client.version(), self._client.info()
        parts = ", ".join(f"{one['Name']} {one['Version']}" for one in version.get("Components") or ())
        group = f"cgroup v{info.get('CgroupVersion', '1')}"
        return {
            "versions": f"{parts or version['Version']}; {info.get('Driver', '')}, {group}",
            "client": f"{self._cli.version} ({'buildx' if self._cli.buildx else 'built-in BuildKit'})",
            "memory limit": f"{self._memory / _MIB:.0f} MiB a container",
        }

    def disk_need(self, cells: tuple[Cell, ...]) -> tuple[Path, int]:
        """The daemon's folder (or its nearest parent here), and what the missing images need; CUDA sets are shared."""
        missing = {cell.pair.stem: cell.pair for cell in cells if not self.cached(cell)}
        sets = {pair.cuda for pair in missing.values() if pair.cuda != "cpu"}
        root = Path(str(self._client.info().get("DockerRootDir") or "/"))
        where = next((folder for folder in (root, *root.parents) if folder.is_dir()), Path("/"))
        return where, len(missing) * _CPU_BYTES + len(sets) * _CUDA_BYTES

    def cached(self, cell: Cell) -> bool:
        """Whether the image of this cell stands already."""
        try:
            recipe = self._recipe(cell)
        except BuildError:
            return False
        return self._find(recipe, self._local(cell.pair.base)) is not None

    def prepare(self, cell: Cell, log: Path, say: Callable[[str], None]) -> Environment:
        """Find the image of a cell, or build it; raises BuildError with the reason in one sentence."""
        started = time.monotonic()
        try:
            recipe = self._recipe(cell)
            log.parent.mkdir(parents=True, exist_ok=True)
            with self._lock(recipe):
                image = self._find(recipe, self._local(recipe.base))
                reused = image is not None
                if image is None:
                    image = self._build(cell, recipe, log, say)
        except BuildError as error:
            raise BuildError(f"{cell.id}: {error}", error.hint) from error
        except TROUBLE as error:
            raise BuildError(f"{cell.id}: the Docker daemon gave an error: {reason_of(error)}") from error
        except OSError as error:
            raise BuildError(f"{cell.id}: the build could not be staged or logged: {error}") from error
        say(f"image {image.short_id} {'is there' if reused else 'built'}")
        return Environment(
            cell=cell.id,
            identity=str(image.id),
            reused=reused,
            seconds=time.monotonic() - started,
            details=self._details(image, recipe),
        )

    def execute(
        self, environment: Environment, request: Request, on_line: Callable[[str], None], log: Path
    ) -> Execution:
        """Run the driver in a container of its own.

        Raises:
            EngineError: it could not be started or followed; NoGpuError where Docker cannot hand on a GPU.
        """
        command = ("/opt/venv/bin/python", "-m", "bench.suite.driver", request.to_json())
        # The driver keeps the limit of each kernel; this is the wall behind it, with room for fresh workers.
        limit_s = 600 + len(request.kernels) * (request.time_limit_s + 360)
        labels = {
            PROJECT: "tfrepro",
            RUN: str(request.context.get("run", "")),
            CELL: environment.cell,
            HOST: _dockerrun.this_host(),
            OWNER: _dockerrun.this_process(),
        }
        cpu = environment.cell.rpartition("@")[2] == "cpu"
        try:
            job = _dockerrun.Job(
                image=self._client.images.get(environment.identity),
                command=command,
                name=f"tfrepro-{uuid.uuid4().hex[:16]}",
                labels=labels,
                memory=self._memory,
                gpu="" if cpu else self._gpu,
            )
            code, oom = _dockerrun.run(self._client, job, on_line, log, limit_s)
        except EngineError as error:
            raise type(error)(f"{environment.cell}: {error}", error.hint) from error
        except TROUBLE as error:
            raise _not_run(environment, error) from error
        return Execution(exit_code=code, oom_killed=oom)

    def sweep(self) -> int:
        """Remove containers of runs on this host whose process is gone; never those of others."""
        removed = 0
        wanted = [f"{PROJECT}=tfrepro", f"{HOST}={_dockerrun.this_host()}"]
        for one in self._client.api.containers(all=True, filters={"label": wanted}):
            owner = str((one.get("Labels") or {}).get(OWNER, ""))
            if not _dockerrun.owner_lives(owner):
                removed += _dockerrun.remove(self._client, str(one["Id"]))
        return removed

    def _lock(self, key: _Recipe | str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(key, threading.Lock())

    def _recipe(self, cell: Cell) -> _Recipe:
        try:
            dockerfile = (self._house / "docker" / "Dockerfile").read_bytes()
            return _Recipe(
                pair=cell.pair.stem,
                lock=cell.lock_hash(),
                suite=suite_hash(self._house),
                dockerfile=hashlib.sha256(dockerfile).hexdigest(),
                base=cell.pair.base,
            )
        except OSError as error:
            hint = "make the lock with 'nox -s lock'" if error.filename == str(cell.lock) else ""
            raise BuildError(f"{error.filename} cannot be read: {error.strerror}", hint) from error

    def _local(self, base: str) -> Image | None:
        try:
            return self._client.images.get(base)
        except ImageNotFound:
            return None

    def _find(self, recipe: _Recipe, base: Image | None) -> Image | None:
        """The image made by this recipe. Without the base here (a loaded bundle), its name has to do."""
        labels = recipe.labels() | ({_BASE_ID: str(base.id)} if base else {})
        found = self._client.images.list(filters={"label": [f"{name}={value}" for name, value in labels.items()]})
        # a committed container keeps all labels; only what was built here carries its own id as its tag
        ours = [one for one in found if any(tag.endswith(f":{_short(one)}") for tag in one.tags)]
        return ours[0] if ours else None

    def _base(self, name: str, say: Callable[[str], None]) -> Image:
        """The base image, pulled if it is not here; one thread pulls, the others wait and find it."""
        with self._lock(name):
            base = self._local(name)
            if base is not None:
                return base
            say(f"pulling {name}")
            try:
                tagged = name if ":" in name.rpartition("/")[2] or "@" in name else f"{name}:latest"
                return self._client.images.pull(tagged)
            except TROUBLE as error:
                raise BuildError(
                    f"the base image {name} is not on this host and could not be pulled: {reason_of(error)}", _BASE_HINT
                ) from error

    def _build(self, cell: Cell, recipe: _Recipe, log: Path, say: Callable[[str], None]) -> Image:
        base = self._base(recipe.base, say)
        values = network.settings(os.environ)
        redact = network.Redactor(values)
        # A name of its own: two runs may build the same pair at the same time, and each takes its name off again.
        name = f"tfrepro/{cell.pair.stem.lower()}"
        tag = f"{name}:build-{uuid.uuid4().hex[:12]}"
        with tempfile.TemporaryDirectory(prefix="tfrepro-build-") as folder:
            build = _dockercli.Build(
                context=self._context(cell, Path(folder)),
                secrets=_secrets(Path(folder), values),
                arguments=self._arguments(cell, recipe, base),
                tag=tag,
                network=os.environ.get("TFREPRO_BUILD_NETWORK", ""),
            )
            say(f"building on {recipe.base}")
            code, lines = _dockercli.run_build(self._cli, build, log, say, redact)
        if code != 0:
            message, hint = words.explain(lines, cell.lock.name, log, words.DOCKER)
            raise BuildError(message, hint)
        image = self._client.images.get(tag)
        image.tag(name, tag=_short(image))
        self._client.images.remove(tag)
        image.reload()
        return image

    def _context(self, cell: Cell, folder: Path) -> Path:
        """Stage what the Dockerfile reads, and nothing else."""
        context = folder / "context"
        context.mkdir()
        program = self._uv.read_bytes()
        if not program.startswith(_ELF):
            raise BuildError("uv of this host is no Linux program, so it cannot serve inside a build")
        (context / "uv").write_bytes(program)
        lock = cell.lock.read_text(encoding="utf-8")
        (context / "lock.txt").write_text(lock, encoding="utf-8")
        (context / "cuda.txt").write_text(nvidia_part(lock), encoding="utf-8")
        (context / "Dockerfile").write_bytes((self._house / "docker" / "Dockerfile").read_bytes())
        for file in context.iterdir():
            file.chmod(0o755 if file.name == "uv" else 0o644)
        (context / "suite").mkdir()
        stage(self._house, context / "suite")
        return context

    def _arguments(self, cell: Cell, recipe: _Recipe, base: Image) -> dict[str, str]:
        site = f"/opt/venv/lib/python{cell.pair.python}/site-packages"
        folders = nvidia_folders(cell.lock.read_text(encoding="utf-8"))
        return {
            "BASE": recipe.base,
            "PYTHON": cell.pair.python,
            "BINARIES": f"{site}/nvidia/cuda_nvcc/bin:" if "nvidia/cuda_nvcc" in folders else "",
            "LIBRARIES": ":".join(f"{site}/{folder}/lib" for folder in folders),
            "BASE_NAME": recipe.base,
            "BASE_ID": str(base.id),
            "PAIR": recipe.pair,
            "LOCK": recipe.lock,
            "SUITE": recipe.suite,
            "RECIPE": recipe.dockerfile,
        }

    def _details(self, image: Image, recipe: _Recipe) -> dict[str, str]:
        tags = [tag for tag in image.tags if ":build-" not in tag]  # another run's, on its way
        return {
            "image": str(image.id),
            "tag": tags[0] if tags else "",
            "base": recipe.base,
            "base_id": str((image.labels or {}).get(_BASE_ID, "")),
            "bytes": str(image.attrs["Size"]),
            "lock_hash": recipe.lock,
            "suite_hash": recipe.suite,
            "dockerfile_hash": recipe.dockerfile,
            "docker": str(self._client.version()["Version"]),
        }


def _find_uv() -> Path:
    try:
        return Path(uv.find_uv_bin())
    except FileNotFoundError as error:
        raise EngineError("the program of uv is missing beside its Python package", "pip install --force uv") from error


def _short(image: Image) -> str:
    return str(image.id).rpartition(":")[2][:12]


def _secrets(folder: Path, values: Mapping[str, str]) -> dict[str, Path]:
    """The secrets as files that only this user can read, beside the context and not in it."""
    contents = {
        "ca": network.ca_bundle(os.environ),
        "settings": network.secret_lines(values).encode(),
    }
    files = {}
    for name, content in contents.items():
        files[name] = folder / name
        files[name].touch(mode=0o600)
        files[name].write_bytes(content)
    return files


def _not_run(environment: Environment, error: Exception) -> TfreproError:
    """Why a container could not be run, from the daemon's words."""
    reason = reason_of(error)
    if isinstance(error, NotFound) and "image" in reason.lower():
        return ImageGoneError(
            f"{environment.cell}: its image {environment.identity[:19]} is gone since it was prepared",
            "did somebody prune images? Run again: it is rebuilt",
        )
    if "could not select device driver" in reason or "nvidia-container-cli" in reason:
        return NoGpuError(
            f"{environment.cell}: Docker cannot give a container the GPU: {reason}",
            "install nvidia-container-toolkit and restart Docker, or use --engine venv",
        )
    if isinstance(error, APIError):
        return EngineError(f"{environment.cell}: the container could not be run: {reason}")
    return EngineError(f"{environment.cell}: the Docker daemon does not answer: {reason}", "see the daemon's own log")
