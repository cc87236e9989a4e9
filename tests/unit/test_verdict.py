"""Verdicts: above all, every way to a wrong green that we could think of, and that it is closed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import ConfigError
from bench.suite.record import Outcome
from bench.verdict import GATES, MIN_PROCESSES, EvidenceLevel, Status, Verdict, choose, controls, evaluate, gate
from bench.verdict.comparison import of_step
from bench.verdict.digest_groups import letter, letters
from bench.verdict.results import Accuracy, GpuControls
from bench.verdict.status import SEVERITY
from bench.verdict.timing import TimeKind
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour, Change, Spot

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.store.run import Run
    from bench.suite.record import Record
    from bench.verdict.controls import ControlSummary

UNIMPLEMENTED = Behaviour(outcome="error", error_class="UnimplementedError")
COLUMN = "tf2.18.1-cpu-py311@cpu"


def verdict(
    run: Run, mode: str = "on", name: str = "matmul", variation: str = "default", column: str = COLUMN
) -> Verdict:
    found = evaluate(run).of(column, name, variation, mode)
    assert found is not None
    return found


def only(name: str, acts: Callable[[Spot], Behaviour] | Behaviour, mode: str = "") -> Callable[[Spot], Behaviour]:
    """One kernel behaves so (in one mode), all others are exact."""

    def behave(spot: Spot) -> Behaviour:
        if spot.kernel != name or mode not in ("", spot.mode):
            return EXACT
        return acts if isinstance(acts, Behaviour) else acts(spot)

    return behave


# --- what green is -----------------------------------------------------------------------------------


def test_equal_bits_in_five_processes_are_exact_and_say_how_strong_that_is() -> None:
    found = verdict(factory.run())
    assert found.status is Status.REPRODUCIBLE
    assert (found.comparison.processes, found.comparison.repetitions, found.comparison.compared) == (5, 15, 4)
    assert found.comparison.bound == pytest.approx(0.527, abs=0.001)
    assert found.why == (
        "Same bits in 15 repetitions in 5 processes: "
        "0 of 4 processes differed, so at most 53 % of processes can differ (95 %)."
    )
    assert found.digest_class == "A"


def test_fresh_containers_are_a_level_above_fresh_processes() -> None:
    assert verdict(factory.run()).level is EvidenceLevel.SAME_ACROSS_CONTAINERS
    venv = factory.run(factory.info(engine="venv"))
    assert verdict(venv).level is EvidenceLevel.SAME_ACROSS_PROCESSES
    shared = factory.changed(factory.run(), factory.facts_of_process(hostname="one and the same"))
    assert verdict(shared).level is EvidenceLevel.SAME_ACROSS_PROCESSES
    assert (
        EvidenceLevel.DIFFERS_WITHIN_PROCESS < EvidenceLevel.SAME_WITHIN_PROCESS < EvidenceLevel.SAME_ACROSS_PROCESSES
    )


def test_statuses_are_the_named_ones_and_all_have_a_severity() -> None:
    assert set(SEVERITY) == set(Status)
    assert len(SEVERITY) == len(set(SEVERITY))
    assert SEVERITY[-1] is Status.REPRODUCIBLE


# --- planted false greens -----------------------------------------------------------------------------


def drop_samples(role: str) -> Callable[[Record], Record]:
    return lambda one: dataclasses.replace(
        one, samples=tuple(s for s in one.samples if s.kernel != "matmul" or s.role != role)
    )


def drop_outcome(one: Record) -> Record:
    return dataclasses.replace(one, outcomes=tuple(o for o in one.outcomes if o.kernel != "matmul"))


def cut_off(one: Record) -> Record:
    return dataclasses.replace(drop_outcome(one), complete=False)


def second_outcome(one: Record) -> Record:
    return dataclasses.replace(one, outcomes=(*one.outcomes, Outcome(1, "matmul", "crashed", 1.0, "", "SIGSEGV")))


def unknown_outcome(one: Record) -> Record:
    return dataclasses.replace(one, outcomes=tuple(dataclasses.replace(o, outcome="splendid") for o in one.outcomes))


def other_seed(one: Record) -> Record:
    return dataclasses.replace(one, request=dataclasses.replace(one.request, seed=7))


def no_process(one: Record) -> Record:
    return dataclasses.replace(one, processes=())


def asking(**changes: Any) -> Callable[[Record], Record]:
    return lambda one: dataclasses.replace(one, request=dataclasses.replace(one.request, **changes))


ONE = Change(mode="on", rounds=(3,))
ALL_ON = Change(mode="on")
FALSE_GREENS: list[tuple[str, Callable[[Record], Record], Change, Status]] = [
    ("determinism was never on", factory.settings(determinism_enabled=False), ALL_ON, Status.MISMATCH),
    ("determinism was not on in one process", factory.settings(determinism_enabled=False), ONE, Status.MISMATCH),
    ("nobody knows whether it was on", factory.settings(determinism_enabled=None), ONE, Status.MISMATCH),
    ("'on' is not True", factory.settings(determinism_enabled="on"), ALL_ON, Status.MISMATCH),
    ("1 is not True", factory.settings(determinism_enabled=1), ALL_ON, Status.MISMATCH),
    ("the settings are unknown", no_process, ONE, Status.MISMATCH),
    ("switched another way than requested", factory.settings(switch="env"), ALL_ON, Status.MISMATCH),
    ("threads differ", factory.settings(intra_op_threads=7), ONE, Status.MISMATCH),
    ("threads differ from those of mode off", factory.settings(intra_op_threads=7), ALL_ON, Status.MISMATCH),
    ("oneDNN differs", factory.settings(onednn="0"), ONE, Status.MISMATCH),
    ("the environment differs", factory.settings(env={"TF_X": "1"}), ONE, Status.MISMATCH),
    ("a GPU took part", factory.settings(devices=["CPU:0", "GPU:0"]), ALL_ON, Status.MISMATCH),
    ("another TensorFlow", factory.facts_of_process(tensorflow="2.17.0"), Change(), Status.MISMATCH),
    ("another TensorFlow once", factory.facts_of_process(tensorflow="2.17.0"), ONE, Status.MISMATCH),
    ("another TensorFlow build", factory.facts_of_process(tensorflow_git="v0"), ONE, Status.MISMATCH),
    ("another Keras", factory.facts_of_process(keras="2.15.0"), Change(), Status.MISMATCH),
    ("another NumPy once", factory.facts_of_process(numpy="1.26.0"), ONE, Status.MISMATCH),
    ("another CPU once", factory.facts_of_process(cpu_model="Other CPU"), ONE, Status.MISMATCH),
    ("TensorFlow unknown", factory.facts_of_process(tensorflow=None), Change(), Status.INCONCLUSIVE),
    ("another seed in one round", other_seed, ONE, Status.MISMATCH),
    (
        "repetitions of two seeds",
        factory.in_samples(lambda s: dataclasses.replace(s, seed=s.seed + s.repetition)),
        ONE,
        Status.MISMATCH,
    ),
    ("no repetitions", drop_samples("repetition"), ALL_ON, Status.MISMATCH),
    ("no digest", factory.in_samples(lambda s: dataclasses.replace(s, digest="")), ALL_ON, Status.MISMATCH),
    ("no outcome in a whole record", drop_outcome, ONE, Status.MISMATCH),
    ("a record cut off", cut_off, ONE, Status.INCONCLUSIVE),
    ("ok first and a crash after it", second_outcome, ONE, Status.CRASHED),
    ("an outcome nobody knows", unknown_outcome, ONE, Status.MISMATCH),
    (
        "a second call gave other bits",
        factory.in_samples(lambda s: dataclasses.replace(s, digest="c" * 64) if s.role == "later-call" else s),
        ONE,
        Status.NONDETERMINISTIC,
    ),
    (
        "a second call has another seed",
        factory.in_samples(lambda s: dataclasses.replace(s, seed=7) if s.role == "later-call" else s),
        ONE,
        Status.MISMATCH,
    ),
    ("no second call", drop_samples("later-call"), ALL_ON, Status.INCONCLUSIVE),
    (
        "a sample of an unknown role gave other bits",
        factory.in_samples(
            lambda s: dataclasses.replace(s, role="timing", digest="c" * 64) if s.role == "later-call" else s
        ),
        ONE,
        Status.NONDETERMINISTIC,
    ),
    (
        "a sample says nothing of its outputs",
        factory.in_samples(lambda s: dataclasses.replace(s, outputs={}) if s.repetition == 1 else s),
        ONE,
        Status.MISMATCH,
    ),
    ("another library", factory.libraries(libtensorflow_cc="3"), ONE, Status.MISMATCH),
    ("another library than in mode off", factory.libraries(libtensorflow_cc="3"), ALL_ON, Status.MISMATCH),
    ("TF32 is not as requested", asking(tf32=False), ALL_ON, Status.MISMATCH),
    (
        "nobody knows whether TF32 was on",
        lambda one: asking(tf32=False)(factory.settings(tf32=None)(one)),
        ALL_ON,
        Status.INCONCLUSIVE,
    ),
    (
        "nobody knows how many threads there were",
        lambda one: asking(threads=1)(factory.settings(intra_op_threads=None)(one)),
        ALL_ON,
        Status.INCONCLUSIVE,
    ),
    (
        "the second_seed has the repetitions' seed",
        factory.in_samples(lambda s: dataclasses.replace(s, seed=factory.SEED, digest="a" * 64)),
        Change(),
        Status.INCONCLUSIVE,
    ),
    (
        "fewer repetitions than requested",
        factory.in_samples(lambda s: dataclasses.replace(s, repetition=0)),
        ONE,
        Status.INCONCLUSIVE,
    ),
]


@pytest.mark.parametrize(
    ("change", "where", "status"), [row[1:] for row in FALSE_GREENS], ids=[r[0] for r in FALSE_GREENS]
)
def test_planted_false_green(change: Callable[[Record], Record], where: Change, status: Status) -> None:
    assert verdict(factory.changed(factory.run(), change, where)).status is status


def test_second_seeds_that_differ_among_themselves_show_a_variation() -> None:
    other = factory.in_samples(lambda s: s if s.role != "second-seed" else dataclasses.replace(s, digest="c" * 64))
    run = factory.changed(factory.run(None, None, second_seeds="all"), other, ONE)
    assert verdict(run).status is Status.REPRODUCIBLE_IN_PROCESS


def test_libraries_are_loaded_when_they_are_needed() -> None:
    run = factory.changed(factory.run(), factory.libraries(libcudnn="9.3.0", libm="6"), ONE)
    run = factory.changed(run, factory.libraries(libtensorflow_cc=None, libm="7"), Change(rounds=(4,)))
    assert verdict(run).status is Status.REPRODUCIBLE


def test_different_code_of_a_kernel_is_not_compared() -> None:
    run = factory.changed(factory.run(), factory.facts_of_process(kernel_hashes={"matmul": "new"}), ONE)
    run = factory.changed(run, factory.facts_of_process(kernel_hashes={"matmul": "old"}), Change(rounds=(1,)))
    assert verdict(run).status is Status.MISMATCH


def test_a_gpu_column_without_a_gpu_is_no_gpu() -> None:
    column = factory.column(cuda="12.5")
    run = factory.run(factory.info(columns=(column,)))
    assert verdict(run, column=column.id).status is Status.REPRODUCIBLE
    for devices in (["/device:CPU:0"], [], None):
        blind = factory.changed(run, factory.settings(devices=devices))
        assert verdict(blind, column=column.id).status is Status.GPU_NOT_VISIBLE


def test_too_few_processes_are_never_green() -> None:
    for rounds in range(1, MIN_PROCESSES):
        found = verdict(factory.run(factory.info(rounds=rounds)))
        assert found.status is Status.INCONCLUSIVE
        assert f"only {rounds} process{'es' if rounds > 1 else ''}, but {MIN_PROCESSES} are needed" in found.why


def test_rounds_that_are_missing_are_not_forgotten() -> None:
    run = factory.without(factory.run(), Change(mode="on", rounds=(2,)))
    assert verdict(run).status is Status.INCONCLUSIVE
    assert "4 of 5 planned rounds are complete" in verdict(run).why
    assert verdict(run, mode="off").status is Status.REPRODUCIBLE


def test_the_runner_may_plan_fewer_rounds_for_a_column() -> None:
    run = factory.without(factory.run(factory.info(rounds=7), rounds=5), Change(rounds=(6, 7)))
    assert verdict(run).status is Status.REPRODUCIBLE


def test_a_record_cut_off_is_not_forgotten_where_there_are_rounds_enough() -> None:
    run = factory.changed(factory.run(factory.info(), rounds=4), cut_off, ONE)
    assert verdict(run).status is Status.INCONCLUSIVE
    assert "1 record cut off" in verdict(run).why


def test_one_repeat_a_process_and_no_further_call_shows_nothing_within_a_process() -> None:
    once = factory.run(factory.info(repetitions=1), lambda _: Behaviour(later_call=None, steady_s=()))
    assert verdict(once).status is Status.CONTROL_FAILED  # the flicker control was set to be the same, too
    behave = only("matmul", Behaviour(later_call=None, steady_s=()))
    assert verdict(factory.run(factory.info(repetitions=1), behave)).status is Status.INCONCLUSIVE
    apart = only("matmul", lambda spot: Behaviour((str(spot.round),), later_call=None))
    found = verdict(factory.run(factory.info(repetitions=1), apart))
    assert (found.status, found.level) == (Status.NONDETERMINISTIC, None)


def test_a_copied_record_is_no_second_process() -> None:
    run = factory.without(factory.run(), Change(rounds=(4, 5)))
    first = run.records[f"records/{COLUMN}/default/on-001.jsonl"]
    copies = {
        f"records/{COLUMN}/default/on-00{number}.jsonl": dataclasses.replace(
            first, request=dataclasses.replace(first.request, round=number)
        )
        for number in (4, 5)
    }
    evaluated = evaluate(dataclasses.replace(run, records={**run.records, **copies}))
    found = evaluated.of(COLUMN, "matmul", "default", "on")
    assert found is not None
    assert found.comparison.processes == 3
    assert [path for path, reason in evaluated.left_out if "a copy" in reason] == sorted(copies)


def test_a_record_at_a_path_that_is_not_its_own_does_not_count() -> None:
    run = factory.run()
    moved = {path.replace("/on-", "/off-1"): one for path, one in run.records.items() if "/on-" in path}
    evaluated = evaluate(dataclasses.replace(run, records={**run.records, **moved}))
    assert len(evaluated.left_out) == 5
    assert {v.comparison.processes for v in evaluated.verdicts} == {5}


def test_records_of_another_suite_are_stale_and_never_mixed() -> None:
    stale = lambda one: dataclasses.replace(one, suite_hash="old")  # noqa: E731
    some = factory.changed(factory.run(), stale, Change(mode="on", rounds=(1, 2)))
    assert verdict(some).status is Status.INCONCLUSIVE
    assert len(evaluate(some).left_out) == 2
    every = factory.changed(factory.run(), stale, ALL_ON)
    assert verdict(every).status is Status.OUTDATED
    assert verdict(every, mode="off").status is Status.REPRODUCIBLE


@pytest.mark.parametrize(
    ("why", "status"),
    [("no header line", Status.NOT_RUN), ("schema 9, but this version reads schema 2", Status.OUTDATED)],
)
def test_unreadable_records_are_no_measurement_and_listed(why: str, status: Status) -> None:
    run = factory.without(factory.run(), ALL_ON)
    path = f"records/{COLUMN}/default/on-001.jsonl"
    broken = dataclasses.replace(run, unreadable={path: why})
    assert (verdict(broken).status, verdict(broken).why) == (status, f"1 record could not be read (the first: {why}).")
    assert verdict(broken, mode="off").status is Status.REPRODUCIBLE
    assert evaluate(broken).unreadable == ((path, why),)
    assert verdict(run).status is Status.NOT_RUN


def test_reused_records_count_and_are_counted_apart() -> None:
    run = factory.run()
    taken = {path: "earlier" for path in run.records if "/on-00" in path and not path.endswith("1.jsonl")}
    evaluated = evaluate(dataclasses.replace(run, info=factory.info(reused=taken)))
    found = evaluated.of(COLUMN, "matmul", "default", "on")
    assert found is not None
    assert (found.measured, found.reused, evaluated.measured, evaluated.reused) == (1, 4, 6, 4)


def test_a_lock_that_changed_is_not_what_was_asked() -> None:
    run = factory.run(None, None, lock_hash="another")
    assert verdict(run).status is Status.MISMATCH


# --- controls -----------------------------------------------------------------------------------------

BLINDING: list[tuple[str, str, Behaviour]] = [
    ("the flicker does not flicker", "control_flicker", Behaviour(later_call=None)),
    ("the flicker crashed", "control_flicker", Behaviour(outcome="crashed")),
    ("the integers differ", "control_integer", Behaviour(("a", "b"))),
    ("the integers' later calls differ", "control_integer", Behaviour(later_call="later")),
    ("the integers raised", "control_integer", Behaviour(outcome="error", error_class="ValueError")),
    ("the integers do not feel their input", "control_integer", Behaviour(second_seed="same")),
]


@pytest.mark.parametrize(("name", "acts"), [row[1:] for row in BLINDING], ids=[row[0] for row in BLINDING])
def test_a_failed_control_blinds_its_whole_column(name: str, acts: Behaviour) -> None:
    run = factory.run(None, only(name, acts, mode="on"))
    found = verdict(run)
    assert (found.status, found.digest_class, found.level) == (Status.CONTROL_FAILED, "", None)
    assert name in found.why
    assert verdict(run, name="conv2d").status is Status.CONTROL_FAILED
    # one that ended badly has shown nothing of the other mode; one that saw wrongly has
    showed = acts.outcome == "ok"
    assert verdict(run, mode="off").status is (Status.CONTROL_FAILED if showed else Status.REPRODUCIBLE)
    assert verdict(run, name=name).passed is False
    assert not any(column.fits for column in choose(evaluate(run)))


def test_a_run_without_controls_is_blind() -> None:
    for kernels in ((), (factory.FLICKER,), (factory.INTEGER,)):
        run = factory.run(factory.info(kernels=(factory.kernel("matmul"), *kernels)))
        assert verdict(run).status is Status.CONTROL_FAILED


def test_controls_that_never_ran_blind() -> None:
    def drop(one: Record) -> Record:
        return dataclasses.replace(
            one,
            request=dataclasses.replace(one.request, kernels=("matmul", "conv2d")),
            samples=tuple(s for s in one.samples if not s.kernel.startswith("control")),
            outcomes=tuple(o for o in one.outcomes if not o.kernel.startswith("control")),
        )

    found = verdict(factory.changed(factory.run(), drop))
    assert found.status is Status.CONTROL_FAILED
    assert "never ran" in found.why


def test_controls_pass_and_say_so() -> None:
    run = factory.run()
    for name in ("control_flicker", "control_integer"):
        found = verdict(run, name=name)
        assert found.passed is True
        assert found.why.startswith("Control: it d")


def test_a_control_with_too_few_samples_leaves_kernels_weak() -> None:
    run = factory.run(factory.info(rounds=1, repetitions=1))
    assert verdict(run).status is Status.INCONCLUSIVE
    assert verdict(run, name="control_flicker").passed is None


def test_a_control_that_was_cut_off_leaves_kernels_weak() -> None:
    def silence(one: Record) -> Record:
        first = one.request.round == 1
        return dataclasses.replace(
            one,
            complete=first,
            samples=tuple(s for s in one.samples if s.kernel != "control_integer" or (first and s.repetition == 0)),
            outcomes=tuple(o for o in one.outcomes if o.kernel != "control_integer" or first),
        )

    found = verdict(factory.changed(factory.run(), silence))
    assert found.status is Status.INCONCLUSIVE
    assert "the control control_integer is undecided" in found.why


def test_a_kernel_that_does_not_feel_its_input_is_blind() -> None:
    run = factory.run(None, only("matmul", Behaviour(second_seed="same")))
    assert verdict(run).status is Status.CONTROL_FAILED
    assert verdict(run, name="conv2d").status is Status.REPRODUCIBLE


def test_what_was_seen_to_vary_varies_though_another_seed_gave_bits_of_its_own() -> None:
    """A counter that ignores every seed (XLA's stateful random ops) meets its own values again under another seed."""
    found = verdict(factory.run(None, only("matmul", Behaviour(("one", "two"), second_seed="two"))))
    assert found.status is Status.NONDETERMINISTIC
    assert found.why.endswith("One of its results also occurred with another seed.")
    found = verdict(factory.run(None, only("matmul", lambda s: Behaviour((str(s.round),), second_seed="1"))))
    assert found.status is Status.REPRODUCIBLE_IN_PROCESS


def test_a_contrast_of_the_other_mode_shows_sensitivity_too() -> None:
    run = factory.run(None, only("matmul", Behaviour(second_seed=""), mode="on"))
    assert verdict(run).status is Status.REPRODUCIBLE
    assert verdict(factory.run(None, only("matmul", Behaviour(second_seed="")))).status is Status.INCONCLUSIVE


class TestSeed:
    """At least one output must depend on the seed; the report names those that do not."""

    dead: ClassVar = {"digest": "0" * 64, "nan": 0}

    def test_an_output_that_ignores_the_seed_is_named(self) -> None:
        steps = factory.in_samples(lambda one: dataclasses.replace(one, outputs={**one.outputs, "steps": self.dead}))
        found = verdict(factory.changed(factory.run(), steps))
        assert found.status is Status.REPRODUCIBLE
        assert found.remark == "'steps' is the same under another seed and proves nothing."
        assert found.why.endswith(found.remark)

    def test_several_are_named(self) -> None:
        outputs = {"steps": self.dead, "accuracy": {"digest": "1" * 64, "nan": 0}}
        both = factory.in_samples(lambda one: dataclasses.replace(one, outputs={**one.outputs, **outputs}))
        found = verdict(factory.changed(factory.run(), both))
        assert found.remark == "'steps', 'accuracy' are the same under another seed and prove nothing."

    def test_a_kernel_whose_outputs_all_ignore_it_proves_nothing(self) -> None:
        only_steps = factory.in_samples(lambda one: dataclasses.replace(one, outputs={"steps": self.dead}))
        found = verdict(factory.changed(factory.run(), only_steps))
        assert found.status is Status.CONTROL_FAILED
        assert "Another seed gave the same bits" in found.why


class TestLaterCalls:
    """Re-seeded repetitions decide; a call without a new seed decides only where the kernel says that it must agree."""

    own: ClassVar[dict[str, Any]] = {"file": "my_kernels.py"}
    declared: ClassVar[dict[str, Any]] = {**own, "call_again_declared": True}

    @staticmethod
    def run(facts: dict[str, Any], later_call: str = "") -> Run:
        """A run of one kernel; ``later_call`` names the bits of its second call, "" for those of its repetitions."""
        kernels = tuple(
            dataclasses.replace(kernel, **facts) if kernel.name == "matmul" else kernel
            for kernel in factory.info().kernels
        )
        return factory.run(factory.info(kernels=kernels), only("matmul", Behaviour(later_call=later_call)))

    def test_of_a_custom_kernel_they_are_a_remark_with_its_remedy(self) -> None:
        found = verdict(self.run(self.own, "other bits"))
        assert found.status is Status.REPRODUCIBLE
        assert "A later call without a new seed gives other bits" in found.why
        assert "declare call_again=False, or build the model before work" in found.remark
        assert len(found.comparison.digests) == 1

    @pytest.mark.parametrize("facts", [{}, declared], ids=["suite", "declared"])
    def test_where_they_must_agree_they_are_nondeterminism(self, facts: Any) -> None:
        found = verdict(self.run(facts, "other bits"))
        assert found.status is Status.NONDETERMINISTIC
        assert not found.remark

    @pytest.mark.parametrize("facts", [{"heavy": True}, {"call_again": False}, own])
    def test_those_of_a_kernel_of_the_suite_count_whatever_run_json_says(self, facts: Any) -> None:
        """Where they need not agree, a worker makes none; and the requests of a custom kernel name its file."""
        acts = only("matmul", lambda spot: Behaviour(later_call="later" if spot.round == 1 else None))
        run = factory.run(None, acts)
        kernels = tuple(dataclasses.replace(kernel, **facts) for kernel in run.info.kernels)
        edited = dataclasses.replace(run, info=dataclasses.replace(run.info, kernels=kernels))
        assert verdict(edited).status is (Status.MISMATCH if "file" in facts else Status.NONDETERMINISTIC)

    @pytest.mark.parametrize(
        ("facts", "without", "status"),
        [
            ({}, 4, Status.INCONCLUSIVE),
            ({"heavy": True}, 4, Status.REPRODUCIBLE),
            ({"heavy": True}, 1, Status.INCONCLUSIVE),
        ],
    )
    def test_each_process_makes_one_but_a_heavy_kernel_only_in_round_1(
        self, facts: dict[str, Any], without: int, status: Status
    ) -> None:
        acts = only("matmul", lambda spot: Behaviour(later_call=None) if spot.round == without else EXACT)
        kernels = tuple(dataclasses.replace(kernel, **facts) for kernel in factory.info().kernels)
        assert verdict(factory.run(factory.info(kernels=kernels), acts)).status is status

    @pytest.mark.parametrize("facts", [{}, own, declared], ids=["suite", "custom", "declared"])
    def test_equal_calls_need_no_remark(self, facts: Any) -> None:
        found = verdict(self.run(facts))
        assert (found.status, found.remark) == (Status.REPRODUCIBLE, "")

    def test_repetitions_that_differ_are_nondeterminism_whatever_is_declared(self) -> None:
        kernels = tuple(dataclasses.replace(kernel, **self.own) for kernel in factory.info().kernels)
        run = factory.run(factory.info(kernels=kernels), only("matmul", Behaviour(("a", "b", "a"))))
        assert verdict(run).status is Status.NONDETERMINISTIC


class TestFailed:
    """A return value that cannot be compared is no error of TensorFlow, and no result."""

    acts = Behaviour(outcome="failed", error_class="OutputError", message="output 'y' is a Foo: return tensors")

    def test_the_sentence_is_our_own(self) -> None:
        found = verdict(factory.run(None, only("matmul", self.acts)))
        assert found.status is Status.FAILED
        assert found.why == "The kernel gave nothing to compare: output 'y' is a Foo: return tensors."

    def test_gates_see_it(self) -> None:
        assert gate(evaluate(factory.run(None, only("matmul", self.acts))), ["faults"])


def test_a_missing_package_says_how_to_add_it() -> None:
    acts = Behaviour(outcome="error", error_class="ModuleNotFoundError", message="No module named 'tf_keras'")
    found = verdict(factory.run(None, only("matmul", acts)))
    assert found.status is Status.ERROR
    assert "add it to the key packages of a pair in matrix.toml" in found.why


class TestRefusals:
    """With determinism on, TensorFlow also refuses by other classes than UnimplementedError."""

    unseeded = "Random ops require a seed to be set when determinism is enabled. Please set a seed ..."
    wrapped = (
        "Exception encountered when calling CategoryEncoding.call(). Determinism is not yet supported in GPU "
        "implementation of DenseBincount."
    )

    @pytest.mark.parametrize("error", ["RuntimeError", "ValueError", "InvalidArgumentError"])
    def test_a_known_refusal_is_unsupported_whatever_its_class(self, error: str) -> None:
        acts = Behaviour(outcome="error", error_class=error, message=self.unseeded)
        run = factory.run(None, only("matmul", acts, "on"))
        found = verdict(run)
        assert found.status is Status.UNSUPPORTED
        assert found.why == f"TensorFlow refuses this with determinism on: {error} in all 5 processes."
        assert gate(evaluate(run), ["unsupported"])
        assert not gate(evaluate(run), ["faults"])

    def test_keras_keeps_the_message_in_an_error_of_its_own(self) -> None:
        column = factory.column(cuda="12.5")
        acts = Behaviour(outcome="error", error_class="RuntimeError", message=self.wrapped)
        run = factory.run(factory.info(columns=(column,)), only("matmul", acts, "on"))
        assert verdict(run, column=column.id).status is Status.UNSUPPORTED

    @pytest.mark.parametrize("message", ["Something else", ""])
    def test_other_errors_stay_errors(self, message: str) -> None:
        acts = Behaviour(outcome="error", error_class="RuntimeError", message=message)
        assert verdict(factory.run(None, only("matmul", acts, "on"))).status is Status.ERROR

    def test_with_determinism_off_nothing_is_refused(self) -> None:
        acts = Behaviour(outcome="error", error_class="RuntimeError", message=self.unseeded)
        assert verdict(factory.run(None, only("matmul", acts)), "off").status is Status.ERROR
        assert verdict(factory.run(None, only("matmul", acts)), "on").status is Status.ERROR, "off raises it too"


def test_entropy_that_comes_twice_was_counted_twice() -> None:
    def behave(spot: Spot) -> Behaviour:
        if spot.kernel != "control_flicker":
            return EXACT
        shown = 1 if spot.round == 2 else spot.round  # round 2 tells what round 1 told
        return Behaviour(digests=tuple(f"{spot.mode} {shown} {n}" for n in range(3)), later_call=None)

    found = verdict(factory.run(None, behave))
    assert found.status is Status.CONTROL_FAILED
    assert "its random values were repeated" in found.why


def test_a_setting_that_was_asked_for_and_is_absent_is_not_what_was_asked() -> None:
    run = factory.changed(factory.run(), asking(env={"ONEDNN_MAX_CPU_ISA": "AVX2"}))
    assert verdict(run).status is Status.MISMATCH


def test_a_crash_stays_a_crash_under_a_failed_control() -> None:
    def behave(spot: Spot) -> Behaviour:
        if spot.kernel == "matmul":
            return Behaviour(outcome="crashed", message="SIGABRT")
        return Behaviour(later_call=None) if spot.kernel == "control_flicker" else EXACT

    run = factory.run(None, behave)
    assert verdict(run).status is Status.CRASHED
    assert verdict(run, name="conv2d").status is Status.CONTROL_FAILED


GRADED = factory.info(kernels=(factory.kernel("matmul"), *factory.GRADED))


def flickers(name: str, *digests: str) -> Callable[[Spot], Behaviour]:
    """In mode on this control gives these bits in each process ("new" is made new everywhere)."""

    def behave(spot: Spot) -> Behaviour:
        if spot.kernel != name or spot.mode != "on":
            return EXACT
        bits = tuple(f"{spot.round} {n}" if text == "new" else text for n, text in enumerate(digests))
        return Behaviour(digests=bits, later_call=None, steady_s=())

    return behave


def control_summary(run: Run, mode: str = "on") -> ControlSummary:
    return evaluate(run).control_summaries[COLUMN, "default", mode]


def test_graded_controls_say_how_far_the_eye_reaches() -> None:
    found = control_summary(factory.run(GRADED))
    assert {name: (one.passed, one.reach, one.samples) for name, one in found.checks.items()} == {
        "control_flicker": (True, True, 15),
        "control_flicker_p50": (True, True, 15),
        "control_flicker_p10": (True, False, 15),  # seen, though so few samples need not show it
        "control_flicker_p02": (None, False, 15),
        "control_integer": (True, True, 15),
    }
    assert (found.detection_limit, found.control_failed, found.concerns) == (0.5, "", ())
    beyond = [name for name, one in found.checks.items() if one.rate and not one.reach]
    assert beyond == ["control_flicker_p10", "control_flicker_p02"]
    assert verdict(factory.run(GRADED)).status is Status.REPRODUCIBLE  # too rare to detect is no concern
    assert "too rare to detect" in found.checks["control_flicker_p02"].why
    nightly = control_summary(factory.run(dataclasses.replace(GRADED, repetitions=20)))
    assert (nightly.detection_limit, nightly.checks["control_flicker_p10"].seen) == (0.1, 10)


@pytest.mark.parametrize(
    ("repetitions", "name", "digests", "why"),
    [
        (3, "control_flicker_p50", ("plain",), "it did not differ in 15 repetitions, but must"),
        (20, "control_flicker_p10", ("plain",), "it did not differ in 100 repetitions, but must"),
        (3, "control_flicker_p50", ("plain", "plain", "once more"), "its random values were repeated"),
        (20, "control_flicker_p10", ("new", "plain") * 10, "differs too often"),
        (20, "control_flicker_p02", ("new", "plain", "plain", "plain") * 5, "differs too often"),
        (20, "control_flicker_p50", ("new", *(["plain"] * 19)), "differs too rarely"),
        (3, "control_flicker", ("new", "plain", "plain"), "its random values were repeated"),
    ],
)
def test_a_graded_control_that_cannot_be_blinds(
    repetitions: int, name: str, digests: tuple[str, ...], why: str
) -> None:
    run = factory.run(dataclasses.replace(GRADED, repetitions=repetitions), flickers(name, *digests))
    assert verdict(run).status is Status.CONTROL_FAILED
    assert why in control_summary(run).checks[name].why
    elsewhere = verdict(run, mode="off")
    assert elsewhere.status is Status.CONTROL_FAILED
    assert f"under default, determinism on, the control {name} failed" in elsewhere.why


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan")])
def test_a_rate_that_cannot_be_blinds(rate: float) -> None:
    odd = factory.kernel("control_odd", control="must-differ", rate=rate)
    kernels = (factory.kernel("matmul"), *factory.CONTROLS, odd)
    run = factory.run(factory.info(kernels=kernels), only("control_odd", Behaviour(("a", "b"), steady_s=())))
    assert verdict(run).status is Status.CONTROL_FAILED


def test_without_a_control_within_reach_nothing_is_green() -> None:
    kernels = (factory.kernel("matmul"), factory.FLICKER_P10, factory.INTEGER)
    run = factory.run(factory.info(kernels=kernels))
    assert verdict(run).status is Status.INCONCLUSIVE
    assert "so few repetitions could detect none of the controls that must differ" in verdict(run).why
    assert control_summary(run).detection_limit is None


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([1.0, 0.5, 0.1, 0.02]), st.lists(st.booleans(), min_size=1, max_size=120))
def test_a_control_never_passes_unseen_and_never_blinds_for_bad_luck(rate: float, departs: list[bool]) -> None:
    one = factory.kernel("control", control="must-differ", rate=rate)
    acts = Behaviour(digests=tuple(f"new {n}" if gone else "plain" for n, gone in enumerate(departs)), second_seed="")
    facts = factory.info(repetitions=len(departs), rounds=1, kernels=(one,))
    run = factory.run(facts, lambda _: dataclasses.replace(acts, steady_s=()), keep=False)
    found = evaluate(run).control_summaries[COLUMN, "default", "on"].checks["control"]
    plain = departs.count(False)
    seen = len(departs) - max(plain, 1)
    assert (found.seen, found.samples) == (seen, len(departs))
    assert found.passed is not True or seen
    assert found.reach == (len(departs) > 1 and (1 - rate) ** len(departs) <= 0.001)
    if seen == 0:
        assert found.passed is (False if found.reach else None)
    elif rate < 1:
        assert (found.passed is False) == (controls.chance(seen, len(departs), rate) < 1e-6)
    else:
        assert found.passed is (plain <= 1)


