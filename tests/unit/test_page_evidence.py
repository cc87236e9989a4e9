"""What the pages show beside a status: distances, accuracy, overhead, errors, and the detection limit."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from bench.report import Format
from bench.report import formatting as report_text
from bench.report.build import distances
from bench.report.build.notes import together
from bench.report.build.page import build
from bench.report.html import render as html_render
from bench.verdict import evaluate
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour, Spot
from tests.unit.test_report import COMPLETE, HOSTILE, rendered, view_of

if TYPE_CHECKING:
    from bench.report.view import Detail, Note
    from bench.store.run import Run
    from bench.suite.record import Record, Sample

#: A message that known_issues.toml knows.
KNOWN = "Random ops require a seed to be set when determinism is enabled."


def detail(run: Run, kernel: str = "matmul") -> Detail:
    return next(found for found in view_of(run).details if found.kernel == kernel)


def note_of(run: Run, label: str, kernel: str = "matmul") -> Note:
    """Return the only note that has this label."""
    (note,) = (note for note in detail(run, kernel).notes if note.label == label)
    return note


def plain(page: str) -> str:
    """Return the text of a page without markup and line breaks."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)).replace("&#39;", "'").replace("&gt;", ">")


def only(**modes: Behaviour) -> Any:
    """Return a behaviour of matmul for each mode; all other kernels are reproducible."""
    return lambda spot: modes.get(spot.mode, EXACT) if spot.kernel == "matmul" else EXACT


def with_first_difference(run: Run, **facts: Any) -> Run:
    """Return the run with these facts in every recorded first difference."""

    def change(sample: Sample) -> Sample:
        if not sample.first_difference:
            return sample
        return dataclasses.replace(sample, first_difference={**sample.first_difference, **facts})

    return factory.changed(run, factory.in_samples(change))


# --- distances -----------------------------------------------------------------------------------------


def test_a_difference_within_a_process_is_shown_in_full() -> None:
    run = factory.run(None, only(on=Behaviour(("a", "a", "b"))))
    half = detail(run).entry.on
    assert re.fullmatch(r"max diff \d\.\de-07, V_c 0\.\d\d", half.distance_text)
    note = note_of(run, "Difference")
    assert note.where == "on"
    assert note.sentences[0] == "Round 1 repetition 0 compared with round 1 repetition 2, over all elements."
    assert re.match(
        r"Output out: V_c 0\.\d+ \(\d+ of 4096 elements\); V_ermv .*; ULP median \d+, p99 \d+", note.sentences[1]
    )
    first_difference = note_of(run, "Difference").sentences[-1]
    assert re.match(r"First difference: out\[\d+, \d+\] = -?[\d.]+ vs -?[\d.]+\.", first_difference)
    for form in COMPLETE:
        page = rendered(run, form).replace("\\", "")
        if form is not Format.JSON:
            assert (note.sentences[1] if form is Format.JUNIT else half.distance_text) in page
        if form in (Format.HTML, Format.MARKDOWN, Format.JUNIT):
            assert first_difference in plain(page)


def test_the_first_difference_of_a_training_names_step_and_tensor() -> None:
    run = with_first_difference(
        factory.run(None, only(on=Behaviour(("a", "b")))),
        step=7, tensor="gradient dense/kernel", index=[3, 1], first="0.0123", other="0.0124",
    )  # fmt: skip
    expected = "First difference: gradient dense/kernel[3, 1] = 0.0123 vs 0.0124 (step 7)."
    assert note_of(run, "Difference").sentences[-1] == expected
    assert expected in plain(rendered(run, Format.HTML))
    document = json.loads(rendered(run, Format.JSON))
    kernels = [kernel for family in document["families"] for kernel in family["kernels"]]
    found = next(one for one in kernels if one["kernel"] == "matmul")["variations"][0]["cells"][0]["on"]
    first_difference = found["difference"]["first_difference"]
    assert [first_difference[key] for key in ("step", "tensor", "index")] == [7, "gradient dense/kernel", [3, 1]]
    assert found["difference"]["outputs"]["out"]["ulp_p99"] > 0
    assert found["difference"]["whole"] is True


def test_only_stored_elements_are_compared_across_processes() -> None:
    def processes(spot: Spot) -> Behaviour:
        return Behaviour((f"of {spot.round % 2}",)) if spot.kernel == "matmul" else EXACT

    run = factory.run(None, processes)
    note = next(note for note in detail(run).notes if note.label == "Difference")
    assert re.search(r"over 2\d\d kept of 4096 elements\.$", note.sentences[0])
    bare = factory.run(None, processes, keep=False)
    assert note_of(bare, "Difference").sentences == ("No values were kept of its digests.",)
    assert detail(bare).entry.on.distance_text == ""
    assert "No values were kept of its digests." in plain(rendered(bare, Format.HTML))


