"""The history: which runs it indexes, what counts as a change from night to night, and what it keeps beside it."""

from __future__ import annotations

import json
import math
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import NothingError, StorageError
from bench.history import database, index, journal, night, reproducibility, run_times
from bench.history.finding import FindingKind
from bench.history.journal import Entry
from bench.history.night import Cell, Night, Place, RunRow, Series
from bench.report.build import night as night_view
from bench.store import find_run
from bench.store import run as store
from bench.verdict.ratio import TimeRatio
from bench.verdict.status import UNMEASURED, Status
from bench.verdict.timing import TimeKind
from tests.unit import factory
from tests.unit.factory import Behaviour

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bench.store.run import Run
    from bench.store.run_info import RunInfo

COLUMN = "tf2.18.1-cpu-py311@cpu"
MACHINE = json.dumps({"device": "cpu", "CPU": "x", "cores": "2", "engine": "venv"})
FACTS = {"lock": "a" * 64, "driver": "", "device": "cpu", "suite": "s", "NumPy": "1.26.4"}


class Folders:
    """Run folders with one file each; reading one gives the run that was put there."""

    def __init__(self, reports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reports = reports
        self.runs: dict[str, Run] = {}
        self.read: list[str] = []
        monkeypatch.setattr(store, "load", self._load)
        monkeypatch.setattr(store, "read_info", self._info)

    def add(self, name: str, behave: Any = lambda _: factory.EXACT, **facts: Any) -> None:
        """Add a run; its name says on which day it began."""
        whole = factory.run(factory.info(id=name, rounds=5, repetitions=5, **facts), behave)
        hashes = {kernel.name: "c" * 64 for kernel in whole.info.kernels}
        self.runs[name] = factory.changed(whole, factory.facts_of_process(kernel_hashes=hashes))
        (self.reports / "runs" / name).mkdir(parents=True, exist_ok=True)
        (self.reports / "runs" / name / "run.json").write_text(f"{len(self.runs)}")

    def change(self, name: str, **facts: Any) -> None:
        """Change facts of a run, and its file."""
        self.runs[name] = replace(self.runs[name], info=replace(self.runs[name].info, **facts))
        (self.reports / "runs" / name / "run.json").write_text(f"changed {facts}")

    def _load(self, folder: Path) -> Run:
        self.read.append(folder.name)
        return self.runs[folder.name]

    def _info(self, folder: Path) -> RunInfo:
        if folder.name not in self.runs:
            raise StorageError(f"{folder} is no run folder")
        return self.runs[folder.name].info


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    return Folders(tmp_path, monkeypatch)


FIRST, SECOND = "20261101T120000Z-aaaa", "20261102T120000Z-bbbb"


def update(folders: Folders) -> index.Update:
    with database.opened(folders.reports) as connection:
        return index.update(connection, folders.reports)


def test_a_run_is_read_once_and_again_when_it_changes(folders: Folders) -> None:
    folders.add(FIRST)
    assert update(folders).added == (FIRST,)
    assert update(folders).added == ()
    folders.change(FIRST, command="another")
    assert update(folders).added == (FIRST,)
    assert folders.read == [FIRST, FIRST]


def test_cells_have_status_digest_code_and_time(folders: Folders) -> None:
    differs = Behaviour(("x", "y"))
    folders.add(FIRST, lambda spot: differs if (spot.kernel, spot.mode) == ("matmul", "off") else factory.EXACT)
    update(folders)
    with database.opened(folders.reports) as connection:
        loaded = night.load(connection, FIRST)
    cells = {(one.place.kernel, one.place.mode): one.tonight for one in loaded.series}
    off, on = cells["matmul", "off"], cells["matmul", "on"]
    assert (off.status, off.digest, on.status) == ("nondeterministic", b"", "reproducible")
    assert len(on.digest) == 8
    assert len(on.code) == 4
    assert on.processes == 5
    assert on.seconds == pytest.approx(0.00105, rel=0.1)
    assert not any(kernel.startswith("control") for kernel, _ in cells)


def test_what_the_history_does_not_use_is_listed_with_the_reason(folders: Folders) -> None:
    folders.add(FIRST)
    folders.add(SECOND)
    folders.change(SECOND, finished="")
    future = f"{datetime.now(UTC) + timedelta(days=900):%Y%m%dT%H%M%S}Z-cccc"
    folders.add(future)
    (folders.reports / "runs" / "20261103T120000Z-dddd").mkdir()
    (folders.reports / "runs" / "20261103T120000Z-dddd" / "run.json").write_text("{")
    reasons = dict(update(folders).skipped)
    assert reasons.keys() == {SECOND, future, "20261103T120000Z-dddd"}
    assert reasons[SECOND] == "it is not finished"
    assert "in the future: the clock was wrong" in reasons[future]
    assert str(folders.reports) not in reasons["20261103T120000Z-dddd"]
    with database.opened(folders.reports) as connection, pytest.raises(NothingError, match="not finished"):
        night.load(connection, SECOND)


def test_a_run_that_was_copied_in_part_is_read_again_when_the_rest_arrives(folders: Folders) -> None:
    folders.add(FIRST)
    whole = folders.runs[FIRST]
    folders.runs[FIRST] = factory.without(whole, factory.Change(mode="on", rounds=(3, 4, 5)))
    done = update(folders)
    assert done.added == (FIRST,)
    assert done.skipped == ((FIRST, f"1 parts cannot be read, the first is {COLUMN}"),)
    assert update(folders).added == (), "its folder is as before"
    record = folders.reports / "runs" / FIRST / "records" / COLUMN / "default" / "on-003.jsonl.xz"
    record.parent.mkdir(parents=True)
    record.write_bytes(b"x")
    folders.runs[FIRST] = whole
    assert update(folders) == index.Update(added=(FIRST,), skipped=())


def test_cells_of_a_lost_folder_stay_until_the_history_is_rebuilt(folders: Folders) -> None:
    folders.add(FIRST)
    folders.add(SECOND)
    update(folders)
    (folders.reports / "runs" / FIRST / "run.json").unlink()
    assert update(folders).skipped == ((FIRST, "its folder is gone"),)
    with database.opened(folders.reports) as connection:
        assert all(len(one.cells) == 2 for one in night.load(connection, SECOND).series)
    database.remove(folders.reports)
    assert update(folders) == index.Update(added=(SECOND,), skipped=())
    with database.opened(folders.reports) as connection:
        assert all(len(one.cells) == 1 for one in night.load(connection, SECOND).series)


@pytest.mark.fault("The history is damaged or of a newer version", "The error says so and names the way out.")
def test_a_damaged_file_and_one_of_a_newer_version_are_clear_errors(tmp_path: Path) -> None:
    path = database.path_of(tmp_path)
    with database.opened(tmp_path) as connection:
        connection.execute(f"PRAGMA user_version = {database.SCHEMA + 1}")
    with pytest.raises(StorageError, match=f"schema {database.SCHEMA + 1}") as caught, database.opened(tmp_path):
        pass
    assert "rebuild" in caught.value.hint
    database.remove(tmp_path)
    assert not path.exists()
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StorageError, match="cannot be used") as caught, database.opened(tmp_path):
        pass
    assert "rebuild" in caught.value.hint


