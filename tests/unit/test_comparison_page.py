"""The upgrade view and what changed since the last run, as every page shows them."""

from __future__ import annotations

import dataclasses
import json
import re
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest

from bench.report import Format, Last, labels, render
from bench.report.build.previous_run import since
from bench.report.build.upgrade import DRIFT, compared, upgrades
from bench.verdict import evaluate
from bench.verdict.comparison import Event, Side
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour, Spot
from tests.unit.test_report import HOSTILE, rendered, view_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.report.view import Since
    from bench.store.run import Run
    from bench.verdict import RunResults

PAGES = (Format.HTML, Format.TERMINAL, Format.MARKDOWN, Format.JSON)
HOST = {"name": "box", "cpu": "Example", "cores": "2"}
COLUMNS = (factory.column("2.15.1"), factory.column("2.18.1"))


def plain(page: str) -> str:
    """The words of a page, whatever carries them."""
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)).replace("\\", "")
    return text.replace("&#39;", "'").replace("&gt;", ">")


def test_every_event_has_its_sign_and_place() -> None:
    """Events are listed in the order of the table and coloured by their tone."""
    assert list(labels.EVENTS) == list(Event)
    good = [event for event, (_, tone) in labels.EVENTS.items() if tone == "good"]
    assert good == [Event.IMPROVED]


def slower(spot: Spot) -> Behaviour:
    if spot.kernel == "matmul" and "2.18" in spot.column:
        return Behaviour(steady_s=(0.002 + spot.round * 1e-5,))
    return Behaviour(steady_s=(0.001 + spot.round * 1e-5,)) if not spot.kernel.startswith("control") else EXACT


def upgraded(behave: Callable[[Spot], Behaviour] = slower, **facts: Any) -> Run:
    return factory.run(factory.info(columns=COLUMNS, **facts), behave)


def test_a_step_names_significant_changes_of_time_and_counts_the_others() -> None:
    (one,) = view_of(upgraded()).upgrades
    assert one.label == "TF 2.15.1 CPU to TF 2.18.1 CPU"
    times = "1 kernel slower (most: matmul, 1.97x slower), 0 faster, 1 without a significant change"
    assert one.sentences == (
        "2 of 4 results changed.",
        f"Determinism off: {times}; bits changed in 0 of 2 kernels.",
        f"Determinism on: {times}; bits changed in 0 of 2 kernels.",
        "By kind, counting each kernel off and on: linalg slower in 2 of 2 (1.97x); no change in convolutions.",
        "Changed: TensorFlow 2.15.1 to 2.18.1; stayed: Keras 3.15.1, NumPy 2.0.2, protobuf 5.29.5.",
    )
    assert one.packages[2] == ("NumPy", "2.0.2", "2.0.2")
    assert (one.step, one.changed_facts, one.alone) == ("TensorFlow step", "TensorFlow 2.15.1 to 2.18.1 alone.", True)
    (line,) = one.lines
    assert (line.kernel, line.where, line.events, line.bits) == ("matmul", "off and on", ("slower",), "same bits")
    ratio = r"1\.9\dx slower \(1\.\d\d to \d\.\d\d\), not paired"
    assert re.fullmatch(rf"{ratio} \(off\), {ratio} \(on\)", line.time)
    assert [row.events for row in one.rows] == [("slower",), ("slower",)]
    assert (one.counts, one.changed, one.kept, one.results) == ((("slower", 2),), 2, 2, 4)
    for form in PAGES:
        page = rendered(upgraded(), form)
        text = json.dumps(json.loads(page), ensure_ascii=False) if form is Format.JSON else page.replace("\\", "")
        assert all(sentence in " ".join(unescape(text).split()) for sentence in one.sentences)
    assert line.time in plain(rendered(upgraded(), Format.HTML))


def test_without_a_step_the_page_says_so() -> None:
    assert not view_of(factory.run()).upgrades
    assert "No two columns that gave results in this run are one step apart" in rendered(factory.run(), Format.HTML)


def test_rows_to_which_the_same_happened_are_one_line() -> None:
    def moved(spot: Spot) -> Behaviour:
        return Behaviour(("new",)) if spot.kernel == "matmul" and "2.18" in spot.column else EXACT

    places: dict[str, tuple[str, ...]] = {"default": (), "threads=1": (), "onednn=0": ()}
    (one,) = view_of(upgraded(moved, variations=places)).upgrades
    (line,) = one.lines
    assert line.where == "all 6 variations and modes"
    assert re.fullmatch(r"changed, max diff \d\.\de-07, V_c 0\.\d+", line.bits)
    assert len(one.rows) == 6

    def one_place(spot: Spot) -> Behaviour:
        return moved(spot) if (spot.variation, spot.mode) in {("threads=1", "on"), ("default", "on")} else EXACT

    (one,) = view_of(upgraded(one_place, variations=places)).upgrades
    assert [line.where for line in one.lines] == ["default on and threads=1 on"]


