"""The quality of the times of a run."""

from __future__ import annotations

from dataclasses import dataclass

from bench.report.view.fields import Hidden, Texts


@dataclass(frozen=True, kw_only=True)
class NoiseFloor:
    """Off timed against off, on a few kernels: the true ratio is 1, and what differs is noise of the host.

    ``contain_one`` of the intervals of ``kernels`` results contain 1. ``typical`` and ``largest`` are the median and
    the maximum of the ratios' distance from 1. ``biased`` has the results whose interval excludes 1 although all are
    corrected for their number: there the timing itself is wrong.
    """

    sentence: Hidden[str]
    kernels: int
    contain_one: int
    typical: float
    largest: float
    biased: Texts = ()
