"""Lay out the evidence of one kernel for the page: one table over all pairs, in which every text appears once."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

from bench.report.build.notes import together
from bench.report.formatting import DASH, seconds, significant
from bench.report.view import Note, Processes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.report.view import Column, Detail, ModeResult, Part, View

#: Up to so many measured pairs, a page shows every cell in full, and has a reproduce command for each.
_FULL, _SHORT = 8, 20
_UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))
#: The plot of times: width in pixels, height of a tick, top of the second mode.
_WIDTH, _HEIGHT, _SECOND = 160, 9, 11
_MOST_DECIMALS = 6
_EVIDENCE = "Evidence"
_Text = TypeVar("_Text")
#: A reproduce command (``bench.report.build.reproduce``), split where pairs differ.
_REPLAY = re.compile(r"(?P<run>.* -- )(?P<pair>\S+)(?P<kernel> \S+ s\d+-\d+x\d+-)(?P<lock>[0-9a-f]+)(?P<rest>-.*)")


class DetailLevel(IntEnum):
    """How much a page shows of a cell that is reproducible in both modes. All other cells are always shown in full."""

    BARE = 0
    SHORT = 1
    FULL = 2


@dataclass(frozen=True, kw_only=True)
class ModeCells:
    """One mode in one row of the table. Times are in the unit of the table, memory is in MB; "" where unknown."""

    mode_result: ModeResult
    bits: str
    time: str
    first: str
    cpu: str
    peak: str
    gpu_peak: str


@dataclass(frozen=True, kw_only=True)
class VariationCells:
    """One variation of one column: both modes side by side, and the plots of their times."""

    variation: str
    off: ModeCells | None
    on: ModeCells | None
    overhead: str
    plot: tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class ColumnRows:
    """The rows of one column."""

    anchor: str
    label: str
    environment: str
    variation_rows: tuple[VariationCells, ...]


@dataclass(frozen=True, kw_only=True)
class IdenticalColumns:
    """Columns with the same text, each with its anchor and name.

    ``reproduce_command`` reproduces one of them, with PAIR and LOCK in place of what differs between them.
    """

    text: str
    reproduce_command: str
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class KernelTable:
    """One kernel. ``letters`` has the digest behind each letter, ``low`` and ``high`` the ends of the axis of times.

    ``reproduce_command`` has the reproduce commands, or ``reproduce_groups`` what they have in common.
    """

    unit: str
    low: str
    high: str
    variations: bool
    gpu: bool
    column_rows: tuple[ColumnRows, ...]
    identical_columns: tuple[IdenticalColumns, ...]
    letters: tuple[tuple[str, str], ...]
    notes: tuple[Note, ...]
    processes: tuple[Processes, ...]
    reproduce_command: tuple[str, ...]
    reproduce_groups: tuple[IdenticalColumns, ...]


def depth(view: View) -> DetailLevel:
    """Return how much detail the page of a view shows."""
    pairs = sum(not column.blocked for column in view.columns)
    return DetailLevel.FULL if pairs <= _FULL else DetailLevel.SHORT if pairs <= _SHORT else DetailLevel.BARE


def kernel_tables(view: View) -> list[KernelTable | None]:
    """Return one table for each row of the view; None where no column was measured."""
    by_row: dict[int, list[Detail]] = {}
    for detail in view.details:
        by_row.setdefault(detail.index, []).append(detail)
    names = short_names(view.columns)
    room = depth(view)
    return [_kernel_table(details, names, room) if (details := by_row.get(row.index)) else None for row in view.rows]


def short_names(columns: Sequence[Column]) -> dict[str, str]:
    """Return the labels of columns without the parts that all of them share, where they stay distinct."""
    devices = {column.device for column in columns if column.device != "cpu"}
    tail = f" on {next(iter(devices))}" if len(devices) == 1 else ""
    short = [column.label.removeprefix("TF ").removesuffix(tail) for column in columns]
    unique = len(set(short)) == len(short)
    return {column.column: name if unique else column.label for column, name in zip(columns, short, strict=True)}


def plain(detail: Detail) -> bool:
    """Return whether the matrix says it all: reproducible in both modes, or a control that passed."""
    results = [part.mode_result if part else None for pair in detail.pairs for part in pair]
    return bool(results) and not detail.processes and all(result is not None and result.plain for result in results)


def _kernel_table(details: Sequence[Detail], names: dict[str, str], room: DetailLevel) -> KernelTable:
    labels = {detail.column: names[detail.column] for detail in details}
    brief = [detail for detail in details if room is not DetailLevel.FULL and plain(detail)]
    anchors = {detail.anchor for detail in brief}
    shown = [detail for detail in details if detail.anchor not in anchors]
    parts = [part for detail in shown for part in _parts(detail)]
    kind = "steady" if any(part.mode_result.time_kind == "steady" for part in parts) else "first"
    times = [time for part in parts if part.mode_result.time_kind == kind for time in part.times]
    unit, size = _unit(details)
    letters: dict[str, str] = {}
    axis = (kind, min(times), max(times)) if times and room is DetailLevel.FULL else None
    column_rows = tuple(_column_rows(detail, labels, letters, size, axis) for detail in shown)
    return KernelTable(
        unit=unit,
        low=seconds(axis[1]) if axis else "",
        high=seconds(axis[2]) if axis else "",
        variations=any(part.variation != "default" for part in parts),
        gpu=any(part.mode_result.peak_gpu_mb is not None for part in parts),
        column_rows=column_rows,
        identical_columns=_identical_columns(brief, labels, letters),
        letters=tuple(sorted(letters.items())),
        notes=_notes(details, labels),
        processes=_processes(details, labels),
        reproduce_command=tuple(
            detail.reproduce_command for detail in shown if detail.reproduce_command and room is DetailLevel.FULL
        ),
        reproduce_groups=_reproduce_groups(shown, labels) if room is not DetailLevel.FULL else (),
    )


def _parts(detail: Detail) -> list[Part]:
    return [part for pair in detail.pairs for part in pair if part]


def _unit(details: Iterable[Detail]) -> tuple[str, float]:
    """Return the unit in which most times have few digits."""
    medians = [
        part.mode_result.timing.median_s for detail in details for part in _parts(detail) if part.mode_result.timing
    ]
    middle = statistics.median(medians) if medians else 1e-3
    return next(((name, size) for name, size in _UNITS if middle >= size), _UNITS[-1])


def _column_rows(
    detail: Detail,
    labels: dict[str, str],
    letters: dict[str, str],
    size: float,
    axis: tuple[str, float, float] | None,
) -> ColumnRows:
    variation_rows = []
    for off, on in detail.pairs:
        either = off or on
        variation_rows.append(
            VariationCells(
                variation=either.variation if either else "",
                off=_columns(off, letters, size) if off else None,
                on=_columns(on, letters, size) if on else None,
                overhead=on.mode_result.overhead if on else "",
                plot=(_ticks(off, axis, 0), _ticks(on, axis, _SECOND)),
            )
        )
    return ColumnRows(
        anchor=detail.anchor,
        label=labels[detail.column],
        environment=detail.environment,
        variation_rows=tuple(variation_rows),
    )


def _ticks(part: Part | None, axis: tuple[str, float, float] | None, top: int) -> str:
    """Return a tick for every process of one variation and mode; first calls and later ones share no axis."""
    if part is None or axis is None or part.mode_result.time_kind != axis[0]:
        return ""
    return _tick_path(part.times, axis[1:], _WIDTH, top, _HEIGHT)


def _columns(part: Part, letters: dict[str, str], size: float) -> ModeCells:
    result, timing = part.mode_result, part.mode_result.timing
    main = span = ""
    if timing:
        main = number(timing.median_s / size)
        ends = [number(time / size) for time in (timing.low_s, timing.high_s)]
        span = f" ({ends[0]}{DASH}{ends[1]})" if ends[0] != ends[1] else ""
    steady = result.time_kind == "steady"
    first = timing.first_median_s if timing and steady else None
    return ModeCells(
        mode_result=result,
        bits=_bits(part, letters),
        time=f"{main}{span}" if steady else "",
        first=number(first / size) if first is not None else "" if steady else f"{main}{span}",
        cpu=number(timing.cpu_median_s / size) if timing and timing.cpu_median_s is not None else "",
        peak=_whole(result.peak_mb),
        gpu_peak=_whole(result.peak_gpu_mb),
    )


def _whole(value: float | None) -> str:
    return f"{value:.0f}" if value is not None and math.isfinite(value) else ""


def number(value: float) -> str:
    """Return three significant digits, of small numbers too: ``1250``, ``1.06``, ``0.0212``."""
    if value >= 1 or value <= 0:
        return significant(value)
    return f"{value:.{min(_MOST_DECIMALS, 2 - math.floor(math.log10(value)))}f}"


def _bits(part: Part, letters: dict[str, str]) -> str:
    """Return the letter of a single digest with its count, or the number of several digests."""
    if not part.digests:
        return ""
    if part.mode_result.distinct_digests > 1:
        return f"{part.mode_result.distinct_digests} digests"
    (digest,) = part.digests
    letter = part.mode_result.letters
    known = letter and letters.setdefault(letter, digest.label) == digest.label
    return f"{letter if known else digest.label} {digest.value}"


def _identical_columns(
    details: Iterable[Detail], labels: dict[str, str], letters: dict[str, str]
) -> tuple[IdenticalColumns, ...]:
    """Group pairs that the matrix describes completely by their bits."""
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for detail in details:
        by_text: dict[str, list[str]] = {}
        for pair in detail.pairs:
            parts = [part for part in pair if part]
            modes = [f"{part.mode_result.mode} {part.mode_result.status}, {_bits(part, letters)}" for part in parts]
            by_text.setdefault("; ".join(modes), []).append(parts[0].variation)
        texts = [f"{', '.join(where)}: {text}" if len(by_text) > 1 else text for text, where in by_text.items()]
        groups.setdefault((". ".join(texts), _pattern(detail)[0]), []).append((detail.anchor, labels[detail.column]))
    return tuple(
        IdenticalColumns(text=text, reproduce_command=reproduce_command, pairs=tuple(pairs))
        for (text, reproduce_command), pairs in groups.items()
    )


def _reproduce_groups(details: Iterable[Detail], labels: dict[str, str]) -> tuple[IdenticalColumns, ...]:
    """Group the reproduce commands of pairs that are in the table."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for detail in details:
        if detail.reproduce_command:
            groups.setdefault(_pattern(detail)[0] or detail.reproduce_command, []).append(("", labels[detail.column]))
    return tuple(
        IdenticalColumns(text="", reproduce_command=reproduce_command, pairs=tuple(pairs))
        for reproduce_command, pairs in groups.items()
    )


