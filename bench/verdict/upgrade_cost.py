"""What an upgrade costs in time: the newer column against the older one, kernel by kernel.

Two runs of one environment were measured at different times. What nearly all their kernels have in common is the
host's doing, not TensorFlow's, so it is removed from the ratios and stated once.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from bench.verdict import ratio
from bench.verdict.messages import count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.verdict.comparability import SideComparison
    from bench.verdict.ratio import TimeRatio

#: Kernel, variation, mode.
Key = tuple[str, str, str]
#: Kernels have a factor in common if there are this many, this share of them changed in its direction, and it is at
#: least this large.
_COMMON_KERNELS, _COMMON_SHARE, _COMMON_RATIO = 10, 0.9, 1.05


class UpgradeCosts(NamedTuple):
    """The time after over the time before of each kernel, or why there is none; and what all have in common.

    ``common`` is 1 if they have nothing in common, or if the environment has changed, which may be the cause.
    """

    by_kernel: dict[Key, TimeRatio | str]
    common: float = 1.0


def upgrade_costs(pair: SideComparison, obstacles: Mapping[Key, str]) -> UpgradeCosts:
    """Return what a change costs in time.

    Ratios come from pairs of both columns. Without such pairs the processes of both sides, which were measured at
    different times, are compared, corrected for the number of kernels compared in this way.
    """
    found: dict[Key, TimeRatio | str] = {}
    unpaired: dict[Key, ratio.Estimate] = {}
    other_place = cache(pair.other_place)  # the same for all kernels
    for key, obstacle in obstacles.items():
        before, after = pair.verdicts(key)
        why = obstacle or other_place(*key[1:])
        found[key] = why or "not timed on both sides"
        if why or not (before and after and before.complete and after.complete):
            continue
        times = None if pair.two_runs else pair.after.results.times.upgrade(pair.before.column, pair.after.column, *key)
        old, new = before.timing, after.timing
        if times is not None:
            found[key] = times
        elif old and new and old.paired and new.paired and old.kind is new.kind:
            unpaired[key] = ratio.welch(new.per_process, old.per_process, new.kind)
    common = _common(unpaired) if pair.two_runs and "lock" not in pair.changed_facts else 0.0
    found |= ratio.corrected({key: dataclasses.replace(one, mean=one.mean - common) for key, one in unpaired.items()})
    return UpgradeCosts({key: _decided(cost) for key, cost in found.items()}, math.exp(common))


def _common(unpaired: Mapping[Key, ratio.Estimate]) -> float:
    """Return the logarithm of the factor that the kernels of two runs have in common, 0 for none."""
    logs = [one.mean for one in unpaired.values()]
    if len(logs) < _COMMON_KERNELS:
        return 0.0
    middle = statistics.median(logs)
    same = sum((log > 0) == (middle > 0) for log in logs)
    return middle if abs(middle) >= math.log(_COMMON_RATIO) and same >= _COMMON_SHARE * len(logs) else 0.0


def _decided(cost: TimeRatio | str) -> TimeRatio | str:
    """Return a ratio that has an interval, or why there is none: a gate must not pass on a ratio without one."""
    if isinstance(cost, str) or cost.low is not None:
        return cost
    return f"only {count(cost.pairs, 'pair' if cost.paired else 'process')}, {ratio.MIN_PAIRS} needed"
