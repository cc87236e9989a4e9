"""Five renderers of one view: same content, order and words; same bytes; no harm from hostile or bad input."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from bench import report
from bench.errors import StorageError
from bench.report import FORMATS, Format
from bench.report import formatting as report_text
from bench.report.build.page import build
from bench.report.labels import STATUS_LABELS
from bench.report.text import terminal
from bench.verdict import Status, evaluate
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour, Spot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.report.view import View
    from bench.store.run import Run
    from bench.suite.record import Record

HOSTILE = "<script>alert(1)</script>\"'`|\x00\x1b[31m\u202e{{7*7}}\u2028&amp;\ud800"
ABORT = Behaviour(outcome="crashed", message="SIGABRT")
UNIMPLEMENTED = Behaviour(outcome="error", error_class="UnimplementedError", message="no deterministic kernel")


def mixed() -> Run:
    """Three columns, one of them not built, two variations, and every kind of answer."""
    facts = factory.info(
        columns=(
            factory.column("2.15.1"),
            factory.column("2.16.2", status="build-failed", reason="no wheel"),
            factory.column(),
        ),
        kernels=(factory.kernel("dense_fit", "training", call_again=False), *factory.info().kernels),
        variations={"default": (), "isa=avx2": ("matmul",)},
    )

    def behave(spot: Spot) -> Behaviour:
        if spot.kernel == "matmul" and spot.variation == "isa=avx2":
            return ABORT
        if spot.kernel == "conv2d":
            return UNIMPLEMENTED if spot.mode == "on" else Behaviour(("a", "b"))
        if spot.kernel == "dense_fit":
            return Behaviour((spot.mode,), steady_s=(), later_call=None, first_s=1.25)
        return EXACT

    return factory.run(facts, behave)


#: The formats that show everything.
COMPLETE = tuple(form for form in Format if form not in (Format.JOB_SUMMARY, Format.BADGE))


def rendered(run: Run, form: Format) -> str:
    return report.render(evaluate(run), form)


def view_of(run: Run) -> View:
    return build(evaluate(run))


class Table(HTMLParser):
    """The text of the matrix of a page, row by row; the evidence of a kernel, with tables of its own, is one row."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[str] = []
        self.depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table" and (self.depth or "matrix" in (dict(attrs).get("class") or "").split()):
            self.depth += 1
        if tag == "tr" and self.depth == 1:
            self.rows.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "table" and self.depth:
            self.depth -= 1

    def handle_data(self, data: str) -> None:
        if self.depth and self.rows:
            self.rows[-1] += f" {data}"


def html_rows(page: str) -> list[str]:
    parser = Table()
    parser.feed(page)
    return [" ".join(row.split()) for row in parser.rows]


def in_order(parts: list[str], text: str) -> bool:
    """Whether all parts are in the text, one after another."""
    at = 0
    for part in parts:
        at = text.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


# --- the renderers agree ------------------------------------------------------------------------------


def statuses(view: View) -> list[tuple[str, list[str]]]:
    """Kernel, and the words of its columns: one for a blocked column, else off and on."""
    return [
        (
            row.kernel,
            [h.status for e in row.entries for h in (e.mode_results[:1] if e.blocked else e.mode_results)],
        )
        for row in view.rows
    ]


def test_html_says_what_the_view_says() -> None:
    view, page = view_of(mixed()), rendered(mixed(), Format.HTML)
    rows = html_rows(page)
    for kernel in view.rows:
        first = next(place for place, row in enumerate(rows) if row.split()[0] == kernel.kernel)
        for variation, line in zip(kernel.results, rows[first:], strict=False):
            words = [h.status for e in variation.entries for h in (e.mode_results[:1] if e.blocked else e.mode_results)]
            assert in_order(words, line)
    plain = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page)).replace("&#39;", "'")
    assert in_order(list(view.answer), plain)
    assert in_order([line.sentence for line in view.lines], plain)


