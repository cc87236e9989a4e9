"""Where samples part and how far they are apart, from records and from kept values, whole or damaged."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.store.kept_values import StoredValues
from bench.suite import kept_values
from bench.suite.distance import Distance
from bench.verdict import RunResults, Status, Verdict, difference, evaluate
from bench.verdict.tensor_diff import lines
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour, Change, Spot

if TYPE_CHECKING:
    from bench.store.run import Run

COLUMN = "tf2.18.1-cpu-py311@cpu"
FLAT: dict[str, Any] = dict(vars(Distance(10, 1, 0.1, 1e-7, 1e-7, 1.0, 1.0, 0, 0, 0)))


def f32(values: Any) -> np.ndarray[Any, Any]:
    return np.asarray(values, dtype="float32")


def only(acts: Any) -> Any:
    def behave(spot: Spot) -> Behaviour:
        if spot.kernel != "matmul":
            return EXACT
        found = acts(spot) if callable(acts) else acts
        assert isinstance(found, Behaviour)
        return found

    return behave


def of(evaluated: RunResults, mode: str = "on", column: str = COLUMN, variation: str = "default") -> Verdict:
    found = evaluated.of(column, "matmul", variation, mode)
    assert found is not None
    return found


def by_round(spot: Spot) -> Behaviour:
    return Behaviour(digests=("a" if spot.round < 4 else "b",))


def keeping(run: Run, *tensors: tuple[str, int | None, Any, Any], names: tuple[str, str] = ("a", "b")) -> Run:
    """The run with these tensors kept of two digests of matmul: name, step, and the arrays of both."""
    rows: dict[tuple[str, str], tuple[Any, ...]] = {}
    for place, text in enumerate(names):
        kept = []
        for name, step, *arrays in tensors:
            array = np.asarray(arrays[place])
            own = f"{factory.digest(f'{array.tobytes()!r} {array.shape}')}"
            kept.append(
                kept_values.keep(name, step, array, own if step is None else own[:16], 256 if step is None else 32)
            )
        rows["matmul", factory.digest(f"matmul {text}")] = tuple(kept)
    return dataclasses.replace(run, kept=StoredValues(rows=rows))


# --- inside a process -----------------------------------------------------------------------------------


def test_inside_a_process_the_record_tells_it_whole() -> None:
    found = of(evaluate(factory.run(None, only(Behaviour(digests=("a", "b"))))))
    assert found.status is Status.NONDETERMINISTIC
    apart = found.difference
    assert apart is not None
    assert (apart.whole, apart.kept_elements, apart.elements) == (True, 4096, 4096)
    assert (apart.first, apart.other) == ("round 1 repetition 0", "round 1 repetition 1")
    assert apart.outputs["out"].differing > 100
    assert apart.first_difference is not None
    assert (apart.first_difference.step, apart.first_difference.tensor) == (None, "out")
    assert len(apart.first_difference.index or ()) == 2
    assert apart.first_difference.first != apart.first_difference.other
    assert found.difference_why == ""


def difference_at(step: int | None, rel_max: float, tensor: str = "loss") -> dict[str, Any]:
    row = {**FLAT, "rel_max": rel_max}
    return {
        "step": step,
        "tensor": tensor,
        "index": [3],
        "first": "1.0",
        "other": "1.5",
        "distance": row,
        "outputs": {"out": row},
    }


def with_parted(run: Run, rows: dict[tuple[int, int], Any]) -> Run:
    """The run with other ``first_difference`` of matmul's repetitions, by (round, repetition); None for all others."""

    def change(one: Any) -> Any:
        number = one.request.round
        return dataclasses.replace(
            one,
            samples=tuple(
                dataclasses.replace(s, first_difference=rows.get((number, s.repetition))) if s.kernel == "matmul" else s
                for s in one.samples
            ),
        )

    return factory.changed(run, change, Change(mode="on"))


def test_the_worst_pair_is_measured_and_the_earliest_parting_named() -> None:
    run = factory.run(None, only(Behaviour(digests=("a", "b"))))
    rows = {(1, 1): difference_at(None, 0.1, "out"), (3, 1): difference_at(2, 0.5), (5, 1): difference_at(1, 0.3)}
    apart = of(evaluate(with_parted(run, rows))).difference
    assert apart is not None
    assert (apart.first, apart.other) == ("round 3 repetition 0", "round 3 repetition 1")
    assert apart.outputs["out"].rel_max == 0.5
    assert apart.first_difference is not None
    assert (apart.first_difference.step, apart.first_difference.tensor, apart.first_difference.index) == (
        1,
        "loss",
        (3,),
    )
    assert apart.first_difference.note == "round 5 repetition 0 and round 5 repetition 1 differ earliest"


