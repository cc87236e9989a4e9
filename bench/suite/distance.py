"""How far two arrays of the same shape and dtype are apart, and how far one is from its float64 reference.

Elements are compared byte for byte, so -0.0 differs from 0.0 and a NaN equals itself. The measures:

``v_c``      share of elements that differ (count variability, Shanmugavelu et al. 2024);
``v_ermv``   mean of abs(a - b) / abs(a) over the elements where a is finite and not 0 (same source);
``rel_max``  greatest abs(a - b) over greatest abs(a), finite elements only: unlike ULPs it does not explode near 0;
``ulp_*``    median and 99th percentile of the distance in units in the last place, over the elements that differ;
             integers count by 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np

Array = np.ndarray[Any, Any]

_INTEGER_OF = {2: np.int16, 4: np.int32, 8: np.int64}


@dataclass(frozen=True)
class Distance:
    """Two arrays compared; ``elements`` is how many there were to compare. A measure may overflow to infinity."""

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


@np.errstate(all="ignore")  # NaN and overflow are findings here
def distance(dtype: str, first: Array, other: Array) -> Distance:
    """Compare two arrays given as raw bytes (uint8, one dimension) of the named dtype.

    Raises:
        ValueError: they are not of one size, or empty.
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
    ulps = _apart(i[differs & finite], j[differs & finite])
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


@np.errstate(all="ignore")  # NaN and overflow are findings here
def error(dtype: str, raw: Array, reference: Array) -> Mapping[str, float]:
    """Error against a float64 reference: the greatest over the greatest value, and root mean square over the same.

    Raises:
        ValueError: not as many elements as the reference has.
    """
    found, _ = numbers(dtype, raw)
    wanted = np.asarray(reference, dtype=np.float64).reshape(-1)
    if found.size != wanted.size:
        raise ValueError(f"{found.size} elements, and {wanted.size} in the reference")
    gap = np.abs(found - wanted)
    found_errors = {"max": _ratio(gap.max(), np.abs(wanted).max()), "rms": _ratio(_rms(gap), _rms(wanted))}
    return {key: value for key, value in found_errors.items() if np.isfinite(value)}


@np.errstate(all="ignore")  # NaN and overflow are findings here
def numbers(dtype: str, raw: Array) -> Tuple[Array, Array]:
    """Values as float64, and integers in the order of the values whose steps are units in the last place.

    Complex numbers count as two each. Text and other dtypes without an order have their bytes as values.
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
    whole = raw.view(kind)
    if kind == np.uint64:  # in the order of its values, in an int64
        return whole.astype(np.float64), (whole ^ np.uint64(1 << 63)).view(np.int64)
    return whole.astype(np.float64), whole.astype(np.int64)


def as_dict(found: Distance) -> Dict[str, Optional[float]]:
    """The distance as the record holds it: floats to four significant digits, None for what overflowed."""
    return {key: _plain(value) for key, value in vars(found).items()}


def _plain(value: float) -> Optional[float]:
    if isinstance(value, int):
        return value
    rounded = float(f"{value:.4g}")  # which may overflow where the value did not
    return rounded if np.isfinite(rounded) else None


def _ordered(bits: Array) -> Array:
    """Sign-magnitude bits as integers that grow with the value; -0.0 becomes -1, beside 0.0."""
    signed = bits.astype(np.int64)
    lowest = np.iinfo(bits.dtype).min
    return np.where(signed >= 0, signed, lowest - signed - 1)


def _apart(i: Array, j: Array) -> Array:
    """Distances without overflow: the difference of two int64 needs an unsigned one."""
    high, low = np.maximum(i, j), np.minimum(i, j)
    return (high.view(np.uint64) - low.view(np.uint64)).astype(np.float64)


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _ratio(top: float, bottom: float) -> float:
    return float(top / bottom) if bottom > 0 else float(top)
