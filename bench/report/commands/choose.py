"""The answer to a question as text, Markdown and JSON: same candidates, order and words as on the page."""

from __future__ import annotations

import json
import math
import re
import textwrap
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from bench.report.formatting import clean
from bench.report.text.markdown import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.report.view import Candidate, Choice
    from bench.verdict.ranking import Candidate as Found

#: Of the JSON document.
SCHEMA = 1
_MARGIN = " " * 9
#: What differs between pairs of which the same is said otherwise.
_VERSION = re.compile(r"\d[\d.]*")
_FIRST = "the versions told are those of the first of these pairs; --format json has all"


def text(choice: Choice, width: int = 120) -> str:
    """The answer for a terminal; commands are not wrapped, so that they can be copied."""
    lines = [*textwrap.wrap(choice.question, width), *textwrap.wrap(choice.sentence, width), ""]
    for label, one in _grouped(choice.candidates):
        lines += textwrap.wrap(
            f"{label}: {one.symbol} {one.fit}", width, initial_indent=f"{one.rank or '-':<9}", subsequent_indent=_MARGIN
        )
        for told in _told(one):
            lines += textwrap.wrap(told, width, initial_indent=_MARGIN, subsequent_indent=f"{_MARGIN}  ")
    lines += [choice.more, ""] if choice.more else [""]
    if choice.missing:
        lines += ["To know more:"]
        for lack in choice.missing:
            lines += textwrap.wrap(lack.why, width, initial_indent="- ", subsequent_indent="  ")
            lines += [f"    {lack.command}"]
        lines += [""]
    lines += ["How pairs are ranked:"]
    for number, rule in enumerate(choice.rules, 1):
        lines += textwrap.wrap(rule, width, initial_indent=f"{number}. ", subsequent_indent="   ")
    return "\n".join(lines) + "\n"


def _told(one: Candidate) -> Iterator[str]:
    if one.overhead:
        yield one.evidence
        yield f"overhead: {one.overhead}"
    yield from (f"- {reason}" for reason in one.reasons)
    yield from (f"- {_unknown(text)}" for text in one.unknowns)


def _unknown(told: str) -> str:
    return told if told is _FIRST else f"unknown: {told}"


def _grouped(candidates: Sequence[Candidate]) -> Iterator[tuple[str, Candidate]]:
    """Candidates with their labels; those without a number of which the same is to be said, once."""
    groups: dict[tuple[Any, ...], list[Candidate]] = {}
    for one in candidates:
        told = one.label if one.rank else tuple(_VERSION.sub("", text) for text in (*one.reasons, *one.unknowns))
        groups.setdefault((one.fit, one.rank, told), []).append(one)
    for found in groups.values():
        alike = len({(one.reasons, one.unknowns) for one in found}) == 1
        first = found[0] if alike else replace(found[0], unknowns=(*found[0].unknowns, _FIRST))
        yield ", ".join(one.label for one in found), first


def markdown(choice: Choice) -> str:
    """The answer as Markdown."""
    lines = [f"# {plain(choice.sentence)}", "", plain(choice.question), ""]
    lines += [
        "| Rank | Pair | Fit | Evidence and overhead | Against it, and unknown |",
        "| --- | --- | --- | --- | --- |",
    ]
    for label, one in _grouped(choice.candidates):
        known = [one.evidence, *([f"overhead: {one.overhead}"] if one.overhead else [])]
        against = [*one.reasons, *map(_unknown, one.unknowns)]
        columns = [[one.rank or "-"], [label], [f"{one.symbol} {one.fit}"], known, against]
        lines.append("".join(f"| {'<br>'.join(map(plain, column))} " for column in columns) + "|")
    lines += ["", *([plain(choice.more), ""] if choice.more else [])]
    if choice.missing:
        lines += ["## To know more", ""]
        for lack in choice.missing:
            lines += [f"- {plain(lack.why)}", "", f"      {lack.command}", ""]
    lines += ["## How pairs are ranked", ""]
    lines += [f"{number}. {plain(rule)}" for number, rule in enumerate(choice.rules, 1)]
    return "\n".join(lines) + "\n"


def as_json(choice: Choice, found: Sequence[Found], run: str) -> str:
    """The answer with its numbers: unknown is null. ``found`` are the candidates that have a column in ``run``."""
    known = {one.column: one for one in found}
    body = {
        "schema": SCHEMA,
        "run": clean(run) or None,
        "question": choice.question,
        "answer": choice.sentence,
        "candidates": [
            {
                "column": one.column,
                "label": one.label,
                "fit": one.fit,
                **_numbers(known.get(one.column)),
                "evidence": one.evidence,
                "reasons": list(one.reasons),
                "unknowns": list(one.unknowns),
            }
            for one in choice.candidates
        ],
        "missing": [asdict(one) for one in choice.missing],
        "rules": list(choice.rules),
    }
    return json.dumps(body, indent=1, ensure_ascii=False) + "\n"


def _numbers(one: Found | None) -> dict[str, Any]:
    if one is None or one.rank is None:
        return dict.fromkeys(("rank", "tied", "reproducible", "kernels", "compared", "bound", "overhead"))
    overhead = one.bill
    return {
        "rank": one.rank,
        "tied": one.tied,
        "reproducible": one.reproducible,
        "kernels": one.kernels,
        "compared": one.compared if one.reproducible else None,
        "bound": round(one.bound, 6) if one.reproducible else None,
        "overhead": {
            "kernels": overhead.priced,
            "resolved": overhead.resolved,
            **{key: _finite(getattr(overhead, key)) for key in ("median", "low", "high")},
            **{
                key: {"kernel": told[0], "ratio": told[1].ratio, "low": told[1].low, "high": told[1].high}
                if told
                else None
                for key, told in (("dearest", overhead.dearest), ("cheapest", overhead.cheapest))
            },
        },
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
