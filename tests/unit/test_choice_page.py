"""The choice as shown: on the page, as text, Markdown and JSON. The same words everywhere, no markup from records."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from jinja2 import Environment, PackageLoader, StrictUndefined

from bench.report import chosen
from bench.report.choice import MOST, RULES, Unmeasured, bill_text, choice, limit, needs
from bench.report.columns import columns
from bench.report.markdown import plain
from bench.report.missing import rounds_for
from bench.report.text import DASH, TIMES
from bench.report.view import Choice
from bench.verdict import Status, judge
from bench.verdict.choice import choose
from bench.verdict.question import Question
from bench.verdict.strength import upper_bound
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour, Spot
from tests.unit.test_choice import Field, judgement, price

if TYPE_CHECKING:
    from bench.verdict.judgement import Judgement

HOSTILE = "<img src=x onerror=alert(1)>\x1b[2J\u202e{{ 1 }}$(reboot)'\"</script>"


def page(found: Judgement, **changes: object) -> str:
    """The section as the page has it."""
    environment = Environment(
        loader=PackageLoader("bench.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    view = {"columns": columns(found), "needs": needs(found), "choice": choice(found), **changes}
    made = environment.from_string('{% import "choice.html" as one with context %}{{ one.choose(view) }}')
    return made.render(view=SimpleNamespace(**view))


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
def mixed() -> Judgement:
    """Three pairs: one exact, one that varies and has a price, one that could not be built."""
    cells = (factory.cell(), factory.cell("2.19.1"), factory.cell("2.20.0", status="build-failed", reason="no lock"))
    kernels = (factory.kernel("matmul"), factory.kernel("conv2d", "convolutions"), *factory.GRADED)

    def behave(spot: Spot) -> Behaviour:
        if spot.kernel.startswith("control"):
            return EXACT
        dear = spot.kernel == "matmul" and spot.mode == "on"
        times = (0.001 * (1.5 if dear else 1) * (1 + spot.round / 100),)
        bits = tuple(f"{spot}{n}" for n in range(3)) if "2.19.1" in spot.cell and spot.kernel == "conv2d" else ("a",)
        return Behaviour(bits, steady_s=times)

    return judge(factory.run(factory.info(cells=cells, kernels=kernels), behave))


def test_a_candidate_says_evidence_price_reasons_and_unknowns(mixed: Judgement) -> None:
    found = choice(mixed)
    best, worst, hole = found.candidates
    assert (best.label, best.rank, best.fit, best.symbol) == ("TF 2.18.1 CPU", "1", "fits", "✓")
    assert best.evidence == "2 of 2 kernels exact; weakest: 0 of 4 differed, ≤ 53 %"
    assert re.fullmatch(rf"median of 2 prices {TIMES}1.25 \(.*\); 1 stated, dearest {TIMES}1.50 matmul", best.price)
    assert (hole.rank, hole.fit, hole.unknowns) == ("", "unknown", ("build-failed: no lock",))
    assert (hole.evidence, hole.price) == ("nothing was measured for this", "")
    assert (worst.rank, worst.fit, worst.reasons) == ("2", "does not fit", ("varies (1): conv2d",))
    assert found.sentence == "1 of 3 pairs fits; the best: TF 2.18.1 CPU. Unknown: 1 of 3."
    assert found.rules == RULES


def test_a_price_is_judged_against_what_was_asked(mixed: Judgement) -> None:
    found = choice(mixed, Question(needs=("linalg",), max_price=1.15))
    assert found.question == f"linalg: 1 kernel, determinism on, at most {TIMES}1.15 each, each pair on its own device."
    assert [one.reasons for one in found.candidates if one.rank] == [(f"dearer than {TIMES}1.15 (1): matmul",)] * 2
    assert found.sentence.startswith("No pair is known to fit.")
    assert all(one.rank in ("1 (tie)", "") for one in found.candidates)
    found = choice(mixed, Question(needs=("linalg",), max_price=1.5))
    assert found.candidates[0].unknowns == (f"price not known to be within {TIMES}1.5 (1): matmul",)
    assert [limit(number) for number in (1.15, 2.0, 1.1251)] == ["1.15", "2", "1.1251"]


def test_what_is_missing_is_a_command(mixed: Judgement) -> None:
    told = choice(mixed, Question(kernels=("conv2d", "my_model"))).missing
    commands = [shlex.split(one.command) for one in told]
    assert all(words[:4] == ["nox", "-s", "matrix", "--"] for words in commands)
    assert all(words[words.index("--kernels") + 1] == "conv2d,my_model" and "FILE" in words for words in commands)
    assert "my_model" in told[-1].why
    thin = choice(mixed).missing[0]
    assert thin.why.startswith("Exact, but on few processes: tf2.18.1-cpu-py311. 30 processes a mode bring the bound")
    assert shlex.split(thin.command)[4:] == ["--only", "tf2.18.1-cpu-py311", "--rounds", "30"]
    assert choice(mixed).missing[1].command.endswith("--only tf2.20.0-cpu-py311")


def test_more_rounds_is_no_more_than_is_needed() -> None:
    assert rounds_for(0.10) == 30
    assert upper_bound(0, 29) <= 0.10 < upper_bound(0, 28)


def test_the_environment_as_found_has_no_command() -> None:
    found = judge(factory.run(factory.info(cells=(factory.cell(kind="here"),), rounds=3)))
    assert choice(found).candidates[0].unknowns
    assert choice(found).missing == ()


def test_a_run_of_another_profile_is_gone_on_with_in_that_profile() -> None:
    found = judge(factory.run(factory.info(profile="my profile", rounds=3)))
    assert "--profile 'my profile'" in choice(found).missing[0].command


def test_families_have_what_each_pair_gives_them(mixed: Judgement) -> None:
    linalg, convolutions = needs(mixed)
    assert (linalg.family, linalg.exact, convolutions.exact) == ("linalg", False, False)
    assert [one.text for one in convolutions.cells] == ["1 of 1", "0 of 1", "build-failed"]
    assert [one.dearest for one in linalg.cells] == [f"{TIMES}1.50 matmul", f"{TIMES}1.50 matmul", ""]


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ([(1.5, 1.4, 1.6)], f"median of 1 price {TIMES}1.50 (1.40{DASH}1.60); 1 stated, dearest {TIMES}1.50 k0"),
        ([(1.1, 0.9, 1.3)], f"median of 1 price not resolved (0.90{DASH}1.30); 1 stated, dearest {TIMES}1.10 k0"),
        ([(2.0, 1.1, 4.0)], f"median of 1 price not resolved (1.10{DASH}4.00); 1 stated, dearest {TIMES}2.00 k0"),
        ([], "no price"),
    ],
)
def test_a_median_is_stated_only_where_it_is_resolved(ends: list[tuple[float, float, float]], words: str) -> None:
    column: list[Field] = [(Status.EXACT, price(*one)) for one in ends] or [(Status.EXACT, None)]
    assert bill_text(choose(judgement([column]))[0].bill) == words


def test_no_interval_no_number() -> None:
    column: list[Field] = [(Status.EXACT, price(1.5, None, None, resolved=False))]
    assert bill_text(choose(judgement([column]))[0].bill) == "median of 1 price not resolved; none stated"


def test_the_page_says_what_the_view_says(mixed: Judgement) -> None:
    found, shown = choice(mixed), Tags(page(mixed))
    words = [found.sentence, found.question]
    for one in found.candidates:
        words += [one.label, f"{one.symbol} {one.fit}", one.evidence]
    place = 0
    for text in words:
        place = shown.text.index(text, place)
    for told in (*(one.price for one in found.candidates), *found.rules, *(one.command for one in found.missing)):
        assert told in shown.text
    for one in found.candidates:
        assert all(text in shown.text for text in (*one.reasons, *one.unknowns))
    assert shown.tags.count("caption") == 1
    assert {value for name, value in shown.attributes if name == "scope"} == {"col", "row"}


def test_what_needs_the_script_is_hidden_and_labelled(mixed: Judgement) -> None:
    shown = Tags(page(mixed))
    assert ("hidden", None) in shown.attributes
    assert shown.tags.count("label") == shown.tags.count("input") + shown.tags.count("select")
    names = [value for name, value in shown.attributes if name == "name"]
    assert names == ["device", "kernels", "price", "needs", "needs"]


def test_families_that_are_exact_everywhere_take_one_line() -> None:
    text = Tags(page(judge(factory.run()))).text
    assert "Exact on every pair: linalg, convolutions." in text
    assert "Kernels that are exact" not in text


def test_nothing_from_a_record_becomes_markup() -> None:
    kernels = (factory.kernel(f"{HOSTILE}k", HOSTILE), factory.kernel("b", HOSTILE), *factory.CONTROLS)
    cells = tuple(
        factory.cell(id=f"{HOSTILE}{n}@x", tensorflow=HOSTILE, device=HOSTILE, cuda=HOSTILE, kind="official", **more)
        for n, more in enumerate(({"status": "failed", "reason": HOSTILE}, {}))
    )
    found = judge(factory.run(factory.info(cells=cells, kernels=kernels, rounds=3, profile=HOSTILE)))
    shown = Tags(page(found))
    assert not {"img", "script"} & set(shown.tags)
    assert not [name for name, _ in shown.attributes if name.startswith("on")]
    for text in (shown.text, chosen.text(choice(found)), chosen.markdown(choice(found))):
        assert "\x1b" not in text
        assert "\u202e" not in text
    for one in choice(found).missing:
        assert "reboot" not in [part for word in shlex.split(one.command) for part in (word,) if part == "reboot"]
        assert "$(reboot)" not in shlex.split(one.command)


def test_many_columns_are_counted_and_not_listed() -> None:
    fields: list[list[Field]] = [[(Status.EXACT, price(1.2, 1.1, 1.3)), (Status.VARIES, None)]] * 400
    found = judgement(fields)
    shown = choice(found)
    assert len(shown.candidates) == MOST
    assert shown.more == "380 pairs more, not better than these."
    text = page(found)
    assert shown.more in text
    assert len(text.encode()) < 14_000


def test_the_section_is_small() -> None:
    """12 pairs x 45 kernels of seven families."""
    families = ("training", "reductions", "gradients", "convolutions", "linalg", "data", "random")
    fields: list[list[Field]] = [
        [(Status.UNSUPPORTED if n % 13 == 5 else Status.EXACT, price(1.4, 1.3, 1.5)) for n in range(45)]
    ] * 12
    found = judgement(fields)
    kernels = tuple(
        dataclasses.replace(one, family=families[number % 7]) for number, one in enumerate(found.info.kernels)
    )
    found = dataclasses.replace(found, info=dataclasses.replace(found.info, kernels=kernels))
    assert len(page(found).encode()) <= 9_500


def test_an_empty_run_says_so() -> None:
    found = judge(factory.run(factory.info(cells=())))
    assert choice(found).sentence == "There is no pair."
    assert "There is no pair." in page(found)
    assert choice(judge(factory.run(factory.info(kernels=())))).candidates[0].fit == "unknown"


OTHERS = (
    Unmeasured(pair="tf2.18.1-cuda12.5-py311", told="warn: driver 550 < 555.42.06", rules=("minor", "jit")),
    Unmeasured(pair="tf2.19.1-cuda12.5-py311", told="warn: driver 550 < 560.35.05", rules=("minor", "jit")),
    Unmeasured(pair="tf2.9.1-cuda11.8-py311", told="blocked: no wheel", rules=("wheel",), blocked=True),
    Unmeasured(pair="tf2.21.0-cpu-py311"),
)


def test_pairs_without_a_column_are_unknown_or_blocked(mixed: Judgement) -> None:
    found = choice(mixed, Question(device="cpu"), OTHERS, 100)
    told = {one.label: one for one in found.candidates}
    assert told["tf2.21.0-cpu-py311"].unknowns == ("not-run",)
    assert told["tf2.9.1-cuda11.8-py311"].reasons == ("blocked: no wheel (rule wheel)",)
    assert "(rules minor and jit)" in told["tf2.18.1-cuda12.5-py311"].unknowns[0]
    assert [one.fit for one in found.candidates] == ["fits", "does not fit", *["unknown"] * 4, "does not fit"]
    assert "tf2.9.1" not in found.missing[-1].command


def test_text_says_once_what_holds_for_several(mixed: Judgement) -> None:
    text = chosen.text(choice(mixed, Question(), OTHERS, 100), 400)
    assert "-        tf2.18.1-cuda12.5-py311, tf2.19.1-cuda12.5-py311: ? unknown" in text
    assert text.count("driver 550 <") == 1
    assert "the versions told are those of the first of these pairs" in text
    assert "1        TF 2.18.1 CPU: ✓ fits" in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_text_keeps_its_width_but_for_commands(mixed: Judgement, width: int) -> None:
    text = chosen.text(choice(mixed, Question(), OTHERS, 100), width)
    assert all(len(line) <= width for line in text.splitlines() if "nox -s" not in line)


def test_text_markdown_and_json_have_the_same_words(mixed: Judgement) -> None:
    found = choice(mixed, Question(max_price=1.2), (), 100)
    body = json.loads(chosen.as_json(found, choose(mixed, Question(max_price=1.2)), "r1"))
    text, marked = chosen.text(found, 10_000), chosen.markdown(found)
    for one, told in zip(found.candidates, body["candidates"], strict=True):
        for words in (one.label, one.price, *one.reasons, *one.unknowns):
            assert words in text
            assert plain(words) in marked
        assert (told["cell"], told["fit"]) == (one.cell, one.fit)
        assert (told["reasons"], told["unknowns"]) == (list(one.reasons), list(one.unknowns))
        assert (told["rank"] is None) == (one.rank == "")
    assert (body["schema"], body["run"]) == (chosen.SCHEMA, "r1")
    prices = {one["label"]: one["price"] for one in body["candidates"]}
    assert prices["TF 2.18.1 CPU"]["dearest"]["kernel"] == "matmul"
    assert prices["TF 2.20.0 CPU"] is None


def test_same_question_same_bytes(mixed: Judgement) -> None:
    assert page(mixed) == page(mixed)
    assert isinstance(choice(mixed), Choice)
    assert chosen.as_json(choice(mixed), choose(mixed), "") == chosen.as_json(choice(mixed), choose(mixed), "")
