"""Changes of run times: what is slower tonight, and what of it is an alarm.

Where the environment of a column is not that of its last timed night, that one is built again from its lock, and
both are measured in timing pairs on the same night: first all kernels in a few pairs, then those that look slower in
more, batch by batch. A kernel is an alarm at a level that is shared by all kernels and batches (Bonferroni).

Where the environment is the same, there is nothing to pair with, and a time is compared with the history of its series
in this environment and on this host. What all kernels of a device have in common is the host's: it is removed, and
reported once. Locations and scales are medians and median absolute deviations, because one night in thirty is
disturbed. Being far from the usual makes a suspect (about 1 in 1,000 series by chance alone), and the second such night
an alarm.
"""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bench.history.finding import FindingKind, Shift
from bench.history.provenance import explained, same_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from bench.history.finding import Finding
    from bench.history.night import Cell, Night, Place, Series
    from bench.verdict.ratio import TimeRatio

#: Earlier nights without which a series has no usual time.
MIN_NIGHTS = 5
#: A suspect is slower than usual by this many robust standard deviations, and by at least ``MIN_RATIO``; an alarm is
#: this far from it on two nights.
SUSPECT_SIGMAS, MIN_RATIO = 4.0, 1.03
#: Timing pairs of a batch, and the most batches. The first has all kernels of a column whose environment has changed,
#: the others those that look slower: with a p-value (two-sided) of at most ``LOOKS_SLOWER``.
BATCH_PAIRS, MOST_BATCHES = 8, 6
LOOKS_SLOWER = 0.4
#: Slow nights in a row that are an alarm, and the nights in which no more than these may have been slow.
_ALARM_NIGHTS, RECENT_NIGHTS = 2, 7
#: The host is slower if what its kernels have in common is beyond both.
HOST_SIGMAS, HOST_RATIO = 4.0, 1.05
#: Series of a device without which nothing can be called common to them.
MIN_COMMON = 10
#: Chance of a false alarm on one night from pairs, over all results that were paired.
FALSE_ALARMS = 0.01
#: A median absolute deviation times this estimates a standard deviation.
_MAD = 1.4826
#: No series is taken to be steadier than this: a scale from few nights can be too small by chance.
_LEAST_SIGMA = 0.005
#: Sweeps of the median polish.
_SWEEPS = 4


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A cell that is slower than usual tonight, in the environment of its earlier nights.

    ``before`` is its last earlier night. ``nights`` counts the nights in a row on which it is slow, with this one, and
    ``recent`` those among the last ``RECENT_NIGHTS``.
    """

    place: Place
    before: Cell
    shift: Shift
    nights: int
    recent: int

    @property
    def kind(self) -> FindingKind:
        """An alarm on the second slow night in a row, unless it has been slow before."""
        if self.recent > _ALARM_NIGHTS:
            return FindingKind.STILL_SLOWER
        return FindingKind.SLOWER if self.nights == _ALARM_NIGHTS else FindingKind.UNCONFIRMED


@dataclass(frozen=True, kw_only=True)
class Times:
    """What the times of a night show beside its history: suspects, and findings about hosts."""

    suspects: tuple[Suspect, ...] = ()
    host: tuple[Finding, ...] = ()


def examine(night: Night) -> Times:
    """Return the suspects of a night, and whether its host was slower. Series with few nights are left out."""
    suspects: list[Suspect] = []
    host: list[Finding] = []
    for series in _by_device(night).values():
        group = _Group(night, series)
        suspects += group.suspects()
        host += group.host()
    return Times(suspects=tuple(suspects), host=tuple(host))


def changed_environments(night: Night) -> dict[Place, Cell]:
    """Return the timed cells whose environment is not that of their last timed night, each with that night's cell.

    Custom kernels and the suite may have changed, too, but cannot be built again.
    """
    found: dict[Place, Cell] = {}
    for series in night.series:
        before = next((cell for cell in reversed(series.earlier) if cell.seconds), None)
        if before is not None and series.tonight.seconds:
            locks = [night.facts_of(cell, series.place).get("lock") for cell in (before, series.tonight)]
            if all(locks) and locks[0] != locks[1]:
                found[series.place] = before
    return found


def from_history(night: Night, suspects: Sequence[Suspect]) -> list[Finding]:
    """Return the suspects as findings: alarms on the second slow night in a row, and not again on later ones."""
    groups: dict[tuple[FindingKind, str, int], dict[Place, Shift]] = defaultdict(dict)
    for suspect in suspects:
        groups[suspect.kind, suspect.place.column, suspect.before.run][suspect.place] = suspect.shift
    return [_finding(night, kind, run, shifts) for (kind, _, run), shifts in groups.items()]


def undecided(pairs: Mapping[Place, TimeRatio]) -> list[Place]:
    """Return the cells that are worth more pairs: those that look slower and are not yet alarms."""
    return [
        place
        for place, ratio in pairs.items()
        if ratio.ratio > 1
        and (ratio.p_value is None or ratio.p_value <= LOOKS_SLOWER)
        and not _is_slower(ratio, len(pairs))
    ]


def _is_slower(ratio: TimeRatio, paired: int) -> bool:
    level = FALSE_ALARMS / (paired * MOST_BATCHES)
    return ratio.ratio > 1 and ratio.p_value is not None and ratio.p_value <= level


def from_pairs(night: Night, before: Mapping[Place, Cell], pairs: Mapping[Place, TimeRatio]) -> list[Finding]:
    """Return what is slower than in the last environment, by pairs of the same night.

    Args:
        night: the night.
        before: the last night of each cell that was paired.
        pairs: the time tonight over that in the last environment, of all cells that were paired.
    """
    groups: dict[tuple[str, int], dict[Place, Shift]] = defaultdict(dict)
    for place, ratio in pairs.items():
        if _is_slower(ratio, len(pairs)):
            shift = Shift(ratio=ratio.ratio, low=ratio.low, high=ratio.high, paired=True)
            groups[place.column, before[place].run][place] = shift
    return [_finding(night, FindingKind.SLOWER, run, shifts) for (_, run), shifts in groups.items()]


def _finding(night: Night, kind: FindingKind, before: int, shifts: Mapping[Place, Shift]) -> Finding:
    return explained(night, kind, before, {place: shift.sentence for place, shift in shifts.items()}, shifts)


def _by_device(night: Night) -> dict[str, list[Series]]:
    """Return the series of each machine that have a time tonight and a usual time."""
    found: dict[str, list[Series]] = defaultdict(list)
    for series in night.series:
        if series.tonight.seconds and len(_timed(night, series)) > MIN_NIGHTS:
            found[series.place.machine].append(series)
    return found


def _timed(night: Night, series: Series) -> dict[int, float]:
    """Return the logarithm of the time on each night with tonight's environment and host, the oldest first, by run."""
    return {
        cell.run: math.log(cell.seconds)
        for cell in series.cells
        if cell.seconds and (cell is series.tonight or _same(night, series, cell))
    }


