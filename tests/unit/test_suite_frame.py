"""The suite as it can be seen without TensorFlow: declarations, digests, records, timing."""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import sys
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bench.plan import locks
from bench.suite import installed, record, timing
from bench.suite.digest import KEPT, arrays, digest, same_bits
from bench.suite.identity import HOUSE, suite_files
from bench.suite.kernels import FAMILIES, all_kernels, kernel

if TYPE_CHECKING:
    from pathlib import Path

numbers = hnp.arrays(
    st.sampled_from(["float32", "float64", "int32", "uint8", "bool", "complex64"]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=1),
)


def test_every_kernel_declares_all_it_must() -> None:
    kernels = all_kernels()
    assert {"seeded_mlp", "matmul_mean", "reduce_sum_1d", "unsorted_segment_sum", "variable_scatter_add"} <= set(
        kernels
    )
    assert {"conv2d_bwd_filter", "sparse_xent", "data_pipeline", "control_flicker", "control_integer"} <= set(kernels)
    for one in kernels.values():
        facts = one.declaration()
        assert all(facts[key] for key in ("name", "family", "exercises", "shapes", "dtypes", "source")), facts
        assert one.family in FAMILIES
        assert len(one.source_hash()) == 64
        json.dumps(facts)


def test_there_is_a_control_of_either_kind() -> None:
    assert {one.control for one in all_kernels().values()} == {"", "must-differ", "must-not-differ"}


def test_two_kernels_of_one_name_are_refused() -> None:
    all_kernels()

    def reduce_sum_1d(tf: Any, seed: int) -> Any:
        raise NotImplementedError

    with pytest.raises(ValueError, match="two kernels are named"):
        kernel(family="x", exercises="x", shapes="x", dtypes="x", source="x")(reduce_sum_1d)


@pytest.mark.parametrize("relative", suite_files(), ids=str)
def test_the_suite_knows_nothing_of_the_house_and_reads_as_python_3_9(relative: Path) -> None:
    tree = ast.parse((HOUSE / relative).read_text(encoding="utf-8"), feature_version=(3, 9))
    allowed = {*sys.stdlib_module_names, "numpy", "tensorflow"}
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            assert name.split(".")[0] in allowed or name.startswith("bench.suite"), name


@given(numbers)
def test_a_digest_is_a_function_of_the_bytes(array: np.ndarray[Any, Any]) -> None:
    assert digest({"x": array}).hexadecimal == digest({"x": array.copy()}).hexadecimal
    if array.ndim > 1:  # memory order is no part of it
        assert digest({"x": array}).hexadecimal == digest({"x": np.asfortranarray(array)}).hexadecimal


