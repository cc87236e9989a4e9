"""What changes from one column to another: what is not known is never the same, and swapped sides mirror."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.verdict import Status, evaluate
from bench.verdict.comparability import SAME_RECORDS
from bench.verdict.comparison import Bits, Change, Conclusion, Event, KernelChange, Side, change, narrowed, of_step
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour, Spot

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.store.run_info import RunInfo
    from bench.suite.record import Record, Sample
    from bench.verdict.results import RunResults

#: What one kernel does in one column of the pool, by the column's name.
POOL: dict[str, Callable[[Spot], Behaviour]] = {
    "reproducible": lambda s: timed(s, 0.001),
    "twin": lambda s: timed(s, 0.001),
    "slow": lambda s: timed(s, 0.002),
    "moved": lambda s: dataclasses.replace(timed(s, 0.001), digests=("new",)),
    "nondeterministic": lambda _: Behaviour(("a", "b")),
    "process": lambda s: Behaviour((f"of {s.round}",)),
    "nan": lambda _: Behaviour(nan=True),
    "nan-moved": lambda _: Behaviour(("new",), nan=True),
    "error": lambda _: Behaviour(outcome="error", error_class="ValueError", message="no"),
    "other": lambda _: Behaviour(outcome="error", error_class="TypeError", message="no"),
    "unsupported": lambda s: Behaviour(outcome="error", error_class="UnimplementedError", message=f"no {s.mode}"),
    "crashed": lambda _: Behaviour(outcome="crashed"),
    "dying": lambda spot: Behaviour(outcome="crashed") if spot.round == 3 else Behaviour(("a", "b")),
    "deaf": lambda _: Behaviour(second_seed="same"),
    "inconclusive": lambda s: timed(s, 0.001),
    "weak-moved": lambda _: Behaviour(("new",)),
    "control-failed": lambda s: timed(s, 0.001),
    "absent": lambda _: EXACT,
    "mismatch": lambda _: EXACT,
    "refused": lambda _: EXACT,
}
UNKNOWN = frozenset({"deaf", "control-failed", "absent", "refused"})
WEAK = frozenset({"inconclusive", "weak-moved"})
#: Nothing but the evidence may be said of what proves nothing.
OF_EVIDENCE = {Event.LESS_EVIDENCE, Event.MORE_EVIDENCE, Event.UNCONFIRMED}
#: After a bad end, the comparison says so.
BAD_ENDS = {Event.STARTS_RAISING, Event.STARTS_FAILING, Event.NONDETERMINISTIC}


def timed(spot: Spot, seconds: float) -> Behaviour:
    return Behaviour(steady_s=(seconds * (1 + spot.round / 100),))


def column_of(name: str) -> str:
    return f"tf2.18.1-{name}-py311@cpu"


def behave(spot: Spot) -> Behaviour:
    """What the pool says; in the column ``control-failed`` the control that must differ does not."""
    if spot.kernel == "matmul":
        return POOL[spot.column.removeprefix("tf2.18.1-").removesuffix("-py311@cpu")](spot)
    # another thing than EXACT, or the factory makes the control do what it must
    failing = spot.kernel == "control_flicker" and spot.column == column_of("control-failed")
    return Behaviour(first_s=0.06) if failing else EXACT


@lru_cache(maxsize=2)
def pool(name: str) -> RunResults:
    columns = tuple(
        factory.column(id=column_of(one), status="build-failed" if one == "mismatch" else "ready") for one in POOL
    )
    kernels = (factory.kernel("matmul"), *factory.CONTROLS)
    run = factory.run(factory.info(id=name, columns=columns, kernels=kernels), behave)
    for short in WEAK:
        run = factory.without(run, factory.Change(column=column_of(short), rounds=(3, 4, 5)))
    run = factory.without(run, factory.Change(column=column_of("absent")))
    # something else ran than was asked
    return evaluate(
        factory.changed(run, factory.facts_of_process(tensorflow="2.0.0"), factory.Change(column_of("refused")))
    )


def of(before: str, after: str, run: str = "one", other: str = "one", mode: str = "on") -> KernelChange:
    sides = (Side(results=pool(run), column=column_of(before)), Side(results=pool(other), column=column_of(after)))
    (found,) = narrowed(change(*sides), [mode]).kernels
    return found


def test_the_pool_is_what_it_says() -> None:
    actual = {name: pool("one").of(column_of(name), "matmul", "default", "on") for name in POOL}
    assert {name: one.status for name, one in actual.items() if one} == {
        "reproducible": Status.REPRODUCIBLE,
        "twin": Status.REPRODUCIBLE,
        "slow": Status.REPRODUCIBLE,
        "moved": Status.REPRODUCIBLE,
        "nondeterministic": Status.NONDETERMINISTIC,
        "process": Status.REPRODUCIBLE_IN_PROCESS,
        "nan": Status.NAN,
        "nan-moved": Status.NAN,
        "error": Status.ERROR,
        "other": Status.ERROR,
        "unsupported": Status.UNSUPPORTED,
        "crashed": Status.CRASHED,
        "dying": Status.CRASHED,
        "deaf": Status.CONTROL_FAILED,
        "inconclusive": Status.INCONCLUSIVE,
        "weak-moved": Status.INCONCLUSIVE,
        "control-failed": Status.CONTROL_FAILED,
        "absent": Status.NOT_RUN,
        "mismatch": Status.BUILD_FAILED,
        "refused": Status.MISMATCH,
    }


@pytest.mark.parametrize(
    ("before", "after", "events", "bits"),
    [
        ("reproducible", "twin", (), Bits.SAME),
        ("reproducible", "moved", (Event.BITS_CHANGED,), Bits.CHANGED),
        ("reproducible", "slow", (Event.SLOWER,), Bits.SAME),
        ("slow", "reproducible", (Event.FASTER,), Bits.SAME),
        ("reproducible", "nondeterministic", (Event.REGRESSED,), Bits.UNKNOWN),
        ("reproducible", "process", (Event.REGRESSED,), Bits.UNKNOWN),
        ("process", "nondeterministic", (Event.VARIES_MORE,), Bits.UNKNOWN),
        ("nan", "nondeterministic", (Event.VARIES_MORE,), Bits.UNKNOWN),
        ("reproducible", "nan", (Event.REGRESSED,), Bits.SO_FAR),
        ("nan", "nan-moved", (), Bits.UNKNOWN),
        ("reproducible", "refused", (Event.UNCONFIRMED,), Bits.UNKNOWN),
        ("reproducible", "error", (Event.STARTS_RAISING,), Bits.UNKNOWN),
        ("reproducible", "unsupported", (Event.STARTS_RAISING,), Bits.UNKNOWN),
        ("error", "unsupported", (Event.ENDS_DIFFERENTLY,), Bits.UNKNOWN),
        ("error", "other", (Event.ENDS_DIFFERENTLY,), Bits.UNKNOWN),
        ("error", "crashed", (Event.STARTS_FAILING, Event.STOPS_RAISING), Bits.UNKNOWN),
        ("reproducible", "crashed", (Event.STARTS_FAILING,), Bits.UNKNOWN),
        ("reproducible", "dying", (Event.STARTS_FAILING, Event.NONDETERMINISTIC), Bits.UNKNOWN),
        ("reproducible", "mismatch", (Event.STARTS_FAILING,), Bits.UNKNOWN),
        ("inconclusive", "error", (Event.STARTS_RAISING,), Bits.UNKNOWN),
        ("reproducible", "inconclusive", (Event.LESS_EVIDENCE,), Bits.SO_FAR),
        ("reproducible", "weak-moved", (Event.LESS_EVIDENCE, Event.BITS_CHANGED), Bits.CHANGED),
        ("nondeterministic", "inconclusive", (Event.LESS_EVIDENCE, Event.VARIES_LESS), Bits.UNKNOWN),
        ("reproducible", "control-failed", (Event.UNCONFIRMED,), Bits.UNKNOWN),
        ("nondeterministic", "control-failed", (Event.LESS_EVIDENCE,), Bits.UNKNOWN),
        ("reproducible", "deaf", (Event.UNCONFIRMED,), Bits.UNKNOWN),
        ("reproducible", "absent", (Event.UNCONFIRMED,), Bits.UNKNOWN),
        ("control-failed", "absent", (), Bits.UNKNOWN),
        ("absent", "nondeterministic", (Event.NONDETERMINISTIC,), Bits.UNKNOWN),
        ("absent", "reproducible", (Event.MORE_EVIDENCE,), Bits.UNKNOWN),
        ("absent", "nan", (Event.NONDETERMINISTIC,), Bits.UNKNOWN),
        ("unsupported", "nondeterministic", (Event.NONDETERMINISTIC, Event.STOPS_RAISING), Bits.UNKNOWN),
        ("crashed", "process", (Event.NONDETERMINISTIC, Event.STOPS_FAILING), Bits.UNKNOWN),
        ("unsupported", "reproducible", (Event.STOPS_RAISING,), Bits.UNKNOWN),
        ("control-failed", "crashed", (Event.STARTS_FAILING,), Bits.UNKNOWN),
        ("absent", "error", (Event.STARTS_RAISING,), Bits.UNKNOWN),
        ("crashed", "control-failed", (Event.LESS_EVIDENCE,), Bits.UNKNOWN),
    ],
)
def test_events(before: str, after: str, events: tuple[Event, ...], bits: Bits) -> None:
    found = of(before, after)
    assert found.bits is bits
    assert (
        tuple(event for event in found.events if event not in {Event.SLOWER, Event.FASTER} or event in events) == events
    )
    assert (found.bits_why == "") == (bits is Bits.SAME or (before, after) == ("reproducible", "moved"))
    assert (found.difference is not None) == (bits is Bits.CHANGED)


#: Events of which one becomes the other if the sides are swapped. A bad result may have no good counterpart: a kernel
#: that was unknown and crashes starts failing, one that was unsupported and varies becomes nondeterministic.
OPPOSITES = (
    (Event.REGRESSED, Event.IMPROVED),
    (Event.STARTS_RAISING, Event.STOPS_RAISING),
    (Event.STARTS_FAILING, Event.STOPS_FAILING),
    (Event.VARIES_MORE, Event.VARIES_LESS),
    (Event.LESS_EVIDENCE, Event.MORE_EVIDENCE),
    (Event.SLOWER, Event.FASTER),
    (Event.REMOVED, Event.ADDED),
)
OPPOSITE = {event: other for pair in OPPOSITES for event, other in (pair, pair[::-1])}
names = st.sampled_from(sorted(POOL))
runs = st.sampled_from(["one", "two"])


@settings(deadline=None, max_examples=200)
@given(before=names, after=names, other=runs, mode=st.sampled_from(["off", "on"]))
def test_swapped_sides_mirror(before: str, after: str, other: str, mode: str) -> None:
    there, back = of(before, after, "one", other, mode), of(after, before, other, "one", mode)
    if not UNKNOWN & {before, after}:
        opposite = {OPPOSITE.get(event, event) for event in there.events}
        assert opposite - {Event.NONDETERMINISTIC} == set(back.events) - {Event.NONDETERMINISTIC}
    assert there.bits is back.bits
    assert there.conclusion is back.conclusion
    assert (there.cost is None) == (back.cost is None)
    if there.cost and back.cost:
        assert there.cost.ratio == pytest.approx(1 / back.cost.ratio)
        assert there.cost.significant == back.cost.significant


@settings(deadline=None, max_examples=100)
@given(name=names, mode=st.sampled_from(["off", "on"]))
def test_identical_sides_have_no_event(name: str, mode: str) -> None:
    assert of(name, name, "one", "two", mode).events == ()
    same = of(name, name, "one", "one", mode)
    assert same.events == ()
    assert same.conclusion is Conclusion.UNKNOWN or name == "mismatch"


@settings(deadline=None, max_examples=200)
@given(before=names, after=names, other=runs)
def test_of_what_proves_nothing_only_the_evidence_and_a_new_fault_are_told(before: str, after: str, other: str) -> None:
    found = of(before, after, "one", other)
    if UNKNOWN & {before, after}:
        assert set(found.events) <= (OF_EVIDENCE if after in UNKNOWN else OF_EVIDENCE | BAD_ENDS)
        assert (found.bits, found.cost) == (Bits.UNKNOWN, None)
        assert found.conclusion in (Conclusion.UNKNOWN, Conclusion.CHANGED)
    if WEAK & {before, after}:
        assert found.bits is not Bits.SAME


# --- what would make equal or moved bits a lie --------------------------------------------------------


def two(
    info: dict[str, Any] | None = None,
    change_record: Callable[[Record], Record] | None = None,
    *,
    bits: str = "same",
    before: RunInfo | None = None,
    seconds: float = 0.001,
) -> Change:
    """The one column of two runs: the second with other facts, records or bits."""

    def behave(digest: str, time: float) -> Callable[[Spot], Behaviour]:
        return lambda s: (
            EXACT if s.kernel.startswith("control") else dataclasses.replace(timed(s, time), digests=(digest,))
        )

    old = before or factory.info(id="one", host={"name": "box", "cpu": "Example", "cores": "2"})
    new = dataclasses.replace(old, id="two", **(info or {}))
    run = factory.run(new, behave(bits, seconds))
    run = factory.changed(run, change_record) if change_record else run
    sides = [evaluate(factory.run(old, behave("same", 0.001))), evaluate(run)]
    return change(*(Side(results=one, column=one.info.columns[0].id) for one in sides))


def matmul(found: Change) -> KernelChange:
    return next(one for one in found.kernels if (one.kernel, one.mode) == ("matmul", "on"))


def hashed(code: str) -> Callable[[Record], Record]:
    return factory.facts_of_process(kernel_hashes={"matmul": code})


def test_two_runs_of_the_same_say_so() -> None:
    found = matmul(two())
    assert (found.bits, found.conclusion, found.events) == (Bits.SAME, Conclusion.KEPT, ())
    assert found.cost is not None


def test_a_kernel_that_keeps_its_bits_and_got_slower_is_told() -> None:
    found = two(seconds=0.002)
    assert found.two_runs
    assert matmul(found).events == (Event.SLOWER,)
    assert matmul(found).bits is Bits.SAME


def test_moved_bits_are_measured_across_runs() -> None:
    found = matmul(two(bits="new"))
    assert (found.bits, found.events) == (Bits.CHANGED, (Event.BITS_CHANGED,))
    assert found.difference is not None
    assert found.difference.outputs["out"].differing > 0


SEED: dict[str, Any] = {"seed": 7}


def reseeded(one: Record) -> Record:
    """Everything with the other seed, as a run of that seed has it."""

    def again(sample: Sample) -> Sample:
        return dataclasses.replace(sample, seed=7) if sample.role != "second-seed" else sample

    request = dataclasses.replace(one.request, seed=7)
    return dataclasses.replace(one, request=request, samples=tuple(map(again, one.samples)))


def other_env(one: Record) -> Record:
    """A variation of the same name that sets something else."""
    request = dataclasses.replace(one.request, env={"TF_ENABLE_ONEDNN_OPTS": "0"})
    actual = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"}
    return factory.settings(env=actual)(dataclasses.replace(one, request=request))


def reshaped(key: str, value: Any) -> Callable[[Record], Record]:
    def change_outputs(sample: Sample) -> Sample:
        outputs = {name: {**facts, key: value} for name, facts in sample.outputs.items()}
        return dataclasses.replace(sample, outputs=outputs)

    return factory.in_samples(change_outputs)


def renamed(sample: Sample) -> Sample:
    return dataclasses.replace(sample, outputs={"mlp/out": next(iter(sample.outputs.values()))})


OTHER_SUITE: dict[str, Any] = {"suite_hash": "6" * 64}
KERNELS = (factory.kernel("matmul", shapes="[128, 128]"), *factory.info().kernels[1:])


@pytest.mark.parametrize("bits", ["same", "new"])
@pytest.mark.parametrize(
    ("info", "record", "why"),
    [
        (SEED, reseeded, "they ran with different seeds"),
        ({}, other_env, "the variation default ran with different settings"),
        ({}, reshaped("shape", [128, 128]), "the workload has another size"),
        ({}, factory.in_samples(renamed), "the outputs have different names"),
        ({"kernels": KERNELS}, None, "the kernel is declared with different inputs"),
        (OTHER_SUITE, None, "the suite differs, and the hash of the kernel's code is not known"),
    ],
)
def test_bits_of_other_work_are_not_compared(
    info: dict[str, Any], record: Callable[[Record], Record] | None, why: str, bits: str
) -> None:
    found = matmul(two(info, record, bits=bits))
    assert (found.bits, found.bits_why, found.events) == (Bits.UNKNOWN, why, ())
    assert found.conclusion is Conclusion.UNKNOWN
    assert found.difference is None


def test_bits_of_other_code_are_not_compared() -> None:
    old = factory.info(id="one", host={"name": "box"})
    sides = [
        evaluate(factory.changed(factory.run(dataclasses.replace(old, id=name, **facts)), hashed(code)))
        for name, code, facts in (("one", "aa", {}), ("two", "bb", {}), ("three", "aa", OTHER_SUITE))
    ]
    column = old.columns[0].id
    first, second, third = (Side(results=one, column=column) for one in sides)
    assert matmul(change(first, second)).bits_why == "the kernel's code differs"
    found = matmul(change(first, third))  # of other code around it, equal bits are equal; times are of another clock
    assert (found.bits, found.cost, found.cost_why) == (Bits.SAME, None, "the suite, which measures the times, differs")


def test_other_bits_of_another_suite_are_put_down_to_no_one() -> None:
    old = factory.info(id="one")
    new = dataclasses.replace(old, id="two", **OTHER_SUITE)
    moved = factory.run(new, lambda s: EXACT if s.kernel.startswith("control") else Behaviour(("new",)))
    runs = [evaluate(factory.changed(one, hashed("aa"))) for one in (factory.run(old), moved)]
    found = matmul(change(*(Side(results=one, column=old.columns[0].id) for one in runs)))
    assert (found.bits, found.events) == (Bits.UNKNOWN, ())
    assert "has changed between the runs" in found.bits_why


def test_records_that_were_reused_are_no_news() -> None:
    evaluated = evaluate(factory.run(factory.info(id="one")))
    copy = evaluate(factory.run(factory.info(id="one")))
    column = evaluated.info.columns[0].id
    found = change(Side(results=evaluated, column=column), Side(results=copy, column=column))
    assert {one.bits_why for one in found.kernels} == {SAME_RECORDS}
    assert {one.conclusion for one in found.kernels} == {Conclusion.UNKNOWN}


def columns(*columns: Any, kernels: Any = None) -> Change:
    facts = factory.info(columns=columns, **({"kernels": kernels} if kernels else {}))
    evaluated = evaluate(factory.run(facts))
    return change(*(Side(results=evaluated, column=one.id) for one in columns))


@pytest.mark.parametrize(
    ("keras", "why"),
    [("3.5.0", "Keras is part of the kernel, and changes from 3.5.0 to 3.15.1"), ("", "its release is not known")],
)
def test_bits_with_keras_inside_are_not_compared_over_its_releases(keras: str, why: str) -> None:
    kernels = (factory.kernel("mlp_fit", portable=False), *factory.info().kernels)
    found = columns(factory.column("2.17.1", keras=keras), factory.column(), kernels=kernels)
    inside = next(one for one in found.kernels if one.kernel == "mlp_fit")
    assert inside.bits is Bits.UNKNOWN
    assert inside.bits_why.endswith(why)
    assert inside.cost is not None  # what an upgrade costs, Keras included
    assert matmul(found).bits is Bits.SAME


def test_larger_work_on_a_gpu_is_not_compared() -> None:
    kernels = (factory.kernel("matmul", shapes="[64, 64]; on a GPU [512, 512]"), *factory.CONTROLS)
    found = columns(factory.column(), factory.column(cuda="12.5"), kernels=kernels)
    assert (matmul(found).bits, matmul(found).bits_why) == (Bits.UNKNOWN, "the workload has another size")


def test_one_side_without_the_kernel_is_gone_or_new() -> None:
    fewer = {"kernels": factory.info().kernels[1:]}
    found = {one.kernel: one.events for one in two(fewer).kernels}
    assert found == {"matmul": (Event.REMOVED,), "conv2d": ()}


# --- times ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("info", "why"),
    [
        ({"host": {"name": "other", "cpu": "Example", "cores": "2"}}, "another host"),
        ({"host": {"name": "box", "cpu": "Newer", "cores": "2"}}, "another host"),
        ({"host": {"name": "box", "cpu": "Example", "cores": "64"}}, "another host"),
        ({"engine": "venv"}, "another engine"),
    ],
)
def test_times_of_two_places_are_not_compared(info: dict[str, Any], why: str) -> None:
    found = matmul(two(info, seconds=0.002))
    assert (found.cost, found.cost_why, found.events) == (None, why, ())
    assert found.bits is Bits.SAME  # bits have no place


def test_times_of_hosts_without_a_name_are_not_compared_across_runs() -> None:
    found = matmul(two(before=factory.info(id="one", host={}), seconds=0.002))
    assert (found.cost, found.cost_why) == (None, "the host has no name")


def test_times_with_other_numbers_of_threads_are_not_compared() -> None:
    found = matmul(two({}, factory.settings(intra_op_threads=8), seconds=0.002))
    assert (found.cost, found.cost_why) == (None, "different numbers of threads")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"gpu": "GPU-ffffffff-0000-0000-0000-000000000002"}, "another device"),
        ({"device": "h200"}, "another device"),
        ({"origin": {"name": "gpu-box", "engine": "docker"}}, "another host"),
        ({"kind": "local"}, "an existing environment is compared with itself only"),
    ],
)
def test_times_of_two_machines_in_one_run_are_not_compared(changes: dict[str, Any], why: str) -> None:
    name = f"tf2.18.1-cuda12.6-py311@{changes.get('device', 'h100')}"
    column = factory.column(cuda="12.6", **{"id": name, "kind": "forward", **changes})
    found = matmul(columns(factory.column(cuda="12.5"), column))
    assert (found.cost, found.cost_why) == (None, why)


# --- steps and distances -------------------------------------------------------------------------------


def test_a_step_compares_its_two_columns() -> None:
    evaluated = evaluate(factory.run(factory.info(columns=(factory.column("2.17.1"), factory.column()))))
    found = of_step(evaluated, evaluated.steps[0])
    assert dict(found.changed_facts) == {"TensorFlow": ("2.17.1", "2.18.1")}
    assert {one.kernel for one in found.kernels} == {"matmul", "conv2d"}  # controls apart
    assert not found.two_runs


def test_what_else_differs_is_told_of_a_column_and_itself() -> None:
    facts = factory.facts_of_process(libc="glibc 2.40", protobuf="6.0.0", tensorflow_git="v2.18.1-dirty")
    host = {"name": "box", "cpu": "Newer", "cores": "2"}
    found = two({"host": host}, facts).changed_facts
    assert found["libc"] == ("", "glibc 2.40")
    assert found["CPU"] == ("Example", "Newer")
    assert {"protobuf", "TensorFlow build"} <= found.keys()
