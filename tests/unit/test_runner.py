"""A run from plan to folder, with an engine that only says what a column would say."""

from __future__ import annotations

import dataclasses
import io
import json
import lzma
import signal
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console

from bench import host
from bench.cli import matrix
from bench.engines.base import Environment, Execution
from bench.errors import EngineError, NoGpuError, StorageError
from bench.gpu.facts import Gpu, GpuInventory
from bench.gpu.guard import GpuSample, Guard, UnavailableGpu
from bench.plan import custom_kernels, duration, planner
from bench.plan.config_models import Matrix
from bench.plan.devices import Devices
from bench.plan.planner import Selection
from bench.plan.schedule import TimingPair, ordered
from bench.portable.value_limits import kept_files
from bench.run import pairs, progress, rounds, runner, scheduler
from bench.store.run import Run, load
from bench.suite.kept_values import keep
from bench.suite.kernel_files import read_source
from bench.suite.record import SCHEMA, line
from bench.suite.suite_hash import ROOT, suite_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bench.plan.column import Column
    from bench.portable.session import Session
    from bench.run.scheduler import OnPass, PassProgress
    from bench.suite.record import Request

#: The fixture below replaces it.
PARALLEL_PROCESSES = host.parallel_processes

MINE = """\
from bench.suite.kernels import kernel
@kernel(family="own", exercises="x", shapes="x", dtypes="x", source="own")
def my_kernel(tf, seed):
    return lambda: {}
"""


def refuse(uuid: str) -> AbstractContextManager[Guard]:
    raise AssertionError(f"nobody times anything on {uuid}")


@dataclass
class Stage:
    """An engine whose columns say a whole round, or what ``script`` makes of its lines."""

    script: Callable[[Request, list[str]], list[str]] = lambda _, lines: lines
    bits: Callable[[Request, str], str] = lambda _, kernel: kernel
    exit: Execution = field(default_factory=lambda: Execution(exit_code=0))
    name: str = "stage"
    requests: list[Request] = field(default_factory=list)
    watching: Callable[[str], AbstractContextManager[Guard]] = refuse

    def host(self) -> Mapping[str, str]:
        return {}

    def describe(self) -> Mapping[str, str]:
        return {}

    def disk_need(self, columns: tuple[Column, ...]) -> tuple[Path, int]:
        return ROOT, 0

    def cached(self, column: Column) -> bool:
        return True

    def prepare(self, column: Column, log: Path, say: Callable[[str], None]) -> Environment:
        return Environment(column=column.id, identity="i", reused=True, seconds=0.0)

    def execute(
        self, environment: Environment, request: Request, on_line: Callable[[str], None], log: Path
    ) -> Execution:
        self.requests.append(request)
        for text in self.script(request, list(self.lines(request))):
            on_line(text)
        return self.exit

    def lines(self, request: Request) -> list[str]:
        head = {"schema": SCHEMA, "request": json.loads(request.to_json()), "suite_hash": suite_hash(ROOT)}
        said = [line("header", head)]
        said.append(line("process", {"process": 1, "pid": 1, "started": "", "provenance": {}, "settings": {}}))
        for name in request.kernels:
            bits = self.bits(request, name)
            of = {"process": 1, "kernel": name}
            row = keep("x", None, np.arange(3.0), bits, 128)
            said += [line("kernel", of), line("kept", {**of, "digest": bits, "tensors": [row]})]
            said += self.samples(request, of)
            said.append(line("outcome", {**of, "outcome": "ok", "seconds": 0.1}))
        return [*said, line("end", {"seconds": 1.0, "processes": 1})]

    def samples(self, request: Request, of: dict[str, Any]) -> list[str]:
        return []

    def open_session(self, environment: Environment, request: Request, log: Path) -> AbstractContextManager[Session]:
        raise AssertionError("this stage has no timing workers")

    @property
    def kernel_store(self) -> Path:
        return ROOT

    def run_python(self, *_: object) -> str:
        return ""

    def sweep(self) -> int:
        return 0

    def halt(self) -> None:
        raise AssertionError("one device is measured in the main thread, which an interrupt reaches by itself")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "measuring_lock", lambda *_: nullcontext())
    monkeypatch.setattr(host, "parallel_processes", lambda: 1)


@pytest.fixture
def go(tmp_path: Path) -> Callable[..., Run]:
    """Run a small matrix on a stage and read its folder."""

    def run(
        stage: Stage,
        *,
        suite: custom_kernels.Suite | None = None,
        reports: str = "reports",
        cuda: tuple[str, ...] = ("cpu",),
        devices: Devices = planner.CPU,
        on_pass: OnPass | None = None,
        **profile: Any,
    ) -> Run:
        untimed = {"overhead_pairs": 0, "noise_floor_pairs": 0}
        facts = {"rounds": 2, "repetitions": 3, "kernels": ["reduce_max", "mlp_loop"], **untimed, **profile}
        body = {
            "pairs": [{"tensorflow": "2.18.1", "cuda": one, "keras": "3.15.1"} for one in cuda],
            "profiles": {"p": facts},
            "variations": {"onednn=0": {"repetitions": 1}},
        }
        config = Matrix.model_validate(body, strict=False)
        plan = planner.make(
            config, "p", Selection(), ROOT / "docker" / "locks", suite or custom_kernels.suite([]), devices
        )
        job = runner.Job(
            plan=plan,
            engine=stage,
            engine_why="",
            root=ROOT,
            reports=tmp_path / reports,
            command="python -m bench",
            watching=stage.watching,
            on_pass=on_pass,
        )
        with progress.view() as view:
            return load(runner.run(job, view))

    return run