@pytest.mark.fault("A writer of the history is killed", "The history has whole transactions only.")
def test_a_killed_writer_leaves_whole_transactions(tmp_path: Path) -> None:
    with database.opened(tmp_path) as connection:
        pid = os.fork()
        if pid == 0:
            child = sqlite3.connect(database.path_of(tmp_path), isolation_level=None)
            for number in range(100_000):
                child.execute("BEGIN")
                for half in range(2):
                    row = (f"{number}-{half}",)
                    child.execute("INSERT INTO runs VALUES (NULL, ?, '', 'indexed', '', '', '', '')", row)
                child.execute("COMMIT")
                if number == 20:
                    os.kill(os.getpid(), 9)
            os._exit(0)
        os.waitpid(pid, 0)
        names = [name for (name,) in connection.execute("SELECT name FROM runs")]
    assert len(names) == 42


def test_a_failed_transaction_changes_nothing(tmp_path: Path) -> None:
    def write(connection: sqlite3.Connection) -> None:
        with database.transaction(connection):
            connection.execute("INSERT INTO statuses (word) VALUES ('x')")
            connection.execute("INSERT INTO statuses (word) VALUES ('x')")

    with database.opened(tmp_path) as connection:
        with pytest.raises(sqlite3.IntegrityError):
            write(connection)
        assert not connection.execute("SELECT * FROM statuses").fetchall()


