"""Judging: from a run's records to one verdict per cell, kernel, condition and mode.

The order of the questions is what keeps a wrong green away. First whether the column could be measured
at all, then whether what was measured is what was asked, then how the processes ended, then whether
the controls could see, and only then whether the bits agree and whether that is evidence enough.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING

from bench.verdict import asked, controls, evidence, guard
from bench.verdict.attach import measures, prices, with_changed_value, with_classes
from bench.verdict.judgement import Judgement, Verdict, of_column
from bench.verdict.scene import scenes
from bench.verdict.sentences import count, difference, equality, fault
from bench.verdict.status import COMPARABLE, FROM_DIGESTS, Status
from bench.verdict.timing import timing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.store.run import Run
    from bench.store.run_info import KernelInfo
    from bench.verdict.compare import Comparison
    from bench.verdict.evidence import Witness
    from bench.verdict.scene import Scene

#: Fewer processes, or fewer repeats in all, are `weak`, never `exact`. A kernel that comes out otherwise in every
#: second process is missed by 3 processes in 25 % of cases, by 5 in 6 %.
MIN_PROCESSES = 5
MIN_REPEATS = 2

_FAULTS = {
    "crashed": Status.CRASHED,
    "oom": Status.OOM,
    "timeout": Status.TIMEOUT,
    "failed": Status.FAILED,
    "raised": Status.RAISED,
}


def judge(run: Run) -> Judgement:
    """Judge a run. Pure: same run, same judgement, in the order of run.json."""
    found = evidence.sort(run)
    staged = [scene for cell in run.info.cells for scene in scenes(run, cell, found)]
    verdicts = [
        measures(run, scene.cell, _verdict(scene, kernel))
        for scene in staged
        for kernel in run.info.kernels
        if kernel.control or _planned(scene, kernel)
    ]
    verdicts = with_changed_value(with_classes(run.info, _refused_anyway(verdicts)))
    return Judgement(
        info=run.info,
        verdicts=tuple(verdicts),
        prices=prices(verdicts),
        conditions=evidence.conditions(run.info),
        groups=found.groups,
        left_out=found.left_out,
        unreadable=tuple(sorted(run.unreadable.items())),
        sights=_sights(staged, verdicts),
        kept=run.kept,
        tails=run.tails,
    )


def _refused_anyway(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """What raises the same with determinism off is no matter of determinism: raised, not unsupported."""
    off = {(one.cell, one.kernel, one.condition): one for one in verdicts if one.mode == "off"}
    found = []
    for one in verdicts:
        other = off.get((one.cell, one.kernel, one.condition)) if one.status is Status.UNSUPPORTED else None
        same = other and (other.status, other.error_class, other.error_message) == (
            Status.RAISED, one.error_class, one.error_message,
        )  # fmt: skip
        if same:
            first = one.witnesses[0]
            why = fault(Status.RAISED, dict(one.outcomes), "raised", first, varies=one.comparison.varies)
            found.append(dataclasses.replace(one, status=Status.RAISED, why=f"{why} So it does with determinism off."))
        else:
            found.append(one)
    return found


def _sights(staged: Sequence[Scene], verdicts: Sequence[Verdict]) -> dict[tuple[str, str, str], controls.Sight]:
    """What the controls showed, and the fewest repeats that it has to speak for."""
    exact: dict[tuple[str, str, str], int] = {}
    for one in verdicts:
        if one.status is Status.EXACT and not one.control:
            place = (one.cell, one.condition, one.mode)
            exact[place] = min(exact.get(place, one.comparison.repeats), one.comparison.repeats)
    # controls that ran with something else than was asked say nothing of this column
    seeing = [scene for scene in staged if scene.group and not scene.objection]
    places = {(scene.cell.id, scene.condition, scene.mode): scene for scene in seeing}
    return {place: dataclasses.replace(scene.sight, fewest=exact.get(place, 0)) for place, scene in places.items()}


def _planned(scene: Scene, kernel: KernelInfo) -> bool:
    only = scene.info.conditions.get(scene.condition, ())
    return not only or kernel.name in only or bool(scene.witnesses[kernel.name])


def _verdict(scene: Scene, kernel: KernelInfo) -> Verdict:
    said = scene.witnesses[kernel.name]
    found = scene.comparisons[kernel.name]
    blank = Verdict(
        cell=scene.cell.id,
        kernel=kernel.name,
        condition=scene.condition,
        mode=scene.mode,
        control=kernel.control,
        status=Status.NOT_RUN,
        why="",
    )
    if scene.cell.status != "ready":
        status, why = of_column(scene.cell)
        return dataclasses.replace(blank, status=status, why=why)
    if not said:
        status, why = _absent(scene)
        return dataclasses.replace(blank, status=status, why=why)
    outcomes = tuple(sorted(Counter(one.outcome for one in said).items()))
    full = dataclasses.replace(blank, witnesses=said, outcomes=outcomes)
    if scene.objection:
        status, why = scene.objection.status, _sentence(scene.objection.reason)
        return dataclasses.replace(full, status=status, why=why, objected=True)
    full = dataclasses.replace(full, comparison=found, timing=timing(said), spoil=guard.spoil(said))
    if any(one.outcome not in ("ok", evidence.CUT_OFF) for one in said):
        return _checked(_faulty(full), scene)
    if not found.repeats:
        return _checked(dataclasses.replace(full, why="Every record was cut off before this kernel ended."), scene)
    status, why = _from_digests(scene, kernel, found, said)
    return _checked(dataclasses.replace(full, status=status, why=why, rung=found.rung), scene)


def _sentence(text: str) -> str:
    text = text.strip().rstrip(".") or "no reason was recorded"
    return f"{text[0].upper()}{text[1:]}."


def _absent(scene: Scene) -> tuple[Status, str]:
    if scene.stale:
        return Status.STALE, f"All there is: {count(scene.stale, 'record')} of another version of the suite."
    if scene.unreadable:
        first = scene.unreadable[0].rstrip(".")
        status = Status.STALE if "schema" in first else Status.NOT_RUN
        return status, f"{count(len(scene.unreadable), 'record')} could not be read (the first: {first})."
    if scene.group:
        return Status.NOT_RUN, "No round was asked to run this kernel."
    return Status.NOT_RUN, "There is no record of it."


def _faulty(verdict: Verdict) -> Verdict:
    """At least one process ended badly: the worst ending leads, with counts."""
    counts = dict(verdict.outcomes)
    worst = next(outcome for outcome in _FAULTS if counts.get(outcome))
    first = next(one for one in verdict.witnesses if one.outcome == worst)
    kinds = {one.error_class for one in verdict.witnesses}
    everywhere = set(counts) == {"raised"} and kinds == {"UnimplementedError"}
    status = Status.UNSUPPORTED if everywhere and verdict.mode == "on" else _FAULTS[worst]
    return dataclasses.replace(
        verdict,
        status=status,
        why=fault(status, counts, worst, first, varies=verdict.comparison.varies),
        error_class=first.error_class,
        error_message=first.message,
    )


def _from_digests(scene: Scene, kernel: KernelInfo, found: Comparison, said: Sequence[Witness]) -> tuple[Status, str]:
    deaf = found.seeds_collide and kernel.control != controls.MUST_DIFFER
    if found.varies:  # a difference that was seen is an answer, whatever else the kernel does not feel
        inside = found.unsteady or not found.within_compared
        told = f"{difference(found)} One of its results came with another seed too." if deaf else difference(found)
        return (Status.VARIES if inside else Status.EXACT_IN_PROCESS), told
    if deaf:
        return (
            Status.BLIND,
            "Another seed gave the same bits: the kernel does not feel its input and proves nothing.",
        )
    doubts = _doubts(scene, kernel, found, said)
    if found.nan:
        return Status.NAN, equality(found, ("the outputs have NaN, which hide differences", *doubts))
    return (Status.WEAK if doubts else Status.EXACT), equality(found, doubts)


def _doubts(scene: Scene, kernel: KernelInfo, found: Comparison, said: Sequence[Witness]) -> tuple[str, ...]:
    """What keeps equal bits from being called exact."""
    doubts = _gaps(scene, found, said)
    if kernel.control:
        return (*doubts, *scene.unshown, *scene.sight.doubts)
    if kernel.name not in scene.sensitive:
        doubts.append("no sample with another seed shows that it feels its input")
    if found.inf:
        doubts.append("the outputs have Inf, which hide differences")
    if scene.sight.best is not None and scene.sight.sensitivity_for(found.repeats) is None:
        doubts.append(f"no control must show itself in as few as {count(found.repeats, 'repeat')}")
    untimed = sum(one.outcome == "ok" and one.timed and not _called_again(one) for one in said)
    if untimed and kernel.call_again:
        doubts.append(f"{count(untimed, 'process')} left out the timing pass, so later calls were not compared")
    doubts += asked.misplaced(scene.cell, kernel, said)
    return (*doubts, *_unwatched(scene, said), *scene.unshown, *scene.sight.doubts)


def _called_again(witness: Witness) -> bool:
    return any(sample.steady_agrees is not None for sample in witness.timings)


def _gaps(scene: Scene, found: Comparison, said: Sequence[Witness]) -> list[str]:
    """Too few processes or repeats, and rounds that are not whole.

    A process that only took a time anew speaks for its bits, but makes no round whole, need not repeat as often as the
    first one, and had no controls beside it: it does not help a run that is too small over the line.
    """
    whole = {one.round for one in said if one.outcome == "ok"}
    short = sum(len(one.repeats) < one.asked_repeats for one in said if one.outcome == "ok" and not one.again)
    cut = sum(one.outcome == evidence.CUT_OFF for one in said)
    watched = sum(bool(one.repeats) and not one.again for one in said)
    doubts = []
    if watched < MIN_PROCESSES:
        doubts.append(f"only {count(watched, 'process')}, and {MIN_PROCESSES} are needed")
    if found.repeats < MIN_REPEATS:
        doubts.append(f"only {count(found.repeats, 'repeat')}, and {MIN_REPEATS} are needed")
    if not found.within_compared:
        doubts.append("no process repeated it")
    planned = max((one.planned_rounds for one in said if one.planned_rounds), default=scene.info.rounds)
    if len(whole) < planned:
        doubts.append(f"{len(whole)} of {planned} planned rounds are whole")
    elif cut:
        doubts.append(f"{count(cut, 'record')} cut off")
    if short:
        doubts.append(f"{count(short, 'process')} gave fewer repeats than asked")
    return doubts


def _unwatched(scene: Scene, said: Sequence[Witness]) -> tuple[str, ...]:
    """Rounds without a whole control: nobody saw there that the eyes were open."""
    rounds = {one.path for one in said if one.outcome == "ok"}
    watched = [{one.path for one in scene.witnesses[name] if one.outcome == "ok"} for name in scene.sight.checks]
    lacking = {path for path in rounds if not all(path in paths for paths in watched)}
    return (f"{len(lacking)} of its {len(rounds)} rounds ran without all controls",) if lacking else ()


def _checked(verdict: Verdict, scene: Scene) -> Verdict:
    """What the controls say: of a control its own result, of a kernel whether it can be believed."""
    if verdict.control:
        own = scene.sight.checks[verdict.kernel]
        return dataclasses.replace(verdict, passed=own.passed, why=f"Control: {own.why}.")
    if scene.sight.blind and verdict.status in FROM_DIGESTS:
        why = f"Nothing can be told here: {scene.sight.blind}."
        return dataclasses.replace(verdict, status=Status.BLIND, rung=None, why=why)
    if scene.blind_elsewhere and verdict.status in COMPARABLE:
        why = f"Equal bits prove nothing in this cell: {scene.blind_elsewhere}."
        return dataclasses.replace(verdict, status=Status.BLIND, rung=None, why=why)
    return verdict
