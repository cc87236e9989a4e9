"""The evidence of one kernel as the page lays it out: one table over all pairs, and every word of it once."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, TypeVar

from bench.report.build.charts import ticks
from bench.report.build.notes import together
from bench.report.formatting import DASH, seconds, significant
from bench.report.view import Note, Processes
from bench.verdict.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.report.view import Column, Detail, ModeResult, Part, View

#: Up to so many measured pairs a page tells all of each field, and up to so many it has a replay line for each.
_FULL, _SHORT = 8, 20
_UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))
#: Of the line of times.
_WIDTH, _TALL, _SECOND = 160, 9, 11
_SMALLEST = 6
_EVIDENCE = "Evidence"
_Words = TypeVar("_Words")
#: A replay line (``bench.report.build.reproduce``), cut where pairs differ.
_REPLAY = re.compile(r"(?P<run>.* -- )(?P<pair>\S+)(?P<kernel> \S+ s\d+-\d+x\d+-)(?P<lock>[0-9a-f]+)(?P<rest>-.*)")


class Depth(IntEnum):
    """How much of a plainly exact field a page has room for. Of any other it tells all."""

    BARE = 0
    SHORT = 1
    FULL = 2


@dataclass(frozen=True, kw_only=True)
class Columns:
    """One mode in one line of the table. Times are in the table's unit, memory is in MB; "" where unknown."""

    half: ModeResult
    bits: str
    time: str
    first: str
    cpu: str
    peak: str
    gpu_peak: str


@dataclass(frozen=True, kw_only=True)
class Lane:
    """One variation of one pair: both modes side by side, and their times as paths of a plot."""

    variation: str
    off: Columns | None
    on: Columns | None
    overhead: str
    plot: tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Band:
    """One pair."""

    anchor: str
    label: str
    environment: str
    lanes: tuple[Lane, ...]


@dataclass(frozen=True, kw_only=True)
class Alike:
    """Pairs of which only this is to be said: each with its anchor and name.

    ``replay`` is the command that measures one again, with PAIR and LOCK for what is each pair's own; "" without one.
    """

    text: str
    replay: str
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class KernelTable:
    """One kernel. ``letters`` are the digests behind the letters, ``low`` and ``high`` the ends of the line of times.

    ``replay`` has whole lines, or ``replays`` what they have in common.
    """

    unit: str
    low: str
    high: str
    variations: bool
    gpu: bool
    bands: tuple[Band, ...]
    alike: tuple[Alike, ...]
    letters: tuple[tuple[str, str], ...]
    notes: tuple[Note, ...]
    processes: tuple[Processes, ...]
    replay: tuple[str, ...]
    replays: tuple[Alike, ...]


def depth(view: View) -> Depth:
    """How much room the page of a view has."""
    pairs = sum(not column.blocked for column in view.columns)
    return Depth.FULL if pairs <= _FULL else Depth.SHORT if pairs <= _SHORT else Depth.BARE


def sheets(view: View) -> list[KernelTable | None]:
    """One for each row of the view; None where no pair was measured."""
    by_row: dict[int, list[Detail]] = {}
    for one in view.details:
        by_row.setdefault(one.index, []).append(one)
    names = short_names(view.columns)
    room = depth(view)
    return [_sheet(found, names, room) if (found := by_row.get(row.index)) else None for row in view.rows]


def short_names(columns: Sequence[Column]) -> dict[str, str]:
    """Names of pairs that are still their own without what all of them share."""
    devices = {column.device for column in columns if column.device != "cpu"}
    tail = f" on {next(iter(devices))}" if len(devices) == 1 else ""
    short = [column.label.removeprefix("TF ").removesuffix(tail) for column in columns]
    unique = len(set(short)) == len(short)
    return {column.column: name if unique else column.label for column, name in zip(columns, short, strict=True)}


def plain(detail: Detail) -> bool:
    """Whether all there is to say stands in the matrix: exact in both modes, or a control that did what it must."""
    halves = [part.half if part else None for pair in detail.pairs for part in pair]
    return bool(halves) and not detail.processes and all(half is not None and _expected(half) for half in halves)


def _expected(half: ModeResult) -> bool:
    found = half.verdict
    if found is None or found.discarded or set(dict(found.outcomes)) != {"ok"}:
        return False
    return bool(found.passed) if found.control else found.status is Status.REPRODUCIBLE


