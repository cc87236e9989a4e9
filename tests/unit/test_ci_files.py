"""The two files for CI: a summary of at most 25 lines, and a badge that is green only if everything is reproducible."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from markdown_it import MarkdownIt

from bench.report.build.page import build
from bench.report.text import badge, job_summary
from bench.verdict import evaluate
from tests.unit import factory, shipped_sample
from tests.unit.factory import EXACT, Behaviour
from tests.unit.test_bad_runs import failing, impossible, two_columns
from tests.unit.test_large_page import view_of

GREEN = "#1a7f5a"
HOSTILE = '</text><script>alert(1)</script> | [x](y) `"'


def test_the_summary_of_the_sample_has_the_answer_and_every_problem() -> None:
    view = shipped_sample.view()
    text = job_summary.render(view)
    assert len(text.splitlines()) <= 25
    rendered = MarkdownIt("commonmark").enable("table").render(text)
    assert view.answer[0] in rendered
    for problem in view.heat_map.problems:
        assert problem.word in rendered
        assert all(kernel in rendered for kernel, _, _ in problem.kernels)
    assert all(line.label in rendered for line in view.lines)


@pytest.mark.parametrize("columns", [1, 9])
def test_the_summary_keeps_to_25_lines(columns: int) -> None:
    text = job_summary.render(view_of(columns, 12))
    assert len(text.splitlines()) <= 25
    assert (f"and {columns - 6} more" in text) == (columns > 6)


def test_the_badge_is_green_only_if_every_kernel_is_reproducible() -> None:
    assert GREEN in badge.render(build(evaluate(two_columns())))
    one_differs = factory.run(
        None, lambda spot: Behaviour((f"x{spot.round}",)) if spot.kernel == "conv2d" and spot.mode == "on" else EXACT
    )
    for run in (one_differs, failing("error"), failing("crashed"), impossible()):
        assert GREEN not in badge.render(build(evaluate(run)))
    assert "1 of 2, TF 2.18.1 CPU" in badge.render(build(evaluate(one_differs)))
    assert "not measured" in badge.render(build(evaluate(impossible())))


def test_hostile_names_stay_text() -> None:
    view = build(evaluate(factory.run(factory.info(columns=(factory.column(HOSTILE),)))))
    assert "<script" not in MarkdownIt("commonmark").render(job_summary.render(view))
    ET.fromstring(badge.render(view))  # noqa: S314 - made here
