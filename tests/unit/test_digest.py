"""Digests, their fast equivalent ``same_bits``, and the first difference of two calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bench.suite.digest import SHORT, TRAIL, Result, collect, digest, same_bits
from bench.suite.first_difference import find_first_difference
from bench.suite.kernels import Traced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Arrays = dict[str, np.ndarray[Any, Any]]

DTYPES = st.sampled_from(["float16", "float32", "float64", "int8", "int32", "int64", "uint8", "bool", "complex64"])
numbers = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=5))
#: Few values and shapes, so that two drawn calls are often, but not always, equal.
few = st.one_of(
    hnp.arrays("float32", st.sampled_from([(), (2,), (1, 2)]), elements=st.sampled_from([0.0, -0.0, 1.0, np.nan])),
    hnp.arrays("int32", st.just((2,)), elements=st.integers(0, 1)),
)
calls = st.builds(
    Traced,
    st.dictionaries(st.sampled_from(["a", "b"]), few, min_size=1),
    st.lists(st.dictionaries(st.sampled_from(["loss", "weight"]), few, min_size=1), max_size=2),
)


def of(value: Any) -> str:
    return digest(collect(value)).hexadecimal


def flipped(array: np.ndarray[Any, Any], bit: int) -> np.ndarray[Any, Any]:
    raw = bytearray(array.tobytes())
    raw[bit // 8] ^= 1 << (bit % 8)
    return np.frombuffer(bytes(raw), dtype=array.dtype).reshape(array.shape)


class Tensor:
    """A stand-in for a TensorFlow tensor."""

    def __init__(self, array: np.ndarray[Any, Any], device: str) -> None:
        self._array = array
        self.shape = array.shape
        self.device = device

    def numpy(self) -> np.ndarray[Any, Any]:
        return self._array


@given(numbers)
def test_a_digest_is_a_function_of_the_bytes(array: np.ndarray[Any, Any]) -> None:
    assert of({"x": array}) == of({"x": array.copy()})
    # memory order does not matter
    assert of({"x": array}) == of({"x": np.asfortranarray(array).reshape(array.shape)})


@given(numbers, st.data())
def test_one_flipped_bit_changes_the_digest(array: np.ndarray[Any, Any], data: st.DataObject) -> None:
    if array.dtype == bool:
        array = array.view("uint8")
    other = flipped(array, data.draw(st.integers(0, array.nbytes * 8 - 1)))
    assert of({"x": array}) != of({"x": other})
    assert of(Traced({"x": np.int32(1)}, [{"y": array}])) != of(Traced({"x": np.int32(1)}, [{"y": other}]))
    assert not same_bits(collect({"x": array}), collect({"x": other}))


def test_name_dtype_shape_and_sign_of_zero_count() -> None:
    x = np.zeros(4, "float32")
    others: list[dict[str, Any]] = [
        {"y": x}, {"x": x.astype("int32")}, {"x": x.reshape(2, 2)}, {"x": -x}, {"x": x, "y": x}, {"x": np.float32(0)},
    ]  # fmt: skip
    assert len({of(outputs) for outputs in [{"x": x}, *others]}) == 7


def test_a_name_cannot_imitate_a_boundary() -> None:
    one, two = np.arange(2, dtype="uint8"), np.arange(3, dtype="uint8")
    values = [{"a": one, "b": two}, {"a": two, "b": one}, {"b": one, "a ": two}, {"a": one}]
    assert len({of(value) for value in values}) == 4
    found = {of(Traced({"x": one}, steps)) for steps in ([{"a": one}, {"b": two}], [{"a": one, "b": two}], [])}
    assert len(found) == 3


def test_the_order_of_outputs_does_not_matter_but_that_of_steps_does() -> None:
    a, b = np.arange(3), np.arange(4)
    assert of({"a": a, "b": b}) == of({"b": b, "a": a})
    assert of(Traced({"a": a}, [{"x": a}, {"x": b}])) != of(Traced({"a": a}, [{"x": b}, {"x": a}]))


@pytest.mark.parametrize("names", [("loss", "weight"), ("weight", "loss")])
def test_digest_and_same_bits_agree_on_the_order_within_a_step(names: tuple[str, str]) -> None:
    arrays = {"loss": np.float32(1), "weight": np.ones(3, "float32")}
    one = collect(Traced(arrays, [arrays]))
    other = collect(Traced(arrays, [{name: arrays[name] for name in names}]))
    assert same_bits(one, other) is (digest(one).hexadecimal == digest(other).hexadecimal)


def test_a_buffer_that_the_kernel_refills_is_copied() -> None:
    buffer = np.zeros(4, dtype=np.float32)
    first = collect(Traced({"x": buffer}, [{"loss": buffer}]))
    buffer += 1
    again = collect(Traced({"x": buffer}, [{"loss": buffer}]))
    assert not same_bits(first, again)
    assert digest(first).hexadecimal != digest(again).hexadecimal


def test_a_differing_step_changes_the_digest_even_if_outputs_agree() -> None:
    outputs = {"weight": np.ones(2, "float32")}
    found = [digest(collect(Traced(outputs, [{"loss": np.float32(value)}] * 2))) for value in (1.0, 2.0)]
    assert found[0].hexadecimal != found[1].hexadecimal
    assert found[0].outputs["weight"] == found[1].outputs["weight"]
    assert found[0].outputs[TRAIL]["digest"] != found[1].outputs[TRAIL]["digest"]
    assert found[0].outputs[TRAIL]["shape"] == [2]
    assert [set(step) for step in found[0].steps] == [{"loss"}, {"loss"}]
    assert TRAIL not in digest(collect(outputs)).outputs


@given(calls, calls)
def test_same_bits_agrees_with_the_digest(one: Traced, other: Traced) -> None:
    a, b = collect(one), collect(other)
    assert same_bits(a, b) is (digest(a).hexadecimal == digest(b).hexadecimal)
    assert same_bits(a, collect(one))


@given(numbers)
def test_same_bits_sees_shape_name_and_dtype(array: np.ndarray[Any, Any]) -> None:
    others: list[Mapping[str, Any]] = [{"x": array.reshape(-1)}, {"y": array}, {"x": array.reshape(-1).view("uint8")}]
    for other in others:
        assert same_bits(collect({"x": array}), collect(other)) is (of({"x": array}) == of(other))


def test_facts_include_nan_infinity_and_device() -> None:
    array = np.array([np.nan, np.inf, -np.inf, 0.1], "float32")
    found = digest(collect({"x": Tensor(array, "/job:localhost/replica:0/task:0/device:GPU:0"), "y": array}))
    assert (found.outputs["x"]["nan"], found.outputs["x"]["inf"]) == (1, 2)
    assert (found.outputs["x"]["device"], found.outputs["y"]["device"]) == ("GPU:0", "")
    assert (found.outputs["x"]["dtype"], found.outputs["x"]["shape"]) == ("float32", [4])
    assert len(found.outputs["x"]["digest"]) == SHORT
    trail = digest(collect(Traced({"x": np.int32(0)}, [{"loss": array}, {"loss": array}]))).outputs[TRAIL]
    assert (trail["nan"], trail["inf"]) == (2, 4)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, "complex64", "float16"])
def test_nan_is_detected_in_every_float_type(dtype: Any) -> None:
    found = digest(collect({"x": np.array([np.nan, 1.0], dtype=dtype)}))
    assert found.outputs["x"]["nan"] == 1


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({}, "no outputs"),
        ({"x": np.array([])}, "'x' is empty"),
        ({"x": np.array([object()])}, "Python objects"),
        (Traced({}, [{"loss": np.float32(1)}]), "no outputs"),
        (Traced({TRAIL: np.float32(1)}, [{"loss": np.float32(1)}]), "cannot have an output named 'trail'"),
        (Traced({"x": np.float32(1)}, [{"loss": np.array([])}]), "'loss' is empty"),
    ],
)
def test_results_without_values_are_rejected(value: Any, error: str) -> None:
    with pytest.raises((ValueError, TypeError), match=error):
        collect(value)


def test_an_output_may_be_named_trail_if_there_are_no_steps() -> None:
    assert set(digest(collect({TRAIL: np.float32(1)})).outputs) == {TRAIL}


def training(steps: Sequence[Mapping[str, Any]], **outputs: Any) -> Result:
    return collect(Traced({name: np.asarray(value) for name, value in outputs.items()}, steps))


class TestFirstDifference:
    """The first differing tensor and element, both values, and the distance of all outputs."""

    def test_equal_calls_have_none(self) -> None:
        one = training([{"loss": np.float32(1)}], x=1.0)
        assert find_first_difference(one, training([{"loss": np.float32(1)}], x=1.0)) is None

    def test_the_first_step_and_tensor_in_order_of_computation_are_reported(self) -> None:
        same = {"loss": np.float32(1), "gradient": np.zeros((2, 3), "float32"), "weight": np.zeros(3, "float32")}
        gradient: np.ndarray[Any, Any] = np.zeros((2, 3), "float32")
        gradient[1, 2] = 0.25
        gradient[1, 1] = -0.5
        steps = [same, {**same, "gradient": gradient, "weight": np.ones(3, "float32")}, {**same, "loss": np.float32(9)}]
        outputs = np.array([1.0, 2.0], "float32")
        found = find_first_difference(training([same] * 3, w=outputs, k=3), training(steps, w=outputs * 2, k=3))
        assert found is not None
        assert (found["step"], found["tensor"], found["index"]) == (2, "gradient", [1, 1])
        assert (found["first"], found["other"]) == ("0.0", "-0.5")
        assert (found["distance"]["elements"], found["distance"]["differing"]) == (6, 2)
        assert set(found["outputs"]) == {"w"}, "equal outputs have no distance"
        assert found["outputs"]["w"]["v_ermv"] == 1.0

    @given(hnp.arrays("float32", hnp.array_shapes(min_dims=0, max_dims=3), elements=st.floats(width=32)), st.data())
    def test_one_flipped_bit_is_found_at_its_position(self, array: np.ndarray[Any, Any], data: st.DataObject) -> None:
        bit = data.draw(st.integers(0, array.nbytes * 8 - 1))
        found = find_first_difference(collect({"x": array}), collect({"x": flipped(array, bit)}))
        assert found is not None
        place = np.unravel_index(bit // 32, array.shape)
        assert (found["step"], found["tensor"]) == (None, "x")
        assert found["index"] == [int(coordinate) for coordinate in place]
        values = [float(one[place]) for one in (array, flipped(array, bit))]
        np.testing.assert_equal([float(found["first"]), float(found["other"])], values)

    def test_the_imaginary_part_belongs_to_its_element(self) -> None:
        one = np.zeros((2, 2), "complex64")
        other = one.copy()
        other[1, 0] = 0.5j
        found = find_first_difference(collect({"x": one}), collect({"x": other}))
        assert found is not None
        assert (found["index"], found["first"], found["other"]) == ([1, 0], "0.0", "0.5")

    def test_large_integers_are_distinguished(self) -> None:
        one, other = np.array([2**53]), np.array([2**53 + 1])
        found = find_first_difference(collect({"x": one}), collect({"x": other}))
        assert found is not None
        assert (found["first"], found["other"]) == (str(2**53), str(2**53 + 1))

    def test_tensors_of_different_shapes_have_no_values_to_compare(self) -> None:
        assert find_first_difference(collect({"x": np.zeros(2)}), collect({"x": np.zeros(3)})) is None
        assert find_first_difference(collect({"x": np.zeros(2)}), collect({"y": np.ones(2)})) is None
        found = find_first_difference(
            collect({"x": np.zeros(2), "y": np.zeros(2)}), collect({"x": np.zeros(3), "y": np.ones(2)})
        )
        assert found is not None
        assert found["tensor"] == "y"

    def test_a_missing_step_does_not_hide_others(self) -> None:
        steps = [{"loss": np.float32(1)}, {"loss": np.float32(2)}]
        found = find_first_difference(training(steps, x=1.0), training([{"loss": np.float32(3)}], x=1.0))
        assert found is not None
        assert (found["step"], found["tensor"]) == (1, "loss")

    def test_nan_and_infinity_are_written_as_text(self) -> None:
        one, other = np.array([1.0, 2.0], "float32"), np.array([np.nan, np.inf], "float32")
        found = find_first_difference(collect({"x": one}), collect({"x": other}))
        assert found is not None
        assert (found["first"], found["other"]) == ("1.0", "nan")
        assert found["distance"]["nan_changes"] == found["distance"]["inf_changes"] == 1
