"""Two runs of one environment: what all kernels have in common is the host's, and the gate ``slower`` is without it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from bench import verdict
from bench.report.commands import compare
from bench.verdict.comparison import Side
from tests.unit import factory
from tests.unit.factory import Behaviour

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.report.view import Comparison
    from bench.store.run import Run

KERNELS = tuple(factory.kernel(f"k{number}") for number in range(14))
COLUMN = factory.column().id


def run(day: int, factors: Mapping[str, float], lock: str = "a", load: float = 1.0) -> Run:
    """A run of a day whose kernels take these factors of their usual times (1 for those that are not named)."""

    def behave(spot: factory.Spot) -> Behaviour:
        if spot.kernel.startswith("control"):
            return factory.EXACT
        number = int(spot.kernel[1:]) + 1
        time = 0.001 * number * factors.get(spot.kernel, 1.0) * (1 + 0.002 * (spot.round % 3))
        return Behaviour(steady_s=(time,))

    columns = (factory.column(lock_hash=factory.digest(lock)),)
    facts = factory.info(
        id=f"2025010{day}T120000Z-abcd", rounds=5, columns=columns, kernels=(*KERNELS, *factory.CONTROLS)
    )
    whole = factory.run(facts, behave)
    paired = {
        path: dataclasses.replace(
            record, kernels=tuple(dataclasses.replace(kernel, load=load) for kernel in record.kernels)
        )
        for path, record in whole.paired.items()
    }
    return dataclasses.replace(whole, paired=paired)


def compared(before: Run, after: Run) -> Comparison:
    sides = [Side(results=verdict.evaluate(run), column=COLUMN) for run in (before, after)]
    return compare.comparison("before", "after", [compare.compared(*sides)])


ALL = {kernel.name: 1.25 for kernel in KERNELS}


def test_a_slower_host_is_said_once_and_breaks_no_gate() -> None:
    found = compared(run(1, {}), run(2, ALL, load=2.6))
    expected = (
        "Nearly all kernels are 1.25x slower in the same environment, and the load was higher (1.0 before, 2.6 after): "
        "this is the host, not TensorFlow. All ratios are without this factor."
    )
    assert expected in found.upgrades[0].sentences
    assert compare.findings(found, {"slower": 1.1}) == ()


def test_what_is_slower_than_the_rest_breaks_the_gate() -> None:
    found = compared(run(1, {}), run(2, {**ALL, "k3": 1.25 * 1.3}))
    (sentence,) = {text.partition(" (")[0] for text in compare.findings(found, {"slower": 1.1})}
    assert sentence == "slower: k3"
    assert "1.30x slower" in compare.findings(found, {"slower": 1.1})[0]
    assert not any("load" in text for text in found.upgrades[0].sentences), "it was the same"


@pytest.mark.parametrize("factors", [dict.fromkeys(("k1", "k2", "k3"), 1.25), dict.fromkeys(ALL, 1.02)])
def test_a_few_kernels_or_a_small_factor_are_not_the_host(factors: dict[str, float]) -> None:
    found = compared(run(1, {}), run(2, factors))
    assert not any("the host" in text for text in found.upgrades[0].sentences)


def test_in_another_environment_the_environment_may_be_the_cause() -> None:
    found = compared(run(1, {}), run(2, ALL, lock="b"))
    assert not any("the host" in text for text in found.upgrades[0].sentences)
    assert len(compare.findings(found, {"slower": 1.1})) == 2 * len(KERNELS)
