"""The view as text for a terminal: the answer, the warnings, and the matrix in blocks that fit the width.

The first lines answer which pair is safe, at what overhead, and what changed. Commands are never wrapped, so that they can
be copied.
"""

from __future__ import annotations

import textwrap
from itertools import groupby
from typing import TYPE_CHECKING

from bench.report.build import common_evidence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.report.view import (
        Candidate,
        Count,
        Entry,
        Line,
        ModeResult,
        Row,
        Since,
        Upgrade,
        UpgradeLine,
        VariationRow,
        View,
    )

#: Columns of a terminal that nobody has told us about, and the fewest that are honoured.
WIDTH = 120
_NARROWEST = 40
_GAP = 2
#: What tabulate gives a head beyond its own width.
_PADDING = 2
#: Not blanks, which tabulate would strip.
_INDENT = "- "
#: Rows of a change, and commands to replay, that are listed before the rest is only counted.
_MOST_ROWS, _MOST_REPLAYS = 12, 10
#: Tones of what is worth running again.
_BAD = frozenset({"bad", "fault"})


def render(view: View, width: int = WIDTH) -> str:
    """The page as plain text of at most ``width`` columns a line, names and commands that are longer apart."""
    width = max(width, _NARROWEST)
    parts = [
        _wrapped(" ".join(view.answer), width),
        _told([[line.rank, line.label, _answer(line)] for line in view.lines], width),
        _counts("determinism off", view.counts_off, width) + "\n" + _counts("determinism on", view.counts_on, width),
        _since(view.since, width),
        _told([["Run", view.run], *([fact.label, fact.value] for fact in view.facts)], width),
        *_notices(view, width),
        *_matrix(view, width),
        "* time of the first call, trace and compile included" if _has_first(view) else "",
        _choice(view, width),
        _needs(view, width),
        *_upgrades(view, width),
        _replays(view),
        _legend(view, width),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _answer(line: Line) -> str:
    return f"{line.sentence}; overhead: {line.overhead}" if line.overhead else line.sentence


def _has_first(view: View) -> bool:
    return any(half.time_kind == "first" for row in view.rows for entry in row.entries for half in entry.halves)


def _counts(label: str, counts: Sequence[Count], width: int) -> str:
    told = "  ".join(f"{one.symbol}\0{one.word}\0{one.number}" for one in counts) or "not planned"
    return _wrapped(f"{label:<16} {told}", width, " " * 17).replace("\0", " ")


def _since(since: Since, width: int) -> str:
    """What changed since the last run, with the rows in which something did."""
    named = f" ({', '.join(filter(None, (since.run, since.moment)))})" if since.run else ""
    lines = [_wrapped(f"Since the last run{named}: {since.sentence}", width)]
    lines += [_wrapped(f"- {note}", width, "  ") for note in since.notes]
    return "\n".join([*lines, *(line for one in since.upgrades for line in _upgrade(one, width, since=True))])


def _notices(view: View, width: int) -> list[str]:
    return [
        "\n".join(
            [
                _wrapped(f"{one.title}: {one.text}", width, "  "),
                *(_wrapped(f"  - {item}", width, "    ") for item in one.items),
            ]
        )
        for one in view.notices
    ]


def _choice(view: View, width: int) -> str:
    """Pairs ranked for all kernels, with their reasons and unknowns, and what would tell more."""
    choice = view.choice
    lines = [_wrapped(f"Choose: {choice.sentence} {choice.question}", width, "  ")]
    lines += [line for one in choice.candidates for line in _candidate(one, width)]
    lines += [choice.more] if choice.more else []
    for one in choice.missing:
        lines += [_wrapped(f"- {one.why}", width, "  "), f"    {one.command}"]
    return "\n".join(lines) if choice.sentence or choice.candidates else ""


def _candidate(one: Candidate, width: int) -> list[str]:
    margin = " " * 9
    overhead = f"overhead: {one.overhead}" if one.overhead else ""
    told = [one.evidence, overhead, *one.reasons, *(f"unknown: {text}" for text in one.unknowns)]
    lines = [_wrapped(f"{one.rank or '-':<9}{one.label}: {one.symbol} {one.fit}", width, margin)]
    return [*lines, *(_wrapped(f"{margin}{text}", width, f"{margin}  ") for text in told if text)]


def _needs(view: View, width: int) -> str:
    """Families over pairs: those that are exact everywhere in one line."""
    if not view.needs or not view.columns:
        return ""
    done = [need.family for need in view.needs if need.reproducible]
    lines = [_wrapped(f"Exact on every pair: {', '.join(done)}.", width, "  ")] if done else []
    for need in view.needs:
        if not need.reproducible:
            columns = zip(view.columns, need.columns, strict=True)
            told = (
                f"{matrix_column.label} {' '.join(filter(None, (column.text, column.dearest)))}"
                for matrix_column, column in columns
            )
            lines.append(_wrapped(f"- {need.family}: {'; '.join(told)}", width, "  "))
    head = "Kernels that are exact with determinism on, and the dearest overhead, by family"
    return "\n".join([_wrapped(head, width, "  "), *lines])


def _upgrades(view: View, width: int) -> list[str]:
    rows = [line for one in view.upgrades for line in _upgrade(one, width)]
    return ["\n".join(["From one pair to another", *rows])] if rows else []


def _upgrade(one: Upgrade, width: int, *, since: bool = False) -> list[str]:
    """One change; the notes of all changes since the last run stand above them."""
    told = ", ".join(f"{event} {number}" for event, number in one.counts)
    head = f"- {one.label}" if since else f"- {one.step}, {one.label}"
    rest = f"Of the others: {one.rest}." if one.rest else ""
    texts = [one.moved, *one.sentences, told, rest, "" if since else one.note]
    lines = [_wrapped(head, width, "  "), *(_wrapped(f"  {text}", width, "    ") for text in texts if text)]
    lines += [_wrapped(f"    {_event(line)}", width, "      ") for line in one.lines[:_MOST_ROWS]]
    more = len(one.lines) - _MOST_ROWS
    return [*lines, *([f"    and {more} more; the page has them"] if more > 0 else [])]


def _event(line: UpgradeLine) -> str:
    states = f"{line.before.status} to {line.after.status}" if line.turned else line.after.status
    told = "; ".join(filter(None, (", ".join(line.events), states, line.bits, line.time)))
    return f"{line.kernel}, {line.where}: {told}"


def _replays(view: View) -> str:
    """Commands that measure again what varies, raises or fails."""
    found = [one.replay for one in view.details if one.replay and {one.entry.off.tone, one.entry.on.tone} & _BAD]
    if not found:
        return ""
    more = len(found) - _MOST_REPLAYS
    lines = [*found[:_MOST_REPLAYS], *([f"and {more} more; the page has them"] if more > 0 else [])]
    return "\n  ".join(["To measure again what varies, raises or fails:", *lines])


def _columns(view: View, width: int) -> str:
    """What is to be known of columns besides their names: one line for each that has any."""
    known = [
        (one.label, list(filter(None, (one.versions, one.kind, one.origin, one.note))))
        for one in view.columns
        if not one.blocked
    ]
    return _told([[label, "; ".join(told)] for label, told in known if told], width)


def _legend(view: View, width: int) -> str:
    """Only the words in use; the page has them all."""
    used = {word for row in view.rows for word in row.words}
    return _told([[f"{symbol} {word}", meaning] for symbol, word, _, meaning in view.legend if word in used], width)


def _matrix(view: View, width: int) -> list[str]:
    """Columns that were not measured are left out: their reason stands in the answer."""
    places = [place for place, column in enumerate(view.columns) if not column.blocked]
    if not places:
        return [view.caption]
    common = common_evidence.strength(view)
    names = ["kernel (off | on)"]
    columns: list[list[str]] = [[] for _ in places]
    for family in view.families:
        names.append(f"[{family.name}]")
        for column in columns:
            column.append("")
        for row in family.rows:
            names.append(f"{row.kernel}\n{f'  ({row.own})' if row.own else ' '}")
            for column, place in zip(columns, places, strict=True):
                column.append(_entry(row.entries[place], common))
            for sub in _telling(row):
                names.append(f"{_INDENT}{sub.variation}")
                for column, place in zip(columns, places, strict=True):
                    column.append(_statuses(sub.entries[place]))
    heads = [view.columns[place].label for place in places]
    told = common_evidence.sentence(common)
    blocks = [_block(names, heads, columns, block) for block in _blocks(names, heads, columns, width)]
    return [_wrapped(f"{view.caption} {told}".strip(), width), _columns(view, width), *blocks]


def _telling(row: Row) -> tuple[VariationRow, ...]:
    """The variations of a row, or none where all say what the row says already."""
    heads = [half.status for entry in row.entries for half in entry.halves]
    alike = all([half.status for entry in sub.entries for half in entry.halves] == heads for sub in row.variations)
    return () if alike else row.variations


def _block(names: list[str], heads: list[str], columns: list[list[str]], places: Sequence[int]) -> str:
    rows = [[name, *(columns[place][index] for place in places)] for index, name in enumerate(names[1:])]
    return _table(rows, [names[0], *(heads[place] for place in places)])


def _blocks(names: list[str], heads: list[str], columns: list[list[str]], width: int) -> list[list[int]]:
    """Columns side by side as long as they fit; at least one a block."""
    first = max(_PADDING + _width(names[0]), *map(_width, names[1:]), 0)
    blocks: list[list[int]] = []
    left = 0
    for place, column in enumerate(columns):
        need = max(_PADDING + _width(heads[place]), *map(_width, column), 0) + _GAP
        if not blocks or need > left:
            blocks.append([])
            left = width - first
        blocks[-1].append(place)
        left -= need
    return blocks


def _width(text: str) -> int:
    return max(map(len, text.split("\n")))


def _statuses(entry: Entry) -> str:
    return f"{entry.off.status} | {entry.on.status}"


def _entry(entry: Entry, common: tuple[str, str]) -> str:
    """Statuses, then class, time and overhead, then what a half has of its own: its strength, how far samples differ."""
    lines = [_statuses(entry), f"{_small(entry.off)} | {_small(entry.on)}"]
    for half in entry.halves:
        lines += [f"{half.mode} {text}" for text in (common_evidence.own(half, common), half.apart) if text]
    return "\n".join(lines)


def _small(half: ModeResult) -> str:
    """Class, time (``*``: of the first call) and overhead in little room."""
    overhead = half.overhead.partition(" (")[0] if half.overhead_data and half.overhead_data.resolved else ""
    return " ".join(filter(None, [half.letters, half.time.replace(" first call", "*"), overhead])) or "-"


def _table(rows: list[list[str]], headers: Sequence[str] = ()) -> str:
    """Columns of text. Whatever a column says is text: tabulate must not take ``1e5`` for a number."""
    from tabulate import tabulate  # noqa: PLC0415 - start-up stays quick without it

    text = tabulate(rows, headers, tablefmt="simple" if headers else "plain", disable_numparse=True)
    lines = [line.rstrip() for line in text.split("\n")]
    return "\n".join(line for line, _ in groupby(lines)) if headers else "\n".join(lines)


def _told(rows: Sequence[Sequence[str]], width: int) -> str:
    """Short columns side by side, and a long last one wrapped beside them, or below where it has no room."""
    heads = [max(len(row[place]) for row in rows) for place in range(len(rows[0]) - 1)] if rows else []
    left = sum(heads) + _GAP * len(heads)
    lines = []
    for row in rows:
        start = "".join(f"{text:<{size + _GAP}}" for text, size in zip(row, heads, strict=False))
        if left <= width // 2:
            lines.append(_wrapped(start + row[-1], width, " " * left))
        else:
            lines += [_wrapped(" ".join(row[:-1]).strip(), width), _wrapped(f"    {row[-1]}", width, "    ")]
    return "\n".join(lines)


def _wrapped(text: str, width: int, hang: str = "") -> str:
    """Text in lines of at most ``width`` columns; a word that is longer stays whole."""
    indent = text[: len(text) - len(text.lstrip(" "))]
    lines = textwrap.wrap(
        text.lstrip(" "), width, initial_indent=indent, subsequent_indent=hang, break_long_words=False,
        break_on_hyphens=False, drop_whitespace=True, replace_whitespace=False,
    )  # fmt: skip
    return "\n".join(line.rstrip() for line in lines)
