"""Overrides of a bundle's plan on the offline host: kernels, variations, rounds and repetitions."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.bundle import BundleContents, _requests, _run
from bench.plan import config, custom_kernels, planner
from bench.plan.devices import Devices
from bench.plan.planner import Selection
from bench.portable import overrides
from bench.portable.errors import PortableError
from bench.portable.overrides import Overrides
from bench.portable.paired_timing import PairPlan
from bench.suite.record import Request

ROOT = Path(__file__).parents[2]
FEW = ("matmul_f32", "reduce_sum_1d", "variable_scatter_add")


def planned(rounds: int = 3, profile: str = "nightly") -> tuple[dict[str, Any], list[Request]]:
    """run.json and the rounds of a plan as a bundle contains them."""
    matrix = config.load(ROOT / "matrix.toml")
    selection = Selection(only=("tf2.18.1-cpu",), kernels=FEW, rounds=rounds)
    plan = planner.make(matrix, profile, selection, ROOT / "docker" / "locks", custom_kernels.suite([]), Devices())
    contents = BundleContents(matrix=matrix, pair="tf2.18.1-cpu", out=Path(), root=ROOT)
    body = json.loads(json.dumps({"run": _run(contents, plan), "requests": _requests(contents, plan)}))
    return body["run"], [Request.from_json(json.dumps(request)) for request in body["requests"]]


RUN, REQUESTS = planned()
CONTROLS = {one["name"] for one in RUN["kernels"] if one["control"]}


def applied(**changes: Any) -> tuple[dict[str, Any], list[Request]]:
    return overrides.apply(RUN, REQUESTS, Overrides(**changes))


def test_without_overrides_a_plan_is_unchanged() -> None:
    assert applied() == (RUN, REQUESTS)


def test_kernels_are_selected_and_controls_remain() -> None:
    run, requests = applied(kernels=("matmul*",), variations=("default",))
    names = {"matmul_f32", *CONTROLS}
    assert {one["name"] for one in run["kernels"]} == names
    assert set(run["variations"]) == set(run["variation_modes"]) == {"default"}
    assert all(set(one.kernels) == set(one.repetitions) == names for one in requests)
    assert run["command"].endswith("--kernels matmul* --variation default")


def test_timing_pairs_keep_the_selected_kernels_and_need_the_default_variation() -> None:
    sides = {side: dataclasses.replace(REQUESTS[0], kernels=FEW) for side in ("a", "b")}
    pairs = [PairPlan("overhead", 1, "a", 0.1, sides)]
    assert overrides.apply_to_pairs(RUN, pairs, Overrides()) == pairs
    changes = Overrides(kernels=("matmul*",))
    (pair,) = overrides.apply_to_pairs(applied(kernels=("matmul*",))[0], pairs, changes)
    assert [request.kernels for request in pair.requests.values()] == [("matmul_f32",)] * 2
    other = next(name for name in RUN["variations"] if name != "default")
    changes = Overrides(variations=(other,))
    assert overrides.apply_to_pairs(applied(variations=(other,))[0], pairs, changes) == []


def test_a_variation_without_kernels_is_removed_and_does_not_mean_all_kernels() -> None:
    """In run.json an empty list means all kernels."""
    run, requests = applied(kernels=("variable*",))
    without = [name for name, names in RUN["variations"].items() if "variable_scatter_add" not in names]
    assert without
    assert not set(without) & set(run["variations"])
    assert not set(without) & {one.variation for one in requests}
    assert all("variable_scatter_add" in names for names in run["variations"].values())


@pytest.mark.parametrize("rounds", [None, 2, 5])
def test_the_second_seed_runs_in_the_default_variation_or_else_in_those_selected(rounds: int | None) -> None:
    for selected in (("default", "isa=avx2"), ("isa=avx2", "onednn=0")):
        _, requests = applied(variations=selected, rounds=rounds)
        seeds = {(one.variation, one.mode, one.round) for one in requests if one.second_seed}
        wanted = ("default",) if "default" in selected else selected
        assert seeds == {(name, mode, 1) for name in wanted for mode in ("off", "on")}


def test_repetitions_apply_to_every_kernel() -> None:
    run, requests = applied(repetitions=7)
    assert run["repetitions"] == 7
    assert {number for one in requests for number in one.repetitions.values()} == {7}


@settings(deadline=None)
@given(before=st.sampled_from([1, 2, 3]), rounds=st.integers(1, 9))
def test_more_rounds_continue_the_plan(before: int, rounds: int) -> None:
    source, requested = planned(before, "standard") if before != 3 else (RUN, REQUESTS)
    run, requests = overrides.apply(source, requested, Overrides(rounds=rounds))
    assert run["rounds"] == rounds
    kept = [one for one in requested if one.round <= rounds]
    assert [dataclasses.replace(one, context={}) for one in requests[: len(kept)]] == [
        dataclasses.replace(one, context={}) for one in kept
    ]
    assert {one.context["rounds"] for one in requests} == {rounds}
    by_place: dict[tuple[str, str], list[Request]] = {}
    for one in requests:
        by_place.setdefault((one.variation, one.mode), []).append(one)
    assert set(by_place) == {(one.variation, one.mode) for one in requested}
    for group in by_place.values():
        assert [one.round for one in group] == list(range(1, rounds + 1))
        default = group[0].variation == "default"
        assert [one.second_seed for one in group] == [default and one.round == 1 for one in group]
        assert len({one.order_seed for one in group}) == rounds
        assert len({frozenset(one.kernels) for one in group}) == 1


def test_modes_alternate_in_additional_rounds() -> None:
    _, requests = applied(rounds=6, variations=("default",))
    assert [one.mode for one in requests] == ["off", "on", "on", "off"] * 3


def test_both_modes_of_a_round_have_the_same_order() -> None:
    _, requests = applied(rounds=7, variations=("default",))
    orders = {(one.round, one.order_seed, one.kernels) for one in requests}
    assert len(orders) == 7
    assert len({kernels for _, _, kernels in orders}) == 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernels": ("nothing*",)}, r"no kernel nothing\*"),
        ({"variations": ("tf32=off",)}, "no variation tf32=off"),
        ({"kernels": ("control_*",)}, "leaves no kernel"),
    ],
)
def test_names_that_the_plan_does_not_have_are_refused(changes: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(PortableError, match=message) as caught:
        applied(**changes)
    assert caught.value.code == 3
    assert caught.value.hint


@pytest.mark.parametrize("text", ["0", "1001", "-1", "many", ""])
def test_counts_have_the_range_of_matrix_toml(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a number from 1 to 1000"):
        overrides.positive(text)
