"""Run folders: atomic writes, locks, reading, resuming and copying."""

from __future__ import annotations

import dataclasses
import errno
import json
import lzma
import os
import re
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench import report
from bench.errors import BusyError, EngineError, StorageError
from bench.portable.errors import PortableError
from bench.portable.lock import measuring_lock
from bench.portable.paired_timing import PairPlan
from bench.portable.value_limits import kept_files
from bench.run import progress, runner
from bench.run.scheduler import State, Task
from bench.store import find_run, resume
from bench.store.run import compact, load
from bench.store.run_folder import RunFolder, kept_path, reports_lock, write_atomic
from bench.suite.kept_values import keep
from bench.suite.record import SCHEMA, Request, line
from tests.unit import factory, shipped_sample

if TYPE_CHECKING:
    from pathlib import Path

    from bench.store.run_info import RunInfo


def info(**changes: object) -> RunInfo:
    return dataclasses.replace(factory.run().info, **changes)  # type: ignore[arg-type]


def record_text(key: str, *, whole: bool = True, run: str = "r1") -> str:
    request = Request(
        column="c", mode="off", variation="default", round=1, kernels=("k",), repetitions={"k": 1},
        context={"resume_key": key, "run": run},
    )  # fmt: skip
    text = line("header", {"schema": SCHEMA, "request": json.loads(request.to_json()), "suite_hash": "s"})
    return text + (line("end", {"seconds": 1.0, "processes": 1}) if whole else "")


def kept_text(digest: str) -> str:
    row = keep("x", None, np.arange(3.0), digest, 4)
    return line("kept", {"process": 1, "kernel": "k", "digest": digest, "tensors": [row]})


def put(folder: RunFolder, number: int, text: str, kept: str = "") -> Path:
    """A finished record, and its kept values if there are any."""
    path = folder.record_path("c", "default", "off", number)
    with folder.recording(path) as streams:
        streams.lines.write(text)
        streams.kept.write(kept)
    return path


def pair_text(key: str, *, whole: bool = True, outcome: str = "ok", run: str = "r1") -> str:
    """The record of a timing pair of one kernel."""
    request = Request(
        column="c", mode="off", variation="default", round=1, kernels=("k",), repetitions={},
        context={"resume_key": key, "run": run},
    )  # fmt: skip
    plan = PairPlan("noise-floor", 1, "a", 0.1, {"a": request, "b": request})
    block = {"side": "a", "seconds": [0.1], "cpu_seconds": [0.2], "switches": 0, "batch": 1}
    kernel = {"kernel": "k", "kind": "steady", "outcome": outcome, "message": "", "blocks": [block], "load": 1.0}
    text = line("header", {"schema": SCHEMA, "suite_hash": "s", **plan.header()})
    text += line("kernel", {**kernel, "first_seconds": {}, "guard": None})
    return text + (line("end", {"seconds": 1.0}) if whole else "")


def put_pair(folder: RunFolder, number: int, text: str) -> Path:
    path = folder.pair_path("c", f"noise-floor-{number:03d}")
    with folder.recording(path) as streams:
        streams.lines.write(text)
    return path


def test_pairs_are_read_and_one_that_cannot_be_read_is_listed(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path)
    folder.write_info(info(id=folder.id))
    put_pair(folder, 1, pair_text("a"))
    put_pair(folder, 2, '{"line": "header"}\n')
    damaged = put_pair(folder, 3, pair_text("a"))
    damaged.write_bytes(damaged.read_bytes()[:-20])
    run = load(folder.path)
    assert list(run.paired) == ["paired/c/noise-floor-001.jsonl"]
    assert run.paired["paired/c/noise-floor-001.jsonl"].kernels[0].blocks[0].seconds == (0.1,)
    assert sorted(run.unreadable) == ["paired/c/noise-floor-002.jsonl", "paired/c/noise-floor-003.jsonl"]
    assert not run.records


