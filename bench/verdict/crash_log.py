"""Of a kernel that died, the tail of the log that says why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.store.log_tails import DIED

if TYPE_CHECKING:
    from bench.verdict.results import RunResults, Verdict


@dataclass(frozen=True, kw_only=True)
class LastWords:
    """The tail of a round's log. A round has one log: ``kernel`` is the first that died there, and has the ``text``."""

    round: int
    kernel: str
    text: str


def last_words(results: RunResults, verdict: Verdict) -> LastWords | None:
    """Those of the first process in which the kernel died and that left a log, None where it did not die.

    Without any log the text is empty.
    """
    if not DIED & dict(verdict.outcomes).keys():
        return None
    silent = None
    for kept in results.groups.get((verdict.column, verdict.variation, verdict.mode), ()):
        died = [one.kernel for one in kept.record.outcomes if one.outcome in DIED]
        if verdict.kernel in died:
            text = results.tails.records.get(kept.path, "")
            found = LastWords(round=kept.record.request.round, kernel=died[0], text=text)
            if text:
                return found
            silent = silent or found
    return silent