def test_gpu_controls_are_told_and_do_not_blind() -> None:
    known = factory.kernel("scatter", gpu_control=True)
    column = factory.column(cuda="12.5")
    facts = factory.info(columns=(column, factory.column()), kernels=(known, *factory.CONTROLS))
    evaluated = evaluate(factory.run(facts))
    found = evaluated.gpu_controls(column.id)
    assert found.seen == {"scatter": False}
    assert "not sensitive enough on h100, or they are reproducible there" in found.notice
    head = evaluated.headline(column.id, "scatter", "off")
    assert head is not None
    assert head.status is Status.REPRODUCIBLE
    assert evaluated.gpu_controls(COLUMN).seen == {}
    varies = evaluate(factory.run(facts, only("scatter", Behaviour(("a", "b")), "off")))
    assert varies.gpu_controls(column.id) == GpuControls(seen={"scatter": True}, notice="")
    gone = evaluate(factory.without(factory.run(facts), Change(mode="off")))
    assert gone.gpu_controls(column.id) == GpuControls(seen={"scatter": None}, notice="")


def test_a_kernel_whose_outputs_lived_on_the_cpu_of_a_gpu_column_is_not_green() -> None:
    column = factory.column(cuda="12.5")
    on_host = factory.kernel("pipeline", on_host=True)
    facts = factory.info(columns=(column,), kernels=(factory.kernel("matmul"), on_host, *factory.CONTROLS))
    run = factory.run(facts, lambda s: EXACT if s.kernel.startswith("control") else Behaviour(device="CPU:0"))
    found = verdict(run, column=column.id)
    assert (found.status, "its outputs were on the CPU" in found.why) == (Status.INCONCLUSIVE, True)
    assert verdict(run, column=column.id, name="pipeline").status is Status.REPRODUCIBLE
    once = factory.run(facts, only("matmul", lambda s: Behaviour(device="CPU:0") if s.round == 4 else EXACT))
    assert verdict(once, column=column.id).status is Status.INCONCLUSIVE
    assert verdict(factory.run(facts), column=column.id).status is Status.REPRODUCIBLE


