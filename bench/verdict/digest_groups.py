"""Digest classes: results whose bits agree share a letter, so one sees at a glance where bits changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_ALPHABET = 26
#: Marks letters of another alphabet.
PRIME = "\N{PRIME}"


def letter(index: int) -> str:
    """A, B, ..., Z, AA, AB, ... for 0, 1, ...: the numbering of spreadsheet columns.

    Raises:
        ValueError: a negative index.
    """
    if index < 0:
        raise ValueError("an index counts from 0")
    name = ""
    rest = index + 1
    while rest:
        rest, digit = divmod(rest - 1, _ALPHABET)
        name = chr(ord("A") + digit) + name
    return name


def letters(digests: Iterable[tuple[bool, str]]) -> dict[tuple[bool, str], str]:
    """(Other work, digest) to letter, by first appearance. Give those of one kernel in column order.

    Digests of other work, say of larger inputs, have letters with a prime, unless all are of other work. A difference
    between letters of two alphabets says nothing.
    """
    alphabets: dict[bool, dict[str, None]] = {}
    for work, digest in digests:
        alphabets.setdefault(work, {})[digest] = None
    return {
        (work, digest): letter(index) + PRIME * number
        for number, (work, own) in enumerate(alphabets.items())
        for index, digest in enumerate(own)
    }
