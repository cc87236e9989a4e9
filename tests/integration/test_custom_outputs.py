"""What custom kernels return, with real TensorFlow: every kind is compared, and what is refused names its line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.integration.conftest import RELEASE, RELEASES

if TYPE_CHECKING:
    from bench.suite.record import Record, Sample
    from tests.integration.conftest import Bench

SOURCE = """
import collections
import numpy as np
from bench.suite.kernels import Traced, kernel, normal

calls = []
Point = collections.namedtuple("Point", "x y")

def own(**facts):
    return kernel(family="own", exercises="x", shapes="x", dtypes="x", source="x", **facts)

def trained(tf, seed):
    model = tf.keras.Sequential([tf.keras.Input((4,)), tf.keras.layers.Dense(3), tf.keras.layers.Dense(1)])
    model.compile("adam", "mse", run_eagerly=True)  # compiling it would take most of the time
    model.fit(normal(seed, (8, 4)), normal(seed, (8, 1), 1), batch_size=4, verbose=0, shuffle=False)
    return model

class Extension:
    made = None

    def __new__(cls, tf, **fields):
        if cls.made is None:
            space = {"__annotations__": {"a": tf.Tensor, "n": int, "t": tf.DType}, "__module__": __name__}
            cls.made = type("Pair", (tf.experimental.ExtensionType,), space)
        return cls.made(**fields)

def kinds(tf, seed):
    x = tf.constant(normal(seed, (3,)))
    k = seed % 3 + 1
    variant = tf.raw_ops.OptionalFromValue(components=[x, tf.constant("a")])
    return {
        "string": lambda: tf.strings.as_string(x),
        "ragged": lambda: tf.RaggedTensor.from_row_lengths(x, [1, 2]),
        "sparse": lambda: tf.sparse.from_dense([[0, seed]]),
        "slices": lambda: tf.IndexedSlices(x, tf.constant([0, 1, 2])),
        "optional": lambda: tf.experimental.Optional.from_value({"a": x}),
        "variant": lambda: variant,
        "tensor_list": lambda: tf.raw_ops.TensorListFromTensor(tensor=x, element_shape=tf.constant([], tf.int32)),
        "extension": lambda: Extension(tf, a=x, n=1, t=tf.float32),
        "named_tuple": lambda: Point(x, [x, {"z": x}]),
        "element": lambda: next(iter(tf.data.Dataset.from_tensor_slices({"a": x, "b": [1, 2, 3]}))),
        "bfloat16": lambda: tf.cast(x, tf.bfloat16),
        "number": lambda: float(x[0]),
        "variable": lambda: tf.Variable(x),
        "operator": lambda: tf.linalg.LinearOperatorDiag(x),
        "weights": lambda: trained(tf, seed).get_weights(),
        "model": lambda: trained(tf, seed),
        "optimizer": lambda: trained(tf, seed).optimizer,
    }

@own(call_again=False)
def every_kind(tf, seed):
    build = kinds(tf, seed)
    return lambda: {name: value() for name, value in build.items()}

@own(call_again=False)
def whole_weights(tf, seed):
    return lambda: trained(tf, seed).get_weights()

@own(call_again=False)
def whole_model(tf, seed):
    return lambda: trained(tf, seed)

@own()
def names_of_variables(tf, seed):
    return lambda: {getattr(v, "path", v.name): v for v in trained(tf, 0 * seed + 1).weights} | {
        "x": normal(seed, (2,))}

@own()
def seeded_training(tf, seed):
    return lambda: {"weights": trained(tf, seed).get_weights()}

@own(call_again=True)
def counts_its_calls(tf, seed):
    variable = tf.Variable(float(seed))
    return lambda: {"y": variable.assign_add(1.0)}

@own()
def changes_from_the_third_call_on(tf, seed):
    x = normal(seed, (3,))
    def work():
        calls.append(1)
        return {"y": x + (len(calls) > 2)}
    return work

@own()
def later_call_raises(tf, seed):
    rest = [tf.constant(float(seed))]
    return lambda: {"y": rest.pop()}

@own()
def returns_nothing(tf, seed):
    def work():
        tf.constant(1.0)
    return work

@own()
def returns_text(tf, seed):
    def work():
        loss = 0.5
        return "loss"  # this line
    return work

@own()
def returns_a_dataset(tf, seed):
    return lambda: {"batches": tf.data.Dataset.range(3)}  # this line

@own()
def returns_no_work(tf, seed):
    return {"x": tf.constant(1.0)}  # this line

@own()
def returns_a_resource(tf, seed):
    return lambda: {"handle": tf.Variable(1.0).handle}  # this line

@own()
def returns_the_variant_of_a_dataset(tf, seed):
    return lambda: {"v": tf.data.experimental.to_variant(tf.data.Dataset.range(3))}  # this line

@own()
def uses_the_global_generator(tf, seed):
    return lambda: {"y": tf.random.get_global_generator().normal([3])}

