"""``bisect``: never a wrong step, few questions, the environments in between, and nothing measured twice."""

from __future__ import annotations

import argparse
import dataclasses
import math
import shlex
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import errors, host, verdict
from bench.cli import bisect_kernel, bisection
from bench.cli.bisection import Halving, Question, halve
from bench.engines import select
from bench.gpu import facts
from bench.gpu.facts import Gpu, GpuInventory
from bench.plan import custom_kernels
from bench.store import run as store
from bench.store.run_info import ColumnInfo, KernelInfo
from bench.suite.suite_hash import ROOT, suite_hash
from bench.verdict.comparison import Side
from tests.unit import factory, paired_factory
from tests.unit.factory import Behaviour

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bench.plan.column import Column
    from bench.plan.planner import Plan
    from bench.store.run import Run

THIS_HOST = {"name": "h", "system": "Linux 6.1", "cpu": "Example CPU", "cores": "2", "gpu": host.NO_GPU_SEEN}
SUITE = custom_kernels.suite([])
BARE = GpuInventory(why="this host shows no card")
HOPPER = Gpu(uuid="GPU-1a2b3c4d-0000", name="NVIDIA H200", capability=(9, 0), memory_mb=143_771)
HOST = GpuInventory(driver="570.124.06", cuda=12080, gpus=(HOPPER,))
KERNEL = "matmul_f32"
CPUS = [f"tf{release}-cpu" for release in ("2.15.1", "2.16.2", "2.17.1", "2.18.1", "2.19.1", "2.20.0", "2.21.0")]


def parsed(text: str, reports: Path | None = None) -> argparse.Namespace:
    """Options as the command line gives them."""
    parser = argparse.ArgumentParser()
    bisect_kernel.COMMAND.add_arguments(parser)
    options = parser.parse_args(shlex.split(text))
    options.command = f"python -m bench bisect {text}"
    options.matrix = ROOT / options.matrix
    options.reports = reports or options.reports
    return options


@st.composite
def rows(draw: st.DrawFn) -> tuple[list[bool | None], list[int]]:
    """Answers of a row that changes once, some unknown, and what each place costs."""
    size = draw(st.integers(2, 60))
    change = draw(st.integers(1, size - 1))
    unknown = draw(st.sets(st.integers(1, size - 2))) if size > 2 and draw(st.booleans()) else set()
    answers = [None if place in unknown else place >= change for place in range(size)]
    return answers, draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))


class TestHalving:
    """The search itself, which needs no engine."""

    @given(rows())
    def test_never_a_wrong_step_and_few_questions(self, row: tuple[list[bool | None], list[int]]) -> None:
        answers, costs = row
        requested: list[int] = []
        actual: list[int] = []

        def ask(place: int) -> bool | None:
            requested.append(place)
            return answers[place]

        found = halve(len(answers), ask, costs.__getitem__, lambda place, _: actual.append(place))
        assert answers[found.low] is False
        assert answers[found.high] is True
        assert found.between == list(range(found.low + 1, found.high)), "only the undecidable is left open"
        assert all(answers[place] is None for place in found.between)
        assert requested == actual
        assert len(requested) == len(set(requested))
        if None not in answers:
            assert found.high == found.low + 1
            assert len(requested) + 2 <= math.ceil(math.log2(len(answers))) + 2

    @given(st.lists(st.sampled_from([True, False, None]), max_size=40))
    def test_of_a_row_that_changes_several_times_it_finds_one_step(self, inner: list[bool | None]) -> None:
        answers = [False, *inner, True]
        found = halve(len(answers), answers.__getitem__)
        assert answers[found.low] is False
        assert answers[found.high] is True
        assert all(answers[place] is None for place in range(found.low + 1, found.high))

    @pytest.mark.parametrize(
        ("size", "cheap", "requested"),
        [(9, set(), 4), (8, {4}, 4), (8, {3}, 3), (8, {1}, 3), (7, {2}, 2), (7, {1}, 3), (3, set(), 1)],
    )
    def test_of_equal_places_the_cheapest_is_asked_first(self, size: int, cheap: set[int], requested: int) -> None:
        assert Halving(low=0, high=size - 1).best(lambda place: place not in cheap) == requested


