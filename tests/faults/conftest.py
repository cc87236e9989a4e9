"""A small checkout whose environment has a stand-in for TensorFlow, and what every fault test looks at afterwards."""

from __future__ import annotations

import base64
import compileall
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from bench.portable.lock import FileLock
from bench.store.run import Run, load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
MATRIX = """\
[defaults]
python = "{python}"
base = "python:3.11-slim-bookworm"

[[pairs]]
tensorflow = "2.18.1"
cuda = "cpu"
keras = "3.15.1"

{others}
[profiles.quick]
rounds = 2
repetitions = 2
time_limit_s = 4
overhead_pairs = 0
noise_floor_pairs = 0
variations = ["default"]
"""
OTHER = """\
[[pairs]]
tensorflow = "{release}"
cuda = "cpu"
keras = "3.15.1"
profiles = []

"""
RELEASES = ("2.16.2", "2.17.1", "2.19.1", "2.20.0", "2.21.0")
HEAD = """\
import ctypes, os, resource, shutil, signal, subprocess, sys, time
import numpy as np
from bench.suite.kernels import kernel

def declare(function):
    kernel(family="own", exercises="a fault", shapes="[2]", dtypes="float64", source="own")(function)

def constant(tf, seed):
    return {"x": tf.constant([float(seed), 1.0])}

@declare
def sound(tf, seed):
    return lambda: constant(tf, seed)
"""
KERNEL = """
@declare
def {name}(tf, seed):
    def work():
        {code}
        return constant(tf, seed)
    return work
"""


def wheel(folder: Path, name: str, version: str, files: Mapping[str, str]) -> str:
    """Write a wheel and return the line of a lock that pins it."""
    module, info = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    texts = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {path: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()) for path, text in texts.items()}
    rows = [f"{path},sha256={digests[path].rstrip(b'=').decode()},{len(texts[path].encode())}" for path in texts]
    target = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for path, text in {**texts, f"{info}/RECORD": "\n".join([*rows, f"{info}/RECORD,,", ""])}.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(target.read_bytes()).hexdigest()}\n"


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    def __post_init__(self) -> None:
        assert "Traceback" not in self.err, self.err
        assert "internal error" not in self.err, self.err