def test_notes_of_two_writers_are_all_kept_and_a_damaged_line_costs_only_itself(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        for number in range(40):
            pool.submit(journal.add, tmp_path, Entry(kind="note", cell="*", text=f"note {number}"))
    with (tmp_path / journal.NAME).open("a") as stream:
        stream.write('{"kind": 3}\nnot JSON\n')
    entries, problems = journal.read(tmp_path)
    assert sorted(entry.text for entry in entries) == sorted(f"note {number}" for number in range(40))
    assert all(entry.who and entry.when for entry in entries)
    assert problems == [f"{journal.NAME}, line {number} is no entry" for number in (41, 42)]


# what counts as a change


def place(kernel: str = "matmul", mode: str = "on", column: str = COLUMN) -> Place:
    return Place(machine=MACHINE, column=column, kernel=kernel, variation="default", mode=mode)


def cell(run: int, status: str = "reproducible", digest: str = "d", **facts: Any) -> Cell:
    values: dict[str, Any] = {"code": b"c", "processes": 5, "seconds": None, **facts}
    return Cell(run=run, status=status, digest=digest.encode() if status in reproducibility.AGREES else b"", **values)


def nights(
    *cells: Sequence[Cell], facts: Mapping[int, Mapping[str, str]] | None = None, where: Sequence[Place] = ()
) -> Night:
    """A night whose series have these cells; ``facts`` changes the provenance of single runs."""
    numbers = sorted({one.run for series in cells for one in series})
    places = where or [place(f"k{number}") for number in range(len(cells))]
    rows = {
        number: RunRow(
            id=number, name=f"run-{number}", started=f"2026-11-{number:02}T02:00:00+00:00", finished="x", profile="",
            state="indexed", reason="",
        )
        for number in numbers
    }  # fmt: skip
    return Night(
        run=rows[numbers[-1]],
        runs=rows,
        series=tuple(Series(place=one, cells=tuple(own)) for one, own in zip(places, cells, strict=True)),
        facts={
            (number, one.column): {**FACTS, **(facts or {}).get(number, {})} for number in numbers for one in places
        },
    )


def kinds(whole: Night) -> list[FindingKind]:
    return [finding.kind for finding in reproducibility.findings(whole)]


def test_nothing_has_changed_on_the_first_night_and_on_equal_ones() -> None:
    for status in Status:
        assert kinds(nights([cell(1, status)])) == []
        assert kinds(nights([cell(1, status), cell(2, status), cell(3, status)])) == []


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ("reproducible", "nondeterministic", FindingKind.REGRESSED),
        ("reproducible", "reproducible-in-process", FindingKind.REGRESSED),
        ("inconclusive", "nondeterministic", FindingKind.NONDETERMINISTIC),
        ("inconclusive", "reproducible-in-process", FindingKind.NONDETERMINISTIC),
        ("unsupported", "nondeterministic", FindingKind.NONDETERMINISTIC),
        ("error", "nondeterministic", FindingKind.NONDETERMINISTIC),
        ("control-failed", "nondeterministic", FindingKind.NONDETERMINISTIC),
        ("reproducible", "crashed", FindingKind.FAILS),
        ("reproducible", "unsupported", FindingKind.FAILS),
        ("nondeterministic", "timeout", FindingKind.FAILS),
        ("reproducible", "build-failed", FindingKind.FAILS),
        ("reproducible", "nan", FindingKind.FAILS),
        ("reproducible", "control-failed", FindingKind.CONTROLS),
        ("reproducible", "inconclusive", FindingKind.EVIDENCE),
        ("reproducible", "not-run", FindingKind.EVIDENCE),
        ("nondeterministic", "reproducible", FindingKind.IMPROVED),
        ("crashed", "reproducible", FindingKind.IMPROVED),
    ],
)
def test_a_change_of_status(before: str, now: str, expected: FindingKind) -> None:
    whole = nights([cell(1, before), cell(2, before), cell(3, now)])
    (finding,) = reproducibility.findings(whole)
    assert (finding.kind, finding.before, finding.column) == (expected, "run-2", COLUMN)
    assert next(iter(finding.places.values()))
    assert expected.alarm == (expected is not FindingKind.IMPROVED)


