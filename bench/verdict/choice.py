"""The choice: which columns fit a question, what determinism costs in each, and which is the best.

Five rules, and no weights. They are told to people in ``bench.report.choice`` and computed again by the page's script:

1. A kernel counts by its worst condition with determinism on, as in the matrix. Controls never count.
2. A column *fits* if every kernel asked for is exact and, where there is a greatest price, each price is known to be
   within it: the whole interval is. It *does not fit* if a kernel gives other bits, no result, or a resolved price
   whose whole interval is above. Anything else is *unknown*.
3. What was measured on another device or under another driver is no evidence: the column is unknown.
4. What fits comes first; then more exact kernels; then what is unknown before what does not fit; then the lower
   price, where it is known to be lower. A column without a measurement has no rank and stands last.
5. The rank is one more than the number of columns known to be better. Equal ranks are ties; the strength of the
   evidence breaks none.

The price of a column is the median over its kernels' ratios, and lies between the medians of their lower and upper
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

from bench.verdict.question import Question, asked, elsewhere
from bench.verdict.status import OF_COLUMN, SEVERITY, Status

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from bench.store.run_info import CellInfo
    from bench.verdict.judgement import Judgement, Verdict
    from bench.verdict.question import Asked
    from bench.verdict.timing import Price

#: With determinism on these are answers: it gave other bits, or no result.
ANSWERS = frozenset(
    {
        *(Status.VARIES, Status.EXACT_IN_PROCESS, Status.CRASHED, Status.OOM, Status.TIMEOUT),
        *(Status.RAISED, Status.UNSUPPORTED, Status.IMPOSSIBLE),
    }
)
UNMEASURED = OF_COLUMN | {Status.NOT_RUN, Status.STALE}


class Fit(StrEnum):
    """Whether a column gives what is asked; the best first."""

    FITS = "fits"
    UNKNOWN = "unknown"
    NOT = "does not fit"


_ORDER = {fit: place for place, fit in enumerate(Fit)}


class Kind(StrEnum):
    """What speaks against a column or is not known of it, besides a status."""

    DEAR = "dear"
    PRICE = "price"
    ABSENT = "absent"
    ELSEWHERE = "elsewhere"
    NOTHING = "nothing"


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """Something against a column, or not known of it. ``kernels`` are (kernel, condition), "" for the first one.

    ``why`` is a sentence or part of one where the kind does not say it all.
    """

    kind: Kind | Status
    kernels: tuple[tuple[str, str], ...] = ()
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Bill:
    """What determinism costs over some kernels of one column, under the first condition.

    ``kernels`` counts those asked for, ``priced`` those with a ratio, ``resolved`` those whose ratio may be stated.
    ``median`` is over the ratios of all priced ones, None without any; ``low`` and ``high`` are the medians of their
    lower and upper ends, None where so many have no interval that it is unbounded. ``dearest`` and ``cheapest`` are
    (kernel, price) of the resolved ones.
    """

    kernels: int
    priced: int
    resolved: int
    median: float | None
    low: float | None
    high: float | None
    dearest: tuple[str, Price] | None
    cheapest: tuple[str, Price] | None


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One column as an answer to a question.

    ``rank`` counts from 1 and is None where nothing was measured for the question; ``tied`` says whether another
    column has it too. ``exact`` of ``kernels`` kernels are exact; behind each of them are at least ``compared``
    independent comparisons, and at most the share ``bound`` of processes differs. ``reasons`` say why it does not
    fit, ``unknowns`` what is not known of it. ``counts`` has the kernels by their status, the best first.
    """

    cell: str
    fit: Fit
    rank: int | None
    tied: bool
    exact: int
    kernels: int
    compared: int
    bound: float
    bill: Bill
    counts: tuple[tuple[Status, int], ...]
    reasons: tuple[Doubt, ...]
    unknowns: tuple[Doubt, ...]


def bill(judgement: Judgement, cell: str, kernels: Sequence[str]) -> Bill:
    """What determinism costs in a column over some kernels, under the first condition."""
    first = judgement.conditions[0]
    paid = [(name, judgement.prices[cell, name, first]) for name in kernels if (cell, name, first) in judgement.prices]
    stated = sorted(((name, price) for name, price in paid if price.resolved), key=lambda one: one[1].ratio)
    low = statistics.median([price.low or 0.0 for _, price in paid]) if paid else 0.0
    high = statistics.median([price.high or math.inf for _, price in paid]) if paid else math.inf
    return Bill(
        kernels=len(kernels),
        priced=len(paid),
        resolved=len(stated),
        median=statistics.median(price.ratio for _, price in paid) if paid else None,
        low=low if low > 0 and math.isfinite(high) else None,
        high=high if low > 0 and math.isfinite(high) else None,
        dearest=stated[-1] if stated else None,
        cheapest=stated[0] if stated else None,
    )


def choose(judgement: Judgement, question: Question | None = None) -> tuple[Candidate, ...]:
    """Every column of a run as an answer, the best first; of equal ones in the order of run.json.

    Without a question: all kernels, any price, each column on its own device.
    """
    question = question or Question()
    wanted = asked(judgement, question)
    found = [_candidate(judgement, cell, question, wanted) for cell in judgement.info.cells]
    ranked = _ranked(found)
    return tuple(sorted(ranked, key=lambda one: (one.rank or math.inf, _ORDER[one.fit])))


