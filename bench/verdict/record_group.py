"""Scenes: one column, variation and mode each, with all that its verdicts share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.verdict import controls, observations, validity
from bench.verdict.digest_comparison import compare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.store.run import Run
    from bench.store.run_info import ColumnInfo, RunInfo
    from bench.verdict.digest_comparison import Comparison
    from bench.verdict.observations import Kept, ProcessObservation


@dataclass(frozen=True, kw_only=True)
class RecordGroup:
    """One column, variation and mode.

    ``outdated`` counts records of another suite, and ``unreadable`` says why others could not be read.
    ``sensitive`` has the kernels that were seen to feel their seed anywhere in the column: second_seeds are asked
    for in one round of each variation and mode only.
    """

    info: RunInfo
    column: ColumnInfo
    variation: str
    mode: str
    group: tuple[Kept, ...]
    stale: int
    unreadable: tuple[str, ...]
    invalid_measurement: validity.InvalidMeasurement | None
    unshown: tuple[str, ...]
    observations: Mapping[str, tuple[ProcessObservation, ...]]
    comparisons: Mapping[str, Comparison]
    control_summary: controls.ControlSummary
    sensitive: frozenset[str]
    control_failed_elsewhere: str = ""


def record_groups(run: Run, column: ColumnInfo, found: observations.Sorted) -> list[RecordGroup]:
    """The record_groups of a column, in the order of its variations and modes."""
    info = run.info
    names = [kernel.name for kernel in info.kernels]
    keys = [(column.id, variation, mode) for variation in observations.variations(info) for mode in ("off", "on")]
    spoken = {key: observations.hear(found.groups.get(key, ()), names) for key in keys}
    compared = {key: {name: compare(said) for name, said in heard.items()} for key, heard in spoken.items()}
    sides = {key: {mode: found.groups.get((*key[:2], mode), ()) for mode in ("off", "on")} for key in keys}
    mixed = validity.mixed(column, [kept for key in keys for kept in found.groups.get(key, ())])
    invalid_measurements = {
        key: validity.invalid_measurement(info, column, sides[key], key[2]) or mixed
        for key in keys
        if found.groups.get(key)
    }
    # what ran something else proves nothing of this kernel either
    sensitive = frozenset(
        name
        for key, seen in compared.items()
        if not invalid_measurements.get(key)
        for name, one in seen.items()
        if one.sensitive
    )
    staged = []
    for key in keys:
        _, variation, mode = key
        if mode not in observations.modes(info, variation):
            continue
        prefix = f"records/{column.id}/{variation}/{mode}-"
        staged.append(
            RecordGroup(
                info=info,
                column=column,
                variation=variation,
                mode=mode,
                group=sides[key][mode],
                stale=found.stale.get(key, 0),
                unreadable=tuple(
                    why
                    for path, why in sorted(run.unreadable.items())
                    if path.startswith(prefix) or prefix.startswith(f"{path}/")  # a record, or a folder of them
                ),
                invalid_measurement=invalid_measurements.get(key),
                unshown=validity.unshown(info, column, sides[key][mode]),
                observations=spoken[key],
                comparisons=compared[key],
                control_summary=controls.sight(info.kernels, spoken[key], compared[key]),
                sensitive=sensitive,
            )
        )
    return [dataclasses.replace(group, control_failed_elsewhere=_elsewhere(group, staged)) for group in staged]


def _elsewhere(group: RecordGroup, staged: Sequence[RecordGroup]) -> str:
    """The first control that failed with samples in another group of the column: the instrument is one."""
    return next(
        (
            f"under {other.variation}, determinism {other.mode}, the control {name} failed: {check.why}"
            for other in staged
            for name, check in other.control_summary.checks.items()
            if other is not group and check.passed is False and check.samples
        ),
        "",
    )
