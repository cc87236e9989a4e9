"""One view, five renderers: the same content, order and words, or a line in ``LEFT_OUT`` that says why not.

Every text of a view gets a number. A renderer then shows all numbers of a field in the order of the view, each with
its own words. A field that is added to the view is shown by all five, or gets its line here.
"""

from __future__ import annotations

import dataclasses
import json
import re
from fnmatch import fnmatch
from functools import lru_cache
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bench.report import view as view_of
from bench.report.build.page import build
from bench.report.html import render as page
from bench.report.json import render as json_render
from bench.report.text import junit, markdown, terminal
from bench.report.view import View
from bench.store.log_tails import Tails
from bench.verdict import evaluate
from tests.unit import factory, shipped_sample
from tests.unit.factory import EXACT, Behaviour, Spot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.store.run import Run

#: Reads Markdown as GitHub does.
GITHUB = MarkdownIt("commonmark").enable("table")

#: Names, not texts: scripts, links, styles and programs go by them.
NAMES = frozenset(
    {"column", "anchor", "tone", "symbol", "mode", "environment", "before", "after", "control", "known_issue"}
)
#: Of which the page makes something else than text after text: lanes, plots and tables of all columns.
SKIPPED = "-"
APART = (
    SKIPPED,
    "details.pairs",
    "details.processes",
    "details.changes",
    "details.entry",
    "environments",
    "families.rows.digest_groups",
    "comparisons",
    "rankings",
    "lines.counts",
    "notices.kind",
    "heat_map",
    "overhead_plots",
    "no_times",
    "upgrade_plots",
    "families.rows.curves.steps",
    "families.rows.curves.curves.values",
)

