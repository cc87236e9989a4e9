"""Cells, selection, and the order of rounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import ConfigError, NothingError
from bench.plan import estimate, load, planner
from bench.plan.models import Matrix
from bench.plan.planner import Selection

if TYPE_CHECKING:
    from pathlib import Path


def matrix(**changes: Any) -> Matrix:
    body: dict[str, Any] = {
        "pairs": [
            {"tensorflow": "2.15.1", "cuda": "cpu", "keras": "2.15.0"},
            {"tensorflow": "2.18.1", "cuda": "cpu", "keras": "3.15.1"},
            {"tensorflow": "2.18.1", "cuda": "12.5", "keras": "3.15.1"},
        ],
        "conditions": {"isa=avx2": {"kernels": ["matmul*"]}, "switch=env": {"modes": ["on"]}},
        "profiles": {"p": {"rounds": 3, "repeats": 2, "conditions": ["default", "isa=avx2", "switch=env"]}},
    }
    return Matrix.model_validate({**body, **changes}, strict=False)


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    for stem in ("tf2.15.1-cpu-py311", "tf2.18.1-cpu-py311"):
        (tmp_path / f"{stem}.txt").write_text("keras==3.15.1\n", encoding="utf-8")
    return tmp_path


def test_ids_are_stable_and_say_pair_python_and_device(locks: Path) -> None:
    plan = planner.make(matrix(), "p", Selection(), locks)
    assert [cell.id for cell in plan.cells] == [
        "tf2.15.1-cpu-py311@cpu",
        "tf2.18.1-cpu-py311@cpu",
        "tf2.18.1-cuda12.5-py311@gpu",
    ]


def test_a_cuda_pair_is_impossible_and_says_why(locks: Path) -> None:
    plan = planner.make(matrix(), "p", Selection(), locks)
    assert plan.cells[2].status == "impossible"
    assert "cpu pairs only" in plan.cells[2].reason
    assert all(one.cell is not plan.cells[2] for one in plan.rounds)


def test_a_missing_lock_is_a_status_not_an_end(tmp_path: Path) -> None:
    plan = planner.make(matrix(), "p", Selection(), tmp_path)
    assert plan.cells[0].status == "build-failed"
    assert "nox -s lock" in plan.cells[0].reason


@pytest.mark.parametrize("glob", ["tf2.18*cpu*", "tf2.18.1-cpu", "tf2.18.1-cpu-py311", "tf2.18.1-cpu-py311@cpu"])
def test_only_matches_pair_stem_and_cell(locks: Path, glob: str) -> None:
    plan = planner.make(matrix(), "p", Selection(only=(glob,)), locks)
    assert [cell.pair.id for cell in plan.cells] == ["tf2.18.1-cpu"]


def test_include_and_exclude_of_the_file(locks: Path) -> None:
    made = matrix(select={"include": ["*cpu"], "exclude": ["tf2.15*"]})
    assert [cell.pair.id for cell in planner.make(made, "p", Selection(), locks).cells] == ["tf2.18.1-cpu"]


def test_an_empty_selection_names_what_there_is(locks: Path) -> None:
    with pytest.raises(NothingError) as caught:
        planner.make(matrix(), "p", Selection(only=("tf9*",)), locks)
    assert caught.value.code == 3
    assert "tf2.15.1-cpu" in caught.value.hint
    with pytest.raises(NothingError, match="No kernel matches nope"):
        planner.make(matrix(), "p", Selection(kernels=("nope",)), locks)


def test_controls_run_whatever_was_asked(locks: Path) -> None:
    plan = planner.make(matrix(), "p", Selection(kernels=("reduce*",)), locks)
    assert [kernel.name for kernel in plan.kernels] == ["reduce_sum_1d", "control_flicker", "control_integer"]
    assert all({"control_flicker", "control_integer"} <= set(one.kernels) for one in plan.rounds)


def test_a_condition_without_kernels_of_its_own_is_left_out(locks: Path) -> None:
    plan = planner.make(matrix(), "p", Selection(kernels=("reduce*",)), locks)
    assert "isa=avx2" not in plan.conditions


def test_modes_alternate_from_round_to_round(locks: Path) -> None:
    plan = planner.make(matrix(), "p", Selection(only=("tf2.15*",)), locks)
    order = [one.mode for one in plan.rounds if one.condition == "default"]
    assert order == ["off", "on", "on", "off", "off", "on"]


def test_a_condition_limits_modes(locks: Path) -> None:
    plan = planner.make(matrix(), "p", Selection(), locks)
    assert {one.mode for one in plan.rounds if one.condition == "switch=env"} == {"on"}


def test_overrides_change_only_what_they_select(locks: Path) -> None:
    made = matrix(overrides=[{"select": "tf2.15*", "rounds": 1, "skip": ["data*"]}])
    plan = planner.make(made, "p", Selection(), locks)
    old = [one for one in plan.rounds if one.cell.pair.tensorflow == "2.15.1" and one.condition == "default"]
    new = [one for one in plan.rounds if one.cell.pair.tensorflow == "2.18.1" and one.condition == "default"]
    assert (len(old), len(new)) == (2, 6)
    assert "data_pipeline" not in old[0].kernels
    assert "data_pipeline" in new[0].kernels


def test_the_command_line_has_the_last_word(locks: Path) -> None:
    made = matrix(overrides=[{"select": "tf2.15*", "rounds": 8, "repeats": 9}])
    plan = planner.make(made, "p", Selection(rounds=2, repeats=4), locks)
    assert {(one.number, one.planned, one.repeats) for one in plan.rounds} == {(1, 2, 4), (2, 2, 4)}


def test_controls_cannot_be_skipped_and_run_for_nobody(locks: Path) -> None:
    plan = planner.make(matrix(overrides=[{"select": "tf2.15*", "skip": ["control_*"]}]), "p", Selection(), locks)
    assert all({"control_flicker", "control_integer"} <= set(one.kernels) for one in plan.rounds)
    plan = planner.make(matrix(overrides=[{"select": "tf2.15*", "skip": ["*"]}]), "p", Selection(), locks)
    assert {one.cell.pair.tensorflow for one in plan.rounds} == {"2.18.1"}


@pytest.mark.parametrize(
    "slip",
    [
        {"overrides": [{"select": "tf9*"}]},
        {"overrides": [{"select": "tf2*", "skip": ["nope*"]}]},
        {"conditions": {"isa=avx2": {"kernels": ["matmull*"]}}},
    ],
)
def test_a_pattern_that_matches_nothing_is_refused(locks: Path, slip: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="matches nothing") as caught:
        planner.make(matrix(**slip), "p", Selection(), locks)
    assert "There are:" in caught.value.hint


def test_each_pattern_of_the_command_line_must_match(locks: Path) -> None:
    with pytest.raises(NothingError, match="No kernel matches nope"):
        planner.make(matrix(), "p", Selection(kernels=("matmul*", "nope")), locks)
    with pytest.raises(NothingError, match=r"No pair matches tf9\*"):
        planner.make(matrix(), "p", Selection(only=("tf2*", "tf9*")), locks)


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ({"tensorflow": "2.99.0", "cuda": "cpu", "keras": "3.15.1"}, ["2.99.0", "releases"]),
        ({"tensorflow": "2.15.1", "cuda": "cpu", "keras": "2.15.0", "python": "3.13"}, ["no wheel for Python 3.13"]),
    ],
)
def test_pairs_that_cannot_exist_are_refused(locks: Path, pair: dict[str, str], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        planner.make(matrix(pairs=[pair]), "p", Selection(), locks)
    for word in words:
        assert word in str(caught.value)
    assert "2.21.0" in caught.value.hint or "3.11" in caught.value.hint


def test_doubles_and_unknown_profiles_are_refused(locks: Path) -> None:
    pair = {"tensorflow": "2.15.1", "cuda": "cpu", "keras": "2.15.0"}
    with pytest.raises(ConfigError, match="more than once"):
        planner.make(matrix(pairs=[pair, pair]), "p", Selection(), locks)
    with pytest.raises(ConfigError, match="no profile 'q'"):
        planner.make(matrix(), "q", Selection(), locks)


@given(st.integers(1, 20), st.integers(1, 20))
def test_every_cell_gets_every_round_once(rounds: int, repeats: int) -> None:
    from pathlib import Path  # noqa: PLC0415 - hypothesis and tmp_path do not mix

    made = load.load(Path(__file__).parents[2] / "matrix.toml")
    plan = planner.make(
        made, "standard", Selection(rounds=rounds, repeats=repeats), Path(__file__).parents[2] / "docker" / "locks"
    )
    keys = [(one.cell.id, one.condition, one.mode, one.number) for one in plan.rounds]
    assert len(keys) == len(set(keys)) == rounds * len(plan.ready) * 5
    assert {one.repeats for one in plan.rounds} == {repeats}
    assert all(estimate.round_seconds(one) > 0 for one in plan.rounds)


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("default", ({}, None, "api")),
        ("isa=avx2", ({"ONEDNN_MAX_CPU_ISA": "AVX2"}, None, "api")),
        ("onednn=0", ({"TF_ENABLE_ONEDNN_OPTS": "0"}, None, "api")),
        ("threads=1", ({}, 1, "api")),
        ("switch=env", ({}, None, "env")),
    ],
)
def test_what_a_condition_means(condition: str, wanted: tuple[dict[str, str], int | None, str]) -> None:
    assert planner.condition_settings(condition) == wanted


def test_oversubscription_counts_cores() -> None:
    _, one, _ = planner.condition_settings("threads=1xcores")
    _, four, _ = planner.condition_settings("threads=4xcores")
    assert one is not None
    assert four == 4 * one


def test_the_time_left_follows_what_was_seen_and_ends_at_nothing(locks: Path) -> None:
    rounds = list(planner.make(matrix(), "p", Selection(), locks).rounds)
    pace = estimate.Pace(rounds)
    guess = pace.left_s()
    assert guess == pytest.approx(sum(estimate.round_seconds(one) for one in rounds))
    twice = [pace.took(one, 2 * estimate.round_seconds(one)) for one in rounds]
    assert twice[0] == pytest.approx(2 * (guess - estimate.round_seconds(rounds[0])))
    assert twice[-1] == pytest.approx(0, abs=1e-9)