def test_terminal_says_what_the_view_says() -> None:
    view = view_of(mixed())
    page = terminal.render(view, 120)
    for row in view.rows:
        line = next(line for line in page.splitlines() if line.startswith(row.kernel))
        assert in_order(
            [half.status for entry in row.entries if not entry.blocked for half in entry.mode_results], line
        )
    assert in_order([" ".join(view.answer), *(line.sentence for line in view.lines)], " ".join(page.split()))
    assert max(map(len, page[page.index("kernel (off") : page.index("\n\nChoose: ")].splitlines())) <= 120


def test_markdown_says_what_the_view_says() -> None:
    view = view_of(mixed())
    page = re.sub(r"\\(.)", r"\1", rendered(mixed(), Format.MARKDOWN)).replace("&lt;", "<").replace("&gt;", ">")
    for kernel, words in statuses(view):
        line = next(line for line in page.splitlines() if line.startswith(f"| {kernel} |"))
        assert in_order(words, line)
    assert in_order([view.answer[0], *(line.sentence for line in view.lines)], page)


def test_json_says_what_the_view_says() -> None:
    view, document = view_of(mixed()), json.loads(rendered(mixed(), Format.JSON))
    assert document["schema"] == 6
    assert document["answer"] == list(view.answer)
    assert [pair["sentence"] for pair in document["ranking"]] == [line.sentence for line in view.lines]
    kernels = [kernel for family in document["families"] for kernel in family["kernels"]]
    for row, kernel in zip(view.rows, kernels, strict=True):
        assert kernel["kernel"] == row.kernel
        for sub, variation in zip(row.results, kernel["variations"], strict=True):
            for entry, cell in zip(sub.entries, variation["cells"], strict=True):
                assert [cell[half.mode]["status"] for half in entry.mode_results] == [
                    half.word for half in entry.mode_results
                ]
                compared = [cell[half.mode].get("compared", 0) for half in entry.mode_results]
                assert compared == [half.compared for half in entry.mode_results]


def test_json_names_the_variation_that_leads() -> None:
    document = json.loads(rendered(mixed(), Format.JSON))
    kernels = {kernel["kernel"]: kernel for family in document["families"] for kernel in family["kernels"]}
    columns = [document["columns"][place]["column"] for place in (0, 2)]
    assert kernels["matmul"]["worst"] == [
        {"column": column, "mode": mode, "variation": "isa=avx2"} for column in columns for mode in ("off", "on")
    ]
    assert "worst" not in kernels["conv2d"]


def test_a_distance_between_digest_groups_is_stated_once() -> None:
    run = factory.run(
        factory.info(columns=(factory.column("2.15.1"), factory.column("2.18.1"))),
        lambda spot: Behaviour((spot.mode,)) if spot.kernel == "matmul" else EXACT,
    )
    view = view_of(run)
    assert all(row.difference is None for upgrade in view.upgrades for row in upgrade.rows)
    for row in view.rows:
        pairs = [(distance.before, distance.after) for distance in row.distances]
        assert len(pairs) == len(set(pairs))


def test_junit_says_what_the_view_says() -> None:
    view, tree = view_of(mixed()), ET.fromstring(rendered(mixed(), Format.JUNIT))  # noqa: S314 - our own output
    assert [suite.get("name") for suite in tree] == [column.column for column in view.columns]
    for place, suite in enumerate(tree):
        cases = suite.findall("testcase")
        halves = [half for row in view.rows for half in row.entries[place].mode_results]
        if view.columns[place].blocked:
            assert [case.get("name") for case in cases] == ["column"]
            assert view.columns[place].blocked == "build-failed"
            assert suite.findtext("testcase/error") == view.columns[place].reason
            continue
        names = [f"{row.kernel} [{half.mode}]" for row in view.rows for half in row.entries[place].mode_results]
        assert [case.get("name") for case in cases] == names
        for case, half in zip(cases, halves, strict=True):
            result = next(iter(case))
            assert (result.get("message") or result.text or "").startswith(half.status)


@pytest.mark.parametrize(
    ("status", "tag"), [("incompatible", "skipped"), ("gpu-not-visible", "skipped"), ("not-run", "error")]
)
def test_junit_has_no_error_where_nothing_went_wrong(status: str, tag: str) -> None:
    column = factory.column("2.21.0", "12.5", status=status, reason="this host has no GPU", device="gpu", gpu="")
    tree = ET.fromstring(rendered(factory.run(factory.info(columns=(column,))), Format.JUNIT))  # noqa: S314 - our own
    assert [case[0].tag for case in tree.iter("testcase")] == [tag]


