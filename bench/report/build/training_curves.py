"""Build the curves of trainings that did not give the same bits everywhere: a scalar of each step, as the loss."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from bench.report.build.columns import labels
from bench.report.formatting import clean, listed
from bench.report.view.charts import Curve, TrainingCurves
from bench.suite.distance import numbers
from bench.verdict.tensor_diff import DAMAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.suite.kept_values import KeptTensor
    from bench.verdict.results import RunResults

#: Digests that a chart shows, and results that the name of one lists.
_MOST_CURVES, _MOST_NAMES = 4, 3
#: A curve has at least two steps, and a difference needs two curves.
_TWO = 2
#: What no loss reaches, and no axis has to.
_INFINITE = 1e150


def training_curves(results: RunResults, kernel: str) -> TrainingCurves | None:
    """Return the curves of a kernel's digests under the variation that decides; None if fewer than two are known."""
    found: list[tuple[str, dict[str, dict[int, float]]]] = []
    digests = _digests(results, kernel)
    for digest, places in digests.items():
        scalars = _scalars(results.kept.tensors(kernel, digest)) if _has_steps(results, kernel, digest) else {}
        if scalars:
            found.append((listed(places, _MOST_NAMES), scalars))
    if len(found) < _TWO:
        return None
    tensor = next((name for name in found[0][1] if all(name in scalars for _, scalars in found)), None)
    if tensor is None:
        return None
    known = [set(scalars[tensor]) for _, scalars in found]
    steps = sorted(set.intersection(*known))
    if len(steps) < _TWO:
        return None
    curves: list[Curve] = []
    for label, scalars in found:
        same = sum(label == other for other, _ in found[: len(curves)])
        values = tuple(scalars[tensor][step] for step in steps)
        curves.append(Curve(label=f"{label} ({same + 1})" if same else label, values=values))
    if all(curve.values == curves[0].values for curve in curves):
        return None  # only other tensors differ
    return TrainingCurves(
        tensor=clean(tensor),
        steps=tuple(steps),
        curves=tuple(curves[:_MOST_CURVES]),
        more=len(digests) - min(len(curves), _MOST_CURVES),
        left_out=len(set.union(*known)) - len(steps),
    )


def _digests(results: RunResults, kernel: str) -> dict[str, list[str]]:
    """Return the digests of a kernel with the columns that have them, each with its mode if only one mode has it."""
    places: dict[str, dict[str, list[str]]] = {}
    for column, name in zip(results.info.columns, labels(results), strict=True):
        for mode in ("off", "on"):
            verdict = results.of(column.id, kernel, results.variations[0], mode)
            for digest, _ in verdict.comparison.digests if verdict and not verdict.invalid else ():
                places.setdefault(digest, {}).setdefault(name, []).append(mode)
    return {
        digest: [name if len(modes) > 1 else f"{name} {modes[0]}" for name, modes in by_name.items()]
        for digest, by_name in places.items()
    }


def _has_steps(results: RunResults, kernel: str, digest: str) -> bool:
    """Return whether steps were kept of a digest, without decoding its values; steps come before outputs."""
    rows = results.kept.rows.get((kernel, digest), ())
    return bool(rows) and isinstance(rows[0], Mapping) and rows[0].get("step") is not None


def _scalars(tensors: Sequence[KeptTensor]) -> dict[str, dict[int, float]]:
    """Return the floating-point scalars of the steps: name -> step -> value. What cannot be drawn is left out."""
    found: dict[str, dict[int, float]] = {}
    for tensor in tensors:
        if tensor.step is not None and tensor.size == 1 and "float" in tensor.dtype:
            with suppress(*DAMAGE):
                value = float(numbers(tensor.dtype, tensor.raw)[0][0])
                if abs(value) < _INFINITE:  # which NaN is not either
                    found.setdefault(tensor.name, {})[tensor.step] = value
    return found