# --- differences and faults ---------------------------------------------------------------------------


def test_repetitions_that_differ_in_a_process_vary() -> None:
    found = verdict(factory.run(None, only("matmul", Behaviour(("a", "a", "b")))))
    assert (found.status, found.level) == (Status.NONDETERMINISTIC, EvidenceLevel.DIFFERS_WITHIN_PROCESS)
    assert [number for _, number in found.comparison.digests] == [15, 5]
    actual = "2 digests in 15 repetitions and 5 later calls: bits differed within 5 of 5 processes."
    assert found.why == actual
    assert found.digest_class == ""


def test_processes_that_disagree_are_exact_in_process() -> None:
    found = verdict(factory.run(None, only("matmul", lambda spot: Behaviour((str(spot.round // 4),)))))
    assert (found.status, found.level) == (Status.REPRODUCIBLE_IN_PROCESS, EvidenceLevel.SAME_WITHIN_PROCESS)
    assert (found.comparison.differed, found.comparison.compared) == (2, 4)


@pytest.mark.parametrize(
    ("outcome", "error_class", "status"),
    [
        ("error", "UnimplementedError", Status.ERROR),
        ("error", "tensorflow.errors.UnimplementedError", Status.ERROR),
        ("error", "FailedPreconditionError", Status.ERROR),
        ("crashed", "", Status.CRASHED),
        ("timeout", "", Status.TIMEOUT),
        ("oom", "ResourceExhaustedError", Status.OOM),
        ("mismatch", "NotAsked", Status.MISMATCH),
    ],
)
def test_bad_outcomes_have_their_own_names(outcome: str, error_class: str, status: Status) -> None:
    acts = Behaviour(outcome=outcome, error_class=error_class, message="No deterministic GPU implementation")
    found = verdict(factory.run(None, only("matmul", acts)))
    assert (found.status, found.error_message) == (status, acts.message)
    assert found.digest_class == ""


@pytest.mark.parametrize("error_class", ["UnimplementedError", "tensorflow.errors.UnimplementedError"])
def test_unimplemented_is_unsupported_only_with_determinism_on_and_everywhere(error_class: str) -> None:
    acts = Behaviour(outcome="error", error_class=error_class)
    found = verdict(factory.run(None, only("matmul", acts, "on")))
    assert (found.status, found.error_class) == (Status.UNSUPPORTED, "UnimplementedError")
    anyway = verdict(factory.run(None, only("matmul", acts)))
    assert anyway.status is Status.ERROR
    assert anyway.why.endswith("Determinism off gives the same error.")
    other = dataclasses.replace(acts, message="for another reason")
    run = factory.run(None, only("matmul", lambda spot: acts if spot.mode == "on" else other))
    assert verdict(run).status is Status.UNSUPPORTED
    assert verdict(factory.run(None, only("matmul", acts)), mode="off").status is Status.ERROR
    once = factory.run(None, only("matmul", lambda spot: acts if spot.round == 2 else EXACT))
    assert verdict(once).status is Status.ERROR


def test_the_bad_outcome_leads_with_counts() -> None:
    crash = Behaviour(outcome="crashed", message="SIGABRT")
    oom = Behaviour(outcome="oom")
    run = factory.run(None, only("matmul", lambda spot: {2: crash, 4: oom}.get(spot.round, EXACT)))
    found = verdict(run)
    assert found.status is Status.CRASHED
    assert found.why == "Crashed in 1 of 5 processes; ok in 3; oom in 1."
    assert dict(found.outcomes) == {"ok": 3, "crashed": 1, "oom": 1}


def test_a_difference_before_a_crash_is_told_and_trips_the_gate() -> None:
    acts = Behaviour(("a", "b"), outcome="crashed")
    evaluated = evaluate(factory.run(None, only("matmul", acts)))
    found = evaluated.of(COLUMN, "matmul", "default", "on")
    assert found is not None
    assert (found.status, "where it ran, bits differed" in found.why) == (Status.CRASHED, True)
    assert gate(evaluated, ["nondeterministic-on"])


def test_nan_is_not_exact() -> None:
    found = verdict(factory.run(None, only("matmul", Behaviour(nan=True))))
    assert found.status is Status.NAN
    assert "NaN" in found.why
    varies = verdict(factory.run(None, only("matmul", Behaviour(("a", "b"), nan=True))))
    assert (varies.status, varies.comparison.nan) == (Status.NONDETERMINISTIC, True)


@pytest.mark.parametrize(
    "status", ["incompatible", "build-failed", "image-missing", "gpu-not-visible", "reproducible", "nonsense"]
)
def test_a_column_that_was_not_prepared_is_never_green(status: str) -> None:
    column = factory.column(status=status, reason="No wheel for this Python")
    ready = factory.run()
    run = dataclasses.replace(ready, info=factory.info(columns=(column,)))
    expected = Status.MISMATCH if status in ("reproducible", "nonsense") else Status(status)
    assert (verdict(run).status, verdict(run).why) == (expected, "No wheel for this Python")


# --- classes, values, overheads --------------------------------------------------------------------------


def test_letters() -> None:
    assert [letter(index) for index in (0, 1, 25, 26, 27, 701, 702)] == ["A", "B", "Z", "AA", "AB", "ZZ", "AAA"]
    assert list(letters([(False, "x"), (False, "y"), (False, "x")]).values()) == ["A", "B"]
    assert list(letters([(True, "x"), (True, "y")]).values()) == ["A", "B"]
    assert letters([(False, "x"), (True, "y")]) == {(False, "x"): "A", (True, "y"): "A\N{PRIME}"}
    with pytest.raises(ValueError, match="counts from 0"):
        letter(-1)


def test_letters_go_by_first_appearance_over_columns_variations_and_modes() -> None:
    columns = (factory.column("2.18.1"), factory.column("2.21.0"))
    facts = factory.info(columns=columns, variations={"default": (), "isa=avx2": ()})

    def bits(spot: Spot) -> Behaviour:
        return Behaviour((("new" if "2.21" in spot.column else "old") + spot.mode * (spot.variation != "default"),))

    evaluated = evaluate(factory.run(facts, only("matmul", bits)))
    found = {(v.column, v.variation, v.mode): v.digest_class for v in evaluated.verdicts if v.kernel == "matmul"}
    assert list(found.values()) == ["A", "A", "B", "C", "D", "D", "E", "F"]
    changed = {(v.variation, v.mode): v.changed_value for v in evaluated.verdicts if v.kernel == "matmul"}
    assert changed == {
        ("default", "off"): None,
        ("default", "on"): False,
        ("isa=avx2", "off"): None,
        ("isa=avx2", "on"): True,
    }


def test_the_first_variation_is_the_headline_and_worse_ones_are_known() -> None:
    facts = factory.info(variations={"isa=avx2": ("matmul",), "default": ()}, variation_modes={"isa=avx2": ("on",)})
    abort = Behaviour(outcome="crashed")
    evaluated = evaluate(
        factory.run(facts, lambda s: abort if (s.variation, s.kernel) == ("isa=avx2", "matmul") else EXACT)
    )
    head, worst = evaluated.headline(COLUMN, "matmul", "on"), evaluated.worst(COLUMN, "matmul", "on")
    assert head is not None
    assert worst is not None
    assert (head.status, head.variation) == (Status.REPRODUCIBLE, "default")
    assert (worst.status, worst.variation) == (Status.CRASHED, "isa=avx2")
    assert evaluated.worse_under(COLUMN, "matmul", "on", ("default",)) == (worst,)
    assert evaluated.worse_under(COLUMN, "matmul", "on", ("isa=avx2",)) == ()
    assert evaluated.headline(COLUMN, "matmul", "off") == evaluated.of(COLUMN, "matmul", "default", "off")
    assert evaluated.of(COLUMN, "conv2d", "isa=avx2", "on") is None
    (found,) = choose(evaluated)
    assert (found.reproducible, found.fits) == (2, True)
    assert [(one.kind, one.kernels) for one in found.also_under] == [(Status.CRASHED, (("matmul", "isa=avx2"),))]


def test_a_planned_variation_that_was_not_run_is_reported_beside_the_headline() -> None:
    run = factory.run(factory.info(variations={"default": (), "isa=avx2": ()}))
    evaluated = evaluate(factory.without(run, Change(variation="isa=avx2")))
    worst = evaluated.worst(COLUMN, "matmul", "on")
    assert worst is not None
    assert worst.status is Status.NOT_RUN
    (found,) = choose(evaluated)
    assert found.fits
    assert [(one.kind, len(one.kernels)) for one in found.also_under] == [(Status.NOT_RUN, 2)]


def test_the_default_variation_that_was_not_run_keeps_the_headline_from_green() -> None:
    run = factory.run(factory.info(variations={"default": (), "isa=avx2": ()}))
    evaluated = evaluate(factory.without(run, Change(variation="default")))
    head = evaluated.headline(COLUMN, "matmul", "on")
    assert head is not None
    assert head.status is Status.NOT_RUN
    assert not any(column.fits for column in choose(evaluated))


def test_overhead_is_a_ratio_with_an_interval() -> None:
    def timed(spot: Spot) -> Behaviour:
        base = 0.002 if spot.mode == "on" else 0.001
        return Behaviour(steady_s=(base * (1 + spot.round / 100),))

    overhead = evaluate(factory.run(None, only("matmul", timed))).overhead(COLUMN, "matmul")
    assert overhead is not None
    assert overhead.ratio == pytest.approx(2.0)
    assert overhead.significant
    assert overhead.low is not None
    assert overhead.low > 1.9


def test_no_overhead_for_what_crashed() -> None:
    run = factory.run(None, only("matmul", Behaviour(outcome="crashed"), mode="on"))
    assert evaluate(run).overhead(COLUMN, "matmul") is None


def test_no_overhead_where_the_variation_was_not_timed() -> None:
    facts = factory.info(variations={"default": (), "threads=1": ()})
    evaluated = evaluate(factory.run(facts, timed=("default",)))
    assert set(evaluated.overheads) == {(COLUMN, "matmul", "default"), (COLUMN, "conv2d", "default")}
    untimed = evaluated.of(COLUMN, "matmul", "threads=1", "on")
    assert untimed is not None
    assert untimed.timing is not None
    assert (untimed.timing.kind, untimed.timing.median_s) == (TimeKind.FIRST, 0.05)


def test_what_may_not_be_called_again_has_a_overhead_of_first_calls() -> None:
    run = factory.run(None, only("matmul", lambda s: Behaviour(steady_s=(), first_s=0.2 if s.mode == "on" else 0.1)))
    overhead = evaluate(run).overhead(COLUMN, "matmul")
    assert overhead is not None
    assert overhead.kind is TimeKind.FIRST
    assert overhead.ratio == pytest.approx(2.0)


def test_wall_cpu_first_call_and_memory_are_told_apart() -> None:
    found = verdict(
        factory.run(None, only("matmul", lambda s: Behaviour(steady_s=(0.002,), first_s=0.3, peak_mb=100.0 + s.round)))
    )
    assert found.timing is not None
    assert (found.timing.median_s, found.timing.cpu_median_s, found.timing.first_median_s) == (0.002, 0.004, 0.3)
    assert found.peak_mb == 105.0


def test_upgrades_are_priced_between_neighbours_of_one_device() -> None:
    names = ("2.16.2", "2.17.1", "2.18.1")
    columns = [factory.column(name) for name in names]
    columns.insert(1, factory.column("2.17.0", cuda="12.5"))
    columns.insert(2, factory.column("2.17.0", status="build-failed", reason="no wheel"))
    slow = {columns[-1].id: 0.004}

    def behave(spot: Spot) -> Behaviour:
        if spot.kernel != "matmul":
            return EXACT
        return Behaviour(steady_s=(slow.get(spot.column, 0.002) * (1 + spot.round / 100),))

    evaluated = evaluate(factory.run(factory.info(columns=tuple(columns)), behave))
    found = {
        (one.kernel, one.mode, step.before.id, step.after.id): one.cost
        for step in evaluated.steps
        for one in of_step(evaluated, step).kernels
    }
    ids = [one.id for one in columns if one.cuda == "cpu" and one.status == "ready"]
    assert {key[2:] for key in found} == {(ids[0], ids[1]), (ids[1], ids[2])}
    assert {key[:2] for key in found} == {(name, mode) for name in ("matmul", "conv2d") for mode in ("off", "on")}
    slower, alike = (found["matmul", "on", *pair] for pair in ((ids[1], ids[2]), (ids[0], ids[1])))
    assert slower is not None
    assert slower.ratio == pytest.approx(2.0)
    assert slower.significant
    assert alike is not None
    assert not alike.significant


# --- accuracy -----------------------------------------------------------------------------------------


def erring(rms: float) -> Behaviour:
    return Behaviour(errors={"out": {"max": rms * 3, "rms": rms}, "other": {"max": 0.0, "rms": 0.0}})


@pytest.mark.parametrize(("on", "word"), [(1e-7, "more"), (4e-7, "less"), (2.05e-7, "same")])
def test_accuracy_of_on_against_off(on: float, word: str) -> None:
    evaluated = evaluate(factory.run(None, only("matmul", lambda s: erring(on if s.mode == "on" else 2e-7))))
    found = evaluated.accuracy(COLUMN, "matmul", "default")
    assert found == Accuracy(word=word, on=on, off=2e-7)
    assert f"{on:.2g} against 2e-07" in found.sentence
    assert evaluated.accuracy(COLUMN, "conv2d", "default") is None
    assert evaluated.accuracy(COLUMN, "matmul", "nowhere") is None


def test_errors_are_those_of_the_most_frequent_digest_that_has_any() -> None:
    def behave(spot: Spot) -> Behaviour:
        if spot.round == 1:
            return dataclasses.replace(erring(1e-7), digests=("a",))
        return Behaviour(digests=("b",))  # the errors are computed in the first round only

    found = verdict(factory.run(None, only("matmul", behave)))
    assert found.errors["out"]["rms"] == 1e-7
    nonsense = only("matmul", Behaviour(errors={"out": {"rms": float("nan")}}))
    assert verdict(factory.run(None, nonsense)).errors == {}


# --- bad input ----------------------------------------------------------------------------------------


def test_a_record_without_numbers_of_repetitions_is_left_out_and_the_rest_stands() -> None:
    damage = asking(repetitions={"matmul": 3})
    evaluated = evaluate(factory.changed(factory.run(), damage, ONE))
    ((path, reason),) = evaluated.left_out
    assert path.endswith("on-003.jsonl")
    assert "how often each kernel was to be repeated" in reason
    found = evaluated.of(COLUMN, "matmul", "default", "on")
    assert found is not None
    assert (found.status, found.comparison.processes) == (Status.INCONCLUSIVE, 4)


def test_kernels_renamed_since_are_not_run() -> None:
    run = factory.run()
    kernels = (factory.kernel("matmul_f32"), factory.kernel("conv2d", "convolutions"), *factory.CONTROLS)
    renamed = dataclasses.replace(run, info=factory.info(kernels=kernels))
    found = verdict(renamed, name="matmul_f32")
    assert (found.status, found.why) == (Status.NOT_RUN, "No round included this kernel.")
    assert verdict(renamed, name="conv2d").status is Status.MISMATCH, "records have a kernel that run.json lacks"
    other = dataclasses.replace(renamed, info=dataclasses.replace(renamed.info, suite_hash="new"))
    found = verdict(other, name="matmul_f32")
    assert (found.status, found.why) == (
        Status.OUTDATED,
        "Only records of another version of the suite exist: 5 records.",
    )


# --- variations ---------------------------------------------------------------------------------------


def test_a_contrast_of_another_variation_shows_that_a_kernel_feels_its_input() -> None:
    facts = factory.info(variations={"default": (), "threads=1": ()})
    run = factory.run(facts, only("matmul", lambda s: EXACT if s.variation == "default" else Behaviour(second_seed="")))
    assert verdict(run, variation="threads=1").status is Status.REPRODUCIBLE


def test_letters_go_over_variations_and_a_setting_may_differ_between_them() -> None:
    facts = factory.info(variations={"default": (), "tf32=off": ("matmul",)})
    run = factory.run(facts, only("matmul", lambda s: Behaviour((s.variation,))))
    off = Change(variation="tf32=off")
    run = factory.changed(factory.changed(run, factory.settings(tf32=False), off), asking(tf32=False), off)
    evaluated = evaluate(run)
    actual = {(v.variation, v.mode): (v.digest_class, v.status) for v in evaluated.verdicts if v.kernel == "matmul"}
    assert actual == {
        ("default", "off"): ("A", Status.REPRODUCIBLE),
        ("default", "on"): ("A", Status.REPRODUCIBLE),
        ("tf32=off", "off"): ("B", Status.REPRODUCIBLE),
        ("tf32=off", "on"): ("B", Status.REPRODUCIBLE),
    }
    assert evaluated.of(COLUMN, "conv2d", "tf32=off", "on") is None
    head = evaluated.headline(COLUMN, "conv2d", "on")
    assert head is not None
    assert head.status is Status.REPRODUCIBLE


# --- answer and gates ---------------------------------------------------------------------------------


def test_answer_ranks_and_shows_ties() -> None:
    names = ("2.16.2", "2.17.1", "2.18.1", "2.19.1")
    columns = (
        *(factory.column(name) for name in names),
        factory.column("2.15.1", status="build-failed", reason="no wheel"),
    )

    def behave(spot: Spot) -> Behaviour:
        bad = "2.16" in spot.column or ("2.17" in spot.column and spot.kernel == "matmul")
        return Behaviour(("a", "b")) if bad and not spot.kernel.startswith("control") and spot.mode == "on" else EXACT

    found = choose(evaluate(factory.run(factory.info(columns=columns), behave)))
    actual = [(one.column.split("-")[0], one.rank, one.tied, one.reproducible, one.fits) for one in found]
    assert actual == [
        ("tf2.18.1", 1, True, 2, True),
        ("tf2.19.1", 1, True, 2, True),
        ("tf2.17.1", 3, False, 1, False),
        ("tf2.16.2", 4, False, 0, False),
        ("tf2.15.1", None, False, 0, False),
    ]
    assert found[0].counts == ((Status.REPRODUCIBLE, 2),)
    assert found[0].compared == 4


@pytest.mark.parametrize(
    "status", ["inconclusive", "control-failed", "mismatch", "not-run", "nondeterministic", "off-only", "nothing"]
)
def test_safe_needs_every_kernel_exact(status: str) -> None:
    runs: dict[str, Callable[[], Run]] = {
        "inconclusive": lambda: factory.run(factory.info(rounds=2)),
        "control-failed": lambda: factory.run(None, only("control_flicker", Behaviour())),
        "mismatch": lambda: factory.run(None, only("matmul", Behaviour(outcome="mismatch"))),
        "not-run": lambda: factory.without(factory.run(), ALL_ON),
        "nondeterministic": lambda: factory.run(None, only("matmul", Behaviour(("a", "b")))),
        "off-only": lambda: factory.run(factory.info(modes=("off",))),
        "nothing": lambda: factory.run(factory.info(kernels=factory.CONTROLS)),
    }
    run = runs[status]() if status != "control-failed" else factory.run(None, _still_flicker)
    assert not any(column.fits for column in choose(evaluate(run)))


def _still_flicker(spot: Spot) -> Behaviour:
    return Behaviour(later_call=None) if spot.kernel == "control_flicker" else EXACT


def test_gates_name_what_broke_them() -> None:
    evaluated = evaluate(factory.run(None, only("matmul", Behaviour(("a", "b")))))
    assert gate(evaluated, []) == ()
    (sentence,) = gate(evaluated, ["nondeterministic-on"])
    assert sentence.startswith(f"nondeterministic-on: matmul is nondeterministic in {COLUMN}, default, determinism on.")
    assert len(gate(evaluated, ["nondeterministic-on", "nondeterministic-off"])) == 2
    assert gate(evaluate(factory.run()), GATES) == ()
    with pytest.raises(ConfigError, match="no gate 'on-vary'"):
        gate(evaluated, ["on-vary"])


@pytest.mark.parametrize(
    ("name", "run"),
    [
        ("nondeterministic-on", lambda: factory.run(None, only("matmul", lambda s: Behaviour((str(s.round),))))),
        ("unsupported", lambda: factory.run(None, only("matmul", UNIMPLEMENTED, "on"))),
        ("control-failed", lambda: factory.run(None, _still_flicker)),
        ("inconclusive", lambda: factory.run(factory.info(rounds=1))),
        ("faults", lambda: factory.run(None, only("matmul", Behaviour(outcome="timeout")))),
        ("unmeasured", lambda: factory.without(factory.run(), ALL_ON)),
    ],
)  # fmt: skip
def test_every_gate_can_break(name: str, run: Callable[[], Run]) -> None:
    assert gate(evaluate(run()), [name])


# --- properties ---------------------------------------------------------------------------------------

BITS = st.sampled_from(["a", "b"])
ACTS = st.builds(
    Behaviour,
    digests=st.tuples(BITS) | st.tuples(BITS, BITS),
    second_seed=st.sampled_from(["other", "other", "other", "a", ""]),
    later_call=st.sampled_from(["", "", None, "later"]),
    nan=st.sampled_from([False, False, False, True]),
    outcome=st.sampled_from(["ok", "ok", "ok", "ok", "error", "crashed", "timeout", "oom", "mismatch"]),
)


@st.composite
def runs(draw: st.DrawFn) -> tuple[Run, dict[tuple[str, int], Behaviour], bool]:
    rounds = draw(st.integers(1, 5))
    acts = {(mode, number): draw(ACTS) for mode in ("off", "on") for number in range(1, rounds + 1)}
    still = draw(st.sampled_from([False, False, True]))

    def behave(spot: Spot) -> Behaviour:
        if spot.kernel == "control_flicker":
            return Behaviour(later_call=None) if still else EXACT
        return acts[spot.mode, spot.round] if spot.kernel == "matmul" else EXACT

    facts = factory.info(rounds=rounds, repetitions=draw(st.integers(1, 3)))
    return factory.run(facts, behave), acts, still


@settings(max_examples=200, deadline=None)
@given(runs())
def test_green_means_green(made: tuple[Run, dict[tuple[str, int], Behaviour], bool]) -> None:
    """A green is never given unless every sample of its mode agreed, from enough processes, seen by open eyes."""
    run, acts, still = made
    for mode in ("off", "on"):
        if verdict(run, mode=mode).status is not Status.REPRODUCIBLE:
            continue
        own = [value for (where, _), value in acts.items() if where == mode]
        assert not still
        assert len(own) >= 3
        assert all(one.outcome == "ok" and not one.nan and one.later_call != "later" for one in own)
        used = {one.digests[number % len(one.digests)] for one in own for number in range(run.info.repetitions)}
        assert len(used) == 1
        assert acts[mode, 1].second_seed not in used, "only round 1 has a second seed"
        assert any(one.second_seed for one in acts.values())


@settings(max_examples=100, deadline=None)
@given(runs(), st.randoms(use_true_random=False))
def test_judging_is_pure_and_does_not_see_the_order_of_records(
    made: tuple[Run, dict[tuple[str, int], Behaviour], bool], random: Any
) -> None:
    run = made[0]
    items = list(run.records.items())
    random.shuffle(items)
    assert evaluate(dataclasses.replace(run, records=dict(items))).verdicts == evaluate(run).verdicts


@settings(max_examples=100, deadline=None)
@given(runs())
def test_taking_evidence_away_never_makes_a_verdict_green(
    made: tuple[Run, dict[tuple[str, int], Behaviour], bool],
) -> None:
    run = made[0]
    before = verdict(run).status
    after = verdict(factory.without(run, Change(mode="on", rounds=(1,)))).status
    assert before is Status.REPRODUCIBLE or after is not Status.REPRODUCIBLE


def test_a_record_that_is_missing_or_cut_off_leaves_its_column_incomplete() -> None:
    run = factory.run()
    assert evaluate(run).incomplete == ()
    assert evaluate(factory.without(run, ONE)).incomplete == (COLUMN,)
    assert evaluate(factory.changed(run, cut_off, ONE)).incomplete == (COLUMN,)
    merged = dataclasses.replace(run, info=dataclasses.replace(run.info, merged_from=run.info.id))
    assert evaluate(factory.without(merged, Change(mode="on"))).incomplete == (), "the other run did not plan it"
    assert evaluate(factory.without(merged, ONE)).incomplete == (COLUMN,)