def _sheet(details: Sequence[Detail], names: dict[str, str], room: Depth) -> KernelTable:
    labels = {one.column: names[one.column] for one in details}
    spare = [one for one in details if room is not Depth.FULL and plain(one)]
    brief = {one.anchor for one in spare}
    shown = [one for one in details if one.anchor not in brief]
    parts = [part for one in shown for pair in one.pairs for part in pair if part]
    kind = "steady" if any(part.half.time_kind == "steady" for part in parts) else "first"
    times = [time for part in parts if part.half.time_kind == kind for time in part.times]
    unit, size = _unit(details)
    letters: dict[str, str] = {}
    line = (kind, min(times), max(times)) if times and room is Depth.FULL else None
    bands = tuple(_band(one, labels, letters, size, line) for one in shown)
    return KernelTable(
        unit=unit,
        low=seconds(line[1]) if line else "",
        high=seconds(line[2]) if line else "",
        variations=any(part.variation != "default" for part in parts),
        gpu=any(part.half.verdict and part.half.verdict.peak_gpu_mb is not None for part in parts),
        bands=bands,
        alike=_alike(spare, labels, letters),
        letters=tuple(sorted(letters.items())),
        notes=_notes(details, labels),
        processes=_processes(details, labels),
        replay=tuple(one.replay for one in shown if one.replay and room is Depth.FULL),
        replays=_replays(shown, labels) if room is not Depth.FULL else (),
    )


def _unit(details: Iterable[Detail]) -> tuple[str, float]:
    """The unit in which most times have few digits."""
    walls = [
        part.half.verdict.timing.median_s
        for one in details
        for pair in one.pairs
        for part in pair
        if part and part.half.verdict and part.half.verdict.timing
    ]
    middle = statistics.median(walls) if walls else 1e-3
    return next(((name, size) for name, size in _UNITS if middle >= size), _UNITS[-1])


def _band(
    detail: Detail,
    labels: dict[str, str],
    letters: dict[str, str],
    size: float,
    line: tuple[str, float, float] | None,
) -> Band:
    lanes = []
    for off, on in detail.pairs:
        either = off or on
        lanes.append(
            Lane(
                variation=either.variation if either else "",
                off=_columns(off, letters, size) if off else None,
                on=_columns(on, letters, size) if on else None,
                overhead=on.half.overhead if on else "",
                plot=(_ticks(off, line, 0), _ticks(on, line, _SECOND)),
            )
        )
    return Band(anchor=detail.anchor, label=labels[detail.column], environment=detail.environment, lanes=tuple(lanes))


def _ticks(part: Part | None, line: tuple[str, float, float] | None, top: int) -> str:
    """Every process of one variation and mode; first calls and later ones share no line."""
    if part is None or line is None or part.half.time_kind != line[0]:
        return ""
    return ticks(part.times, line[1:], _WIDTH, top, _TALL)


def _columns(part: Part, letters: dict[str, str], size: float) -> Columns:
    verdict = part.half.verdict
    timing = verdict.timing if verdict else None
    found = Columns(half=part.half, bits=_bits(part, letters), time="", first="", cpu="", peak="", gpu_peak="")
    if verdict is None:
        return found
    main = span = ""
    if timing:
        main = number(timing.median_s / size)
        ends = [number(time / size) for time in (timing.low_s, timing.high_s)]
        span = f" ({ends[0]}{DASH}{ends[1]})" if ends[0] != ends[1] else ""
    steady = part.half.time_kind == "steady"
    first = timing.first_median_s if timing and steady else None
    return Columns(
        half=part.half,
        bits=found.bits,
        time=f"{main}{span}" if steady else "",
        first=number(first / size) if first is not None else "" if steady else f"{main}{span}",
        cpu=number(timing.cpu_median_s / size) if timing and timing.cpu_median_s is not None else "",
        peak=_whole(verdict.peak_mb),
        gpu_peak=_whole(verdict.peak_gpu_mb),
    )


def _whole(value: float | None) -> str:
    return f"{value:.0f}" if value is not None and math.isfinite(value) else ""


def number(value: float) -> str:
    """Three significant digits, of small numbers too: ``1250``, ``1.06``, ``0.0212``."""
    if value >= 1 or value <= 0:
        return significant(value)
    return f"{value:.{min(_SMALLEST, 2 - math.floor(math.log10(value)))}f}"


def _bits(part: Part, letters: dict[str, str]) -> str:
    """One digest by its letter, which stands for it in the whole table; of several their number."""
    verdict = part.half.verdict
    if verdict is None or not part.digests:
        return ""
    if len(verdict.comparison.digests) > 1:
        return f"{len(verdict.comparison.digests)} digests"
    (one,) = part.digests
    letter = part.half.letters
    known = letter and letters.setdefault(letter, one.label) == one.label
    return f"{letter if known else one.label} {one.value}"


