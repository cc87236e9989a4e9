"""The Docker engine with a real daemon: a tiny real lock, the real Dockerfile, a stand-in for the suite."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker.errors
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from docker.client import DockerClient

from bench.cli import sbom as sbom_command
from bench.engines import _dockerrun, clean
from bench.engines.base import probe_command
from bench.engines.docker import DockerEngine
from bench.engines.docker_probe import probe
from bench.errors import BuildError, EngineError, NoGpuError
from bench.plan.column import Column, Pair
from bench.plan.sbom import document as sbom_document
from bench.suite import verify_install
from bench.suite.record import Request
from tests.integration.own_kernels import joins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.engines.base import Environment

pytestmark = pytest.mark.docker

BASE = "python:3.11-slim-bookworm"
MIB = 1024**2
#: Marks what this session creates, so that parallel sessions do not clean up each other's images.
SESSION = uuid.uuid4().hex[:8]
SIX = """\
six==1.17.0 \\
    --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274 \\
    --hash=sha256:ff70335d468e7eb6ec65b95b99d3a2836546063f63acc5171de367e834932a81
"""
CUDA = """\
nvidia-cuda-runtime-cu12==12.5.82 \\
    --hash=sha256:0fd5fbca289bceb9f0690aa9858f06187b554fdeb7e2711dfd5bb3ce58900b46 \\
    --hash=sha256:3e79a060e126df40fd3a068f3f787eb000fa51b251ec6cd97d09579632687115 \\
    --hash=sha256:71f015dbf9df05dd71f7480132c6ebf47a6ceb2ab53d7db8e08e4b30ebb87e14
"""
DRIVER = """
import json, os, sys, time

request = json.loads(sys.argv[1])
action = request["context"]["action"]


def facts():
    status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    root = "writable"
    try:
        open("/opt/tfrepro/x", "w")
    except OSError as error:
        root = error.strerror
    open("/tmp/x", "w").close()
    import six
    return {
        "uid": os.getuid(),
        "gid": os.getgid(),
        "capabilities": [status[name].strip() for name in ("CapEff", "CapPrm", "CapBnd")],
        "no_new_privileges": status["NoNewPrivs"].strip(),
        "seccomp": status["Seccomp"].strip(),
        "interfaces": os.listdir("/sys/class/net"),
        "root": root,
        "tmp": [line.split()[3] for line in open("/proc/mounts") if line.split()[1] == "/tmp"],
        "environment": dict(os.environ),
        "executable": sys.executable,
        "compiled": bool(__import__("bench.suite").suite.__cached__ and os.path.exists(__import__("bench").__cached__)),
        "uv": [folder for folder, _, files in os.walk("/") if "uv" in files and not folder.startswith("/proc")],
        "six": six.__version__,
        "cudart": os.path.exists(os.environ.get("LD_LIBRARY_PATH", "") + "/libcudart.so.12"),
    }


if action == "facts":
    print(json.dumps(facts()), flush=True)
elif action == "lines":
    for number in range(200):
        os.write(1, b"%d " % number)
        os.write(1, ("\\u00e4" * 7000 + "\\n").encode())
        os.write(2, b"noise %d\\n" % number)
    os.write(1, b"cut off")
    sys.exit(3)
elif action == "eat":
    held = []
    print("eating", flush=True)
    while True:
        held.append(bytearray(16 * 1024 * 1024))
elif action == "sleep":
    print("asleep", flush=True)
    time.sleep(600)
"""


PROBE = """
import json, os, sys

