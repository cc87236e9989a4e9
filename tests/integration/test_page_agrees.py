"""The page's script and Python give the same answers, word for word: upgrades of all pairs of columns, and choices."""

from __future__ import annotations

import dataclasses
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.report.build.page import build
from bench.report.build.ranking import choice
from bench.report.build.upgrade import by_column, of_change
from bench.report.html import render as html_render
from bench.store import run as store
from bench.verdict import evaluate
from bench.verdict.comparability import Side
from bench.verdict.comparison import Distances, change
from bench.verdict.requirements import Requirements
from tests.unit import factory
from tests.unit.factory import Behaviour

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from bench.report.view import Upgrade
    from bench.store.run import Run
    from bench.verdict.results import RunResults

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]

#: What the picker shows, as text.
PICKED = """(pair) => {
  const ends = ["from", "to"].map((name) => document.querySelector(`#picker [name=${name}]`));
  ends.forEach((one, at) => { one.value = pair[at]; });
  ends[1].dispatchEvent(new Event("change", {bubbles: true}));
  const told = (one) => one.textContent.replace(/\\s+/g, " ").trim();
  const out = document.getElementById("picked");
  return {
    head: told(out.children[0]), said: told(out.children[1]),
    lines: [...out.querySelectorAll("tbody tr")].map((row) => [...row.children].map(told)),
    command: told(out.querySelector("code")),
  };
}"""
#: What the panel answers.
CHOSEN = """(question) => {
  const form = document.getElementById("chooser");
  form.elements.device.value = question.device;
  form.elements.kernels.value = question.kernels.join(",");
  form.elements.overhead.value = question.overhead;
  for (const one of form.querySelectorAll("[name=needs]")) one.checked = question.needs.includes(one.value);
  form.dispatchEvent(new Event("input", {bubbles: true}));
  const told = (one) => one.textContent.replace(/\\s+/g, " ").trim();
  const out = document.getElementById("chosen");
  return {
    said: told(out.children[0]),
    picks: [...out.querySelectorAll(".picks > li")].map((one) =>
      [...one.querySelectorAll("i,b,.chip,p,ul li")].map(told)),
    todo: [...out.querySelectorAll(".todo li")].map(told),
    command: out.lastElementChild.tagName === "P" ? told(out.lastElementChild) : "",
  };
}"""


def several() -> Run:
    """Columns with every kind of change: moved bits, times, errors, other alphabets, another Keras, another device."""
    columns = (
        factory.column("2.15.1"),
        factory.column("2.18.1"),
        factory.column("2.18.1", "12.5"),
        factory.column("2.21.0", "12.5"),
        factory.column("2.20.0", status="incompatible", reason="this host has no GPU"),
    )
    kernels = (
        *(factory.kernel(f"kernel_{number}", ("linalg", "convolutions")[number % 2]) for number in range(9)),
        factory.kernel("fit", "training", portable=False),
        *factory.GRADED,
    )
    variations = {"default": (), "threads=1": ("kernel_0", "kernel_3")}  # timed, too: its overheads count in a choice
    return factory.run(
        factory.info(columns=columns, kernels=kernels, rounds=6, repetitions=5, variations=variations), _behave
    )


def _behave(seen: Any) -> Behaviour:  # noqa: PLR0911 - one kernel after the other
    if seen.kernel.startswith("control"):
        return factory.EXACT
    number = int(seen.kernel[-1]) if seen.kernel[-1].isdigit() else 9
    later, gpu = "2.15.1" not in seen.column, "cuda" in seen.column
    slow = 1.4 if seen.mode == "on" and number % 2 else 1.0
    time = 0.001 * (number + 1) * slow * (1 + seen.round / 40) * (1.3 if later and number in (1, 2) else 1)
    if seen.variation != "default" and seen.mode == "on":
        time *= 5
    steady = (time,) if number != 3 else (time * (1 + seen.round % 2),)
    if number == 4 and seen.mode == "on" and later:
        return Behaviour(outcome="error", error_class="UnimplementedError", message="no deterministic kernel")
    if number == 5 and gpu and seen.mode == "off":
        return Behaviour(tuple(f"r{seen.round}{one}" for one in range(3)), steady_s=steady)
    if number == 6 and gpu:
        return Behaviour((f"p{seen.round % 2}",), steady_s=steady)
    if number == 7 and "2.21" in seen.column:
        return Behaviour(outcome="crashed")
    if number in (0, 8) and later:
        return Behaviour((f"moved{gpu}",), steady_s=steady)
    return Behaviour((f"same{seen.mode if number == 2 else ''}",), steady_s=steady)


#: The symbols of events.
MARKS = "≠!†?→▲\N{MINUS SIGN}▼≈=✓+·"


@cache
def evaluated(name: str) -> RunResults:
    return evaluate(store.load(ROOT / "reports" / "sample") if name == "sample" else several())


@cache
def page(name: str) -> str:
    return html_render.render(build(evaluated(name)))


