"""The curves of trainings: which digests are compared, by what, and where the lines are drawn."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report.build.page import build
from bench.report.build.training_curves import training_curves
from bench.report.html import render as html_render
from bench.report.html.curves import WIDTH, curves_layout
from bench.report.view.charts import Curve, TrainingCurves
from bench.store.kept_values import StoredValues
from bench.suite.kept_values import keep
from bench.verdict import evaluate
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour, Spot

if TYPE_CHECKING:
    from bench.verdict.results import RunResults

NUMBERS = st.floats(min_value=-1e149, max_value=1e149)


def trained(losses: dict[str, list[float]], columns: int = 1) -> RunResults:
    """A run in which ``matmul`` trains, with these losses by mode; equal ones are one digest."""

    def behave(spot: Spot) -> Behaviour:
        return Behaviour((str(losses[spot.mode]),)) if spot.kernel == "matmul" else EXACT

    releases = ("2.18.1", "2.15.1", "2.21.0")[:columns]
    results = evaluate(factory.run(factory.info(columns=tuple(map(factory.column, releases))), behave))
    rows = {}
    for column in results.info.columns:
        for mode, values in losses.items():
            verdict = results.of(column.id, "matmul", "default", mode)
            assert verdict is not None
            digest = verdict.comparison.digests[0][0]
            rows["matmul", digest] = tuple(
                keep("loss", step, np.asarray(value, np.float32), "0", 4) for step, value in enumerate(values, 1)
            )
    return dataclasses.replace(results, kept=StoredValues(rows=rows))


def test_two_modes_with_other_losses_are_two_curves() -> None:
    chart = training_curves(trained({"off": [3.0, 2.0, 1.0], "on": [3.0, 2.5, 1.0]}), "matmul")
    assert chart == TrainingCurves(
        tensor="loss",
        steps=(1, 2, 3),
        curves=(
            Curve(label="TF 2.18.1 CPU off", values=(3.0, 2.0, 1.0)),
            Curve(label="TF 2.18.1 CPU on", values=(3.0, 2.5, 1.0)),
        ),
    )


def test_digests_whose_values_were_not_kept_are_counted() -> None:
    results = trained({"off": [3.0, 2.0], "on": [3.0, 2.5]})
    columns = (factory.column("2.18.1"), factory.column("2.21.0"))
    behave = {"off": "[3.0, 2.0]", "on": "[3.0, 2.5]"}  # the digests of the first column, whose values were kept
    more = evaluate(
        factory.run(
            factory.info(columns=columns),
            lambda spot: Behaviour((behave[spot.mode] + ("" if spot.column == columns[0].id else " elsewhere"),)),
        )
    )
    chart = training_curves(dataclasses.replace(more, kept=results.kept), "matmul")
    assert chart is not None
    assert (len(chart.curves), chart.more) == (2, 2)


def test_columns_with_one_digest_share_a_curve() -> None:
    chart = training_curves(trained({"off": [3.0, 2.0], "on": [3.0, 2.5]}, columns=3), "matmul")
    assert chart is not None
    names = [f"TF {release} CPU" for release in ("2.18.1", "2.15.1", "2.21.0")]
    assert [curve.label for curve in chart.curves] == [
        f"{names[0]} {mode}, {names[1]} {mode} and {names[2]} {mode}" for mode in ("off", "on")
    ]


@pytest.mark.parametrize(
    "losses",
    [
        {"off": [3.0, 2.0], "on": [3.0, 2.0]},
        {"off": [3.0], "on": [2.0]},
        {"off": [3.0, float("nan")], "on": [2.0, 1.0]},
        {"off": [], "on": []},
    ],
)
def test_nothing_is_drawn_without_two_curves_of_two_steps(losses: dict[str, list[float]]) -> None:
    assert training_curves(trained(losses), "matmul") is None


def test_steps_without_a_finite_value_are_counted() -> None:
    chart = training_curves(trained({"off": [3.0, 2.0, 1.0], "on": [3.0, float("inf"), 1.5]}), "matmul")
    assert chart is not None
    assert (chart.steps, chart.left_out) == ((1, 3), 1)


def test_a_value_of_the_wrong_size_is_left_out() -> None:
    results = trained({"off": [3.0, 2.0], "on": [3.0, 2.5]})
    rows = {key: tuple({**row, "values": "AAAA"} for row in several) for key, several in results.kept.rows.items()}
    assert training_curves(dataclasses.replace(results, kept=StoredValues(rows=rows)), "matmul") is None


@pytest.mark.parametrize("row", [{"step": 1}, {"step": "x", "name": 3}, "text", None])
def test_damaged_values_draw_nothing(row: object) -> None:
    results = trained({"off": [3.0, 2.0], "on": [3.0, 2.5]})
    damaged = StoredValues(rows=dict.fromkeys(results.kept.rows, (row,)))
    assert training_curves(dataclasses.replace(results, kept=damaged), "matmul") is None


def test_the_page_draws_them_in_the_evidence() -> None:
    page = html_render.render(build(trained({"off": [3.0, 2.0, 1.0], "on": [3.0, 2.5, 1.0]})))
    figure = page[page.index("<figure class=training>") :].partition("</figure>")[0]
    assert len(re.findall(r"<polyline class=line0", figure)) == 1
    assert len(re.findall(r"<polyline class=line1", figure)) == 2, "its values, and the one step that differs"
    assert "TF 2.18.1 CPU on" in figure


@given(st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=2, max_size=4))
def test_every_point_lies_inside_the_drawing(values: list[list[float]]) -> None:
    curves = tuple(Curve(label=str(number), values=tuple(of)) for number, of in enumerate(values))
    layout = curves_layout(TrainingCurves(tensor="loss", steps=(1, 2, 3), curves=curves))
    lines = [*layout.values, *(part for parts in layout.differences for part in parts)]
    for x, y in (point.split(",") for line in lines for point in line.split()):
        assert layout.left <= float(x) <= WIDTH
        assert 0 <= float(y) <= layout.height
