"""A night as text: for the terminal, the summary of a CI job, JUnit XML and Prometheus."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from bench.report.text.layout import command, wrapped
from bench.report.text.markdown import plain
from bench.verdict.messages import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.report.view.night import NightFinding, NightView

#: What is listed before the rest is only counted: results of a finding, findings in the terminal and in Markdown.
_MOST_RESULTS, _MOST_FINDINGS, _MOST_LINES = 4, 8, 6


def terminal(view: NightView, width: int) -> str:
    """Return alarms with their likely causes and commands, and the other changes in a line each."""
    lines = [wrapped(view.headline, width), ""]
    for alarm in view.alarms[:_MOST_FINDINGS]:
        lines += [wrapped(f"ALARM {alarm.sentence}", width, "  ")]
        lines += [wrapped(f"  {text}", width, "    ") for text in _details(alarm)]
        lines += [command(text, width) for text in alarm.commands] + [""]
    if len(view.alarms) > _MOST_FINDINGS:
        lines += [f"and {count(len(view.alarms) - _MOST_FINDINGS, 'more alarm')}; nightly.json has all", ""]
    lines += [wrapped(f"change {change.sentence}", width, "  ") for change in view.changes[:_MOST_FINDINGS]]
    if view.left_out:
        names = ", ".join(f"{one.name} ({_since(one.measured)})" for one in view.left_out[:_MOST_RESULTS])
        more = len(view.left_out) - _MOST_RESULTS
        text = f"left out by the budget: {names}{f' and {more} more' if more > 0 else ''}"
        lines.append(wrapped(text, width, "  "))
    lines += [wrapped(f"note: {note}", width, "  ") for note in view.notes]
    return "\n".join(lines).rstrip() + "\n"


def _since(measured: str) -> str:
    return f"last measured {measured[:10]}" if measured else "never measured"


def _details(finding: NightFinding) -> Iterator[str]:
    for result in finding.results[:_MOST_RESULTS]:
        where = ", ".join(filter(None, (result.mode, "" if result.variation == "default" else result.variation)))
        yield f"{result.kernel} ({where}): {result.sentence}"
    if finding.machine:
        yield f"measured on: {finding.machine}"
    if finding.changed:
        yield "changed since: " + "; ".join(f"{title}: {text}" for title, text in finding.changed[:4])
    elif finding.before:
        yield "nothing that is known differs from that night"
    yield from finding.notes[:2]


def markdown(view: NightView) -> str:
    """Return the night in at most 25 lines of Markdown."""
    lines = [f"# {plain(view.headline)}", ""]
    findings = [("ALARM", one) for one in view.alarms] + [("change", one) for one in view.changes]
    for word, finding in findings[:_MOST_LINES]:
        first = plain(finding.results[0].sentence)
        where = f" Measured on {plain(finding.machine)}." if finding.machine else ""
        lines.append(f"- **{word}** {plain(finding.sentence)}. {first}{where}")
        if finding.changed:
            lines.append(f"  Changed: {plain('; '.join(f'{title}: {text}' for title, text in finding.changed[:3]))}")
    if len(findings) > _MOST_LINES:
        lines.append(f"- and {len(findings) - _MOST_LINES} more; `nightly.json` has all")
    if view.left_out:
        lines += ["", f"Left out by the budget: {plain(', '.join(one.name for one in view.left_out[:_MOST_LINES]))}"]
    lines += [f"Note: {plain(note)}" for note in view.notes[:3]]
    lines += ["", f"Run {plain(view.run)}. `index.html` shows the night, `history.html` all nights.", ""]
    return "\n".join(lines)


def junit(view: NightView) -> str:
    """Return the night as JUnit XML: a failure for each result with an alarm, and a case for all others together."""
    suite = ET.Element("testsuite", name="tfrepro nightly", timestamp=view.started)
    alarms = [(alarm, result) for alarm in view.alarms for result in alarm.results]
    for alarm, result in alarms:
        name = f"{result.kernel} {result.variation} {result.mode}"
        case = ET.SubElement(suite, "testcase", classname=alarm.column, name=name)
        failure = ET.SubElement(case, "failure", message=f"{alarm.kind}: {result.sentence}")
        failure.text = "\n".join((*_details(alarm), *alarm.commands))
    if view.failed:
        case = ET.SubElement(suite, "testcase", classname="tfrepro", name="the night")
        ET.SubElement(case, "error", message=view.headline).text = "\n".join(view.notes)
    others = ET.SubElement(suite, "testcase", classname="tfrepro", name=f"{view.measured - len(alarms)} other results")
    ET.SubElement(others, "system-out").text = view.headline
    suite.set("tests", str(len(alarms) + view.failed + 1))
    suite.set("failures", str(len(alarms)))
    suite.set("errors", str(int(view.failed)))
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def prometheus(view: NightView) -> str:
    """Return the night in Prometheus' text format, for the textfile collector of its node exporter."""
    started = datetime.fromisoformat(view.started).timestamp()
    numbers = [
        ("tfrepro_night_alarms", "Alarms of the last night.", len(view.alarms)),
        ("tfrepro_night_changes", "Changes of the last night that are no alarms.", len(view.changes)),
        ("tfrepro_night_failed", "Whether the last night measured nothing.", int(view.failed)),
        ("tfrepro_night_results", "Results measured on the last night.", view.measured),
        ("tfrepro_night_left_out", "Columns and kernels that the budget left out.", len(view.left_out)),
        ("tfrepro_night_started_seconds", "Start of the last night, in Unix time.", started),
    ]
    lines = [f"# HELP {name} {text}\n# TYPE {name} gauge\n{name} {value:.0f}" for name, text, value in numbers]
    lines.append("# HELP tfrepro_night_alarm_results Results of an alarm.\n# TYPE tfrepro_night_alarm_results gauge")
    counts: dict[tuple[str, str], int] = {}
    for alarm in view.alarms:
        counts[alarm.column, alarm.kind] = counts.get((alarm.column, alarm.kind), 0) + len(alarm.results)
    lines += [
        f'tfrepro_night_alarm_results{{column="{_label(column)}",kind="{_label(kind)}"}} {number}'
        for (column, kind), number in sorted(counts.items())
    ]
    return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    """Return the text as the value of a label."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
