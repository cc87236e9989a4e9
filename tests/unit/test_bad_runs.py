"""Bad input: each of the five renderers makes something true and readable of it."""

from __future__ import annotations

import dataclasses
import json
import math
from functools import lru_cache
from typing import TYPE_CHECKING

import pytest

from bench.errors import StorageError
from bench.report.build.page import build
from bench.report.html import render as html_render
from bench.report.json import render as json_render
from bench.report.text import junit, markdown, terminal
from bench.store.run import load
from bench.store.run_folder import RunFolder
from bench.verdict import evaluate
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour
from tests.unit.test_renderers import RENDERERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.report.view import View
    from bench.store.run import Run
    from bench.suite.record import Record

#: All but JUnit, which has a case for each result and no page.
PAGES = ("html", "terminal", "markdown", "json")
NO_ANSWER = "Nothing was measured with determinism on, so there is no answer."
LONG = "x" * 10_000


def two_columns() -> Run:
    return factory.run(factory.info(columns=(factory.column("2.15.1"), factory.column())))


def failing(outcome: str) -> Run:
    """Every kernel fails, the controls hold."""
    bad = Behaviour(outcome=outcome, error_class="ValueError", message=LONG)
    return factory.run(None, lambda spot: EXACT if spot.kernel.startswith("control") else bad)


def impossible() -> Run:
    reasons = ("the driver is too old", "there is no wheel")
    columns = (factory.column(cuda=f"12.{n}", status="incompatible", reason=why) for n, why in enumerate(reasons))
    return factory.run(factory.info(columns=tuple(columns)))


def timed(*seconds: float) -> Run:
    """Times that no clock can have shown."""
    bad = Behaviour(steady_s=seconds, first_s=seconds[0])
    return factory.run(None, lambda spot: EXACT if spot.kernel.startswith("control") else bad)


def half_missing() -> Run:
    """The first pair has no sample of one of two kernels."""
    run = two_columns()

    def drop(one: Record) -> Record:
        names = tuple(name for name in one.request.kernels if name != "matmul")
        return dataclasses.replace(
            one,
            request=dataclasses.replace(one.request, kernels=names),
            samples=tuple(sample for sample in one.samples if sample.kernel != "matmul"),
            outcomes=tuple(outcome for outcome in one.outcomes if outcome.kernel != "matmul"),
        )

    return factory.changed(run, drop, factory.Change(column=run.info.columns[0].id))


def of_another_suite(**where: str) -> Run:
    run = two_columns()
    column = run.info.columns[0].id
    old = factory.Change(column=column) if where else factory.Change(column=column, rounds=(1, 2, 3))
    return factory.changed(run, lambda one: dataclasses.replace(one, suite_hash="0" * 64), old)


def look_alike() -> Run:
    """Two kernels whose names are the same once they are made harmless; only the first varies."""
    kernels = (factory.kernel("a\x00"), factory.kernel("a\\x00"), *factory.CONTROLS)
    return factory.run(
        factory.info(kernels=kernels), lambda spot: Behaviour(("a", "b")) if spot.kernel == "a\x00" else EXACT
    )


def same_label() -> Run:
    columns = (factory.column(), factory.column(id="tf2.18.1-cpu-py311@cpu2"))
    return factory.run(
        factory.info(columns=columns), lambda spot: Behaviour(("a", "b")) if spot.column.endswith("2") else EXACT
    )


RUNS: dict[str, Callable[[], Run]] = {
    "nothing planned": lambda: dataclasses.replace(
        factory.run(), info=factory.info(columns=(), kernels=()), records={}
    ),
    "no kernels": lambda: factory.run(factory.info(kernels=())),
    "no records": lambda: dataclasses.replace(factory.run(), records={}),
    "one column": lambda: factory.run(factory.info(kernels=(factory.kernel("matmul"), *factory.CONTROLS))),
    "all error": lambda: failing("error"),
    "all mismatch": lambda: failing("mismatch"),
    "all incompatible": impossible,
    "no time is a time": lambda: timed(math.nan, math.inf, -1.0, 0.0),
    "half missing": half_missing,
    "two suites": of_another_suite,
    "a column of another suite": lambda: of_another_suite(whole="yes"),
    "unreadable": lambda: dataclasses.replace(factory.run(), unreadable={"records/x/off-001.jsonl": "no header"}),
    "look-alikes": look_alike,
    "same label": same_label,
    "not finished": lambda: factory.run(factory.info(finished="")),
    "determinism off only": lambda: factory.run(factory.info(modes=("off",))),
}

