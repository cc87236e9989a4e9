"""What a bundle's host may change of its plan: fewer kernels, more rounds, and nothing that the records do not say."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.bundle import Order, _requests, _run
from bench.plan import config, custom_kernels, planner
from bench.plan.devices import Devices
from bench.plan.planner import Selection
from bench.portable import overrides
from bench.portable.errors import PortableError
from bench.portable.overrides import Overrides
from bench.suite.record import Request

ROOT = Path(__file__).parents[2]
FEW = ("matmul_f32", "reduce_sum_1d", "variable_scatter_add")


def planned(rounds: int = 3, profile: str = "nightly") -> tuple[dict[str, Any], list[Request]]:
    """run.json and the rounds of a plan as a bundle carries them."""
    matrix = config.load(ROOT / "matrix.toml")
    selection = Selection(only=("tf2.18.1-cpu",), kernels=FEW, rounds=rounds)
    plan = planner.make(matrix, profile, selection, ROOT / "docker" / "locks", custom_kernels.suite([]), Devices())
    order = Order(matrix=matrix, pair="tf2.18.1-cpu", out=Path(), root=ROOT)
    found = json.loads(json.dumps({"run": _run(order, plan), "requests": _requests(order, plan)}))
    return found["run"], [Request.from_json(json.dumps(one)) for one in found["requests"]]


RUN, REQUESTS = planned()
CONTROLS = {one["name"] for one in RUN["kernels"] if one["control"]}


def made(**want: Any) -> tuple[dict[str, Any], list[Request]]:
    return overrides.apply(RUN, REQUESTS, Overrides(**want))


def test_a_plan_of_which_nothing_is_asked_is_itself() -> None:
    assert made() == (RUN, REQUESTS)


def test_kernels_are_selected_and_controls_stay() -> None:
    run, requests = made(kernels=("matmul*",), variations=("default",))
    names = {"matmul_f32", *CONTROLS}
    assert {one["name"] for one in run["kernels"]} == names
    assert set(run["variations"]) == set(run["variation_modes"]) == {"default"}
    assert all(set(one.kernels) == set(one.repetitions) == names for one in requests)
    assert run["command"].endswith("--kernels matmul* --variation default")


def test_a_variation_without_a_kernel_left_is_gone_and_does_not_mean_all() -> None:
    """In run.json no names at all mean every kernel."""
    run, requests = made(kernels=("variable*",))
    without = [name for name, names in RUN["variations"].items() if "variable_scatter_add" not in names]
    assert without
    assert not set(without) & set(run["variations"])
    assert not set(without) & {one.variation for one in requests}
    assert all("variable_scatter_add" in names for names in run["variations"].values())


def test_repetitions_are_those_of_every_kernel() -> None:
    run, requests = made(repetitions=7)
    assert run["repetitions"] == 7
    assert {number for one in requests for number in one.repetitions.values()} == {7}


@settings(deadline=None)
@given(before=st.sampled_from([1, 2, 3]), rounds=st.integers(1, 9))
def test_rounds_are_as_many_as_asked_for_and_go_on_as_planned(before: int, rounds: int) -> None:
    source, asked = planned(before, "standard") if before != 3 else (RUN, REQUESTS)
    run, requests = overrides.apply(source, asked, Overrides(rounds=rounds))
    assert run["rounds"] == rounds
    kept = [one for one in asked if one.round <= rounds]
    assert [dataclasses.replace(one, context={}) for one in requests[: len(kept)]] == [
        dataclasses.replace(one, context={}) for one in kept
    ]
    assert {one.context["rounds"] for one in requests} == {rounds}
    by_place: dict[tuple[str, str], list[Request]] = {}
    for one in requests:
        by_place.setdefault((one.variation, one.mode), []).append(one)
    assert set(by_place) == {(one.variation, one.mode) for one in asked}
    for group in by_place.values():
        assert [one.round for one in group] == list(range(1, rounds + 1))
        assert [one.second_seed for one in group] == [one.round == 1 for one in group]
        assert len({one.order_seed for one in group}) == rounds
        assert len({frozenset(one.kernels) for one in group}) == 1


def test_modes_go_on_to_alternate() -> None:
    _, requests = made(rounds=6, variations=("default",))
    assert [one.mode for one in requests] == ["off", "on", "on", "off"] * 3


def test_both_modes_of_a_round_have_one_order() -> None:
    _, requests = made(rounds=7, variations=("default",))
    orders = {(one.round, one.order_seed, one.kernels) for one in requests}
    assert len(orders) == 7
    assert len({kernels for _, _, kernels in orders}) == 7


@pytest.mark.parametrize(
    ("want", "sentence"),
    [
        ({"kernels": ("nothing*",)}, r"no kernel nothing\*"),
        ({"variations": ("tf32=off",)}, "no variation tf32=off"),
        ({"kernels": ("control_*",)}, "leaves no kernel"),
    ],
)
def test_what_the_plan_has_not_is_refused(want: dict[str, tuple[str, ...]], sentence: str) -> None:
    with pytest.raises(PortableError, match=sentence) as caught:
        made(**want)
    assert caught.value.code == 3
    assert caught.value.hint


@pytest.mark.parametrize("text", ["0", "1001", "-1", "many", ""])
def test_numbers_are_those_of_matrix_toml(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a number from 1 to 1000"):
        overrides.positive(text)
