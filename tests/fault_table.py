"""The table of faults in docs/reference/faults.md, written from the results of the tests with the marker ``fault``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

HEAD = """\
# Faults

What happens when something goes wrong. Every row is a test that causes the fault and checks what the tool does. The
tests in `tests/faults` run whole commands in real processes; each also checks that no process, temporary file or lock
is left behind. `nox -s faults` runs all these tests and writes this page.

| Fault | What the tool does | Tested in | Outcome |
|---|---|---|---|
"""
#: Outcomes of a test, the worst first; a fault has that of its worst case.
ORDER = ("failed", "skipped", "passed", "not run")


@dataclass
class FaultTable:
    """A pytest plugin that collects the outcomes of the marked tests and writes them to a file at the end."""

    path: Path
    rows: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the outcome of a test, also of one that another process has run."""
        for name, value in report.user_properties:
            if name == "fault" and (report.when == "call" or report.outcome != "passed"):
                fault, result, place = str(value).split("\n")
                key = (fault, result, place)
                self.rows[key] = min(self.rows.get(key, "not run"), report.outcome, key=ORDER.index)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Enter the collected tests."""
        for item in session.items:
            for fault, result, place in map(tuple, faults_of(item)):
                self.rows.setdefault((fault, result, place), "not run")

    def pytest_sessionfinish(self) -> None:
        """Write the table."""
        self.path.write_text(HEAD + "".join(map(_row, sorted(self.rows.items()))), encoding="utf-8")


def faults_of(item: pytest.Item) -> list[list[str]]:
    """Return fault, result and place of each marker of a test."""
    place = item.nodeid.partition("[")[0]
    return [[*marker.args, place] for marker in item.iter_markers("fault")]


def _row(entry: tuple[tuple[str, str, str], str]) -> str:
    (fault, result, place), outcome = entry
    file, _, test = place.partition("::")
    return f"| {fault} | {result} | `{file}`, `{test}` | {outcome} |\n"
