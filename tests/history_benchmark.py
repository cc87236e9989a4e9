"""Size and speed of a long history and of its page: ``python -m tests.history_benchmark --nights 1095``.

A history of 2,520 results is written to SQLite, with drifts, levels of time that change, statuses that flap, and alarms
on one night in twenty. The same seed gives the same history.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.history import database
from bench.history.journal import Entry
from bench.history.night import load
from bench.report.build.history import build
from bench.report.html.history import render
from bench.report.view.night import SCHEMA, NightFinding, NightResult, NightView

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

SEED = 20130501
COLUMNS, KERNELS, MODES = 12, 105, ("off", "on")
#: Milliseconds from the navigation to the ``load`` event, and from typing to the next frame that is painted.
OPENED = "performance.getEntriesByType('navigation')[0].loadEventEnd"
FILTERED = """() => new Promise((done) => {
  const field = document.forms.filter.elements.kernel, start = performance.now();
  field.value = "kernel_07";
  field.dispatchEvent(new Event("input", {bubbles: true}));
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
})"""


def name_of(day: datetime) -> str:
    """The run of a day."""
    return f"{day:%Y%m%dT%H%M%SZ}-abcd"


def fill(connection: sqlite3.Connection, nights: int, kernels: int = KERNELS) -> list[str]:
    """Write a history with 24 series for each kernel; return the names of its runs."""
    random = np.random.default_rng(SEED)
    places = [(f"tf2.{10 + column}.0-cpu-py311@cpu", f"kernel_{kernel:03d}", mode)
              for column in range(COLUMNS) for kernel in range(kernels) for mode in MODES]  # fmt: skip
    machine = json.dumps({"device": "cpu", "CPU": "Example CPU", "cores": "8", "engine": "docker"})
    facts = json.dumps({"TensorFlow": "2.20.0", "lock": "ab" * 32, "driver": ""})
    days = [datetime(2023, 11, 30, 2, tzinfo=UTC) + timedelta(days=number) for number in range(nights)]
    with database.transaction(connection):
        connection.executemany("INSERT INTO statuses VALUES (?, ?)", [(1, "reproducible"), (2, "nondeterministic")])
        connection.executemany(
            "INSERT INTO series VALUES (?, ?, ?, ?, 'default', ?)",
            [(number, machine, *place) for number, place in enumerate(places, 1)],
        )
        level = random.uniform(-8, -2, len(places))
        bits = np.zeros(len(places), int)
        for number, day in enumerate(days, 1):
            level[random.random(len(places)) < 0.0004] += random.choice([-0.05, 0.04, 0.12])
            bits[random.random(len(places)) < 0.0002] += 1
            times = np.exp(level + random.normal(0, 0.01, len(places)) + random.normal(0, 0.005))
            broken = random.random(len(places)) < np.where(np.arange(len(places)) % 97 == 5, 0.3, 0.00002)
            connection.execute(
                "INSERT INTO runs VALUES (?, ?, '', 'indexed', '', ?, ?, 'standard')",
                (number, name_of(day), day.isoformat(), (day + timedelta(hours=3)).isoformat()),
            )
            connection.executemany(
                "INSERT INTO columns VALUES (?, ?, ?, ?)",
                [(number, column, machine, facts) for column in dict.fromkeys(place[0] for place in places)],
            )
            connection.executemany(
                "INSERT INTO cells VALUES (?, ?, ?, ?, ?, 10, ?)",
                [
                    (series, number, 2 if broken[place] else 1,
                     b"" if broken[place] else (series * 1000 + int(bits[place])).to_bytes(8, "big"), b"code",
                     float(times[place]))
                    for place, series in enumerate(range(1, len(places) + 1))
                ],
            )  # fmt: skip
    return [name_of(day) for day in days]


def report(headline: str, alarms: Iterable[NightFinding] = ()) -> NightView:
    """What a night found."""
    return NightView(
        schema=SCHEMA, run="", started="", finished="", headline=headline, earlier=0, measured=0, alarms=tuple(alarms),
        changes=(),
    )  # fmt: skip


def reports(names: list[str], kernels: int = KERNELS) -> dict[str, NightView]:
    """Every twentieth night, the last one among them, with two alarms."""
    found = {}
    text = "1.12x the usual time in the same environment; anything above 1.05x would have been noticed."
    for number, name in enumerate(reversed(names)):
        column = f"tf2.{10 + number % COLUMNS}.0-cpu-py311@cpu"
        places = [f"kernel_{(number + one) % kernels:03d}" for one in range(3)]
        alarms = [
            NightFinding(
                kind=kind,
                column=column,
                before=names[0],
                results=tuple(
                    NightResult(kernel=kernel, variation="default", mode="on", sentence=text) for kernel in places
                ),
                changed=(("TensorFlow", "2.20.0 to 2.21.0"), ("driver", "560.1 to 570.2")),
                commands=(f"nox -s compare -- {names[0]}:{column} {name}:{column} --kernels kernel_001",),
            )
            for kind in ([] if number % 20 else ["slower", "no longer reproducible"])
        ]
        headline = f"2 alarms about 6 of 2520 results: {column}: slower." if alarms else "No alarm: 2520 results."
        found[name] = report(headline, alarms)
    return found


def notes(names: list[str]) -> list[Entry]:
    """A note on a kernel in all columns, and an accepted change."""
    return [
        Entry(kind="note", cell="*/kernel_003", text="waits for the fix", run=names[-5:][0], who="a"),
        Entry(kind="accept", cell="*/kernel_009/default/on", text="new library", run=names[len(names) // 2], who="b"),
    ]  # fmt: skip


def open_in_browser(page: Path) -> tuple[float, float]:
    """Return the seconds that Chromium needs to open a page, and to filter it."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only where it is installed

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        opened, filtered = [], 0.0
        for _ in range(3):  # the first has to start processes of the browser, too
            tab = browser.new_page(viewport={"width": 1400, "height": 900})
            tab.goto(page.as_uri())
            opened.append(tab.evaluate(OPENED) / 1000)
            filtered = tab.evaluate(FILTERED) / 1000
        browser.close()
    return min(opened), filtered


def main(arguments: list[str] | None = None) -> int:
    """Print sizes and seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=1095)
    parser.add_argument("--keep", type=Path, help="write the page to this file, too")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch, database.opened(Path(scratch)) as connection:
        names = fill(connection, options.nights)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        print(f"on disk: {database.path_of(Path(scratch)).stat().st_size / 1e6:.0f} MB")
        start = time.perf_counter()
        load(connection, names[-1])
        print(f"load of the newest night: {time.perf_counter() - start:.2f} s")
        start = time.perf_counter()
        view = build(connection, notes(names), reports(names))
        built = time.perf_counter()
        text = render(view)
        print(f"build: {built - start:.1f} s, render: {time.perf_counter() - built:.1f} s")
        print(f"page: {len(text.encode()) / 1e6:.2f} MB, {len(view.lines)} lines and {len(view.others)} in short")
        page = options.keep or Path(scratch) / "history.html"
        page.write_text(text, encoding="utf-8")
        opened, filtered = open_in_browser(page)
        print(f"Chromium: opened in {opened:.2f} s, filtered in {filtered:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
