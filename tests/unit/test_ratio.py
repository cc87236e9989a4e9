"""Ratios of times over pairs, and their correction for how many are on a page."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import polygamma

from bench.verdict.ratio import (
    MIN_PAIRS,
    Estimate,
    PairValues,
    _inverse_trigamma,
    corrected,
    estimates,
    prior_of,
    welch,
)
from bench.verdict.timing import TimeKind

LOGS = st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=8)


def values(logs: list[float], a_first: list[bool] | None = None) -> PairValues:
    """Pairs in which side a was started first, unless stated otherwise."""
    return PairValues(kind=TimeKind.STEADY, logs=tuple(logs), a_first=tuple(a_first or [True] * len(logs)))


def estimate(mean: float, error: float = 0.01, freedom: float = 4) -> Estimate:
    """A kernel of a page."""
    return Estimate(kind=TimeKind.STEADY, mean=mean, error=error, freedom=freedom, pairs=5, spread=0.02)


def test_the_interval_of_one_kernel_is_student_s_t() -> None:
    logs = [0.10, 0.12, 0.09, 0.11, 0.13]
    found = corrected(estimates({"matmul": values(logs)}))["matmul"]
    expected = stats.ttest_1samp(logs, 0.0)
    low, high = expected.confidence_interval(0.95)
    assert found.ratio == pytest.approx(math.exp(np.mean(logs)))
    assert found.p_value == pytest.approx(expected.pvalue)
    assert [found.low, found.high] == pytest.approx([math.exp(low), math.exp(high)])
    assert found.spread == pytest.approx(np.std(logs, ddof=1))
    assert found.significant


@given(LOGS)
def test_fewer_than_three_pairs_have_a_ratio_but_no_interval(logs: list[float]) -> None:
    found = corrected(estimates({"matmul": values(logs)}))["matmul"]
    assert found.pairs == len(logs)
    assert (found.low is None) == (len(logs) < MIN_PAIRS)
    if found.low is None or found.high is None:
        assert not found.significant
    else:
        assert found.low <= found.ratio * (1 + 1e-9)
        assert found.ratio <= found.high * (1 + 1e-9)
        assert found.significant == (not found.low <= 1 <= found.high) or found.p_value == pytest.approx(0.05)


def test_the_start_order_does_not_bias_a_ratio_and_does_not_widen_it() -> None:
    order = [True, False, True, False, True]
    noise = [0.001, -0.001, 0.0, 0.001, -0.001]
    biased = [one + (-0.05 if first else 0.05) for one, first in zip(noise, order, strict=True)]
    found = corrected(estimates({"reduce_sum": values(biased, order)}))["reduce_sum"]
    assert abs(found.ratio - 1) < 0.001
    assert found.high is not None
    assert found.high < 1.01
    plain = corrected(estimates({"reduce_sum": values(biased)}))["reduce_sum"]
    assert plain.high is not None
    assert plain.high > 1.05


def test_variances_of_other_kernels_narrow_an_interval() -> None:
    stream = np.random.default_rng(1)
    page = {number: values(stream.normal(0, 0.02, 5).tolist()) for number in range(200)}
    prior = prior_of([(float(np.var(one.logs, ddof=1)), 4) for one in page.values()])
    assert prior.variance == pytest.approx(0.0004, rel=0.2)
    assert prior.freedom > 5
    widths = [found.high / found.low for found in corrected(estimates(page)).values() if found.high and found.low]
    alone = [corrected(estimates({0: one}))[0] for one in page.values()]
    separate = [found.high / found.low for found in alone if found.high and found.low]
    assert np.mean(np.log(widths)) < 0.9 * np.mean(np.log(separate))


def test_kernels_whose_variances_have_nothing_in_common_say_little_of_each_other() -> None:
    assert prior_of([(10.0**exponent, 4) for exponent in range(-6, 6)]).freedom < 1
    assert prior_of([(0.01, 4)] * 5).freedom == 0, "too few kernels"


@given(st.floats(1e-3, 1e3))
def test_the_inverse_of_trigamma(x: float) -> None:
    assert _inverse_trigamma(float(polygamma(1, x))) == pytest.approx(x, rel=1e-5)


def test_discoveries_are_those_of_benjamini_and_hochberg() -> None:
    means = [0.0, 0.001, 0.01, 0.02, 0.025, 0.03, 0.035, 0.05, 0.08, -0.06]
    page = corrected({number: estimate(mean) for number, mean in enumerate(means)})
    p_values = [page[number].p_value for number in range(len(means))]
    expected = stats.false_discovery_control([p for p in p_values if p is not None]) <= 0.05
    assert [page[number].significant for number in range(len(means))] == expected.tolist()
    assert 0 < expected.sum() < len(means)


def test_the_intervals_of_what_was_selected_are_wider_and_still_exclude_1() -> None:
    page = corrected({number: estimate(0.10 if number < 2 else 0.0) for number in range(100)})
    assert page[0].confidence == pytest.approx(1 - 0.05 * 2 / 100)
    assert page[50].confidence == 0.95
    assert page[0].significant
    assert page[0].low is not None
    assert page[0].low > 1
    alone = corrected({0: estimate(0.10)})[0]
    assert alone.low is not None
    assert alone.low > page[0].low


def test_a_page_needs_more_than_one_kernel_alone() -> None:
    assert corrected({0: estimate(0.035)})[0].significant
    page = corrected({number: estimate(0.035 if not number else 0.0) for number in range(100)})
    assert not page[0].significant


def test_nothing_is_found_between_equals() -> None:
    found = corrected(estimates({"matmul": values([0.0] * 5)}))["matmul"]
    assert (found.ratio, found.low, found.high, found.significant) == (1.0, 1.0, 1.0, False)


def test_processes_that_were_not_paired_are_compared_by_welch_s_test() -> None:
    new, old = [1.0, 1.1, 1.2, 1.15, 1.05], [0.8, 0.9, 0.7, 0.85]
    found = corrected({0: welch(new, old, TimeKind.STEADY)})[0]
    expected = stats.ttest_ind(np.log(new), np.log(old), equal_var=False)
    low, high = expected.confidence_interval(0.95)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.paired, found.pairs) == (False, 4)
    assert [found.low, found.high] == pytest.approx([math.exp(low), math.exp(high)])
    assert corrected({0: welch(new[:2], old, TimeKind.STEADY)})[0].low is None
    assert welch([1.0] * 3, [1.0] * 3, TimeKind.STEADY).freedom == 4


def test_a_ratio_of_absurd_times_is_a_finite_number() -> None:
    found = corrected(estimates({0: values([1400.0, -1400.0, 1400.0])}))[0]
    assert (found.low, found.high) == (math.exp(-700), math.exp(700))
    assert found.inverted.high == pytest.approx(found.high)


def test_swapping_the_sides() -> None:
    found = corrected({0: estimate(0.1)})[0].inverted
    other = corrected({0: estimate(-0.1)})[0]
    assert [found.ratio, found.low, found.high] == pytest.approx([other.ratio, other.low, other.high])