def test_the_most_severe_change_comes_first_and_a_status_is_shown_on_both_sides() -> None:
    def worse(spot: Spot) -> Behaviour:
        if "2.15" in spot.column:
            return EXACT
        return {"matmul": Behaviour(("new",)), "conv2d": Behaviour(("a", "b"))}.get(spot.kernel, EXACT)

    (one,) = view_of(upgraded(worse)).upgrades
    assert [(line.kernel, line.events[0]) for line in one.lines] == [
        ("conv2d", "no longer reproducible"),
        ("matmul", "bits changed"),
    ]
    lost = one.lines[0]
    assert (lost.before.word, lost.after.word, lost.turned, lost.bits) == (
        "reproducible",
        "nondeterministic",
        True,
        "not compared; nondeterministic after",
    )
    for form in PAGES:
        assert "no longer reproducible" in plain(rendered(upgraded(worse), form))


def test_what_is_not_compared_has_its_reason() -> None:
    kernels = (factory.kernel("mlp_fit", portable=False), *factory.info().kernels)
    columns = (factory.column("2.15.1", keras="2.15.0"), factory.column())
    (one,) = view_of(factory.run(factory.info(columns=columns, kernels=kernels))).upgrades
    assert one.unknown_why == (("Keras is part of the kernel, and changes from 2.15.0 to 3.15.1", 2),)
    assert one.rest == f"4 keep status and bits; 2 not compared ({one.unknown_why[0][0]})"
    assert one.sentences[1].endswith("bits changed in 0 of 2 kernels, 1 not compared.")
    assert one.rest in plain(rendered(factory.run(factory.info(columns=columns, kernels=kernels)), Format.HTML))


def test_weak_evidence_is_never_the_same_bits() -> None:
    few = factory.info(columns=COLUMNS, rounds=2)
    (one,) = view_of(factory.run(few)).upgrades
    assert (one.kept, one.so_far) == (0, 4)
    assert one.sentences[1].endswith("bits changed in 0 of 2 kernels (2 the same only so far).")


def test_a_comparison_says_all_that_differs() -> None:
    columns = (factory.column("2.15.1", python="3.10"), factory.column())
    evaluated = evaluate(factory.run(factory.info(columns=columns)))
    found = compared(*(Side(results=evaluated, column=one.id) for one in columns))
    assert found.changed_facts.startswith("TensorFlow 2.15.1 to 2.18.1, Python 3.10 to 3.11")
    assert "they changed together, so no single one explains the results" in found.changed_facts
    assert not found.alone
    long = evaluate(factory.run(factory.info(id="long", host={"name": "x" * 10_000})))
    far = compared(Side(results=evaluated, column=columns[1].id), Side(results=long, column=columns[1].id))
    assert "host bench-host to xxx" in far.changed_facts
    assert len(far.changed_facts) < 500
    same = compared(*(Side(results=evaluated, column=one.id) for one in (columns[1], columns[1])))
    assert same.changed_facts == "No known fact differs between the two."


def test_a_long_list_ends_with_the_command_that_shows_the_rest() -> None:
    def moves(spot: Spot) -> Behaviour:
        return EXACT if spot.kernel.startswith("control") else Behaviour((spot.column,))

    columns = tuple(factory.column(f"2.{minor}.0") for minor in range(10, 22))
    kernels = (*(factory.kernel(f"k{number}") for number in range(40)), *factory.CONTROLS)
    run = factory.run(factory.info(columns=columns, kernels=kernels), moves)
    page = plain(rendered(run, Format.HTML))
    ids = [f"{run.info.id}:{column.id}" for column in columns[:2]]
    assert f"And 20 more: python -m bench compare {ids[0]} {ids[1]}" in page


# --- since the last run --------------------------------------------------------------------------------


def last(behave: Callable[[Spot], Behaviour] | None = None, **facts: Any) -> RunResults:
    info = factory.info(
        **{"id": "20250129T120000Z-0000", "started": "2025-01-29T12:00:00+00:00", "host": HOST, **facts}
    )
    return evaluate(factory.run(info, behave))


def now(behave: Callable[[Spot], Behaviour] | None = None, **facts: Any) -> RunResults:
    return evaluate(factory.run(factory.info(**{"host": HOST, **facts}), behave))


def test_without_an_earlier_run_there_is_nothing_to_say() -> None:
    found = since(now(), None)
    assert (found.run, found.upgrades, found.quiet) == ("", (), True)
    assert found.sentence == "There is no earlier run to compare with."
    assert found.sentence in plain(render(now(), Format.HTML))


