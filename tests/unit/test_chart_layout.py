"""The charts of the first screen: what they count, name and draw, and that nothing in them overlaps."""

from __future__ import annotations

import dataclasses
import math
import re
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from bench.report.build.heat_map import MOST_NAMED
from bench.report.build.interval_plots import MOST_MARKS, overhead_plots
from bench.report.build.page import build
from bench.report.html.charts import (
    NARROW,
    NARROW_PLOT,
    WIDE,
    WIDE_PLOT,
    heat_map_layout,
    interval_mark,
    interval_plot_layout,
    sample_paths,
)
from bench.report.html.render import render
from bench.report.view.charts import IntervalMark, IntervalPlot
from bench.verdict import evaluate
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour

if TYPE_CHECKING:
    from bench.report.view import View
    from bench.report.view.charts import HeatMap
    from tests.unit.factory import Spot

COLUMNS = (
    factory.column("2.15.1"),
    factory.column("2.18.1", "12.5"),
    factory.column("2.20.0", status="incompatible", reason="this host has no GPU"),
)


def behave(spot: Spot) -> Behaviour:
    """k1 raises on the GPU with determinism on, k2 is nondeterministic with it off, k3 crashes under a variation."""
    if spot.kernel == "k1" and "cuda" in spot.column and spot.mode == "on":
        return Behaviour(outcome="error", error_class="UnimplementedError", message="no deterministic kernel")
    if spot.kernel == "k2" and spot.mode == "off":
        return Behaviour((f"a{spot.round}", f"b{spot.round}"))
    if spot.kernel == "k3" and spot.variation != "default":
        return Behaviour(outcome="crashed")
    return EXACT