def _alike(details: Iterable[Detail], labels: dict[str, str], letters: dict[str, str]) -> tuple[Alike, ...]:
    """Plain pairs by their bits."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for one in details:
        said: dict[str, list[str]] = {}
        for pair in one.pairs:
            parts = [part for part in pair if part]
            modes = [f"{part.half.mode} {part.half.status}, {_bits(part, letters)}" for part in parts]
            said.setdefault("; ".join(modes), []).append(parts[0].variation)
        told = [f"{', '.join(where)}: {text}" if len(said) > 1 else text for text, where in said.items()]
        found.setdefault((". ".join(told), _pattern(one)[0]), []).append((one.anchor, labels[one.column]))
    return tuple(Alike(text=text, replay=replay, pairs=tuple(pairs)) for (text, replay), pairs in found.items())


def _replays(details: Iterable[Detail], labels: dict[str, str]) -> tuple[Alike, ...]:
    """The replay lines of pairs that stand in the table."""
    found: dict[str, list[tuple[str, str]]] = {}
    for one in details:
        if one.replay:
            found.setdefault(_pattern(one)[0] or one.replay, []).append(("", labels[one.column]))
    return tuple(Alike(text="", replay=replay, pairs=tuple(pairs)) for replay, pairs in found.items())


def _pattern(detail: Detail) -> tuple[str, str]:
    """A replay line with PAIR and LOCK for what is the pair's own, and the lock; "" and "" without a line."""
    found = _REPLAY.fullmatch(detail.replay)
    if found is None or found["pair"] != detail.column:
        return "", ""
    return f"{found['run']}PAIR{found['kernel']}LOCK{found['rest']}", found["lock"]


def locks(view: View) -> tuple[tuple[str, str, str], ...]:
    """Name, PAIR and LOCK of every pair that a replay line names so."""
    names = short_names(view.columns)
    found = {one.column: lock for one in view.details if (lock := _pattern(one)[1])}
    return tuple((names[column], column, lock) for column, lock in found.items())


def common(found: Sequence[KernelTable | None]) -> Note | None:
    """The evidence that most kernels have in all their fields: a long page says it once. None where no two share it."""
    tally = Counter(
        note for sheet in found if sheet for note in sheet.notes if note.label == _EVIDENCE and not note.where
    )
    note, number = max(tally.items(), key=lambda item: (item[1], item[0].sentences), default=(None, 0))
    return note if number > 1 else None


def _notes(details: Sequence[Detail], labels: dict[str, str]) -> tuple[Note, ...]:
    """What is said of several pairs, once, with all the places it holds for; the strength of the evidence first."""
    said: list[tuple[tuple[str, tuple[str, ...], str], str, str]] = []
    for one in details:
        said += [((label, (text,), ""), one.column, where) for label, text, where in _told(one)]
        said += [((note.label, note.sentences, note.block), one.column, note.where) for note in one.notes]
    merged = [
        Note(label=label, where=where, sentences=sentences, block=block)
        for (label, sentences, block), where in _merged(said, labels)
    ]
    order = {label: place for place, label in reversed(list(enumerate(note.label for note in merged)))}
    return tuple(sorted(merged, key=lambda note: order[note.label]))


def _told(detail: Detail) -> list[tuple[str, str, str]]:
    """What every status rests on, and the digests where there are several, with the variations and modes."""
    parts = [part for pair in detail.pairs for part in pair if part]
    places = [f"{part.variation}, {part.half.mode}" for part in parts]
    found: dict[tuple[str, str], list[str]] = {}
    for part, where in zip(parts, places, strict=True):
        told = [(_EVIDENCE, "; ".join(filter(None, (_strength(part.half), part.evidence)))), ("Digests", _list(part))]
        for label, text in told:
            if text:
                found.setdefault((label, text), []).append(where)
    return [(label, text, together(held, places)) for (label, text), held in found.items()]


def _list(part: Part) -> str:
    """Several digests, numbered; "" where a letter stands for one, and for a control that had to differ."""
    passed = part.half.verdict is not None and bool(part.half.verdict.passed)
    several = len(part.digests) > 1 and not passed
    return "; ".join(f"{one.label} {one.value}".strip() for one in part.digests) if several else ""


def _strength(half: ModeResult) -> str:
    """What the status rests on; the class of an error stands with the error."""
    verdict = half.verdict
    return "" if verdict is None or verdict.status in (Status.UNSUPPORTED, Status.ERROR) else half.strength


def _processes(details: Sequence[Detail], labels: dict[str, str]) -> tuple[Processes, ...]:
    said = [(found.lines, one.column, found.where) for one in details for found in one.processes]
    return tuple(Processes(where=where, lines=lines) for lines, where in _merged(said, labels))


def _merged(said: Iterable[tuple[_Words, str, str]], labels: dict[str, str]) -> list[tuple[_Words, str]]:
    """The same words once, with the pairs and the places in them that they hold for; "" for everywhere."""
    found: dict[_Words, dict[str, list[str]]] = {}
    for words, column, where in said:
        found.setdefault(words, {}).setdefault(where, []).append(labels[column])
    return [(words, _places(held, len(labels))) for words, held in found.items()]


def _places(held: dict[str, list[str]], total: int) -> str:
    told = []
    for where, pairs in held.items():
        named = "all pairs" if len(pairs) == total else ", ".join(pairs)
        if total == 1 or (len(held) == 1 and len(pairs) == total):
            told.append(where)
        else:
            told.append(f"{named} ({where})" if where else named)
    return "; ".join(filter(None, told))
