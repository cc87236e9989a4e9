"""Judging: from a run's records to one verdict per column, kernel, variation and mode.

The order of the questions is what keeps a wrong green away. First whether the column could be measured
at all, then whether what was measured is what was asked, then how the processes ended, then whether
the controls could see, and only then whether the bits agree and whether that is evidence enough.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING

from bench.verdict import controls, gpu_timing, observations, validity
from bench.verdict.annotate import measures, overheads, with_changed_value, with_classes
from bench.verdict.messages import count, difference, equality, fault
from bench.verdict.record_group import record_groups
from bench.verdict.results import RunResults, Verdict, of_column
from bench.verdict.status import COMPARABLE, FROM_DIGESTS, Status
from bench.verdict.timing import timing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.store.run import Run
    from bench.store.run_info import KernelInfo
    from bench.verdict.digest_comparison import Comparison
    from bench.verdict.observations import ProcessObservation
    from bench.verdict.record_group import RecordGroup

#: Fewer processes, or fewer repetitions in all, are `inconclusive`, never `reproducible`. A kernel that comes out otherwise in every
#: second process is missed by 3 processes in 25 % of cases, by 5 in 6 %.
MIN_PROCESSES = 5
MIN_REPETITIONS = 2

_FAULTS = {
    "crashed": Status.CRASHED,
    "oom": Status.OOM,
    "timeout": Status.TIMEOUT,
    "mismatch": Status.MISMATCH,
    "error": Status.ERROR,
}


def evaluate(run: Run) -> RunResults:
    """Judge a run. Pure: same run, same results, in the order of run.json."""
    found = observations.sort(run)
    staged = [group for column in run.info.columns for group in record_groups(run, column, found)]
    verdicts = [
        measures(run, group.column, _verdict(group, kernel))
        for group in staged
        for kernel in run.info.kernels
        if kernel.control or _planned(group, kernel)
    ]
    verdicts = with_changed_value(with_classes(run.info, _refused_anyway(verdicts)))
    return RunResults(
        info=run.info,
        verdicts=tuple(verdicts),
        overheads=overheads(verdicts),
        variations=observations.variations(run.info),
        groups=found.groups,
        left_out=found.left_out,
        unreadable=tuple(sorted(run.unreadable.items())),
        control_summaries=_control_summaries(staged, verdicts),
        kept=run.kept,
        tails=run.tails,
    )


def _refused_anyway(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """What raises the same with determinism off is no matter of determinism: raised, not unsupported."""
    off = {(one.column, one.kernel, one.variation): one for one in verdicts if one.mode == "off"}
    found = []
    for one in verdicts:
        other = off.get((one.column, one.kernel, one.variation)) if one.status is Status.UNSUPPORTED else None
        same = other and (other.status, other.error_class, other.error_message) == (
            Status.ERROR, one.error_class, one.error_message,
        )  # fmt: skip
        if same:
            first = one.observations[0]
            why = fault(Status.ERROR, dict(one.outcomes), "error", first, varies=one.comparison.varies)
            found.append(dataclasses.replace(one, status=Status.ERROR, why=f"{why} So it does with determinism off."))
        else:
            found.append(one)
    return found


def _control_summaries(
    staged: Sequence[RecordGroup], verdicts: Sequence[Verdict]
) -> dict[tuple[str, str, str], controls.ControlSummary]:
    """What the controls showed, and the fewest repetitions that it has to speak for."""
    exact: dict[tuple[str, str, str], int] = {}
    for one in verdicts:
        if one.status is Status.REPRODUCIBLE and not one.control:
            place = (one.column, one.variation, one.mode)
            exact[place] = min(exact.get(place, one.comparison.repetitions), one.comparison.repetitions)
    # controls that ran with something else than was asked say nothing of this column
    seeing = [group for group in staged if group.group and not group.invalid_measurement]
    places = {(group.column.id, group.variation, group.mode): group for group in seeing}
    return {
        place: dataclasses.replace(group.control_summary, fewest=exact.get(place, 0)) for place, group in places.items()
    }


def _planned(group: RecordGroup, kernel: KernelInfo) -> bool:
    only = group.info.variations.get(group.variation, ())
    return not only or kernel.name in only or bool(group.observations[kernel.name])


def _verdict(group: RecordGroup, kernel: KernelInfo) -> Verdict:
    said = group.observations[kernel.name]
    found = group.comparisons[kernel.name]
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
    if not said:
        status, why = _absent(group)
        return dataclasses.replace(blank, status=status, why=why)
    outcomes = tuple(sorted(Counter(one.outcome for one in said).items()))
    full = dataclasses.replace(blank, observations=said, outcomes=outcomes)
    if group.invalid_measurement:
        status, why = group.invalid_measurement.status, _sentence(group.invalid_measurement.reason)
        return dataclasses.replace(full, status=status, why=why, invalid=True)
    full = dataclasses.replace(
        full, comparison=found, timing=timing(said), discarded=gpu_timing.discarded_timings(said)
    )
    if any(one.outcome not in ("ok", observations.CUT_OFF) for one in said):
        return _checked(_faulty(full), group)
    if not found.repetitions:
        return _checked(dataclasses.replace(full, why="Every record was cut off before this kernel ended."), group)
    status, why = _from_digests(group, kernel, found, said)
    return _checked(dataclasses.replace(full, status=status, why=why, level=found.level), group)


def _sentence(text: str) -> str:
    text = text.strip().rstrip(".") or "no reason was recorded"
    return f"{text[0].upper()}{text[1:]}."


def _absent(group: RecordGroup) -> tuple[Status, str]:
    if group.stale:
        return Status.OUTDATED, f"All there is: {count(group.stale, 'record')} of another version of the suite."
    if group.unreadable:
        first = group.unreadable[0].rstrip(".")
        status = Status.OUTDATED if "schema" in first else Status.NOT_RUN
        return status, f"{count(len(group.unreadable), 'record')} could not be read (the first: {first})."
    if group.group:
        return Status.NOT_RUN, "No round was asked to run this kernel."
    return Status.NOT_RUN, "There is no record of it."


def _faulty(verdict: Verdict) -> Verdict:
    """At least one process ended badly: the worst ending leads, with counts."""
    counts = dict(verdict.outcomes)
    worst = next(outcome for outcome in _FAULTS if counts.get(outcome))
    first = next(one for one in verdict.observations if one.outcome == worst)
    kinds = {one.error_class for one in verdict.observations}
    everywhere = set(counts) == {"error"} and kinds == {"UnimplementedError"}
    status = Status.UNSUPPORTED if everywhere and verdict.mode == "on" else _FAULTS[worst]
    return dataclasses.replace(
        verdict,
        status=status,
        why=fault(status, counts, worst, first, varies=verdict.comparison.varies),
        error_class=first.error_class,
        error_message=first.message,
    )


def _from_digests(
    group: RecordGroup, kernel: KernelInfo, found: Comparison, said: Sequence[ProcessObservation]
) -> tuple[Status, str]:
    deaf = found.seeds_collide and kernel.control != controls.MUST_DIFFER
    if found.varies:  # a difference that was seen is an answer, whatever else the kernel does not feel
        inside = found.unsteady or not found.within_compared
        told = f"{difference(found)} One of its results came with another seed too." if deaf else difference(found)
        return (Status.NONDETERMINISTIC if inside else Status.REPRODUCIBLE_IN_PROCESS), told
    if deaf:
        return (
            Status.CONTROL_FAILED,
            "Another seed gave the same bits: the kernel does not feel its input and proves nothing.",
        )
    concerns = _concerns(group, kernel, found, said)
    if found.nan:
        return Status.NAN, equality(found, ("the outputs have NaN, which hide differences", *concerns))
    return (Status.INCONCLUSIVE if concerns else Status.REPRODUCIBLE), equality(found, concerns)


def _concerns(
    group: RecordGroup, kernel: KernelInfo, found: Comparison, said: Sequence[ProcessObservation]
) -> tuple[str, ...]:
    """What keeps equal bits from being called exact."""
    concerns = _gaps(group, found, said)
    if kernel.control:
        return (*concerns, *group.unshown, *group.control_summary.concerns)
    if kernel.name not in group.sensitive:
        concerns.append("no sample with another seed shows that it feels its input")
    if found.inf:
        concerns.append("the outputs have Inf, which hide differences")
    if group.control_summary.best is not None and group.control_summary.sensitivity_for(found.repetitions) is None:
        concerns.append(f"no control must show itself in as few as {count(found.repetitions, 'repeat')}")
    untimed = sum(one.outcome == "ok" and one.timed and not _called_again(one) for one in said)
    if untimed and kernel.call_again:
        concerns.append(f"{count(untimed, 'process')} left out the timing pass, so later calls were not compared")
    concerns += validity.misplaced(group.column, kernel, said)
    return (*concerns, *_unwatched(group, said), *group.unshown, *group.control_summary.concerns)


def _called_again(observation: ProcessObservation) -> bool:
    return any(sample.steady_agrees is not None for sample in observation.timings)


def _gaps(group: RecordGroup, found: Comparison, said: Sequence[ProcessObservation]) -> list[str]:
    """Too few processes or repetitions, and rounds that are not whole.

    A process that only took a time anew speaks for its bits, but makes no round whole, need not repetition as often as the
    first one, and had no controls beside it: it does not help a run that is too small over the line.
    """
    whole = {one.round for one in said if one.outcome == "ok"}
    short = sum(len(one.repetitions) < one.asked_repetitions for one in said if one.outcome == "ok" and not one.again)
    cut = sum(one.outcome == observations.CUT_OFF for one in said)
    watched = sum(bool(one.repetitions) and not one.again for one in said)
    concerns = []
    if watched < MIN_PROCESSES:
        concerns.append(f"only {count(watched, 'process')}, and {MIN_PROCESSES} are needed")
    if found.repetitions < MIN_REPETITIONS:
        concerns.append(f"only {count(found.repetitions, 'repeat')}, and {MIN_REPETITIONS} are needed")
    if not found.within_compared:
        concerns.append("no process repeated it")
    planned = max((one.planned_rounds for one in said if one.planned_rounds), default=group.info.rounds)
    if len(whole) < planned:
        concerns.append(f"{len(whole)} of {planned} planned rounds are whole")
    elif cut:
        concerns.append(f"{count(cut, 'record')} cut off")
    if short:
        concerns.append(f"{count(short, 'process')} gave fewer repetitions than asked")
    return concerns


def _unwatched(group: RecordGroup, said: Sequence[ProcessObservation]) -> tuple[str, ...]:
    """Rounds without a whole control: nobody saw there that the eyes were open."""
    rounds = {one.path for one in said if one.outcome == "ok"}
    watched = [
        {one.path for one in group.observations[name] if one.outcome == "ok"} for name in group.control_summary.checks
    ]
    lacking = {path for path in rounds if not all(path in paths for paths in watched)}
    return (f"{len(lacking)} of its {len(rounds)} rounds ran without all controls",) if lacking else ()


def _checked(verdict: Verdict, group: RecordGroup) -> Verdict:
    """What the controls say: of a control its own result, of a kernel whether it can be believed."""
    if verdict.control:
        own = group.control_summary.checks[verdict.kernel]
        return dataclasses.replace(verdict, passed=own.passed, why=f"Control: {own.why}.")
    if group.control_summary.control_failed and verdict.status in FROM_DIGESTS:
        why = f"Nothing can be told here: {group.control_summary.control_failed}."
        return dataclasses.replace(verdict, status=Status.CONTROL_FAILED, level=None, why=why)
    if group.control_failed_elsewhere and verdict.status in COMPARABLE:
        why = f"Equal bits prove nothing in this column: {group.control_failed_elsewhere}."
        return dataclasses.replace(verdict, status=Status.CONTROL_FAILED, level=None, why=why)
    return verdict
