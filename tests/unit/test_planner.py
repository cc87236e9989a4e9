"""Cells, selection, and the order of rounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import ConfigError, NothingError
from bench.plan import estimate, load, own, planner
from bench.plan.conditions import applies, settings
from bench.plan.models import Matrix
from bench.plan.planner import Plan, Round, Selection
from bench.suite.kernels import all_kernels

if TYPE_CHECKING:
    from pathlib import Path

SUITE = own.suite([])
CONTROLS = {name for name, one in SUITE.kernels.items() if one.control}


def make(matrix: Matrix, profile: str, selection: Selection, locks: Path) -> Plan:
    """The plan over the fixed suite."""
    return planner.make(matrix, profile, selection, locks, SUITE)


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
    plan = make(matrix(), "p", Selection(), locks)
    assert [cell.id for cell in plan.cells] == [
        "tf2.15.1-cpu-py311@cpu",
        "tf2.18.1-cpu-py311@cpu",
        "tf2.18.1-cuda12.5-py311@gpu",
    ]


def test_a_cuda_pair_is_impossible_and_says_why(locks: Path) -> None:
    plan = make(matrix(), "p", Selection(), locks)
    assert plan.cells[2].status == "impossible"
    assert "cpu pairs only" in plan.cells[2].reason
    assert all(one.cell is not plan.cells[2] for one in plan.rounds)


def test_a_missing_lock_is_a_status_not_an_end(tmp_path: Path) -> None:
    plan = make(matrix(), "p", Selection(), tmp_path)
    assert plan.cells[0].status == "build-failed"
    assert "nox -s lock" in plan.cells[0].reason


@pytest.mark.parametrize("glob", ["tf2.18*cpu*", "tf2.18.1-cpu", "tf2.18.1-cpu-py311", "tf2.18.1-cpu-py311@cpu"])
def test_only_matches_pair_stem_and_cell(locks: Path, glob: str) -> None:
    plan = make(matrix(), "p", Selection(only=(glob,)), locks)
    assert [cell.pair.id for cell in plan.cells] == ["tf2.18.1-cpu"]


def test_include_and_exclude_of_the_file(locks: Path) -> None:
    made = matrix(select={"include": ["*cpu"], "exclude": ["tf2.15*"]})
    assert [cell.pair.id for cell in make(made, "p", Selection(), locks).cells] == ["tf2.18.1-cpu"]


def test_an_empty_selection_names_what_there_is(locks: Path) -> None:
    with pytest.raises(NothingError) as caught:
        make(matrix(), "p", Selection(only=("tf9*",)), locks)
    assert caught.value.code == 3
    assert "tf2.15.1-cpu" in caught.value.hint
    with pytest.raises(NothingError, match="No kernel matches nope"):
        make(matrix(), "p", Selection(kernels=("nope",)), locks)


def test_controls_run_whatever_was_asked(locks: Path) -> None:
    plan = make(matrix(), "p", Selection(kernels=("reduce*",)), locks)
    reductions = {name for name in SUITE.kernels if name.startswith("reduce")}
    assert {kernel.name for kernel in plan.kernels} == reductions | CONTROLS
    assert all(set(one.kernels) > CONTROLS for one in plan.rounds)


def test_a_condition_without_kernels_of_its_own_is_left_out(locks: Path) -> None:
    plan = make(matrix(), "p", Selection(kernels=("reduce*",)), locks)
    assert "isa=avx2" not in plan.conditions


def test_modes_alternate_from_round_to_round(locks: Path) -> None:
    plan = make(matrix(), "p", Selection(only=("tf2.15*",)), locks)
    order = [one.mode for one in plan.rounds if one.condition == "default"]
    assert order == ["off", "on", "on", "off", "off", "on"]


def test_a_condition_limits_modes(locks: Path) -> None:
    plan = make(matrix(), "p", Selection(), locks)
    assert {one.mode for one in plan.rounds if one.condition == "switch=env"} == {"on"}


def test_overrides_change_only_what_they_select(locks: Path) -> None:
    made = matrix(overrides=[{"select": "tf2.15*", "rounds": 1, "skip": ["data*"]}])
    plan = make(made, "p", Selection(), locks)
    old = [one for one in plan.rounds if one.cell.pair.tensorflow == "2.15.1" and one.condition == "default"]
    new = [one for one in plan.rounds if one.cell.pair.tensorflow == "2.18.1" and one.condition == "default"]
    assert (len(old), len(new)) == (2, 6)
    assert "data_pipeline" not in old[0].kernels
    assert "data_pipeline" in new[0].kernels


def test_the_command_line_has_the_last_word(locks: Path) -> None:
    made = matrix(overrides=[{"select": "tf2.15*", "rounds": 8, "repeats": 9}])
    plan = make(made, "p", Selection(rounds=2, repeats=4), locks)
    assert {(one.number, one.planned) for one in plan.rounds} == {(1, 2), (2, 2)}
    assert {count for one in plan.rounds for count in one.repeats.values()} == {4}


def test_controls_cannot_be_skipped_and_run_for_nobody(locks: Path) -> None:
    plan = make(matrix(overrides=[{"select": "tf2.15*", "skip": ["control_*"]}]), "p", Selection(), locks)
    assert all(set(one.kernels) >= CONTROLS for one in plan.rounds)
    plan = make(matrix(overrides=[{"select": "tf2.15*", "skip": ["*"]}]), "p", Selection(), locks)
    assert {one.cell.pair.tensorflow for one in plan.rounds} == {"2.18.1"}


@pytest.mark.parametrize(
    "slip",
    [
        {"overrides": [{"select": "tf9*"}]},
        {"overrides": [{"select": "tf2*", "skip": ["nope*"]}]},
        {"conditions": {"isa=avx2": {"kernels": ["matmull*"]}}},
        {"conditions": {"isa=avx2": {"skip": ["conv2d_*", "conv9*"]}}},
        {"conditions": {"threads=1": {"skip": ["nope"]}}},
    ],
)
def test_a_pattern_that_matches_nothing_is_refused(locks: Path, slip: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="matches nothing") as caught:
        make(matrix(**slip), "p", Selection(), locks)
    assert "There are:" in caught.value.hint


def test_each_pattern_of_the_command_line_must_match(locks: Path) -> None:
    with pytest.raises(NothingError, match="No kernel matches nope"):
        make(matrix(), "p", Selection(kernels=("matmul*", "nope")), locks)
    with pytest.raises(NothingError, match=r"No pair matches tf9\*"):
        make(matrix(), "p", Selection(only=("tf2*", "tf9*")), locks)


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ({"tensorflow": "2.99.0", "cuda": "cpu", "keras": "3.15.1"}, ["2.99.0", "releases"]),
        ({"tensorflow": "2.15.1", "cuda": "cpu", "keras": "2.15.0", "python": "3.13"}, ["no wheel for Python 3.13"]),
    ],
)
def test_pairs_that_cannot_exist_are_refused(locks: Path, pair: dict[str, str], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        make(matrix(pairs=[pair]), "p", Selection(), locks)
    for word in words:
        assert word in str(caught.value)
    assert "2.21.0" in caught.value.hint or "3.11" in caught.value.hint


def test_doubles_and_unknown_profiles_are_refused(locks: Path) -> None:
    pair = {"tensorflow": "2.15.1", "cuda": "cpu", "keras": "2.15.0"}
    with pytest.raises(ConfigError, match="more than once"):
        make(matrix(pairs=[pair, pair]), "p", Selection(), locks)
    with pytest.raises(ConfigError, match="no profile 'q'"):
        make(matrix(), "q", Selection(), locks)


@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from(["standard", "nightly", "quick"]))
def test_every_cell_gets_every_round_once(rounds: int, repeats: int, profile: str) -> None:
    from pathlib import Path  # noqa: PLC0415 - hypothesis and tmp_path do not mix

    house = Path(__file__).parents[2]
    made = load.load(house / "matrix.toml")
    plan = make(made, profile, Selection(rounds=rounds, repeats=repeats), house / "docker" / "locks")
    keys = [(one.cell.id, one.condition, one.mode, one.number) for one in plan.rounds]
    per_round = sum(len(plan.condition_modes[name]) for name in plan.conditions)
    assert len(keys) == len(set(keys)) == rounds * len(plan.ready) * per_round
    assert max(count for one in plan.rounds for count in one.repeats.values()) == repeats
    assert all(estimate.round_seconds(one) > 0 for one in plan.rounds)


def rounds_of(locks: Path, **changes: Any) -> list[Round]:
    """Rounds of one pair; ``changes`` are of its profile."""
    profile = {"rounds": 3, "repeats": 7, "heavy_repeats": 3, "conditions": ["default", "threads=1"], **changes}
    conditions = profile.pop("tables", {})
    made = matrix(profiles={"p": profile}, conditions=conditions)
    return list(make(made, "p", Selection(only=("tf2.18.1-cpu",)), locks).rounds)


class TestOrder:
    """Kernels run in an order of their own in every round, and anyone can make that order again."""

    def test_it_is_a_permutation_and_the_same_for_the_same_seed(self, locks: Path) -> None:
        rounds, again = rounds_of(locks), rounds_of(locks)
        for one, other in zip(rounds, again, strict=True):
            assert sorted(one.kernels) == sorted(SUITE.kernels)
            assert set(one.repeats) == set(one.kernels)
            assert one.kernels == other.kernels
            assert one.order_seed == one.number

    def test_it_differs_between_rounds_and_seeds_and_from_the_suites_own(self, locks: Path) -> None:
        orders = {one.number: one.kernels for one in rounds_of(locks)}
        shifted = {one.number: one.kernels for one in rounds_of(locks, order_seed=100)}
        assert len({*orders.values(), *shifted.values(), tuple(SUITE.kernels)}) == 7

    def test_it_is_one_for_both_modes_so_that_they_compare(self, locks: Path) -> None:
        for number in (1, 2, 3):
            orders = {(one.condition, one.kernels) for one in rounds_of(locks) if one.number == number}
            assert len(orders) == 2

    def test_the_seed_alone_makes_it_again(self, locks: Path) -> None:
        import random  # noqa: PLC0415 - what a reader of a record would do

        for one in rounds_of(locks, order_seed=5):
            names = list(SUITE.kernels)
            assert list(one.kernels) == random.Random(one.order_seed).sample(names, len(names))  # noqa: S311
            assert one.order_seed == 5 + one.number


class TestRepeats:
    """Heavy kernels get fewer, and a condition gives at most what it says."""

    def counts(self, one: Round) -> tuple[set[int], set[int]]:
        light = {count for name, count in one.repeats.items() if not SUITE.kernels[name].heavy}
        return light, {count for name, count in one.repeats.items() if SUITE.kernels[name].heavy}

    @pytest.mark.parametrize(
        ("profile", "table", "wanted"),
        [
            ({}, {}, (7, 3)),
            ({}, {"repeats": 5}, (5, 3)),
            ({}, {"repeats": 2}, (2, 2)),
            ({}, {"repeats": 9, "heavy_repeats": 9}, (7, 3)),
            ({}, {"heavy_repeats": 1}, (7, 1)),
            ({"heavy_repeats": None}, {}, (7, 7)),
            ({"heavy_repeats": 20}, {}, (7, 7)),
            ({"heavy_repeats": None}, {"heavy_repeats": 2}, (7, 2)),
        ],
    )
    def test_light_and_heavy_under_a_condition(
        self, locks: Path, profile: dict[str, Any], table: dict[str, Any], wanted: tuple[int, int]
    ) -> None:
        found = rounds_of(locks, **profile, tables={"threads=1": table})
        for one in found:
            if one.condition == "threads=1":
                assert self.counts(one) == ({wanted[0]}, {wanted[1]})
            assert one.heavy == {name for name, kernel in SUITE.kernels.items() if kernel.heavy}
        default = next(one for one in found if one.condition == "default")
        heavy = profile.get("heavy_repeats", 3) or 7
        assert self.counts(default) == ({7}, {min(heavy, 7)})

    def test_an_override_changes_heavy_ones_by_themselves(self, locks: Path) -> None:
        body = {"profiles": {"p": {"rounds": 1, "repeats": 7, "heavy_repeats": 3}}, "conditions": {}}
        made = matrix(
            **body, overrides=[{"select": "tf2.18*", "heavy_repeats": 2}, {"select": "tf2.15*", "repeats": 2}]
        )
        found = {one.cell.pair.tensorflow: self.counts(one) for one in make(made, "p", Selection(), locks).rounds}
        assert found == {"2.15.1": ({2}, {2}), "2.18.1": ({7}, {2})}


class TestTimes:
    """Times are taken under ``default``, and under what says ``timed``."""

    def test_steady_seconds_are_nought_elsewhere(self, locks: Path) -> None:
        conditions = ["default", "threads=1", "onednn=0"]
        found = rounds_of(locks, steady_s=0.3, conditions=conditions, tables={"onednn=0": {"timed": True}})
        steady = {(one.condition, one.steady_s) for one in found}
        assert steady == {("default", 0.3), ("threads=1", 0.0), ("onednn=0", 0.3)}

    def test_the_estimate_knows_repeats_weight_and_times(self, locks: Path) -> None:
        def seconds(**changes: Any) -> float:
            return estimate.round_seconds(rounds_of(locks, conditions=["default"], **changes)[0])

        base = seconds(steady_s=0)
        assert seconds(steady_s=0, repeats=8) > base
        assert seconds(steady_s=0, heavy_repeats=4) > base
        assert seconds(steady_s=0.1) == pytest.approx(base + 0.1 * len(SUITE.kernels))


class TestTf32:
    """A GPU's own: no round of a CPU cell, and no condition of a plan without a GPU."""

    def plan(self, locks: Path, *only: str) -> Plan:
        made = matrix(profiles={"p": {"rounds": 1, "repeats": 1, "conditions": ["default", "tf32=off", "tf32=on"]}})
        return make(made, "p", Selection(only=only), locks)

    def test_cpu_cells_leave_it_out(self, locks: Path) -> None:
        assert list(self.plan(locks, "*cpu").conditions) == ["default"]
        assert list(self.plan(locks, "*cpu").condition_modes) == ["default"]

    def test_beside_a_gpu_pair_only_the_cpu_cells_do(self, locks: Path) -> None:
        plan = self.plan(locks)
        assert list(plan.conditions) == ["default", "tf32=off", "tf32=on"]
        assert {one.condition for one in plan.rounds} == {"default"}, "no GPU pair can be run yet"

    def test_alone_it_leaves_nothing_to_run(self, locks: Path) -> None:
        made = matrix(profiles={"p": {"rounds": 1, "repeats": 1, "conditions": ["tf32=off"]}})
        with pytest.raises(NothingError, match="no round to run"):
            make(made, "p", Selection(only=("*cpu",)), locks)

    @pytest.mark.parametrize(
        ("condition", "device", "wanted"),
        [("tf32=on", "cpu", False), ("tf32=off", "gpu", True), ("default", "cpu", True), ("onednn=0", "cpu", True)],
    )
    def test_what_applies_where(self, condition: str, device: str, wanted: bool) -> None:  # noqa: FBT001
        assert applies(condition, device) is wanted


