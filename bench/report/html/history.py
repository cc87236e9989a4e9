"""Render the history as one HTML file: no network, complete without JavaScript, and no markup from records."""

from __future__ import annotations

from calendar import monthrange
from datetime import date
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from bench.report.formatting import TIMES, seconds
from bench.report.html.render import script_values, templates
from bench.report.labels import STATUS_LABELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bench.report.view.history import CalendarNight, HistoryView, Slot, TimeLine

#: Months of the calendar that are open.
_OPEN_MONTHS = 12
#: The size of a time line and of one in short: units of the SVG, which is stretched to the space that it gets.
_WIDTH, _HEIGHT, _SHORT_WIDTH, _SHORT_HEIGHT = 960, 60, 120, 18
#: Points of a time line in short, and slots without a time that end a line.
_SHORT_POINTS, _GAP = 40, 7
#: The axis of times reaches at least so far from the median, so that small differences look small.
_LEAST_RANGE = 1.1


class Tile(NamedTuple):
    """A day of the calendar."""

    day: int
    symbol: str
    tone: str
    text: str
    anchor: str


class Month(NamedTuple):
    """A month of the calendar: ``first`` is the weekday of its first day, 1 for Monday."""

    name: str
    first: int
    tiles: tuple[Tile, ...]


class Plot(NamedTuple):
    """A time line as SVG paths. ``high`` and ``low`` are the times at its ends, ``marks`` are in percent."""

    line: str
    ranges: str
    stretches: tuple[tuple[str, str], ...]
    changes: str
    high: str
    low: str
    marks: tuple[tuple[float, str, str, str], ...]


class Tick(NamedTuple):
    """A date on the axis, with its place in percent."""

    place: float
    date: str


def render(view: HistoryView) -> str:
    """Return the page. The same view gives the same bytes."""
    months, slots = _months(view.nights), len(view.slots)
    columns = sorted({line.column for line in (*view.lines, *view.others)} | _alarm_columns(view))
    page = (
        templates()
        .get_template("history.html")
        .render(
            view=view,
            months=months[-_OPEN_MONTHS:],
            earlier_months=months[:-_OPEN_MONTHS],
            columns=columns,
            column_numbers={name: number for number, name in enumerate(columns)},
            lines=((line, _plot(line, slots)) for line in view.lines),
            groups=[
                (name, machine, list(lines))
                for (name, machine), lines in groupby(view.others, key=lambda line: (line.column, line.machine))
            ],
            short=lambda line: _short(line, slots),
            ticks=_ticks(view.slots),
            weekly=round(_WIDTH * sum(slot.weekly for slot in view.slots) / max(1, slots)),
            width=_WIDTH,
            height=_HEIGHT,
            statuses=STATUS_LABELS.values(),
            **script_values(["history.js"]),
        )
    )
    return page.lstrip()


def _alarm_columns(view: HistoryView) -> set[str]:
    return {alarm.column for night in view.alarms for alarm in night.alarms}


def _months(nights: Sequence[CalendarNight]) -> list[Month]:
    """Return the months that have a run, the oldest first."""
    dated = [night for night in nights if night.date]
    return [_month(name, list(found)) for name, found in groupby(dated, key=lambda night: night.date[:7])]


def _month(name: str, nights: Sequence[CalendarNight]) -> Month:
    year, month = map(int, name.split("-"))
    first, days = monthrange(year, month)
    by_day = {day: list(found) for day, found in groupby(nights, key=lambda night: int(night.date[8:]))}
    tiles = (_tile(day, date(year, month, day).isoformat(), by_day.get(day, ())) for day in range(1, days + 1))
    return Month(name=name, first=first + 1, tiles=tuple(tiles))


def _tile(day: int, text: str, nights: Sequence[CalendarNight]) -> Tile:
    """Return the tile of a day; it shows the most important of its runs, and its text has them all."""
    if not nights:
        return Tile(day, "", "", "", "")
    shown = [_night(night) for night in nights]
    _, symbol, tone, _ = min(shown)
    anchor = next((night.anchor for night in nights if night.anchor), "")
    return Tile(day, symbol, tone, f"{text}: " + "; ".join(words for *_, words in shown), anchor)


