"""Suggest the name that a misspelled one was probably meant to be."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that is most like ``name``, or "" where none is similar. Case is ignored."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.casefold(), by_folded, 1, 0.6)
    return by_folded[matches[0]] if matches else ""


def did_you_mean(name: str, known: Iterable[str], otherwise: str = ".") -> str:
    """Return the end of a sentence about an unknown name: ``; did you mean 'standard'?``, or ``otherwise``."""
    suggestion = nearest(name, known)
    return f"; did you mean {suggestion!r}?" if suggestion else otherwise
