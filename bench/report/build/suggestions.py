"""What would have to be measured to answer a question better, as commands to run."""

from __future__ import annotations

import shlex
from itertools import count as numbers
from typing import TYPE_CHECKING

from bench.report.formatting import clean, listed
from bench.report.view import Missing
from bench.verdict.evidence import percent_up, upper_bound
from bench.verdict.ranking import Fit, Kind
from bench.verdict.requirements import required_kernels
from bench.verdict.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bench.verdict.ranking import Candidate
    from bench.verdict.requirements import Requirements
    from bench.verdict.results import RunResults

#: The bound that is worth a longer run, and the pairs that one command names at most.
GOAL, _PAIRS = 0.10, 5

#: Unknowns that more processes may settle, and those of a column without any number.
_MORE = frozenset({Status.INCONCLUSIVE, Kind.OVERHEAD})
_NEVER = frozenset(
    {
        Status.NOT_RUN,
        Status.OUTDATED,
        Status.MISMATCH,
        Status.IMAGE_MISSING,
        Status.BUILD_FAILED,
        Status.GPU_NOT_VISIBLE,
    }
)


def rounds_for(bound: float) -> int:
    """Processes a mode after which none that differs bounds the rate of differing at a share."""
    return next(number for number in numbers(2) if upper_bound(0, number - 1) <= bound)


def missing(
    results: RunResults, question: Requirements, found: Sequence[Candidate], others: Sequence[str]
) -> tuple[Missing, ...]:
    """The commands; ``others`` are pairs that could run and have no column. What engine ``here`` measured has none."""
    return tuple(_missing(results, question, found, others))


def _missing(
    results: RunResults, question: Requirements, found: Sequence[Candidate], others: Sequence[str]
) -> Iterator[Missing]:
    ours = {column.id for column in results.info.columns if column.kind != "local"}
    known = [one for one in found if one.column in ours]

    def lack(why: str, pairs: Sequence[str], flags: str = "") -> Missing:
        names, own = _kernels(results, question)
        told = f" FILE is the one that declares {listed(own)}." if own else ""
        return Missing(why=f"{why}{told}", command=_command(results, pairs, names, own, flags))

    rounds = rounds_for(GOAL)
    why = f"{rounds} processes a mode bring the bound to {percent_up(GOAL)} % where none differs, and narrow overheads."
    weak = [one for one in known if one.fit is Fit.UNKNOWN and any(concern.kind in _MORE for concern in one.unknowns)]
    thin = [one for one in known if one.fit is Fit.FITS and one.bound > GOAL]
    for group, what in ((weak, "Too little evidence"), (thin, "Exact, but on few processes")):
        best = _stems(group)[:_PAIRS]
        if best:
            yield lack(f"{what}: {listed(best, _PAIRS)}. {why}", best, f"--rounds {rounds}")
    never = _stems(one for one in known if any(concern.kind in _NEVER for concern in one.unknowns))[:_PAIRS]
    if never:
        yield lack(f"Not measured to the end: {listed(never, _PAIRS)}.", never)
    absent = next((concern for one in known for concern in one.unknowns if concern.kind is Kind.ABSENT), None)
    if absent:
        names = [clean(name) for name, _ in absent.kernels]
        yield lack(f"Not in this run: {listed(names)}.", _stems(known)[:_PAIRS])
    gpu = question.device != "cpu"
    there = list(map(clean, others)) or [
        stem for stem in _stems(one for one in known if _elsewhere(one)) if ("-cuda" in stem) == gpu
    ]
    if there:
        device, driver = clean(question.device), clean(question.driver)
        where = f" Run it on a host with {device or 'a GPU'}{f' and driver {driver}' if driver else ''}." if gpu else ""
        few, more = there[:_PAIRS], len(there[_PAIRS:])
        rest = f"; {more} more could be" if more else ""
        yield lack(f"Not run: {listed(few, _PAIRS)}{rest}.{where}", few, f"--device {'gpu' if gpu else 'cpu'}")


def _elsewhere(one: Candidate) -> bool:
    return any(concern.kind is Kind.ELSEWHERE for concern in one.unknowns)


def _kernels(results: RunResults, question: Requirements) -> tuple[list[str], list[str]]:
    """What ``--kernels`` has to name, empty for all, and which of it no run and no suite knows: the user's own."""
    if not question.families and not question.kernels:
        return [], []
    wanted = required_kernels(results.info, question)
    suite = {name for name, _ in question.suite}
    own = [clean(name) for name in wanted.absent if name not in suite]
    return [clean(name) for name in (*wanted.kernels, *wanted.absent)], own


def _stems(group: Iterable[Candidate]) -> list[str]:
    """Pairs and Python minors, as ``--env`` takes them."""
    return list(dict.fromkeys(clean(one.column.partition("@")[0]) for one in group))


def _command(results: RunResults, pairs: Sequence[str], names: Sequence[str], own: Sequence[str], flags: str) -> str:
    """``nox -s matrix -- --env ... --kernels ...``, safe to paste whatever the names are."""
    profile = clean(results.info.profile)
    return " ".join(
        filter(
            None,
            (
                "nox -s matrix --",
                f"--profile {shlex.quote(profile)}" if profile not in ("", "standard") else "",
                f"--env {shlex.quote(','.join(pairs))}" if pairs else "",
                f"--kernels {shlex.quote(','.join(names))}" if names else "",
                "--kernel-file FILE" if own else "",
                flags,
            ),
        )
    )
