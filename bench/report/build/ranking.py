"""Build the answer to ``choose``: pairs ranked by requirements, with evidence, overhead and what is unknown."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.report.build.columns import labels_by_column
from bench.report.build.ratio_text import bound_text, factor_text
from bench.report.build.suggestions import missing
from bench.report.formatting import clean, listed
from bench.report.labels import STATUS_LABELS
from bench.report.view import Candidate, Choice, FamilyColumn, FamilySummary
from bench.verdict.evidence import percent_up
from bench.verdict.hosts import not_the_same
from bench.verdict.messages import count
from bench.verdict.ranking import ConcernKind, Fit, choose, summarize_overheads
from bench.verdict.ratio import MIN_PAIRS
from bench.verdict.requirements import Requirements, deciding_variations, required_kernels
from bench.verdict.status import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.verdict.ranking import Candidate as Result
    from bench.verdict.ranking import Concern, OverheadSummary
    from bench.verdict.results import RunResults

#: Candidates that a page lists, kernels that a reason names, and requested names that the question names.
MOST, _NAMES, _REQUESTED = 20, 4, 8

#: How pairs are ranked.
RULES = (
    (
        "A kernel counts by the default variation with determinism on, or by the first one of a run without it. Other "
        'variations count only if you name them, and are otherwise listed as "also under". Controls never count.'
    ),
    (
        "A pair fits if every requested kernel is reproducible and, with a maximum overhead, every overhead is known "
        "to be within it: its whole interval is. Only the default variation is timed."
    ),
    (
        "It does not fit if a kernel is nondeterministic, crashes, raises or is unsupported, or if the whole interval "
        "of a significant overhead is above the maximum. Anything else is unknown, and so is what was only measured on "
        "another device or with another driver."
    ),
    (
        "Order: pairs that fit; then more reproducible kernels; then unknown before does not fit; then the lower "
        "overhead, if the intervals of the two pairs do not overlap. The overhead of a pair is the median over its "
        "kernels, between the medians of their lower and upper ends. Pairs that were not measured come last, without a "
        "rank."
    ),
    (
        "The rank is one more than the number of pairs known to be better; equal ranks are ties. The strength of the "
        "evidence does not break ties: it is shown for each pair."
    ),
)
#: The rule of a run over several hosts.
HOSTS_RULE = (
    "A kernel counts as reproducible only if it has the same bits on all hosts with the same device model that are in "
    "the run: a pair does not fit if another host has other bits, and is unknown if they cannot be compared."
)
_SIGNS = {Fit.FITS: ("✓", "good"), Fit.UNKNOWN: ("?", "control-failed"), Fit.NOT: ("✗", "bad")}
_ORDER = {str(fit): place for place, fit in enumerate(Fit)}
_NOT_MEASURED = "nothing was measured for this"


@dataclass(frozen=True, kw_only=True)
class Unmeasured:
    """A pair that the run has no column for.

    ``advice`` is what the preflight check says, ``rules`` the names of its rules; ``blocked`` says that it cannot run.
    """

    pair: str
    advice: str = ""
    rules: tuple[str, ...] = ()
    blocked: bool = False


def choice(
    results: RunResults, question: Requirements | None = None, others: Sequence[Unmeasured] = (), most: int = MOST
) -> Choice:
    """Rank the pairs of a run by requirements.

    Args:
        results: the evaluated run.
        question: the requirements; None for all kernels at any overhead.
        others: pairs without a column.
        most: candidates to list.
    """
    question = question or Requirements()
    ranked = choose(results, question)
    names = labels_by_column(results)
    candidates = _with_others([_candidate(one, names[one.column], question) for one in ranked], others)
    fitting = sum(candidate.fit == Fit.FITS for candidate in candidates)
    more = len(candidates) - most
    return Choice(
        question=_question(results, question),
        rules=(*RULES, *([HOSTS_RULE] if results.hosts else [])),
        candidates=tuple(candidates[:most]),
        missing=missing(results, question, ranked, [other.pair for other in others if not other.blocked]),
        sentence=_summary(candidates, fitting),
        more=f"{count(more, 'more pair')}, none better than these." if more > 0 else "",
    )


def _with_others(candidates: Sequence[Candidate], others: Sequence[Unmeasured]) -> list[Candidate]:
    """Return each pair once: a pair that cannot run replaces the column that another device measured."""
    by_pair = {other.pair: _unmeasured(other) for other in others}
    merged = []
    for candidate in candidates:
        other = by_pair.pop(candidate.column.partition("@")[0], None)
        if other and other.reasons:
            merged.append(other)
        else:
            unknowns = (*candidate.unknowns, *other.unknowns) if other else candidate.unknowns
            merged.append(replace(candidate, unknowns=unknowns))
    return sorted([*merged, *by_pair.values()], key=lambda one: (not one.rank, not one.rank and _ORDER[one.fit]))


def _summary(candidates: Sequence[Candidate], fitting: int) -> str:
    """Return ``2 of 5 pairs fit; best: a and b.``, and ties among the best."""
    if not candidates:
        return "There is no pair."
    best = [one.label for one in candidates if one.fit == Fit.FITS and one.rank.partition(" ")[0] == "1"]
    unknown = sum(one.fit == Fit.UNKNOWN for one in candidates)
    rest = f" Unknown: {unknown} of {len(candidates)}." if unknown else ""
    if not fitting:
        return f"No pair is known to fit.{rest}"
    verb = "fits" if fitting == 1 else "fit"
    tie = " (a tie)" if len(best) > 1 else ""
    return f"{fitting} of {count(len(candidates), 'pair')} {verb}; best: {listed(best)}{tie}.{rest}"


def _question(results: RunResults, question: Requirements) -> str:
    """Return the requirements in words."""
    requested = [*map(clean, question.families), *map(clean, question.kernels)]
    resolved = required_kernels(results.info, question)
    number = count(len(resolved.kernels) + len(resolved.absent), "kernel")
    everything = f"All {number} of the run" if results.info.kernels else "All kernels"
    what = f"{listed(requested, _REQUESTED)}: {number}" if requested else everything
    overhead = "at any overhead" if question.max_overhead is None else f"at most {limit(question.max_overhead)}x slower"
    where = f"on {clean(question.device)}" if question.device else "each pair on the device where it was measured"
    driver = f", driver {clean(question.driver)}" if question.driver else ""
    deciding = deciding_variations(results, question)
    several = f" under the variation{'s' * (len(deciding) > 1)} {listed(list(map(clean, deciding)))}"
    under = "" if deciding == ("default",) else several
    if len(deciding) > 1 and question.max_overhead is not None:
        overhead += f" under {clean(deciding[0])}"
    return f"{what}, determinism on{under}, {overhead}, {where}{driver}."


def limit(overhead: float) -> str:
    """Return a maximum overhead as it was given: ``1.15``, ``2``."""
    return f"{overhead:.6g}"


def _candidate(result: Result, label: str, question: Requirements) -> Candidate:
    symbol, tone = _SIGNS[result.fit]
    unmeasured = result.rank is None
    return Candidate(
        column=clean(result.column),
        label=label,
        rank="" if result.rank is None else f"{result.rank}{' (tie)' if result.tied else ''}",
        fit=str(result.fit),
        symbol=symbol,
        tone=tone,
        evidence=_NOT_MEASURED if unmeasured else _evidence(result),
        overhead="" if unmeasured else cost_text(result.overhead),
        reasons=(*(_concern(concern, question) for concern in result.reasons), *_fits_without(result, question)),
        unknowns=tuple(_concern(concern, question) for concern in result.unknowns),
    )


def _unmeasured(pair: Unmeasured) -> Candidate:
    """Return a pair without a column, with what the preflight check says of it."""
    fit = Fit.NOT if pair.blocked else Fit.UNKNOWN
    symbol, tone = _SIGNS[fit]
    rules = listed(list(map(clean, pair.rules)))
    text = clean(pair.advice) + (f" (rule{'s' * (len(pair.rules) > 1)} {rules})" if rules else "")
    return Candidate(
        column=clean(pair.pair), label=clean(pair.pair), fit=str(fit), symbol=symbol, tone=tone, evidence=_NOT_MEASURED,
        reasons=(text,) if pair.blocked else (),
        unknowns=() if pair.blocked else (f"not run; preflight check: {text}" if text else "not run",),
    )  # fmt: skip


def _evidence(result: Result) -> str:
    text = f"{result.reproducible} of {count(result.kernels, 'kernel')} reproducible"
    if result.reproducible:
        text += f"; weakest evidence: 0 of {result.compared} differed, ≤ {percent_up(result.bound)} %"
    return "; ".join([text, *also_under(result.also_under)])


def also_under(concerns: Sequence[Concern]) -> Sequence[str]:
    """Return ``also under onednn=0: error (3): a, b and c`` for each variation that does not count."""
    variations = dict.fromkeys(variation for concern in concerns for _, variation in concern.kernels)
    parts = []
    for variation in variations:
        for concern in concerns:
            names = [clean(name) for name, under in concern.kernels if under == variation]
            if names and isinstance(concern.kind, Status):
                word = STATUS_LABELS[concern.kind].word
                parts.append(f"also under {clean(variation)}: {word} ({len(names)}): {listed(names, _NAMES)}")
    return parts


def _fits_without(result: Result, question: Requirements) -> Sequence[str]:
    """Return ``would fit without a (error) and b (nondeterministic)`` for a pair that does not fit."""
    names = [
        f"{clean(name)} ({_word(concern, question)})" for concern in result.fits_without for name, _ in concern.kernels
    ]
    return [f"would fit without {listed(names, _NAMES)}"] if names and result.fit is Fit.NOT else []


def cost_text(cost: OverheadSummary) -> str:
    """Return what determinism costs a pair in one line: the median over kernels, or its bound, and the worst kernel."""
    if cost.median is None:
        return "not measured"
    if cost.low is None or cost.high is None:
        text = f"no interval: at least {MIN_PAIRS} timing pairs of most kernels are needed"
    elif cost.low <= 1 <= cost.high:
        text = f"{count(cost.timed, 'kernel')}: median {bound_text(cost.high)}"
    else:
        text = f"median of {count(cost.timed, 'kernel')} {factor_text(cost.median, (cost.low, cost.high))}"
    if cost.slowest is None:
        return text
    name, overhead = cost.slowest
    worst = (
        f"worst {clean(name)}, {factor_text(overhead.ratio)}"
        if overhead.ratio > 1
        else "no kernel significantly slower"
    )
    return f"{text}; {worst}"


def _concern(concern: Concern, question: Requirements) -> str:
    """Return ``nondeterministic (3): a, b and c (threads=1)``."""
    kernels = [clean(name) + (f" ({clean(where)})" if where else "") for name, where in concern.kernels]
    word = _word(concern, question)
    if kernels:
        return f"{word} ({len(kernels)}): {listed(kernels, _NAMES)}"
    return f"{word}: {clean(concern.why)}" if isinstance(concern.kind, Status) and concern.why else word


def _word(concern: Concern, question: Requirements) -> str:
    """Return what a concern is about in a few words."""
    if isinstance(concern.kind, Status):
        return STATUS_LABELS[concern.kind].word
    top = limit(question.max_overhead if question.max_overhead is not None else math.inf)
    words = {
        ConcernKind.OVER_LIMIT: f"more than {top}x slower",
        ConcernKind.OVERHEAD: f"overhead not known to be within {top}x",
        ConcernKind.ABSENT: "not in this run",
        ConcernKind.ELSEWHERE: clean(concern.why),
        ConcernKind.NOTHING: "no kernel is requested",
        ConcernKind.OTHER_HOST: str(concern.kind),
        ConcernKind.UNKNOWN_HOST: str(concern.kind),
    }
    return words[concern.kind]


def needs(results: RunResults) -> tuple[FamilySummary, ...]:
    """Return what every pair offers to every family."""
    families: dict[str, list[str]] = {}
    for kernel in results.info.kernels:
        if not kernel.control:
            families.setdefault(kernel.family, []).append(kernel.name)
    return tuple(
        FamilySummary(
            family=clean(family),
            columns=tuple(_need(results, column.id, names) for column in results.info.columns),
        )
        for family, names in families.items()
    )


def _need(results: RunResults, column: str, names: Sequence[str]) -> FamilyColumn:
    heads = {name: results.headline(column, name, "on") for name in names}
    good = {name for name, head in heads.items() if head is not None and head.status is Status.REPRODUCIBLE}
    reproducible = len(good.difference(*not_the_same(results.hosts, column).values()))
    blocked = results.unmeasured.get(column)
    slowest = summarize_overheads(results, column, names).slowest
    slower = f"{clean(slowest[0])} {factor_text(slowest[1].ratio)}" if slowest and slowest[1].ratio > 1 else ""
    return FamilyColumn(
        column=clean(column),
        reproducible=reproducible,
        kernels=len(names),
        text=STATUS_LABELS[blocked[0]].word if blocked else f"{reproducible} of {len(names)}",
        slowest=slower,
    )
