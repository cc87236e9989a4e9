"""What a kernel may return: every kind of output becomes arrays, and the rest is refused by name."""

from __future__ import annotations

import dataclasses
from collections import namedtuple
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bench.suite.digest import collect, digest, same_bits, with_names_of
from bench.suite.first_difference import find_first_difference
from bench.suite.kept_values import decode_tensor, encode_tensors
from bench.suite.kernels import Traced
from bench.suite.outputs import OutputError, leaves

X = np.arange(4, dtype="float32")
Point = namedtuple("Point", "x y")  # noqa: PYI024 - user code has untyped ones


class IndexedSlices(SimpleNamespace):
    """Has the attributes of TensorFlow's class, by whose name it is recognized."""


class SparseTensor(SimpleNamespace):
    """As above."""


class RaggedTensor(SimpleNamespace):
    """As above."""


class Optional(SimpleNamespace):
    """An optional of ``tf.data``."""

    def has_value(self) -> bool:
        return self.value is not None

    def get_value(self) -> Any:
        return self.value


class Variable:
    """A variable as Keras and TensorFlow have it."""

    def __init__(self, name: str, array: np.ndarray[Any, Any]) -> None:
        self.name = name
        self.array = array

    def numpy(self) -> np.ndarray[Any, Any]:
        return self.array


class Model(SimpleNamespace):
    """A Keras model."""

    def get_weights(self) -> list[np.ndarray[Any, Any]]:
        return [variable.numpy() for variable in self.variables]


class Table:
    """A table with an index and values, of which NumPy sees the values only."""

    def __array__(self, *_: Any, **__: Any) -> np.ndarray[Any, Any]:
        return X


class Tracker:
    """An object of the user with a method that happens to be called like that of a tensor."""

    def numpy(self) -> np.ndarray[Any, Any]:
        return X


@dataclasses.dataclass
class Pair:
    a: Any
    b: Any


def compare(first: Any, other: Any) -> bool:
    """Whether two values have the same digest; the fast comparison must agree."""
    a, b = collect(first), collect(other)
    same = digest(a).hexadecimal == digest(b).hexadecimal
    assert same_bits(a, b) is same
    return same


def names(value: Any) -> list[str]:
    return [leaf.name for leaf in leaves(value)]


def padded(byte: int) -> np.ndarray[Any, Any]:
    array = np.empty(2, np.longdouble)
    array.view(np.uint8)[:] = byte
    array[:] = [1, 2]
    return array


SAME: dict[str, tuple[Any, Any]] = {
    "memory order": (np.asfortranarray(X.reshape(2, 2)), X.reshape(2, 2)),
    "byte order": (X.astype(">f4"), X),
    "strides": (np.arange(8, dtype="float32")[::2] / 2, X),
    "padding of long doubles": (padded(7), padded(9)),
    "padding of complex long doubles": (padded(7).astype(np.clongdouble), padded(9).astype(np.clongdouble)),
    "subclass": (X.view(type("Sub", (np.ndarray,), {})), X),
    "order of keys": ({"a": X, "b": -X}, {"b": -X, "a": X}),
    "list and tuple": ([X, -X], (X, -X)),
    "both names of int64": (np.arange(3, dtype="q"), np.arange(3, dtype="l")),
    "model": (Model(variables=[Variable("dense_1/kernel:0", X)]), Model(variables=[Variable("dense_2/kernel:0", X)])),
}  # fmt: skip

