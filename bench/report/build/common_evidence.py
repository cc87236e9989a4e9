"""What most entries of a matrix say alike: said once, it need not stand in every column."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.report.view import Entry, ModeResult, View

#: Entries that must say the same before it is said once for all.
_MANY = 4


def strength(view: View) -> tuple[str, str]:
    """The word for exact and the strength that most such entries have, both "" where too few do."""
    tally = Counter((half.word, half.strength) for half in _halves(view) if half.strength and half.tone == "good")
    found, number = max(tally.items(), key=lambda item: (item[1], item[0]), default=(("", ""), 0))
    return found if number >= _MANY else ("", "")


def sentence(usual: tuple[str, str]) -> str:
    """What is said once: ``Behind every exact, unless its entry says otherwise: 0 of 4 differed, <= 53 %``."""
    word, told = usual
    return f"Behind every {word}, unless its entry says otherwise: {told}." if told else ""


def own(half: ModeResult, usual: tuple[str, str]) -> str:
    """The strength of an entry, "" where it is the usual one; none must not pass for the usual one."""
    if half.word == usual[0] and not half.strength:
        return "no strength"
    return "" if (half.word, half.strength) == usual else half.strength


def _halves(view: View) -> Iterator[ModeResult]:
    for row in view.rows:
        for entry in (*row.entries, *(entry for sub in row.variations for entry in sub.entries)):
            yield from _shown(entry)


def _shown(entry: Entry) -> tuple[ModeResult, ...]:
    return () if entry.blocked else entry.halves
