"""Distances between tensors, compared with slow, exact arithmetic."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bench.suite.digest import raw
from bench.suite.distance import Distance, as_dict, distance, numbers, reference_error

Array = np.ndarray[Any, Any]
FLOATS = ("float16", "float32", "float64")
#: Maximum number of nextafter steps in a test.
MAX_STEPS = 400


def measure(one: Array, other: Array) -> Distance:
    return distance(one.dtype.name, raw(one), raw(other))


def floats(dtype: str, size: int = 6) -> st.SearchStrategy[Array]:
    width: Any = np.dtype(dtype).itemsize * 8
    wild = st.floats(width=width)
    tame = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1.5, float(np.finfo(dtype).tiny), float(np.finfo(dtype).max)])
    return hnp.arrays(dtype, size, elements=st.one_of(tame, wild))


def pairs(dtype: str) -> st.SearchStrategy[tuple[Array, Array]]:
    return st.tuples(floats(dtype), floats(dtype), st.lists(st.booleans(), min_size=6, max_size=6)).map(
        lambda drawn: (drawn[0], np.where(drawn[2], drawn[0], drawn[1]).astype(dtype))
    )


def same(one: Any, other: Any) -> bool:
    return bool(one.tobytes() == other.tobytes())


@pytest.mark.parametrize("dtype", FLOATS)
@given(data=st.data())
def test_fractions_and_counts_match_a_slow_loop(dtype: str, data: st.DataObject) -> None:
    one, other = data.draw(pairs(dtype))
    found = measure(one, other)
    differing = [(a, b) for a, b in zip(one, other, strict=True) if not same(a, b)]
    assert (found.elements, found.differing) == (6, len(differing))
    assert found.v_c == len(differing) / 6
    assert found.nan_changes == sum(math.isnan(a) != math.isnan(b) for a, b in zip(one, other, strict=True))
    assert found.inf_changes == sum(math.isinf(a) != math.isinf(b) for a, b in zip(one, other, strict=True))
    finite = [(float(a), float(b)) for a, b in zip(one, other, strict=True) if np.isfinite(a) and np.isfinite(b)]
    assert found.sign_changes == sum(math.copysign(1, a) != math.copysign(1, b) for a, b in finite)
    greatest = max((abs(Fraction(a)) for a, _ in finite), default=Fraction(0))
    gap = max((abs(Fraction(a) - Fraction(b)) for a, b in finite), default=Fraction(0))
    wanted = gap / greatest if greatest else gap
    if wanted < 10**300 and gap < Fraction(np.finfo("float64").max):
        assert found.rel_max == pytest.approx(float(wanted), rel=1e-9, abs=1e-320)
    ratios = [abs(Fraction(a) - Fraction(b)) / abs(Fraction(a)) for a, b in finite if a]
    mean = sum(ratios, Fraction(0)) / len(ratios) if ratios else Fraction(0)
    if mean < 10**300 and all(abs(Fraction(a) - Fraction(b)) < Fraction(np.finfo("float64").max) for a, b in finite):
        assert found.v_ermv == pytest.approx(float(mean), rel=1e-9, abs=1e-320)


@pytest.mark.parametrize("dtype", FLOATS)
@given(data=st.data(), steps=st.integers(1, MAX_STEPS), up=st.booleans())
def test_units_in_the_last_place_are_steps_of_nextafter(dtype: str, data: st.DataObject, steps: int, up: bool) -> None:  # noqa: FBT001
    start = data.draw(floats(dtype, 1))
    assume(bool(np.isfinite(start[0])))
    there, walked = start.copy(), 0
    while walked < steps:
        if there[0] == 0 and np.signbit(there[0]) == up:  # both zeros are on the way, next to each other
            there[0] = -there[0]
        else:
            with np.errstate(all="ignore"):
                there = np.nextafter(there, np.array([np.inf if up else -np.inf], dtype))
            if there[0] == 0:  # from below, -0.0 comes first; from above, 0.0
                there[0] = -0.0 if up else 0.0
        walked += 1
    assume(bool(np.isfinite(there[0])))
    found = measure(start, there)
    assert (found.ulp_median, found.ulp_p99) == (steps, steps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(data=st.data())
def test_a_spacing_is_one_unit(dtype: str, data: st.DataObject) -> None:
    one = data.draw(hnp.arrays(dtype, 4, elements=st.floats(0.5, 1e6, width=32)))
    assert measure(one, one + np.spacing(one)).ulp_median == 1


def test_ulp_summaries_cover_only_the_elements_that_differ() -> None:
    one = np.ones(1000, "float32")
    other = one.copy()
    other[:100] += np.arange(1, 101) * np.spacing(np.float32(1))
    found = measure(one, other)
    assert (found.v_c, found.ulp_median) == (0.1, 50.5)
    assert found.ulp_p99 == pytest.approx(np.percentile(np.arange(1, 101), 99))


@given(st.integers(0, 0x7F7F), st.integers(0, 0x7F7F), st.booleans())
def test_bfloat16_is_read_as_ml_dtypes_reads_it(one: int, other: int, negative: bool) -> None:  # noqa: FBT001
    bits = np.array([one, other | (0x8000 if negative else 0)], "uint16")
    wanted = bits.view(ml_dtypes.bfloat16)
    values, order = numbers("bfloat16", bits.view("uint8"))
    assert values.tolist() == [float(value) for value in wanted]
    # positive numbers count from 0, negative ones from -1 down
    assert int(order[0] - order[1]) == (one + other + 1 if negative else one - other)
    assert (wanted.dtype.name, measure(wanted[:1], wanted[:1]).differing) == ("bfloat16", 0)


def test_bfloat16_nan_is_seen() -> None:
    one = np.array([1.0, np.nan], ml_dtypes.bfloat16)
    found = measure(one, np.array([np.nan, np.nan], ml_dtypes.bfloat16))
    assert (found.nan_changes, found.differing) == (1, 1)


def test_a_complex_number_counts_as_two() -> None:
    one = np.array([1 + 1j, 2 + 2j], "complex64")
    other = one.copy()
    other[1] = 2 + np.nextafter(np.float32(2), np.float32(3)) * np.complex64(1j)
    found = measure(one, other)
    assert (found.elements, found.differing, found.v_c, found.ulp_median) == (4, 1, 0.25, 1)
    assert found.rel_max == pytest.approx(float(np.spacing(np.float32(2))) / 2)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
@given(data=st.data())
def test_integers_count_by_one(dtype: str, data: st.DataObject) -> None:
    limits = np.iinfo(dtype)
    one, other = (data.draw(st.integers(int(limits.min), int(limits.max))) for _ in range(2))
    found = measure(np.array([one], dtype), np.array([other], dtype))
    assert found.differing == (one != other)
    assert found.ulp_median == pytest.approx(abs(one - other), rel=1e-9)


def test_booleans_and_strings_are_compared_by_bytes() -> None:
    assert measure(np.array([True, False]), np.array([True, True])).differing == 1
    assert measure(np.array([b"abc"]), np.array([b"abd"])).differing == 1
    odd = np.array([1.0, 2.0], ml_dtypes.float8_e4m3fn)
    assert measure(odd, odd[::-1].copy()).differing == 2


def test_nan_equals_itself_bit_for_bit_and_zero_has_a_sign() -> None:
    one = np.array([np.nan, 0.0, np.inf], "float32")
    found = measure(one, one.copy())
    assert (found.differing, found.v_c, found.rel_max, found.ulp_p99) == (0, 0.0, 0.0, 0.0)
    found = measure(np.array([0.0, 1.0], "float32"), np.array([-0.0, 1.0], "float32"))
    assert (found.differing, found.sign_changes, found.rel_max, found.ulp_median) == (1, 1, 0.0, 1)
    other = np.array([np.nan], "float32").view("uint32") ^ 1
    found = measure(np.array([np.nan], "float32"), other.view("float32"))
    assert (found.differing, found.nan_changes, found.ulp_median) == (1, 0, 0.0)


def test_arrays_of_different_or_no_size_are_rejected() -> None:
    nothing, four, eight = (np.zeros(size, "uint8") for size in (0, 4, 8))
    for one, other in ((four, eight), (nothing, nothing)):
        with pytest.raises(ValueError, match="cannot be compared"):
            distance("float32", one, other)
    with pytest.raises(ValueError):  # noqa: PT011 - the message is NumPy's
        distance("float64", four, four)


@given(pairs("float64"))
def test_every_distance_can_be_written_to_a_record(drawn: tuple[Array, Array]) -> None:
    found = as_dict(measure(*drawn))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    values: list[Any] = list(found.values())
    assert all(value is None or math.isfinite(value) for value in values)


def test_an_infinite_measure_is_none() -> None:
    one, other = np.array([1e308, 5e-324]), np.array([-1e308, 1.0])
    found: dict[str, Any] = as_dict(measure(one, other))
    assert found["rel_max"] is None
    assert found["v_ermv"] is None
    assert found["differing"] == 2


class TestError:
    """The error of an output against its float64 reference."""

    @given(
        hnp.arrays("float32", 5, elements=st.floats(-1e3, 1e3, width=32)),
        hnp.arrays("float64", 5, elements=st.floats(-1e3, 1e3)),
    )
    def test_it_matches_a_slow_loop(self, output: Array, reference: Array) -> None:
        gaps = [Fraction(float(a)) - Fraction(float(b)) for a, b in zip(output, reference, strict=True)]
        greatest = max(abs(Fraction(float(b))) for b in reference)
        assume(greatest == 0 or greatest > Fraction(1, 10**100))
        found = reference_error("float32", raw(output), reference)
        wanted = max(abs(gap) for gap in gaps) / greatest if greatest else max(abs(gap) for gap in gaps)
        assert found["max"] == pytest.approx(float(wanted), rel=1e-9)
        squares = [sum(value**2 for value in values) for values in (gaps, [Fraction(float(b)) for b in reference])]
        bottom = math.sqrt(squares[1] / 5)
        assume(bottom == 0 or bottom > 1e-150)
        top = math.sqrt(squares[0] / 5)
        assert found["rms"] == pytest.approx(top / bottom if bottom else top, rel=1e-6)

    def test_an_exact_output_has_no_error(self) -> None:
        output = np.arange(6, dtype="float32")
        assert reference_error("float32", raw(output), output.reshape(2, 3)) == {"max": 0.0, "rms": 0.0}

    def test_a_different_size_is_rejected(self) -> None:
        with pytest.raises(ValueError, match="3 elements, but the reference has 4"):
            reference_error("float32", raw(np.zeros(3, "float32")), np.zeros(4))

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_an_output_that_is_not_finite_has_no_error_value(self, value: float) -> None:
        """Otherwise a kernel that returns a NaN would be recorded as failed."""
        found = reference_error("float32", raw(np.array([value, 1.0], "float32")), np.ones(2))
        assert found == {}