def selected(text: str) -> tuple[list[str], list[str]]:
    """The environments in their order, and those left out."""
    _, row, left_out = bisect_kernel._select(parsed(text))
    return [bisection.label(column.id) for column in row], [bisection.label(column.id) for column in left_out]


class TestRow:
    """Which environments are between two."""

    @pytest.fixture(autouse=True)
    def _gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(facts, "survey", lambda: HOST)

    def test_of_releases(self) -> None:
        assert selected(f"{KERNEL} {CPUS[0]} {CPUS[-1]}") == (CPUS, [])

    def test_ids_and_the_other_direction(self) -> None:
        ids = [f"{CPUS[4]}-py311@cpu", f"{CPUS[1]}-py311"]
        assert selected(f"{KERNEL} {' '.join(ids)}") == (CPUS[4:0:-1], [])

    def test_a_profile_selects_nothing(self) -> None:
        row, _ = selected(f"{KERNEL} tf2.10.1-cpu tf2.15.1-cpu")
        assert row == [f"tf2.{minor}.1-cpu" for minor in range(10, 16)]

    def test_releases_with_one_cuda(self) -> None:
        row, _ = selected(f"{KERNEL} tf2.15.1-cuda12.9 tf2.21.0-cuda12.9")
        assert row == [name.replace("cpu", "cuda12.9") for name in CPUS]

    def test_releases_with_two(self) -> None:
        row, _ = selected(f"{KERNEL} tf2.15.1-cuda12.2 tf2.20.0-cuda12.6")
        assert row == ["tf2.15.1-cuda12.2", "tf2.16.2-cuda12.6", "tf2.17.1-cuda12.6", "tf2.18.1-cuda12.6",
                       "tf2.19.1-cuda12.6", "tf2.20.0-cuda12.6"]  # fmt: skip
        row, _ = selected(f"{KERNEL} tf2.15.1-cuda12.2 tf2.18.1-cuda12.5")
        assert row == ["tf2.15.1-cuda12.2", "tf2.16.2-cuda12.3", "tf2.17.1-cuda12.3", "tf2.18.1-cuda12.5"]

    def test_of_cuda_minors(self) -> None:
        row, _ = selected(f"{KERNEL} tf2.15.1-cuda12.9@h200 tf2.15.1-cuda12.2")
        assert row == [f"tf2.15.1-cuda12.{minor}" for minor in (9, 8, 6, 4, 2)]

    def test_another_cudnn_is_one_step(self) -> None:
        row, _ = selected(f"{KERNEL} tf2.18.1-cuda12.9 tf2.18.1-cuda12.9-cudnn9.10")
        assert row == ["tf2.18.1-cuda12.9", "tf2.18.1-cuda12.9-cudnn9.10"]

    def test_without_a_lock_the_next_best_is_taken(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for lock in (ROOT / "docker" / "locks").glob("*.txt"):
            if not lock.name.startswith(("tf2.17.1-cuda12.9", "tf2.16.2")):
                (tmp_path / lock.name).write_bytes(lock.read_bytes())
        monkeypatch.setattr(bisect_kernel, "LOCKS", tmp_path)
        row, left_out = selected(f"{KERNEL} tf2.15.1-cuda12.9 tf2.18.1-cuda12.9")
        assert row == ["tf2.15.1-cuda12.9", "tf2.17.1-cuda12.3", "tf2.18.1-cuda12.9"]
        assert left_out == ["tf2.16.2-cuda12.9", "tf2.16.2-cuda12.3", "tf2.17.1-cuda12.9"]
        with pytest.raises(errors.NothingError, match=r"tf2\.16\.2-cpu cannot be measured: docker/locks has no"):
            selected(f"{KERNEL} tf2.16.2-cpu tf2.18.1-cpu")

    @pytest.mark.parametrize(
        ("text", "error", "words"),
        [
            ("tf2.15.9-cpu tf2.18.1-cpu", errors.ConfigError, "Did you mean 'tf2.1"),
            ("tf2.15.1-cpu nonsense", errors.ConfigError, "plan"),
            ("tf2.15.1-cpu tf2.15.1-cpu-py311", errors.ConfigError, "lists"),
            ("tf2.15.1-cpu tf2.18.1-cuda12.5", errors.ConfigError, "lists"),
            ("tf2.15.1-cuda12.2@h100 tf2.18.1-cuda12.5", errors.NoGpuError, "Leave out"),
            ("tf2.15.1-cpu tf2.18.1-cpu --question slower:1.1 --variation threads=1", errors.ConfigError, "Leave"),
            ("tf2.15.1-cpu tf2.18.1-cpu --variation treads=1", errors.ConfigError, "Did you mean 'threads=1'"),
        ],
    )
    def test_what_is_refused(self, text: str, error: type[errors.TfreproError], words: str) -> None:
        with pytest.raises(error) as caught:
            selected(f"{KERNEL} {text}")
        assert words in caught.value.hint

    @pytest.mark.parametrize("text", ["bit", "bits:2", "slower:0.5", "slower:x", "slower:1.1,errors"])
    def test_unknown_questions(self, text: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            parsed(f"{KERNEL} {CPUS[0]} {CPUS[1]} --question {text}")
        assert "--question" in capsys.readouterr().err


def question(word: str, factor: float = 1.0) -> Question:
    return Question(word=word, factor=factor, kernel="matmul", variation="default", mode="on")


def side(run: Run, column: str = "tf2.18.1-cpu-py311@cpu") -> Side:
    return Side(results=verdict.evaluate(run), column=column)


def run_of(release: str, acts: Behaviour = factory.EXACT, **changes: Any) -> Side:
    column = factory.column(release)
    info = factory.info(columns=(column,), id=f"20250130T120000Z-{release}", **changes)
    return side(factory.run(info, lambda spot: acts if spot.kernel == "matmul" else factory.EXACT), column.id)


VARYING, OTHER = Behaviour(digests=("a", "b")), Behaviour(digests=("changed",))
RAISING = Behaviour(outcome="error", error_class="ValueError", message="no")
CRASHING, HANGING = Behaviour(outcome="crashed"), Behaviour(outcome="timeout")


class TestQuestion:
    """What counts as changed."""

    @pytest.mark.parametrize(
        ("word", "acts", "changed", "text"),
        [
            ("bits", factory.EXACT, False, "same bits as tf2.15.1-cpu"),
            ("bits", OTHER, True, "other bits than tf2.15.1-cpu"),
            ("bits", VARYING, None, "nondeterministic"),
            ("bits", RAISING, None, "error: "),
            ("bits", CRASHING, None, "crashed: "),
            ("bits", Behaviour(nan=True), None, "nan: "),
            ("reproducible", factory.EXACT, False, "reproducible"),
            ("reproducible", OTHER, False, "reproducible"),
            ("reproducible", VARYING, True, "nondeterministic"),
            ("reproducible", CRASHING, None, "crashed: "),
            ("error", factory.EXACT, False, "no error"),
            ("error", VARYING, False, "no error"),
            ("error", RAISING, True, "error: "),
            ("error", CRASHING, True, "crashed: "),
            ("error", HANGING, None, "timeout: "),
            ("slower", factory.EXACT, None, ""),
        ],
    )
    def test_of_two_runs(self, word: str, acts: Behaviour, changed: bool | None, text: str) -> None:  # noqa: FBT001
        found = question(word).of(run_of("2.15.1"), run_of("2.18.1", acts))
        assert found[0] is changed
        assert found[1].startswith(text)

    def test_little_evidence_decides_nothing(self) -> None:
        few = run_of("2.18.1", OTHER, rounds=3)
        for word in ("bits", "reproducible"):
            changed, text = question(word).of(run_of("2.15.1"), few)
            assert changed is None
            assert text.startswith("inconclusive: ")

    def test_a_column_that_was_never_built(self) -> None:
        column = factory.column("2.18.1", status="build-failed", reason="no wheel")
        unbuilt = side(factory.run(factory.info(columns=(column,))))
        for word in bisect_kernel.QUESTIONS:
            assert question(word).of(run_of("2.15.1"), unbuilt)[0] is None

    @pytest.mark.parametrize(("truth", "factor", "changed"), [(1.2, 1.1, True), (1.2, 1.5, False), (1.0, 1.0, False)])
    def test_slower(self, truth: float, factor: float, changed: bool) -> None:  # noqa: FBT001
        columns = (factory.column("2.15.1"), factory.column("2.18.1"))
        info = factory.info(columns=columns, host={"name": "h", "hostname": "h", "cpu": "c", "cores": "2"})
        ids = (columns[0].id, columns[1].id)
        times = paired_factory.pairs({"matmul": truth}, comparison="upgrade", columns=ids, number=10)
        results = verdict.evaluate(factory.with_pairs(factory.run(info, timed=()), times))
        before, after = (Side(results=results, column=name) for name in ids)
        found = question("slower", factor).of(before, after)
        assert found[0] is changed, found
        assert "times the time of tf2.15.1-cpu" in found[1]
        assert not question("slower", 1.0).of(after, before)[0], "the other direction is faster, or the same"

    def test_an_interval_that_is_too_wide_decides_nothing(self) -> None:
        columns = (factory.column("2.15.1"), factory.column("2.18.1"))
        info = factory.info(columns=columns, host={"name": "h", "hostname": "h", "cpu": "c", "cores": "2"})
        ids = (columns[0].id, columns[1].id)
        noise = paired_factory.Noise(spread=0.5)
        times = paired_factory.pairs({"matmul": 1.2}, comparison="upgrade", columns=ids, number=10, noise=noise)
        results = verdict.evaluate(factory.with_pairs(factory.run(info, timed=()), times))
        before, after = (Side(results=results, column=name) for name in ids)
        found = question("slower", 1.1).of(before, after)
        assert found[0] is None
        assert found[1].endswith("which is both no change and 1.1 times")
        assert question("slower", 1.0).of(before, after)[0] is False


class Stage:
    """An engine that builds nothing, and runs that exist in memory only but for their run.json."""

    name = "stage"

    def __init__(self, reports: Path) -> None:
        self.reports = reports
        self.acts: dict[str, Behaviour] = {}
        self.built: set[str] = set()
        self.measured: list[str] = []
        self.runs: dict[str, Run] = {}
        self.stop_at = ""
        self.code = ""

    def cached(self, column: Column) -> bool:
        return bisection.label(column.id) in self.built

    def host(self) -> Mapping[str, str]:
        return {}

    def measure(self, plan: Plan, options: argparse.Namespace, chosen: object) -> Path:
        names = [bisection.label(column.id) for column in plan.columns]
        self.measured += names
        if self.stop_at in names:
            raise KeyboardInterrupt
        acts = {column.id: self.acts.get(name, factory.EXACT) for column, name in zip(plan.columns, names, strict=True)}
        number = len(self.runs) + 1
        columns = []
        for column in plan.columns:
            info_of = ColumnInfo(**column.facts())
            unbuilt = acts[column.id].outcome == "unbuilt"
            columns.append(
                dataclasses.replace(info_of, status="build-failed", reason="no wheel") if unbuilt else info_of
            )
        info = factory.info(
            id=f"20250130T120000Z-{number:04x}",
            columns=tuple(columns), engine=self.name, suite_hash=suite_hash(ROOT),
            kernels=tuple(KernelInfo(**kernel.declaration()) for kernel in plan.kernels), host=THIS_HOST,
            **plan.facts(),
        )  # fmt: skip
        made = factory.run(
            info, lambda spot: acts[spot.column] if spot.kernel == KERNEL else factory.EXACT, keep=False, timed=()
        )
        code = {kernel.name: self.code or SUITE.kernels[kernel.name].source_hash()[:16] for kernel in plan.kernels}
        self.runs[info.id] = factory.changed(made, factory.facts_of_process(kernel_hashes=code))
        folder = self.reports / "runs" / info.id
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(info.to_json(), encoding="utf-8")
        return folder


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stage:
    made = Stage(tmp_path)
    monkeypatch.setattr(facts, "survey", lambda: BARE)
    monkeypatch.setattr(host, "facts", lambda _: THIS_HOST)
    monkeypatch.setattr(select, "choose", lambda *_, **__: (made, "a test"))
    monkeypatch.setattr(bisect_kernel, "run_plan", made.measure)
    monkeypatch.setattr(store, "load", lambda folder: made.runs[folder.name])
    return made


@pytest.fixture
def go(stage: Stage) -> Callable[..., int]:
    def run(text: str = "", ends: str = f"{CPUS[0]} {CPUS[-1]}") -> int:
        stage.measured.clear()
        return bisect_kernel.bisect(parsed(f"{KERNEL} {ends} {text}", stage.reports))

    return run


class TestCommand:
    """The whole command, but for the engine."""

    @pytest.mark.parametrize("change", range(1, len(CPUS)))
    def test_a_step(
        self, stage: Stage, go: Callable[..., int], change: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        stage.acts = dict.fromkeys(CPUS[change:], OTHER)
        assert go() == errors.OK
        said = capsys.readouterr()
        step, command = said.out.splitlines()
        assert step == f"changed from {CPUS[change - 1]} to {CPUS[change]}: other bits than tf2.15.1-cpu"
        ids = {run.info.columns[0].id: run.info.id for run in stage.runs.values()}
        sides = [
            f"{ids[column]}:{column}" for name in CPUS[change - 1 : change + 1] for column in [f"{name}-py311@cpu"]
        ]
        assert command.startswith(f"nox -s compare -- {' '.join(sides)} --reports {stage.reports}")
        assert stage.measured[:3] == [CPUS[0], CPUS[-1], CPUS[3]]
        assert len(stage.measured) == len(set(stage.measured)) <= 5
        lines = said.err.splitlines()
        assert lines[0] == "tf2.15.1-cpu: reproducible"
        assert lines[1] == "tf2.21.0-cpu: other bits than tf2.15.1-cpu; 5 environments left, about 3 steps"
        assert lines[-1].endswith("; 0 environments left")

    def test_what_cannot_be_decided_makes_a_range(
        self, stage: Stage, go: Callable[..., int], capsys: pytest.CaptureFixture[str]
    ) -> None:
        stage.acts = {CPUS[3]: VARYING, CPUS[4]: Behaviour(outcome="unbuilt"), **dict.fromkeys(CPUS[5:], OTHER)}
        assert go() == errors.OK
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == f"changed between {CPUS[2]} and {CPUS[5]}: other bits than tf2.15.1-cpu"
        assert lines[1].startswith(f"{CPUS[3]} could not be decided because: nondeterministic")
        assert lines[2] == f"{CPUS[4]} could not be decided because: build-failed: no wheel"

    def test_what_is_built_is_asked_first(self, stage: Stage, go: Callable[..., int]) -> None:
        stage.acts, stage.built = {CPUS[-1]: OTHER}, {CPUS[4]}
        go()
        assert stage.measured == [CPUS[0], CPUS[-1], CPUS[4], CPUS[5]]
        stage.built = {CPUS[5]}
        go("--no-resume")
        assert stage.measured[2:] == [CPUS[3], CPUS[5]], "to begin with it could cost a question more"

    @pytest.mark.parametrize(
        ("word", "acts", "words"),
        [
            ("bits", {}, "tf2.21.0-cpu is not changed: same bits as tf2.15.1-cpu."),
            ("bits", {CPUS[-1]: CRASHING}, "tf2.21.0-cpu gives no answer: crashed"),
            ("bits", {CPUS[0]: VARYING}, "tf2.15.1-cpu cannot be the start: nondeterministic"),
            ("bits", {CPUS[0]: Behaviour(outcome="unbuilt")}, "cannot be the start: build-failed: no wheel"),
            ("reproducible", {CPUS[-1]: OTHER}, "tf2.21.0-cpu is not changed: reproducible."),
            ("error", {CPUS[-1]: OTHER}, "tf2.21.0-cpu is not changed: no error."),
        ],
    )
    def test_nothing_changed(
        self, stage: Stage, go: Callable[..., int], word: str, acts: dict[str, Behaviour], words: str
    ) -> None:
        stage.acts = acts
        with pytest.raises(errors.NothingError, match=words):
            go(f"--question {word}")
        assert len(stage.measured) <= 2

    def test_what_was_repaired_is_found_the_other_way(
        self, stage: Stage, go: Callable[..., int], capsys: pytest.CaptureFixture[str]
    ) -> None:
        stage.acts = dict.fromkeys(CPUS[:3], RAISING)
        with pytest.raises(errors.NothingError) as caught:
            go("--question error")
        assert "Swap FROM and TO" in caught.value.hint
        go("--question error", f"{CPUS[-1]} {CPUS[0]}")
        assert f"changed from {CPUS[3]} to {CPUS[2]}: error" in capsys.readouterr().out

    def test_slower_measures_both_columns_in_one_run(self, stage: Stage, go: Callable[..., int]) -> None:
        with pytest.raises(errors.NothingError, match=r"tf2\.21\.0-cpu gives no answer: not timed"):
            go("--question slower:1.10 --mode off")
        assert stage.measured == [CPUS[0], CPUS[-1]]
        assert [len(run.info.columns) for run in stage.runs.values()] == [2]

    def test_an_interrupted_search_goes_on(
        self, stage: Stage, go: Callable[..., int], capsys: pytest.CaptureFixture[str]
    ) -> None:
        stage.acts, stage.stop_at = dict.fromkeys(CPUS[5:], OTHER), CPUS[4]
        with pytest.raises(KeyboardInterrupt):
            go()
        stage.stop_at, stage.built = "", {CPUS[4]}
        capsys.readouterr()
        go()
        said = capsys.readouterr()
        assert stage.measured == CPUS[4:6]
        assert said.err.count("is used, which measured the same") == 3
        assert f"changed from {CPUS[4]} to {CPUS[5]}" in said.out

    @pytest.mark.parametrize("other", ["code", "mode", "unfinished", "suite", "host", "lock"])
    def test_another_measurement_is_not_used(self, stage: Stage, go: Callable[..., int], other: str) -> None:
        stage.acts = {CPUS[-1]: OTHER}
        stage.code = "0" * 16 if other == "code" else ""
        ends = f"{CPUS[0]} {CPUS[1]}"
        for _ in range(2):
            with pytest.raises(errors.NothingError):
                go(ends=ends)
            assert len(stage.measured) == 2
            stage.code = ""
            changes: dict[str, Any] = {
                "unfinished": {"finished": ""},
                "suite": {"suite_hash": "0" * 64},
                "host": {"host": {**THIS_HOST, "cpu": "another"}},
            }
            for name, run in stage.runs.items():
                info = dataclasses.replace(run.info, **changes.get(other, {}))
                if other == "lock":
                    columns = tuple(dataclasses.replace(column, lock_hash="0" * 64) for column in info.columns)
                    info = dataclasses.replace(info, columns=columns)
                (stage.reports / "runs" / name / "run.json").write_text(info.to_json(), encoding="utf-8")
            if other == "mode":
                with pytest.raises(errors.NothingError):
                    go("--mode off", ends)
                assert len(stage.measured) == 2
                break

    def test_a_dry_run_measures_nothing(
        self, stage: Stage, go: Callable[..., int], capsys: pytest.CaptureFixture[str]
    ) -> None:
        stage.built = {CPUS[0]}
        assert go("--dry-run") == errors.OK
        rows = capsys.readouterr().out.splitlines()
        assert [row.split("-py")[0] for row in rows[2:9]] == CPUS
        assert [row.split()[2] for row in rows[2:9]] == ["yes", *["no"] * 6]
        assert rows[9:] == ["measured before: none", "would take at most 5 runs if every environment can be measured"]
        assert not stage.measured

    def test_unknown_kernels(self, stage: Stage) -> None:
        for name in ("matmul_f3", "control_integer"):
            with pytest.raises(errors.ConfigError, match="has no kernel"):
                bisect_kernel.bisect(parsed(f"{name} {CPUS[0]} {CPUS[1]}", stage.reports))