sys.stderr.write("looking\\n")
print(json.dumps({"asked": json.loads(sys.argv[1]), "uid": os.getuid()}))
"""
NO_SUCH_GPU = "GPU-00000000-0000-0000-0000-000000000000"


def make_root(folder: Path, lock: str = SIX) -> Path:
    """Create a small checkout: the real Dockerfile, a lock that was never built before, the stand-in driver."""
    (folder / "bench/suite").mkdir(parents=True)
    (folder / "docker/locks").mkdir(parents=True)
    shutil.copy(Path(__file__).resolve().parents[2] / "docker/Dockerfile", folder / "docker/Dockerfile")
    (folder / "bench/__init__.py").write_text("", encoding="utf-8")
    (folder / "bench/suite/__init__.py").write_text("", encoding="utf-8")
    (folder / "bench/suite/driver.py").write_text(DRIVER, encoding="utf-8")
    (folder / "bench/suite/probe.py").write_text(PROBE, encoding="utf-8")
    check = Path(verify_install.__file__).read_text(encoding="utf-8")  # the build runs it, so it is the real one
    (folder / "bench/suite/verify_install.py").write_text(check, encoding="utf-8")
    (folder / "docker/locks/lock.txt").write_text(f"# {uuid.uuid4()}\n{lock}", encoding="utf-8")
    return folder


def make_column(root: Path, name: str = "1", *, python: str = "3.11", base: str = BASE, device: str = "cpu") -> Column:
    pair = Pair(tensorflow=f"0.{SESSION}.{name}", cuda="cpu", python=python, keras="0", base=base)
    return Column(pair=pair, device=device, lock=root / "docker/locks/lock.txt")


def request(column: str, action: str) -> Request:
    return Request(
        column=column,
        mode="on",
        variation="default",
        round=1,
        kernels=("k",),
        repetitions={"k": 1},
        context={"action": action, "run": f"run-{SESSION}"},
    )


def nothing(_: str) -> None:
    """Ignore a progress message."""


@pytest.fixture(scope="module")
def client() -> Iterator[DockerClient]:
    docker_client = DockerClient.from_env()
    yield docker_client
    for image in docker_client.images.list(filters={"label": "org.tfrepro.project=tfrepro"}):
        if SESSION in image.labels.get("org.tfrepro.pair", ""):
            docker_client.images.remove(str(image.id), force=True)
    docker_client.close()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def engine(root: Path, client: DockerClient) -> Iterator[DockerEngine]:
    docker_engine = DockerEngine(root, memory=256 * MIB)
    yield docker_engine
    docker_engine.close()


@pytest.fixture(scope="module")
def column(root: Path) -> Column:
    return make_column(root)


@pytest.fixture(scope="module")
def environment(engine: DockerEngine, column: Column, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return engine.prepare(column, tmp_path_factory.mktemp("logs") / "deep" / "build.log", nothing)


@pytest.fixture
def run(engine: DockerEngine, environment: Environment, tmp_path: Path) -> Callable[[str], Any]:
    def execute(action: str) -> Any:
        lines: list[str] = []
        done = engine.execute(environment, request(environment.column, action), lines.append, tmp_path / "round.log")
        return done, lines

    return execute


def containers(client: DockerClient) -> list[str]:
    """Return the containers of this session, ended ones too."""
    listed = client.api.containers(all=True, filters={"label": f"org.tfrepro.run=run-{SESSION}"})
    return [str(container["Id"]) for container in listed]


def owned(client: DockerClient) -> list[str]:
    """Return the existing containers that this process started."""
    label = f"{_dockerrun.OWNER}={_dockerrun.this_process()}"
    return [str(container["Id"]) for container in client.api.containers(all=True, filters={"label": label})]


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_probe_and_description_of_a_daemon(engine: DockerEngine) -> None:
    result = probe()
    assert result.answers, result.why
    assert result.version in engine.describe()["versions"]
    assert all(isinstance(value, str) for value in engine.describe().values())


def test_the_probe_says_why_docker_cannot_be_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert not probe().answers
    assert "there is no Docker socket" in probe().why
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setenv("TFREPRO_DOCKER_CLI", "/bin/true")
    assert not probe().answers
    assert "/bin/true" in probe().why


def test_an_image_is_built_once(
    engine: DockerEngine, environment: Environment, column: Column, client: DockerClient, tmp_path: Path
) -> None:
    again = engine.prepare(column, tmp_path / "again.log", nothing)
    assert (environment.reused, again.reused) == (False, True)
    assert again.identity == environment.identity == again.details["image"]
    assert again.details["tag"] == f"tfrepro/{column.pair.stem}:{again.identity.removeprefix('sha256:')[:12]}"
    assert again.details["base_id"] == client.images.get(BASE).id
    assert again.details["lock_hash"] == column.lock_hash()
    assert int(again.details["bytes"]) > 10 * MIB
    assert engine.cached(column)
    assert engine.disk_need((column,))[1] == 0
    assert client.images.get(again.identity).tags == [again.details["tag"]]


def test_another_suite_is_another_image_on_the_same_packages(client: DockerClient, tmp_path: Path) -> None:
    root = make_root(tmp_path / "root")
    engine = DockerEngine(root)
    first = engine.prepare(make_column(root, "2"), tmp_path / "1.log", nothing)
    (root / "bench/suite/more.py").write_text("", encoding="utf-8")
    assert not engine.cached(make_column(root, "2"))
    second = engine.prepare(make_column(root, "2"), tmp_path / "2.log", nothing)
    engine.close()
    assert first.identity != second.identity
    layers = [client.images.get(environment.identity).attrs["RootFS"]["Layers"] for environment in (first, second)]
    assert [a == b for a, b in zip(*layers, strict=True)].count(False) <= 3, "suite, its bytecode, its folder"
    assert layers[0][:3] == layers[1][:3]


def test_pairs_of_one_cuda_share_its_layer_and_find_its_libraries(client: DockerClient, tmp_path: Path) -> None:
    environments: list[Environment] = []
    lines: list[str] = []
    for number, lock in (("10", CUDA + SIX), ("11", CUDA)):
        root = make_root(tmp_path / number, lock)
        engine = DockerEngine(root, memory=256 * MIB)
        environments.append(engine.prepare(make_column(root, number), tmp_path / f"{number}.log", nothing))
        if number == "10":
            engine.execute(
                environments[0], request(environments[0].column, "facts"), lines.append, tmp_path / "round.log"
            )
        engine.close()
    facts = json.loads("".join(lines))
    folder = "/opt/venv/lib/python3.11/site-packages/nvidia/cuda_runtime/lib"
    assert (facts["environment"]["LD_LIBRARY_PATH"], facts["cudart"]) == (folder, True)
    first, second = (client.images.get(image.identity).attrs["RootFS"]["Layers"] for image in environments)
    assert first[:4] == second[:4], "base, venv, CUDA, cuDNN"
    assert first[4] != second[4]


def test_a_container_can_do_nothing_but_compute(run: Callable[[str], Any]) -> None:
    done, lines = run("facts")
    assert done.exit_code == 0
    facts = json.loads("".join(lines))
    assert (facts["uid"], facts["gid"]) == (65534, 65534)
    assert {int(value, 16) for value in facts["capabilities"]} == {0}
    assert (facts["no_new_privileges"], facts["seccomp"]) == ("1", "2")
    assert facts["interfaces"] == ["lo"]
    assert facts["root"] == "Read-only file system"
    assert {"nosuid", "nodev"} <= set(facts["tmp"][0].split(","))
    assert facts["executable"] == "/opt/venv/bin/python"
    assert facts["compiled"]
    assert facts["uv"] == []
    assert facts["six"] == "1.17.0"


def test_a_container_sees_the_allow_list_only(run: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_DETERMINISTIC_OPS", "1")
    seen = json.loads("".join(run("facts")[1]))["environment"]
    assert seen.pop("HOSTNAME").startswith("tfrepro-"), "the name of the container"
    assert seen.pop("PATH").startswith("/opt/venv/bin:")
    assert seen == {
        "HOME": "/tmp",  # noqa: S108
        "TMPDIR": "/tmp",  # noqa: S108
        "XDG_CACHE_HOME": "/tmp/cache",  # noqa: S108
        "CUDA_CACHE_PATH": "/tmp/cuda",  # noqa: S108
        "TFREPRO_PRIVATE_TMP": "1",
        "TFREPRO_KERNEL_FILES": "/opt/kernel-files",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": "/opt/tfrepro",
        "LANG": "C.UTF-8",
    }


def test_lines_arrive_whole_and_in_order(run: Callable[[str], Any], tmp_path: Path) -> None:
    done, lines = run("lines")
    assert done.exit_code == 3
    assert lines == [*(f"{number} {'ä' * 7000}\n" for number in range(200)), "cut off"]
    assert (tmp_path / "round.log").read_text(encoding="utf-8").split("\n")[:2] == ["noise 0", "noise 1"]


@pytest.mark.fault("A container reaches its memory limit", "Its round says so; the container is removed.")
def test_running_out_of_memory_is_reported(run: Callable[[str], Any], client: DockerClient) -> None:
    done, lines = run("eat")
    assert (done.exit_code, done.oom_killed) == (137, True)
    assert lines == ["eating\n"]
    assert containers(client) == []


@pytest.mark.fault("Ctrl-C during a round in a container", "The container is removed.")
def test_ctrl_c_leaves_nothing_behind(run: Callable[[str], Any], client: DockerClient) -> None:
    timer = threading.Timer(2.0, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        run("sleep")
    timer.join()
    assert containers(client) == []


@pytest.mark.fault("The disk is full during a round in a container", "The error is raised, and the container removed.")
def test_a_reader_that_fails_leaves_nothing_behind(
    engine: DockerEngine, environment: Environment, client: DockerClient, tmp_path: Path
) -> None:
    def full(_: str) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        engine.execute(environment, request(environment.column, "sleep"), full, tmp_path / "log")
    assert containers(client) == []


def gpu_request(column: str, uuid_of_gpu: str) -> Request:
    plain = request(column, "facts")
    return dataclasses.replace(plain, device="gpu", gpu={"uuid": uuid_of_gpu} if uuid_of_gpu else {})


@pytest.mark.skipif(bool(list(Path("/dev").glob("nvidia[0-9]*"))), reason="this host may be able to pass its GPU")
@pytest.mark.parametrize(
    ("route", "message", "hint"),
    [
        ("", "With --gpus: ", "nvidia-container-toolkit"),
        ("cdi", "With CDI: ", "CDI|cdi"),
        (
            "gpus",
            "With --gpus: this Docker engine does not find the NVIDIA Container Toolkit",
            "nvidia-container-toolkit",
        ),
        ("runtime", "With runtime=nvidia: this Docker engine has no runtime 'nvidia'", "nvidia-ctk runtime configure"),
    ],
)
def test_each_gpu_route_is_refused_with_a_reason_and_leaves_nothing_behind(
    route: str, message: str, hint: str, root: Path, environment: Environment, client: DockerClient,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("TFREPRO_GPU_ROUTE", route)
    engine = DockerEngine(root, memory=256 * MIB)
    wanted = gpu_request(environment.column, NO_SUCH_GPU)
    with pytest.raises(NoGpuError, match=message) as caught:
        engine.execute(environment, wanted, nothing, tmp_path / "log")
    engine.close()
    assert "Server Error" not in str(caught.value), "the error of the engine was interpreted"
    assert re.search(hint, caught.value.hint)
    assert owned(client) == []


def test_a_gpu_that_cannot_be_passed_is_reported_before_the_measurement(
    engine: DockerEngine, column: Column, client: DockerClient, tmp_path: Path
) -> None:
    with pytest.raises(NoGpuError, match="cannot pass the GPU"):
        engine.prepare(dataclasses.replace(column, gpu=NO_SUCH_GPU, device="h200"), tmp_path / "log", nothing)
    assert owned(client) == []


def test_a_gpu_column_without_a_gpu_runs_and_finds_none(
    engine: DockerEngine, environment: Environment, tmp_path: Path
) -> None:
    lines: list[str] = []
    wanted = gpu_request(environment.column, "")
    assert engine.execute(environment, wanted, lines.append, tmp_path / "log").exit_code == 0
    assert not [name for name in json.loads(lines[0])["environment"] if "NVIDIA" in name]


def test_a_column_is_examined_by_its_own_python(
    engine: DockerEngine, environment: Environment, column: Column, tmp_path: Path
) -> None:
    assert json.loads(engine.run_python(environment, column, probe_command(column), tmp_path / "log")) == {
        "asked": {"libraries": {}},
        "uid": 65534,
    }
    assert (tmp_path / "log").read_text(encoding="utf-8") == "looking\n"


def test_halting_ends_what_runs_and_nothing_starts_after(
    root: Path, environment: Environment, client: DockerClient, tmp_path: Path
) -> None:
    engine = DockerEngine(root, memory=256 * MIB)
    begun = threading.Event()
    wanted = request(environment.column, "sleep")
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(engine.execute, environment, wanted, lambda _: begun.set(), tmp_path / f"{number}.log")
            for number in range(2)
        ]
        assert begun.wait(30)
        engine.halt()
        for run in runs:
            with pytest.raises(EngineError):
                run.result(timeout=30)
    with pytest.raises(EngineError, match="the run was interrupted"):
        engine.execute(environment, wanted, nothing, tmp_path / "late.log")
    engine.close()
    assert owned(client) == []


def test_cleaning_up_keeps_images_derived_from_ours(
    environment: Environment, client: DockerClient, tmp_path: Path
) -> None:
    own = environment.details["tag"]
    work = client.containers.create(environment.identity, labels={"org.tfrepro.host": "elsewhere"})
    theirs = work.commit(repository=f"tfrepro-test/theirs-{SESSION}", tag="1")
    client.images.get(environment.identity).tag(f"tfrepro-test/named-{SESSION}", tag="1")
    try:
        messages = clean.clean(cache=tmp_path / "cache", dry=True, everything=True)
        text = "\n".join(messages)
        assert f"would remove tag {own}; the image is kept as tfrepro-test/named-{SESSION}:1" in text
        assert f"theirs-{SESSION}:1 (" not in text
        assert re.search(r"kept base image .*: (image|container) ", text) or "base image" not in text
        assert client.images.get(own).id == environment.identity, "a dry run removes nothing"
        message = clean._untag(client, client.images.get(own), [own], dry=False)
        assert message.startswith(f"removed tag {own}")
        assert environment.identity == client.images.get(f"tfrepro-test/named-{SESSION}:1").id
        assert theirs.id == client.images.get(f"tfrepro-test/theirs-{SESSION}:1").id
    finally:
        client.images.get(environment.identity).tag(*own.rsplit(":", 1))
        work.remove(force=True)
        client.images.remove(f"tfrepro-test/theirs-{SESSION}:1")
        client.images.remove(f"tfrepro-test/named-{SESSION}:1")


@pytest.mark.fault("A container is removed during its round", "The error says that it vanished.")
def test_a_container_that_vanishes_is_an_error(run: Callable[[str], Any], client: DockerClient) -> None:
    def prune() -> None:
        wait_for(lambda: containers(client))
        time.sleep(1)
        client.api.remove_container(containers(client)[0], force=True)

    with ThreadPoolExecutor(1) as pool:
        pruned = pool.submit(prune)
        with pytest.raises(EngineError, match="vanished"):
            run("sleep")
        pruned.result()


class Proxy:
    """A proxy of the daemon's socket that can be paused, so that clients see a daemon that hangs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.open = threading.Event()
        self.open.set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._sockets = [self._listener]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                outside, _ = self._listener.accept()
                inside = socket.socket(socket.AF_UNIX)
                inside.connect("/var/run/docker.sock")
                self._sockets += [outside, inside]
                for source, target in ((outside, inside), (inside, outside)):
                    threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self.open.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.path.unlink()
        for connection in self._sockets:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self.open.set()


