"""Build what an upgrade changes: from one column to another, or of one column between two runs."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING

from bench.report.build import distances
from bench.report.build.columns import labels_by_column
from bench.report.build.matrix import of_verdict
from bench.report.build.ratio_text import factor_text, ratio_text
from bench.report.build.upgrade_kinds import kinds_sentence
from bench.report.formatting import cap, clean, listed, significant
from bench.report.view import Upgrade, UpgradeLine, UpgradeRow
from bench.verdict.comparison import Bits, Conclusion, Distances, Event, change, narrowed, of_step
from bench.verdict.messages import count
from bench.verdict.steps import TITLES
from bench.verdict.tensor_diff import size_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from bench.report.view import ModeResult
    from bench.verdict.comparison import Change, KernelChange, Side
    from bench.verdict.results import RunResults, Verdict
    from bench.verdict.steps import Step

_TIMES = frozenset({Event.SLOWER, Event.FASTER})
_ONE_SIDE = ((Event.REMOVED,), (Event.ADDED,))
#: Variations that a line names before it counts them.
_MOST_PLACES = 3
#: Characters of a differing fact that are shown.
_LONGEST = 80
#: Shown wherever times of two runs are compared.
DRIFT = "The two runs measured at different times, so any drift of the machine is part of these ratios."


def upgrades(results: RunResults) -> tuple[Upgrade, ...]:
    """Return what each step between columns changes, in the order of the columns, without steps that have no result."""
    names, known = labels_by_column(results), Distances(results)
    built = (
        _of_step(of_step(results, step, known), f"{names[step.before.id]} to {names[step.after.id]}", step)
        for step in results.steps
    )
    return tuple(upgrade for upgrade in built if upgrade.sentences)


def compared(
    before: Side,
    after: Side,
    *,
    known: Distances | None = None,
    modes: Collection[str] = ("off", "on"),
    kernels: Sequence[str] = (),
) -> Upgrade:
    """Compare any two columns, of one run or of two.

    Args:
        before: the first column.
        after: the second column.
        known: distances that were computed already.
        modes: the modes to compare.
        kernels: patterns of kernel names, all kernels without one.
    """
    difference = narrowed(change(before, after, known=known), modes, kernels)
    label = _label(before, after, two_runs=difference.two_runs)
    steps = () if difference.two_runs else before.results.steps
    step = next((step for step in steps if (step.before.id, step.after.id) == (before.column, after.column)), None)
    if step is not None:
        return _of_step(difference, label, step)
    facts = _facts(difference.changed_facts)
    changed_facts = f"{', '.join(facts)}: they changed together, so no single one explains the results."
    if len(facts) <= 1:
        changed_facts = f"{facts[0]} alone." if facts else "No known fact differs between the two."
    return of_change(difference, label, step="comparison", changed_facts=changed_facts, alone=len(facts) == 1)


def _label(before: Side, after: Side, *, two_runs: bool) -> str:
    names = [labels_by_column(side.results)[side.column] for side in (before, after)]
    runs = [clean(side.results.info.id) for side in (before, after)]
    if two_runs and before.column == after.column:
        return f"{names[1]}, {runs[0]} to {runs[1]}"
    if two_runs:
        return f"{names[0]} ({runs[0]}) to {names[1]} ({runs[1]})"
    return f"{names[0]} to {names[1]}"


def _facts(changed_facts: Mapping[str, tuple[str, str]], but: Collection[str] = ()) -> list[str]:
    """Return what differs, before and after, except for some titles."""
    return [
        f"{title} {cap(old, _LONGEST) or 'unknown'} to {cap(new, _LONGEST) or 'unknown'}"
        for title, (old, new) in changed_facts.items()
        if title not in but
    ]


def step_sentence(changed_facts: Mapping[str, tuple[str, str]], step: Step) -> str:
    """Say what a step changes, and what else the processes report as different."""
    more = _facts(changed_facts, {TITLES[key] for key in step.changed_facts})
    if not more:
        return step.sentence
    return f"{step.sentence} Also {', '.join(more)}: no single change explains the results."


def _of_step(difference: Change, label: str, step: Step) -> Upgrade:
    changed_facts = step_sentence(difference.changed_facts, step)
    return of_change(
        difference,
        label,
        step=step.name,
        changed_facts=changed_facts,
        alone=not step.mixed and changed_facts == step.sentence,
    )


def of_change(difference: Change, label: str, *, step: str, changed_facts: str, alone: bool) -> Upgrade:
    """Return a comparison as the report shows it; the caller names what it compares."""
    both = [kernel for kernel in difference.kernels if kernel.events not in _ONE_SIDE]
    changed = sorted((kernel for kernel in both if kernel.events), key=_order)
    outcomes = Counter(kernel.conclusion for kernel in both)
    counts = Counter(event for kernel in difference.kernels for event in kernel.events)
    reasons = Counter(clean(kernel.bits_why) for kernel in both if kernel.conclusion is Conclusion.UNKNOWN)
    untimed = Counter(clean(kernel.cost_why) for kernel in both if kernel.cost is None)
    rows = tuple(_row(difference, kernel) for kernel in changed)
    return Upgrade(
        label=label,
        step=step,
        alone=alone,
        changed_facts=clean(changed_facts),
        before=clean(difference.before.column),
        after=clean(difference.after.column),
        packages=tuple((title, clean(old), clean(new)) for title, (old, new) in difference.packages.items()),
        results=len(both),
        changed=len(rows),
        sentences=_sentences(difference, len(rows), len(both)),
        counts=tuple((event.value, counts[event]) for event in Event if counts[event]),
        rows=rows,
        lines=_lines(rows, _places(both)),
        kept=outcomes[Conclusion.KEPT],
        so_far=outcomes[Conclusion.SO_FAR],
        as_before=outcomes[Conclusion.AS_BEFORE],
        unknown=outcomes[Conclusion.UNKNOWN],
        unknown_why=tuple(reasons.most_common()),
        untimed_why=tuple(untimed.most_common()),
        gone=counts[Event.REMOVED],
        new=counts[Event.ADDED],
        note=DRIFT if difference.two_runs and any(kernel.cost is not None for kernel in both) else "",
    )


def summary(upgrades: Iterable[Upgrade], not_compared: int = 0) -> str:
    """Summarize comparisons in one sentence: what changed, what did not, and what is unknown.

    ``not_compared`` counts the columns that only one side has, or that cannot be compared.
    """
    every = list(upgrades)
    results = sum(upgrade.results for upgrade in every)
    if not results:
        return "Nothing can be compared: the runs have no result in common."
    changed = sum(upgrade.changed for upgrade in every)
    kept, so_far, as_before, unknown, gone, new = (
        sum(getattr(upgrade, key) for upgrade in every)
        for key in ("kept", "so_far", "as_before", "unknown", "gone", "new")
    )
    if not changed and unknown == results:
        return f"Nothing is known: none of {count(results, 'result')} can be compared."
    others = (
        (so_far, "have the same bits so far, on weak evidence"),
        (as_before, "are still nondeterministic or still fail"),
        (unknown, "cannot be compared"),
        (gone, "removed"),
        (new, "added"),
    )
    parts = [f"{kept} keep status and bits", *(f"{number} {words}" for number, words in others if number)]
    parts += [f"{count(not_compared, 'column')} not compared"] if not_compared else []
    if changed:
        counts: Counter[str] = Counter()
        for upgrade in every:
            counts.update({event: n for event, n in upgrade.counts if event not in (Event.REMOVED, Event.ADDED)})
        events = ", ".join(f"{event} {number}" for event, number in counts.items())
        head = f"{changed} of {count(results, 'result')} changed ({events})"
    else:
        head = "No change was seen" if len(parts) > 1 else "Nothing changed"
        parts[0] = f"{kept} of {count(results, 'result')} keep status and bits"
    return f"{head}: {'; '.join(parts)}."


def _row(difference: Change, kernel: KernelChange) -> UpgradeRow:
    kernels = {**difference.before.kernels, **difference.after.kernels}
    return UpgradeRow(
        kernel=clean(kernel.kernel),
        family=clean(kernels[kernel.kernel].family),
        variation=clean(kernel.variation),
        mode=kernel.mode,
        before=_half(difference.before.results, kernel.before, kernel.mode),
        after=_half(difference.after.results, kernel.after, kernel.mode),
        events=tuple(event.value for event in kernel.events),
        bits=kernel.bits.value,
        distance=distances.short(kernel.difference),
        time=ratio_text(kernel.cost, "slowdown"),
        why=clean(kernel.bits_why),
        overhead=kernel.cost,
        time_why=clean(kernel.cost_why),
        difference=distances.compact(kernel.difference),
    )


def _half(results: RunResults, verdict: Verdict | None, mode: str) -> ModeResult | None:
    return None if verdict is None else of_verdict(results, verdict, mode)


def _sentences(difference: Change, changed: int, results: int) -> tuple[str, ...]:
    """Return how many results changed, and a summary of each mode; nothing where nothing was compared."""
    modes = tuple(filter(None, (_sentence(difference, mode) for mode in ("off", "on"))))
    if not modes:
        return ()
    head, kinds = f"{changed} of {count(results, 'result')} changed.", kinds_sentence(difference)
    common = _common_sentence(difference)
    return (head, *([common] if common else []), *modes, *([kinds] if kinds else []),
            packages_sentence(difference.packages))  # fmt: skip


def _common_sentence(difference: Change) -> str:
    """Say what the times of two runs of one environment have in common, "" for nothing."""
    factor = difference.common
    if factor == 1:
        return ""
    text = f"Nearly all kernels are {max(factor, 1 / factor):.2f}x {'slower' if factor > 1 else 'faster'} in the same"
    loads = [_load(side) for side in (difference.before, difference.after)]
    known = [load for load in loads if load is not None]
    if len(known) == len(loads) and (known[0] < known[1]) == (factor > 1):
        word = "higher" if factor > 1 else "lower"
        text += f" environment, and the load was {word} ({known[0]:.1f} before, {known[1]:.1f} after)"
    else:
        text += " environment"
    return f"{text}: this is the host, not TensorFlow. All ratios are without this factor."


def _load(side: Side) -> float | None:
    """Return the median load of the host while the kernels of a column were timed, None if they were not."""
    loads = [kernel.load for kernel in side.results.times.of_column(side.column)]
    return statistics.median(loads) if loads else None


def _order(kernel: KernelChange) -> tuple[int, float]:
    """Return the place of a change: by how serious it is, then by the change of time, the largest first."""
    significant = kernel.cost is not None and kernel.cost.significant
    size = abs(math.log(kernel.cost.ratio)) if kernel.cost and significant else 0.0
    return kernel.events[0].seriousness, -size


def packages_sentence(packages: Mapping[str, tuple[str, str]]) -> str:
    """Say which packages changed and which stayed: ``Changed besides TensorFlow: NumPy 2.0.2 to 2.4.6.``."""
    changed = {title: f"{title} {old} to {new}" for title, (old, new) in packages.items() if old and new and old != new}
    stayed = [f"{title} {old}" for title, (old, new) in packages.items() if old and old == new]
    unknown = [title for title, (old, new) in packages.items() if not (old and new)]
    besides = {title: values for title, values in changed.items() if title != "TensorFlow"}
    head = "Changed besides TensorFlow" if "TensorFlow" in changed and besides else "Changed"
    shown = besides or changed
    texts = [f"{head}: {', '.join(shown.values())}"] if shown else []
    texts += [f"stayed: {', '.join(stayed)}"] if stayed else []
    texts += [f"not known on both sides: {', '.join(unknown)}"] if unknown else []
    text = clean("; ".join(texts))
    return f"{text[:1].upper()}{text[1:]}."


def _sentence(difference: Change, mode: str) -> str:
    """Summarize one mode under the first variation; "" where nothing of it was compared."""
    first = difference.after.results.variations[0]
    kernels = [
        kernel
        for kernel in difference.kernels
        if (kernel.variation, kernel.mode) == (first, mode) and kernel.before and kernel.after
    ]
    bits = Counter(kernel.bits for kernel in kernels)
    known = bits[Bits.SAME] + bits[Bits.SO_FAR] + bits[Bits.CHANGED]
    if not known and not any(kernel.cost for kernel in kernels):
        return ""
    text = f"bits changed in {bits[Bits.CHANGED]} of {count(known, 'kernel')}"
    text += f" ({bits[Bits.SO_FAR]} the same only so far)" if bits[Bits.SO_FAR] else ""
    text += f", {bits[Bits.UNKNOWN]} not compared" if bits[Bits.UNKNOWN] else ""
    where = f"Determinism {mode}, variation {clean(first)}" if _several(difference) else f"Determinism {mode}"
    return f"{where}: {_time_summary(kernels)}; {text}."


def _several(difference: Change) -> bool:
    return len({kernel.variation for kernel in difference.kernels}) > 1


def _time_summary(kernels: Sequence[KernelChange]) -> str:
    """Return how many kernels got slower and faster, with the largest factor of each."""
    timed = [(kernel.kernel, kernel.cost) for kernel in kernels if kernel.cost is not None]
    untimed = Counter(kernel.cost_why for kernel in kernels if kernel.cost is None)
    if not timed and untimed:
        return f"no time compared ({untimed.most_common(1)[0][0]})"
    # sorted as shown: the page's script has fewer digits
    stated = sorted(
        ((cost.ratio, name) for name, cost in timed if cost.significant),
        key=lambda item: (float(significant(item[0])), item[1]),
    )
    slower, faster = [item for item in stated if item[0] > 1], [item for item in stated if item[0] <= 1]
    text = f"{count(len(slower), 'kernel')} slower{_most(slower[-1:])}, {len(faster)} faster{_most(faster[:1])}"
    text += f", {len(timed) - len(stated)} without a significant change"
    return f"{text}, {untimed.total()} not compared" if untimed else text


def _most(kernels: Sequence[tuple[float, str]]) -> str:
    return "".join(f" (most: {clean(name)}, {factor_text(ratio)})" for ratio, name in kernels)


def _places(both: Sequence[KernelChange]) -> dict[str, list[tuple[str, str]]]:
    """Return the variations and modes in which each kernel was measured on both sides."""
    places: dict[str, list[tuple[str, str]]] = {}
    for kernel in both:
        places.setdefault(clean(kernel.kernel), []).append((clean(kernel.variation), kernel.mode))
    return places


def _lines(rows: Sequence[UpgradeRow], places: dict[str, list[tuple[str, str]]]) -> tuple[UpgradeLine, ...]:
    """Return one line for the rows of a kernel to which the same happened apart from times, the most severe first."""
    groups: dict[tuple[object, ...], list[UpgradeRow]] = {}
    for row in rows:
        if row.before is not None and row.after is not None:
            events = tuple(event for event in row.events if event not in _TIMES)
            groups.setdefault((row.kernel, row.before.word, row.after.word, events, row.bits), []).append(row)
    return tuple(_line(group, places[group[0].kernel]) for group in groups.values())


def _line(group: Sequence[UpgradeRow], places: Sequence[tuple[str, str]]) -> UpgradeLine:
    first = group[0]
    assert first.before is not None  # noqa: S101 - rows of one side make no line
    assert first.after is not None  # noqa: S101
    events = {event for row in group for event in row.events}
    return UpgradeLine(
        kernel=first.kernel,
        where=_where([(row.variation, row.mode) for row in group], places),
        before=first.before,
        after=first.after,
        turned=first.before.word != first.after.word,
        events=tuple(event.value for event in Event if event.value in events),
        bits=_bits(first, max(group, key=_distance)),
        time=_times(group),
    )


def _distance(row: UpgradeRow) -> float:
    outputs = row.difference.outputs.values() if row.difference else ()
    return max(map(size_of, outputs), default=-1.0)


def _bits(first: UpgradeRow, farthest: UpgradeRow) -> str:
    if first.bits == Bits.SAME:
        return first.bits
    distance = farthest.distance if first.bits == Bits.CHANGED else ""
    return "; ".join(filter(None, (f"{first.bits}{f', {distance}' if distance else ''}", first.why)))


def _times(group: Sequence[UpgradeRow]) -> str:
    """Return the significant ratios, each with its mode and variation where there are several."""
    significant_rows = [row for row in group if row.overhead is not None and row.overhead.significant]
    if not significant_rows:
        return next((row.time for row in group if row.time), "")
    if len(group) == 1:
        return significant_rows[0].time
    texts = [f"{row.time} ({_short(row.variation, row.mode)})" for row in significant_rows[:_MOST_PLACES]]
    more = len(significant_rows) - len(texts)
    return ", ".join([*texts, *([f"{more} more"] if more else [])])


def _short(variation: str, mode: str) -> str:
    return mode if variation == "default" else f"{variation}, {mode}"


def _where(selected: Sequence[tuple[str, str]], places: Sequence[tuple[str, str]]) -> str:
    """Return ``off``, ``off and on``, ``threads=1 on``, or where these are all of several, their number."""
    several = len({variation for variation, _ in places}) > 1
    if several and len(selected) == len(places):
        return f"all {len(places)} variations and modes"
    texts = []
    for variation, group in groupby(sorted(selected, key=places.index), key=lambda place: place[0]):
        modes = " and ".join(mode for _, mode in group)
        texts.append(f"{variation} {modes}" if several else modes)
    return listed(texts, _MOST_PLACES)
