"""Summarize what an upgrade changes by kind of kernel: Keras trainings, the same in a plain loop, XLA, and families."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bench.report.formatting import clean, listed, significant
from bench.verdict.comparison import Conclusion, Event
from bench.verdict.execution import XLA_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.store.run_info import KernelInfo
    from bench.verdict.comparison import Change, KernelChange

_TRAINING, _LOOP_SUFFIX = "training", "_loop"
#: Kinds that a list names, and the events that are stated with the factor of the time.
_MOST_NAMED, _TIMES = 4, frozenset({Event.SLOWER, Event.FASTER})


def kinds_sentence(difference: Change) -> str:
    """Say for each kind what happened to its results; "" if nothing did, or if there is only one kind.

    A result is a kernel in one mode, under the variation that decides. A kind is called unchanged only if all of its
    results were compared, and none changed under another variation either.
    """
    infos = {**difference.before.kernels, **difference.after.kernels}
    first = difference.after.results.variations[0]
    kinds: dict[str, list[KernelChange]] = {}
    elsewhere = set()
    for change in difference.kernels:
        if change.before and change.after:
            kind = _kind(infos[change.kernel])
            if change.variation == first:
                kinds.setdefault(kind, []).append(change)
            elif change.events:
                elsewhere.add(kind)
    texts = {kind: text for kind, changes in kinds.items() if (text := _changes(changes))}
    if len(kinds) < 2 or not texts:  # noqa: PLR2004 - one kind is what the other sentences are about
        return ""
    rest = {kind: changes for kind, changes in kinds.items() if kind not in texts}
    partly = [kind for kind, changes in rest.items() if not all(map(_compared, changes))]
    other = [kind for kind in rest if kind not in partly and kind in elsewhere]
    unchanged = [kind for kind in rest if kind not in partly and kind not in elsewhere]
    parts = [f"{kind} {text}" for kind, text in texts.items()]
    parts += [f"no change in {listed(unchanged, _MOST_NAMED)}"] if unchanged else []
    parts += [f"changes under other variations only in {listed(other, _MOST_NAMED)}"] if other else []
    parts += [f"not all compared in {listed(partly, _MOST_NAMED)}"] if partly else []
    return f"By kind, counting each kernel off and on: {'; '.join(parts)}."


def _kind(kernel: KernelInfo) -> str:
    if kernel.name.endswith(XLA_SUFFIX):
        return "XLA"
    if kernel.family == _TRAINING:
        return "training in a plain loop" if kernel.name.endswith(_LOOP_SUFFIX) else "training with Keras"
    return clean(kernel.family)


def _compared(change: KernelChange) -> bool:
    return change.conclusion is not Conclusion.UNKNOWN and change.cost is not None


def _changes(changes: Sequence[KernelChange]) -> str:
    """Return ``slower in 3 of 10 (1.30x to 2.01x), bits changed in 8``; "" where nothing changed.

    What happened besides times comes first, the most serious first; times are counted among those that were compared.
    """
    events = Counter(event for change in changes for event in change.events if event not in _TIMES)
    texts = [f"{event.value} in {events[event]}" for event in Event if events[event]]
    costs = [change.cost for change in changes if change.cost]
    ratios = sorted(cost.ratio for cost in costs if cost.significant)
    slower = [ratio for ratio in ratios if ratio > 1]
    faster = [1 / ratio for ratio in reversed(ratios) if ratio <= 1]
    for word, factors in (("slower", slower), ("faster", faster)):
        if factors:
            ends = dict.fromkeys(f"{significant(factor)}x" for factor in (factors[0], factors[-1]))
            texts.append(f"{word} in {len(factors)} of {len(costs)} ({' to '.join(ends)})")
    return ", ".join(texts)
