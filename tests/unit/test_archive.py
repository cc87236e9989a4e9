"""Records archives of other hosts: a valid one is unpacked, and of an invalid one nothing is written."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import lzma
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.errors import StorageError
from bench.portable import archive as archive_module
from bench.portable.paired_timing import PairPlan
from bench.store import archive
from bench.suite.record import SCHEMA, Request, line
from tests.unit import factory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.store.run_info import RunInfo

COLUMN = "tf2.18.1-cpu-py311@cpu"
RECORD = f"records/{COLUMN}/default/off-001.jsonl.xz"
PAIR = f"paired/{COLUMN}/upgrade-from-{COLUMN}-001.jsonl.xz"


def info(**changes: Any) -> RunInfo:
    return dataclasses.replace(factory.info(variation_modes={"default": ("off", "on")}), **changes)


def record(number: int = 1, column: str = COLUMN, mode: str = "off") -> bytes:
    request = Request(
        column=column, mode=mode, variation="default", round=number, kernels=("matmul",), repetitions={"matmul": 1}
    )
    text = line("header", {"schema": SCHEMA, "request": json.loads(request.to_json()), "suite_hash": factory.SUITE})
    return lzma.compress((text + line("end", {"seconds": 1.0, "processes": 1})).encode())


def pair() -> bytes:
    request = Request(column=COLUMN, mode="off", variation="default", round=1, kernels=("matmul",), repetitions={})
    header = PairPlan("upgrade", 1, "a", 0.1, {"a": request, "b": request}).header()
    return lzma.compress(line("header", {"schema": SCHEMA, "suite_hash": factory.SUITE, **header}).encode())


def files(**changes: Any) -> dict[str, bytes]:
    return {
        "run.json": json.dumps(dataclasses.asdict(info(**changes))).encode(),
        RECORD: record(),
        PAIR: pair(),
        f"logs/{COLUMN}/off.log": b"words\n",
    }


def manifest(found: dict[str, bytes], **changes: Any) -> bytes:
    listed = {name: {"sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body)} for name, body in found.items()}
    return json.dumps({"schema": 1, "kind": archive_module.KIND, "run": "r", "files": listed, **changes}).encode()


def member(name: str, body: bytes = b"", **changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.size = len(body)
    for key, value in changes.items():
        setattr(made, key, value)
    return made, body


def write(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], form: int = tarfile.USTAR_FORMAT) -> Path:
    with gzip.open(path, "wb") as stream, tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        for made, body in members:
            tar.addfile(made, io.BytesIO(body))
    return path


def packed(path: Path, found: dict[str, bytes], listed: bytes | None = None) -> Path:
    rows = {"manifest.json": manifest(found) if listed is None else listed, **found}
    return write(path, [member(name, body) for name, body in rows.items()])


def refused(file: Path, limits: archive.Limits = archive.LIMITS) -> str:
    """The message of the error; nothing may be left behind."""
    before = sorted(file.parent.iterdir())
    with pytest.raises(StorageError) as caught:
        archive.unpack(file, file.parent / "target", limits)
    assert sorted(file.parent.iterdir()) == before
    assert caught.value.hint
    return str(caught.value)


def test_what_is_packed_is_unpacked(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name, body in files().items():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(body)
    (run / "plan").write_text("not packed")
    file = archive_module.pack(run, tmp_path, COLUMN)
    found = archive.unpack(file, tmp_path / "target")
    assert found.info == info()
    assert not found.unreadable
    there = {path.relative_to(tmp_path / "target").as_posix() for path in (tmp_path / "target").rglob("*.*")}
    assert {name for name in there if (tmp_path / "target" / name).is_file()} == set(files())


def test_a_pair_that_cannot_be_read_is_listed(tmp_path: Path) -> None:
    unpacked = archive.unpack(packed(tmp_path / "a.tar.gz", {**files(), PAIR: b"no xz"}), tmp_path / "target")
    assert list(unpacked.unreadable) == [PAIR]


def test_a_record_that_cannot_be_read_is_listed(tmp_path: Path) -> None:
    found = {**files(), RECORD.replace("001", "002"): b"no xz", RECORD.replace("001", "003"): record(3)[:-9]}
    unpacked = archive.unpack(packed(tmp_path / "a.tar.gz", found), tmp_path / "target")
    assert sorted(unpacked.unreadable) == [RECORD.replace("001", "002"), RECORD.replace("001", "003")]


HOSTILE_NAMES = (
    "../evil", "/etc/evil", "records/../../evil", f"records/{COLUMN}/default/../../../evil.jsonl.xz", "records//x",
    f"records/{COLUMN}/default/off-001.jsonl", f"records/{COLUMN}/default/sub/off-001.jsonl.xz", "bin/sh", "run.json/x",
    f"records/{COLUMN}/-x/off-001.jsonl.xz", "records/<b>/default/off-001.jsonl.xz", "logs/../x.log", "run.json\n",
    f"paired/{COLUMN}/x/overhead-001.jsonl.xz", f"paired/{COLUMN}/overhead.jsonl.xz", "paired/overhead-001.jsonl.xz",
    f"paired/{COLUMN}/../overhead-001.jsonl.xz", f"paired/{COLUMN}/overhead-001.kept.xz",
    f"records/{COLUMN}/default/off-001.jsonl.xz ", "RUN.JSON", ".import", "",
)  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_name_that_no_run_folder_has_is_refused(tmp_path: Path, name: str) -> None:
    """Whether or not the manifest names it."""
    extra = {**files(), name: b"x"}
    assert "no file of a run" in refused(packed(tmp_path / "a.tar.gz", extra))
    unnamed = packed(tmp_path / "a.tar.gz", extra, manifest(files()))
    assert "does not name" in refused(unnamed)


KINDS = {
    "symbolic link": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "character device": tarfile.CHRTYPE,
    "block device": tarfile.BLKTYPE,
    "fifo": tarfile.FIFOTYPE,
    "folder": tarfile.DIRTYPE,
    "contiguous": tarfile.CONTTYPE,
    "sparse": tarfile.GNUTYPE_SPARSE,
    "old file": tarfile.AREGTYPE,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.fault("An imported archive has links or devices", "It is refused.")
def test_only_plain_files_are_taken(tmp_path: Path, kind: str) -> None:
    found = files()
    rows = [member("manifest.json", manifest(found)), member(RECORD, type=KINDS[kind], linkname="/etc/passwd")]
    assert "not a plain file" in refused(write(tmp_path / "a.tar.gz", rows))


def test_names_in_extended_headers_are_refused(tmp_path: Path) -> None:
    found = files()
    long = member(RECORD, found[RECORD], pax_headers={"path": "../evil"})
    rows = [member("manifest.json", manifest(found)), long]
    assert "not a plain file" in refused(write(tmp_path / "a.tar.gz", rows, tarfile.PAX_FORMAT))
    gnu = [member("manifest.json", manifest(found)), member("x" * 300, b"x")]
    assert "not a plain file" in refused(write(tmp_path / "a.tar.gz", gnu, tarfile.GNU_FORMAT))


def with_record(change: Callable[[bytes], bytes]) -> dict[str, bytes]:
    return {**files(), RECORD: change(record())}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (lambda all_: [*all_, all_[2]], "twice"),
        (lambda all_: all_[:-1], "is missing"),
        (lambda all_: all_[1:], "begin with its manifest"),
        (lambda all_: [all_[1], all_[0], *all_[2:]], "begin with its manifest"),
        (lambda _: [], "begin with its manifest"),
        (lambda all_: [*all_[:2], member(RECORD, b"x" * len(record())), *all_[3:]], "another SHA-256"),
        (lambda all_: [*all_[:2], member(RECORD, b"x"), *all_[3:]], "bytes, and its manifest says"),
        (lambda all_: [*all_, member("manifest.json", b"{}")], "does not name"),
    ],
)
def test_an_archive_that_differs_from_its_manifest_is_refused(tmp_path: Path, rows: Any, message: str) -> None:
    found = files()
    whole = [member(name, body) for name, body in {"manifest.json": manifest(found), **found}.items()]
    assert message in refused(write(tmp_path / "a.tar.gz", rows(whole)))


@pytest.mark.parametrize(
    "text",
    [
        b"", b"[]", b"nothing", b'{"schema": 1}', b"[" * 100_000, b"\xff\xfe",
        manifest({}, files={"run.json": {"sha256": "x", "bytes": 1}}),
        manifest({}, files={"run.json": {"sha256": "0" * 64, "bytes": -1}}),
        manifest({}, files=["run.json"]),
    ],
)  # fmt: skip
def test_an_invalid_manifest_is_refused(tmp_path: Path, text: bytes) -> None:
    assert "manifest" in refused(packed(tmp_path / "a.tar.gz", files(), text))


@pytest.mark.parametrize("change", [{"schema": 2}, {"kind": "something else"}])
def test_another_schema_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    assert "does not know" in refused(packed(tmp_path / "a.tar.gz", files(), manifest(files(), **change)))


def column(**changes: Any) -> dict[str, Any]:
    return {"columns": (factory.column(**changes),)}


BAD_RUNS: dict[str, dict[str, Any]] = {
    "path in a column": column(id="../../x"),
    "HTML in a column": column(id="<script>alert(1)</script>"),
    "folder in a column": column(id="a/b"),
    "odd run": {"id": "../x"},
    "no hash": {"suite_hash": "x"},
    "no columns": {"columns": ()},
    "two of one column": {"columns": (factory.column(), factory.column())},
    "odd status": column(status="perfect"),
    "a number for a text": {"profile": 5},
    "a text for a number": {"rounds": "5"},
    "a truth for a number": {"rounds": True},
    "no rounds": {"rounds": 0},
    "rounds without end": {"rounds": 2**53},
    "repetitions without end": {"repetitions": 2**53},
    "a run with digits of another script": {"id": "2025010\u0661T000000Z-abcd"},
    "odd mode": {"modes": ("off", "sideways")},
    "odd variation": {"variations": {"../x": ()}, "variation_modes": {}},
    "a list for a mapping": column(environment=["x"]),
    "escapes for the terminal": {"profile": "\x1b[2J"},
    "a text without end": {"profile": "x" * 30_000},
    "two of one kernel": {"kernels": (factory.kernel("a"), factory.kernel("a"))},
    "odd kernel": {"kernels": (factory.kernel("<b>"),)},
    "a rate that is none": {"kernels": (factory.kernel("a", rate=float("nan")),)},
    "another schema": {"schema": 99},
}


@pytest.mark.parametrize("name", BAD_RUNS)
def test_an_invalid_run_json_is_refused(tmp_path: Path, name: str) -> None:
    assert "run.json" in refused(packed(tmp_path / "a.tar.gz", {"run.json": files(**BAD_RUNS[name])["run.json"]}))


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff", b'{"a":' * 50_000, b'{"schema": 4}'])
def test_a_run_that_cannot_be_parsed_is_refused(tmp_path: Path, text: bytes) -> None:
    assert "refused" in refused(packed(tmp_path / "a.tar.gz", {**files(), "run.json": text}))


def test_records_of_an_unknown_column_are_refused(tmp_path: Path) -> None:
    found = {**files(), RECORD.replace("2.18.1", "2.21.0"): record()}
    assert "no column of run.json" in refused(packed(tmp_path / "a.tar.gz", found))


SMALL = archive.Limits(files=5, packed=50_000, unpacked=60_000, document=20_000, text=10_000, memory=100_000_000)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (lambda: {**files(), f"logs/{COLUMN}/zeros.log": b"\0" * 100_000}, "unpacks to more"),
        (lambda: {**files(), **{f"logs/{COLUMN}/{n}.log": b"x" for n in range(4)}}, "more than 5 files"),
        (lambda: {**files(), "run.json": b" " * 30_000}, "too large"),
        (lambda: with_record(lambda _: lzma.compress(b"\0" * 1_000_000)), "unpacks to more than"),
        (lambda: with_record(lambda body: body + b"more"), "something follows the end"),
    ],
)
@pytest.mark.fault("An imported archive unpacks to too much", "It is refused, and nothing is left.")
def test_bombs_are_refused(tmp_path: Path, found: Callable[[], dict[str, bytes]], message: str) -> None:
    assert message in refused(packed(tmp_path / "a.tar.gz", found()), SMALL)


def test_a_record_that_needs_much_memory_is_refused(tmp_path: Path) -> None:
    greedy = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 28}]
    found = with_record(lambda _: lzma.compress(b"x", filters=greedy))
    assert "of memory" in refused(packed(tmp_path / "a.tar.gz", found))


def test_a_record_that_nests_too_deep_is_listed(tmp_path: Path) -> None:
    found = with_record(lambda _: lzma.compress(b"[" * 200_000))
    why = archive.unpack(packed(tmp_path / "a.tar.gz", found), tmp_path / "theirs").unreadable
    assert ["recursion" in one for one in why.values()] == [True]


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    assert "larger than" in refused(packed(tmp_path / "a.tar.gz", files()), archive.Limits(packed=10))


def test_what_follows_the_end_mark_is_refused(tmp_path: Path) -> None:
    file = packed(tmp_path / "a.tar.gz", files())
    inner = gzip.decompress(file.read_bytes())
    file.write_bytes(gzip.compress(inner + b"x" * 512))
    assert "follows its end mark" in refused(file)


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with pytest.raises(StorageError, match="exists already"):
        archive.unpack(packed(tmp_path / "a.tar.gz", files()), tmp_path / "target")


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.tar.gz"
    file.write_bytes(b"no gzip")
    assert "cannot be read" in refused(file)
    file.unlink()
    assert "cannot be read" in refused(file)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255), cut=st.booleans(), inner=st.booleans())
def test_a_damaged_archive_is_refused_or_the_same(
    tmp_path: Path, *, place: float, bits: int, cut: bool, inner: bool
) -> None:
    """One byte changed, or the rest cut off, in the gzip or in the tar inside it."""
    file = packed(tmp_path / "a.tar.gz", files())
    whole = bytearray(gzip.decompress(file.read_bytes()) if inner else file.read_bytes())
    at = int(place * len(whole))
    if cut:
        del whole[at:]
    else:
        whole[at] ^= bits
    file.write_bytes(gzip.compress(bytes(whole)) if inner else bytes(whole))
    target = tmp_path / "target"
    try:
        found = archive.unpack(file, target)
    except StorageError:
        assert not target.exists()
    else:  # a byte without meaning here: an owner's id, a time
        assert found.info == info()
        assert {name: (target / name).read_bytes() for name in files()} == files()
        for path in sorted(target.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        target.rmdir()
