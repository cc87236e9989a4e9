"""What an upgrade costs in time: the newer column against the older one, kernel by kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.verdict import ratio
from bench.verdict.messages import count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.verdict.comparability import Pair
    from bench.verdict.ratio import TimeRatio

#: Kernel, variation, mode.
Key = tuple[str, str, str]


def upgrade_costs(pair: Pair, obstacles: Mapping[Key, str]) -> dict[Key, TimeRatio | str]:
    """Return the time after over the time before of each kernel, or why there is none.

    They come from pairs of both columns. Without such pairs the processes of both sides, which were measured at
    different times, are compared, corrected for the number of kernels compared in this way.
    """
    found: dict[Key, TimeRatio | str] = {}
    unpaired: dict[Key, ratio.Estimate] = {}
    for key, obstacle in obstacles.items():
        before, after = pair.verdicts(key)
        why = obstacle or pair.other_place(*key[1:])
        found[key] = why or "not timed on both sides"
        if why or not (before and after and before.complete and after.complete):
            continue
        times = None if pair.two_runs else pair.after.results.times.upgrade(pair.before.column, pair.after.column, *key)
        old, new = before.timing, after.timing
        if times is not None:
            found[key] = times
        elif old and new and old.paired and new.paired and old.kind is new.kind:
            unpaired[key] = ratio.welch(new.per_process, old.per_process, new.kind)
    found |= ratio.corrected(unpaired)
    return {key: _decided(cost) for key, cost in found.items()}


def _decided(cost: TimeRatio | str) -> TimeRatio | str:
    """Return a ratio that has an interval, or why there is none: a gate must not pass on a ratio without one."""
    if isinstance(cost, str) or cost.low is not None:
        return cost
    return f"only {count(cost.pairs, 'pair' if cost.paired else 'process')}, {ratio.MIN_PAIRS} needed"
