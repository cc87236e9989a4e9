"""Say how far samples are apart: a short text for the matrix, sentences for the details."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from bench.report.formatting import clean, figure
from bench.report.view import Change
from bench.verdict import difference as verdict_difference
from bench.verdict.messages import count
from bench.verdict.tensor_diff import size_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.suite.distance import Distance
    from bench.verdict.difference_types import Difference, FirstDifference
    from bench.verdict.results import RunResults, Verdict

_MOST_OUTPUTS = 3
#: Characters of a value that are shown: values of a text dtype can be long.
_MOST_VALUE = 40


def compact(difference: Difference | None) -> Difference | None:
    """Return a difference whose first difference does not repeat the distance of an output."""
    first = difference.first_difference if difference else None
    if difference is None or first is None or first.distance != difference.outputs.get(first.tensor):
        return difference
    return dataclasses.replace(difference, first_difference=dataclasses.replace(first, distance=None))


def short(difference: Difference | None) -> str:
    """Return the measures of the output that is farthest apart: ``max diff 1.2e-07, V_c 0.43``; "" where unknown."""
    if difference is None:
        return ""
    text = farthest(difference.outputs)
    first = difference.first_difference
    return brief(first.distance) if not text and first and first.distance else text


def farthest(outputs: Mapping[str, Distance]) -> str:
    """Return the measures of the output that is farthest apart; "" without outputs."""
    ranked = _ranked(outputs)
    return brief(ranked[0][1]) if ranked else ""


def brief(distance: Distance) -> str:
    """Return the most telling measures in one line."""
    measures = [f"max diff {figure(distance.rel_max)}", f"V_c {figure(distance.v_c)}"]
    return ", ".join([*measures, *_changes(distance)])


def full(distance: Distance) -> str:
    """Return all measures in one line."""
    measures = [
        f"V_c {figure(distance.v_c)} ({distance.differing} of {count(distance.elements, 'element')})",
        f"V_ermv {figure(distance.v_ermv)}",
        f"greatest difference {figure(distance.rel_max)} of the greatest value",
        f"ULP median {figure(distance.ulp_median)}, p99 {figure(distance.ulp_p99)}",
    ]
    return "; ".join([*measures, *_changes(distance)])


def _changes(distance: Distance) -> list[str]:
    rows = (("NaN", distance.nan_changes), ("infinity", distance.inf_changes), ("sign", distance.sign_changes))
    return [count(number, f"{name} change") for name, number in rows if number]


def _ranked(outputs: Mapping[str, Distance]) -> list[tuple[str, Distance]]:
    """Return the outputs, the farthest apart first; a distance that is not finite is the farthest."""

    def size(item: tuple[str, Distance]) -> tuple[float, float, str]:
        return (-size_of(item[1]), -item[1].v_c, item[0])

    return sorted(outputs.items(), key=size)


def sentences(difference: Difference) -> tuple[str, ...]:
    """Say which samples were compared, over how many elements, and the measures of the farthest outputs."""
    kept = f"{difference.kept_elements} kept of {count(difference.elements, 'element')}"
    first, other = clean(difference.first), clean(difference.other)
    over = "all elements" if difference.whole else kept
    head = f"{first[:1].upper()}{first[1:]} compared with {other}, over {over}."
    ranked = _ranked(difference.outputs)
    rows = [f"Output {clean(name)}: {full(distance)}." for name, distance in ranked[:_MOST_OUTPUTS]]
    if len(ranked) > _MOST_OUTPUTS:
        rows.append(f"And {count(len(ranked) - _MOST_OUTPUTS, 'output')} more with smaller differences.")
    return (head, *rows)


def first_difference(first: FirstDifference) -> str:
    """Return ``First difference: gradient dense/kernel[3, 1] = 0.0123 vs 0.0124 (step 7).``."""
    where = f"First difference: {clean(first.tensor)}"
    step = f" (step {first.step})" if first.step is not None else ""
    if first.index is None:
        return f"{where}{step}{f', {clean(first.note)}' if first.note else ''}."
    text = f"{where}{element(first.index)} = {' vs '.join(values(first.first, first.other))}{step}."
    return f"{text} {clean(first.note)}" if first.note else text


def element(index: Sequence[int]) -> str:
    """Return the index of an element; "" for a scalar."""
    return f"[{', '.join(map(str, index))}]" if index else ""


def values(first: str, other: str) -> tuple[str, str]:
    """Return two values with the digits of a float32, or as they are where that does not tell them apart."""
    try:
        rounded = f"{float(first):.9g}", f"{float(other):.9g}"
    except ValueError:
        rounded = "", ""
    if rounded[0] != rounded[1]:
        return rounded
    texts = [clean(text) for text in (first, other)]
    cut = [text if len(text) <= _MOST_VALUE else f"{text[:_MOST_VALUE]}..." for text in texts]
    return cut[0], cut[1]


class Changes:
    """How far on is from off. Each pair of digests of a kernel is compared once, because the same pairs recur."""

    def __init__(self, results: RunResults) -> None:
        self._results = results
        self._known: dict[tuple[str, str, str], Difference | None] = {}

    def of(self, off: Verdict | None, on: Verdict | None) -> Change | None:
        """Return the change of one cell in one variation; None where there is none or no values were kept."""
        if off is None or on is None or not on.changed_value:
            return None
        key = (on.kernel, off.comparison.digests[0][0], on.comparison.digests[0][0])
        if key not in self._known:
            self._known[key] = compact(verdict_difference.between(self._results, off, on))
        difference = self._known[key]
        return Change(variation=clean(on.variation), difference=difference) if difference else None


def change_text(difference: Difference) -> str:
    """Say in one sentence how far on is from off."""
    kept = f", over {difference.kept_elements} kept of {count(difference.elements, 'element')}"
    ranked = _ranked(difference.outputs)
    rows = [f"output {clean(name)}: {brief(distance)}" for name, distance in ranked[:_MOST_OUTPUTS]]
    more = len(ranked) - _MOST_OUTPUTS
    rows += [f"{count(more, 'output')} more"] if more > 0 else []
    over = "" if difference.whole else kept
    return f"Determinism on gives other bits than off: {'; '.join(rows) or 'no output was kept'}{over}."
