"""Build the time lines of the history page: one for each result on each kind of machine."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import groupby
from operator import itemgetter
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from bench.history.night import Place
from bench.report.formatting import cap, clean, seconds
from bench.report.labels import STATUS_LABELS, StatusLabel
from bench.report.view.history import Event, Point, Slot, Stretch, TimeLine
from bench.verdict.digest_groups import letter
from bench.verdict.status import Status

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from bench.history.journal import Entry
    from bench.history.night import RunRow

#: Nights that are kept one by one; older ones become one point for each week.
KEPT_NIGHTS = 90
#: Nights without which no change points are looked for.
MIN_NIGHTS = 12
#: A level lasts at least this many nights.
_LEAST_LEVEL = 3
#: No series is taken to be steadier than this standard deviation, as for alarms.
_LEAST_SIGMA = 0.005
#: A median absolute difference of neighbours times this estimates a standard deviation.
_FROM_DIFFERENCES = 1.4826 / math.sqrt(2)
#: Neighbours and standard deviations that limit what a single disturbed night can contribute.
_NEIGHBOURS, _MOST_SIGMAS = 7, 3.0
#: Events of a time line that are shown, and characters of each.
MOST_EVENTS, _MOST_TEXT = 12, 300
#: Statuses from the least serious on; a result that was not measured says nothing.
_ORDER = {status.value: number for number, status in enumerate(STATUS_LABELS)} | {Status.NOT_RUN.value: -1}


def anchor(prefix: str, *names: str) -> str:
    """Return an identifier for an element that only depends on names, whatever characters they have."""
    text = "\0".join(names).encode("utf-8", "surrogatepass")
    return f"{prefix}-{hashlib.sha256(text).hexdigest()[:10]}"


def date_of(run: RunRow) -> str:
    """Return the day on which a run began in UTC, "" if it does not say."""
    try:
        moment = datetime.fromisoformat(run.started)
        return (moment if moment.tzinfo is None else moment.astimezone(UTC)).date().isoformat()
    except (ValueError, OverflowError):
        pass
    try:
        return date.fromisoformat(run.name[:8]).isoformat()
    except ValueError:
        return ""


class Axis:
    """The nights of all time lines in the order in which they began, and their slots."""

    def __init__(self, runs: Sequence[RunRow]) -> None:
        self.runs = sorted(runs, key=lambda run: (run.started, run.name))
        self.dates = [date_of(run) for run in self.runs]
        self.night = {run.id: number for number, run in enumerate(self.runs)}
        self.by_name = {run.name: number for number, run in enumerate(self.runs)}
        self.slots: list[Slot] = []
        self.slot: list[int] = []
        week = None
        for number, day in enumerate(self.dates):
            weekly = number < len(runs) - KEPT_NIGHTS
            this = date.fromisoformat(day).isocalendar()[:2] if weekly and day else None
            if this is None or this != week:
                self.slots.append(Slot(date=day, weekly=weekly))
            week = this
            self.slot.append(len(self.slots) - 1)


class Night(NamedTuple):
    """What one night measured of a series: its place among the nights, status, digest, and time."""

    number: int
    status: str
    digest: bytes
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class ResultAlarm:
    """What a night's report says about a result."""

    run: str
    kind: str
    sentence: str
    anchor: str