MASK = [False, False, False, True]
DIFFERENT: dict[str, tuple[Any, Any]] = {
    "byte order": (X.view(">f4"), X),
    "mask": (np.ma.masked_array(X, MASK), np.ma.masked_array(X, MASK[::-1])),
    "value to fill masked elements with": (
        np.ma.masked_array(X, MASK, fill_value=1), np.ma.masked_array(X, MASK, fill_value=2)
    ),
    "mask or none": (np.ma.masked_array(X, MASK), X),
    "datetime unit": (np.array([1, 2], "M8[s]"), np.array([1, 2], "M8[ms]")),
    "timedelta unit": (np.array([1, 2], "m8[s]"), np.array([1, 2], "m8[2s]")),
    "text": (np.array(["ab", "cd"]), np.array(["ab", "ce"])),
    "text, NUL at its end": ("a", "a\0"),
    "text and bytes": ("a", b"a"),
    "texts": (["a", "bc"], ["ab", "c"]),
    "objects of text": (np.array(["a", "b"], object), np.array(["a", "c"], object)),
    "NUL in bytes of a string tensor": (np.array([b"a"], object), np.array([b"a\0"], object)),
    "long text": ("a" * 1000, "a" * 999 + "b"),
    "text that imitates a shortened one": ("a" * 300, "a" * 128 + "0" * 64),
    "void": (np.array([b"ab"], "V2"), np.array([b"ac"], "V2")),
    "bool and int8": (np.array([True]), np.array([1], "i1")),
    "dtype": (X, X.view("int32")),
    "shape": (X, X.reshape(2, 2)),
    "sign of zero": (X * 0.0, X * -0.0),
    "numbers": (0.1, 0.1 + 1e-17 * 4),
    "big integers": (2**70, 2**70 + 1),
    "type of numbers": (1, 1.0),
    "list, its length": ([X, X], [X, X, X]),
    "list, its order": ([X, -X], [-X, X]),
    "list of numbers": ([0.5, 0.25], [0.5, 0.5]),
    "list or array": ([1.0, 2.0], np.array([1.0, 2.0])),
    "empty list": ({"a": X, "b": []}, {"a": X}),
    "nested": ({"a": {"b": [X, {"c": X}]}}, {"a": {"b": [X, {"d": X}]}}),
    "nested names": ({"a": {"b": X}}, {"a/b": X}),
    "named tuple or tuple": (Point(X, X), (X, X)),
    "named tuple": (Point(X, -X), Point(-X, X)),
    "dataclass": (Pair(X, [X]), Pair(X, [-X])),
    "values of slices": (IndexedSlices(indices=X, values=X, dense_shape=None),
                         IndexedSlices(indices=X, values=-X, dense_shape=None)),
    "indices of slices": (IndexedSlices(indices=X, values=X, dense_shape=None),
                          IndexedSlices(indices=X[::-1], values=X, dense_shape=None)),
    "shape of sparse": (SparseTensor(indices=X, values=X, dense_shape=[4]),
                        SparseTensor(indices=X, values=X, dense_shape=[5])),
    "sparse or slices": (SparseTensor(indices=X, values=X, dense_shape=[4]),
                         IndexedSlices(indices=X, values=X, dense_shape=[4])),
    "row splits": (RaggedTensor(flat_values=X, nested_row_splits=(np.array([0, 1, 4]),)),
                   RaggedTensor(flat_values=X, nested_row_splits=(np.array([0, 2, 4]),))),
    "optional": (Optional(value=X), Optional(value=-X)),
    "no optional": ({"x": X, "y": Optional(value=None)}, {"x": X, "y": Optional(value=X)}),
    "integers that NumPy would round": ([2**63 + 4096, -1], [2**63 + 4097, -1]),
    "a number in a name": ({"best_fold_3": X}, {"best_fold_7": X}),
    "variables": (Model(variables=[Variable("kernel", X)]), Model(variables=[Variable("kernel", -X)])),
    "variables of the optimizer": (
        Model(variables=[Variable("kernel", X)], optimizer=SimpleNamespace(variables=[Variable("momentum", X)])),
        Model(variables=[Variable("kernel", X)], optimizer=SimpleNamespace(variables=[Variable("momentum", -X)])),
    ),
    "weights of two layers": ({"dense_1/kernel": X, "dense_2/kernel": -X}, {"dense_1/kernel": -X, "dense_2/kernel": X}),
    "one more layer": ({"dense_1/kernel": X}, {"dense_1/kernel": X, "dense_2/kernel": X}),
}  # fmt: skip
#: Outputs of a first and a later call; with other automatic numbers they are the same variables.
LATER_SAME: dict[str, tuple[Any, Any]] = {
    "numbers of layers": ({"dense_1/kernel": X, "dense_2/kernel": -X}, {"dense_3/kernel": X, "dense_4/kernel": -X}),
    "first layer of a session": ({"m/dense/kernel": X, "m/dense_1/kernel": -X},
                                 {"m_2/dense_9/kernel": X, "m_2/dense_10/kernel": -X}),
    "optimizer": ({"adam/dense_1_kernel_momentum": X}, {"adam/dense_7_kernel_momentum": X}),
    "steps": (Traced({"x": X}, [{"dense/kernel": X}]), Traced({"x": X}, [{"dense_1/kernel": X}])),
}  # fmt: skip
LATER_DIFFERENT: dict[str, tuple[Any, Any]] = {
    "values": ({"dense_1/kernel": X, "dense_2/kernel": -X}, {"dense_3/kernel": -X, "dense_4/kernel": X}),
    "one more layer": ({"dense_1/kernel": X}, {"dense_2/kernel": X, "dense_3/kernel": X}),
    "another name": ({"dense_1/kernel": X}, {"dense_2/bias": X}),
    "one more step": (Traced({"x": X}, [{"dense/k": X}]), Traced({"x": X}, [{"dense_1/k": X}, {"dense_1/k": -X}])),
}


