"""Text of strangers stays text, whatever it is and whatever is done with it, in a real browser."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import pytest

from bench.report import Format
from tests.integration.pages import wait_until
from tests.integration.test_page_tools import CLIPBOARD
from tests.unit import factory, test_report
from tests.unit.factory import Behaviour

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from bench.store.run import Run

pytestmark = pytest.mark.browser

STRINGS = (
    "<script>window.hit=1</script>",
    "</script><script>window.hit=1</script>",
    "</style></title></textarea><img src=x onerror=window.hit=1>",
    "<svg/onload=window.hit=1>",
    "\"'><a href=javascript:window.hit=1>x</a>",
    "' onfocus='window.hit=1' autofocus='",
    "javascript:window.hit=1",
    "<!--<script>",
    "--> ]]> <![CDATA[",
    "{{7*7}}{%raw%}{#x#}${7*7}",
    "&lt;b&gt;&#60;i&#62;&amp;",
    "\u202egnp.exe\u2066\u200b",
    "nul\x00esc\x1b[31mbell\x07",
    "lone \ud800 surrogate \udfff",
    "line\u2028and\u2029paragraph\r\nbreak",
    '\\"},"schema":9,"x":["',
    "*/}</style>body{display:none}/*;background:url(https://example.invalid/x)",
    '=cmd|" /C calc"!A0',
    "+1+1,-2,@SUM(A1)",
    "# *md* [x](javascript:window.hit=1) ![y](https://example.invalid/z) `c` | d",
    "__proto__",
    "constructor",
    "d0-0",
    "L" * 10_000,
)


def hostile(text: str) -> Run:
    """One string everywhere a record or a run can have one."""
    family = f"f {text}"
    kernels = (
        factory.kernel(f"a{text}", family=family, source=text),
        factory.kernel(f"b{text}", family=text or "x", file=f"/x/{text}.py"),
        *factory.CONTROLS,
    )
    columns = (
        factory.column("2.18.1", keras=text),
        factory.column("2.19.1", id=f"tf{text}@{text}", device=text, lock="l2"),
        factory.column("2.21.0", status="build-failed", reason=text),
    )
    facts = factory.info(
        id=f"run{text}",
        columns=columns,
        kernels=kernels,
        engine_why=text,
        host={"hostname": text},
        warnings=(text,),
        command=text,
    )
    bad = Behaviour(outcome="error", error_class=text, message=text * 2)

    def behave(seen: object) -> Behaviour:
        name = str(getattr(seen, "kernel", ""))
        return factory.EXACT if name.startswith(("control", "a")) else bad

    run = factory.run(facts, behave)
    return factory.changed(run, factory.facts_of_process(hostname=text, cpu_model=text))


SOUND = """() => ({
  hit: typeof window.hit,
  elements: [...document.querySelectorAll("script,style,title,textarea,form,img,iframe,object,embed,link,base,meta")]
    .map((one) => one.tagName).sort().join(),
  handlers: [...document.querySelectorAll("*")]
    .filter((one) => [...one.attributes].some((fact) => fact.name.startsWith("on"))).length,
  links: [...document.links].filter((one) => !/^(#|https:\\/\\/)/.test(one.getAttribute("href"))).length,
  inherited: document.forms.length,
  shown: getComputedStyle(document.body).display,
})"""


@pytest.fixture(scope="module")
def sound(request: pytest.FixtureRequest) -> dict[str, object]:
    """What a page of harmless text has: filled in by the first test that asks."""
    return {}


@pytest.mark.parametrize("number", range(len(STRINGS)))
def test_hostile_text_becomes_nothing_else(visit: Callable[..., Page], number: int, sound: dict[str, object]) -> None:
    if not sound:
        sound.update(visit(test_report.rendered(hostile("harmless"), Format.HTML)).evaluate(SOUND))
    text = STRINGS[number]
    typed = text.replace("\x00", "").encode("utf-8", "ignore").decode()[:200]  # what no driver could type is left out
    page = visit(test_report.rendered(hostile(text), Format.HTML), "#open=d0-0")
    assert page.evaluate(SOUND) == sound
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.evaluate(CLIPBOARD, True)
    page.locator("#filter [name=family]").evaluate("one => { one.selectedIndex = 1; }")
    page.locator("#filter").dispatch_event("input")
    page.locator("#filter").get_by_label("Order").select_option("name")
    ends = page.locator("#comparison-form select")
    ends.first.select_option(index=1)
    ends.nth(1).select_option(index=2)
    page.get_by_role("searchbox", name="Search").fill(typed)
    page.get_by_role("searchbox", name="Search").fill("")
    assert page.locator(".comparison:visible").count() == 1
    assert page.evaluate(SOUND) == sound
    shown = page.locator("body").text_content() or ""
    assert not set(shown) & {"\x00", "\x1b", "\x07", "\u202e", "\u2066", "\u200b", "\u2028", "\u2029", "\ufffd"}
    check_copies(page)
    assert page.evaluate(SOUND) == sound


def check_copies(page: Page) -> None:
    """Copies are what they say: no formula in a column, no markup, and as many rows as were shown."""
    copied = []
    for form, start in (("CSV", "kernel"), ("JSON", "["), ("Markdown", "|")):
        page.get_by_role("button", name=f"Copy as {form}").click()
        wait_until(page, "(start) => (window.copied || '').startsWith(start)", start)
        copied.append(page.evaluate("window.copied"))
    rows = list(csv.reader(io.StringIO(copied[0])))
    assert not [column for row in rows for column in row if column.startswith(("=", "+", "-", "@"))]
    assert len({len(row) for row in rows}) == 1
    assert len(json.loads(copied[1])) == len(rows) - 1
    lines = copied[2].splitlines()
    assert len(lines) == len(rows) + 1
    for line in lines:
        bare = line.replace("\\\\", "").replace("\\<", "").replace("\\`", "").replace("\\[", "").replace("\\!", "")
        assert "<" not in bare
        assert "](" not in bare.replace("\\]", "")
