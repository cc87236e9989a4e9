"""What changes from one column to another, of one run or of two: bits, times, and how kernels end.

The order of the checks prevents a wrong "keeps its bits": first whether both sides are known, then whether they had
the same workload, and only then whether the bits agree. What is unknown is never "same".
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import TYPE_CHECKING

from bench.store.kept_values import StoredValues
from bench.verdict import difference
from bench.verdict.comparability import PACKAGES, SAME_RECORDS, Side, SideComparison
from bench.verdict.status import Status, severity
from bench.verdict.upgrade_cost import upgrade_costs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from bench.verdict.difference_types import Difference
    from bench.verdict.ratio import TimeRatio
    from bench.verdict.results import RunResults, Verdict
    from bench.verdict.steps import Step

__all__ = [
    "Bits",
    "Change",
    "Conclusion",
    "Distances",
    "Event",
    "KernelChange",
    "Side",
    "change",
    "narrowed",
    "of_step",
]


class Event(StrEnum):
    """What can happen to a kernel, the most serious first."""

    REGRESSED = "no longer reproducible"
    STARTS_RAISING = "starts raising an error"
    STARTS_FAILING = "starts failing"
    NONDETERMINISTIC = "becomes nondeterministic"
    UNCONFIRMED = "no longer confirmed reproducible"
    VARIES_MORE = "more nondeterministic"
    LESS_EVIDENCE = "less evidence"
    BITS_CHANGED = "bits changed"
    ENDS_DIFFERENTLY = "ends differently"
    SLOWER = "slower"
    REMOVED = "removed"
    FASTER = "faster"
    VARIES_LESS = "less nondeterministic"
    IMPROVED = "becomes reproducible"
    STOPS_RAISING = "stops raising an error"
    STOPS_FAILING = "stops failing"
    MORE_EVIDENCE = "more evidence"
    ADDED = "added"

    @property
    def seriousness(self) -> int:
        """The position in the order of seriousness: 0 is the most serious."""
        return list(Event).index(self)


class Bits(StrEnum):
    """What is known about the bits. Only ``SAME`` is a promise: two reproducible kernels with one digest."""

    SAME = "same bits"
    SO_FAR = "same so far"
    CHANGED = "changed"
    UNKNOWN = "not compared"


class Conclusion(StrEnum):
    """The overall result for a kernel: something happened, its status and bits are kept, or neither is known."""

    CHANGED = "changed"
    KEPT = "kept"
    SO_FAR = "same so far"
    AS_BEFORE = "as before"
    UNKNOWN = "not compared"


class _State(StrEnum):
    """The kind of a status, as far as changes are concerned."""

    REPRODUCIBLE = "reproducible"
    DIFFERS = "differs"
    INCONCLUSIVE = "inconclusive"
    RAISES = "raises"
    FAILS = "fails"
    UNKNOWN = "unknown"


_STATES = {
    Status.REPRODUCIBLE: _State.REPRODUCIBLE,
    Status.NONDETERMINISTIC: _State.DIFFERS,
    Status.REPRODUCIBLE_IN_PROCESS: _State.DIFFERS,
    Status.NAN: _State.DIFFERS,
    Status.INCONCLUSIVE: _State.INCONCLUSIVE,
    Status.ERROR: _State.RAISES,
    Status.UNSUPPORTED: _State.RAISES,
    Status.CRASHED: _State.FAILS,
    Status.TIMEOUT: _State.FAILS,
    Status.OOM: _State.FAILS,
    Status.MISMATCH: _State.FAILS,
    Status.FAILED: _State.FAILS,
    Status.BUILD_FAILED: _State.FAILS,
    Status.IMAGE_MISSING: _State.FAILS,
}


_RAN = {
    _State.RAISES: (Event.STARTS_RAISING, Event.STOPS_RAISING),
    _State.FAILS: (Event.STARTS_FAILING, Event.STOPS_FAILING),
}

#: Kernels of these kinds have no single digest, but can end in the same way as before.
_WITHOUT_ONE_DIGEST = frozenset({_State.DIFFERS, _State.RAISES, _State.FAILS})


@dataclass(frozen=True, kw_only=True)
class KernelChange:
    """One kernel under one variation and mode, on both sides; None if a side did not plan it.

    ``bits_why`` says why bits are not compared, or are the same only so far, or which side of changed bits has little
    evidence. ``difference`` is that of changed bits, None if no values were kept. ``cost`` is the time after over the
    time before (below 1: faster), and ``cost_why`` says why there is none. ``events`` start with the most serious.
    """

    kernel: str
    variation: str
    mode: str
    before: Verdict | None
    after: Verdict | None
    bits: Bits
    bits_why: str
    difference: Difference | None
    cost: TimeRatio | None
    cost_why: str
    events: tuple[Event, ...]

    @property
    def conclusion(self) -> Conclusion:
        """The overall result."""
        if self.events:
            return Conclusion.CHANGED
        if self.bits in (Bits.SAME, Bits.SO_FAR):
            return Conclusion.KEPT if self.bits is Bits.SAME else Conclusion.SO_FAR
        verdicts = [verdict for verdict in (self.before, self.after) if verdict]
        states = {state(verdict) for verdict in verdicts}
        nan = any(verdict.status is Status.NAN for verdict in verdicts)
        again = len(states) == 1 and states <= _WITHOUT_ONE_DIGEST and not nan and self.bits_why != SAME_RECORDS
        return Conclusion.AS_BEFORE if again else Conclusion.UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Change:
    """All kernels, from one side to the other.

    ``changed_facts`` has every fact that differs, before and after, by title. ``packages`` has the releases of
    TensorFlow, Keras, NumPy and protobuf before and after, whether they differ or not; "" where unknown.

    ``two_runs`` says that the times were measured at different moments: their ratios include any drift of the machine,
    except ``common``, the factor that nearly all of them have in common (1 for none), which is removed.
    """

    before: Side
    after: Side
    changed_facts: Mapping[str, tuple[str, str]]
    packages: Mapping[str, tuple[str, str]]
    two_runs: bool
    kernels: tuple[KernelChange, ...]
    common: float = 1.0


def narrowed(whole: Change, modes: Collection[str], kernels: Sequence[str] = ()) -> Change:
    """Return a change with only some modes, and only kernels that match a pattern (all without patterns)."""
    return dataclasses.replace(
        whole,
        kernels=tuple(
            kernel
            for kernel in whole.kernels
            if kernel.mode in modes and (not kernels or any(fnmatchcase(kernel.kernel, glob) for glob in kernels))
        ),
    )


class Distances:
    """How far digests are apart, by the values kept on both sides. Each pair of digests is compared once."""

    def __init__(self, *results: RunResults) -> None:
        sources = list({id(run): run.kept for run in results}.values())
        self.kept = sources[0] if len(sources) == 1 else _joined(sources)
        self._known: dict[tuple[str, str, str], Difference | None] = {}

    def of(self, before: Verdict, after: Verdict) -> Difference | None:
        """Return the difference of two verdicts with one digest each; None if no values were kept."""
        key = (after.kernel, before.comparison.digests[0][0], after.comparison.digests[0][0])
        if key not in self._known:
            self._known[key] = difference.between(self, before, after)
        return self._known[key]


def _joined(sources: list[StoredValues]) -> StoredValues:
    """Merge the kept values of several runs: a digest identifies its bits, whichever run kept them."""
    rows = {key: row for kept in reversed(sources) for key, row in kept.rows.items()}
    return StoredValues(rows=rows, problems={key: why for kept in sources for key, why in kept.problems.items()})


def of_step(results: RunResults, step: Step, known: Distances | None = None) -> Change:
    """Return what changes with a step between two columns of one run."""
    before, after = (Side(results=results, column=column.id) for column in (step.before, step.after))
    return change(before, after, known=known)


def change(before: Side, after: Side, *, known: Distances | None = None) -> Change:
    """Compare two columns kernel by kernel, without controls. ``known`` are distances to reuse."""
    pair = SideComparison(before, after)
    known = known or Distances(before.results, after.results)
    keys = list(_keys(before, after))
    obstacles = {key: _obstacle(pair, *key) for key in keys}
    costs = upgrade_costs(pair, obstacles)
    return Change(
        before=before,
        after=after,
        changed_facts=pair.changed_facts,
        packages={title: (before.facts[title], after.facts[title]) for title in PACKAGES},
        two_runs=pair.two_runs,
        kernels=tuple(_kernel(pair, known, key, obstacles[key], costs.by_kernel[key]) for key in keys),
        common=costs.common,
    )


def _keys(before: Side, after: Side) -> Iterator[tuple[str, str, str]]:
    """Yield kernel, variation and mode of everything that either side has, in the order of the newer one."""
    controls = {name for side in (before, after) for name, kernel in side.kernels.items() if kernel.control}
    names = [name for name in {**after.kernels, **before.kernels} if name not in controls]
    places = dict.fromkeys([*after.results.variations, *before.results.variations])
    for name in names:
        for variation in places:
            for mode in ("off", "on"):
                if any(side.results.of(side.column, name, variation, mode) for side in (before, after)):
                    yield name, variation, mode


def _obstacle(pair: SideComparison, kernel: str, variation: str, mode: str) -> str:
    """Say why neither bits nor times of a kernel are compared, "" if both can be."""
    before, after = pair.verdicts((kernel, variation, mode))
    if before is None or after is None:
        return f"not planned {'after' if after is None else 'before'}"
    if pair.repeated(variation, mode):
        return SAME_RECORDS
    return _without_result(before, after) or pair.other_work(before, after)


def _kernel(
    pair: SideComparison, known: Distances, key: tuple[str, str, str], obstacle: str, costs: TimeRatio | str
) -> KernelChange:
    kernel, variation, mode = key
    before, after = pair.verdicts(key)
    if before is None or after is None:
        event = Event.REMOVED if after is None else Event.ADDED
        return KernelChange(
            kernel=kernel, variation=variation, mode=mode, before=before, after=after, bits=Bits.UNKNOWN,
            bits_why=obstacle, difference=None, cost=None, cost_why=obstacle, events=(event,),
        )  # fmt: skip
    bits, bits_why = _bits(pair, before, after, obstacle)
    cost, cost_why = (None, costs) if isinstance(costs, str) else (costs, "")
    events: list[Event] = [*_status_events(before, after), *([Event.BITS_CHANGED] if bits is Bits.CHANGED else [])]
    if cost is not None and cost.significant:
        events.append(Event.SLOWER if cost.ratio > 1 else Event.FASTER)
    return KernelChange(
        kernel=kernel,
        variation=variation,
        mode=mode,
        before=before,
        after=after,
        bits=bits,
        bits_why=bits_why,
        difference=known.of(before, after) if bits is Bits.CHANGED else None,
        cost=cost,
        cost_why=cost_why,
        events=tuple(sorted(events, key=lambda event: event.seriousness)),
    )


def state(verdict: Verdict) -> _State:
    """Return the kind of a verdict. An invalid measurement is unknown, whatever its status."""
    return _State.UNKNOWN if verdict.invalid else _STATES.get(verdict.status, _State.UNKNOWN)


def _without_result(before: Verdict, after: Verdict) -> str:
    """Name the sides that gave no result with bits, "" if both did."""
    without = (_State.UNKNOWN, _State.RAISES, _State.FAILS)
    sides = (("before", before), ("after", after))
    return _named((word, verdict) for word, verdict in sides if state(verdict) in without)


def _named(sides: Iterable[tuple[str, Verdict]]) -> str:
    return " and ".join(f"{verdict.status} {word}" for word, verdict in sides)


def _bits(pair: SideComparison, before: Verdict, after: Verdict, obstacle: str) -> tuple[Bits, str]:
    """Compare the bits of both sides, and say why they are not compared, or are the same only so far."""
    sides = (("before", before), ("after", after))
    mixed = _named((word, verdict) for word, verdict in sides if not verdict.digest_class)
    why = obstacle or mixed or pair.other_bits(before, after)
    if why:
        return Bits.UNKNOWN, why
    concerns = _named((word, verdict) for word, verdict in sides if verdict.status is not Status.REPRODUCIBLE)
    if before.comparison.digests[0][0] == after.comparison.digests[0][0]:
        return (Bits.SO_FAR if concerns else Bits.SAME), concerns
    if Status.NAN in (before.status, after.status):
        return Bits.UNKNOWN, "the outputs have NaN, which hides differences"
    if (
        "suite" in pair.changed_facts
    ):  # equal bits are equal in any case; different ones may come from shared code of the suite
        return Bits.UNKNOWN, "the bits differ, but code that kernels share has changed between the runs"
    return Bits.CHANGED, concerns


def _status_events(before: Verdict, after: Verdict) -> Iterator[Event]:
    """Yield what happens to the status."""
    old, new = state(before), state(after)
    if old is new:
        yield from _within_state(before, after, old)
    elif _State.UNKNOWN in (old, new):
        yield _from_unknown(new) if old is _State.UNKNOWN else _to_unknown(old)
    elif old in _RAN or new in _RAN:
        if new in _RAN:
            yield _RAN[new][0]
        if old in _RAN:
            yield _RAN[old][1]
        if after.comparison.varies and not before.comparison.varies:  # also where a crash decides the status
            yield Event.NONDETERMINISTIC
    elif _State.INCONCLUSIVE in (old, new):
        yield Event.MORE_EVIDENCE if old is _State.INCONCLUSIVE else Event.LESS_EVIDENCE
        if _State.DIFFERS in (old, new):  # bits that were equal so far and no longer are
            yield Event.VARIES_MORE if new is _State.DIFFERS else Event.VARIES_LESS
    else:
        yield Event.REGRESSED if old is _State.REPRODUCIBLE else Event.IMPROVED


def _from_unknown(new: _State) -> Event:
    """Return more evidence, or the failure or nondeterminism that the new status shows."""
    return _RAN[new][0] if new in _RAN else Event.NONDETERMINISTIC if new is _State.DIFFERS else Event.MORE_EVIDENCE


def _to_unknown(old: _State) -> Event:
    return Event.UNCONFIRMED if old is _State.REPRODUCIBLE else Event.LESS_EVIDENCE


def _within_state(before: Verdict, after: Verdict, both: _State) -> Iterator[Event]:
    """Yield what happens between two statuses of one kind."""
    if both in (_State.RAISES, _State.FAILS):  # the status must not hide that bits differ as well
        if before.comparison.varies != after.comparison.varies:
            yield Event.VARIES_MORE if after.comparison.varies else Event.VARIES_LESS
        if (before.status, before.error_class, endings(before)) != (after.status, after.error_class, endings(after)):
            yield Event.ENDS_DIFFERENTLY
    elif both is _State.DIFFERS and before.status is not after.status:
        worse = severity(after.status) < severity(before.status)
        yield Event.VARIES_MORE if worse else Event.VARIES_LESS


def endings(verdict: Verdict) -> str:
    """Return how the processes ended, as shares of all: ``crashed 1/5, ok 4/5``."""
    total = sum(number for _, number in verdict.outcomes)
    return ", ".join(f"{outcome} {Fraction(number, total)}" for outcome, number in verdict.outcomes)
