"""Imports of records of another host: merged only with a comparable run, and never twice."""

from __future__ import annotations

import dataclasses
import json
import lzma
from typing import TYPE_CHECKING, Any

import pytest

from bench.errors import BusyError, StorageError
from bench.portable.archive import pack
from bench.portable.paired_timing import PairPlan
from bench.store import import_records
from bench.store import run as store
from bench.store.resume import interrupted
from bench.store.run_folder import reports_lock
from bench.suite.record import SCHEMA, line
from bench.verdict import Status, evaluate
from tests.unit import factory

if TYPE_CHECKING:
    from pathlib import Path

    from bench.store.run import Run
    from bench.store.run_info import RunInfo
    from bench.suite.record import Record

HERE, THERE = "20250130T120000Z-aaaa", "20250131T120000Z-bbbb"
GPU = factory.column(cuda="12.5")


def info(**changes: Any) -> RunInfo:
    facts = {
        "schema": SCHEMA,
        "id": HERE,
        "variation_modes": {"default": ("off", "on")},
        "host": {"name": "here", "gpu": ""},
    }
    return factory.info(**{**facts, **changes})


def theirs(**changes: Any) -> Run:
    facts = {"id": THERE, "columns": (GPU,), "host": {"name": "there", "gpu": "NVIDIA H100"}, "engine": "venv"}
    return factory.run(info(**{**facts, **changes}))


def text(one: Record) -> str:
    """Return the text of a record file."""
    head = {"schema": SCHEMA, "request": json.loads(one.request.to_json()), "suite_hash": one.suite_hash}
    rows = [line("header", head)]
    for process in one.processes:
        body = dataclasses.asdict(process)
        rows += [
            line("loaded", {"process": process.process, "libraries": body.pop("libraries")}),
            line("process", body),
        ]
    for sample in one.samples:
        body = dataclasses.asdict(sample)
        name = {"process": sample.process, "kernel": sample.kernel, "digest": sample.digest}
        rows.append(line("values", {**name, "outputs": body.pop("outputs"), "errors": body.pop("errors")}))
        rows.append(
            line("sample", {key: value for key, value in body.items() if key not in {"guard", "first_difference"}})
        )
    rows += [line("outcome", dataclasses.asdict(outcome)) for outcome in one.outcomes]
    return "".join(rows) + line("end", {"seconds": one.seconds, "processes": 1})


def put(run: Run, folder: Path) -> Path:
    """Write a run folder."""
    for name, one in run.records.items():
        path = folder / f"{name}.xz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lzma.compress(text(one).encode()))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(run.info.to_json())
    return folder


def archived(tmp_path: Path, run: Run) -> Path:
    place = tmp_path / "other"
    file = pack(put(run, place / run.info.id), place, run.info.columns[0].id)
    return file.rename(tmp_path / f"{run.info.id}.tar.gz")


def said() -> tuple[list[str], Any]:
    words: list[str] = []
    return words, words.append


def home(tmp_path: Path, **changes: Any) -> Path:
    """A reports folder with one run of one CPU column."""
    reports = tmp_path / "reports"
    put(factory.run(info(**changes)), reports / "runs" / HERE)
    return reports


def test_a_column_of_another_host_is_merged(tmp_path: Path) -> None:
    reports = home(tmp_path)
    words, say = said()
    folder = import_records.import_archive(archived(tmp_path, theirs()), reports, say=say)
    assert not words
    run = store.load(folder)
    assert [column.id for column in run.info.columns] == [factory.column().id, GPU.id]
    assert run.info.id == folder.name
    ours, other = run.info.columns
    assert not ours.origin
    assert other.origin == {
        "name": "there", "gpu": "NVIDIA H100", "engine": "venv", "run": THERE,
        "started": "2025-01-31T12:00:00+00:00", "finished": "2025-01-31T12:10:00+00:00",
    }  # fmt: skip
    assert run.info.merged_from == HERE
    assert "measured on there" in run.info.warnings[-1]
    found = evaluate(run)
    assert not found.left_out
    assert {one.status for one in found.verdicts if not one.control} == {Status.REPRODUCIBLE}
    assert len(found.verdicts) == 2 * 2 * 4
    before = store.load(reports / "runs" / HERE)
    assert before.info == factory.run(info()).info, "the existing run must not change"
    assert not list(reports.glob(".import-*"))


def test_pairs_come_with_their_column(tmp_path: Path) -> None:
    reports = home(tmp_path)
    request = next(iter(theirs().records.values())).request
    requests = {"a": request, "b": dataclasses.replace(request, mode="on")}
    header = PairPlan("overhead", 1, "a", 0.1, requests).header()
    lines = line("header", {"schema": SCHEMA, "suite_hash": factory.SUITE, **header}) + line("end", {"seconds": 1.0})
    for place, name in ((reports / "runs" / HERE, factory.column().id), (tmp_path / "other" / THERE, GPU.id)):
        path = place / "paired" / name / "overhead-001.jsonl.xz"
        path.parent.mkdir(parents=True)
        path.write_bytes(lzma.compress(lines.encode()))
    run = store.load(import_records.import_archive(archived(tmp_path, theirs()), reports, say=said()[1]))
    assert sorted(run.paired) == sorted(f"paired/{column.id}/overhead-001.jsonl" for column in (factory.column(), GPU))


