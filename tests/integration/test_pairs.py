"""Timing pairs with real TensorFlow: in virtual environments and in containers."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from bench.engines.docker import DockerEngine
from bench.engines.venv import VenvEngine
from bench.errors import EngineError
from bench.plan import custom_kernels
from bench.plan.schedule import TimingPair
from bench.run import pairs
from bench.run.progress import PlainView
from bench.run.rounds import Setting
from bench.store.run_folder import RunFolder
from bench.suite import paired_record
from bench.suite.kernel_files import read_source
from bench.suite.kernel_files import stage as stage_files
from bench.suite.suite_hash import suite_hash
from tests.integration.conftest import RELEASE, column_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.engines.base import Engine, Environment
    from bench.plan.custom_kernels import Suite
    from bench.portable.session import Session
    from bench.suite.paired_record import PairedKernel, PairedRecord

pytestmark = pytest.mark.tensorflow

OLD = "2.15.1"
SUITE = custom_kernels.suite([])
#: Kernels that behave badly where determinism is on, which makes them fail on side "b" of an overhead.
PLANTED = """
import os, sys, time
from bench.suite.kernels import kernel

def planted(again=True):
    return kernel(family="planted", exercises="x", shapes="x", dtypes="x", source="planted", call_again=again)

def on():
    from tensorflow.python.framework import config
    return config.is_op_determinism_enabled()

def before_tensorflow(tf):
    tf.config.threading.set_intra_op_parallelism_threads(1)

@planted()
def planted_abort(tf, seed):
    return lambda: os.abort() if on() else {"x": tf.constant(1.0)}

@planted()
def planted_hang(tf, seed):
    return lambda: time.sleep(3600) if on() else {"x": tf.constant(1.0)}

@planted()
def planted_error(tf, seed):
    return lambda: {"x": tf.constant([1.0, 2.0]) + tf.constant([1.0, 2.0, 3.0])}

@planted()
def planted_noise(tf, seed):
    def work():
        print('{"line": "block"}', flush=True)
        os.write(1, b"raw words\\\\n")
        assert sys.stdin.read() == ""
        assert os.read(0, 10) == b""
        time.sleep(0.02 if on() else 0.01)
        return {"x": tf.constant(1.0)}
    return work

@planted(again=False)
def planted_once(tf, seed):
    model = tf.keras.Sequential([tf.keras.layers.Input((4,)), tf.keras.layers.Dense(4)])
    def work():
        model.compile(optimizer="sgd", loss="mse")
        x = tf.random.normal((16, 4))
        model.fit(x, x, verbose=0)
        return {"w": model.layers[-1].kernel}
    return work

@planted()
def planted_switch(tf, seed):
    def work():
        tf.config.experimental.enable_op_determinism()
        return {"x": tf.constant(1.0)}
    return work
