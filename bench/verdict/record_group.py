"""Record groups: one column, variation and mode each, with everything that their verdicts share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.verdict import controls, observations, validity
from bench.verdict.digest_comparison import compare

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.store.run import Run
    from bench.store.run_info import ColumnInfo, KernelInfo, RunInfo
    from bench.verdict.digest_comparison import Comparison
    from bench.verdict.invalid_measurement import InvalidMeasurement
    from bench.verdict.observations import AcceptedRecord, ProcessObservation

#: Column, variation and mode.
Group = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class RecordGroup:
    """One column, variation and mode.

    ``outdated`` counts records of another suite, and ``unreadable`` says why others could not be read. ``unshown`` says
    what the processes did not report. ``invalid_custom`` has the reasons that concern the processes of one custom
    kernel only, because its file may have changed their settings. ``sensitive`` has the kernels that were seen to
    depend on their seed anywhere in the column: a second seed runs in only one round of each variation and mode.
    ``control_failed_elsewhere`` says which control failed in another group of the column.
    """

    info: RunInfo
    column: ColumnInfo
    variation: str
    mode: str
    group: tuple[AcceptedRecord, ...]
    outdated: int
    unreadable: tuple[str, ...]
    invalid_measurement: InvalidMeasurement | None
    invalid_custom: Mapping[str, InvalidMeasurement]
    unshown: tuple[str, ...]
    observations: Mapping[str, tuple[ProcessObservation, ...]]
    comparisons: Mapping[str, Comparison]
    control_summary: controls.ControlSummary
    sensitive: frozenset[str]
    control_failed_elsewhere: str = ""


def record_groups(
    run: Run, column: ColumnInfo, records: observations.SortedRecords, kernels: Sequence[KernelInfo]
) -> list[RecordGroup]:
    """Return the record groups of a column for some kernels, in the order of its variations and modes."""
    info = run.info
    keys = [(column.id, variation, mode) for variation in observations.variations(info) for mode in ("off", "on")]
    observed = _observed(keys, records, kernels)
    compared = {
        key: {name: compare(processes) for name, processes in by_kernel.items()} for key, by_kernel in observed.items()
    }
    invalid = _invalid_measurements(run, column, records, keys)
    invalid_custom = {
        kernel.name: _invalid_measurements(run, column, records, keys, kernel.name)
        for kernel in kernels
        if kernel.name in records.custom_kernels
    }
    sensitive = _sensitive(compared, invalid)
    groups = []
    for key in keys:
        _, variation, mode = key
        if mode not in observations.modes(info, variation):
            continue
        records_of_group = records.groups.get(key, ())
        groups.append(
            RecordGroup(
                info=info,
                column=column,
                variation=variation,
                mode=mode,
                group=records_of_group,
                outdated=records.outdated.get(key, 0),
                unreadable=_unreadable(run, f"records/{column.id}/{variation}/{mode}-"),
                invalid_measurement=invalid.get(key),
                invalid_custom={name: reason for name, found in invalid_custom.items() if (reason := found.get(key))},
                unshown=validity.unshown(info, column, records_of_group),
                observations=observed[key],
                comparisons=compared[key],
                control_summary=controls.summarize(kernels, observed[key], compared[key]),
                sensitive=sensitive,
            )
        )
    return [dataclasses.replace(group, control_failed_elsewhere=_failed_elsewhere(group, groups)) for group in groups]


def _observed(
    keys: Iterable[Group], records: observations.SortedRecords, kernels: Sequence[KernelInfo]
) -> dict[Group, dict[str, tuple[ProcessObservation, ...]]]:
    """Return what the processes of each group observed, by kernel."""
    names = [kernel.name for kernel in kernels]
    observed = {key: observations.observe(records.groups.get(key, ()), names) for key in keys}
    for by_kernel in observed.values():
        for kernel in kernels:
            # those of the suite count, whatever run.json says: where they need not agree, a worker makes none
            if kernel.name in records.custom_kernels and not kernel.later_calls_must_agree:
                by_kernel[kernel.name] = tuple(map(observations.without_later_calls, by_kernel[kernel.name]))
    return observed


def _invalid_measurements(
    run: Run, column: ColumnInfo, records: observations.SortedRecords, keys: Sequence[Group], custom_kernel: str = ""
) -> dict[Group, InvalidMeasurement | None]:
    """Return why the records of a group, or of the whole column, cannot be used, for each group with records.

    Only the processes of one custom kernel are considered, or, without its name, those that ran other kernels.
    """
    groups = {key: [observations.of_process(one, custom_kernel) for one in records.groups.get(key, ())] for key in keys}
    everything = [accepted for group in groups.values() for accepted in group]
    # an imported column is of a run of its own, all others are of this one
    of_run = [column] if column.origin else [other for other in run.info.columns if not other.origin]
    starts = [time for other in of_run for time in records.starts.get(other.id, ())]
    of_column = validity.of_whole_column(run.info, column, everything, starts, run.read_at)
    found = {}
    for key in filter(groups.get, keys):
        by_mode = {mode: groups.get((*key[:2], mode), ()) for mode in ("off", "on")}
        found[key] = validity.invalid_measurement(run.info, column, by_mode, key[2]) or of_column
    return found


def _sensitive(
    compared: Mapping[Group, Mapping[str, Comparison]],
    invalid: Mapping[Group, InvalidMeasurement | None],
) -> frozenset[str]:
    """Return the kernels that depend on their seed; an invalid measurement does not prove that they do."""
    return frozenset(
        name
        for key, comparisons in compared.items()
        if not invalid.get(key)
        for name, comparison in comparisons.items()
        if comparison.sensitive
    )


def _unreadable(run: Run, prefix: str) -> tuple[str, ...]:
    """Return why records of a group cannot be read: a record, or a folder of them."""
    return tuple(
        reason
        for path, reason in sorted(run.unreadable.items())
        if path.startswith(prefix) or prefix.startswith(f"{path}/")
    )


def _failed_elsewhere(group: RecordGroup, groups: Sequence[RecordGroup]) -> str:
    """Describe the first control that failed, with samples, in another group of the column: they share the setup."""
    return next(
        (
            f"under {other.variation}, determinism {other.mode}, the control {name} failed: {check.why}"
            for other in groups
            for name, check in other.control_summary.checks.items()
            if other is not group and check.passed is False and check.samples
        ),
        "",
    )
