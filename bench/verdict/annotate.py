"""What is added to verdicts after their status is decided: measures, digest groups, known issues, overheads."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.verdict import difference, digest_groups, known_issues
from bench.verdict.comparability import shapes
from bench.verdict.status import COMPARABLE, Status
from bench.verdict.timing import first_calls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.store.run import Run
    from bench.store.run_info import ColumnInfo, RunInfo
    from bench.verdict.paired_times import PairedTimes
    from bench.verdict.ratio import TimeRatio
    from bench.verdict.results import Verdict

#: Statuses under which no observed difference is shown: something else was measured, or the controls failed.
_NOT_SHOWN = frozenset({Status.CONTROL_FAILED, Status.GPU_NOT_VISIBLE})


def measures(run: Run, column: ColumnInfo, verdict: Verdict, times: PairedTimes) -> Verdict:
    """Add how far samples are apart, their errors, times, memory, and the known issue behind what happened."""
    if not verdict.observations or verdict.invalid:
        return verdict
    apart, why = None, ""
    if verdict.comparison.varies and not verdict.control and verdict.status not in _NOT_SHOWN:
        apart, why = difference.of_verdict(run.kept, verdict.kernel, verdict.observations, verdict.comparison.digests)
    place = (verdict.column, verdict.kernel, verdict.variation, verdict.mode)
    timing, discarded = times.timing(*place), times.discarded(*place)
    if timing is None and discarded is None:
        timing = first_calls(verdict.observations)
    memory = [observation.peak_mb for observation in verdict.observations if observation.peak_mb is not None]
    gpu_memory = [seen.peak_gpu_mb for seen in verdict.observations if seen.peak_gpu_mb is not None]
    return dataclasses.replace(
        verdict,
        difference=apart,
        difference_why=why,
        errors=_errors(verdict),
        known_issue=_known_issue(column, verdict),
        explained=_explained(column, verdict),
        timing=timing,
        discarded=discarded,
        peak_mb=max(memory, default=None),
        peak_gpu_mb=max(gpu_memory, default=None),
    )


def _errors(verdict: Verdict) -> Mapping[str, Mapping[str, float]]:
    """Return the errors of the most frequent digest that has any: they are computed in only one round."""
    errors: dict[str, Mapping[str, Mapping[str, float]]] = {}
    for observation in verdict.observations:
        for sample in observation.own:
            if sample.errors and sample.digest not in errors and _valid(sample.errors):
                errors[sample.digest] = sample.errors
    return next((errors[digest] for digest, _ in verdict.comparison.digests if digest in errors), {})


def _valid(errors: Any) -> bool:
    """Whether a record's errors are numbers: what a damaged record has instead is not shown."""
    return isinstance(errors, Mapping) and all(
        isinstance(output, Mapping)
        and {"max", "rms"} <= output.keys()
        and all(isinstance(value, int | float) and math.isfinite(value) for value in output.values())
        for output in errors.values()
    )


def _known_issue(column: ColumnInfo, verdict: Verdict) -> known_issues.KnownIssue | None:
    if verdict.error_class:
        return known_issues.match(
            verdict.error_class, verdict.error_message, column.tensorflow, column.device, verdict.mode
        )
    if verdict.status in {Status.NONDETERMINISTIC, Status.REPRODUCIBLE_IN_PROCESS}:
        return known_issues.of_kernel(verdict.kernel, verdict.variation, verdict.mode, column.tensorflow, column.device)
    return None


def _explained(column: ColumnInfo, verdict: Verdict) -> bool:
    """Whether a known issue explains all differences; an error, a crash or NaN on top of them is something else."""
    comparison = verdict.comparison
    if verdict.status not in {Status.NONDETERMINISTIC, Status.REPRODUCIBLE_IN_PROCESS}:
        return False
    if comparison.nan or comparison.inf:
        return False
    place = (verdict.kernel, verdict.variation, verdict.mode, column.tensorflow, column.device)
    return known_issues.of_kernel(*place) is not None


def with_digest_groups(info: RunInfo, verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Give each verdict with one digest the letter of its digest group, and say whether determinism changed its bits.

    Letters are assigned per kernel and workload, over all columns, variations and modes.
    """
    other = _other_workloads(info, verdicts)
    digests: dict[str, dict[int, tuple[bool, str]]] = {}
    for number, verdict in enumerate(verdicts):
        if _has_one_digest(verdict):
            name = ((verdict.column, verdict.kernel) in other, verdict.comparison.digests[0][0])
            digests.setdefault(verdict.kernel, {})[number] = name
    letters = {
        number: by_digest[name]
        for of_kernel in digests.values()
        for by_digest in [digest_groups.letters(of_kernel.values())]
        for number, name in of_kernel.items()
    }
    by_key = {verdicts[number].key: letter for number, letter in letters.items()}

    def changed(verdict: Verdict, letter: str) -> bool | None:
        off = by_key.get((verdict.column, verdict.kernel, verdict.variation, "off"))
        return letter != off if verdict.mode == "on" and off else None

    return [
        dataclasses.replace(verdict, digest_class=letters[number], changed_value=changed(verdict, letters[number]))
        if number in letters
        else verdict
        for number, verdict in enumerate(verdicts)
    ]


def _other_workloads(info: RunInfo, verdicts: Sequence[Verdict]) -> frozenset[tuple[str, str]]:
    """Return the (column, kernel) of GPU columns in which a kernel has another workload than on a CPU.

    Their bits are not compared. A kernel that is larger on a GPU says so in the shapes it declares. A custom kernel may
    not: it is recognized by outputs of shapes that it has on no CPU.
    """
    declared = {kernel.name for kernel in info.kernels if "GPU" in kernel.shapes}
    on_gpu = {column.id for column in info.columns if column.device != "cpu"}
    known: dict[str, set[tuple[str, ...]]] = {}
    for verdict in verdicts if on_gpu else ():
        if verdict.column not in on_gpu and _has_one_digest(verdict):
            known.setdefault(verdict.kernel, set()).add(shapes(verdict))
    return frozenset(
        (verdict.column, verdict.kernel)
        for verdict in verdicts
        if verdict.column in on_gpu and _has_one_digest(verdict)
        if verdict.kernel in declared or shapes(verdict) not in known.get(verdict.kernel, {shapes(verdict)})
    )


def _has_one_digest(verdict: Verdict) -> bool:
    return verdict.status in COMPARABLE and len(verdict.comparison.digests) == 1


def overheads(verdicts: Sequence[Verdict], times: PairedTimes) -> dict[tuple[str, str, str], TimeRatio]:
    """Return the overheads by (column, kernel, variation) of kernels that ran to their end in both modes."""
    complete = {verdict.key for verdict in verdicts if verdict.complete and not verdict.control}
    places = [key[:3] for key in complete if key[3] == "on" and (*key[:3], "off") in complete]
    return {place: found for place in sorted(places) if (found := times.overhead(*place)) is not None}
