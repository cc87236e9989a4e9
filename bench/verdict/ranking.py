"""The choice: which columns fit a question, what determinism costs in each, and which is the best.

Five rules, and no weights. They are told to people in ``bench.report.build.ranking`` and computed again by the page's script:

1. A kernel counts by its worst variation with determinism on, as in the matrix. Controls never count.
2. A column *fits* if every kernel asked for is exact and, where there is a greatest overhead, each overhead is known to be
   within it: the whole interval is. It *does not fit* if a kernel gives other bits, no result, or a resolved overhead
   whose whole interval is above. Anything else is *unknown*.
3. What was measured on another device or under another driver is no evidence: the column is unknown.
4. What fits comes first; then more exact kernels; then what is unknown before what does not fit; then the lower
   overhead, where it is known to be lower. A column without a measurement has no rank and stands last.
5. The rank is one more than the number of columns known to be better. Equal ranks are ties; the strength of the
   evidence breaks none.

The overhead of a column is the median over its kernels' ratios, and lies between the medians of their lower and upper
ends: if every kernel's ratio is inside its interval, so is the median. "Known to be lower" means that the intervals of
two columns do not meet. Two columns of one rank are never known to differ, for what is better than the better one is
better than the other, too.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from bench.verdict.requirements import Requirements, asked, elsewhere
from bench.verdict.status import OF_COLUMN, SEVERITY, Status

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from bench.store.run_info import ColumnInfo
    from bench.verdict.requirements import Asked
    from bench.verdict.results import RunResults, Verdict
    from bench.verdict.timing import Overhead

#: With determinism on these are answers: it gave other bits, or no result.
ANSWERS = frozenset(
    {
        *(Status.NONDETERMINISTIC, Status.REPRODUCIBLE_IN_PROCESS, Status.CRASHED, Status.OOM, Status.TIMEOUT),
        *(Status.ERROR, Status.UNSUPPORTED, Status.INCOMPATIBLE),
    }
)
UNMEASURED = OF_COLUMN | {Status.NOT_RUN, Status.OUTDATED}


class Fit(StrEnum):
    """Whether a column gives what is asked; the best first."""

    FITS = "fits"
    UNKNOWN = "unknown"
    NOT = "does not fit"


_ORDER = {fit: place for place, fit in enumerate(Fit)}


class Kind(StrEnum):
    """What speaks against a column or is not known of it, besides a status."""

    DEAR = "dear"
    OVERHEAD = "overhead"
    ABSENT = "absent"
    ELSEWHERE = "elsewhere"
    NOTHING = "nothing"


@dataclass(frozen=True, kw_only=True)
class Concern:
    """Something against a column, or not known of it. ``kernels`` are (kernel, variation), "" for the first one.

    ``why`` is a sentence or part of one where the kind does not say it all.
    """

    kind: Kind | Status
    kernels: tuple[tuple[str, str], ...] = ()
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class OverheadSummary:
    """What determinism costs over some kernels of one column, under the first variation.

    ``kernels`` counts those asked for, ``priced`` those with a ratio, ``resolved`` those whose ratio may be stated.
    ``median`` is over the ratios of all priced ones, None without any; ``low`` and ``high`` are the medians of their
    lower and upper ends, None where so many have no interval that it is unbounded. ``dearest`` and ``cheapest`` are
    (kernel, overhead) of the resolved ones.
    """

    kernels: int
    priced: int
    resolved: int
    median: float | None
    low: float | None
    high: float | None
    dearest: tuple[str, Overhead] | None
    cheapest: tuple[str, Overhead] | None


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One column as an answer to a question.

    ``rank`` counts from 1 and is None where nothing was measured for the question; ``tied`` says whether another
    column has it too. ``reproducible`` of ``kernels`` kernels are exact; behind each of them are at least ``compared``
    independent comparisons, and at most the share ``bound`` of processes differs. ``reasons`` say why it does not
    fit, ``unknowns`` what is not known of it. ``counts`` has the kernels by their status, the best first.
    """

    column: str
    fit: Fit
    rank: int | None
    tied: bool
    reproducible: int
    kernels: int
    compared: int
    bound: float
    bill: OverheadSummary
    counts: tuple[tuple[Status, int], ...]
    reasons: tuple[Concern, ...]
    unknowns: tuple[Concern, ...]


