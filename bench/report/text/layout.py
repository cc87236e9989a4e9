"""Plain-text layout for terminals: wrapped paragraphs, tables that fit a width, shell commands and colour."""

from __future__ import annotations

import os
import re
import textwrap
from itertools import accumulate, pairwise, zip_longest
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Characters in a line where the width of the terminal is not known.
WIDTH = 80
#: Characters between two columns of a table.
_GAP = 2
#: A column of a table becomes no narrower than this, whatever it holds.
_NARROWEST = 6
#: SGR codes by the tone of a status; anything else stays uncoloured.
_CODES = {"good": "32", "control": "32", "bad": "31", "fault": "31", "control-failed": "31", "part": "33",
          "inconclusive": "33", "warn": "33", "grave": "31"}  # fmt: skip
#: A word of a shell command: quoted parts may contain spaces.
_SHELL_WORD = re.compile(r"(?:'[^']*'|\"[^\"]*\"|\\.|[^\s'\"\\])+")


def supports_colour(stream: TextIO) -> bool:
    """Return whether a stream is a terminal that shows colour, and the user has not set ``NO_COLOR``."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, tone: str, *, colour: bool) -> str:
    """Return the text in the colour of a tone. Apply it after wrapping: its codes have a length."""
    return f"\x1b[{_CODES[tone]}m{text}\x1b[0m" if colour and text and tone in _CODES else text


def wrapped(text: str, width: int, hang: str = "") -> str:
    """Return the text in lines of at most ``width`` characters; a longer word stays whole.

    The indentation of the text is kept; further lines are indented by ``hang``.
    """
    indent = text[: len(text) - len(text.lstrip(" "))]
    lines = textwrap.wrap(
        text.lstrip(" "), width, initial_indent=indent, subsequent_indent=hang, break_long_words=False,
        break_on_hyphens=False, drop_whitespace=True, replace_whitespace=False,
    )  # fmt: skip
    return "\n".join(line.rstrip() for line in lines)


def command(text: str, width: int, indent: str = "    ") -> str:
    """Return a shell command in lines of at most ``width`` characters that can still be copied into a POSIX shell."""
    lines = [indent]
    for number, word in enumerate(_SHELL_WORD.findall(text)):
        space = " " if number else ""
        if number and len(lines[-1]) + len(word) + len(" \\") >= width:
            lines[-1] += " \\"
            lines.append(f"{indent}  ")
            space = ""
        *first, last = _pieces(word, width - len(lines[-1]) - len(space) - 1, width - 1)
        lines[-1] += space + "".join(first[:1] or [last])
        # a word that is too long goes on in the first place of the next line, where the shell joins it again
        for piece in [*first[1:], last] if first else []:
            lines[-1] += "\\"
            lines.append(piece)
    return "\n".join(lines)


def _pieces(word: str, room: int, width: int) -> list[str]:
    """Split a word after commas into what fits on its line and on further ones; a quoted word stays whole."""
    if len(word) <= room or set(word) & set("'\"\\"):
        return [word]
    pieces = [""]
    for part in re.findall(r"[^,]*,|[^,]+", word):
        if pieces[-1] and len(pieces[-1]) + len(part) > (room if len(pieces) == 1 else width):
            pieces.append("")
        pieces[-1] += part
    return pieces


def table(rows: Sequence[Sequence[str]], heads: Sequence[str] = (), width: int = WIDTH) -> str:
    """Return a table of at most ``width`` characters a line; long cells are wrapped, the widest columns first."""
    return "\n".join(table_blocks(rows, heads, width))


def table_blocks(rows: Sequence[Sequence[str]], heads: Sequence[str] = (), width: int = WIDTH) -> list[str]:
    """Return a table in blocks: the head with its rule where there is one, then one block for each row."""
    from tabulate import tabulate  # noqa: PLC0415 - start-up stays quick without it

    if not rows:
        return []
    cells = [list(row) for row in ([heads, *rows] if heads else rows)]
    widths = _widths(cells, width)
    # one line of the table is one row for tabulate, which drops lines and indentation of cells with several lines
    lines: list[tuple[str, ...]] = []
    heights = []
    for row in cells:
        wrapped_cells = [_cell(text, size) for text, size in zip(row, widths, strict=True)]
        lines += zip_longest(*wrapped_cells, fillvalue="")
        heights.append(max(map(len, wrapped_cells)))
    if heads:  # the head is a row as any other: tabulate makes columns with heads of its own wider
        lines.insert(heights[0], tuple("-" * max(map(len, column)) for column in zip(*lines, strict=True)))
        heights[0] += 1
    text = tabulate(lines, tablefmt="plain", disable_numparse=True, preserve_whitespace=True)
    texts = [line.rstrip() for line in text.split("\n")]
    ends = [0, *accumulate(heights)]
    return ["\n".join(texts[first:last]) for first, last in pairwise(ends)]


def _widest(column: Sequence[str]) -> int:
    return max((len(line) for cell in column for line in cell.split("\n")), default=0)


def _widths(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return the width of each column: natural where the table fits, else narrowed.

    The widest column that still has room for its longest word gives way first; where none has, words are broken.
    """
    columns = list(zip(*rows, strict=True))
    words = [max((len(word) for cell in column for word in cell.split()), default=0) for column in columns]
    sizes = [max(_widest(column), 1) for column in columns]
    room = width - _GAP * (len(sizes) - 1)
    while sum(sizes) > room:
        spare = [at for at, size in enumerate(sizes) if size > max(words[at], _NARROWEST)]
        spare = spare or [at for at, size in enumerate(sizes) if size > _NARROWEST]
        if not spare:
            break
        widest = max(spare, key=sizes.__getitem__)
        sizes[widest] -= 1
    return sizes


def _cell(text: str, width: int) -> list[str]:
    """Wrap each line of a cell; a continuation keeps the indentation of its line."""
    lines = []
    for line in text.split("\n"):
        indent = line[: len(line) - len(line.lstrip(" "))]
        lines += textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False) or [""]
    return lines
