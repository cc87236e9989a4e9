"""Ranks columns by how well they meet requirements: which fit, what determinism costs in each, and which is best.

There are five rules and no weights. ``bench.report.build.ranking`` words them for users:

1. A kernel counts by its verdict with determinism on under the first variation (``default``), and by the worst verdict
   if the requirements name more variations. All others are only reported (``also_under``). Controls never count.
2. A column *fits* if every required kernel is reproducible and, with a maximum overhead, each overhead is known to be
   below it: the whole interval is. It *does not fit* if a kernel is not reproducible, does not run, or has a
   significant overhead whose whole interval is above the maximum. Anything else is *unknown*.
   A kernel that has other bits on another host with the same device model is not reproducible, and where it is not
   known to have the same bits on all hosts that the run measured, it is unknown.
3. Results from another device or driver are no evidence: the column is unknown.
4. Columns that fit come first; then more reproducible kernels; then unknown before does not fit; then the lower
   overhead, if it is known to be lower. A column without a measurement has no rank and comes last.
5. The rank is one more than the number of columns known to be better. Equal ranks are ties; the amount of evidence
   breaks none.

The overhead of a column is the median over its kernels' ratios, and lies between the medians of their lower and upper
limits: if every kernel's ratio is inside its interval, so is the median. "Known to be lower" means that the intervals
of two columns do not overlap. Two columns of one rank are never known to differ, because a column that is better than
the better one of them is better than the other one, too.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from bench.verdict.host_groups import Agreement
from bench.verdict.hosts import compare_hosts, not_the_same
from bench.verdict.requirements import Requirements, deciding_variations, not_applicable, required_kernels
from bench.verdict.status import SEVERITY, UNMEASURED, Status, severity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from bench.store.run_info import ColumnInfo
    from bench.verdict.ratio import TimeRatio
    from bench.verdict.requirements import RequiredKernels
    from bench.verdict.results import RunResults, Verdict

#: With determinism on, these statuses speak against a column: other bits, or no result at all.
NOT_REPRODUCIBLE = frozenset({Status.NONDETERMINISTIC, Status.REPRODUCIBLE_IN_PROCESS})
DOES_NOT_RUN = frozenset(
    {Status.CRASHED, Status.OOM, Status.TIMEOUT, Status.ERROR, Status.UNSUPPORTED, Status.INCOMPATIBLE}
)
#: Statuses of kernels without a measurement that counts.
_WITHOUT_RESULT = UNMEASURED | {Status.MISMATCH}


class Fit(StrEnum):
    """Whether a column meets the requirements; the best first."""

    FITS = "fits"
    UNKNOWN = "unknown"
    NOT = "does not fit"


_ORDER = {fit: place for place, fit in enumerate(Fit)}


class ConcernKind(StrEnum):
    """What speaks against a column or is unknown, besides a status."""

    OVER_LIMIT = "over-limit"
    OVERHEAD = "overhead"
    ABSENT = "absent"
    ELSEWHERE = "elsewhere"
    NOTHING = "nothing"
    OTHER_HOST = "other bits on another host"
    UNKNOWN_HOST = "not known to be the same on its other hosts"


@dataclass(frozen=True, kw_only=True)
class Concern:
    """Something that speaks against a column, or is unknown. ``kernels`` are (kernel, variation), "" for the first one.

    ``why`` is a sentence or part of one if the kind does not say everything.
    """

    kind: ConcernKind | Status
    kernels: tuple[tuple[str, str], ...] = ()
    why: str = ""

    @property
    def not_reproducible(self) -> bool:
        """Whether these kernels ran and gave different bits."""
        return self.kind in NOT_REPRODUCIBLE

    @property
    def does_not_run(self) -> bool:
        """Whether these kernels, or the whole column, gave no result."""
        return self.kind in DOES_NOT_RUN


@dataclass(frozen=True, kw_only=True)
class OverheadSummary:
    """What determinism costs over some kernels of one column, under the first variation.

    ``kernels`` counts the required ones, ``timed`` those with a ratio, ``significant`` those with a significant ratio.
    ``median`` is over the ratios of all timed ones, None without any; ``low`` and ``high`` are the medians of their
    lower and upper limits, None if so many have no interval that it is unbounded. ``slowest`` and ``fastest`` are
    (kernel, overhead) of the significant ones; both may be above or below 1.
    """

    kernels: int
    timed: int = 0
    significant: int = 0
    median: float | None = None
    low: float | None = None
    high: float | None = None
    slowest: tuple[str, TimeRatio] | None = None
    fastest: tuple[str, TimeRatio] | None = None


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One column, compared with the requirements.

    ``rank`` counts from 1 and is None if nothing was measured that applies; ``tied`` says whether another
    column shares it. ``reproducible`` of ``kernels`` kernels are reproducible; behind each of them are at least
    ``compared`` independent comparisons, and at most the share ``bound`` of processes can differ. ``reasons`` say why
    it does not fit, ``unknowns`` what is not known. ``counts`` has the kernels by status, the best first.

    ``fits_without`` has the concerns whose kernels are all that keeps the column from fitting: without these kernels it
    would fit. It is empty if the column fits, or if more stands in the way. ``also_under`` has the kernels that are
    worse under variations that do not count.
    """

    column: str
    fit: Fit
    rank: int | None
    tied: bool
    reproducible: int
    kernels: int
    compared: int
    bound: float
    overhead: OverheadSummary
    counts: tuple[tuple[Status, int], ...]
    reasons: tuple[Concern, ...]
    unknowns: tuple[Concern, ...]
    fits_without: tuple[Concern, ...] = ()
    also_under: tuple[Concern, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether it meets the requirements; without any: whether every kernel is reproducible."""
        return self.fit is Fit.FITS

    @property
    def on_other_hosts(self) -> tuple[tuple[ConcernKind, int], ...]:
        """Numbers of kernels that are reproducible in this column, but have other or unknown bits on another host."""
        kinds = (ConcernKind.OTHER_HOST, ConcernKind.UNKNOWN_HOST)
        concerns = (*self.reasons, *self.unknowns)
        return tuple((kind, len(one.kernels)) for one in concerns for kind in kinds if one.kind is kind)


def summarize_overheads(results: RunResults, column: str, kernels: Sequence[str]) -> OverheadSummary:
    """Summarize what determinism costs in a column over some kernels, under the first variation."""
    first = results.variations[0]
    timed = [
        (name, overhead) for name in kernels if (overhead := results.overheads.get((column, name, first))) is not None
    ]
    if not timed:
        return OverheadSummary(kernels=len(kernels))
    significant = sorted((item for item in timed if item[1].significant), key=lambda item: item[1].ratio)
    low = statistics.median([overhead.low or 0.0 for _, overhead in timed])
    high = statistics.median([overhead.high or math.inf for _, overhead in timed])
    bounded = low > 0 and math.isfinite(high)
    return OverheadSummary(
        kernels=len(kernels),
        timed=len(timed),
        significant=len(significant),
        median=statistics.median(overhead.ratio for _, overhead in timed),
        low=low if bounded else None,
        high=high if bounded else None,
        slowest=significant[-1] if significant else None,
        fastest=significant[0] if significant else None,
    )


def choose(results: RunResults, requirements: Requirements | None = None) -> tuple[Candidate, ...]:
    """Return every column of a run as a candidate, the best first; equal ones in the order of run.json.

    Without requirements: all kernels, any overhead, each column on its own device.

    Raises:
        ConfigError: a kernel or a variation that does not exist.
    """
    requirements = requirements or Requirements()
    required = required_kernels(results.info, requirements)
    variations = deciding_variations(results, requirements)
    hosts = results.hosts
    if hosts and (requirements.device or requirements.driver):
        columns = [one.id for one in results.info.columns if not not_applicable(results, one, requirements)]
        hosts = compare_hosts(results, columns)
    candidates = [
        _candidate(results, column, requirements, required, variations, not_the_same(hosts, column.id))
        for column in results.info.columns
    ]
    ranked = _ranked(candidates)
    return tuple(sorted(ranked, key=lambda candidate: (candidate.rank or math.inf, _ORDER[candidate.fit])))


def _ranked(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Set each rank to one more than the number of measured columns that are known to be better."""
    groups: dict[tuple[bool, int, int], list[Candidate]] = {}
    for candidate in candidates:
        if candidate.rank is not None:
            key = (candidate.fit is not Fit.FITS, -candidate.reproducible, _ORDER[candidate.fit])
            groups.setdefault(key, []).append(candidate)
    ranks: dict[str, int] = {}
    ahead = 1
    for _, group in sorted(groups.items()):
        highs = sorted(one.overhead.high for one in group if one.overhead.high is not None)
        ranks |= {
            one.column: ahead + (bisect_left(highs, one.overhead.low) if one.overhead.low else 0) for one in group
        }
        ahead += len(group)
    shared = Counter(ranks.values())
    return [
        replace(candidate, rank=ranks[candidate.column], tied=shared[ranks[candidate.column]] > 1)
        if candidate.column in ranks
        else candidate
        for candidate in candidates
    ]


def _candidate(
    results: RunResults,
    column: ColumnInfo,
    requirements: Requirements,
    required: RequiredKernels,
    variations: tuple[str, ...],
    other_hosts: Mapping[Agreement, Collection[str]],
) -> Candidate:
    """Compare a column with the requirements. Its rank is 1 if it gets one at all."""
    verdicts = {name: results.worst(column.id, name, "on", variations) for name in required.kernels}
    measured = any(verdict is not None and verdict.status not in _WITHOUT_RESULT for verdict in verdicts.values())
    other = not_applicable(results, column, requirements)
    if other and not measured:  # what is incompatible with one device may run on another
        other = "not run on the required device"
    if other:
        return _no_evidence(column, len(verdicts), Concern(kind=ConcernKind.ELSEWHERE, why=other))
    by_status = _by_status(results, column, verdicts, variations)
    here = [name for name, _ in by_status.get(Status.REPRODUCIBLE, ())]
    reasons, unknowns = _concerns(results, column, by_status)
    reasons += _concern_about(
        ConcernKind.OTHER_HOST, [name for name in here if name in other_hosts[Agreement.CONFLICT]]
    )
    unknowns += _concern_about(
        ConcernKind.UNKNOWN_HOST, [name for name in here if name in other_hosts[Agreement.UNKNOWN]]
    )
    reproducible = [name for name in here if not any(name in names for names in other_hosts.values())]
    if requirements.max_overhead is not None:
        over, unsure = _overheads(results, column, verdicts, variations, requirements.max_overhead)
        reasons += _concern_about(ConcernKind.OVER_LIMIT, over)
        unknowns += _concern_about(ConcernKind.OVERHEAD, [name for name in unsure if name in reproducible])
    unknowns += _concern_about(ConcernKind.ABSENT, required.absent)
    if not verdicts and not required.absent:
        unknowns.append(Concern(kind=ConcernKind.NOTHING))
    evidence = [
        verdict.comparison
        for name in reproducible
        for verdict in results.over_variations(column.id, name, "on")
        if verdict.variation in variations
    ]
    return Candidate(
        column=column.id,
        fit=Fit.NOT if reasons else Fit.UNKNOWN if unknowns else Fit.FITS,
        rank=1 if measured else None,
        tied=False,
        reproducible=len(reproducible),
        kernels=len(verdicts),
        compared=min((comparison.compared for comparison in evidence), default=0),
        bound=max((comparison.bound for comparison in evidence), default=1.0),
        overhead=summarize_overheads(results, column.id, required.kernels),
        counts=tuple((status, len(by_status[status])) for status in reversed(SEVERITY) if status in by_status),
        reasons=tuple(reasons),
        unknowns=tuple(unknowns),
        fits_without=_fits_without(required.kernels, [*reasons, *unknowns]),
        also_under=_also_under(results, column, required.kernels, variations),
    )


def _no_evidence(column: ColumnInfo, kernels: int, concern: Concern) -> Candidate:
    """Return a candidate whose results do not apply: none of its numbers may be shown."""
    return Candidate(
        column=column.id, fit=Fit.UNKNOWN, rank=None, tied=False, reproducible=0, kernels=kernels, compared=0,
        bound=1.0, overhead=OverheadSummary(kernels=kernels), counts=(), reasons=(), unknowns=(concern,),
    )  # fmt: skip


def _by_status(
    results: RunResults, column: ColumnInfo, verdicts: Mapping[str, Verdict | None], variations: Sequence[str]
) -> dict[Status, list[tuple[str, str]]]:
    """Group the kernels by status, each with the variation it has this status under, "" for the first one.

    A kernel that was not planned under one of the variations was not run there.
    """
    first = results.variations[0]
    groups: dict[Status, list[tuple[str, str]]] = {}
    for name, verdict in verdicts.items():
        status, where = (verdict.status, verdict.variation) if verdict else (Status.NOT_RUN, first)
        unplanned = next((one for one in variations if results.of(column.id, name, one, "on") is None), "")
        if unplanned and severity(status) > severity(Status.NOT_RUN):
            status, where = Status.NOT_RUN, unplanned
        named = where != first and column.id not in results.unmeasured
        groups.setdefault(status, []).append((name, where if named else ""))
    return groups


def _concerns(
    results: RunResults, column: ColumnInfo, by_status: Mapping[Status, list[tuple[str, str]]]
) -> tuple[list[Concern], list[Concern]]:
    """Return what speaks against a column, and what is unknown; only one concern for a column without results."""
    if column.id in results.unmeasured:
        status, why = results.unmeasured[column.id]
        concerns = [Concern(kind=status, why=why)]
    else:
        concerns = [
            Concern(kind=status, kernels=tuple(by_status[status]))
            for status in SEVERITY
            if status in by_status and status is not Status.REPRODUCIBLE
        ]
    against = [concern for concern in concerns if concern.not_reproducible or concern.does_not_run]
    return against, [concern for concern in concerns if concern not in against]


def _fits_without(kernels: Collection[str], concerns: Sequence[Concern]) -> tuple[Concern, ...]:
    """Return all concerns if leaving out their kernels would make the column fit, else nothing."""
    left_out = {name for concern in concerns for name, _ in concern.kernels}
    enough = all(concern.kernels for concern in concerns) and set(kernels) - left_out
    return tuple(concerns) if enough else ()


def _also_under(
    results: RunResults, column: ColumnInfo, kernels: Sequence[str], variations: Collection[str]
) -> tuple[Concern, ...]:
    """Return the kernels that are worse under variations that do not count, by status, the worst first."""
    if column.id in results.unmeasured:
        return ()
    worse: dict[Status, list[tuple[str, str]]] = {}
    for name in kernels:
        for verdict in results.worse_under(column.id, name, "on", variations):
            worse.setdefault(verdict.status, []).append((name, verdict.variation))
    return tuple(Concern(kind=status, kernels=tuple(worse[status])) for status in SEVERITY if status in worse)


def _overheads(
    results: RunResults, column: ColumnInfo, kernels: Collection[str], variations: Sequence[str], limit: float
) -> tuple[list[str], list[str]]:
    """Return the kernels known to cost more than a limit, and those not known to be within it."""
    overheads = {name: overheads_of(results, column.id, name, variations) for name in kernels}
    over = [
        name
        for name, known in overheads.items()
        if any(overhead and overhead.significant and (overhead.low or 0.0) > limit for overhead in known)
    ]
    unsure = [
        name
        for name, known in overheads.items()
        if name not in over
        and not all(overhead and overhead.high is not None and overhead.high <= limit for overhead in known)
    ]
    return over, unsure


def _concern_about(kind: ConcernKind, kernels: Iterable[str]) -> list[Concern]:
    """Return the concern of this kind about kernels under the variation that decides; none without a kernel."""
    named = tuple((name, "") for name in kernels)
    return [Concern(kind=kind, kernels=named)] if named else []


def overheads_of(
    results: RunResults, column: str, kernel: str, variations: Sequence[str]
) -> tuple[TimeRatio | None, ...]:
    """Return the overheads of a kernel: under the first variation, and under all others given that were timed.

    None is unknown.
    """
    first = results.variations[0]
    others = [variation for variation in variations if variation != first]
    timed = [variation for variation in others if (column, kernel, variation) in results.overheads]
    return tuple(results.overheads.get((column, kernel, variation)) for variation in (first, *timed))
