"""The page of a large run: nothing that matters is left out."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

import pytest

from bench.report.build.kernel_table import plain
from bench.report.build.page import build
from bench.report.html import render as html_render
from bench.verdict import evaluate
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour

if TYPE_CHECKING:
    from bench.report.view import View
    from tests.unit.factory import Spot

RELEASES = ("2.12.1", "2.13.1", "2.14.1", "2.15.1", "2.16.2", "2.17.1", "2.18.1", "2.19.1", "2.20.0", "2.21.0")
CUDA = ("11.8", "12.2", "12.3", "12.5", "12.6", "12.8", "12.9")
FAMILIES = ("training", "reductions", "gradients", "convolutions", "linalg", "data", "random")


def behave(spot: Spot) -> Behaviour:
    """Most is reproducible, with three digest groups over the columns; some is nondeterministic, some raises."""
    if spot.kernel.startswith("control"):
        return EXACT
    number, of_column = int(spot.kernel[-2:]), sum(map(ord, spot.column))
    time = 0.001 * (number + 1) * (1 + spot.round / 50) * (1.4 if spot.mode == "on" else 1)
    if number % 9 == 0 and spot.mode == "off":
        return Behaviour((f"a{spot.round}", f"b{spot.round}", f"c{number}"), steady_s=(time,))
    if number % 13 == 5 and spot.mode == "on":
        return Behaviour(outcome="error", error_class="UnimplementedError", message="no deterministic kernel")
    bits = f"x{of_column % 3 if number % 4 == 0 else 0}{spot.mode if number % 5 == 0 else ''}"
    return Behaviour((bits,), steady_s=(time,))


@lru_cache(maxsize=1)
def view_of(pairs: int, kernels: int) -> View:
    few = pairs > max(len(RELEASES), 40)
    columns = tuple(
        factory.column(
            RELEASES[place % 10],
            CUDA[place // 10 % 7],
            id=f"tf{RELEASES[place % 10]}-cuda{CUDA[place // 10 % 7]}-py311@h100-{place}",
        )
        for place in range(pairs)
    )
    rows = tuple(factory.kernel(f"kernel_name_{place:02d}", FAMILIES[place % 7]) for place in range(kernels))
    facts = factory.info(
        columns=columns, kernels=(*rows, *(factory.CONTROLS if few else factory.GRADED)), repetitions=3 if few else 10
    )
    codes = {one.name: factory.digest(one.family) for one in facts.kernels}
    run = factory.changed(factory.run(facts, behave), factory.facts_of_process(kernel_hashes=codes))
    return build(evaluate(run))


def rows_of(page: str) -> list[tuple[str, str]]:
    """Return the lines of each kernel in the matrix, and its evidence below them."""
    matrix = page[page.index('<table class="matrix') : page.index('id="comparisons-title"')]
    bodies = [body.partition('<tr class="more evidence">') for body in matrix.split("<tbody data-row=")[1:]]
    return [(lines, evidence) for lines, _, evidence in bodies]


@pytest.mark.parametrize(("pairs", "kernels"), [(12, 45), (40, 10)])
def test_a_large_page_has_every_result_and_all_details_of_what_is_not_reproducible(pairs: int, kernels: int) -> None:
    view = view_of(pairs, kernels)
    page = html_render.render(view)
    bodies = {row.kernel: body for row, body in zip(view.rows, rows_of(page), strict=True)}
    for detail in view.details:
        lines, evidence = bodies[detail.kernel]
        for half in detail.entry.mode_results:
            assert f"{half.symbol}<span class=word> {half.word}</span>" in lines
        assert page.count(f"id={detail.anchor}>") == 1
        assert f"id={detail.anchor}>" in evidence
        assert len(re.findall(rf"href=#{detail.anchor}[ >]", lines)) == 2
        assert detail.reproduce_command.partition(" s42-")[0].replace(detail.column, "PAIR") in evidence
        assert f"{detail.column} {detail.reproduce_command.partition('x10-')[2].partition('-')[0]}" in page
        row = re.search(rf"<tr id={detail.anchor}>.*", evidence)
        assert (row is None) == plain(detail)
        if row is not None:
            assert all(half.status in row[0] for half in detail.entry.mode_results)
    assert sum(lines.count('<td><a class="tile ') for lines, _ in bodies.values()) == 2 * len(view.details)
    for text in ("Difference", "First difference", "Processes", "no deterministic kernel"):
        assert any(text in evidence for _, evidence in bodies.values())
    assert "writes all numbers to <code>report.json</code>" in page


def test_a_small_page_has_all_details_of_every_result() -> None:
    run = factory.run(factory.info(kernels=factory.info().kernels))
    page = html_render.render(build(evaluate(run)))
    evidence = [evidence for _, evidence in rows_of(page)]
    assert len(evidence) == 4
    assert all(text.count("First call, ms") == 1 and "identical" not in text for text in evidence)
    assert "report.json" not in page
