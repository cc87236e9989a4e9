"""``matrix --engine ssh`` with real sshd processes on loopback, each with a home folder of its own."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from bench.engines import wheelhouse
from bench.fleet.ssh_backend import SshBackend
from bench.fleet.ssh_client import Client, HostError
from bench.fleet.state import Cell, Fleet, FleetFolder
from bench.portable.lock import FileLock
from bench.store.run import load
from tests.faults.conftest import ROOT, numpy_pin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.store.run import Run
    from tests.faults.conftest import Checkout, Done

pytestmark = pytest.mark.ssh

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
SSHD_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile {folder}/sshd.pid
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
ForceCommand {wrapper}
"""
#: A session begins in the home folder of its host, and finds the Python of these tests.
WRAPPER = """\
#!/bin/sh
cd {home} && exec env HOME={home} PATH={path} FAULT_TEST={test} {more} sh -c "$SSH_ORIGINAL_COMMAND"
"""
SSH_CONFIG = """\
Host {name}
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {key}
  IdentitiesOnly yes
  UserKnownHostsFile {known}
  HostKeyAlias {name}
"""
#: A kernel that lasts as long as a file exists, but at most its time limit.
KERNELS = """\
import os, time
from pathlib import Path
from bench.suite.kernels import kernel

@kernel(family="own", exercises="a host", shapes="[2]", dtypes="float64", source="own")
def sound(tf, seed):
    wait = Path({wait!r})
    while wait.exists():
        time.sleep(0.05)
    return lambda: {{"x": tf.constant([float(seed), 1.0])}}
"""


