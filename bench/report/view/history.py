"""What the page of the history shows: a calendar of nights, their alarms, and how each result developed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CalendarNight:
    """A run in the calendar. ``date`` is ISO 8601, "" if the run does not say when it began.

    ``measured`` says whether the history has results of it, and ``reason`` why not or what it lacks. ``alarms`` is None
    for a run that was not examined for alarms; ``anchor`` leads to them, "" if the page does not list them.
    """

    run: str
    date: str
    measured: bool
    reason: str
    alarms: int | None
    changes: int
    anchor: str


@dataclass(frozen=True, kw_only=True)
class AlarmResult:
    """A result of an alarm; ``anchor`` leads to its time line, "" where it is not drawn."""

    kernel: str
    name: str
    sentence: str
    anchor: str


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """One kind of change in one column on one night. ``kernels`` has all of them, ``results`` the first few.

    ``changed`` are the facts of environment and host that differ from run ``before``, the most likely cause first.
    """

    kind: str
    column: str
    before: str
    kernels: tuple[str, ...]
    results: tuple[AlarmResult, ...]
    more: int
    changed: tuple[tuple[str, str], ...]
    commands: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class AlarmNight:
    """A night with alarms; ``headline`` is its answer."""

    run: str
    date: str
    anchor: str
    headline: str
    alarms: tuple[Alarm, ...]


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place on the axis of all time lines: one night, or the nights of one week that begins about ``date``."""

    date: str
    weekly: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A time in seconds: of one night, or the median of a week whose times reach from ``low`` to ``high``."""

    slot: int
    seconds: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something to see on a time line: an alarm, a change of status, bits or time, a note, or an accepted change."""

    slot: int
    date: str
    symbol: str
    tone: str
    title: str
    text: str
    anchor: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """Slots, ``end`` included, whose status has the same tone; the most serious status of a week counts."""

    start: int
    end: int
    tone: str


@dataclass(frozen=True, kw_only=True)
class TimeLine:
    """How one result developed. ``machine`` is "" where its column was measured on one kind of machine.

    ``symbol``, ``word`` and ``tone`` are the newest status, ``letter`` the newest bits, and ``time`` the newest time,
    "" where there is none. ``more`` counts changes that ``events`` leaves out.
    """

    anchor: str
    kernel: str
    column: str
    variation: str
    mode: str
    machine: str
    symbol: str
    word: str
    tone: str
    letter: str
    time: str
    points: tuple[Point, ...]
    stretches: tuple[Stretch, ...]
    events: tuple[Event, ...]
    more: int = 0


@dataclass(frozen=True, kw_only=True)
class HistoryView:
    """The page. ``lines`` are drawn with what happened, ``others`` in short; ``left_out`` says what the page lacks."""

    headline: str
    sentence: str
    nights: tuple[CalendarNight, ...]
    alarms: tuple[AlarmNight, ...]
    slots: tuple[Slot, ...]
    lines: tuple[TimeLine, ...]
    others: tuple[TimeLine, ...]
    left_out: tuple[str, ...]
