"""The choice of the view: pairs ranked by what is asked of them, each with its evidence, overhead and unknowns."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.report.build.columns import labels
from bench.report.build.suggestions import missing
from bench.report.formatting import DASH, TIMES, clean, listed, significant
from bench.report.labels import WORDS
from bench.report.view import Candidate, Choice, Need, NeedColumn
from bench.verdict.evidence import percent_up
from bench.verdict.messages import count
from bench.verdict.ranking import Fit, Kind, choose, summarize_overheads
from bench.verdict.ratio import MAX_WIDTH
from bench.verdict.requirements import Requirements, required_kernels
from bench.verdict.status import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.verdict.ranking import Candidate as Found
    from bench.verdict.ranking import Concern, OverheadSummary
    from bench.verdict.results import RunResults

#: Candidates that a page lists before it only counts, and kernels that a reason names.
MOST, _NAMES = 20, 4

#: How the order came about. The page's script goes by the same.
RULES = (
    (
        "A kernel counts by its default variation with determinism on; others count only if you name them, and are "
        "otherwise listed as also under. Controls never count."
    ),
    (
        "A pair fits if every kernel asked for is exact and, with a greatest overhead, every overhead is known to be within "
        "it: the whole 95 % interval is."
    ),
    (
        "It does not fit if a kernel varies, crashes, raises or is unsupported, or a stated overhead lies above the "
        "greatest one with its whole interval. Anything else is unknown, and so is what was only measured on another "
        "device or under another driver."
    ),
    (
        "Order: what fits; then more exact kernels; then unknown before does not fit; then the lower overhead, where the "
        "intervals of the two pairs do not meet. The overhead of a pair is the median over its kernels, between the "
        "medians of their lower and upper ends. What was not measured stands last, without a rank."
    ),
    (
        "The rank is one more than the number of pairs known to be better; equal ranks are ties. The strength of the "
        "evidence breaks none: it stands beside each pair."
    ),
)
_SIGNS = {Fit.FITS: ("✓", "good"), Fit.UNKNOWN: ("?", "control-failed"), Fit.NOT: ("✗", "bad")}


@dataclass(frozen=True, kw_only=True)
class Unmeasured:
    """A pair that no column of the run measures for the question, as the measuring wing knows it.

    ``told`` is the line of the preflight, ``rules`` the names of its rules; ``blocked`` says whether it cannot run.
    """

    pair: str
    told: str = ""
    rules: tuple[str, ...] = ()
    blocked: bool = False


def choice(
    results: RunResults, question: Requirements | None = None, others: Sequence[Unmeasured] = (), most: int = MOST
) -> Choice:
    """The answer to a question, at most ``most`` candidates of it. Without one: all kernels, any overhead."""
    question = question or Requirements()
    found = choose(results, question)
    names = dict(zip((column.id for column in results.info.columns), labels(results), strict=True))
    shown = _with_others([_candidate(one, names[one.column], question) for one in found], others)
    fitting = sum(one.fit == Fit.FITS for one in shown)
    return Choice(
        question=_asked(results, question),
        rules=RULES,
        candidates=tuple(shown[:most]),
        missing=missing(results, question, found, [one.pair for one in others if not one.blocked]),
        sentence=_summary(shown, fitting),
        more=f"{count(len(shown) - most, 'pair')} more, not better than these." if len(shown) > most else "",
    )


def _with_others(shown: Sequence[Candidate], others: Sequence[Unmeasured]) -> list[Candidate]:
    """Each pair once: what the preflight says joins the column that was measured elsewhere, or replaces it."""
    told = {one.pair: _unmeasured(one) for one in others}
    merged = []
    for one in shown:
        other = told.pop(one.column.partition("@")[0], None)
        if other and other.reasons:
            merged.append(other)
        else:
            merged.append(replace(one, unknowns=(*one.unknowns, *other.unknowns)) if other else one)
    return sorted([*merged, *told.values()], key=lambda one: (not one.rank, not one.rank and _PLACES[one.fit]))


_PLACES = {str(fit): place for place, fit in enumerate(Fit)}


def _summary(shown: Sequence[Candidate], fitting: int) -> str:
    """``2 of 5 pairs fit: a and b.``, and ties among the best."""
    if not shown:
        return "There is no pair."
    best = [one.label for one in shown if one.fit == Fit.FITS and one.rank.partition(" ")[0] == "1"]
    unknown = sum(one.fit == Fit.UNKNOWN for one in shown)
    rest = f" Unknown: {unknown} of {len(shown)}." if unknown else ""
    if not fitting:
        return f"No pair is known to fit.{rest}"
    verb = "fits" if fitting == 1 else "fit"
    tie = " (a tie)" if len(best) > 1 else ""
    return f"{fitting} of {count(len(shown), 'pair')} {verb}; the best: {listed(best)}{tie}.{rest}"


def _asked(results: RunResults, question: Requirements) -> str:
    """The question in words."""
    wanted = [*map(clean, question.families), *map(clean, question.kernels)]
    meant = required_kernels(results.info, question)
    number = count(len(meant.kernels) + len(meant.absent), "kernel")
    everything = f"All {number} of the run" if results.info.kernels else "All kernels"
    what = f"{listed(wanted, 8)}: {number}" if wanted else everything
    overhead = (
        "at any overhead" if question.max_overhead is None else f"at most {TIMES}{limit(question.max_overhead)} each"
    )
    where = f"on {clean(question.device)}" if question.device else "each pair on its own device"
    driver = f", driver {clean(question.driver)}" if question.driver else ""
    return f"{what}, determinism on, {overhead}, {where}{driver}."


def limit(overhead: float) -> str:
    """A greatest overhead as it was given: ``1.15``, ``2``."""
    return f"{overhead:.6g}"


def _candidate(one: Found, label: str, question: Requirements) -> Candidate:
    symbol, tone = _SIGNS[one.fit]
    silent = one.rank is None
    return Candidate(
        column=clean(one.column),
        label=label,
        rank="" if one.rank is None else f"{one.rank}{' (tie)' if one.tied else ''}",
        fit=str(one.fit),
        symbol=symbol,
        tone=tone,
        evidence="nothing was measured for this" if silent else _evidence(one),
        overhead="" if silent else bill_text(one.overhead),
        reasons=(*(_told(concern, question) for concern in one.reasons), *_fits_without(one, question)),
        unknowns=tuple(_told(concern, question) for concern in one.unknowns),
    )


def _unmeasured(one: Unmeasured) -> Candidate:
    """A pair without a column: what the preflight says of it."""
    fit = Fit.NOT if one.blocked else Fit.UNKNOWN
    symbol, tone = _SIGNS[fit]
    rules = listed(list(map(clean, one.rules)))
    told = clean(one.told) + (f" (rule{'s' * (len(one.rules) > 1)} {rules})" if rules else "")
    return Candidate(
        column=clean(one.pair), label=clean(one.pair), rank="", fit=str(fit), symbol=symbol, tone=tone,
        evidence="nothing was measured for this", overhead="", reasons=(told,) if one.blocked else (),
        unknowns=() if one.blocked else (f"not-run; the preflight says: {told}" if told else "not-run",),
    )  # fmt: skip


def _fits_without(one: Found, question: Requirements) -> Sequence[str]:
    """``would fit without a (error) and b (nondeterministic)``, for what does not fit."""
    names = [
        f"{clean(name)} ({_word(concern, question)})" for concern in one.fits_without for name, _ in concern.kernels
    ]
    return [f"would fit without {listed(names, _NAMES)}"] if names and one.fit is Fit.NOT else []


def _evidence(one: Found) -> str:
    told = f"{one.reproducible} of {count(one.kernels, 'kernel')} exact"
    if one.reproducible:
        told += f"; weakest: 0 of {one.compared} differed, ≤ {percent_up(one.bound)} %"
    return "; ".join([told, *also_under(one.also_under)])


def also_under(concerns: Sequence[Concern]) -> Sequence[str]:
    """``also under onednn=0: error (3): a, b and c``, for each variation that does not count."""
    variations = dict.fromkeys(variation for concern in concerns for _, variation in concern.kernels)
    parts = []
    for variation in variations:
        for concern in concerns:
            names = [clean(name) for name, under in concern.kernels if under == variation]
            if names and isinstance(concern.kind, Status):
                word = WORDS[concern.kind].word
                parts.append(f"also under {clean(variation)}: {word} ({len(names)}): {listed(names, _NAMES)}")
    return parts


def bill_text(found: OverheadSummary) -> str:
    """What determinism costs a pair, in one line; the number at the median stands only if it is significant."""
    if not found.timed:
        return "no overhead"
    number = "not significant"
    if found.median is not None and found.low is not None and found.high is not None:
        interval = f"({significant(found.low)}{DASH}{significant(found.high)})"
        clear = not found.low <= 1 <= found.high and found.high <= found.low * MAX_WIDTH
        number = f"{significant(found.median)} {interval}" if clear else f"not significant {interval}"
    sign = "" if number.startswith("not") else TIMES
    told = f"median of {count(found.timed, 'overhead')} {sign}{number}"
    if found.slowest is None:
        return f"{told}; none stated"
    return f"{told}; {found.significant} stated, dearest {_dearest(found)}"


def _dearest(found: OverheadSummary) -> str:
    """``x1.77 sparse_xent``, "" where no overhead is significant."""
    return f"{TIMES}{significant(found.slowest[1].ratio)} {clean(found.slowest[0])}" if found.slowest else ""


def _told(concern: Concern, question: Requirements) -> str:
    """``varies (3): a, b and c (threads=1)``."""
    kernels = [clean(name) + (f" ({clean(where)})" if where else "") for name, where in concern.kernels]
    word = _word(concern, question)
    if kernels:
        return f"{word} ({len(kernels)}): {listed(kernels, _NAMES)}"
    return f"{word}: {clean(concern.why)}" if isinstance(concern.kind, Status) and concern.why else word


def _word(concern: Concern, question: Requirements) -> str:
    """What a concern is about, in a few words."""
    top = limit(question.max_overhead if question.max_overhead is not None else math.inf)
    words = {
        Kind.OVER_LIMIT: f"slower than {TIMES}{top}",
        Kind.OVERHEAD: f"overhead not known to be within {TIMES}{top}",
        Kind.ABSENT: "not in this run",
        Kind.ELSEWHERE: clean(concern.why),
        Kind.NOTHING: "no kernel is asked for",
    }
    return WORDS[concern.kind].word if isinstance(concern.kind, Status) else words[concern.kind]


def needs(results: RunResults) -> tuple[Need, ...]:
    """What every pair gives to every family."""
    families: dict[str, list[str]] = {}
    for kernel in results.info.kernels:
        if not kernel.control:
            families.setdefault(kernel.family, []).append(kernel.name)
    return tuple(
        Need(
            family=clean(family),
            columns=tuple(_need(results, column.id, names) for column in results.info.columns),
        )
        for family, names in families.items()
    )


def _need(results: RunResults, column: str, names: Sequence[str]) -> NeedColumn:
    heads = [results.headline(column, name, "on") for name in names]
    exact = sum(head is not None and head.status is Status.REPRODUCIBLE for head in heads)
    blocked = results.unmeasured.get(column)
    return NeedColumn(
        column=clean(column),
        reproducible=exact,
        kernels=len(names),
        text=WORDS[blocked[0]].word if blocked else f"{exact} of {len(names)}",
        dearest=_dearest(summarize_overheads(results, column, names)),
    )