_ALL = "html terminal markdown json junit"
_PEOPLE = "html terminal markdown junit"
_HALF = "families.rows.entries.half"
_UNDER = "families.rows.results.entries.half"
_ONLY = "families.rows.only.entries.half"
_NUMBERS = "programs read it in report.json; people read a text that is made of it"
_SHORT = "the page has it; a terminal and a CI page are for the first look"
_ONCE = "it is shown once, where the row begins"
_COLUMN = "the heading of the column has it"
#: What a renderer does not show, and why: renderers and a pattern of fields. Fields that report.json leaves out are
#: marked in the view itself.
LEFT_OUT: dict[tuple[str, str], str] = {
    ("terminal markdown junit", "title"): "the title of a window",
    ("html terminal markdown", "*.half.why"): "shown in the evidence",
    (_PEOPLE, "*.entries.kernel"): _ONCE,
    (_PEOPLE, "*.blocked.kernel"): _ONCE,
    (_PEOPLE, "families.rows.family"): "the heading above the rows has it",
    (_PEOPLE, "*.half.level"): _NUMBERS,
    (_PEOPLE, "*.half.digests"): _NUMBERS,
    (_PEOPLE, "*.half.outcomes"): _NUMBERS,
    (_PEOPLE, "*.half.error_class"): _NUMBERS,
    (_PEOPLE, "*.half.log_tail"): "a note in the evidence shows it",
    ("markdown", "details.notes Log tail.block"): "the middle is cut; the page has more",
    ("markdown", "details.notes Error.block"): "the middle is cut; the page has more",
    ("html terminal markdown", "*.half.error_message"): "shown in the evidence",
    (_PEOPLE, "families.rows.worst.variation"): "the cell names it",
    ("terminal markdown junit", "families.rows.curves.*"): "a chart of the page",
    ("terminal markdown junit", "families.rows.only.*"): "the row itself, for kernels with one variation",
    (_PEOPLE, "details.kernel"): "the matrix has it",
    (_PEOPLE, "details.label"): "the matrix has it",
    (_PEOPLE, "details.accuracy"): "a note says it with both errors",
    (_PEOPLE, "control_checks.groups.*"): _NUMBERS,
    (_PEOPLE, "noise_floor.*"): "a fact of the run has the sentence, and a notice lists what is biased",
    ("terminal markdown junit", "columns.release"): "the label has it",
    ("terminal markdown junit", "columns.accelerator"): "the label has it",
    ("terminal markdown junit", "columns.device"): "the label has it",
    (_PEOPLE, "*columns.tensorflow"): _COLUMN,
    (_PEOPLE, "*columns.cu*"): _COLUMN,
    (_PEOPLE, "*columns.python"): _COLUMN,
    (_PEOPLE, "*columns.keras"): _COLUMN,
    (_PEOPLE, "*columns.gpu*"): _COLUMN,
    (_PEOPLE, "*columns.support"): _COLUMN,
    (_PEOPLE, "*columns.host"): _COLUMN,
    ("html", "columns.label"): "release and accelerator say it",
    ("html", "columns.device"): "the accelerator says it",
    ("junit", "columns.label"): "the answer of the column names it",
    # A column without measurements
    ("terminal markdown", "blocked columns.*"): "its reason is part of the answer",
    ("junit", "blocked columns.release"): "the label has it",
    ("junit", "blocked columns.accelerator"): "the label has it",
    ("junit", "blocked columns.device"): "the label has it",
    ("html", "blocked columns.label"): "release and accelerator say it",
    ("html", "blocked columns.device"): "the accelerator says it",
    ("junit", "blocked columns.label"): "the answer of the column names it",
    ("terminal junit", "*.blocked.half.*"): "its status and reason are shown once for the whole column",
    # A change
    (_PEOPLE, "*upgrades.rows.*"): "lines tell them shorter; JSON has the rows",
    (_PEOPLE, "since.upgrades.step"): "it is the same for all of them: from run to run",
    (_PEOPLE, "*upgrades.unknown_why"): "the most frequent reason is part of the rest, JSON has all",
    (_PEOPLE, "*upgrades.packages*"): "a sentence states them, JSON has them as data",
    (_PEOPLE, "*upgrades.untimed_why"): "the sentences count them, JSON has the reasons",
    ("html terminal markdown", "*upgrades.lines.later.*"): "after so many they are only counted; compare lists them",
    # Hosts
    (_PEOPLE, "hosts.rows.*groups.*"): "the text says it; JSON has it as data",
    (_PEOPLE, "hosts.rows.*dissenting"): "the text says it; JSON has it as data",
    (_PEOPLE, "hosts.rows.*why"): "the text says it; JSON has it as data",
    ("terminal", "hosts.rows.later.*"): "after so many they are only counted",
    # Families
    ("html terminal", "exact needs.columns.*"): "a family that is reproducible everywhere is only named",
    ("html", "*needs.unlisted.*"): "of the pairs listed above",
    # The terminal
    ("terminal", "details.reproduce_command*"): "the first of what varies, raises or fails; tested below",
    ("terminal", "choice.rules"): "`tfrepro choose` prints them",
    ("terminal", "details.notes*"): _SHORT,
    ("terminal", "control_checks.lines.*"): _SHORT,
    ("terminal", "control_checks.sentence"): "it is part of the answer",
    ("terminal", "families.rows.facts.*"): _SHORT,
    ("terminal", f"{_UNDER}.*"): "a variation shows its status, where that differs from that of the kernel",
    ("terminal", f"{_HALF}.variation"): "the variations are listed below where they differ",
    ("terminal", "legend"): "only the words in use",
    ("terminal", "terms"): _SHORT,
    # Markdown
    ("markdown", "families.rows.facts.*"): "docs/suite.md has them",
    ("markdown", "details.notes Why*"): "the column says it in few words",
    ("markdown", "details.notes New value*"): "the column says that it is one",
    ("markdown", "details.notes Accuracy*"): "on the page; a summary is short",
    ("markdown", "details.notes Execution*"): "on the page; a summary is short",
    ("markdown", "details.notes Known issue*"): "the notices have its title",
    ("markdown", "details.reproduce_command, exact"): "only where something is not reproducible",
    # JUnit
    ("junit", "caption"): "the suites are counted",
    ("junit", "counts_o*"): "the suites are counted",
    ("junit", "choice.rules"): "rules do not change from run to run",
    ("junit", "families.name"): "a case is named by column, kernel and mode, which stay",
    ("junit", "legend"): "the same in every run",
    ("junit", "terms"): "the same in every run",
    ("junit", "families.rows.results.*"): "a case is a kernel by its worst variation, which it names",
    ("junit", "families.rows.facts.*"): "docs/suite.md has them",
    ("junit", "details.*"): "a case has what is behind its own mode in words of its own",
    ("junit", "control_checks.*"): "it is part of the answer, and a control is a case",
    # The page
    ("html", "families.rows.entries*"): "the variation that decides comes first; • names those that are worse",
    ("html", "families.rows.blocked*"): "the row of the variation that decides has it",
    **{
        ("html", f"{half}.{field}"): "the title of the tile has it, which is tested below, and so has the evidence"
        for half in (_ONLY, _UNDER)
        for field in ("evidence_text", "distance_text", "time", "overhead")
    },
}
#: Lines of a column stand beside those of the next column, so the order is that of lines.
ANY_ORDER = {("terminal", f"{_HALF}.evidence_text"), ("terminal", f"{_HALF}.distance_text"),
             ("terminal", f"{_HALF}.warnings"), ("html", "facts.label"), ("html", "facts.value")}  # fmt: skip
