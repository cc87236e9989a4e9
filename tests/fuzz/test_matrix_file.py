"""Damaged configuration files: ``plan`` shows a plan, or says what is wrong."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.support import FUZZ, damaged, mutated, run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def shipped(root: Path) -> bytes:
    return (root / "matrix.toml").read_bytes()


def toml(value: Any) -> str:
    """A value as TOML; what TOML does not have becomes a text."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(str(key))} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, int | float) else quoted(str(value))


def quoted(text: str) -> str:
    """A TOML string; escapes that TOML does not have stay, and make the file invalid."""
    return (
        '"'
        + "".join(char if char.isprintable() and char not in '"\\' else f"\\u{ord(char):04x}" for char in text)
        + '"'
    )


@given(data=st.data())
@FUZZ
def test_matrix_file(tmp_path_factory: pytest.TempPathFactory, shipped: bytes, data: st.DataObject) -> None:
    file = tmp_path_factory.getbasetemp() / "matrix.toml"
    if data.draw(st.booleans()):
        file.write_bytes(data.draw(damaged(shipped)))
    else:
        value = data.draw(mutated(tomllib.loads(shipped.decode())))
        rows = value.items() if isinstance(value, dict) else ()
        file.write_text("".join(f"{quoted(str(key))} = {toml(item)}\n" for key, item in rows), encoding="utf-8")
    ended = run(["plan", "--matrix", str(file), "--device", "cpu", "--engine", "venv"], file.parent)
    assert ended.out if ended.code == 0 else ended.err
