"""Digest classes: results whose bits agree share a letter, so one sees at a glance where bits moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_ALPHABET = 26


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


def letters(digests: Iterable[str]) -> dict[str, str]:
    """Digest to letter, by first appearance. Give the digests of one kernel in column order."""
    return {digest: letter(index) for index, digest in enumerate(dict.fromkeys(digests))}