class _Group:
    """The series of one device. Rows of its arrays are nights, the last is tonight; columns are series."""

    def __init__(self, night: Night, series: Sequence[Series]) -> None:
        self.night, self.series = night, series
        times = [_timed(night, one) for one in series]
        runs = sorted({run for known in times for run in known})
        logs = np.array([[known.get(run, np.nan) for known in times] for run in runs])
        self.common = common_shifts(logs)
        residuals = logs - self.common[:, None]
        centre = _median(residuals[:-1], 0)
        self.residuals = residuals - centre
        spread = _MAD * _median(abs(self.residuals[:-1]), 0)
        # a scale from few nights is poor, so it is not taken to be much less than that of the other series
        self.sigma = np.maximum(spread, max(_LEAST_SIGMA, 0.5 * float(np.median(spread))))

    def suspects(self) -> Iterator[Suspect]:
        """Yield the series that are slower than usual tonight, in the environment of their last night."""
        limits = np.maximum(SUSPECT_SIGMAS * self.sigma, math.log(MIN_RATIO))
        for place in np.flatnonzero(self.residuals[-1] > limits).tolist():
            own = self.residuals[:, place]
            slow = (own[~np.isnan(own)] > limits[place]).tolist()
            yield Suspect(
                place=self.series[place].place,
                before=self._before(self.series[place]),
                shift=Shift(ratio=math.exp(self.residuals[-1, place]), smallest=math.exp(limits[place]), paired=False),
                nights=next((number for number, was in enumerate(reversed(slow)) if not was), len(slow)),
                recent=sum(slow[-RECENT_NIGHTS:]),
            )

    def _before(self, series: Series) -> Cell:
        """Return the last earlier night of a series that its times tonight are compared with."""
        return next(cell for cell in reversed(series.earlier) if cell.seconds and _same(self.night, series, cell))

    def host(self) -> Iterator[Finding]:
        """Yield a finding if what all series have in common is slower than usual."""
        if len(self.series) < MIN_COMMON:
            return
        shift, earlier = float(self.common[-1]), self.common[:-1]
        sigma = max(_MAD * float(np.median(abs(earlier - np.median(earlier)))), _LEAST_SIGMA)
        usual, limit = float(np.median(earlier)), max(HOST_SIGMAS * sigma, math.log(HOST_RATIO))
        distance = shift - usual
        if distance <= limit or earlier[-1] - usual > limit:  # one finding, not one each night
            return
        series = self.series[0]
        before = self._before(series)
        text = f"All {len(self.series)} timed results of the device share a slowdown of {math.exp(distance):.2f}x."
        found = explained(self.night, FindingKind.HOST, before.run, {series.place: text})
        # a comparison of one kernel would not show what all of them have in common
        yield replace(found, column=series.place.column.partition("@")[2], commands=())


def _same(night: Night, series: Series, before: Cell) -> bool:
    """Whether tonight's environment and host are those of an earlier night."""
    now = series.tonight
    sides = [night.facts_of(cell, series.place) for cell in (before, now)]
    hosts = {side.get("host") for side in sides}
    return len(hosts) == 1 and same_environment(sides, [before.code, now.code])


def common_shifts(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what all series have in common on each night, by median polish (Tukey, "Exploratory Data Analysis", 1977).

    Args:
        logs: float64[nights, series], the logarithms of times, each series in one environment; NaN where there is none.
            The last row is tonight's.
    """
    shifts = np.zeros(len(logs))
    for _ in range(_SWEEPS):
        residuals = logs - shifts[:, None]
        shifts += _median(residuals - _median(residuals[:-1], 0), 1)
    return shifts


def _median(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return medians without NaN; 0 where there is nothing else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy warns of rows without any number
        found = np.nanmedian(values, axis=axis)
    return np.nan_to_num(found)