def test_without_another_run_an_import_is_a_run_of_its_own(tmp_path: Path) -> None:
    words, say = said()
    folder = import_records.import_archive(archived(tmp_path, theirs()), tmp_path / "reports", say=say)
    assert words == ["imported as a run of its own: there is no other run yet"]
    run = store.load(folder)
    assert [column.origin["name"] for column in run.info.columns] == ["there"]
    assert {one.status for one in evaluate(run).verdicts if not one.control} == {Status.REPRODUCIBLE}


@pytest.mark.parametrize(
    ("mine", "changes", "why"),
    [
        ({}, {"suite_hash": "6" * 64}, "another version of the suite"),
        ({}, {"seed": 7}, "its seed is 7"),
        ({}, {"columns": (factory.column(),)}, "already has a column tf2.18.1-cpu-py311@cpu"),
        ({"schema": 2}, {}, "has schema 2, but this version reads schema"),
        ({"finished": ""}, {}, "is not finished"),
        ({}, {"finished": ""}, "not finished on its host"),
        (
            {},
            {"kernels": (factory.kernel("matmul", shapes="[1]"), *factory.CONTROLS)},
            "its kernel matmul differs",
        ),
    ],
)
def test_what_cannot_be_merged_is_a_run_of_its_own(
    tmp_path: Path, mine: dict[str, Any], changes: dict[str, Any], why: str
) -> None:
    words, say = said()
    folder = import_records.import_archive(archived(tmp_path, theirs(**changes)), home(tmp_path, **mine), say=say)
    assert why in words[0]
    assert all(column.origin for column in store.load(folder).info.columns)


def test_a_run_of_another_schema_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="has schema 2, but this version reads schema"):
        import_records.import_archive(archived(tmp_path, theirs(schema=2)), home(tmp_path))


def test_no_run_is_imported_twice(tmp_path: Path) -> None:
    reports, file = home(tmp_path), archived(tmp_path, theirs())
    first = import_records.import_archive(file, reports)
    with pytest.raises(StorageError, match=f"Run {THERE} was imported or measured already: see .*{first.name}"):
        import_records.import_archive(file, reports)
    third = archived(tmp_path, theirs(id="20250201T120000Z-cccc", columns=(factory.column("2.21.0", "12.5"),)))
    whole = import_records.import_archive(third, reports)
    assert len(store.load(whole).info.columns) == 3
    with pytest.raises(StorageError, match="was imported or measured already"):
        import_records.import_archive(file, reports)
    own = archived(tmp_path / "own", factory.run(info()))
    with pytest.raises(StorageError, match=f"Run {HERE} was imported or measured already"):
        import_records.import_archive(own, reports)


def test_variations_and_kernels_of_both_are_planned(tmp_path: Path) -> None:
    other = theirs(
        kernels=(factory.kernel("relu"), factory.kernel("matmul"), *factory.CONTROLS),
        variations={"default": (), "tf32=off": ("matmul",)},
        variation_modes={"default": ("off",), "tf32=off": ("on",)},
        modes=("off", "on"),
    )
    facts = store.load(import_records.import_archive(archived(tmp_path, other), home(tmp_path))).info
    assert [kernel.name for kernel in facts.kernels][-1] == "relu"
    assert set(facts.variations) == {"default", "tf32=off"}
    assert set(facts.variations["default"]) == {kernel.name for kernel in facts.kernels}
    assert facts.variations["tf32=off"] == ("matmul",)
    assert facts.variation_modes == {"default": ("off", "on"), "tf32=off": ("on",)}


def test_an_interrupted_run_can_be_resumed_after_an_import(tmp_path: Path) -> None:
    reports = home(tmp_path, finished="")
    import_records.import_archive(archived(tmp_path, theirs()), reports, say=lambda _: None)
    assert reports / "runs" / HERE in interrupted(reports, info())


def test_nothing_is_imported_while_a_run_uses_the_folder(tmp_path: Path) -> None:
    reports, file = home(tmp_path), archived(tmp_path, theirs())
    with reports_lock(reports, "matrix"), pytest.raises(BusyError):
        import_records.import_archive(file, reports)


def test_unreadable_records_are_reported(tmp_path: Path) -> None:
    run = theirs()
    place = put(run, tmp_path / "other" / THERE)
    damaged = next(place.glob("records/*/*/off-002.jsonl.xz"))
    damaged.write_bytes(damaged.read_bytes()[:50])
    words, say = said()
    folder = import_records.import_archive(pack(place, tmp_path, GPU.id), home(tmp_path), say=say)
    assert "off-002.jsonl.xz cannot be read and will not count" in words[0]
    assert len(store.load(folder).unreadable) == 1


def test_a_refused_archive_leaves_nothing(tmp_path: Path) -> None:
    reports = home(tmp_path)
    file = tmp_path / "bad.tar.gz"
    file.write_bytes(b"no archive")
    with pytest.raises(StorageError):
        import_records.import_archive(file, reports)
    assert [path.name for path in (reports / "runs").iterdir()] == [HERE]
    assert not list(reports.glob(".import-*"))