@own()
def raises_a_subclass(tf, seed):
    class MyError(tf.errors.UnimplementedError):
        pass
    def work():
        raise MyError(None, None, "not here")
    return work
"""

KINDS = (
    "string", "ragged", "sparse", "slices", "optional", "variant", "tensor_list", "extension", "named_tuple", "element",
    "bfloat16", "number", "variable", "operator", "weights", "model", "optimizer",
)  # fmt: skip
COMPARED = ("every_kind", "whole_weights", "whole_model", "names_of_variables")
REFUSED = {
    "returns_nothing": "work() returned None, but must return a mapping",
    "returns_text": "work() returned a str, but must return a mapping",
    "returns_a_dataset": "output 'batches' is a _RangeDataset, which tfrepro cannot compare: return some",
    "returns_no_work": "returns_no_work(tf, seed) returned a dict, but must return a function",
    "returns_a_resource": "output 'handle' is a tensor of type resource, which tfrepro cannot compare",
    "returns_the_variant_of_a_dataset": "output 'v' is a tensor of type variant, which tfrepro cannot compare",
}


@pytest.fixture(params=RELEASES)
def custom(benches: dict[str, Bench], request: pytest.FixtureRequest) -> Bench:
    """A bench of each release with the kernels of this file."""
    return benches[request.param].with_kernel_file("outputs.py", SOURCE)


def of(record: Record, kernel: str, role: str = "repetition") -> list[Sample]:
    return [sample for sample in record.samples if (sample.kernel, sample.role) == (kernel, role)]


def test_every_kind_of_output_is_compared(custom: Bench) -> None:
    record = custom.run(COMPARED, second_seed=True)
    assert {outcome.kernel: outcome.message for outcome in record.outcomes if outcome.outcome != "ok"} == {}
    for name in COMPARED:
        own = {sample.digest for sample in of(record, name)}
        assert len(own) == 1, name
        assert of(record, name, "second-seed")[0].digest not in own, name
    first, other = (of(record, "every_kind", role)[0].outputs for role in ("repetition", "second-seed"))
    for kind in KINDS:
        parts = [name for name in first if re.split(r"[\[/]", name)[0] == kind]
        assert parts, f"{kind} is not among {sorted(first)}"
        assert any(first[name]["digest"] != other[name]["digest"] for name in parts), kind


@pytest.mark.parametrize("custom", [RELEASE], indirect=True)
def test_what_cannot_be_compared_is_refused_with_name_type_and_line(custom: Bench) -> None:
    record = custom.run(list(REFUSED), second_seed=False)
    lines = SOURCE.splitlines()
    for outcome in record.outcomes:
        assert outcome.outcome == "failed", outcome
        assert outcome.message.startswith(REFUSED[outcome.kernel])
        line = lines[int(outcome.where.removeprefix("outputs.py, line ")) - 1]
        assert "this line" in line or (outcome.kernel == "returns_nothing" and "def work" in line)
    assert len(record.outcomes) == len(REFUSED)


@pytest.mark.parametrize("custom", [RELEASE], indirect=True)
def test_a_later_call_is_made_without_a_new_seed(custom: Bench) -> None:
    record = custom.run(["seeded_training", "counts_its_calls", "later_call_raises"], second_seed=False)
    assert {outcome.outcome for outcome in record.outcomes} == {"ok"}
    for name in ("seeded_training", "counts_its_calls"):
        own = {sample.digest for sample in of(record, name)}
        assert len(own) == 1
        assert {sample.digest for sample in of(record, name, "later-call")}.isdisjoint(own)
    assert len(of(record, "seeded_training")) == 3, "one more shows that a new seed restores the bits"
    assert not of(record, "later_call_raises", "later-call")


@pytest.mark.parametrize("custom", [RELEASE], indirect=True)
def test_a_state_that_no_seed_resets_is_nondeterminism_although_repetitions_agree(custom: Bench) -> None:
    record = custom.run(["changes_from_the_third_call_on"], repetitions=2, second_seed=False)
    digests = [sample.digest for sample in of(record, "changes_from_the_third_call_on")]
    assert len(digests) == 3
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("custom", [RELEASE], indirect=True)
def test_the_global_generator_is_what_a_user_has(custom: Bench) -> None:
    off = custom.run(["uses_the_global_generator", "generator_global", "raises_a_subclass"], second_seed=False)
    # the second call of the custom kernel differs, so one more repetition is taken
    for name, repetitions in (("uses_the_global_generator", 3), ("generator_global", 2)):
        samples = of(off, name)
        assert len({sample.digest for sample in samples}) == len(samples) == repetitions
    on = custom.run(["uses_the_global_generator", "generator_global"], second_seed=False, mode="on")
    for outcome in on.outcomes:
        assert (outcome.outcome, outcome.error_class) == ("error", "RuntimeError")
        assert '"get_global_generator" cannot be called if determinism is enabled' in outcome.message
    raised = next(outcome for outcome in off.outcomes if outcome.kernel == "raises_a_subclass")
    assert raised.error_class == "UnimplementedError"