def _pattern(detail: Detail) -> tuple[str, str]:
    """Return the reproduce command with PAIR and LOCK in place of the pair's own, and the lock; "" without one."""
    match = _REPLAY.fullmatch(detail.reproduce_command)
    if match is None or match["pair"] != detail.column:
        return "", ""
    return f"{match['run']}PAIR{match['kernel']}LOCK{match['rest']}", match["lock"]


def locks(view: View) -> tuple[tuple[str, str, str], ...]:
    """Return the name, PAIR and LOCK of every pair whose reproduce command is shown with these placeholders."""
    names = short_names(view.columns)
    by_column = {detail.column: lock for detail in view.details if (lock := _pattern(detail)[1])}
    return tuple((names[column], column, lock) for column, lock in by_column.items())


def common(tables: Sequence[KernelTable | None]) -> Note | None:
    """Return the evidence that most kernels have in all their cells, so that a long page states it once.

    Returns None where no two kernels share it.
    """
    tally = Counter(
        note for table in tables if table for note in table.notes if note.label == _EVIDENCE and not note.where
    )
    note, times = max(tally.items(), key=lambda item: (item[1], item[0].sentences), default=(None, 0))
    return note if times > 1 else None


def _notes(details: Sequence[Detail], labels: dict[str, str]) -> tuple[Note, ...]:
    """Return each note once, with all the places that it applies to; the strength of the evidence comes first."""
    texts: list[tuple[tuple[str, tuple[str, ...], str], str, str]] = []
    for detail in details:
        texts += [((label, (text,), ""), detail.column, where) for label, text, where in _evidence(detail)]
        texts += [((note.label, note.sentences, note.block), detail.column, note.where) for note in detail.notes]
    merged = [
        Note(label=label, where=where, sentences=sentences, block=block)
        for (label, sentences, block), where in _merged(texts, labels)
    ]
    order = {label: place for place, label in reversed(list(enumerate(note.label for note in merged)))}
    return tuple(sorted(merged, key=lambda note: order[note.label]))


