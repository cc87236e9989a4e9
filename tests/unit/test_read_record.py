"""The fast reader of records gives the same as the format's own reader, or leaves the record to it."""

from __future__ import annotations

import lzma
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.store.read_record import UNREADABLE, read_lines, read_pair, read_record
from bench.suite import paired_record, record
from tests.unit import factory
from tests.unit.test_import import text as record_text

if TYPE_CHECKING:
    from pathlib import Path

TEXT = record_text(next(iter(factory.run(factory.info(schema=record.SCHEMA)).records.values())))


def written(tmp_path: Path, text: str, name: str = "off-001.jsonl.xz") -> Path:
    path = tmp_path / name
    content = text.encode("utf-8", "surrogatepass")
    path.write_bytes(lzma.compress(content) if name.endswith(".xz") else content)
    return path


def result(read: object, path: Path) -> object:
    """The record as text, because NaN differs from itself, or the error; integers count as floats."""
    try:
        return re.sub(r"=(-?\d+)(?=[,)])", r"=\1.0", repr(read(path)))  # type: ignore[operator]
    except UNREADABLE as error:
        return type(error), str(error)


@pytest.mark.parametrize("name", ["off-001.jsonl.xz", "off-001.jsonl"])
def test_a_record_is_the_same(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, TEXT, name)
    assert read_record(path) == record.read(path)
    assert read_record(path).samples[0].outputs


def test_records_of_the_sample_are_the_same(root: Path) -> None:
    for path in sorted((root / "reports" / "sample" / "records").rglob("*-001.jsonl.xz"))[:6]:
        assert result(read_record, path) == result(record.read, path)
    for path in sorted((root / "reports" / "sample" / "paired").rglob("*-001.jsonl.xz"))[:2]:
        assert result(read_pair, path) == result(paired_record.read, path)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"line": "sample"', '"line": {}', "'line'"),
        ('"expect": {}', '"expect": {"keras": 3}', "'request.expect.keras'"),
        ('"mode": "off"', '"mode": null', "'request.mode'"),
        ('"repetition": 0', '"repetition": null', "'repetition'"),
    ],
)
def test_a_field_of_another_type_is_named_with_its_line(tmp_path: Path, old: str, new: str, reason: str) -> None:
    assert old in TEXT
    path = written(tmp_path, TEXT.replace(old, new, 1))
    with pytest.raises(record.RecordError) as caught:
        read_record(path)
    number = TEXT[: TEXT.index(old)].count("\n") + 1
    assert f"off-001.jsonl.xz, line {number}: {reason}: Input" in str(caught.value)


CHANGES = {
    "cut off": TEXT[:-30],
    "cut off in the middle": TEXT[: len(TEXT) // 2],
    "no end": TEXT[: TEXT.rindex('{"line": "end"') if '{"line": "end"' in TEXT else TEXT.rindex("{")],
    "empty": "",
    "header only": TEXT.split("\n")[0] + "\n",
    "no header": TEXT.partition("\n")[2],
    "another schema": TEXT.replace(f'"schema": {record.SCHEMA}', '"schema": 2'),
    "unknown kind": TEXT + '{"line": "moon"}\n',
    "unknown field": TEXT.replace('"role": "repetition"', '"role": "repetition", "moon": 1', 1),
    "missing field": TEXT.replace('"role": "repetition", ', "", 1),
    "blank lines": TEXT.replace("\n", "\n\n"),
    "no JSON": TEXT.replace("{", "(", 1),
    "two objects on a line": TEXT.replace("}\n{", "},{", 1),
    "an object over two lines": TEXT.replace(", ", "\n", 1),
    "too deep": "[" * 100_000,
    "a list": "[]\n" + TEXT,
    "a lone surrogate": TEXT.replace('"kernel": "', '"kernel": "\\ud800', 1),
    "last line without a kind": TEXT.rstrip("\n").replace('"line": "end"', '"lane": "end"'),
    "an integer for a float": TEXT.replace('"first_s": 0.', '"first_s": 10', 1),
    "NaN": TEXT.replace('"load": ', '"load": NaN, "x": ', 1),
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_irregular_record_has_the_same_result(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, CHANGES[name])
    assert result(read_record, path) == result(record.read, path)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), new=st.sampled_from('"{}[],: \n0x'))
def test_a_damaged_character_has_the_same_result(tmp_path: Path, place: float, new: str) -> None:
    at = int(place * len(TEXT))
    path = written(tmp_path, TEXT[:at] + new + TEXT[at + 1 :])
    assert result(read_record, path) == result(record.read, path)


def test_lines_are_counted(tmp_path: Path) -> None:
    assert read_lines(written(tmp_path, "")) == []
    assert read_lines(written(tmp_path, '{"a": 1}\n{"b": 2}\n')) == [{"a": 1}, {"b": 2}]
    with pytest.raises(ValueError, match="exactly one JSON value"):
        read_lines(written(tmp_path, '{"a": 1},{"b": 2}\n'))
