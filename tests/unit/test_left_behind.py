"""What kernels left behind, and a shared /tmp, are shown by every renderer and change no status."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from bench import report
from bench.report import Format
from bench.report.build.page import build
from bench.suite import record
from bench.verdict import Status, evaluate
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour, Spot

if TYPE_CHECKING:
    from bench.store.run import Run

SENTENCE = "left 1 thread running: Thread-{} (<loop>)"


def run() -> Run:
    """One kernel leaves a thread running in the rounds with determinism on, under another name in each."""

    def behave(spot: Spot) -> Behaviour:
        left = (SENTENCE.format(spot.round),) if spot.kernel == "matmul" and spot.mode == "on" else ()
        return dataclasses.replace(EXACT, left_behind=left)

    return factory.run(factory.info(), behave)


def test_a_kernel_that_leaves_something_keeps_its_status_and_gets_a_warning() -> None:
    results = evaluate(run())
    verdicts = [verdict for verdict in results.verdicts if verdict.warnings]
    assert {(verdict.kernel, verdict.mode, verdict.status) for verdict in verdicts} == {
        ("matmul", "on", Status.REPRODUCIBLE)
    }
    total = results.info.rounds
    assert verdicts[0].warnings == (f"left 1 thread running: Thread-1 (<loop>) (in {total} of {total} processes)",)
    (notice,) = [notice for notice in build(results).notices if notice.title == "Left behind by kernels"]
    assert notice.text.startswith("1 kernel left something behind.")
    assert notice.items[0].startswith("matmul: left 1 thread running: Thread-1")


def test_every_renderer_shows_the_warning_on_the_cell() -> None:
    results = evaluate(run())
    texts = {form: report.render(results, form) for form in Format}
    warning = "left 1 thread running: Thread-1 (&lt;loop&gt;) (in 5 of 5 processes)"
    assert f'<sup class=warns title="{warning}">⚠<span class=word> {warning}</span></sup>' in texts[Format.HTML]
    assert f"<b>Warning</b> on: {warning}" in texts[Format.HTML]
    assert "on warning: left 1 thread running" in texts[Format.TERMINAL]
    assert "warning: left 1 thread running" in texts[Format.MARKDOWN]
    assert "warning: left 1 thread running" in texts[Format.JUNIT]
    cells = [
        cell
        for family in json.loads(texts[Format.JSON])["families"]
        for kernel in family["kernels"]
        for variation in kernel["variations"]
        for cell in variation["cells"]
        if cell["on"].get("warnings")
    ]
    assert [cell["off"].get("warnings", []) for cell in cells] == [[]]
    assert cells[0]["on"]["warnings"][0].startswith("left 1 thread running")


def test_a_shared_tmp_is_a_warning_of_the_run() -> None:
    for private, shown in ((True, 0), (False, 1)):
        results = evaluate(factory.changed(factory.run(), factory.settings(private_tmp=private)))
        notices = [notice for notice in build(results).notices if notice.title == "Shared /tmp"]
        assert len(notices) == shown
        assert all("this host allows no private /tmp" in notice.text for notice in notices)


def test_the_record_keeps_the_sentences() -> None:
    request = record.Request(
        column="c", mode="off", variation="default", round=1, kernels=("k",), repetitions={"k": 1},
        kernel_files={"k": "f00d/own.py"},
    )  # fmt: skip
    left = ["left 1 thread running: x"]
    body = {"process": 1, "kernel": "k", "outcome": "ok", "seconds": 1.0, "left_behind": left}
    header = {"schema": record.SCHEMA, "request": json.loads(request.to_json()), "suite_hash": "s"}
    parsed = record.parse([record.line("header", header), record.line("outcome", body)])
    assert parsed.outcomes[0].left_behind == left
    assert parsed.request.kernel_files == {"k": "f00d/own.py"}