def _evidence(detail: Detail) -> list[tuple[str, str, str]]:
    """Return the evidence behind every status, and the digests where there are several, with where they apply."""
    parts = _parts(detail)
    places = [f"{part.variation}, {part.mode_result.mode}" for part in parts]
    by_text: dict[tuple[str, str], list[str]] = {}
    for part, where in zip(parts, places, strict=True):
        evidence = "; ".join(filter(None, (_evidence_text(part.mode_result), part.evidence)))
        for label, text in ((_EVIDENCE, evidence), ("Digests", _several(part))):
            if text:
                by_text.setdefault((label, text), []).append(where)
    return [(label, text, together(where, places)) for (label, text), where in by_text.items()]


def _several(part: Part) -> str:
    """Return several digests, numbered; "" for a single one, and for a control that had to differ."""
    several = len(part.digests) > 1 and not part.mode_result.passed
    return "; ".join(f"{digest.label} {digest.value}".strip() for digest in part.digests) if several else ""


def _evidence_text(result: ModeResult) -> str:
    """Return the evidence of a status; the class of an error is shown with the error."""
    return "" if result.evidence_text == result.error_class else result.evidence_text


def _processes(details: Sequence[Detail], labels: dict[str, str]) -> tuple[Processes, ...]:
    texts = [(processes.lines, detail.column, processes.where) for detail in details for processes in detail.processes]
    return tuple(Processes(where=where, lines=lines) for lines, where in _merged(texts, labels))


