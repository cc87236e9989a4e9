"""The view as text for a terminal: the answer, the warnings, and the matrix in blocks that fit the width."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.report.view import Count, Entry, Half, Row, SubRow, View

#: Columns of a terminal that nobody has told us about.
WIDTH = 120
_GAP = 2
#: Not blanks, which tabulate would strip.
_INDENT = "- "


def render(view: View, width: int = WIDTH) -> str:
    """The page as plain text of at most about ``width`` columns a line in the matrix."""
    parts = [
        " ".join(view.answer),
        _lines(view),
        _counts("determinism off", view.counts_off) + "\n" + _counts("determinism on", view.counts_on),
        *(_notices(view)),
        _columns(view),
        *_matrix(view, width),
        "* time of the first call, trace and compile included" if _has_first(view) else "",
        *_upgrades(view),
        _facts(view),
        _legend(view),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _lines(view: View) -> str:
    return _table([[line.rank, line.label, line.sentence] for line in view.lines])


def _has_first(view: View) -> bool:
    return any(half.time_kind == "first" for row in view.rows for entry in row.entries for half in entry.halves)


def _counts(label: str, counts: Sequence[Count]) -> str:
    told = "  ".join(f"{one.symbol} {one.word} {one.number}" for one in counts) or "not planned"
    return f"{label:<16}{told}"


def _notices(view: View) -> list[str]:
    return ["\n".join([f"{one.title}: {one.text}", *(f"  - {item}" for item in one.items)]) for one in view.notices]


def _upgrades(view: View) -> list[str]:
    told = [[f"- {one.step}, {one.label}", one.moved, *one.sentences] for one in view.upgrades]
    rows = ["\n  ".join(lines) for lines in told]
    return ["\n".join(["Upgrade cost", *rows])] if rows else []


def _columns(view: View) -> str:
    """What is to be known of columns besides their names: one line for each that has any."""
    known = [(one.label, filter(None, (one.kind, one.origin, one.note))) for one in view.columns]
    rows = [[label, "; ".join(told)] for label, parts in known for told in [list(parts)] if told]
    return _table(rows)


def _facts(view: View) -> str:
    return _table([[fact.label, fact.value] for fact in view.facts])


def _legend(view: View) -> str:
    """Only the words in use; the page has them all."""
    used = {word for row in view.rows for word in row.words}
    return _table([[f"{symbol} {word}", meaning] for symbol, word, _, meaning in view.legend if word in used])


def _matrix(view: View, width: int) -> list[str]:
    """Columns that were not measured are left out: their reason stands in the answer."""
    places = [place for place, column in enumerate(view.columns) if not column.blocked]
    if not places:
        return []
    names = ["kernel (off | on)"]
    cells: list[list[str]] = [[] for _ in places]
    for family in view.families:
        names.append(f"[{family.name}]")
        for column in cells:
            column.append("")
        for row in family.rows:
            names.append(f"{row.kernel}\n{f'  ({row.own})' if row.own else ' '}")
            for column, place in zip(cells, places, strict=True):
                column.append(_entry(row.entries[place]))
            for sub in _telling(row):
                names.append(f"{_INDENT}{sub.condition}")
                for column, place in zip(cells, places, strict=True):
                    column.append(_entry(sub.entries[place]).partition("\n")[0])
    heads = [view.columns[place].label for place in places]
    return [_block(names, heads, cells, block) for block in _blocks(names, heads, cells, width)]


def _telling(row: Row) -> tuple[SubRow, ...]:
    """The conditions of a row, or none where all say what the row says already."""
    heads = [half.status for entry in row.entries for half in entry.halves]
    alike = all([half.status for entry in sub.entries for half in entry.halves] == heads for sub in row.conditions)
    return () if alike else row.conditions


def _block(names: list[str], heads: list[str], cells: list[list[str]], places: Sequence[int]) -> str:
    rows = [[name, *(cells[place][index] for place in places)] for index, name in enumerate(names[1:])]
    return _table(rows, [names[0], *(heads[place] for place in places)])


def _blocks(names: list[str], heads: list[str], cells: list[list[str]], width: int) -> list[list[int]]:
    """Columns side by side as long as they fit; at least one a block."""
    first = max(map(_width, names))
    blocks: list[list[int]] = []
    left = 0
    for place, column in enumerate(cells):
        need = max(map(_width, [heads[place], *column])) + _GAP
        if not blocks or need > left:
            blocks.append([])
            left = width - first
        blocks[-1].append(place)
        left -= need
    return blocks


def _width(text: str) -> int:
    return max(map(len, text.split("\n")))


def _entry(entry: Entry) -> str:
    lines = [f"{entry.off.status} | {entry.on.status}", f"{_small(entry.off)} | {_small(entry.on)}"]
    return "\n".join([*lines, *(f"{half.mode} {half.apart}" for half in entry.halves if half.apart)])


def _small(half: Half) -> str:
    """Class, time (``*``: of the first call) and price in little room; the strength stands in the answer."""
    price = half.price.partition(" (")[0] if half.price_data and half.price_data.resolved else ""
    return " ".join(filter(None, [half.letters, half.time.replace(" first call", "*"), price])) or "-"


def _table(rows: list[list[str]], headers: Sequence[str] = ()) -> str:
    """Columns of text. Whatever a cell says is text: tabulate must not take ``1e5`` for a number."""
    from tabulate import tabulate  # noqa: PLC0415 - start-up stays quick without it

    text = tabulate(rows, headers, tablefmt="simple" if headers else "plain", disable_numparse=True)
    lines = [line.rstrip() for line in text.split("\n")]
    return "\n".join(line for line, _ in groupby(lines)) if headers else "\n".join(lines)
