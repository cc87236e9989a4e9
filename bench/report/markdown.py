"""The view as Markdown (GitHub's tables): for job summaries and pull requests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.report.view import Count, Entry, Half, View

_BARE_LINK = re.compile(r"(?i)\b(www)\.")
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~@:])")
#: Notes of the evidence that belong in a summary.
_TOLD = ("Difference", "First divergence")


def render(view: View) -> str:
    """The page as Markdown."""
    lines = [f"# {_text(view.answer[0])}", ""]
    lines += [_text(" ".join(view.answer[1:])), ""] if len(view.answer) > 1 else []
    lines += _table(["Rank", "Pair", "Answer"], [[line.rank, line.label, line.sentence] for line in view.lines])
    lines += [f"- Determinism off: {_counts(view.counts_off)}", f"- Determinism on: {_counts(view.counts_on)}", ""]
    for one in view.notices:
        lines += [f"> **{_text(one.title)}.** {_text(one.text)}", *(f"> - {_text(item)}" for item in one.items), ""]
    lines += ["## Kernels and pairs", "", *_columns(view)]
    heads = [f"{_text(column.label)} {mode}" for column in view.columns for mode in ("off", "on")]
    rows = []
    for family in view.families:
        rows.append([f"**{_text(family.name)}**", *[""] * len(heads)])
        for row in family.rows:
            name = "<br>".join(_text(text) for text in (row.kernel, row.own) if text)
            rows.append([name, *(text for entry in row.entries for text in _entry(entry))])
            for sub in row.conditions:
                entries = (text for entry in sub.entries for text in _entry(entry))
                rows.append([f"- {_text(sub.condition)}", *entries])
    lines += _raw_table(["Kernel", *heads], rows)
    lines += _apart(view)
    lines += _instrument(view)
    lines += _upgrades(view)
    lines += ["## Facts", "", *_table(["Fact", "Value"], [[fact.label, fact.value] for fact in view.facts])]
    lines += ["## How to read this page", ""]
    lines += _table(["Word", "Meaning"], [[f"{symbol} {word}", meaning] for symbol, word, _, meaning in view.legend])
    lines += _table(["Sign", "Meaning"], [list(term) for term in view.terms])
    return "\n".join(lines)


def _apart(view: View) -> list[str]:
    """Where samples part, and every limitation that was met: what a reader of a job summary asks first."""
    rows = [
        [detail.kernel, detail.label, note.label, f"{note.where}: {text}" if note.where else text]
        for detail in view.details
        for note in detail.notes
        if note.label in _TOLD
        for text in [" ".join(note.sentences)]
    ]
    return ["## Where bits part", "", *_table(["Kernel", "Pair", "What", "Where and how far"], rows)] if rows else []


def _instrument(view: View) -> list[str]:
    shown = view.instrument
    if not shown.lines:
        return []
    heads = ["Pair", "Where", "Seen to differ", "Out of reach", "Failed", "Sensitivity"]
    rows = [
        [one.label, one.places, one.seen or "none", one.out_of_reach or "none", one.failed or "none", one.sentence]
        for one in shown.lines
    ]
    told = [_text(shown.sentence), "", *(_text(text) + "\n" for text in shown.gpu)]
    return ["## What the instrument could see", "", *told, *_table(heads, rows)]


def _upgrades(view: View) -> list[str]:
    rows = [[one.step, one.label, one.moved, " ".join(one.sentences)] for one in view.upgrades]
    return ["## Upgrade cost", "", *_table(["Step", "Pairs", "What moves", "Kernels"], rows)] if rows else []


def _columns(view: View) -> list[str]:
    """What is to be known of columns besides their names: one row for each that has any."""
    known = [(one.label, [one.kind, one.origin, one.note]) for one in view.columns]
    rows = [[label, "; ".join(filter(None, told))] for label, told in known if any(told)]
    return _table(["Pair", "To know"], rows) if rows else []


def _counts(counts: Sequence[Count]) -> str:
    return ", ".join(f"{_text(one.symbol)} {_text(one.word)} {one.number}" for one in counts) or "not planned"


def _entry(entry: Entry) -> list[str]:
    if entry.blocked:  # its reason stands once, in the answer
        return [_text(entry.on.status), _text(entry.on.status)]
    return [_half(half) for half in entry.halves]


def _half(half: Half) -> str:
    where = f"in {half.condition}" if half.condition not in ("", "default") else ""
    new = "new value" if half.new_value else ""
    parts = [half.status, where, half.strength, half.apart, half.letters, half.time, new, half.price]
    return "<br>".join(_text(part) for part in parts if part)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return _raw_table(list(map(_text, heads)), [list(map(_text, row)) for row in rows])


def _raw_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    line = "|".join(["", *(" --- " for _ in heads), ""])
    return [f"| {' | '.join(heads)} |", line, *(f"| {' | '.join(row)} |" for row in rows), ""]


def _text(text: str) -> str:
    """Text that stays text: no markup, no HTML, no mention, no link, on one line."""
    safe = _SPECIAL.sub(r"\\\1", " ".join(text.split()))
    safe = safe.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _BARE_LINK.sub(r"\1&#46;", safe)