def _merged(texts: Iterable[tuple[_Text, str, str]], labels: dict[str, str]) -> list[tuple[_Text, str]]:
    """Return each text once, with the pairs and the places in them that it applies to; "" for everywhere."""
    by_text: dict[_Text, dict[str, list[str]]] = {}
    for text, column, where in texts:
        by_text.setdefault(text, {}).setdefault(where, []).append(labels[column])
    return [(text, _places(places, len(labels))) for text, places in by_text.items()]


def _places(places: dict[str, list[str]], total: int) -> str:
    texts = []
    for where, pairs in places.items():
        named = "all pairs" if len(pairs) == total else ", ".join(pairs)
        if total == 1 or (len(places) == 1 and len(pairs) == total):
            texts.append(where)
        else:
            texts.append(f"{named} ({where})" if where else named)
    return "; ".join(filter(None, texts))


def _tick_path(times: Sequence[float], scale: tuple[float, float], width: int, top: int, height: int) -> str:
    """Return an SVG path with one vertical tick per time; equal ticks are drawn once.

    The path has no space, so that the attribute needs no quotes.
    """
    low, span = scale[0], (scale[1] - scale[0]) or 1.0
    places = sorted({round(width * (time - low) / span) for time in times})
    if not places:
        return ""
    path = f"M{places[0]},{top}v{height}"
    for before, place in pairwise(places):
        path += f"m{place - before}-{height}v{height}"
    return path
