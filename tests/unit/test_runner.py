"""A run from plan to folder, with an engine that only says what a cell would say."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench import console, runner
from bench.engines.base import Environment, Execution
from bench.errors import EngineError
from bench.plan import own, planner
from bench.plan.models import Matrix
from bench.plan.planner import Selection
from bench.store.kept import kept_files
from bench.store.run import Run, load
from bench.suite.identity import HOUSE, suite_hash
from bench.suite.record import SCHEMA, line
from bench.suite.values import keep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bench.plan.cell import Cell
    from bench.suite.record import Request

MINE = """\
from bench.suite.kernels import kernel
@kernel(family="own", exercises="x", shapes="x", dtypes="x", source="own")
def my_kernel(tf, seed):
    return lambda: {}
"""


@dataclass
class Stage:
    """An engine whose cells say a whole round, or what ``script`` makes of its lines."""

    script: Callable[[Request, list[str]], list[str]] = lambda _, lines: lines
    bits: Callable[[Request, str], str] = lambda _, kernel: kernel
    exit: Execution = field(default_factory=lambda: Execution(exit_code=0))
    name: str = "stage"
    requests: list[Request] = field(default_factory=list)

    def describe(self) -> Mapping[str, str]:
        return {}

    def disk_need(self, cells: tuple[Cell, ...]) -> tuple[Path, int]:
        return HOUSE, 0

    def cached(self, cell: Cell) -> bool:
        return True

    def prepare(self, cell: Cell, log: Path, say: Callable[[str], None]) -> Environment:
        return Environment(cell=cell.id, identity="i", reused=True, seconds=0.0)

    def execute(
        self, environment: Environment, request: Request, on_line: Callable[[str], None], log: Path
    ) -> Execution:
        self.requests.append(request)
        for text in self.script(request, list(self.lines(request))):
            on_line(text)
        return self.exit

    def lines(self, request: Request) -> list[str]:
        head = {"schema": SCHEMA, "request": json.loads(request.to_json()), "suite_hash": suite_hash(HOUSE)}
        said = [line("header", head)]
        said.append(line("process", {"process": 1, "pid": 1, "started": "", "provenance": {}, "settings": {}}))
        for name in request.kernels:
            bits = self.bits(request, name)
            of = {"process": 1, "kernel": name}
            row = keep("x", None, np.arange(3.0), bits, 128)
            said += [line("kernel", of), line("kept", {**of, "digest": bits, "tensors": [row]})]
            said.append(line("outcome", {**of, "outcome": "ok", "seconds": 0.1}))
        return [*said, line("end", {"seconds": 1.0, "processes": 1})]

    def sweep(self) -> int:
        return 0


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "measuring_lock", lambda _: nullcontext())


@pytest.fixture
def go(tmp_path: Path) -> Callable[..., Run]:
    """Run a small matrix on a stage and read its folder."""

    def run(stage: Stage, *, suite: own.Suite | None = None, reports: str = "reports", **profile: Any) -> Run:
        facts = {"rounds": 2, "repeats": 3, "kernels": ["reduce_max", "mlp_loop"], **profile}
        body = {
            "pairs": [{"tensorflow": "2.18.1", "cuda": "cpu", "keras": "3.15.1"}],
            "profiles": {"p": facts},
            "conditions": {"onednn=0": {"repeats": 1}},
        }
        matrix = Matrix.model_validate(body, strict=False)
        plan = planner.make(matrix, "p", Selection(), HOUSE / "docker" / "locks", suite or own.suite([]))
        job = runner.Job(
            plan=plan, engine=stage, engine_why="", house=HOUSE, reports=tmp_path / reports, command="python -m bench"
        )
        with console.view() as view:
            return load(runner.run(job, view))

    return run


def test_a_request_says_all_that_the_plan_does(go: Callable[..., Run]) -> None:
    stage = Stage()
    conditions = ["default", "threads=3", "onednn=0", "tf32=off", "switch=env"]
    run = go(stage, heavy_repeats=2, steady_s=0.3, order_seed=7, conditions=conditions)
    assert run.info.finished
    assert len(run.records) == len(stage.requests) == 2 * 2 * 4, "no TF32 on a CPU"
    for one in stage.requests:
        assert one.contrast is (one.round == 1)
        assert one.order_seed == 7 + one.round
        assert one.steady_s == (0.3 if one.condition == "default" else 0.0)
        wanted = (1, 1) if one.condition == "onednn=0" else (3, 2)
        assert (one.repeats["reduce_max"], one.repeats["mlp_loop"]) == wanted
        assert one.threads == (3 if one.condition == "threads=3" else None)
        assert one.env == ({"TF_ENABLE_ONEDNN_OPTS": "0"} if one.condition == "onednn=0" else {})
        assert one.switch == ("env" if one.condition == "switch=env" else "api")
        assert (one.tf32, one.extra) == (None, {})
    assert {one.kernels for one in stage.requests if one.round == 1} != {
        one.kernels for one in stage.requests if one.round == 2
    }
    keys = {one.context["resume_key"] for one in stage.requests}
    assert len(keys) == len(stage.requests)


def test_ones_own_kernels_travel_and_count_for_the_resume_key(go: Callable[..., Run], tmp_path: Path) -> None:
    keys = set()
    for text in (MINE, MINE + "# edited\n"):
        (tmp_path / "mine.py").write_text(text, encoding="utf-8")
        (tmp_path / "broken.py").write_text("x =\n", encoding="utf-8")
        stage = Stage()
        suite = own.suite([tmp_path / "mine.py", tmp_path / "broken.py"])
        run = go(stage, suite=suite, kernels=["my_*"], rounds=1)
        assert stage.requests[0].extra == {"mine.py": text, "broken.py": "x =\n"}
        assert "my_kernel" in stage.requests[0].kernels
        assert {one.name: one.file for one in run.info.kernels if not one.control} == {"my_kernel": "mine.py"}
        assert any("broken.py, line 1: SyntaxError" in warning for warning in run.info.warnings)
        assert not run.info.taken_over
        keys.add(stage.requests[0].context["resume_key"])
    assert len(keys) == 2


def test_a_digest_is_kept_once_and_its_lines_are_no_part_of_the_record(go: Callable[..., Run], tmp_path: Path) -> None:
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


def test_a_cell_that_dies_is_closed_with_what_is_known(go: Callable[..., Run]) -> None:
    def die(_: Request, lines: list[str]) -> list[str]:
        place = next(number for number, text in enumerate(lines) if '"line": "outcome"' in text) + 1
        return [*lines[:place], lines[place], lines[place + 1][:30]]

    for oom, outcome in ((False, "crashed"), (True, "oom")):
        run = go(Stage(script=die, exit=Execution(exit_code=137, oom_killed=oom)), reports=outcome)
        for one in run.records.values():
            assert one.complete
            ended = [found.outcome for found in one.outcomes]
            assert ended == ["ok"] + [outcome] * (len(one.request.kernels) - 1)
            assert {found.kernel for found in one.outcomes} == set(one.request.kernels)
            assert {found.peak_mb for found in one.outcomes} == {None}
        assert not run.unreadable


def test_a_round_that_cannot_be_run_leaves_no_record_and_gives_the_cell_up(go: Callable[..., Run]) -> None:
    def refuse(request: Request, lines: list[str]) -> list[str]:
        if (request.round, request.mode) == (1, "on"):
            raise EngineError("it broke", "mend it")
        return lines

    run = go(Stage(script=refuse))
    assert list(run.records) == ["records/tf2.18.1-cpu-py311@cpu/default/off-001.jsonl"]
    assert not run.info.finished
    assert any("was given up in round 1" in warning and "it broke" in warning for warning in run.info.warnings)


def test_what_an_interrupted_run_finished_is_taken_with_its_values(go: Callable[..., Run]) -> None:
    def stop(request: Request, lines: list[str]) -> list[str]:
        if request.round == 2:
            raise KeyboardInterrupt
        return lines

    with pytest.raises(KeyboardInterrupt):
        go(Stage(script=stop))
    stage = Stage()
    run = go(stage)
    assert [one.round for one in stage.requests] == [2, 2]
    assert len(run.records) == 4
    assert set(run.info.taken_over) == {name for name in run.records if name.endswith("-001.jsonl")}
    assert run.kept.tensors("reduce_max", "reduce_max")


def test_a_suite_edited_during_the_run_is_told(go: Callable[..., Run]) -> None:
    def other(_: Request, lines: list[str]) -> list[str]:
        return [lines[0].replace(suite_hash(HOUSE), "0" * 64), *lines[1:]]

    run = go(Stage(script=other))
    assert not run.records
    (cell,) = run.info.cells
    assert (cell.status, "not the one of this checkout" in cell.reason) == ("failed", True)
