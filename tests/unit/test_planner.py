"""Columns, selection, and the order of rounds."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import settings as checks
from hypothesis import strategies as st

from bench.errors import ConfigError, NoGpuError, NothingError
from bench.gpu.facts import Gpu, GpuInventory
from bench.plan import config, cuda, custom_kernels, devices, duration, planner
from bench.plan.config_models import Matrix
from bench.plan.planner import Plan, Selection
from bench.plan.schedule import NOISE_FLOOR_KERNELS
from bench.plan.variations import applies, refuse_unknown
from bench.suite.kernel_files import read_source
from bench.suite.kernels import all_kernels
from bench.suite.variation import settings

if TYPE_CHECKING:
    from pathlib import Path

    from bench.plan.schedule import Round, TimingPair

SUITE = custom_kernels.suite([])
HOST_ONLY = ("threads=1", "threads=4xcores", "inter=1", "devices=2", "onednn=0", "isa=avx2")
CONTROLS = {name for name, kernel in SUITE.kernels.items() if kernel.control}


def gpu(uuid: str, name: str, capability: tuple[int, int]) -> Gpu:
    return Gpu(uuid=uuid, name=name, capability=capability, memory_mb=16_000)


#: One of each kind of host: without a GPU, with one, with two of one model beside another.
BARE = GpuInventory(why="this host shows no card")
HOPPER = Gpu(uuid="GPU-1a2b3c4d-0000", name="NVIDIA H200", capability=(9, 0), memory_mb=143_771)
HOST = GpuInventory(driver="570.124.06", cuda=12080, gpus=(HOPPER,))
TWINS = GpuInventory(
    driver="570.124.06",
    gpus=(HOPPER, dataclasses.replace(HOPPER, uuid="GPU-99999999-0000"), gpu("GPU-7", "Tesla V100-SXM2-16GB", (7, 0))),
)


def make(
    matrix: Matrix, profile: str, selection: Selection, locks: Path, requested: str = "any", survey: GpuInventory = BARE
) -> Plan:
    """The plan over the fixed suite; for all pairs of the file if no device is named."""
    return planner.make(matrix, profile, selection, locks, SUITE, devices.choose(requested, survey))


def matrix(**changes: Any) -> Matrix:
    body: dict[str, Any] = {
        "pairs": [
            {"tensorflow": "2.15.1", "cuda": "cpu", "keras": "2.15.0"},
            {"tensorflow": "2.18.1", "cuda": "cpu", "keras": "3.15.1"},
            {"tensorflow": "2.18.1", "cuda": "12.5", "keras": "3.15.1"},
        ],
        "variations": {"isa=avx2": {"kernels": ["matmul*"]}, "switch=env": {"modes": ["on"]}},
        "profiles": {"p": {"rounds": 3, "repetitions": 2, "variations": ["default", "isa=avx2", "switch=env"]}},
    }
    return Matrix.model_validate({**body, **changes}, strict=False)


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    for stem in ("tf2.15.1-cpu-py311", "tf2.18.1-cpu-py311", "tf2.18.1-cuda12.5-py311"):
        (tmp_path / f"{stem}.txt").write_text("keras==3.15.1\n", encoding="utf-8")
    return tmp_path


def test_ids_are_stable_and_say_pair_python_and_device(locks: Path) -> None:
    plan = make(matrix(), "p", Selection(), locks)
    assert [column.id for column in plan.columns] == [
        "tf2.15.1-cpu-py311@cpu",
        "tf2.18.1-cpu-py311@cpu",
        "tf2.18.1-cuda12.5-py311@gpu",
    ]


def test_without_a_gpu_a_cuda_pair_is_gpu_not_visible_with_the_reason(locks: Path) -> None:
    plan = make(matrix(), "p", Selection(), locks)
    assert (plan.columns[2].status, plan.columns[2].reason) == ("gpu-not-visible", "this host shows no card")
    assert all(item.column is not plan.columns[2] for item in plan.rounds)


def test_a_missing_lock_is_a_status_not_an_error(tmp_path: Path) -> None:
    plan = make(matrix(), "p", Selection(), tmp_path)
    assert plan.columns[0].status == "build-failed"
    assert "nox -s lock" in plan.columns[0].reason


@pytest.mark.parametrize("glob", ["tf2.18*cpu*", "tf2.18.1-cpu", "tf2.18.1-cpu-py311", "tf2.18.1-cpu-py311@cpu"])
def test_env_globs_match_pair_stem_and_column(locks: Path, glob: str) -> None:
    plan = make(matrix(), "p", Selection(only=(glob,)), locks)
    assert [column.pair.id for column in plan.columns] == ["tf2.18.1-cpu"]


def test_include_and_exclude_of_the_file(locks: Path) -> None:
    made = matrix(select={"include": ["*cpu"], "exclude": ["tf2.15*"]})
    assert [column.pair.id for column in make(made, "p", Selection(), locks).columns] == ["tf2.18.1-cpu"]


def test_an_empty_selection_lists_the_available_names(locks: Path) -> None:
    with pytest.raises(NothingError) as caught:
        make(matrix(), "p", Selection(only=("tf9*",)), locks)
    assert caught.value.code == 3
    assert "tf2.15.1-cpu" in caught.value.hint
    with pytest.raises(NothingError, match="No kernel matches nope"):
        make(matrix(), "p", Selection(kernels=("nope",)), locks)


def test_requested_kernels_need_not_be_in_the_profile(locks: Path) -> None:
    made = matrix(profiles={"p": {"rounds": 1, "repetitions": 1, "kernels": ["reduce_max"]}})
    plan = make(made, "p", Selection(kernels=("matmul_f32", "reduce_m*")), locks)
    assert {kernel.name for kernel in plan.kernels} - CONTROLS == {"matmul_f32", "reduce_max", "reduce_mean_axis"}
    assert {kernel.name for kernel in make(made, "p", Selection(), locks).kernels} - CONTROLS == {"reduce_max"}


def test_controls_always_run(locks: Path) -> None:
    plan = make(matrix(), "p", Selection(kernels=("reduce*",)), locks)
    reductions = {name for name in SUITE.kernels if name.startswith("reduce")}
    assert {kernel.name for kernel in plan.kernels} == reductions | CONTROLS
    assert all(set(item.kernels) > CONTROLS for item in plan.rounds)


def test_a_variation_with_only_controls_is_left_out(locks: Path) -> None:
    plan = make(matrix(), "p", Selection(kernels=("reduce*",)), locks)
    assert "isa=avx2" not in plan.variations


def test_modes_alternate_from_round_to_round(locks: Path) -> None:
    plan = make(matrix(), "p", Selection(only=("tf2.15*",)), locks)
    order = [item.mode for item in plan.rounds if item.variation == "default"]
    assert order == ["off", "on", "on", "off", "off", "on"]


def test_the_first_pass_is_round_1_of_the_default_variation_in_all_columns(locks: Path) -> None:
    plan = make(matrix(), "p", Selection(), locks)
    numbers = [item.pass_number for item in plan.rounds]
    assert numbers == sorted(numbers)
    first = [(item.column.pair.id, item.mode, item.variation) for item in plan.rounds if item.pass_number == 1]
    columns = [column.pair.id for column in plan.ready]
    assert first == [(column, mode, "default") for column in columns for mode in ("off", "on")]
    others = {(item.pass_number, item.number) for item in plan.rounds if item.variation != "default"}
    assert others == {(2, 1), (2, 2), (3, 3)}


def test_the_second_seed_runs_once_in_a_column_and_mode(locks: Path) -> None:
    def seeds(selection: Selection) -> list[tuple[str, str]]:
        plan = make(matrix(), "p", selection, locks)
        requests = [item.request(plan.suite) for item in plan.rounds]
        return [(one.variation, one.mode) for one in requests if one.second_seed and one.column.startswith("tf2.18")]

    assert seeds(Selection()) == [("default", "off"), ("default", "on")]
    assert seeds(Selection(modes=("on",))) == [("default", "on")]
    assert seeds(Selection(variations=("isa=avx2", "switch=env"))) == [
        ("isa=avx2", "off"), ("isa=avx2", "on"), ("switch=env", "on"),
    ]  # fmt: skip


def test_without_the_default_variation_a_pass_is_a_round(locks: Path) -> None:
    plan = make(matrix(), "p", Selection(variations=("isa=avx2", "switch=env")), locks)
    assert {(item.pass_number, item.number) for item in plan.rounds} == {(1, 1), (2, 2), (3, 3)}


@pytest.mark.parametrize(
    ("profile", "selection", "guess"),
    [
        ("P", Selection(), "There is no profile 'P'; did you mean 'p'?"),
        ("p", Selection(kernels=("matmul_f23",)), "No kernel matches matmul_f23; did you mean 'matmul_f32'?"),
        ("p", Selection(only=("tf2.18-cpu",)), "No pair matches tf2.18-cpu; did you mean 'tf2.18.1-cpu'?"),
    ],
)
def test_a_misspelled_name_is_answered_with_the_nearest(
    locks: Path, profile: str, selection: Selection, guess: str
) -> None:
    with pytest.raises((ConfigError, NothingError)) as caught:
        make(matrix(), profile, selection, locks)
    assert str(caught.value) == guess


def test_a_variation_limits_modes(locks: Path) -> None:
    plan = make(matrix(), "p", Selection(), locks)
    assert {item.mode for item in plan.rounds if item.variation == "switch=env"} == {"on"}


def test_overrides_change_only_the_selected_pairs(locks: Path) -> None:
    made = matrix(overrides=[{"select": "tf2.15*", "rounds": 1, "skip": ["data*"]}])
    plan = make(made, "p", Selection(), locks)
    old = [item for item in plan.rounds if item.column.pair.tensorflow == "2.15.1" and item.variation == "default"]
    new = [item for item in plan.rounds if item.column.pair.tensorflow == "2.18.1" and item.variation == "default"]
    assert (len(old), len(new)) == (2, 6)
    assert "data_pipeline" not in old[0].kernels
    assert "data_pipeline" in new[0].kernels


def test_the_command_line_wins(locks: Path) -> None:
    made = matrix(overrides=[{"select": "tf2.15*", "rounds": 8, "repetitions": 9}])
    plan = make(made, "p", Selection(rounds=2, repetitions=4), locks)
    assert {(item.number, item.planned) for item in plan.rounds} == {(1, 2), (2, 2)}
    assert {count for item in plan.rounds for count in item.repetitions.values()} == {4}


def test_controls_cannot_be_skipped_and_do_not_run_alone(locks: Path) -> None:
    plan = make(matrix(overrides=[{"select": "tf2.15*", "skip": ["control_*"]}]), "p", Selection(), locks)
    assert all(set(item.kernels) >= CONTROLS for item in plan.rounds)
    plan = make(matrix(overrides=[{"select": "tf2.15*", "skip": ["*"]}]), "p", Selection(), locks)
    assert {item.column.pair.tensorflow for item in plan.rounds} == {"2.18.1"}


@pytest.mark.parametrize(
    "slip",
    [
        {"overrides": [{"select": "tf9*"}]},
        {"overrides": [{"select": "tf2*", "skip": ["nope*"]}]},
        {"variations": {"isa=avx2": {"kernels": ["matmull*"]}}},
        {"variations": {"isa=avx2": {"skip": ["conv2d_*", "conv9*"]}}},
        {"variations": {"threads=1": {"skip": ["nope"]}}},
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
        ({"tensorflow": "2.99.0", "cuda": "cpu", "keras": "3.15.1"}, ["2.99.0", "not a release that"]),
        ({"tensorflow": "2.15.1", "cuda": "cpu", "keras": "2.15.0", "python": "3.13"}, ["no wheel for Python 3.13"]),
    ],
)
def test_pairs_that_cannot_exist_are_refused(locks: Path, pair: dict[str, str], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        make(matrix(pairs=[pair]), "p", Selection(), locks)
    for word in words:
        assert word in str(caught.value)
    assert "2.21.0" in caught.value.hint or "3.11" in caught.value.hint


def test_duplicates_and_unknown_profiles_are_refused(locks: Path) -> None:
    pair = {"tensorflow": "2.15.1", "cuda": "cpu", "keras": "2.15.0"}
    with pytest.raises(ConfigError, match="more than once"):
        make(matrix(pairs=[pair, pair]), "p", Selection(), locks)
    with pytest.raises(ConfigError, match="no profile 'q'"):
        make(matrix(), "q", Selection(), locks)


@checks(deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from(["standard", "nightly", "quick"]))
def test_every_column_gets_every_round_once(rounds: int, repetitions: int, profile: str) -> None:
    from pathlib import Path  # noqa: PLC0415 - hypothesis and tmp_path do not mix

    root = Path(__file__).parents[2]
    made = config.load(root / "matrix.toml")
    plan = make(made, profile, Selection(rounds=rounds, repetitions=repetitions), root / "docker" / "locks", "cpu")
    keys = [(item.column.id, item.variation, item.mode, item.number) for item in plan.rounds]
    per_round = sum(len(plan.variation_modes[name]) for name in plan.variations)
    assert len(keys) == len(set(keys)) == rounds * len(plan.ready) * per_round
    assert max(count for item in plan.rounds for count in item.repetitions.values()) == repetitions
    assert all(duration.seconds(item) > 0 for item in plan.rounds)
    assert all(duration.seconds(pair) > 0 for pair in plan.pairs)


def rounds_of(locks: Path, **changes: Any) -> list[Round]:
    """Rounds of one pair; ``changes`` are of its profile."""
    profile = {"rounds": 3, "repetitions": 7, "heavy_repetitions": 3, "variations": ["default", "threads=1"], **changes}
    variations = profile.pop("tables", {})
    made = matrix(profiles={"p": profile}, variations=variations)
    return list(make(made, "p", Selection(only=("tf2.18.1-cpu",)), locks).rounds)


class TestOrder:
    """Kernels run in an order of their own in every round, and anyone can make that order again."""

    def test_it_is_a_permutation_and_the_same_for_the_same_seed(self, locks: Path) -> None:
        rounds, again = rounds_of(locks), rounds_of(locks)
        for first, other in zip(rounds, again, strict=True):
            assert sorted(first.kernels) == sorted(SUITE.kernels)
            assert set(first.repetitions) == set(first.kernels)
            assert first.kernels == other.kernels
            assert first.order_seed == first.number

    def test_it_differs_between_rounds_and_seeds_and_from_the_order_of_the_suite(self, locks: Path) -> None:
        orders = {item.number: item.kernels for item in rounds_of(locks)}
        shifted = {item.number: item.kernels for item in rounds_of(locks, order_seed=100)}
        assert len({*orders.values(), *shifted.values(), tuple(SUITE.kernels)}) == 7

    def test_it_is_the_same_in_both_modes(self, locks: Path) -> None:
        for number in (1, 2, 3):
            orders = {(item.variation, item.kernels) for item in rounds_of(locks) if item.number == number}
            assert len(orders) == 2

    def test_it_depends_on_the_seed_only(self, locks: Path) -> None:
        import random  # noqa: PLC0415 - what a reader of a record would do

        for item in rounds_of(locks, order_seed=5):
            names = list(SUITE.kernels)
            assert list(item.kernels) == random.Random(item.order_seed).sample(names, len(names))  # noqa: S311
            assert item.order_seed == 5 + item.number


class TestRepetitions:
    """Heavy kernels get fewer, and a variation gives at most what it says."""

    def counts(self, item: Round) -> tuple[set[int], set[int]]:
        light = {count for name, count in item.repetitions.items() if not SUITE.kernels[name].heavy}
        return light, {count for name, count in item.repetitions.items() if SUITE.kernels[name].heavy}

    @pytest.mark.parametrize(
        ("profile", "table", "wanted"),
        [
            ({}, {}, (7, 3)),
            ({}, {"repetitions": 5}, (5, 3)),
            ({}, {"repetitions": 2}, (2, 2)),
            ({}, {"repetitions": 9, "heavy_repetitions": 9}, (7, 3)),
            ({}, {"heavy_repetitions": 1}, (7, 1)),
            ({"heavy_repetitions": None}, {}, (7, 7)),
            ({"heavy_repetitions": 20}, {}, (7, 7)),
            ({"heavy_repetitions": None}, {"heavy_repetitions": 2}, (7, 2)),
        ],
    )
    def test_light_and_heavy_under_a_variation(
        self, locks: Path, profile: dict[str, Any], table: dict[str, Any], wanted: tuple[int, int]
    ) -> None:
        found = rounds_of(locks, **profile, tables={"threads=1": table})
        for item in found:
            if item.variation == "threads=1":
                assert self.counts(item) == ({wanted[0]}, {wanted[1]})
            assert item.heavy == {name for name, kernel in SUITE.kernels.items() if kernel.heavy}
        default = next(item for item in found if item.variation == "default")
        heavy = profile.get("heavy_repetitions", 3) or 7
        assert self.counts(default) == ({7}, {min(heavy, 7)})

    def test_an_override_can_change_heavy_kernels_only(self, locks: Path) -> None:
        body = {"profiles": {"p": {"rounds": 1, "repetitions": 7, "heavy_repetitions": 3}}, "variations": {}}
        made = matrix(
            **body, overrides=[{"select": "tf2.18*", "heavy_repetitions": 2}, {"select": "tf2.15*", "repetitions": 2}]
        )
        found = {item.column.pair.tensorflow: self.counts(item) for item in make(made, "p", Selection(), locks).rounds}
        assert found == {"2.15.1": ({2}, {2}), "2.18.1": ({7}, {2})}


TIMED: dict[str, Any] = {
    "rounds": 1, "repetitions": 1, "kernels": ["matmul_f32", "matmul_bf16", "mlp_fit", "reduce_sum_1d"],
    "variations": ["default", "isa=avx2"], "overhead_pairs": 3, "noise_floor_pairs": 2, "upgrade_pairs": 1,
    "pair_s": 0.05,
}  # fmt: skip


class TestTimingPairs:
    """Two processes that take turns: after the rounds, interleaved over columns, and only under ``default``."""

    def pairs(self, locks: Path, selection: Selection | None = None, **changes: Any) -> list[TimingPair]:
        made = matrix(profiles={"p": {**TIMED, **changes}})
        return list(make(made, "p", selection or Selection(), locks).pairs)

    def test_pair_1_of_everything_comes_before_pair_2(self, locks: Path) -> None:
        old, new = "tf2.15.1-cpu-py311@cpu", "tf2.18.1-cpu-py311@cpu"
        found = [(pair.column.id, pair.name, pair.planned, pair.pass_number) for pair in self.pairs(locks)]
        assert found == [
            (old, "overhead-001", 3, 2), (new, "overhead-001", 3, 2), (new, "noise-floor-001", 2, 2),
            (new, f"upgrade-from-{old}-001", 1, 2),
            (old, "overhead-002", 3, 3), (new, "overhead-002", 3, 3), (new, "noise-floor-002", 2, 3),
            (old, "overhead-003", 3, 4), (new, "overhead-003", 3, 4),
        ]  # fmt: skip

    def test_the_side_that_starts_first_alternates_in_time_and_over_columns(self, locks: Path) -> None:
        found = [(pair.column.pair.tensorflow, pair.first) for pair in self.pairs(locks) if pair.name[:4] == "over"]
        assert found == [("2.15.1", "a"), ("2.18.1", "b"), ("2.15.1", "b"), ("2.18.1", "a"), ("2.15.1", "a"),
                         ("2.18.1", "b")]  # fmt: skip

    def test_a_pair_has_all_kernels_but_controls_in_a_new_order(self, locks: Path) -> None:
        first, second = (self.pairs(locks)[place] for place in (0, 4))
        assert sorted(first.kernels) == sorted(second.kernels) == sorted(TIMED["kernels"])
        assert (first.order_seed, second.order_seed, first.budget_s) == (1, 2, 0.05)
        orders = {pair.number: pair.kernels for pair in self.pairs(locks, overhead_pairs=20) if pair.name[0] == "o"}
        assert len(set(orders.values())) > 1
        assert first.heavy == {"mlp_fit"}

    def test_the_noise_floor_is_that_of_a_few_light_kernels(self, locks: Path) -> None:
        def kernels(*selected: str) -> set[str]:
            pairs = self.pairs(locks, Selection(kernels=selected))
            return {name for pair in pairs if pair.comparison == "noise-floor" for name in pair.kernels}

        assert kernels() == {"matmul_f32", "reduce_sum_1d"}
        assert kernels("*") == set(NOISE_FLOOR_KERNELS)
        assert kernels("mlp_fit", "reduce_max") == {"reduce_max"}, "no named kernel is selected"
        assert kernels("mlp_fit") == set(), "heavy kernels do not measure it"

    def test_requests_differ_in_what_is_compared(self, locks: Path) -> None:
        sides = {pair.comparison: pair.requests(custom_kernels.suite([])) for pair in self.pairs(locks)}
        actual = {
            name: [(requests[side].column[:8], requests[side].mode) for side in "ab"]
            for name, requests in sides.items()
        }
        assert actual == {
            "overhead": [("tf2.18.1", "off"), ("tf2.18.1", "on")],
            "noise-floor": [("tf2.18.1", "off"), ("tf2.18.1", "off")],
            "upgrade": [("tf2.15.1", "off"), ("tf2.18.1", "off")],
        }

    @pytest.mark.parametrize(
        ("selection", "comparisons"),
        [
            (Selection(modes=("on",)), {"upgrade"}),
            (Selection(modes=("off",)), {"noise-floor", "upgrade"}),
            (Selection(variations=("isa=avx2",)), set()),
            (Selection(kernels=("control_*",)), set()),
            (Selection(only=("tf2.18*",)), {"overhead", "noise-floor"}),
            (Selection(pairs=0), set()),
        ],
    )
    def test_what_cannot_be_compared_is_left_out(
        self, locks: Path, selection: Selection, comparisons: set[str]
    ) -> None:
        assert {pair.comparison for pair in self.pairs(locks, selection)} == comparisons

    def test_the_command_line_replaces_the_number_of_pairs(self, locks: Path) -> None:
        found = [pair.comparison for pair in self.pairs(locks, Selection(pairs=1))]
        assert found == ["overhead", "overhead", "noise-floor", "upgrade"]

    def test_a_skipped_kernel_is_not_timed(self, locks: Path) -> None:
        made = matrix(profiles={"p": TIMED}, overrides=[{"select": "tf2.15*", "skip": ["reduce*"]}])
        found = {
            (pair.comparison, pair.column.pair.tensorflow): set(pair.kernels)
            for pair in make(made, "p", Selection(), locks).pairs
        }
        assert "reduce_sum_1d" in found["overhead", "2.18.1"]
        assert "reduce_sum_1d" not in found["overhead", "2.15.1"] | found["upgrade", "2.18.1"]

    def test_gpus_are_compared_with_themselves(self, locks: Path) -> None:
        made = matrix(profiles={"p": TIMED})
        plan = make(made, "p", Selection(), locks, "all", TWINS)
        assert all(pair.column.gpu == pair.other.gpu for pair in plan.pairs)
        gpus = [pair.column.gpu for pair in plan.pairs if pair.comparison == "noise-floor" and pair.number == 1]
        assert sorted(gpus) == sorted({column.gpu for column in plan.ready}), "one for each device"


def test_the_estimate_uses_repetitions_weight_and_pairs(locks: Path) -> None:
    def total(processes: int = 1, **changes: Any) -> float:
        plan = make(matrix(profiles={"p": {**TIMED, **changes}}), "p", Selection(), locks)
        return duration.total_seconds(plan.rounds, plan.pairs, processes)

    base = total()
    assert total(repetitions=8) > base
    assert total(heavy_repetitions=4, repetitions=4) > total(heavy_repetitions=1, repetitions=4)
    assert total(overhead_pairs=4) - base == pytest.approx(base - total(overhead_pairs=2))
    light = 6 * 3 + 2 * 2 + 1 * 3  # those of all pairs, without mlp_fit
    assert total(pair_s=0.15) == pytest.approx(base + 2 * 0.1 * light)
    untimed = {"overhead_pairs": 0, "noise_floor_pairs": 0, "upgrade_pairs": 0}
    assert total(2, **untimed) == pytest.approx(total(1, **untimed) * duration.CONTENTION / 2)
    assert base - total(2) == pytest.approx(total(1, **untimed) - total(2, **untimed)), "pairs run alone"


class TestTf32:
    """A GPU's own: no round of a CPU column, and no variation of a plan without a GPU."""

    def plan(self, locks: Path, *only: str) -> Plan:
        made = matrix(profiles={"p": {"rounds": 1, "repetitions": 1, "variations": ["default", "tf32=off", "tf32=on"]}})
        return make(made, "p", Selection(only=only), locks)

    def test_cpu_columns_leave_it_out(self, locks: Path) -> None:
        assert list(self.plan(locks, "*cpu").variations) == ["default"]
        assert list(self.plan(locks, "*cpu").variation_modes) == ["default"]

    def test_with_a_gpu_pair_only_the_cpu_columns_leave_it_out(self, locks: Path) -> None:
        plan = self.plan(locks)
        assert list(plan.variations) == ["default", "tf32=off", "tf32=on"]
        assert {item.variation for item in plan.rounds} == {"default"}, "there is no GPU to run them on"

    def test_as_the_only_variation_it_leaves_nothing_to_run(self, locks: Path) -> None:
        made = matrix(profiles={"p": {"rounds": 1, "repetitions": 1, "variations": ["tf32=off"]}})
        with pytest.raises(NothingError, match="no round to run"):
            make(made, "p", Selection(only=("*cpu",)), locks)

    @pytest.mark.parametrize(
        ("variation", "device", "wanted"),
        [
            ("tf32=on", "cpu", False),
            ("tf32=off", "h200", True),
            ("default", "cpu", True),
            ("default", "h200", True),
            ("switch=env", "h200", True),
            ("hashseed=0", "h200", True),
            *((name, device, device == "cpu") for name in HOST_ONLY for device in ("cpu", "h200", "gpu")),
        ],
    )
    def test_what_applies_where(self, variation: str, device: str, wanted: bool) -> None:  # noqa: FBT001
        assert applies(variation, device) is wanted

    @pytest.mark.parametrize(
        ("capability", "wanted"), [((7, 0), False), ((7, 5), False), ((8, 0), True), ((9, 0), True), ((0, 0), True)]
    )
    def test_tf32_exists_from_ampere_on(self, capability: tuple[int, int], wanted: bool) -> None:  # noqa: FBT001
        assert applies("tf32=off", "gpu", capability) is wanted
        assert applies("switch=env", "gpu", capability)