"""


@dataclass
class Stage:
    """Measures pairs in the columns of an engine, as a run does."""

    engine: Engine
    root: Path
    folder: RunFolder
    environments: dict[str, Environment] = field(default_factory=dict)

    def pair(self, *kernels: str, comparison: str = "overhead", old: str = RELEASE, **changes: Any) -> TimingPair:
        new, other = column_of(self.root), column_of(self.root, old)
        facts: dict[str, Any] = {
            "column": new, "other": other, "comparison": comparison, "number": 1, "planned": 1, "kernels": kernels,
            "first": "a", "seed": 42, "order_seed": 1, "time_limit_s": 60.0, "budget_s": 0.05, "gpu": {},
        }  # fmt: skip
        for column in (new, other):
            if column.id not in self.environments:
                log = self.folder.log_path(column.id, "build")
                self.environments[column.id] = self.engine.prepare(column, log, lambda _: None)
        return TimingPair(**{**facts, **changes})

    def setting(self) -> Setting:
        return Setting(
            engine=self.engine, folder=self.folder, view=PlainView(Console(file=io.StringIO())),
            suite=suite_hash(self.root), wants=lambda *_: False,
            watching=lambda _: nullcontext(), stopped=lambda: False,  # type: ignore[arg-type, return-value]
        )  # fmt: skip

    def suite(self, kernels: Sequence[str]) -> Suite:
        """The suite with those of the kernels that are planted, whose file is where the engine gets it from."""
        file = self.folder.path / "planted.py"
        file.write_text(PLANTED, encoding="utf-8")
        source = read_source(file)
        stage_files(source, self.engine.kernel_store)
        own = [name for name in kernels if name.startswith("planted")]
        planted = {
            name: replace(SUITE.kernels["matmul_f32"], name=name, file=file.name, code_hash=source.hash) for name in own
        }
        return replace(SUITE, kernels={**SUITE.kernels, **planted})

    def run(self, pair: TimingPair) -> PairedRecord:
        requests = pair.requests(self.suite(pair.kernels))
        assert pairs.measure_pair(self.setting(), self.environments, pair, requests) == ""
        return paired_record.read(self.folder.pair_path(pair.column.id, pair.name))


@pytest.fixture(scope="module")
def venvs(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(VenvEngine(root), root, RunFolder.create(tmp_path_factory.mktemp("venvs")))


@pytest.fixture(scope="module")
def containers(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    engine = DockerEngine(root)
    yield Stage(engine, root, RunFolder.create(tmp_path_factory.mktemp("containers")))
    engine.close()


@pytest.fixture
def venv(venvs: Stage, tmp_path: Path) -> Stage:
    """A stage for one test, whose environments are prepared once for all of them."""
    return replace(venvs, folder=RunFolder.create(tmp_path))


@pytest.fixture
def docker(containers: Stage, tmp_path: Path) -> Stage:
    """The same in containers."""
    return replace(containers, folder=RunFolder.create(tmp_path))


@pytest.fixture(params=["venv", pytest.param("docker", marks=pytest.mark.docker)])
def stage(request: pytest.FixtureRequest) -> Stage:
    result: Stage = request.getfixturevalue(request.param)
    return result


def by_name(record: PairedRecord) -> dict[str, PairedKernel]:
    return {kernel.kernel: kernel for kernel in record.kernels}


def check_blocks(kernel: PairedKernel) -> None:
    assert (kernel.outcome, kernel.message) == ("ok", "")
    names = [block.side for block in kernel.blocks]
    assert names.count("a") == names.count("b") >= (1 if kernel.kind == "first" else 2)
    assert set(kernel.first_seconds) == {"a", "b"}
    for block in kernel.blocks:
        assert len(block.seconds) == len(block.cpu_seconds) >= 1
        assert min(block.seconds) > 0


def test_an_overhead_is_measured_off_against_on(stage: Stage) -> None:
    record = stage.run(stage.pair("reduce_sum_1d", "planted_noise", "planted_once"))
    assert record.complete
    assert [record.requests[side].mode for side in "ab"] == ["off", "on"]
    assert [process.side for process in record.processes] == ["a", "b"] * 3, "custom kernels get processes of their own"
    for process in record.processes:
        assert process.settings["determinism_enabled"] is (process.side == "b")
        assert process.provenance["tensorflow"] == RELEASE
        assert process.libraries
    custom = [process for process in record.processes if process.settings.get("kernel_files")]
    assert custom == list(record.processes[2:]), "a custom file is loaded for its own kernels alone"
    assert {process.settings["intra_op_threads"] for process in custom} == {1}, "its hook was called"
    kernels = by_name(record)
    for kernel in kernels.values():
        check_blocks(kernel)
    assert {name: kernel.kind for name, kernel in kernels.items() if kernel.kind == "first"} == {
        "planted_once": "first"
    }
    fastest = {side: min(min(b.seconds) for b in kernels["planted_noise"].blocks if b.side == side) for side in "ab"}
    assert 1.5 < fastest["b"] / fastest["a"] < 2.5, "it sleeps twice as long with determinism on"


def test_the_noise_floor_is_measured_off_against_off(venv: Stage) -> None:
    record = venv.run(venv.pair("reduce_sum_1d", comparison="noise-floor", first="b"))
    assert {process.settings["determinism_enabled"] for process in record.processes} == {False}
    assert record.started_first == "b"
    check_blocks(record.kernels[0])


def test_an_upgrade_is_measured_in_two_environments(stage: Stage) -> None:
    pair = stage.pair("reduce_sum_1d", "mlp_loop", comparison="upgrade", old=OLD)
    record = stage.run(pair)
    versions = {process.side: process.provenance["tensorflow"] for process in record.processes}
    assert versions == {"a": OLD, "b": RELEASE}
    assert [record.requests[side].column for side in "ab"] == [pair.other.id, pair.column.id]
    for kernel in record.kernels:
        check_blocks(kernel)
    assert pair.name == f"upgrade-from-{pair.other.id}-001"


def test_what_fails_costs_its_kernel_and_no_other(stage: Stage) -> None:
    record = stage.run(stage.pair("planted_abort", "planted_hang", "planted_error", "reduce_sum_1d", time_limit_s=8.0))
    kernels = by_name(record)
    assert record.complete
    assert {name: kernel.outcome for name, kernel in kernels.items()} == {
        "planted_abort": "crashed", "planted_hang": "timeout", "planted_error": "error", "reduce_sum_1d": "ok",
    }  # fmt: skip
    assert "side b: " in kernels["planted_abort"].message
    assert kernels["planted_hang"].message == "side b exceeded the limit of 8 s"
    assert "InvalidArgumentError" in kernels["planted_error"].message
    assert kernels["planted_error"].message.endswith("(planted.py, line 25)")


def test_a_kernel_that_switches_determinism_is_a_mismatch(venv: Stage) -> None:
    record = venv.run(venv.pair("planted_switch", comparison="noise-floor"))
    assert record.kernels[0].outcome == "mismatch"
    assert "switched determinism" in record.kernels[0].message


def test_settings_that_need_a_new_process_are_made(venv: Stage) -> None:
    """TensorFlow reads some variables when it is loaded."""
    pair = venv.pair("reduce_sum_1d")
    requests = {
        side: replace(request, env={"TF_ENABLE_ONEDNN_OPTS": "0"}, switch="env", threads=1)
        for side, request in pair.requests(SUITE).items()
    }
    pairs.measure_pair(venv.setting(), venv.environments, pair, requests)
    record = paired_record.read(venv.folder.pair_path(pair.column.id, pair.name))
    assert record.kernels[0].outcome == "ok"
    for process in record.processes:
        assert process.settings["onednn"] == "off"
        assert process.settings["intra_op_threads"] == 1
        assert process.settings["determinism_enabled"] is (process.side == "b")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_the_idle_side_uses_no_cpu(venv: Stage, tmp_path: Path) -> None:
    pair = venv.pair("matmul_f32", "sparse_xent")
    request = pair.requests(SUITE)["a"]
    with venv.engine.open_session(venv.environments[request.column], request, tmp_path / "log") as session:
        process = session.read(120)
        assert process
        pid = json.loads(process)["pid"]
        for kernel in pair.kernels:
            session.send(f'{{"do": "prepare", "kernel": "{kernel}", "warm_up_s": 0.1}}\n')
            assert '"prepared"' in (session.read(60) or "")
        time.sleep(1)  # threads of the pool look for work a little longer
        before = cpu_seconds(pid)
        time.sleep(5)
        assert cpu_seconds(pid) - before < 0.05


@pytest.mark.docker
@pytest.mark.parametrize("stage", ["docker"], indirect=True)
def test_both_containers_of_a_pair_are_hardened_alike(stage: Stage, tmp_path: Path) -> None:
    pair, engine = stage.pair("reduce_sum_1d"), stage.engine
    assert isinstance(engine, DockerEngine)
    with ExitStack() as stack:
        for side, request in pair.requests(SUITE).items():
            environment = stage.environments[request.column]
            session = stack.enter_context(engine.open_session(environment, request, tmp_path / side))
            assert '"process"' in (session.read(120) or "")
        client = engine._client
        found = [client.containers.get(name).attrs["HostConfig"] for name in sorted(engine._running)]
        first, second = [{key: value for key, value in config.items() if key != "ContainerIDFile"} for config in found]
        assert first == second
        assert first["NetworkMode"] == "none"
        assert first["ReadonlyRootfs"]
        assert first["CapDrop"] == ["ALL"]
        assert first["CpusetCpus"] == ""
        assert 2 * first["Memory"] <= engine._memory
    assert not engine._running


@pytest.mark.docker
@pytest.mark.parametrize("stage", ["docker"], indirect=True)
def test_halting_ends_a_pair_in_containers(stage: Stage, root: Path, tmp_path: Path) -> None:
    engine = DockerEngine(root)
    own = replace(stage, engine=engine, environments={})  # an engine that was halted starts nothing any more
    pair = own.pair("reduce_sum_1d")
    request = pair.requests(SUITE)["a"]
    with engine.open_session(own.environments[request.column], request, tmp_path / "log") as session:
        assert '"process"' in (session.read(120) or "")
        engine.halt()
        with pytest.raises(EngineError, match="vanished"):
            ended(session)
    engine.close()


def ended(session: Session) -> None:
    assert session.read(60) is None
    session.outcome()


def timing_workers(run: str) -> list[str]:
    """Return the processes of this host that time kernels of a run."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if "bench.suite.timing_start" in command and run in command:
            found.append(file.parent.name)
    return found