def test_a_condition_skips_kernels_but_no_controls(locks: Path) -> None:
    found = rounds_of(locks, tables={"threads=1": {"kernels": ["conv*", "reduce*"], "skip": ["conv3d*", "control_*"]}})
    names = {name for one in found if one.condition == "threads=1" for name in one.kernels}
    wanted = {name for name in SUITE.kernels if name.startswith(("conv2d", "reduce"))}
    assert names == wanted | CONTROLS
    assert {name for one in found if one.condition == "default" for name in one.kernels} == set(SUITE.kernels)


def write_kernel(folder: Path) -> Path:
    path = folder / "mine.py"
    path.write_text(
        "from bench.suite.kernels import kernel\n"
        "@kernel(family='own', exercises='x', shapes='x', dtypes='x', source='own', heavy=True)\n"
        "def my_kernel(tf, seed):\n    return lambda: {}\n",
        encoding="utf-8",
    )
    return path


def test_kernels_of_ones_own_are_planned_like_any(locks: Path, tmp_path: Path) -> None:
    path = write_kernel(tmp_path)
    found = own.suite([path])
    made = matrix(profiles={"p": {"rounds": 1, "repeats": 7, "heavy_repeats": 2}}, conditions={})
    plan = planner.make(made, "p", Selection(kernels=("my_*",)), locks, found)
    assert {one.name for one in plan.kernels} == CONTROLS | {"my_kernel"}
    assert {one.repeats["my_kernel"] for one in plan.rounds} == {2}
    assert plan.suite.sources == {"mine.py": path.read_text(encoding="utf-8")}
    assert "my_kernel" not in all_kernels()


