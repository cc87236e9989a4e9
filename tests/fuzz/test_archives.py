"""Damaged records archives and bundles: refused as a whole, or read; nothing is written outside the reports folder."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.portable.archive import pack
from tests.fuzz import small_run
from tests.fuzz.support import FUZZ, damaged, mutated, run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory, root: Path) -> list[tuple[str, bytes]]:
    """The files of a records archive, the manifest first."""
    place = tmp_path_factory.mktemp("archive")
    info = small_run.write(root / "reports" / "sample", place / small_run.RUN) / "run.json"
    info.write_text(info.read_text(encoding="utf-8").replace(small_run.RUN, small_run.RUN[:-1] + "7"), encoding="utf-8")
    with tarfile.open(pack(info.parent, place, "column")) as archive:
        return [(one.name, archive.extractfile(one).read()) for one in archive]  # type: ignore[union-attr]


def packed(files: list[tuple[str, bytes]]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, body in files:
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return target.getvalue()


def consistent(files: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """The same files with a manifest that has their names, sizes and hashes."""
    manifest = json.loads(files[0][1])
    manifest["files"] = {
        name: {"sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body)} for name, body in files[1:]
    }
    return [(files[0][0], json.dumps(manifest).encode()), *files[1:]]


_NAMES = st.sampled_from(
    ["../x", "/x", "records/../../x", "records/a/b/on-001.jsonl.xz", "run.json", "logs/a/b.log", "x" * 90]
)


@st.composite
def archives(draw: st.DrawFn, files: list[tuple[str, bytes]]) -> bytes:
    """An archive with other bytes, another manifest, or files of other content or name under a valid manifest."""
    kind = draw(st.sampled_from(("bytes", "tar", "manifest", "run.json", "file", "name")))
    changed = list(files)
    place = draw(st.integers(1, len(files) - 1))
    if kind == "manifest":
        changed[0] = (files[0][0], json.dumps(draw(mutated(json.loads(files[0][1])))).encode())
    elif kind == "run.json":
        changed = [
            (name, json.dumps(draw(mutated(json.loads(body)))).encode() if name == kind else body)
            for name, body in files
        ]
    elif kind == "file":
        changed[place] = (files[place][0], draw(damaged(files[place][1])))
    elif kind == "name":
        changed[place] = (draw(_NAMES), files[place][1])
    content = packed(consistent(changed) if kind in {"run.json", "file", "name"} else changed)
    if kind == "tar":
        content = draw(damaged(content))
    content = gzip.compress(content, compresslevel=1, mtime=0)
    return draw(damaged(content)) if kind == "bytes" else content


@given(data=st.data())
@FUZZ
def test_archives(
    reports: Path,
    folder: Path,
    members: list[tuple[str, bytes]],
    data: st.DataObject,
) -> None:
    file = reports.parent / "records.tar.gz"
    file.write_bytes(data.draw(archives(members)))
    before = _content(folder)
    try:
        ended = run(["import", str(file), "--reports", str(reports)], reports)
        new = [path for path in (reports / "runs").iterdir() if path != folder]
        refused = "error: " in ended.err and "Nothing was measured" not in ended.err and "No kernel" not in ended.err
        assert len(new) == (0 if refused else 1), ended.err
        assert _content(folder) == before
        assert not list(reports.glob(".import-*"))
    finally:
        for path in (reports / "runs").iterdir():
            if path != folder:
                shutil.rmtree(path)


def _content(folder: Path) -> dict[str, Any]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
