"""What a kernel takes: time and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report.text import DASH, seconds, significant
from bench.report.view import Cost
from bench.verdict.timing import Kind

if TYPE_CHECKING:
    from bench.verdict.judgement import Verdict

_GB = 1000.0


def cost(verdict: Verdict) -> Cost:
    """Wall and CPU time of a call, first call and peak memory."""
    timing = verdict.timing
    peak, gpu_peak = memory(verdict.peak_mb), memory(verdict.peak_gpu_mb)
    if timing is None:
        return Cost(peak=peak, gpu_peak=gpu_peak)
    steady = timing.kind is Kind.STEADY
    alike = timing.low_s == timing.high_s
    return Cost(
        wall=seconds(timing.median_s) if steady else "",
        span="" if alike else f"{seconds(timing.low_s)} {DASH} {seconds(timing.high_s)}",
        cpu=_known(timing.cpu_median_s),
        first=_known(timing.first_median_s if steady else timing.median_s),
        peak=peak,
        gpu_peak=gpu_peak,
    )


def _known(time: float | None) -> str:
    return seconds(time) if time is not None else ""


def memory(megabytes: float | None) -> str:
    """``512 MB``, ``1.25 GB``; "" where unknown."""
    if megabytes is None:
        return ""
    return f"{significant(megabytes / _GB)} GB" if megabytes >= _GB else f"{megabytes:.0f} MB"
