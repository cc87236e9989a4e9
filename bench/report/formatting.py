"""Text that may be shown: made harmless, capped, and numbers with their units."""

from __future__ import annotations

import math
import unicodedata
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Signs that look like letters in source code, by name.
TIMES = "\N{MULTIPLICATION SIGN}"
DASH = "\N{EN DASH}"

#: Characters of an error message that a page shows.
MESSAGE_LIMIT = 2000
#: Hexadecimal characters of a digest that a page shows.
DIGEST_LENGTH = 12

#: Numbers from here on are shown without their fraction, and from there on with an exponent.
_WHOLE, _LARGE = 100, 100_000
#: Seconds that no call takes, and no table has room for.
_ENDLESS = 1e6
#: Numbers that follow each other, and are one more, from which on only the ends are shown.
_LONG_RUN = 2

_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def clean(text: str, *, lines: bool = False) -> str:
    """Text from a record with everything that could steer a terminal or turn a line around made visible.

    Control characters (NUL, escape sequences), format characters (right-to-left overrides, zero-width
    ones) and lone surrogates become their escapes. Markup is not this function's business: each renderer
    escapes for its own format. ``lines`` keeps line feeds and tabs; otherwise they become spaces.
    """
    if lines:
        return "".join(char if char in "\n\t" else _visible(char) for char in text)
    line = " ".join(text.split())
    return line if line.isprintable() else "".join(map(_visible, line))


def _visible(char: str) -> str:
    if unicodedata.category(char) not in _HARMFUL:
        return char
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def cap(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """The first ``limit`` characters, and how many are left out."""
    left = len(text) - limit
    return text if left <= 0 else f"{text[:limit]} [{left} more characters]"


def seconds(value: float) -> str:
    """A time with its unit and three significant digits: ``12.3 µs``, ``1.05 ms``, ``2.00 s``."""
    if value >= _ENDLESS:
        return f"{value:.2e} s"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size * 0.9995 or unit == "µs":
            return f"{significant(value / size)} {unit}"
    raise AssertionError("unreachable")  # pragma: no cover


def significant(value: float) -> str:
    """Three significant digits without an exponent."""
    for limit, digits in ((9.995, 2), (99.95, 1)):
        if value < limit:
            return f"{value:.{digits}f}"
    return f"{value:.0f}"


def figure(value: float | None) -> str:
    """A measure with two significant digits, small ones with an exponent: ``0.43``, ``1.2e-07``, ``3``."""
    if value is None or not math.isfinite(value):
        return "not finite"
    whole = abs(value) < _LARGE and (float(value).is_integer() or abs(value) >= _WHOLE)
    return f"{value:.0f}" if whole else f"{value:.2g}"


def share(rate: float) -> str:
    """A share of samples as people count: ``every sample``, ``1 of 10 samples``."""
    return "every sample" if rate >= 1 else f"1 of {round(1 / rate)} samples"


def bits(numbers: Sequence[int]) -> str:
    """The numbers of digests in order, with runs made short: ``1 x20``; ``1 x3, 2, 1``; ``1 to 20``."""
    parts = []
    for number, run in groupby(numbers):
        parts.append((number, len(list(run))))
    shown: list[str] = []
    place = 0
    while place < len(parts):
        end = place
        while end + 1 < len(parts) and parts[end + 1] == (parts[end][0] + 1, 1) and parts[end][1] == 1:
            end += 1
        number, times = parts[place]
        if end - place >= _LONG_RUN:
            shown.append(f"{number} to {parts[end][0]}")
            place = end
        else:
            shown.append(f"{number} {TIMES}{times}" if times > 1 else str(number))
        place += 1
    return ", ".join(shown)


def hexadecimal(digest: str) -> str:
    """The leading characters of a digest."""
    return clean(digest)[:DIGEST_LENGTH]


def moment(stamp: str) -> str:
    """An ISO 8601 moment for people: ``2025-01-30 12:00 UTC``; anything else as it is."""
    date, found, time = clean(stamp).partition("T")
    if not found or not time.endswith(("+00:00", "Z")):
        return clean(stamp)
    return f"{date} {time[:5]} UTC"


def listed(names: list[str], most: int = 3) -> str:
    """``a``, ``a and b``, ``a, b and 4 more``."""
    shown = names if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} more"]
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))
