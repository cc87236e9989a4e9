"""The page of the history in a real browser: filter, permalinks, Back, keyboard, both themes, and hostile text."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from bench.history import database
from bench.history.journal import Entry
from bench.report.build.history import build
from bench.report.html.history import render
from tests.history_benchmark import fill, notes, reports
from tests.integration.pages import wait_until
from tests.integration.test_page_axe import ONLY_COLOURS, OPEN, violations
from tests.integration.test_page_hostile import SOUND, STRINGS
from tests.unit.test_history_page import add_cell, add_run, day, nightly

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

VISIBLE = "document.querySelectorAll('[data-k]:not([hidden])').length"


@cache
def long_history() -> str:
    """A page of 110 nights with alarms, changes, notes, weeks and results in short."""
    with TemporaryDirectory() as folder, database.opened(Path(folder)) as connection:
        names = fill(connection, 110, kernels=11)
        add_run(connection, "21990101T020000Z-abcd", "skipped", "it began in the future")
        return render(build(connection, notes(names), reports(names, kernels=11)))


def kernels(page: Page) -> set[str]:
    """The kernels of the results that are not filtered out."""
    found = page.evaluate(
        "[...document.querySelectorAll('.line:not([hidden]),tr[data-k]:not([hidden])')].map((one) => one.dataset.k)"
    )
    return set(found)


def test_the_filter_is_kept_in_the_address_and_back_returns(visit: Callable[..., Page]) -> None:
    page = visit(long_history())
    every = page.evaluate(VISIBLE)
    page.get_by_role("searchbox", name="Kernel").fill("KERNEL_003")
    wait_until(page, "location.hash === '#kernel=KERNEL_003'")
    assert kernels(page) == {"kernel_003"}
    column = "tf2.12.0-cpu-py311@cpu"
    page.get_by_label("Column").select_option(column)
    wait_until(page, "location.hash.includes('column=')")
    assert page.evaluate(VISIBLE) < every / 50
    page.go_back()
    wait_until(page, "document.forms.filter.elements.column.value === ''")
    assert kernels(page) == {"kernel_003"}
    page.go_back()
    wait_until(page, f"{VISIBLE} === {every}")
    page.go_forward()
    wait_until(page, f"{VISIBLE} < {every}")


def test_a_link_brings_the_filter_back(visit: Callable[..., Page]) -> None:
    page = visit(long_history(), "#kernel=kernel_003&column=tf2.12.0-cpu-py311%40cpu")
    assert kernels(page) == {"kernel_003"}
    assert page.get_by_label("Column").input_value() == "tf2.12.0-cpu-py311@cpu"
    assert page.locator("#match-count").inner_text().endswith(", results 2")
    page.get_by_role("button", name="Clear").click()
    wait_until(page, "location.hash === ''")
    assert len(kernels(page)) == 11


def test_only_what_changed(visit: Callable[..., Page]) -> None:
    page = visit(long_history(), "#only=1")
    assert page.locator(".group:visible").count() == 0
    assert page.locator(".line:not([hidden])").count() > 3
    assert visit(long_history(), "#kernel=nothing+like+this").evaluate(VISIBLE) == 0
    assert visit(long_history(), "#column=unknown&only=7&%=").evaluate(VISIBLE) > 100


def test_links_to_nights_and_time_lines(visit: Callable[..., Page]) -> None:
    page = visit(long_history())
    page.locator(".month a").first.click()  # the oldest alarm, which is folded
    wait_until(page, "document.activeElement.matches('details.night[open]')")
    page.locator("details.night").first.locator("li a").first.click()
    wait_until(page, "document.activeElement.matches('article.line')")
    target = page.evaluate("location.hash")
    again = visit(long_history(), target)
    wait_until(again, "document.activeElement.matches('article.line')")
    wait_until(again, "(top => top >= 0 && top < innerHeight / 2)(document.activeElement.getBoundingClientRect().top)")
    hidden = visit(long_history(), "#kernel=nothing")
    hidden.evaluate("(target) => { location.hash = target; }", target)
    wait_until(hidden, "document.activeElement.matches('article.line:not([hidden])')")


def test_everything_is_reached_by_keyboard(visit: Callable[..., Page]) -> None:
    page = visit(long_history())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    wait_until(page, "document.activeElement.id === 'alarms'")
    page.get_by_role("searchbox", name="Kernel").focus()
    page.keyboard.type("kernel_00")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "column"
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    wait_until(page, "location.hash === '#kernel=kernel_00&only=1'")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    wait_until(page, "location.hash === ''")


def test_it_is_complete_without_javascript(visit: Callable[..., Page]) -> None:
    page = visit(long_history(), java_script_enabled=False)
    assert page.locator("#filter").is_hidden()
    assert page.locator(".line .times path").count() > 3
    assert page.get_by_role("link", name="Newest matrix").get_attribute("href") == "index.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 400])
def test_no_violation(visit: Callable[..., Page], scheme: str, width: int) -> None:
    page = visit(long_history(), "#kernel=kernel_00", color_scheme=scheme, viewport={"width": width, "height": 900})
    page.evaluate(OPEN)
    assert violations(page, **(ONLY_COLOURS if scheme == "dark" else {})) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.fixture(scope="module")
def sound() -> dict[str, object]:
    """What a page of harmless text has: filled in by the first test that asks."""
    return {}


@pytest.mark.parametrize("text", [one for one in STRINGS if "\ud800" not in one])  # which SQLite does not store
def test_hostile_text_becomes_nothing_else(visit: Callable[..., Page], text: str, sound: dict[str, object]) -> None:
    if not sound:
        sound.update(visit(hostile("harmless")).evaluate(SOUND))
    page = visit(hostile(text), "#only=1")
    page.evaluate(OPEN)
    page.get_by_label("Column").select_option(index=1)
    assert page.locator(".line:visible").count() == 1
    assert page.evaluate(SOUND) == sound


def hostile(text: str) -> str:
    """A page with one text wherever the history can have one."""
    with TemporaryDirectory() as folder, database.opened(Path(folder)) as connection:
        for number in range(2):
            add_cell(connection, add_run(connection, day(number)), kernel=text, column=text, digest=bytes([number + 1]))
        add_run(connection, f"x{text}", "skipped", text, started=text)
        entries = [Entry(kind="note", cell="*", text=text, run=text, who=text)]
        return render(build(connection, entries, {day(1): nightly(text, text, text)}))
