"""Digest groups: results with the same bits share a letter, which shows at a glance where bits changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_ALPHABET = 26
#: Marks the letters of another workload.
PRIME = "\N{PRIME}"


def letter(index: int) -> str:
    """Return A, B, ..., Z, AA, AB, ... for 0, 1, ...: the numbering of spreadsheet columns.

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
    """Map (other workload, digest) to a letter, by first appearance. Pass those of one kernel in column order.

    Digests of another workload, for instance of larger inputs, have letters with a prime, unless all are of one.
    A difference between letters with and without a prime means nothing.
    """
    workloads: dict[bool, dict[str, None]] = {}
    for other_workload, digest in digests:
        workloads.setdefault(other_workload, {})[digest] = None
    return {
        (other_workload, digest): letter(index) + PRIME * number
        for number, (other_workload, of_workload) in enumerate(workloads.items())
        for index, digest in enumerate(of_workload)
    }
