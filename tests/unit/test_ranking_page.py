"""The choice as shown: on the page, as text, Markdown and JSON. The same words everywhere, no markup from records."""

from __future__ import annotations

import json
import re
import shlex
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from bench.report.build.columns import columns
from bench.report.build.page_data import LIMITS_PERCENT, narrower_rankings
from bench.report.build.ranking import MOST, RULES, Unmeasured, choice, cost_text, limit, needs
from bench.report.build.suggestions import rounds_for
from bench.report.commands import choose as choose_report
from bench.report.html import render as html_render
from bench.report.text.markdown import plain
from bench.report.view import Choice
from bench.verdict import Status, evaluate
from bench.verdict.evidence import upper_bound
from bench.verdict.ranking import choose
from bench.verdict.requirements import Requirements
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour, Spot
from tests.unit.test_ranking import Field, overhead, results

if TYPE_CHECKING:
    from bench.verdict.results import RunResults

HOSTILE = "<img src=x onerror=alert(1)>\x1b[2J\u202e{{ 1 }}$(reboot)'\"</script>"


def page(found: RunResults, **changes: object) -> str:
    """The section as the page has it."""
    view = {"columns": columns(found), "needs": needs(found), "choice": choice(found), **changes}
    template = html_render.templates().from_string(
        '{% from "choose.html" import choose %}{{ choose(view, rankings, ()) }}'
    )
    return template.render(view=SimpleNamespace(**view), rankings=narrower_rankings(found))