def told(results: RunResults, before: str, after: str, known: Distances) -> Upgrade:
    """What Python says of two columns under the first variation."""
    sides = [Side(results=results, column=one) for one in (before, after)]
    found = change(sides[0], sides[1], known=known)
    first = results.variations[0]
    found = dataclasses.replace(found, kernels=tuple(one for one in found.kernels if one.variation == first))
    step = next((one for one in results.steps if (one.before.id, one.after.id) == (before, after)), None)
    moved = [f"{title} {old or 'unknown'} to {new or 'unknown'}" for title, (old, new) in found.moved.items()]
    sentence = f"{', '.join(moved)}: they differ together, so what changed is of no one alone."
    if len(moved) <= 1:
        sentence = f"{moved[0]} alone." if moved else "Nothing that is known differs between the two."
    names = by_column(results)
    return of_change(
        found, f"{names[before]} to {names[after]}", step="", moved=step.sentence if step else sentence, alone=True
    )


def words(one: Upgrade, results: RunResults) -> dict[str, Any]:
    """The same as the picker shows it."""
    counts = "".join(f" ? {word} {number}" for word, number in one.counts)
    rest = f" Of the others: {one.rest}." if one.rest else ""
    several = len(results.variations)
    scope = f" Under the variation {results.variations[0]}; the command has all {several}." if several > 1 else ""
    return {
        "head": f"{one.label}{counts}",
        "said": " ".join([one.moved, *one.sentences]) + rest + scope,
        "lines": [
            [
                line.kernel,
                line.where,
                " ".join(f"? {event}" for event in line.events),
                f"{line.before.status} to {line.after.status}" if line.turned else line.after.status,
                line.bits,
                line.time,
            ]
            for line in one.lines
        ],
        "command": f"python -m bench compare {one.before} {one.after}",
    }


def without_marks(shown: dict[str, Any], marks: str) -> dict[str, Any]:
    """The symbols of events, which stand in the templates, as question marks."""
    table = str.maketrans(dict.fromkeys(marks, "?"))
    lines = [[*line[:2], line[2].translate(table), *line[3:]] for line in shown["lines"]]
    return {**shown, "head": shown["head"].translate(table), "lines": lines}


@pytest.mark.parametrize("name", ["several", "sample"])
def test_the_picker_says_what_python_says(visit: Callable[..., Page], name: str) -> None:
    results = evaluated(name)
    known = Distances(results)
    opened = visit(page(name))
    happened = 0
    for before, after in permutations([one.id for one in results.info.columns], 2):
        expected = told(results, before, after, known)
        shown = opened.evaluate(PICKED, [before, after])
        assert without_marks(shown, MARKS) == words(expected, results), (before, after)
        happened += len(expected.lines)
    assert happened > 10


QUESTIONS = (
    Requirements(families=("linalg",)),
    Requirements(families=("linalg", "convolutions"), max_overhead=1.15),
    Requirements(max_overhead=2.0),
    Requirements(max_overhead=1.0),
    Requirements(kernels=("*1*", "no_such")),
    Requirements(kernels=("[a-k]*", "matmul_?16"), max_overhead=1.5),
    Requirements(kernels=("[!m]*",)),
    Requirements(kernels=("it's $(this)", "kernel_[")),
    Requirements(device="cpu"),
    Requirements(device="h100", max_overhead=1.3),
)


@pytest.mark.parametrize("name", ["several", "sample"])
def test_the_panel_answers_what_python_answers(visit: Callable[..., Page], name: str) -> None:
    results = evaluated(name)
    opened = visit(page(name))
    devices = {one.device for one in results.info.columns}
    for question in QUESTIONS:
        if question.device and question.device not in devices:
            continue
        expected = choice(results, question)
        shown = opened.evaluate(
            CHOSEN,
            {
                "device": question.device,
                "kernels": list(question.kernels),
                "needs": list(question.needs),
                "overhead": "" if question.max_overhead is None else str(question.max_overhead),
            },
        )
        assert shown["said"] == f"{expected.sentence} {expected.question}", question
        assert shown["picks"] == [
            [
                one.rank or "no rank",
                one.label,
                f"{one.symbol} {one.fit}",
                f"{one.evidence}{f'; {one.overhead}' if one.overhead else ''}",
                *one.reasons,
                *(f"Unknown: {text}" for text in one.unknowns),
            ]
            for one in expected.candidates
        ], question
        assert shown["todo"] == [f"{one.why} {one.command}" for one in expected.missing], question
        assert shown["command"].startswith("The same on a command line: nox -s choose --")


def test_an_empty_question_shows_what_the_page_had(visit: Callable[..., Page]) -> None:
    opened = visit(page("several"))
    given = opened.locator("#chosen").text_content()
    opened.locator("#chooser [name=overhead]").fill("1.2")
    asked = opened.locator("#chosen").text_content()
    assert asked != given
    opened.locator("#chooser [name=overhead]").fill("20 %")
    assert opened.locator("#chosen").text_content() == asked
    opened.locator("#chooser [name=overhead]").fill("%")
    assert "is a ratio above 0" in opened.locator("#chosen").inner_text()
    opened.locator("#chooser [name=overhead]").fill("much")
    assert opened.locator("#chosen").inner_text() == (
        "The greatest overhead is a ratio above 0, such as 1.15, or what it may add: 15%."
    )
    opened.locator("#chooser [type=reset]").click()
    opened.wait_for_function("(text) => document.getElementById('chosen').textContent === text", arg=given)