def test_what_is_known_to_differ_or_to_fail_raises_no_alarm_again() -> None:
    assert kinds(nights([cell(1), cell(2, "nondeterministic"), cell(3), cell(4, "nondeterministic")])) == []
    assert kinds(nights([cell(1), cell(2, "crashed"), cell(3), cell(4, "crashed")])) == []
    assert kinds(nights([cell(1), cell(2, "crashed"), cell(3), cell(4, "timeout")])) == [FindingKind.FAILS]
    assert kinds(nights([cell(1), cell(2, "inconclusive"), cell(3, "not-run")])) == []
    assert kinds(nights([cell(1, "not-run"), cell(2, "crashed")])) == [], "it never ran"
    differed = [cell(1, "nondeterministic"), cell(2, "inconclusive"), cell(3, "nondeterministic")]
    assert kinds(nights(differed)) == []


def test_what_differed_in_another_environment_is_known_until_this_one_has_nights_of_its_own() -> None:
    other = {1: {"lock": "b" * 64}}
    cells = [cell(1, "nondeterministic"), cell(2), cell(3), cell(4, "nondeterministic")]
    assert kinds(nights([cells[0], cells[3]], facts=other)) == [], "it may race here as it does there"
    assert kinds(nights(cells, facts=other)) == [FindingKind.REGRESSED]
    assert kinds(nights(cells)) == []
    assert kinds(nights([*cells[:3], cell(4, digest="e")], facts=other)) == [FindingKind.DIFFERENT_BITS]


def test_other_bits_in_the_same_environment_are_an_alarm_of_their_own() -> None:
    (finding,) = reproducibility.findings(nights([cell(1), cell(2, digest="e")]))
    assert finding.kind is FindingKind.DIFFERENT_BITS
    assert finding.differences == ()
    assert next(iter(finding.places.values())) == f"Digest {b'd'.hex()} in run run-1, {b'e'.hex()} tonight."


def test_the_bits_of_any_earlier_night_in_the_same_environment_must_come_back() -> None:
    changed = {2: {"lock": "b" * 64, "NumPy": "2.4.6"}}
    cells = [cell(1), cell(2, digest="e"), cell(3, digest="f")]
    (finding,) = reproducibility.findings(nights(cells, facts=changed))
    assert (finding.kind, finding.before) == (FindingKind.DIFFERENT_BITS, "run-1")
    assert kinds(nights([cell(1), cell(2, digest="e"), cell(3)], facts=changed)) == []


@pytest.mark.parametrize("fact", ["lock", "driver", "device", "suite"])
def test_other_bits_in_another_environment_are_a_change_with_its_likely_cause(fact: str) -> None:
    (finding,) = reproducibility.findings(nights([cell(1), cell(2, digest="e")], facts={2: {fact: "other"}}))
    assert finding.kind is FindingKind.BITS_CHANGED
    assert not finding.kind.alarm
    assert [one.title for one in finding.differences] == [fact]
    assert finding.commands[0].startswith("nox -s compare -- run-1:")


def test_other_code_of_the_kernel_is_another_environment() -> None:
    (finding,) = reproducibility.findings(nights([cell(1), cell(2, digest="e", code=b"other")]))
    assert finding.kind is FindingKind.BITS_CHANGED
    assert finding.differences[0].title == "kernel code"


def test_two_digests_that_take_turns_raise_one_alarm_each() -> None:
    cells = [cell(number, digest="de"[number % 2]) for number in range(1, 8)]
    assert kinds(nights(cells[:2])) == [FindingKind.DIFFERENT_BITS]
    assert [kinds(nights(cells[:last])) for last in range(3, 8)] == [[]] * 5


def test_one_finding_for_all_kernels_of_a_column_with_the_same_change() -> None:
    series = [[cell(1), cell(2, "nondeterministic")] for _ in range(5)]
    (finding,) = reproducibility.findings(nights(*series))
    assert len(finding.places) == 5