@dataclass
class Checkout:
    """Runs commands of a small checkout in real processes; ``folder`` is that of one test.

    ``python`` runs them, and ``options`` are those of each process (``user`` and the like).
    """

    root: Path
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def reports(self) -> Path:
        return self.folder / "reports"

    def kernels(self, **codes: str) -> Path:
        """Write a kernel file: ``sound``, which has no fault, and one kernel for each line of code."""
        text = HEAD + "".join(KERNEL.format(name=name, code=code) for name, code in codes.items())
        path = self.folder / "own.py"
        path.write_text(text, encoding="utf-8")
        return path

    def arguments(self, *more: str, codes: Mapping[str, str] | None = None) -> list[str]:
        """Return the words of a short run; ``codes`` as in ``kernels``."""
        file = self.kernels(**(codes or {}))
        words = ["matrix", "--engine", "venv", "--profile", "quick", "--env", "tf2.18*", "--fail-on", "none"]
        names = ",".join(["sound", *(codes or {})])
        words += [
            "--allow-root-kernels",
            "--kernels",
            names,
            "--kernel-file",
            str(file),
            "--mode",
            "off",
            "--timing-pairs",
            "0",
            "--rounds",
            "1",
        ]
        return [*words, "--reports", str(self.reports), *more]

    def builtin(self, *more: str) -> list[str]:
        """Return the words of a run without custom kernels, which reads no declarations before it begins."""
        words = ["matrix", "--engine", "venv", "--profile", "quick", "--env", "tf2.18*", "--fail-on", "none"]
        words += ["--kernels", "control_integer", "--mode", "off", "--timing-pairs", "0", "--rounds", "1"]
        return [*words, "--reports", str(self.reports), *more]

    def variables(self, **more: str) -> dict[str, str]:
        return {**os.environ, **self.environment, **more}

    def start(self, *words: str, prefix: tuple[str, ...] = (), **options: Any) -> subprocess.Popen[str]:
        """Start a command in a process group of its own."""
        facts: dict[str, Any] = {
            "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "errors": "replace",
            "env": self.variables(), "start_new_session": True, **self.options, **options,
        }  # fmt: skip
        command = [*prefix, self.python, "-m", "bench", *words]
        return subprocess.Popen(command, cwd=self.root, **facts)

    def run(self, *words: str, timeout: float = 240.0, **options: Any) -> Done:
        """Run a command to its end."""
        with self.start(*words, **options) as child:
            try:
                out, err = child.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                pytest.fail(f"it has not ended after {timeout} s: {child.communicate()[1]}")
        return Done(child.returncode, out or "", err or "")

    def matrix(self, *more: str, codes: Mapping[str, str] | None = None, **options: Any) -> Done:
        """Run a short run to its end."""
        return self.run(*self.arguments(*more, codes=codes), **options)

    def kill(self, child: subprocess.Popen[str]) -> None:
        """Kill a command, which can then delete nothing; its drivers and workers must end by themselves."""
        child.kill()
        child.communicate()
        self.wait_for(lambda: not self.processes(), "processes outlived the command", 20)
        for left in (*(self.folder / "tmp").iterdir(), *self.folder.rglob(".*.part")):
            assert "tfrepro-" in left.name or left.suffix == ".part"
            shutil.rmtree(left) if left.is_dir() else left.unlink()

    def runs(self) -> list[Path]:
        return sorted((self.reports / "runs").glob("2*"))

    def wait_for_runs(self, number: int) -> None:
        """Wait until so many runs have begun."""
        self.wait_for(lambda: len(self.runs()) >= number, "no run", 60)

    def newest(self) -> Run:
        return load(self.runs()[-1])

    def wait_for(
        self, condition: Callable[[], object], what: str, limit_s: float = 30.0, every_s: float = 0.02
    ) -> None:
        """Wait until a condition holds; one that starts a process is asked seldom, or it takes a core."""
        end = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < end, what
            time.sleep(every_s)

    def records(self) -> list[Path]:
        return sorted(self.reports.glob("runs/*/records/*/*/*.jsonl.xz"))

    def processes(self) -> list[str]:
        """Return the command lines of the processes that runs of this test have left."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                words = process.cmdline()
                ours = (self.environment["FAULT_TEST"], self.environment["XDG_CACHE_HOME"])
                named = process.pid != os.getpid() and any(place in word for word in words for place in ours)
                if named or (process.environ().get("FAULT_TEST") == self.environment["FAULT_TEST"] and words):
                    found.append(" ".join(words))
        return found


def outcomes(run: Run) -> dict[str, set[str]]:
    """Return how each custom kernel ended, in all rounds."""
    found: dict[str, set[str]] = {}
    for record in run.records.values():
        for outcome in record.outcomes:
            if not outcome.kernel.startswith("control"):
                found.setdefault(outcome.kernel, set()).add(outcome.outcome)
    return found


@pytest.fixture(scope="session")
def small_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with the locks of the stand-in."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "bench", root / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    # other measurements on this host must not hold up these runs
    _replace(
        root / "bench/portable/lock.py", 'HOST_LOCK_FOLDER = Path("/tmp")',
        'HOST_LOCK_FOLDER = Path(os.environ["FAULT_TEST"])',
    )  # fmt: skip
    # limits that are minutes or hours, so that faults which reach them do not take that long
    _replace(root / "bench/engines/install_errors.py", "LIMIT_S = 2 * 3600.0", "LIMIT_S = 30.0")
    # compiling NumPy takes longer than all rounds of a test
    for name in ("bench/engines/venv.py", "bench/portable/bundle_install.py"):
        _replace(root / name, ', "--compile-bytecode"', "")
    # a cluster is asked, and records are copied, often enough for short cells
    _replace(root / "bench/cli/fleet.py", "POLL_S = 20.0", "POLL_S = 1.0")
    _replace(root / "bench/cli/fleet.py", "CONFIRM_S = 60.0", "CONFIRM_S = 1.0")
    _replace(root / "bench/fleet/node.py", "COPY_EVERY_S = 30.0", "COPY_EVERY_S = 1.0")
    _replace(
        root / "bench/fleet/node.py",
        "LAST_COPY_S, LAST_COPY_STOPPED_S = 600.0",
        "LAST_COPY_S, LAST_COPY_STOPPED_S = 4.0",
    )
    limit = "max(request.time_limit_s, START_LIMIT_S) + END_LIMIT_S + _MARGIN_S"
    _replace(root / "bench/portable/session.py", limit, "25.0")
    compileall.compile_dir(root / "bench", quiet=1)
    (root / "docker" / "locks").mkdir(parents=True)
    shutil.copy(ROOT / "docker" / "Dockerfile", root / "docker")
    (root / "wheels").mkdir()
    module = (Path(__file__).with_name("small_tensorflow.py")).read_text(encoding="utf-8")
    keras = wheel(root / "wheels", "keras", "3.15.1", {"keras.py": ""})
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    (root / "matrix.toml").write_text(
        MATRIX.format(python=python, others="".join(OTHER.format(release=one) for one in RELEASES)), encoding="utf-8"
    )
    numpy = numpy_pin()
    for release in ("2.18.1", *RELEASES):
        files = {"tensorflow/__init__.py": module.replace("2.18.1", release)}
        lock = numpy + keras + wheel(root / "wheels", "tensorflow-cpu", release, files)
        name = f"tf{release}-cpu-py{python.replace('.', '')}.txt"
        (root / "docker" / "locks" / name).write_text(lock, encoding="utf-8")
    return root


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def numpy_pin() -> str:
    """Return the pin of NumPy in a shipped lock."""
    text = (ROOT / "docker" / "locks" / "tf2.18.1-cpu-py311.txt").read_text(encoding="utf-8")
    lines = text[text.index("\nnumpy==") + 1 :].splitlines(keepends=True)
    end = next(number for number, line in enumerate(lines) if number and not line.startswith(" "))
    return "".join(lines[:end])


@pytest.fixture(scope="session")
def cache(small_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of the tool of its own, so that no test touches the environments of users, with the environment."""
    made = tmp_path_factory.mktemp("cache")
    with checking(small_root, made, tmp_path_factory.mktemp("first")) as checkout:
        done = checkout.run(*checkout.builtin())
        assert done.code == 0, done.err
    # what workers import; their own processes write no bytecode, and would compile it again each time
    (python,) = made.glob("tfrepro/venvs/*/bin/python")
    subprocess.run([python, "-c", "import numpy, tensorflow"], check=True, timeout=120, env={})
    return made


