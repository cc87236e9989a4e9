"""The view as JUnit XML: one suite a pair, one case a kernel and mode; one for all of a pair not measured.

Only ``reproducible`` (and a control that passed) is a plain success, for a green in a CI page is a claim. A
variation with determinism on is a failure, a fault of the process an error. Everything else, from
``inconclusive`` to ``unsupported``, is skipped with its words as the message.
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
    from collections.abc import Mapping

    from bench.report.view import ModeResult, Upgrade, UpgradeLine, View
    from bench.verdict.known_issues import KnownIssue

_SUCCESS = frozenset({labels.WORDS[Status.REPRODUCIBLE].word, labels.PASS.word})
_FAILURE = frozenset(
    {labels.WORDS[status].word for status in (Status.NONDETERMINISTIC, Status.REPRODUCIBLE_IN_PROCESS)}
)
#: Why a column has no number although nothing went wrong.
_NOT_HERE = frozenset({labels.WORDS[status].word for status in (Status.INCOMPATIBLE, Status.GPU_NOT_VISIBLE)})
_ERROR = frozenset({word.word for word in labels.WORDS.values() if word.tone == "fault"} | {labels.FAIL.word})


def render(view: View) -> str:
    """The page as JUnit XML. Names are those of columns, kernels and modes: a CI page can follow them over runs."""
    suites = ET.Element("testsuites", name="tfrepro")
    if not view.columns:  # no case at all would pass for a success
        suite = ET.SubElement(suites, "testsuite", name="run")
        _properties(suite, view, "")
        case = ET.SubElement(suite, "testcase", classname="run", name="run", time="0")
        ET.SubElement(case, "skipped", message="nothing was planned").text = view.answer[0]
        _counted(suite, [case])
    for place, column in enumerate(view.columns):
        suite = ET.SubElement(suites, "testsuite", name=column.column)
        _properties(suite, view, column.column)
        if column.blocked:  # one sentence says it of all its kernels
            case = ET.SubElement(suite, "testcase", classname=column.column, name="column", time="0")
            tag = "skipped" if column.blocked in _NOT_HERE else "error"
            ET.SubElement(case, tag, message=f"{column.symbol} {column.blocked}").text = column.reason
        names = _names(view)
        issues = {issue.id: issue for issue in view.known_issues}
        for row in () if column.blocked else view.rows:
            for half in row.entries[place].halves:
                _case(suite, column.column, names[row.index], half, issues)
        _counted(suite, list(suite.iter("testcase")))
        told = [
            *(
                text
                for one in view.since.upgrades
                if one.after == column.column
                for text in _changes("Since the last run", one)
            ),
            *(text for one in view.upgrades if one.after == column.column for text in _changes(one.step, one)),
        ]
        if told:
            ET.SubElement(suite, "system-out").text = "\n".join(told)
    _counted(suites, list(suites.iter("testcase")))
    ET.indent(suites, " ")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(suites, encoding="unicode")}\n'


def _names(view: View) -> dict[int, str]:
    """Kernels by place; those that look alike once made harmless are numbered, for CI pages merge equal names."""
    seen: Counter[str] = Counter()
    names = {}
    for row in view.rows:
        seen[row.kernel] += 1
        names[row.index] = f"{row.kernel} ({seen[row.kernel]})" if seen[row.kernel] > 1 else row.kernel
    return names


def _counted(element: ET.Element, cases: list[ET.Element]) -> None:
    element.set("tests", str(len(cases)))
    for tag, plural in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        element.set(plural, str(sum(case.find(tag) is not None for case in cases)))
    element.set("time", f"{sum(float(case.get('time', '0')) for case in cases):.6f}")


def _properties(suite: ET.Element, view: View, column: str) -> None:
    """What holds for the run, and the answer for this column."""
    told = [("run", view.run), *(("answer", text) for text in view.answer)]
    for line in view.lines:
        if line.column == column:
            told += [("rank", line.rank), ("pair", f"{line.label}: {line.sentence}"), ("overhead", line.overhead)]
    since = view.since
    told += [("since the last run", f"{since.run} {since.moment} {since.sentence}")]
    told += [*(("since the last run", text) for text in since.notes)]
    told += [(f"fact: {fact.label}", fact.value) for fact in view.facts]
    told += [(f"notice: {one.title}", " ".join((one.text, *one.items))) for one in view.notices]
    for matrix_column in view.columns:
        if matrix_column.column == column:
            told += [
                *(
                    ("to know", text)
                    for text in (matrix_column.versions, matrix_column.kind, matrix_column.origin, matrix_column.note)
                )
            ]
    told += [("choice", f"{view.choice.sentence} {view.choice.question}"), ("choice", view.choice.more)]
    for one in view.choice.candidates:
        if one.column == column:
            told += [("choice", f"{one.rank} {one.label}: {one.symbol} {one.fit}; {one.evidence}")]
            told += [("choice: overhead", one.overhead)]
            told += [*(("reason", text) for text in one.reasons), *(("unknown", text) for text in one.unknowns)]
    told += [*(("to know more", f"{one.why} {one.command}") for one in view.choice.missing)]
    for need in view.needs:
        told += [(f"exact: {need.family}", f"{one.text} {one.dearest}") for one in need.columns if one.column == column]
    properties = ET.SubElement(suite, "properties")
    for name, value in told:
        if value:
            ET.SubElement(properties, "property", name=name, value=value.strip())


def _changes(step: str, one: Upgrade) -> list[str]:
    """What a change to this column does, result by result."""
    told = ", ".join(f"{event} {number}" for event, number in one.counts)
    rest = f"Of the others: {one.rest}." if one.rest else ""
    texts = [f"{step}, {one.label}: {one.moved}", *one.sentences, told, rest, one.note, *map(_event, one.lines)]
    return list(filter(None, texts))


def _event(line: UpgradeLine) -> str:
    told = (", ".join(line.events), f"{line.before.status} to {line.after.status}", line.bits, line.time)
    return f"{line.kernel}, {line.where}: {'; '.join(filter(None, told))}"


def _case(suite: ET.Element, column: str, kernel: str, half: ModeResult, issues: Mapping[str, KnownIssue]) -> None:
    timing = half.timing
    name = f"{kernel} [{half.mode}]"
    case = ET.SubElement(suite, "testcase", classname=column, name=name)
    case.set("time", f"{timing.median_s:.6f}" if timing else "0")
    tag = _tag(half)
    where = f"in {half.variation}" if half.variation not in ("", "default") else ""
    message = ", ".join(filter(None, (half.status, where, half.strength)))
    if tag is None:
        ET.SubElement(case, "system-out").text = "\n".join(filter(None, [f"{message}. {half.why}", _value(half)]))
        return
    result = ET.SubElement(case, tag, message=message)
    result.text = "\n".join(filter(None, [half.why, _value(half), *_told(half, issues)]))


def _value(half: ModeResult) -> str:
    """Class, time and overhead."""
    return ", ".join(
        filter(None, (half.letters, half.apart, "new value" if half.new_value else "", half.time, half.overhead))
    )


def _told(half: ModeResult, issues: Mapping[str, KnownIssue]) -> list[str]:
    """The difference, the error and the known issue behind a result."""
    found = half.difference
    return [
        *(sentences(found) if found else ()),
        first_difference(found.parting) if found and found.parting else "",
        half.error_message,
        *(known_issue(issues[half.known_issue]) if half.known_issue in issues else ()),
    ]


def _tag(half: ModeResult) -> str | None:
    if half.word in _SUCCESS:
        return None
    if half.word in _FAILURE and half.mode == "on":
        return "failure"
    return "error" if half.word in _ERROR else "skipped"
