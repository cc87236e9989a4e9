"""The engine ``docker``: one image per pair, built by BuildKit, and one hardened container per round."""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from docker.errors import ImageNotFound

from bench.engines import (
    _dockercli,
    _dockerrun,
    _dockersession,
    _gpu_visibility,
    _images,
    disk_usage,
    gpu_options,
    install_errors,
    network,
    registry,
)
from bench.engines._docker_errors import naming
from bench.engines._dockerd import TROUBLE, connect, cpu_set, host_facts, memory_limit, reason_of
from bench.engines._dockerrun import COLUMN, RUN, owner_lives, owner_of
from bench.engines.base import PROBE_S, Environment, Execution
from bench.engines.registry import normalized_name
from bench.engines.usage_lock import KERNEL_FILES, UsageLock, cache_folder
from bench.errors import BuildError, EngineError
from bench.portable.scratch import scratch_folder
from bench.portable.session import SilentError, silence_limit_s
from bench.suite.kernel_files import hashes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from docker.models.images import Image

    from bench.engines._dockercli import Cli
    from bench.engines._images import Recipe
    from bench.engines.gpu_options import Route
    from bench.plan.column import Column
    from bench.portable.session import Session
    from bench.suite.record import Request

_MIB = 1024**2
_PYTHON = "/opt/venv/bin/python"
#: Seconds for the check that a container sees its GPU; a driver that has to wake up takes a while.
_VISIBILITY_S = 90.0
_BASE_HINT = (
    "Build it without a registry: 'nox -s base-image' (needs root and debootstrap), load it with 'docker load', "
    "or use --engine venv."
)