@pytest.mark.parametrize(
    "row",
    [
        "text",
        {},
        {**difference_at(1, 0.5), "distance": None},
        {**difference_at(1, 0.5), "step": "one"},
        {**difference_at(1, 0.5), "index": 3},
        {**difference_at(1, 0.5), "index": ["x"]},
    ],
)
def test_damaged_words_of_a_record_are_passed_over(row: Any) -> None:
    run = factory.run(None, only(Behaviour(digests=("a", "b"))))
    apart = of(evaluate(with_parted(run, {(1, 1): row}))).difference
    assert apart is not None  # from kept values
    assert not apart.whole
    both = of(evaluate(with_parted(run, {(1, 1): row, (2, 1): difference_at(1, 0.5)}))).difference
    assert both is not None
    assert both.first == "round 2 repetition 0"
    outputs = of(evaluate(with_parted(run, {(1, 1): {**difference_at(1, 0.5), "outputs": ["out"]}}))).difference
    assert outputs is not None
    assert outputs.outputs == {}


def test_a_later_call_that_differs_is_compared_like_a_repetition() -> None:
    found = of(evaluate(factory.run(None, only(Behaviour(later_call="later")))))
    assert found.status is Status.NONDETERMINISTIC
    assert found.difference is not None
    assert (found.difference.first, found.difference.other) == ("round 1 repetition 0", "round 1 later call 0")


# --- across processes -----------------------------------------------------------------------------------


def test_across_processes_kept_values_are_compared() -> None:
    found = of(evaluate(factory.run(None, only(by_round))))
    assert found.status is Status.REPRODUCIBLE_IN_PROCESS
    apart = found.difference
    assert apart is not None
    assert (apart.whole, apart.elements) == (False, 4096)
    assert 200 < apart.kept_elements <= 256
    assert (apart.first, apart.other) == ("round 1 repetition 0", "round 4 repetition 0")
    assert apart.first_difference is not None
    assert apart.first_difference.index is not None
    one, two = (float(factory.array(factory.digest(f"matmul {text}"))[apart.first_difference.index]) for text in "ab")
    assert (float(apart.first_difference.first), float(apart.first_difference.other)) == (one, two)


def test_a_small_output_is_whole() -> None:
    run = keeping(factory.run(None, only(by_round)), ("out", None, f32([[1, 2], [3, 4]]), f32([[1, 2], [5, 4]])))
    apart = of(evaluate(run)).difference
    assert apart is not None
    assert (apart.whole, apart.kept_elements, apart.elements) == (True, 4, 4)
    assert apart.first_difference is not None
    assert (apart.first_difference.index, apart.first_difference.first, apart.first_difference.other) == (
        (1, 0),
        "3.0",
        "5.0",
    )
    assert apart.outputs["out"].rel_max == pytest.approx(0.5)


def test_the_first_step_and_tensor_lead() -> None:
    weights, other = f32([1, 2, 3]), f32([1, 2, 4])
    run = keeping(
        factory.run(None, only(by_round)),
        ("loss", 1, np.float32(0.5), np.float32(0.5)),
        ("gradient dense/kernel", 1, weights, weights),
        ("loss", 2, np.float32(0.25), np.float32(0.5)),
        ("gradient dense/kernel", 2, weights, other),
        ("weights", None, weights, other),
    )
    apart = of(evaluate(run)).difference
    assert apart is not None
    assert apart.first_difference is not None
    assert (apart.first_difference.step, apart.first_difference.tensor, apart.first_difference.index) == (2, "loss", ())
    assert list(apart.outputs) == ["weights"]
    actual = difference.side_by_side(run, "matmul", *(factory.digest(f"matmul {text}") for text in "ab"))
    assert [(one.step, one.tensor, one.same) for one in actual] == [
        (1, "loss", True),
        (1, "gradient dense/kernel", True),
        (2, "loss", False),
        (2, "gradient dense/kernel", False),
        (None, "weights", False),
    ]
    assert (actual[4].index, actual[4].first, actual[4].other) == ((2,), "3.0", "4.0")
    assert len(actual[0].first_digest) == 16
    assert difference.side_by_side(run, "matmul", "x", "y") == ()


def test_an_element_that_was_not_kept_is_not_made_up() -> None:
    one = np.zeros(1_000_000, dtype=np.float32)
    place = next(n for n in range(one.size) if n not in set(kept_values.positions(one.size, 256).tolist()))
    two = one.copy()
    two[place] = 1
    apart = of(evaluate(keeping(factory.run(None, only(by_round)), ("out", None, one, two)))).difference
    assert apart is not None
    assert apart.first_difference is not None
    kept = kept_values.positions(one.size, 256).size
    assert (apart.first_difference.index, apart.first_difference.first) == (None, "")
    assert apart.first_difference.note == f"in none of the {kept} kept of 1000000 elements"


def test_another_shape_or_dtype_is_told() -> None:
    run = factory.run(None, only(by_round))
    shape = of(evaluate(keeping(run, ("out", None, f32([1, 2]), f32([[1, 2]]))))).difference
    assert shape is not None
    assert shape.first_difference is not None
    assert shape.first_difference.note == "float32[2] against float32[1, 2]"
    dtype = of(evaluate(keeping(run, ("out", None, f32([1]), np.asarray([1], dtype="float64"))))).difference
    assert dtype is not None
    assert dtype.first_difference is not None
    assert "float64" in dtype.first_difference.note