@given(st.lists(st.sampled_from([str(status) for status in Status]), min_size=1, max_size=8))
def test_a_night_that_repeats_an_earlier_state_raises_no_alarm_unless_bits_agree_no_longer(statuses: list[str]) -> None:
    cells = [cell(number, status) for number, status in enumerate([*statuses, statuses[-1]], 1)]
    assert [kind for kind in kinds(nights(cells)) if kind.alarm] == []


@given(st.integers(0, 199), st.integers(2, 20))
def test_a_planted_digest_is_always_found(where: int, earlier: int) -> None:
    series = [[cell(run) for run in range(1, earlier)] for _ in range(200)]
    for number, own in enumerate(series):
        own.append(cell(earlier, digest="planted" if number == where else "d"))
    (finding,) = reproducibility.findings(nights(*series))
    assert finding.kind is FindingKind.DIFFERENT_BITS
    assert [one.kernel for one in finding.places] == [f"k{where}"]


def test_a_crash_does_not_hide_that_bits_differ(folders: Folders) -> None:
    crashed, differs = Behaviour(outcome="crashed"), Behaviour(("x", "y"))

    def in_round(**acts: Behaviour) -> Any:
        return lambda spot: acts.get(f"r{spot.round}", factory.EXACT) if spot.kernel == "matmul" else factory.EXACT

    names = [f"2026110{day}T120000Z-aaaa" for day in range(1, 5)]
    for name, acts in zip(names, ({}, {"r2": crashed}, {}, {"r2": crashed, "r3": differs}), strict=True):
        folders.add(name, in_round(**acts))
    update(folders)
    with database.opened(folders.reports) as connection:
        assert kinds(night.load(connection, names[1])) == [FindingKind.FAILS]
        assert kinds(night.load(connection, names[3])) == [FindingKind.REGRESSED]


@pytest.mark.parametrize("title", ["instruction set", "threads", "libc", "TensorFlow build"])
def test_other_bits_in_another_environment_are_not_called_the_same_environment(title: str) -> None:
    facts = {1: FACTS | {title: "one"}, 2: FACTS | {title: "other"}}
    assert kinds(nights([cell(1), cell(2, digest="other")], facts=facts)) == [FindingKind.BITS_CHANGED]


def test_an_accepted_change_is_what_later_nights_are_compared_with(folders: Folders) -> None:
    last = "20261103T120000Z-cccc"
    for name, bits in ((FIRST, "a"), (SECOND, "b"), (last, "a")):
        folders.add(name, lambda spot, bits=bits: Behaviour((bits,)) if spot.kernel == "matmul" else factory.EXACT)
    update(folders)
    started = folders.runs[SECOND].info.started
    entry = Entry(kind="accept", cell=f"{COLUMN}/matmul", text="new oneDNN", run=SECOND, started=started)
    with database.opened(folders.reports) as connection:
        assert kinds(night.load(connection, SECOND)) == [FindingKind.DIFFERENT_BITS]
        assert kinds(night.load(connection, SECOND, [entry])) == []
        assert kinds(night.load(connection, last)) == [], "these bits are known"
        assert kinds(night.load(connection, last, [entry])) == [FindingKind.DIFFERENT_BITS]


# run times


Numbers = np.ndarray[Any, np.dtype[np.float64]]


def timed(logs: Numbers) -> list[list[Cell]]:
    """The cells of series whose times have these logarithms, by night and series."""
    return [
        [cell(run, seconds=math.exp(value)) for run, value in enumerate(series, 1)] for series in logs.T.tolist()
    ]  # fmt: skip


@pytest.fixture
def quiet() -> Numbers:
    """Fifteen nights of forty series with a noise of 1 %."""
    return np.random.default_rng(7).normal(0, 0.01, (15, 40)) + np.arange(40)


def test_a_quiet_history_has_no_suspect(quiet: Numbers) -> None:
    times = run_times.examine(nights(*timed(quiet)))
    assert times == run_times.Times()


