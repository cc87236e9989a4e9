"""What is to be said of a kernel in one column beside its table: reasons, differences, errors, known_issues.

The same words are said once, with all the places they hold for: a page has thousands of verdicts, and most
of what is to be said of them is the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report.build.distances import change_text, first_difference, sentences
from bench.report.formatting import cap, clean, figure
from bench.report.view import Note
from bench.verdict.crash_log import log_tail
from bench.verdict.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.report.view import Change
    from bench.verdict.known_issues import KnownIssue
    from bench.verdict.results import RunResults, Verdict

    Pair = tuple[Verdict | None, Verdict | None]

_COMPARED = {"more": "more accurate", "less": "less accurate", "same": "as accurate"}
#: What is said, and of which variations and modes ("" for a variation as a whole).
_Said = tuple[str, tuple[str, ...], str]


def notes(
    results: RunResults, column: str, kernel: str, pairs: Sequence[Pair], changes: Sequence[Change]
) -> tuple[Note, ...]:
    """All notes of one kernel in one column, each once."""
    verdicts = [verdict for pair in pairs for verdict in pair if verdict is not None]
    said = [(place(one), what) for one in verdicts for what in (*_of_verdict(one), *_log_tail(results, one))]
    said += [(clean(one.variation), ("New value", (change_text(one.difference),), "")) for one in changes]
    for variation in results.variations:
        line = accuracy(results, column, kernel, variation)
        said += [(clean(variation), ("Accuracy", (line,), ""))] if line else []
    variations = list(dict.fromkeys(clean(one.variation) for one in verdicts))
    return _merged(said, [place(one) for one in verdicts], variations)


def place(verdict: Verdict) -> str:
    """Variation and mode."""
    return f"{clean(verdict.variation)}, {verdict.mode}"


def _of_verdict(verdict: Verdict) -> list[_Said]:
    found: list[_Said] = []
    if verdict.status is not Status.REPRODUCIBLE or verdict.control:
        found.append(("Why", (clean(verdict.why),), ""))
    if verdict.discarded is not None and not verdict.control:
        found.append(("Time", (clean(verdict.discarded.sentence),), ""))
    if verdict.control:  # its difference is planted
        pass
    elif verdict.difference is not None:
        found.append(("Difference", sentences(verdict.difference), ""))
        if verdict.difference.first_difference is not None:
            found.append(("First divergence", (first_difference(verdict.difference.first_difference),), ""))
    elif verdict.difference_why:
        found.append(("Difference", (clean(verdict.difference_why),), ""))
    if verdict.error_class or verdict.error_message:
        message = cap(clean(verdict.error_message, lines=True))
        found.append(("Error", (_error(verdict),), message))
    if verdict.known_issue is not None:
        found.append(
            ("Known known_issue", known_issue(verdict.known_issue), clean(verdict.known_issue.reproducer, lines=True))
        )
    return found


def _log_tail(results: RunResults, verdict: Verdict) -> list[_Said]:
    """The end of the log of a kernel that died; kernels of one round share a log, so it stands with the first."""
    found = log_tail(results, verdict)
    if found is None:
        return []
    if not found.text:
        return [("Log tail", ("The log was not kept with these records.",), "")]
    if found.kernel != verdict.kernel:
        told = f"Round {found.round} has one log; its end stands with {clean(found.kernel)}, which died there first."
        return [("Log tail", (told,), "")]
    return [("Log tail", (f"Of round {found.round}, its last lines.",), clean(found.text, lines=True))]


def _error(verdict: Verdict) -> str:
    """Class and place of an error. The place is a file and line of the kernel."""
    where = next((one.where for one in verdict.observations if one.where), "")
    told = clean(verdict.error_class) or "no class was recorded"
    return f"{told}, at {clean(where)}" if where else told


def known_issue(found: KnownIssue) -> tuple[str, ...]:
    """Title, cause, advice and source."""
    told = (found.title, found.why, found.advice, f"Source: {found.source}" if found.source else "")
    return tuple(_sentence(clean(text)) for text in told if text)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def accuracy(results: RunResults, column: str, kernel: str, variation: str) -> str:
    """``error against float64: off 3.1e-07, on 1.2e-07 (rms): on is more accurate``, "" where unknown."""
    found = results.accuracy(column, kernel, variation)
    if found is None:
        return ""
    told = f"off {figure(found.off)}, on {figure(found.on)}"
    return f"Error against float64: {told} (rms): on is {_COMPARED.get(found.word, clean(found.word))}."


def _merged(said: Iterable[tuple[str, _Said]], places: Sequence[str], variations: Sequence[str]) -> tuple[Note, ...]:
    """The same words once, in the order in which they first came."""
    by_words: dict[_Said, list[str]] = {}
    for where, words in said:
        by_words.setdefault(words, []).append(where)
    return tuple(
        Note(label=label, where=_where(where, places, variations), sentences=texts, block=block)
        for (label, texts, block), where in by_words.items()
    )


def _where(where: Sequence[str], places: Sequence[str], variations: Sequence[str]) -> str:
    """Where a note holds: of whole variations, or of variations and modes; "" everywhere."""
    if set(where) <= set(variations):
        return "" if set(where) == set(variations) else "; ".join(where)
    return together(where, places)


def together(where: Sequence[str], places: Sequence[str]) -> str:
    """Some of all places (variation, mode) in few words: "" for all, ``off``, ``isa=avx2``, ``isa=avx2, on``."""
    if set(where) == set(places):
        return ""
    for mode in ("off", "on"):
        if set(where) == {one for one in places if one.endswith(f", {mode}")}:
            return mode
    modes: dict[str, list[str]] = {}
    for one in where:
        variation, _, mode = one.rpartition(", ")
        modes.setdefault(variation, []).append(mode)
    return "; ".join(f"{name}, {found[0]}" if len(found) == 1 else name for name, found in modes.items())
