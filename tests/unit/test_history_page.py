"""The page of the history: its calendar, alarms and time lines, from histories that are written with SQL."""

from __future__ import annotations

import dataclasses
import json
import re
from contextlib import contextmanager
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.cli import night_files
from bench.history import database
from bench.history.journal import Entry
from bench.report.build.history import MOST_LINES, build
from bench.report.build.time_lines import KEPT_NIGHTS, MOST_EVENTS, change_points
from bench.report.html.history import render
from bench.report.view.night import NightFinding, NightResult
from tests.history_benchmark import fill, notes, report, reports

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

    from bench.report.view.history import HistoryView
    from bench.report.view.night import NightView

COLUMN = "tf2.18.1-cpu-py311@cpu"
HOSTILE = (
    "<script>window.hit=1</script>",
    "</style></title></textarea><img src=x onerror=window.hit=1>",
    "\"'><a href=javascript:window.hit=1>x</a>",
    "{{7*7}}{%raw%}{#x#}",
    "\u202egnp.exe\u2066\u200b",
    "nul\x00esc\x1b[31mbell\x07",
    "line\u2028and\u2029paragraph\r\nbreak",
    "L" * 10_000,
)


class Elements(HTMLParser):
    """The names of elements and attributes of a page, and the targets of its links outside the page."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.links: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value or "" for name, value in attrs if name == "href" and not (value or "").startswith("#")}


@contextmanager
def history(folder: Path) -> Iterator[sqlite3.Connection]:
    """An empty history whose tables take rows in any order."""
    with database.opened(folder) as connection:
        yield connection


def add_run(connection: sqlite3.Connection, name: str, state: str = "indexed", reason: str = "", **facts: str) -> int:
    """Add a run; it began on the day in its name."""
    started = facts.get("started", f"{name[:4]}-{name[4:6]}-{name[6:8]}T02:00:00+00:00")
    row = (name, "", state, reason, started, started, "standard")
    connection.execute(
        "INSERT INTO runs (name, stamp, state, reason, started, finished, profile) VALUES (?, ?, ?, ?, ?, ?, ?)", row
    )
    return int(connection.execute("SELECT id FROM runs WHERE name = ?", (name,)).fetchone()[0])


def add_cell(
    connection: sqlite3.Connection, run: int, seconds: float | None = 0.001, *, status: str = "reproducible",
    digest: bytes = b"same", column: str = COLUMN, kernel: str = "matmul", cpu: str = "a CPU",
) -> None:  # fmt: skip
    """Add a result of a run."""
    place = (json.dumps({"device": "cpu", "CPU": cpu}), column, kernel, "default", "on")
    connection.execute("INSERT OR IGNORE INTO columns VALUES (?, ?, ?, '{}')", (run, column, place[0]))
    connection.execute("INSERT OR IGNORE INTO statuses (word) VALUES (?)", (status,))
    connection.execute(
        "INSERT OR IGNORE INTO series (machine, name, kernel, variation, mode) VALUES (?, ?, ?, ?, ?)", place
    )
    connection.execute(
        "INSERT INTO cells SELECT series.id, ?, statuses.id, ?, x'01', 10, ? FROM series, statuses "
        "WHERE (machine, name, kernel, variation, mode) = (?, ?, ?, ?, ?) AND word = ?",
        (run, digest, seconds, *place, status),
    )


def day(number: int) -> str:
    """The name of the run of a day."""
    return f"{np.datetime64('2024-01-01') + number}T020000Z-abcd".replace("-", "", 2)


def nightly(kernel: str = "matmul", column: str = COLUMN, text: str = "It was reproducible.") -> NightView:
    """What a night with one alarm found."""
    result = NightResult(kernel=kernel, variation="default", mode="on", sentence=text)
    alarm = NightFinding(
        kind="no longer reproducible", column=column, before=day(0), results=(result,), changed=(("driver", "1 to 2"),)
    )
    return report(f"1 alarm: {text}", [alarm])


def shown(page: str) -> str:
    """The text of a page, without style, script and elements."""
    return re.sub(r"<[^>]*>", "", re.sub(r"(?s)<(style|script).*?</\1>", "", page))


def test_an_empty_history_is_a_page(tmp_path: Path) -> None:
    with history(tmp_path) as connection:
        view = build(connection, [], {})
    assert view.headline == "No night has been measured yet."
    text = shown(render(view))
    assert "There is no alarm." in text
    assert "Nothing changed so far." in text


def test_one_night(tmp_path: Path) -> None:
    with history(tmp_path) as connection:
        add_cell(connection, add_run(connection, day(0)))
        add_cell(connection, 1, None, kernel="untimed", digest=b"")
        view = build(connection, [], {})
    assert view.headline == "2024-01-01: The newest run was not examined for alarms."
    assert not view.lines
    assert [(line.kernel, line.time) for line in view.others] == [("matmul", "1.00 ms"), ("untimed", "")]
    render(view)


@pytest.fixture
def several(tmp_path: Path) -> HistoryView:
    """Forty nights: a slower level, one night with other bits, a status that changes, a note and an alarm."""
    random = np.random.default_rng(1)
    with history(tmp_path) as connection:
        for number in range(40):
            run = add_run(connection, day(number))
            noise = float(np.exp(random.normal(0, 0.01)))
            add_cell(connection, run, 0.001 * noise * (1.2 if number >= 25 else 1))
            add_cell(connection, run, kernel="bits", digest=b"B" if number == 30 else b"A")
            add_cell(connection, run, kernel="steady")
            add_cell(connection, run, kernel="noted")
            wrong = number >= 39
            status, digest = ("nondeterministic", b"") if wrong else ("reproducible", b"A")
            add_cell(connection, run, kernel="status", status=status, digest=digest)
        entries = [Entry(kind="note", cell="*/noted", text="look", run=day(5), who="me")]
        return build(connection, entries, {day(39): nightly("status"), day(38): report("No alarm.")})


def test_what_happened_to_each_result(several: HistoryView) -> None:
    events = {line.kernel: [(one.date, one.title, one.text) for one in line.events] for line in several.lines}
    assert events["bits"] == [("2024-02-01", "bits", "B → A"), ("2024-01-31", "bits", "A → B")]
    assert events["noted"] == [("2024-01-06", "note", "me: look")]
    assert sorted(events["status"]) == [
        ("2024-02-09", "alarm: no longer reproducible", "It was reproducible."),
        ("2024-02-09", "status", "reproducible → nondeterministic"),
    ]
    [(date, title, text)] = events["matmul"]
    assert (date, title) == ("2024-01-26", "time")
    assert float(text.split("(")[1][:-2]) == pytest.approx(1.2, abs=0.02)
    assert several.lines[0].kernel == "status"  # the newest alarm comes first
    assert [line.kernel for line in several.others] == ["steady"]


def test_alarms_and_their_time_lines_lead_to_each_other(several: HistoryView) -> None:
    page = render(several)
    [night] = several.alarms
    line = several.lines[0]
    assert night.alarms[0].results[0].anchor == line.anchor
    assert [event.anchor for event in line.events if event.symbol == "!"] == [night.anchor]
    targets = set(re.findall(r'href="?#([^\s">]+)', page))
    assert targets <= set(re.findall(r'id="?([^\s">]+)', page))
    assert 'href="index.html"' in page


def test_the_newest_mark_is_drawn_last_and_an_alarm_stands_alone(several: HistoryView) -> None:
    line = next(line for line in several.lines if line.kernel == "status")
    alarm = next(event for event in line.events if event.symbol == "!")
    recovered = dataclasses.replace(alarm, symbol="=", tone="good", title="status", text="reproducible")
    older = dataclasses.replace(recovered, slot=alarm.slot - 1)
    page = render(dataclasses.replace(several, lines=(dataclasses.replace(line, events=(recovered, alarm, older)),)))
    marks = re.findall(r"<i class=(\w+) style=left[^>]*>(.+?)</i>", page)
    assert [symbol for _, symbol in marks] == ["=", "!"]
    assert marks[-1][0] == alarm.tone


def test_the_calendar_says_what_each_night_was(several: HistoryView) -> None:
    text = shown(render(several))
    assert "2024-02-09: 1 alarm" in text
    assert "2024-02-08: no alarm" in text
    assert "2024-02-07: measured, not examined for alarms" in text


def test_runs_that_are_not_used_are_named_with_the_reason(tmp_path: Path) -> None:
    with history(tmp_path) as connection:
        add_cell(connection, add_run(connection, day(0)))
        future = "it began at 2199-01-01T02:00:00+00:00, which is in the future: the clock was wrong"
        add_run(connection, "21990101T020000Z-abcd", "skipped", future)
        add_run(connection, "broken", "skipped", "run.json cannot be read", started="")
        add_cell(connection, add_run(connection, day(1), "incomplete", "2 parts cannot be read"))
        view = build(connection, [], {day(1): report("No alarm.")})
    assert view.headline == "2024-01-02: No alarm."
    assert view.sentence == "2 nights from 2024-01-01 to 2024-01-02; 0 nights had alarms. 2 runs could not be used."
    text = shown(render(view))
    assert f"2199-01-01: not used: {future}" in text
    assert "run.json cannot be read" in text
    assert "2024-01-02: no alarm, incomplete; 2 parts cannot be read" in text
    assert len(view.slots) == 2


def test_two_runs_of_one_day_share_a_tile(tmp_path: Path) -> None:
    with history(tmp_path) as connection:
        for name in ("20240101T020000Z-aaaa", "20240101T120000Z-bbbb"):
            add_cell(connection, add_run(connection, name))
        view = build(connection, [], {"20240101T020000Z-aaaa": nightly()})
    assert "2024-01-01: 1 alarm; measured, not examined for alarms" in shown(render(view))


def test_older_nights_become_weeks_and_the_page_says_so(tmp_path: Path) -> None:
    with history(tmp_path) as connection:
        for number in range(KEPT_NIGHTS + 14):
            add_cell(connection, add_run(connection, day(number)), 0.001 + number * 1e-6)
        view = build(connection, [], {})
    assert [slot.weekly for slot in view.slots] == [True, True] + [False] * KEPT_NIGHTS
    [line] = (*view.lines, *view.others)
    week = line.points[0]
    assert (week.low, week.seconds, week.high) == pytest.approx((0.001, 0.001003, 0.001006))
    assert len(line.points) == len(view.slots)
    assert "each week is one point" in shown(render(view))


def test_a_status_that_flaps_does_not_fill_the_page(tmp_path: Path) -> None:
    with history(tmp_path) as connection:
        for number in range(50):
            status = "nondeterministic" if number % 2 else "reproducible"
            add_cell(connection, add_run(connection, day(number)), status=status, digest=b"")
        view = build(connection, [], {day(0): nightly()})
    [line] = view.lines
    assert len(line.events) == MOST_EVENTS
    assert line.events[-1].title.startswith("alarm")  # old, but kept
    assert line.more == 50 - MOST_EVENTS


def test_machines_have_time_lines_of_their_own(tmp_path: Path) -> None:
    with history(tmp_path) as connection:
        for number, cpu in enumerate(("one", "other")):
            add_cell(connection, add_run(connection, day(number)), cpu=cpu)
        view = build(connection, [], {day(1): nightly()})
    assert [line.machine for line in (*view.lines, *view.others)] == ["other", "one"]


@pytest.mark.parametrize("damaged", [[], {"alarms": 3}, {"headline": "x", "alarms": [{"kind": "x"}]}, "x", None])
def test_a_damaged_report_counts_as_absent(tmp_path: Path, damaged: Any) -> None:
    (tmp_path / night_files.NIGHTS).mkdir()
    (tmp_path / night_files.NIGHTS / f"{day(0)}.json").write_text(json.dumps(damaged))
    with history(tmp_path) as connection:
        add_cell(connection, add_run(connection, day(0)))
        view = build(connection, [], night_files.read_all(tmp_path))
    assert view.nights[0].alarms is None
    render(view)


def test_a_status_of_a_newer_version_is_shown_as_it_is(tmp_path: Path) -> None:
    with history(tmp_path) as connection:
        add_cell(connection, add_run(connection, day(0)), status="new-word")
        view = build(connection, [], {})
    assert "? new-word" in shown(render(view))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(tmp_path: Path, text: str) -> None:
    with history(tmp_path) as connection:
        add_cell(connection, add_run(connection, day(0)), kernel=text, column=text, cpu=text)
        add_cell(connection, add_run(connection, day(1)), kernel=text, column=text)
        add_run(connection, f"x{text}", "skipped", text, started=text)
        entries = [Entry(kind="note", cell="*", text=text, run=text, who=text)]
        view = build(connection, entries, {day(1): nightly(text, text, text)})
    page = render(view)
    assert page.count("<script") == page.count("</script") == 1
    assert page.count("<style") == page.count("</style") == 1
    elements = Elements()
    elements.feed(page)
    assert not [name for name in elements.attributes if name.startswith("on")]
    assert not elements.names & {"img", "svg/onload", "iframe", "object"}
    assert elements.links <= {"index.html", "data:,"}
    assert not set(page) & {"\x00", "\x1b", "\x07", "\u202e", "\u2066", "\u200b", "\u2028", "\u2029"}


def test_the_same_history_gives_the_same_bytes(tmp_path: Path) -> None:
    pages = set()
    for name in ("one", "other"):
        with history(tmp_path / name) as connection:
            names = fill(connection, 20, kernels=2)
            pages.add(render(build(connection, notes(names), reports(names, kernels=2))))
    assert len(pages) == 1


def test_a_large_history_is_drawn_in_part(tmp_path: Path) -> None:
    with history(tmp_path) as connection:
        for number in range(2):
            run = add_run(connection, day(number))
            for kernel in range(MOST_LINES + 5):
                add_cell(connection, run, kernel=f"k{kernel}", digest=bytes([number + 1]))
        view = build(connection, [], {})
    assert len(view.lines) == MOST_LINES
    assert len(view.others) == 5
    assert "5 results with older changes are among the other results" in shown(render(view))


def test_change_points() -> None:
    random = np.random.default_rng(3)
    steady = np.exp(random.normal(0, 0.01, 200))
    assert change_points(steady) == []
    disturbed = steady.copy()
    disturbed[[20, 77, 140]] *= (1.5, 3.0, 0.4)
    assert change_points(disturbed) == []
    assert change_points(np.where(np.arange(200) < 120, steady, steady * 1.05)) == [120]
    assert change_points([1.0] * 100) == []
    assert change_points([1.0] * 5 + [2.0] * 6) == []  # too few nights


def test_change_points_are_rarely_found_by_chance() -> None:
    random = np.random.default_rng(4)
    found = sum(bool(change_points(np.exp(random.normal(0, 0.01, 200)))) for _ in range(200))
    assert found <= 6
