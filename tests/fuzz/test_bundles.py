"""Damaged bundles: ``bundle_start.py`` refuses them, or goes on; it writes nothing outside its work folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import bundle
from tests.fuzz.support import CODES, FUZZ, MOST_S, damaged, mutated
from tests.unit.test_bundle import contents, silent

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["contents"]


@pytest.fixture
def made(contents: bundle.BundleContents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle with a uv that only fails, and no other program: nothing is installed."""
    program = tmp_path / "uv"
    program.write_text("#!/bin/sh\nexit 3\n", encoding="ascii")
    monkeypatch.setattr("uv.find_uv_bin", lambda: str(program))
    bundle.make(contents, silent)
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))
    return contents.out


@given(data=st.data())
@FUZZ
def test_bundles(made: Path, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(("manifest", "manifest", "text", "part", "gone")))
    manifest, part = made / "manifest.json", min(made.glob("part-*"))
    before: dict[Path, bytes] = {file: file.read_bytes() for file in (manifest, part)}
    if kind == "manifest":
        value: Any = data.draw(mutated(json.loads(before[manifest])))
        manifest.write_text(json.dumps(value), encoding="utf-8")
    elif kind == "text":
        manifest.write_bytes(data.draw(damaged(before[manifest])))
    elif kind == "part":
        part.write_bytes(data.draw(damaged(before[part])))
    else:
        data.draw(st.sampled_from((manifest, part))).unlink()
    work = made.parent / "work"
    beside = sorted(made.parent.rglob("*"))
    try:
        command = [sys.executable, "-I", str(made / "bundle_start.py"), "--dry", "--dir", str(work)]
        ended = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=MOST_S, check=False)
        assert ended.returncode in CODES - {0}
        assert ended.stderr
        assert "Traceback" not in ended.stderr, ended.stderr
        shutil.rmtree(work, ignore_errors=True)
        assert sorted(made.parent.rglob("*")) == beside
    finally:
        for file, content in before.items():
            file.write_bytes(content)
        shutil.rmtree(work, ignore_errors=True)
