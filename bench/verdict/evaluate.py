"""Evaluates a run: from its records to one verdict per column, kernel, variation and mode.

The order of the checks prevents a wrong green. First whether the column could be measured at all, then whether what
was measured is what the plan requested, then how the processes ended, then whether the controls detected what they
must, and only then whether the bits agree and whether that is enough evidence.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING

from bench.store.read_record import paused_garbage_collection
from bench.verdict import controls, gpu_validity, hosts, known_issues, observations
from bench.verdict.annotate import measures, overheads, with_digest_groups
from bench.verdict.invalid_measurement import mapping
from bench.verdict.messages import count, difference, equality, fault, remarks
from bench.verdict.paired_times import PairedTimes
from bench.verdict.record_group import record_groups
from bench.verdict.results import RunResults, Verdict, of_column
from bench.verdict.status import COMPARABLE, FROM_DIGESTS, Status

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bench.store.run import Run
    from bench.store.run_info import ColumnInfo, KernelInfo
    from bench.verdict.digest_comparison import Comparison
    from bench.verdict.observations import ProcessObservation
    from bench.verdict.record_group import RecordGroup

#: Fewer processes, or fewer repetitions in all, are `inconclusive`, never `reproducible`. 3 processes miss a kernel
#: that differs in every second process in 25 % of cases, 5 processes in 6 %.
MIN_PROCESSES = 5
MIN_REPETITIONS = 2
#: Parts of sparse and ragged tensors that hold no values.
_PLACES = ("/dense_shape", "/indices", "/nested_row_splits")

_FAULTS = {
    "crashed": Status.CRASHED,
    "oom": Status.OOM,
    "timeout": Status.TIMEOUT,
    "mismatch": Status.MISMATCH,
    "failed": Status.FAILED,
    "error": Status.ERROR,
}


#: A cause of differences between processes that custom kernels often have, and how to test for it.
HASH_ORDER = " Python's hash order differs from process to process: try --variation hashseed=0."


@paused_garbage_collection()
def evaluate(run: Run, kernels: Collection[str] | None = None) -> RunResults:
    """Evaluate a run. A pure function: the same run gives the same results.

    They are in the order of run.json, or of ``bench.verdict.hosts.in_order`` where columns name their hosts.

    Args:
        run: the run.
        kernels: names of the only kernels that get a verdict; None for all. Controls are always evaluated. The verdicts
            do not depend on it: no kernel influences the verdict of another one, only controls do.
    """
    run = dataclasses.replace(run, info=hosts.in_order(run.info))
    selected = [kernel for kernel in run.info.kernels if kernels is None or kernel.control or kernel.name in kernels]
    records = observations.sort(run)
    groups = [group for column in run.info.columns for group in record_groups(run, column, records, selected)]
    times = PairedTimes(run)
    verdicts = [
        measures(run, group.column, _verdict(group, kernel), times)
        for group in groups
        for kernel in selected
        if kernel.control or _planned(group, kernel)
    ]
    verdicts = with_digest_groups(run.info, _error_in_both_modes(verdicts))
    results = RunResults(
        info=run.info,
        verdicts=tuple(verdicts),
        overheads=overheads(verdicts, times),
        times=times,
        variations=observations.variations(run.info),
        groups=records.groups,
        left_out=(*records.left_out, *times.left_out),
        unreadable=tuple(sorted(run.unreadable.items())),
        control_summaries=_control_summaries(groups, verdicts),
        kept=run.kept,
        tails=run.tails,
    )
    return hosts.with_level(results)


def _error_in_both_modes(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Turn `unsupported` into `error` if determinism off gives the same error: determinism is not its cause."""
    off = {
        (verdict.column, verdict.kernel, verdict.variation): verdict for verdict in verdicts if verdict.mode == "off"
    }
    changed = []
    for verdict in verdicts:
        other = off.get((verdict.column, verdict.kernel, verdict.variation))
        error = (Status.ERROR, verdict.error_class, verdict.error_message)
        if verdict.status is Status.UNSUPPORTED and other and error == (
            other.status, other.error_class, other.error_message,
        ):  # fmt: skip
            first, varies = verdict.observations[0], verdict.comparison.varies
            why = fault(Status.ERROR, dict(verdict.outcomes), "error", first, varies=varies)
            why += " Determinism off gives the same error."
            changed.append(dataclasses.replace(verdict, status=Status.ERROR, why=why))
        else:
            changed.append(verdict)
    return changed