@lru_cache(maxsize=1)
def view() -> View:
    kernels = (*(factory.kernel(f"k{number}", ("linalg", "random")[number // 3]) for number in range(6)),)
    variations = {"default": (), "isa=avx2": ("k3",)}
    info = factory.info(columns=COLUMNS, kernels=(*kernels, *factory.CONTROLS), variations=variations)
    return build(evaluate(factory.run(info, behave)))


def line(label: str, mode: str) -> Any:
    (found,) = (line for line in view().heat_map.lines if (line.label, line.mode) == (label, mode))
    return found


# --- heat map ----------------------------------------------------------------------------------------------


def test_the_counts_of_the_heat_map_are_those_of_the_headline() -> None:
    counts = {
        ranked.label: sum(count.number for count in ranked.counts if count.word == "reproducible")
        for ranked in view().lines
        if ranked.rank
    }
    assert counts == {"TF 2.15.1 CPU": 6, "TF 2.18.1 CUDA 12.5 on h100": 5}
    for label, number in counts.items():
        assert line(label, "on").reproducible(slice(None)) == number
    assert view().answer[0] == "With determinism on, all 6 kernels are reproducible on TF 2.15.1 CPU."
    assert line("TF 2.15.1 CPU", "off").reproducible(slice(None)) == 5


def test_controls_have_no_tile_and_a_blocked_column_has_one_line() -> None:
    heat_map = view().heat_map
    assert heat_map.families == (("linalg", 3), ("random", 3))
    assert [tile.kernel for tile in line("TF 2.15.1 CPU", "on").tiles] == [f"k{number}" for number in range(6)]
    (blocked,) = (line for line in heat_map.lines if line.blocked)
    assert (blocked.label, blocked.blocked, blocked.tiles) == ("TF 2.20.0 CPU", "incompatible", ())


def test_the_problems_name_kernels_and_columns_with_determinism_on() -> None:
    (problem,) = view().heat_map.problems
    assert (problem.word, problem.tone) == ("unsupported", "info")
    ((kernel, where, anchor),) = problem.kernels
    assert (kernel, where) == ("k1", "TF 2.18.1 CUDA 12.5 on h100")
    assert anchor == line("TF 2.18.1 CUDA 12.5 on h100", "on").tiles[1].anchor
    # k2 is nondeterministic with determinism off only, and k3 crashes under a variation that does not decide
    assert line("TF 2.15.1 CPU", "off").tiles[2].word == "nondeterministic"


def test_a_problem_in_every_column_names_no_column() -> None:
    run = factory.run(factory.info(columns=COLUMNS[:2]), lambda s: EXACT if "c" in s.kernel else Behaviour(("a", "b")))
    (problem,) = build(evaluate(run)).heat_map.problems
    assert [(kernel, where) for kernel, where, _ in problem.kernels] == [("matmul", "")]


def test_a_worse_result_under_another_variation_is_marked() -> None:
    tiles = line("TF 2.15.1 CPU", "on").tiles
    assert (tiles[3].word, tiles[3].also) == ("reproducible", "isa=avx2: crashed")
    assert not any(tile.also for tile in tiles if tile.kernel != "k3")
    page = render(view())
    assert page.count("<title>k3: reproducible (also isa=avx2: crashed)</title>") == 2 * 2 * 2  # maps, columns, modes


def test_every_tile_links_to_evidence_that_the_page_has() -> None:
    page = render(view())
    for found in view().heat_map.lines:
        for tile in found.tiles:
            assert page.count(f"id={tile.anchor}>") == 1


# --- layout ------------------------------------------------------------------------------------------------


def large(kernels: int = 120, families: int = 17, columns: int = 3) -> HeatMap:
    """Return a heat map with tiles of the real one, but as many as in a real run."""
    (tile,) = line("TF 2.15.1 CPU", "on").tiles[:1]
    lines = tuple(
        dataclasses.replace(
            line("TF 2.15.1 CPU", "on"), label=f"TF 2.1{place}.1 CUDA 12.5 on h100", mode=mode, tiles=(tile,) * kernels
        )
        for place in range(columns)
        for mode in ("off", "on")
    )
    sizes = [kernels // families + (place < kernels % families) for place in range(families)]
    named = tuple((f"family {place}", size) for place, size in enumerate(sizes))
    return dataclasses.replace(view().heat_map, families=named, lines=lines)


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize(("kernels", "families"), [(1, 1), (17, 17), (120, 1), (120, 17), (300, 17)])
def test_tiles_do_not_overlap_and_stay_inside_the_width(width: int, kernels: int, families: int) -> None:
    layout = heat_map_layout(large(kernels, families), width)
    assert len(layout.tiles) == kernels * 6
    for y in {placed.y for placed in layout.tiles}:
        places = sorted(placed.x for placed in layout.tiles if placed.y == y)
        assert places[0] >= layout.names
        assert places[-1] + layout.tile <= width
        assert all(after - before >= layout.tile - 0.05 for before, after in pairwise(places))
    rows = sorted({placed.y for placed in layout.tiles})
    assert all(after - before >= 14 for before, after in pairwise(rows))
    assert rows[-1] + 14 <= layout.height


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_names_of_columns_leave_space_for_what_is_beside_them(width: int) -> None:
    chart = large()
    longer = dataclasses.replace(chart.lines[0], label="L" * 10_000)
    layout = heat_map_layout(dataclasses.replace(chart, lines=(*chart.lines, longer)), width)
    labels = [(placed.label, placed.y) for placed in layout.lines if placed.label is not None]
    assert len(labels) == 4 * len({placed.y for placed in layout.families}), "once in each band of families"
    for label, y in labels:
        end = len(label.text) * 6.3  # a character of the font that the page uses, at most
        above = label.y < y
        assert above == (width == NARROW)
        assert end <= (width if above else layout.names - 60), "the mode begins there"
        assert not above or label.y not in {tile.y for tile in layout.tiles}
    assert layout.tiles[-1].x + layout.tile <= width


def test_each_band_of_a_heat_map_counts_its_own_tiles() -> None:
    layout = heat_map_layout(large(), NARROW)
    for placed in layout.lines:
        tiles = [one.tile for one in layout.tiles if one.y == placed.y]
        assert 0 < len(tiles) < 120
        assert placed.reproducible == sum(tile.word == "reproducible" for tile in tiles)
    assert {placed.reproducible for placed in heat_map_layout(large(), WIDE).lines} == {120}


def test_an_empty_heat_map_has_a_layout() -> None:
    empty = dataclasses.replace(view().heat_map, families=(), lines=())
    assert heat_map_layout(empty, WIDE).tiles == ()


# --- interval plots ----------------------------------------------------------------------------------------


def marks(*ratios: tuple[float, float, float]) -> IntervalPlot:
    made = tuple(
        IntervalMark(kernel="k", low=low, ratio=ratio, high=high, text="", interval="", anchor="d0-0")
        for low, ratio, high in ratios
    )
    return IntervalPlot(title="", axis="", marks=made, rest="")


@pytest.mark.parametrize(
    "ratios",
    [
        ((1.1, 1.2, 1.3),),
        ((0.99, 1.0, 1.01),),
        ((0.0, 1e-300, 1.0), (1.0, 1e300, math.inf)),
        ((1.0, 75.0, 80.0), (0.01, 0.02, 0.03)),
        ((1e-8, 1e-7, 1e-6),),
    ],
)
@pytest.mark.parametrize("width", [WIDE_PLOT, NARROW_PLOT])
def test_an_interval_plot_has_finite_places_inside_its_width(
    ratios: tuple[tuple[float, float, float], ...], width: float
) -> None:
    layout = interval_plot_layout(marks(*ratios), width)
    for placed in layout.marks:
        assert layout.names <= placed.low <= placed.ratio <= placed.high <= layout.texts
    assert 0 <= layout.names <= layout.one <= layout.texts <= layout.width == width
    assert 2 <= len(layout.ticks) <= 7
    assert {tick.x for tick in layout.ticks if tick.text == "1x"} == {layout.one}
    assert all(after.x - before.x >= 20 for before, after in pairwise(layout.ticks)), "their texts do not overlap"


def test_a_column_that_has_not_run_yet_changes_nothing() -> None:
    columns = tuple(factory.column(id=f"tf{name}-cpu", tensorflow=name) for name in ("2.15.1", "2.18.1"))
    info = factory.info(columns=columns, finished="", seconds_left=60.0)
    whole = factory.run(info, lambda _: Behaviour(("a", "b")), timed=())
    begun = {path: one for path, one in whole.records.items() if one.request.column == "tf2.15.1-cpu"}
    seen = build(evaluate(dataclasses.replace(whole, records=begun)))
    for none in (seen.upgrade_plots, seen.comparisons, seen.upgrades):
        assert none == ()
    assert "Columns not measured" not in {notice.title for notice in seen.notices}
    text = render(seen)
    assert "There are no two columns with results to compare." in text
    assert "in every column with results unless one is named" in text
    assert {where for problem in seen.heat_map.problems for _, where, _ in problem.kernels} == {""}
    assert [(line.mode, line.blocked) for line in seen.heat_map.lines] == [("off", ""), ("on", ""), ("", "not-run")]


def test_every_sample_of_a_process_is_drawn_in_the_colour_of_its_digest() -> None:
    assert sample_paths((1, 1, 2, 1, 9, 6)) == [
        (1, "M0,5h7M9,5h7M27,5h7"), (2, "M18,5h7"), (6, "M36,5h7M45,5h7"),
    ]  # fmt: skip
    assert sample_paths(()) == []


def test_the_samples_of_a_nondeterministic_kernel_are_plotted() -> None:
    run = factory.run(None, lambda spot: Behaviour(("a", "b", "a")) if spot.kernel == "matmul" else EXACT)
    text = render(build(evaluate(run)))
    assert "<path class=digest1 d=M0,5h7M18,5h7 /><path class=digest2 d=M9,5h7 />" in text


def test_a_name_that_is_too_long_for_a_plot_is_cut_and_whole_in_its_title() -> None:
    name = "a_kernel_with_a_name_that_is_longer_than_most, off"
    mark = dataclasses.replace(marks((1.1, 1.2, 1.3)).marks[0], kernel=name, interval="1.20x slower (1.10 to 1.30)")
    plot = IntervalPlot(title="", axis="", marks=(mark,), rest="")
    assert [len(interval_plot_layout(plot, width).marks[0].name) for width in (WIDE_PLOT, NARROW_PLOT)] == [30, 34]
    assert f"<title>{name}: 1.20x slower (1.10 to 1.30)</title>" in render(
        dataclasses.replace(view(), overhead_plots=(plot,))
    )


def test_a_plot_draws_the_largest_ratios_and_says_what_the_others_are() -> None:
    kernels = [factory.kernel(f"k{number:02d}") for number in range(MOST_MARKS + 5)]

    def slow(spot: Spot) -> Behaviour:
        number = int(spot.kernel[1:]) if not spot.kernel.startswith("control") else 0
        factor = 1 + number / 10 if spot.mode == "on" and number > 2 else 1.0
        return Behaviour(steady_s=(0.001 * factor,)) if number else EXACT

    seen = build(evaluate(factory.run(factory.info(kernels=(*kernels, *factory.CONTROLS)), slow)))
    (plot,) = overhead_plots(seen.lines, seen.rows)
    assert plot == seen.overhead_plots[0]
    assert [mark.kernel for mark in plot.marks] == [f"k{number:02d}" for number in range(16, 16 - MOST_MARKS, -1)]
    assert plot.marks[0].text == "2.60x slower"
    assert (
        plot.rest
        == "2 smaller differences not drawn. Not significant in 3 more kernels: no overhead above 1 % in any of them."
    )
    assert f'aria-label="{plot.title}"' in render(seen)


def test_a_run_without_times_has_no_plot_and_says_so() -> None:
    seen = build(evaluate(factory.run(timed=())))
    assert seen.overhead_plots == seen.upgrade_plots == ()
    assert render(seen).count("No times were measured.") == 1
    assert render(seen).count("There are no two columns with results to compare.") == 1
    unfinished = factory.run(factory.info(finished=""), timed=())
    assert render(build(evaluate(unfinished))).count("No times were measured yet.") == 1


def test_an_upgrade_without_times_says_how_many_results_changed() -> None:
    columns = tuple(factory.column(id=f"tf{name}-cpu", tensorflow=name) for name in ("2.15.1", "2.18.1"))
    plot = build(evaluate(factory.run(factory.info(columns=columns), timed=()))).upgrade_plots[0]
    assert plot.title.startswith("TF 2.15.1 CPU to TF 2.18.1 CPU: 0 of ")
    assert plot.marks == ()
    assert plot.rest.startswith("No times were compared (not timed on both sides")


def test_the_mark_in_the_matrix_stays_on_its_axis() -> None:
    result = view().rows[0].deciding[0].on
    assert result.overhead_data is not None
    for low, ratio, high, kind in (
        (0.0, 1e-9, 1e-3, "faster"),
        (1.1, 1.2, 1.3, "slower"),
        (5.0, 1e9, math.inf, "slower"),
    ):
        overhead = dataclasses.replace(result.overhead_data, low=low, ratio=ratio, high=high, significant=True)
        placed = interval_mark(dataclasses.replace(result, overhead_data=overhead))
        assert placed is not None
        assert 0 <= placed.low <= placed.ratio <= placed.high <= 40
        assert placed.kind == kind
    assert interval_mark(dataclasses.replace(result, overhead_data=None)) is None


def test_charts_have_names_and_their_links_have_texts() -> None:
    page = render(view())
    for chart in re.findall(r"<svg class=\"chart[^>]*>", page):
        assert re.search(r'role=group aria-label="[^"]+"', chart), chart


def test_kernels_that_were_not_reached_yet_are_no_problems_and_long_lists_end_with_a_number() -> None:
    names = tuple(factory.kernel(f"kernel_{number:02d}") for number in range(20))
    columns = (factory.column("2.18.1"), factory.column("2.21.0"))
    run = factory.run(factory.info(columns=columns, kernels=(*names, *factory.CONTROLS), finished=""))
    half = dataclasses.replace(
        run, records={path: record for path, record in run.records.items() if "on-001" in path and "2.18.1" in path}
    )
    chart = build(evaluate(half)).heat_map
    assert {problem.word for problem in chart.problems} == {"inconclusive"}
    assert [(len(problem.kernels), problem.more) for problem in chart.problems] == [(MOST_NAMED, 20 - MOST_NAMED)]
    assert not any(tile.also for line in chart.lines for tile in line.tiles)
