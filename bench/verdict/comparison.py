"""What changes from one column to another: bits, times, and how kernels end. Of one run, or of two.

The order of the questions keeps a wrong "keeps its bits" away: first whether both sides are known, then whether they
did the same work, and only then whether the bits agree. What is not known is never "same".
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import TYPE_CHECKING

from bench.store.kept_values import Kept
from bench.verdict import difference
from bench.verdict.comparability import SAME_RECORDS, Pair, Side
from bench.verdict.results import overhead_of
from bench.verdict.status import Status, severity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from bench.verdict.difference_types import Difference
    from bench.verdict.results import RunResults, Verdict
    from bench.verdict.steps import Step
    from bench.verdict.timing import Overhead

__all__ = [
    "Bits",
    "Change",
    "Distances",
    "Event",
    "KernelChange",
    "Side",
    "Told",
    "change",
    "narrowed",
    "of_step",
]


class Event(StrEnum):
    """What can happen to a kernel, the gravest first.

    Swapped sides give the mirrored event, but a bad end is told as such even where the way back is no good news: what
    was unknown and crashes starts failing, what was refused and varies becomes nondeterministic.
    """

    REGRESSED = "no longer reproducible"
    STARTS_RAISING = "starts raising an error an error"
    STARTS_FAILING = "starts failing"
    NONDETERMINISTIC = "becomes nondeterministic"
    UNCONFIRMED = "no longer confirmed reproducible"
    VARIES_MORE = "varies more"
    LESS_EVIDENCE = "less evidence"
    BITS_CHANGED = "bits changed"
    ENDS_DIFFERENTLY = "ends differently"
    SLOWER = "slower"
    REMOVED = "removed"
    FASTER = "faster"
    VARIES_LESS = "varies less"
    IMPROVED = "becomes reproducible"
    STOPS_RAISING = "stops raising"
    STOPS_FAILING = "stops failing"
    MORE_EVIDENCE = "more evidence"
    ADDED = "added"

    @property
    def gravity(self) -> int:
        """0 is the gravest."""
        return list(Event).index(self)

    @property
    def mirrored(self) -> Event:
        """What it is with sides swapped."""
        return _MIRROR.get(self, self)


_BOTH_WAYS = (
    (Event.REGRESSED, Event.IMPROVED),
    (Event.STARTS_RAISING, Event.STOPS_RAISING),
    (Event.STARTS_FAILING, Event.STOPS_FAILING),
    (Event.VARIES_MORE, Event.VARIES_LESS),
    (Event.LESS_EVIDENCE, Event.MORE_EVIDENCE),
    (Event.SLOWER, Event.FASTER),
    (Event.REMOVED, Event.ADDED),
)
_MIRROR = {one: other for pair in _BOTH_WAYS for one, other in (pair, pair[::-1])}


class Bits(StrEnum):
    """What is known of the bits. Only ``SAME`` is a promise: two exact kernels with one digest."""

    SAME = "same bits"
    SO_FAR = "same so far"
    MOVED = "moved"
    UNKNOWN = "not compared"


class Told(StrEnum):
    """What is to be said of a kernel: something happened, its status and bits are kept, or why neither is known."""

    CHANGED = "changed"
    KEPT = "kept"
    SO_FAR = "same so far"
    AS_BEFORE = "as before"
    UNKNOWN = "not compared"


class _State(StrEnum):
    """What a status is to a change."""

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
    Status.BUILD_FAILED: _State.FAILS,
    Status.IMAGE_MISSING: _State.FAILS,
}


_RAN = {
    _State.RAISES: (Event.STARTS_RAISING, Event.STOPS_RAISING),
    _State.FAILS: (Event.STARTS_FAILING, Event.STOPS_FAILING),
}

#: What varies, raises or fails has no single digest, and can still do so as before.
_WITHOUT_ONE_DIGEST = frozenset({_State.DIFFERS, _State.RAISES, _State.FAILS})


@dataclass(frozen=True, kw_only=True)
class KernelChange:
    """One kernel under one variation and mode, on both sides; None where a side did not plan it.

    ``bits_why`` says why bits are not compared, or are the same only so far, or which side of moved bits is weak.
    ``difference`` is that of moved bits, None where no values were kept. ``cost`` is the time after over the time
    before (below 1: faster), and ``cost_why`` why there is none. ``events`` are the gravest first.
    """

    kernel: str
    variation: str
    mode: str
    before: Verdict | None
    after: Verdict | None
    bits: Bits
    bits_why: str
    difference: Difference | None
    cost: Overhead | None
    cost_why: str
    events: tuple[Event, ...]

    @property
    def told(self) -> Told:
        """What is to be said of it in one word."""
        if self.events:
            return Told.CHANGED
        if self.bits in (Bits.SAME, Bits.SO_FAR):
            return Told.KEPT if self.bits is Bits.SAME else Told.SO_FAR
        ends = {state(one) for one in (self.before, self.after) if one}
        nan = any(one and one.status is Status.NAN for one in (self.before, self.after))
        again = len(ends) == 1 and ends <= _WITHOUT_ONE_DIGEST and not nan and self.bits_why != SAME_RECORDS
        return Told.AS_BEFORE if again else Told.UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Change:
    """All kernels, from one side to the other. ``moved`` has every fact that differs, before and after, by title.

    ``two_runs``: the times were taken at different moments, and a drift of the machine is inside their ratios.
    """

    before: Side
    after: Side
    moved: Mapping[str, tuple[str, str]]
    two_runs: bool
    kernels: tuple[KernelChange, ...]


def narrowed(found: Change, modes: Collection[str], kernels: Sequence[str] = ()) -> Change:
    """Only some modes, and only kernels that one of the patterns fits (all where there are none)."""
    return dataclasses.replace(
        found,
        kernels=tuple(
            one
            for one in found.kernels
            if one.mode in modes and (not kernels or any(fnmatchcase(one.kernel, glob) for glob in kernels))
        ),
    )


class Distances:
    """How far digests are apart, by the values kept on both sides; each pair of digests of a kernel compared once."""

    def __init__(self, *results: RunResults) -> None:
        sources = list({id(one): one.kept for one in results}.values())
        self.kept = sources[0] if len(sources) == 1 else _joined(sources)
        self._known: dict[tuple[str, str, str], Difference | None] = {}

    def of(self, before: Verdict, after: Verdict) -> Difference | None:
        """Of two verdicts with one digest each; None where no values were kept."""
        key = (after.kernel, before.comparison.digests[0][0], after.comparison.digests[0][0])
        if key not in self._known:
            self._known[key] = difference.between(self, before, after)
        return self._known[key]


def _joined(sources: list[Kept]) -> Kept:
    """What several runs have kept: a digest names its bits, whoever kept them."""
    rows = {key: row for one in reversed(sources) for key, row in one.rows.items()}
    return Kept(rows=rows, problems={key: why for one in sources for key, why in one.problems.items()})


def of_step(results: RunResults, step: Step, known: Distances | None = None) -> Change:
    """What a step between two columns of one run does."""
    before, after = (Side(results=results, column=one.id) for one in (step.before, step.after))
    return change(before, after, known=known)


def change(before: Side, after: Side, *, known: Distances | None = None) -> Change:
    """Compare two columns, kernel by kernel, controls apart. ``known`` are distances to be used again."""
    pair = Pair(before, after)
    known = known or Distances(before.results, after.results)
    return Change(
        before=before,
        after=after,
        moved=pair.moved,
        two_runs=pair.two_runs,
        kernels=tuple(_kernel(pair, known, *key) for key in _keys(before, after)),
    )


def _keys(before: Side, after: Side) -> Iterator[tuple[str, str, str]]:
    """Kernel, variation and mode of everything that either side has, in the order of the newer one."""
    controls = {name for side in (before, after) for name, one in side.kernels.items() if one.control}
    names = [name for name in {**after.kernels, **before.kernels} if name not in controls]
    places = dict.fromkeys([*after.results.variations, *before.results.variations])
    for name in names:
        for variation in places:
            for mode in ("off", "on"):
                if any(side.results.of(side.column, name, variation, mode) for side in (before, after)):
                    yield name, variation, mode


def _kernel(pair: Pair, known: Distances, kernel: str, variation: str, mode: str) -> KernelChange:
    before, after = (side.results.of(side.column, kernel, variation, mode) for side in (pair.before, pair.after))
    if before is None or after is None:
        why = f"not planned {'after' if after is None else 'before'}"
        event = Event.REMOVED if after is None else Event.ADDED
        return KernelChange(
            kernel=kernel, variation=variation, mode=mode, before=before, after=after, bits=Bits.UNKNOWN, bits_why=why,
            difference=None, cost=None, cost_why=why, events=(event,),
        )  # fmt: skip
    other = SAME_RECORDS if pair.repeated(variation, mode) else _silent(before, after) or pair.other_work(before, after)
    bits, bits_why = _bits(pair, before, after, other)
    cost, cost_why = _cost(pair, before, after, other)
    events: list[Event] = [*_ends(before, after), *([Event.BITS_CHANGED] if bits is Bits.MOVED else [])]
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
        difference=known.of(before, after) if bits is Bits.MOVED else None,
        cost=cost,
        cost_why=cost_why,
        events=tuple(sorted(events, key=lambda one: one.gravity)),
    )


def state(verdict: Verdict) -> _State:
    """What a verdict is to a change. What ran something else than was asked is unknown, whatever its status."""
    return _State.UNKNOWN if verdict.invalid else _STATES.get(verdict.status, _State.UNKNOWN)


def _silent(before: Verdict, after: Verdict) -> str:
    """Which side gave no result that proves anything, "" where both did."""
    without = (_State.UNKNOWN, _State.RAISES, _State.FAILS)
    return _named((word, one) for word, one in (("before", before), ("after", after)) if state(one) in without)


def _named(sides: Iterable[tuple[str, Verdict]]) -> str:
    return " and ".join(f"{one.status} {word}" for word, one in sides)


def _bits(pair: Pair, before: Verdict, after: Verdict, other: str) -> tuple[Bits, str]:
    """Bits of both sides, and why they are not compared, or are the same only so far."""
    sides = (("before", before), ("after", after))
    mixed = _named((word, one) for word, one in sides if not one.digest_class)
    why = other or mixed or pair.other_bits(before, after)
    if why:
        return Bits.UNKNOWN, why
    concerns = _named((word, one) for word, one in sides if one.status is not Status.REPRODUCIBLE)
    if before.comparison.digests[0][0] == after.comparison.digests[0][0]:
        return (Bits.SO_FAR if concerns else Bits.SAME), concerns
    if Status.NAN in (before.status, after.status):
        return Bits.UNKNOWN, "the outputs have NaN, which hide differences"
    if "suite" in pair.moved:  # equal bits are equal whatever made them; others may come of code that kernels share
        return Bits.UNKNOWN, "the bits are others, but code that kernels share has changed between the runs"
    return Bits.MOVED, concerns


def _cost(pair: Pair, before: Verdict, after: Verdict, other: str) -> tuple[Overhead | None, str]:
    """The time after over the time before, or why there is none."""
    why = other or pair.other_place(after.variation, after.mode)
    if why:
        return None, why
    paid = overhead_of(after, before)
    return paid, "" if paid else "not timed on both sides"


def _ends(before: Verdict, after: Verdict) -> Iterator[Event]:
    """What happens to the status."""
    old, new = state(before), state(after)
    if old is new:
        yield from _alike(before, after, old)
    elif _State.UNKNOWN in (old, new):
        yield _from_unknown(new) if old is _State.UNKNOWN else _to_unknown(old)
    elif old in _RAN or new in _RAN:
        if new in _RAN:
            yield _RAN[new][0]
        if old in _RAN:
            yield _RAN[old][1]
        if new is _State.DIFFERS and not before.comparison.varies:
            yield Event.NONDETERMINISTIC
    elif _State.INCONCLUSIVE in (old, new):
        yield Event.MORE_EVIDENCE if old is _State.INCONCLUSIVE else Event.LESS_EVIDENCE
        if _State.DIFFERS in (old, new):  # bits that were the same so far and no longer are
            yield Event.VARIES_MORE if new is _State.DIFFERS else Event.VARIES_LESS
    else:
        yield Event.REGRESSED if old is _State.REPRODUCIBLE else Event.IMPROVED


def _from_unknown(new: _State) -> Event:
    """Evidence is stronger, unless it is evidence of something bad."""
    return _RAN[new][0] if new in _RAN else Event.NONDETERMINISTIC if new is _State.DIFFERS else Event.MORE_EVIDENCE


def _to_unknown(old: _State) -> Event:
    return Event.UNCONFIRMED if old is _State.REPRODUCIBLE else Event.LESS_EVIDENCE


def _alike(before: Verdict, after: Verdict, both: _State) -> Iterator[Event]:
    """Two statuses of one kind that are not the same status."""
    if both in (_State.RAISES, _State.FAILS):  # what leads must not hide what is behind it
        if before.comparison.varies != after.comparison.varies:
            yield Event.VARIES_MORE if after.comparison.varies else Event.VARIES_LESS
        if (before.status, before.error_class, endings(before)) != (after.status, after.error_class, endings(after)):
            yield Event.ENDS_DIFFERENTLY
    elif both is _State.DIFFERS and before.status is not after.status:
        worse = severity(after.status) < severity(before.status)
        yield Event.VARIES_MORE if worse else Event.VARIES_LESS


def endings(verdict: Verdict) -> str:
    """How the processes ended, as shares of them all: ``crashed 1/5, ok 4/5``."""
    total = sum(number for _, number in verdict.outcomes)
    return ", ".join(f"{outcome} {Fraction(number, total)}" for outcome, number in verdict.outcomes)
