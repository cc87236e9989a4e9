"""What an upgrade changes, by kind of kernel."""

from __future__ import annotations

import re

from bench.report.build.page import build
from bench.verdict import evaluate
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour, Spot

KERNELS = (
    factory.kernel("mlp_fit", "training", portable=False),
    factory.kernel("cnn_fit", "training", portable=False),
    factory.kernel("mlp_loop", "training"),
    factory.kernel("matmul_xla", "linalg"),
    factory.kernel("matmul", "linalg"),
    factory.kernel("conv2d", "convolutions"),
)


def sentences(slow: dict[str, float], other_bits: tuple[str, ...] = (), **facts: object) -> tuple[str, ...]:
    """The sentences of the step from 2.15.1 to 2.18.1; ``slow`` has the factors by which kernels get slower."""
    columns = (factory.column("2.15.1"), factory.column("2.18.1"))

    def behave(spot: Spot) -> Behaviour:
        newer = spot.column == columns[1].id
        if spot.kernel.startswith("control"):
            return EXACT
        factor = slow.get(spot.kernel, 1.0) if newer else 1.0
        bits = "new" if newer and spot.kernel in other_bits else "same"
        return Behaviour((bits,), steady_s=(0.01 * factor * (1 + 0.001 * spot.round),))

    info = factory.info(columns=columns, **{"kernels": (*KERNELS, *factory.CONTROLS), **facts})
    (step,) = build(evaluate(factory.run(info, behave))).upgrades
    return step.sentences


def test_kinds_that_change_are_counted_and_the_others_named() -> None:
    kinds = next(
        text for text in sentences({"mlp_fit": 1.3, "cnn_fit": 2.0, "matmul_xla": 0.5}, ("conv2d",)) if "kind" in text
    )
    assert kinds == (
        "By kind, counting each kernel off and on: training with Keras slower in 4 of 4 (1.30x to 2.00x); "
        "XLA faster in 2 of 2 (2.00x); convolutions bits changed in 2; "
        "no change in training in a plain loop and linalg."
    )


def test_a_change_under_another_variation_is_not_called_no_change() -> None:
    columns = (factory.column("2.15.1"), factory.column("2.18.1"))

    def behave(spot: Spot) -> Behaviour:
        if spot.kernel.startswith("control"):
            return EXACT
        if spot.kernel == "conv2d" and spot.variation == "eager=on" and spot.column == columns[1].id:
            return Behaviour(("a", "b"))
        slow = spot.kernel == "matmul" and spot.column == columns[1].id
        return Behaviour(("same",), steady_s=((0.02 if slow else 0.01) * (1 + 0.001 * spot.round),))

    facts = {"variations": {"default": (), "eager=on": ()}, "kernels": (*KERNELS, *factory.CONTROLS)}
    (step,) = build(evaluate(factory.run(factory.info(columns=columns, **facts), behave))).upgrades
    (kinds,) = (text for text in step.sentences if "By kind" in text)
    assert "changes under other variations only in convolutions" in kinds
    assert "convolutions" not in kinds.partition("no change in")[2].partition(";")[0]


def test_nothing_is_said_where_nothing_changed_or_there_is_one_kind() -> None:
    assert not any("By kind" in text for text in sentences({}))
    alone = (factory.kernel("matmul", "linalg"), *factory.CONTROLS)
    assert not any("By kind" in text for text in sentences({"matmul": 2.0}, kernels=alone))


def test_what_was_not_compared_is_not_called_unchanged() -> None:
    """Keras is part of a training with Keras, and changes here."""
    columns = (factory.column("2.15.1", keras="2.15.0"), factory.column("2.18.1"))

    def behave(spot: Spot) -> Behaviour:
        if spot.kernel == "matmul" and spot.column == columns[1].id:
            return Behaviour(("a", "b"))
        return EXACT

    info = factory.info(columns=columns, kernels=(*KERNELS, *factory.CONTROLS))
    (step,) = build(evaluate(factory.run(info, behave))).upgrades
    (kinds,) = (text for text in step.sentences if "By kind" in text)
    assert "linalg no longer reproducible in 2" in kinds
    assert re.search("not all compared in training with Keras", kinds)
    assert "training with Keras" not in kinds.partition("no change in")[2].partition(";")[0]