def time_lines(
    connection: sqlite3.Connection,
    axis: Axis,
    entries: Sequence[Entry],
    alarms: Mapping[tuple[str, str, str, str], Sequence[ResultAlarm]],
) -> Iterator[TimeLine]:
    """Yield the time line of every series; ``alarms`` are those of each column, kernel, variation and mode."""
    places = {
        number: Place(machine=machine, column=column, kernel=kernel, variation=variation, mode=mode)
        for number, machine, column, kernel, variation, mode in connection.execute(
            "SELECT id, machine, name, kernel, variation, mode FROM series"
        )
    }
    machines: dict[str, set[str]] = {}
    for place in places.values():
        machines.setdefault(place.column, set()).add(place.machine)
    words = dict(connection.execute("SELECT id, word FROM statuses"))
    rows = connection.execute("SELECT series, run, status, digest, seconds FROM cells ORDER BY series, run")
    for number, group in groupby(rows, key=itemgetter(0)):
        place = places[number]
        nights = sorted(
            Night(axis.night[run], words[status], digest, time) for _, run, status, digest, time in group
        )  # fmt: skip
        found = alarms.get((place.column, place.kernel, place.variation, place.mode), ())
        machine = machine_name(place.machine) if len(machines[place.column]) > 1 else ""
        yield _line(place, machine, nights, axis, [*_of_night(found, nights, axis), *_notes(entries, place, axis)])


def machine_name(text: str) -> str:
    """Return the CPU, cores and engine of ``Place.machine`` in words; "" if nothing is known."""
    facts = json.loads(text)
    cores = f"{facts['cores']} cores" if facts.get("cores") else ""
    return clean(", ".join(filter(None, (str(facts.get("CPU") or ""), cores, str(facts.get("engine") or "")))))


def _line(place: Place, machine: str, nights: Sequence[Night], axis: Axis, written: Sequence[Event]) -> TimeLine:
    """Return a time line; ``written`` are its alarms and notes, which go before other events if there are too many."""
    letters: dict[bytes, str] = {}
    seen = [*_status_changes(nights, axis), *_bit_changes(nights, letters, axis), *_time_changes(nights, axis)]
    newest = [*_newest(written)[:MOST_EVENTS], *_newest(seen)][:MOST_EVENTS]
    last = next((night for night in reversed(nights) if night.status != Status.NOT_RUN), nights[-1])
    word = word_of(last.status)
    points = tuple(_points(nights, axis))
    return TimeLine(
        anchor=anchor("t", place.machine, place.column, place.kernel, place.variation, place.mode),
        kernel=clean(place.kernel),
        column=clean(place.column),
        variation=clean(place.variation),
        mode=clean(place.mode),
        machine=machine,
        symbol=word.symbol,
        word=word.word,
        tone=word.tone,
        letter=letters.get(last.digest, "") if len(letters) > 1 else "",
        time=seconds(points[-1].seconds) if points else "",
        points=points,
        stretches=tuple(_stretches(nights, axis)),
        events=tuple(_newest(newest)),
        more=len(written) + len(seen) - len(newest),
    )


def _newest(events: Sequence[Event]) -> list[Event]:
    """Return events from the newest to the oldest; alarms are the first of their night."""
    return sorted(events, key=lambda event: (event.slot, event.date, event.symbol == "!"), reverse=True)


def word_of(status: str) -> StatusLabel:
    """Return how a status is shown, also one that this version does not know."""
    try:
        return STATUS_LABELS[Status(status)]
    except ValueError:
        return StatusLabel("?", clean(status), "none", "")


def _event(axis: Axis, night: int, symbol: str, tone: str, title: str, text: str, anchor: str = "") -> Event:
    return Event(
        slot=axis.slot[night], date=axis.dates[night], symbol=symbol, tone=tone, title=title,
        text=cap(clean(text), _MOST_TEXT), anchor=anchor,
    )  # fmt: skip


def _of_night(found: Sequence[ResultAlarm], nights: Sequence[Night], axis: Axis) -> Iterator[Event]:
    """Yield the alarms of a series; those of another machine are of nights on which it was not measured."""
    measured = {night.number for night in nights}
    for one in found:
        number = axis.by_name.get(one.run)
        if number in measured and number is not None:
            yield _event(axis, number, "!", "bad", f"alarm: {clean(one.kind)}", one.sentence, one.anchor)


