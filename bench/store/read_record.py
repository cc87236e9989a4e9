"""Read the records of a run quickly: a page or a comparison reads a hundred thousand samples.

``bench.suite.record`` defines the format and remains the reader for everything irregular. It decodes line by line and
runs on hosts that only have the standard library; this module decodes a whole file at once with pydantic's parser,
which also checks the types of all fields (``bench.store.record_lines``): what is read has only what a worker can write.
"""

from __future__ import annotations

import dataclasses
import gc
import lzma
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic_core import from_json

from bench.regular_file import read_bytes
from bench.store.record_lines import check_lines, typed_rows
from bench.suite import paired_record, record
from bench.suite.paired_record import PairedKernel, PairedRecord, SideProcess
from bench.suite.record import Outcome, Process, Record, Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from bench.store.record_lines import Kind

T = TypeVar("T")
#: What reading a record can raise; RecursionError where it nests too deep.
UNREADABLE = (record.RecordError, OSError, lzma.LZMAError, EOFError, RecursionError)
#: Fields of a sample that come from other lines of the record.
_FROM_OTHER_LINES = frozenset({"guard", "outputs", "errors"})
_ALL = frozenset(field.name for field in dataclasses.fields(Sample)) - _FROM_OTHER_LINES | {"line"}
#: What a sample line may have: ``first_difference`` is left out where there is none.
_SAMPLE_LINES = (_ALL - {"first_difference"}, _ALL)


@contextmanager
def paused_garbage_collection() -> Iterator[None]:
    """Pause the cyclic garbage collector, which would traverse a million new objects many times and find nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def read_lines(path: Path) -> list[Any]:
    """Return the JSON values of all lines of a compressed or plain file; raises ValueError where one is not JSON."""
    text = _text(path)
    # a newline inside a JSON text is always escaped, so every other one separates two lines
    rows: list[Any] = from_json(f"[{text.replace(chr(10), ',')}]")
    if len(rows) != text.count("\n") + bool(text):
        raise ValueError("a line does not hold exactly one JSON value")
    return rows


def read_record(path: Path) -> Record:
    """Read one record file, compressed (``.xz``) or not; raises one of ``UNREADABLE``."""
    text = _text(path)
    try:
        return _record(typed_rows(text, "round"))
    except (ValueError, KeyError, IndexError):
        return _irregular(text, path.name, "round", record.parse)


def read_pair(path: Path) -> PairedRecord:
    """Read the record of a pair, compressed (``.xz``) or not; raises one of ``UNREADABLE``."""
    text = _text(path)
    try:
        return _pair(typed_rows(text, "pair"))
    except (ValueError, KeyError, IndexError):
        return _irregular(text, path.name, "pair", paired_record.parse)


def _irregular(text: str, name: str, kind: Kind, parse: Callable[[Iterable[str], str], T]) -> T:
    """Read a record that is cut off, of another schema, or damaged: the format's own reader decides and explains.

    Raises RecordError where that reader refuses it, or a field has a type that no worker writes.
    """
    lines = text.splitlines(keepends=True)
    try:
        found = parse(lines, name)
    except (TypeError, KeyError, AttributeError, ArithmeticError) as error:
        check_lines(lines, kind, name)
        raise record.RecordError(f"{name}: {type(error).__name__}: {error}") from error
    check_lines(lines, kind, name)
    return found


def _text(path: Path) -> str:
    content = read_bytes(path)
    return (lzma.decompress(content) if path.suffix == ".xz" else content).decode("utf-8", "replace").rstrip("\n")


def _record(rows: list[dict[str, Any]]) -> Record:
    """Build a record from its lines; raises KeyError, IndexError or ValueError unless they are exactly as specified."""
    kinds = ("process", "kernel", "values", "kept", "sample", "guard", "outcome", "loaded", "end")
    header, by_kind = _by_kind(rows, kinds)
    libraries = {row["process"]: row["libraries"] for row in by_kind["loaded"]}
    end = by_kind["end"]
    return Record(
        request=header["request"],
        suite_hash=header["suite_hash"],
        processes=tuple(
            Process(**_fields(row), libraries=libraries.get(row["process"], {})) for row in by_kind["process"]
        ),
        samples=_samples(by_kind),
        outcomes=tuple(Outcome(**_fields(row)) for row in by_kind["outcome"]),
        complete=bool(end),
        seconds=end[0]["seconds"] if end else 0.0,
    )


def _pair(rows: list[dict[str, Any]]) -> PairedRecord:
    """Build the record of a pair, as ``_record`` does that of a round."""
    header, by_kind = _by_kind(rows, ("process", "loaded", "kernel", "end"))
    kernels = tuple(PairedKernel(**{**_fields(row), "blocks": tuple(row["blocks"])}) for row in by_kind["kernel"])
    times = (times for kernel in kernels for block in kernel.blocks for times in (block.seconds, block.cpu_seconds))
    if header["comparison"] not in paired_record.COMPARISONS or not all(map(_are_times, times)):
        raise ValueError("not a comparison, or not a time")
    libraries = {row["process"]: row["libraries"] for row in by_kind["loaded"]}
    end = by_kind["end"]
    return PairedRecord(
        **{key: header[key] for key in ("comparison", "number", "started_first", "suite_hash")},
        requests={side: header["requests"][side] for side in ("a", "b")},
        processes=tuple(
            SideProcess(**_fields(row), libraries=libraries.get(number, {}))
            for number, row in enumerate(by_kind["process"], 1)
        ),
        kernels=kernels,
        complete=bool(end),
        seconds=end[0]["seconds"] if end else 0.0,
        budget_s=header.get("budget_s", 0.0),
    )


def _are_times(seconds: Sequence[float]) -> bool:
    """Whether all numbers are seconds. A run has half a million: looping over each would take as long as reading."""
    return math.isfinite(sum(seconds)) and min(seconds, default=0) >= 0


def _by_kind(
    rows: list[dict[str, Any]], kinds: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Return the header and the lines of each kind; raises ValueError or KeyError where the header is not the first."""
    if rows[0]["line"] != "header" or rows[0]["schema"] != record.SCHEMA:
        raise ValueError("not a header of this schema")
    by_kind: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    for row in rows[1:]:
        by_kind[row["line"]].append(row)
    return rows[0], by_kind


def _fields(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "line"}


def _samples(by_kind: dict[str, list[dict[str, Any]]]) -> tuple[Sample, ...]:
    """Build the samples of a record.

    The constructor of a frozen dataclass sets each of the 19 fields in a call of its own, which takes longer than
    decoding them. So the names are compared, and the decoded row becomes the sample's ``__dict__``.
    """
    values = {(row["process"], row["kernel"], row["digest"]): row for row in by_kind["values"]}
    guards = {(row["process"], row["kernel"], row["role"], row["repetition"]): row["seen"] for row in by_kind["guard"]}
    samples = []
    for row in by_kind["sample"]:
        if row.keys() not in _SAMPLE_LINES:
            raise ValueError("fields of a sample are missing or unknown")
        del row["line"]
        row.setdefault("first_difference", None)
        process, kernel = row["process"], row["kernel"]
        row["guard"] = guards.get((process, kernel, row["role"], row["repetition"])) if guards else None
        facts = values.get((process, kernel, row["digest"]), {})
        row["outputs"], row["errors"] = facts.get("outputs", {}), facts.get("errors", {})
        sample = object.__new__(Sample)
        object.__setattr__(sample, "__dict__", row)
        samples.append(sample)
    return tuple(samples)