#: What each rendering says (in these words), and what none of them may say.
SAYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "nothing planned": ((NO_ANSWER, "There is no pair."), ("reproducible 1", "All 2 kernels reproducible")),
    "no kernels": ((NO_ANSWER, "not-run"), ("All 2 kernels reproducible",)),
    "no records": ((NO_ANSWER, "not-run"), ("All 2 kernels reproducible",)),
    "one column": (("the one kernel is reproducible on TF 2.18.1 CPU", "All 1 kernel reproducible"), ()),
    "all error": (
        ("no kernel is reproducible on TF 2.18.1 CPU (all 2: error)", "error 2", "not measured"),
        ("All 2 kernels reproducible",),
    ),
    "all mismatch": (("Nothing valid was measured", "mismatch"), ("All 2 kernels reproducible", "0 of 2 kernels")),
    "all incompatible": (
        (NO_ANSWER, "incompatible: the driver is too old", "incompatible: there is no wheel"),
        ("All 2 kernels reproducible",),
    ),
    "no time is a time": (("all 2 kernels are reproducible", "not measured"), ("nan µs", "inf s", "-1.00", "0.00 µs")),
    "half missing": (
        ("1 of 2 (1 not run) on TF 2.15.1 CPU", "not-run 1", "all 2 kernels are reproducible on TF 2.18.1 CPU"),
        (),
    ),
    "two suites": (("Records left out", "6 records", "measured with another version of the suite"), ()),
    "a column of another suite": (
        ("outdated", "all 2 kernels are reproducible on TF 2.18.1 CPU"),
        ("CPU and TF 2.15.1",),
    ),
    "unreadable": (("Unreadable records", "records/x/off-001.jsonl: no header"), ()),
    "look-alikes": (("1 of 2 kernels", "nondeterministic 1"), ("All 2 kernels reproducible",)),
    "same label": (("reproducible on tf2.18.1-cpu-py311@cpu.", "tf2.18.1-cpu-py311@cpu2"), ()),
    "not finished": (("The run is not finished", ", not finished"), ()),
    "determinism off only": ((NO_ANSWER, "not measured with determinism on"), ("0 of 2 kernels",)),
}


@lru_cache(maxsize=32)
def view(name: str) -> View:
    return build(evaluate(RUNS[name]()))


def test_every_bad_run_is_looked_at() -> None:
    assert set(RUNS) == set(SAYS)


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize("name", RUNS)
def test_it_says_what_is_true(name: str, renderer: str) -> None:
    shown = " ".join(RENDERERS[renderer](view(name)).split())
    actual, never = SAYS[name]
    for text in actual:
        assert text in shown
    for text in never:
        assert text not in shown


@pytest.mark.parametrize("name", [name for name, (_, never) in SAYS.items() if "All 2 kernels reproducible" in never])
def test_nothing_green_is_made_of_it(name: str) -> None:
    found = view(name)
    assert not any(line.safe for line in found.lines)
    assert not any(one.fit == "fits" for one in found.choice.candidates)
    if name != "look-alikes":
        kernels = [row for row in found.rows if not row.control]
        assert not any(half.tone == "good" for row in kernels for entry in row.entries for half in entry.mode_results)


def test_no_number_stands_for_a_time_that_is_none() -> None:
    found = view("no time is a time")
    actual = json.loads(json_render.render(found))
    for kernel in (kernel for family in actual["families"] for kernel in family["kernels"]):
        if "control" not in kernel:
            cell = kernel["variations"][0]["cells"][0]
            for half in (cell["off"], cell["on"]):
                assert half["status"] == "reproducible"
                assert not {"timing", "overhead"} & half.keys()


