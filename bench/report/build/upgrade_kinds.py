"""Summarize what an upgrade changes by kind of kernel: Keras trainings, the same in a plain loop, XLA, and families."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report.formatting import clean, listed, significant
from bench.verdict.comparison import Bits
from bench.verdict.execution import XLA_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.store.run_info import KernelInfo
    from bench.verdict.comparison import Change, KernelChange

_TRAINING, _LOOP_SUFFIX = "training", "_loop"
_MOST_UNCHANGED = 4


def kinds_sentence(difference: Change) -> str:
    """Say for each kind how many of its results got slower, faster or other bits; "" for fewer than two kinds.

    A result is a kernel in one mode, under the variation that decides.
    """
    infos = {**difference.before.kernels, **difference.after.kernels}
    first = difference.after.results.variations[0]
    kinds: dict[str, list[KernelChange]] = {}
    for change in difference.kernels:
        if change.variation == first and change.before and change.after:
            kinds.setdefault(_kind(infos[change.kernel]), []).append(change)
    texts = {kind: text for kind, changes in kinds.items() if (text := _changes(changes))}
    if len(kinds) < 2 or not texts:  # noqa: PLR2004 - one kind is what the other sentences are about
        return ""
    unchanged = [kind for kind in kinds if kind not in texts]
    parts = [f"{kind} {text}" for kind, text in texts.items()]
    parts += [f"no change in {listed(unchanged, _MOST_UNCHANGED)}"] if unchanged else []
    return f"By kind, counting each kernel off and on: {'; '.join(parts)}."


def _kind(kernel: KernelInfo) -> str:
    if kernel.name.endswith(XLA_SUFFIX):
        return "XLA"
    if kernel.family == _TRAINING:
        return "training in a plain loop" if kernel.name.endswith(_LOOP_SUFFIX) else "training with Keras"
    return clean(kernel.family)


def _changes(changes: Sequence[KernelChange]) -> str:
    """Return ``slower in 3 of 10 (1.30x to 2.01x), other bits in 8 of 10``; "" where nothing changed."""
    ratios = sorted(change.cost.ratio for change in changes if change.cost and change.cost.significant)
    texts = []
    slower = [ratio for ratio in ratios if ratio > 1]
    faster = [1 / ratio for ratio in reversed(ratios) if ratio <= 1]
    for word, factors in (("slower", slower), ("faster", faster)):
        if factors:
            ends = dict.fromkeys(f"{significant(factor)}x" for factor in (factors[0], factors[-1]))
            texts.append(f"{word} in {len(factors)} of {len(changes)} ({' to '.join(ends)})")
    bits = sum(change.bits is Bits.CHANGED for change in changes)
    return ", ".join([*texts, *([f"other bits in {bits} of {len(changes)}"] if bits else [])])