def _notes(entries: Sequence[Entry], place: Place, axis: Axis) -> Iterator[Event]:
    """Yield notes and accepted changes, at the run that was the newest when they were made."""
    for entry in entries:
        if axis.runs and entry.matches(place.name):
            number = axis.by_name.get(entry.run, len(axis.runs) - 1)
            symbol, title = ("✓", "accepted") if entry.kind == "accept" else ("¶", "note")
            yield _event(axis, number, symbol, "info", title, f"{entry.who}: {entry.text}")


def _status_changes(nights: Sequence[Night], axis: Axis) -> Iterator[Event]:
    before = ""
    for night in nights:
        if night.status in (before, Status.NOT_RUN):
            continue
        if before:
            old, new = word_of(before), word_of(night.status)
            yield _event(axis, night.number, new.symbol, new.tone, "status", f"{old.word} → {new.word}")
        before = night.status


def _bit_changes(nights: Sequence[Night], letters: dict[bytes, str], axis: Axis) -> Iterator[Event]:
    """Yield where the digest is another one; fills in a letter for each digest in the order in which they appear."""
    before = b""
    for night in nights:
        if night.digest in (b"", before):
            continue
        new = letters.setdefault(night.digest, letter(len(letters)))
        if before:
            yield _event(axis, night.number, new, "part", "bits", f"{letters[before]} → {new}")
        before = night.digest


def _time_changes(nights: Sequence[Night], axis: Axis) -> Iterator[Event]:
    timed = [(night.number, night.seconds) for night in nights if night.seconds]
    times = [time for _, time in timed]
    starts = change_points(times)
    ends = [0, *starts, len(times)]
    for index, start in enumerate(starts):
        before, after = median(times[ends[index] : start]), median(times[start : ends[index + 2]])
        symbol, tone = ("▲", "part") if after > before else ("▼", "info")
        text = f"{seconds(before)} → {seconds(after)} ({after / before:.2f}x)"
        yield _event(axis, timed[start][0], symbol, tone, "time", text)


def change_points(times: Sequence[float] | NDArray[np.float64]) -> list[int]:
    """Return where times change their level: the first index of each new level. They raise no alarm.

    What a single disturbed night can contribute is limited, so that it makes no level of its own.
    """
    if len(times) < MIN_NIGHTS:
        return []
    import numpy as np  # noqa: PLC0415 - start-up stays quick without it
    from ruptures import KernelCPD  # type: ignore[import-untyped]  # noqa: PLC0415 - same
    from scipy.ndimage import median_filter  # noqa: PLC0415 - same

    logs = np.log(times)
    sigma = max(_FROM_DIFFERENCES * float(np.median(abs(np.diff(logs)))), _LEAST_SIGMA)
    middle = median_filter(logs, _NEIGHBOURS, mode="nearest")
    logs = np.clip(logs, middle - _MOST_SIGMAS * sigma, middle + _MOST_SIGMAS * sigma)
    search = KernelCPD(kernel="linear", min_size=_LEAST_LEVEL).fit(logs[:, None])
    return [int(end) for end in search.predict(pen=3 * math.log(len(times)) * sigma**2)[:-1]]


def _points(nights: Sequence[Night], axis: Axis) -> Iterator[Point]:
    timed = ((axis.slot[night.number], night.seconds) for night in nights if night.seconds)
    for slot, group in groupby(timed, key=itemgetter(0)):
        times = [time for _, time in group]
        yield Point(slot=slot, seconds=median(times), low=min(times), high=max(times))


def _stretches(nights: Sequence[Night], axis: Axis) -> Iterator[Stretch]:
    worst: dict[int, str] = {}
    for night in nights:
        slot = axis.slot[night.number]
        if slot not in worst or _ORDER.get(night.status, 0) > _ORDER.get(worst[slot], 0):
            worst[slot] = night.status
    tones = [(slot, word_of(status).tone) for slot, status in worst.items()]
    for (tone, _), group in groupby(enumerate(tones), key=lambda one: (one[1][1], one[1][0] - one[0])):
        slots = [slot for _, (slot, _) in group]
        yield Stretch(start=slots[0], end=slots[-1], tone=tone)
