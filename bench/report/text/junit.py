"""The view as JUnit XML: a suite for each column, and a case for each kernel and mode.

A column that was not measured has one case.
Only ``reproducible`` and a control that passed are successes, because green on a CI page is a claim. With determinism
on, ``nondeterministic`` is a failure; a process that failed is an error. Everything else, such as ``inconclusive``
and ``unsupported``, is skipped with its status as the message.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from bench.report import labels
from bench.report.build.distances import first_difference, sentences
from bench.report.build.notes import known_issue
from bench.verdict.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bench.report.view import ModeResult, Upgrade, UpgradeLine, View
    from bench.verdict.known_issues import KnownIssue

_SUCCESS = frozenset({labels.STATUS_LABELS[Status.REPRODUCIBLE].word, labels.PASS.word})
_FAILURE = frozenset(
    {labels.STATUS_LABELS[status].word for status in (Status.NONDETERMINISTIC, Status.REPRODUCIBLE_IN_PROCESS)}
)
_NOT_RUN = labels.STATUS_LABELS[Status.NOT_RUN].word
#: Statuses of a column without a measurement in which nothing went wrong.
_SKIPPED = frozenset(
    {labels.STATUS_LABELS[one].word for one in (Status.INCOMPATIBLE, Status.GPU_NOT_VISIBLE, Status.OUTDATED)}
)
_ERROR = frozenset({word.word for word in labels.STATUS_LABELS.values() if word.tone == "fault"} | {labels.FAIL.word})


def render(view: View) -> str:
    """Return the page as JUnit XML.

    Cases are named by column, kernel and mode, so that a CI page can follow them over runs.
    """
    suites = ET.Element("testsuites", name="tfrepro")
    if not view.columns:  # without any case, CI would report a success
        suite = ET.SubElement(suites, "testsuite", name="run")
        _properties(suite, view, "")
        case = ET.SubElement(suite, "testcase", classname="run", name="run", time="0")
        ET.SubElement(case, "skipped", message="nothing was planned").text = view.answer[0]
        _counted(suite, [case])
    for place, column in enumerate(view.columns):
        suite = ET.SubElement(suites, "testsuite", name=column.column)
        _properties(suite, view, column.column)
        if column.blocked:  # the reason is the same for all its kernels
            case = ET.SubElement(suite, "testcase", classname=column.column, name="column", time="0")
            waits = view.in_progress and column.blocked == _NOT_RUN
            tag = "skipped" if waits or column.blocked in _SKIPPED else "error"
            ET.SubElement(case, tag, message=f"{column.symbol} {column.blocked}").text = column.reason
        names = _names(view)
        issues = {issue.id: issue for issue in view.known_issues}
        for row in () if column.blocked else view.rows:
            for mode_result in row.entries[place].mode_results:
                _case(suite, column.column, names[row.index], mode_result, issues)
        _counted(suite, list(suite.iter("testcase")))
        upgrades = [("Since the last run", upgrade) for upgrade in view.since.upgrades]
        upgrades += [(upgrade.step, upgrade) for upgrade in view.upgrades]
        changes = [
            text for step, upgrade in upgrades if upgrade.after == column.column for text in _changes(step, upgrade)
        ]
        if changes:
            ET.SubElement(suite, "system-out").text = "\n".join(changes)
    _counted(suites, list(suites.iter("testcase")))
    ET.indent(suites, " ")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(suites, encoding="unicode")}\n'


def _names(view: View) -> dict[int, str]:
    """Kernel names by index. Names that became equal by escaping are numbered, because CI pages merge equal names."""
    seen: Counter[str] = Counter()
    names = {}
    for row in view.rows:
        seen[row.kernel] += 1
        names[row.index] = f"{row.kernel} ({seen[row.kernel]})" if seen[row.kernel] > 1 else row.kernel
    return names


def _counted(element: ET.Element, cases: list[ET.Element]) -> None:
    """Set the counts and the total time that CI systems read."""
    element.set("tests", str(len(cases)))
    for tag, plural in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        element.set(plural, str(sum(case.find(tag) is not None for case in cases)))
    element.set("time", f"{sum(float(case.get('time', '0')) for case in cases):.6f}")


def _properties(suite: ET.Element, view: View, column: str) -> None:
    """Facts of the run, and the answer for one column."""
    rows = [("run", view.run), *(("answer", text) for text in view.answer)]
    for line in view.lines:
        if line.column == column:
            rows += [("rank", line.rank), ("pair", f"{line.label}: {line.sentence}"), ("overhead", line.overhead)]
    since = view.since
    rows += [("since the last run", f"{since.run} {since.moment} {since.sentence}")]
    rows += [*(("since the last run", text) for text in since.notes)]
    rows += [(f"fact: {fact.label}", fact.value) for fact in view.facts]
    rows += [(f"notice: {notice.title}", " ".join((notice.text, *notice.items))) for notice in view.notices]
    for matrix_column in view.columns:
        if matrix_column.column == column:
            notes = (matrix_column.versions, matrix_column.kind, matrix_column.origin, matrix_column.note)
            rows += [("note", text) for text in notes]
    rows += [("choice", f"{view.choice.sentence} {view.choice.question}"), ("choice", view.choice.more)]
    for candidate in (candidate for candidate in view.choice.candidates if candidate.column == column):
        fit = f"{candidate.rank} {candidate.label}: {candidate.symbol} {candidate.fit}"
        rows += [("choice", f"{fit}; {candidate.evidence}"), ("choice: overhead", candidate.overhead)]
        rows += [("reason", text) for text in candidate.reasons]
        rows += [("unknown", text) for text in candidate.unknowns]
    rows += [("suggested run", f"{missing.why} {missing.command}") for missing in view.choice.missing]
    for need in view.needs:
        texts = [f"{fact.text} {fact.slowest}" for fact in need.columns if fact.column == column]
        rows += [(f"reproducible: {need.family}", text) for text in texts]
    rows += [("across hosts", text) for text in _hosts(view, column)]
    properties = ET.SubElement(suite, "properties")
    for name, value in rows:
        if value:
            ET.SubElement(properties, "property", name=name, value=value.strip())


def _hosts(view: View, column: str) -> Iterator[str]:
    """What the hosts of a column's environment show."""
    for item in view.hosts:
        if any(one.column == column for one in item.hosts):
            yield f"{item.label}; {', '.join(dict.fromkeys(one.host for one in item.hosts))}"
            yield from item.sentences
            yield from (f"{fact.label}: {fact.value}" for fact in item.differing)
            yield from (f"{row.kernel}, {row.mode}: {row.agreement}; {row.text}" for row in item.rows)