def test_a_request_has_everything_of_the_plan(go: Callable[..., Run]) -> None:
    stage = Stage()
    variations = ["default", "threads=3", "onednn=0", "tf32=off", "switch=env"]
    run = go(stage, heavy_repetitions=2, order_seed=7, variations=variations)
    assert run.info.finished
    assert len(run.records) == len(stage.requests) == 2 * 2 * 4, "no TF32 on a CPU"
    for request in stage.requests:
        assert request.second_seed is (request.round == 1 and request.variation == "default")
        assert request.order_seed == 7 + request.round
        wanted = (1, 1) if request.variation == "onednn=0" else (3, 2)
        assert (request.repetitions["reduce_max"], request.repetitions["mlp_loop"]) == wanted
        assert request.threads == (3 if request.variation == "threads=3" else None)
        assert request.env == ({"TF_ENABLE_ONEDNN_OPTS": "0"} if request.variation == "onednn=0" else {})
        assert request.switch == ("env" if request.variation == "switch=env" else "api")
        assert (request.tf32, request.kernel_files) == (None, {})
    assert {request.kernels for request in stage.requests if request.round == 1} != {
        request.kernels for request in stage.requests if request.round == 2
    }
    keys = {request.context["resume_key"] for request in stage.requests}
    assert len(keys) == len(stage.requests)


def test_custom_kernels_are_passed_on_and_are_part_of_the_resume_key(go: Callable[..., Run], tmp_path: Path) -> None:
    keys = set()
    for text in (MINE, MINE + "# edited\n"):
        (tmp_path / "mine.py").write_text(text, encoding="utf-8")
        (tmp_path / "broken.py").write_text("x =\n", encoding="utf-8")
        stage = Stage()
        mine, broken = (read_source(tmp_path / name) for name in ("mine.py", "broken.py"))
        suite = custom_kernels.suite([mine, broken])
        run = go(stage, suite=suite, kernels=["my_*"], rounds=1)
        assert stage.requests[0].kernel_files == {"my_kernel": f"{mine.hash}/mine.py"}
        kept = tmp_path / "reports" / "runs" / run.info.id / "kernel-files"
        assert sorted(path.name for path in kept.iterdir()) == sorted(f"{one.hash}.tar.xz" for one in (mine, broken))
        assert "my_kernel" in stage.requests[0].kernels
        assert {kernel.name: kernel.file for kernel in run.info.kernels if not kernel.control} == {
            "my_kernel": "mine.py"
        }
        assert any("broken.py, line 1: SyntaxError" in warning for warning in run.info.warnings)
        assert not run.info.reused
        keys.add(stage.requests[0].context["resume_key"])
    assert len(keys) == 2


def test_values_of_a_digest_are_kept_once_and_outside_the_record(go: Callable[..., Run], tmp_path: Path) -> None:
    stage = Stage(bits=lambda request, kernel: f"{kernel} {request.mode if kernel == 'reduce_max' else ''}")
    run = go(stage)
    folder = tmp_path / "reports" / "runs" / run.info.id
    assert {(kernel, digest) for kernel, digest in run.kept.rows if kernel == "reduce_max"} == {
        ("reduce_max", "reduce_max off"),
        ("reduce_max", "reduce_max on"),
    }
    assert [file.name for file in kept_files(folder)] == ["off-001.kept.xz", "on-001.kept.xz"]
    assert all(tensor.digest == digest for _, digest in run.kept.rows for tensor in run.kept.tensors("x", digest))
    assert run.kept.tensors("mlp_loop", "mlp_loop ")[0].whole


def test_a_process_that_dies_gets_its_missing_outcomes(go: Callable[..., Run]) -> None:
    def die(_: Request, lines: list[str]) -> list[str]:
        place = next(number for number, text in enumerate(lines) if '"line": "outcome"' in text) + 1
        return [*lines[:place], lines[place], lines[place + 1][:30]]

    for oom, outcome in ((False, "crashed"), (True, "oom")):
        run = go(Stage(script=die, exit=Execution(exit_code=137, oom_killed=oom)), reports=outcome)
        for record in run.records.values():
            assert record.complete
            ended = [outcome.outcome for outcome in record.outcomes]
            assert ended == ["ok"] + [outcome] * (len(record.request.kernels) - 1)
            assert {outcome.kernel for outcome in record.outcomes} == set(record.request.kernels)
            assert {outcome.peak_mb for outcome in record.outcomes} == {None}
        assert not run.unreadable


def test_a_round_that_cannot_be_run_leaves_no_record_and_gives_the_column_up(go: Callable[..., Run]) -> None:
    def refuse(request: Request, lines: list[str]) -> list[str]:
        if (request.round, request.mode) == (1, "on"):
            raise EngineError("it broke", "mend it")
        return lines

    run = go(Stage(script=refuse))
    assert list(run.records) == ["records/tf2.18.1-cpu-py311@cpu/default/off-001.jsonl"]
    assert not run.info.finished
    assert any("was given up in round 1" in warning and "it broke" in warning for warning in run.info.warnings)


def test_finished_rounds_of_an_interrupted_run_are_reused_with_their_values(go: Callable[..., Run]) -> None:
    def stop(request: Request, lines: list[str]) -> list[str]:
        if request.round == 2:
            raise KeyboardInterrupt
        return lines

    with pytest.raises(KeyboardInterrupt):
        go(Stage(script=stop))
    stage = Stage()
    run = go(stage)
    assert [request.round for request in stage.requests] == [2, 2]
    assert len(run.records) == 4
    assert set(run.info.reused) == {name for name in run.records if name.endswith("-001.jsonl")}
    assert run.kept.tensors("reduce_max", "reduce_max")


