"""Build the page of the history from its index, the reports of its nights, and what people wrote about it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, TypeAlias

from bench.history.night import runs
from bench.report.build.time_lines import KEPT_NIGHTS, Axis, ResultAlarm, anchor, date_of, time_lines
from bench.report.formatting import cap, clean
from bench.report.view.history import Alarm, AlarmNight, AlarmResult, CalendarNight, HistoryView
from bench.verdict.messages import count

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from bench.history.journal import Entry
    from bench.history.night import RunRow
    from bench.report.view.history import TimeLine
    from bench.report.view.night import NightFinding, NightResult, NightView

#: Nights whose alarms are listed, results of an alarm that are named, and time lines that are drawn in full.
MOST_NIGHTS, _MOST_RESULTS, MOST_LINES = 100, 6, 400
#: Characters of a sentence.
_MOST_TEXT = 500

_Key: TypeAlias = tuple[str, str, str, str]


def build(connection: sqlite3.Connection, entries: Sequence[Entry], reports: Mapping[str, NightView]) -> HistoryView:
    """Return the view of the history.

    Args:
        connection: an opened history.
        entries: notes and accepted changes.
        reports: what nights found, by name of the run; a run without one was not examined.
    """
    every = sorted(runs(connection), key=lambda run: (date_of(run), run.started, run.name))
    measured = {number for (number,) in connection.execute("SELECT DISTINCT run FROM columns")}
    axis = Axis([run for run in every if run.id in measured])
    reports = {run.name: reports[run.name] for run in every if run.name in reports}
    listed = [run for run in reversed(every) if run.name in reports and reports[run.name].alarms][:MOST_NIGHTS]
    anchors = {run.name: anchor("n", run.name) for run in listed}
    drawn, others, more = _lines(connection, axis, entries, _by_result(reports, anchors))
    targets = {(line.column, line.kernel, line.variation, line.mode): line.anchor for line in drawn}
    calendar = tuple(_calendar_night(run, axis, reports.get(run.name), anchors) for run in every)
    headline, sentence = _headline(axis, calendar, reports)
    return HistoryView(
        headline=headline,
        sentence=sentence,
        nights=calendar,
        alarms=tuple(
            AlarmNight(
                run=clean(run.name),
                date=date_of(run),
                anchor=anchors[run.name],
                headline=clean(reports[run.name].headline),
                alarms=tuple(_alarm(one, targets) for one in reports[run.name].alarms),
            )
            for run in listed
        ),
        slots=tuple(axis.slots),
        lines=drawn,
        others=others,
        left_out=tuple(_left_out(axis, sum(bool(report.alarms) for report in reports.values()) - len(listed), more)),
    )


def _lines(
    connection: sqlite3.Connection,
    axis: Axis,
    entries: Sequence[Entry],
    alarms: Mapping[_Key, Sequence[ResultAlarm]],
) -> tuple[tuple[TimeLine, ...], tuple[TimeLine, ...], int]:
    """Return the time lines to draw, the newest alarm first, the others, and how many of these have changes, too."""
    every = list(time_lines(connection, axis, entries, alarms))
    happened = [line for line in every if line.events]
    happened.sort(key=lambda line: (*_newest(line), line.column, line.kernel, line.variation, line.mode, line.anchor))
    drawn = tuple(happened[:MOST_LINES])
    anchors = {line.anchor for line in drawn}
    others = [line for line in every if line.anchor not in anchors]
    others.sort(key=lambda line: (line.column, line.machine, line.kernel, line.variation, line.mode, line.anchor))
    return drawn, tuple(others), len(happened) - len(drawn)


def _newest(line: TimeLine) -> tuple[int, int]:
    """Return a sort key: lines with the newest alarm first, then those with the newest of other events."""
    alarms = [event.slot for event in line.events if event.symbol == "!"]
    return -max(alarms, default=-1), -line.events[0].slot


def _by_result(reports: Mapping[str, NightView], anchors: Mapping[str, str]) -> Mapping[_Key, Sequence[ResultAlarm]]:
    """Return the alarms of each column, kernel, variation and mode."""
    found: dict[_Key, list[ResultAlarm]] = defaultdict(list)
    for run, report in reports.items():
        for one in report.alarms:
            for result in one.results:
                found[one.column, result.kernel, result.variation, result.mode].append(
                    ResultAlarm(run=run, kind=one.kind, sentence=result.sentence, anchor=anchors.get(run, ""))
                )
    return found


def _calendar_night(run: RunRow, axis: Axis, report: NightView | None, anchors: Mapping[str, str]) -> CalendarNight:
    return CalendarNight(
        run=clean(run.name),
        date=date_of(run),
        measured=run.id in axis.night,
        reason=cap(clean(run.reason), _MOST_TEXT),
        alarms=len(report.alarms) if report else None,
        changes=len(report.changes) if report else 0,
        anchor=anchors.get(run.name, ""),
    )


def _alarm(one: NightFinding, targets: Mapping[_Key, str]) -> Alarm:
    return Alarm(
        kind=clean(one.kind),
        column=clean(one.column),
        before=clean(one.before),
        kernels=tuple(dict.fromkeys(clean(result.kernel) for result in one.results)),
        results=tuple(_result(one.column, result, targets) for result in one.results[:_MOST_RESULTS]),
        more=max(0, len(one.results) - _MOST_RESULTS),
        changed=tuple((clean(name), clean(value)) for name, value in one.changed),
        commands=tuple(map(clean, one.commands)),
        notes=tuple(cap(clean(text)) for text in one.notes),
    )


def _result(column: str, result: NightResult, targets: Mapping[_Key, str]) -> AlarmResult:
    kernel, variation, mode = (clean(text) for text in (result.kernel, result.variation, result.mode))
    return AlarmResult(
        kernel=kernel,
        name=f"{kernel}, determinism {mode}" + (f", {variation}" if variation != "default" else ""),
        sentence=cap(clean(result.sentence), _MOST_TEXT),
        anchor=targets.get((clean(column), kernel, variation, mode), ""),
    )


def _headline(axis: Axis, calendar: Sequence[CalendarNight], reports: Mapping[str, NightView]) -> tuple[str, str]:
    """Return what the newest night says, and what the history has."""
    unused = sum(not night.measured for night in calendar)
    skipped = f" {count(unused, 'run')} could not be used." if unused else ""
    if not axis.runs:
        return "No night has been measured yet.", skipped.strip()
    newest = reports.get(axis.runs[-1].name)
    answer = clean(newest.headline) if newest else "The newest run was not examined for alarms."
    with_alarms = count(sum(bool(night.alarms) for night in calendar), "night")
    span = f"{count(len(axis.runs), 'night')} from {axis.dates[0]} to {axis.dates[-1]}; {with_alarms} had alarms."
    return f"{axis.dates[-1]}: {answer}", span + skipped


def _left_out(axis: Axis, nights: int, lines: int) -> list[str]:
    """Say what the page does not show, and where it is."""
    texts = []
    if any(slot.weekly for slot in axis.slots):
        texts.append(
            f"The last {KEPT_NIGHTS} nights are shown one by one. Of older nights, each week is one point: the median, "
            "with a vertical line from the shortest to the longest time, on a grey ground. "
            "The run folders keep all data."
        )
    if nights > 0:
        texts.append(f"Of {count(nights, 'older night')}, the alarms are only in reports/nights.")
    if lines > 0:
        texts.append(f"{count(lines, 'result')} with older changes are among the other results, in short form.")
    return texts
