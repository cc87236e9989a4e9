"""Kept values: positions, encoding and decoding, the limits of a run, and damaged files."""

from __future__ import annotations

import json
import lzma
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bench.portable.value_limits import DIGEST_LIMIT, GROUP_LIMIT, ValueLimits, kept_files
from bench.store.kept_values import StoredValues, load_stored_values
from bench.suite.digest import SHORT, collect, digest
from bench.suite.distance import numbers
from bench.suite.kept_values import OF_OUTPUT, OF_STEP, decode_tensor, encode_tensors, keep, positions
from bench.suite.kernels import Traced
from bench.suite.record import line

if TYPE_CHECKING:
    from pathlib import Path

Array = np.ndarray[Any, Any]


def round_trip(row: dict[str, Any]) -> Any:
    return decode_tensor(json.loads(json.dumps(row)))


@given(st.integers(1, 10**9), st.integers(1, 200))
def test_positions_are_ascending_limited_and_always_the_same(size: int, most: int) -> None:
    found = positions(size, most) if size > most else positions(most, most)
    assert len(found) <= most
    assert (np.diff(found) > 0).all()
    assert 0 <= found[0] <= found[-1] < max(size, most)
    assert (found == (positions(size, most) if size > most else np.arange(most))).all()


def test_positions_come_from_the_frozen_generator() -> None:
    assert positions(1000, 4).tolist() == sorted(set(np.random.RandomState(1000).randint(0, 1000, 4).tolist()))
    assert positions(4, 4).tolist() == [0, 1, 2, 3]
    assert len(positions(1_000_000, OF_OUTPUT)) > OF_OUTPUT - 5, "nearly as many as allowed"


@given(
    hnp.arrays(
        st.sampled_from(["float16", "float32", "float64", "int8", "int64", "bool", "complex64"]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=9),
    ),
    st.integers(1, 150),
    st.one_of(st.none(), st.integers(1, 40)),
)
def test_every_kept_element_is_decoded_at_its_index(array: Array, most: int, step: int | None) -> None:
    found = round_trip(keep("x", step, array, "d" * SHORT, most))
    assert (found.name, found.step, found.dtype, found.shape) == ("x", step, array.dtype.name, array.shape)
    assert (found.size, found.whole) == (array.size, array.size <= most)
    values = found.raw.view(array.dtype)
    assert len(values) == len(positions(array.size, most)) <= most
    for place, value in enumerate(values):
        assert value.tobytes() == array[found.index(place)].tobytes()
    if found.whole:
        assert values.tobytes() == array.tobytes()


def test_bfloat16_is_supported() -> None:
    array = np.array([[1.5, -0.0], [np.nan, 3.0]], ml_dtypes.bfloat16)
    found = round_trip(keep("x", None, array, "d", OF_OUTPUT))
    values, _ = numbers(found.dtype, found.raw)
    np.testing.assert_array_equal(values.reshape(2, 2), array.astype("float64"))


def test_steps_come_first_and_keep_fewer_elements() -> None:
    big = np.arange(1000, dtype="float32")
    result = collect(Traced({"weight": big}, [{"loss": np.float32(1), "gradient": big}, {"loss": np.float32(2)}]))
    rows = [round_trip(row) for row in encode_tensors(result, digest(result))]
    assert [(row.step, row.name) for row in rows] == [(1, "loss"), (1, "gradient"), (2, "loss"), (None, "weight")]
    assert [row.most for row in rows] == [OF_STEP, OF_STEP, OF_STEP, OF_OUTPUT]
    assert rows[0].index(0) == ()
    facts = digest(result)
    assert rows[-1].digest == facts.outputs["weight"]["digest"]
    assert rows[1].digest == facts.steps[0]["gradient"][:SHORT]
    # equal tensors have equal digests, so a comparison can skip them
    assert rows[0].digest != rows[2].digest


@pytest.mark.parametrize(
    "damage", [{"values": "no base64!"}, {"values": None}, {"shape": 3}, {"most": "x"}, {"name": ...}, {"values": ...}]
)
def test_a_damaged_row_is_rejected_and_omitted(damage: dict[str, Any]) -> None:
    row = keep("x", None, np.zeros(3), "d", 4)
    broken = {key: value for key, value in {**row, **damage}.items() if value is not ...}
    with pytest.raises((KeyError, TypeError, ValueError)):
        decode_tensor(broken)
    whole = StoredValues(rows={("k", "d"): (row,), ("k", "e"): (row, broken)})
    assert len(whole.tensors("k", "d")) == 1
    assert whole.tensors("k", "e") == ()
    assert whole.tensors("other", "d") == ()


