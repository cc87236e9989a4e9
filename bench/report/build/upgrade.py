"""What an upgrade does: from one column to another one, and since the last run."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING

from bench.report.build import distances
from bench.report.build.columns import labels
from bench.report.build.matrix import of_verdict, overhead_text
from bench.report.formatting import TIMES, cap, clean, listed, significant
from bench.report.view import Upgrade, UpgradeLine, UpgradeRow
from bench.verdict.comparison import Bits, Conclusion, Distances, Event, change, narrowed, of_step
from bench.verdict.messages import count
from bench.verdict.steps import TITLES
from bench.verdict.tensor_diff import size_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from bench.report.view import ModeResult
    from bench.verdict.comparison import Change, KernelChange, Side
    from bench.verdict.results import RunResults, Verdict
    from bench.verdict.steps import Step
    from bench.verdict.timing import Overhead

_TIMES = frozenset({Event.SLOWER, Event.FASTER})
#: Variations that a line names before it counts them.
_MOST_PLACES = 3
#: Characters of a fact that differs.
_LONGEST = 80
#: Said wherever times of two runs stand side by side.
DRIFT = "Times were taken in two runs, at different moments: a drift of the machine is inside their ratios."


def upgrades(results: RunResults) -> tuple[Upgrade, ...]:
    """What each step between columns does, in the order of the columns; where nothing is known there is none."""
    names, known = by_column(results), Distances(results)
    found = (
        _of_step(of_step(results, step, known), f"{names[step.before.id]} to {names[step.after.id]}", step)
        for step in results.steps
    )
    return tuple(one for one in found if one.sentences)


def by_column(results: RunResults) -> dict[str, str]:
    """The short name of every column."""
    return dict(zip((column.id for column in results.info.columns), labels(results), strict=True))


def compared(
    before: Side,
    after: Side,
    *,
    known: Distances | None = None,
    modes: Collection[str] = ("off", "on"),
    kernels: Sequence[str] = (),
) -> Upgrade:
    """From any column to any other one, of one run or of two; only some modes, and kernels that fit a pattern."""
    found = narrowed(change(before, after, known=known), modes, kernels)
    sides = [by_column(side.results)[side.column] for side in (before, after)]
    runs = [clean(side.results.info.id) for side in (before, after)]
    if found.two_runs and before.column == after.column:
        label = f"{sides[1]}, {runs[0]} to {runs[1]}"
    elif found.two_runs:
        label = f"{sides[0]} ({runs[0]}) to {sides[1]} ({runs[1]})"
    else:
        label = f"{sides[0]} to {sides[1]}"
    steps = () if found.two_runs else before.results.steps
    step = next((one for one in steps if (one.before.id, one.after.id) == (before.column, after.column)), None)
    if step is not None:
        return _of_step(found, label, step)
    told = _facts(found.moved)
    moved = f"{', '.join(told)}: they differ together, so what changed is of no one alone."
    if len(told) <= 1:
        moved = f"{told[0]} alone." if told else "Nothing that is known differs between the two."
    return of_change(found, label, step="comparison", moved=moved, alone=len(told) == 1)


def _facts(moved: Mapping[str, tuple[str, str]], but: Collection[str] = ()) -> list[str]:
    """What differs, before and after, but for some titles."""
    return [
        f"{title} {cap(old, _LONGEST) or 'unknown'} to {cap(new, _LONGEST) or 'unknown'}"
        for title, (old, new) in moved.items()
        if title not in but
    ]


def step_sentence(moved: Mapping[str, tuple[str, str]], step: Step) -> str:
    """What a step moves, and what its processes tell of beyond that."""
    more = _facts(moved, {TITLES[key] for key in step.moved})
    return f"{step.sentence} Also {', '.join(more)}: what changed is of no one alone." if more else step.sentence


def _of_step(found: Change, label: str, step: Step) -> Upgrade:
    moved = step_sentence(found.moved, step)
    return of_change(found, label, step=step.name, moved=moved, alone=not step.mixed and moved == step.sentence)


def of_change(found: Change, label: str, *, step: str, moved: str, alone: bool) -> Upgrade:
    """A change as shown; ``label``, ``step`` and ``moved`` are those of who asks."""
    both = [one for one in found.kernels if one.events not in ((Event.REMOVED,), (Event.ADDED,))]
    happened = sorted((one for one in both if one.events), key=lambda one: one.events[0].seriousness)
    told = Counter(one.conclusion for one in both)
    counts = Counter(event for one in found.kernels for event in one.events)
    reasons = Counter(one.bits_why for one in both if one.conclusion is Conclusion.UNKNOWN)
    untimed = Counter(one.cost_why for one in both if one.cost is None)
    rows = tuple(_row(found, one) for one in happened)
    sentences = tuple(filter(None, (_sentence(found, mode) for mode in ("off", "on"))))
    return Upgrade(
        label=label,
        step=step,
        alone=alone,
        moved=clean(moved),
        before=clean(found.before.column),
        after=clean(found.after.column),
        sentences=sentences,
        counts=tuple((event.value, counts[event]) for event in Event if counts[event]),
        rows=rows,
        lines=_lines(rows, _places(both)),
        quiet=len(both) - len(happened),
        kept=told[Conclusion.KEPT],
        so_far=told[Conclusion.SO_FAR],
        as_before=told[Conclusion.AS_BEFORE],
        unknown=told[Conclusion.UNKNOWN],
        unknown_why=tuple((clean(why), number) for why, number in reasons.most_common()),
        untimed_why=tuple((clean(why), number) for why, number in untimed.most_common()),
        gone=counts[Event.REMOVED],
        new=counts[Event.ADDED],
        note=DRIFT if found.two_runs and any(one.cost is not None for one in both) else "",
    )


def _row(found: Change, one: KernelChange) -> UpgradeRow:
    kernels = {**found.before.kernels, **found.after.kernels}
    return UpgradeRow(
        kernel=clean(one.kernel),
        family=clean(kernels[one.kernel].family),
        variation=clean(one.variation),
        mode=one.mode,
        before=_half(found.before.results, one.before, one.mode),
        after=_half(found.after.results, one.after, one.mode),
        events=tuple(event.value for event in one.events),
        bits=one.bits.value,
        distance=distances.short(one.difference),
        time=told_time(one.cost),
        why=clean(one.bits_why),
        overhead=one.cost,
        time_why=clean(one.cost_why),
        difference=one.difference,
    )


def _half(results: RunResults, verdict: Verdict | None, mode: str) -> ModeResult | None:
    return None if verdict is None else of_verdict(results, verdict, mode)


def told_time(overhead: Overhead | None) -> str:
    """A ratio with its interval and ``slower`` or ``faster``, ``not significant``, or "" where nothing is compared."""
    if overhead is None:
        return ""
    return (
        f"{overhead_text(overhead)} {'slower' if overhead.ratio > 1 else 'faster'}"
        if overhead.significant
        else "not significant"
    )


def _sentence(found: Change, mode: str) -> str:
    """One mode under the first variation; "" where nothing of it was compared."""
    first = found.after.results.variations[0]
    here = [one for one in found.kernels if (one.variation, one.mode) == (first, mode) and one.before and one.after]
    overheads = [(one.kernel, one.cost) for one in here if one.cost is not None]
    stated = [
        (overhead.ratio, significant(overhead.ratio), name) for name, overhead in overheads if overhead.significant
    ]
    stated.sort(key=lambda one: (float(one[1]), one[2]))  # as shown: the page's script has fewer digits
    slower, faster = [one for one in stated if one[0] > 1], [one for one in stated if one[0] <= 1]
    times = f"{count(len(slower), 'kernel')} slower{_most(slower[-1:])}, {len(faster)} faster{_most(faster[:1])}"
    times += f", {len(overheads) - len(stated)} not significant"
    untimed = Counter(one.cost_why for one in here if one.cost is None)
    if untimed:
        times += f", {untimed.total()} not compared"
    if not overheads and untimed:
        times = f"no time compared ({untimed.most_common(1)[0][0]})"
    bits = Counter(one.bits for one in here)
    known = bits[Bits.SAME] + bits[Bits.SO_FAR] + bits[Bits.CHANGED]
    moved = f"bits changed in {bits[Bits.CHANGED]} of {count(known, 'kernel')}"
    moved += f" ({bits[Bits.SO_FAR]} the same only so far)" if bits[Bits.SO_FAR] else ""
    moved += f", {bits[Bits.UNKNOWN]} not compared" if bits[Bits.UNKNOWN] else ""
    if not (overheads or known):
        return ""
    return f"Determinism {mode}: {times}; {moved}."


def _most(one: Sequence[tuple[float, str, str]]) -> str:
    return "".join(f" (most: {clean(name)} {TIMES}{shown})" for _, shown, name in one)


def _places(both: Sequence[KernelChange]) -> dict[str, list[tuple[str, str]]]:
    """Where each kernel was measured on both sides: its variations and modes."""
    found: dict[str, list[tuple[str, str]]] = {}
    for one in both:
        found.setdefault(clean(one.kernel), []).append((clean(one.variation), one.mode))
    return found


def _lines(rows: Sequence[UpgradeRow], places: dict[str, list[tuple[str, str]]]) -> tuple[UpgradeLine, ...]:
    """Rows of one kernel to which the same happened, times apart, as one line; the gravest first."""
    alike: dict[tuple[object, ...], list[UpgradeRow]] = {}
    for row in rows:
        if row.before is not None and row.after is not None:
            events = tuple(event for event in row.events if event not in _TIMES)
            alike.setdefault((row.kernel, row.before.word, row.after.word, events, row.bits), []).append(row)
    return tuple(_line(group, places[group[0].kernel]) for group in alike.values())


def _line(group: Sequence[UpgradeRow], places: Sequence[tuple[str, str]]) -> UpgradeLine:
    first = group[0]
    assert first.before is not None  # noqa: S101 - rows of one side make no line
    assert first.after is not None  # noqa: S101
    far = max(group, key=_far)
    events = {event for row in group for event in row.events}
    return UpgradeLine(
        kernel=first.kernel,
        where=_where([(row.variation, row.mode) for row in group], places),
        before=first.before,
        after=first.after,
        turned=first.before.word != first.after.word,
        events=tuple(event.value for event in Event if event.value in events),
        bits=_told_bits(first, far),
        time=_times(group),
    )


def _far(row: UpgradeRow) -> float:
    outputs = row.difference.outputs.values() if row.difference else ()
    return max(map(size_of, outputs), default=-1.0)


def _told_bits(first: UpgradeRow, far: UpgradeRow) -> str:
    if first.bits == Bits.SAME:
        return first.bits
    note = far.distance if first.bits == Bits.CHANGED else ""
    return "; ".join(filter(None, (f"{first.bits}{f', {note}' if note else ''}", first.why)))


def _times(group: Sequence[UpgradeRow]) -> str:
    """The resolved ratios, each with its mode and variation where there are several places."""
    found = [row for row in group if row.overhead is not None and row.overhead.significant]
    if not found:
        return next((row.time for row in group if row.time), "")
    if len(group) == 1:
        return found[0].time
    shown = [f"{row.time} ({_short(row.variation, row.mode)})" for row in found[:_MOST_PLACES]]
    return ", ".join([*shown, *([f"{len(found) - len(shown)} more"] if len(found) > len(shown) else [])])


def _short(variation: str, mode: str) -> str:
    return mode if variation == "default" else f"{variation}, {mode}"


def _where(here: Sequence[tuple[str, str]], places: Sequence[tuple[str, str]]) -> str:
    """``off``; ``off and on``; ``threads=1 on``; ``everywhere`` where all of several variations are meant."""
    several = len({variation for variation, _ in places}) > 1
    if several and len(here) == len(places):
        return f"everywhere ({len(places)})"
    ordered = sorted(here, key=places.index)
    told = []
    for variation, group in groupby(ordered, key=lambda one: one[0]):
        modes = " and ".join(mode for _, mode in group)
        told.append(f"{variation} {modes}" if several else modes)
    return listed(told, _MOST_PLACES)
