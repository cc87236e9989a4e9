"""What the instrument could see: the controls of every column, variation and mode in few lines."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from bench.report.build.columns import labels
from bench.report.formatting import clean, listed, share
from bench.report.view import ControlLine, Instrument
from bench.verdict.messages import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.store.run_info import ColumnInfo
    from bench.verdict.controls import Check, ControlSummary
    from bench.verdict.results import Group, RunResults

_MOST_PLACES = 4


def instrument(results: RunResults) -> Instrument:
    """The block of the page, and its sentence for the first screen."""
    names = labels(results)
    control_summaries = _measured(results)
    by_column: dict[str, dict[Group, ControlSummary]] = {}
    for key, control_summary in control_summaries.items():
        by_column.setdefault(key[0], {})[key] = control_summary
    lines: list[ControlLine] = []
    told: list[str] = []
    for label, column in zip(names, results.info.columns, strict=True):
        lines += _lines(label, by_column.get(column.id, {}))
        told += _gpu(results, label, column)
    return Instrument(
        sentence=_weakest(control_summaries, dict(zip(_ids(results), names, strict=True))),
        lines=_together(lines, len(by_column)),
        gpu=tuple(told),
    )


def _together(lines: Iterable[ControlLine], total: int) -> tuple[ControlLine, ...]:
    """Columns that show the same share a line."""
    found: dict[ControlLine, list[str]] = {}
    for line in lines:
        found.setdefault(dataclasses.replace(line, label=""), []).append(line.label)
    return tuple(
        dataclasses.replace(line, label=f"all {total} pairs" if 1 < total == len(names) else ", ".join(names))
        for line, names in found.items()
    )


def _ids(results: RunResults) -> list[str]:
    return [column.id for column in results.info.columns]


def _measured(results: RunResults) -> dict[Group, ControlSummary]:
    """The control_summaries of groups that have records, in the order of the page."""
    keys = (
        (column.id, variation, mode)
        for column in results.info.columns
        for variation in results.variations
        for mode in ("off", "on")
    )
    return {
        key: results.control_summaries[key]
        for key in keys
        if key in results.control_summaries and results.groups.get(key)
    }


def _lines(label: str, control_summaries: Mapping[Group, ControlSummary]) -> list[ControlLine]:
    """One line for each thing that is to be said of a column, with the places it is true of."""
    places: dict[tuple[str, str, str, str], list[tuple[str, str]]] = {}
    for (_, variation, mode), control_summary in control_summaries.items():
        places.setdefault(_told(control_summary), []).append((variation, mode))
    return [
        ControlLine(
            label=label,
            places=_places(where, len(control_summaries)),
            seen=told[0],
            out_of_reach=told[1],
            failed=told[2],
            sentence=told[3],
        )
        for told, where in places.items()
    ]


def _told(control_summary: ControlSummary) -> tuple[str, str, str, str]:
    """Seen, out of reach, failed, and what that is worth."""
    differ = [
        one for _, one in sorted(control_summary.checks.items(), key=lambda item: (-item[1].rate, item[0])) if one.rate
    ]
    failed = [f"{clean(name)}: {clean(one.why)}" for name, one in control_summary.checks.items() if one.passed is False]
    return (
        _rates(one for one in differ if one.passed),
        _rates(one for one in differ if one.passed is None),
        "; ".join(failed),
        _sentence(control_summary),
    )


def _rates(checks: Iterable[Check]) -> str:
    """The rates of controls; what so few samples need not have shown was seen by chance."""
    return ", ".join(
        share(one.rate).removesuffix(" samples") + (" (by chance)" if one.passed and not one.reach else "")
        for one in checks
    )


def _sentence(control_summary: ControlSummary) -> str:
    if control_summary.control_failed:
        return "Blind: nothing can be told here."
    if control_summary.detection_limit is None:
        return "Too few samples to show that a difference would have been seen."
    told = f"A kernel that differs in {share(control_summary.detection_limit)} would have been seen"
    if control_summary.best is not None and control_summary.best < control_summary.detection_limit:
        told += f"; of those with the most repetitions, one in {share(control_summary.best)}"
    return f"{told}."


def _places(where: Sequence[tuple[str, str]], total: int) -> str:
    if len(where) == total:
        return "all variations and modes" if total > 1 else f"{clean(where[0][0])}, {where[0][1]}"
    by_variation: dict[str, list[str]] = {}
    for variation, mode in where:
        by_variation.setdefault(clean(variation), []).append(mode)
    return listed([f"{variation} {'/'.join(modes)}" for variation, modes in by_variation.items()], _MOST_PLACES)


def _weakest(control_summaries: Mapping[Group, ControlSummary], names: Mapping[str, str]) -> str:
    """The sensitivity that holds everywhere, and where the instrument could not see at all."""
    if not control_summaries:
        return ""
    blind = [key for key, control_summary in control_summaries.items() if control_summary.control_failed]
    open_eyes = {
        key: control_summary for key, control_summary in control_summaries.items() if not control_summary.control_failed
    }
    told = []
    known = [
        control_summary.detection_limit
        for control_summary in open_eyes.values()
        if control_summary.detection_limit is not None
    ]
    if known and len(known) == len(open_eyes):
        worst = max(known)
        where = [key for key, control_summary in open_eyes.items() if control_summary.detection_limit == worst]
        place = "" if len(where) == len(open_eyes) else f" (weakest: {_place(where, names)})"
        told.append(f"By its controls, the instrument would have seen a kernel that differs in {share(worst)}{place}.")
    elif open_eyes:
        lost = [key for key, control_summary in open_eyes.items() if control_summary.detection_limit is None]
        told.append(f"No control shows that a difference would have been seen in {_place(lost, names)}.")
    if blind:
        told.append(f"The instrument was blind in {_place(blind, names)}.")
    return " ".join(told)


def _place(keys: Sequence[Group], names: Mapping[str, str]) -> str:
    """One place by name, more by their number."""
    column, variation, mode = keys[0]
    first = f"{names[column]}, {clean(variation)}, {mode}"
    return first if len(keys) == 1 else f"{first} and {count(len(keys) - 1, 'more place')}"


def _gpu(results: RunResults, label: str, column: ColumnInfo) -> list[str]:
    """One sentence for a GPU column: which of the kernels known to vary there were seen to."""
    seen = results.gpu_controls(column.id).seen
    if not seen or not any(key[0] == column.id for key in results.groups):
        return []
    varied = [clean(name) for name, varies in seen.items() if varies]
    exact = [clean(name) for name, varies in seen.items() if varies is False]
    missing = [clean(name) for name, varies in seen.items() if varies is None]
    rows = ((varied, "varied as expected"), (exact, "came out exact"), (missing, "not measured"))
    told = "; ".join(f"{', '.join(found)} {word}" for found, word in rows if found)
    return [f"{label}, kernels known to vary on GPUs with determinism off: {told}."]
