"""Run folders: atomic files, the lock, and what may be taken over."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from bench import report
from bench.errors import BusyError, StorageError
from bench.store import resume
from bench.store.folder import RunFolder, measuring_lock, reports_lock, write_atomic
from bench.store.run import RunInfo, compact, load
from bench.suite.record import SCHEMA, Request, line
from bench.verdict import judge
from tests.unit import factory

if TYPE_CHECKING:
    from pathlib import Path


def info(**changes: object) -> RunInfo:
    return dataclasses.replace(factory.run().info, **changes)  # type: ignore[arg-type]


def record_text(key: str, *, whole: bool = True, run: str = "r1") -> str:
    request = Request(
        cell="c", mode="off", condition="default", round=1, kernels=("k",), repeats=1,
        context={"resume_key": key, "run": run},
    )  # fmt: skip
    text = line("header", {"schema": SCHEMA, "request": json.loads(request.to_json()), "suite_hash": "s"})
    return text + (line("end", {"seconds": 1.0, "processes": 1}) if whole else "")


def put(folder: RunFolder, number: int, text: str) -> None:
    path = folder.record_path("c", "default", "off", number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_run_json_comes_back_as_it_was(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path)
    wanted = info(id=folder.id)
    folder.write_info(wanted)
    assert load(folder.path).info == wanted


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": 99}', '{"schema": 1}'])
def test_a_broken_run_json_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text, encoding="utf-8")
    with pytest.raises(StorageError, match=r"run\.json"):
        load(tmp_path)


def test_a_folder_without_run_json_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is no run folder"):
        load(tmp_path / "nothing")


def test_an_unreadable_record_is_listed_and_the_rest_stands(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path)
    folder.write_info(info(id=folder.id))
    put(folder, 1, record_text("a"))
    put(folder, 2, "not json at all\nreally\n")
    put(folder, 3, record_text("c").replace(f'"schema": {SCHEMA}', '"schema": 99'))
    run = load(folder.path)
    assert [name[-10:] for name in run.records] == ["-001.jsonl"]
    assert sorted(name[-10:] for name in run.unreadable) == ["-002.jsonl", "-003.jsonl"]
    assert "schema 99" in next(text for name, text in run.unreadable.items() if "003" in name)


def test_a_record_takes_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path)
    path = folder.record_path("c", "default", "off", 1)

    def die() -> None:
        with folder.recording(path) as stream:
            stream.write(record_text("a"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die()
    assert not path.exists()
    with folder.recording(path) as stream:
        stream.write(record_text("a"))
    assert path.read_text(encoding="utf-8") == record_text("a")


def test_an_atomic_write_leaves_the_old_file_where_it_fails(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    target.mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        write_atomic(target, "new")


def test_reports_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("", encoding="utf-8")
    with pytest.raises(StorageError, match="cannot be written"), reports_lock(tmp_path / "reports", "x"):
        pass


def test_a_second_run_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    other = (
        "from bench.store.folder import reports_lock\nfrom pathlib import Path\nimport sys\n"
        "with reports_lock(Path(sys.argv[1]), 'the first run'):\n print('held', flush=True)\n sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", other, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(BusyError) as caught, reports_lock(tmp_path, "the second run"):
            pass
        assert f"process {holder.pid}" in str(caught.value)
        assert "the first run" in str(caught.value)
        holder.kill()
    with reports_lock(tmp_path, "the third run"):
        pass


def test_measurements_of_one_host_wait_for_each_other(tmp_path: Path) -> None:
    said: list[str] = []
    order: list[str] = []

    def second() -> None:
        with measuring_lock(said.append, tmp_path / "lock"):
            order.append("second")

    with measuring_lock(said.append, tmp_path / "lock"):
        other = threading.Thread(target=second)
        other.start()
        while not said:
            time.sleep(0.01)
        order.append("first")
    other.join(10)
    assert order == ["first", "second"]
    assert "another run measures" in said[0]


class TestResume:
    """Only whole records of runs after the last finished one, and only under the same key."""

    def make(self, reports: Path, name: str, finished: str, *keys: str) -> RunFolder:
        folder = RunFolder(reports / "runs" / name)
        folder.path.mkdir(parents=True)
        folder.write_info(info(id=name, finished=finished))
        for number, key in enumerate(keys, 1):
            put(folder, number, record_text(key, run=name))
        return folder

    def test_runs_before_the_last_finished_one_do_not_count(self, tmp_path: Path) -> None:
        self.make(tmp_path, "1", "", "a")
        self.make(tmp_path, "2", "2026-01-01T00:00:00+00:00", "b")
        self.make(tmp_path, "3", "", "c")
        self.make(tmp_path, "4", "", "d")
        found = resume.interrupted(tmp_path, info())
        assert [path.name for path in found] == ["4", "3"]
        assert set(resume.finished_rounds(found)) == {"c", "d"}

    def test_a_finished_run_of_another_plan_hides_nothing(self, tmp_path: Path) -> None:
        self.make(tmp_path, "1", "", "a")
        other = self.make(tmp_path, "2", "", "b")
        other.write_info(info(id="2", finished="2026-01-01T00:00:00+00:00", profile="quick"))
        assert [path.name for path in resume.interrupted(tmp_path, info())] == ["1"]

    def test_what_a_finished_run_took_over_has_served(self, tmp_path: Path) -> None:
        self.make(tmp_path, "1", "", "a")
        other = self.make(tmp_path, "2", "", "b")
        served = {"records/c/default/off-001.jsonl": "1"}
        other.write_info(info(id="2", finished="2026-01-01T00:00:00+00:00", profile="quick", taken_over=served))
        assert resume.interrupted(tmp_path, info()) == ()

    def test_nothing_from_before_a_fresh_start_comes_back(self, tmp_path: Path) -> None:
        self.make(tmp_path, "1", "", "a")
        fresh = self.make(tmp_path, "2", "", "b")
        fresh.write_info(info(id="2", finished="", command="python -m bench matrix --fresh"))
        assert [path.name for path in resume.interrupted(tmp_path, info())] == ["2"]

    def test_a_cut_off_foreign_or_crashed_record_is_not_taken(self, tmp_path: Path) -> None:
        folder = self.make(tmp_path, "1", "", "a")
        put(folder, 2, record_text("b", whole=False))
        put(folder, 3, "junk\n")
        put(folder, 4, record_text(""))
        died = line("outcome", {"process": 1, "kernel": "k", "outcome": "crashed", "seconds": 0.0})
        put(folder, 5, record_text("e", whole=False) + died + line("end", {"seconds": 1.0, "processes": 1}))
        assert set(resume.finished_rounds((folder.path,))) == {"a"}

    def test_the_first_measurer_is_named_through_a_chain(self, tmp_path: Path) -> None:
        first = self.make(tmp_path, "1", "", "a")
        second = self.make(tmp_path, "2", "")
        source = first.record_path("c", "default", "off", 1)
        second.take(source, source.relative_to(first.path).as_posix())
        assert resume.finished_rounds((second.path,))["a"][1] == "1"

    def test_a_folder_without_run_json_is_passed_over(self, tmp_path: Path) -> None:
        self.make(tmp_path, "1", "", "a")
        (tmp_path / "runs" / "2").mkdir()
        assert [path.name for path in resume.interrupted(tmp_path, info())] == ["1"]

    def test_any_fact_changes_the_key(self) -> None:
        assert resume.resume_key({"a": 1, "b": 2}) == resume.resume_key({"b": 2, "a": 1})
        assert resume.resume_key({"a": 1}) != resume.resume_key({"a": 2})


class TestCompact:
    """A compacted run says the same as the run."""

    def make(self, tmp_path: Path) -> RunFolder:
        folder = RunFolder.create(tmp_path / "reports")
        folder.write_info(info(id=folder.id))
        put(folder, 1, record_text("a"))
        put(folder, 2, record_text("b"))
        return folder

    def test_it_reads_the_same_and_can_be_made_again(self, tmp_path: Path) -> None:
        folder = self.make(tmp_path)
        for _ in range(2):
            compact(folder.path, tmp_path / "kept")
            assert load(tmp_path / "kept") == load(folder.path)
        compact(tmp_path / "kept", tmp_path / "again")
        assert load(tmp_path / "again") == load(folder.path)

    def test_a_damaged_record_is_listed(self, tmp_path: Path) -> None:
        compact(self.make(tmp_path).path, tmp_path / "kept")
        file = next((tmp_path / "kept").rglob("*001.jsonl.xz"))
        file.write_bytes(file.read_bytes()[:-20])
        assert len(load(tmp_path / "kept").unreadable) == 1

    def test_it_never_empties_a_run(self, tmp_path: Path) -> None:
        folder = self.make(tmp_path)
        with pytest.raises(StorageError, match="records of its own"):
            compact(folder.path, folder.path)
        assert len(load(folder.path).records) == 2


def test_the_sample_says_what_its_records_say(house: Path) -> None:
    """Statuses, not bytes: another SciPy may round an interval's last digit otherwise."""
    sample = house / "reports" / "sample"
    kept = json.loads((sample / "report.json").read_text(encoding="utf-8"))
    made = json.loads(report.render(judge(load(sample)), report.Format.JSON))
    hint = "run: python -m bench report reports/sample --reports reports/sample"
    for key in ("run", "answer", "pairs", "counts", "columns"):
        assert kept[key] == made[key], hint
    for one, other in zip(kept["kernels"], made["kernels"], strict=True):
        for cell, again in zip(one["worst"], other["worst"], strict=True):
            assert [cell[mode]["why"] for mode in ("off", "on")] == [again[mode]["why"] for mode in ("off", "on")], hint
    assert kept["run"] in (sample / "index.html").read_text(encoding="utf-8")