def _night(night: CalendarNight) -> tuple[int, str, str, str]:
    """Return rank, symbol, tone and words of a run in the calendar."""
    if not night.measured:
        return 4, TIMES, "none", f"not used: {night.reason}"
    also = f"; {night.reason}" if night.reason else ""
    if night.alarms is None:
        return 3, "?", "inconclusive", f"measured, not examined for alarms{also}"
    if night.alarms:
        symbol = "!" if night.alarms == 1 else f"{min(night.alarms, 99)}!"
        return 0, symbol, "bad", f"{night.alarms} {'alarm' if night.alarms == 1 else 'alarms'}{also}"
    if night.reason:
        return 1, "~", "part", f"no alarm, incomplete{also}"
    if night.changes:
        return 2, "→", "info", "no alarm, but changes"
    return 3, "✓", "good", "no alarm"


def _ticks(slots: Sequence[Slot]) -> list[Tick]:
    """Return five dates over the axis, or fewer."""
    places = sorted({round(part * (len(slots) - 1) / 4) for part in range(5)}) if slots else []
    return [Tick(_percent(place, len(slots)), slots[place].date) for place in places]


def _percent(slot: int, slots: int) -> float:
    return round(100 * (slot + 0.5) / slots, 2)


def _scale(line: TimeLine) -> tuple[float, float]:
    """Return the times at the lower and upper end of a time line."""
    middle = sorted(point.seconds for point in line.points)[len(line.points) // 2]
    lowest, highest = min(point.low for point in line.points), max(point.high for point in line.points)
    return min(lowest, middle / _LEAST_RANGE), max(highest, middle * _LEAST_RANGE)


def _plot(line: TimeLine, slots: int) -> Plot:
    marks = tuple(_marks(line, slots))
    stretches: dict[str, list[str]] = {}
    for one in line.stretches:
        start, end = (round(_WIDTH * edge / slots) for edge in (one.start, one.end + 1))
        stretches.setdefault(one.tone, []).append(f"M{start} 0H{end}")
    paths = tuple((tone, "".join(parts)) for tone, parts in sorted(stretches.items()))
    changes = "".join(f"M{_x(event.slot, slots)} 0V{_HEIGHT}" for event in line.events if event.title == "time")
    if not line.points:
        return Plot("", "", paths, changes, "", "", marks)
    low, high = _scale(line)

    def y(time: float) -> int:
        return round(_HEIGHT - 2 - (_HEIGHT - 4) * (time - low) / (high - low))

    ranges = (f"M{_x(one.slot, slots)} {y(one.low)}V{y(one.high)}" for one in line.points if one.low < one.high)
    path = "".join(_path((one.slot, _x(one.slot, slots), y(one.seconds)) for one in line.points))
    return Plot(path, "".join(ranges), paths, changes, seconds(high), seconds(low), marks)


def _marks(line: TimeLine, slots: int) -> Iterator[tuple[float, str, str, str]]:
    """Yield place, symbols, tone and text of the events of each slot, the newest last, so that it covers older ones.

    An alarm comes before other events, and gives symbol and tone.
    """
    for slot, group in groupby(reversed(line.events), key=lambda event: event.slot):
        events = sorted(group, key=lambda event: event.symbol != "!")
        symbols = "!" if events[0].symbol == "!" else "".join(dict.fromkeys(event.symbol for event in events))
        text = "; ".join(f"{event.date} {event.title}: {event.text}" for event in events)
        yield _percent(slot, slots), symbols, events[0].tone, text


def _x(slot: int, slots: int, width: int = _WIDTH) -> int:
    return round(width * (slot + 0.5) / slots)


def _path(points: Iterable[tuple[int, int, int]], gap: int = _GAP) -> Iterator[str]:
    """Yield the parts of a path through points, which are (slot, x, y); it is interrupted at long gaps."""
    before = None
    for slot, x, y in points:
        yield f"M{x} {y}h0" if before is None or slot - before > gap else f"L{x} {y}"
        before = slot


def _short(line: TimeLine, slots: int) -> str:
    """Return the path of a time line in short."""
    if not line.points:
        return ""
    low, high = _scale(line)
    step = max(1, len(line.points) // _SHORT_POINTS)
    placed = (
        (one.slot, _x(one.slot, slots, _SHORT_WIDTH), round(_SHORT_HEIGHT * (high - one.seconds) / (high - low)))
        for one in line.points[(len(line.points) - 1) % step :: step]
    )
    return "".join(_path(placed, _GAP + step))