def test_kept_values_that_are_missing_have_their_sentence() -> None:
    run = dataclasses.replace(factory.run(None, only(by_round)), kept=StoredValues())
    found = of(evaluate(run))
    assert (found.status, found.difference) == (Status.REPRODUCIBLE_IN_PROCESS, None)
    assert found.difference_why == "No values were kept of its digests."
    lost = dataclasses.replace(run, kept=StoredValues(problems={"records/x.kept.xz": "cut off"}))
    assert of(evaluate(lost)).difference_why == (
        "No values were kept of its digests; 1 file of kept values could not be read "
        "(the first: records/x.kept.xz, cut off)."
    )


def test_the_most_frequent_digests_with_values_are_compared() -> None:
    run = factory.run(None, only(lambda spot: Behaviour(digests=("abbcc"[spot.round - 1],))))
    rows = {name: row for name, row in run.kept.rows.items() if name[1] != factory.digest("matmul b")}
    apart = of(evaluate(dataclasses.replace(run, kept=StoredValues(rows=rows)))).difference
    assert apart is not None
    assert {apart.first, apart.other} == {"round 1 repetition 0", "round 4 repetition 0"}


ROWS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["out", "loss", 7]),
        "step": st.sampled_from([None, 1, "x", -1, True]),
        "dtype": st.sampled_from(["float32", "bfloat16", "complex64", "int8", "string", "nonsense", 5]),
        "shape": st.lists(st.sampled_from([0, 1, 2, 3, -1, 10**6, 10**12, "x", None]), max_size=3),
        "digest": st.sampled_from(["d", "e", ""]),
        "most": st.sampled_from([256, 32, 0, -1, 10**12, "32"]),
        "values": st.sampled_from(["AACAPwAAAEA=", "AACAPwAAgD8=", "AAA=", "", "%%", None]),
    },
)


@settings(max_examples=300, deadline=None)
@given(st.lists(ROWS, max_size=3), st.lists(ROWS, max_size=3))
def test_damaged_kept_rows_never_raise(first: list[Any], other: list[Any]) -> None:
    names = [("matmul", factory.digest(f"matmul {text}")) for text in "ab"]
    kept = StoredValues(rows={names[0]: tuple(first), names[1]: tuple(other)})
    found, why = difference.of_verdict(kept, "matmul", (), [(names[0][1], 3), (names[1][1], 2)])
    assert (found is None) == bool(why)
    for line in lines(*(kept.tensors(*name) for name in names)):
        assert line.same or line.note or line.index is not None


# --- between verdicts -------------------------------------------------------------------------------------


def test_between_two_modes_two_columns_and_two_variations() -> None:
    columns = (factory.column("2.18.1"), factory.column("2.21.0"))
    facts = factory.info(columns=columns, variations={"default": (), "tf32=off": ()})

    def bits(spot: Spot) -> Behaviour:
        return Behaviour(digests=(f"{spot.column if spot.mode == 'on' else 'off'} {spot.variation}",))

    run = factory.run(facts, only(bits))
    evaluated = evaluate(run)
    on, off = of(evaluated), of(evaluated, "off")
    assert on.changed_value
    apart = difference.between(evaluated, off, on)
    assert apart is not None
    assert (apart.first, apart.other) == (
        "determinism off, round 1 repetition 0",
        "determinism on, round 1 repetition 0",
    )
    assert difference.between(run, off, on) == apart
    matrix_columns = difference.between(evaluated, on, of(evaluated, column=columns[1].id))
    assert matrix_columns is not None
    assert matrix_columns.other == f"{columns[1].id}, round 1 repetition 0"
    variations = difference.between(evaluated, on, of(evaluated, variation="tf32=off"))
    assert variations is not None
    assert variations.other == "tf32=off, round 1 repetition 0"
    assert difference.between(evaluated, on, on) is None
    assert difference.between(evaluated, off, of(evaluated, "off", columns[1].id)) is None  # the same bits


def test_between_needs_one_digest_on_each_side() -> None:
    evaluated = evaluate(factory.run(None, only(lambda spot: by_round(spot) if spot.mode == "on" else EXACT)))
    assert difference.between(evaluated, of(evaluated, "off"), of(evaluated)) is None


def test_digests_are_listed_with_where_they_were_seen() -> None:
    evaluated = evaluate(
        factory.run(None, only(lambda spot: by_round(spot) if spot.mode == "on" else Behaviour(("a",))))
    )
    seen = difference.digests_of(evaluated, COLUMN, "matmul")
    assert [(one.digest, one.total, one.kept) for one in seen] == [
        (factory.digest("matmul a"), 32, True),
        (factory.digest("matmul b"), 8, True),
    ]
    assert seen[0].places == (("default", "off", 20), ("default", "on", 12))
    assert difference.digests_of(evaluated, COLUMN, "nothing") == ()


def test_under_a_failed_control_no_difference_is_shown() -> None:
    def behave(spot: Spot) -> Behaviour:
        if spot.kernel == "matmul":
            return Behaviour(digests=("a", "b"))
        return Behaviour(later_call=None) if spot.kernel == "control_flicker" else EXACT

    found = of(evaluate(factory.run(None, behave)))
    assert (found.status, found.difference, found.difference_why) == (Status.CONTROL_FAILED, None, "")
