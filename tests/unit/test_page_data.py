"""The numbers that the page's script gets: compact, exact, and harmless."""

from __future__ import annotations

import json
import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report.build.page import build
from bench.report.html import render as html_render
from bench.report.html import script_data
from bench.verdict import evaluate
from tests.unit import factory, test_report
from tests.unit.factory import Behaviour


def unpacked(text: str) -> list[float]:
    """What the script makes of times."""
    if text.startswith("="):
        return [float(one) for one in text[1:].split(" ")]
    groups = [text[at : at + 3] for at in range(1, len(text), 3)]
    size = len(script_data._ALPHABET)
    values = []
    for group in groups:
        number = 0
        for sign in group:
            number = number * size + script_data._ALPHABET.index(sign)
        values.append(number / 10 ** script_data._ALPHABET.index(text[0]))
    return values


@given(st.lists(st.integers(1, 99_999).flatmap(lambda n: st.integers(0, 9).map(lambda e: n / 10**e)), min_size=1))
def test_times_come_back_as_they_were(values: list[float]) -> None:
    assert unpacked(script_data._times(values)) == values


@given(st.lists(st.floats(1e-9, 1e6), min_size=1, max_size=9))
def test_times_keep_five_digits(values: list[float]) -> None:
    found = unpacked(script_data._times(values))
    assert found == [float(f"{value:.5g}") for value in values]


def body(run: Any) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(script_data.document(build(evaluate(run))))
    return parsed


@pytest.mark.parametrize("name", sorted(test_report.BAD))
def test_bad_runs_have_data(name: str) -> None:
    assert body(test_report.BAD[name]())["schema"] == script_data.SCHEMA


def test_nothing_can_end_the_element_or_begin_another() -> None:
    told = script_data.document(build(evaluate(test_report.hostile())))
    assert not set("<>&\u2028\u2029\x00") & set(told)
    assert told.isascii()
    assert "script" in told  # the text is there all the same


def test_it_is_in_the_page_once_and_the_script_has_its_hash() -> None:
    page = html_render.render(build(evaluate(test_report.mixed())))
    assert page.count('<script type="application/json" id="data">') == 1
    assert page.count("<script>") == 1


def test_the_same_run_gives_the_same_bytes() -> None:
    assert script_data.document(build(evaluate(test_report.mixed()))) == script_data.document(
        build(evaluate(test_report.mixed()))
    )


def test_size_of_a_matrix_of_12_pairs_and_45_kernels() -> None:
    columns = tuple(factory.column(f"2.{minor}.0", "12.5", lock=f"l{minor}") for minor in range(10, 22))
    kernels = tuple(factory.kernel(f"kernel_name_{number:02}", "linalg") for number in range(45))

    def behave(seen: Any) -> Behaviour:
        time = (1 + seen.round / 37) * (1 + len(seen.kernel) % 7) * (1.3 if seen.mode == "on" else 1.0) / 997
        return Behaviour((f"{seen.column[:6]}{seen.mode}",), steady_s=(float(f"{time:.4g}"),))

    run = factory.run(
        factory.info(columns=columns, kernels=(*kernels, *factory.GRADED), rounds=5, repetitions=3), behave
    )
    text = script_data.document(build(evaluate(run)))
    assert len(text) < 33_000
    parsed = json.loads(text)
    kernel = parsed["kernels"][0]
    assert len(kernel[6]) == len(kernel[7]) == 2 * 12
    times = unpacked(kernel[8].split(",")[0])
    found = evaluate(run).of(columns[0].id, "kernel_name_00", "default", "off")
    assert found is not None
    assert found.timing is not None
    assert statistics.median(times) == pytest.approx(found.timing.median_s, rel=1e-9)


def test_the_script_has_no_foreign_code_and_makes_no_markup() -> None:
    script = html_render._script(html_render._environment())
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "fetch(",
        "://",
    ):
        assert word not in script
    assert "</script" not in script.lower()
    assert "<!--" not in script