def _changes(step: str, upgrade: Upgrade) -> list[str]:
    """What a change to this column does, kernel by kernel."""
    counts = ", ".join(f"{event} {number}" for event, number in upgrade.counts)
    rest = f"Other results: {upgrade.rest}." if upgrade.rest else ""
    head = f"{step}, {upgrade.label}: {upgrade.changed_facts}"
    texts = [head, *upgrade.sentences, counts, rest, upgrade.note, *map(_event, upgrade.lines)]
    return list(filter(None, texts))


def _event(line: UpgradeLine) -> str:
    texts = (", ".join(line.events), f"{line.before.status} to {line.after.status}", line.bits, line.time)
    return f"{line.kernel}, {line.where}: {'; '.join(filter(None, texts))}"


def _case(
    suite: ET.Element, column: str, kernel: str, mode_result: ModeResult, issues: Mapping[str, KnownIssue]
) -> None:
    timing = mode_result.timing
    name = f"{kernel} [{mode_result.mode}]"
    case = ET.SubElement(suite, "testcase", classname=column, name=name)
    case.set("time", f"{timing.median_s:.6f}" if timing else "0")
    tag = _tag(mode_result)
    where = f"in {mode_result.variation}" if mode_result.variation not in ("", "default") else ""
    message = ", ".join(filter(None, (mode_result.status, where, mode_result.evidence_text)))
    if tag is None:
        ET.SubElement(case, "system-out").text = "\n".join(
            filter(None, [f"{message}. {mode_result.why}", _value(mode_result), *_warnings(mode_result)])
        )
        return
    result = ET.SubElement(case, tag, message=message)
    result.text = "\n".join(
        filter(None, [mode_result.why, _value(mode_result), *_warnings(mode_result), *_evidence(mode_result, issues)])
    )


def _warnings(mode_result: ModeResult) -> list[str]:
    return [f"warning: {text}" for text in mode_result.warnings]


def _value(mode_result: ModeResult) -> str:
    """Letters, distance, time and overhead."""
    return ", ".join(
        filter(
            None,
            (
                mode_result.letters,
                mode_result.distance_text,
                "new value" if mode_result.new_value else "",
                mode_result.time,
                mode_result.overhead,
            ),
        )
    )


def _evidence(mode_result: ModeResult, issues: Mapping[str, KnownIssue]) -> list[str]:
    """The difference, the error and the known issue behind a result."""
    difference = mode_result.difference
    first = difference.first_difference if difference else None
    return [
        *(sentences(difference) if difference else ()),
        first_difference(first) if first else "",
        mode_result.error_message,
        *(known_issue(issues[mode_result.known_issue]) if mode_result.known_issue in issues else ()),
    ]


def _tag(mode_result: ModeResult) -> str | None:
    """The element that says how a case ended, None for a success."""
    if mode_result.word in _SUCCESS:
        return None
    if mode_result.word in _FAILURE and mode_result.mode == "on":
        return "failure"
    return "error" if mode_result.word in _ERROR else "skipped"