def test_a_variation_skips_kernels_but_no_controls(locks: Path) -> None:
    found = rounds_of(locks, tables={"threads=1": {"kernels": ["conv*", "reduce*"], "skip": ["conv3d*", "control_*"]}})
    names = {name for item in found if item.variation == "threads=1" for name in item.kernels}
    wanted = {name for name in SUITE.kernels if name.startswith(("conv2d", "reduce"))}
    assert names == wanted | CONTROLS
    assert {name for item in found if item.variation == "default" for name in item.kernels} == set(SUITE.kernels)


def write_kernel(folder: Path) -> Path:
    path = folder / "mine.py"
    path.write_text(
        "from bench.suite.kernels import kernel\n"
        "@kernel(family='own', exercises='x', shapes='x', dtypes='x', source='own', heavy=True)\n"
        "def my_kernel(tf, seed):\n    return lambda: {}\n",
        encoding="utf-8",
    )
    return path


def test_custom_kernels_are_planned_like_others(locks: Path, tmp_path: Path) -> None:
    path = write_kernel(tmp_path)
    found = custom_kernels.suite([read_source(path)])
    made = matrix(profiles={"p": {"rounds": 1, "repetitions": 7, "heavy_repetitions": 2}}, variations={})
    plan = planner.make(made, "p", Selection(kernels=("my_*",)), locks, found)
    assert {kernel.name for kernel in plan.kernels} == CONTROLS | {"my_kernel"}
    assert {item.repetitions["my_kernel"] for item in plan.rounds} == {2}
    assert [source.name for source in plan.suite.sources] == ["mine.py"]
    request = plan.rounds[0].request(plan.suite)
    assert request.kernel_files == {"my_kernel": f"{plan.suite.sources[0].hash}/mine.py"}
    assert "my_kernel" not in all_kernels()


