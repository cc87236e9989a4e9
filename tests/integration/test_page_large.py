"""The page of a large run in a browser: its evidence is in files beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from bench import report
from bench.report import write
from bench.report.html import large
from bench.verdict import evaluate
from tests.integration.pages import several, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page


@pytest.fixture
def opened(browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """The summary of a run that was written as several files; fails if a page uses the network or logs anything."""
    monkeypatch.setattr(write, "MOST_BYTES", 50_000)
    monkeypatch.setattr(large, "CELLS", 20)
    report.Pages(evaluate(several())).write(tmp_path, [report.Format.HTML])
    requested: list[str] = []
    logged: list[Any] = []
    context = browser.new_context(offline=True, viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.on("request", lambda request: requested.append(request.url))
    page.on("console", lambda message: logged.append(message.text))
    page.on("pageerror", lambda error: logged.append(str(error)))
    page.goto((tmp_path / "index.html").as_uri())
    yield page
    context.close()
    assert [url for url in requested if not url.startswith(("file:", "data:"))] == []
    assert logged == []


def test_a_tile_leads_to_its_evidence_and_back(opened: Page) -> None:
    tile = opened.locator(".heat-map a", has_text="kernel_5: off nondeterministic").first
    anchor = (tile.get_attribute("href") or "").partition("#")[2]
    tile.locator("rect").first.click()
    wait_until(opened, "() => location.pathname.includes('/details/kernels-')")
    evidence = opened.locator(f"#{anchor}")
    evidence.wait_for(state="visible")
    wait_until(
        opened,
        "(id) => [document.getElementById(id).getBoundingClientRect().top].every((at) => at >= 0 && at < innerHeight)",
        anchor,
    )
    assert evidence.evaluate("(element) => element.closest('tbody[data-row]').textContent.trim()").startswith(
        "kernel_5"
    )
    opened.get_by_role("link", name="Back to the summary").click()
    wait_until(opened, "() => location.pathname.endsWith('/index.html')")
    expect(opened.locator("#matrix")).to_be_visible()


def test_the_summary_ranks_a_family_and_explains_its_heat_map(opened: Page) -> None:
    expect(opened.locator("figcaption", has_text="Each tile is one kernel")).to_be_visible()
    opened.get_by_label("Family").select_option("linalg")
    expect(opened.locator("#choose-all")).to_be_hidden()
    assert opened.url.endswith("#need-family=linalg")
    opened.reload()
    expect(opened.get_by_label("Family")).to_have_value("linalg")
    expect(opened.locator("#choose-all")).to_be_hidden()


def test_a_file_filters_its_kernels_and_the_list_leads_to_it(opened: Page) -> None:
    opened.locator(".kernel-list a", has_text="kernel_7").click()
    wait_until(opened, "() => location.pathname.includes('/details/kernels-')")
    shown = "() => document.querySelectorAll('tbody[data-row]:not([hidden])').length"
    before = opened.evaluate(shown)
    opened.locator("#filter [name=q]").fill("kernel_7")
    wait_until(opened, f"() => ({shown})() === 1")
    assert before > 1


def test_the_tab_key_skips_the_tiles_and_the_theme_is_kept(opened: Page) -> None:
    assert opened.evaluate("() => [...document.querySelectorAll('.heat-map a')].every((tile) => tile.tabIndex === -1)")
    opened.locator("#theme").click()
    theme = opened.evaluate("() => document.documentElement.dataset.theme")
    opened.locator(".kernel-list a").first.click()
    wait_until(opened, "(theme) => document.documentElement.dataset.theme === theme", theme)
