"""Real environments, installed once from the shipped locks into the user's cache, and a real browser offline."""

from __future__ import annotations

import dataclasses
import os
import shutil
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from bench.engines.venv import VenvEngine
from bench.plan import config, custom_kernels, locks, planner
from bench.plan.planner import Selection
from bench.suite import record
from bench.suite.kernel_files import read_source, stage
from bench.suite.kernels import all_kernels
from bench.suite.record import Record, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from bench.engines.base import Engine, Environment
    from bench.plan.column import Column


#: The release that most tests use, those that do not test differences between releases.
RELEASE = "2.18.1"
RELEASES = ("2.15.1", RELEASE, "2.21.0")


def column_of(root: Path, release: str = RELEASE) -> Column:
    """Return the shipped CPU column of a release."""
    matrix = config.load(root / "matrix.toml")
    selection = Selection(only=(f"tf{release}-cpu",))
    return planner.make(matrix, "quick", selection, root / "docker" / "locks", custom_kernels.suite([])).columns[0]


@dataclass
class Bench:
    """Runs requests in one column and parses their records; its environment is installed and verified once.

    ``kernel_files`` maps the name of the kernel file, if there is one, to its text; ``lines`` are those of the last
    record.
    """

    engine: Engine
    column: Column
    folder: Path
    kernel_files: Mapping[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    @cached_property
    def environment(self) -> Environment:
        """The prepared environment of the column."""
        return self.engine.prepare(self.column, self.folder / "build.log", lambda _: None)

    def run(
        self, kernels: Sequence[str], *, repetitions: int = 2, heavy_repetitions: int = 1, **changes: Any
    ) -> Record:
        """Run one round; ``changes`` override fields of the request."""
        suite = all_kernels()
        heavy = {name for name in kernels if name in suite and suite[name].heavy}
        facts: dict[str, Any] = {
            "column": self.column.id,
            "mode": "off",
            "variation": "default",
            "round": 1,
            "kernels": tuple(kernels),
            "repetitions": {name: heavy_repetitions if name in heavy else repetitions for name in kernels},
            "kernel_files": self.kernel_files,
            "expect": locks.expected(self.column.lock),
        }
        self.lines = []
        request = Request(**{**facts, **changes})
        request = dataclasses.replace(request, kernel_files=self.stage(request.kernel_files, request.kernels))
        self.engine.execute(self.environment, request, self.lines.append, self.folder / "round.log")
        return record.parse(self.lines)

    def with_kernel_file(self, name: str, text: str) -> Bench:
        """Return the same environment, which is not verified again, with a custom kernel file."""
        bench = Bench(self.engine, self.column, self.folder, kernel_files={name: text})
        bench.environment = self.environment
        return bench

    def stage(self, texts: Mapping[str, str], kernels: Sequence[str]) -> dict[str, str]:
        """Copy the kernel file to where the engine gets it from; return custom kernel -> ``HASH/name.py``."""
        suite, paths = all_kernels(), dict[str, str]()
        for name, text in texts.items():
            file = self.folder / "kernel-files" / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
            source = read_source(file)
            stage(source, self.engine.kernel_store)
            paths |= {kernel: f"{source.hash}/{name}" for kernel in kernels if kernel not in suite}
        return paths


@pytest.fixture(scope="session")
def benches(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    """The shipped suite in a virtual environment of each release."""
    engine, folder = VenvEngine(root), tmp_path_factory.mktemp("benches")
    return {release: Bench(engine, column_of(root, release), folder) for release in RELEASES}


@pytest.fixture(scope="session")
def bench(benches: dict[str, Bench]) -> Bench:
    """The environment for tests that do not depend on the release."""
    return benches[RELEASE]


@pytest.fixture(scope="session")
def planted(bench: Bench) -> Bench:
    """The same environment with misbehaving kernels, which are added like custom kernels."""
    return bench.with_kernel_file("planted.py", PLANTED)


#: Options of a browser that needs no display and makes no network requests of its own.
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    path = os.environ.get("TFREPRO_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on the PATH; TFREPRO_CHROMIUM may name one")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Open a page from a file; fails at the end if it made a network request or logged to the console."""
    contexts: list[Any] = []
    requested: list[str] = []
    logged: list[str] = []

    def go(text: str, fragment: str = "", **options: Any) -> Page:
        file = tmp_path / "index.html"
        file.write_text(text, encoding="utf-8")
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requested.append(request.url))
        page.on("console", lambda message: logged.append(message.text))
        page.on("pageerror", lambda error: logged.append(str(error)))
        page.on("dialog", lambda dialog: logged.append(dialog.message))
        page.goto(file.as_uri() + fragment)
        return page

    yield go
    for context in contexts:
        context.close()
    assert {url for url in requested if not url.startswith(("file:", "data:"))} == set()
    assert len([url for url in requested if url.startswith("file:")]) == len(contexts)
    assert logged == []


PLANTED = '''
import os, threading, time
import numpy as np
from bench.suite.kernels import Traced, kernel, stream

calls = {"steps": 0, "late": 0}

def plant(again=False, **facts):
    given = dict(family="planted", exercises="x", shapes="x", dtypes="x", source="planted", call_again=again)
    return kernel(**{**given, **facts})

@plant()
def planted_abort(tf, seed):
    return lambda: os.abort()

@plant()
def planted_hang(tf, seed):
    return lambda: time.sleep(3600)

@plant()
def planted_unimplemented(tf, seed):
    def work():
        raise tf.errors.UnimplementedError(None, None, "A deterministic GPU implementation of X is not available.")
    return work

@plant(reference=lambda seed: {"x": np.ones(2)})
def planted_nan(tf, seed):
    return lambda: {"x": tf.constant([float("nan"), 1.0 + seed])}

@plant()
def planted_switch(tf, seed):
    def work():
        tf.config.experimental.enable_op_determinism()
        return {"x": tf.constant([float(seed)])}
    return work

@plant()
def planted_leak(tf, seed):
    def work():
        tf.config.run_functions_eagerly(True)
        return {"x": tf.constant([float(seed)])}
    return work

@plant()
def planted_shared_memory(tf, seed):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    def work():  # the first process creates System V shared memory with a random number, and later ones read it
        segment = libc.shmget(0x7F5EED, 8, 0o1600)
        address = libc.shmat(segment, None, 0)
        number = ctypes.c_double.from_address(address)
        if not number.value:
            number.value = np.random.default_rng().random()
        return {"x": tf.constant([number.value + seed], tf.float64)}
    return work

def constant(tf, seed):
    return {"x": tf.constant([float(seed)])}

def act(function):
    """Plant a kernel that calls a function and returns a constant."""
    def planted(tf, seed):
        def work():
            function(tf)
            return constant(tf, seed)
        return work
    planted.__name__ = function.__name__
    plant()(planted)

@act
def planted_debug_mode(tf):
    tf.data.experimental.enable_debug_mode()

@act
def planted_thread(tf):
    threading.Thread(target=time.sleep, args=(3600,)).start()

BUFFER = None

@plant()
def planted_buffer(tf, seed):
    """An array of its own, refilled in every call."""
    global BUFFER
    if BUFFER is None:
        import numpy
        BUFFER = numpy.zeros(8)
    def work():
        BUFFER[:] = BUFFER + seed
        return {"x": BUFFER}
    return work

@plant()
def planted_slow(tf, seed):
    def work():
        time.sleep(0.4)
        return {"x": tf.constant([float(seed)])}
    return work

@plant()
def planted_resource(tf, seed):
    def work():
        raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
    return work

@plant()
def planted_steps(tf, seed):
    """From its second call on, one element of the second step's gradient is one unit greater."""
    def work():
        gradient = stream(seed).standard_normal((2, 3)).astype("float32")
        steps = [{"loss": tf.constant(float(seed)), "gradient": tf.constant(gradient)}]
        if calls["steps"]:
            gradient[1, 2] = np.nextafter(gradient[1, 2], np.float32(99))
        calls["steps"] += 1
        steps.append({"loss": tf.constant(float(seed)), "gradient": tf.constant(gradient)})
        return Traced({"weight": tf.constant(float(seed))}, steps)
    return work

@plant()
def planted_constant(tf, seed):
    return lambda: {"x": tf.constant([1.0]), "y": tf.constant([float(seed)])}

@plant(again=True)
def planted_late(tf, seed):
    """One call of them all differs: the second of the last of two repetitions."""
    def work():
        calls["late"] += 1
        return {"x": tf.constant([float(seed) + (calls["late"] == 3)])}
    return work

@plant(again=True)
def planted_again(tf, seed):
    return lambda: {"x": tf.constant([float(seed)])}

@plant()
def planted_traced(tf, seed):
    """AutoGraph reads the source of the function, which lies in no file of the column."""
    @tf.function
    def halve(x):
        while tf.reduce_sum(x) > 1.0:
            x = x / 2.0
        return x
    return lambda: {"x": halve(tf.constant([float(seed), 3.0]))}
'''