@pytest.mark.skipif(not os.path.exists("/var/run/docker.sock"), reason="the daemon has another socket")  # noqa: PTH110
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("end", ["hangs", "dies"])
@pytest.mark.fault(
    "The Docker engine hangs or dies during a round, and comes back",
    "The error says so within 30 seconds; when the engine is back, the next round is measured.",
)
def test_a_daemon_that_stops_answering_is_an_error_and_not_a_hang(
    end: str,
    root: Path,
    environment: Environment,
    client: DockerClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy = Proxy(tmp_path / "d.sock")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{proxy.path}")
    engine = DockerEngine(root, memory=256 * MIB)
    engine._client.api.timeout = 3
    lines: list[str] = []

    def leave(line: str) -> None:
        lines.append(line)
        proxy.open.clear() if end == "hangs" else proxy.close()

    began = time.monotonic()
    with pytest.raises(EngineError, match="stopped answering"):
        engine.execute(environment, request(environment.column, "sleep"), leave, tmp_path / "log")
    assert time.monotonic() - began < 30
    assert lines == ["asleep\n"]
    assert "could not be removed" in (tmp_path / "log").read_text(encoding="utf-8")
    engine.close()
    if end == "hangs":
        proxy.close()
    proxy = Proxy(tmp_path / "d.sock")
    again = DockerEngine(root, memory=256 * MIB)
    assert again.execute(environment, request(environment.column, "facts"), nothing, tmp_path / "log").exit_code == 0
    again.close()
    proxy.close()
    for container in containers(client):
        client.api.remove_container(container, force=True)
    gc.collect()  # docker-py leaks the sockets of failed attempts: collect them here, where warnings are ignored


@pytest.mark.fault("An image is removed between build and round", "The column is image-missing.")
def test_a_removed_image_is_an_error(client: DockerClient, tmp_path: Path) -> None:
    root = make_root(tmp_path / "root")
    engine = DockerEngine(root)
    environment = engine.prepare(make_column(root, "3"), tmp_path / "log", nothing)
    client.images.remove(environment.identity, force=True)
    with pytest.raises(EngineError, match=r"image sha256:\w+ was removed after it was prepared"):
        engine.execute(environment, request(environment.column, "facts"), nothing, tmp_path / "log")
    engine.close()


@pytest.mark.fault(
    "kill -9 of the command during a round in a container",
    "The next run removes the container, and no other.",
)
def test_the_sweep_removes_containers_of_dead_runs_only(
    engine: DockerEngine, environment: Environment, client: DockerClient, root: Path, tmp_path: Path
) -> None:
    script = (
        "import sys; from pathlib import Path; from bench.engines.base import Environment\n"
        "from bench.engines.docker import DockerEngine; from bench.suite.record import Request\n"
        "root, identity, column, text, log = sys.argv[1:]\n"
        "environment = Environment(column=column, identity=identity, reused=True, seconds=0)\n"
        "engine = DockerEngine(Path(root), memory=2**28)\n"
        "engine.execute(environment, Request.from_json(text), lambda line: print(line, flush=True), Path(log))\n"
    )
    text = request(environment.column, "sleep").to_json()
    arguments = [str(root), environment.identity, environment.column, text, str(tmp_path / "dead.log")]
    with subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE) as dead:
        assert dead.stdout
        assert dead.stdout.readline() == b"asleep\n"
        dead.send_signal(signal.SIGKILL)
    left = containers(client)
    assert len(left) == 1
    foreign = client.containers.create(
        environment.identity,
        labels={_dockerrun.PROJECT: "tfrepro", _dockerrun.HOST: "elsewhere", _dockerrun.OWNER: "1:1"},
    )
    with ThreadPoolExecutor(1) as pool:
        live = pool.submit(
            engine.execute, environment, request(environment.column, "sleep"), nothing, tmp_path / "live.log"
        )
        wait_for(lambda: len(containers(client)) == 2)
        try:
            assert engine.sweep() >= 1
            alive = containers(client)
            assert len(alive) == 1
            assert alive != left
            foreign.reload()
        finally:
            foreign.remove(force=True)
            for container in containers(client):
                client.api.remove_container(container, force=True)
        with pytest.raises(EngineError):
            live.result()


