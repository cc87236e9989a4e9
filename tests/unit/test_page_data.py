"""What the page carries for its script: plain JSON, the comparisons of columns, and the rankings by family."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from bench.report.build import page_data
from bench.report.build.page import build
from bench.report.build.ranking import choice
from bench.report.build.upgrade import compared
from bench.report.html import render as html_render
from bench.verdict import evaluate
from bench.verdict.comparability import Side
from bench.verdict.requirements import Requirements
from tests.unit import factory, test_report
from tests.unit.factory import EXACT, Behaviour

if TYPE_CHECKING:
    from bench.store.run import Run
    from bench.verdict.results import RunResults


def data_of(run: Run) -> dict[str, Any]:
    """Return the JSON of a page, read back."""
    parsed: dict[str, Any] = json.loads(html_render._json(build(evaluate(run))))
    return parsed


def columns_run(number: int) -> Run:
    """Return a run of several TensorFlow releases in which the bits change with the release."""
    columns = tuple(factory.column(f"2.{minor}.0") for minor in range(10, 10 + number))

    def behave(spot: Any) -> Behaviour:
        return EXACT if spot.kernel.startswith("control") else Behaviour((spot.column,))

    return factory.run(factory.info(columns=columns), behave)


@pytest.mark.parametrize("name", sorted(test_report.BAD))
def test_bad_runs_have_data(name: str) -> None:
    assert set(data_of(test_report.BAD[name]())) == {"run", "measured", "cell_fields", "columns", "rows"}


def test_nothing_in_the_json_can_end_the_element_or_begin_another() -> None:
    text = html_render._json(build(evaluate(test_report.hostile())))
    assert not set("<>&\u2028\u2029\x00") & set(text)
    assert text.isascii()
    assert "script" in text  # the hostile text is there, harmless


def test_the_page_has_one_script_and_one_block_of_data() -> None:
    page = html_render.render(build(evaluate(test_report.mixed())))
    assert page.count('<script type="application/json" id="data">') == 1
    assert page.count("<script>") == 1


def test_the_same_run_gives_the_same_bytes() -> None:
    pages = [html_render.render(build(evaluate(test_report.mixed()))) for _ in range(2)]
    assert pages[0] == pages[1]


def test_a_cell_has_the_values_that_the_matrix_shows() -> None:
    def behave(spot: Any) -> Behaviour:
        if spot.kernel.startswith("control"):
            return EXACT
        slower = spot.kernel == "matmul" and spot.mode == "on"
        return Behaviour(steady_s=(0.002 * (2 if slower else 1) + spot.round * 1e-6,))

    results = evaluate(factory.run(None, behave))
    data = page_data.script_data(build(results))
    (row,) = (row for row in data["rows"] if row["kernel"] == "matmul")
    verdict = results.of(results.info.columns[0].id, "matmul", "default", "on")
    assert verdict is not None
    assert verdict.timing is not None
    cell = row["cells"][0]["on"]
    assert cell["seconds"] == verdict.timing.median_s
    assert cell["overhead_low"] <= cell["overhead"] <= cell["overhead_high"]
    assert (cell["status"], cell["compared"], cell["bound_percent"]) == ("reproducible", 4, 53)
    assert "overhead" not in row["cells"][0]["off"]
    assert set(cell) - {"severity", "statuses"} <= set(data["cell_fields"])


def test_a_cell_has_the_result_that_decides_and_the_statuses_of_all_variations() -> None:
    def behave(spot: Any) -> Behaviour:
        return Behaviour(("a", "b")) if spot.variation != "default" and spot.kernel == "matmul" else EXACT

    run = factory.run(factory.info(variations={"default": (), "threads=1": ()}), behave)
    (row,) = (row for row in data_of(run)["rows"] if row["kernel"] == "matmul")
    cell = row["cells"][0]["on"]
    assert (cell["status"], cell["compared"]) == ("reproducible", 4)
    assert cell["statuses"] == ["nondeterministic", "reproducible"]
    assert not row["problem"], "under another variation it is one, but the default one decides"


@pytest.mark.parametrize(("number", "expected"), [(1, 0), (3, 6), (6, 30), (7, 6)])
def test_few_columns_are_compared_in_all_pairs_and_many_in_steps(number: int, expected: int) -> None:
    view = build(evaluate(columns_run(number)))
    found = view.comparisons
    assert len(found) == expected
    steps = [(item.before, item.after) for item in found if item.is_step]
    assert steps == [(place, place + 1) for place in range(number - 1)]
    page = html_render.render(view)
    for item in found:
        assert page.count(f'id="compare-{item.before}-{item.after}"') == 1
        assert item.command in page


def test_a_comparison_says_what_the_compare_command_says() -> None:
    results = evaluate(columns_run(3))
    view = build(results)
    for item in view.comparisons:
        sides = [Side(results=results, column=results.info.columns[place].id) for place in (item.before, item.after)]
        expected = compared(*sides)
        # the view states how far digest groups are apart with the kernels
        rows = tuple(dataclasses.replace(row, difference=None) for row in expected.rows)
        shown = tuple(dataclasses.replace(row, difference=None) for row in item.upgrade.rows)
        assert dataclasses.replace(item.upgrade, rows=shown) == dataclasses.replace(expected, rows=rows)
        assert item.command == f"python -m bench compare {view.run}:{expected.before} {view.run}:{expected.after}"


def test_columns_without_results_are_not_compared() -> None:
    columns = (*factory.info().columns, factory.column("2.19.1", status="build-failed", reason="no lock"))
    assert build(evaluate(factory.run(factory.info(columns=columns)))).comparisons == ()


def test_a_ranking_by_family_says_what_the_choose_command_says() -> None:
    results: RunResults = evaluate(test_report.mixed())
    rankings = page_data.narrower_rankings(results)
    of_families = [ranking for ranking in rankings if ranking.family and not ranking.limit_percent]
    families = [need.family for need in build(results).needs]
    assert [ranking.family for ranking in of_families] == families
    for ranking in of_families:
        assert ranking.choice == choice(results, Requirements(families=(ranking.family,)))
        assert ranking.command == f"nox -s choose -- --families {ranking.family}"
    both = {(ranking.family, ranking.limit_percent): ranking for ranking in rankings if ranking.family}
    assert len(both) == len(families) * (1 + len(page_data.LIMITS_PERCENT))
    narrow = both[families[0], "10"]
    assert narrow.choice == choice(results, Requirements(families=(families[0],), max_overhead=1.1))
    assert narrow.command == f"nox -s choose -- --families {families[0]} --max-overhead 10%"
    limits = [ranking for ranking in rankings if not ranking.family]
    assert [int(ranking.limit_percent) for ranking in limits] == list(page_data.LIMITS_PERCENT)
    assert limits[0].choice == choice(results, Requirements(max_overhead=1.05))
    assert limits[0].command == "nox -s choose -- --max-overhead 5%"


def test_a_single_family_has_no_ranking_of_its_own() -> None:
    run = factory.run(factory.info(kernels=(factory.kernel("matmul"), *factory.CONTROLS)))
    assert not [ranking for ranking in page_data.narrower_rankings(evaluate(run)) if ranking.family]


def test_the_script_has_no_foreign_code_and_makes_no_markup() -> None:
    script = str(html_render.script_values(html_render.SCRIPTS)["script"])
    for word in (
        "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "fetch(", "://",
    ):  # fmt: skip
        assert word not in script
    assert "</script" not in script.lower()
    assert "<!--" not in script


def test_the_script_has_no_sentences_and_no_statistics() -> None:
    """Texts come from templates, numbers from Python."""
    script = str(html_render.script_values(html_render.SCRIPTS)["script"])
    code = "\n".join(line for line in script.splitlines() if not line.lstrip().startswith("//"))
    assert not re.findall(r"[\"'`][A-Z][a-z]+ [a-z]+ [^\"'`]*[\"'`]", code)
    for word in ("median", "0.95", "Math.sqrt", "**", "interval", "verdict"):
        assert word not in code
