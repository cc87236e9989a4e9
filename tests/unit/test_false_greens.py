"""Ways to a wrong green that were found once: each is closed, and stays closed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.store.kept import Kept
from bench.suite import values
from bench.verdict import Status, gate, judge
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour, Change
from tests.unit.test_verdict import GRADED, only, sight, verdict

if TYPE_CHECKING:
    from bench.suite.record import Record


@pytest.mark.parametrize(
    ("condition", "wrong"),
    [
        ("threads=1", {"intra_op_threads": 2}),
        ("threads=4xcores", {"intra_op_threads": 2}),
        ("onednn=0", {"onednn": "on"}),
        ("isa=avx2", {"isa_limit": "none"}),
        ("switch=env", {"switch": "api"}),
        ("onednn=0", {"onednn": None}),
    ],
)
def test_a_condition_that_was_not_in_force_is_no_measurement(condition: str, wrong: dict[str, Any]) -> None:
    run = factory.run(factory.info(conditions={"default": (), condition: ()}))
    assert verdict(run, condition=condition).status is Status.EXACT
    broken = factory.changed(run, factory.settings(**wrong), Change(mode="on", condition=condition))
    assert verdict(broken, condition=condition).status is Status.FAILED
    assert "was" in verdict(broken, condition=condition).why
    assert verdict(broken).status is Status.EXACT


def test_rounds_of_two_places_are_no_rounds_of_one_cell() -> None:
    def moved(one: Record) -> Record:
        context = {**one.request.context, "environment": f"image-{one.request.round}"}
        return dataclasses.replace(one, request=dataclasses.replace(one.request, context=context))

    found = verdict(factory.changed(factory.run(), moved))
    assert (found.status, "more than one environment" in found.why) == (Status.FAILED, True)


def test_rounds_that_no_control_watched_are_weak() -> None:
    def unwatched(one: Record) -> Record:
        kernels = tuple(name for name in one.request.kernels if not name.startswith("control"))
        return dataclasses.replace(
            one,
            request=dataclasses.replace(one.request, kernels=kernels),
            samples=tuple(s for s in one.samples if not s.kernel.startswith("control")),
            outcomes=tuple(o for o in one.outcomes if not o.kernel.startswith("control")),
        )

    found = verdict(factory.changed(factory.run(), unwatched, Change(mode="on", rounds=(2, 3, 4, 5))))
    assert found.status is Status.WEAK
    assert "4 of its 5 rounds ran without all controls" in found.why


def test_infinity_hides_differences_as_nan_does() -> None:
    def infinite(one: Record) -> Record:
        return dataclasses.replace(
            one,
            samples=tuple(
                dataclasses.replace(s, outputs={k: {**v, "inf": 9} for k, v in s.outputs.items()}) for s in one.samples
            ),
        )

    found = verdict(factory.changed(factory.run(), infinite))
    assert (found.status, "Inf" in found.why) == (Status.WEAK, True)


def test_a_timing_pass_that_is_missing_is_told() -> None:
    run = factory.run(None, only("matmul", Behaviour(steady_s=(), steady_agrees=None)))
    assert "left out the timing pass" in verdict(run).why
    assert verdict(run).status is Status.WEAK


def test_few_repeats_are_not_spoken_for_by_controls_with_many() -> None:
    seen = sight(factory.run(dataclasses.replace(GRADED, repeats=20)))
    assert seen.sensitivity_for(100) == 0.1
    assert seen.sensitivity_for(25) == 0.5
    assert seen.sensitivity_for(1) is None
    assert dataclasses.replace(seen, fewest=25).sensitivity == 0.5


@pytest.mark.parametrize(
    ("condition", "acts", "explained"),
    [
        ("default", Behaviour(("a", "b")), True),
        ("threads=1", Behaviour(("a", "b")), False),
        ("default", Behaviour(("a", "b"), outcome="raised", error_class="ValueError"), False),
    ],
)
def test_a_limitation_explains_only_what_is_known_of_it(condition: str, acts: Behaviour, *, explained: bool) -> None:
    facts = factory.info(kernels=(factory.kernel("bincount_weighted"), *factory.GRADED), conditions={condition: ()})
    run = factory.run(facts, lambda spot: acts if spot.kernel == "bincount_weighted" else EXACT)
    assert bool(gate(judge(run), ["on-varies-unexplained"])) is not explained
    assert gate(judge(run), ["on-varies"])


@pytest.mark.parametrize(
    "changes",
    [
        {"round": "1"},
        {"steady_s": None},
        {"env": None},
        {"context": []},
    ],
)
def test_a_mistyped_record_is_left_out_and_the_rest_stands(changes: dict[str, Any]) -> None:
    def mistype(one: Record) -> Record:
        return dataclasses.replace(one, request=dataclasses.replace(one.request, **changes))

    judged = judge(factory.changed(factory.run(), mistype, Change(mode="on", rounds=(2,))))
    assert (
        "a type that no worker writes" in dict(judged.left_out)["records/tf2.18.1-cpu-py311@cpu/default/on-002.jsonl"]
    )
    assert verdict(factory.changed(factory.run(), mistype, Change(mode="on", rounds=(2,)))).status is Status.WEAK


@pytest.mark.parametrize("field", ["first_s", "kernel"])
def test_a_mistyped_sample_is_left_out(field: str) -> None:
    nothing: dict[str, Any] = {field: None}

    def mistype(one: Record) -> Record:
        return dataclasses.replace(one, samples=tuple(dataclasses.replace(s, **nothing) for s in one.samples))

    judged = judge(factory.changed(factory.run(), mistype, Change(mode="on", rounds=(2,))))
    assert len(judged.left_out) == 1


@pytest.mark.parametrize("change", [{"most": float("inf")}, {"step": [1]}, {"digest": ""}])
def test_damaged_kept_values_are_none(change: dict[str, Any]) -> None:
    row = values.keep("x", None, np.arange(4.0), "d" * 16, 128)
    assert Kept(rows={("k", "d"): (row,)}).tensors("k", "d")
    assert Kept(rows={("k", "d"): ({**row, **change},)}).tensors("k", "d") == ()