def _control_summaries(
    groups: Sequence[RecordGroup], verdicts: Sequence[Verdict]
) -> dict[tuple[str, str, str], controls.ControlSummary]:
    """Return what the controls showed, with the fewest repetitions of any kernel they vouch for."""
    fewest: dict[tuple[str, str, str], int] = {}
    for verdict in verdicts:
        if verdict.status is Status.REPRODUCIBLE and not verdict.control:
            place, repetitions = (verdict.column, verdict.variation, verdict.mode), verdict.comparison.repetitions
            fewest[place] = min(fewest.get(place, repetitions), repetitions)
    # controls of an invalid measurement say nothing about this column
    valid = [group for group in groups if group.group and not group.invalid_measurement]
    places = {(group.column.id, group.variation, group.mode): group for group in valid}
    return {
        place: dataclasses.replace(group.control_summary, fewest=fewest.get(place, 0))
        for place, group in places.items()
    }


def _planned(group: RecordGroup, kernel: KernelInfo) -> bool:
    only = group.info.variations.get(group.variation, ())
    return not only or kernel.name in only or bool(group.observations[kernel.name])


def _verdict(group: RecordGroup, kernel: KernelInfo) -> Verdict:
    processes = group.observations[kernel.name]
    blank = Verdict(
        column=group.column.id,
        kernel=kernel.name,
        variation=group.variation,
        mode=group.mode,
        control=kernel.control,
        status=Status.NOT_RUN,
        why="",
    )
    if group.column.status != "ready":
        status, why = of_column(group.column)
        return dataclasses.replace(blank, status=status, why=why)
    if not processes:
        status, why = _without_records(group)
        return dataclasses.replace(blank, status=status, why=why)
    outcomes = tuple(sorted(Counter(process.outcome for process in processes).items()))
    invalid = group.invalid_measurement or group.invalid_custom.get(kernel.name)
    if invalid:
        status, why = invalid.status, _sentence(invalid.reason)
        return dataclasses.replace(
            blank, observations=processes, outcomes=outcomes, status=status, why=why, invalid=True
        )
    comparison = group.comparisons[kernel.name]
    full = dataclasses.replace(blank, observations=processes, outcomes=outcomes, comparison=comparison)
    if any(process.outcome not in ("ok", observations.CUT_OFF) for process in processes):
        return _apply_controls(_faulty(full, group.column), group)
    if not comparison.repetitions:
        why = "Every record was cut off before this kernel ended."
        return _apply_controls(dataclasses.replace(full, why=why), group)
    status, why = _from_digests(group, kernel, comparison, processes)
    remark = _remark(kernel, comparison, processes)
    why = f"{why} {remark}".strip()
    full = dataclasses.replace(full, status=status, why=why, remark=remark, level=comparison.level)
    return _apply_controls(full, group)


def _sentence(text: str) -> str:
    text = text.strip().rstrip(".") or "no reason was recorded"
    return f"{text[0].upper()}{text[1:]}."


def _without_records(group: RecordGroup) -> tuple[Status, str]:
    if group.outdated:
        return (
            Status.OUTDATED,
            f"Only records of another version of the suite exist: {count(group.outdated, 'record')}.",
        )
    if group.unreadable:
        first = group.unreadable[0].rstrip(".")
        status = Status.OUTDATED if "schema" in first else Status.NOT_RUN
        return status, f"{count(len(group.unreadable), 'record')} could not be read (the first: {first})."
    if group.group:
        return Status.NOT_RUN, "No round included this kernel."
    return Status.NOT_RUN, "There is no record of it."