def test_junit_passes_nothing_but_exact_and_controls() -> None:
    tree = ET.fromstring(rendered(mixed(), Format.JUNIT))  # noqa: S314 - our own output
    for case in tree.iter("testcase"):
        if case.find("system-out") is not None:
            assert re.match(r"= reproducible|✓ pass", case.findtext("system-out") or "")
    kinds = {(case.get("name"), next(iter(case)).tag) for case in tree[0].iter("testcase")}
    assert {("matmul [on]", "error"), ("conv2d [on]", "skipped"), ("conv2d [off]", "skipped")} <= kinds
    varies = ET.fromstring(rendered(factory.run(None, only_varies), Format.JUNIT))  # noqa: S314 - our own output
    assert {("matmul [on]", "failure"), ("matmul [off]", "skipped")} <= {
        (case.get("name"), next(iter(case)).tag) for case in varies[0].iter("testcase")
    }


def only_varies(spot: Spot) -> Behaviour:
    return Behaviour(("a", "b")) if spot.kernel == "matmul" else EXACT


# --- what the first screen says -----------------------------------------------------------------------


def test_the_answer_names_the_best_pair() -> None:
    assert view_of(factory.run()).answer == (
        "With determinism on, all 2 kernels are reproducible on TF 2.18.1 CPU.",
        (
            "Weakest evidence for reproducible: 0 of 4 processes differed from the first, so at most 53 % of processes "
            "can differ (95 %)."
        ),
        "Detection limit: kernels that differ in every sample.",
    )
    assert view_of(mixed()).answer[:2] == (
        ("With determinism on, 2 of 3 kernels are reproducible on TF 2.15.1 CPU and TF 2.18.1 CPU."),
        "No column is reproducible on every kernel.",
    )


@pytest.mark.parametrize(
    ("outcome", "kernels", "sentence"),
    [
        ("crashed", ("matmul", "softmax"), "no kernel is reproducible on TF 2.18.1 CPU (all 2: crashed)."),
        ("crashed", ("matmul",), "no kernel is reproducible on TF 2.18.1 CPU (crashed)."),
    ],
)
def test_the_answer_says_why_no_kernel_is_reproducible(outcome: str, kernels: tuple[str, ...], sentence: str) -> None:
    info = factory.info(kernels=(*map(factory.kernel, kernels), *factory.CONTROLS))
    run = factory.run(info, lambda spot: EXACT if "control" in spot.kernel else Behaviour(outcome=outcome))
    assert view_of(run).answer[0] == f"With determinism on, {sentence}"


def test_the_answer_counts_what_was_not_run() -> None:
    columns = tuple(factory.column(id=f"tf{name}-cpu", tensorflow=name) for name in ("2.15.1", "2.18.1"))
    whole = factory.run(factory.info(columns=columns))

    def cut_off(record: Record) -> Record:
        if record.request.column != "tf2.15.1-cpu":
            return record
        outcomes = tuple(one for one in record.outcomes if one.kernel != "matmul")
        samples = tuple(one for one in record.samples if one.kernel != "matmul")
        return dataclasses.replace(record, outcomes=outcomes, samples=samples, complete=False)

    assert (
        "Reproducible elsewhere: 1 of 2 (1 not run) on TF 2.15.1 CPU."
        in view_of(factory.changed(whole, cut_off)).answer
    )


def test_a_tie_is_shown_as_a_tie_and_unmeasured_pairs_come_last() -> None:
    lines = view_of(mixed()).lines
    assert [(line.label, line.rank) for line in lines] == [
        ("TF 2.15.1 CPU", "1 (tie)"),
        ("TF 2.18.1 CPU", "1 (tie)"),
        ("TF 2.16.2 CPU", ""),
    ]
    assert lines[2].sentence == "build-failed: no wheel"


