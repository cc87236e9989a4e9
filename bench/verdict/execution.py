"""How far two ways of computing the same agree: graph, eager and XLA of one op, within one column.

An op runs inside a ``tf.function`` by default, eagerly under the variation ``eager=on``, and compiled by XLA where the
suite has a kernel of the same name with ``_xla``. Outputs are matched by name. Which of two values is the right one is
known where the kernel has a float64 reference.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bench.suite.distance import numbers
from bench.verdict.comparability import outputs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.store.kept_values import StoredValues
    from bench.suite.kept_values import KeptTensor
    from bench.verdict.results import RunResults, Verdict

EAGER = "eager=on"
XLA_SUFFIX = "_xla"
SAME = "same bits"
#: An error above this share of the reference's largest value is no rounding error, whatever the dtype.
WRONG_FROM = 0.01


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far two verdicts of one column and mode agree.

    ``word`` is ``same bits``, ``within 3 ULP`` (the largest distance of two elements), ``different`` (NaN or infinity
    on one side only, another dtype or shape, or one side is nondeterministic) or ``not compared``; ``why`` says over
    how many elements, or why not.
    ``ulps`` is None unless it is known. ``wrong`` maps "first" and "other" to the outputs that are wrong against
    float64, each with its error as a share of the reference's largest value.
    """

    word: str
    why: str = ""
    ulps: float | None = None
    wrong: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def compared(self) -> bool:
        """Whether the bits were compared."""
        return self.word != "not compared"


def agreement(kept: StoredValues, first: Verdict, other: Verdict) -> Agreement:
    """Compare two verdicts by the outputs that both have."""
    sides = {"first": first, "other": other}
    wrong = {side: errors for side, verdict in sides.items() if (errors := wrong_outputs(verdict))}
    without = [verdict for verdict in sides.values() if verdict.invalid or not verdict.digest_class]
    facts = [outputs(verdict) for verdict in sides.values()]
    if without:
        # more than one value cannot all be the one of the other side
        differ = len(without) == 1 and _varies(without[0]) and facts[0].keys() == facts[1].keys()
        why = " and ".join(map(_status, without))
        return Agreement(word="different" if differ else "not compared", why=why, wrong=wrong)
    common = [name for name in facts[0] if name in facts[1]]
    if not common:
        return Agreement(word="not compared", why="they have no output in common", wrong=wrong)
    only = sorted(set(facts[0]) ^ set(facts[1]))
    note = f"without {', '.join(only)}, which only one of them has" if only else ""
    differing = [name for name in common if facts[0][name].get("digest") != facts[1][name].get("digest")]
    if not differing:
        return Agreement(word=SAME, why=note, ulps=0.0, wrong=wrong)
    tensors = [
        {tensor.name: tensor for tensor in kept.tensors(verdict.kernel, verdict.comparison.digests[0][0])}
        for verdict in sides.values()
    ]
    return _distance([(tensors[0].get(name), tensors[1].get(name)) for name in differing], note, wrong)


def _distance(
    pairs: list[tuple[KeptTensor | None, KeptTensor | None]], note: str, wrong: Mapping[str, Mapping[str, float]]
) -> Agreement:
    """Return the largest distance over all outputs that differ."""
    largest, kept, elements = 0.0, 0, 0
    for one, two in pairs:
        if one is None or two is None:
            return Agreement(word="different", why="the values of an output were not kept", wrong=wrong)
        if (one.dtype, one.shape, one.raw.size) != (two.dtype, two.shape, two.raw.size):
            return Agreement(word="different", why="an output has another dtype or shape", wrong=wrong)
        (values, bits), (others, other_bits) = numbers(one.dtype, one.raw), numbers(two.dtype, two.raw)
        if (np.isfinite(values) != np.isfinite(others)).any():
            return Agreement(word="different", why="NaN or infinity on one side only", wrong=wrong)
        largest = max(largest, float(np.abs(bits.astype("float64") - other_bits.astype("float64")).max()))
        kept, elements = kept + min(one.size, one.most), elements + one.size
    over = f"in {'all' if kept == elements else f'{kept} of'} {elements} elements"
    if not largest:
        over += ", all of them equal"
    why = "; ".join(filter(None, (over, note)))
    word = f"within {largest:.4g} ULP" if largest else "different"
    return Agreement(word=word, why=why, ulps=largest or None, wrong=wrong)


def wrong_outputs(verdict: Verdict) -> dict[str, float]:
    """Return the outputs that are wrong against float64, with their errors; none without a reference."""
    errors = {name: error.get("max", float("inf")) for name, error in verdict.errors.items()}
    return {name: error for name, error in errors.items() if not error <= WRONG_FROM}


def ways(results: RunResults, column: str, kernel: str, mode: str) -> dict[str, Agreement]:
    """Return how far a kernel agrees with its eager and its XLA form, by what it is compared with."""
    default = results.of(column, kernel, "default", mode)
    others = {
        f"eager ({EAGER})": results.of(column, kernel, EAGER, mode),
        f"XLA ({kernel}{XLA_SUFFIX})": results.of(column, f"{kernel}{XLA_SUFFIX}", "default", mode),
    }
    if default is None:
        return {}
    return {name: agreement(results.kept, default, other) for name, other in others.items() if other is not None}


def _varies(verdict: Verdict) -> bool:
    return not verdict.invalid and len(verdict.comparison.digests) > 1


def _status(verdict: Verdict) -> str:
    return f"{verdict.kernel} is {verdict.status} ({verdict.variation})"
