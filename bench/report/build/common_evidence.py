"""Find the evidence that most cells of a matrix share, so that a report states it once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.report.view import ModeResult, View

#: Results that must share their evidence before it is stated once for all.
_MANY = 4


def common(view: View) -> tuple[str, str]:
    """Return the word for reproducible and the evidence of most such results, both "" where too few share it."""
    tally = Counter(
        (result.word, result.evidence_text)
        for result in _mode_results(view)
        if result.evidence_text and result.tone == "good"
    )
    common, number = max(tally.items(), key=lambda item: (item[1], item[0]), default=(("", ""), 0))
    return common if number >= _MANY else ("", "")


def sentence(usual: tuple[str, str]) -> str:
    """Return the shared evidence as a sentence."""
    word, evidence = usual
    return f"Evidence for {word} unless stated otherwise: {evidence}." if evidence else ""


def own(result: ModeResult, usual: tuple[str, str]) -> str:
    """Return the evidence of a result, "" where it is the shared one. A result without evidence says so."""
    if result.word == usual[0] and not result.evidence_text:
        return "no evidence"
    return "" if (result.word, result.evidence_text) == usual else result.evidence_text


def _mode_results(view: View) -> Iterator[ModeResult]:
    for row in view.rows:
        for entry in (*row.entries, *(entry for sub in row.variations for entry in sub.entries)):
            yield from () if entry.blocked else entry.mode_results