@contextmanager
def checking(small_root: Path, cache: Path, folder: Path) -> Iterator[Checkout]:
    """Yield a checkout, and fail if its runs left a process, a temporary or partial file, or a lock that is held."""
    temporary = folder / "tmp"
    temporary.mkdir()
    uv_cache = os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache" / "uv")
    given = {
        "XDG_CACHE_HOME": str(cache), "UV_CACHE_DIR": uv_cache, "UV_FIND_LINKS": str(small_root / "wheels"),
        "TMPDIR": str(temporary), "FAULT_TEST": str(folder),
    }  # fmt: skip
    made = Checkout(small_root, folder, given)
    yield made
    made.wait_for(lambda: not made.processes(), "processes were left running", 15)
    assert not list(temporary.iterdir()), "temporary files were left"
    assert not list(folder.rglob(".*.part")), "a partial file was left"
    for lock in (*folder.rglob(".lock"), *folder.glob("*.lock")):
        if lock.is_file() and not lock.is_symlink():
            with FileLock(lock):
                assert lock.read_text(encoding="utf-8")


@pytest.fixture
def checkout(small_root: Path, cache: Path, tmp_path: Path) -> Iterator[Checkout]:
    """A small checkout for one test, which checks at the end that nothing was left behind."""
    with checking(small_root, cache, tmp_path) as made:
        yield made
