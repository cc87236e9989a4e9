"""From records of pairs to times, ratios, the noise floor, and what the reader sees of them."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.report.build.page import build
from bench.report.build.ratio_text import ratio_text
from bench.report.text import summary, terminal
from bench.suite.paired_record import Block, PairedKernel
from bench.verdict import evaluate
from bench.verdict.comparison import Side, change
from bench.verdict.paired_times import PairedTimes, log_ratio
from bench.verdict.ratio import TimeRatio
from bench.verdict.timing import TimeKind
from tests import timing_simulation
from tests.unit import factory, paired_factory
from tests.unit.factory import with_pairs
from tests.unit.paired_factory import Noise, pairs

if TYPE_CHECKING:
    from bench.store.run import Run
    from bench.suite.paired_record import PairedRecord

COLUMN = factory.column().id
QUIET = Noise(call=0.002, burst=0, spread=0.002, order=0.002, drift=0.002)
NAMES = [f"op{number}" for number in range(12)]


def blocks(*seconds: tuple[str, float]) -> PairedKernel:
    """A kernel with one call in each block."""
    return PairedKernel(
        "matmul", "steady", "ok", "", tuple(Block(side, (time,), (time,), 0) for side, time in seconds), {}, 0.5
    )


def run_of(*paired: dict[str, PairedRecord], names: list[str] | None = None) -> Run:
    """A run of one column without pairs of its own, and with these."""
    kernels = (*(factory.kernel(name) for name in names or NAMES), *factory.CONTROLS)
    return with_pairs(factory.run(factory.info(kernels=kernels), timed=()), *paired)


@pytest.mark.parametrize("turns", ["abba", "baab", "abbabaab", "ab", "abbaba"])
def test_the_ratio_of_one_pair(turns: str) -> None:
    kernel = blocks(*((side, 0.002 if side == "b" else 0.001) for side in turns))
    assert log_ratio(kernel) == pytest.approx(math.log(2))


def test_a_steady_drift_of_the_host_cancels() -> None:
    kernel = blocks(*((side, 0.001 * 1.1**place) for place, side in enumerate("abbabaab")))
    assert log_ratio(kernel) == pytest.approx(0.0)


def test_one_disturbed_group_among_four_does_not_move_a_pair() -> None:
    times = [(side, 0.001) for side in "abba" * 4]
    times[5] = ("b", 0.1)
    assert log_ratio(blocks(*times)) == pytest.approx(0.0)


def test_one_slow_call_does_not_move_a_block() -> None:
    kernel = dataclasses.replace(
        blocks(), blocks=(Block("a", (0.001, 0.001, 0.5), (), 0), Block("b", (0.002, 0.002, 0.002), (), 0))
    )
    assert log_ratio(kernel) == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    "kernel",
    [
        blocks(("a", 0.001)),
        blocks(),
        blocks(("a", 0.0), ("b", math.nan)),
        dataclasses.replace(blocks(("a", 0.001), ("b", 0.001)), outcome="crashed"),
        dataclasses.replace(blocks(("a", 0.001), ("b", 0.001)), guard={"discarded": "throttled: power"}),
    ],
)
def test_a_pair_without_usable_times_has_no_ratio(kernel: PairedKernel) -> None:
    assert log_ratio(kernel) is None


def test_an_overhead_comes_from_the_pairs() -> None:
    truths = {**dict.fromkeys(NAMES, 1.0), "op0": 1.46, "op1": 0.8}
    results = evaluate(run_of(pairs(truths, noise=QUIET)))
    slow, fast, same = (results.overheads[COLUMN, name, "default"] for name in ("op0", "op1", "op2"))
    assert (slow.significant, fast.significant, same.significant) == (True, True, False)
    assert slow.ratio == pytest.approx(1.46, rel=0.01)
    assert ratio_text(slow).startswith("1.4")
    assert "x slower (1.4" in ratio_text(slow)
    assert "x faster (1." in ratio_text(fast)
    assert ratio_text(same) == "no overhead above 1 %"
    timing = results.of(COLUMN, "op0", "default", "on").timing  # type: ignore[union-attr]
    assert timing is not None
    assert (timing.kind, timing.paired, len(timing.per_process)) == (TimeKind.STEADY, True, 5)
    assert timing.first_median_s == 0.06
    assert timing.cpu_median_s == pytest.approx(2 * timing.median_s, rel=0.05)


def test_too_few_pairs_say_how_many_are_needed() -> None:
    results = evaluate(run_of(pairs(dict.fromkeys(NAMES, 2.0), number=2)))
    overhead = results.overheads[COLUMN, "op0", "default"]
    assert (overhead.significant, overhead.low) == (False, None)
    assert ratio_text(overhead) == "not measured: 2 pairs, 3 needed"


def test_without_pairs_there_are_only_first_calls_and_no_overhead() -> None:
    results = evaluate(run_of())
    verdict = results.of(COLUMN, "op0", "default", "on")
    assert verdict is not None
    assert verdict.timing is not None
    assert (verdict.timing.kind, verdict.timing.paired) == (TimeKind.FIRST, False)
    assert not results.overheads
    assert build(results).lines[0].overhead == "not measured"
    assert build(results).noise_floor is None


def test_the_correction_does_not_depend_on_the_kernels_that_are_evaluated() -> None:
    run = run_of(pairs({**dict.fromkeys(NAMES, 1.0), "op0": 1.1}))
    whole, one = evaluate(run), evaluate(run, ["op0"])
    assert whole.overheads[COLUMN, "op0", "default"] == one.overheads[COLUMN, "op0", "default"]


def test_a_kernel_that_crashes_has_no_overhead() -> None:
    crashed = factory.Behaviour(outcome="crashed")
    kernels = (factory.kernel("op0"), *factory.CONTROLS)
    run = factory.run(factory.info(kernels=kernels), lambda spot: crashed if spot.mode == "on" else factory.EXACT)
    assert not evaluate(with_pairs(run, pairs({"op0": 1.5}))).overheads


def test_the_times_of_a_throttled_pair_are_left_out() -> None:
    records = pairs(dict.fromkeys(NAMES, 1.0))
    first, *_ = records
    discarded = [
        dataclasses.replace(one, guard={"discarded": "throttled: power cap."}) for one in records[first].kernels
    ]
    records[first] = dataclasses.replace(records[first], kernels=tuple(discarded))
    results = evaluate(run_of(records))
    verdict = results.of(COLUMN, "op0", "default", "off")
    assert verdict is not None
    assert verdict.discarded is not None
    assert verdict.discarded.sentence == "Times of 1 of 5 pairs are left out (throttled): power cap."
    assert verdict.timing is not None
    assert len(verdict.timing.per_process) == 4
    assert results.overheads[COLUMN, "op0", "default"].pairs == 4


def test_a_kernel_that_was_timed_again_in_its_pair_counts_once() -> None:
    kernel = blocks(*((side, 0.002 if side == "b" else 0.001) for side in "abba"))
    throttled = dataclasses.replace(blocks(("a", 1.0), ("b", 1.0)), guard={"discarded": "throttled: power cap."})
    record = paired_factory.record("overhead", 1, [throttled, kernel], (COLUMN, COLUMN), ("off", "on"))
    times = PairedTimes(run_of({f"paired/{COLUMN}/overhead-001.jsonl": record}, names=["matmul"]))
    assert times.timing(COLUMN, "matmul", "default", "on").per_process == (0.002,)  # type: ignore[union-attr]
    assert times.discarded(COLUMN, "matmul", "default", "on") is None


# --- the noise floor -----------------------------------------------------------------------------------


def test_the_noise_floor_is_shown() -> None:
    floor = pairs(dict.fromkeys(NAMES[:4], 1.0), comparison="noise-floor", noise=QUIET)
    view = build(evaluate(run_of(pairs(dict.fromkeys(NAMES, 1.0)), floor)))
    assert view.noise_floor is not None
    assert (view.noise_floor.kernels, view.noise_floor.biased) == (4, ())
    assert 0 < view.noise_floor.typical <= view.noise_floor.largest < 0.02
    assert not [notice for notice in view.notices if notice.title == "Noise floor"]
    line = f"Noise floor: {view.noise_floor.sentence}"
    assert line in [fact.label + ": " + fact.value for fact in view.facts]
    shown = summary.render(view, Path("index.html"), 120)
    assert [
        text
        for text in shown.split("\n")
        if text.startswith("Noise floor: two timings with determinism off differ by 0.")
    ]
    assert "Noise floor" in terminal.render(view)


def test_a_noise_floor_that_excludes_1_is_a_warning() -> None:
    floor = pairs({"op0": 1.2, "op1": 1.0}, comparison="noise-floor", noise=QUIET)
    view = build(evaluate(run_of(floor)))
    warning = next(notice for notice in view.notices if notice.title == "Noise floor")
    assert warning.kind == "warn"
    assert len(warning.items) == 1
    assert warning.items[0].startswith("op0 on TF 2.18.1 CPU: 1.2")


# --- upgrades ------------------------------------------------------------------------------------------

OLD, NEW = factory.column("2.18.1"), factory.column("2.21.0")


def upgrade_run(*paired: dict[str, PairedRecord]) -> Run:
    """A run of two columns with these pairs."""
    kernels = (*(factory.kernel(name) for name in NAMES), *factory.CONTROLS)
    return with_pairs(factory.run(factory.info(kernels=kernels, columns=(OLD, NEW)), timed=()), *paired)


def test_an_upgrade_is_compared_by_its_own_pairs() -> None:
    truths = {**dict.fromkeys(NAMES, 1.0), "op0": 1.3}
    results = evaluate(upgrade_run(pairs(truths, comparison="upgrade", columns=(OLD.id, NEW.id), noise=QUIET)))
    before, after = (Side(results=results, column=column.id) for column in (OLD, NEW))
    there = {(one.kernel, one.mode): one for one in change(before, after).kernels}
    back = {(one.kernel, one.mode): one for one in change(after, before).kernels}
    cost, inverse = there["op0", "on"].cost, back["op0", "on"].cost
    assert cost is not None
    assert inverse is not None
    assert (cost.paired, cost.significant) == (True, True)
    assert inverse.ratio == pytest.approx(1 / cost.ratio)
    assert [str(event) for event in there["op0", "on"].events] == ["slower"]
    assert [str(event) for event in back["op0", "on"].events] == ["faster"]
    assert ratio_text(there["op1", "on"].cost, "slowdown") == "no slowdown above 1 %"
    assert there["op0", "off"].cost_why == "not timed on both sides"


def test_columns_without_such_pairs_are_compared_as_not_paired() -> None:
    paired = [
        pairs(dict.fromkeys(NAMES, 1.0), columns=(column.id, column.id), noise=QUIET, seed=seed)
        for seed, column in enumerate((OLD, NEW), 1)
    ]
    results = evaluate(upgrade_run(*paired))
    before, after = (Side(results=results, column=column.id) for column in (OLD, NEW))
    costs = [one.cost for one in change(before, after).kernels]
    assert len(costs) == 2 * len(NAMES)
    assert all(cost is not None and not cost.paired for cost in costs)
    assert ratio_text(costs[0], "slowdown").endswith(" %, not paired")


def test_too_few_pairs_of_an_upgrade_are_no_comparison() -> None:
    truths = dict.fromkeys(NAMES, 2.0)
    results = evaluate(upgrade_run(pairs(truths, comparison="upgrade", columns=(OLD.id, NEW.id), number=2)))
    before, after = (Side(results=results, column=column.id) for column in (OLD, NEW))
    assert {(one.cost, one.cost_why) for one in change(before, after).kernels if one.mode == "on"} == {
        (None, "only 2 pairs, 3 needed")
    }


def test_first_calls_of_the_reproducibility_pass_are_not_compared() -> None:
    results = evaluate(upgrade_run())
    before, after = (Side(results=results, column=column.id) for column in (OLD, NEW))
    assert {one.cost_why for one in change(before, after).kernels} == {"not timed on both sides"}


# --- words ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ((1.41, 1.46, 1.52), "1.46x slower (1.41 to 1.52)"),
        ((1 / 1.17, 1 / 1.12, 1 / 1.08), "1.12x faster (1.08 to 1.17)"),
        ((0.98, 1.005, 1.0201), "no overhead above 3 %"),
        ((0.7, 1.0, 1.4), "no overhead above 40 %"),
    ],
)
def test_what_the_user_reads(ends: tuple[float, float, float], text: str) -> None:
    low, ratio, high = ends
    found = TimeRatio(kind=TimeKind.STEADY, ratio=ratio, low=low, high=high, significant=not low <= 1 <= high, pairs=5)
    assert ratio_text(found) == text
    assert ratio_text(dataclasses.replace(found, significant=False)).startswith("no overhead above ")


def test_the_page_says_how_many_overheads_are_significant_and_how_they_are_corrected() -> None:
    view = build(evaluate(run_of(pairs({**dict.fromkeys(NAMES, 1.0), "op0": 1.5}, noise=QUIET))))
    text = next(fact.value for fact in view.facts if fact.label == "Overheads")
    assert text == (
        "1 of 12 ratios significant, at most 5 % of them falsely (Benjamini-Hochberg over all kernels and columns); "
        "their intervals have the level 99.6 % to allow for the selection; all others 95 %"
    )


# --- the simulation ------------------------------------------------------------------------------------


def test_coverage_power_and_false_discoveries() -> None:
    tally = timing_simulation.simulate(25)
    assert 0.92 < tally.null_contain / tally.null < 0.98
    assert tally.found / tally.real > 0.9
    assert tally.selected_contain / tally.selected > 0.9
    assert tally.false_share / tally.pages < 0.08


def test_real_pairs_are_drawn_again_and_again() -> None:
    floor = pairs(dict.fromkeys(NAMES, 1.0), comparison="noise-floor", number=10)
    tally = timing_simulation.resampled([PairedTimes(run_of(floor))], 20)
    assert tally.null == 20 * len(NAMES)
    assert 0.8 < tally.null_contain / tally.null <= 1