def bill(results: RunResults, column: str, kernels: Sequence[str]) -> OverheadSummary:
    """What determinism costs in a column over some kernels, under the first variation."""
    first = results.variations[0]
    paid = [
        (name, results.overheads[column, name, first]) for name in kernels if (column, name, first) in results.overheads
    ]
    stated = sorted(((name, overhead) for name, overhead in paid if overhead.resolved), key=lambda one: one[1].ratio)
    low = statistics.median([overhead.low or 0.0 for _, overhead in paid]) if paid else 0.0
    high = statistics.median([overhead.high or math.inf for _, overhead in paid]) if paid else math.inf
    return OverheadSummary(
        kernels=len(kernels),
        priced=len(paid),
        resolved=len(stated),
        median=statistics.median(overhead.ratio for _, overhead in paid) if paid else None,
        low=low if low > 0 and math.isfinite(high) else None,
        high=high if low > 0 and math.isfinite(high) else None,
        dearest=stated[-1] if stated else None,
        cheapest=stated[0] if stated else None,
    )


def choose(results: RunResults, question: Requirements | None = None) -> tuple[Candidate, ...]:
    """Every column of a run as an answer, the best first; of equal ones in the order of run.json.

    Without a question: all kernels, any overhead, each column on its own device.
    """
    question = question or Requirements()
    wanted = asked(results, question)
    found = [_candidate(results, column, question, wanted) for column in results.info.columns]
    ranked = _ranked(found)
    return tuple(sorted(ranked, key=lambda one: (one.rank or math.inf, _ORDER[one.fit])))


def _ranked(found: Sequence[Candidate]) -> list[Candidate]:
    """One more than the number of measured columns that are known to be better."""
    groups: dict[tuple[bool, int, int], list[Candidate]] = {}
    for one in found:
        if one.rank is not None:
            groups.setdefault((one.fit is not Fit.FITS, -one.reproducible, _ORDER[one.fit]), []).append(one)
    ranks: dict[str, int] = {}
    ahead = 1
    for _, group in sorted(groups.items()):
        highs = sorted(one.bill.high for one in group if one.bill.high is not None)
        ranks |= {one.column: ahead + (bisect_left(highs, one.bill.low) if one.bill.low else 0) for one in group}
        ahead += len(group)
    shared = Counter(ranks.values())
    return [
        replace(one, rank=ranks[one.column], tied=shared[ranks[one.column]] > 1) if one.column in ranks else one
        for one in found
    ]


def _candidate(results: RunResults, column: ColumnInfo, question: Requirements, wanted: Asked) -> Candidate:
    """A column without its rank among others: 1 where it gets one."""
    heads = {name: results.headline(column.id, name, "on") for name in wanted.kernels}
    measured = any(head is not None and head.status not in UNMEASURED for head in heads.values())
    other = elsewhere(results, column, question)
    if other and not measured:  # also what cannot be on one device may be on another
        other = "not run on the device asked about"
    if other:
        return _nothing(column, len(heads), Concern(kind=Kind.ELSEWHERE, why=other))
    by_status = _by_status(results, column, heads)
    reasons, unknowns = _concerns(results, column, by_status)
    if question.max_overhead is not None:
        exact = {name for name, _ in by_status.get(Status.REPRODUCIBLE, ())}
        dear, unsure = _overheads(results, column, list(heads), exact, question.max_overhead)
        reasons += [Concern(kind=Kind.DEAR, kernels=dear)] if dear else []
        unknowns += [Concern(kind=Kind.OVERHEAD, kernels=unsure)] if unsure else []
    if wanted.absent:
        unknowns.append(Concern(kind=Kind.ABSENT, kernels=tuple((name, "") for name in wanted.absent)))
    if not heads and not wanted.absent:
        unknowns.append(Concern(kind=Kind.NOTHING))
    strengths = [
        verdict.comparison
        for name, _ in by_status.get(Status.REPRODUCIBLE, ())
        for verdict in results.over_variations(column.id, name, "on")
    ]
    return Candidate(
        column=column.id,
        fit=Fit.NOT if reasons else Fit.UNKNOWN if unknowns else Fit.FITS,
        rank=1 if measured else None,
        tied=False,
        reproducible=len(by_status.get(Status.REPRODUCIBLE, ())),
        kernels=len(heads),
        compared=min((found.compared for found in strengths), default=0),
        bound=max((found.bound for found in strengths), default=1.0),
        bill=bill(results, column.id, wanted.kernels),
        counts=tuple((status, len(by_status[status])) for status in reversed(SEVERITY) if status in by_status),
        reasons=tuple(reasons),
        unknowns=tuple(unknowns),
    )