@pytest.mark.parametrize(
    ("run", "title"),
    [
        (factory.run, "CPU only"),
        (lambda: factory.run(factory.info(rounds=2)), "Weak evidence"),
        (lambda: factory.run(factory.info(finished="")), "The run is not finished"),
        (
            lambda: factory.run(None, lambda s: Behaviour(later_call=None) if "flick" in s.kernel else EXACT),
            "Control failed",
        ),
        (lambda: dataclasses.replace(factory.run(), unreadable={"records/x": "no header"}), "Unreadable records"),
        (mixed, "Columns not measured"),
        (
            lambda: factory.changed(factory.run(), factory.settings(determinism_enabled=False)),
            "Not the planned measurement",
        ),
        (
            lambda: factory.changed(factory.run(), lambda one: dataclasses.replace(one, suite_hash="old")),
            "Records left out",
        ),
        (lambda: factory.run(factory.info(warnings=("Swap is in use",))), "Notes of the run"),
    ],
)
def test_what_must_be_known_is_said_everywhere(run: Callable[[], Run], title: str) -> None:
    assert title in {notice.title for notice in view_of(run()).notices}
    for form in (Format.HTML, Format.TERMINAL, Format.MARKDOWN, Format.JSON):
        assert title in rendered(run(), form)


def test_a_gpu_run_does_not_warn_of_cpu_only() -> None:
    run = factory.run(factory.info(columns=(factory.column(cuda="12.5"),)))
    assert "CPU only" not in {notice.title for notice in view_of(run).notices}
    assert view_of(run).columns[0].accelerator == "CUDA 12.5 on h100"


def test_a_blocked_column_gives_its_reason_once() -> None:
    view, page = view_of(mixed()), rendered(mixed(), Format.HTML)
    assert sum("no wheel" in row for row in html_rows(page)) == 1
    assert page[: page.index('class="plot-row"')].count("no wheel") == 1  # where the columns are ranked
    assert [column.reason for column in view.columns if column.blocked] == ["no wheel."]
    for form in (Format.TERMINAL, Format.MARKDOWN, Format.JUNIT):
        assert "no wheel" in rendered(mixed(), form)


def test_a_crash_that_leads_wears_no_letter() -> None:
    row = next(row for row in view_of(mixed()).rows if row.kernel == "matmul")
    assert (row.entries[0].on.word, row.entries[0].on.letters, row.entries[0].on.variation) == (
        "crashed",
        "",
        "isa=avx2",
    )
    assert [sub.variation for sub in row.variations] == ["default", "isa=avx2"]
    assert row.variations[0].entries[0].on.letters == "A"


def test_every_status_has_a_word_and_no_two_share_one() -> None:
    assert set(STATUS_LABELS) == set(Status)
    assert len({word.word for word in STATUS_LABELS.values()}) == len(STATUS_LABELS)
    assert {status for status, word in STATUS_LABELS.items() if word.tone == "good"} == {Status.REPRODUCIBLE}


def test_an_overhead_that_is_not_significant_is_a_bound() -> None:
    half = view_of(factory.run()).rows[0].entries[0].on
    assert half.overhead == "no overhead above 1 %"
    assert half.overhead_data is not None
    assert not half.overhead_data.significant


# --- bytes and files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", Format)
def test_same_records_same_bytes(form: Format) -> None:
    run = mixed()
    shuffled = dataclasses.replace(run, records=dict(reversed(list(run.records.items()))))
    assert rendered(run, form) == rendered(shuffled, form)


def test_a_page_stays_small() -> None:
    facts = factory.info(
        columns=tuple(factory.column(name) for name in ("2.15.1", "2.18.1", "2.21.0")),
        kernels=(*(factory.kernel(f"kernel_number_{n}", f"family{n % 4}") for n in range(12)), *factory.CONTROLS),
        variations={"default": (), "isa=avx2": (), "threads=4xcores": ()},
    )
    assert len(rendered(factory.run(facts), Format.HTML).encode()) <= 300_000


def test_write_makes_all_files_or_says_why_not(tmp_path: Path) -> None:
    made = report.Pages(evaluate(mixed()))
    made.write(tmp_path, FORMATS)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FORMATS.values())
    assert (tmp_path / FORMATS[Format.JSON]).read_text("utf-8") == rendered(mixed(), Format.JSON)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        made.write(tmp_path / "file", [Format.HTML])


