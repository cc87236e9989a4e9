"""The record: round trip, truncated files, and error messages for invalid ones."""

from __future__ import annotations

import dataclasses
import json
import lzma
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.suite import record
from bench.suite.record import SCHEMA, Request

if TYPE_CHECKING:
    from pathlib import Path

OUTPUTS = {"x": {"dtype": "float32", "shape": [2], "digest": "f" * 16, "nan": 0, "inf": 0, "device": "CPU:0"}}
GPU_STATE = {"throttled": False, "clock_mhz": [1980, 1980]}
DIFFERENCE: dict[str, Any] = {"step": None, "tensor": "x", "index": [1], "first": "1.0", "other": "2.0", "outputs": {}}


def sample(**changes: Any) -> dict[str, Any]:
    body = {
        "process": 1, "kernel": "k", "role": "repetition", "repetition": 0, "seed": 42, "digest": "d", "setup_s": 0.1,
        "first_s": 0.1, "first_cpu_s": 0.1, "load": 0.5, "switches": 3,
    }  # fmt: skip
    return {**body, **changes}


def lines() -> list[str]:
    request = Request(
        column="c", mode="on", variation="default", round=1, kernels=("k", "l"), repetitions={"k": 2, "l": 1},
        kernel_files={"own": "f00d/own.py"}, inter=1, devices=2,
        tf32=False, threads=3, env={"A": "b"}, context={"run": "r"}, device="gpu",
        libraries={"libcudart.so.12": "nvidia-cuda-runtime-cu12==12.5.82"}, gpu={"uuid": "GPU-0", "cuda": "12040"},
    )  # fmt: skip
    values = {"process": 1, "kernel": "k", "digest": "d", "outputs": OUTPUTS, "errors": {"x": {"max": 0.1, "rms": 0.2}}}
    return [
        record.line("header", {"schema": SCHEMA, "request": json.loads(request.to_json()), "suite_hash": "s"}),
        record.line("process", {"process": 1, "pid": 1, "started": "", "provenance": {}, "settings": {"tf32": False}}),
        record.line("kernel", {"process": 1, "kernel": "k"}),
        record.line("values", values),
        record.line("kept", {"process": 1, "kernel": "k", "digest": "d", "tensors": []}),
        record.line("sample", sample()),
        record.line("sample", sample(repetition=1, digest="e", first_difference=DIFFERENCE)),
        record.line("sample", sample(role="later-call")),
        record.line("guard", {"process": 1, "kernel": "k", "role": "later-call", "repetition": 0, "seen": GPU_STATE}),
        record.line("outcome", {
            "process": 1, "kernel": "k", "outcome": "ok", "seconds": 1.0, "peak_mb": 612.5, "peak_gpu_mb": 96.5,
        }),
        record.line("kernel", {"process": 1, "kernel": "l"}),
        record.line("outcome", {
            "process": 1, "kernel": "l", "outcome": "error", "seconds": 1.0, "error_class": "ValueError",
            "message": "no", "where": "own.py, line 7", "peak_mb": None,
        }),
        record.line("loaded", {"process": 1, "libraries": {"libtensorflow_cc": "2"}}),
        record.line("end", {"seconds": 2.0, "processes": 1}),
    ]  # fmt: skip


def test_a_record_is_parsed() -> None:
    found = record.parse(lines())
    assert (found.complete, found.seconds, found.suite_hash) == (True, 2.0, "s")
    assert found.request.kernels == ("k", "l")
    assert found.request.repetitions == {"k": 2, "l": 1}
    assert (found.request.kernel_files, found.request.tf32, found.request.threads) == ({"own": "f00d/own.py"}, False, 3)
    assert [
        (outcome.kernel, outcome.outcome, outcome.where, outcome.peak_mb, outcome.peak_gpu_mb)
        for outcome in found.outcomes
    ] == [
        ("k", "ok", "", 612.5, 96.5),
        ("l", "error", "own.py, line 7", None, None),
    ]
    assert (found.request.device, found.request.gpu["cuda"]) == ("gpu", "12040")
    assert found.processes[0].settings == {"tf32": False}
    assert found.processes[0].libraries == {"libtensorflow_cc": "2"}


def test_values_are_attached_to_the_samples_of_their_digest() -> None:
    first, second, again = record.parse(lines()).samples
    assert first.outputs == again.outputs == OUTPUTS
    assert first.errors == {"x": {"max": 0.1, "rms": 0.2}}
    assert (second.outputs, second.errors) == ({}, {}), "there is no values line for this digest"
    assert (first.first_difference, second.first_difference) == (None, DIFFERENCE)
    assert [sample.role for sample in (first, second, again)] == ["repetition", "repetition", "later-call"]


def test_the_gpu_state_is_attached_only_to_its_sample() -> None:
    first, second, again = record.parse(lines()).samples
    assert (first.guard, second.guard, again.guard) == (None, None, GPU_STATE)


def test_a_record_without_gpu_fields_has_their_defaults() -> None:
    rows = [json.loads(text) for text in lines()]
    for key in ("device", "libraries", "gpu"):
        del rows[0]["request"][key]
    for row in rows:
        row.pop("peak_gpu_mb", None)
    found = record.parse(json.dumps(row) for row in rows if row["line"] != "guard")
    assert (found.request.device, found.request.libraries, found.request.gpu) == ("cpu", {}, {})
    assert [sample.guard for sample in found.samples] == [None] * 3
    assert [outcome.peak_gpu_mb for outcome in found.outcomes] == [None] * 2
    assert found.complete


@pytest.mark.parametrize(("schema", "version"), record.READERS.items())
def test_a_record_of_an_earlier_schema_names_the_version_that_reads_it(schema: int, version: str) -> None:
    header = {**json.loads(lines()[0]), "schema": schema}
    with pytest.raises(record.RecordError, match=f"read it with tfrepro {version}, or measure again"):
        record.parse([json.dumps(header)])


