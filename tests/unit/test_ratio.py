"""The ratio of two medians: counted, not drawn, so every digit can be held against a count of all draws."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap, mannwhitneyu

from bench.verdict.ratio import MIN_PROCESSES, Ratio, _chance_of_order, _shares, ratio

TIMES = st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=8)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6])
def test_how_often_a_median_is_which_value_by_counting_all_draws(number: int) -> None:
    seen: Counter[tuple[int, int]] = Counter()
    for draw in itertools.product(range(number), repeat=number):
        ordered = sorted(draw)
        seen[ordered[(number - 1) // 2], ordered[number // 2]] += 1
    found = {(one, other): share for one, other, share in _shares(number)}
    assert found == pytest.approx({place: times / number**number for place, times in seen.items()})


def test_the_interval_by_counting_all_pairs_of_draws() -> None:
    dear, cheap = (1.0, 1.1, 1.3), (0.7, 0.8, 1.0)
    ratios = sorted(
        statistics.median(one) / statistics.median(other)
        for one in itertools.product(dear, repeat=3)
        for other in itertools.product(cheap, repeat=3)
    )
    low = ratios[round(len(ratios) * 0.025 + 0.5) - 1]
    high = ratios[round(len(ratios) * 0.975 + 0.5) - 1]
    found = ratio(dear, cheap)
    assert (found.low, found.high) == (low, high)


@pytest.mark.parametrize("sizes", [(3, 3), (4, 5), (5, 5), (6, 3), (10, 9), (20, 20), (60, 7)])
def test_draws_come_to_the_same_interval(sizes: tuple[int, int]) -> None:
    stream = np.random.RandomState(sum(sizes))
    dear, cheap = (stream.lognormal(0, 0.1, size) for size in sizes)
    wanted = bootstrap(
        (dear, cheap),
        lambda left, right, axis=-1: np.median(left, axis=axis) / np.median(right, axis=axis),
        n_resamples=20_000,
        method="percentile",
        vectorized=True,
        random_state=np.random.default_rng(1),
    ).confidence_interval
    found = ratio(dear.tolist(), cheap.tolist())
    assert found.low == pytest.approx(wanted.low, rel=0.01)
    assert found.high == pytest.approx(wanted.high, rel=0.01)


@given(TIMES, TIMES)
def test_a_ratio_lies_in_its_interval_and_turns_over_with_its_sides(dear: list[float], cheap: list[float]) -> None:
    there, back = ratio(dear, cheap), ratio(cheap, dear)
    assert there.value == pytest.approx(1 / back.value)
    assert there.significant == back.significant
    if there.low is None or there.high is None or back.low is None or back.high is None:
        assert min(len(dear), len(cheap)) < MIN_PROCESSES
        assert not there.significant
    else:
        assert there.low <= there.value * (1 + 1e-12)
        assert there.value <= there.high * (1 + 1e-12)
        assert there.low == pytest.approx(1 / back.high)
        assert there.high == pytest.approx(1 / back.low)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_the_rank_test_is_that_of_scipy(on: list[int], off: list[int]) -> None:
    expected = mannwhitneyu(on, off, alternative="two-sided", method="exact").pvalue
    assert _chance_of_order(on, off) == pytest.approx(expected, rel=1e-12)


@given(TIMES)
def test_nothing_is_found_between_equals(times: list[float]) -> None:
    found = ratio(times, times)
    assert (found.value, found.significant) == (1.0, False)


@given(st.permutations([1.0, 1.1, 1.2, 1.3, 1.4]), st.permutations([2.0, 2.1, 2.2, 2.3, 2.4]))
def test_the_order_of_processes_says_nothing(dear: list[float], cheap: list[float]) -> None:
    assert ratio(dear, cheap) == ratio(sorted(dear), sorted(cheap))


def test_one_time_a_process_for_all() -> None:
    assert ratio([2.0] * 5, [1.0] * 5) == Ratio(
        value=2.0, low=2.0, high=2.0, significant=True, why="the interval excludes 1"
    )