def test_a_slow_kernel_is_a_suspect_and_an_alarm_on_the_second_night(quiet: Numbers) -> None:
    quiet[-1, 3] += math.log(1.2)
    whole = nights(*timed(quiet))
    (suspect,) = run_times.examine(whole).suspects
    assert (suspect.place.kernel, suspect.nights) == ("k3", 1)
    assert suspect.shift.ratio == pytest.approx(1.2, rel=0.05)
    assert suspect.shift.smallest is not None
    assert 1.03 <= suspect.shift.smallest < 1.1
    (finding,) = run_times.from_history(whole, [suspect])
    assert finding.kind is FindingKind.UNCONFIRMED
    quiet[-2, 3] += math.log(1.2)
    whole = nights(*timed(quiet))
    (finding,) = run_times.from_history(whole, run_times.examine(whole).suspects)
    assert finding.kind is FindingKind.SLOWER


def test_what_all_kernels_have_in_common_is_one_finding_about_the_host(quiet: Numbers) -> None:
    quiet[-1] += math.log(1.25)
    quiet[-1, 5] += math.log(1.3)
    times = run_times.examine(nights(*timed(quiet)))
    assert [suspect.place.kernel for suspect in times.suspects] == ["k5"]
    (finding,) = times.host
    assert finding.kind is FindingKind.HOST
    assert next(iter(finding.places.values())).startswith(
        "All 40 timed results of the device share a slowdown of 1.25x"
    )


def test_a_changed_environment_is_paired_and_not_compared_with_the_history(quiet: Numbers) -> None:
    quiet[-1] += math.log(1.25)
    whole = nights(*timed(quiet), facts={15: {"lock": "b" * 64}})
    assert run_times.examine(whole) == run_times.Times(), "the change of all its kernels need not be the host's"
    assert {one.run for one in run_times.changed_environments(whole).values()} == {14}
    assert len(run_times.changed_environments(whole)) == 40


def test_only_nights_with_the_same_driver_count(quiet: Numbers) -> None:
    quiet[-1, 3] += math.log(1.5)
    assert run_times.examine(nights(*timed(quiet), facts={15: {"driver": "new"}})) == run_times.Times()


def ratio(value: float, p_value: float) -> TimeRatio:
    return TimeRatio(kind=TimeKind.STEADY, ratio=value, low=value * 0.98, high=value * 1.02, pairs=8, p_value=p_value)


def test_pairs_raise_an_alarm_at_a_level_that_all_kernels_share() -> None:
    whole = nights(*[[cell(1, seconds=1.0), cell(2, seconds=1.1)] for _ in range(3)])
    places = [one.place for one in whole.series]
    before = {one.place: one.earlier[-1] for one in whole.series}
    level = run_times.FALSE_ALARMS / (3 * run_times.MOST_BATCHES)
    pairs = dict(zip(places, [ratio(1.1, level), ratio(1.1, level * 1.01), ratio(0.9, 0.0)], strict=True))
    (finding,) = run_times.from_pairs(whole, before, pairs)
    assert (finding.kind, list(finding.places)) == (FindingKind.SLOWER, [places[0]])
    assert finding.places[places[0]].startswith("1.10x slower (1.08 to 1.12) than in the last environment")
    assert run_times.undecided(pairs) == [places[1]], "the others are alarms, or not slower"


def test_a_run_dated_in_the_future_is_not_the_newest(folders: Folders) -> None:
    future = f"{datetime.now(UTC) + timedelta(days=900):%Y%m%d}T120000Z-cccc"
    for name in (FIRST, future, SECOND):
        folders.add(name)
    assert [folder.name for folder in find_run.every(folders.reports)] == [future, FIRST, SECOND]
    assert find_run.chosen(folders.reports, None).name == SECOND


# what a review found


def test_only_nights_that_were_examined_count(folders: Folders) -> None:
    last = "20261103T120000Z-cccc"
    differs = Behaviour(("x", "y"))
    folders.add(FIRST)
    for name in (SECOND, last):
        folders.add(name, lambda spot: differs if (spot.kernel, spot.mode) == ("matmul", "on") else factory.EXACT)
    update(folders)
    with database.opened(folders.reports) as connection:
        assert kinds(night.load(connection, last)) == [], "all runs count: it is known"
        assert kinds(night.load(connection, last, nights={FIRST})) == [FindingKind.REGRESSED], (
            "nobody was told of the second"
        )


