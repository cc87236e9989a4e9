"""The numbers behind the words, ready for JSON: unknown and infinite are null."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, cast

from bench.report.formatting import clean
from bench.report.json import document

if TYPE_CHECKING:
    from bench.suite.distance import Distance
    from bench.verdict.difference_types import Difference, FirstDifference
    from bench.verdict.known_issues import KnownIssue
    from bench.verdict.results import RunResults, Verdict
    from bench.verdict.timing import Overhead, Timing

_Word = Literal["more", "less", "same"]


def finite(value: float | None) -> float | None:
    """The number, None where it is none that JSON knows."""
    return value if value is not None and math.isfinite(value) else None


def told(text: str) -> str | None:
    """Text made harmless, None where there is none."""
    return clean(text) or None


def verdict(one: Verdict) -> document.Verdict:
    """Every number of a verdict."""
    found = one.comparison
    return document.Verdict(
        variation=clean(one.variation),
        status=one.status,
        level=one.level.label if one.level is not None else None,
        passed=one.passed,
        processes=found.processes,
        repetitions=found.repetitions,
        compared=found.compared,
        differed=found.differed,
        bound=round(found.bound, 6) if found.compared else None,
        differ_within=found.unsteady,
        digests=tuple(document.Digest(digest=clean(digest), count=number) for digest, number in found.digests),
        changed_value=one.changed_value,
        nan=found.nan,
        outcomes={clean(name): number for name, number in one.outcomes},
        error_class=told(one.error_class),
        error_where=told(next((said.where for said in one.observations if said.where), "")),
        known_issue=_known_issue(one.known_issue) if one.known_issue else None,
        difference=difference(one.difference) if one.difference else None,
        difference_why=told(one.difference_why),
        errors={
            clean(name): {clean(key): finite(value) for key, value in measures.items()}
            for name, measures in one.errors.items()
        },
        peak_mb=finite(one.peak_mb),
        peak_gpu_mb=finite(one.peak_gpu_mb),
        times_left_out=_left_out(one),
        measured=one.measured,
        reused=one.reused,
        time=_time(one.timing) if one.timing else None,
    )


def _left_out(one: Verdict) -> document.LeftOut | None:
    discarded = one.discarded
    if discarded is None:
        return None
    reasons = tuple(map(clean, discarded.reasons))
    return document.LeftOut(word=discarded.word, reasons=reasons, left_out=discarded.left_out, timed=discarded.timed)


def _time(timing: Timing) -> document.Time:
    return document.Time(
        kind=timing.kind.value,
        median_s=finite(timing.median_s),
        low_s=finite(timing.low_s),
        high_s=finite(timing.high_s),
        cpu_median_s=finite(timing.cpu_median_s),
        first_median_s=finite(timing.first_median_s),
        per_process_s=tuple(map(finite, timing.per_process)),
    )


def _known_issue(found: KnownIssue) -> document.KnownIssue:
    return document.KnownIssue(
        id=clean(found.id),
        title=clean(found.title),
        advice=clean(found.advice, lines=True),
        source=clean(found.source),
        why=clean(found.why, lines=True) or None,
        reproducer=clean(found.reproducer, lines=True) or None,
    )


def difference(found: Difference) -> document.Difference:
    """How far two samples are apart, output by output, and where they first part."""
    return document.Difference(
        first=clean(found.first),
        other=clean(found.other),
        whole=found.whole,
        kept_elements=found.kept_elements,
        elements=found.elements,
        outputs={clean(name): _distance(one) for name, one in found.outputs.items()},
        parting=_parting(found.first_difference) if found.first_difference else None,
    )


def _parting(found: FirstDifference) -> document.FirstDifference:
    return document.FirstDifference(
        step=found.step,
        tensor=clean(found.tensor),
        index=found.index,
        first=told(found.first),
        other=told(found.other),
        distance=_distance(found.distance) if found.distance else None,
        note=told(found.note),
    )


def _distance(one: Distance) -> document.Distance:
    return document.Distance(
        elements=one.elements,
        differing=one.differing,
        v_c=finite(one.v_c),
        v_ermv=finite(one.v_ermv),
        rel_max=finite(one.rel_max),
        ulp_median=finite(one.ulp_median),
        ulp_p99=finite(one.ulp_p99),
        nan_changes=one.nan_changes,
        inf_changes=one.inf_changes,
        sign_changes=one.sign_changes,
    )


def overhead(found: Overhead) -> document.Overhead:
    """A ratio of times with its interval."""
    return document.Overhead(
        ratio=finite(found.ratio),
        low=finite(found.low),
        high=finite(found.high),
        resolved=found.significant,
        why=told(found.why),
        kind=found.kind.value,
        processes_on=found.processes_on,
        processes_off=found.processes_off,
    )


def control_summaries(results: RunResults) -> tuple[document.Place, ...]:
    """What the controls showed in every column, variation and mode that has records."""
    return tuple(
        document.Place(
            column=clean(column),
            variation=clean(variation),
            mode=mode,
            control_failed=told(control_summary.control_failed),
            sensitivity=control_summary.detection_limit,
            controls=tuple(
                document.Control(
                    control=clean(name),
                    passed=one.passed,
                    why=clean(one.why),
                    rate=one.rate,
                    reach=one.reach,
                    seen=one.seen,
                    samples=one.samples,
                )
                for name, one in control_summary.checks.items()
            ),
        )
        for (column, variation, mode), control_summary in results.control_summaries.items()
        if results.groups.get((column, variation, mode))
    )


def accuracies(results: RunResults) -> tuple[document.Accuracy, ...]:
    """The errors against float64 of both modes, where both are known."""
    return tuple(
        document.Accuracy(
            column=clean(column.id),
            kernel=clean(kernel.name),
            variation=clean(variation),
            off=finite(found.off),
            on=finite(found.on),
            on_is=cast("_Word", found.word),
        )
        for kernel in results.info.kernels
        for column in results.info.columns
        for variation in results.variations
        for found in [results.accuracy(column.id, kernel.name, variation)]
        if found is not None
    )


def gpu_controls(results: RunResults) -> dict[str, dict[str, bool | None]]:
    """Of each GPU column, whether the kernels known to vary there were seen to (null: not measured)."""
    found = {column.id: results.gpu_controls(column.id).seen for column in results.info.columns}
    return {clean(column): {clean(name): seen for name, seen in one.items()} for column, one in found.items() if one}