#: Where a renderer says it shorter.
SHORTER: dict[tuple[str, str], Callable[[str], str]] = {
    ("terminal", f"{_HALF}.time"): lambda text: text.replace(" first call", "*"),
    ("terminal", f"{_HALF}.overhead"): lambda text: text.partition(" (")[0],
    ("terminal", f"{_HALF}.warnings"): lambda text: text.partition(":")[0],
}


class _Text(HTMLParser):
    """What a reader of a page sees, but for the worse results of other variations, which have rows of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.hidden = 0
        self.also = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.hidden += tag in ("script", "style", "svg", "select")
        self.also = self.also or (tag == "sup" and (dict(attributes).get("title") or "").startswith("also "))
        self.parts.append("" if tag == "wbr" else " ")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("script", "style", "svg", "select")
        self.also = self.also and tag != "sup"
        self.parts.append(" ")

    def handle_data(self, data: str) -> None:
        self.parts += [] if self.hidden or self.also else [data]


def _read(source: str) -> str:
    parser = _Text()
    parser.feed(source)
    return "".join(parser.parts)


def of_html(view: View) -> str:
    return _read(page.render(view))


def of_markdown(view: View) -> str:
    return _read(GITHUB.render(markdown.render(view, limit=10**9)))


def of_terminal(view: View) -> str:
    return terminal.render(view, 100_000)


def of_json(view: View) -> str:
    return "\n".join(_strings(json.loads(json_render.render(view))))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def of_junit(view: View) -> str:
    tree = ET.fromstring(junit.render(view))  # noqa: S314 - our own output
    return "\n".join(text for one in tree.iter() for text in (*one.attrib.values(), one.text or ""))


RENDERERS: dict[str, Callable[[View], str]] = {
    "html": of_html,
    "terminal": of_terminal,
    "markdown": of_markdown,
    "json": of_json,
    "junit": of_junit,
}


@dataclasses.dataclass(frozen=True)
class Numbered:
    """A text of the view: its field, its words, the symbol before them, the column it belongs to.

    ``hidden`` says that the view keeps it out of report.json.
    """

    field: str
    text: str
    symbol: str
    column: str
    hidden: bool


#: Lines of a change that every renderer shows.
MOST = 12
MARK = re.compile(r"zq(\d+)qz")


class Numberer:
    """Gives every text of a view a number; ``instead`` has other texts for some of them."""

    def __init__(self, instead: dict[int, str] | None = None) -> None:
        self.found: list[Numbered] = []
        self.instead = instead or {}
        self.symbol = ""
        self.hidden = False
        self.listed: set[str] = set()

    def view(self, view: View) -> View:
        self.listed = {one.column for one in view.choice.candidates}
        numbered = self._walk(view, "", None)
        steps = {(upgrade.before, upgrade.after): upgrade for upgrade in numbered.upgrades}
        comparisons = (
            dataclasses.replace(one, upgrade=steps.get((one.upgrade.before, one.upgrade.after), one.upgrade))
            for one in numbered.comparisons
        )
        return dataclasses.replace(numbered, comparisons=tuple(comparisons))  # type: ignore[no-any-return]

    def _walk(self, value: Any, path: str, owner: Any) -> Any:
        if path.rpartition(".")[2] in NAMES or path.startswith(APART) or value in ("", "default"):
            return value
        if path == "legend" and value and isinstance(value[0], str):
            symbol, word, tone, meaning = value
            return (symbol, self._mark(word, path, owner), tone, self._mark(meaning, path, owner))
        if isinstance(value, str):
            return self._mark(value, path, owner)
        if isinstance(value, tuple):
            later = MOST if path.endswith(("upgrades.lines", "hosts.rows")) else len(value)
            return tuple(
                self._walk(one, path if place < later else f"{path}.later", owner) for place, one in enumerate(value)
            )
        if not (dataclasses.is_dataclass(value) and type(value).__module__.startswith("bench.report.view")):
            return value
        own = value if hasattr(value, "column") or isinstance(value, view_of.Upgrade) else owner
        made = {}
        for one in dataclasses.fields(value):
            self.symbol = getattr(value, "symbol", "") if one.name in ("word", "fit") else ""
            above, self.hidden = self.hidden, self.hidden or "Hidden" in str(one.type)
            made[one.name] = self._walk(getattr(value, one.name), self._below(value, path, one.name), own)
            self.hidden = above
        return dataclasses.replace(value, **made)  # type: ignore[type-var]

    def _below(self, value: Any, path: str, name: str) -> str:
        """The path of a field, which tells apart what renderers may treat otherwise."""
        if isinstance(value, view_of.Column) and value.blocked:
            path = f"blocked {path}"
        elif isinstance(value, view_of.FamilySummary) and value.reproducible:
            path = f"exact {path}"
        elif isinstance(value, view_of.FamilyColumn) and value.column not in self.listed:
            path = path.replace("columns", "unlisted")
        elif isinstance(value, view_of.Detail) and name == "reproduce_command":
            name += ", exact" if all(half.tone in ("good", "control") for half in value.entry.mode_results) else ""
        elif isinstance(value, view_of.Note):  # Markdown goes by the label
            path = SKIPPED if name == "label" else f"{path} {value.label}"
        elif isinstance(value, view_of.Row) and name == "results":
            name = name if value.variations else "only"
        elif isinstance(value, view_of.Entry):
            path = path.replace("entries", "blocked") if value.blocked else path
            if value.blocked and name == "off":  # both say the same
                return SKIPPED
            name = {"off": "half", "on": "half"}.get(name, name)
        return f"{path}.{name}".lstrip(".")

    def _mark(self, value: str, field: str, owner: Any) -> str:
        number = len(self.found)
        actual = f"zq{number}qz {value}"
        self.found.append(
            Numbered(
                field, actual, self.symbol, getattr(owner, "column", "") or getattr(owner, "after", ""), self.hidden
            )
        )
        return self.instead.get(number, actual)


def left_out(renderer: str, text: Numbered) -> bool:
    if renderer == "json" and text.hidden:
        return True
    field = text.field
    return any(renderer in names.split() and fnmatch(field, pattern) for names, pattern in LEFT_OUT)


def faults(texts: list[Numbered], view: View, renderer: str, shown: str) -> list[str]:
    """What a rendering misses, reorders or renames."""
    actual = " ".join(shown.split())
    places = {column.column: place for place, column in enumerate(view.columns)}
    marks: dict[int, list[int]] = {}
    for mark in MARK.finditer(actual):
        marks.setdefault(int(mark[1]), []).append(mark.start())
    found = []
    by_field: dict[str, list[int]] = {}
    for number, one in enumerate(texts):
        if not left_out(renderer, one):
            by_field.setdefault(one.field, []).append(number)
    for field, wanted in sorted(by_field.items()):
        if renderer == "junit":  # column by column
            wanted.sort(key=lambda number: places.get(texts[number].column, -1))
        order = sorted if (renderer, field) in ANY_ORDER else list
        requested = set(wanted)
        if order(number for number in marks if number in requested) != wanted:
            found.append(f"{renderer} misses or reorders {field}")
        shorter = SHORTER.get((renderer, field), str)
        for number in wanted:
            symbol = "" if renderer == "json" else texts[number].symbol
            words = " ".join(f"{symbol} {shorter(texts[number].text)}".split())
            left = words.index("zq")
            if not any(actual.startswith(words, place - left) for place in marks.get(number, ())):
                found.append(f"{renderer} renames {field}: {words}")
    return found


# --- the five agree -----------------------------------------------------------------------------------


def mixed(change: Callable[[Spot], Behaviour] | None = None) -> Run:
    """Three columns, one of them not built, two variations, every kind of answer, and logs of what crashed."""
    facts = factory.info(
        columns=(
            factory.column("2.15.1"),
            factory.column("2.16.2", status="build-failed", reason="no wheel"),
            factory.column(),
        ),
        kernels=(factory.kernel("dense_fit", "training", call_again=False), *factory.info().kernels),
        variations={"default": (), "isa=avx2": ("matmul",)},
        warnings=("Swap is in use",),
    )

    def behave(spot: Spot) -> Behaviour:
        if spot.kernel == "matmul" and spot.variation == "isa=avx2":
            return Behaviour(outcome="crashed", message="SIGABRT")
        if spot.kernel == "conv2d":
            bad = Behaviour(outcome="error", error_class="UnimplementedError", message="no deterministic kernel")
            return bad if spot.mode == "on" else Behaviour(("a", "b"))
        if spot.kernel == "dense_fit":
            return Behaviour((spot.mode,), steady_s=(), later_call=None, first_s=1.25)
        return Behaviour(steady_s=(0.003 if spot.mode == "on" else 0.001,)) if spot.kernel == "matmul" else EXACT

    run = factory.run(facts, change or behave)
    logs = {path: "F tensor.cc:5] check\nSIGABRT" for path in run.records if "/isa=avx2/" in path}
    return dataclasses.replace(run, tails=Tails(records=logs))


def earlier() -> Run:
    """A run before: everything was exact, with other bits in one column."""
    run = mixed(lambda spot: Behaviour(("old",)) if spot.kernel == "matmul" and "2.15" in spot.column else EXACT)
    return dataclasses.replace(run, info=dataclasses.replace(run.info, id="20250129T120000Z-0123"))


def of_gpus() -> Run:
    columns = (
        factory.column(cuda="12.5"),
        factory.column("2.19.1", cuda="12.8", kind="untested", advice="supported by nobody"),
        factory.column("2.18.1", origin={"host": "far", "engine": "venv"}),
    )
    return factory.run(
        factory.info(columns=columns), lambda spot: EXACT if spot.mode == "on" else Behaviour(("a", "b"))
    )


def of_hosts() -> Run:
    """Three hosts, of which one has another driver and other bits, and one does not run a kernel."""
    columns = tuple(
        factory.column(
            cuda="12.5", id=f"tf2.18.1-cuda12.5-py311@h100-{host}", host=host, gpu=f"GPU-{host}",
            origin={"name": host, "boot_id": host, "engine": "docker", "cpu": f"CPU of {host}"},
        )
        for host in ("one", "two", "three")
    )  # fmt: skip
    kernels = [factory.kernel(f"matmul_{number}") for number in range(8)]

    def behave(spot: Spot) -> Behaviour:
        if spot.kernel == "matmul_1" and spot.column.endswith("two"):
            return Behaviour(outcome="error", error_class="E", message="m")
        return Behaviour(("b",)) if spot.column.endswith("three") and spot.kernel.startswith("matmul") else EXACT

    return factory.run(factory.info(columns=columns, kernels=(*kernels, *factory.CONTROLS)), behave)


def wide() -> Run:
    """More columns than anyone looks at."""
    columns = tuple(factory.column(f"2.{minor}.{patch}") for minor in range(11, 21) for patch in range(4))
    facts = factory.info(columns=columns, rounds=2, repetitions=2)
    return factory.run(facts, lambda spot: Behaviour(("a", "b")) if spot.column.startswith("tf2.12.2") else EXACT)


RUNS: dict[str, Callable[[], View]] = {
    "mixed, after another run": lambda: build(evaluate(mixed()), evaluate(earlier())),
    "of GPUs": lambda: build(evaluate(of_gpus())),
    "of hosts": lambda: build(evaluate(of_hosts())),
    "empty": lambda: build(evaluate(dataclasses.replace(factory.run(), info=factory.info(columns=(), kernels=())))),
    "one column": lambda: build(
        evaluate(factory.run(factory.info(kernels=(factory.kernel("matmul"), *factory.CONTROLS))))
    ),
    "everything failed": lambda: build(
        evaluate(factory.run(None, lambda _: Behaviour(outcome="mismatch", message="x\ny")))
    ),
    "40 columns": lambda: build(evaluate(wide())),
}


@lru_cache(maxsize=8)
def view_named(name: str) -> View:
    return RUNS[name]()


def check(view: View, renderer: str, instead: dict[int, str] | None = None) -> list[str]:
    """What a renderer does wrong with a view; ``instead`` makes the renderer see other texts than the view has."""
    plain = Numberer()
    plain.view(view)
    return faults(plain.found, view, renderer, RENDERERS[renderer](Numberer(instead).view(view)))


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize("name", RUNS)
def test_a_renderer_shows_the_whole_view(name: str, renderer: str) -> None:
    assert check(view_named(name), renderer) == []


@pytest.mark.parametrize("renderer", RENDERERS)
def test_a_renderer_shows_the_whole_sample(renderer: str) -> None:
    assert check(shipped_sample.view(), renderer) == []


class _Titles(HTMLParser):
    """The titles of the tiles of a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        facts = dict(attributes)
        if tag == "a" and (facts.get("class") or "").startswith("tile "):
            self.found.append(facts.get("title") or "")