# --- bad input ----------------------------------------------------------------------------------------


def nan_times(spot: Spot) -> Behaviour:
    return Behaviour(steady_s=(float("nan"), float("inf"), -1.0), first_s=float("nan"))


def kernels_missing_somewhere() -> Run:
    run = factory.run(factory.info(columns=(factory.column("2.15.1"), factory.column())))
    return factory.changed(
        run,
        lambda one: dataclasses.replace(
            one,
            request=dataclasses.replace(one.request, kernels=("conv2d", "control_flicker", "control_integer")),
            samples=tuple(s for s in one.samples if s.kernel != "matmul"),
            outcomes=tuple(o for o in one.outcomes if o.kernel != "matmul"),
        ),
        factory.Change(column=run.info.columns[0].id),
    )


BAD: dict[str, Callable[[], Run]] = {
    "no columns, no kernels": lambda: dataclasses.replace(factory.run(), info=factory.info(columns=(), kernels=())),
    "no kernels": lambda: factory.run(factory.info(kernels=())),
    "no records": lambda: dataclasses.replace(factory.run(), records={}),
    "no variations": lambda: factory.run(factory.info(variations={})),
    "no modes": lambda: factory.run(factory.info(modes=())),
    "only off": lambda: factory.run(factory.info(modes=("off",))),
    "one round": lambda: factory.run(factory.info(rounds=1, repetitions=1)),
    "everything failed": lambda: factory.run(None, lambda _: Behaviour(outcome="mismatch", message="x" * 10_000)),
    "no time is a time": lambda: factory.run(None, nan_times),
    "kernels missing": kernels_missing_somewhere,
    "no provenance": lambda: factory.changed(
        factory.run(),
        lambda one: dataclasses.replace(
            one, processes=tuple(dataclasses.replace(p, provenance={}, settings={}) for p in one.processes)
        ),
    ),
    "nothing said of the host": lambda: factory.run(
        factory.info(host={}, engine_facts={}, engine_why="", started="", rounds=2)
    ),
}


@pytest.mark.parametrize("form", Format)
@pytest.mark.parametrize("name", BAD)
def test_bad_input_gives_a_page_and_no_green(name: str, form: Format) -> None:
    run = BAD[name]()
    page = rendered(run, form)
    assert page
    if name not in ("no time is a time", "only off", "kernels missing"):
        assert not any(
            half.word == "reproducible" for row in view_of(run).rows for e in row.entries for half in e.mode_results
        )


def test_long_errors_are_capped() -> None:
    page = rendered(BAD["everything failed"](), Format.HTML)
    assert "[8000 more characters]" in page
    assert "x" * 2001 not in page


def hostile() -> Run:
    kernels = (factory.kernel(f"k{HOSTILE}", family=f"f{HOSTILE}", source=HOSTILE), *factory.CONTROLS)
    column = factory.column("2.18.1", keras="3.15.1", status="ready", lock=HOSTILE)
    broken = factory.column("2.19.1", status="build-failed", reason=HOSTILE)
    facts = factory.info(
        id=f"run{HOSTILE}",
        columns=(column, broken),
        kernels=kernels,
        engine_why=HOSTILE,
        host={"hostname": HOSTILE},
        warnings=(HOSTILE,),
        command=HOSTILE,
    )
    bad = Behaviour(outcome="error", error_class=HOSTILE, message=HOSTILE * 3)
    run = factory.run(facts, lambda spot: EXACT if spot.kernel.startswith("control") else bad)
    run = factory.changed(run, factory.facts_of_process(hostname=HOSTILE, cpu_model=HOSTILE))
    return dataclasses.replace(run, unreadable={HOSTILE: HOSTILE})


@pytest.mark.parametrize("form", Format)
def test_hostile_text_stays_text(form: Format) -> None:
    page = rendered(hostile(), form)
    for harm in ("\x00", "\x1b", "\u202e", "\u2028", "\ud800"):
        assert harm not in page
    page.encode("utf-8")
    if form in (Format.HTML, Format.MARKDOWN, Format.JUNIT):
        assert "<script>alert" not in page
        assert "49" not in re.sub(r"\d{3,}|sha256-\S+", "", page) or "{{7*7}}" in page
    if form is Format.JUNIT:
        ET.fromstring(page)  # noqa: S314 - our own output
    if form is Format.JSON:
        json.loads(page)


