"""Write the notes of a cell: reasons, differences, errors, and known issues.

A page has thousands of results, and most notes apply to many of them. Each text is therefore written once, with all
the variations and modes that it applies to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report.build.distances import change_text, first_difference, sentences
from bench.report.build.executions import agreement_text
from bench.report.formatting import cap, clean, figure
from bench.report.view import Note
from bench.verdict import execution
from bench.verdict.crash_log import log_tail
from bench.verdict.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.report.view import Change
    from bench.verdict.known_issues import KnownIssue
    from bench.verdict.results import RunResults, Verdict

    Pair = tuple[Verdict | None, Verdict | None]

_COMPARED = {"more": "more accurate", "less": "less accurate", "same": "as accurate"}
#: Label, sentences and preformatted text of a note.
_Text = tuple[str, tuple[str, ...], str]


def notes(
    results: RunResults, column: str, kernel: str, pairs: Sequence[Pair], changes: Sequence[Change]
) -> tuple[Note, ...]:
    """Return all notes of one kernel in one column, each once."""
    verdicts = [verdict for pair in pairs for verdict in pair if verdict is not None]
    texts = [
        (place(verdict), text) for verdict in verdicts for text in (*_of_verdict(verdict), *_log_tail(results, verdict))
    ]
    texts += [(change.variation, ("New value", (change_text(change.difference),), "")) for change in changes]
    for variation in results.variations:
        line = accuracy(results, column, kernel, variation)
        texts += [(clean(variation), ("Accuracy", (line,), ""))] if line else []
    for mode in ("off", "on"):
        lines = tuple(
            f"Graph and {clean(name)}: {agreement_text(found, 'graph', name.partition(' ')[0])}."
            for name, found in execution.ways(results, column, kernel, mode).items()
        )
        texts += [(f"default, {mode}", ("Execution", lines, ""))] if lines else []
    variations = list(dict.fromkeys(clean(verdict.variation) for verdict in verdicts))
    return _merged(texts, [place(verdict) for verdict in verdicts], variations)


def place(verdict: Verdict) -> str:
    """Return variation and mode."""
    return f"{clean(verdict.variation)}, {verdict.mode}"


def _of_verdict(verdict: Verdict) -> list[_Text]:
    texts: list[_Text] = []
    if verdict.status is not Status.REPRODUCIBLE or verdict.control or verdict.remark:
        texts.append(("Why", (clean(verdict.why),), ""))
    if verdict.warnings:
        texts.append(("Warning", tuple(map(clean, verdict.warnings)), ""))
    if verdict.discarded is not None and not verdict.control:
        texts.append(("Time", (clean(verdict.discarded.sentence),), ""))
    if not verdict.control:  # a control differs by design
        texts += _difference(verdict)
    if verdict.error_class or verdict.error_message:
        message = cap(clean(verdict.error_message, lines=True))
        texts.append(("Error", (_error(verdict),), message))
    if verdict.known_issue is not None:
        issue = verdict.known_issue
        texts.append(("Known issue", known_issue(issue), clean(issue.reproducer, lines=True)))
    return texts


def _difference(verdict: Verdict) -> list[_Text]:
    if verdict.difference is None:
        return [("Difference", (clean(verdict.difference_why),), "")] if verdict.difference_why else []
    lines = sentences(verdict.difference)
    if verdict.difference.first_difference is not None:
        lines = (*lines, first_difference(verdict.difference.first_difference))
    return [("Difference", lines, "")]


def _log_tail(results: RunResults, verdict: Verdict) -> list[_Text]:
    """Return the end of the log of a kernel that died; the kernels of a round share it, so the first one has it."""
    words = log_tail(results, verdict)
    if words is None:
        return []
    if not words.text:
        return [("Log tail", ("The log was not kept with these records.",), "")]
    if words.kernel != verdict.kernel:
        kernel = clean(words.kernel)
        return [("Log tail", (f"The log of round {words.round} is shown with {kernel}, which died first.",), "")]
    return [("Log tail", (f"The last lines of the log of round {words.round}.",), clean(words.text, lines=True))]


def _error(verdict: Verdict) -> str:
    """Return the class of an error, and the file and line of the kernel where it was raised."""
    where = next((process.where for process in verdict.observations if process.where), "")
    name = clean(verdict.error_class) or "no class was recorded"
    return f"{name}, at {clean(where)}" if where else name


def known_issue(issue: KnownIssue) -> tuple[str, ...]:
    """Return title, cause, advice and source."""
    texts = (issue.title, issue.why, issue.advice, f"Source: {issue.source}" if issue.source else "")
    return tuple(_sentence(clean(text)) for text in texts if text)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def accuracy(results: RunResults, column: str, kernel: str, variation: str) -> str:
    """Compare the errors of both modes against float64 in one sentence; "" where unknown."""
    result = results.accuracy(column, kernel, variation)
    if result is None:
        return ""
    errors = f"off {figure(result.off)}, on {figure(result.on)}"
    return f"Error against float64: {errors} (rms): on is {_COMPARED.get(result.word, clean(result.word))}."


def _merged(texts: Iterable[tuple[str, _Text]], places: Sequence[str], variations: Sequence[str]) -> tuple[Note, ...]:
    """Return each text once, in the order in which they first appeared."""
    by_text: dict[_Text, list[str]] = {}
    for where, text in texts:
        by_text.setdefault(text, []).append(where)
    return tuple(
        Note(label=label, where=_where(where, places, variations), sentences=lines, block=block)
        for (label, lines, block), where in by_text.items()
    )


def _where(where: Sequence[str], places: Sequence[str], variations: Sequence[str]) -> str:
    """Say where a note applies: whole variations, or variations and modes; "" for everywhere."""
    if set(where) <= set(variations):
        return "" if set(where) == set(variations) else "; ".join(where)
    return together(where, places)


def together(where: Sequence[str], places: Sequence[str]) -> str:
    """Name some of all places (variation, mode) briefly: "" for all, ``off``, ``isa=avx2``, ``isa=avx2, on``."""
    if set(where) == set(places):
        return ""
    for mode in ("off", "on"):
        if set(where) == {name for name in places if name.endswith(f", {mode}")}:
            return mode
    modes: dict[str, list[str]] = {}
    for name in where:
        variation, _, mode = name.rpartition(", ")
        modes.setdefault(variation, []).append(mode)
    return "; ".join(f"{name}, {only[0]}" if len(only) == 1 else name for name, only in modes.items())