class Tags(HTMLParser):
    """Every tag, and the text in between."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.parts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    @property
    def text(self) -> str:
        """Text on one line."""
        return " ".join(" ".join(self.parts).split())


@pytest.fixture(scope="module")
def mixed() -> RunResults:
    """Three pairs: one reproducible, one with a nondeterministic kernel, one that could not be built."""
    columns = (
        factory.column(),
        factory.column("2.19.1"),
        factory.column("2.20.0", status="build-failed", reason="no lock"),
    )
    kernels = (factory.kernel("matmul"), factory.kernel("conv2d", "convolutions"), *factory.GRADED)

    def behave(spot: Spot) -> Behaviour:
        if spot.kernel.startswith("control"):
            return EXACT
        dear = spot.kernel == "matmul" and spot.mode == "on"
        times = (0.001 * (1.5 if dear else 1) * (1 + spot.round / 100),)
        bits = tuple(f"{spot}{n}" for n in range(3)) if "2.19.1" in spot.column and spot.kernel == "conv2d" else ("a",)
        return Behaviour(bits, steady_s=times)

    return evaluate(factory.run(factory.info(columns=columns, kernels=kernels), behave))


def test_a_candidate_says_evidence_overhead_reasons_and_unknowns(mixed: RunResults) -> None:
    found = choice(mixed)
    best, worst, hole = found.candidates
    assert (best.label, best.rank, best.fit, best.symbol) == ("TF 2.18.1 CPU", "1", "fits", "✓")
    assert best.evidence == "2 of 2 kernels reproducible; weakest evidence: 0 of 4 differed, ≤ 53 %"
    assert re.fullmatch(r"median of 2 kernels 1.25x slower \(.*\); worst matmul, 1.50x slower", best.overhead)
    assert (hole.rank, hole.fit, hole.unknowns) == ("", "unknown", ("build-failed: no lock",))
    assert (hole.evidence, hole.overhead) == ("nothing was measured for this", "")
    assert (worst.rank, worst.fit, worst.reasons) == (
        "2",
        "does not fit",
        ("nondeterministic (1): conv2d", "would fit without conv2d (nondeterministic)"),
    )
    assert found.sentence == "1 of 3 pairs fits; best: TF 2.18.1 CPU. Unknown: 1 of 3."
    assert found.rules == RULES


def test_an_overhead_is_compared_with_the_maximum(mixed: RunResults) -> None:
    found = choice(mixed, Requirements(families=("linalg",), max_overhead=1.15))
    assert (
        found.question
        == "linalg: 1 kernel, determinism on, at most 1.15x slower, each pair on the device where it was measured."
    )
    assert [one.reasons for one in found.candidates if one.rank] == [("more than 1.15x slower (1): matmul",)] * 2
    assert found.sentence.startswith("No pair is known to fit.")
    assert all(one.rank in ("1 (tie)", "") for one in found.candidates)
    found = choice(mixed, Requirements(families=("linalg",), max_overhead=1.5))
    assert found.candidates[0].unknowns == ("overhead not known to be within 1.5x (1): matmul",)
    assert [limit(number) for number in (1.15, 2.0, 1.1251)] == ["1.15", "2", "1.1251"]


def test_what_is_missing_is_a_command(mixed: RunResults) -> None:
    suite = (("conv2d", "convolutions"), ("scatter_nd", "scatter"))
    suggestions = choice(mixed, Requirements(kernels=("conv2d", "scatter_nd"), suite=suite)).missing
    commands = [shlex.split(suggestion.command) for suggestion in suggestions]
    assert all(words[:4] == ["nox", "-s", "matrix", "--"] for words in commands)
    assert all(words[words.index("--kernels") + 1] == "conv2d,scatter_nd" for words in commands)
    assert not any("FILE" in words for words in commands)
    assert suggestions[-1].why == "Not in this run: scatter_nd."
    thin = choice(mixed).missing[0]
    assert thin.why.startswith(
        "Reproducible, but measured in few processes: tf2.18.1-cpu-py311. With 30 processes per mode, "
    )
    assert shlex.split(thin.command)[4:] == ["--env", "tf2.18.1-cpu-py311", "--rounds", "30"]
    assert choice(mixed).missing[1].command.endswith("--env tf2.20.0-cpu-py311")


def test_a_variation_under_which_a_kernel_was_not_planned_is_unknown() -> None:
    found = evaluate(factory.run(factory.info(variations={"default": (), "eager=on": ("conv2d",)})))
    assert choose(found, Requirements(kernels=("matmul",)))[0].fits
    answer = choice(found, Requirements(kernels=("matmul",), variations=("eager=on",)))
    (candidate,) = answer.candidates
    assert (candidate.fit, candidate.unknowns) == ("unknown", ("not-run (1): matmul (eager=on)",))
    assert candidate.evidence.startswith("0 of 1 kernel reproducible")
    assert "determinism on under the variations default and eager=on, at any overhead" in answer.question
    assert "--variation default,eager=on" in answer.missing[0].command
    assert choose(found, Requirements(kernels=("conv2d",), variations=("eager=on",)))[0].fits


def test_a_custom_kernel_needs_the_file_that_declares_it(mixed: RunResults) -> None:
    requirements = Requirements(kernels=("conv2d", "matmul"), suite=(("conv2d", "convolutions"),))
    for suggestion in choice(mixed, requirements).missing:
        assert "--kernel-file FILE" in suggestion.command
        assert suggestion.why.endswith(" Replace FILE with the file that declares matmul.")


def test_more_rounds_is_no_more_than_is_needed() -> None:
    assert rounds_for(0.10) == 30
    assert upper_bound(0, 29) <= 0.10 < upper_bound(0, 28)


def test_the_environment_as_found_has_no_command() -> None:
    found = evaluate(factory.run(factory.info(columns=(factory.column(kind="local"),), rounds=3)))
    assert choice(found).candidates[0].unknowns
    assert choice(found).missing == ()


def test_suggested_runs_keep_the_profile_of_the_run() -> None:
    found = evaluate(factory.run(factory.info(profile="my profile", rounds=3)))
    assert "--profile 'my profile'" in choice(found).missing[0].command


def test_families_have_what_each_pair_gives_them(mixed: RunResults) -> None:
    linalg, convolutions = needs(mixed)
    assert (linalg.family, linalg.reproducible, convolutions.reproducible) == ("linalg", False, False)
    assert [one.text for one in convolutions.columns] == ["1 of 1", "0 of 1", "build-failed"]
    assert [one.slowest for one in linalg.columns] == ["matmul 1.50x slower", "matmul 1.50x slower", ""]


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ([(1.5, 1.4, 1.6)], "median of 1 kernel 1.50x slower (1.40 to 1.60); worst k0, 1.50x slower"),
        ([(1.1, 0.9, 1.3)], "1 kernel: median no overhead above 30 %; worst k0, 1.10x slower"),
        ([(2.0, 1.1, 4.0)], "median of 1 kernel 2.00x slower (1.10 to 4.00); worst k0, 2.00x slower"),
        ([], "not measured"),
    ],
)
def test_a_median_is_only_stated_where_it_is_significant(ends: list[tuple[float, float, float]], words: str) -> None:
    column: list[Field] = [(Status.REPRODUCIBLE, overhead(*one)) for one in ends] or [(Status.REPRODUCIBLE, None)]
    assert cost_text(choose(results([column]))[0].overhead) == words


def test_no_interval_no_number() -> None:
    column: list[Field] = [(Status.REPRODUCIBLE, overhead(1.5, None, None, significant=False))]
    assert cost_text(choose(results([column]))[0].overhead) == (
        "no interval: at least 3 timing pairs of most kernels are needed"
    )


def test_the_page_says_what_the_view_says(mixed: RunResults) -> None:
    found, shown = choice(mixed), Tags(page(mixed))
    words = [found.sentence, found.question]
    for one in found.candidates:
        words += [one.label, f"{one.symbol} {one.fit}", one.evidence]
    place = 0
    for text in words:
        place = shown.text.index(text, place)
    for actual in (*(one.overhead for one in found.candidates), *found.rules, *(one.command for one in found.missing)):
        assert actual in shown.text
    for one in found.candidates:
        assert all(text in shown.text for text in (*one.reasons, *one.unknowns))
    assert shown.tags.count("caption") == 1
    assert {value for name, value in shown.attributes if name == "scope"} == {"col", "row"}


def test_every_family_has_a_ranking_that_needs_no_script(mixed: RunResults) -> None:
    shown = Tags(page(mixed))
    for family in ("linalg", "convolutions"):
        found = choice(mixed, Requirements(families=(family,)))
        assert f"{family} {found.sentence} Requirements: {found.question}" in shown.text
        assert f"nox -s choose -- --families {family}" in shown.text
    assert "nox -s choose -- --max-overhead 10%" in shown.text
    hidden = [name for name, _ in shown.attributes].count("hidden")
    both = 2 * len(LIMITS_PERCENT)
    assert hidden == 2 + both, "only the form and its command, which need the script, and what it narrows down"


def test_families_that_are_reproducible_in_every_column_take_one_line() -> None:
    text = Tags(page(evaluate(factory.run()))).text
    assert "Reproducible in every column: linalg, convolutions." in text
    assert "Kernels that are reproducible" not in text


def test_nothing_from_a_record_becomes_markup() -> None:
    kernels = (factory.kernel(f"{HOSTILE}k", HOSTILE), factory.kernel("b", HOSTILE), *factory.CONTROLS)
    columns = tuple(
        factory.column(id=f"{HOSTILE}{n}@x", tensorflow=HOSTILE, device=HOSTILE, cuda=HOSTILE, kind="official", **more)
        for n, more in enumerate(({"status": "mismatch", "reason": HOSTILE}, {}))
    )
    found = evaluate(factory.run(factory.info(columns=columns, kernels=kernels, rounds=3, profile=HOSTILE)))
    shown = Tags(page(found))
    assert not {"img", "script"} & set(shown.tags)
    assert not [name for name, _ in shown.attributes if name.startswith("on")]
    for text in (shown.text, choose_report.text(choice(found)), choose_report.markdown(choice(found))):
        assert "\x1b" not in text
        assert "\u202e" not in text
    for one in choice(found).missing:
        assert "reboot" not in [part for word in shlex.split(one.command) for part in (word,) if part == "reboot"]
        assert "$(reboot)" not in shlex.split(one.command)


def test_many_columns_are_counted_and_not_listed() -> None:
    fields: list[list[Field]] = [
        [(Status.REPRODUCIBLE, overhead(1.2, 1.1, 1.3)), (Status.NONDETERMINISTIC, None)]
    ] * 400
    found = results(fields)
    shown = choice(found)
    assert len(shown.candidates) == MOST
    assert shown.more == "380 more pairs, none better than these."
    assert shown.more in page(found)


def test_an_empty_run_says_so() -> None:
    found = evaluate(factory.run(factory.info(columns=())))
    assert choice(found).sentence == "There is no pair."
    assert "There is no pair." in page(found)
    assert choice(evaluate(factory.run(factory.info(kernels=())))).candidates[0].fit == "unknown"


OTHERS = (
    Unmeasured(pair="tf2.18.1-cuda12.5-py311", advice="warn: driver 550 < 555.42.06", rules=("minor", "jit")),
    Unmeasured(pair="tf2.19.1-cuda12.5-py311", advice="warn: driver 550 < 560.35.05", rules=("minor", "jit")),
    Unmeasured(pair="tf2.9.1-cuda11.8-py311", advice="blocked: no wheel", rules=("wheel",), blocked=True),
    Unmeasured(pair="tf2.21.0-cpu-py311"),
)


def test_pairs_without_a_column_are_unknown_or_blocked(mixed: RunResults) -> None:
    found = choice(mixed, Requirements(device="cpu"), OTHERS, 100)
    actual = {one.label: one for one in found.candidates}
    assert actual["tf2.21.0-cpu-py311"].unknowns == ("not run",)
    assert actual["tf2.9.1-cuda11.8-py311"].reasons == ("blocked: no wheel (rule wheel)",)
    assert "(rules minor and jit)" in actual["tf2.18.1-cuda12.5-py311"].unknowns[0]
    assert [one.fit for one in found.candidates] == ["fits", "does not fit", *["unknown"] * 4, "does not fit"]
    assert "tf2.9.1" not in found.missing[-1].command


def test_text_says_once_what_holds_for_several(mixed: RunResults) -> None:
    text = choose_report.text(choice(mixed, Requirements(), OTHERS, 100), width=400)
    assert "-        tf2.18.1-cuda12.5-py311, tf2.19.1-cuda12.5-py311: ? unknown" in text
    assert text.count("driver 550 <") == 1
    assert "versions are those of the first of these pairs" in text
    assert "1        TF 2.18.1 CPU: ✓ fits" in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_text_keeps_its_width_but_for_commands(mixed: RunResults, width: int) -> None:
    text = choose_report.text(choice(mixed, Requirements(), OTHERS, 100), width=width)
    assert all(len(line) <= width for line in text.splitlines() if "nox -s" not in line)


def test_text_markdown_and_json_have_the_same_words(mixed: RunResults) -> None:
    found = choice(mixed, Requirements(max_overhead=1.2), (), 100)
    body = json.loads(choose_report.as_json(found, choose(mixed, Requirements(max_overhead=1.2)), "r1"))
    text, marked = choose_report.text(found, width=10_000), choose_report.markdown(found)
    for one, actual in zip(found.candidates, body["candidates"], strict=True):
        for words in (one.label, one.overhead, *one.reasons, *one.unknowns):
            assert words in text
            assert plain(words) in marked
        assert (actual["column"], actual["fit"]) == (one.column, one.fit)
        assert (actual["reasons"], actual["unknowns"]) == (list(one.reasons), list(one.unknowns))
        assert (actual["rank"] is None) == (one.rank == "")
    assert (body["schema"], body["run"]) == (choose_report.SCHEMA, "r1")
    overheads = {one["label"]: one["overhead"] for one in body["candidates"]}
    assert overheads["TF 2.18.1 CPU"]["slowest"]["kernel"] == "matmul"
    assert overheads["TF 2.20.0 CPU"] is None


def test_same_question_same_bytes(mixed: RunResults) -> None:
    assert page(mixed) == page(mixed)
    assert isinstance(choice(mixed), Choice)
    assert choose_report.as_json(choice(mixed), choose(mixed), "") == choose_report.as_json(
        choice(mixed), choose(mixed), ""
    )
