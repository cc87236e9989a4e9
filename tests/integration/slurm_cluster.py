"""A real Slurm cluster on this host, for tests: one controller and several nodes that listen on 127.0.0.1 only.

Nothing of the system's Slurm is used or changed: key, sockets, configuration, state and logs are in one folder. It runs
as root or as an ordinary user (whose jobs alone it can then run). There is no accounting: ``sacct`` has no answer.
The GPUs are links with the names of devices: Slurm assigns them and sets the variables of a job, no more.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: The programs that a cluster needs (Debian's packages slurm-wlm and munge).
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "sinfo", "scancel")
#: Where Debian has daemons, which is on the PATH of root only.
DAEMONS = "/usr/sbin"
#: How long a client waits before its command counts as failed, and a daemon for its end.
COMMAND_S = 60
STOP_S = 30
#: Where ports are chosen: below those of outgoing connections (Linux starts them at 32768).
PORTS = range(20000, 32000)
#: The longest path of a socket, as the system defines it.
LONGEST_SOCKET = 107
#: What the names of GPUs point to: Slurm wants a device, and without control groups it neither opens nor forbids it.
ANY_DEVICE = "/dev/full"

#: Short waits for tests: a node without an answer is down after SlurmdTimeout, its jobs start again cred_expire later.
SETTINGS = {
    "AuthType": "auth/munge",
    "ClusterName": "tests",
    "CommunicationParameters": "NoInAddrAny,NoCtldInAddrAny",
    "CompleteWait": "0",
    "GresTypes": "gpu",
    "InactiveLimit": "0",
    "JobRequeue": "1",
    "KillWait": "2",
    "MaxArraySize": "1001",
    "MessageTimeout": "3",
    "MinJobAge": "300",
    "MpiDefault": "none",
    "ProctrackType": "proctrack/linuxproc",
    "ReturnToService": "2",
    "SchedulerParameters": "batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1",
    "SelectType": "select/cons_tres",
    "SelectTypeParameters": "CR_CPU",
    "SlurmctldDebug": "verbose",
    "SlurmctldTimeout": "10",
    "SlurmdDebug": "verbose",
    "SlurmdParameters": "config_overrides",
    "SlurmdTimeout": "5",
    "SwitchType": "switch/none",
    "TaskPlugin": "task/none",
    "UnkillableStepTimeout": "10",
}


class ClusterError(RuntimeError):
    """The cluster did not do in time what was requested; the message ends with the last lines of a daemon's log."""


@dataclass(frozen=True)
class Node:
    """What one node has."""

    model: str
    gpus: int
    cpus: int = 8


#: The cluster of ``python -m tests.integration.slurm_cluster``.
EXAMPLE = {"a1": Node("a100", 2), "a2": Node("a100", 2), "h1": Node("h100", 2)}


def missing() -> list[str]:
    """Return the names of the programs that a cluster needs and this host lacks."""
    return [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]