def _nothing(column: ColumnInfo, kernels: int, concern: Concern) -> Candidate:
    """A column that says nothing about what is asked: no number of it may be shown."""
    empty = OverheadSummary(
        kernels=kernels, priced=0, resolved=0, median=None, low=None, high=None, dearest=None, cheapest=None
    )
    return Candidate(
        column=column.id, fit=Fit.UNKNOWN, rank=None, tied=False, reproducible=0, kernels=kernels, compared=0, bound=1.0,
        bill=empty, counts=(), reasons=(), unknowns=(concern,),
    )  # fmt: skip


def _by_status(
    results: RunResults, column: ColumnInfo, heads: Mapping[str, Verdict | None]
) -> dict[Status, list[tuple[str, str]]]:
    """The kernels by their worst status, each with the variation that it is the worst under."""
    first = results.variations[0]
    found: dict[Status, list[tuple[str, str]]] = {}
    for name, head in heads.items():
        status = head.status if head else Status.NOT_RUN
        variation = head.variation if head and head.variation != first and column.id not in results.unmeasured else ""
        found.setdefault(status, []).append((name, variation))
    return found


def _concerns(
    results: RunResults, column: ColumnInfo, by_status: Mapping[Status, list[tuple[str, str]]]
) -> tuple[list[Concern], list[Concern]]:
    """What speaks against a column, and what is unknown of it; of a column without any number one thing only."""
    if column.id in results.unmeasured:
        status, why = results.unmeasured[column.id]
        told = [Concern(kind=status, why=why)]
    else:
        told = [
            Concern(kind=status, kernels=tuple(by_status[status]))
            for status in SEVERITY
            if status in by_status and status is not Status.REPRODUCIBLE
        ]
    return [one for one in told if one.kind in ANSWERS], [one for one in told if one.kind not in ANSWERS]


def _overheads(
    results: RunResults, column: ColumnInfo, names: Sequence[str], exact: Collection[str], limit: float
) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """Kernels that are known to cost more, and exact ones that are not known to cost at most so much."""
    paid = {name: owed(results, column.id, name) for name in names}
    dear = [
        name for name, all_ in paid.items() if any(one and one.resolved and (one.low or 0.0) > limit for one in all_)
    ]
    within = [
        name
        for name, all_ in paid.items()
        if all(one is not None and one.high is not None and one.high <= limit for one in all_)
    ]
    unsure = [name for name in paid if name in exact and name not in {*dear, *within}]
    return tuple((name, "") for name in dear), tuple((name, "") for name in unsure)


def owed(results: RunResults, column: str, kernel: str) -> tuple[Overhead | None, ...]:
    """The overhead of a kernel under the first variation, and under every other one with timed calls; None is unknown."""
    first, *others = results.variations
    timed = [
        one.variation
        for one in results.over_variations(column, kernel, "on")
        if one.variation in others and any(observation.timed for observation in one.observations)
    ]
    return tuple(results.overheads.get((column, kernel, one)) for one in (first, *timed))