def test_the_title_of_a_tile_has_its_numbers() -> None:
    view, titles = Numberer().view(MIXED), _Titles()
    titles.feed(page.render(view))
    entries = [entry for row in view.rows for one in row.results for entry in one.entries if not entry.blocked]
    results = [result for entry in entries for result in entry.mode_results if result.planned]
    assert [title for title in titles.found if title] == titles.found
    assert titles.found == [
        "; ".join(filter(None, (one.evidence_text, one.distance_text, one.time, one.overhead))) for one in results
    ]


#: Sections that a renderer has at another place, and why.
ELSEWHERE: dict[str, dict[str, str]] = {
    "html": {
        "title": "the title of the window",
        "needs": "families are ticked where pairs are chosen",
        "facts": "the line below the headline unfolds them",
        "choice": "before the matrix, which is long",
        "details": "below the line of their kernel in the matrix",
    },
    "terminal": {"run": "the first of the facts"},
    "markdown": {"run": "the first of the facts"},
    "junit": {"families": "cases stand behind the properties of their suite"},
}


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize("name", RUNS)
def test_a_renderer_keeps_the_order_of_sections(name: str, renderer: str) -> None:
    numbered = Numberer()
    shown = RENDERERS[renderer](numbered.view(view_named(name)))
    first = {int(one[1]): one.start() for one in reversed(list(MARK.finditer(shown)))}
    places: dict[str, int] = {}
    for number, one in enumerate(numbered.found):
        section = re.split(r"[. ,]", one.field.removeprefix("blocked ").removeprefix("exact "))[0]
        if number in first and not left_out(renderer, one) and section not in ELSEWHERE.get(renderer, {}):
            places[section] = min(first[number], places.get(section, first[number]))
    wanted = [one.name for one in dataclasses.fields(View) if one.name in places]
    assert sorted(places, key=places.__getitem__) == wanted


