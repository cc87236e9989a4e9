"""Damaged run folders: ``report`` shows what can be read, and says what cannot."""

from __future__ import annotations

import json
import lzma
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.store import run as store
from tests.fuzz import small_run
from tests.fuzz.support import FUZZ, Ended, damaged, mutated, run

if TYPE_CHECKING:
    from pathlib import Path

#: A record of a first round, of a later one, a pair, and stored values.
FILES = (
    f"records/{small_run.COLUMNS[0]}/default/on-001.jsonl.xz",
    f"records/{small_run.COLUMNS[0]}/default/off-002.jsonl.xz",
    f"paired/{small_run.COLUMNS[0]}/overhead-001.jsonl.xz",
    f"records/{small_run.COLUMNS[0]}/default/on-001.kept.xz",
)


def report(reports: Path, folder: Path) -> Ended:
    page = reports / "index.html"
    page.unlink(missing_ok=True)
    ended = run(["report", str(folder), "--reports", str(reports)], reports)
    ended_without_page = "run.json" in ended.err and ended.err.startswith("error: ")
    assert page.is_file() or ended_without_page, ended.err
    return ended


def test_the_small_run_has_results(reports: Path, folder: Path) -> None:
    ended = report(reports, folder)
    assert (ended.code, ended.err) == (0, "")
    assert len(store.load(folder).records) == 8
    assert len(store.load(folder).paired) == 2


@pytest.fixture
def info(folder: Path) -> Any:
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


@given(data=st.data())
@FUZZ
def test_run_json(reports: Path, folder: Path, info: Any, data: st.DataObject) -> None:
    path = folder / "run.json"
    before = path.read_bytes()
    others = {file: file.stat().st_mtime_ns for file in folder.rglob("*.xz")}
    value = data.draw(mutated(info)) if data.draw(st.integers(0, 4)) else None
    path.write_bytes(data.draw(damaged(before)) if value is None else json.dumps(value).encode())
    try:
        ended = report(reports, folder)
        if not ended.err.startswith("error: ") and isinstance(value, dict):
            run_read = store.load(folder, partly=True)
            shown = {column.id for column in run_read.info.columns}
            lost = {column["id"] for column in info["columns"]} - shown
            assert ended.code or not lost
            assert len(run_read.records) == 8
    finally:
        path.write_bytes(before)
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*.xz")} == others


@given(data=st.data(), name=st.sampled_from(FILES))
@FUZZ
def test_records(reports: Path, folder: Path, data: st.DataObject, name: str) -> None:
    path = folder / name
    before = path.read_bytes()
    text = lzma.decompress(before)
    kind = data.draw(st.sampled_from(("line", "line", "line", "lines", "text", "packed")))
    if kind == "packed":
        path.write_bytes(data.draw(damaged(before)))
    elif kind == "text":
        path.write_bytes(lzma.compress(data.draw(damaged(text)), preset=0))
    else:
        rows = [json.loads(row) for row in text.splitlines()]
        number = data.draw(st.integers(0, len(rows) - 1))
        if kind == "line":
            rows[number] = data.draw(mutated(rows[number]))
        else:
            rows = data.draw(st.permutations(rows)) if data.draw(st.booleans()) else [*rows, rows[number]]
        small_run.write_lines(path, rows)
    try:
        report(reports, folder)
        run_read = store.load(folder)
        found = {f"{one}.xz" for one in (*run_read.records, *run_read.paired)}
        expected = {file.relative_to(folder).as_posix() for file in folder.rglob("*.jsonl.xz")} - {name}
        assert expected <= found
        assert name in found or ".kept." in name or name.removesuffix(".xz") in run_read.unreadable
    finally:
        path.write_bytes(before)
