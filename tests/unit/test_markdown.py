"""Markdown as its readers see it: through a parser of the standard (CommonMark and GitHub's tables)."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bench.report.text.markdown import plain

GITHUB = MarkdownIt("commonmark").enable("table")
#: Characters that mean something to Markdown or HTML, among some that do not.
TEXTS = st.text(st.sampled_from("\\`*_{}[]()<>#+-.!|~@:=&;/\"' 0123456789aAwx\té\N{MULTIPLICATION SIGN}"))


def shown(source: str, tag: str) -> list[str]:
    """The texts of all elements of a kind, of which none may hold another element."""
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", GITHUB.render(source), re.DOTALL)
    assert not any("<" in text for text in found), found
    return [html.unescape(text) for text in found]


@given(TEXTS)
@example("9.45 ms")
@example("12) and more")
@example("3.")
@example("---")
@example("a\\|b")
@example("&lt;b&gt;")
@example("<b>https://example.org</b> ![x](y)")
@example("www.example.org")
def test_a_text_stays_the_text_it_is(text: str) -> None:
    wanted = " ".join(text.split())
    assert shown(plain(text), "p") == ([wanted] if wanted else [])
    assert shown(f"- {plain(text)}", "li") == [wanted]
    table = f"| {plain(text)} | 1 |\n|---|---|\n| 2 | {plain(text)} |"
    assert (shown(table, "th"), shown(table, "td")) == ([wanted, "1"], ["2", wanted])


@pytest.mark.parametrize("text", ["www.example.org", "see WWW.example.org", "https://example.org", "a@example.org"])
def test_nothing_becomes_a_link_by_itself(text: str) -> None:
    """GitHub links these wherever they stand whole in the source, after its parser is done with escapes."""
    assert not re.search(r"(?i)www\.|[a-z]://|[a-z]@", plain(text))


@pytest.mark.parametrize("text", ["9.45 ms", "0 of 4 differed, \N{LESS-THAN OR EQUAL TO} 53 %", "13.2 ms first call"])
def test_a_number_needs_no_escape(text: str) -> None:
    assert plain(text) == text
