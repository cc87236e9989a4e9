"""The answer of ``choose`` as text, Markdown and JSON: the candidates, their order and words are those of the page."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from bench.report.formatting import clean, listed
from bench.report.labels import STATUS_LABELS
from bench.report.text.layout import WIDTH, command, paint, wrapped
from bench.report.text.markdown import plain
from bench.verdict.messages import count
from bench.verdict.ranking import ConcernKind, Fit
from bench.verdict.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bench.report.view import Candidate, Choice
    from bench.verdict.ranking import Candidate as Ranked
    from bench.verdict.ranking import Concern

#: Of the JSON document.
SCHEMA = 1
#: Kernels that one sentence names.
_MOST_NAMES = 4
_MARGIN = " " * 9
#: What differs between pairs that otherwise have the same reasons.
_VERSION = re.compile(r"\d[\d.]*")
_FIRST = "versions are those of the first of these pairs; --format json has all of them"


def text(choice: Choice, ranked: Sequence[Ranked] = (), width: int = WIDTH, *, colour: bool = False) -> str:
    """Return the answer for a terminal.

    Args:
        choice: the answer as the page shows it.
        ranked: the candidates that have a column in the run: with them every kernel is named, else only some are.
        width: characters in a line.
        colour: whether to paint what fits and what does not.
    """
    by_column = {candidate.column: candidate for candidate in ranked}
    lines = [wrapped(choice.question, width), "", *(wrapped(line, width, "  ") for line in _answer(choice)), ""]
    for label, candidate in _grouped(choice.candidates):
        head = f"{candidate.rank or '-':<9}{label}: {candidate.symbol} {candidate.fit}"
        fit = f"{candidate.symbol} {candidate.fit}"
        tone = candidate.tone if candidate.fit != Fit.UNKNOWN else "warn"
        lines.append(wrapped(head, width, _MARGIN).replace(fit, paint(fit, tone, colour=colour)))
        details = _details(candidate, by_column.get(candidate.column))
        lines += [wrapped(f"{_MARGIN}{line}", width, f"{_MARGIN}  ") for line in details]
    lines += [choice.more, ""] if choice.more else [""]
    if choice.missing:
        lines += ["Suggested runs:"]
        for missing in choice.missing:
            lines += [wrapped(f"- {missing.why}", width, "  "), command(missing.command, width)]
        lines += [""]
    lines += ["How pairs are ranked:"]
    lines += [wrapped(f"{number}. {rule}", width, "   ") for number, rule in enumerate(choice.rules, 1)]
    return "\n".join(lines) + "\n"


def _answer(choice: Choice) -> Iterator[str]:
    """``Best: ...``, or what comes closest, and how many pairs fit."""
    first = [candidate for candidate in choice.candidates if candidate.rank.partition(" ")[0] == "1"]
    names = listed([candidate.label for candidate in first], len(first)) + (" (a tie)" if len(first) > 1 else "")
    fits = Counter(candidate.fit for candidate in choice.candidates)
    if first and first[0].fit == Fit.FITS:
        yield f"Best: {names}."
    elif first:
        yield f"No pair is known to fit. Closest: {names}."
    else:
        yield choice.sentence
    counts = f"{fits[Fit.FITS]} fit, {fits[Fit.NOT]} do not fit, {fits[Fit.UNKNOWN]} unknown"
    yield f"{count(len(choice.candidates), 'pair')}: {counts}."


def _details(candidate: Candidate, ranked: Ranked | None) -> Iterator[str]:
    """Evidence, overhead, what is against a candidate, and what is not known of it."""
    if candidate.overhead:
        # the lines below name every kernel that fails under other variations; the evidence names only some
        yield candidate.evidence.partition("; also under ")[0] if ranked else candidate.evidence
        yield f"overhead: {candidate.overhead}"
    if ranked is not None and ranked.reasons and candidate.rank:
        yield from _against(ranked)
    else:
        yield from (f"- {reason}" for reason in candidate.reasons)
    yield from (f"- {_unknown(unknown)}" for unknown in candidate.unknowns)
    for variation, concerns in _by_variation(ranked.also_under if ranked else ()).items():
        yield f"- also under {variation}: {'; '.join(map(_reason, concerns))}"


def _against(ranked: Ranked) -> Iterator[str]:
    """Every kernel that keeps a candidate from fitting, with its reason."""
    kernels = list(dict.fromkeys(clean(name) for concern in ranked.fits_without for name, _ in concern.kernels))
    if kernels:
        few = len(kernels) <= _MOST_NAMES
        yield f"It would fit without {listed(kernels, _MOST_NAMES) if few else f'these {len(kernels)} kernels'}:"
    yield from (f"- {_reason(concern)}" for concern in ranked.reasons)


def _reason(concern: Concern) -> str:
    """``does not run (error): a (onednn=0), b``."""
    names = [clean(name) + (f" ({clean(variation)})" if variation else "") for name, variation in concern.kernels]
    word = STATUS_LABELS[concern.kind].word if isinstance(concern.kind, Status) else str(concern.kind)
    if concern.not_reproducible:
        title = f"not reproducible ({word})"
    elif concern.does_not_run:
        title = f"does not run ({word})"
    else:
        title = "overhead above the limit" if concern.kind is ConcernKind.OVER_LIMIT else word
    return f"{title}: {', '.join(names) or clean(concern.why)}".removesuffix(": ")


def _by_variation(concerns: Iterable[Concern]) -> Mapping[str, list[Concern]]:
    """Split concerns by the variation of their kernels, which is then no longer named beside each kernel."""
    split: dict[str, list[Concern]] = {}
    for concern in concerns:
        for variation in dict.fromkeys(variation for _, variation in concern.kernels):
            kernels = tuple((name, "") for name, other in concern.kernels if other == variation)
            split.setdefault(clean(variation), []).append(replace(concern, kernels=kernels))
    return split


def _unknown(reason: str) -> str:
    return reason if reason is _FIRST else f"unknown: {reason}"


def _grouped(candidates: Sequence[Candidate]) -> Iterator[tuple[str, Candidate]]:
    """Candidates with their labels. Those without a measurement that have the same reasons, versions apart, are one."""
    groups: dict[tuple[Any, ...], list[Candidate]] = {}
    for candidate in candidates:
        reasons = (*candidate.reasons, *candidate.unknowns)
        same = candidate.label if candidate.rank else tuple(_VERSION.sub("", reason) for reason in reasons)
        groups.setdefault((candidate.fit, candidate.rank, same), []).append(candidate)
    for group in groups.values():
        alike = len({(candidate.reasons, candidate.unknowns) for candidate in group}) == 1
        first = group[0] if alike else replace(group[0], unknowns=(*group[0].unknowns, _FIRST))
        yield ", ".join(candidate.label for candidate in group), first


def markdown(choice: Choice) -> str:
    """Return the answer as Markdown."""
    lines = [f"# {plain(choice.sentence)}", "", plain(choice.question), ""]
    lines += [
        "| Rank | Pair | Fit | Evidence and overhead | Against it, and unknown |",
        "| --- | --- | --- | --- | --- |",
    ]
    for label, candidate in _grouped(choice.candidates):
        evidence = [candidate.evidence, *([f"overhead: {candidate.overhead}"] if candidate.overhead else [])]
        against = [*candidate.reasons, *map(_unknown, candidate.unknowns)]
        columns = [[candidate.rank or "-"], [label], [f"{candidate.symbol} {candidate.fit}"], evidence, against]
        lines.append("".join(f"| {'<br>'.join(map(plain, column))} " for column in columns) + "|")
    lines += ["", *([plain(choice.more), ""] if choice.more else [])]
    if choice.missing:
        lines += ["## Suggested runs", ""]
        for missing in choice.missing:
            lines += [f"- {plain(missing.why)}", "", f"      {missing.command}", ""]
    lines += ["## How pairs are ranked", ""]
    lines += [f"{number}. {plain(rule)}" for number, rule in enumerate(choice.rules, 1)]
    return "\n".join(lines) + "\n"


def as_json(choice: Choice, ranked: Sequence[Ranked], run: str) -> str:
    """Return the answer as JSON with its numbers; null where a number is not known.

    ``ranked`` are the candidates that have a column in ``run``.
    """
    by_column = {candidate.column: candidate for candidate in ranked}
    document = {
        "schema": SCHEMA,
        "run": clean(run) or None,
        "question": choice.question,
        "answer": choice.sentence,
        "candidates": [
            {
                "column": candidate.column,
                "label": candidate.label,
                "fit": candidate.fit,
                **_numbers(by_column.get(candidate.column)),
                "evidence": candidate.evidence,
                "reasons": list(candidate.reasons),
                "unknowns": list(candidate.unknowns),
            }
            for candidate in choice.candidates
        ],
        "missing": [asdict(missing) for missing in choice.missing],
        "rules": list(choice.rules),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _numbers(ranked: Ranked | None) -> dict[str, Any]:
    if ranked is None or ranked.rank is None:
        return dict.fromkeys(("rank", "tied", "reproducible", "kernels", "compared", "bound", "overhead"))
    overhead = ranked.overhead
    return {
        "rank": ranked.rank,
        "tied": ranked.tied,
        "reproducible": ranked.reproducible,
        "kernels": ranked.kernels,
        "compared": ranked.compared if ranked.reproducible else None,
        "bound": round(ranked.bound, 6) if ranked.reproducible else None,
        "overhead": {
            "kernels": overhead.timed,
            "significant": overhead.significant,
            **{key: _finite(getattr(overhead, key)) for key in ("median", "low", "high")},
            **{
                key: {"kernel": extreme[0], "ratio": extreme[1].ratio, "low": extreme[1].low, "high": extreme[1].high}
                if extreme
                else None
                for key, extreme in (("slowest", overhead.slowest), ("fastest", overhead.fastest))
            },
        },
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