@pytest.mark.fault(
    "A wheel has another hash than the lock pins, in a Docker build",
    "The column is build-failed; package and lock are named.",
)
def test_a_wrong_hash_names_package_and_lock(client: DockerClient, tmp_path: Path) -> None:
    root = make_root(tmp_path / "root", SIX.replace("sha256:4721", "sha256:0000").replace("sha256:ff70", "sha256:0000"))
    engine = DockerEngine(root)
    with pytest.raises(BuildError, match=r"six==1\.17\.0 is not the file that lock\.txt pins"):
        engine.prepare(make_column(root, "4"), tmp_path / "log", nothing)
    assert not engine.cached(make_column(root, "4"))
    engine.close()


@pytest.mark.fault(
    "The base image, its Python or the lock is missing",
    "The column is build-failed, with the reason and a hint.",
)
def test_problems_with_base_python_and_lock_are_explained(client: DockerClient, tmp_path: Path) -> None:
    root = make_root(tmp_path / "root")
    engine = DockerEngine(root)
    with pytest.raises(BuildError, match="could not be pulled") as caught:
        engine.prepare(make_column(root, "5", base="127.0.0.1:9/tfrepro-none:1"), tmp_path / "log", nothing)
    assert "nox -s base-image" in caught.value.hint
    with pytest.raises(BuildError, match=r"the base image has no Python 3\.8"):
        engine.prepare(make_column(root, "5", python="3.8"), tmp_path / "log", nothing)
    (root / "docker/locks/lock.txt").unlink()
    with pytest.raises(BuildError, match=r"lock\.txt cannot be read") as caught:
        engine.prepare(make_column(root, "5"), tmp_path / "log", nothing)
    assert "nox -s lock" in caught.value.hint
    engine.close()


