"""The one-sentence reason of each verdict. Every page shows these sentences, so they are written in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.verdict.evidence import percent_up
from bench.verdict.status import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.verdict.digest_comparison import Comparison
    from bench.verdict.observations import ProcessObservation


def count(number: int, thing: str) -> str:
    """Return ``1 process``, ``2 processes``, ``3 repetitions``."""
    plural = f"{thing}es" if thing.endswith("s") else f"{thing}s"
    return f"{number} {thing if number == 1 else plural}"


def enumerate_names(names: Sequence[str]) -> str:
    """Return ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def bound(comparison: Comparison) -> str:
    """State the evidence behind "none differed": ``0 of 4 processes differed, so at most 53 % can differ (95 %)``."""
    if not comparison.compared:
        return "no process was compared with another"
    return (
        f"{comparison.differed} of {count(comparison.compared, 'process')} differed, "
        f"so at most {percent_up(comparison.bound)} % of processes can differ (95 %)"
    )


def equality(comparison: Comparison, concerns: Sequence[str]) -> str:
    """Say that all samples are equal, and what that proves."""
    samples = f"{count(comparison.repetitions, 'repetition')} in {count(comparison.processes, 'process')}"
    if concerns:
        return f"Equal so far ({samples}), but: {'; '.join(concerns)}."
    return f"Same bits in {samples}: {bound(comparison)}."


def difference(comparison: Comparison) -> str:
    """Say where samples differ, and how often."""
    samples = f"{count(len(comparison.digests), 'digest')} in {count(comparison.repetitions, 'repetition')}"
    if comparison.later_calls:
        samples += f" and {count(comparison.later_calls, 'later call')}"
    if comparison.unsteady:
        return f"{samples}: bits differed within {comparison.unsteady} of {count(comparison.processes, 'process')}."
    differed = f"{comparison.differed} of {count(comparison.compared, 'process')} differed from the first"
    if comparison.within_compared:
        return f"{samples}: each process gave the same bits throughout, but {differed}."
    return f"{samples}: {differed}, and no process repeated it."


def remarks(seed_independent: Sequence[str], *, later_calls_differ: bool) -> str:
    """Say what decides nothing but should be known; "" if there is nothing to say."""
    texts = []
    if seed_independent:
        names = ", ".join(repr(name) for name in seed_independent)
        verbs = ("is", "proves") if len(seed_independent) == 1 else ("are", "prove")
        texts.append(f"{names} {verbs[0]} the same under another seed and {verbs[1]} nothing.")
    if later_calls_differ:
        texts.append(
            "A later call without a new seed gives other bits, and times are those of such calls: declare "
            "call_again=False, or build the model before work."
        )
    return " ".join(texts)


#: What to do where a custom kernel imports what its environment does not have.
_MISSING_MODULE = (
    "Its environment lacks a package: add it to the key packages of a pair in matrix.toml, or measure an environment "
    "of your own with `python -m bench local`."
)


def fault(status: Status, counts: Mapping[str, int], worst: str, first: ProcessObservation, *, varies: bool) -> str:
    """How the processes ended, the worst outcome first, with counts."""
    total = sum(counts.values())
    name = first.error_class or worst
    if status is Status.UNSUPPORTED:
        reason = "TensorFlow has no deterministic implementation"
        if name != "UnimplementedError":
            reason = "TensorFlow refuses this with determinism on"
        return f"{reason}: {name} in all {count(total, 'process')}."
    if status is Status.FAILED:
        place = f" ({first.where})" if first.where else ""
        return f"The kernel gave nothing to compare{place}: {first.message}."
    worst_count = f"{worst} in {counts[worst]} of {count(total, 'process')}"
    others = [f"{outcome} in {number}" for outcome, number in sorted(counts.items()) if outcome != worst]
    text = "; ".join([worst_count, *others])
    text += f" ({first.error_class})" if first.error_class else ""
    text = f"{text[0].upper()}{text[1:]}{'; where it ran, bits differed' if varies else ''}."
    return f"{text} {_MISSING_MODULE}" if first.error_class == "ModuleNotFoundError" else text
