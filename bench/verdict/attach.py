"""What is added to verdicts once they stand: measures, letters, changed values, limitations, prices."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.verdict import classes, difference, limitations
from bench.verdict.judgement import price_of
from bench.verdict.status import COMPARABLE, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.store.run import CellInfo, Run
    from bench.verdict.judgement import Verdict
    from bench.verdict.timing import Price

#: Statuses under which nothing that was seen may be shown: another thing was measured, or by closed eyes.
_NOT_SHOWN = frozenset({Status.BLIND, Status.NO_GPU})


def measures(run: Run, cell: CellInfo, verdict: Verdict) -> Verdict:
    """Add how far samples are apart, their errors, memory, and the known limitation behind what happened."""
    if not verdict.witnesses:
        return verdict
    apart, why = None, ""
    if verdict.comparison.varies and not verdict.control and verdict.status not in _NOT_SHOWN:
        apart, why = difference.of_verdict(run.kept, verdict.kernel, verdict.witnesses, verdict.comparison.digests)
    peaks = [one.peak_mb for one in verdict.witnesses if one.peak_mb is not None]
    return dataclasses.replace(
        verdict,
        difference=apart,
        difference_why=why,
        errors=_errors(verdict),
        limitation=_limitation(cell, verdict),
        explained=_explained(cell, verdict),
        peak_mb=max(peaks, default=None),
    )


def _errors(verdict: Verdict) -> Mapping[str, Mapping[str, float]]:
    """The errors of the most frequent digest that has any: they are computed in one round only."""
    known: dict[str, Mapping[str, Mapping[str, float]]] = {}
    for witness in verdict.witnesses:
        for sample in (*witness.repeats, *witness.timings):
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


def _limitation(cell: CellInfo, verdict: Verdict) -> limitations.Limitation | None:
    if verdict.error_class:
        return limitations.match(verdict.error_class, verdict.error_message, cell.tensorflow, cell.device, verdict.mode)
    if verdict.status in {Status.VARIES, Status.EXACT_IN_PROCESS}:
        return limitations.of_kernel(verdict.kernel, verdict.condition, verdict.mode, cell.tensorflow, cell.device)
    return None


def _explained(cell: CellInfo, verdict: Verdict) -> bool:
    """Whether what varies is what is known of it; an error, a crash or NaN on top of it is something else."""
    found = verdict.comparison
    if verdict.status not in {Status.VARIES, Status.EXACT_IN_PROCESS} or found.nan or found.inf:
        return False
    place = (verdict.kernel, verdict.condition, verdict.mode, cell.tensorflow, cell.device)
    return limitations.of_kernel(*place) is not None


def with_classes(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Give each single digest the letter of its class: per kernel, over all columns, conditions and modes."""
    single: dict[str, list[str]] = {}
    for verdict in verdicts:
        if _one_digest(verdict):
            single.setdefault(verdict.kernel, []).append(verdict.comparison.digests[0][0])
    letters = {kernel: classes.letters(digests) for kernel, digests in single.items()}
    return [
        dataclasses.replace(verdict, digest_class=letters[verdict.kernel][verdict.comparison.digests[0][0]])
        if _one_digest(verdict)
        else verdict
        for verdict in verdicts
    ]


def _one_digest(verdict: Verdict) -> bool:
    return verdict.status in COMPARABLE and len(verdict.comparison.digests) == 1


def with_changed_value(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Say of each verdict with determinism on whether its bits are those with it off."""
    letters = {verdict.key: verdict.digest_class for verdict in verdicts}

    def changed(verdict: Verdict) -> bool | None:
        off = letters.get((verdict.cell, verdict.kernel, verdict.condition, "off"), "")
        return verdict.digest_class != off if verdict.mode == "on" and off and verdict.digest_class else None

    return [dataclasses.replace(verdict, changed_value=changed(verdict)) for verdict in verdicts]


def prices(verdicts: Sequence[Verdict]) -> dict[tuple[str, str, str], Price]:
    """Prices by (cell, kernel, condition) of what ran to its end in both modes; a time that ends in a crash is none."""
    known = {verdict.key: verdict for verdict in verdicts}
    found: dict[tuple[str, str, str], Price] = {}
    for (cell, kernel, condition, mode), on in known.items():
        off = known.get((cell, kernel, condition, "off"))
        if mode != "on" or off is None or on.control:
            continue
        paid = price_of(on, off)
        if paid is not None:
            found[cell, kernel, condition] = paid
    return found