@pytest.mark.fault("A build with a secret fails", "The secret is in no image, log or message.")
def test_no_secret_stays_anywhere(client: DockerClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = f"s3cret-{uuid.uuid4().hex}"
    monkeypatch.setenv("UV_INDEX_TFREPRO_PASSWORD", f"{secret}'quoted")
    root = make_root(tmp_path / "root")
    engine = DockerEngine(root)
    environment = engine.prepare(make_column(root, "6"), tmp_path / "log", nothing)
    image = client.images.get(environment.identity)
    assert secret not in json.dumps([image.attrs, image.history()])
    assert secret not in json.dumps([{**environment.details}, {**engine.describe()}, {**engine.host()}]), "the record"
    lines: list[str] = []
    engine.execute(environment, request(environment.column, "facts"), lines.append, tmp_path / "round.log")
    assert secret not in "".join(lines), "the environment of a kernel"
    tail = b""
    for chunk in image.save():
        assert secret.encode() not in tail + chunk
        tail = chunk[-100:]
    assert secret not in (tmp_path / "log").read_text(encoding="utf-8")

    # and where the index is named in an error
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://someone:{secret}@127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    messages: list[str] = []
    broken = make_root(tmp_path / "broken", "tfrepro-no-such-package==1 --hash=sha256:" + "0" * 64)
    other = DockerEngine(broken)
    with pytest.raises(BuildError, match="could not reach the package index") as caught:
        other.prepare(make_column(broken, "7"), tmp_path / "log2", messages.append)
    engine.close()
    other.close()
    written = (tmp_path / "log2").read_text(encoding="utf-8")
    assert secret not in written + str(caught.value) + caught.value.hint + "".join(messages)
    assert "127.0.0.1:9" not in str(caught.value)
    assert "UV_DEFAULT_INDEX" in str(caught.value)


def test_an_image_is_described_in_cyclonedx(
    engine: DockerEngine, environment: Environment, column: Column, client: DockerClient, tmp_path: Path
) -> None:
    document = sbom_document(column, sbom_command.image_facts(engine, column, tmp_path))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is None
    assert document["metadata"]["component"]["version"] == environment.identity
    base, python, six = document["components"]
    assert "sha256:" + base["hashes"][0]["content"] == client.images.get(BASE).id
    assert re.fullmatch(r"3\.11\.\d+", python["version"])
    assert six["purl"] == "pkg:pypi/six@1.17.0"
    assert list(tmp_path.iterdir()) == [], "no log is left behind"


@pytest.mark.fault("Ctrl-C during a Docker build", "The build ends; no unfinished image is used.")
def test_ctrl_c_ends_a_build(client: DockerClient, tmp_path: Path) -> None:
    root = make_root(tmp_path / "root")
    with (root / "docker/Dockerfile").open("a", encoding="utf-8") as stream:
        stream.write("USER 0\nRUN sleep 120\n")
    engine = DockerEngine(root)
    timer = threading.Timer(4.0, lambda: os.kill(os.getpid(), signal.SIGINT))
    began = time.monotonic()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        engine.prepare(make_column(root, "12"), tmp_path / "log", nothing)
    timer.join()
    assert time.monotonic() - began < 30
    assert not engine.cached(make_column(root, "12"))
    engine.close()


@pytest.mark.tensorflow
def test_custom_kernels_in_a_real_run_in_containers(tmp_path: Path) -> None:
    joins(tmp_path, "docker")


def test_columns_are_prepared_in_parallel(client: DockerClient, tmp_path: Path) -> None:
    root = make_root(tmp_path / "root")
    engine = DockerEngine(root)
    columns = [make_column(root, "8"), make_column(root, "8"), make_column(root, "9")]
    with ThreadPoolExecutor(3) as pool:
        logs = (tmp_path / f"{number}.log" for number in range(3))
        environments = list(pool.map(lambda column, log: engine.prepare(column, log, nothing), columns, logs))
    engine.close()
    assert environments[0].identity == environments[1].identity
    assert sorted((environments[0].reused, environments[1].reused)) == [False, True]
    assert environments[2].identity != environments[0].identity
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get(f"tfrepro/{columns[0].pair.stem}:build")