def test_kernels_of_ones_own_join_a_profile_that_lists_others(locks: Path, tmp_path: Path) -> None:
    """Whoever names the file wants them: to leave them out without a word would be a lie by silence."""
    found = own.suite([write_kernel(tmp_path)])
    made = matrix(profiles={"p": {"rounds": 1, "repeats": 1, "kernels": ["matmul_mean"]}}, conditions={})
    for selection in (Selection(), Selection(kernels=("my_*", "matmul*"))):
        plan = planner.make(made, "p", selection, locks, found)
        assert {one.name for one in plan.kernels} == CONTROLS | {"my_kernel", "matmul_mean"}


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("default", ({}, None, None, "api")),
        ("isa=avx2", ({"ONEDNN_MAX_CPU_ISA": "AVX2"}, None, None, "api")),
        ("onednn=0", ({"TF_ENABLE_ONEDNN_OPTS": "0"}, None, None, "api")),
        ("onednn=1", ({"TF_ENABLE_ONEDNN_OPTS": "1"}, None, None, "api")),
        ("threads=1", ({}, 1, None, "api")),
        ("threads=12", ({}, 12, None, "api")),
        ("tf32=on", ({}, None, True, "api")),
        ("tf32=off", ({}, None, False, "api")),
        ("switch=env", ({}, None, None, "env")),
        ("of a later version", ({}, None, None, "api")),
    ],
)
def test_what_a_condition_means(condition: str, wanted: tuple[Any, ...]) -> None:
    found = settings(condition)
    assert (found.env, found.threads, found.tf32, found.switch) == wanted


def test_oversubscription_counts_cores() -> None:
    one, four = settings("threads=1xcores").threads, settings("threads=4xcores").threads
    assert one is not None
    assert four == 4 * one


def test_the_time_left_follows_what_was_seen_and_ends_at_nothing(locks: Path) -> None:
    rounds = list(make(matrix(), "p", Selection(), locks).rounds)
    pace = estimate.Pace(rounds)
    guess = pace.left_s()
    assert guess == pytest.approx(sum(estimate.round_seconds(one) for one in rounds))
    twice = [pace.took(one, 2 * estimate.round_seconds(one)) for one in rounds]
    assert twice[0] == pytest.approx(2 * (guess - estimate.round_seconds(rounds[0])))
    assert twice[-1] == pytest.approx(0, abs=1e-9)
