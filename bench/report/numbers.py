"""The numbers behind the words, ready for JSON: unknown and infinite are null."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from bench.report.text import clean

if TYPE_CHECKING:
    from bench.store.run import CellInfo
    from bench.suite.distance import Distance
    from bench.verdict.difference import Difference, Parting
    from bench.verdict.judgement import Judgement, Verdict
    from bench.verdict.limitations import Limitation
    from bench.verdict.timing import Price, Timing


def finite(value: float | None) -> float | None:
    """The number, None where it is none that JSON knows."""
    return value if value is not None and math.isfinite(value) else None


def verdict(one: Verdict) -> dict[str, Any]:
    """Every number of a verdict."""
    found = one.comparison
    return {
        "condition": clean(one.condition),
        "status": one.status.value,
        "rung": one.rung.label if one.rung is not None else None,
        "passed": one.passed,
        "processes": found.processes,
        "repeats": found.repeats,
        "compared": found.compared,
        "differed": found.differed,
        "bound": round(found.bound, 6),
        "differ_within": found.unsteady,
        "digests": [{"digest": digest, "count": number} for digest, number in found.digests],
        "changed_value": one.changed_value,
        "nan": found.nan,
        "outcomes": dict(one.outcomes),
        "error_class": clean(one.error_class),
        "error_where": clean(next((said.where for said in one.witnesses if said.where), "")),
        "limitation": _limitation(one.limitation) if one.limitation else None,
        "difference": difference(one.difference) if one.difference else None,
        "difference_why": clean(one.difference_why),
        "errors": {
            clean(name): {key: finite(value) for key, value in measures.items()}
            for name, measures in one.errors.items()
        },
        "peak_mb": finite(one.peak_mb),
        "peak_gpu_mb": finite(one.peak_gpu_mb),
        "times_left_out": {**vars(one.spoil), "reasons": list(map(clean, one.spoil.reasons))} if one.spoil else None,
        "measured": one.measured,
        "taken_over": one.taken_over,
        "time": _time(one.timing) if one.timing else None,
    }


def _time(timing: Timing) -> dict[str, Any]:
    return {
        "kind": timing.kind.value,
        "median_s": timing.median_s,
        "low_s": timing.low_s,
        "high_s": timing.high_s,
        "cpu_median_s": finite(timing.cpu_median_s),
        "first_median_s": finite(timing.first_median_s),
        "per_process_s": list(timing.per_process),
    }


def _limitation(found: Limitation) -> dict[str, str]:
    return {
        key: clean(getattr(found, key), lines=True) for key in ("id", "title", "advice", "source", "why", "reproducer")
    }


def difference(found: Difference) -> dict[str, Any]:
    """How far two samples are apart, output by output, and where they first part."""
    return {
        "first": clean(found.first),
        "other": clean(found.other),
        "whole": found.whole,
        "kept_elements": found.kept_elements,
        "elements": found.elements,
        "outputs": {clean(name): _distance(one) for name, one in found.outputs.items()},
        "parting": _parting(found.parting) if found.parting else None,
    }


def _parting(found: Parting) -> dict[str, Any]:
    return {
        "step": found.step,
        "tensor": clean(found.tensor),
        "index": list(found.index) if found.index is not None else None,
        "first": clean(found.first),
        "other": clean(found.other),
        "distance": _distance(found.distance) if found.distance else None,
        "note": clean(found.note),
    }


def _distance(one: Distance) -> dict[str, Any]:
    return {key: finite(value) for key, value in vars(one).items()}


def price(found: Price) -> dict[str, Any]:
    """A ratio of times with its interval."""
    return {
        "ratio": found.ratio,
        "low": found.low,
        "high": found.high,
        "resolved": found.resolved,
        "why": found.why,
        "kind": found.kind.value,
        "processes_on": found.processes_on,
        "processes_off": found.processes_off,
    }


def column(cell: CellInfo) -> dict[str, Any]:
    """What a column is, in plain values."""
    keys = ("tensorflow", "cuda", "cudnn", "python", "keras", "device", "gpu", "kind", "advice")
    told = {key: clean(getattr(cell, key)) for key in keys}
    origin = {clean(key): clean(str(value)) for key, value in cell.origin.items()}
    return {**told, "locked": bool(cell.lock_hash), "origin": origin}


def sights(judgement: Judgement) -> list[dict[str, Any]]:
    """What the controls showed in every cell, condition and mode that has records."""
    return [
        {
            "cell": clean(cell),
            "condition": clean(condition),
            "mode": mode,
            "blind": clean(sight.blind),
            "sensitivity": sight.sensitivity,
            "controls": [
                {"control": clean(name), **vars(one), "why": clean(one.why)} for name, one in sight.checks.items()
            ],
        }
        for (cell, condition, mode), sight in judgement.sights.items()
        if judgement.groups.get((cell, condition, mode))
    ]


def accuracies(judgement: Judgement) -> list[dict[str, Any]]:
    """The errors against float64 of both modes, where both are known."""
    return [
        {
            "cell": clean(cell.id),
            "kernel": clean(kernel.name),
            "condition": clean(condition),
            "off": finite(found.off),
            "on": finite(found.on),
            "on_is": found.word,
        }
        for kernel in judgement.info.kernels
        for cell in judgement.info.cells
        for condition in judgement.conditions
        for found in [judgement.accuracy(cell.id, kernel.name, condition)]
        if found is not None
    ]


def gpu_controls(judgement: Judgement) -> dict[str, dict[str, bool | None]]:
    """Of each GPU column, whether the kernels known to vary there were seen to (null: not measured)."""
    found = {cell.id: judgement.gpu_controls(cell.id).seen for cell in judgement.info.cells}
    return {clean(cell): {clean(name): seen for name, seen in one.items()} for cell, one in found.items() if one}
