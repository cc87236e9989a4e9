"""The tail of the log that shows why a kernel died."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.store.log_tails import DIED

if TYPE_CHECKING:
    from bench.verdict.results import RunResults, Verdict


@dataclass(frozen=True, kw_only=True)
class LogTail:
    """The tail of a round's log. A round has only one: ``text`` is about ``kernel``, the first that died there."""

    round: int
    kernel: str
    text: str


def log_tail(results: RunResults, verdict: Verdict) -> LogTail | None:
    """Return the log tail of the first process in which the kernel died and that left a log, None if it did not die.

    Without any log the text is empty.
    """
    if not DIED & dict(verdict.outcomes).keys():
        return None
    without_text = None
    for accepted in results.groups.get((verdict.column, verdict.variation, verdict.mode), ()):
        died = [outcome.kernel for outcome in accepted.record.outcomes if outcome.outcome in DIED]
        if verdict.kernel in died:
            text = results.tails.records.get(accepted.path, "")
            tail = LogTail(round=accepted.record.request.round, kernel=died[0], text=text)
            if text:
                return tail
            without_text = without_text or tail
    return without_text
