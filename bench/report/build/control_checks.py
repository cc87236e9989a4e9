"""Summarize the controls of every column, variation and mode, and the detection limit that follows from them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from bench.report.build.columns import labels, labels_by_column
from bench.report.formatting import clean, listed, share
from bench.report.view import ControlChecks, ControlGroup, ControlLine
from bench.verdict.evidence import percent_up
from bench.verdict.messages import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.store.run_info import ColumnInfo
    from bench.verdict.controls import Check, ControlSummary
    from bench.verdict.record_group import Group
    from bench.verdict.results import RunResults

    Summaries = Mapping[Group, ControlSummary]

_MOST_PLACES = 4


def control_checks(results: RunResults) -> ControlChecks:
    """Return what the controls showed: one sentence, a line for each column, and the numbers of every group."""
    names = labels(results)
    summaries = _measured(results)
    by_column: dict[str, dict[Group, ControlSummary]] = {}
    for key, summary in summaries.items():
        by_column.setdefault(key[0], {})[key] = summary
    lines: list[ControlLine] = []
    gpu: list[str] = []
    for label, column in zip(names, results.info.columns, strict=True):
        lines += _lines(label, by_column.get(column.id, {}))
        gpu += _gpu(results, label, column)
    seen = {column.id: results.gpu_controls(column.id).seen for column in results.info.columns}
    return ControlChecks(
        sentence=_overall(summaries, results.variations[0], labels_by_column(results)),
        lines=_merged(lines, len(by_column)),
        gpu=tuple(gpu),
        groups=tuple(_group(key, summary) for key, summary in summaries.items()),
        gpu_controls={column: kernels for column, kernels in seen.items() if kernels},
    )


def _group(key: Group, summary: ControlSummary) -> ControlGroup:
    column, variation, mode = key
    return ControlGroup(
        column=clean(column),
        variation=clean(variation),
        mode=mode,
        detection_limit=summary.detection_limit,
        failed=clean(summary.control_failed),
        checks=summary.checks,
    )


def _merged(lines: Iterable[ControlLine], total: int) -> tuple[ControlLine, ...]:
    """Return one line for the columns that show the same."""
    by_text: dict[ControlLine, list[str]] = {}
    for line in lines:
        by_text.setdefault(dataclasses.replace(line, label=""), []).append(line.label)
    return tuple(
        dataclasses.replace(line, label=f"all {total} columns" if 1 < total == len(names) else ", ".join(names))
        for line, names in by_text.items()
    )


def _measured(results: RunResults) -> dict[Group, ControlSummary]:
    """Return the control summaries of the groups that have records, in the order of the page."""
    keys = (
        (column.id, variation, mode)
        for column in results.info.columns
        for variation in results.variations
        for mode in ("off", "on")
    )
    summaries = results.control_summaries
    return {key: summaries[key] for key in keys if key in summaries and results.groups.get(key)}


def _lines(label: str, summaries: Summaries) -> list[ControlLine]:
    """Return one line for each distinct result of a column, with the places where it holds."""
    places: dict[ControlLine, list[tuple[str, str]]] = {}
    for (_, variation, mode), summary in summaries.items():
        places.setdefault(_line(label, summary), []).append((variation, mode))
    return [dataclasses.replace(line, places=_places(where, len(summaries))) for line, where in places.items()]


def _line(label: str, summary: ControlSummary) -> ControlLine:
    checks = sorted(summary.checks.items(), key=lambda item: (-item[1].rate, item[0]))
    must_differ = [check for _, check in checks if check.rate]
    failed = [f"{clean(name)}: {clean(check.why)}" for name, check in summary.checks.items() if check.passed is False]
    return ControlLine(
        label=label,
        places="",
        seen=_rates(check for check in must_differ if check.passed),
        out_of_reach=_rates(check for check in must_differ if check.passed is None),
        failed="; ".join(failed),
        sentence=_sentence(summary),
    )


def _rates(checks: Iterable[Check]) -> str:
    """Return the rates of controls. One that so few samples did not have to show was seen by chance."""
    return ", ".join(
        share(check.rate).removesuffix(" samples") + (" (by chance)" if check.passed and not check.reach else "")
        for check in checks
    )


def _sentence(summary: ControlSummary) -> str:
    if summary.control_failed:
        return "Control failed: the results of this group cannot be used."
    if summary.detection_limit is None:
        return "Too few samples to establish a detection limit."
    text = _limit(summary.detection_limit)
    if summary.best is not None and summary.best < summary.detection_limit:
        text += f"; {percent_up(summary.best)} % for those with the most repetitions"
    return f"{text[:1].upper()}{text[1:]}."


def _limit(rate: float) -> str:
    share_text = "every sample" if rate >= 1 else f"at least {percent_up(rate)} % of samples"
    return f"kernels that differ in {share_text}"


def _places(where: Sequence[tuple[str, str]], total: int) -> str:
    if len(where) == total:
        return "all variations and modes" if total > 1 else f"{clean(where[0][0])}, {where[0][1]}"
    by_variation: dict[str, list[str]] = {}
    for variation, mode in where:
        by_variation.setdefault(clean(variation), []).append(mode)
    return listed([f"{variation} {'/'.join(modes)}" for variation, modes in by_variation.items()], _MOST_PLACES)


def _overall(summaries: Summaries, deciding: str, names: Mapping[str, str]) -> str:
    """Return the detection limit that holds everywhere under the variation that decides, and where a control failed."""
    failed = [key for key, summary in summaries.items() if summary.control_failed]
    limits = {
        key: summary.detection_limit
        for key, summary in summaries.items()
        if key[1] == deciding and not summary.control_failed
    }
    known = [limit for limit in limits.values() if limit is not None]
    texts = []
    under = f" under the variation {clean(deciding)}" if len({variation for _, variation, _ in summaries}) > 1 else ""
    if known and len(known) == len(limits):
        worst = max(known)
        where = [key for key, limit in limits.items() if limit == worst]
        place = "" if len(where) == len(limits) else f" (the highest, in {_place(where, names)})"
        texts.append(f"Detection limit{under}: {_limit(worst)}{place}.")
    elif limits:
        unknown = [key for key, limit in limits.items() if limit is None]
        texts.append(f"Detection limit{under}: unknown in {_place(unknown, names)}, where the samples are too few.")
    if failed:
        texts.append(f"A control failed in {_place(failed, names)}.")
    return " ".join(texts)


def _place(keys: Sequence[Group], names: Mapping[str, str]) -> str:
    """Return one place by name, and the number of the others."""
    column, variation, mode = keys[0]
    first = f"{names[column]}, {clean(variation)}, {mode}"
    return first if len(keys) == 1 else f"{first} and {count(len(keys) - 1, 'more place')}"


def _gpu(results: RunResults, label: str, column: ColumnInfo) -> list[str]:
    """Say which of the kernels known to be nondeterministic on GPUs were so in a GPU column."""
    seen = results.gpu_controls(column.id).seen
    if not seen or not any(key[0] == column.id for key in results.groups):
        return []
    rows = (
        ([clean(name) for name, varies in seen.items() if varies], "differed, as expected"),
        ([clean(name) for name, varies in seen.items() if varies is False], "did not differ"),
        ([clean(name) for name, varies in seen.items() if varies is None], "not measured"),
    )
    text = "; ".join(f"{', '.join(names)} {words}" for names, words in rows if names)
    return [f"{label}, kernels known to be nondeterministic on GPUs with determinism off: {text}."]
