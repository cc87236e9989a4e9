"""No violation that axe-core knows, on every kind of page, in both themes, at both widths, and after every tool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bench.report import Format
from tests.integration.pages import page as made
from tests.unit import test_gpu_page, test_report

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

#: Options of axe-core. Comparing colours takes most of the time; the dark theme changes nothing else, and the sample
#: has no other colours than the smaller pages.
ONLY_COLOURS = {"runOnly": ["color-contrast"]}
ALL_BUT_COLOURS = {"rules": {"color-contrast": {"enabled": False}}}
OPEN = "document.querySelectorAll('details').forEach((one) => { one.open = true; })"
#: Every element that can be opened outside the matrix, and in it those of some rows: with all 120 rows of the sample
#: open, axe-core needs a minute.
OPEN_SOME = """
const rows = [...document.querySelectorAll('#matrix details')];
document.querySelectorAll('details').forEach((one) => { one.open = !rows.includes(one) || rows.indexOf(one) % 8 == 0; })
"""


def pages(name: str) -> str:
    if name in ("several", "sample"):
        return made(name)
    return test_report.rendered(
        {"mixed": test_report.mixed, "gpu": test_gpu_page.every_kind, "hostile": test_report.hostile}[name](),
        Format.HTML,
    )


def violations(page: Page, **options: Any) -> list[str]:
    """Return what axe-core finds; ``options`` select its rules."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(page, options={"resultTypes": ["violations"], **options}).response["violations"]
    return [f"{one['id']}: {node['html'][:120]}" for one in found for node in one["nodes"]]


@pytest.mark.parametrize(
    ("name", "scheme", "options"),
    [
        *((name, "light", {}) for name in ("mixed", "gpu", "several", "hostile")),
        *((name, "dark", ONLY_COLOURS) for name in ("mixed", "gpu", "several", "hostile")),
        ("sample", "light", ALL_BUT_COLOURS),
    ],
)
def test_no_violation_with_all_details_open(
    visit: Callable[..., Page], name: str, scheme: str, options: dict[str, Any]
) -> None:
    page = visit(pages(name), color_scheme=scheme)
    page.evaluate(OPEN_SOME if name == "sample" else OPEN)
    assert violations(page, **options) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_violation_after_all_tools(visit: Callable[..., Page], scheme: str) -> None:
    page = visit(made("several"), color_scheme=scheme, viewport={"width": 400, "height": 900})
    page.locator("#comparison-form select").first.select_option(index=1)
    page.locator("#comparison-form select").nth(1).select_option(index=3)
    page.locator("#filter").get_by_label("Status").select_option("reproducible")
    page.locator("#filter").get_by_label("Order").select_option("problems")
    page.locator("thead .sort").nth(2).click()
    page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', {value: {writeText: () => Promise.reject(new Error('no'))}})"
    )
    page.get_by_role("button", name="Copy as CSV").click()
    page.locator("#copy-text").wait_for(state="visible")
    page.evaluate(OPEN)
    assert violations(page, **(ONLY_COLOURS if scheme == "dark" else {})) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_axe_can_fail(visit: Callable[..., Page]) -> None:
    page = visit(made("several"))
    page.evaluate("document.querySelector('#match-count').before(document.createElement('input'))")
    assert [one for one in violations(page) if one.startswith("label")]
