"""Bounds and times against numbers that can be looked up or worked out by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.verdict import Status, detection
from bench.verdict.evidence import percent_up, upper_bound
from bench.verdict.observations import ProcessObservation
from bench.verdict.timing import TimeKind, first_calls, median
from tests import simulation
from tests.unit.factory import SEED, Behaviour, digest, sample

if TYPE_CHECKING:
    from pathlib import Path


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


def said(*first: float) -> ProcessObservation:
    """A process with these times of first calls."""
    return ProcessObservation(
        path="on-1",
        round=1,
        process=1,
        engine="venv",
        container="",
        reused_from="",
        requested_repetitions=1,
        planned_rounds=None,
        outcome="ok",
        error_class="",
        message="",
        samples=tuple(sample("matmul", Behaviour(first_s=time), 0, SEED, digest("x")) for time in first),
    )


def test_the_process_is_the_sampling_unit() -> None:
    found = first_calls([said(2.0, 30.0), said(4.0), said(6.0)])
    assert found is not None
    assert (found.kind, found.paired, found.per_process, found.median_s) == (
        TimeKind.FIRST,
        False,
        (16.0, 4.0, 6.0),
        6.0,
    )
    assert (found.low_s, found.high_s) == (4.0, 16.0)
    assert first_calls([]) is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -1.0])
def test_times_that_cannot_be_are_not_used(bad: float) -> None:
    assert median([bad, 2.0, None]) == 2.0
    assert median([bad]) is None
    assert first_calls([said(bad)]) is None


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
    actual: list[str] = []
    simulation.table(again, actual.append)
    assert len(actual) == 1 + 5 + 5 + 1
    assert actual[-1] == "differences in the data that were called reproducible or inconclusive: 0"


# --- detection power ----------------------------------------------------------------------------------


@given(share=st.floats(0.0, 1.0), samples=st.integers(0, 200))
def test_a_race_is_missed_at_least_as_often_as_bits_that_never_occur_again(share: float, samples: int) -> None:
    missed, race = detection.missed(share, samples), detection.missed_race(share, samples)
    assert 0.0 <= missed <= race <= 1.0
    assert race == pytest.approx(detection.missed_race(1 - share, samples))


@given(one_in=st.integers(2, 100), samples=st.integers(2, 200))
def test_more_samples_find_more(one_in: int, samples: int) -> None:
    assert detection.found(samples, one_in) <= detection.found(samples + 1, one_in)
    assert detection.found(1, one_in) == 0.0


def test_the_power_of_slow_kernels() -> None:
    assert detection.missed_race(0.5, 5) == 1 / 16
    assert detection.found(5 * 2) == pytest.approx(0.651, abs=0.001)
    assert detection.sentence(5 * 5) == "would be found in 92 % of runs if it differed in 1 of 10 samples"


def test_the_simulation_agrees_with_the_computed_power() -> None:
    plants = (simulation.Plant("sample", 0.1), simulation.Plant("process", 0.5))
    rows = {(row.profile, row.plant.where): row for row in simulation.simulate(60, plants)}
    for profile in ("standard", "standard, slow"):
        rounds, _, own = simulation.PROFILES[profile]
        for where, samples, one_in in (("sample", rounds * own, 10), ("process", rounds, 2)):
            row = rows[profile, where]
            seen = row.statuses[Status.NONDETERMINISTIC] + row.statuses[Status.REPRODUCIBLE_IN_PROCESS]
            low, high = simulation.interval(seen, row.runs)
            assert low <= detection.found(samples, one_in) <= high


def test_the_docs_have_the_computed_table(root: Path) -> None:
    text = (root / "docs/explanation/controls.md").read_text(encoding="utf-8")
    for row in simulation.powers():
        assert f"| {' | '.join(row)} |" in text