@pytest.mark.parametrize("other", [{"process": 2}, {"kernel": "l"}, {"digest": "e"}])
def test_values_of_another_process_kernel_or_digest_are_not_attached(other: dict[str, Any]) -> None:
    texts = [record.line("sample", sample(**other)), *lines()]
    texts[0], texts[1] = texts[1], texts[0]
    assert record.parse(texts).samples[0].outputs == {}


def without_guards(found: record.Record) -> list[record.Sample]:
    return [dataclasses.replace(sample, guard=None) for sample in found.samples]


@given(st.integers(1, 4000))
def test_a_truncated_record_is_read_up_to_the_cut_or_rejected(cut: int) -> None:
    text = "".join(lines())
    whole = record.parse(lines())
    place = min(cut, len(text) - 2)
    try:
        found = record.parse(text[:place].splitlines(keepends=True))
    except record.RecordError:
        assert place < len(lines()[0]), "a truncated record is rejected only without its header"
        return
    assert not found.complete
    assert without_guards(found) == without_guards(whole)[: len(found.samples)], "the GPU state is in a later line"
    assert list(found.outcomes) == list(whole.outcomes)[: len(found.outcomes)]
    assert len(found.samples) == text[:place].count("\n", text.index('"line": "sample"')) or len(found.samples) <= 3


def test_a_cut_between_lines_loses_nothing_before_it() -> None:
    for number in range(1, len(lines())):
        found = record.parse(lines()[:number])
        kinds = [json.loads(text)["line"] for text in lines()[:number]]
        assert (len(found.samples), len(found.outcomes)) == (kinds.count("sample"), kinds.count("outcome"))


@pytest.mark.parametrize("compressed", [False, True])
def test_plain_and_compressed_files_are_read(tmp_path: Path, compressed: bool) -> None:  # noqa: FBT001
    path = tmp_path / ("off-001.jsonl.xz" if compressed else "off-001.jsonl")
    data = "".join(lines()).encode()
    path.write_bytes(lzma.compress(data) if compressed else data)
    assert record.read(path) == record.parse(lines())


def test_a_damaged_compressed_file_raises_the_documented_errors(tmp_path: Path) -> None:
    path = tmp_path / "off-001.jsonl.xz"
    path.write_bytes(lzma.compress("".join(lines()).encode())[:-30])
    with pytest.raises(EOFError):
        record.read(path)
    path.write_bytes(b"no xz")
    with pytest.raises(lzma.LZMAError):
        record.read(path)


@pytest.mark.parametrize(
    ("schema", "shown"), [(SCHEMA + 1, str(SCHEMA + 1)), (1, "1"), ("two", "'two'"), (None, "None"), ([], "[]")]
)
def test_an_unsupported_schema_is_rejected_with_advice(schema: object, shown: str) -> None:
    header = {**json.loads(lines()[0]), "schema": schema}
    with pytest.raises(record.RecordError) as caught:
        record.parse([json.dumps(header), '{"line": "of an unknown kind"}', lines()[-1]], "rec.jsonl")
    assert f"rec.jsonl has schema {shown}, but this version reads schema {SCHEMA}" in str(caught.value)
    assert "measure again" in str(caught.value)


def changed(place: int, **values: Any) -> list[str]:
    row = json.loads(lines()[place])
    for key, value in values.items():
        if value is ...:
            del row[key]
        else:
            row[key] = value
    return [*lines()[:place], json.dumps(row) + "\n", *lines()[place + 1 :]]


@pytest.mark.parametrize(
    "broken",
    [
        ["nonsense\n", *lines()],
        lines()[1:],
        [*lines()[:2], '{"line": "whatever"}\n', lines()[-1]],
        [lines()[0], "[1]\n", lines()[-1]],
        [lines()[0], '{"no": "line"}\n', lines()[-1]],
        ["\0\0\0\n", lines()[-1]],
        [],
        changed(0, request=...),
        changed(0, request={"column": "c"}),
        changed(0, request=[]),
        changed(0, suite_hash=...),
        changed(1, pid=...),
        changed(3, digest=...),
        changed(3, process=[1]),
        changed(5, digest=...),
        changed(5, steady_s=[0.1]),
        changed(5, dagest="x"),
        changed(8, seen=...),
        changed(8, process=[1]),
        changed(9, outcome=...),
        changed(12, libraries=...),
        changed(13, seconds="soon"),
    ],
)
def test_invalid_lines_are_rejected(broken: list[str]) -> None:
    with pytest.raises(record.RecordError, match="rec"):
        record.parse(broken, "rec.jsonl")


@given(st.integers(0, len(lines()) - 1), st.recursive(st.none() | st.integers() | st.text(max_size=3), st.lists))
def test_arbitrary_values_are_read_or_rejected(place: int, junk: Any) -> None:
    row = json.loads(lines()[place])
    for key in [key for key in row if key != "line"]:
        texts = [*lines()[:place], json.dumps({**row, key: junk}), *lines()[place + 1 :]]
        try:
            record.parse(texts, "rec")
        except record.RecordError as error:
            assert str(error).startswith("rec")  # noqa: PT017 - not every value is rejected


def test_nan_cannot_be_written_to_a_record() -> None:
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="Out of range"):
            record.line("sample", {"first_s": value})


def test_a_request_is_one_line_of_json() -> None:
    request = record.parse(lines()).request
    assert "\n" not in request.to_json()
    assert Request.from_json(request.to_json()) == request
    with pytest.raises(TypeError):
        Request.from_json(json.dumps({**dataclasses.asdict(request), "later": 1}))
