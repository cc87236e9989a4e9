"""The one sentence each verdict carries. All pages show these words, so they are made in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.verdict.evidence import percent_up
from bench.verdict.status import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.verdict.digest_comparison import Comparison
    from bench.verdict.observations import ProcessObservation


def count(number: int, thing: str) -> str:
    """``1 process``, ``2 processes``, ``3 repetitions``."""
    plural = f"{thing}es" if thing.endswith("s") else f"{thing}s"
    return f"{number} {thing if number == 1 else plural}"


def bound(found: Comparison) -> str:
    """How strong "none differed" is, in words with its number."""
    if not found.compared:
        return "no process was compared with another"
    return (
        f"{found.differed} of {found.compared} processes differed from the first, "
        f"so at most {percent_up(found.bound)} % do (95 %)"
    )


def equality(found: Comparison, concerns: Sequence[str]) -> str:
    """All samples are equal, and what that is worth."""
    told = f"{count(found.repetitions, 'repeat')} in {count(found.processes, 'process')}"
    if concerns:
        return f"Equal so far ({told}), but: {'; '.join(concerns)}."
    return f"Same bits in {told}: {bound(found)}."


def difference(found: Comparison) -> str:
    """Samples differ: where, and how often."""
    told = f"{count(len(found.digests), 'digest')} in {count(found.repetitions, 'repeat')}"
    told += f" and {count(found.timings, 'timing pass')}" if found.timings else ""
    if found.unsteady:
        own = "itself" if found.unsteady == 1 else "themselves"
        return f"{told}: {found.unsteady} of {count(found.processes, 'process')} differed within {own}."
    apart = f"{found.differed} of {count(found.compared, 'process')} differed from the first"
    if found.within_compared:
        return f"{told}: each process agrees with itself, but {apart}."
    return f"{told}: {apart}, and no process repeated it."


def fault(status: Status, counts: Mapping[str, int], worst: str, first: ProcessObservation, *, varies: bool) -> str:
    """How the processes ended, the worst first, with counts."""
    total = sum(counts.values())
    name = first.error_class or worst
    if status is Status.UNSUPPORTED:
        return f"TensorFlow has no deterministic implementation: {name} in all {count(total, 'process')}."
    ended = f"{worst} in {counts[worst]} of {count(total, 'process')}"
    others = [f"{outcome} in {number}" for outcome, number in sorted(counts.items()) if outcome != worst]
    text = "; ".join([ended, *others])
    text += f" ({first.error_class})" if first.error_class else ""
    return f"{text[0].upper()}{text[1:]}{'; where it ran, bits differed' if varies else ''}."