@given(numbers, st.data())
def test_one_flipped_bit_changes_the_digest(array: np.ndarray[Any, Any], data: st.DataObject) -> None:
    raw = bytearray(array.tobytes())
    place = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[place // 8] ^= 1 << (place % 8)
    other = np.frombuffer(bytes(raw), dtype=array.dtype if array.dtype != bool else "uint8").reshape(array.shape)
    assert digest({"x": array}).hexadecimal != digest({"x": other}).hexadecimal


def test_name_dtype_shape_and_sign_of_zero_count() -> None:
    x = np.zeros(4, "float32")
    others: list[dict[str, Any]] = [
        {"y": x}, {"x": x.astype("int32")}, {"x": x.reshape(2, 2)}, {"x": -x}, {"x": x, "y": x}, {"x": np.float32(0)},
    ]  # fmt: skip
    found = {digest(outputs).hexadecimal for outputs in [{"x": x}, *others]}
    assert len(found) == 7


def test_the_order_of_outputs_does_not_count() -> None:
    a, b = np.arange(3), np.arange(4)
    assert digest({"a": a, "b": b}).hexadecimal == digest({"b": b, "a": a}).hexadecimal


def test_nan_and_infinity_are_counted_and_values_kept() -> None:
    found = digest({"x": np.array([np.nan, np.inf, -np.inf, 0.1], "float32"), "n": np.arange(100)})
    assert (found.outputs["x"]["nan"], found.outputs["x"]["inf"]) == (1, 2)
    assert found.kept["x"] == ("nan", "inf", "-inf", "0.10000000149011612")
    assert len(found.kept["n"]) == KEPT


def test_nan_is_seen_in_types_that_numpy_does_not_know() -> None:
    found = digest({"x": np.array([np.nan, 1.0], dtype=ml_dtypes.bfloat16)})
    assert found.outputs["x"]["nan"] == 1


class TestInstalled:
    """Every file of an environment is held against its wheel's record."""

    def site(self, tmp_path: Path) -> Path:
        (tmp_path / "six.py").write_bytes(b"x = 1\n")
        info = tmp_path / "six-1.17.0.dist-info"
        info.mkdir()
        value = base64.urlsafe_b64encode(hashlib.sha256(b"x = 1\n").digest()).rstrip(b"=").decode()
        (info / "RECORD").write_text(f"six.py,sha256={value},6\nsix-1.17.0.dist-info/RECORD,,\n", encoding="utf-8")
        return tmp_path

    def test_an_untouched_one_is_fine(self, tmp_path: Path) -> None:
        found = installed.check(self.site(tmp_path))
        assert (found["distributions"], found["problems"]) == ({"six": "1.17.0"}, [])

    def test_an_edit_a_loss_and_a_foreign_file_are_named(self, tmp_path: Path) -> None:
        site = self.site(tmp_path)
        (site / "six.py").write_bytes(b"x = 2\n")
        assert installed.check(site)["problems"] == ["six.py of six is not what its wheel held"]
        (site / "six.py").unlink()
        assert installed.check(site)["problems"] == ["six.py of six is not what its wheel held"]
        (site / "sitecustomize.py").write_bytes(b"")
        assert "sitecustomize.py belongs to no distribution" in installed.check(site)["problems"]


@pytest.mark.parametrize("outputs", [{}, {"x": np.array([])}, {"x": np.array([object()])}])
def test_nothing_to_compare_is_refused(outputs: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        digest(outputs)


def test_steady_calls_are_bounded() -> None:
    assert timing.steady(lambda: 1, 0.0, lambda _: True) == (None, [])
    assert len(timing.steady(lambda: 1, 1e-9, lambda _: True)[1]) == timing.FEWEST
    assert len(timing.steady(lambda: 1, 1e9, lambda _: True)[1]) == timing.MOST


@given(st.integers(0, timing.MOST - 1))
def test_a_single_other_call_is_seen(other: int) -> None:
    calls = iter(range(timing.MOST))
    assert timing.steady(lambda: next(calls), 1e9, lambda call: call != other)[0] is False


@given(numbers)
def test_same_bits_is_what_the_digest_says(array: np.ndarray[Any, Any]) -> None:
    one = arrays({"x": array})
    for other in (
        {"x": array.copy()},
        {"x": array.reshape(-1)},
        {"y": array},
        {"x": -array} if array.dtype != bool else {},
    ):
        if other:
            same = digest({"x": array}).hexadecimal == digest(other).hexadecimal
            assert same_bits(one, arrays(other)) is same


def lines() -> list[str]:
    request = record.Request(cell="c", mode="on", condition="default", round=1, kernels=("k", "l"), repeats=1)
    sample = {
        "process": 1, "kernel": "k", "role": "repeat", "repeat": 0, "seed": 42, "digest": "d", "outputs": {},
        "kept": {"x": ["1.0"]}, "setup_s": 0.1, "first_s": 0.1, "first_cpu_s": 0.1, "steady_s": [0.1],
        "steady_cpu_s": [0.1], "steady_agrees": True, "load": 0.5,
    }  # fmt: skip
    return [
        record.line("header", {"schema": 1, "request": json.loads(request.to_json()), "suite_hash": "s"}),
        record.line("process", {"process": 1, "pid": 1, "started": "", "provenance": {}, "settings": {}}),
        record.line("kernel", {"process": 1, "kernel": "k"}),
        record.line("sample", sample),
        record.line("outcome", {"process": 1, "kernel": "k", "outcome": "ok", "seconds": 1.0}),
        record.line("end", {"seconds": 2.0, "processes": 1}),
    ]


def test_a_record_comes_back() -> None:
    found = record.parse(lines())
    assert found.complete
    assert found.request.kernels == ("k", "l")
    assert found.samples[0].kept == {"x": ("1.0",)}
    assert {one.kernel: one.outcome for one in found.outcomes} == {"k": "ok"}


@given(st.integers(1, 2000))
def test_a_record_cut_anywhere_is_read_as_far_as_it_goes_or_refused(cut: int) -> None:
    text = "".join(lines())
    try:
        found = record.parse(text[: min(cut, len(text) - 2)].splitlines(keepends=True))
    except record.RecordError:
        return
    assert not found.complete
    assert len(found.samples) <= 1


@pytest.mark.parametrize(
    "broken",
    [
        ["nonsense\n", *lines()],
        lines()[1:],
        [lines()[0].replace('"schema": 1', '"schema": 2')],
        [*lines()[:2], '{"line": "whatever"}\n', lines()[-1]],
        [lines()[0], lines()[3].replace('"digest"', '"dagest"'), lines()[-1]],
        [lines()[0], "[1]\n", lines()[-1]],
        ["\0\0\0\n", lines()[-1]],
    ],
)
def test_foreign_lines_are_refused_in_a_sentence(broken: list[str]) -> None:
    with pytest.raises(record.RecordError, match="rec"):
        record.parse(broken, "rec.jsonl")


def test_no_nan_gets_into_a_record() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        record.line("sample", {"first_s": float("nan")})


def test_the_shipped_locks_hold_hashes_and_no_addresses(house: Path) -> None:
    files = sorted((house / "docker" / "locks").glob("*.txt"))
    assert len(files) >= 3
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert "://" not in text
        assert "--index" not in text
        pinned = locks.pins(file)
        assert text.count("==") == len(pinned)
        assert all("--hash=sha256:" in block for block in text.split("==")[1:])
        assert {"keras", "numpy", "protobuf", "tensorflow-cpu"} <= set(locks.expected(file))