MIXED = view_named("mixed, after another run")
TEXTS = Numberer()
TEXTS.view(MIXED)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_renderer_that_drops_reorders_or_renames_is_caught(data: st.DataObject) -> None:
    renderer = data.draw(st.sampled_from(sorted(RENDERERS)))
    shown = [number for number, one in enumerate(TEXTS.found) if not left_out(renderer, one)]
    number = data.draw(st.sampled_from(shown))
    like = [one for one in shown if one != number and TEXTS.found[one].field == TEXTS.found[number].field]
    text = TEXTS.found[number].text
    faulty = [{number: text.replace("qz ", "qz other ")}, {number: text.partition("qz ")[2]}]
    if like and (renderer, TEXTS.found[number].field) not in ANY_ORDER and renderer != "junit":
        other = data.draw(st.sampled_from(like))
        faulty.append({number: TEXTS.found[other].text, other: text})
    assert check(MIXED, renderer, data.draw(st.sampled_from(faulty)))


def test_nothing_is_left_out_that_is_shown() -> None:
    """A line of the table that no field needs any more goes."""
    views = [*map(view_named, RUNS), shipped_sample.view()]
    fields = set()
    for view in views:
        numbered = Numberer()
        numbered.view(view)
        fields |= {one.field for one in numbered.found}
    for names, pattern in LEFT_OUT:
        assert any(fnmatch(field, pattern) for field in fields), f"{names}: {pattern}"


