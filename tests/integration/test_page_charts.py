"""The first screen and the matrix in a real browser: where links lead and Back returns, sizes, and sheets of paper."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from playwright.sync_api import expect

from bench.report.build.page import build
from bench.report.html import render as html_render
from bench.verdict import evaluate
from tests.integration.pages import page as made
from tests.integration.pages import wait_until
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour
from tests.unit.test_large_page import view_of
from tests.unit.test_training_curves import trained

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page

    from tests.unit.factory import Spot

pytestmark = pytest.mark.browser

WIDE = {"width": 1400, "height": 900}
#: The heat map that is shown at this width.
MAP = ".heat-map.wide"


@cache
def large() -> str:
    """Twelve columns of forty-five kernels."""
    return html_render.render(view_of(12, 45))


@cache
def like_the_sample() -> str:
    """As many kernels and columns as the shipped sample has; most are reproducible, some have other bits by release."""
    columns = tuple(factory.column(release) for release in ("2.15.1", "2.18.1", "2.21.0"))
    kernels = tuple(factory.kernel(f"kernel_name_{number:03d}", f"family {number % 17}") for number in range(115))

    def behave(spot: Spot) -> Behaviour:
        number = 0 if spot.kernel.startswith("control") else int(spot.kernel[-3:])
        if number % 11 == 5 and spot.mode == "on":
            return Behaviour(outcome="error", error_class="UnimplementedError", message="no deterministic kernel")
        if number % 9 == 4 and spot.mode == "off":
            return Behaviour((f"a{spot.round}", f"b{spot.round}"))
        factor = 1.5 if number % 10 == 1 and spot.mode == "on" else 1.0
        return Behaviour((spot.column if number % 4 == 1 else "same",), steady_s=(0.001 * factor,)) if number else EXACT

    info = factory.info(columns=columns, kernels=(*kernels, *factory.GRADED))
    return html_render.render(build(evaluate(factory.run(info, behave))))


def scrolled(page: Page) -> float:
    return float(page.evaluate("scrollY"))


def test_back_returns_to_where_a_link_of_the_heat_map_was_clicked(visit: Callable[..., Page]) -> None:
    page = visit(made("several"), viewport={"width": 1400, "height": 500}, reduced_motion="reduce")
    page.evaluate("scrollTo(0, 150)")
    wait_until(page, "scrollY === 150")
    link = page.locator(f"{MAP} a.info").first
    target = page.locator(str(link.get_attribute("href")))
    expect(target).to_be_hidden()
    link.locator("rect").click()
    expect(target).to_be_visible()
    assert page.url.endswith(f"#open={target.get_attribute('id')}")
    assert scrolled(page) > 600
    page.go_back()
    wait_until(page, "scrollY < 400")
    assert scrolled(page) == pytest.approx(150, abs=2)
    assert "#" not in page.url
    page.go_forward()
    wait_until(page, "scrollY > 600")
    expect(target).to_be_visible()


def test_a_link_of_the_heat_map_shows_the_line_of_the_kernel_above_its_evidence(visit: Callable[..., Page]) -> None:
    page = visit(made("several"), viewport=WIDE, reduced_motion="reduce")
    page.locator(f"{MAP} a.info rect").first.click()
    line = page.locator("tbody.kernel-row:has(details[open]) > tr").first
    box = line.bounding_box()
    assert box is not None
    assert 0 <= box["y"] < WIDE["height"] / 2
    text = line.locator("summary").inner_text()
    assert text == "kernel_4"
    covering = page.evaluate("([x, y]) => document.elementFromPoint(x, y).textContent", [box["x"] + 40, box["y"] + 12])
    assert "kernel_4" in covering, "the head of the matrix does not cover it"


def test_a_permalink_names_its_filter_and_scrolls_to_the_matrix(visit: Callable[..., Page]) -> None:
    page = visit(made("several"), "#only=problems&tf=2.18.1", viewport=WIDE, reduced_motion="reduce")
    count = page.locator("#match-count").inner_text()
    assert count.startswith("Filtered by TensorFlow 2.18.1, Show only problems: 4 of 10 kernels")
    wait_until(page, "scrollY > 0")
    top = page.locator("#matrix").evaluate("one => one.getBoundingClientRect().top")
    assert 0 <= top < 100
    page.get_by_role("button", name="Clear").click()
    wait_until(page, "!document.getElementById('match-count').textContent.startsWith('Filtered')")
    assert "#" not in page.url


def test_only_differences_between_columns(visit: Callable[..., Page]) -> None:
    page = visit(made("several"), "#only=differences")
    names = page.locator("tbody.kernel-row:visible th summary").all_text_contents()
    # those whose bits moved or whose status is another one elsewhere; 3 has the same everywhere
    assert {"kernel_0", "kernel_4", "kernel_7", "kernel_8"} <= set(names)
    assert not {"kernel_1", "kernel_3", "fit"} & set(names)


def test_the_theme_is_not_part_of_the_address(visit: Callable[..., Page]) -> None:
    page = visit(made("several"), "#status=reproducible")
    page.locator("#theme").click()
    assert page.locator("html").get_attribute("data-theme") == "light"
    assert page.url.endswith("#status=reproducible")
    assert visit(made("several"), "#theme=dark").locator("html").get_attribute("data-theme") is None


@pytest.mark.parametrize("name", ["several", "large"])
def test_lines_of_the_matrix_are_low(visit: Callable[..., Page], name: str) -> None:
    page = visit(made(name) if name == "several" else large(), viewport=WIDE)
    heights = page.locator(".matrix > tbody > tr:not(.more)").evaluate_all(
        "(all) => all.map((one) => one.getBoundingClientRect().height).filter(Boolean)"
    )
    assert len(heights) > 10
    assert max(heights) <= 25


def test_twelve_columns_fit(visit: Callable[..., Page]) -> None:
    page = visit(large(), viewport=WIDE)
    assert page.locator("thead th[data-column]").count() == 12
    assert page.locator(".scroller").evaluate("one => one.scrollWidth - one.clientWidth") <= 4


def test_arrows_skip_the_evidence(visit: Callable[..., Page]) -> None:
    page = visit(made("several"), viewport=WIDE, reduced_motion="reduce")
    first, second = (page.locator("tbody.kernel-row").nth(place) for place in (0, 1))
    first.locator("summary").click()
    expect(first.locator(".kernel-evidence")).to_be_visible()
    first.locator("tr").first.locator("td a").first.focus()
    for key, inside in (("ArrowDown", second), ("ArrowUp", first)):
        for _ in range(4):  # lines of variations come first
            page.keyboard.press(key)
            if inside.locator(":focus").count():
                break
        assert inside.locator(":focus").count() == 1, key
        assert page.locator(".evidence :focus").count() == 0
    assert page.locator(".matrix > * > tr:not(.evidence) [tabindex='0']").count() == 1


def test_families_fold(visit: Callable[..., Page]) -> None:
    page = visit(made("several"), viewport=WIDE)
    family = page.get_by_role("button", name="linalg", exact=True)
    before = page.locator("tbody.kernel-row:visible").count()
    family.click()
    assert family.get_attribute("aria-expanded") == "false"
    assert page.locator("tbody.kernel-row:visible").count() == before - 5
    page.locator(f"{MAP} a.info rect").first.click()  # a folded family does not keep a link from its target
    assert page.locator("tbody.kernel-row:visible", has_text="kernel_4").count() == 1


def test_a_search_opens_folded_families_for_good(visit: Callable[..., Page]) -> None:
    page = visit(made("several"), viewport=WIDE)
    before = page.locator("tbody.kernel-row:visible").count()
    page.get_by_role("button", name="linalg", exact=True).click()
    page.locator("#filter [name=q]").fill("kernel_4")
    expect(page.locator("tbody.kernel-row:visible")).to_have_count(1)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("tbody.kernel-row:visible")).to_have_count(before)


def test_back_stays_in_place_under_a_filter(visit: Callable[..., Page]) -> None:
    page = visit(made("several"), viewport={"width": 1400, "height": 500}, reduced_motion="reduce")
    page.locator("#filter [name=q]").fill("kernel")
    page.evaluate("scrollTo(0, 150)")
    wait_until(page, "scrollY === 150")
    page.locator(f"{MAP} a.info rect").first.click()
    wait_until(page, "scrollY > 600")
    page.go_back()
    wait_until(page, "scrollY < 400")
    assert page.url.endswith("#q=kernel")


def sheets(page: Page, folder: Path) -> int:
    data = page.pdf(path=folder / "page.pdf", prefer_css_page_size=True)
    return len(re.findall(rb"/Type\s*/Page\b", data))


def test_a_page_like_the_sample_prints_on_few_sheets(visit: Callable[..., Page], tmp_path: Path) -> None:
    page = visit(like_the_sample(), viewport=WIDE)
    number = sheets(page, tmp_path)
    assert 3 <= number <= 10
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert sheets(page, tmp_path) > number, "the sheets are counted"


@pytest.mark.parametrize("width", [1400, 400])
def test_texts_of_charts_can_be_read(visit: Callable[..., Page], width: int) -> None:
    page = visit(like_the_sample(), viewport={"width": width, "height": 800})
    shown = ".interval-plot text, .heat-map.wide text.family"
    heights = page.evaluate(
        f"[...document.querySelectorAll('{shown}')].filter((text) => text.checkVisibility())"
        ".map((text) => text.getBoundingClientRect().height)"
    )
    assert len(heights) > 10
    assert min(heights) >= 11, "pixels of a line, letters and leading"


@pytest.mark.parametrize("size", [(1400, 900), (400, 800)])
def test_the_first_screen_has_the_answer_and_the_heat_map(visit: Callable[..., Page], size: tuple[int, int]) -> None:
    page = visit(like_the_sample(), viewport={"width": size[0], "height": size[1]})
    kind = "wide" if size[0] > 1000 else "narrow"
    box = page.locator(f".heat-map.{kind}").bounding_box()
    assert box is not None
    assert box["y"] < size[1] * 0.8
    assert page.locator(".heat-map:visible").count() == 1
    texts = f".heat-map.{kind} > text"
    overlaps = page.locator(texts).evaluate_all("""(all) => {
      const boxes = all.map((one) => [one.textContent, one.getBoundingClientRect()]);
      return boxes.flatMap(([name, a], at) => boxes.slice(at + 1)
        .filter(([, b]) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 4 && b.top < a.bottom - 4)
        .map(([other]) => `${name} / ${other}`));
    }""")
    assert overlaps == []


def test_arrow_keys_move_between_the_tiles_of_the_heat_map(visit: Callable[..., Page]) -> None:
    page = visit(like_the_sample(), viewport=WIDE)
    stops = page.locator(f"{MAP} a").evaluate_all("links => links.filter(link => link.tabIndex === 0).length")
    assert stops == 1, "the whole map is one stop of the tab key"

    def focused() -> tuple[float, float]:
        rect = page.locator(f"{MAP} a:focus rect").first
        return float(rect.get_attribute("x") or 0), float(rect.get_attribute("y") or 0)

    page.locator(f"{MAP} a[tabindex='0']").focus()
    for key in ("ArrowLeft", "ArrowUp"):
        for _ in range(120):  # to the edge, where the focus stays
            page.keyboard.press(key)
    first = focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    x, y = focused()
    assert x > first[0]
    assert y > first[1]
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    assert focused() == first
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash"), "a tile leads to its evidence"


def test_one_of_many_upgrades_is_picked_from_a_list(visit: Callable[..., Page]) -> None:
    page = visit(like_the_sample(), viewport=WIDE)
    figure = page.locator(".plots").last
    picker = figure.get_by_label("What an upgrade changes")
    titles = picker.locator("option").all_inner_texts()
    assert len(titles) == 6
    assert figure.locator("details:visible").count() == 1
    picker.select_option(titles[3])
    shown = figure.locator("details:visible")
    assert shown.count() == 1
    assert shown.locator("summary").text_content() == titles[3]
    expect(shown.locator("p")).to_be_visible()


@pytest.mark.parametrize("figure", [".heat", ".plots >> nth=0"])
def test_a_chart_can_be_saved_as_svg_and_png(visit: Callable[..., Page], tmp_path: Path, figure: str) -> None:
    page = visit(like_the_sample(), viewport=WIDE)
    text = saved_chart(page, figure, tmp_path)
    # the file is drawn with the colours of the page: a saved picture has more than two of them
    shown = visit(f"<!doctype html><title>x</title>{text}", viewport=WIDE)
    fills = set(shown.locator("rect").evaluate_all("all => all.map(one => getComputedStyle(one).fill)"))
    assert len(fills) >= (3 if figure == ".heat" else 1)


def test_the_curves_of_a_training_can_be_saved_with_their_key(visit: Callable[..., Page], tmp_path: Path) -> None:
    page = visit(html_render.render(build(trained({"off": [3.0, 2.0, 1.0], "on": [3.0, 2.5, 1.0]}))), viewport=WIDE)
    page.locator("summary", has_text="matmul").first.click()
    text = saved_chart(page, ".training", tmp_path)
    for shown in ("Steps of matmul", "loss by step", "TF 2.18.1 CPU off", "TF 2.18.1 CPU on"):
        assert shown in text
    assert "stroke-dasharray:7px, 3px" in text, "colours alone do not distinguish the curves"


def test_everything_drawn_in_the_evidence_is_visible(visit: Callable[..., Page]) -> None:
    page = visit(like_the_sample(), viewport=WIDE)
    page.evaluate("() => document.querySelectorAll('.kernel-row details').forEach((row) => { row.open = true; })")
    shapes = page.locator("table.kernel svg path, svg.samples path")
    assert shapes.count() > 100
    strokes = set(shapes.evaluate_all("all => all.map((one) => getComputedStyle(one).stroke)"))
    assert "none" not in strokes


def saved_chart(page: Page, figure: str, folder: Path) -> str:
    """Save a chart with both of its buttons, check the files, and return the SVG."""
    files = {}
    for name in ("svg", "png"):
        with page.expect_download() as started:
            page.locator(figure).locator(f"[data-save={name}]").click()
        files[name] = folder / started.value.suggested_filename
        started.value.save_as(files[name])
    assert files["svg"].name.endswith(".svg")
    text = files["svg"].read_text(encoding="utf-8")
    root = ET.fromstring(text)  # noqa: S314 - made by the page under test
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "var(" not in text, "it needs no style sheet"
    assert "href" not in text, "it has no links into the page"
    assert files["png"].read_bytes().startswith(b"\x89PNG")
    return text
