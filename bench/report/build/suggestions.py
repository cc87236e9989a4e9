"""Suggest runs that would answer a question better, as commands."""

from __future__ import annotations

import shlex
from itertools import count as numbers
from typing import TYPE_CHECKING

from bench.report.formatting import clean, listed
from bench.report.view import Missing
from bench.verdict.evidence import percent_up, upper_bound
from bench.verdict.ranking import ConcernKind, Fit
from bench.verdict.requirements import deciding_variations, required_kernels
from bench.verdict.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bench.verdict.ranking import Candidate
    from bench.verdict.requirements import Requirements
    from bench.verdict.results import RunResults

#: The bound that is worth a longer run, and the number of pairs that one command names.
GOAL, _PAIRS = 0.10, 5

#: Unknowns that more processes may settle, and those of a column without measurements.
_MORE = frozenset({Status.INCONCLUSIVE, ConcernKind.OVERHEAD})
_NEVER = frozenset(
    {
        Status.NOT_RUN,
        Status.OUTDATED,
        Status.MISMATCH,
        Status.FAILED,
        Status.IMAGE_MISSING,
        Status.BUILD_FAILED,
        Status.GPU_NOT_VISIBLE,
    }
)


def rounds_for(bound: float) -> int:
    """Return how many processes per mode are needed for a bound, if none of them differs."""
    return next(number for number in numbers(2) if upper_bound(0, number - 1) <= bound)


def missing(
    results: RunResults, question: Requirements, candidates: Sequence[Candidate], others: Sequence[str]
) -> tuple[Missing, ...]:
    """Return the commands that would measure what is unknown.

    ``others`` are pairs that could run and have no column. Existing environments without a lock have no command.
    """
    ours = {column.id for column in results.info.columns if column.kind != "local"}
    known = [candidate for candidate in candidates if candidate.column in ours]
    suggestions = (
        *_more_rounds(known),
        *_not_measured(known),
        *_absent_kernels(known),
        *_elsewhere(question, known, others),
    )
    names, own = _kernels(results, question)
    hint = f" Replace FILE with the file that declares {listed(own)}." if own else ""
    named = ",".join(map(clean, deciding_variations(results, question)))
    variations = f"--variation {shlex.quote(named)}" if question.variations else ""
    return tuple(
        Missing(
            why=f"{why}{hint}", command=_command(results, pairs[:_PAIRS], names, own, f"{variations} {flags}".strip())
        )
        for why, pairs, flags in suggestions
    )


#: A reason, pairs, and further options.
_Suggestion = tuple[str, list[str], str]


def _more_rounds(known: Sequence[Candidate]) -> Iterator[_Suggestion]:
    rounds = rounds_for(GOAL)
    why = (
        f"With {rounds} processes per mode, of which none differs, at most {percent_up(GOAL)} % of processes can "
        "differ; overheads get narrower intervals."
    )
    weak = [one for one in known if one.fit is Fit.UNKNOWN and any(concern.kind in _MORE for concern in one.unknowns)]
    thin = [one for one in known if one.fit is Fit.FITS and one.bound > GOAL]
    for group, what in ((weak, "Too little evidence"), (thin, "Reproducible, but measured in few processes")):
        pairs = _pairs(group)
        if pairs:
            yield f"{what}: {_first(pairs)}. {why}", pairs, f"--rounds {rounds}"


def _not_measured(known: Sequence[Candidate]) -> Iterator[_Suggestion]:
    pairs = _pairs(one for one in known if any(concern.kind in _NEVER for concern in one.unknowns))
    if pairs:
        yield f"Not fully measured: {_first(pairs)}.", pairs, ""


def _absent_kernels(known: Sequence[Candidate]) -> Iterator[_Suggestion]:
    absent = next((concern for one in known for concern in one.unknowns if concern.kind is ConcernKind.ABSENT), None)
    if absent:
        yield f"Not in this run: {listed([clean(name) for name, _ in absent.kernels])}.", _pairs(known), ""


def _elsewhere(question: Requirements, known: Sequence[Candidate], others: Sequence[str]) -> Iterator[_Suggestion]:
    """Suggest pairs that were not run on the requested device."""
    gpu = question.device != "cpu"
    pairs = list(map(clean, others)) or [
        pair for pair in _pairs(one for one in known if _on_another_device(one)) if ("-cuda" in pair) == gpu
    ]
    if not pairs:
        return
    device, driver = clean(question.device), clean(question.driver)
    where = f" Run it on a host with {device or 'a GPU'}{f' and driver {driver}' if driver else ''}." if gpu else ""
    yield f"Not run: {_first(pairs)}.{where}", pairs, f"--device {'gpu' if gpu else 'cpu'}"


def _first(pairs: list[str]) -> str:
    """Return the pairs that a command names, and how many more there are."""
    more = len(pairs) - _PAIRS
    return listed(pairs[:_PAIRS], _PAIRS) + (f", and {more} more, which the command leaves out" if more > 0 else "")


def _on_another_device(candidate: Candidate) -> bool:
    return any(concern.kind is ConcernKind.ELSEWHERE for concern in candidate.unknowns)


def _kernels(results: RunResults, question: Requirements) -> tuple[list[str], list[str]]:
    """Return the names for ``--kernels``, empty for all, and the custom ones among them."""
    if not question.families and not question.kernels:
        return [], []
    requested = required_kernels(results.info, question)
    suite = {name for name, _ in question.suite}
    names = [*requested.kernels, *requested.absent]
    # a page does not know the suite, so it cannot tell which kernels are custom
    own = [clean(name) for name in names if suite and name not in suite]
    return list(map(clean, names)), own


def _pairs(group: Iterable[Candidate]) -> list[str]:
    """Return the environments without their devices, as ``--env`` takes them."""
    return list(dict.fromkeys(clean(candidate.column.partition("@")[0]) for candidate in group))


def _command(results: RunResults, pairs: Sequence[str], names: Sequence[str], own: Sequence[str], flags: str) -> str:
    """Return ``nox -s matrix -- --env ... --kernels ...``, quoted so that any name is safe to paste."""
    profile = clean(results.info.profile)
    parts = (
        "nox -s matrix --",
        f"--profile {shlex.quote(profile)}" if profile not in ("", "standard") else "",
        f"--env {shlex.quote(','.join(pairs))}" if pairs else "",
        f"--kernels {shlex.quote(','.join(names))}" if names else "",
        "--kernel-file FILE" if own else "",
        flags,
    )
    return " ".join(filter(None, parts))