# --- JSON ---------------------------------------------------------------------------------------------


def test_the_schema_is_that_of_the_code(root: Path) -> None:
    assert (root / "docs" / "report.schema.json").read_text("utf-8") == json_render.schema(), (
        "python -m bench schema --report > docs/report.schema.json"
    )


DECLARED: dict[str, Any] = json.loads(json_render.schema())
SCHEMA = jsonschema.Draft202012Validator(DECLARED)


def test_the_schema_is_one_and_closed() -> None:
    SCHEMA.check_schema(DECLARED)
    for name, one in DECLARED["$defs"].items():
        assert one.get("type") != "object" or one["additionalProperties"] is False, name
        assert one.get("description") or "enum" in one, name


@pytest.mark.parametrize("name", RUNS)
def test_what_is_rendered_is_valid(name: str) -> None:
    SCHEMA.validate(json.loads(json_render.render(view_named(name))))


def test_the_sample_is_valid() -> None:
    SCHEMA.validate(json.loads(json_render.render(shipped_sample.view())))


_BEHAVIOURS = st.builds(
    Behaviour,
    digests=st.sampled_from([("a",), ("a", "b"), ("",)]),
    steady_s=st.lists(st.floats(), max_size=3).map(tuple),
    first_s=st.floats(),
    nan=st.booleans(),
    outcome=st.sampled_from(["ok", "error", "crashed", "timeout", "oom", "mismatch", "?"]),
    message=st.text(max_size=20),
    error_class=st.text(max_size=5),
    peak_mb=st.floats(),
)


