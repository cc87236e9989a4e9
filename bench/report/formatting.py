"""Format text and numbers for reports: harmless text, capped lengths, and numbers with their units."""

from __future__ import annotations

import math
import unicodedata
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Characters that look like others in source code, by name.
TIMES = "\N{MULTIPLICATION SIGN}"
DASH = "\N{EN DASH}"

#: Characters of an error message that a page shows.
MESSAGE_LIMIT = 2000
#: Hexadecimal characters of a digest that a page shows.
DIGEST_LENGTH = 12

#: Numbers from the first limit on are shown without their fraction, and from the second one on with an exponent.
_WHOLE, _LARGE = 100, 100_000
#: Seconds from which on an exponent keeps a time within its table.
_ENDLESS = 1e6
#: A run of consecutive numbers that is longer than this by one is shown by its ends.
_LONG_RUN = 2
#: Items of a list that are shown.
_MOST_ITEMS = 12

_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def clean(text: str, *, lines: bool = False) -> str:
    """Return text from a record with every character escaped that could control a terminal or reorder a line.

    Control characters (NUL, escape sequences), format characters (right-to-left overrides, zero-width ones) and lone
    surrogates become escape sequences. Markup stays, because each renderer escapes for its own format. ``lines`` keeps
    line feeds and tabs; otherwise all white space becomes single spaces.
    """
    if lines:
        return text if text.isprintable() else "".join(char if char in "\n\t" else _visible(char) for char in text)
    return _clean_line(text)


@lru_cache(maxsize=20_000)  # a run repeats the same names and sentences many times
def _clean_line(text: str) -> str:
    line = " ".join(text.split())
    return line if line.isprintable() else "".join(map(_visible, line))


def _visible(char: str) -> str:
    if unicodedata.category(char) not in _HARMFUL:
        return char
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def cap(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Return the first ``limit`` characters, and how many more there are."""
    more = len(text) - limit
    return text if more <= 0 else f"{text[:limit]} [{more} more characters]"


def seconds(value: float) -> str:
    """Return a time with its unit and three significant digits: ``12.3 µs``, ``1.05 ms``, ``2.00 s``."""
    if value >= _ENDLESS:
        return f"{value:.2e} s"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size * 0.9995 or unit == "µs":
            return f"{significant(value / size)} {unit}"
    raise AssertionError("unreachable")  # pragma: no cover


def significant(value: float) -> str:
    """Return a number with three significant digits and without an exponent."""
    for limit, digits in ((9.995, 2), (99.95, 1)):
        if value < limit:
            return f"{value:.{digits}f}"
    return f"{value:.0f}"


def figure(value: float | None) -> str:
    """Return a measure with two significant digits, small ones with an exponent: ``0.43``, ``1.2e-07``, ``3``."""
    if value is None or not math.isfinite(value):
        return "not finite"
    whole = abs(value) < _LARGE and (float(value).is_integer() or abs(value) >= _WHOLE)
    return f"{value:.0f}" if whole else f"{value:.2g}"


def share(rate: float) -> str:
    """Return a share of samples in words: ``every sample``, ``1 of 10 samples``."""
    return "every sample" if rate >= 1 else f"1 of {round(1 / rate)} samples"


def bits(numbers: Sequence[int]) -> str:
    """Return the numbers of digests in order, with runs shortened: ``1 x20``; ``1 x3, 2, 1``; ``1 to 20``."""
    runs = [(number, len(list(run))) for number, run in groupby(numbers)]
    texts: list[str] = []
    place = 0
    while place < len(runs):
        end = place
        while end + 1 < len(runs) and runs[end + 1] == (runs[end][0] + 1, 1) and runs[end][1] == 1:
            end += 1
        number, times = runs[place]
        if end - place >= _LONG_RUN:
            texts.append(f"{number} to {runs[end][0]}")
            place = end
        else:
            texts.append(f"{number} {TIMES}{times}" if times > 1 else str(number))
        place += 1
    return ", ".join(texts)


def hexadecimal(digest: str) -> str:
    """Return the first characters of a digest."""
    return clean(digest)[:DIGEST_LENGTH]


def moment(stamp: str) -> str:
    """Return an ISO 8601 time in UTC as ``2025-01-30 12:00 UTC``; any other text as it is."""
    date, separator, time = clean(stamp).partition("T")
    if not separator or not time.endswith(("+00:00", "Z")):
        return clean(stamp)
    return f"{date} {time[:5]} UTC"


def listed(names: list[str], most: int = 3) -> str:
    """Return ``a``, ``a and b``, or ``a, b and 4 more``."""
    shown = names if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} more"]
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))


def few(items: Iterable[str]) -> tuple[str, ...]:
    """Return the first distinct items, and how many more there are."""
    distinct = list(dict.fromkeys(items))
    more = len(distinct) - _MOST_ITEMS
    return (*distinct[:_MOST_ITEMS], *([f"and {more} more"] if more > 0 else []))
