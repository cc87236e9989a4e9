"""What ``bisect`` decides without measuring: which environments are in between, what changed, and where to halve."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from packaging.version import Version

from bench.verdict.comparison import Bits, Side, change
from bench.verdict.status import FROM_DIGESTS, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.plan.column import Column
    from bench.verdict.comparison import KernelChange

#: What ``error`` asks for: no load of the host and no time limit can be the reason.
_ERRORS = frozenset({Status.ERROR, Status.UNSUPPORTED, Status.CRASHED})
_DIFFERENCES = frozenset({Status.NONDETERMINISTIC, Status.REPRODUCIBLE_IN_PROCESS})

#: Whether something changed, None if that is not known; and what was seen, as a part of a sentence.
Answer = tuple[bool | None, str]


@dataclass
class Halving:
    """The search in a row of places of which ``low`` is known to be unchanged, and ``high`` to be changed.

    ``undecided`` are the places that gave no answer. A row may change more than once; then one of its steps is found.
    """

    low: int
    high: int
    undecided: set[int] = field(default_factory=set)

    @property
    def open(self) -> list[int]:
        """The places that may still be asked about."""
        return [place for place in range(self.low + 1, self.high) if place not in self.undecided]

    @property
    def between(self) -> list[int]:
        """The undecided places inside the step that is left."""
        return sorted(place for place in self.undecided if self.low < place < self.high)

    def best(self, cost: Callable[[int], int]) -> int:
        """Return the cheapest open place among those that leave the fewest questions, in the worst case."""
        places = self.open

        def order(index: int) -> tuple[int, int, int]:
            larger = max(index, len(places) - 1 - index)
            return larger.bit_length(), cost(places[index]), larger

        return places[min(range(len(places)), key=order)]

    def record_answer(self, place: int, *, changed: bool | None) -> None:
        """Narrow the search range by the answer for one place."""
        if changed is None:
            self.undecided.add(place)
        elif changed:
            self.high = place
        else:
            self.low = place


def halve(
    size: int,
    ask: Callable[[int], bool | None],
    cost: Callable[[int], int] = lambda _: 0,
    report: Callable[[int, Halving], None] = lambda *_: None,
) -> Halving:
    """Find a step between the first place of a row, which is unchanged, and the last one, which is changed.

    ``ask`` says whether a place is changed, None if it cannot say. ``report`` is called after each answer.
    """
    state = Halving(low=0, high=size - 1)
    while state.open:
        place = state.best(cost)
        state.record_answer(place, changed=ask(place))
        report(place, state)
    return state


def candidates(columns: Sequence[Column], first: Column, last: Column) -> tuple[list[Column], list[Column]]:
    """Return the columns from ``first`` to ``last`` in their order, and those left out because they cannot be measured.

    Between two TensorFlow releases there is one column of each release: with the CUDA of ``first``, else of ``last``,
    else the official one. Within a release there is one column of each CUDA minor.
    """
    upgrade = first.pair.tensorflow != last.pair.tensorflow
    ends = [column.pair.cuda for column in (first, last)]
    pythons = [column.pair.python for column in (first, last)]

    def value(column: Column) -> Version:
        cuda = "0" if column.pair.cuda == "cpu" else column.pair.cuda
        return Version(column.pair.tensorflow if upgrade else cuda)

    def rank(column: Column) -> tuple[int, bool, int]:
        pair = column.pair
        cuda = ends.index(pair.cuda) if upgrade and pair.cuda in ends else len(ends)
        python = pythons.index(pair.python) if pair.python in pythons else len(pythons)
        return cuda, pair.own_cudnn != first.pair.own_cudnn, python

    groups: dict[Version, list[Column]] = {}
    low, high = sorted((value(first), value(last)))
    for column in columns:
        same_release = column.pair.tensorflow == first.pair.tensorflow
        wanted = column.pair.cuda in ends or column.pair.kind in {"official", "legacy"} if upgrade else same_release
        if wanted and low < value(column) < high:
            groups.setdefault(value(column), []).append(column)
    row, left_out = [first], []
    for key in sorted(groups, reverse=value(first) > value(last)):
        ranked = sorted(groups[key], key=rank)
        usable = next((number for number, column in enumerate(ranked) if is_usable(column)), len(ranked))
        left_out += ranked[:usable]
        row += ranked[usable : usable + 1]
    return [*row, last], left_out


def is_usable(column: Column) -> bool:
    """Whether a column can be measured here, or only a GPU is missing for it, which is reported once for all."""
    return column.status in {"ready", "gpu-not-visible"}


@dataclass(frozen=True, kw_only=True)
class Question:
    """What counts as changed, of one kernel under one variation and mode.

    ``word`` is ``bits``, ``reproducible``, ``slower`` or ``error``; ``factor`` is that of ``slower``.
    """

    word: str
    factor: float
    kernel: str
    variation: str
    mode: str

    def of_one(self, side: Side) -> Answer:
        """Whether one environment has a difference or, for ``error``, an error; nothing else is compared with it."""
        result = side.results.of(side.column, self.kernel, self.variation, self.mode)
        if result is None or result.invalid:
            return None, "not measured" if result is None else result.why.rstrip(".")
        text = f"{result.status.value}: {result.why.rstrip('.')}"
        if self.word == "error":
            error = True if result.status in _ERRORS else False if result.status in FROM_DIGESTS else None
            return error, "no error" if error is False else text
        if result.status is Status.REPRODUCIBLE:
            return False, "reproducible"
        return result.status in _DIFFERENCES or None, text

    def of(self, before: Side, after: Side) -> Answer:
        """Whether the kernel changed from the environment to start from to another one."""
        differs, text = self.of_one(after)
        if self.word in {"reproducible", "error"}:
            return differs, text
        if self.word == "bits" and differs is not False:
            return None, text
        key = (self.kernel, self.variation, self.mode)
        found = next((k for k in change(before, after).kernels if (k.kernel, k.variation, k.mode) == key), None)
        if found is None:
            return None, "not measured"
        return (self._bits if self.word == "bits" else self._slower)(found, label(before.column))

    def _bits(self, found: KernelChange, name: str) -> Answer:
        """Whether the bits are others than in the environment ``name``."""
        changed = {Bits.SAME: False, Bits.CHANGED: True}.get(found.bits)
        seen = "other bits than" if changed else "same bits as"
        return changed, found.bits_why if changed is None else f"{seen} {name}"

    def _slower(self, found: KernelChange, name: str) -> Answer:
        """Whether the time is that many times the one in the environment ``name``; a wide interval says nothing."""
        cost = found.cost
        if cost is None or cost.low is None or cost.high is None or not cost.paired:
            return None, found.cost_why or "not timed in pairs"
        text = f"{cost.ratio:.3f} times the time of {name} ({cost.low:.3f} to {cost.high:.3f})"
        if not cost.significant and 1 < self.factor <= cost.high:
            return None, f"{text}, which is both no change and {self.factor:g} times"
        return cost.significant and cost.ratio >= self.factor, text


def label(column: str) -> str:
    """Return the environment of a column's id, without its Python: ``tf2.18.1-cpu``."""
    return column.partition("-py")[0]