@settings(max_examples=15, deadline=None)
@given(st.lists(_BEHAVIOURS, min_size=4, max_size=4))
def test_whatever_happens_is_valid(acts: list[Behaviour]) -> None:
    run = factory.run(factory.info(rounds=2), lambda spot: acts[2 * (spot.mode == "on") + spot.round % 2])
    SCHEMA.validate(json.loads(json_render.render(build(evaluate(run)))))


def test_what_is_unknown_is_left_out() -> None:
    actual = json.loads(json_render.render(view_named("everything failed")))
    half = actual["families"][0]["kernels"][0]["variations"][0]["cells"][0]["on"]
    assert not {"bound", "timing", "overhead", "difference", "digest_group"} & half.keys()
    assert "run" not in actual["since"]
    properties = DECLARED["$defs"]["ModeResult"]["properties"]
    assert properties["bound"]["default"] is None
    assert properties["timing"]["default"] is None


def test_the_sample_stays_small_and_states_nothing_twice() -> None:
    text = json_render.render(shipped_sample.view())
    assert len(text) <= 1_500_000
    digests = re.findall(r'"([0-9a-f]{64})"', json.dumps(json.loads(text)["families"]))
    groups = [row.digest_groups for row in shipped_sample.view().rows]
    assert len(digests) == sum(map(len, groups))


