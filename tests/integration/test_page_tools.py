"""Filters, order, permalink, copies, and the keyboard, in a real browser."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from bench.report import Format
from bench.report.html import render as html_render
from tests.integration.pages import page as made
from tests.integration.pages import wait_until
from tests.unit import test_report
from tests.unit.test_large_page import view_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

ALL = "3 of 3 kernels, 2 of 2 controls, 3 of 3 columns"


@pytest.fixture(scope="module")
def page_text() -> str:
    return test_report.rendered(test_report.mixed(), Format.HTML)


def counts(page: Page) -> str:
    """What the page counts as shown, without the names of the filters."""
    return page.locator("#match-count").inner_text().rpartition(": ")[2]


def test_filter_counts_and_keeps_its_state_in_the_address(visit: Callable[..., Page], page_text: str) -> None:
    page = visit(page_text)
    assert counts(page) == ALL
    assert page.locator("#match-count").evaluate("one => one.tagName") == "OUTPUT"  # a live region by itself
    page.get_by_role("searchbox", name="Search").fill("CONV")
    assert counts(page) == "1 of 3 kernels, 0 of 2 controls, 3 of 3 columns"
    assert page.locator(".matrix tbody[data-row]:visible").count() == 1
    for text in ("crashed matmul", "no deterministic kernel"):  # a status and a name, an error
        page.get_by_role("searchbox", name="Search").fill(text)
        assert counts(page) == "1 of 3 kernels, 0 of 2 controls, 3 of 3 columns"
    page.get_by_role("searchbox", name="Search").fill("no such words")
    assert counts(page).startswith("0 of 3 kernels")
    page.get_by_role("searchbox", name="Search").fill("")
    page.locator("#filter").get_by_label("Status").select_option("unsupported")
    assert counts(page).startswith("1 of 3 kernels")
    assert page.url.endswith("#status=unsupported")
    again = visit(page_text, "#status=unsupported&family=no-such")
    assert counts(again).startswith("1 of 3 kernels")
    again.get_by_role("button", name="Clear").click()
    wait_until(again, "(text) => document.getElementById('match-count').textContent === text", ALL)


def test_columns_and_modes_are_filtered_too(visit: Callable[..., Page]) -> None:
    page = visit(made("several"))
    page.locator("#filter").get_by_label("TensorFlow").select_option("2.18.1")
    assert counts(page).endswith("2 of 5 columns")
    page.locator("#filter").get_by_label("CUDA").select_option("12.5")
    page.locator("#filter").get_by_label("Determinism").select_option("on")
    assert counts(page).endswith("1 of 5 columns")
    assert page.locator(".matrix thead th[data-column]:visible").count() == 1
    row = page.locator("tbody[data-row]").first.locator("tr").first
    assert row.locator("td:visible").count() == 1
    assert row.locator("td:visible").text_content() == row.locator("td").nth(5).text_content()
    # a status counts only where it is to be seen
    page.locator("#filter").get_by_label("Status").select_option("unsupported")
    assert counts(page).startswith("1 of 10 kernels")
    page.locator("#filter").get_by_label("Determinism").select_option("off")
    assert counts(page).startswith("0 of 10 kernels")
    widths = page.locator(".matrix").evaluate(
        "one => [...one.rows].map((row) => [...row.cells].filter((cell) => !cell.hidden)"
        ".reduce((sum, cell) => sum + cell.colSpan, 0))"
    )
    assert set(widths) <= {1, 2}  # a second row of heads has no first column


#: The number of kernels in the matrix by mode and status under any variation.
STATUSES = """() => {
  const rows = JSON.parse(document.getElementById('data').textContent).rows, counts = {off: {}, on: {}};
  document.querySelectorAll('.matrix tbody[data-row]').forEach((body, index) => {
    if (rows[index].control) return;
    const found = new Set();
    for (const line of body.querySelectorAll(':scope > tr:not(.evidence)')) {
      let place = 0;
      for (const cell of [...line.cells].slice(1)) {
        for (let span = 0; span < cell.colSpan; span++, place++) {
          found.add(`${place} ${cell.querySelector('.word').textContent.trim()}`);
        }
      }
    }
    for (const one of found) {
      const [place, ...words] = one.split(' ');
      const mode = ['off', 'on'][place % 2];
      counts[mode][words.join(' ')] = (counts[mode][words.join(' ')] || 0) + 1;
    }
  });
  return counts;
}"""


def test_the_status_filter_finds_every_cell_with_that_status(visit: Callable[..., Page], page_text: str) -> None:
    page = visit(page_text)
    columns = page.evaluate(
        "JSON.parse(document.getElementById('data').textContent).columns.map((one) => [one.tensorflow, one.cuda])"
    )
    go = (
        "(hash) => new Promise((done) => {"
        " addEventListener('hashchange', () => setTimeout(done), {once: true}); location.hash = hash; })"
    )
    for mode, counted in page.evaluate(STATUSES).items():
        assert len(counted) > 1
        for status, number in counted.items():
            matches = 0
            for tf, cuda in columns:
                page.evaluate(go, f"status={status}&mode={mode}&tf={tf}&cuda={cuda}")
                matches += int(counts(page).partition(" ")[0])
            assert matches == number, (mode, status)


def test_order(visit: Callable[..., Page]) -> None:
    page = visit(made("several"))
    names = "() => [...document.querySelectorAll('tbody[data-row] th summary')].map((one) => one.textContent)"
    given = page.evaluate(names)
    order = page.locator("#filter").get_by_label("Order")
    order.select_option("problems")
    assert page.evaluate(names)[:4] == ["kernel_5", "kernel_6", "kernel_7", "kernel_4"]
    order.select_option("name")
    assert page.evaluate(names)[:10] == sorted(one for one in given if not one.startswith("control"))
    order.select_option("")
    assert page.evaluate(names) == given
    head = page.locator(".matrix > thead tr").nth(1).locator("th").nth(3)
    on = head.locator("button")
    on.click()
    assert page.locator("th[aria-sort]").count() == 1
    expect(on).to_have_text("on (status)")
    assert head.get_attribute("aria-sort") == "ascending"
    first = page.locator("tbody[data-row]").first.locator("td").nth(3)
    expect(first).not_to_contain_text("reproducible")
    on.click()
    assert head.get_attribute("aria-sort") == "descending"
    assert page.url.endswith("#sort=time.1.on")
    assert page.evaluate(names)[0].startswith("fit")  # the slowest
    on.click()
    expect(on).to_have_text("on (overhead)")
    expect(page.locator("tbody[data-row]").first.locator("td").nth(3)).to_contain_text("1.40x slower")
    on.click()
    assert page.evaluate(names) == given
    assert page.locator("th[aria-sort]").count() == 0


def test_a_permalink_brings_everything_back(visit: Callable[..., Page]) -> None:
    page = visit(made("several"))
    page.get_by_role("searchbox", name="Search").fill("kernel & 1")
    page.get_by_role("searchbox", name="Search").fill("kernel")
    page.locator("#filter").get_by_label("Order").select_option("name")
    page.locator("#comparison-form select").first.select_option(index=1)
    page.locator("#comparison-form select").nth(1).select_option(index=2)
    page.locator("#theme").click()
    assert "theme" not in page.url
    page.locator("tbody[data-row]:visible td a").first.click()
    tell = """() => [
      document.getElementById("match-count").textContent,
      [...document.querySelectorAll(".comparison[open]:not([hidden])")].map((one) => one.id).join(),
      document.querySelector("tbody[data-row]").dataset.row,
    ]"""
    again = visit(made("several"), "#" + page.url.partition("#")[2])
    assert again.evaluate(tell) == page.evaluate(tell)
    assert again.locator(".kernel-row details[open]").count() == 1
    assert again.locator(".kernel-evidence:visible").count() == 1
    assert again.locator("#theme").inner_text() == "Theme: auto"


@pytest.mark.parametrize(
    "fragment",
    [
        "#",
        "#=",
        "#%",
        "#%E0%A4%A",
        "#d99-99",
        "#theme=purple&sort=time.99.on&status=%00&from=x&to=y&open=d99-0",
        "#sort=overhead.0.off",
        "#sort=constructor.0.on",
        "#sort=time.__proto__.on",
        "#q=" + "x" * 5000,
        "#open=../../etc&q=%3Cimg src=x onerror=alert(1)%3E",
        "#javascript:alert(1)",
        "#&&&===",
        "#mode=on&mode=off&sort=name.x.y",
    ],
)
def test_any_address_opens(visit: Callable[..., Page], page_text: str, fragment: str) -> None:
    page = visit(page_text, fragment)
    assert "kernels" in counts(page)
    assert page.locator("#theme").inner_text() == "Theme: auto"


CLIPBOARD = """(works) => {
  const writeText = (text) => works ? Promise.resolve(void (window.copied = text)) : Promise.reject(new Error("no"));
  Object.defineProperty(navigator, "clipboard", {configurable: true, value: works === null ? undefined : {writeText}});
}"""


def test_copies_what_is_shown(visit: Callable[..., Page], page_text: str) -> None:
    page = visit(page_text)
    page.evaluate(CLIPBOARD, True)
    page.get_by_role("searchbox", name="Search").fill("conv")
    page.get_by_role("button", name="Copy as CSV").click()
    wait_until(page, "window.copied")
    assert page.locator("#copy-status").inner_text() == "Results copied as CSV: 6."
    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(page.evaluate("window.copied"))))
    assert len(rows) == 6
    assert {row["kernel"] for row in rows} == {"conv2d"}
    assert [row["mode"] for row in rows] == ["off", "on"] * 3
    assert {row["run"] for row in rows} == {"20250130T120000Z-abcd"}
    assert all(row["measured"].startswith("2025-01-30 12:00 UTC") for row in rows)
    expect(page.locator("tbody[data-row]:visible td").first).to_contain_text(rows[0]["status"])
    assert not any(row["compared"] for row in rows), "nothing that is nondeterministic or unsupported has a bound"
    page.get_by_role("searchbox", name="Search").fill("matmul")
    page.get_by_role("button", name="Copy as CSV").click()
    wait_until(page, "window.copied.includes('matmul')")
    rows_of_matmul = list(csv.DictReader(io.StringIO(page.evaluate("window.copied"))))
    assert {row["status"] for row in rows_of_matmul} == {"reproducible", "build-failed"}, "the variation that decides"
    page.get_by_role("searchbox", name="Search").fill("conv")
    page.get_by_role("button", name="Copy as JSON").click()
    wait_until(page, "window.copied.startsWith('[')")
    again = json.loads(page.evaluate("window.copied"))
    assert [one["status"] for one in again] == [one["status"] for one in rows]
    page.get_by_role("button", name="Copy as Markdown").click()
    wait_until(page, "window.copied.startsWith('|')")
    lines = page.evaluate("window.copied").splitlines()
    assert len(lines) == 8


def test_copies_have_the_evidence_and_the_times_of_each_cell(visit: Callable[..., Page]) -> None:
    page = visit(made("several"), "#status=reproducible&mode=on")
    page.evaluate(CLIPBOARD, True)
    page.get_by_role("button", name="Copy as JSON").click()
    wait_until(page, "window.copied")
    cells = [cell for cell in json.loads(page.evaluate("window.copied")) if cell["status"] == "reproducible"]
    assert {(cell["compared"], cell["bound_percent"]) for cell in cells if cell["family"] != "controls"} == {(5, 46)}
    assert any(cell["overhead"] and cell["overhead_low"] <= cell["overhead"] <= cell["overhead_high"] for cell in cells)
    assert all(cell["seconds"] for cell in cells if cell["family"] != "controls")


@pytest.mark.parametrize("works", [False, None])
def test_a_copy_that_is_not_allowed_is_selected_text(visit: Callable[..., Page], page_text: str, works: object) -> None:
    page = visit(page_text)
    page.evaluate(CLIPBOARD, works)
    page.get_by_role("button", name="Copy as CSV").click()
    box = page.locator("#copy-text")
    box.wait_for(state="visible")
    assert "does not allow copying" in page.locator("#copy-status").inner_text()
    assert page.evaluate("getSelection().toString() || document.activeElement.value").startswith("kernel,")
    page.get_by_role("searchbox", name="Search").fill("conv")  # what was copied is no longer what is shown
    expect(box).to_be_hidden()
    assert page.locator("#copy-status").inner_text() == ""


def test_the_matrix_is_a_grid_for_the_keyboard(visit: Callable[..., Page], page_text: str) -> None:
    page = visit(page_text)
    assert page.locator(".matrix").get_attribute("role") == "grid"
    assert page.locator(".matrix [tabindex='0']:visible").count() == 1
    page.locator(".scroller").focus()
    page.keyboard.press("Tab")

    def here() -> str:
        return str(
            page.evaluate(
                "() => { const cell = document.activeElement.closest('th,td');"
                " return `${cell.closest('tr').rowIndex} ${cell.cellIndex}`; }"
            )
        )

    start = here()
    for key, back in (("ArrowRight", "ArrowLeft"), ("ArrowDown", "ArrowUp"), ("ArrowLeft", "ArrowRight")):
        page.keyboard.press(key)
        assert here() != start, key
        page.keyboard.press(back)
        assert here() == start, back
    page.keyboard.press("End")
    assert here().endswith(" 6") or here().endswith(" 5")
    page.keyboard.press("Home")
    assert here().endswith(" 0")
    page.keyboard.press("Control+Home")
    assert here() == "0 0"
    page.keyboard.press("Control+End")
    assert int(here().split()[0]) > 5
    page.keyboard.press("PageUp")
    page.keyboard.press("PageUp")
    assert here().startswith("0 ")
    page.keyboard.press("PageDown")
    assert not here().startswith("0 ")
    assert page.locator(".matrix [tabindex='0']:visible").count() == 1
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


#: The left edges of the visible cells of a line.
LEFTS = """(line) => [...line.cells].filter((cell) => !cell.hidden)
  .map((cell) => Math.round(cell.getBoundingClientRect().left))"""


def test_a_matrix_of_many_cells_keeps_its_columns(visit: Callable[..., Page]) -> None:
    """Rows out of view are not laid out, so rows do not depend on each other: they must line up all the same."""
    page = visit(html_render.render(view_of(18, 45)), viewport={"width": 1000, "height": 700}, reduced_motion="reduce")
    first, heads = page.locator("tbody[data-row] tr").first, page.locator(".matrix > thead tr").nth(1)
    assert first.evaluate(LEFTS)[1:] == heads.evaluate(LEFTS)
    page.locator("#filter").get_by_label("Determinism").select_option("on")
    assert len(heads.evaluate(LEFTS)) == 18
    assert first.evaluate(LEFTS)[1:] == heads.evaluate(LEFTS)
    scroller = page.locator(".scroller")
    scroller.evaluate("one => { one.scrollIntoView(); one.scrollTop = 900; one.scrollLeft = 700; }")
    box = scroller.bounding_box()
    assert box is not None
    at = "([x, y]) => document.elementFromPoint(x, y).closest('th').textContent.trim()"
    assert page.evaluate(at, [box["x"] + 20, box["y"] + 20]).startswith("Kernel")
    assert page.evaluate(at, [box["x"] + 40, box["y"] + 400]).startswith("kernel_name_")
    page.locator(".matrix td a:visible").first.focus()
    page.keyboard.press("Control+End")
    assert page.evaluate("document.activeElement.closest('tbody').dataset.row") == str(45 + 4)


@pytest.mark.parametrize("width", [400, 1000])
def test_what_sticks_never_covers_the_focus(visit: Callable[..., Page], width: int) -> None:
    page = visit(made("several"), viewport={"width": width, "height": 700}, reduced_motion="reduce")
    page.locator(".matrix tbody[data-row] td").first.evaluate("one => one.firstChild.focus()")
    covered = """() => {
      const one = document.activeElement.getBoundingClientRect();
      const top = document.elementFromPoint(one.left + 3, one.top + 3);
      return top && !document.activeElement.contains(top) ? top.outerHTML.slice(0, 80) : "";
    }"""
    for keys in (
        ["Control+End"],
        ["ArrowLeft"] * 12,
        ["End"],
        ["ArrowUp"] * 12,
        ["ArrowDown"] * 5,
        ["PageUp"],
        ["End"],
    ):
        for key in keys:
            page.keyboard.press(key)
            assert page.evaluate(covered) == "", (key, keys)


def test_the_way_back_from_the_evidence_is_the_matrix(visit: Callable[..., Page], page_text: str) -> None:
    page = visit(page_text, "#status=unsupported", reduced_motion="reduce")
    page.locator(".matrix td a:visible", has_text="unsupported").first.click()
    assert "open=" in page.url
    page.go_back()
    assert page.url.endswith("#status=unsupported")
    assert counts(page).startswith("1 of 3 kernels")


def test_enter_opens_the_evidence_and_escape_comes_back(visit: Callable[..., Page], page_text: str) -> None:
    page = visit(page_text, reduced_motion="reduce")
    link = page.locator(".matrix td a", has_text="unsupported").first
    target = link.get_attribute("href") or ""
    link.focus()
    page.keyboard.press("Enter")
    place = page.locator(target)
    expect(place).to_be_visible()
    assert page.evaluate("document.activeElement.id") == target[1:]
    assert place.evaluate(
        "one => one.getBoundingClientRect().top >= 0 && one.getBoundingClientRect().top < innerHeight"
    )
    name = place.evaluate("one => one.closest('tbody').firstElementChild.getBoundingClientRect().top")
    assert 0 <= name < 300  # whose evidence it is stands above it
    expect(page.locator(".kernel-evidence", has=place)).to_contain_text("no deterministic kernel")
    assert f"open={target[1:]}" in page.url
    page.keyboard.press("Escape")
    assert link.evaluate("one => one === document.activeElement")
    assert "open=" not in page.url
    expect(place).to_be_hidden()


def test_escape_folds_a_row_again(visit: Callable[..., Page], page_text: str) -> None:
    page = visit(page_text)
    summary = page.locator("tbody[data-row] summary", has_text="matmul").first
    summary.focus()
    page.keyboard.press("Enter")
    expect(page.locator("tr.more:not(.evidence)").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("tr.more:not(.evidence)").first).to_be_hidden()
    assert summary.evaluate("one => one === document.activeElement")


def test_the_theme_is_remembered_where_that_is_allowed(visit: Callable[..., Page], page_text: str) -> None:
    page = visit(page_text)
    page.locator("#theme").click()
    page.locator("#theme").click()
    again = page.context.new_page()
    again.goto(page.url.partition("#")[0])
    assert again.locator("#theme").inner_text() == "Theme: dark"


def test_without_storage_the_switch_still_works(visit: Callable[..., Page], page_text: str) -> None:
    page = visit(page_text)
    page.evaluate("Object.defineProperty(window, 'localStorage', {get() { throw new Error('not here'); }})")
    page.locator("#theme").click()
    assert page.locator("#theme").inner_text() == "Theme: light"


def test_two_columns_are_compared_and_swapped(visit: Callable[..., Page]) -> None:
    page = visit(made("several"))
    shown = page.locator(".comparison:visible")
    steps = shown.count()
    ends = page.locator("#comparison-form select")
    ends.first.select_option(index=1)
    assert shown.count() == steps, "one column alone chooses nothing"
    ends.nth(1).select_option(index=2)
    assert shown.count() == 1
    assert "TF 2.15.1 CPU to TF 2.18.1 CPU" in shown.inner_text()
    expect(shown.get_by_text("slower").first).to_be_visible()
    page.get_by_role("button", name="Swap").click()
    assert shown.count() == 1
    assert "TF 2.18.1 CPU to TF 2.15.1 CPU" in shown.inner_text()
    expect(shown.get_by_text("faster").first).to_be_visible()
    assert "#from=tf2.18.1" in page.url
    ends.nth(1).select_option(index=0)
    assert shown.count() > 1


def test_a_comparison_that_the_page_lacks_names_the_command(visit: Callable[..., Page]) -> None:
    page = visit(html_render.render(view_of(8, 5)))
    ends = page.locator("#comparison-form select")
    ends.first.select_option(index=1)
    ends.nth(1).select_option(index=4)
    assert page.locator(".comparison:visible").count() == 0
    command = page.locator("#comparison-missing").inner_text()
    assert re.search(r"python -m bench compare \S+:tf2\.12\.1-\S+ \S+:tf2\.15\.1-\S+$", command)
    ends.nth(1).select_option(index=2)
    expect(page.locator("#comparison-missing")).to_be_hidden()


def test_a_ranking_by_family_unfolds(visit: Callable[..., Page]) -> None:
    page = visit(made("several"), java_script_enabled=False)
    ranking = page.locator(".narrower-ranking[data-family=linalg][data-overhead='']")
    expect(ranking.locator(".candidates")).to_be_hidden()
    ranking.locator("summary").click()
    expect(ranking.locator(".candidates")).to_be_visible()


def test_the_form_shows_the_ranking_of_a_family_and_the_command_for_other_requirements(
    visit: Callable[..., Page],
) -> None:
    page = visit(made("several"))
    form, command = page.locator("#choose-form"), page.locator("#choose-command")
    expect(command).to_be_hidden()
    form.get_by_label("Family").select_option("linalg")
    assert page.locator(".candidates:visible").count() == 1
    assert page.locator(".narrower-ranking:visible").get_attribute("data-family") == "linalg"
    expect(page.locator("#choose-all")).to_be_hidden()
    expect(command).to_be_hidden()
    form.get_by_label("Highest overhead").select_option("25")
    shown = page.locator(".narrower-ranking:visible")
    assert shown.locator("summary").inner_text().startswith("linalg, at most 25 % slower")
    assert "at most 1.25x slower" in shown.inner_text()
    expect(command).to_be_hidden()
    again = visit(made("several"), page.evaluate("location.hash"))
    assert again.locator(".narrower-ranking:visible").get_attribute("data-overhead") == "25"
    form.get_by_label("GPU").fill("it's; $(touch x)")
    assert shown.count() == 0, "no ranking of the page is for another GPU"
    expect(command).to_be_visible()
    words = shlex.split(command.locator(".command").inner_text())
    assert words == [
        *("nox", "-s", "choose", "--", "--families", "linalg"),
        *("--max-overhead", "25%", "--gpu", "it's; $(touch x)"),
    ]
    form.get_by_text("Reset").click()
    wait_until(page, "!document.getElementById('choose-all').hidden")
    expect(command).to_be_hidden()
    form.get_by_label("Highest overhead").select_option("10")
    shown = page.locator(".narrower-ranking:visible")
    assert shown.locator("summary").inner_text().startswith("all kernels, at most 10 % slower")
    expect(shown.locator(".candidates")).to_be_visible()
    expect(command).to_be_hidden()


def test_motion_is_reduced_where_that_is_asked(visit: Callable[..., Page], page_text: str) -> None:
    smooth = "getComputedStyle(document.documentElement).scrollBehavior"
    assert visit(page_text, reduced_motion="no-preference").evaluate(smooth) == "smooth"
    assert visit(page_text, reduced_motion="reduce").evaluate(smooth) == "auto"


def test_a_filter_with_one_choice_is_not_shown(visit: Callable[..., Page], page_text: str) -> None:
    page = visit(made("several"))
    expect(page.locator("#filter [name=device]")).to_be_visible()
    page.locator("#filter [name=device]").select_option("h100")
    assert counts(page).endswith("2 of 5 columns")
    expect(visit(page_text).locator("#filter [name=device]")).to_be_hidden()