def test_a_value_that_determinism_changes_is_shown_with_its_distance() -> None:
    run = factory.run(None, only(on=Behaviour(("b",)), off=Behaviour(("a",))))
    note = note_of(run, "New value")
    pattern = (
        r"Determinism on gives other bits than off: output out: max diff .*, V_c .*, over 2\d\d kept of 4096 elements\."
    )
    assert re.fullmatch(pattern, note.sentences[0])
    assert note.where == ""
    assert note.sentences[0] in plain(rendered(run, Format.HTML))
    kernels = [kernel for family in json.loads(rendered(run, Format.JSON))["families"] for kernel in family["kernels"]]
    ((kernel, (change,)),) = ((kernel["kernel"], kernel["distances"]) for kernel in kernels if "distances" in kernel)
    assert (kernel, change["before"], change["after"]) == ("matmul", "A", "B")
    assert change["difference"]["outputs"]["out"]["rel_max"] > 0
    bare = dataclasses.replace(run, kept=type(run.kept)())
    assert not [note for note in detail(bare).notes if note.label == "New value"]
    assert detail(bare).entry.on.new_value


def test_a_sentence_that_holds_in_several_places_is_shown_once() -> None:
    facts = factory.info(variations={"default": (), "isa=avx2": (), "threads=1": ()})
    run = factory.run(
        facts, lambda spot: Behaviour(("a", "b")) if spot.kernel == "matmul" and spot.mode == "on" else EXACT
    )
    reasons = [note for note in detail(run).notes if note.label == "Why"]
    assert [note.where for note in reasons] == ["on"]
    assert rendered(run, Format.HTML).count(reasons[0].sentences[0]) == 1
    assert len(detail(run).processes) == 1


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (["a, off", "a, on", "b, off"], ""),
        (["a, on"], "on"),
        (["a, off", "b, off"], "off"),
        (["b, off"], "b, off"),
        (["a, off", "a, on"], "a"),
        (["a, off"], "a, off"),
    ],
)
def test_places_are_abbreviated(where: list[str], words: str) -> None:
    assert together(where, ["a, off", "a, on", "b, off"]) == words


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        ([], ""),
        ([1] * 20, "1 ×20"),  # noqa: RUF001
        ([1, 1, 2, 1], "1 ×2, 2, 1"),  # noqa: RUF001
        ([1, 2], "1, 2"),
        ([1, 2, 3, 4], "1 to 4"),
        ([1, 2, 3, 3], "1, 2, 3 ×2"),  # noqa: RUF001
        ([4, 5, 6, 1, 1], "4 to 6, 1 ×2"),  # noqa: RUF001
    ],
)
def test_a_list_of_digest_numbers_is_abbreviated(numbers: list[int], shown: str) -> None:
    assert report_text.bits(numbers) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (3.0, "3"),
        (441.5, "442"),
        (0.434, "0.43"),
        (1.23e-7, "1.2e-07"),
        (1e30, "1e+30"),
        (float("inf"), "not finite"),
        (None, "not finite"),
    ],
)
def test_figures_are_rounded(value: float | None, shown: str) -> None:
    assert report_text.figure(value) == shown


@pytest.mark.parametrize(
    ("pair", "shown"),
    [
        (("-0.7344688177108765", "-0.7281215190887451"), ("-0.734468818", "-0.728121519")),
        (("0.1", "0.10000000000000002"), ("0.1", "0.10000000000000002")),
        (("0.0", "-0.0"), ("0", "-0")),
        (("nan", "1.0"), ("nan", "1")),
        (("a" * 50, "b\x1b"), ("a" * 40 + "...", r"b\x1b")),
    ],
)
def test_two_values_have_enough_digits_to_differ(pair: tuple[str, str], shown: tuple[str, str]) -> None:
    assert distances.values(*pair) == shown


def test_nan_and_sign_changes_are_counted() -> None:
    run = factory.run(None, only(on=Behaviour(("a", "b"))))
    found = detail(run).entry.on
    assert found is not None
    assert found.difference is not None
    worst = dataclasses.replace(found.difference.outputs["out"], nan_changes=2, sign_changes=1, rel_max=float("inf"))
    assert distances.brief(worst).startswith("max diff not finite, V_c ")
    assert distances.brief(worst).endswith("2 NaN changes, 1 sign change")


