"""Two users of one cluster at the same time: each gets what is theirs, and cannot touch what is the other's."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uv

from bench import errors
from bench.store.run import load
from tests.faults.conftest import checking, outcomes
from tests.faults.test_fleet import LOG, TWO_MODELS, Fleet
from tests.integration.slurm_cluster import Node, SlurmCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes of other users"),
]

#: Users that every Debian system has, with the umask of each: one lets others read the files, one does not.
OPEN, PRIVATE, STRANGER = "games", "news", "lp"
UMASKS = {OPEN: 0o022, PRIVATE: 0o077}
#: One node, so that both users measure on one host at the same time.
NODES = {"a1": Node("a100", 2)}
ONE_MODEL = TWO_MODELS.replace('[[fleet.gpus]]\ngpu = "h100"\n', "")
ROUNDS = 2
LOCK = "tfrepro-measuring-cpu.lock"
#: Measures, as far as others can see, until its standard input is closed.
MEASURE = (
    "import sys\nfrom bench.portable.lock import measuring_lock\n"
    "with measuring_lock(print):\n print('measuring', flush=True)\n sys.stdin.read()\n"
)


def of_user(name: str) -> dict[str, Any]:
    """Return the options of a process of a user."""
    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": (), "umask": UMASKS[name]}


def give(folder: Path, name: str) -> None:
    """Make a user the owner of a folder and of everything in it."""
    user = pwd.getpwnam(name)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


def link_or_copy(source: str, target: str) -> None:
    """Link a file, or copy it to another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def python_for_every_user() -> str:
    """Return an interpreter of this version that every user can run; that of the tests is often in the home of root."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (sys.executable, f"/usr/bin/{version}"):
        with suppress(OSError):
            if subprocess.run([path, "-c", ""], check=False, env={}, cwd="/", **of_user(OPEN)).returncode == 0:
                return path
    why = f"no {version} that other users can run"
    return pytest.fail(why) if "TFREPRO_REQUIRE_SLURM" in os.environ else pytest.skip(why)


class Site:
    """What two users share: a folder with checkout and packages, one folder for temporary files, and a cluster."""

    def __init__(self, folder: Path, small_root: Path) -> None:
        """Copy checkout and packages, and measure once as root, which makes the environment that users get."""
        self.folder = folder
        self.python = python_for_every_user()
        self.temporary = folder / "tmp"
        folder.chmod(0o755)
        self.temporary.mkdir()
        self.temporary.chmod(0o1777)
        shutil.copytree(small_root, folder / "checkout").chmod(0o755)
        packages = folder / "packages"
        left_out = shutil.ignore_patterns("tests", "pandas", "playwright", "mypy*", "pip", "*-stubs")  # not imported
        shutil.copytree(sysconfig.get_path("purelib"), packages, copy_function=link_or_copy, ignore=left_out)
        (packages / "bin").mkdir()
        link_or_copy(uv.find_uv_bin(), str(packages / "bin" / "uv"))
        (folder / "root").mkdir()
        with checking(folder / "checkout", folder / "root" / "cache", folder / "root") as first:
            places = f"{Path(self.python).parent}:/usr/bin:/bin"
            first.environment |= {
                "PYTHONPATH": str(packages), "PATH": places, "UV_PYTHON_PREFERENCE": "only-system",
            }  # fmt: skip
            first.python = self.python
            done = first.run(*first.builtin())
            assert done.code == 0, done.err

    @contextmanager
    def fleet(self, name: str, cluster: SlurmCluster) -> Iterator[Fleet]:
        """Yield the fleet commands of a user, whose home, cache and reports are in a folder of their own."""
        folder = self.folder / name
        environments = folder / "cache" / "tfrepro" / "venvs"
        environments.mkdir(parents=True)
        with checking(self.folder / "checkout", folder / "cache", folder) as checkout:
            checkout.environment |= {
                "HOME": str(folder), "UV_CACHE_DIR": str(folder / "uv"), "PYTHONPATH": str(self.folder / "packages"),
                "TMPDIR": str(self.temporary), "FAULT_TEST": str(self.temporary),
            }  # fmt: skip
            checkout.python, checkout.options = self.python, of_user(name)
            give(folder, name)
            (made,) = (self.folder / "root" / "cache" / "tfrepro" / "venvs").glob("*/")
            shutil.copytree(made, environments / made.name, symlinks=True, copy_function=link_or_copy)
            yield Fleet(checkout, cluster)

    @contextmanager
    def measurement(self, name: str) -> Iterator[None]:
        """Measure something as this user, without Slurm."""
        environment = {
            "PYTHONPATH": f"{self.folder}/checkout:{self.folder}/packages",
            "FAULT_TEST": str(self.temporary),
        }
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        command = [self.python, "-c", MEASURE]
        with subprocess.Popen(command, env=environment, cwd="/", **pipes, **of_user(name)) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "measuring\n"
            yield
            child.communicate()


@pytest.fixture
def site(small_root: Path) -> Iterator[Site]:
    """What two users share, in a folder that every user can reach; those of pytest are for root only."""
    with tempfile.TemporaryDirectory(prefix="tfrepro-users-") as folder:
        yield Site(Path(folder), small_root)


def together(commands: list[tuple[Fleet, list[str]]]) -> list[tuple[int, str]]:
    """Run commands of several users at the same time; returns the exit code of each and what it says of errors."""
    with ExitStack() as stack:
        children = [stack.enter_context(fleet.checkout.start(*words)) for fleet, words in commands]
        for child in children:
            stack.callback(child.kill)  # where another one does not end in time
        ends = [child.communicate(timeout=240)[1] for child in children]
        assert not any("internal error" in text or "Traceback" in text for text in ends), ends
        return [(child.returncode, text) for child, text in zip(children, ends, strict=True)]


def fleet_run(fleet: Fleet) -> str:
    """Return the folder of the only fleet run of a user."""
    (folder,) = (fleet.checkout.reports / "fleet").iterdir()
    return str(folder)


@pytest.mark.fault(
    "Two users measure on one cluster at the same time, and try to cancel and collect each other's cells",
    "Each gets all of their own results; what is the other's is refused, and goes on.",
)
def test_two_users_get_their_own_results_and_cannot_touch_the_others(site: Site) -> None:
    abandoned = site.temporary / "tfrepro-scratch-cell-abcdefgh"
    abandoned.mkdir(mode=0o700)
    give(abandoned, STRANGER)
    with SlurmCluster(site.folder, NODES) as cluster, ExitStack() as stack:
        fleets = {name: stack.enter_context(site.fleet(name, cluster)) for name in UMASKS}
        (first, second) = fleets.values()
        with site.measurement(PRIVATE):  # until it ends, no cell does, so that there is something to cancel
            submissions = [
                (one, one.words("--rounds", str(ROUNDS), text=ONE_MODEL, **{f"of_{name}": "pass"}))
                for name, one in fleets.items()
            ]
            assert [code for code, _ in together(submissions)] == [0, 0]
            tries = together(
                [(one, ["fleet", "cancel", fleet_run(other)]) for one, other in ((second, first), (first, second))]
            )
            assert [code for code, _ in tries] == [errors.ENGINE, errors.ENGINE], tries
            assert "Access/permission denied" in tries[0][1]
            assert "fleet.json cannot be read: Permission denied" in tries[1][1]
            first.checkout.wait_for(lambda: waiting(site) == 2, "not both cells wait for the measurement", 90, 0.2)
            assert len(cluster.run("squeue", "-h", "--states=running").stdout.splitlines()) == 2
        commands = [(one, ["--reports", str(one.checkout.reports)]) for one in fleets.values()]
        copy = second.checkout.folder / "copy"
        commands.append((second, [fleet_run(first), "--reports", str(copy)]))
        wait = ["--wait", "--fail-on", "none"]
        *ends, (code, says) = together([(one, ["fleet", "collect", *words, *wait]) for one, words in commands])
        assert [end for end, _ in ends] == [0, 0], ends
        assert (code, "collected.json cannot be written: Permission denied" in says) == (errors.ENGINE, True)
        assert not list(copy.glob("runs/*"))
        for name, one in fleets.items():
            assert_all_results_are_here(name, one)
        cluster.wait_until_idle(60)
    assert sorted(path.name for path in site.temporary.iterdir()) == [LOCK, abandoned.name]


def waiting(site: Site) -> int:
    """Return how many cells of both users wait until nobody else measures."""
    logs = [log.read_text("utf-8") for log in site.folder.glob(f"*/reports/{LOG}")]
    return sum("another run measures on this host" in log for log in logs)


def assert_all_results_are_here(name: str, fleet: Fleet) -> None:
    """All rounds of a user are in their only run, with their kernel and no other, and all files belong to them."""
    (place,) = fleet.checkout.runs()
    run = load(place)
    assert run.info.finished
    assert not [text for text in run.info.warnings if "stopped" in text or "left out" in text]
    assert [column.host for column in run.info.columns] == ["a1"]
    assert len(run.records) == ROUNDS
    assert outcomes(run) == {"sound": {"ok"}, f"of_{name}": {"ok"}}
    user = pwd.getpwnam(name).pw_uid
    assert {path.stat().st_uid for path in fleet.checkout.reports.rglob("*")} == {user}
