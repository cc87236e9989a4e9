"""From the records of pairs to times and ratios of times.

In one pair, the median of the calls of a block is one time. Successive blocks are taken in groups in which each side
has as many (a b b a, b a a b, or a b), so that a steady drift of the host cancels; each group gives one logarithm of
time b over time a, and the value of the pair is their mean without the lowest and the highest quarter, so that one
disturbed group among four or more cannot move a pair. One pair is one value for ``bench.verdict.ratio``, however many
calls it has.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from bench.verdict import ratio
from bench.verdict.gpu_timing import discard_reason, discarded_timings
from bench.verdict.pair_records import sort_pairs
from bench.verdict.ratio import PairValues
from bench.verdict.timing import TimeKind, Timing, median

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bench.store.run import Run
    from bench.suite.paired_record import PairedKernel, PairedRecord
    from bench.verdict.gpu_timing import DiscardedTimings
    from bench.verdict.ratio import TimeRatio

#: What is compared: name, columns of sides a and b, their modes, kernel, and variation.
Key = tuple[str, tuple[str, str], tuple[str, str], str, str]
#: Blocks that form a group: a b b a.
_GROUP = 4
#: Comparisons in the order in which they are searched for the times of a column and mode.
_SOURCES = ("overhead", "upgrade", "noise-floor")


class TimedKernel(NamedTuple):
    """A kernel in one of its pairs, and the logarithm of time b over time a there; None if it has no usable times."""

    record: PairedRecord
    kernel: PairedKernel
    log: float | None


def log_ratio(kernel: PairedKernel) -> float | None:
    """Return the logarithm of time b over time a in one pair; None if the kernel has no usable times."""
    if kernel.outcome != "ok" or discard_reason(kernel):
        return None
    logs = sorted(_of_groups(kernel))
    cut = len(logs) // 4
    return statistics.fmean(logs[cut : len(logs) - cut]) if logs else None


def _of_groups(kernel: PairedKernel) -> Iterator[float]:
    """Yield one logarithm for each group of successive blocks in which both sides have as many."""
    times = [(block.side, known) for block in kernel.blocks if (known := median(block.seconds)) is not None]
    group: list[tuple[str, float]] = []
    for place, time in enumerate(times, 1):
        group.append(time)
        sides = [[math.log(seconds) for side, seconds in group if side == name] for name in ("a", "b")]
        if len(sides[0]) == len(sides[1]) and (len(group) >= _GROUP or place == len(times)):
            yield statistics.fmean(sides[1]) - statistics.fmean(sides[0])
            group = []


class PairedTimes:
    """The times and ratios of a run, by what is compared. Everything is computed once, when it is first used.

    ``records`` are the pairs that count; ``left_out`` has the paths of the others, each with the reason.
    """

    def __init__(self, run: Run) -> None:
        self.records, self.left_out = sort_pairs(run)
        self._controls = {kernel.name for kernel in run.info.kernels if kernel.control}

    @cached_property
    def kernels(self) -> dict[Key, list[TimedKernel]]:
        """Every kernel that was timed, in each of its pairs by number, without controls."""
        found: dict[Key, list[TimedKernel]] = defaultdict(list)
        for record in sorted(self.records, key=lambda record: record.number):
            a, b = record.requests["a"], record.requests["b"]
            for timed in _last(record):
                name = timed.kernel.kernel
                if name not in self._controls:
                    found[record.comparison, (a.column, b.column), (a.mode, b.mode), name, b.variation].append(timed)
        return dict(found)

    @cached_property
    def ratios(self) -> dict[Key, TimeRatio]:
        """All ratios. They share what is known of variances, and are corrected within each comparison.

        A comparison is a family of its own: overheads, upgrades, and the noise floor.
        """
        known = {key: values for key, pairs in self.kernels.items() if (values := pair_values(pairs)) is not None}
        estimates = ratio.estimates(known)
        found: dict[Key, TimeRatio] = {}
        for comparison in _SOURCES:
            found |= ratio.corrected({key: one for key, one in estimates.items() if key[0] == comparison})
        return found

    def overhead(self, column: str, kernel: str, variation: str) -> TimeRatio | None:
        """Return time on over time off; None if no pair measured both."""
        return self.ratios.get(("overhead", (column, column), ("off", "on"), kernel, variation))

    def upgrade(self, before: str, after: str, kernel: str, variation: str, mode: str) -> TimeRatio | None:
        """Return the time in column ``after`` over that in ``before``, whichever was side b; None if unknown."""
        forward = self.ratios.get(("upgrade", (before, after), (mode, mode), kernel, variation))
        if forward is not None:
            return forward
        backward = self.ratios.get(("upgrade", (after, before), (mode, mode), kernel, variation))
        return backward.inverted if backward else None

    @property
    def overheads(self) -> list[TimeRatio]:
        """The ratios on to off of all columns, kernels and variations: the family that is corrected together."""
        return [found for key, found in self.ratios.items() if key[0] == "overhead"]

    @property
    def noise_floor(self) -> dict[tuple[str, str], TimeRatio]:
        """Off against off by (column, kernel): the true ratio is 1, so what differs is noise of the host."""
        return {(key[1][1], key[3]): found for key, found in self.ratios.items() if key[0] == "noise-floor"}

    def timing(self, column: str, kernel: str, variation: str, mode: str) -> Timing | None:
        """Return the times of one kernel in one column and mode, None without any.

        They come from its overhead pairs; only where there are none, from those of another comparison.
        """
        for sides in self._of_column(column, kernel, variation, mode):
            usable = [(side, one) for side, one in sides if one.outcome == "ok" and not discard_reason(one)]
            kind = _kind([one for _, one in usable])
            times = [(side, one) for side, one in usable if one.kind == kind]
            medians = [known for side, one in times if (known := _median(one, side, "seconds")) is not None]
            if medians:
                return Timing(
                    kind=kind,
                    per_process=tuple(medians),
                    cpu_median_s=median(_median(one, side, "cpu_seconds") for side, one in times),
                    first_median_s=median(one.first_seconds.get(side) for side, one in times),
                )
        return None

    def discarded(self, column: str, kernel: str, variation: str, mode: str) -> DiscardedTimings | None:
        """Return which times of one kernel in one column and mode were left out, None if all count."""
        sides = next(self._of_column(column, kernel, variation, mode), [])
        return discarded_timings([one for _, one in sides])

    def of_column(self, column: str) -> Sequence[PairedKernel]:
        """Return every kernel that was timed in a column, once for each pair."""
        return self._by_column.get(column, ())

    @cached_property
    def _by_column(self) -> dict[str, list[PairedKernel]]:
        found: dict[str, list[PairedKernel]] = defaultdict(list)
        for (_, columns, *_), pairs in self.kernels.items():
            for column in dict.fromkeys(columns):
                found[column] += [timed.kernel for timed in pairs]
        return found

    def _of_column(
        self, column: str, kernel: str, variation: str, mode: str
    ) -> Iterator[list[tuple[str, PairedKernel]]]:
        """Yield the pairs of each comparison that timed this, each with the side that did."""
        for comparison in _SOURCES:
            timed = self._sides.get((comparison, column, mode, kernel, variation))
            if timed:
                yield timed

    @cached_property
    def _sides(self) -> dict[tuple[str, str, str, str, str], list[tuple[str, PairedKernel]]]:
        """The pairs of each comparison by column and mode, each with the side that was there."""
        found: dict[tuple[str, str, str, str, str], list[tuple[str, PairedKernel]]] = defaultdict(list)
        for (comparison, columns, modes, kernel, variation), pairs in self.kernels.items():
            for side, column, mode in zip("ab", columns, modes, strict=True):
                found[comparison, column, mode, kernel, variation] += [(side, timed.kernel) for timed in pairs]
        return found


def _last(record: PairedRecord) -> Iterable[TimedKernel]:
    """Return each kernel of a pair once: one that was timed again counts by its last usable times."""
    kernels: dict[str, TimedKernel] = {}
    for kernel in record.kernels:
        timed = TimedKernel(record, kernel, log_ratio(kernel))
        if timed.log is not None or kernel.kernel not in kernels:
            kernels[kernel.kernel] = timed
    return kernels.values()


def pair_values(pairs: Sequence[TimedKernel]) -> PairValues | None:
    """Return one value for each pair with usable times, None without any."""
    known = [(record, kernel, log) for record, kernel, log in pairs if log is not None]
    if not known:
        return None
    kind = _kind([kernel for _, kernel, _ in known])
    same = [(record, log) for record, kernel, log in known if kernel.kind == kind]
    return PairValues(
        kind=kind,
        logs=tuple(log for _, log in same),
        a_first=tuple(record.started_first == "a" for record, _ in same),
    )


def _kind(kernels: Sequence[PairedKernel]) -> TimeKind:
    """Return the kind of times of most pairs: one pair of another kind must not decide."""
    first = sum(kernel.kind == TimeKind.FIRST for kernel in kernels)
    return TimeKind.FIRST if first * 2 > len(kernels) else TimeKind.STEADY


def _median(kernel: PairedKernel, side: str, what: str) -> float | None:
    return median(seconds for block in kernel.blocks if block.side == side for seconds in getattr(block, what))
