"""Scenes: one cell, condition and mode each, with all that its verdicts share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.verdict import asked, controls, evidence
from bench.verdict.compare import compare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.store.run import Run
    from bench.store.run_info import CellInfo, RunInfo
    from bench.verdict.compare import Comparison
    from bench.verdict.evidence import Kept, Witness


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One cell, condition and mode.

    ``stale`` counts records of another suite, and ``unreadable`` says why others could not be read.
    ``sensitive`` has the kernels that were seen to feel their seed anywhere in the cell: contrasts are asked
    for in one round of each condition and mode only.
    """

    info: RunInfo
    cell: CellInfo
    condition: str
    mode: str
    group: tuple[Kept, ...]
    stale: int
    unreadable: tuple[str, ...]
    objection: asked.Objection | None
    unshown: tuple[str, ...]
    witnesses: Mapping[str, tuple[Witness, ...]]
    comparisons: Mapping[str, Comparison]
    sight: controls.Sight
    sensitive: frozenset[str]
    blind_elsewhere: str = ""


def scenes(run: Run, cell: CellInfo, found: evidence.Sorted) -> list[Scene]:
    """The scenes of a cell, in the order of its conditions and modes."""
    info = run.info
    names = [kernel.name for kernel in info.kernels]
    keys = [(cell.id, condition, mode) for condition in evidence.conditions(info) for mode in ("off", "on")]
    spoken = {key: evidence.hear(found.groups.get(key, ()), names) for key in keys}
    compared = {key: {name: compare(said) for name, said in heard.items()} for key, heard in spoken.items()}
    sides = {key: {mode: found.groups.get((*key[:2], mode), ()) for mode in ("off", "on")} for key in keys}
    mixed = asked.mixed(cell, [kept for key in keys for kept in found.groups.get(key, ())])
    objections = {
        key: asked.objection(info, cell, sides[key], key[2]) or mixed for key in keys if found.groups.get(key)
    }
    # what ran something else proves nothing of this kernel either
    sensitive = frozenset(
        name for key, seen in compared.items() if not objections.get(key) for name, one in seen.items() if one.sensitive
    )
    staged = []
    for key in keys:
        _, condition, mode = key
        if mode not in evidence.modes(info, condition):
            continue
        prefix = f"records/{cell.id}/{condition}/{mode}-"
        staged.append(
            Scene(
                info=info,
                cell=cell,
                condition=condition,
                mode=mode,
                group=sides[key][mode],
                stale=found.stale.get(key, 0),
                unreadable=tuple(
                    why
                    for path, why in sorted(run.unreadable.items())
                    if path.startswith(prefix) or prefix.startswith(f"{path}/")  # a record, or a folder of them
                ),
                objection=objections.get(key),
                unshown=asked.unshown(info, cell, sides[key][mode]),
                witnesses=spoken[key],
                comparisons=compared[key],
                sight=controls.sight(info.kernels, spoken[key], compared[key]),
                sensitive=sensitive,
            )
        )
    return [dataclasses.replace(scene, blind_elsewhere=_elsewhere(scene, staged)) for scene in staged]


def _elsewhere(scene: Scene, staged: Sequence[Scene]) -> str:
    """The first control that failed with samples in another scene of the cell: the instrument is one."""
    return next(
        (
            f"under {other.condition}, determinism {other.mode}, the control {name} failed: {check.why}"
            for other in staged
            for name, check in other.sight.checks.items()
            if other is not scene and check.passed is False and check.samples
        ),
        "",
    )