requests = st.lists(
    st.tuples(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["default", "t"]), st.sampled_from(["off", "on"])),
        st.sampled_from(["k", "l", "m"]),
        st.sampled_from("123456"),
        st.one_of(st.integers(1, 1000), st.integers(GROUP_LIMIT // 3, GROUP_LIMIT * 2)),
    ),
    max_size=60,
)


class TestKeeper:
    """A digest is kept once per column, and never more than the limits allow."""

    @given(requests)
    def test_limits_are_never_exceeded_and_never_applied_too_early(self, requested: list[Any]) -> None:
        keeper = ValueLimits()
        known: Counter[tuple[str, str, str]] = Counter()
        spent: dict[Any, int] = defaultdict(int)
        digests: Counter[Any] = Counter()
        for group, kernel, name, size in requested:
            expected = (
                not known[group[0], kernel, name]
                and digests[group, kernel] < DIGEST_LIMIT
                and spent[group] + size <= GROUP_LIMIT
            )
            assert keeper.accepts(group, kernel, name, size) is expected
            if expected:
                known[group[0], kernel, name] += 1
                spent[group] += size
                digests[group, kernel] += 1
        assert max(known.values(), default=0) <= 1
        assert all(total <= GROUP_LIMIT for total in spent.values())

    def test_the_other_mode_keeps_only_what_is_new(self) -> None:
        keeper = ValueLimits()
        assert keeper.accepts(("c", "default", "off"), "k", "d", 10)
        assert not keeper.accepts(("c", "default", "on"), "k", "d", 10)
        assert not keeper.accepts(("c", "onednn=0", "off"), "k", "d", 10)
        assert keeper.accepts(("c", "default", "on"), "k", "e", 10)
        assert keeper.accepts(("other", "default", "on"), "k", "d", 10), "each column can be read on its own"
        assert keeper.accepts(("c", "default", "off"), "l", "d", 10)

    def test_a_nondeterministic_kernel_does_not_use_up_the_limit_of_others(self) -> None:
        keeper = ValueLimits()
        group = ("c", "default", "off")
        assert sum(keeper.accepts(group, "k", str(number), 10) for number in range(100)) == DIGEST_LIMIT
        assert keeper.accepts(group, "l", "d", 10)


class TestLoading:
    """A damaged file of kept values is listed with a reason; the other files are still read."""

    def put(self, folder: Path, name: str, *rows: dict[str, Any]) -> Path:
        path = folder / "records" / "c" / "default" / f"{name}.kept.xz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lzma.compress("".join(line("kept", row) for row in rows).encode()))
        return path

    def row(self, name: str, value: float) -> dict[str, Any]:
        return {"kernel": "k", "digest": name, "tensors": [keep("x", None, np.full(500, value), name, OF_OUTPUT)]}

    def test_all_files_are_read(self, tmp_path: Path) -> None:
        self.put(tmp_path, "off-001", self.row("a", 1.0), self.row("b", 2.0))
        self.put(tmp_path, "on-001", self.row("c", 3.0))
        found = load_stored_values(tmp_path)
        assert [file.name for file in kept_files(tmp_path)] == ["off-001.kept.xz", "on-001.kept.xz"]
        assert {key for _, key in found.rows} == {"a", "b", "c"}
        assert found.problems == {}
        values, _ = numbers("float64", found.tensors("k", "b")[0].raw)
        assert set(values) == {2.0}

    @pytest.mark.parametrize("harm", ["cut", "flipped", "text", "other lines", "no tensors", "not utf-8", "empty"])
    def test_a_damaged_file_is_named_and_the_others_are_read(self, tmp_path: Path, harm: str) -> None:
        good = self.put(tmp_path, "off-001", self.row("a", 1.0))
        bad = self.put(tmp_path, "on-001", self.row("b", 2.0))
        whole = good.read_bytes()
        harmed = {
            "cut": whole[:-20],
            "flipped": whole[:60] + bytes([whole[60] ^ 255]) + whole[61:],
            "text": b"not compressed",
            "other lines": lzma.compress(b"[1]\n"),
            "no tensors": lzma.compress(b'{"line": "kept", "kernel": "k", "digest": "b"}\n'),
            "not utf-8": lzma.compress(b"\xff\xfe\n"),
            "empty": b"",
        }
        bad.write_bytes(harmed[harm])
        found = load_stored_values(tmp_path)
        assert found.tensors("k", "a")
        assert not found.tensors("k", "b")
        assert list(found.problems) == ["records/c/default/on-001.kept.xz"]
        assert found.problems["records/c/default/on-001.kept.xz"]

    def test_a_run_without_any_has_none(self, tmp_path: Path) -> None:
        assert load_stored_values(tmp_path) == StoredValues()