# --- errors and known issues ---------------------------------------------------------------------------


def test_an_error_is_shown_with_class_message_location_and_known_issue() -> None:
    bad = Behaviour(outcome="error", error_class="RuntimeError", message=f"{KNOWN}\nmore")
    run = factory.run(None, only(on=bad))

    def with_location(record: Record) -> Record:
        outcomes = tuple(
            outcome if outcome.outcome == "ok" else dataclasses.replace(outcome, where="my_kernels.py:12")
            for outcome in record.outcomes
        )
        return dataclasses.replace(record, outcomes=outcomes)

    run = factory.changed(run, with_location)
    note = note_of(run, "Error")
    assert note.sentences == ("RuntimeError, at my_kernels.py:12",)
    assert KNOWN in note.block
    assert not detail(run).processes
    known = note_of(run, "Known issue")
    assert any(text.startswith("Source: ") for text in known.sentences)
    (notice,) = (notice for notice in view_of(run).notices if notice.title == "Known issues")
    assert "Kernels: matmul." in notice.items[0]
    page = plain(rendered(run, Format.HTML))
    assert "my_kernels.py:12" in page
    assert known.sentences[0] in page
    document = json.loads(rendered(run, Format.JSON))
    kernels = [kernel for family in document["families"] for kernel in family["kernels"]]
    found = next(kernel for kernel in kernels if kernel["kernel"] == "matmul")["variations"][0]["cells"][0]["on"]
    assert found["error_where"] == "my_kernels.py:12"
    assert [found["known_issue"]] == [issue["id"] for issue in document["known_issues"]]


# --- accuracy, cost, upgrades -------------------------------------------------------------------------


def test_accuracy_is_one_line() -> None:
    facts = factory.info(kernels=(factory.kernel("matmul", accuracy=True), *factory.CONTROLS))
    run = factory.run(
        facts,
        only(
            off=Behaviour(errors={"out": {"max": 1e-6, "rms": 3.1e-7}}),
            on=Behaviour(errors={"out": {"max": 1e-6, "rms": 1.2e-7}}),
        ),
    )
    expected = "Error against float64: off 3.1e-07, on 1.2e-07 (rms): on is more accurate."
    assert note_of(run, "Accuracy").sentences == (expected,)
    assert expected in plain(rendered(run, Format.HTML))
    document = json.loads(rendered(run, Format.JSON))
    assert document["evidence"][0]["accuracy"] == {"default": "more"}
    cell = document["families"][0]["kernels"][0]["variations"][0]["cells"][0]
    assert [cell[mode]["errors"]["out"]["rms"] for mode in ("off", "on")] == [3.1e-7, 1.2e-7]


# --- controls -----------------------------------------------------------------------------------------


def test_the_controls_show_the_detection_limit() -> None:
    facts = factory.info(kernels=(factory.kernel("matmul"), *factory.GRADED), repetitions=4)
    run = factory.run(facts)
    shown = view_of(run).control_checks
    (line,) = shown.lines
    assert (line.label, line.places) == ("TF 2.18.1 CPU", "all variations and modes")
    assert line.seen == "every sample, 1 of 2, 1 of 10 (by chance)"
    assert (line.out_of_reach, line.failed) == ("1 of 50", "")
    assert line.sentence == "Kernels that differ in at least 50 % of samples."
    assert shown.sentence == "Detection limit: kernels that differ in at least 50 % of samples."
    for form in (Format.HTML, Format.TERMINAL, Format.MARKDOWN, Format.JSON):
        assert shown.sentence in " ".join(rendered(run, form).replace("\\", "").split())
    for form in (Format.HTML, Format.MARKDOWN):
        assert line.sentence in plain(rendered(run, form))
    groups = json.loads(rendered(run, Format.JSON))["controls"]["groups"]
    assert [(group["mode"], group["detection_limit"]) for group in groups] == [("off", 0.5), ("on", 0.5)]


def test_a_failed_control_is_named_in_the_summary() -> None:
    def frozen(spot: Spot) -> Behaviour:
        return Behaviour(("frozen",)) if spot.kernel == "control_flicker" and spot.mode == "on" else EXACT

    shown = view_of(factory.run(None, frozen)).control_checks
    assert shown.sentence.endswith("A control failed in TF 2.18.1 CPU, default, on.")
    assert {line.places for line in shown.lines} == {"default off", "default on"}
    failed = next(line for line in shown.lines if line.places == "default on")
    assert failed.failed.startswith("control_flicker: it did not differ")
    assert failed.sentence == "Control failed: the results of this group cannot be used."


