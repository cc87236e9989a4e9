"""Distance between two arrays of the same shape and dtype, and the error of an array against a float64 reference.

Elements are compared bytewise, so -0.0 differs from 0.0, and a NaN equals itself. The measures are:

``v_c``      fraction of elements that differ (count variability, Shanmugavelu et al. 2024);
``v_ermv``   mean of abs(a - b) / abs(a) over the elements where both are finite and a is not 0 (same source);
``rel_max``  max abs(a - b) / max abs(a) over the finite elements; unlike ULPs it does not explode near 0;
``ulp_*``    median and 99th percentile of the distance in units in the last place, over the elements that differ;
             for integers the unit is 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np

Array = np.ndarray[Any, Any]

_INTEGER_OF = {2: np.int16, 4: np.int32, 8: np.int64}


@dataclass(frozen=True)
class Distance:
    """The distance between two arrays of ``elements`` elements. A measure may overflow to infinity."""

    elements: int
    differing: int
    v_c: float
    v_ermv: float
    rel_max: float
    ulp_median: float
    ulp_p99: float
    nan_changes: int
    inf_changes: int
    sign_changes: int


@np.errstate(all="ignore")  # NaN and overflow are results here, not errors
def distance(dtype: str, first: Array, other: Array) -> Distance:
    """Compare two arrays of the named dtype, given as their bytes (one-dimensional, uint8).

    Raises:
        ValueError: Their sizes differ, or they are empty.
    """
    if first.size != other.size or not first.size:
        raise ValueError(f"{first.size} and {other.size} bytes cannot be compared")
    (a, i), (b, j) = numbers(dtype, first), numbers(dtype, other)
    differs = i != j
    count = int(differs.sum())
    finite = np.isfinite(a) & np.isfinite(b)
    gap = np.abs(np.where(finite, a, 0.0) - np.where(finite, b, 0.0))
    size = np.abs(np.where(finite, a, 0.0))
    usable = finite & (size > 0)
    ulps = _integer_distance(i[differs & finite], j[differs & finite])
    return Distance(
        elements=int(a.size),
        differing=count,
        v_c=count / a.size,
        v_ermv=float((gap[usable] / size[usable]).mean()) if usable.any() else 0.0,
        rel_max=float(gap.max() / size.max()) if size.max() > 0 else float(gap.max()),
        ulp_median=float(np.median(ulps)) if ulps.size else 0.0,
        ulp_p99=float(np.percentile(ulps, 99)) if ulps.size else 0.0,
        nan_changes=int((np.isnan(a) != np.isnan(b)).sum()),
        inf_changes=int((np.isinf(a) != np.isinf(b)).sum()),
        sign_changes=int((finite & (np.signbit(a) != np.signbit(b))).sum()),
    )


@np.errstate(all="ignore")  # NaN and overflow are results here, not errors
def reference_error(dtype: str, raw: Array, reference: Array) -> Mapping[str, float]:
    """Return the error against a float64 reference, relative to the reference; values that are not finite are omitted.

    ``max`` is the maximum error relative to the maximum magnitude, ``rms`` the RMS error relative to the RMS value.

    Raises:
        ValueError: The number of elements differs from that of the reference.
    """
    values, _ = numbers(dtype, raw)
    expected = np.asarray(reference, dtype=np.float64).reshape(-1)
    if values.size != expected.size:
        raise ValueError(f"the output has {values.size} elements, but the reference has {expected.size}")
    gap = np.abs(values - expected)
    errors = {"max": _ratio(gap.max(), np.abs(expected).max()), "rms": _ratio(_rms(gap), _rms(expected))}
    return {key: value for key, value in errors.items() if np.isfinite(value)}


@np.errstate(all="ignore")  # NaN and overflow are results here, not errors
def numbers(dtype: str, raw: Array) -> Tuple[Array, Array]:
    """Return the values as float64, and as integers in the same order whose unit is one unit in the last place.

    A complex number yields two values. Strings and other dtypes without an order yield their bytes.
    """
    raw = np.ascontiguousarray(raw)
    if dtype == "bfloat16":
        bits = raw.view(np.int16)
        values = (bits.astype(np.uint16).astype(np.uint32) << 16).view(np.float32)
        return values.astype(np.float64), _ordered(bits)
    try:
        kind = np.dtype(dtype)
    except TypeError:
        kind = np.dtype(np.uint8)
    if kind.kind == "c":
        kind = np.dtype(f"float{kind.itemsize * 4}")
    if kind.kind == "f" and kind.itemsize in _INTEGER_OF:
        values = raw.view(kind)
        return values.astype(np.float64), _ordered(raw.view(_INTEGER_OF[kind.itemsize]))
    if kind.kind not in "iu":
        kind = np.dtype(np.uint8)
    integers = raw.view(kind)
    if kind == np.uint64:  # flip the top bit, so that the order is kept in an int64
        return integers.astype(np.float64), (integers ^ np.uint64(1 << 63)).view(np.int64)
    return integers.astype(np.float64), integers.astype(np.int64)


def as_dict(value: Distance) -> Dict[str, Optional[float]]:
    """Return a distance as stored in the record: floats with four significant digits, None for overflow."""
    return {name: _rounded(measure) for name, measure in vars(value).items()}


def _rounded(value: float) -> Optional[float]:
    if isinstance(value, int):
        return value
    rounded = float(f"{value:.4g}")  # rounding may overflow even if the value did not
    return rounded if np.isfinite(rounded) else None


def _ordered(bits: Array) -> Array:
    """Map sign-magnitude bits to integers that increase with the value; -0.0 becomes -1, next to 0.0."""
    signed = bits.astype(np.int64)
    lowest = np.iinfo(bits.dtype).min
    return np.where(signed >= 0, signed, lowest - signed - 1)


def _integer_distance(i: Array, j: Array) -> Array:
    """Return abs(i - j) without overflow: the difference of two int64 needs an unsigned type."""
    high, low = np.maximum(i, j), np.minimum(i, j)
    return (high.view(np.uint64) - low.view(np.uint64)).astype(np.float64)


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator > 0 else float(numerator)