def test_a_cell_is_compared_with_its_own_last_nights_however_long_ago(folders: Folders) -> None:
    folders.add(FIRST)
    for number in range(3):
        folders.add(f"202611{10 + number}T120000Z-aaaa", columns=(factory.column("2.15.1"),))
    last = "20261120T120000Z-cccc"
    folders.add(last, lambda spot: Behaviour(("b",)) if spot.kernel == "matmul" else factory.EXACT)
    update(folders)
    with pytest.MonkeyPatch.context() as patch, database.opened(folders.reports) as connection:
        patch.setattr(night, "NIGHTS", 2)
        assert kinds(night.load(connection, last)) == [FindingKind.DIFFERENT_BITS]


def test_what_the_last_night_measured_and_tonight_lacks_is_an_alarm_unless_it_was_left_out(folders: Folders) -> None:
    other = factory.column("2.15.1")
    folders.add(FIRST, columns=(factory.column(), other))
    folders.add(SECOND)
    update(folders)
    with database.opened(folders.reports) as connection:
        tonight = night.load(connection, SECOND)
        assert tonight.last is not None
        before = night.places(connection, tonight.last)
    (finding,) = reproducibility.missing(tonight, before, [])
    assert (finding.kind, finding.column, len(finding.places)) == (FindingKind.MISSING, other.id, 4)
    assert reproducibility.missing(tonight, before, [other.id]) == []
    kernels = [f"{other.id} {name}" for name in ("matmul", "conv2d")]
    assert reproducibility.missing(tonight, before, kernels) == []


def test_a_column_that_was_not_measured_is_not_missed(folders: Folders) -> None:
    failed = factory.column("2.15.1", status="build-failed", reason="There is no wheel.")
    folders.add(FIRST, columns=(factory.column(), failed))
    folders.add(SECOND)
    update(folders)
    with database.opened(folders.reports) as connection:
        first, tonight = (night.load(connection, name) for name in (FIRST, SECOND))
        assert tonight.last is not None
        before = night.places(connection, tonight.last, UNMEASURED)
    assert {place.column for place in before.values()} == {factory.column().id}
    assert night_view.build(first, []).headline == "The first night: 4 results measured, nothing to compare them with."
    assert night_view.build(tonight, []).headline == "No alarm: 4 results compared with 1 earlier night."


def test_a_result_that_is_new_is_not_counted_as_compared() -> None:
    view = night_view.build(nights([cell(1), cell(2)], [cell(2)]), [])
    assert view.headline == "No alarm: 1 result compared with 1 earlier night, 1 result measured for the first time."


def test_a_slower_night_is_compared_with_the_same_environment() -> None:
    steady = [cell(number, seconds=1.0 + 0.001 * (number % 3)) for number in range(1, 14)]
    slow = [*steady[:-1], cell(13, seconds=1.3)]
    found = run_times.examine(nights(slow, *[steady] * 8, facts={12: {"lock": "b"}}))
    assert [suspect.before.run for suspect in found.suspects] == [11]


def test_another_machine_is_named() -> None:
    tonight = replace(nights([cell(1), cell(2)]), last=1)
    elsewhere = replace(tonight.series[0].place, machine=MACHINE.replace('"venv"', '"docker"'))
    (finding,) = reproducibility.missing(tonight, {1: elsewhere}, [])
    assert list(finding.places.values()) == ["It was measured on another machine: engine docker to venv."]


def test_lost_evidence_is_not_hidden_by_other_bits_and_does_not_alarm_each_night() -> None:
    facts = {2: {"lock": "b" * 64}}
    assert kinds(nights([cell(1), cell(2, "inconclusive", "e")], facts=facts)) == [FindingKind.EVIDENCE]
    flapping = [cell(number, ("reproducible", "inconclusive")[number % 2]) for number in range(1, 9)]
    assert [kinds(nights(flapping[:last])) for last in range(4, 9)] == [[]] * 5


@pytest.mark.parametrize(
    "change", [{"seed": 43}, {"kernels": (factory.kernel("matmul", shapes="[8]"), *factory.CONTROLS)}]
)
def test_other_inputs_are_other_work_although_the_code_is_the_same(folders: Folders, change: dict[str, Any]) -> None:
    folders.add(FIRST)
    folders.add(SECOND, lambda spot: Behaviour(("b",)) if spot.kernel == "matmul" else factory.EXACT, **change)
    update(folders)
    with database.opened(folders.reports) as connection:
        found = kinds(night.load(connection, SECOND))
    assert FindingKind.DIFFERENT_BITS not in found


