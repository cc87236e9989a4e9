"""The view as Markdown (GitHub's tables): for job summaries and pull requests.

GitHub takes a summary of at most 1 MiB. A page that would be larger leaves whole parts out, and says so.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bench.report.build import common_evidence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.report.view import Candidate, Count, Detail, Entry, ModeResult, Note, Row, Upgrade, UpgradeLine, View

#: Bytes of a summary that still leave room for what a workflow adds.
LIMIT = 900_000
#: What is left out of a page that is too large, one step after the other.
_LEFT_OUT = (
    "",
    "the variations of each kernel",
    "the variations of each kernel, and the kernels that are exact everywhere",
    "the variations of each kernel, the kernels that are exact everywhere, and where bits part",
    "the matrix, and where bits part",
)
_NO_VARIATIONS, _NO_EXACT, _NO_EVIDENCE, _NO_MATRIX = 1, 2, 3, 4
#: Rows of a change that are listed before the rest is only counted.
_MOST_ROWS = 100
_BARE_LINK = re.compile(r"(?i)\b(www)\.")
_SPECIAL = re.compile(r"([\\`*_\[\]#|~@]|:(?=\S)|^[-+])")
#: A number that would begin a list; a time of 9.45 ms does not.
_LISTED = re.compile(r"^(\d+)([.)])(?=\s|$)")
#: Notes of the evidence that belong in a summary, and characters of each that do.
_TOLD = ("Difference", "First divergence", "Error", "Log tail", "Time")
_MOST_TEXT = 500
_FINE = frozenset({"good", "control"})


def render(view: View, limit: int = LIMIT) -> str:
    """The page as Markdown of at most ``limit`` bytes, as far as leaving out whole parts can bring it there."""
    page = ""
    for level in range(len(_LEFT_OUT)):
        page = _page(view, level)
        if len(page.encode("utf-8")) <= limit:
            break
    return page


def _page(view: View, level: int) -> str:
    lines = [f"# {plain(view.answer[0])}", ""]
    lines += [plain(" ".join(view.answer[1:])), ""] if len(view.answer) > 1 else []
    rows = [[line.rank, line.label, line.sentence, line.overhead] for line in view.lines]
    lines += _table(["Rank", "Pair", "Answer", "Overhead of determinism"], rows) if rows else []
    lines += [f"- Determinism off: {_counts(view.counts_off)}", f"- Determinism on: {_counts(view.counts_on)}", ""]
    lines += _since(view)
    facts = [["Run", view.run], *([fact.label, fact.value] for fact in view.facts)]
    lines += ["<details><summary>Facts of the run</summary>", "", *_table(["Fact", "Value"], facts), "</details>", ""]
    for one in view.notices:
        lines += [f"> **{plain(one.title)}.** {plain(one.text)}", *(f"> - {plain(item)}" for item in one.items), ""]
    if _LEFT_OUT[level]:
        lines += [f"> **Left out for its size:** {_LEFT_OUT[level]}. The page has everything.", ""]
    lines += _matrix(view, level) if level < _NO_MATRIX else []
    lines += _choice(view)
    lines += _needs(view)
    lines += [*(f"{place}. {plain(rule)}" for place, rule in enumerate(view.choice.rules, 1)), ""]
    lines += (
        ["## From one pair to another", "", *(line for one in view.upgrades for line in _upgrade(one))]
        if view.upgrades
        else []
    )
    lines += _evidence(view) if level < _NO_EVIDENCE else []
    lines += _instrument(view)
    lines += ["## How to read this page", ""]
    lines += _table(["Word", "Meaning"], [[f"{symbol} {word}", meaning] for symbol, word, _, meaning in view.legend])
    lines += _table(["Sign", "Meaning"], [list(term) for term in view.terms])
    return "\n".join(lines)


def _since(view: View) -> list[str]:
    since = view.since
    named = f" ({plain(', '.join(filter(None, (since.run, since.moment))))})" if since.run else ""
    lines = [f"**Since the last run{named}:** {plain(since.sentence)}", ""]
    lines += [*(f"- {plain(note)}" for note in since.notes), ""] if since.notes else []
    return [*lines, *(line for one in since.upgrades for line in _upgrade(one, since=True))]


def _matrix(view: View, level: int) -> list[str]:
    """Kernels by family; an entry leaves out what stands above the table or in the row of its kernel."""
    if not view.columns or not view.families:
        return ["## Kernels and pairs", "", plain(view.caption), ""]
    common = common_evidence.strength(view)
    heads = [f"{plain(column.label)} {mode}" for column in view.columns for mode in ("off", "on")]
    rows = []
    for family in view.families:
        rows.append([f"**{plain(family.name)}**", *[""] * len(heads)])
        for row in family.rows:
            if level >= _NO_EXACT and _fine(row):
                continue
            name = "<br>".join(plain(text) for text in (row.kernel, row.own) if text)
            rows.append([name, *(text for entry in row.entries for text in _entry(entry, common))])
            for sub in () if level >= _NO_VARIATIONS else row.variations:
                entries = zip(sub.entries, row.entries, strict=True)
                under = [text for entry, head in entries for text in _entry(entry, common, head)]
                rows.append([f"- {plain(sub.variation)}", *under])
    lead = plain(f"{view.caption} {common_evidence.sentence(common)}".strip())
    return ["## Kernels and pairs", "", lead, "", *_columns(view), *_raw_table(["Kernel", *heads], rows)]


def _fine(row: Row) -> bool:
    entries = [entry for entry in row.entries if not entry.blocked]
    return all(half.tone in _FINE for entry in entries for half in entry.halves if half.planned)


def _choice(view: View) -> list[str]:
    choice = view.choice
    lines = ["## Choose", "", f"**{plain(choice.sentence)}** {plain(choice.question)}", ""]
    heads = ["Rank", "Pair", "Fit", "Evidence and overhead", "Against it, and unknown"]
    lines += _raw_table(heads, [_candidate(one) for one in choice.candidates]) if choice.candidates else []
    lines += [plain(choice.more), ""] if choice.more else []
    lines += [f"- {plain(one.why)} {_code(one.command)}" for one in choice.missing]
    lines += [""] if choice.missing else []
    return lines


def _candidate(one: Candidate) -> list[str]:
    known = [one.evidence, f"overhead: {one.overhead}" if one.overhead else ""]
    against = [*one.reasons, *(f"unknown: {text}" for text in one.unknowns)]
    columns = [[one.rank or "-"], [one.label], [f"{one.symbol} {one.fit}"], known, against]
    return ["<br>".join(plain(text) for text in texts if text) for texts in columns]


def _needs(view: View) -> list[str]:
    if not view.needs or not view.columns:
        return []
    heads = [
        "Exact with determinism on, and the dearest overhead",
        *(matrix_column.label for matrix_column in view.columns),
    ]
    rows = [
        [need.family, *(f"{column.text} {column.dearest}".strip() for column in need.columns)] for need in view.needs
    ]
    return _table(heads, rows)


def _upgrade(one: Upgrade, *, since: bool = False) -> list[str]:
    """One change: what moves, what that does in sum, and the results in which something happened."""
    head = one.label if since else f"{one.step}, {one.label}"
    told = ", ".join(f"{event} {number}" for event, number in one.counts)
    rest = f"Of the others: {one.rest}." if one.rest else ""
    texts = [plain(text) for text in (one.moved, *one.sentences, told, rest, "" if since else one.note) if text]
    lines = [f"**{plain(head)}** {' '.join(texts)}", ""]
    heads = ["Kernel", "Where", "What happened", "Before", "After", "Bits", "Time"]
    lines += _table(heads, [_event(line) for line in one.lines[:_MOST_ROWS]]) if one.lines else []
    more = len(one.lines) - _MOST_ROWS
    return [*lines, *([f"And {more} more; the page has them.", ""] if more > 0 else [])]


def _event(line: UpgradeLine) -> list[str]:
    states = [line.before.status, line.after.status]
    return [line.kernel, line.where, ", ".join(line.events), *states, line.bits, line.time]


def _evidence(view: View) -> list[str]:
    """Where samples part, errors, and how to run that again: what a reader of a job summary asks first."""
    rows = [row for detail in view.details for row in _of_detail(detail)]
    return (
        ["## Where bits part", "", *_raw_table(["Kernel", "Pair", "What", "Where and how far"], rows)] if rows else []
    )


def _of_detail(detail: Detail) -> list[list[str]]:
    names = [plain(detail.kernel), plain(detail.label)]
    rows = [[*names, plain(one.label), _note(one)] for one in detail.notes if one.label in _TOLD]
    if detail.replay and any(half.planned and half.tone not in _FINE for half in detail.entry.halves):
        rows.append([*names, "Replay", _code(detail.replay)])
    return rows


def _note(one: Note) -> str:
    told = " ".join(one.sentences)
    text = plain(f"{one.where}: {told}" if one.where else told)
    block = one.block.strip()
    block = block if len(block) <= _MOST_TEXT else f"{block[:_MOST_TEXT]} [the page has more]"
    return "<br>".join([text, *(plain(line) for line in block.split("\n"))]) if block else text


def _instrument(view: View) -> list[str]:
    shown = view.instrument
    if not shown.lines:
        return []
    heads = ["Pair", "Where", "Seen to differ", "Out of reach", "Failed", "Sensitivity"]
    rows = [
        [one.label, one.places, one.seen or "none", one.out_of_reach or "none", one.failed or "none", one.sentence]
        for one in shown.lines
    ]
    told = [plain(shown.sentence), "", *(plain(text) + "\n" for text in shown.gpu)]
    return ["## What the instrument could see", "", *told, *_table(heads, rows)]


def _columns(view: View) -> list[str]:
    """What is to be known of columns besides their names: one row for each that has any."""
    known = [(one.label, [one.versions, one.kind, one.origin, one.note]) for one in view.columns if not one.blocked]
    rows = [[label, "; ".join(filter(None, told))] for label, told in known if any(told)]
    return _table(["Pair", "To know"], rows) if rows else []


def _counts(counts: Sequence[Count]) -> str:
    return ", ".join(f"{plain(one.symbol)} {plain(one.word)} {one.number}" for one in counts) or "not planned"


def _entry(entry: Entry, common: tuple[str, str], head: Entry | None = None) -> list[str]:
    if entry.blocked:  # its reason stands once, in the answer
        return [plain(entry.on.status), ""]
    heads = head.halves if head else (None, None)
    return [_half(half, common, above) for half, above in zip(entry.halves, heads, strict=True)]


def _half(half: ModeResult, common: tuple[str, str], head: ModeResult | None) -> str:
    """What a column says; under the row of its kernel, the same overhead is not said again."""
    where = f"in {half.variation}" if half.variation not in ("", "default") and head is None else ""
    new = "new value" if half.new_value else ""
    strength = common_evidence.own(half, common)
    overhead = "" if head is not None and head.overhead == half.overhead else half.overhead
    parts = [f"{half.status} {half.letters}", where, strength, half.apart, new, half.time, overhead]
    return "<br>".join(plain(part) for part in parts if part)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return _raw_table(list(map(plain, heads)), [list(map(plain, row)) for row in rows])


def _raw_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    line = "|".join(["", *("---" for _ in heads), ""])
    return [f"| {' | '.join(heads)} |", line, *(f"| {' | '.join(row)} |" for row in rows), ""]


def _code(text: str) -> str:
    """A command that can be copied; one that could end its own code is shown as text."""
    return plain(text) if set("`|\n\\") & set(text) else f"`{text}`"


def plain(text: str) -> str:
    """Text that stays text: no markup, no HTML, no mention, no link, on one line."""
    safe = _LISTED.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", " ".join(text.split())))
    safe = safe.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _BARE_LINK.sub(r"\1&#46;", safe)
