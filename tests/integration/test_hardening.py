"""What foreign code can reach from inside a container that the Docker engine starts as for a measurement."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from docker.client import DockerClient

from bench.engines.docker import DockerEngine
from bench.suite.record import Request
from tests.integration.test_docker import MIB, make_column, make_root, nothing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.docker

MEMORY = 256 * MIB
#: Runs as a kernel would, and prints what it can see and do.
LOOK = """
import json, os, socket, stat

status = dict(line.rstrip().split(":", 1) for line in open("/proc/self/status") if ":" in line)


def limit(*places):
    files = ["/sys/fs/cgroup/" + place for place in places]
    return next((open(file).read().strip() for file in files if os.path.exists(file)), "-1")


def try_to(action):
    try:
        action()
    except OSError as error:
        return error.errno
    return 0


writable, sockets = [], []
for folder, names, files in os.walk("/"):
    names[:] = [name for name in names if os.path.join(folder, name) not in ("/proc", "/sys")]
    if not try_to(lambda: open(os.path.join(folder, "tfrepro-written"), "w").close()):
        writable.append(folder)
    for name in files:
        if stat.S_ISSOCK(os.lstat(os.path.join(folder, name)).st_mode):
            sockets.append(os.path.join(folder, name))

mounts = [line.split()[:4] for line in open("/proc/self/mounts")]
print(json.dumps({
    "ids": sorted({os.getuid(), os.geteuid(), os.getgid(), *os.getgroups()}),
    "capabilities": sorted({status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}),
    "no_new_privileges": status["NoNewPrivs"].strip(),
    "seccomp": status["Seccomp"].strip(),
    "interfaces": sorted(os.listdir("/sys/class/net")),
    "connect": try_to(lambda: socket.create_connection(("192.0.2.1", 80), 5)),
    "set_uid": try_to(lambda: os.setuid(0)),
    "chroot": try_to(lambda: os.chroot("/")),
    "writable": sorted(writable),
    "sockets": sockets,
    "mounts": {place: [kind, options.split(",")] for _, place, kind, options in mounts},
    "devices": sorted(os.listdir("/dev")),
    "first_process": open("/proc/1/comm").read().strip(),
    "cores": sorted(os.sched_getaffinity(0)),
    "pids": limit("pids.max", "pids/pids.max"),
    "memory": limit("memory.max", "memory/memory.limit_in_bytes"),
}), flush=True)
"""
#: Every device file and folder that a container without a GPU has.
DEVICES = {
    *("core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm"),
    *("stderr", "stdin", "stdout", "tty", "urandom", "zero"),
}
#: File systems that show nothing of the host's disk. Rootless Docker mounts each of ``DEVICES`` from devtmpfs.
VIRTUAL = {"proc", "sysfs", "tmpfs", "devpts", "devtmpfs", "mqueue", "cgroup", "cgroup2"}
#: Files of the host's disk that Docker mounts: its own three for this container, and its init program.
FROM_HOST = {"/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/sbin/docker-init", "/usr/sbin/docker-init"}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Any]]]:
    """What is seen from inside a round, and from inside one side of a timing pair."""
    folder = tmp_path_factory.mktemp("hardening")
    root = make_root(folder / "root")
    for name in ("driver", "timing_start"):
        (root / f"bench/suite/{name}.py").write_text(LOOK, encoding="utf-8")
    engine = DockerEngine(root, memory=MEMORY)
    environment = engine.prepare(make_column(root, "40"), folder / "build.log", nothing)
    request = Request(
        column=environment.column, mode="on", variation="default", round=1, kernels=("k",), repetitions={"k": 1},
        context={"run": "run-hardening"},
    )  # fmt: skip
    lines: list[str] = []
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {max(cores)})  # as in a Slurm job that has one core of the host
        assert engine.execute(environment, request, lines.append, folder / "round.log").exit_code == 0, log(folder)
        with engine.open_session(environment, request, folder / "session.log") as session:
            line = session.read(60)
        assert line is not None, log(folder)
        yield {"round": json.loads("".join(lines)), "timing": json.loads(line)}
    finally:
        os.sched_setaffinity(0, cores)
        engine.close()
        client = DockerClient.from_env()
        client.images.remove(environment.identity, force=True)
        client.close()


def log(folder: Path) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.log"))


@pytest.mark.parametrize("process", ["round", "timing"])
class TestFromInside:
    """Each property is read where a hostile kernel would stand, not from the options that were passed to Docker."""

    @pytest.fixture
    def inside(self, seen: dict[str, dict[str, Any]], process: str) -> dict[str, Any]:
        return seen[process]

    def test_it_has_no_rights_and_can_get_none(self, inside: dict[str, Any]) -> None:
        assert inside["ids"] == [65534]
        assert {int(value, 16) for value in inside["capabilities"]} == {0}
        assert (inside["no_new_privileges"], inside["seccomp"]) == ("1", "2")
        assert (inside["set_uid"], inside["chroot"]) == (errno.EPERM, errno.EPERM)

    def test_it_has_no_network(self, inside: dict[str, Any]) -> None:
        assert inside["interfaces"] == ["lo"]
        assert inside["connect"] == errno.ENETUNREACH

    def test_it_can_write_to_memory_only(self, inside: dict[str, Any]) -> None:
        assert "/tmp" in inside["writable"]  # noqa: S108
        assert set(inside["writable"]) <= {"/tmp", "/dev/shm", "/dev/mqueue"}  # noqa: S108
        for place in inside["writable"]:
            kind, options = inside["mounts"][place]
            assert kind in {"tmpfs", "mqueue"}
            assert {"nosuid", "nodev"} <= set(options)
        assert "ro" in inside["mounts"]["/"][1]

    def test_it_has_the_cores_of_the_process_that_started_it(self, inside: dict[str, Any]) -> None:
        assert inside["cores"] == [max(os.sched_getaffinity(0))]

    def test_it_sees_nothing_of_the_host(self, inside: dict[str, Any]) -> None:
        real = {place for place, (kind, _) in inside["mounts"].items() if kind not in VIRTUAL}
        assert real <= {"/", *FROM_HOST}
        assert all("ro" in inside["mounts"][place][1] for place in real)
        assert inside["sockets"] == [], "no socket of an engine or of another process"
        assert set(inside["devices"]) <= DEVICES, "no disk and no GPU for a CPU column"
        assert inside["first_process"] in {"docker-init", "tini"}, "no process of the host"

    def test_its_resources_are_limited(self, inside: dict[str, Any], process: str) -> None:
        assert int(inside["pids"]) == 16384
        assert int(inside["memory"]) == (MEMORY if process == "round" else MEMORY // 2)
