"""Judging: from a run's records to one verdict per cell, kernel, condition and mode.

The order of the questions is what keeps a wrong green away. First whether the column could be measured
at all, then whether what was measured is what was asked, then how the processes ended, then whether
the controls could see, and only then whether the bits agree and whether that is evidence enough.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.verdict import asked, classes, controls, evidence
from bench.verdict.compare import compare
from bench.verdict.judgement import Judgement, Verdict
from bench.verdict.sentences import count, difference, equality, fault
from bench.verdict.status import COMPARABLE, FROM_DIGESTS, Status
from bench.verdict.timing import Price, price, timing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.store.run import CellInfo, KernelInfo, Run, RunInfo
    from bench.verdict.compare import Comparison
    from bench.verdict.evidence import Kept, Witness

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


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """One cell, condition and mode, with all that its verdicts share."""

    info: RunInfo
    cell: CellInfo
    condition: str
    mode: str
    group: tuple[Kept, ...]
    stale: int
    unreadable: int
    objection: asked.Objection | None
    witnesses: Mapping[str, tuple[Witness, ...]]
    sight: controls.Sight
    sensitive: frozenset[str]


def judge(run: Run) -> Judgement:
    """Judge a run. Pure: same run, same judgement, in the order of run.json."""
    found = evidence.sort(run)
    scenes = [scene for cell in run.info.cells for scene in _scenes(run, cell, found)]
    verdicts = [
        _verdict(scene, kernel)
        for scene in scenes
        for kernel in run.info.kernels
        if kernel.control or _planned(scene, kernel)
    ]
    verdicts = _with_changed_value(_with_classes(verdicts))
    return Judgement(
        info=run.info,
        verdicts=tuple(verdicts),
        prices=_prices(verdicts),
        conditions=evidence.conditions(run.info),
        groups=found.groups,
        left_out=found.left_out,
        unreadable=tuple(sorted(run.unreadable.items())),
    )


def _planned(scene: _Scene, kernel: KernelInfo) -> bool:
    only = scene.info.conditions.get(scene.condition, ())
    return not only or kernel.name in only or bool(scene.witnesses[kernel.name])


def _scenes(run: Run, cell: CellInfo, found: evidence.Sorted) -> list[_Scene]:
    info = run.info
    keys = [(cell.id, condition, mode) for condition in evidence.conditions(info) for mode in ("off", "on")]
    spoken = {
        key: {kernel.name: evidence.witnesses(found.groups.get(key, ()), kernel.name) for kernel in info.kernels}
        for key in keys
    }
    sensitive = frozenset(
        kernel for by_kernel in spoken.values() for kernel, said in by_kernel.items() if compare(said).sensitive
    )
    scenes = []
    for key in keys:
        _, condition, mode = key
        if mode not in evidence.modes(info, condition):
            continue
        by_mode = {other: found.groups.get((cell.id, condition, other), ()) for other in ("off", "on")}
        prefix = f"records/{cell.id}/{condition}/{mode}-"
        scenes.append(
            _Scene(
                info=info,
                cell=cell,
                condition=condition,
                mode=mode,
                group=by_mode[mode],
                stale=found.stale.get(key, 0),
                unreadable=sum(path.startswith(prefix) for path in run.unreadable),
                objection=asked.objection(info, cell, by_mode, mode),
                witnesses=spoken[key],
                sight=controls.sight(info.kernels, spoken[key]),
                sensitive=sensitive,
            )
        )
    return scenes


def _verdict(scene: _Scene, kernel: KernelInfo) -> Verdict:
    said = scene.witnesses[kernel.name]
    found = compare(said)
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
        status, why = _of_column(scene.cell)
        return dataclasses.replace(blank, status=status, why=why)
    if not said:
        status, why = _absent(scene)
        return dataclasses.replace(blank, status=status, why=why)
    outcomes = tuple(sorted(Counter(one.outcome for one in said).items()))
    full = dataclasses.replace(blank, witnesses=said, outcomes=outcomes)
    if scene.objection:
        return dataclasses.replace(full, status=scene.objection.status, why=_sentence(scene.objection.reason))
    full = dataclasses.replace(full, comparison=found, timing=timing(said))
    if any(one.outcome not in ("ok", evidence.CUT_OFF) for one in said):
        return _checked(_faulty(full), scene)
    if not found.repeats:
        return _checked(dataclasses.replace(full, why="Every record was cut off before this kernel ended."), scene)
    status, why = _from_digests(scene, kernel, found, said)
    return _checked(dataclasses.replace(full, status=status, why=why, rung=found.rung), scene)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _of_column(cell: CellInfo) -> tuple[Status, str]:
    known = {status.value: status for status in Status if status not in FROM_DIGESTS}
    return known.get(cell.status, Status.FAILED), cell.reason or f"The column is {cell.status}."


def _absent(scene: _Scene) -> tuple[Status, str]:
    if scene.stale:
        return Status.STALE, f"All there is are {scene.stale} records of another version of the suite."
    if scene.unreadable:
        return Status.FAILED, f"The {scene.unreadable} records there are could not be read."
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


def _from_digests(scene: _Scene, kernel: KernelInfo, found: Comparison, said: Sequence[Witness]) -> tuple[Status, str]:
    if found.seeds_collide and kernel.control != controls.MUST_DIFFER:
        return (
            Status.BLIND,
            "Another seed gave the same bits: the kernel does not feel its input and proves nothing.",
        )
    if found.varies:
        inside = found.unsteady or not found.within_compared
        return (Status.VARIES if inside else Status.EXACT_IN_PROCESS), difference(found)
    doubts = _doubts(scene, kernel, found, said)
    if found.nan:
        return Status.NAN, equality(found, ("the outputs have NaN, which hide differences", *doubts))
    return (Status.WEAK if doubts else Status.EXACT), equality(found, doubts)


def _doubts(scene: _Scene, kernel: KernelInfo, found: Comparison, said: Sequence[Witness]) -> tuple[str, ...]:
    """What keeps equal bits from being called exact."""
    whole = {one.round for one in said if one.outcome == "ok"}
    short = sum(len(one.repeats) < one.asked_repeats for one in said if one.outcome == "ok")
    cut = sum(one.outcome == evidence.CUT_OFF for one in said)
    doubts = []
    if found.processes < MIN_PROCESSES:
        doubts.append(f"{found.processes} of at least {MIN_PROCESSES} processes")
    if found.repeats < MIN_REPEATS:
        doubts.append(f"{found.repeats} of at least {MIN_REPEATS} repeats")
    if not found.within_compared:
        doubts.append("no process repeated it")
    planned = max((one.planned_rounds for one in said if one.planned_rounds), default=scene.info.rounds)
    if len(whole) < planned:
        doubts.append(f"{len(whole)} of {planned} planned rounds are whole")
    elif cut:
        doubts.append(f"{count(cut, 'record')} cut off")
    if short:
        doubts.append(f"{short} processes gave fewer repeats than asked")
    if kernel.name not in scene.sensitive and not kernel.control:
        doubts.append("no sample with another seed shows that it feels its input")
    return (*doubts, *asked.unshown(scene.cell, scene.group), *scene.sight.doubts)


def _checked(verdict: Verdict, scene: _Scene) -> Verdict:
    """What the controls say: of a control its own result, of a kernel whether it can be believed."""
    if verdict.control:
        own = scene.sight.checks[verdict.kernel]
        return dataclasses.replace(verdict, passed=own.passed, why=f"Control: {own.why}.")
    if scene.sight.blind and verdict.status in FROM_DIGESTS:
        why = f"Nothing can be told here: {scene.sight.blind}."
        return dataclasses.replace(verdict, status=Status.BLIND, rung=None, why=why)
    return verdict


def _with_classes(verdicts: Sequence[Verdict]) -> list[Verdict]:
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


def _with_changed_value(verdicts: Sequence[Verdict]) -> list[Verdict]:
    letters = {verdict.key: verdict.digest_class for verdict in verdicts}

    def changed(verdict: Verdict) -> bool | None:
        off = letters.get((verdict.cell, verdict.kernel, verdict.condition, "off"), "")
        return verdict.digest_class != off if verdict.mode == "on" and off and verdict.digest_class else None

    return [dataclasses.replace(verdict, changed_value=changed(verdict)) for verdict in verdicts]


def _prices(verdicts: Sequence[Verdict]) -> dict[tuple[str, str, str], Price]:
    """Prices of what ran to its end in both modes; a time that ends in a crash is no price."""
    sides = {verdict.key: verdict for verdict in verdicts if verdict.status in FROM_DIGESTS | {Status.BLIND}}
    prices: dict[tuple[str, str, str], Price] = {}
    for (cell, kernel, condition, mode), on in sides.items():
        off = sides.get((cell, kernel, condition, "off"))
        if mode != "on" or off is None or on.control:
            continue
        found = price(on.witnesses, off.witnesses)
        if found is not None:
            prices[cell, kernel, condition] = found
    return prices
