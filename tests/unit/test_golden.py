"""Same input, same bytes: a page is the same on every machine, every day, and in whatever order records are read."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report.build.page import build
from bench.report.html import render as html_render
from bench.verdict import evaluate
from tests.unit import test_report

if TYPE_CHECKING:
    from bench.store.run import Run
    from bench.suite.record import Record

GOLDEN = Path(__file__).parents[1] / "data" / "page.html"
RENEW = "python -m tests.unit.test_golden"


def page(run: Run) -> str:
    return html_render.render(build(evaluate(run)))


def parts(text: str) -> str:
    """The page without style and script, which have tests of their own and say nothing of a run."""
    for tag in ("style", "script"):
        start = text.index(f"<{tag}>")
        text = text[:start] + text[text.index(f"</{tag}>", start) :]
    policy = text.index("script-src 'sha256-")
    return text[:policy] + text[text.index("'; base-uri", policy) :]


def test_the_page_is_the_golden_one() -> None:
    assert parts(page(test_report.mixed())) == GOLDEN.read_text("utf-8"), f"If this is meant to change: {RENEW}"


def test_rendering_twice_gives_the_same_bytes() -> None:
    assert page(test_report.mixed()) == page(test_report.mixed())


def test_the_order_of_mappings_moves_no_byte() -> None:
    run = test_report.mixed()

    def turned(one: Record) -> Record:
        processes = tuple(
            dataclasses.replace(process, libraries=dict(reversed(list(process.libraries.items()))))
            for process in one.processes
        )
        return dataclasses.replace(one, processes=processes)

    records = {path: turned(one) for path, one in reversed(list(run.records.items()))}
    host = dict(reversed(list(run.info.host.items())))
    other = dataclasses.replace(run, records=records, info=dataclasses.replace(run.info, host=host))
    assert page(other) == page(run)


if __name__ == "__main__":
    GOLDEN.write_text(parts(page(test_report.mixed())), encoding="utf-8")
    sys.stdout.write(f"{GOLDEN}\n")