@pytest.mark.parametrize("engine", ["venv", pytest.param("docker", marks=pytest.mark.docker)])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_during_a_pair_leaves_no_process_behind(
    root: Path, tmp_path: Path, engine: str, how: signal.Signals
) -> None:
    command = [
        *(sys.executable, "-m", "bench", "matrix", "--engine", engine, "--reports", str(tmp_path)),
        *("--kernels", "reduce_sum_1d,conv*", "--profile", "quick", "--rounds", "1", "--repetitions", "1"),
        *("--env", "tf2.18*", "--variation", "default", "--mode", "both"),
    ]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
        deadline = time.monotonic() + 240
        while not any(part.read_bytes().count(b'"process"') > 1 for part in tmp_path.glob("runs/*/paired/*/*.part")):
            assert run.poll() is None, run.stderr.read() if run.stderr else ""
            assert time.monotonic() < deadline
            time.sleep(0.1)
        name = next(tmp_path.glob("runs/*")).name
        assert len(timing_workers(name)) >= 2
        run.send_signal(how)
        run.communicate(timeout=60)
    assert run.returncode == (130 if how == signal.SIGTERM else -signal.SIGKILL)
    for _ in range(300):  # after SIGKILL the workers end when they see that their standard input was closed
        if not timing_workers(name):
            return
        time.sleep(0.1)
    pytest.fail("timing workers are left")