def _faulty(verdict: Verdict, column: ColumnInfo) -> Verdict:
    """Set status and reason if at least one process ended badly: the worst outcome decides."""
    counts = dict(verdict.outcomes)
    worst = next(outcome for outcome in _FAULTS if counts.get(outcome))
    first = next(process for process in verdict.observations if process.outcome == worst)
    refused = set(counts) == {"error"} and all(_refuses(column, verdict.mode, seen) for seen in verdict.observations)
    status = Status.UNSUPPORTED if refused else _FAULTS[worst]
    return dataclasses.replace(
        verdict,
        status=status,
        why=fault(status, counts, worst, first, varies=verdict.comparison.varies),
        error_class=first.error_class,
        error_message=first.message,
    )


def _refuses(column: ColumnInfo, mode: str, process: ProcessObservation) -> bool:
    """Whether a process ended because TensorFlow refuses determinism: by its own error class, or as a known issue says.

    Keras turns errors into others (RuntimeError, for example) and keeps the message.
    """
    if mode != "on":
        return False
    if process.error_class == "UnimplementedError":
        return True
    issue = known_issues.entry(process.error_class, process.message, column.tensorflow, column.device, mode)
    return issue is not None and issue.modes == "on"


def _from_digests(
    group: RecordGroup, kernel: KernelInfo, comparison: Comparison, processes: Sequence[ProcessObservation]
) -> tuple[Status, str]:
    ignores_seed = comparison.seeds_collide and kernel.control != controls.MUST_DIFFER
    if comparison.varies:  # an observed difference is a result, whether or not the kernel depends on its seed
        why = difference(comparison)
        why += " One of its results also occurred with another seed." if ignores_seed else ""
        inside = comparison.unsteady or not comparison.within_compared
        why += "" if inside or not kernel.file or _hash_seed_is_set(group) else HASH_ORDER
        return (Status.NONDETERMINISTIC if inside else Status.REPRODUCIBLE_IN_PROCESS), why
    if ignores_seed:
        return (
            Status.CONTROL_FAILED,
            "Another seed gave the same bits: the kernel does not depend on its input and proves nothing.",
        )
    concerns = _concerns(group, kernel, comparison, processes)
    if comparison.nan:
        return Status.NAN, equality(comparison, ("the outputs have NaN, which hides differences", *concerns))
    return (Status.INCONCLUSIVE if concerns else Status.REPRODUCIBLE), equality(comparison, concerns)


def _hash_seed_is_set(group: RecordGroup) -> bool:
    processes = [process for accepted in group.group for process in accepted.record.processes]
    return any("PYTHONHASHSEED" in mapping(process.settings.get("env")) for process in processes)


def _remark(kernel: KernelInfo, comparison: Comparison, processes: Sequence[ProcessObservation]) -> str:
    """Return what decides nothing but should be known: outputs that ignore the seed, and later calls that differ."""
    later = not comparison.varies and any(process.later_calls_differ for process in processes)
    named = () if kernel.control or comparison.seeds_collide else comparison.seed_independent
    # where a sparse or ragged tensor has its elements need not depend on the seed
    named = tuple(name for name in named if not name.partition("[")[0].endswith(_PLACES))
    return remarks(named, later_calls_differ=later)


def _concerns(
    group: RecordGroup, kernel: KernelInfo, comparison: Comparison, processes: Sequence[ProcessObservation]
) -> tuple[str, ...]:
    """Return what keeps equal bits from being called reproducible."""
    summary = group.control_summary
    concerns = _gaps(group, comparison, processes)
    if kernel.control:
        return (*concerns, *group.unshown, *summary.concerns)
    if kernel.name not in group.sensitive:
        concerns.append("no sample with another seed shows that it depends on its input")
    if comparison.inf:
        concerns.append("the outputs have Inf, which hides differences")
    if summary.best is not None and summary.detection_limit_for(comparison.repetitions) is None:
        concerns.append(f"no control is sure to differ in as few as {count(comparison.repetitions, 'repetition')}")
    concerns += _without_later_calls(kernel, processes)
    concerns += gpu_validity.misplaced(group.column, kernel, processes)
    return (*concerns, *_without_controls(group, processes), *group.unshown, *summary.concerns)