@pytest.mark.parametrize(("seconds", "shown"), [(1e10, "1.00e+10 s"), (1e300, "overhead: not measured")])
def test_a_time_of_any_size_keeps_to_the_width(seconds: float, shown: str) -> None:
    actual = terminal.render(build(evaluate(timed(seconds))), 80)
    assert shown in actual
    assert max(len(line) for line in actual.splitlines() if "nox -s" not in line) <= 80


def test_half_a_pair_is_not_a_safe_pair() -> None:
    lines = {line.label: line for line in view("half missing").lines}
    assert (lines["TF 2.15.1 CPU"].safe, lines["TF 2.18.1 CPU"].safe) == (False, True)
    assert [(one.label, one.fit) for one in view("half missing").choice.candidates] == [
        ("TF 2.18.1 CPU", "fits"),
        ("TF 2.15.1 CPU", "unknown"),
    ]


def test_what_two_suites_leave_is_weak() -> None:
    words = {entry.on.word for row in view("two suites").rows[:2] for entry in row.entries[:1]}
    assert words == {"inconclusive"}


def test_look_alikes_keep_their_own_verdicts() -> None:
    words = [row.entries[0].on.word for row in view("look-alikes").rows[:2]]
    assert words == ["nondeterministic", "reproducible"]
    page = junit.render(view("look-alikes"))
    assert page.count('name="a\\x00 [on]"') == 1
    assert page.count('name="a\\x00 (2) [on]"') == 1


@pytest.mark.parametrize(
    ("renderer", "render"), [("html", html_render.render), ("markdown", markdown.render), ("junit", junit.render)]
)
def test_a_long_error_is_capped_and_counted(renderer: str, render: Callable[[View], str]) -> None:
    page = render(view("all error"))
    assert "x" * (501 if renderer == "markdown" else 2001) not in page
    assert ("the page has more" if renderer == "markdown" else "[8000 more characters]") in page.replace("\\", "")
    assert LONG not in json_render.render(view("all error"))
    assert LONG not in terminal.render(view("all error"))


def test_four_hundred_columns() -> None:
    columns = tuple(factory.column(f"2.{minor}.{patch}") for minor in range(10, 30) for patch in range(20))
    facts = factory.info(
        columns=columns, rounds=1, repetitions=1, kernels=(factory.kernel("matmul"), *factory.CONTROLS)
    )
    found = build(evaluate(factory.run(facts, keep=False)))
    assert len(found.columns) == 400
    for render in (html_render.render, markdown.render, json_render.render, junit.render, terminal.render):
        page = render(found)
        assert "2.29.19" in page
    assert len(markdown.render(found).encode()) < 1024 * 1024
    assert max(len(line) for line in terminal.render(found, 80).splitlines() if "nox -s" not in line) <= 80
    assert not any(line.safe for line in found.lines)


# --- folders ------------------------------------------------------------------------------------------


@pytest.mark.fault("A record of a finished run cannot be read", "Every page names it.")
def test_a_record_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    run = two_columns()
    folder = RunFolder.create(tmp_path)
    (folder.path / "run.json").write_text(run.info.to_json(), encoding="utf-8")
    place = folder.path / "records" / run.info.columns[0].id / "default"
    place.mkdir(parents=True)
    (place / "off-001.jsonl").write_text("no header\n", encoding="utf-8")
    (place / "off-002.jsonl").write_text('{"type": "header", "schema": 99}\n', encoding="utf-8")
    found = build(evaluate(load(folder.path)))
    for renderer, render in RENDERERS.items():
        shown = render(found)
        assert "Unreadable records" in shown, renderer
        assert "off-001.jsonl" in shown, renderer
        assert "off-002.jsonl" in shown, renderer
        assert NO_ANSWER in shown, renderer


@pytest.mark.fault("A run was measured by a newer version", "It is refused in one sentence.")
def test_a_run_of_a_later_version_is_refused_in_a_sentence(tmp_path: Path) -> None:
    actual = json.loads(factory.info().to_json())
    actual["columns"][0]["colour"] = "blue"
    actual["moon\x1b"] = 1
    (tmp_path / "run.json").write_text(json.dumps(actual), encoding="utf-8")
    with pytest.raises(StorageError, match=r"fields that this version does not know: 'colour', 'moon\\x1b'") as caught:
        load(tmp_path)
    assert "the tfrepro that wrote it" in str(caught.value.hint)