@dataclass
class Host:
    """A host: its folder, its name for ssh, and the sshd that serves it."""

    name: str
    folder: Path
    home: Path
    port: int
    sshd: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start sshd, and wait until it answers."""
        config = self.folder / "sshd_config"
        self.sshd = subprocess.Popen(
            [SSHD, "-D", "-q", "-f", str(config)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(200):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        pytest.fail(f"sshd of {self.name} does not listen")

    def busy(self) -> FileLock:
        """Return the measuring lock of the host: while it is held, cells that were started wait for it."""
        return FileLock(self.folder / "tfrepro-measuring-cpu.lock")

    def kill(self) -> None:
        """Kill sshd, and the sessions that it serves."""
        if self.sshd:
            for process in psutil.Process(self.sshd.pid).children(recursive=True):
                if process.name() == "sshd":
                    process.kill()
            self.sshd.kill()
            self.sshd.wait()
            self.sshd = None

    def left(self) -> list[str]:
        """Return the files below the home folder."""
        return [path.relative_to(self.home).as_posix() for path in self.home.rglob("*") if not path.is_dir()]

    def fleet(self) -> Path:
        """Return the folder of the only fleet run on it."""
        (found,) = (self.home / ".cache/tfrepro/fleet").iterdir()
        return found


@dataclass
class Hosts:
    """Several hosts, and the files with which they are reached."""

    checkout: Checkout
    folder: Path
    named: dict[str, Host] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.folder / "ssh_config"

    @property
    def wait(self) -> Path:
        return self.folder / "wait"

    def add(self, name: str, home: Path | None = None) -> Host:
        """Make a host, and start its sshd; ``home`` is a home folder that it shares with another one."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        host = Host(name, self.folder / name, home or self.folder / name / "home", port)
        host.folder.mkdir()
        host.home.mkdir(exist_ok=True)
        key(host.folder / "host_key")
        shutil.copy(self.folder / "key.pub", host.folder / "authorized_keys")
        wrapper, python = host.folder / "session.sh", Path(sys.base_prefix, "bin")
        wrapper.write_text(
            WRAPPER.format(
                home=host.home, path=f"{python}:/usr/bin:/bin", test=host.folder,
                more=f"TMPDIR={self.checkout.folder / 'tmp'}",
            )
        )  # fmt: skip
        wrapper.chmod(0o755)
        config = SSHD_CONFIG.format(port=port, folder=host.folder, wrapper=wrapper)
        (host.folder / "sshd_config").write_text(config)
        known = (host.folder / "host_key.pub").read_text().split()[:2]
        with (self.folder / "known_hosts").open("a") as stream:
            stream.write(f"{name} {' '.join(known)}\n")
        text = SSH_CONFIG.format(
            name=name, port=port, user=getpass.getuser(), key=self.folder / "key", known=self.folder / "known_hosts"
        )
        with self.config.open("a") as stream:
            stream.write(text)
        with (self.folder / "hosts").open("a") as stream:
            stream.write(f"{name}  # for a test\n")
        self.named[name] = host
        host.start()
        return host

    def words(self, *more: str, pairs: str = "tf2.18*,tf2.21*") -> list[str]:
        """Return the words that submit short cells, which last longer while the file ``wait`` exists."""
        kernels = self.folder / "own.py"
        kernels.write_text(KERNELS.format(wait=str(self.wait)), encoding="utf-8")
        words = ["matrix", "--engine", "ssh", "--hosts", str(self.folder / "hosts"), "--ssh-config", str(self.config)]
        words += ["--profile", "quick", "--env", pairs, "--device", "cpu", "--mode", "off", "--timing-pairs", "0"]
        words += ["--rounds", "1", "--kernels", "sound", "--kernel-file", str(kernels)]
        return [*words, "--fail-on", "none", "--reports", str(self.checkout.reports), *more]

    def submit(self, *more: str, **options: Any) -> Done:
        return self.checkout.run(*self.words(*more, **options))

    def fleet(self, action: str, *more: str) -> Done:
        return self.checkout.run("fleet", action, "--reports", str(self.checkout.reports), *more)

    def phases(self) -> dict[tuple[str, str], str]:
        """Return host and environment -> phase."""
        rows = json.loads(self.fleet("status", "--json").out)["cells"]
        return {(row["cell"]["node"], row["cell"]["pair"]): row["state"]["phase"] for row in rows}

    def wait_until(self, **phases: str) -> None:
        """Wait until the first cell of each host is in a phase."""

        def reached() -> bool:
            found = self.phases()
            return all(found[name, "tf2.18.1-cpu"] == phase for name, phase in phases.items())

        self.checkout.wait_for(reached, f"not {phases}", 120, every_s=1.0)

    def collect(self, *more: str) -> Done:
        return self.fleet("collect", "--fail-on", "none", *more)

    def collected(self) -> Run:
        (run,) = self.checkout.runs()
        return load(run)

    def assert_clean(self) -> None:
        """Nothing that belongs to the tool is left on a host."""
        for host in self.named.values():
            assert not host.left(), host.name


def key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, timeout=60)