def _without_later_calls(kernel: KernelInfo, processes: Sequence[ProcessObservation]) -> list[str]:
    """Return a concern if a process made no later call, although a worker does: of a heavy kernel only in round 1."""
    bound = [seen for seen in processes if seen.outcome == "ok" and (seen.round == 1 or not kernel.heavy)]
    lacking = sum(not seen.later_calls for seen in bound)
    if not kernel.later_calls_must_agree or (bound and not lacking):
        return []
    which = "no process made a" if lacking == len(bound) else f"{count(lacking, 'process')} made no"
    return [f"{which} later call, so later calls were not compared"]


def _gaps(group: RecordGroup, comparison: Comparison, processes: Sequence[ProcessObservation]) -> list[str]:
    """Return what is missing: too few processes or repetitions, and incomplete rounds.

    Only one process of a round counts towards the minimum: another one had no controls beside it.
    """
    complete = {process.round for process in processes if process.outcome == "ok"}
    short = sum(
        len(process.repetitions) < process.requested_repetitions for process in processes if process.outcome == "ok"
    )
    cut = sum(process.outcome == observations.CUT_OFF for process in processes)
    counted = len({process.path for process in processes if process.repetitions})
    concerns = []
    if counted < MIN_PROCESSES:
        concerns.append(f"only {count(counted, 'process')}, but {MIN_PROCESSES} are needed")
    if comparison.repetitions < MIN_REPETITIONS:
        concerns.append(f"only {count(comparison.repetitions, 'repetition')}, but {MIN_REPETITIONS} are needed")
    if not comparison.within_compared:
        concerns.append("no process repeated it")
    planned = max(
        (process.planned_rounds for process in processes if process.planned_rounds), default=group.info.rounds
    )
    if len(complete) < planned:
        concerns.append(f"{len(complete)} of {planned} planned rounds are complete")
    elif cut:
        concerns.append(f"{count(cut, 'record')} cut off")
    if short:
        concerns.append(f"{count(short, 'process')} gave fewer repetitions than requested")
    return concerns


def _without_controls(group: RecordGroup, processes: Sequence[ProcessObservation]) -> tuple[str, ...]:
    """Count rounds without all controls: nothing proves there that a difference would have been detected."""
    rounds = {process.path for process in processes if process.outcome == "ok"}
    controlled = [
        {process.path for process in group.observations[name] if process.outcome == "ok"}
        for name in group.control_summary.checks
    ]
    lacking = {path for path in rounds if not all(path in paths for paths in controlled)}
    return (f"{len(lacking)} of its {len(rounds)} rounds ran without all controls",) if lacking else ()


def _apply_controls(verdict: Verdict, group: RecordGroup) -> Verdict:
    """Give a control its own result, and mark a kernel ``control-failed`` if a control failed."""
    summary = group.control_summary
    if verdict.control:
        check = summary.checks[verdict.kernel]
        return dataclasses.replace(verdict, passed=check.passed, why=f"Control: {check.why}.")
    if summary.control_failed and verdict.status in FROM_DIGESTS:
        why = f"A control failed, so no result is valid here: {summary.control_failed}."
        return dataclasses.replace(verdict, status=Status.CONTROL_FAILED, level=None, why=why)
    if group.control_failed_elsewhere and verdict.status in COMPARABLE:
        why = f"A control failed in this column, so equal bits prove nothing: {group.control_failed_elsewhere}."
        return dataclasses.replace(verdict, status=Status.CONTROL_FAILED, level=None, why=why)
    return verdict