class SlurmCluster:
    """A cluster that runs between ``start`` (or ``with``) and ``close``.

    Args:
        folder: An existing folder with a short path, because it holds a socket; ``close`` leaves only files in it.
        nodes: What each node has, by the node's name.
        settings: Lines of slurm.conf that differ from ``SETTINGS``.
        partitions: The names of partitions with all nodes, each with its other settings in slurm.conf.
    """

    def __init__(
        self,
        folder: Path,
        nodes: Mapping[str, Node],
        settings: Mapping[str, str] | None = None,
        partitions: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.nodes = dict(nodes)
        self._settings = SETTINGS | dict(settings or {})
        self._partitions = dict(partitions or {"all": "Default=YES"})
        self._ports = dict(zip(("slurmctld", *nodes), _free_ports(len(nodes) + 1), strict=True))
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def env(self) -> dict[str, str]:
        """The environment of a client of this cluster."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
        return kept | {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": _path()}

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Write the configuration, start every daemon and return when all nodes are idle."""
        self._write_configuration()
        socket_path = self.folder / "munge.socket"
        munge = ["munged", "--foreground", "--force", f"--socket={socket_path}", f"--key-file={self.folder / 'key'}"]
        munge += [f"--{name}-file={self.folder / f'munged.{name}'}" for name in ("log", "pid", "seed")]
        self._launch("munged", munge)
        self._wait(socket_path.is_socket, "munged makes its socket", "munged", STOP_S)
        self.start_controller()
        for name in self.nodes:
            self.start_node(name)
        self.wait_until_idle()

    def run(self, *command: str, limit_s: float = COMMAND_S) -> subprocess.CompletedProcess[str]:
        """Run a client of this cluster (``"squeue", "--json"``) and return what it printed, whatever its exit code."""
        return subprocess.run(
            command, env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=limit_s, check=False
        )

    def node_states(self) -> dict[str, str]:
        """Return the state of each node as ``sinfo`` prints it (``idle``, ``mixed``, ``down*``); none on an error."""
        lines = self.run("sinfo", "-h", "-N", "-o", "%N %T").stdout.splitlines()
        return dict(line.split(maxsplit=1) for line in lines)

    def wait_until_idle(self, limit_s: float = 30) -> None:
        """Wait until every node that runs is idle: no job of any kind is on it.

        Raises:
            ClusterError: A node was not idle in time.
        """
        nodes = self.nodes.keys() & self._running.keys()

        def idle() -> bool:
            states = self.node_states()
            return all(states.get(name) == "idle" for name in nodes)

        self._wait(idle, f"all of {sorted(nodes)} are idle", "slurmctld", limit_s)

    def wait_for_state(self, name: str, state: str, limit_s: float = 30) -> None:
        """Wait until a node's state begins with the given word, such as ``down``.

        Raises:
            ClusterError: It was another state until the end of the time.
        """
        self._wait(
            lambda: self.node_states().get(name, "").startswith(state), f"{name} is {state}", "slurmctld", limit_s
        )

    def start_node(self, name: str) -> None:
        """Start a node that does not run; it has a name and processes of its own, as another host has."""
        # a user who is not root needs a user namespace for the one of processes
        own = [] if os.geteuid() == 0 else ["--user", "--map-current-user", "--keep-caps"]
        space = ["unshare", *own, "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        # the shell is the first process of the namespace, and collects the processes that others leave behind
        (self.folder / f"boot-{name}").write_text(f"{uuid.uuid4()}\n", encoding="ascii")
        mounts = {"hosts": "/etc/hosts", f"boot-{name}": "/proc/sys/kernel/random/boot_id"}
        binds = (f"mount --bind {shlex.quote(str(self.folder / own))} {place}" for own, place in mounts.items())
        named = " && ".join([*binds, f"hostname {name}"])
        first = ["bash", "-c", f'{named} && "$@" & wait', "bash"]
        (self.folder / "spool" / name).mkdir(parents=True, exist_ok=True)
        self._launch(name, [*space, *first, "slurmd", "-D", "-N", name, "-f", str(self.folder / "slurm.conf")])

    def kill_node(self, name: str) -> None:
        """End slurmd, job steps and all their processes at once, as a power cut does.

        Raises:
            ClusterError: One of them did not end.
        """
        self._kill([name])

    def start_controller(self) -> None:
        """Start the controller, which goes on from the state that it saved.

        Raises:
            ClusterError: It gave no answer in time.
        """
        self._launch("slurmctld", ["slurmctld", "-D", "-f", str(self.folder / "slurm.conf")])
        port = self._ports["slurmctld"]
        self._wait(lambda: _answers(port), "the controller listens", "slurmctld", STOP_S)

    def stop_controller(self) -> None:
        """Stop the controller, which saves its state; jobs go on, and clients wait for it in vain.

        Raises:
            ClusterError: It did not end in time.
        """
        process = self._running.pop("slurmctld")
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_S)
            raise ClusterError(f"The controller did not end within {STOP_S} s: {self._tail('slurmctld')}") from None

    def close(self) -> None:
        """End every process of the cluster at once, those of jobs included, and remove its state and devices."""
        if self._running:
            self._kill(list(self._running))
        for name in ("spool", "state", "devices"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in ("key", "munge.socket", "munge.socket.lock"):
            (self.folder / name).unlink(missing_ok=True)

    def _kill(self, names: list[str]) -> None:
        """End daemons at once, and with each node all that runs on it.

        Raises:
            ClusterError: A process did not end.
        """
        daemons = [self._running.pop(name) for name in names]
        others = [other for one in daemons if one.poll() is None for other in psutil.Process(one.pid).children(True)]
        for process in daemons:
            process.kill()  # the kernel then ends the first process of a node's namespace, and with it all others
            process.wait(STOP_S)
        self._wait(lambda: not any(map(_runs, others)), f"the processes of {names} end", names[-1], STOP_S)

    def _launch(self, name: str, command: list[str]) -> None:
        """Start a daemon whose output is appended to ``NAME.out``."""
        with (self.folder / f"{name}.out").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command, env=self.env, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _wait(self, done: Callable[[], bool], what: str, daemon: str, limit_s: float) -> None:
        """Wait until a condition holds; a daemon that ended ends the wait.

        Raises:
            ClusterError: The time is over, or a daemon ended.
        """
        end = time.monotonic() + limit_s
        while not done():
            ended = [name for name, process in self._running.items() if process.poll() is not None]
            if ended or time.monotonic() > end:
                name = ended[0] if ended else daemon
                why = f"{name} ended" if ended else f"not within {limit_s} s"
                raise ClusterError(f"Waited until {what}: {why}. States: {self._states()}. {name}: {self._tail(name)}")
            time.sleep(0.05)

    def _states(self) -> str:
        """Return the nodes' states for a message, without a wait for a controller that is not there."""
        return str(self.node_states()) if "slurmctld" in self._running else "no controller"

    def _tail(self, name: str) -> str:
        """Return the last lines of a daemon's output."""
        return "\n".join((self.folder / f"{name}.out").read_text(errors="replace").splitlines()[-20:])

    def _write_configuration(self) -> None:
        """Write the key, the devices, slurm.conf and gres.conf.

        Raises:
            ClusterError: The folder's path is too long for a socket.
        """
        folder = self.folder
        if len(str(folder / "munge.socket")) > LONGEST_SOCKET:
            raise ClusterError(f"{folder} is too long for the path of a socket in it.")
        (folder / "state").mkdir(mode=0o700)
        (folder / "key").touch(mode=0o600)
        (folder / "key").write_bytes(secrets.token_bytes(64))
        names = " ".join([socket.gethostname(), *self.nodes])
        (folder / "hosts").write_text(f"127.0.0.1 localhost {names}\n", encoding="utf-8")
        gpus = ["AutoDetect=off"]
        nodes = []
        for name, node in self.nodes.items():
            devices = folder / "devices" / name
            devices.mkdir(parents=True)
            for index in range(node.gpus):
                (devices / f"gpu{index}").symlink_to(ANY_DEVICE)
            gpus.append(f"NodeName={name} Name=gpu Type={node.model} File={devices}/gpu[0-{node.gpus - 1}]")
            nodes.append(
                f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={self._ports[name]} CPUs={node.cpus}"
                f" RealMemory=1000 Gres=gpu:{node.model}:{node.gpus}"
            )
        settings = [f"{name}={value}" for name, value in (self._settings | self._own_settings()).items()]
        partitions = [
            f"PartitionName={name} Nodes=ALL MaxTime=INFINITE State=UP {more}"
            for name, more in self._partitions.items()
        ]
        (folder / "slurm.conf").write_text("\n".join([*settings, *nodes, *partitions, ""]), encoding="utf-8")
        (folder / "gres.conf").write_text("\n".join([*gpus, ""]), encoding="utf-8")

    def _own_settings(self) -> dict[str, str]:
        """Return the lines of slurm.conf that name this cluster's folder, ports and user."""
        user = pwd.getpwuid(os.geteuid()).pw_name
        return {
            "AuthInfo": f"socket={self.folder / 'munge.socket'},cred_expire=5",
            "SlurmctldHost": "localhost(127.0.0.1)",
            "SlurmctldPidFile": str(self.folder / "slurmctld.pid"),
            "SlurmctldPort": str(self._ports["slurmctld"]),
            "SlurmdPidFile": f"{self.folder}/%n.pid",
            "SlurmdSpoolDir": f"{self.folder}/spool/%n",
            "SlurmdUser": user,
            "SlurmUser": user,
            "StateSaveLocation": str(self.folder / "state"),
        }


def _path() -> str:
    """Return the PATH with the folder of daemons."""
    return f"{os.environ.get('PATH', os.defpath)}{os.pathsep}{DAEMONS}"


def main() -> None:
    """Run an example cluster until Ctrl-C or SIGTERM, and print how its clients are called."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="tfrepro-slurm-") as folder, SlurmCluster(Path(folder), EXAMPLE) as cluster:
        sys.stdout.write(f"export SLURM_CONF={cluster.env['SLURM_CONF']}\n")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            signal.pause()


def _free_ports(number: int) -> list[int]:
    """Return ports of 127.0.0.1 that nothing uses, of those that the system gives to no outgoing connection."""
    found: list[int] = []
    with ExitStack() as stack:
        for port in secrets.SystemRandom().sample(PORTS, 100 * number):
            one = stack.enter_context(closing(socket.socket()))
            with suppress(OSError):
                one.bind(("127.0.0.1", port))
                found.append(port)
            if len(found) == number:
                break
    return found


def _runs(process: psutil.Process) -> bool:
    """Whether a process runs: it does not if it has ended and only its parent has not asked for its status."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _answers(port: int) -> bool:
    """Whether something listens at a port of 127.0.0.1."""
    with closing(socket.socket()) as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    main()