def _ranked(found: Sequence[Candidate]) -> list[Candidate]:
    """One more than the number of measured columns that are known to be better."""
    groups: dict[tuple[bool, int, int], list[Candidate]] = {}
    for one in found:
        if one.rank is not None:
            groups.setdefault((one.fit is not Fit.FITS, -one.exact, _ORDER[one.fit]), []).append(one)
    ranks: dict[str, int] = {}
    ahead = 1
    for _, group in sorted(groups.items()):
        highs = sorted(one.bill.high for one in group if one.bill.high is not None)
        ranks |= {one.cell: ahead + (bisect_left(highs, one.bill.low) if one.bill.low else 0) for one in group}
        ahead += len(group)
    shared = Counter(ranks.values())
    return [
        replace(one, rank=ranks[one.cell], tied=shared[ranks[one.cell]] > 1) if one.cell in ranks else one
        for one in found
    ]


def _candidate(judgement: Judgement, cell: CellInfo, question: Question, wanted: Asked) -> Candidate:
    """A column without its rank among others: 1 where it gets one."""
    heads = {name: judgement.headline(cell.id, name, "on") for name in wanted.kernels}
    measured = any(head is not None and head.status not in UNMEASURED for head in heads.values())
    other = elsewhere(judgement, cell, question)
    if other and not measured:  # also what cannot be on one device may be on another
        other = "not run on the device asked about"
    if other:
        return _nothing(cell, len(heads), Doubt(kind=Kind.ELSEWHERE, why=other))
    by_status = _by_status(judgement, cell, heads)
    reasons, unknowns = _doubts(judgement, cell, by_status)
    if question.max_price is not None:
        exact = {name for name, _ in by_status.get(Status.EXACT, ())}
        dear, unsure = _prices(judgement, cell, list(heads), exact, question.max_price)
        reasons += [Doubt(kind=Kind.DEAR, kernels=dear)] if dear else []
        unknowns += [Doubt(kind=Kind.PRICE, kernels=unsure)] if unsure else []
    if wanted.absent:
        unknowns.append(Doubt(kind=Kind.ABSENT, kernels=tuple((name, "") for name in wanted.absent)))
    if not heads and not wanted.absent:
        unknowns.append(Doubt(kind=Kind.NOTHING))
    strengths = [
        verdict.comparison
        for name, _ in by_status.get(Status.EXACT, ())
        for verdict in judgement.over_conditions(cell.id, name, "on")
    ]
    return Candidate(
        cell=cell.id,
        fit=Fit.NOT if reasons else Fit.UNKNOWN if unknowns else Fit.FITS,
        rank=1 if measured else None,
        tied=False,
        exact=len(by_status.get(Status.EXACT, ())),
        kernels=len(heads),
        compared=min((found.compared for found in strengths), default=0),
        bound=max((found.bound for found in strengths), default=1.0),
        bill=bill(judgement, cell.id, wanted.kernels),
        counts=tuple((status, len(by_status[status])) for status in reversed(SEVERITY) if status in by_status),
        reasons=tuple(reasons),
        unknowns=tuple(unknowns),
    )


def _nothing(cell: CellInfo, kernels: int, doubt: Doubt) -> Candidate:
    """A column that says nothing about what is asked: no number of it may be shown."""
    empty = Bill(kernels=kernels, priced=0, resolved=0, median=None, low=None, high=None, dearest=None, cheapest=None)
    return Candidate(
        cell=cell.id, fit=Fit.UNKNOWN, rank=None, tied=False, exact=0, kernels=kernels, compared=0, bound=1.0,
        bill=empty, counts=(), reasons=(), unknowns=(doubt,),
    )  # fmt: skip


def _by_status(
    judgement: Judgement, cell: CellInfo, heads: Mapping[str, Verdict | None]
) -> dict[Status, list[tuple[str, str]]]:
    """The kernels by their worst status, each with the condition that it is the worst under."""
    first = judgement.conditions[0]
    found: dict[Status, list[tuple[str, str]]] = {}
    for name, head in heads.items():
        status = head.status if head else Status.NOT_RUN
        condition = head.condition if head and head.condition != first and cell.id not in judgement.unmeasured else ""
        found.setdefault(status, []).append((name, condition))
    return found


def _doubts(
    judgement: Judgement, cell: CellInfo, by_status: Mapping[Status, list[tuple[str, str]]]
) -> tuple[list[Doubt], list[Doubt]]:
    """What speaks against a column, and what is unknown of it; of a column without any number one thing only."""
    if cell.id in judgement.unmeasured:
        status, why = judgement.unmeasured[cell.id]
        told = [Doubt(kind=status, why=why)]
    else:
        told = [
            Doubt(kind=status, kernels=tuple(by_status[status]))
            for status in SEVERITY
            if status in by_status and status is not Status.EXACT
        ]
    return [one for one in told if one.kind in ANSWERS], [one for one in told if one.kind not in ANSWERS]


def _prices(
    judgement: Judgement, cell: CellInfo, names: Sequence[str], exact: Collection[str], limit: float
) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """Kernels that are known to cost more, and exact ones that are not known to cost at most so much."""
    paid = {name: owed(judgement, cell.id, name) for name in names}
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


def owed(judgement: Judgement, cell: str, kernel: str) -> tuple[Price | None, ...]:
    """The price of a kernel under the first condition, and under every other one with timed calls; None is unknown."""
    first, *others = judgement.conditions
    timed = [
        one.condition
        for one in judgement.over_conditions(cell, kernel, "on")
        if one.condition in others and any(witness.timed for witness in one.witnesses)
    ]
    return tuple(judgement.prices.get((cell, kernel, one)) for one in (first, *timed))