# --- JUnit --------------------------------------------------------------------------------------------


def test_junit_has_the_shape_that_ci_systems_read() -> None:
    tree = ET.fromstring(junit.render(MIXED))  # noqa: S314 - our own output
    assert tree.tag == "testsuites"
    cases = list(tree.iter("testcase"))
    for element in (tree, *tree):
        inside = list(element.iter("testcase"))
        assert int(element.get("tests", "")) == len(inside)
        for tag, plural in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            assert int(element.get(plural, "")) == sum(one.find(tag) is not None for one in inside)
        assert float(element.get("time", "")) == pytest.approx(sum(float(one.get("time", "")) for one in inside))
    for suite in tree:
        tags = [one.tag for one in suite]
        assert tags == sorted(tags, key=["properties", "testcase", "system-out"].index)
        assert all(set(one.attrib) == {"name", "value"} for one in suite.iter("property"))
    assert {tuple(one.attrib) for one in cases} == {("classname", "name", "time")}
    assert len({(one.get("classname"), one.get("name")) for one in cases}) == len(cases)
    assert {one.tag for case in cases for one in case} <= {"failure", "error", "skipped", "system-out"}


def test_junit_names_stay_from_run_to_run() -> None:
    trees = [ET.fromstring(junit.render(build(evaluate(run)))) for run in (mixed(), earlier())]  # noqa: S314 - our own
    first, second = ([(one.get("classname"), one.get("name")) for one in tree.iter("testcase")] for tree in trees)
    assert first == second
    assert trees[0].get("name") == trees[1].get("name")


# --- sizes --------------------------------------------------------------------------------------------


def test_a_summary_stays_within_what_github_takes() -> None:
    whole = markdown.render(MIXED)
    assert "Left out for its size" not in whole
    sizes = {}
    for limit in (len(whole.encode()) - 1, 9000, 7000, 10):
        cut = markdown.render(MIXED, limit=limit)
        sizes[limit] = len(cut.encode())
        assert "Left out for its size" in cut
        assert cut.splitlines()[0] == whole.splitlines()[0]
    assert sizes[len(whole.encode()) - 1] < len(whole.encode())
    assert sorted(sizes.values(), reverse=True) == list(sizes.values())


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_terminal_keeps_its_width(width: int) -> None:
    for name in RUNS:
        for line in terminal.render(view_named(name), width).splitlines():
            assert len(line) <= width or "nox -s" in line or "|" in line, line


def test_a_terminal_lists_what_to_measure_again() -> None:
    details = [
        dataclasses.replace(one, reproduce_command=f"nox -s reproduce -- {place}")
        for place, one in enumerate(MIXED.details)
    ]
    page = terminal.render(dataclasses.replace(MIXED, details=tuple(details * 3)), 80)
    actual = page[page.index("To measure again") :].split("\n\n")[0].splitlines()[1:]
    wanted = [
        one.reproduce_command
        for one in details * 3
        if {"fault", "bad"} & {half.tone for half in one.entry.mode_results}
    ]
    assert [line.strip() for line in actual] == [*wanted[:10], f"and {len(wanted) - 10} more, listed on the page"]


def test_the_first_lines_answer() -> None:
    head = " ".join("\n".join(terminal.render(MIXED, 80).splitlines()[:25]).split())
    for text in (MIXED.answer[0], MIXED.lines[0].sentence, MIXED.lines[0].overhead, MIXED.since.sentence):
        assert text in head
