"""What is added to verdicts once they stand: measures, letters, changed values, known_issues, overheads."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.verdict import difference, digest_groups, known_issues
from bench.verdict.results import overhead_of
from bench.verdict.status import COMPARABLE, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.store.run import Run
    from bench.store.run_info import ColumnInfo, RunInfo
    from bench.verdict.results import Verdict
    from bench.verdict.timing import Overhead

#: Statuses under which nothing that was seen may be shown: another thing was measured, or by closed eyes.
_NOT_SHOWN = frozenset({Status.CONTROL_FAILED, Status.GPU_NOT_VISIBLE})


def measures(run: Run, column: ColumnInfo, verdict: Verdict) -> Verdict:
    """Add how far samples are apart, their errors, memory, and the known issue behind what happened."""
    if not verdict.observations or verdict.invalid:
        return verdict
    apart, why = None, ""
    if verdict.comparison.varies and not verdict.control and verdict.status not in _NOT_SHOWN:
        apart, why = difference.of_verdict(run.kept, verdict.kernel, verdict.observations, verdict.comparison.digests)
    return dataclasses.replace(
        verdict,
        difference=apart,
        difference_why=why,
        errors=_errors(verdict),
        known_issue=_known_issue(column, verdict),
        explained=_explained(column, verdict),
        peak_mb=max((one.peak_mb for one in verdict.observations if one.peak_mb is not None), default=None),
        peak_gpu_mb=max((one.peak_gpu_mb for one in verdict.observations if one.peak_gpu_mb is not None), default=None),
    )


def _errors(verdict: Verdict) -> Mapping[str, Mapping[str, float]]:
    """The errors of the most frequent digest that has any: they are computed in one round only."""
    known: dict[str, Mapping[str, Mapping[str, float]]] = {}
    for observation in verdict.observations:
        for sample in (*observation.repetitions, *observation.timings):
            if sample.errors and sample.digest not in known and _sound(sample.errors):
                known[sample.digest] = sample.errors
    return next((known[digest] for digest, _ in verdict.comparison.digests if digest in known), {})


def _sound(errors: Any) -> bool:
    """Whether a record's errors are numbers: what a damaged one has in their place is not shown."""
    return isinstance(errors, Mapping) and all(
        isinstance(one, Mapping)
        and {"max", "rms"} <= one.keys()
        and all(isinstance(value, int | float) and math.isfinite(value) for value in one.values())
        for one in errors.values()
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
    """Whether what varies is what is known of it; an error, a crash or NaN on top of it is something else."""
    found = verdict.comparison
    if verdict.status not in {Status.NONDETERMINISTIC, Status.REPRODUCIBLE_IN_PROCESS} or found.nan or found.inf:
        return False
    place = (verdict.kernel, verdict.variation, verdict.mode, column.tensorflow, column.device)
    return known_issues.of_kernel(*place) is not None


def with_classes(info: RunInfo, verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Give each single digest the letter of its class: per kernel and work, over all columns, variations and modes."""
    other = _other_work(info, verdicts)
    single: dict[str, dict[int, tuple[bool, str]]] = {}
    for number, verdict in enumerate(verdicts):
        if _one_digest(verdict):
            name = ((verdict.column, verdict.kernel) in other, verdict.comparison.digests[0][0])
            single.setdefault(verdict.kernel, {})[number] = name
    letters = {
        number: known[name]
        for named in single.values()
        for known in [digest_groups.letters(named.values())]
        for number, name in named.items()
    }
    return [
        dataclasses.replace(verdict, digest_class=letters[number]) if number in letters else verdict
        for number, verdict in enumerate(verdicts)
    ]


def _other_work(info: RunInfo, verdicts: Sequence[Verdict]) -> frozenset[tuple[str, str]]:
    """The (column, kernel) of GPU columns in which a kernel does other work than on a CPU: its bits are not compared.

    A kernel that is larger on a GPU says so in the shapes it declares. One of the user's own may not: it is known by
    outputs of shapes that it has on no CPU.
    """
    declared = {kernel.name for kernel in info.kernels if "GPU" in kernel.shapes}
    on_gpu = {column.id for column in info.columns if column.device != "cpu"}
    shapes: dict[str, set[str]] = {}
    for verdict in verdicts if on_gpu else ():
        if verdict.column not in on_gpu and _one_digest(verdict):
            shapes.setdefault(verdict.kernel, set()).add(_shapes(verdict))
    return frozenset(
        (verdict.column, verdict.kernel)
        for verdict in verdicts
        if verdict.column in on_gpu and _one_digest(verdict)
        if verdict.kernel in declared or _shapes(verdict) not in shapes.get(verdict.kernel, {_shapes(verdict)})
    )


def _shapes(verdict: Verdict) -> str:
    """The shapes of the outputs of the first sample that describes them."""
    samples = (sample for one in verdict.observations for sample in (*one.repetitions, *one.timings))
    outputs = next((sample.outputs for sample in samples if sample.outputs), {})
    return str(sorted(str(facts.get("shape")) for facts in outputs.values()))


def _one_digest(verdict: Verdict) -> bool:
    return verdict.status in COMPARABLE and len(verdict.comparison.digests) == 1


def with_changed_value(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Say of each verdict with determinism on whether its bits are those with it off."""
    letters = {verdict.key: verdict.digest_class for verdict in verdicts}

    def changed(verdict: Verdict) -> bool | None:
        off = letters.get((verdict.column, verdict.kernel, verdict.variation, "off"), "")
        return verdict.digest_class != off if verdict.mode == "on" and off and verdict.digest_class else None

    return [dataclasses.replace(verdict, changed_value=changed(verdict)) for verdict in verdicts]


def overheads(verdicts: Sequence[Verdict]) -> dict[tuple[str, str, str], Overhead]:
    """Overheads by (column, kernel, variation) of what ran to its end in both modes; a time that ends in a crash is none."""
    known = {verdict.key: verdict for verdict in verdicts}
    found: dict[tuple[str, str, str], Overhead] = {}
    for (column, kernel, variation, mode), on in known.items():
        off = known.get((column, kernel, variation, "off"))
        if mode != "on" or off is None or on.control:
            continue
        paid = overhead_of(on, off)
        if paid is not None:
            found[column, kernel, variation] = paid
    return found