@pytest.fixture(scope="module")
def stand_in_wheels(small_root: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Have the wheels of bundles in the cache: an index has others than those of the stand-in."""
    lock = tmp_path_factory.mktemp("numpy") / "numpy.txt"
    lock.write_text(numpy_pin(), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        folder = wheelhouse.wheels(lock, f"{sys.version_info.major}.{sys.version_info.minor}", print)[0].parent
    for file in (small_root / "wheels").glob("*.whl"):
        shutil.copy(file, folder)


@pytest.fixture
def hosts(checkout: Checkout, stand_in_wheels: None) -> Iterator[Hosts]:
    """Hosts of one test; afterwards no process of a session is left, and no sshd."""
    Path("/run/sshd").mkdir(exist_ok=True) if os.geteuid() == 0 else None
    folder = checkout.folder / "hosts"
    folder.mkdir()
    key(folder / "key")
    made = Hosts(checkout, folder)
    yield made
    for host in made.named.values():
        host.kill()


def test_all_cells_arrive_and_are_one_run(hosts: Hosts) -> None:
    hosts.add("alpha")
    hosts.add("beta.example")
    done = hosts.submit()
    assert done.code == 0, done.err
    assert "4 cells on 2 hosts" in done.out
    assert hosts.named["alpha"].fleet().stat().st_mode & 0o777 == 0o700
    done = hosts.collect("--wait")
    assert done.code == 0, done.err
    run = hosts.collected()
    releases, names = ("2.18.1", "2.21.0"), ("alpha", "beta.example")
    assert {(column.tensorflow, column.host) for column in run.info.columns} == {
        (release, name) for release in releases for name in names
    }
    assert all(column.id.endswith(f"@cpu-{column.host}") for column in run.info.columns)
    assert len(run.records) == 4
    assert set(hosts.phases().values()) == {"measured"}
    hosts.assert_clean()
    (folder,) = (hosts.checkout.reports / "fleet").iterdir()
    assert not (folder / "bundles").exists()


@pytest.mark.fault(
    "sshd of a host dies while it measures",
    "The status says so; its cells go on, and the other hosts' results are collected.",
)
def test_a_host_that_no_longer_answers(hosts: Hosts) -> None:
    alpha, beta = hosts.add("alpha"), hosts.add("beta")
    with alpha.busy():
        assert hosts.submit().code == 0
        hosts.wait_until(alpha="running", beta="measured")
        alpha.kill()
        hosts.checkout.wait_for(lambda: hosts.phases()["beta", "tf2.21.0-cpu"] == "measured", "beta goes on", 60, 1.0)
        status = hosts.fleet("status")
        assert status.code == 4
        assert "alpha does not answer: ssh: connect to host 127.0.0.1 port" in status.out
        assert "4 cells: 2 measured, 1 running, 1 waiting" in status.out
        done = hosts.collect()
        assert done.code == 4, done.err
        assert "2 of 4 cells are missing from these results, or incomplete" in done.err
        assert {column.host for column in hosts.collected().info.columns if column.status == "ready"} == {"beta"}
        assert not beta.left()
    # its cells go on without sshd, although the process that submitted them has ended
    ends = [alpha.fleet() / "cells" / number / "state" for number in ("00000", "00001")]
    hosts.checkout.wait_for(lambda: all(end.read_text().startswith("ended 0 ") for end in ends), "alpha goes on", 90)
    alpha.start()
    done = hosts.collect("--wait")
    assert done.code == 0, done.err
    assert len(hosts.collected().info.columns) == 4
    hosts.assert_clean()


def test_cancel_leaves_no_process_and_no_file(hosts: Hosts) -> None:
    alpha = hosts.add("alpha")
    hosts.add("beta")
    with alpha.busy():
        assert hosts.submit("--env", "tf2.18*", "--rounds", "3").code == 0
        hosts.wait_until(alpha="running", beta="measured")
        hosts.wait.touch()
    hosts.checkout.wait_for(lambda: any("bench.suite" in line for line in hosts.checkout.processes()), "no round", 60)
    done = hosts.fleet("cancel")
    assert done.code == 0, done.err
    assert "1 stopped" in done.out
    assert "1 measured" in done.out
    hosts.assert_clean()
    hosts.checkout.wait_for(lambda: all("sshd" in line for line in hosts.checkout.processes()), "a process is left", 5)
    done = hosts.collect()
    assert done.code == 4
    assert {column.host for column in hosts.collected().info.columns if column.status == "ready"} == {"beta"}
    assert "It was cancelled." in hosts.fleet("status").out


@pytest.mark.fault("A host refuses the key", "The error of ssh is shown; the other hosts measure, and retry adds it.")
def test_a_host_that_refuses_the_key(hosts: Hosts) -> None:
    alpha = hosts.add("alpha")
    keys = hosts.add("beta", home=alpha.home).folder / "authorized_keys"
    known = keys.read_text()
    keys.write_text("")
    done = hosts.submit("--env", "tf2.18*")
    assert done.code == 4
    assert "error: beta does not answer: " in done.err
    assert "Permission denied (publickey)" in done.err
    assert "alpha: started 1 cell" in done.err
    keys.write_text(known)
    done = hosts.fleet("retry")
    assert done.code == 0, done.err
    assert "submitted 1 cell again" in done.out
    done = hosts.collect("--wait")
    assert done.code == 0, done.err
    assert {column.host for column in hosts.collected().info.columns} == {"alpha", "beta"}
    hosts.assert_clean()


@pytest.mark.fault("The key of a host is not known", "Nothing is sent to it; the error of ssh is shown.")
def test_a_host_whose_key_is_not_known(hosts: Hosts) -> None:
    host = hosts.add("alpha")
    (hosts.folder / "known_hosts").write_text("")
    done = hosts.submit("--env", "tf2.18*")
    assert done.code == 4
    assert "alpha does not answer: " in done.err
    assert "Host key verification failed" in done.err
    assert not host.left()


@pytest.mark.fault(
    "A host sends a damaged records archive, or that of another cell", "It is refused; retry measures the cell again."
)
def test_an_archive_that_is_not_what_it_should_be(hosts: Hosts) -> None:
    alpha, beta = hosts.add("alpha"), hosts.add("beta")
    assert hosts.submit("--env", "tf2.18*").code == 0
    hosts.wait_until(alpha="measured", beta="measured")
    ours, theirs = (host.fleet() / "cells" / f"0000{n}" / "records.tar.gz" for n, host in enumerate((alpha, beta)))
    shutil.copy(ours, theirs)
    content = bytearray(ours.read_bytes())
    content[len(content) // 2] ^= 1
    ours.write_bytes(content)
    done = hosts.collect()
    assert done.code == 3, done.err
    status = hosts.fleet("status").out
    assert "2 cells: 2 failed" in status
    assert "it is not one of tf2.18.1-cpu on (beta)" in status
    assert not list(hosts.checkout.reports.glob("fleet/*/cells/*/reports/runs/*/run.json"))
    assert not list(hosts.checkout.reports.glob("fleet/*/cells/*/.records*"))
    assert hosts.fleet("retry").code == 0
    done = hosts.collect("--wait")
    assert done.code == 0, done.err
    assert len(hosts.collected().info.columns) == 2
    hosts.assert_clean()


@pytest.mark.fault("A host is restarted while it measures", "The status says so, and retry resumes its cells.")
def test_a_host_that_is_restarted(hosts: Hosts) -> None:
    host = hosts.add("alpha")
    hosts.wait.touch()
    assert hosts.submit("--env", "tf2.18*").code == 0
    hosts.wait_until(alpha="running")
    hosts.checkout.wait_for(lambda: any("bench.suite" in line for line in hosts.checkout.processes()), "no round", 60)
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(str(host.fleet()) in word for word in process.cmdline()):
                process.kill()
    hosts.wait.unlink()
    status = hosts.fleet("status")
    assert "it ended without a result: was its host restarted?" in status.out
    assert hosts.fleet("retry").code == 0
    done = hosts.collect("--wait")
    assert done.code == 0, done.err
    assert len(hosts.collected().records) == 1
    hosts.assert_clean()


@pytest.mark.fault("A host hangs, or sends without end", "The command is given up after a limit, and names the host.")
def test_a_host_that_hangs_or_floods(hosts: Hosts) -> None:
    session = hosts.add("alpha").folder / "session.sh"
    client = Client(str(hosts.config))
    session.write_text("#!/bin/sh\nsleep 6\n")
    with pytest.raises(HostError, match="alpha does not answer: it has not ended within 3 s"):
        client.call("alpha", "report", "name", limit_s=3)
    session.write_text("#!/bin/sh\nyes\n")
    with pytest.raises(HostError, match="alpha was not read to the end: it sends more than 1048576 bytes"):
        client.call("alpha", "report", "name")
    session.write_text("#!/bin/sh\nyes 'a message' >&2 & sleep 2; kill $!; exit 3\n")
    with pytest.raises(HostError, match=r"alpha says: .*a message a message") as found:
        client.call("alpha", "report", "name")
    assert len(str(found.value)) < 500
    session.write_text("#!/bin/sh\necho clock 1\n")
    with pytest.raises(HostError, match="its report is incomplete"):
        SshBackend(FleetFolder(hosts.folder), fleet_of("alpha", hosts.config))._ask("alpha")


def test_a_signal_ends_the_command_while_it_sends(hosts: Hosts) -> None:
    host = hosts.add("alpha")
    session = host.folder / "session.sh"
    text = session.read_text()
    session.write_text("#!/bin/sh\nexec sleep 20\n")
    child = hosts.checkout.start(*hosts.words("--env", "tf2.18*"))
    hosts.checkout.wait_for(lambda: any(line.startswith("ssh ") for line in hosts.checkout.processes()), "no ssh", 60)
    child.terminate()
    _, said = child.communicate(timeout=15)
    assert child.returncode == 130, said
    session.write_text(text)
    assert "1 cell: 1 failed" in hosts.fleet("status").out
    done = hosts.fleet("retry")
    assert done.code == 0, done.err
    done = hosts.collect("--wait")
    assert done.code == 0, done.err
    hosts.assert_clean()


def fleet_of(host: str, config: Path) -> Fleet:
    """Return a fleet run with one cell."""
    cells = (Cell(0, "tf2.18.1-cpu", "", host),)
    return Fleet("name", "ssh", "", "", "", "", cells, ssh_config=str(config))


def test_a_dry_run_sends_nothing(hosts: Hosts) -> None:
    host = hosts.add("alpha")
    done = hosts.submit("--dry-run")
    assert done.code == 0, done.err
    assert "2 cells on 1 host:" in done.out
    assert "nothing was sent" in done.out
    assert not host.left()
    assert not hosts.checkout.reports.exists()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("-oProxyCommand=touch /tmp/x", "line 2: '-oProxyCommand=touch /tmp/x' is not the name of a host"),
        ("user@beta", "line 2: 'user@beta' is not the name of a host"),
        ("beta gamma", "line 2: 'beta gamma' is not the name of a host"),
        ("$(reboot)", "is not the name of a host"),
        ("alpha # again", "line 2: alpha is listed twice"),
    ],
)
def test_a_bad_line_of_the_hosts_file_is_named(checkout: Checkout, line: str, reason: str) -> None:
    file = checkout.folder / "hosts"
    file.write_text(f"alpha\n{line}\n")
    done = checkout.run("matrix", "--engine", "ssh", "--hosts", str(file), "--reports", str(checkout.reports))
    assert done.code == 2
    assert reason in done.err
    assert not checkout.reports.exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--engine", "ssh"], "--engine ssh needs a list of hosts"),
        (["--engine", "venv", "--hosts", "hosts"], "--hosts and --ssh-config are for --engine ssh"),
        (["--engine", "ssh", "--hosts", "hosts", "--host-name", "a"], "--host-name cannot be used with --engine ssh"),
        (["--engine", "ssh", "--hosts", "hosts", "--device", "all"], "--device all names a device of this host"),
    ],
)
def test_options_that_do_not_fit_are_refused(checkout: Checkout, words: list[str], reason: str) -> None:
    done = checkout.run("matrix", *words)
    assert done.code == 2
    assert reason in done.err


def test_only_folders_made_by_the_tool_are_changed(tmp_path: Path) -> None:
    place = tmp_path / ".cache" / "tfrepro" / "fleet"
    other, elsewhere = place / "other", tmp_path / "elsewhere"
    for folder in (other, elsewhere):
        folder.mkdir(parents=True)
        (folder / "file").write_text("kept")
    (elsewhere / "made-by-tfrepro-fleet.txt").touch()
    (place / "link").symlink_to(elsewhere)

    def script(*words: str) -> str:
        command = ["sh", str(ROOT / "bench" / "fleet" / "run-cells.sh"), *words]
        done = subprocess.run(
            command, env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 4, done
        return done.stderr

    for name in ("other", "link"):
        for action in (["receive", "pair"], ["start", "alpha", "0=pair"], ["report"], ["stop", "1"], ["remove"]):
            assert "was not made by tfrepro" in script(action[0], name, *action[1:])
    for name in ("..", "a/b", "-x", "", "a;b"):
        assert "invalid name" in script("remove", name)
    assert "invalid name" in script("fetch", "some", "../other")
    assert (other / "file").read_text() == (elsewhere / "file").read_text() == "kept"
