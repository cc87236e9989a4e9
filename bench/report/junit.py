"""The view as JUnit XML: one suite a pair, one case a kernel and mode; one for all of a pair not measured.

Only ``exact`` (and a control that passed) is a plain success, for a green in a CI page is a claim. A
variation with determinism on is a failure, a fault of the process an error. Everything else, from
``weak`` to ``unsupported``, is skipped with its words as the message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from bench.report import words
from bench.report.apart import parted, sentences
from bench.report.notes import limitation
from bench.report.text import cap, clean
from bench.verdict.status import Status

if TYPE_CHECKING:
    from bench.report.view import Entry, Half, View
    from bench.verdict.judgement import Verdict

_SUCCESS = frozenset({words.WORDS[Status.EXACT].word, words.PASS.word})
_FAILURE = frozenset({words.WORDS[status].word for status in (Status.VARIES, Status.EXACT_IN_PROCESS)})
_ERROR = frozenset({word.word for word in words.WORDS.values() if word.tone == "fault"} | {words.FAIL.word})


def render(view: View) -> str:
    """The page as JUnit XML."""
    suites = ET.Element("testsuites", name=view.title)
    for place, column in enumerate(view.columns):
        suite = ET.SubElement(suites, "testsuite", name=column.cell)
        if column.blocked:  # one sentence says it of all its kernels
            case = ET.SubElement(suite, "testcase", classname=column.cell, name="column", time="0")
            ET.SubElement(case, "skipped", message=f"{column.symbol} {column.blocked}").text = column.reason
        for row in () if column.blocked else view.rows:
            for half in row.entries[place].halves:
                _case(suite, row.entries[place], half)
        cases = list(suite)
        suite.set("tests", str(len(cases)))
        for tag, plural in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            suite.set(plural, str(sum(case.find(tag) is not None for case in cases)))
    ET.indent(suites, " ")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(suites, encoding="unicode")}\n'


def _case(suite: ET.Element, entry: Entry, half: Half) -> None:
    timing = half.verdict.timing if half.verdict else None
    name = f"{entry.kernel} [{half.mode}]"
    case = ET.SubElement(suite, "testcase", classname=entry.cell, name=name)
    case.set("time", f"{timing.median_s:.6f}" if timing else "0")
    tag = _tag(half)
    message = half.status + (f", {half.strength}" if half.strength else "")
    if tag is None:
        ET.SubElement(case, "system-out").text = f"{message}. {half.why}"
        return
    result = ET.SubElement(case, tag, message=message)
    result.text = "\n".join(filter(None, [half.why, *(_told(half.verdict) if half.verdict else ())]))


def _told(verdict: Verdict) -> list[str]:
    """The difference, the error and the known limitation behind a verdict."""
    found, parting = verdict.difference, verdict.difference.parting if verdict.difference else None
    return [
        *(sentences(found) if found and not verdict.control else ()),
        parted(parting) if parting and not verdict.control else "",
        cap(clean(verdict.error_message, lines=True)),
        *(limitation(verdict.limitation) if verdict.limitation else ()),
    ]


def _tag(half: Half) -> str | None:
    if half.word in _SUCCESS:
        return None
    if half.word in _FAILURE and half.mode == "on":
        return "failure"
    return "error" if half.word in _ERROR else "skipped"