@pytest.mark.parametrize("pair", SAME.values(), ids=SAME)
def test_what_has_no_meaning_does_not_count(pair: tuple[Any, Any]) -> None:
    assert compare({"y": pair[0]}, {"y": pair[1]})
    assert compare(*pair)
    if not isinstance(pair[0], Model):  # no step may hold one
        assert compare(Traced({"x": X}, [{"y": pair[0]}]), Traced({"x": X}, [{"y": pair[1]}]))


@pytest.mark.parametrize("pair", LATER_SAME.values(), ids=LATER_SAME)
def test_a_later_call_may_have_other_automatic_numbers(pair: tuple[Any, Any]) -> None:
    first, later = map(collect, pair)
    assert digest(with_names_of(first, later)).hexadecimal == digest(first).hexadecimal
    assert digest(later).hexadecimal != digest(first).hexadecimal, "a repetition has a session of its own"


@pytest.mark.parametrize("pair", LATER_DIFFERENT.values(), ids=LATER_DIFFERENT)
def test_a_later_call_that_differs_otherwise_stays_different(pair: tuple[Any, Any]) -> None:
    first, later = map(collect, pair)
    assert digest(with_names_of(first, later)).hexadecimal != digest(first).hexadecimal


@pytest.mark.parametrize("pair", DIFFERENT.values(), ids=DIFFERENT)
def test_whatever_differs_has_another_digest(pair: tuple[Any, Any]) -> None:
    assert not compare({"y": pair[0]}, {"y": pair[1]})
    assert compare({"y": pair[0]}, {"y": pair[0]})
    if not isinstance(pair[0], Model):
        assert not compare(Traced({"x": X}, [{"y": pair[0]}]), Traced({"x": X}, [{"y": pair[1]}]))


def test_a_key_is_not_its_text() -> None:
    assert not compare({1: X}, {"1": X})
    assert not compare({0: X}, [X])


#: Nested values of NumPy arrays, as a kernel may return them.
arrays = hnp.arrays(
    st.sampled_from(["float32", "int64", ">f4", "bool", "complex64", "U3", "M8[s]"]), hnp.array_shapes(max_side=3)
)
nested = st.recursive(
    st.one_of(arrays, st.floats(allow_nan=False), st.text(max_size=3), st.binary(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)),
    max_leaves=6,
)


def fingerprint(value: Any) -> Any:
    """A value for ``==`` that tells apart what the digest must tell apart, written independently of it."""
    if isinstance(value, np.ndarray):
        native = value.astype(value.dtype.newbyteorder("="))
        return "array", native.dtype.str, native.shape, native.tobytes()
    if isinstance(value, dict):
        return "mapping", sorted((key, fingerprint(part)) for key, part in value.items())
    if isinstance(value, list):
        return "list", [fingerprint(part) for part in value]
    return type(value).__name__, value.hex() if isinstance(value, float) else value


@given(nested, nested)
def test_digests_are_equal_exactly_if_the_values_are(first: Any, other: Any) -> None:
    always = {"always": X}
    same = compare({**always, "y": first}, {**always, "y": other})
    assert same is (fingerprint(first) == fingerprint(other))
    assert compare({**always, "y": first}, {**always, "y": first})


@given(arrays)
def test_copies_in_any_layout_and_byte_order_are_the_same(array: np.ndarray[Any, Any]) -> None:
    assert compare({"y": array}, {"y": np.asfortranarray(array)})
    assert compare({"y": array}, {"y": array.astype(array.dtype.newbyteorder())})


def test_a_live_buffer_is_copied() -> None:
    buffer = X.copy()
    value = {"x": buffer, "y": Variable("v", buffer), "z": [buffer, {"a": np.ma.masked_array(buffer, MASK)}]}
    first = collect(value)
    before = digest(first).hexadecimal
    buffer += 1
    assert digest(first).hexadecimal == before
    assert not same_bits(first, collect(value))


