"""Build what a night shows from its findings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.history.finding import ordered
from bench.report.build.time_lines import machine_name
from bench.report.formatting import clean
from bench.report.view.night import SCHEMA, LeftOut, NightFinding, NightResult, NightView
from bench.store.run_folder import now
from bench.verdict.messages import count
from bench.verdict.status import UNMEASURED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.history.finding import Finding, Shift
    from bench.history.journal import Entry
    from bench.history.night import Night, Place, Series


def build(
    night: Night,
    findings: Sequence[Finding],
    entries: Sequence[Entry] = (),
    left_out: Sequence[LeftOut] = (),
    notes: Sequence[str] = (),
) -> NightView:
    """Return the view of a night, the most serious findings first.

    ``entries`` are the notes that people wrote, ``notes`` what the night could not do.
    """
    findings = ordered(findings)
    alarms = tuple(_finding(one, entries) for one in findings if one.kind.alarm)
    changes = tuple(_finding(one, entries) for one in findings if not one.kind.alarm)
    measured = [series for series in night.series if series.tonight.status not in UNMEASURED]
    earlier = len({cell.run for series in night.series for cell in series.earlier})
    return NightView(
        schema=SCHEMA,
        run=night.run.name,
        started=night.run.started,
        finished=night.run.finished,
        headline=_headline(measured, alarms, earlier),
        earlier=earlier,
        measured=len(measured),
        alarms=alarms,
        changes=changes,
        left_out=tuple(left_out),
        skipped=tuple((clean(run.name), clean(run.reason)) for run in night.runs.values() if run.reason),
        notes=tuple(map(clean, notes)),
    )


def failed(message: str, hint: str) -> NightView:
    """Return the view of a night that measured nothing."""
    return NightView(
        schema=SCHEMA, run="", started=now(), finished=now(), headline=clean(f"The night failed: {message}"), earlier=0,
        measured=0, alarms=(), changes=(), notes=(clean(hint),) if hint else (), failed=True,
    )  # fmt: skip


def _headline(measured: Sequence[Series], alarms: Sequence[NightFinding], earlier: int) -> str:
    if alarms:
        affected = count(sum(len(alarm.results) for alarm in alarms), "result")
        return f"{count(len(alarms), 'alarm')} about {affected}: {alarms[0].sentence}."
    if not earlier:
        return f"The first night: {count(len(measured), 'result')} measured, nothing to compare them with."
    new = sum(not series.earlier for series in measured)
    text = f"No alarm: {count(len(measured) - new, 'result')} compared with {count(earlier, 'earlier night')}"
    return f"{text}, {count(new, 'result')} measured for the first time." if new else f"{text}."


def _finding(finding: Finding, entries: Sequence[Entry]) -> NightFinding:
    notes = [
        clean(f"{entry.when[:10]} {entry.who}: {entry.text}")
        for entry in entries
        if any(entry.matches(place.name) for place in finding.places)
    ]
    return NightFinding(
        kind=str(finding.kind),
        column=clean(finding.column),
        before=finding.before,
        results=tuple(
            _result(place, sentence, finding.shifts.get(place)) for place, sentence in finding.places.items()
        ),
        changed=tuple(
            (one.title, clean(f"{one.before or 'unknown'} to {one.after or 'unknown'}")) for one in finding.differences
        ),
        commands=finding.commands,
        notes=tuple(dict.fromkeys(notes)),
        machine=machine_name(next(iter(finding.places)).machine),
    )


def _result(place: Place, sentence: str, shift: Shift | None) -> NightResult:
    numbers = (shift.ratio, shift.low, shift.high, shift.smallest) if shift else (None,) * 4
    ratio, low, high, smallest = numbers
    return NightResult(
        kernel=clean(place.kernel), variation=place.variation, mode=place.mode, sentence=clean(sentence), ratio=ratio,
        low=low, high=high, smallest=smallest,
    )  # fmt: skip
