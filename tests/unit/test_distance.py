"""Distance of two arrays: measures checked against hand-computed numbers, and properties for arbitrary bytes."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.suite.distance import Distance, as_dict, distance, numbers, reference_error
from bench.verdict.tensor_diff import distance_of, measured, size_of

Array = np.ndarray[Any, Any]


def raw(values: Any, dtype: Any = "float32") -> Array:
    return np.asarray(values, dtype=dtype).reshape(-1).view(np.uint8)


def test_measures_match_a_hand_computed_example() -> None:
    one = [1.0, -2.0, 4.0, 0.0]
    two = [1.0, -2.5, 4.0, 1.0]
    found = distance("float32", raw(one), raw(two))
    assert (found.elements, found.differing, found.v_c) == (4, 2, 0.5)
    assert found.v_ermv == pytest.approx(0.25 / 3)  # over the three elements that are not 0
    assert found.rel_max == pytest.approx(1.0 / 4.0)
    assert (found.nan_changes, found.inf_changes, found.sign_changes) == (0, 0, 0)


def test_a_unit_in_the_last_place_counts_as_one_across_powers_of_two_and_zero() -> None:
    up = np.nextafter(np.float32(2.0), np.float32(3.0))
    down = np.nextafter(np.float32(2.0), np.float32(1.0))
    assert distance("float32", raw([2.0]), raw([up])).ulp_median == 1
    assert distance("float32", raw([2.0]), raw([down])).ulp_median == 1
    assert distance("float32", raw([down]), raw([up])).ulp_median == 2
    smallest = np.float32(1e-45)
    assert distance("float32", raw([smallest]), raw([-smallest])).ulp_median == 3  # both zeros lie between


def test_minus_zero_differs_from_zero_and_a_nan_equals_itself() -> None:
    zeros = distance("float32", raw([0.0, 1.0]), raw([-0.0, 1.0]))
    assert (zeros.differing, zeros.rel_max, zeros.sign_changes) == (1, 0.0, 1)
    same = distance("float32", raw([math.nan, math.inf]), raw([math.nan, math.inf]))
    assert same.differing == same.nan_changes == same.inf_changes == 0
    gone = distance("float32", raw([math.nan, math.inf, 2.0]), raw([1.0, 1.0, 1.0]))
    assert (gone.differing, gone.nan_changes, gone.inf_changes, gone.rel_max) == (3, 1, 1, 0.5)


@pytest.mark.parametrize(
    ("dtype", "one", "two", "ulps"),
    [
        ("float16", np.float16(1), np.float16(1) + np.float16(2**-10), 1),
        ("float64", 1.0, 1.0 + 2**-52, 1),
        ("int32", 5, 9, 4),
        ("uint8", 250, 1, 249),
        ("bool", 0, 1, 1),
        ("int64", -(2**62), 2**62, 2**63),
    ],
)
def test_every_dtype_has_a_unit(dtype: str, one: Any, two: Any, ulps: float) -> None:
    found = distance(dtype, raw([one], dtype), raw([two], dtype))
    assert (found.elements, found.differing, found.ulp_median) == (1, 1, ulps)


def test_bfloat16_and_complex_numbers() -> None:
    one, two = (np.asarray([value], dtype=ml_dtypes.bfloat16) for value in (1.0, 1.0 + 2**-7))
    found = distance("bfloat16", raw(one, one.dtype), raw(two, two.dtype))
    assert found.ulp_median == 1
    assert found.rel_max == pytest.approx(2**-7)
    halves = distance("complex64", raw([1 + 2j], "complex64"), raw([1 + 3j], "complex64"))
    assert (halves.elements, halves.differing) == (2, 1)


def test_strings_are_compared_by_bytes() -> None:
    assert distance("string", raw([1, 2], "uint8"), raw([1, 3], "uint8")).v_c == 0.5


@pytest.mark.parametrize(("one", "two"), [([1.0], [1.0, 2.0]), ([], [])])
def test_arrays_of_different_or_no_size_are_rejected(one: list[float], two: list[float]) -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        distance("float32", raw(one), raw(two))


def test_error_against_a_reference() -> None:
    found = reference_error("float32", raw([1.0, 3.0]), np.array([1.0, 4.0]))
    assert found["max"] == pytest.approx(0.25)
    assert found["rms"] == pytest.approx(1 / math.sqrt(17))
    assert reference_error("float32", raw([0.5]), np.array([0.0])) == {"max": 0.5, "rms": 0.5}
    with pytest.raises(ValueError, match="but the reference has"):
        reference_error("float32", raw([1.0]), np.array([1.0, 2.0]))


FLOATS = arrays(np.float32, 17, elements=st.floats(width=32, allow_subnormal=True))


@given(FLOATS, FLOATS)
def test_any_two_arrays_have_a_distance_without_warnings(one: Array, two: Array) -> None:
    found = measured("float32", raw(one), raw(two))
    back = measured("float32", raw(two), raw(one))
    assert found.differing == back.differing == int((one.view(np.int32) != two.view(np.int32)).sum())
    assert (found.ulp_median, found.ulp_p99, found.nan_changes) == (back.ulp_median, back.ulp_p99, back.nan_changes)
    assert 0 <= found.v_c <= 1
    assert (found.differing == 0) == bool((one.view(np.int32) == two.view(np.int32)).all())
    assert distance_of({**as_dict(found)}) is not None


@given(FLOATS)
def test_an_array_has_no_distance_from_itself(one: Array) -> None:
    found = distance("float32", raw(one), raw(one.copy()))
    values = dataclasses.astuple(found)
    assert values[1:] == (0,) * (len(values) - 1)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=2))
def test_integers_increase_with_values(pair: list[float]) -> None:
    values, steps = numbers("float32", raw(pair))
    assert (values[0] < values[1]) <= (steps[0] < steps[1])


def test_overflow_is_recorded_as_none_and_is_the_largest_distance() -> None:
    huge = measured("float64", raw([1.7e308], "float64"), raw([-1.7e308], "float64"))
    assert vars(huge)["rel_max"] is None
    assert size_of(huge) == math.inf


GOOD: dict[str, Any] = dict(vars(Distance(4, 1, 0.25, 1e-7, 1e-7, 1.0, 1.0, 0, 0, 0)))


@pytest.mark.parametrize(
    "row",
    [None, 3, "text", [], {}, {**GOOD, "v_c": "0.5"}, {**GOOD, "elements": True}, {"v_c": 0.5}],
)
def test_a_damaged_distance_is_none(row: Any) -> None:
    assert distance_of(row) is None
    assert distance_of({**GOOD, "rel_max": None, "new measure": 1}) is not None
