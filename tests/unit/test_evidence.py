"""Bounds and overheads against numbers that can be looked up or worked out by hand."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.verdict import Status
from bench.verdict.evidence import percent_up, upper_bound
from bench.verdict.observations import ProcessObservation
from bench.verdict.timing import Kind, overhead, process_median, timing
from tests import simulation
from tests.unit.factory import SEED, Behaviour, digest, sample

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.mark.parametrize(
    ("differed", "compared", "limit"),
    # nothing seen: 1 - 0.05 ** (1 / n); 1 of 10: the tabulated upper 95 % limit of Clopper and Pearson
    [(0, 1, 0.95), (0, 4, 0.5271), (0, 10, 0.2589), (0, 59, 0.0495), (1, 10, 0.3942), (4, 4, 1.0), (0, 0, 1.0)],
)
def test_upper_bound(differed: int, compared: int, limit: float) -> None:
    assert upper_bound(differed, compared) == pytest.approx(limit, abs=1e-4)


@given(st.integers(1, 300))
def test_nothing_seen_is_the_rule_of_three(compared: int) -> None:
    assert upper_bound(0, compared) == pytest.approx(1 - 0.05 ** (1 / compared))
    assert upper_bound(0, compared) <= 3 / compared + 1e-9


@given(st.integers(0, 60), st.integers(1, 60))
def test_more_seen_bounds_less(differed: int, extra: int) -> None:
    compared = differed + extra
    assert upper_bound(differed, compared) > differed / compared
    assert upper_bound(differed, compared) <= upper_bound(differed + 1, compared)


@pytest.mark.parametrize(("differed", "compared"), [(-1, 3), (4, 3), (0, -1)])
def test_impossible_counts_are_refused(differed: int, compared: int) -> None:
    with pytest.raises(ValueError, match="cannot have differed"):
        upper_bound(differed, compared)


@pytest.mark.parametrize(
    ("share", "percent"), [(0.5271, 53), (0.53, 53), (0.0001, 1), (0.0, 0), (1.0, 100), (2.0, 100)]
)
def test_percent_is_rounded_up(share: float, percent: int) -> None:
    assert percent_up(share) == percent


def said(*times: float, first: float = 0.5, number: int = 1) -> ProcessObservation:
    acts = Behaviour(steady_s=times, first_s=first)
    one = sample("matmul", acts, 0, SEED, digest("x"))
    again = (sample("matmul", acts, 0, SEED, digest("x"), role="timing"),) if times else ()
    return ProcessObservation(
        path=f"on-{number}",
        round=number,
        process=1,
        engine="venv",
        container="",
        reused_from="",
        requested_repetitions=1,
        planned_rounds=None,
        outcome="ok",
        error_class="",
        message="",
        samples=(one, *again),
    )


def many(values: Sequence[float]) -> list[ProcessObservation]:
    return [said(value, number=number) for number, value in enumerate(values, 1)]


def test_the_process_is_the_sampling_unit() -> None:
    found = timing([said(1.0, 2.0, 30.0), said(4.0), said(6.0)])
    assert found is not None
    assert (found.kind, found.per_process, found.median_s) == (Kind.STEADY, (2.0, 4.0, 6.0), 4.0)
    assert (found.low_s, found.high_s) == (2.0, 6.0)


def test_a_process_without_steady_calls_does_not_make_first_ones_of_all() -> None:
    found = timing([said(1.0), said(first=0.25), said(1.0)])
    assert found is not None
    assert (found.kind, found.per_process) == (Kind.STEADY, (1.0, 1.0))
    alone = timing([said(first=0.25), said(first=0.5)])
    assert alone is not None
    assert (alone.kind, alone.per_process) == (Kind.FIRST, (0.25, 0.5))


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -1.0])
def test_times_that_cannot_be_are_not_used(bad: float) -> None:
    assert process_median(said(bad, 2.0), Kind.STEADY) == 2.0
    assert process_median(said(bad), Kind.STEADY) is None
    assert timing([said(bad, first=bad)]) is None


def test_like_is_compared_with_like() -> None:
    assert overhead(many([1.0, 1.0, 1.0]), [said(first=0.25, number=n) for n in (1, 2, 3)]) is None
    on, off = ([said(first=first, number=n) for n in (1, 2, 3)] for first in (0.5, 0.25))
    found = overhead(on, off)
    assert found is not None
    assert (found.kind, found.ratio) == (Kind.FIRST, 2.0)
    assert overhead([], many([1.0])) is None


def test_a_clear_overhead_is_resolved() -> None:
    found = overhead(many([2.0, 2.02, 2.04, 2.06, 2.07]), many([1.0, 1.01, 1.02, 1.03, 1.035]))
    assert found is not None
    assert found.significant
    assert found.low is not None
    assert found.high is not None
    assert 1.9 < found.low <= found.ratio <= found.high < 2.1


def test_determinism_may_be_faster() -> None:
    found = overhead(many([0.5, 0.51, 0.52, 0.53, 0.54]), many([1.0, 1.01, 1.02, 1.03, 1.04]))
    assert found is not None
    assert found.significant
    assert found.ratio < 1


@pytest.mark.parametrize(
    ("on", "off", "why"),
    [
        ([2.0, 2.0], [1.0, 1.0, 1.0], "2 processes per side, but 3 are needed"),
        ([1.0, 1.1, 1.2], [1.0, 1.1, 1.2], "the interval contains 1"),
        ([2.0, 4.0, 8.0], [1.0, 1.0, 1.0], "the interval is wider than a factor of 2"),
        ([2.0, 2.1, 2.2], [1.0, 1.1, 1.2], "so few processes are in this order by chance in 10 % of cases"),
    ],
)
def test_what_is_not_resolved_says_why(on: list[float], off: list[float], why: str) -> None:
    found = overhead(many(on), many(off))
    assert found is not None
    assert (found.significant, found.why) == (False, why)


def test_the_interval_is_the_same_every_time() -> None:
    on, off = many([2.0, 2.1, 2.2]), many([1.0, 1.1, 1.2])
    assert overhead(on, off) == overhead(on, off)


def test_cut_off_rounds_do_not_turn_steady_times_into_first_calls() -> None:
    cut = dataclasses.replace(said(number=2), outcome="cut-off")
    found = timing([said(1.0), cut, said(3.0)])
    assert found is not None
    assert (found.kind, found.per_process) == (Kind.STEADY, (1.0, 3.0))
    partly = timing([said(1.0), dataclasses.replace(said(first=0.25), timed=False)])
    assert partly is not None
    assert (partly.kind, partly.per_process, partly.first_median_s) == (Kind.STEADY, (1.0,), 0.375)


def test_without_a_timing_pass_there_is_no_overhead() -> None:
    untimed = [dataclasses.replace(one, timed=False) for one in many([1.0, 1.0, 1.0])]
    assert overhead(untimed, many([1.0])) is None
    assert overhead(many([1.0]), untimed) is None


# --- the simulation -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tallies() -> dict[tuple[str, simulation.Plant], simulation.Tally]:
    plants = (
        simulation.Plant("never"),
        simulation.Plant("sample", 0.5),
        simulation.Plant("process", 0.2),
        simulation.Plant("never", frozen=True),
    )
    return {(row.profile, row.plant): row for row in simulation.simulate(15, plants)}


def test_a_difference_in_the_data_is_never_green(tallies: dict[Any, simulation.Tally]) -> None:
    assert sum(row.hidden for row in tallies.values()) == 0
    assert any(row.statuses[Status.REPRODUCIBLE] for row in tallies.values())


def test_power_and_false_alarm_are_sane(tallies: dict[Any, simulation.Tally]) -> None:
    for (profile, plant), row in tallies.items():
        assert sum(row.statuses.values()) == 15
        if plant.frozen:
            assert row.statuses == {Status.CONTROL_FAILED: 15}
        elif plant.where == "never":
            assert row.statuses == {Status.INCONCLUSIVE if profile == "quick" else Status.REPRODUCIBLE: 15}
        elif plant.where == "sample":
            assert row.statuses[Status.NONDETERMINISTIC] >= 13
        else:
            assert row.statuses[Status.NONDETERMINISTIC] == 0
            assert row.statuses[Status.REPRODUCIBLE_IN_PROCESS] > 0


def test_the_table_is_the_same_every_time(tallies: dict[Any, simulation.Tally]) -> None:
    again = simulation.simulate(15, (simulation.Plant("process", 0.2),))
    assert again == [row for row in tallies.values() if row.plant.where == "process"]
    told: list[str] = []
    simulation.table(again, told.append)
    assert len(told) == 1 + 3 + 3 + 1
    assert told[-1] == "differences in the data that were called reproducible or inconclusive: 0"