def test_run_json_is_read_back_unchanged(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path)
    wanted = info(id=folder.id)
    folder.write_info(wanted)
    assert load(folder.path).info == wanted


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": 99}', '{"schema": 1}'])
def test_a_broken_run_json_has_a_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text, encoding="utf-8")
    with pytest.raises(StorageError, match=r"run\.json"):
        load(tmp_path)


def damaged(kind: str) -> bytes:
    """Content that no JSON parser accepts."""
    return {"not UTF-8": b'{"schema": 4, "id": "\xff"}', "too deep": b"[" * 100_000}[kind]


@pytest.mark.parametrize("kind", ["not UTF-8", "too deep"])
def test_bytes_that_cannot_be_parsed_have_a_clear_error(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "runs" / "20250101T000000Z-abcd"
    place.mkdir(parents=True)
    (place / "run.json").write_bytes(damaged(kind))
    with pytest.raises(StorageError, match=r"run\.json"):
        load(place)
    assert resume.interrupted(tmp_path, info()) == ()


def test_a_folder_without_run_json_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is no run folder"):
        load(tmp_path / "nothing")


@pytest.mark.fault("A record is truncated or foreign", "It is listed as unreadable; the others are evaluated.")
def test_an_unreadable_record_is_listed_and_the_others_are_read(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path)
    folder.write_info(info(id=folder.id))
    put(folder, 1, record_text("a"))
    put(folder, 2, "not json at all\nreally\n")
    put(folder, 3, record_text("c").replace(f'"schema": {SCHEMA}', '"schema": 99'))
    run = load(folder.path)
    assert list(run.records) == ["records/c/default/off-001.jsonl"]
    assert sorted(name[-10:] for name in run.unreadable) == ["-002.jsonl", "-003.jsonl"]
    assert "schema 99" in next(text for name, text in run.unreadable.items() if "003" in name)


@pytest.mark.fault("A record is nested too deep", "It is listed as unreadable; the others are evaluated.")
def test_a_record_and_kept_values_that_nest_too_deep_are_listed(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path)
    folder.write_info(info(id=folder.id))
    put(folder, 1, record_text("a"))
    put(folder, 2, damaged("too deep").decode(), damaged("too deep").decode())
    run = load(folder.path)
    assert list(run.unreadable) == ["records/c/default/off-002.jsonl"]
    assert list(run.kept.problems) == ["records/c/default/off-002.kept.xz"]


def test_a_folder_of_records_that_cannot_be_read_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may run as root, who can read everything: the system's refusal is simulated."""
    folder = RunFolder.create(tmp_path)
    folder.write_info(info(id=folder.id))
    closed = put(folder, 1, record_text("a")).parent
    scan = os.scandir

    def refuse(place: str) -> Any:
        if str(place) == str(closed):
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", refuse)
    run = load(folder.path)
    assert run.unreadable == {"records/c/default": "Permission denied"}
    assert not run.records


def test_a_folder_of_runs_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to("runs")
    with pytest.raises(StorageError, match="cannot be read"):
        find_run.every(tmp_path)


@pytest.mark.fault("A run cannot be read", "It is listed; the other runs are read.")
def test_a_run_that_cannot_be_read_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may run as root, who can read everything: the system's refusal is simulated."""
    place = tmp_path / "runs" / "20250101T000000Z-abcd"
    place.mkdir(parents=True)

    def refuse(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(type(tmp_path), "is_file", refuse)
    assert find_run.every(tmp_path) == [place]
    assert find_run.named(tmp_path, place.name) is not None


@pytest.mark.parametrize("harm", [b"", b"no xz at all", None])
@pytest.mark.fault("A compressed record is damaged", "It is listed as unreadable; the others are evaluated.")
def test_a_damaged_compressed_record_is_listed(tmp_path: Path, harm: bytes | None) -> None:
    folder = RunFolder.create(tmp_path)
    folder.write_info(info(id=folder.id))
    put(folder, 1, record_text("a"))
    path = put(folder, 2, record_text("b"))
    path.write_bytes(path.read_bytes()[:-20] if harm is None else harm)
    run = load(folder.path)
    assert list(run.records) == ["records/c/default/off-001.jsonl"]
    assert list(run.unreadable) == ["records/c/default/off-002.jsonl"]
    assert run.unreadable["records/c/default/off-002.jsonl"]


def test_damaged_stored_values_are_listed_and_the_records_are_read(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path)
    folder.write_info(info(id=folder.id))
    path = put(folder, 1, record_text("a"), kept_text("d"))
    put(folder, 2, record_text("b"), kept_text("e"))
    kept_path(path).write_bytes(kept_path(path).read_bytes()[:-9])
    run = load(folder.path)
    assert (len(run.records), len(run.unreadable)) == (2, 0)
    assert list(run.kept.problems) == ["records/c/default/off-001.kept.xz"]
    assert [one.digest for one in run.kept.tensors("k", "e")] == ["e"]
    kept_path(path).unlink()
    assert load(folder.path).kept.problems == {}


class TestRecording:
    """A round's files get their names when it ended well, and never before."""

    def path(self, tmp_path: Path) -> tuple[RunFolder, Path]:
        folder = RunFolder.create(tmp_path)
        return folder, folder.record_path("c", "default", "off", 1)

    def names(self, path: Path) -> list[str]:
        return sorted(one.name for one in path.parent.iterdir())

    def test_both_files_are_compressed_and_no_other_is_left(self, tmp_path: Path) -> None:
        folder, path = self.path(tmp_path)
        with folder.recording(path) as streams:
            streams.lines.write(record_text("a"))
            streams.kept.write(kept_text("d"))
        assert self.names(path) == ["off-001.jsonl.xz", "off-001.kept.xz"]
        assert lzma.decompress(path.read_bytes()).decode() == record_text("a")
        assert lzma.decompress(kept_path(path).read_bytes()).decode() == kept_text("d")

    def test_without_stored_values_there_is_no_file(self, tmp_path: Path) -> None:
        folder, path = self.path(tmp_path)
        with folder.recording(path) as streams:
            streams.lines.write(record_text("a"))
        assert self.names(path) == ["off-001.jsonl.xz"]

    @pytest.mark.parametrize(
        "error", [KeyboardInterrupt, EngineError("x", "y"), OSError(28, "No space left on device")]
    )
    def test_a_round_that_fails_leaves_parts_that_are_not_read(self, tmp_path: Path, error: BaseException) -> None:
        folder, path = self.path(tmp_path)
        folder.write_info(info(id=folder.id))

        def fail() -> None:
            with folder.recording(path) as streams:
                streams.lines.write(record_text("a"))
                streams.kept.write(kept_text("d"))
                raise error

        with pytest.raises(StorageError if isinstance(error, OSError) else (KeyboardInterrupt, EngineError)):
            fail()
        assert self.names(path) == ["off-001.jsonl.xz.part", "off-001.kept.xz.part"]
        run = load(folder.path)
        assert (run.records, run.unreadable, run.kept.rows) == ({}, {}, {})
        put(folder, 1, record_text("b"))
        assert len(load(folder.path).records) == 1

    def test_lines_are_on_the_disk_as_they_come(self, tmp_path: Path) -> None:
        folder, path = self.path(tmp_path)
        with folder.recording(path) as streams:
            streams.lines.write(record_text("a"))
            streams.lines.flush()
            assert path.with_name(path.name + ".part").read_text(encoding="utf-8") == record_text("a")
            assert not path.exists()

    def test_the_record_is_named_after_its_values(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder, path = self.path(tmp_path)
        named: list[str] = []
        replace = type(path).replace

        def watched(one: Path, other: Path) -> Path:
            named.append(other.name)
            return replace(one, other)

        monkeypatch.setattr(type(path), "replace", watched)
        with folder.recording(path) as streams:
            streams.lines.write(record_text("a"))
            streams.kept.write(kept_text("d"))
        assert named == ["off-001.kept.xz", "off-001.jsonl.xz"]

    def test_a_folder_that_cannot_be_written_has_a_clear_error(self, tmp_path: Path) -> None:
        folder, path = self.path(tmp_path)
        path.parent.parent.mkdir(parents=True)
        path.parent.write_text("a file where the folder should be", encoding="utf-8")
        with pytest.raises(StorageError, match="cannot be written"), folder.recording(path):
            pass


@pytest.mark.fault("A file cannot be replaced", "The error names it, and no partial file is left.")
def test_a_failed_atomic_write_leaves_no_part(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    target.mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        write_atomic(target, "new")
    assert list(tmp_path.iterdir()) == [target]


def test_an_interrupted_atomic_write_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "run.json", "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault("The reports folder is a file", "The error names it.")
def test_reports_that_is_a_file_has_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("", encoding="utf-8")
    with pytest.raises(StorageError, match="cannot be written"), reports_lock(tmp_path / "reports", "x"):
        pass


@pytest.mark.fault("Two runs use one reports folder", "The second ends with exit code 4 and names the first.")
def test_the_error_of_a_second_run_names_the_first(tmp_path: Path) -> None:
    other = (
        "from bench.store.run_folder import reports_lock\nfrom pathlib import Path\nimport sys\n"
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


class TestMeasuringLock:
    """A measurement of a CPU has its host alone, one of a GPU has that GPU alone."""

    def waits(self, first: tuple[str, ...], second: tuple[str, ...]) -> str:
        """What the second of two measurements says while it waits for the first, "" where it does not wait."""
        said: list[str] = []
        order: list[str] = []

        def other() -> None:
            with measuring_lock(said.append, second):
                order.append("second")

        with measuring_lock(said.append, first):
            thread = threading.Thread(target=other)
            thread.start()
            while not said and not order:
                time.sleep(0.01)
            order.append("first")
        thread.join(10)
        assert order == (["first", "second"] if said else ["second", "first"])
        return "".join(said)

    @pytest.mark.parametrize(
        ("first", "second", "what"),
        [
            ((), (), "this host"),
            (("GPU-1",), ("GPU-1",), "the GPU GPU-1"),
            (("GPU-1", "GPU-2"), ("GPU-3", "GPU-2"), "the GPU GPU-2"),
            (("GPU-1",), (), "this host"),
            ((), ("GPU-1",), "this host"),
            (("GPU-1",), ("GPU-2",), ""),
            (("MIG-GPU-1/1/0",), ("MIG-GPU-1/2/0",), ""),
        ],
    )
    def test_who_waits_for_whom(self, first: tuple[str, ...], second: tuple[str, ...], what: str) -> None:
        said = self.waits(first, second)
        if what:
            assert said.startswith(f"another run measures on {what}: process {os.getpid()} on ")
            assert said.endswith("; waiting for it to end")
        else:
            assert not said

    @pytest.mark.fault("The lock of the host is a symbolic link", "It is refused; its target is unchanged.")
    def test_a_symbolic_link_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "target").touch()
        (tmp_path / "tfrepro-measuring-cpu.lock").symlink_to(tmp_path / "target")
        with pytest.raises(PortableError, match="symbolic links"), measuring_lock(print):
            pass

    def test_the_order_of_gpus_cannot_cause_a_deadlock(self) -> None:
        entered: list[str] = []

        def run(*gpus: str) -> None:
            for _ in range(50):
                with measuring_lock(lambda _: None, gpus):
                    entered.append(gpus[0])

        threads = [threading.Thread(target=run, args=gpus) for gpus in (("a", "b"), ("b", "a"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(entered) == 100


#: Names of four runs, the oldest first.
R1, R2, R3, R4 = (f"2025010{day}T120000Z-0000" for day in range(1, 5))


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
        self.make(tmp_path, R1, "", "a")
        self.make(tmp_path, R2, "2026-01-01T00:00:00+00:00", "b")
        self.make(tmp_path, R3, "", "c")
        self.make(tmp_path, R4, "", "d")
        found = resume.interrupted(tmp_path, info())
        assert [path.name for path in found] == [R4, R3]
        assert set(resume.finished_rounds(found)) == {"c", "d"}

    def test_a_finished_run_of_another_plan_hides_nothing(self, tmp_path: Path) -> None:
        self.make(tmp_path, R1, "", "a")
        other = self.make(tmp_path, R2, "", "b")
        other.write_info(info(id=R2, finished="2026-01-01T00:00:00+00:00", profile="quick"))
        assert [path.name for path in resume.interrupted(tmp_path, info())] == [R1]

    def test_rounds_that_a_finished_run_reused_are_not_reused_again(self, tmp_path: Path) -> None:
        self.make(tmp_path, R1, "", "a")
        other = self.make(tmp_path, R2, "", "b")
        served = {"records/c/default/off-001.jsonl": R1}
        other.write_info(info(id=R2, finished="2026-01-01T00:00:00+00:00", profile="quick", reused=served))
        assert resume.interrupted(tmp_path, info()) == ()

    def test_pairs_are_reused_by_the_rules_of_rounds(self, tmp_path: Path) -> None:
        folder = self.make(tmp_path, "1", "")
        kept = [put_pair(folder, 1, pair_text("a", run="1")), put_pair(folder, 2, pair_text("e", outcome="error"))]
        put_pair(folder, 3, pair_text("cut", whole=False))
        put_pair(folder, 4, pair_text("died", outcome="crashed"))
        put_pair(folder, 5, pair_text(""))
        assert resume.finished_pairs((folder.path,)) == {"a": (kept[0], "1"), "e": (kept[1], "r1")}

    def test_nothing_from_before_no_resume_is_reused(self, tmp_path: Path) -> None:
        self.make(tmp_path, R1, "", "a")
        fresh = self.make(tmp_path, R2, "", "b")
        fresh.write_info(info(id=R2, finished="", command="python -m bench matrix --no-resume"))
        assert [path.name for path in resume.interrupted(tmp_path, info())] == [R2]

    def test_a_cut_off_or_crashed_record_is_not_reused(self, tmp_path: Path) -> None:
        folder = self.make(tmp_path, R1, "", "a")
        put(folder, 2, record_text("b", whole=False))
        put(folder, 3, "junk\n")
        put(folder, 4, record_text(""))
        died = line("outcome", {"process": 1, "kernel": "k", "outcome": "crashed", "seconds": 0.0})
        put(folder, 5, record_text("e", whole=False) + died + line("end", {"seconds": 1.0, "processes": 1}))
        assert set(resume.finished_rounds((folder.path,))) == {"a"}
        # it is measured again, and mentioned
        assert resume.measured_again((folder.path,)) == {"e": "in run r1: k (crashed)"}

    def test_the_run_that_measured_a_record_is_known_after_two_resumes(self, tmp_path: Path) -> None:
        first = self.make(tmp_path, R1, "", "a")
        second = self.make(tmp_path, R2, "")
        source = first.record_path("c", "default", "off", 1)
        second.take(source, source.relative_to(first.path).as_posix())
        assert resume.finished_rounds((second.path,))["a"][1] == R1

    @pytest.mark.parametrize("linked", [True, False])
    def test_a_reused_record_brings_its_stored_values(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        linked: bool,  # noqa: FBT001
    ) -> None:
        def refuse(*_: object) -> None:
            raise OSError(18, "Invalid cross-device link")

        if not linked:
            monkeypatch.setattr("os.link", refuse)
        first, second = (
            self.make(tmp_path, R1, ""),
            self.make(tmp_path, R2, ""),
        )
        with_values = put(first, 1, record_text("a"), kept_text("d"))
        without = put(first, 2, record_text("b"))
        for source in (with_values, without):
            second.take(source, source.relative_to(first.path).as_posix())
        run = load(second.path)
        assert len(run.records) == 2
        assert run.kept.tensors("k", "d")
        assert len(kept_files(second.path)) == 1

    def test_a_reused_record_is_listed_under_its_path(self, tmp_path: Path) -> None:
        """Otherwise the page could not say what was reused."""
        first = self.make(tmp_path, R1, "", "a")
        found = resume.finished_rounds((first.path,))
        column = SimpleNamespace(id="c")
        item: Any = SimpleNamespace(column=column, variation="default", mode="off", number=1)
        request: Any = SimpleNamespace(context={"resume_key": "a"})
        second = self.make(tmp_path, R2, "")
        state = State(info=info(id=R2, finished=""), folder=second)
        task = Task(item=item, requests={"": request})
        assert runner._reuse(state, [task], found, progress.view(), "rounds") == []
        run = load(second.path)
        assert run.info.reused == {"records/c/default/off-001.jsonl": R1}
        assert set(run.info.reused) == set(run.records)

    def test_a_folder_without_run_json_is_skipped(self, tmp_path: Path) -> None:
        self.make(tmp_path, R1, "", "a")
        (tmp_path / "runs" / R2).mkdir()
        assert [path.name for path in resume.interrupted(tmp_path, info())] == [R1]

    def test_any_fact_changes_the_key(self) -> None:
        assert resume.resume_key({"a": 1, "b": 2}) == resume.resume_key({"b": 2, "a": 1})
        assert resume.resume_key({"a": 1}) != resume.resume_key({"a": 2})


class TestCompact:
    """A copy without logs reads the same as the run."""

    def make(self, tmp_path: Path) -> RunFolder:
        folder = RunFolder.create(tmp_path / "reports")
        folder.write_info(info(id=folder.id))
        folder.log_path("c", "build").write_text("a log", encoding="utf-8")
        put(folder, 1, record_text("a"), kept_text("d"))
        put(folder, 2, record_text("b"))
        put_pair(folder, 1, pair_text("p"))
        return folder

    def test_it_reads_the_same_and_can_be_copied_again(self, tmp_path: Path) -> None:
        folder = self.make(tmp_path)
        original = dataclasses.replace(load(folder.path), read_at="")
        for _ in range(2):
            compact(folder.path, tmp_path / "kept")
            assert dataclasses.replace(load(tmp_path / "kept"), read_at="") == original
        compact(tmp_path / "kept", tmp_path / "again")
        assert dataclasses.replace(load(tmp_path / "again"), read_at="") == original
        names = sorted(path.name for path in (tmp_path / "again").rglob("*") if path.is_file())
        assert names == [
            "noise-floor-001.jsonl.xz", "off-001.jsonl.xz", "off-001.kept.xz", "off-002.jsonl.xz", "run.json",
        ]  # fmt: skip
        assert len(load(tmp_path / "again").paired) == 1
        assert load(tmp_path / "again").kept.tensors("k", "d")

    def test_an_earlier_copy_is_replaced(self, tmp_path: Path) -> None:
        folder, other = (
            self.make(tmp_path / R1),
            RunFolder.create(tmp_path / R2),
        )
        other.write_info(info(id=other.id))
        put(other, 7, record_text("z"), kept_text("y"))
        put_pair(other, 7, pair_text("z"))
        for source in (other, folder):
            compact(source.path, tmp_path / "kept")
        assert list(load(tmp_path / "kept").paired) == ["paired/c/noise-floor-001.jsonl"]
        assert len(load(tmp_path / "kept").records) == 2
        assert not load(tmp_path / "kept").kept.tensors("k", "y")

    def test_a_damaged_record_is_copied_and_listed(self, tmp_path: Path) -> None:
        folder = self.make(tmp_path)
        file = next(folder.path.rglob("*001.jsonl.xz"))
        file.write_bytes(file.read_bytes()[:-20])
        compact(folder.path, tmp_path / "kept")
        assert len(load(tmp_path / "kept").unreadable) == 1

    @pytest.mark.parametrize("lost", ["off-001.jsonl.xz", "off-001.kept.xz"])
    @pytest.mark.fault("Copying a run fails", "The earlier copy is unchanged.")
    def test_an_earlier_copy_remains_where_copying_fails(self, tmp_path: Path, lost: str) -> None:
        folder, other = self.make(tmp_path / R1), self.make(tmp_path / R2)
        compact(folder.path, tmp_path / "kept")
        file = next(other.path.rglob(lost))
        file.unlink()
        file.symlink_to(tmp_path / "gone")
        with pytest.raises(StorageError, match="cannot be copied"):
            compact(other.path, tmp_path / "kept")
        assert load(tmp_path / "kept") == load(folder.path)
        assert sorted(one.name for one in (tmp_path / "kept").iterdir()) == ["paired", "records", "run.json"]

    def test_other_files_are_not_overwritten(self, tmp_path: Path) -> None:
        folder = self.make(tmp_path)
        mine = tmp_path / "desk" / "records" / "mine.txt"
        mine.parent.mkdir(parents=True)
        mine.write_text("years of it", encoding="utf-8")
        with pytest.raises(StorageError, match="part of a copy of a run"):
            compact(folder.path, tmp_path / "desk")
        (tmp_path / "desk" / "run.json").write_text('{"a": 1}', encoding="utf-8")
        with pytest.raises(StorageError, match=r"a run\.json that is no copy of a run"):
            compact(folder.path, tmp_path / "desk")
        assert mine.read_text(encoding="utf-8") == "years of it"
        assert (tmp_path / "desk" / "run.json").read_text(encoding="utf-8") == '{"a": 1}'
        compact(folder.path, tmp_path / "copy")
        compact(folder.path, tmp_path / "copy")
        (tmp_path / "copy" / "records" / "mine.txt").write_text("more", encoding="utf-8")
        with pytest.raises(StorageError, match="part of a copy of a run"):
            compact(folder.path, tmp_path / "copy")
        with pytest.raises(StorageError, match="of its own"):
            compact(folder.path, folder.path.parent / "20250101T000000Z-abcd")

    def test_a_run_is_never_overwritten(self, tmp_path: Path) -> None:
        folder, other = self.make(tmp_path / R1), self.make(tmp_path / R2)
        for source in (folder, other):
            with pytest.raises(StorageError, match="of its own"):
                compact(source.path, folder.path)
        assert len(load(folder.path).records) == 2

    def test_a_copy_is_not_copied_onto_itself(self, tmp_path: Path) -> None:
        folder = self.make(tmp_path)
        compact(folder.path, tmp_path / "kept")
        (tmp_path / "link").symlink_to(tmp_path / "kept")
        for target in (tmp_path / "kept", tmp_path / "link", tmp_path / "x" / ".." / "kept"):
            with pytest.raises(StorageError):
                compact(tmp_path / "kept", target)
        assert len(load(tmp_path / "kept").records) == 2


def test_the_report_of_the_sample_matches_its_records() -> None:
    """Numbers are ignored: another SciPy may round an interval's last digit differently."""
    kept = (shipped_sample.SAMPLE / "report.md").read_text(encoding="utf-8")
    made = report.render(shipped_sample.results(), report.Format.MARKDOWN)
    words = [re.sub(r"[0-9]+", "0", text) for text in (kept, made)]
    assert words[0] == words[1], "run: python -m bench report reports/sample --reports elsewhere, and compare"
    page = (shipped_sample.SAMPLE / "index.html").read_text(encoding="utf-8")
    assert shipped_sample.run().info.id in page
