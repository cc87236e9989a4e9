"""How far samples are apart, in words: one short line for the matrix, sentences for the evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report.formatting import clean, figure
from bench.report.view import Change
from bench.verdict import difference as measured
from bench.verdict.messages import count
from bench.verdict.tensor_diff import size_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.suite.distance import Distance
    from bench.verdict.difference_types import Difference, FirstDifference
    from bench.verdict.results import RunResults, Verdict

_MOST_OUTPUTS = 3
#: What a value is shown as at most: text and other dtypes may be long.
_MOST_VALUE = 40


def short(found: Difference | None) -> str:
    """The output that is farthest apart in a few words: ``max diff 1.2e-07, V_c 0.43``; "" where unknown."""
    told = farthest(found.outputs) if found else ""
    return (
        brief(found.first_difference.distance)
        if found and not told and found.first_difference and found.first_difference.distance
        else told
    )


def farthest(outputs: Mapping[str, Distance]) -> str:
    """The same of outputs alone."""
    ranked = _ranked(outputs)
    return brief(ranked[0][1]) if ranked else ""


def brief(one: Distance) -> str:
    """The measures that tell most, in one line."""
    told = [f"max diff {figure(one.rel_max)}", f"V_c {figure(one.v_c)}"]
    return ", ".join([*told, *_changes(one)])


def full(one: Distance) -> str:
    """All measures in one line."""
    told = [
        f"V_c {figure(one.v_c)} ({one.differing} of {count(one.elements, 'element')})",
        f"V_ermv {figure(one.v_ermv)}",
        f"greatest difference {figure(one.rel_max)} of the greatest value",
        f"ULP median {figure(one.ulp_median)}, p99 {figure(one.ulp_p99)}",
    ]
    return "; ".join([*told, *_changes(one)])


def _changes(one: Distance) -> list[str]:
    rows = (("NaN", one.nan_changes), ("infinity", one.inf_changes), ("sign", one.sign_changes))
    return [count(number, f"{name} change") for name, number in rows if number]


def _ranked(outputs: Mapping[str, Distance]) -> list[tuple[str, Distance]]:
    """Outputs, the farthest apart first; a distance that is not finite is the farthest."""

    def size(item: tuple[str, Distance]) -> tuple[float, float, str]:
        return (-size_of(item[1]), -item[1].v_c, item[0])

    return sorted(outputs.items(), key=size)


def sentences(found: Difference) -> tuple[str, ...]:
    """Which samples, over how many elements, and the measures of the outputs that are farthest apart."""
    elements = "all elements" if found.whole else f"{found.kept_elements} kept of {count(found.elements, 'element')}"
    first, other = clean(found.first), clean(found.other)
    head = f"{first[:1].upper()}{first[1:]} against {other}, over {elements}."
    ranked = _ranked(found.outputs)
    rows = [f"Output {clean(name)}: {full(one)}." for name, one in ranked[:_MOST_OUTPUTS]]
    if len(ranked) > _MOST_OUTPUTS:
        rows.append(f"And {count(len(ranked) - _MOST_OUTPUTS, 'output')} more that are less far apart.")
    return (head, *rows)


def first_difference(found: FirstDifference) -> str:
    """``Parted at step 7 in gradient dense/kernel, element [3, 1]: 0.0123 and 0.0124.``: the first divergence."""
    place = f"at step {found.step} in" if found.step is not None else "in output"
    where = f"Parted {place} {clean(found.tensor)}"
    if found.index is None:
        return f"{where}, {clean(found.note)}." if found.note else f"{where}."
    told = f"{where}, element {element(found.index)}: {' and '.join(values(found.first, found.other))}"
    return f"{told}. {clean(found.note)}".strip() if found.note else f"{told}."


def element(index: Sequence[int]) -> str:
    """The place of an element; a scalar has only one."""
    return f"[{', '.join(map(str, index))}]" if index else "[] (a scalar)"


def values(first: str, other: str) -> tuple[str, str]:
    """Two values, with no more digits than a float32 has where that tells them apart."""
    try:
        brief_values = f"{float(first):.9g}", f"{float(other):.9g}"
    except ValueError:
        brief_values = "", ""
    if brief_values[0] != brief_values[1]:
        return brief_values
    shown = [clean(text) for text in (first, other)]
    cut = [text if len(text) <= _MOST_VALUE else f"{text[:_MOST_VALUE]}..." for text in shown]
    return cut[0], cut[1]


class Changes:
    """How far on is from off, each pair of digests of a kernel compared once, for they come again and again."""

    def __init__(self, results: RunResults) -> None:
        self._results = results
        self._known: dict[tuple[str, str, str], Difference | None] = {}

    def of(self, off: Verdict | None, on: Verdict | None) -> Change | None:
        """The change of one kernel in one column and variation; None where there is none or no values were kept."""
        if off is None or on is None or not on.changed_value:
            return None
        key = (on.kernel, off.comparison.digests[0][0], on.comparison.digests[0][0])
        if key not in self._known:
            self._known[key] = measured.between(self._results, off, on)
        found = self._known[key]
        return Change(variation=on.variation, difference=found) if found else None


def change_text(found: Difference) -> str:
    """How far on is from off, in one sentence."""
    over = "" if found.whole else f", over {found.kept_elements} kept of {count(found.elements, 'element')}"
    rows = [f"output {clean(name)}: {brief(one)}" for name, one in _ranked(found.outputs)[:_MOST_OUTPUTS]]
    more = len(found.outputs) - _MOST_OUTPUTS
    rows += [f"{count(more, 'output')} more"] if more > 0 else []
    return f"Bits on are other than off: {'; '.join(rows) or 'no output was kept'}{over}."