def test_names_say_where_an_output_came_from() -> None:
    assert names({"a": {"b": [X, {"c": X}]}, "d": Point(X, X)}) == ["a/b[0]", "a/b[1]/c", "d/x", "d/y"]
    assert names([X] * 11)[:2] == ["00", "01"]
    assert names(X) == ["output"]
    assert names({"a/b": X, "a": {"b": X}}) == ["a/b", "a/b'"]
    model = Model(variables=[Variable("dense_2/kernel:0", X), Variable("dense_2/bias:0", X)])
    assert names(model) == ["0 kernel", "1 bias"]
    assert names({"model": model, "m": model.get_weights()}) == ["model[0 kernel]", "model[1 bias]", "m[0]", "m[1]"]
    assert names(SimpleNamespace(variables=lambda: model.variables)) == ["0 kernel", "1 bias"], "an optimizer"
    trained = Model(variables=model.variables, optimizer=SimpleNamespace(variables=[Variable("adam/momentum_3", X)]))
    assert names(trained) == ["0 kernel", "1 bias", "2 optimizer/momentum"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, r"work\(\) returned None, but must return a mapping of names to tensors, for example"),
        ("loss", r"work\(\) returned a str, but must return a mapping"),
        (b"loss", r"work\(\) returned a bytes, but must"),
        ((x for x in [X]), r"work\(\) returned a generator, but must"),
        (object(), r"work\(\) returned an object, which tfrepro cannot compare: return tensors"),
        ({"y": X, "z": None}, r"output 'z' is None, which tfrepro cannot compare: leave it out"),
        ({"gradients": [X, None]}, r"output 'gradients\[1\]' is None"),
        ({"y": (x for x in [X])}, r"output 'y' is a generator, which tfrepro cannot compare: return a list"),
        ({"y": {1, 2}}, r"output 'y' is a set, which tfrepro cannot compare: return a sorted list"),
        ({"y": object()}, r"output 'y' is an object, which tfrepro cannot compare"),
        ({"y": print}, r"output 'y' is a builtin_function_or_method"),
        ({"y": dict}, r"output 'y' is a class dict"),
        ({"y": Model(variables=[])}, r"output 'y' is a Model"),
        ({"y": Table()}, r"output 'y' is a Table, which tfrepro cannot compare: return its parts as arrays"),
        ({"y": Tracker()}, r"output 'y' is a Tracker, which tfrepro cannot compare: return its parts as arrays"),
        ({"y": np.array([object()])}, r"output 'y' holds Python objects \(an object\), not numbers"),
        ({"y": np.array([(1, 2.0)], "i4,f4")}, r"output 'y' is an array of records"),
        ({"a": {"b": [object()]}}, r"output 'a/b\[0\]' is an object"),
        ({object(): X}, r"work\(\) has an object as a name: use text"),
        ({}, "no outputs"),
        ([], "no outputs"),
        ({"y": X[:0]}, "output 'y' is empty"),
        ({"y": Optional(value=None)}, "output 'y' is empty"),
        (Traced({"y": X}, 3), "the steps of a Traced are a int"),  # type: ignore[arg-type]
        (Traced({"y": X}, [{"loss": object()}]), "output 'loss' is an object"),
        (Traced({"y": X}, [{"v": Variable("v", X)}]), "output 'v' of a step is a Variable, whose value is read after"),
        (Traced({"y": X}, [{"m": Model(variables=[Variable("v", X)])}]), "output 'm' of a step is a Model"),
    ],
)
def test_anything_else_is_refused_with_its_name_and_type(value: Any, message: str) -> None:
    with pytest.raises(OutputError, match=message):
        collect(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = [X]
    loop.append(loop)
    with pytest.raises(OutputError, match="nested more than 64 deep"):
        collect({"y": loop})


def test_a_mapping_that_computes_its_values_is_read_once() -> None:
    reads = []

    class Lazy(Mapping[str, Any]):
        def __getitem__(self, key: str) -> Any:
            reads.append(key)
            return X + len(reads)

        def __iter__(self) -> Any:
            return iter(["a"])

        def __len__(self) -> int:
            return 1

    result = collect(Lazy())
    assert digest(result).hexadecimal == digest(result).hexadecimal
    assert reads == ["a"]


def test_values_are_kept_and_compared_for_every_kind() -> None:
    value = {"t": np.array([b"ab", b"cd"], object), "e": X[:0], "d": np.array([1, 2], "M8[s]"), "v": np.void(b"ab")}
    result = collect(value)
    kept = [decode_tensor(row) for row in encode_tensors(result, digest(result))]
    assert [tensor.name for tensor in kept] == ["t", "d", "v"], "an empty array has no values"
    for name, other, texts in (
        ("t", np.array([b"ab", b"ce"], object), ("'cd'", "'ce'")),
        ("d", np.array([1, 3], "M8[s]"), ("1970-01-01T00:00:02", "1970-01-01T00:00:03")),
    ):
        found = find_first_difference(result, collect({**value, name: other}))
        assert found is not None
        assert (found["tensor"], found["index"], (found["first"], found["other"])) == (name, [1], texts)


def test_the_first_difference_is_found_under_other_automatic_names() -> None:
    first = collect({"dense/kernel": X})
    other = with_names_of(first, collect({"dense_1/kernel": X + 1}))
    found = find_first_difference(first, other)
    assert found is not None
    assert found["tensor"] == "dense/kernel"
    assert set(found["outputs"]) == {"dense/kernel"}