def test_custom_kernels_are_added_to_a_profile_with_a_list(locks: Path, tmp_path: Path) -> None:
    """Whoever names the file wants them: to leave them out without a word would be a lie by silence."""
    found = custom_kernels.suite([read_source(write_kernel(tmp_path))])
    made = matrix(profiles={"p": {"rounds": 1, "repetitions": 1, "kernels": ["matmul_mean"]}}, variations={})
    for selection in (Selection(), Selection(kernels=("my_*", "matmul_mean"))):
        plan = planner.make(made, "p", selection, locks, found)
        assert {kernel.name for kernel in plan.kernels} == CONTROLS | {"my_kernel", "matmul_mean"}


@pytest.mark.parametrize(
    ("variation", "wanted"),
    [
        ("default", ({}, None, None, "api")),
        ("hashseed=0", ({"PYTHONHASHSEED": "0"}, None, None, "api")),
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
def test_what_a_variation_means(variation: str, wanted: tuple[Any, ...]) -> None:
    found = settings(variation)
    assert (found.env, found.threads, found.tf32, found.switch) == wanted


def test_inter_op_threads_and_logical_devices() -> None:
    assert (settings("inter=1").inter, settings("inter=1").threads) == (1, None)
    assert (settings("devices=2").devices, settings("default").devices) == (2, None)


@pytest.mark.parametrize("name", ["inter=0", "devices=1", "devices=10", "hashseed=", "hashseed=-1", "hashseed=random"])
def test_a_variation_that_would_mean_nothing_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is not a variation"):
        refuse_unknown([name], ["default"])


def test_oversubscription_counts_cores() -> None:
    single, four = settings("threads=1xcores").threads, settings("threads=4xcores").threads
    assert single is not None
    assert four == 4 * single


def test_each_custom_kernel_costs_a_start_of_its_own(locks: Path) -> None:
    item = rounds_of(locks, variations=["default"])[0]
    names = list(item.kernels)
    alone = duration.seconds(item)
    some = dataclasses.replace(item, custom=frozenset(names[:2]))
    every = dataclasses.replace(item, custom=frozenset(names))
    assert duration.seconds(some) - alone == pytest.approx(2 * duration.START_S)
    assert duration.seconds(every) - alone == pytest.approx((len(names) - 1) * duration.START_S)


def test_the_time_left_follows_the_rounds_and_ends_at_zero(locks: Path) -> None:
    rounds = list(make(matrix(), "p", Selection(), locks).rounds)
    pace = duration.EtaEstimator(rounds)
    guess = pace.left_s()
    assert guess == pytest.approx(sum(duration.seconds(item) for item in rounds))
    twice = [pace.took(item, 2 * duration.seconds(item)) for item in rounds]
    assert twice[0] == pytest.approx(2 * (guess - duration.seconds(rounds[0])))
    assert twice[-1] == pytest.approx(0, abs=1e-9)


class TestDevices:
    """Which pairs run where."""

    def ids(self, plan: Plan) -> list[str]:
        return [column.id for column in plan.columns]

    def test_without_devices_it_is_the_cpu(self, locks: Path) -> None:
        plan = planner.make(matrix(), "p", Selection(), locks, SUITE)
        assert self.ids(plan) == ["tf2.15.1-cpu-py311@cpu", "tf2.18.1-cpu-py311@cpu"]

    def test_auto_without_a_gpu_measures_the_cpu_and_notes_what_is_left_out(self, locks: Path) -> None:
        plan = make(matrix(), "p", Selection(), locks, "auto")
        assert self.ids(plan) == ["tf2.15.1-cpu-py311@cpu", "tf2.18.1-cpu-py311@cpu"]
        assert plan.notes == ("1 CUDA pair is left out and the CPU is measured: this host shows no card",)

    def test_auto_with_a_gpu_selects_the_cuda_pairs(self, locks: Path) -> None:
        plan = make(matrix(), "p", Selection(), locks, "auto", HOST)
        (column,) = plan.columns
        assert (column.id, column.gpu, column.status) == ("tf2.18.1-cuda12.5-py311@h200", HOPPER.uuid, "ready")
        assert column.advice == "warn: first run compiles PTX on this GPU"
        assert plan.notes == ()

    def test_a_cpu_pair_can_be_named_on_a_gpu_host(self, locks: Path) -> None:
        plan = make(matrix(), "p", Selection(only=("tf2.18.1-c*",)), locks, "auto", HOST)
        assert self.ids(plan) == ["tf2.18.1-cuda12.5-py311@h200"]
        plan = make(matrix(), "p", Selection(only=("tf2.18.1-c*", "*2.15*")), locks, "auto", HOST)
        assert self.ids(plan) == ["tf2.15.1-cpu-py311@cpu", "tf2.18.1-cuda12.5-py311@h200"]
        with pytest.raises(NothingError, match="No CUDA pair matches"):
            make(matrix(), "p", Selection(only=("*2.15*",)), locks, "gpu", HOST)

    def test_a_named_cuda_pair_without_a_gpu_is_gpu_not_visible(self, locks: Path) -> None:
        plan = make(matrix(), "p", Selection(only=("*cuda12.5",)), locks, "auto")
        assert [(column.id, column.status) for column in plan.columns] == [
            ("tf2.18.1-cuda12.5-py311@gpu", "gpu-not-visible")
        ]
        assert plan.rounds == ()
        with pytest.raises(NothingError, match="No CPU pair matches"):
            make(matrix(), "p", Selection(only=("*cuda12.5",)), locks, "cpu")

    def test_a_glob_that_matches_a_cpu_pair_selects_no_cuda_pair(self, locks: Path) -> None:
        plan = make(matrix(), "p", Selection(only=("tf2.18*",)), locks, "auto")
        assert self.ids(plan) == ["tf2.18.1-cpu-py311@cpu"]
        assert plan.notes[0].startswith("1 CUDA pair is left out")
        assert make(matrix(), "p", Selection(only=("tf2.15*",)), locks, "auto").notes == ()

    @pytest.mark.parametrize("requested", ["gpu", "all"])
    def test_a_required_gpu_that_is_missing_selects_no_cpu_pair(self, locks: Path, requested: str) -> None:
        plan = make(matrix(), "p", Selection(), locks, requested)
        assert [(column.id, column.status) for column in plan.columns] == [
            ("tf2.18.1-cuda12.5-py311@gpu", "gpu-not-visible")
        ]

    def test_all_gives_each_gpu_a_column_and_equal_models_part_of_their_uuid(self, locks: Path) -> None:
        plan = make(matrix(), "p", Selection(), locks, "all", TWINS)
        stem = "tf2.18.1-cuda12.5-py311"
        assert self.ids(plan) == [f"{stem}@h200-1a2b3c4d", f"{stem}@h200-99999999", f"{stem}@v100-sxm2-16gb"]
        assert [column.gpu for column in plan.columns] == [gpu.uuid for gpu in TWINS.gpus]
        assert [item.column.gpu for item in plan.rounds[:2]] == [HOPPER.uuid] * 2

    @pytest.mark.parametrize(
        ("only", "wanted"), [("*@h200-*", 2), ("*@v100*", 1), ("*@*", 3), ("tf2.18.1-cuda12.5", 3)]
    )
    def test_env_globs_match_columns(self, locks: Path, only: str, wanted: int) -> None:
        assert len(make(matrix(), "p", Selection(only=(only,)), locks, "all", TWINS).columns) == wanted

    def test_columns_are_ordered_by_device(self, locks: Path) -> None:
        table = {"tensorflow": "2.18.1", "cuda": ("12.6", "12.5"), "keras": "3.15.1"}
        plan = make(matrix(pairs=[table]), "p", Selection(), locks, "all", TWINS)
        assert [(column.gpu, column.pair.cuda) for column in plan.columns] == [
            (gpu.uuid, minor) for gpu in TWINS.gpus for minor in ("12.6", "12.5")
        ]

    def test_variations_run_on_the_devices_they_affect(self, locks: Path) -> None:
        names = ["default", "tf32=off", *HOST_ONLY, "switch=env"]
        made = matrix(profiles={"p": {"rounds": 1, "repetitions": 1, "variations": names}}, variations={})
        plan = make(made, "p", Selection(), locks, "all", TWINS)
        found = {gpu.uuid: {row.variation for row in plan.rounds if row.column.gpu == gpu.uuid} for gpu in TWINS.gpus}
        assert found[HOPPER.uuid] == {"default", "tf32=off", "switch=env"}
        assert found["GPU-7"] == {"default", "switch=env"}
        assert list(plan.variations) == ["default", "tf32=off", "switch=env"]
        old = make(made, "p", Selection(only=("*v100*",)), locks, "all", TWINS)
        assert list(old.variations) == ["default", "switch=env"]

    def test_a_request_says_what_a_gpu_column_must_find(self, locks: Path) -> None:
        plan = make(matrix(), "p", Selection(), locks, "auto", HOST)
        requested = plan.rounds[0].request(SUITE)
        assert requested.device == "gpu"
        assert requested.gpu == {"uuid": HOPPER.uuid, "driver": "570.124.06", "cuda": "12080"}
        assert requested.libraries == cuda.libraries(plan.columns[0].pair)
        assert requested.libraries["libcudnn.so.9"] == "nvidia-cudnn-cu12==9.3.0.75"
        unknown = make(matrix(), "p", Selection(), locks, "auto", GpuInventory(gpus=(HOPPER,)))
        assert unknown.rounds[0].request(SUITE).gpu == {"uuid": HOPPER.uuid}
        plain = make(matrix(), "p", Selection(), locks, "cpu", HOST).rounds[0].request(SUITE)
        assert (plain.device, plain.gpu, plain.libraries) == ("cpu", {}, {})

    def test_what_the_preflight_blocks_is_incompatible(self, locks: Path) -> None:
        old = dataclasses.replace(HOST, driver="470.57.02")
        (column,) = make(matrix(), "p", Selection(), locks, "auto", old).columns
        assert (column.status, column.advice) == ("incompatible", "")
        assert column.reason == "blocked: driver 470.57.02 < 525.60.13 for CUDA 12.x"

    def test_a_refused_pair_is_incompatible_on_every_device(self, locks: Path) -> None:
        made = matrix(pairs=[{"tensorflow": "2.18.1", "cuda": ("13.0", "12.3"), "keras": "3.15.1"}])
        for requested, survey in (("gpu", BARE), ("auto", HOST), ("any", BARE)):
            plan = make(made, "p", Selection(), locks, requested, survey)
            assert {column.status for column in plan.columns} == {"incompatible"}
            assert ["CUDA 13 does not have" in plan.columns[0].reason, "older than" in plan.columns[1].reason] == [
                True,
                True,
            ]
        allowed = {"tensorflow": "2.18.1", "cuda": ("12.3",), "keras": "3.15.1", "allow_older": True}
        (column,) = make(matrix(pairs=[allowed]), "p", Selection(), locks, "any").columns
        assert (column.pair.kind, column.status) == ("older", "build-failed")


class TestChoice:
    """``--device`` as it becomes devices."""

    def test_the_first_idle_gpu_is_selected(self) -> None:
        busy = dataclasses.replace(HOPPER, processes={7: 100})
        chosen = devices.choose("auto", dataclasses.replace(TWINS, gpus=(busy, *TWINS.gpus[1:])))
        assert [gpu.uuid for gpu in chosen.gpus] == ["GPU-99999999-0000"]
        assert "GPU-99999999-0000 is used, the first idle one of 3 GPUs" in chosen.notes[0]
        both = (busy, dataclasses.replace(busy, uuid="GPU-2"))
        chosen = devices.choose("gpu", GpuInventory(gpus=both))
        assert chosen.gpus == both[:1]
        assert "none is idle" in chosen.notes[0]

    def test_named_uuids_keep_the_order_of_the_host(self) -> None:
        chosen = devices.choose("GPU-7, gpu-1a2b", TWINS)
        assert [gpu.uuid for gpu in chosen.gpus] == [HOPPER.uuid, "GPU-7"]
        assert list(chosen.names.values()) == ["h200", "v100-sxm2-16gb"]

    @pytest.mark.parametrize(
        ("requested", "survey", "words"),
        [
            ("GPU-5", TWINS, ["no GPU GPU-5", "GPU-1a2b3c4d-0000 (NVIDIA H200)"]),
            ("GPU-", TWINS, ["More than one", "GPU-7"]),
            ("GPU-9", BARE, ["no GPU GPU-9", "this host shows no card", "auto, cpu, gpu and all"]),
            (",", TWINS, ["--device names no device"]),
        ],
    )
    def test_an_unknown_or_ambiguous_uuid_is_refused(
        self, requested: str, survey: GpuInventory, words: list[str]
    ) -> None:
        with pytest.raises(NoGpuError) as caught:
            devices.choose(requested, survey)
        assert caught.value.code == 5
        for word in words:
            assert word in f"{caught.value} {caught.value.hint}"

    def test_an_unknown_device_is_a_configuration_error(self) -> None:
        with pytest.raises(ConfigError, match="'gppu' is not a device"):
            devices.choose("gppu", BARE)

    def test_a_full_uuid_wins_over_longer_ones(self) -> None:
        survey = GpuInventory(gpus=(HOPPER, dataclasses.replace(HOPPER, uuid=f"{HOPPER.uuid}1")))
        assert devices.choose(HOPPER.uuid, survey).gpus == (HOPPER,)

    def test_names_grow_until_they_differ(self) -> None:
        uuids = ("MIG-1a2b3c4d-5e6f-1", "MIG-1a2b3c4d-5e6f-2")
        chosen = devices.choose(
            "all", GpuInventory(gpus=tuple(dataclasses.replace(HOPPER, uuid=uuid) for uuid in uuids))
        )
        assert list(chosen.names.values()) == ["h200-1a2b3c4d5e6f1", "h200-1a2b3c4d5e6f2"]

    def test_all_notes_gpus_that_cannot_be_used(self) -> None:
        assert devices.choose("all", dataclasses.replace(HOST, troubles=("one is lost",))).notes == ("one is lost",)


class TestProfiles:
    """A pair says which profiles take it."""

    def made(self, **changes: Any) -> Matrix:
        tables = [
            {"tensorflow": "2.15.1", "cuda": "cpu", "keras": "2.15.0"},
            {"tensorflow": "2.18.1", "cuda": "cpu", "keras": "3.15.1", "profiles": ("q",)},
            {"tensorflow": "2.21.0", "cuda": "cpu", "keras": "3.15.1", "profiles": (), **changes},
        ]
        profile = {"rounds": 1, "repetitions": 1}
        return matrix(pairs=tables, variations={}, profiles={"p": profile, "q": profile})

    def releases(self, locks: Path, profile: str, only: tuple[str, ...] = (), requested: str = "cpu") -> list[str]:
        plan = make(self.made(), profile, Selection(only=only), locks, requested)
        return [column.pair.tensorflow for column in plan.columns]

    def test_without_profiles_all_include_the_pair_and_with_an_empty_list_none(self, locks: Path) -> None:
        assert self.releases(locks, "p") == ["2.15.1"]
        assert self.releases(locks, "q") == ["2.15.1", "2.18.1"]

    def test_env_selects_from_other_profiles_only_without_a_match(self, locks: Path) -> None:
        assert self.releases(locks, "p", ("tf2.21*",)) == ["2.21.0"]
        assert self.releases(locks, "p", ("tf2.18.1-cpu", "tf2.15*")) == ["2.15.1", "2.18.1"]
        assert self.releases(locks, "p", ("tf2*",)) == ["2.15.1"]

    def test_locks_ignore_profiles(self, locks: Path) -> None:
        assert self.releases(locks, "p", requested="any") == ["2.15.1", "2.18.1", "2.21.0"]

    def test_an_empty_profile_lists_the_available_pairs(self, locks: Path) -> None:
        with pytest.raises(NothingError, match="No CPU pair matches tf3") as caught:
            self.releases(locks, "p", ("tf3*",))
        assert caught.value.hint == "There are: tf2.15.1-cpu. With --env there are also: tf2.18.1-cpu, tf2.21.0-cpu."
        with pytest.raises(NothingError, match="no pair for this device"):
            make(self.made(), "p", Selection(), locks, "gpu", HOST)

    def test_a_profile_that_does_not_exist_is_refused_with_the_nearest(self, locks: Path) -> None:
        made = matrix(
            pairs=[{"tensorflow": "2.15.1", "cuda": "cpu", "keras": "2.15.0", "profiles": ("nigthly",)}],
            profiles={"nightly": {"rounds": 1, "repetitions": 1}},
        )
        with pytest.raises(ConfigError, match=r"pairs\[1\] -> profiles: .*'nigthly'; did you mean 'nightly'"):
            make(made, "nightly", Selection(), locks)


class TestCudnn:
    """cuDNN is a variable of its own."""

    def test_another_cudnn_is_part_of_the_name(self, locks: Path) -> None:
        table = {"tensorflow": "2.18.1", "cuda": "12.9", "keras": "3.15.1"}
        made = matrix(pairs=[table, {**table, "cudnn": "9.10.2.21"}])
        found = [column.pair for column in make(made, "p", Selection(), locks).columns]
        assert [pair.id for pair in found] == ["tf2.18.1-cuda12.9", "tf2.18.1-cuda12.9-cudnn9.10"]
        assert [pair.cudnn for pair in found] == ["9.3.0.75", "9.10.2.21"]

    def test_naming_the_default_cudnn_changes_nothing(self, locks: Path) -> None:
        table = {"tensorflow": "2.18.1", "cuda": "12.9", "keras": "3.15.1"}
        with pytest.raises(ConfigError, match="more than once"):
            make(matrix(pairs=[table, {**table, "cudnn": "9.3.0.75"}]), "p", Selection(), locks)


@pytest.mark.parametrize(("tensorflow", "old"), [("2.4.4", True), ("2.8.4", True), ("1.15.5", True), ("2.10.1", False)])
def test_below_the_floor_there_is_one_sentence_with_the_reason(tensorflow: str, old: bool, locks: Path) -> None:  # noqa: FBT001
    pairs = [{"tensorflow": tensorflow, "cuda": "cpu", "keras": "2.10.0", "python": "3.10"}]
    made = matrix(pairs=pairs)
    if not old:
        assert make(made, "p", Selection(), locks).columns
        return
    with pytest.raises(
        ConfigError, match=r"needs Python 3\.9 and TensorFlow 2\.9 .*enable_op_determinism\(\) exists since 2\.8"
    ):
        make(made, "p", Selection(), locks)


def test_a_pattern_for_an_old_release_gets_the_reason(locks: Path) -> None:
    with pytest.raises(NothingError, match=r"No .* matches tf2\.4\*: tfrepro needs .* \(this is TensorFlow 2\.4\)"):
        make(matrix(), "p", Selection(only=("tf2.4*",)), locks)
