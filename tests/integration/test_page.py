"""The page in a real Chromium, opened from a file with the network off."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from bench.report import Format
from bench.report.html import render as html_render
from tests.unit import test_gpu_page, test_report
from tests.unit.test_large_page import view_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

#: WCAG 2 contrast of every element that has text of its own, against the colours painted behind it.
CONTRAST = """() => {
  const channel = (v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || ["SCRIPT", "STYLE", "title"].includes(element.tagName) || element.closest("[hidden]")) continue;
    const svg = element.closest("svg");
    const front = light(parse(getComputedStyle(element)[svg ? "fill" : "color"]));
    const tile = svg && element.closest("a")?.querySelector("rect");
    const back = light(tile ? parse(getComputedStyle(tile).fill) : behind(element));
    const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    if (ratio < 4.5) found.push(`${element.tagName}.${element.className} ${ratio.toFixed(2)}`);
  }
  return [...new Set(found)];
}"""


#: The head of the column at a place of the window.
AT = "([x, y]) => document.elementFromPoint(x, y).closest('th').textContent.trim().split(/\\s/)[0]"
#: CSS pixels of A4 across, less its margins; and what of a page lies beyond them or is cut off.
PAPER = 1046
CUT = """() => [...document.querySelectorAll("body *")].filter((one) => {
  const box = one.getBoundingClientRect();
  const clips = getComputedStyle(one).overflowX !== "visible" && one.scrollWidth > one.clientWidth + 1;
  return box.width && !one.matches(".word") && (box.right > innerWidth + 1 || clips);
}).map((one) => `${one.tagName} ${one.className} ${one.textContent.slice(0, 40)}`).slice(0, 5)"""


@pytest.fixture(scope="module")
def page_text() -> str:
    return test_report.rendered(test_report.mixed(), Format.HTML)


def test_opens_from_a_file_without_network_or_errors(visit: Callable[..., Page], page_text: str) -> None:
    page = visit(page_text)
    assert page.locator("h1").inner_text().startswith("With determinism on")
    assert page.evaluate("document.documentElement.classList.length") == 0


@pytest.mark.parametrize("code", ["<script>window.hit=1</script>", "<img src=data:, onerror='window.hit=1'>"])
def test_the_policy_forbids_scripts_that_are_not_ours(
    browser: Browser, tmp_path: Path, page_text: str, code: str
) -> None:
    """Were markup of others ever to get through, it would still not run; without the policy it does."""
    injected = page_text.replace("</main>", f"{code}</main>")
    open_one = re.sub("<meta http-equiv[^>]*>", "", injected)
    hits = []
    for place, text in enumerate((injected, open_one)):
        file = tmp_path / f"{place}.html"
        file.write_text(text, encoding="utf-8")
        page = browser.new_page()
        page.goto(file.as_uri())
        hits.append(page.evaluate("window.hit"))
        page.close()
    assert hits == [None, 1]


def words(text: str) -> list[str]:
    """What is written, in any order: buttons that sort stand before the names they replace."""
    return sorted(text.split())


def test_complete_without_javascript(visit: Callable[..., Page], page_text: str) -> None:
    """Everything that can be read with scripts can be read without; only the filter and the switch are gone."""
    with_scripts, without = visit(page_text), visit(page_text, java_script_enabled=False)
    for selector in ("tbody[data-row]", ".kernel-evidence", ".panel", ".legend", ".overview"):
        ours = with_scripts.locator(selector).all_text_contents()
        theirs = without.locator(selector).all_text_contents()
        assert list(map(words, theirs)) == list(map(words, ours))
    for unseen in ("#filter", "#comparison-form", ".sort", "#copy-text"):
        assert without.locator(unseen).filter(visible=True).count() == 0
    expect(without.locator("#theme")).to_be_hidden()
    without.locator("summary", has_text="matmul").first.click()
    expect(without.locator("tr.more:not(.evidence)", has_text="isa=avx2").first).to_be_visible()


def test_rows_of_variations_unfold(visit: Callable[..., Page], page_text: str) -> None:
    page = visit(page_text)
    under = page.locator("tr.more:not(.evidence)").first
    expect(under).to_be_hidden()
    page.locator(".matrix summary", has_text="matmul").click()
    expect(under).to_be_visible()


def test_gpu_columns_say_what_they_are(visit: Callable[..., Page]) -> None:
    page = visit(test_report.rendered(test_gpu_page.every_kind(), Format.HTML), viewport={"width": 1600, "height": 900})
    heads = page.locator(".matrix thead tr").first.locator("th[colspan]")
    actual = heads.all_text_contents()
    assert "driver 470 is older than 525.60.13." in actual[3]
    assert "this host has no GPU." in actual[4]
    assert "from box" in actual[5]
    assert (page.locator(".matrix td.blocked").first.text_content() or "").split() == ["\N{EN DASH}", "incompatible"]
    assert page.locator(".matrix tbody", has_text="matmul").get_by_text("throttled").count() == 2
    wide = "(all) => all.every((one) => one.scrollWidth <= one.clientWidth + 1)"
    assert heads.evaluate_all(wide)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_of_gpu_columns(visit: Callable[..., Page], scheme: str) -> None:
    page = visit(test_report.rendered(test_gpu_page.every_kind(), Format.HTML), color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.evaluate(CONTRAST) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(visit: Callable[..., Page], page_text: str, scheme: str) -> None:
    page = visit(page_text, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.evaluate(CONTRAST) == []


def test_the_switch_beats_the_system(visit: Callable[..., Page], page_text: str) -> None:
    page = visit(page_text, color_scheme="dark")
    color = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(color)
    page.locator("#theme").click()
    assert page.locator("#theme").inner_text() == "Theme: light"
    assert page.evaluate(color) != dark
    assert page.evaluate(CONTRAST) == []
    assert "theme" not in page.url


def test_keyboard(visit: Callable[..., Page], page_text: str) -> None:
    page = visit(page_text)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0  # type: ignore[index]
    assert page.locator(".scroller").get_attribute("tabindex") == "0"
    page.locator(".scroller").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


@pytest.mark.parametrize("width", [320, 400, 1400])
def test_no_sideways_scroll_of_the_page(visit: Callable[..., Page], page_text: str, width: int) -> None:
    page = visit(page_text, viewport={"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_head_and_first_column_stay(visit: Callable[..., Page], page_text: str) -> None:
    page = visit(page_text, viewport={"width": 500, "height": 300}, reduced_motion="reduce")
    page.locator(".scroller").evaluate("one => one.scrollIntoView()")
    box = page.locator(".scroller").bounding_box()
    assert box is not None
    page.locator(".scroller").evaluate("one => { one.scrollTop = 300; one.scrollLeft = 200; }")
    head = page.locator(".matrix thead th").first.bounding_box()
    assert page.evaluate(AT, [box["x"] + 20, box["y"] + (head or box)["height"] - 6]) == "Kernel"
    first = page.locator(".matrix tbody[data-row] th").first.bounding_box()
    assert head is not None
    assert first is not None
    assert head["y"] == pytest.approx(box["y"], abs=2)
    assert first["x"] == pytest.approx(box["x"], abs=2)


@pytest.mark.parametrize("size", [(), (12, 45)])
def test_printed_whole(visit: Callable[..., Page], page_text: str, size: tuple[int, ...]) -> None:
    page = visit(html_render.render(view_of(*size)) if size else page_text, viewport={"width": PAPER, "height": 700})
    page.emulate_media(media="print")
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    assert page.evaluate(CUT) == []
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    if not size:
        expect(page.locator("tr.more:not(.evidence)").first).to_be_visible()
    expect(page.locator("#filter")).to_be_hidden()
    assert page.evaluate("getComputedStyle(document.querySelector('.scroller')).overflowX") == "visible"


def test_no_number_is_broken_on_paper(visit: Callable[..., Page], root: Path) -> None:
    text = (root / "reports" / "sample" / "index.html").read_text(encoding="utf-8")
    page = visit(text, viewport={"width": PAPER, "height": 700})
    page.emulate_media(media="print")
    broken = """() => {
      document.querySelectorAll("details").forEach((one) => { one.open = true; });
      const found = [];
      for (const column of document.querySelectorAll(".kernel td")) {
        const words = document.createTreeWalker(column, NodeFilter.SHOW_TEXT);
        for (let node = words.nextNode(); node; node = words.nextNode()) {
          for (const number of node.data.matchAll(/[0-9][0-9.]+/g)) {
            const range = document.createRange();
            range.setStart(node, number.index);
            range.setEnd(node, number.index + number[0].length);
            if (range.getClientRects().length > 1) found.push(number[0]);
          }
        }
      }
      return found;
    }"""
    assert page.evaluate(broken) == []
    assert page.locator(".sort").first.evaluate("one => getComputedStyle(one).display") == "contents"


def test_forced_colours_keep_a_border(visit: Callable[..., Page], page_text: str) -> None:
    page = visit(page_text, forced_colors="active")
    assert page.locator(".chip").first.evaluate("one => getComputedStyle(one).borderTopStyle") == "solid"


def test_pages_of_bad_runs_open(visit: Callable[..., Page]) -> None:
    for make in test_report.BAD.values():
        assert visit(test_report.rendered(make(), Format.HTML)).locator("h1").inner_text()
