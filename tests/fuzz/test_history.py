"""Damaged files of the history: its commands go on, or say what is wrong, and lose nothing that was measured."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import errors
from bench.cli import night_files
from bench.history import database, journal, reproducibility
from bench.history.journal import Entry
from bench.report.build.night import build
from tests.fuzz.support import FUZZ, Ended, damaged, mutated, run
from tests.unit.test_history import cell, nights

if TYPE_CHECKING:
    from pathlib import Path

NOTE = Entry(kind="note", cell="*/matmul_mean", text="a note")


@pytest.fixture(scope="module")
def known(reports: Path) -> Path:
    """The reports folder with an index of its run, what a night found, and a note."""
    whole = nights([cell(1), cell(7, "nondeterministic")], [cell(1), cell(7, digest="e")])
    night_files.keep(reports, build(whole, reproducibility.findings(whole), [], [], []))
    assert history(reports).code == errors.OK
    journal.add(reports, NOTE)
    return reports


def history(reports: Path, *words: str) -> Ended:
    return run(["history", "--reports", str(reports), *words], reports)


@given(data=st.data())
@FUZZ
def test_what_a_night_found(known: Path, data: st.DataObject) -> None:
    (path,) = (known / night_files.NIGHTS).glob("*.json")
    before = path.read_bytes()
    view = data.draw(mutated(json.loads(before))) if data.draw(st.integers(0, 4)) else None
    path.write_bytes(data.draw(damaged(before)) if view is None else json.dumps(view).encode())
    (known / "history.html").unlink(missing_ok=True)
    try:
        assert history(known).code == errors.OK
        assert (known / "history.html").is_file()
    finally:
        path.write_bytes(before)


@given(data=st.data())
@FUZZ
def test_notes(known: Path, data: st.DataObject) -> None:
    path = known / journal.NAME
    before = path.read_bytes()
    note = data.draw(mutated(json.loads(before))) if data.draw(st.booleans()) else None
    path.write_bytes(data.draw(damaged(before)) if note is None else json.dumps(note).encode())
    try:
        ended = history(known)
        assert ended.code == errors.OK
        entries, problems = journal.read(known)
        assert ended.err.count("is no entry") == len(problems)
        journal.add(known, NOTE)
        assert journal.read(known)[0][-1].text == NOTE.text, f"the next note is kept beside {entries} and {problems}"
    finally:
        path.write_bytes(before)


@given(data=st.data())
@FUZZ
def test_index(known: Path, data: st.DataObject) -> None:
    path = database.path_of(known)
    before = path.read_bytes()
    path.write_bytes(data.draw(damaged(before)))
    try:
        for words in (["runs"], ["show", "*"], ["export", str(known / "all.csv")], []):
            ended = history(known, *words)
            assert ended.code in {errors.OK, errors.NOTHING, errors.ENGINE}
            assert ended.code == errors.OK or "error: The history" in ended.err
        assert history(known, "rebuild").code == errors.OK
        assert history(known, "show", "matmul_mean").code == errors.OK, "the run is in the index again"
    finally:
        database.remove(known)
        path.write_bytes(before)


def test_pipes_block_nothing(known: Path) -> None:
    (view,) = (known / night_files.NIGHTS).glob("*.json")
    for path in (view, known / journal.NAME):
        before = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        try:
            ended = history(known)
            assert ended.code == (errors.OK if path is view else errors.ENGINE), ended.err
        finally:
            path.unlink()
            path.write_bytes(before)