def test_nothing_changed_is_only_stated_of_compared_results() -> None:
    found = since(now(), last())
    assert (found.run, found.moment) == ("20250129T120000Z-0000", "2025-01-29 12:00 UTC")
    assert found.sentence == "Nothing changed: 4 of 4 results keep status and bits."
    assert found.quiet
    assert found.notes == ()
    page = plain(render(now(), Format.HTML, before=Last(results=last())))
    assert found.sentence in page
    assert found.run in page
    weak = since(now(rounds=2), last(rounds=2))
    assert weak.sentence == (
        "No change was seen: 0 of 4 results keep status and bits; 4 have the same bits so far, on weak evidence."
    )
    failed = since(now(lambda _: Behaviour(first_s=0.06)), last(lambda _: Behaviour(first_s=0.06)))
    assert failed.sentence == "Nothing is known: none of 4 results can be compared."


def varying(spot: Spot) -> Behaviour:
    return Behaviour(("a", "b")) if spot.kernel == "matmul" and spot.mode == "off" else EXACT


def test_a_kernel_that_is_nondeterministic_in_both_runs_has_not_changed() -> None:
    found = since(now(varying), last(varying))
    assert found.sentence == (
        "No change was seen: 3 of 4 results keep status and bits; 1 are still nondeterministic or still fail."
    )


def test_what_changed_is_listed() -> None:
    found = since(now(varying), last())
    assert not found.quiet
    assert found.sentence == "1 of 4 results changed (no longer reproducible 1): 3 keep status and bits."
    (one,) = found.upgrades
    assert one.label == "TF 2.18.1 CPU"
    assert one.lines[0].events == ("no longer reproducible",)
    for form in PAGES:
        assert "1 of 4 results changed" in plain(render(now(varying), form, before=Last(results=last())))


def test_a_kernel_that_only_got_slower_has_changed() -> None:
    def pace(seconds: float) -> Callable[[Spot], Behaviour]:
        return lambda s: EXACT if s.kernel.startswith("control") else Behaviour(steady_s=(seconds + s.round * 1e-5,))

    found = since(now(pace(0.002)), last(pace(0.001)))
    assert found.sentence.startswith("4 of 4 results changed (slower 4)")
    assert found.upgrades[0].lines[0].bits == "same bits"
    assert DRIFT in found.notes
    assert not upgrades(evaluate(upgraded()))[0].note  # rounds of one run take turns


def test_added_and_removed_columns_and_another_suite_are_noted() -> None:
    found = since(now(suite_hash="6" * 64), last(columns=COLUMNS))
    assert found.notes[0] == "Removed since then: TF 2.15.1 CPU."
    assert found.notes[1].startswith("The suite has changed between the runs: times are not compared")
    assert found.sentence == "Nothing is known: none of 4 results can be compared."
    assert since(now(columns=COLUMNS), last()).notes[0] == "Added since then: TF 2.15.1 CPU."


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"engine": "venv"}, "engine"),
        ({"host": {**HOST, "name": "other"}}, "host"),
        ({"host": {**HOST, "cpu": "Newer"}}, "host"),
    ],
)
def test_a_column_of_another_place_is_not_compared(facts: dict[str, Any], why: str) -> None:
    found = since(now(**facts), last())
    assert found.notes[0] == f"TF 2.18.1 CPU is not compared: it was measured with another {why}."
    assert found.sentence == "Nothing can be compared: the runs have no result in common."


def test_records_reused_are_not_called_unchanged() -> None:
    before = factory.run(factory.info(host=HOST))
    taken = dict.fromkeys(before.records, before.info.id)
    now = factory.info(id="20250131T120000Z-cdef", host=HOST, reused=taken)
    found = since(evaluate(dataclasses.replace(before, info=now, paired={})), evaluate(before))
    assert found.sentence == "Nothing is known: none of 4 results can be compared."


def test_notes_of_runs_that_were_passed_over_reach_the_page() -> None:
    actual = Last(notes=("Run x was passed over: <b>schema 1</b>.",))
    page = render(now(), Format.HTML, before=actual)
    assert "<b>schema 1" not in page
    assert "Run x was passed over" in page


def test_hostile_names_cannot_become_markup() -> None:
    text = HOSTILE
    kernels = (factory.kernel(f"k{text}", family=text), *factory.CONTROLS)

    def moves(spot: Spot) -> Behaviour:
        return EXACT if spot.kernel.startswith("control") else Behaviour((spot.column,))

    run = factory.run(factory.info(columns=COLUMNS, kernels=kernels, host={"name": text}), moves)
    before: RunResults = last(kernels=kernels, columns=COLUMNS, host={"name": text})
    page = render(evaluate(run), Format.HTML, before=Last(results=before))
    found: Since = since(evaluate(run), before)
    assert found.upgrades
    page = page.split('<script type="application/json"')[0]
    assert "<script>alert" not in page
    assert not {"\x00", "\x1b", "\u202e", "\u2028"} & set(page)


def test_the_same_runs_give_the_same_bytes() -> None:
    first, second = (render(now(varying), Format.HTML, before=Last(results=last())) for _ in range(2))
    assert first == second
    assert upgrades(evaluate(upgraded())) == upgrades(evaluate(upgraded()))
