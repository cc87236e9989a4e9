"""The page in a real Chromium, opened from a file with the network off."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from bench.report import Format
from tests.unit import test_gpu_page, test_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]

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
    if (!own || ["SCRIPT", "STYLE"].includes(element.tagName) || element.closest("[hidden]")) continue;
    const svg = element.closest("svg");
    const front = light(parse(getComputedStyle(element)[svg ? "fill" : "color"]));
    const back = light(behind(element));
    const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    if (ratio < 4.5) found.push(`${element.tagName}.${element.className} ${ratio.toFixed(2)}`);
  }
  return [...new Set(found)];
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    path = os.environ.get("TFREPRO_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on the PATH; TFREPRO_CHROMIUM may name one")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Opens a page from a file; at the end nothing may have been asked of any network, and nothing logged."""
    contexts: list[Any] = []
    asked: list[str] = []
    said: list[str] = []

    def go(text: str, fragment: str = "", **options: Any) -> Page:
        file = tmp_path / "index.html"
        file.write_text(text, encoding="utf-8")
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.goto(file.as_uri() + fragment)
        return page

    yield go
    for context in contexts:
        context.close()
    assert {url for url in asked if not url.startswith(("file:", "data:"))} == set()
    assert len([url for url in asked if url.startswith("file:")]) == len(contexts)
    assert said == []


@pytest.fixture(scope="module")
def page_text() -> str:
    return test_report.rendered(test_report.mixed(), Format.HTML)


def test_opens_from_a_file_without_network_or_errors(visit: Callable[..., Page], page_text: str) -> None:
    page = visit(page_text)
    assert page.locator("h1").inner_text().startswith("With determinism on")
    assert page.evaluate("document.documentElement.classList.length") == 0


def test_the_policy_forbids_scripts_that_are_not_ours(visit: Callable[..., Page], page_text: str) -> None:
    injected = page_text.replace("</main>", "<img src=x onerror='window.hit=1'><p id=here></p></main>")
    page = visit(page_text)
    assert "default-src 'none'" in (page.locator("meta[http-equiv]").get_attribute("content") or "")
    assert "unsafe-inline'; img" in injected
    assert page.evaluate("typeof window.hit") == "undefined"


def test_complete_without_javascript(visit: Callable[..., Page], page_text: str) -> None:
    """Everything that can be read with scripts can be read without; only the filter and the switch are gone."""
    with_scripts, without = visit(page_text), visit(page_text, java_script_enabled=False)
    for selector in (".matrix", ".ev", ".env", ".legend", ".first"):
        ours = with_scripts.locator(selector).all_text_contents()
        assert without.locator(selector).all_text_contents() == ours
    assert not without.locator("#filter").is_visible()
    assert not without.locator("#theme").is_visible()
    without.locator("summary", has_text="matmul").first.click()
    assert without.locator("tr.under", has_text="isa=avx2").first.is_visible()


def test_rows_of_conditions_unfold(visit: Callable[..., Page], page_text: str) -> None:
    page = visit(page_text)
    under = page.locator("tr.under").first
    assert not under.is_visible()
    page.locator(".matrix summary", has_text="matmul").click()
    assert under.is_visible()


def test_gpu_columns_say_what_they_are(visit: Callable[..., Page]) -> None:
    page = visit(test_report.rendered(test_gpu_page.every_kind(), Format.HTML), viewport={"width": 1600, "height": 900})
    heads = page.locator(".matrix thead tr").first.locator("th[colspan]")
    told = heads.all_inner_texts()
    assert "driver 470 is older than 525.60.13." in told[3]
    assert "this host has no GPU." in told[4]
    assert "from box" in told[5]
    assert page.locator(".matrix td.blocked").first.inner_text().strip() == "\N{EN DASH} impossible"
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
    assert "theme=light" in page.url


def test_filter_counts_and_keeps_its_state_in_the_address(visit: Callable[..., Page], page_text: str) -> None:
    page = visit(page_text)
    told = page.locator("#told")
    assert told.inner_text() == "5 of 5 rows"
    page.get_by_role("searchbox", name="Kernel").fill("CONV")
    assert told.inner_text() == "1 of 5 rows"
    assert page.locator(".matrix tbody[data-text]:visible").count() == 1
    assert page.locator(".ev:visible").count() == 1
    page.get_by_role("searchbox", name="Kernel").fill("")
    page.get_by_label("Status").select_option("unsupported")
    assert told.inner_text() == "1 of 5 rows"
    assert page.url.endswith("#status=unsupported")
    again = visit(page_text, "#status=unsupported&theme=dark&family=no-such")
    assert again.locator("#told").inner_text() == "1 of 5 rows"
    assert again.locator("#theme").inner_text() == "Theme: dark"
    again.get_by_role("button", name="Clear").click()
    again.wait_for_function("document.getElementById('told').textContent === '5 of 5 rows'")


def test_a_status_leads_to_its_evidence(visit: Callable[..., Page], page_text: str) -> None:
    page = visit(page_text)
    link = page.locator(".matrix a.chip", has_text="unsupported").first
    target = link.get_attribute("href") or ""
    link.click()
    assert page.locator(target).is_visible()
    assert "no deterministic kernel" in page.locator(target).inner_text()


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
    page = visit(page_text, viewport={"width": 500, "height": 500})
    box = page.locator(".scroller").bounding_box()
    assert box is not None
    page.locator(".scroller").evaluate("one => { one.scrollTop = 300; one.scrollLeft = 200; }")
    head = page.locator(".matrix thead th").first.bounding_box()
    first = page.locator(".matrix tbody[data-text] th").first.bounding_box()
    assert head is not None
    assert first is not None
    assert head["y"] == pytest.approx(box["y"], abs=2)
    assert first["x"] == pytest.approx(box["x"], abs=2)


def test_printed_whole(visit: Callable[..., Page], page_text: str) -> None:
    page = visit(page_text)
    page.emulate_media(media="print")
    assert page.locator("tr.under").first.is_visible()
    assert not page.locator("#filter").is_visible()
    assert page.evaluate("getComputedStyle(document.querySelector('.scroller')).overflowX") == "visible"


def test_forced_colours_keep_a_border(visit: Callable[..., Page], page_text: str) -> None:
    page = visit(page_text, forced_colors="active")
    assert page.locator(".chip").first.evaluate("one => getComputedStyle(one).borderTopStyle") == "solid"


def test_hostile_text_becomes_no_markup(visit: Callable[..., Page]) -> None:
    page = visit(test_report.rendered(test_report.hostile(), Format.HTML))
    assert page.locator("script").count() == 1
    assert page.evaluate("document.querySelectorAll('[onerror],[onload],[onclick],iframe,object,img').length") == 0
    text = page.locator("body").text_content() or ""
    assert "<script>alert(1)</script>" in text
    assert "{{7*7}}" in text
    assert not set(text) & {"\x00", "\x1b", "\u202e", "\ufffd"}
    assert page.locator("#told").inner_text() == "3 of 3 rows"


def test_pages_of_bad_runs_open(visit: Callable[..., Page]) -> None:
    for make in test_report.BAD.values():
        assert visit(test_report.rendered(make(), Format.HTML)).locator("h1").inner_text()