class DockerEngine:
    """Runs columns in containers.

    ``root`` is the checkout. ``cli`` builds images; it is searched for by default. ``memory`` is the limit of a
    container in bytes, by default that of the Slurm job, else the daemon's minus a tenth. Images are pulled from
    ``registry`` instead of being built if it is set; images built here carry ``revision`` as a label.
    """

    name = "docker"

    def __init__(
        self, root: Path, cli: Cli | None = None, *, memory: int | None = None, registry: str = "", revision: str = ""
    ) -> None:
        self.kernel_store = cache_folder() / KERNEL_FILES
        self._root = root
        self._registry = normalized_name(registry, pull=True) if registry else ""
        self._cli = cli or _dockercli.find_cli(os.environ)
        # Looked up here because it reads sysconfig, whose first use is not thread-safe, and builds run in parallel.
        self._uv = _images.find_uv()
        self._client = connect(timeout=60)
        self._revision = revision
        self._memory = memory or memory_limit(self._client.info(), os.environ)
        self._guard = threading.Lock()
        self._locks: dict[Recipe | str, threading.Lock] = {}
        self._routes: dict[str, Route] = {}
        self._running: set[str] = set()
        self._usage = UsageLock(cache_folder())
        self._halted = False

    def close(self) -> None:
        """Close the connections to the daemon."""
        self._client.close()

    def describe(self) -> Mapping[str, str]:
        """Return the facts about daemon and client that can affect a measurement."""
        version, info = self._client.version(), self._client.info()
        components = ", ".join(f"{part['Name']} {part['Version']}" for part in version.get("Components") or ())
        group = f"cgroup v{info.get('CgroupVersion', '1')}"
        limited = info.get("MemoryLimit", True)  # without root and with cgroup v1, Docker ignores limits
        return {
            "versions": f"{components or version['Version']}; {info.get('Driver', '')}, {group}",
            "client": f"{self._cli.version} ({'buildx' if self._cli.buildx else 'built-in BuildKit'})",
            "memory limit": f"{self._memory / _MIB:.0f} MiB per container"
            if limited
            else "none: Docker cannot set one here",
        }

    def host(self) -> Mapping[str, str]:
        """Return what differs on the host of the daemon; see ``Engine.host``."""
        return host_facts(self._client.info())

    def disk_need(self, columns: tuple[Column, ...]) -> tuple[Path, int]:
        """Return the daemon's folder (or its nearest visible parent) and the bytes that the missing images need."""
        missing = [column.pair for column in columns if not self.cached(column)]
        root = Path(str(self._client.info().get("DockerRootDir") or "/"))
        visible = next((folder for folder in (root, *root.parents) if folder.is_dir()), Path("/"))
        # A build unpacks its downloads into BuildKit's cache and copies them from there.
        return visible, disk_usage.need(missing, copies=1 if self._registry else 2)

    def cached(self, column: Column) -> bool:
        """Return whether the image of this column is already built."""
        try:
            recipe = _images.recipe_of(self._root, column)
            return self._find(recipe) is not None
        except BuildError:
            return False

    def prepare(self, column: Column, log: Path, say: Callable[[str], None]) -> Environment:
        """Return the image of a column: an existing one, else one that is pulled or built; see ``Engine.prepare``."""
        started = time.monotonic()
        self._usage.acquire()
        try:
            recipe = _images.recipe_of(self._root, column)
            log.parent.mkdir(parents=True, exist_ok=True)
            with self._lock(recipe):
                image = self._find(recipe)
                reused = image is not None
                if image is None:
                    image = self._pull(recipe, say) if self._registry else self._build(column, recipe, log, say)
        except BuildError as error:
            raise BuildError(f"{column.id}: {error}", error.hint) from error
        except TROUBLE as error:
            raise BuildError(f"{column.id}: the Docker daemon reported an error: {reason_of(error)}") from error
        except OSError as error:
            raise BuildError(f"{column.id}: the build context or its log could not be written: {error}") from error
        say(f"image {image.short_id} {'found' if reused else 'pulled' if self._registry else 'built'}")
        details = self._details(image, recipe)
        if column.gpu:
            route = self._route(image, column.gpu, log)
            say(f"GPU through {route.name}: {route.why}")
            details |= {"gpu_route": route.name, "gpu_route_why": route.why}
        seconds = time.monotonic() - started
        return Environment(column=column.id, identity=str(image.id), reused=reused, seconds=seconds, details=details)

    def execute(
        self, environment: Environment, request: Request, on_line: Callable[[str], None], log: Path
    ) -> Execution:
        """Run the driver in a new container; see ``Engine.execute``."""
        # The driver enforces the limit of each kernel; this is the backstop, with time to start new workers.
        limit_s = 600 + len(request.kernels) * (request.time_limit_s + 360)
        command = (_PYTHON, "-m", "bench.suite.driver", request.to_json())
        gpu = str(request.gpu.get("uuid", "")) if request.device == "gpu" else ""
        labels = {RUN: str(request.context.get("run", "")), COLUMN: environment.column}
        with naming(environment):
            image = self._client.images.get(environment.identity)
            route = self._route(image, gpu, log) if gpu else None
            files = hashes_of(request.kernel_files.values())
            try:
                code, oom = self._run(
                    image, command, labels, on_line, log, limit_s, route, gpu, files, silence_limit_s(request)
                )
            except SilentError:
                return Execution(exit_code=-signal.SIGKILL, silent=True)
        return Execution(exit_code=code, oom_killed=oom)

    @contextmanager
    def open_session(self, environment: Environment, request: Request, log: Path) -> Iterator[Session]:
        """Start a timing worker in a container, with half the memory of a round; see ``Engine.open_session``."""
        command = (_PYTHON, "-m", "bench.suite.timing_start", request.to_json())
        gpu = str(request.gpu.get("uuid", "")) if request.device == "gpu" else ""
        labels = {RUN: str(request.context.get("run", "")), COLUMN: environment.column}
        with naming(environment):
            image = self._client.images.get(environment.identity)
            route = self._route(image, gpu, log) if gpu else None
            job = self._job(
                image, command, labels, route, gpu, hashes_of(request.kernel_files.values()),
                memory=self._memory // 2, interactive=True,
            )  # fmt: skip
            with self._registered(job.name), _dockersession.converse(self._client, job, log) as session:
                yield session

    def run_python(
        self,
        environment: Environment,
        column: Column,
        arguments: tuple[str, ...],
        log: Path,
        hashes: Iterable[str] = (),
    ) -> str:
        """Run a command that prints one line, and return it; see ``Engine.run_python``."""
        lines: list[str] = []
        command, labels = (_PYTHON, *arguments), {COLUMN: column.id}
        with naming(environment):
            image = self._client.images.get(environment.identity)
            route = self._route(image, column.gpu, log) if column.gpu else None
            self._run(image, command, labels, lines.append, log, PROBE_S, route, column.gpu, hashes)
        if not lines:
            raise EngineError(f"{column.id}: {arguments[1]} printed nothing in the image", f"See the end of {log}.")
        return lines[-1].strip()

    def push(self, column: Column, registry_name: str) -> str:
        """Push the image of a column to a registry and return its digest there.

        Raises:
            ConfigError: the name is not that of a registry.
            BuildError: the image is not on this host.
            EngineError: the registry did not accept it.
        """
        registry_name = normalized_name(registry_name)
        recipe = _images.recipe_of(self._root, column)
        image = self._find(recipe)
        if image is None:
            raise BuildError(f"{column.id}: its image is not on this host", "Build it first: nox -s images")
        return registry.push(self._client, image, recipe, registry_name)

    def sweep(self) -> int:
        """Remove containers started from this host whose process has ended, never those of other hosts."""
        containers = _dockerrun.containers_here(self._client)
        orphans = [container for container in containers if not owner_lives(owner_of(container))]
        return sum(_dockerrun.remove(self._client, str(container["Id"])) for container in orphans)

    def halt(self) -> None:
        """Stop every container of this engine, and start no more."""
        with self._guard:
            self._halted = True
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:  # a container may be between create and start
            with self._guard:
                running = tuple(self._running)
            if not running:
                return
            for name in running:
                _dockerrun.remove(self._client, name)
            time.sleep(0.1)

    def _run(
        self,
        image: Image,
        command: tuple[str, ...],
        labels: Mapping[str, str],
        on_line: Callable[[str], None],
        log: Path,
        limit_s: float,
        route: Route | None,
        gpu: str,
        hashes: Iterable[str] = (),
        silence_s: float = float("inf"),
    ) -> tuple[int, bool]:
        """Run one container to its end; returns its exit code and whether it was killed for memory."""
        job = self._job(image, command, labels, route, gpu, hashes, memory=self._memory)
        with self._registered(job.name):
            return _dockerrun.run(self._client, job, on_line, log, limit_s, silence_s)

    def _job(
        self,
        image: Image,
        command: tuple[str, ...],
        labels: Mapping[str, str],
        route: Route | None,
        gpu: str,
        hashes: Iterable[str] = (),
        *,
        memory: int,
        interactive: bool = False,
    ) -> _dockerrun.Job:
        """Return a container to run, with a new name and its owner's labels."""
        return _dockerrun.Job(
            image=image,
            command=command,
            name=f"tfrepro-{uuid.uuid4().hex[:16]}",
            labels={**_dockerrun.owner_labels(), **labels},
            memory=memory,
            cpus=cpu_set(self._client.info()),
            options=route.options(gpu) if route else {},
            environment=route.environment(gpu) if route else {},
            interactive=interactive,
            kernel_files=tuple(self.kernel_store / name for name in hashes),
        )

    @contextmanager
    def _registered(self, name: str) -> Iterator[None]:
        """Let ``halt`` know of a container that is about to run; raises EngineError if the run was interrupted."""
        with self._guard:
            if self._halted:
                raise EngineError("the run was interrupted")
            self._running.add(name)
        try:
            yield
        finally:
            with self._guard:
                self._running.discard(name)

    def _route(self, image: Image, gpu: str, log: Path) -> Route:
        """Return the way by which a container gets the GPU of this UUID; tried out once per GPU."""
        with self._lock(gpu):
            if gpu not in self._routes:
                routes = gpu_options.candidates(self._client.info(), self._client.version())
                self._routes[gpu] = gpu_options.choose(routes, gpu, lambda route: self._check(image, route, gpu, log))
            return self._routes[gpu]

    def _check(self, image: Image, route: Route, gpu: str, log: Path) -> str:
        """Return why a container started this way does not see the GPU, or "" if it does."""
        lines: list[str] = []
        source = Path(_gpu_visibility.__file__).read_text(encoding="utf-8")
        code, _ = self._run(image, (_PYTHON, "-c", source, gpu), {}, lines.append, log, _VISIBILITY_S, route, gpu)
        problem = "".join(lines).strip()
        return problem or (f"the check in the container ended with exit code {code}" if code else "")

    def _lock(self, key: Recipe | str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(key, threading.Lock())

    def _local(self, base: str) -> Image | None:
        try:
            return self._client.images.get(base)
        except ImageNotFound:
            return None

    def _find(self, recipe: Recipe) -> Image | None:
        """Return the image of this recipe, or None.

        If the base image is not on this host (after a bundle was loaded), its name is compared instead of its id.
        Raises BuildError if the image that was pulled under its name is a different one.
        """
        if self._registry:
            return registry.local(self._client, recipe, self._registry)
        base = self._local(recipe.base)
        labels = recipe.labels() | ({_images.BASE_ID: str(base.id)} if base else {})
        images = self._client.images.list(filters={"label": [f"{name}={value}" for name, value in labels.items()]})
        return next((image for image in images if _images.own_tags(image)), None)

    def _pull(self, recipe: Recipe, say: Callable[[str], None]) -> Image:
        say(f"pulling from {self._registry}")
        return registry.pull(self._client, recipe, self._registry)

    def _base(self, name: str, say: Callable[[str], None]) -> Image:
        """Return the base image, pulling it if needed; one thread pulls while the others wait."""
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

    def _build(self, column: Column, recipe: Recipe, log: Path, say: Callable[[str], None]) -> Image:
        base = self._base(recipe.base, say)
        values = network.settings(os.environ)
        redact = network.Redactor(values)
        # A temporary, unique tag: two runs may build the same pair at once, and each removes its own tag again.
        tag = f"{recipe.repository}:build-{uuid.uuid4().hex[:12]}"
        with scratch_folder("build") as folder:
            build = _dockercli.Build(
                context=_images.context(self._root, column, self._uv, folder),
                secrets=_images.secrets(column, values, folder),
                arguments=_images.arguments(column, recipe, base, self._revision),
                tag=tag,
                network=os.environ.get("TFREPRO_BUILD_NETWORK", ""),
            )
            say(f"building on {recipe.base}")
            code, lines = _dockercli.run_build(self._cli, build, log, say, redact)
        if code != 0:
            message, hint = install_errors.explain(lines, column.lock.name, log, install_errors.DOCKER)
            raise BuildError(message, hint)
        image = self._client.images.get(tag)
        image.tag(recipe.repository, tag=_images.short(image))
        self._client.images.remove(tag)
        image.reload()
        return image

    def _details(self, image: Image, recipe: Recipe) -> dict[str, str]:
        labels = image.labels or {}
        return {
            "image": str(image.id),
            "tag": next(iter(_images.own_tags(image)), ""),
            "digest": registry.digest_of(image, recipe, self._registry),
            "base": recipe.base,
            "base_id": str(labels.get(_images.BASE_ID, "")),
            "bytes": str(image.attrs["Size"]),
            "lock_hash": recipe.lock,
            "suite_hash": recipe.suite,
            "dockerfile_hash": recipe.dockerfile,
            "image_revision": str(labels.get(_images.REVISION, "")),
            "docker": str(self._client.version()["Version"]),
        }