def test_markdown_keeps_its_columns() -> None:
    page = rendered(hostile(), Format.MARKDOWN)
    table = page[page.index("| Kernel |") :].split("\n\n")[0].splitlines()
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


# --- text ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.25e-7, "0.12 µs"),
        (9.994e-6, "9.99 µs"),
        (0.000_999_6, "1.00 ms"),
        (0.001_049, "1.05 ms"),
        (0.0123, "12.3 ms"),
        (0.99, "990 ms"),
        (1.0, "1.00 s"),
        (123.4, "123 s"),
        (86400, "86400 s"),
    ],
)
def test_seconds_have_units(value: float, shown: str) -> None:
    assert report_text.seconds(value) == shown


def test_clean_makes_controls_visible() -> None:
    assert report_text.clean("a\x1b[31mb\u202ec\u200bd\ud800") == r"a\x1b[31mb\u202ec\u200bd\ud800"
    assert report_text.clean("a\n b\tc") == "a b c"
    assert report_text.clean("a\n b\tc\r", lines=True) == "a\n b\tc\\r"
    assert report_text.clean("Größe 面積 ≤") == "Größe 面積 ≤"


@pytest.mark.parametrize(
    ("names", "actual"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (["a", "b", "c"], "a, b and c"),
        (list("abcd"), "a, b and 2 more"),
    ],
)
def test_listed(names: list[str], actual: str) -> None:
    assert report_text.listed(names) == actual


def test_moments_are_for_people() -> None:
    assert report_text.moment("2025-01-30T12:00:00+00:00") == "2025-01-30 12:00 UTC"
    assert report_text.moment("yesterday") == "yesterday"


def in_progress(**changes: Any) -> Run:
    """A run whose first round is measured under the first of two variations."""
    facts = factory.info(
        variations={"default": (), "isa=avx2": ()},
        variation_modes={"default": ("off", "on"), "isa=avx2": ("off", "on")},
        **{"finished": "", "passes_done": 1, "passes_planned": 5, "seconds_left": 600.0, **changes},
    )  # fmt: skip
    run = factory.run(facts)
    measured = {path: record for path, record in run.records.items() if "/default/" in path and "-001" in path}
    return dataclasses.replace(run, records=measured)


def test_a_run_in_progress_shows_what_it_has_measured() -> None:
    view = build(evaluate(in_progress()))
    assert view.answer[0] == "Too little evidence to call a kernel reproducible."
    assert view.answer[1] == "With determinism on, no difference was seen in 2 of 2 kernels on TF 2.18.1 CPU."
    assert view.notices[0].title == "The run is in progress"
    (measured,) = (fact.value for fact in view.facts if fact.label == "Measured")
    assert measured == "2025-01-30 12:00 UTC, pass 1 of 5 is complete, about 10 min left"
    words = {half.word for row in view.rows if not row.control for entry in row.entries for half in entry.mode_results}
    assert words == {"inconclusive"}, "variations that were not measured yet do not lead a cell"


def test_a_column_that_waits_for_its_turn_is_no_error_for_ci() -> None:
    columns = (factory.column(), factory.column("2.21.0"))
    whole = factory.run(factory.info(columns=columns, finished="", seconds_left=60.0))
    begun = {path: record for path, record in whole.records.items() if record.request.column == columns[0].id}
    suites = ET.fromstring(rendered(dataclasses.replace(whole, records=begun), Format.JUNIT))  # noqa: S314 - our own
    assert suites.get("errors") == "0"
    assert [case[0].tag for case in suites.iter("testcase") if case.get("name") == "column"] == ["skipped"]


def test_an_interrupted_run_shows_what_is_missing() -> None:
    view = build(evaluate(in_progress(seconds_left=0.0)))
    words = {half.word for row in view.rows if not row.control for entry in row.entries for half in entry.mode_results}
    assert words == {"not-run"}
    assert "The run is in progress" not in {notice.title for notice in view.notices}
