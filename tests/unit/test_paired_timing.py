"""Paired timing: the coordinator with real processes that speak the protocol."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.portable import pair_side, paired_timing
from bench.portable.errors import PortableError
from bench.portable.launcher import Local
from bench.portable.limited_log import LimitedLog
from bench.portable.paired_timing import Hooks, PairPlan, first_turns, run_pair
from bench.portable.session import Session
from bench.suite import paired_record
from bench.suite.record import SCHEMA, RecordError, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bench.suite.paired_record import PairedKernel, PairedRecord

WORKER = Path(__file__).with_name("timing_side.py")


@dataclass
class Stage:
    """Runs pairs of processes of ``timing_side.py``; ``opened`` has the sides in the order in which they started."""

    launcher: Local
    folder: Path
    opened: list[str] = field(default_factory=list)
    opened_for: list[tuple[str, ...]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    no_gpu: str = ""

    def plan(self, *kernels: str, limit_s: float = 20.0, **changes: Any) -> PairPlan:
        context = changes.pop("context", {})
        requests = {
            side: Request(
                column="c", mode=mode, variation="default", round=1, kernels=kernels, repetitions={},
                time_limit_s=limit_s, context=context,
                kernel_files={name: "0/custom.py" for name in kernels if name.startswith("custom")},
            )
            for side, mode in (("a", "off"), ("b", "on"))
        }  # fmt: skip
        return replace(PairPlan("overhead", 1, "a", 0.1, requests), **changes)

    def run(self, *kernels: str, hooks: Hooks | None = None, **changes: Any) -> PairedRecord:
        plan = self.plan(*kernels, **changes)

        @contextmanager
        def open_session(side: str, request: Request) -> Iterator[Session]:
            self.opened.append(side)
            self.opened_for.append(request.kernels)
            with ExitStack() as stack:
                log = stack.enter_context(LimitedLog(self.folder / f"{side}.log"))
                yield stack.enter_context(self.launcher.open_session(request, log))

        self.lines, self.opened, self.opened_for = [], [], []
        self.no_gpu = run_pair(plan, open_session, "s", self.lines.append, hooks)
        return paired_record.parse(self.lines)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    suite = tmp_path / "suite"
    (suite / "bench" / "suite").mkdir(parents=True)
    (suite / "bench" / "__init__.py").touch()
    (suite / "bench" / "suite" / "__init__.py").touch()
    shutil.copy(WORKER, suite / "bench" / "suite" / "timing_start.py")
    return Stage(Local(sys.executable, suite), tmp_path)


def by_name(record: PairedRecord) -> dict[str, PairedKernel]:
    return {kernel.kernel: kernel for kernel in record.kernels}


def sides(kernel: PairedKernel) -> str:
    return "".join(block.side for block in kernel.blocks)


def test_two_sides_take_turns_in_short_blocks(stage: Stage) -> None:
    record = stage.run("one", "two")
    assert (record.comparison, record.number, record.started_first, record.complete) == ("overhead", 1, "a", True)
    assert [process.side for process in record.processes] == ["a", "b"]
    assert [process.libraries for process in record.processes] == [{"side": "a"}, {"side": "b"}]
    assert record.seconds > 0
    assert record.budget_s == 0.1
    kernels = by_name(record)
    assert sides(kernels["one"])[:8] == "abbabaab"
    assert sides(kernels["two"])[:8] == "baababba", "half of the kernels begin with the other side"
    for kernel in record.kernels:
        assert (kernel.outcome, kernel.message, kernel.kind) == ("ok", "", "steady")
        assert sides(kernel).count("a") == sides(kernel).count("b") == 16
        assert kernel.first_seconds == {"a": 0.1, "b": 0.1}
        assert {block.seconds for block in kernel.blocks if block.side == "b"} == {(0.003, 0.003, 0.003)}


def test_start_order_and_first_turn_are_balanced_over_four_pairs() -> None:
    seen = {(("a", "b")[number % 2], first_turns(("x", "y", "z"), number)["y"]) for number in (1, 2, 3, 4)}
    assert seen == set(product("ab", repeat=2))
    turns = list(first_turns([f"k{place}" for place in range(20)], 3).values())
    assert turns.count("a") == turns.count("b") == 10


@pytest.mark.parametrize("first", ["a", "b"])
def test_the_plan_says_which_process_is_started_first(stage: Stage, first: str) -> None:
    record = stage.run("one", first=first)
    assert stage.opened[0] == record.started_first == first


def test_a_slow_kernel_gets_one_group_of_blocks(stage: Stage) -> None:
    assert sides(stage.run("slow").kernels[0]) == "abba"


def test_brief_calls_are_timed_in_batches_unless_every_block_has_only_one(stage: Stage) -> None:
    kernels = by_name(stage.run("brief", "once"))
    assert {block.batch for block in kernels["brief"].blocks} == {3}, "20 readings of 0.3 ms in a block of 6.25 ms"
    assert {block.batch for block in kernels["once"].blocks} == {1}


def test_a_kernel_that_is_built_anew_for_every_call_gets_fewer_blocks_the_longer_it_takes(stage: Stage) -> None:
    kernels = by_name(stage.run("once", "once_briefly", "once_for_long"))
    assert {kernel.kind for kernel in kernels.values()} == {"first"}
    assert sides(kernels["once"]) == "abba"
    assert len(kernels["once_briefly"].blocks) == 20, "0.1 s of calls of 10 ms on each side"
    assert sorted(sides(kernels["once_for_long"])) == ["a", "b"]


@pytest.mark.parametrize("when", ["prepare", "warm-up", "rebuild", "block", "release"])
@pytest.mark.parametrize(
    ("what", "outcome", "message"),
    [
        ("dies", "crashed", "side b: the process ended with SIGKILL"),
        ("exits", "crashed", "side b: the process ended with exit code 3"),
        ("forks", "crashed", "side b: the process ended with exit code 4"),
        ("cut", "crashed", "side b: the process ended with exit code 5"),
        ("hangs", "timeout", "side b exceeded the limit of 1.5 s"),
        ("breaks", "error", "side b: ValueError: breaks"),
    ],
)
def test_a_side_that_fails_costs_one_kernel_and_is_replaced(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, what: str, when: str, outcome: str, message: str
) -> None:
    monkeypatch.setattr(pair_side, "END_LIMIT_S", 1.5)
    monkeypatch.setattr("bench.portable.paired_timing.END_LIMIT_S", 1.5)
    start = time.monotonic()
    record = stage.run(f"{what}_{when}", "after", limit_s=1.5)
    assert time.monotonic() - start < 15
    failed, after = record.kernels
    assert (failed.outcome, failed.message[: len(message)]) == (outcome, message)
    assert after.outcome == "ok"
    assert len(after.blocks) == 32
    assert stage.opened == ["a", "b", "b"], "the healthy side stays"
    assert [process.side for process in record.processes] == ["a", "b", "b"]
    assert record.complete


class Scripted(Session):
    """A side that measures nothing, and writes down what it is sent and when its answer is read."""

    def __init__(self, side: str, heard: list[tuple[str, str]]) -> None:
        self.side, self.heard = side, heard
        self.command = ""

    def send(self, text: str) -> None:
        self.command = json.loads(text)["do"]
        self.heard.append((self.side, self.command))

    def read(self, timeout_s: float) -> str:
        answers = {
            "": {"line": "process", "suite_hash": "s", "no_gpu": "", "pid": 1},
            "prepare": {"line": "prepared", "kind": "steady", "first_s": 0.1, "rebuild_s": 0.1},
            "warm-up": {"line": "warm", "call_s": 1.0},
            "block": {"line": "block", "seconds": [1.0], "cpu_seconds": [1.0], "switches": 0},
        }
        if self.command:
            self.heard.append((self.side, "answered"))
        return json.dumps(answers.get(self.command, {"line": "done", "usable": True, "libraries": {}}))


@pytest.mark.parametrize(("device", "at_once"), [("cpu", True), ("gpu", False)])
def test_sides_build_at_the_same_time_on_a_cpu_alone(stage: Stage, device: str, at_once: bool) -> None:  # noqa: FBT001
    plan = stage.plan("one")
    requests = {side: replace(request, device=device) for side, request in plan.requests.items()}
    heard: list[tuple[str, str]] = []
    run_pair(replace(plan, requests=requests), lambda side, _: nullcontext(Scripted(side, heard)), "s", lambda _: None)
    built = [place for place, (_, what) in enumerate(heard) if what in ("prepare", "rebuild")]
    assert len(built) == 4
    for first, second in (built[:2], built[2:]):
        assert second - first == (1 if at_once else 2), "on a GPU, the first side answers before the second is asked"
    timed = [place for place, (_, what) in enumerate(heard) if what in ("warm-up", "block")]
    assert all(heard[place + 1] == (heard[place][0], "answered") for place in timed), "what is timed runs alone"


@pytest.mark.parametrize(
    ("groups", "rebuild_s", "steps"),
    [
        (1, 0.01, "ab-ba"),
        (1, 1.0, "ab-ba"),
        (1, 3.0, "abba"),
        (3, 0.01, "abba-baababba"),
        (3, 1.0, "abba-baababba"),
        (4, 1.0, "abbabaab-abbabaab"),
        (2, 3.0, "abbabaab"),
    ],
)
def test_inputs_are_built_anew_in_the_middle_unless_it_takes_long(groups: int, rebuild_s: float, steps: str) -> None:
    found = paired_timing._steps(groups, rebuild_s)
    assert "".join("-" if place is None else "ab"[place] for place in found) == steps


def test_an_error_costs_one_kernel_and_keeps_both_processes(stage: Stage) -> None:
    record = stage.run("raises_prepare", "raises_block", "after")
    assert [kernel.outcome for kernel in record.kernels] == ["error", "error", "ok"]
    assert stage.opened == ["a", "b"]


def test_a_process_in_a_changed_state_is_replaced(stage: Stage) -> None:
    record = stage.run("changes", "after")
    assert [kernel.outcome for kernel in record.kernels] == ["ok", "ok"]
    assert sorted(stage.opened) == ["a", "a", "b", "b"]


def test_a_custom_kernel_has_processes_of_its_own(stage: Stage) -> None:
    record = stage.run("custom_one", "one", "custom_two", "two")
    assert [kernel.kernel for kernel in record.kernels] == ["one", "two", "custom_one", "custom_two"]
    assert sorted(stage.opened) == ["a", "a", "a", "b", "b", "b"]
    own = [("one", "two"), ("custom_one",), ("custom_two",)]
    assert stage.opened_for == [kernels for kernels in own for _ in "ab"], "so that the hook of its file comes first"


@pytest.mark.parametrize("others", [("custom_two",), ("one", "custom_two")])
def test_a_custom_file_that_prevents_the_start_costs_its_own_kernel(stage: Stage, others: tuple[str, ...]) -> None:
    outcomes = {kernel.kernel: kernel.outcome for kernel in stage.run("custom_start", *others).kernels}
    assert outcomes == {"custom_start": "crashed", **dict.fromkeys(others, "ok")}


@pytest.mark.parametrize(("start", "outcome"), [("mismatch", "mismatch"), ("dies", "crashed")])
def test_a_side_that_cannot_start_ends_every_kernel(stage: Stage, start: str, outcome: str) -> None:
    record = stage.run("one", "two", context={"start": start})
    assert [kernel.outcome for kernel in record.kernels] == [outcome, outcome]
    assert record.complete
    assert len(stage.opened) == 2


def test_a_side_without_a_gpu_measures_nothing(stage: Stage) -> None:
    record = stage.run("one", "two", context={"no_gpu": "no driver"})
    assert stage.no_gpu == "no driver"
    assert [(kernel.outcome, kernel.message) for kernel in record.kernels] == [("gpu-not-visible", "no driver")] * 2


def test_another_suite_is_no_measurement(stage: Stage) -> None:
    with pytest.raises(PortableError, match="another version of the suite"):
        stage.run("one", context={"suite": "other"})


def test_a_discarded_kernel_is_taken_again_twice(stage: Stage) -> None:
    reasons = iter(["throttled", "shared", "throttled again", ""])
    settled: list[tuple[str, str]] = []

    def observe(start: float, end: float) -> Mapping[str, Any]:
        assert start < end
        return {"discarded": next(reasons)}

    hooks = Hooks(observe=observe, settle=lambda kernel, reason: settled.append((kernel, reason)))
    record = stage.run("one", "two", hooks=hooks)
    assert settled == [("one", "throttled"), ("one", "shared")]
    assert [kernel.guard for kernel in record.kernels] == [{"discarded": "throttled again"}, {"discarded": ""}]
    assert [len(kernel.blocks) for kernel in record.kernels] == [32, 32], "only the last attempt is in the record"


def test_an_interrupt_leaves_no_process_behind(stage: Stage) -> None:
    def interrupt(kernel: str) -> None:
        if kernel == "two":
            raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        stage.run("one", "two", hooks=Hooks(kernel=interrupt))
    assert time.monotonic() - start < 10
    record = paired_record.parse(stage.lines)
    assert [kernel.kernel for kernel in record.kernels] == ["one"]
    assert not record.complete
    for process in record.processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)


def test_plan_and_header_are_read_back(stage: Stage) -> None:
    plan = stage.plan("one")
    stage.run("one")
    assert PairPlan.from_json(plan.__dict__ | {"requests": {s: r.__dict__ for s, r in plan.requests.items()}}) == plan
    assert paired_record.parse(stage.lines).requests == plan.requests
    assert plan.name == "overhead-001"
    assert replace(plan, comparison="upgrade", number=12).name == "upgrade-from-c-012"


def change(stage: Stage, old: str, new: str) -> Callable[[], PairedRecord]:
    text = "".join(stage.lines)
    assert old in text
    return lambda: paired_record.parse(text.replace(old, new).splitlines(keepends=True))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"seconds": [0.002', '"seconds": [-0.002'),
        ('"seconds": [0.002', '"seconds": [NaN'),
        ('"seconds": [0.002', '"seconds": ["x"'),
        ('"comparison": "overhead"', '"comparison": "other"'),
        ('"switches": 1', '"twitches": 1'),
        (f'"schema": {SCHEMA}', f'"schema": {SCHEMA - 1}'),
    ],
)
def test_an_impossible_record_is_refused(stage: Stage, old: str, new: str) -> None:
    stage.run("one")
    with pytest.raises(RecordError):
        change(stage, old, new)()


def test_a_truncated_record_keeps_what_came_before(stage: Stage) -> None:
    stage.run("one", "two")
    record = paired_record.parse([*stage.lines[:4], stage.lines[4][:50]])
    assert len(record.kernels) == 1
    assert not record.complete