def test_gpu_controls_and_outputs_on_the_cpu() -> None:
    facts = factory.info(
        columns=(factory.column(cuda="12.5"),),
        kernels=(factory.kernel("matmul"), factory.kernel("scatter", gpu_control=True), *factory.CONTROLS),
    )
    run = factory.run(facts, lambda spot: Behaviour(device="CPU:0") if spot.kernel == "matmul" else EXACT)
    titles = {notice.title: notice for notice in view_of(run).notices}
    assert titles["Outputs on the CPU"].items == (f"{facts.columns[0].id}: matmul",)
    assert "scatter" in titles["No nondeterminism seen on the GPU"].text
    (sentence,) = view_of(run).control_checks.gpu
    assert sentence.endswith(
        "kernels known to be nondeterministic on GPUs with determinism off: scatter did not differ."
    )
    assert sentence in plain(rendered(run, Format.HTML))
    varied = factory.run(
        facts, lambda spot: Behaviour(("a", "b")) if (spot.kernel, spot.mode) == ("scatter", "off") else EXACT
    )
    assert "No nondeterminism seen on the GPU" not in {notice.title for notice in view_of(varied).notices}
    assert view_of(varied).control_checks.gpu[0].endswith("off: scatter differed, as expected.")


# --- custom kernels, libraries, hostile text ---------------------------------------------------------------------


def test_custom_kernels_are_marked_with_their_file() -> None:
    facts = factory.info(kernels=(factory.kernel("mine", file="work/my_kernels.py"), *factory.CONTROLS))
    run = factory.run(facts)
    row = view_of(run).rows[0]
    assert row.own == "custom, my_kernels.py"
    for form in (Format.HTML, Format.TERMINAL, Format.MARKDOWN, Format.JSON):
        assert row.own in rendered(run, form).replace("\\", "")
    assert ("custom file", "work/my_kernels.py") in {(fact.label, fact.value) for fact in row.facts}


def test_a_kernel_that_uses_keras_is_marked() -> None:
    facts = factory.info(kernels=(factory.kernel("mlp_fit", portable=False), *factory.info().kernels))
    fit, matmul, *_ = view_of(factory.run(facts)).rows
    assert "within one Keras release" in {fact.label: fact.value for fact in fit.facts}["Keras"]
    assert "Keras" not in {fact.label for fact in matmul.facts}


def test_loaded_libraries_are_listed_with_their_versions() -> None:
    run = factory.changed(factory.run(), factory.libraries(libcudnn="9.3.0", libm=""))
    (environment,) = view_of(run).environments
    found = {fact.label: fact.value for fact in environment.libraries}
    assert (found["libcudnn"], found["libm"]) == ("9.3.0", "loaded")
    assert "Loaded libraries" in rendered(run, Format.HTML)
    assert json.loads(rendered(run, Format.JSON))["environments"][0]["libraries"]["libcudnn"] == "9.3.0"


@pytest.mark.parametrize("form", Format)
def test_hostile_tensors_and_libraries_stay_text(form: Format) -> None:
    facts = factory.info(kernels=(factory.kernel("matmul", file=HOSTILE), *factory.CONTROLS))
    run = with_first_difference(
        factory.run(facts, only(on=Behaviour(("a", "b")))), step=1, tensor=HOSTILE, first=HOSTILE, other=HOSTILE
    )
    page = rendered(factory.changed(run, factory.libraries(**{HOSTILE: HOSTILE})), form)
    for harm in ("\x00", "\x1b", "\u202e", "\u2028", "\ud800"):
        assert harm not in page
    if form in (Format.HTML, Format.MARKDOWN, Format.JUNIT):
        assert "<script>alert" not in page


def test_a_long_suite_under_many_variations_stays_small() -> None:
    """A third of the whole suite; all of it is three times as much and must stay below 1.5 MB."""
    facts = factory.info(
        columns=tuple(factory.column(name) for name in ("2.15.1", "2.18.1", "2.21.0")),
        kernels=(*(factory.kernel(f"kernel_number_{n}", f"family{n % 4}") for n in range(26)), *factory.GRADED),
        variations=dict.fromkeys(("default", "threads=1", "threads=4xcores", "onednn=0", "isa=avx2"), ()),
    )

    def some_vary(spot: Spot) -> Behaviour:
        number = spot.kernel.rpartition("_")[2]
        return Behaviour(("a", "b")) if number in ("3", "13", "23") and spot.mode == "off" else EXACT

    view = build(evaluate(factory.run(facts, some_vary)))
    assert len(html_render.render(view).encode()) <= 600_000
