"""What the instrument could see: the controls of every column, condition and mode in few lines."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from bench.report.columns import labels
from bench.report.text import clean, listed, share
from bench.report.view import Instrument, SightLine
from bench.verdict.sentences import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.store.run_info import CellInfo
    from bench.verdict.controls import Check, Sight
    from bench.verdict.judgement import Group, Judgement

_MOST_PLACES = 4


def instrument(judgement: Judgement) -> Instrument:
    """The block of the page, and its sentence for the first screen."""
    names = labels(judgement)
    sights = _measured(judgement)
    by_cell: dict[str, dict[Group, Sight]] = {}
    for key, sight in sights.items():
        by_cell.setdefault(key[0], {})[key] = sight
    lines: list[SightLine] = []
    told: list[str] = []
    for label, cell in zip(names, judgement.info.cells, strict=True):
        lines += _lines(label, by_cell.get(cell.id, {}))
        told += _gpu(judgement, label, cell)
    return Instrument(
        sentence=_weakest(sights, dict(zip(_ids(judgement), names, strict=True))),
        lines=_together(lines, len(by_cell)),
        gpu=tuple(told),
    )


def _together(lines: Iterable[SightLine], total: int) -> tuple[SightLine, ...]:
    """Columns that show the same share a line."""
    found: dict[SightLine, list[str]] = {}
    for line in lines:
        found.setdefault(dataclasses.replace(line, label=""), []).append(line.label)
    return tuple(
        dataclasses.replace(line, label=f"all {total} pairs" if 1 < total == len(names) else ", ".join(names))
        for line, names in found.items()
    )


def _ids(judgement: Judgement) -> list[str]:
    return [cell.id for cell in judgement.info.cells]


def _measured(judgement: Judgement) -> dict[Group, Sight]:
    """The sights of groups that have records, in the order of the page."""
    keys = (
        (cell.id, condition, mode)
        for cell in judgement.info.cells
        for condition in judgement.conditions
        for mode in ("off", "on")
    )
    return {key: judgement.sights[key] for key in keys if key in judgement.sights and judgement.groups.get(key)}


def _lines(label: str, sights: Mapping[Group, Sight]) -> list[SightLine]:
    """One line for each thing that is to be said of a column, with the places it is true of."""
    places: dict[tuple[str, str, str, str], list[tuple[str, str]]] = {}
    for (_, condition, mode), sight in sights.items():
        places.setdefault(_told(sight), []).append((condition, mode))
    return [
        SightLine(
            label=label,
            places=_places(where, len(sights)),
            seen=told[0],
            out_of_reach=told[1],
            failed=told[2],
            sentence=told[3],
        )
        for told, where in places.items()
    ]


def _told(sight: Sight) -> tuple[str, str, str, str]:
    """Seen, out of reach, failed, and what that is worth."""
    differ = [one for _, one in sorted(sight.checks.items(), key=lambda item: (-item[1].rate, item[0])) if one.rate]
    failed = [f"{clean(name)}: {clean(one.why)}" for name, one in sight.checks.items() if one.passed is False]
    return (
        _rates(one for one in differ if one.passed),
        _rates(one for one in differ if one.passed is None),
        "; ".join(failed),
        _sentence(sight),
    )


def _rates(checks: Iterable[Check]) -> str:
    """The rates of controls; what so few samples need not have shown was seen by chance."""
    return ", ".join(
        share(one.rate).removesuffix(" samples") + (" (by chance)" if one.passed and not one.reach else "")
        for one in checks
    )


def _sentence(sight: Sight) -> str:
    if sight.blind:
        return "Blind: nothing can be told here."
    if sight.sensitivity is None:
        return "Too few samples to show that a difference would have been seen."
    told = f"A kernel that differs in {share(sight.sensitivity)} would have been seen"
    if sight.best is not None and sight.best < sight.sensitivity:
        told += f"; of those with the most repeats, one in {share(sight.best)}"
    return f"{told}."


def _places(where: Sequence[tuple[str, str]], total: int) -> str:
    if len(where) == total:
        return "all conditions and modes" if total > 1 else f"{clean(where[0][0])}, {where[0][1]}"
    by_condition: dict[str, list[str]] = {}
    for condition, mode in where:
        by_condition.setdefault(clean(condition), []).append(mode)
    return listed([f"{condition} {'/'.join(modes)}" for condition, modes in by_condition.items()], _MOST_PLACES)


def _weakest(sights: Mapping[Group, Sight], names: Mapping[str, str]) -> str:
    """The sensitivity that holds everywhere, and where the instrument could not see at all."""
    if not sights:
        return ""
    blind = [key for key, sight in sights.items() if sight.blind]
    open_eyes = {key: sight for key, sight in sights.items() if not sight.blind}
    told = []
    known = [sight.sensitivity for sight in open_eyes.values() if sight.sensitivity is not None]
    if known and len(known) == len(open_eyes):
        worst = max(known)
        where = [key for key, sight in open_eyes.items() if sight.sensitivity == worst]
        place = "" if len(where) == len(open_eyes) else f" (weakest: {_place(where, names)})"
        told.append(f"By its controls, the instrument would have seen a kernel that differs in {share(worst)}{place}.")
    elif open_eyes:
        lost = [key for key, sight in open_eyes.items() if sight.sensitivity is None]
        told.append(f"No control shows that a difference would have been seen in {_place(lost, names)}.")
    if blind:
        told.append(f"The instrument was blind in {_place(blind, names)}.")
    return " ".join(told)


def _place(keys: Sequence[Group], names: Mapping[str, str]) -> str:
    """One place by name, more by their number."""
    cell, condition, mode = keys[0]
    first = f"{names[cell]}, {clean(condition)}, {mode}"
    return first if len(keys) == 1 else f"{first} and {count(len(keys) - 1, 'more place')}"


def _gpu(judgement: Judgement, label: str, cell: CellInfo) -> list[str]:
    """One sentence for a GPU column: which of the kernels known to vary there were seen to."""
    seen = judgement.gpu_controls(cell.id).seen
    if not seen or not any(key[0] == cell.id for key in judgement.groups):
        return []
    varied = [clean(name) for name, varies in seen.items() if varies]
    exact = [clean(name) for name, varies in seen.items() if varies is False]
    missing = [clean(name) for name, varies in seen.items() if varies is None]
    rows = ((varied, "varied as expected"), (exact, "came out exact"), (missing, "not measured"))
    told = "; ".join(f"{', '.join(found)} {word}" for found, word in rows if found)
    return [f"{label}, kernels known to vary on GPUs with determinism off: {told}."]