def test_a_slow_kernel_raises_one_alarm_and_not_one_each_night(quiet: Numbers) -> None:
    more = np.random.default_rng(8).normal(0, 0.01, (12, 40)) + np.arange(40)
    more[:, 3] += math.log(1.2)
    logs = np.concatenate([quiet, more])
    found = []
    for last in range(len(quiet) + 1, len(logs) + 1):
        whole = nights(*timed(logs[:last]))
        found += [one.kind for one in run_times.from_history(whole, run_times.examine(whole).suspects)]
    assert found[:3] == [FindingKind.UNCONFIRMED, FindingKind.SLOWER, FindingKind.STILL_SLOWER]
    assert found.count(FindingKind.SLOWER) == 1


def test_a_slow_host_raises_one_alarm(quiet: Numbers) -> None:
    logs = np.concatenate([quiet, np.random.default_rng(8).normal(0, 0.01, (6, 40)) + np.arange(40) + math.log(1.25)])
    found = [len(run_times.examine(nights(*timed(logs[:last]))).host) for last in range(len(quiet), len(logs) + 1)]
    assert found == [0, 1, 0, 0, 0, 0, 0]


def test_times_of_another_host_or_environment_do_not_count(quiet: Numbers) -> None:
    quiet[-1, 3] += math.log(1.5)
    for fact in ("host", "lock", "suite"):
        assert run_times.examine(nights(*timed(quiet), facts={15: {fact: "new"}})) == run_times.Times()


def test_a_kernel_without_an_earlier_night_does_not_disturb_the_pairs_of_others() -> None:
    last = cell(3, seconds=1.2)
    cells = ([cell(1, seconds=1.0), last], [cell(2, seconds=1.0), last], [last])
    whole = nights(*cells, facts={3: {"lock": "b" * 64}})
    before = run_times.changed_environments(whole)
    assert {one.kernel: found.run for one, found in before.items()} == {"k0": 1, "k1": 2}
    findings = run_times.from_pairs(whole, before, dict.fromkeys(before, ratio(1.2, 0.0)))
    assert [(finding.before, len(finding.places)) for finding in findings] == [("run-1", 1), ("run-2", 1)]


@pytest.mark.parametrize("fault", ["hash", "zone", "name"])
def test_one_odd_run_folder_costs_only_itself(folders: Folders, fault: str) -> None:
    folders.add(FIRST)
    folders.add(SECOND)
    if fault == "hash":
        odd = factory.changed(folders.runs[FIRST], factory.facts_of_process(kernel_hashes={"matmul": {"x": 1}}))
        folders.runs[FIRST] = replace(odd, info=replace(odd.info, kernels="no kernels"))  # type: ignore[arg-type]
    elif fault == "zone":
        folders.change(FIRST, started="2026-11-01T12:00:00")
    else:
        place = os.fsencode(folders.reports / "runs") + b"/2026\xff"
        os.mkdir(place)  # noqa: PTH102 - bytes
        with open(place + b"/run.json", "w") as stream:  # noqa: PTH123
            stream.write("{}")
    done = update(folders)
    assert SECOND in done.added
    assert len(done.skipped) == 1
    assert done.skipped[0][0].isascii()


def test_odd_characters_and_a_cut_off_line_lose_no_note(tmp_path: Path) -> None:
    path = tmp_path / journal.NAME
    journal.add(tmp_path, Entry(kind="note", cell="*", text="one\u2028two\x85\udcff"))
    with path.open("a") as stream:
        stream.write('{"kind": "note", "cell": "*"')
    journal.add(tmp_path, Entry(kind="note", cell="*", text="three"))
    entries, problems = journal.read(tmp_path)
    assert [entry.text for entry in entries] == ["one\u2028two\x85\udcff", "three"]
    assert len(problems) == 1


def test_many_processes_may_open_a_new_history_at_once(tmp_path: Path) -> None:
    def opened(_: int) -> int:
        with database.opened(tmp_path) as connection:
            return len(connection.execute("SELECT * FROM runs").fetchall())

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(opened, range(64))) == [0] * 64