def test_rounds_of_a_plan_with_another_number_of_rounds_are_not_reused(
    go: Callable[..., Run],
) -> None:
    """The record of a round says how many were planned: five of five must not count as five of twenty."""
    keys = []
    for number in (2, 3):
        stage = Stage()
        go(stage, rounds=number)
        keys.append({request.context["resume_key"] for request in stage.requests})
    assert len(keys[0]) == 4
    assert not keys[0] & keys[1]


@pytest.mark.fault(
    "The suite is edited during a run",
    "The rounds of the other suite are refused, and the error says why.",
)
def test_a_suite_edited_during_the_run_is_reported(go: Callable[..., Run]) -> None:
    def other(_: Request, lines: list[str]) -> list[str]:
        return [lines[0].replace(suite_hash(ROOT), "0" * 64), *lines[1:]]

    run = go(Stage(script=other))
    assert not run.records
    (column,) = run.info.columns
    assert (column.status, "not the one of this checkout" in column.reason) == ("mismatch", True)


class TestPasses:
    """An interim page is due after the first pass over all columns, and after later ones."""

    @pytest.fixture(autouse=True)
    def _no_interval(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(scheduler, "PAGE_INTERVAL_S", 0.0)

    def test_each_pass_but_the_last_is_reported(self, go: Callable[..., Run]) -> None:
        calls: list[tuple[int, int, int]] = []
        stage = Stage()

        def on_pass(folder: Path, done: PassProgress) -> None:
            info = load(folder).info
            assert (info.passes_done, info.passes_planned, info.finished) == (done.done, done.planned, "")
            assert info.seconds_left == done.seconds_left > 0
            calls.append((len(stage.requests), done.done, done.planned))

        run = go(stage, rounds=3, variations=["onednn=0", "default"], on_pass=on_pass)
        assert calls == [(2, 1, 3), (8, 2, 3)]
        assert {(request.variation, request.round) for request in stage.requests[:2]} == {("default", 1)}
        assert (run.info.passes_done, run.info.passes_planned, run.info.seconds_left) == (3, 3, 0.0)
        assert run.info.finished

    def test_the_first_pass_is_reported_after_each_column(self, on_gpu: Callable[..., Run]) -> None:
        calls: list[tuple[int, int]] = []
        stage = Stage(watching=lambda _: Guard(UnavailableGpu("nothing is timed here")))

        def on_pass(_: Path, done: PassProgress) -> None:
            calls.append((len(stage.requests), done.done))

        on_gpu(stage, cuda=("12.5", "12.8"), rounds=2, on_pass=on_pass)
        assert [request.column for request in stage.requests[:4:2]] == [
            f"tf2.18.1-cuda{minor}-py311@{stage.requests[0].column.rpartition('@')[2]}" for minor in ("12.5", "12.8")
        ]
        assert calls == [(2, 0), (4, 1)]

    def test_the_interim_page_says_how_far_the_run_is(self, go: Callable[..., Run], tmp_path: Path) -> None:
        pages: list[str] = []
        write = matrix._interim_page(tmp_path / "pages", progress.view())

        def on_pass(folder: Path, done: PassProgress) -> None:
            write(folder, done)
            pages.append((tmp_path / "pages" / "index.html").read_text(encoding="utf-8"))

        go(Stage(), rounds=3, on_pass=on_pass)
        assert len(pages) == 2
        for number, page in enumerate(pages, 1):
            assert f"Pass {number} of 3 is complete, about 1 min left." in page

    def test_pages_keep_their_interval(self, go: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(scheduler, "PAGE_INTERVAL_S", 3600.0)
        calls: list[int] = []
        go(Stage(), rounds=4, on_pass=lambda _, done: calls.append(done.done))
        assert calls == [1]

    @pytest.mark.fault(
        "The page of a run in progress cannot be written",
        "There is a warning, and the measurement goes on.",
    )
    def test_a_page_that_fails_is_reported_once_and_stops_nothing(
        self, go: Callable[..., Run], capsys: pytest.CaptureFixture[str]
    ) -> None:
        def fail(folder: Path, done: PassProgress) -> None:
            raise ValueError("no page today")

        run = go(Stage(), rounds=4, on_pass=fail)
        assert run.info.finished
        assert len(run.records) == 8
        assert capsys.readouterr().err.count("could not be written (ValueError: no page today)") == 1

    def test_an_interrupted_run_has_no_time_left(self, go: Callable[..., Run], tmp_path: Path) -> None:
        def stop(request: Request, lines: list[str]) -> list[str]:
            if request.round == 2:
                raise KeyboardInterrupt
            return lines

        with pytest.raises(KeyboardInterrupt):
            go(Stage(script=stop))
        (folder,) = (tmp_path / "reports" / "runs").iterdir()
        info = load(folder).info
        assert (info.passes_done, info.passes_planned, info.seconds_left, info.finished) == (1, 2, 0.0, "")
        run = go(Stage(), on_pass=lambda *_: pytest.fail("one pass was left, and its page is the final one"))
        assert run.info.passes_done == 2

    def test_a_column_that_is_given_up_keeps_no_pass_open(self, go: Callable[..., Run]) -> None:
        def refuse(request: Request, lines: list[str]) -> list[str]:
            raise EngineError("it broke")

        calls: list[int] = []
        run = go(Stage(script=refuse), on_pass=lambda _, done: calls.append(done.done))
        assert (calls, run.info.passes_done, run.info.seconds_left) == ([1], 2, 0.0)
        assert not run.info.finished

    def test_the_resume_key_does_not_depend_on_the_order_of_rounds(
        self, go: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def keys(reports: str) -> list[str]:
            stage = Stage()
            go(stage, variations=["default", "onednn=0"], reports=reports)
            return [str(request.context["resume_key"]) for request in stage.requests]

        before = keys("a")
        monkeypatch.setattr(planner, "ordered", lambda groups, modes: reversed(list(ordered(groups, modes))))
        after = keys("b")
        assert after == before[::-1]
        assert len(set(before)) == 8


SLOWDOWN = 0x8
CARDS = tuple(
    Gpu(
        uuid=f"GPU-{letter * 8}-0",
        name="NVIDIA H100 80GB HBM3",
        capability=(9, 0),
        memory_mb=81_920,
        facts={"ECC": "on", "temperature C": "40"},
    )
    for letter in "ab"
)
#: A kernel that may not be called again, so that its first calls are its times.
ONCE = "data_pipeline"


def devices(*cards: Gpu, driver: str = "580.65.06") -> Devices:
    return Devices(kind="gpu", survey=GpuInventory(driver=driver, cuda=13_000, gpus=cards), gpus=cards)


def sample(of: dict[str, Any], role: str, repetition: int = 0) -> str:
    body = {
        **of, "role": role, "repetition": repetition, "seed": 42, "digest": f"{of['kernel']} {role == 'second-seed'}",
        "setup_s": 0.1, "first_s": 0.1, "first_cpu_s": 0.1, "load": 0.0, "switches": 0,
    }  # fmt: skip
    return line("sample", body)


@dataclass
class GpuStage(Stage):
    """An engine of GPU columns. ``events`` says what NVML shows for (kernel, role, number of the request)."""

    events: Callable[[str, str, int], int] = lambda *_: 0
    bits_now: int = 0

    def __post_init__(self) -> None:
        self.guards: dict[str, Guard] = {}
        self.watching = self.opened

    def opened(self, uuid: str) -> Guard:
        self.guards[uuid] = Guard(self, period_s=60.0)
        return self.guards[uuid]

    def sample(self) -> GpuSample:
        return GpuSample(at=time.monotonic(), sm_mhz=1980, reasons=self.bits_now, processes={})

    def samples(self, request: Request, of: dict[str, Any]) -> list[str]:
        output = {"dtype": "float32", "shape": [3], "digest": "x", "nan": 0, "inf": 0, "device": "GPU:0"}
        known = {**of, "outputs": {"x": output}, "errors": {}}
        actual = [line("values", {**known, "digest": f"{of['kernel']} {other}"}) for other in (False, True)]
        actual += [sample(of, "repetition", number) for number in range(request.repetitions[of["kernel"]])]
        actual += [sample(of, "second-seed")] if request.second_seed else []
        return actual

    def execute(
        self, environment: Environment, request: Request, on_line: Callable[[str], None], log: Path
    ) -> Execution:
        def played(text: str) -> None:
            row = json.loads(text) if text.endswith("\n") else {}
            if row.get("line") == "sample":
                self.bits_now = self.events(row["kernel"], row["role"], len(self.requests))
            self.guards[request.gpu["uuid"]].sample()
            on_line(text)
            self.bits_now = 0
            self.guards[request.gpu["uuid"]].sample()

        return super().execute(environment, request, played, log)


@pytest.fixture
def on_gpu(go: Callable[..., Run]) -> Callable[..., Run]:
    """One round of each mode on one GPU."""

    def run(stage: Stage, **changes: Any) -> Run:
        facts: dict[str, Any] = {
            "cuda": ("12.5",), "devices": devices(CARDS[0]), "rounds": 1, "kernels": ["reduce_max", ONCE], **changes,
        }  # fmt: skip
        return go(stage, **facts)

    return run


def text_of(run: Run, tmp_path: Path) -> list[dict[str, Any]]:
    """The lines of the record with determinism off."""
    (file,) = (tmp_path / "reports" / "runs" / run.info.id / "records").glob("*/default/off-001.jsonl.xz")
    with lzma.open(file, "rt", encoding="utf-8") as stream:
        return [json.loads(text) for text in stream]


def spoils(run: Run, kernel: str, role: str) -> dict[int, list[str]]:
    """Process -> what its guard called discarded, in the record with determinism off."""
    (record,) = (record for record in run.records.values() if record.request.mode == "off")
    actual: dict[int, list[str]] = {}
    for sample in record.samples:
        if (sample.kernel, sample.role) == (kernel, role):
            assert sample.guard is not None
            actual.setdefault(sample.process, []).append(sample.guard["discarded"])
    return actual


class TestGuard:
    """What a GPU did while a round ran is in its record; nothing of a round is measured again."""

    def test_an_undisturbed_round_is_watched_and_measured_once(
        self, on_gpu: Callable[..., Run], tmp_path: Path
    ) -> None:
        stage = GpuStage()
        run = on_gpu(stage)
        assert [request.mode for request in stage.requests] == ["off", "on"]
        assert {request.device for request in stage.requests} == {"gpu"}
        lines = text_of(run, tmp_path)
        places = [number for number, row in enumerate(lines) if row["line"] == "guard"]
        assert all(lines[number - 1]["line"] == "sample" for number in places)
        timed = [row for row in lines if row["line"] == "sample" and row["role"] != "second-seed"]
        assert len(places) == len(timed)
        for record in run.records.values():
            seen = [sample for sample in record.samples if sample.role != "second-seed"]
            assert all(sample.guard and sample.guard["samples"] and not sample.guard["discarded"] for sample in seen)
            assert all(sample.guard is None for sample in record.samples if sample.role == "second-seed")
            assert not any("unwatched" in (sample.guard or {}) for sample in record.samples)

    def test_a_throttled_round_is_recorded_and_not_measured_again(self, on_gpu: Callable[..., Run]) -> None:
        stage = GpuStage(events=lambda kernel, *_: SLOWDOWN if kernel == ONCE else 0)
        run = on_gpu(stage)
        assert [request.mode for request in stage.requests] == ["off", "on"]
        assert spoils(run, ONCE, "repetition") == {1: ["throttled: hardware slowdown"] * 3}
        assert spoils(run, "reduce_max", "repetition") == {1: [""] * 3}

    def test_an_unwatched_gpu_is_recorded_as_such(self, on_gpu: Callable[..., Run]) -> None:
        stage = GpuStage()
        stage.sample = UnavailableGpu("there is no NVML here").sample  # type: ignore[method-assign]
        run = on_gpu(stage)
        actual = {
            found.guard["unwatched"]
            for record in run.records.values()
            for found in record.samples
            if found.guard is not None
        }
        assert actual == {"there is no NVML here"}
        assert len(stage.requests) == 2

    def test_it_waits_for_a_gpu_that_is_still_hot(self, monkeypatch: pytest.MonkeyPatch) -> None:
        waited: list[float] = []
        monkeypatch.setattr("bench.run.pairs.time.sleep", waited.append)
        stage = GpuStage(bits_now=SLOWDOWN)
        with Guard(stage, period_s=60.0) as guard:
            stops = iter([False, False, True])
            pairs._settle(guard, lambda: next(stops))
            assert len(waited) == 2
            stage.bits_now = 0
            guard.sample()
            pairs._settle(guard, lambda: False)
        assert len(waited) == 2


class TestDevices:
    """GPUs are measured side by side; what stops one stops all, and what is finished stays."""

    @pytest.fixture
    def on_both(self, on_gpu: Callable[..., Run]) -> Callable[..., Run]:
        def run(stage: Stage, **changes: Any) -> Run:
            return on_gpu(stage, **{"devices": devices(*CARDS), "rounds": 2, **changes})

        return run

    def test_two_gpus_are_measured_at_the_same_time(self, on_both: Callable[..., Run]) -> None:
        together = threading.Barrier(2)
        names: dict[str, set[str]] = {}

        def meet(request: Request, lines: list[str]) -> list[str]:
            names.setdefault(threading.current_thread().name, set()).add(request.gpu["uuid"])
            together.wait(20)
            return lines

        run = on_both(GpuStage(script=meet))
        assert run.info.finished
        assert len(run.records) == 2 * 2 * 2
        assert sorted(map(sorted, names.values())) == [[card.uuid] for card in CARDS]
        assert {column.gpu for column in run.info.columns} == {card.uuid for card in CARDS}
        for name, record in run.records.items():
            assert record.request.column in name

    def test_passes_are_those_of_all_gpus(self, on_both: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(scheduler, "PAGE_INTERVAL_S", 0.0)
        first_done = threading.Event()
        calls: list[int] = []

        def wait(request: Request, lines: list[str]) -> list[str]:
            assert request.gpu["uuid"] == CARDS[0].uuid or first_done.wait(20)
            return lines

        def on_pass(_: Path, done: PassProgress) -> None:
            calls.append(done.done)
            first_done.set()

        run = on_both(GpuStage(script=wait), on_pass=on_pass)
        assert calls[0] == 0, "the other GPU has not been measured yet"
        assert run.info.passes_done == run.info.passes_planned == 2

    def test_rounds_of_one_gpu_keep_their_order(self, on_both: Callable[..., Run]) -> None:
        stage = GpuStage()
        on_both(stage)
        for card in CARDS:
            mine = [(request.round, request.mode) for request in stage.requests if request.gpu["uuid"] == card.uuid]
            assert mine == [(1, "off"), (1, "on"), (2, "on"), (2, "off")]

    def test_an_interrupt_ends_both_and_keeps_finished_rounds(self, on_both: Callable[..., Run]) -> None:
        ended, slow = threading.Event(), threading.Event()

        class Held(GpuStage):
            def halt(self) -> None:
                ended.set()

        def hold(request: Request, lines: list[str]) -> list[str]:
            if request.gpu["uuid"] == CARDS[0].uuid:
                if (request.round, request.mode) == (2, "on"):
                    slow.wait(20)
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                    assert ended.wait(20)
                    return lines[:4]  # it was ended in the middle, and its driver with it
                return lines
            slow.set()
            assert ended.wait(20)
            raise EngineError("the run was interrupted")

        with pytest.raises(KeyboardInterrupt):
            on_both(Held(script=hold))
        stage = GpuStage()
        run = on_both(stage)
        assert len(run.info.reused) == 2
        assert {name.rpartition("@")[2] for name in run.info.reused} == {
            "h100-80gb-hbm3-aaaaaaaa/default/off-001.jsonl",
            "h100-80gb-hbm3-aaaaaaaa/default/on-001.jsonl",
        }
        assert len(stage.requests) == 6
        assert run.info.finished
        assert not [warning for warning in run.info.warnings if "given up" in warning]

    def test_an_error_in_one_thread_is_raised_in_the_main_thread(self, on_both: Callable[..., Run]) -> None:
        ended = threading.Event()

        class Held(GpuStage):
            def halt(self) -> None:
                ended.set()

        def fail(request: Request, lines: list[str]) -> list[str]:
            if request.gpu["uuid"] == CARDS[0].uuid:
                raise StorageError("the disk is full")
            assert ended.wait(20)
            raise EngineError("the run was interrupted")

        with pytest.raises(StorageError, match="the disk is full"):
            on_both(Held(script=fail))

    @pytest.mark.fault("A GPU fails during a run", "Its column is given up; the other GPU's is measured.")
    def test_a_gpu_that_fails_costs_only_its_own_column(self, on_both: Callable[..., Run]) -> None:
        def refuse(request: Request, lines: list[str]) -> list[str]:
            if request.gpu["uuid"] == CARDS[0].uuid:
                raise NoGpuError("Docker cannot give a container the GPU", "install the toolkit")
            return lines

        run = on_both(GpuStage(script=refuse))
        assert [(column.status, column.reason) for column in run.info.columns] == [
            ("gpu-not-visible", "Docker cannot give a container the GPU. Install the toolkit"),
            ("ready", ""),
        ]
        assert len(run.records) == 4
        assert not run.info.finished

    def test_locks_are_those_of_the_devices(self, on_both: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
        held: list[tuple[str, ...]] = []

        def lock(_: object, gpus: tuple[str, ...] = ()) -> AbstractContextManager[None]:
            held.append(gpus)
            return nullcontext()

        monkeypatch.setattr(runner, "measuring_lock", lock)
        on_both(GpuStage())
        on_both(Stage(), cuda=("cpu",), devices=planner.CPU, reports="cpu")
        assert held == [tuple(card.uuid for card in CARDS), ()]


class TestGpuFacts:
    """What a run knows of its GPU, and what makes a round another one."""

    def test_a_column_has_its_gpu_and_pair(self, on_gpu: Callable[..., Run]) -> None:
        (column,) = on_gpu(GpuStage()).info.columns
        assert (column.device, column.gpu, column.kind) == ("h100-80gb-hbm3", CARDS[0].uuid, "official")
        assert column.cudnn.startswith("9.3.")
        assert column.advice

    def test_host_facts_name_the_gpus_and_the_driver(self, on_gpu: Callable[..., Run]) -> None:
        assert on_gpu(GpuStage()).info.host["gpu"] == "NVIDIA H100 80GB HBM3, driver 580.65.06"
        both = devices(*CARDS).survey
        assert host.facts(both)["gpu"] == "2 x NVIDIA H100 80GB HBM3, driver 580.65.06"
        assert host.facts(GpuInventory(why="there is none"))["gpu"] == host.NO_GPU_SEEN

    def test_uuid_driver_and_settings_of_the_gpu_are_part_of_the_resume_key(self, on_gpu: Callable[..., Run]) -> None:
        def key(number: int, card: Gpu, driver: str = "580.65.06") -> str:
            stage = GpuStage()
            on_gpu(stage, devices=devices(card, driver=driver), reports=str(number))
            return str(stage.requests[0].context["resume_key"])

        card = CARDS[0]
        warm = dataclasses.replace(card, facts={**card.facts, "temperature C": "80"})
        assert key(1, card) == key(2, warm), "what passes by itself changes nothing"
        others = [
            key(3, dataclasses.replace(card, uuid=CARDS[1].uuid)),
            key(4, dataclasses.replace(card, facts={**card.facts, "ECC": "off"})),
            key(5, card, "580.95.05"),
            key(6, dataclasses.replace(card, name="NVIDIA H200")),
        ]
        assert len({key(7, card), *others}) == 5

    def test_a_cpu_column_does_not_depend_on_gpus(self, go: Callable[..., Run]) -> None:
        bare, beside = Stage(), Stage()
        go(bare)
        run = go(beside, devices=Devices(kind="cpu", survey=devices(*CARDS).survey), reports="beside a GPU")
        assert bare.requests[0].context["resume_key"] == beside.requests[0].context["resume_key"]
        assert any(
            "This host has a GPU (NVIDIA H100 80GB HBM3), but only CPU" in warning for warning in run.info.warnings
        )

    def test_cuda_pairs_that_are_left_out_are_reported(self, go: Callable[..., Run]) -> None:
        nothing = Devices(kind="auto", survey=GpuInventory(why="this host shows no NVIDIA GPU"))
        run = go(Stage(), cuda=("cpu", "12.5"), devices=nothing)
        (actual,) = run.info.warnings
        assert "left out" in actual
        assert "this host shows no NVIDIA GPU" in actual

    def test_a_pair_without_a_gpu_is_recorded_with_the_reason(self, go: Callable[..., Run]) -> None:
        missing = Devices(kind="gpu", survey=GpuInventory(why="this host shows no NVIDIA GPU"))
        run = go(Stage(), cuda=("12.5",), devices=missing)
        (column,) = run.info.columns
        assert (column.status, column.reason, column.gpu) == ("gpu-not-visible", "this host shows no NVIDIA GPU", "")

    def test_an_environment_that_cannot_be_given_the_gpu(self, on_gpu: Callable[..., Run]) -> None:
        class Refusing(GpuStage):
            def prepare(self, column: Column, log: Path, say: Callable[[str], None]) -> Environment:
                raise NoGpuError("no container can be given the GPU", "install the toolkit")

        (column,) = on_gpu(Refusing()).info.columns
        assert (column.status, column.reason) == (
            "gpu-not-visible",
            "no container can be given the GPU. Install the toolkit",
        )

    def test_a_column_that_sees_no_gpu_inside_is_given_up_and_its_record_stays(
        self, on_gpu: Callable[..., Run]
    ) -> None:
        def blind(_: Request, lines: list[str]) -> list[str]:
            actual = [text for text in lines if '"line": "sample"' not in text]
            return [text.replace('"ok"', '"gpu-not-visible", "message": "TensorFlow lists none"') for text in actual]

        stage = GpuStage(script=blind)
        run = on_gpu(stage, rounds=5)
        assert (len(stage.requests), len(run.records)) == (1, 1)
        (column,) = run.info.columns
        assert (column.status, column.reason) == ("gpu-not-visible", "TensorFlow lists none")
        assert not run.info.finished
        again = GpuStage()
        run = on_gpu(again, rounds=5)
        assert len(again.requests) == 10
        assert not [warning for warning in run.info.warnings if "died" in warning], "it was not run at all"

    def test_a_gpu_that_is_lost_later_leaves_what_was_measured(self, on_gpu: Callable[..., Run]) -> None:
        def lost(request: Request, lines: list[str]) -> list[str]:
            if request.round == 1:
                return lines
            actual = [text for text in lines if '"line": "sample"' not in text]
            return [text.replace('"ok"', '"gpu-not-visible", "message": "TensorFlow lists none"') for text in actual]

        stage = GpuStage(script=lost)
        run = on_gpu(stage, rounds=5)
        assert (len(stage.requests), len(run.records)) == (3, 3)
        assert run.info.columns[0].status == "ready"
        assert any(
            "given up in round 2" in warning and "TensorFlow lists none" in warning for warning in run.info.warnings
        )


class TestSideBySide:
    """On the CPU rounds run side by side; timing pairs run alone, after them."""

    @pytest.fixture(autouse=True)
    def _two_cores(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(host, "parallel_processes", lambda: 2)

    @pytest.fixture
    def paired(self, monkeypatch: pytest.MonkeyPatch) -> list[TimingPair]:
        """The pairs that were measured: a stand-in writes their records."""
        measured: list[TimingPair] = []

        def measure_pair(
            setting: rounds.Setting,
            environments: Mapping[str, Environment],
            pair: TimingPair,
            requests: Mapping[str, Request],
        ) -> str:
            assert set(environments) == {column.id for column in pair.columns.values()}
            measured.append(pair)
            actual = {side: json.loads(request.to_json()) for side, request in requests.items()}
            head = {
                "schema": SCHEMA, "comparison": pair.comparison, "number": pair.number, "requests": actual,
                "started_first": pair.first, "suite_hash": setting.suite, "budget_s": pair.budget_s,
            }  # fmt: skip
            with setting.folder.recording(setting.folder.pair_path(pair.column.id, pair.name)) as streams:
                streams.lines.write(line("header", head) + line("end", {"seconds": 1.0}))
            return ""

        monkeypatch.setattr(pairs, "measure_pair", measure_pair)
        return measured

    def test_rounds_run_at_the_same_time_and_pairs_alone(
        self, go: Callable[..., Run], paired: list[TimingPair]
    ) -> None:
        together = threading.Barrier(2)
        busy: list[int] = []

        def meet(_: Request, lines: list[str]) -> list[str]:
            assert not paired, "a round beside or after a pair"
            together.wait(20)
            busy.append(1)
            return lines

        run = go(Stage(script=meet), overhead_pairs=2, noise_floor_pairs=1)
        assert run.info.finished
        assert len(busy) == len(run.records) == 4
        assert [pair.name for pair in paired] == ["overhead-001", "noise-floor-001", "overhead-002"]
        assert set(run.paired) == {f"paired/tf2.18.1-cpu-py311@cpu/{pair.name}.jsonl" for pair in paired}
        assert (run.info.passes_done, run.info.passes_planned) == (4, 4)

    def test_rounds_start_in_their_order(self, go: Callable[..., Run]) -> None:
        stage = Stage()
        go(stage, rounds=5)
        started = [request.round for request in stage.requests]
        assert all(abs(number - place // 2 - 1) <= 1 for place, number in enumerate(started))

    def test_the_first_page_comes_when_the_last_round_of_the_first_pass_ends(
        self, go: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scheduler, "PAGE_INTERVAL_S", 0.0)
        calls: list[int] = []
        go(Stage(), rounds=3, on_pass=lambda _, done: calls.append(done.done))
        assert calls
        assert calls == sorted(calls)
        assert set(calls) <= {1, 2}

    def test_an_interrupt_ends_all_and_pairs_are_reused(
        self, go: Callable[..., Run], paired: list[TimingPair], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        measure = pairs.measure_pair

        def stop(setting: Any, environments: Any, pair: TimingPair, requests: Any) -> str:
            if pair.number == 2:
                raise KeyboardInterrupt
            return measure(setting, environments, pair, requests)

        monkeypatch.setattr(pairs, "measure_pair", stop)
        with pytest.raises(KeyboardInterrupt):
            go(Stage(), overhead_pairs=2)
        monkeypatch.setattr(pairs, "measure_pair", measure)
        stage = Stage()
        run = go(stage, overhead_pairs=2)
        assert not stage.requests
        assert [pair.number for pair in paired] == [1, 2]
        assert len(run.info.reused) == 5
        assert "paired/tf2.18.1-cpu-py311@cpu/overhead-001.jsonl" in run.info.reused
        assert run.info.finished

    def test_an_interrupt_in_one_round_halts_the_engine(self, go: Callable[..., Run]) -> None:
        halted = threading.Event()

        class Held(Stage):
            def halt(self) -> None:
                halted.set()

        def hold(request: Request, lines: list[str]) -> list[str]:
            if request.mode == "off":
                raise StorageError("the disk is full")
            assert halted.wait(20)
            raise EngineError("the run was interrupted")

        with pytest.raises(StorageError, match="the disk is full"):
            go(Held(script=hold), rounds=1)

    def test_pairs_that_cannot_be_run_leave_the_others(
        self, go: Callable[..., Run], paired: list[TimingPair], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        measure = pairs.measure_pair

        def refuse(setting: Any, environments: Any, pair: TimingPair, requests: Any) -> str:
            if pair.comparison == "overhead":
                raise EngineError("it broke")
            return measure(setting, environments, pair, requests)

        monkeypatch.setattr(pairs, "measure_pair", refuse)
        run = go(Stage(), overhead_pairs=3, noise_floor_pairs=2)
        assert [pair.name for pair in paired] == ["noise-floor-001", "noise-floor-002"]
        assert [warning for warning in run.info.warnings if "it broke" in warning] == [
            "tf2.18.1-cpu-py311@cpu overhead pair 1 failed, and no further one was tried: it broke"
        ]
        assert not run.info.finished, "the same command tries again"
        assert run.info.columns[0].status == "ready"

    def test_two_rounds_that_fail_together_give_their_column_up(self, go: Callable[..., Run]) -> None:
        together = threading.Barrier(2)

        def fail(_: Request, lines: list[str]) -> list[str]:
            together.wait(20)
            raise EngineError("it broke")

        run = go(Stage(script=fail))
        assert not run.records
        assert (run.info.columns[0].status, run.info.columns[0].reason) == ("mismatch", "it broke")

    def test_a_round_that_fails_beside_one_that_succeeds_leaves_its_record(self, go: Callable[..., Run]) -> None:
        failed = threading.Event()

        def fail(request: Request, lines: list[str]) -> list[str]:
            if request.mode == "on":
                failed.set()
                raise EngineError("it broke")
            assert failed.wait(20)
            time.sleep(0.2)
            return lines

        run = go(Stage(script=fail))
        assert [name.rpartition("/")[2] for name in run.records] == ["off-001.jsonl"]
        assert run.info.columns[0].status == "ready"
        assert any("was given up in round 1" in warning for warning in run.info.warnings)


def test_rounds_side_by_side_need_cores_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def processes(cores: int, free_bytes: float) -> int:
        monkeypatch.setattr("bench.host.os.sched_getaffinity", lambda _: set(range(cores)))
        monkeypatch.setattr("bench.host.psutil.virtual_memory", lambda: SimpleNamespace(available=int(free_bytes)))
        return PARALLEL_PROCESSES()

    assert (processes(2, 64e9), processes(16, 9e9), processes(4, 1e9)) == (2, 4, 1)


class TestShown:
    """What a person reads while several devices are measured."""

    def shown(self, view: progress.View) -> None:
        with view:
            view.begin(2, 1, 60.0)
            view.round("a round 1")
            view.round("b round 1")
            view.kernel("b round 1", "conv")
            view.done("a round 1", 1.0, 50.0)
            view.round("a round 2")
            view.kernel("a round 2", "matmul [1]")
            view.done("b round 1", 2.0, 20.0)
            view.done("a round 2", 3.0, 0.0)

    def test_every_line_names_its_round(self) -> None:
        out = io.StringIO()
        self.shown(progress.PlainView(Console(file=out, width=200)))
        heads = [text.split("  ")[0] for text in out.getvalue().splitlines()]
        assert heads == [
            "measuring 2 rounds and 1 timing pair, about 1 min 00 s",
            "[1/3] a round 1",
            "[2/3] b round 1",
            "[3/3] a round 2",
        ]

    def test_after_a_silence_the_running_kernel_is_printed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(progress, "_SILENCE_S", -1.0)
        out = io.StringIO()
        self.shown(progress.PlainView(Console(file=out, width=200)))
        assert [text.split("  ")[:2] for text in out.getvalue().splitlines() if "..." in text] == [
            ["[2/3] b round 1", "conv ..."],
            ["[3/3] a round 2", "matmul [1] ..."],
        ]

    def test_a_live_view_shows_all_that_runs(self) -> None:
        out = io.StringIO()
        view = progress.LiveView(Console(file=out, width=200, force_terminal=True, highlight=False))
        self.shown(view)
        assert [text for text in ("a round 1", "b round 1", "a round 2") if f"{text}  " not in out.getvalue()] == []
        view.round("c")
        view.round("d")
        view.kernel("c", "conv")
        assert view._progress.tasks[0].description == "c  conv\nd"


def test_the_time_left_is_that_of_the_slowest_gpu() -> None:
    rounds_of = {
        gpu: [
            SimpleNamespace(
                column=SimpleNamespace(gpu=gpu), repetitions={"k": 3}, heavy=(), custom=frozenset(), kernels=("k",),
                pass_number=2,
            )
        ] * number
        for gpu, number in (("GPU-a", 2), ("GPU-b", 5), ("", 1))
    }  # fmt: skip
    item: Any = rounds_of[""][0]
    every: list[Any] = [found for mine in rounds_of.values() for found in mine]
    each = duration.seconds(item)
    assert duration.total_seconds(every) == pytest.approx(6 * each), "the CPU is measured alone"
    pace = duration.EtaEstimator(every)
    assert pace.left_s() == pytest.approx(6 * each)
    fast: Any = rounds_of["GPU-a"][0]
    assert pace.took(fast, each) == pytest.approx(6 * each)
    slow: Any = rounds_of["GPU-b"][0]
    assert pace.took(slow, each) == pytest.approx(5 * each)
    pace.skip(item)
    assert pace.left_s() == pytest.approx(4 * each)
