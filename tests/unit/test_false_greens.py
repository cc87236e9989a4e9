"""Ways to a wrong green that were found once: each is closed, and stays closed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench import report
from bench.report.build.page import build
from bench.store.kept_values import StoredValues
from bench.suite import kept_values
from bench.verdict import Status, evaluate, gate
from bench.verdict.comparison import Side, change
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour, Change
from tests.unit.test_verdict import GRADED, control_summary, only, verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.store.run import Run
    from bench.store.run_info import ColumnInfo
    from bench.suite.record import Record
    from tests.unit.factory import Spot


@pytest.mark.parametrize(
    ("variation", "wrong"),
    [
        ("threads=1", {"intra_op_threads": 2}),
        ("threads=4xcores", {"intra_op_threads": 2}),
        ("onednn=0", {"onednn": "on"}),
        ("isa=avx2", {"isa_limit": "none"}),
        ("switch=env", {"switch": "api"}),
        ("onednn=0", {"onednn": None}),
    ],
)
def test_a_variation_that_was_not_in_force_is_no_measurement(variation: str, wrong: dict[str, Any]) -> None:
    run = factory.run(factory.info(variations={"default": (), variation: ()}))
    assert verdict(run, variation=variation).status is Status.REPRODUCIBLE
    broken = factory.changed(run, factory.settings(**wrong), Change(mode="on", variation=variation))
    assert verdict(broken, variation=variation).status is Status.MISMATCH
    assert "was" in verdict(broken, variation=variation).why
    assert verdict(broken).status is Status.REPRODUCIBLE


def test_rounds_that_no_control_watched_are_weak() -> None:
    def unwatched(one: Record) -> Record:
        kernels = tuple(name for name in one.request.kernels if not name.startswith("control"))
        return dataclasses.replace(
            one,
            request=dataclasses.replace(one.request, kernels=kernels),
            samples=tuple(s for s in one.samples if not s.kernel.startswith("control")),
            outcomes=tuple(o for o in one.outcomes if not o.kernel.startswith("control")),
        )

    found = verdict(factory.changed(factory.run(), unwatched, Change(mode="on", rounds=(2, 3, 4, 5))))
    assert found.status is Status.INCONCLUSIVE
    assert "4 of its 5 rounds ran without all controls" in found.why


def test_infinity_hides_differences_as_nan_does() -> None:
    def infinite(one: Record) -> Record:
        return dataclasses.replace(
            one,
            samples=tuple(
                dataclasses.replace(s, outputs={k: {**v, "inf": 9} for k, v in s.outputs.items()}) for s in one.samples
            ),
        )

    found = verdict(factory.changed(factory.run(), infinite))
    assert (found.status, "Inf" in found.why) == (Status.INCONCLUSIVE, True)


def test_a_timing_pass_that_is_missing_is_told() -> None:
    run = factory.run(None, only("matmul", Behaviour(steady_s=(), steady_agrees=None)))
    assert "left out the timing pass" in verdict(run).why
    assert verdict(run).status is Status.INCONCLUSIVE


def test_few_repetitions_are_not_spoken_for_by_controls_with_many() -> None:
    seen = control_summary(factory.run(dataclasses.replace(GRADED, repetitions=20)))
    assert seen.detection_limit_for(100) == 0.1
    assert seen.detection_limit_for(25) == 0.5
    assert seen.detection_limit_for(1) is None
    assert dataclasses.replace(seen, fewest=25).detection_limit == 0.5


@pytest.mark.parametrize(
    ("variation", "acts", "explained"),
    [
        ("default", Behaviour(("a", "b")), True),
        ("threads=1", Behaviour(("a", "b")), False),
        ("default", Behaviour(("a", "b"), outcome="error", error_class="ValueError"), False),
    ],
)
def test_a_known_issue_explains_only_what_is_known_of_it(variation: str, acts: Behaviour, *, explained: bool) -> None:
    facts = factory.info(kernels=(factory.kernel("bincount_weighted"), *factory.GRADED), variations={variation: ()})
    run = factory.run(facts, lambda spot: acts if spot.kernel == "bincount_weighted" else EXACT)
    assert bool(gate(evaluate(run), ["unknown-nondeterminism"])) is not explained
    assert gate(evaluate(run), ["nondeterministic-on"])


def test_a_cause_in_code_for_the_cpu_explains_nothing_on_a_gpu() -> None:
    kernels = (factory.kernel("bincount_weighted"), *factory.CONTROLS)
    acts = Behaviour(("a", "b"))
    for column, explained in ((factory.column(), True), (factory.column(cuda="12.5"), False)):
        run = factory.run(
            factory.info(columns=(column,), kernels=kernels),
            lambda spot: acts if spot.kernel == "bincount_weighted" else EXACT,
        )
        assert bool(gate(evaluate(run), ["unknown-nondeterminism"])) is not explained


@pytest.mark.parametrize(
    "changes",
    [
        {"round": "1"},
        {"steady_s": None},
        {"env": None},
        {"context": []},
    ],
)
def test_a_mistyped_record_is_left_out_and_the_rest_stands(changes: dict[str, Any]) -> None:
    def mistype(one: Record) -> Record:
        return dataclasses.replace(one, request=dataclasses.replace(one.request, **changes))

    evaluated = evaluate(factory.changed(factory.run(), mistype, Change(mode="on", rounds=(2,))))
    assert (
        "a type that no worker writes"
        in dict(evaluated.left_out)["records/tf2.18.1-cpu-py311@cpu/default/on-002.jsonl"]
    )
    assert (
        verdict(factory.changed(factory.run(), mistype, Change(mode="on", rounds=(2,)))).status is Status.INCONCLUSIVE
    )


@pytest.mark.parametrize("field", ["first_s", "kernel"])
def test_a_mistyped_sample_is_left_out(field: str) -> None:
    nothing: dict[str, Any] = {field: None}

    def mistype(one: Record) -> Record:
        return dataclasses.replace(one, samples=tuple(dataclasses.replace(s, **nothing) for s in one.samples))

    evaluated = evaluate(factory.changed(factory.run(), mistype, Change(mode="on", rounds=(2,))))
    assert len(evaluated.left_out) == 1


@pytest.mark.parametrize("change", [{"most": float("inf")}, {"step": [1]}, {"digest": ""}])
def test_damaged_kept_values_are_none(change: dict[str, Any]) -> None:
    row = kept_values.keep("x", None, np.arange(4.0), "d" * 16, 128)
    assert StoredValues(rows={("k", "d"): (row,)}).tensors("k", "d")
    assert StoredValues(rows={("k", "d"): ({**row, **change},)}).tensors("k", "d") == ()


# --- GPUs ---------------------------------------------------------------------------------------------


H100 = factory.column(cuda="12.5")
GPU_RUN = factory.info(columns=(H100,))
OTHER_GPU = "GPU-99999999-0000-0000-0000-000000000009"
THROTTLED = {**factory.CALM, "reasons": ["hardware slowdown"], "discarded": "throttled: hardware slowdown"}
SHARED = {**factory.CALM, "foreign": ["process 4711 holds 512 MiB"], "discarded": "shared: process 4711 holds 512 MiB"}


def asked(**changes: Any) -> Callable[[Record], Record]:
    return lambda one: dataclasses.replace(one, request=dataclasses.replace(one.request, **changes))


def shown(run: Run) -> list[str]:
    """Every word of the page in all its formats."""
    evaluated = evaluate(run)
    return [report.render(evaluated, form) for form in report.Format]


def ends_as_no_gpu(one: Record) -> Record:
    """What a worker writes that sees no GPU: its settings, and an outcome for every kernel."""
    return dataclasses.replace(
        one,
        samples=(),
        outcomes=tuple(
            dataclasses.replace(old, outcome="gpu-not-visible", message="no driver: libcuda.so.1 cannot be opened")
            for old in one.outcomes
        ),
    )


def test_a_gpu_column_measured_on_the_cpu_has_no_number() -> None:
    run = factory.changed(factory.run(GPU_RUN), ends_as_no_gpu)
    found = verdict(run, column=H100.id)
    assert (found.status, found.why) == (Status.GPU_NOT_VISIBLE, "No driver: libcuda.so.1 cannot be opened.")
    assert (found.timing, found.peak_mb, found.peak_gpu_mb, found.digest_class) == (None, None, None, "")
    assert gate(evaluate(run), ["unmeasured"])
    for form in report.Format:
        page = report.render(evaluate(run), form).replace("\\", "")
        assert "gpu-not-visible" in page
        # In the summary, in the header of the column, and in the ranking of each of the three requirements;
        # never once for each cell.
        assert 1 <= page.count("libcuda.so.1 cannot be opened") <= 5


@pytest.mark.parametrize("change", [factory.settings(devices=["/device:CPU:0"]), ends_as_no_gpu])
def test_one_process_without_the_gpu_spoils_its_column(change: Callable[[Record], Record]) -> None:
    run = factory.changed(factory.run(GPU_RUN), change, Change(mode="on", rounds=(3,)))
    evaluated = evaluate(run)
    assert verdict(run, column=H100.id).status is Status.GPU_NOT_VISIBLE
    assert (H100.id, "default", "on") not in evaluated.control_summaries
    assert not evaluated.overheads


def test_a_cpu_number_never_stands_in_a_gpu_column() -> None:
    run = factory.changed(factory.run(GPU_RUN), factory.settings(devices=["/device:CPU:0"]))
    found = evaluate(run)
    assert {one.status for one in found.verdicts} == {Status.GPU_NOT_VISIBLE}
    assert not any(one.timing or one.comparison.digests or one.peak_mb for one in found.verdicts)
    digest = factory.digest("matmul same")[:12]
    assert not any(digest in page for page in shown(run))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (asked(gpu={"uuid": OTHER_GPU}), "asked to run on"),
        (asked(device="cpu"), "asked to run on a CPU"),
        (factory.facts_of_process(gpu={"uuid": OTHER_GPU}), "a process ran on"),
    ],
)
def test_another_gpu_is_not_what_was_asked(change: Callable[[Record], Record], told: str) -> None:
    found = verdict(factory.changed(factory.run(GPU_RUN), change, Change(mode="on", rounds=(2,))), column=H100.id)
    assert (found.status, told in found.why) == (Status.MISMATCH, True)
    assert found.timing is None


def test_a_slice_of_a_gpu_may_have_two_names() -> None:
    column = factory.column(cuda="12.5", gpu="MIG-1a2b3c4d-0000-0000-0000-000000000001")
    run = factory.changed(
        factory.run(factory.info(columns=(column,))), factory.facts_of_process(gpu={"uuid": OTHER_GPU, "sm_count": 16})
    )
    assert verdict(run, column=column.id).status is Status.REPRODUCIBLE


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (factory.facts_of_process(cuda={"cublas": "12.6.4"}), "loaded cublas"),
        (factory.facts_of_process(gpu={"device_name": "NVIDIA H200"}), "more than one GPU"),
        (factory.facts_of_process(gpu={"sm_count": 114}), "more than one GPU, by sm_count"),
        (asked(gpu={"uuid": factory.GPU, "driver": "580.65.06"}), "more than one driver"),
    ],
)
def test_processes_of_two_gpus_drivers_or_libraries_are_not_compared(
    change: Callable[[Record], Record], told: str
) -> None:
    found = verdict(factory.changed(factory.run(GPU_RUN), change, Change(mode="off", rounds=(2,))), column=H100.id)
    assert (found.status, told in found.why) == (Status.MISMATCH, True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (factory.facts_of_process(cuda=None), "which CUDA libraries"),
        (factory.facts_of_process(cuda="12.5"), "which CUDA libraries"),
        (factory.facts_of_process(cuda={"driver": "12.4"}), "which CUDA libraries"),
        (factory.facts_of_process(gpu={}), "which GPU it had"),
        (factory.facts_of_process(gpu={"device_name": "NVIDIA H100"}), "which GPU it had"),
        (asked(gpu={}), "by UUID"),
    ],
)
def test_a_gpu_column_that_does_not_say_what_it_loaded_is_weak(change: Callable[[Record], Record], told: str) -> None:
    run = factory.changed(factory.run(GPU_RUN), change)
    found = verdict(run, column=H100.id)
    assert (found.status, told in found.why) == (Status.INCONCLUSIVE, True)
    old = dataclasses.replace(run, info=dataclasses.replace(run.info, schema=2))
    assert verdict(old, column=H100.id).status is Status.REPRODUCIBLE


@pytest.mark.parametrize(("seen", "word"), [(THROTTLED, "throttled"), (SHARED, "shared")])
def test_a_discarded_time_is_no_time_and_no_overhead(seen: dict[str, Any], word: str) -> None:
    slow = Behaviour(steady_s=(0.5, 0.6), guard=seen)
    run = factory.run(GPU_RUN, lambda spot: slow if (spot.kernel, spot.mode) == ("matmul", "on") else EXACT)
    found = verdict(run, column=H100.id)
    assert (found.status, found.timing) == (Status.REPRODUCIBLE, None)  # clocks change no bits
    evaluated = evaluate(run)
    assert (H100.id, "matmul", "default") not in evaluated.overheads
    assert (H100.id, "conv2d", "default") in evaluated.overheads
    half = next(row.entries[0].on for row in build(evaluated).rows if row.kernel == "matmul")
    assert (half.time, half.overhead) == (word, word)
    notice = next(one for one in build(evaluated).notices if one.title == "Times left out")
    reason = str(seen["discarded"]).partition(": ")[2]
    assert notice.items == (f"TF 2.18.1 CUDA 12.5 on h100: {word} ({reason}), 1 result",)
    for page in shown(run)[:4]:
        assert reason in page.replace("\\", "")


def test_a_retake_gives_the_time_that_was_discarded() -> None:
    slow = Behaviour(steady_s=(0.5, 0.6), guard=THROTTLED)
    run = factory.run(GPU_RUN, lambda spot: slow if spot.kernel == "matmul" else EXACT)
    taken = factory.changed(run, lambda one: factory.again(one, "matmul", EXACT, GPU_RUN, H100))
    found = verdict(taken, column=H100.id)
    assert found.timing is not None
    assert found.timing.per_process == pytest.approx([0.00105] * 5)
    assert (found.status, found.comparison.processes, found.comparison.compared) == (Status.REPRODUCIBLE, 10, 9)
    assert found.discarded is not None
    assert found.discarded.sentence.startswith("Times of 5 of 10 processes are left out (throttled)")
    assert evaluate(taken).overheads[H100.id, "matmul", "default"].processes_on == 5


def test_a_retake_hides_no_difference() -> None:
    slow = Behaviour(guard=THROTTLED)
    run = factory.run(GPU_RUN, lambda spot: slow if spot.kernel == "matmul" else EXACT)
    first = Change(mode="on", rounds=(1,))
    other = factory.changed(run, lambda one: factory.again(one, "matmul", Behaviour(("x",)), GPU_RUN, H100), first)
    assert verdict(other, column=H100.id).status is Status.REPRODUCIBLE_IN_PROCESS
    died = factory.run(GPU_RUN, lambda spot: Behaviour(outcome="crashed") if spot.round == 1 else EXACT)
    again = factory.changed(died, lambda one: factory.again(one, "matmul", EXACT, GPU_RUN, H100), first)
    assert verdict(again, column=H100.id).status is Status.CRASHED


def test_retakes_lift_no_run_that_is_too_small() -> None:
    few = dataclasses.replace(GPU_RUN, rounds=3)
    run = factory.changed(factory.run(few), lambda one: factory.again(one, "matmul", EXACT, few, H100))
    found = verdict(run, column=H100.id)
    assert (found.status, "only 3 processes" in found.why) == (Status.INCONCLUSIVE, True)


def test_a_process_told_twice_in_one_record_is_a_copy() -> None:
    def copied(one: Record) -> Record:
        found = factory.again(one, "matmul", EXACT, GPU_RUN, H100)
        first = found.processes[0]
        return dataclasses.replace(found, processes=(first, dataclasses.replace(first, process=2)))

    evaluated = evaluate(factory.changed(factory.run(GPU_RUN), copied))
    assert {why for _, why in evaluated.left_out} == {"a copy: it has one process twice"}


def forward(cuda: str, cudnn: str = "9.3.0.75", **changes: Any) -> ColumnInfo:
    return factory.column(cuda=cuda, cudnn=cudnn, kind="forward", **changes)


def test_a_mixed_step_is_put_down_to_no_one() -> None:
    both = forward("12.9", "9.10.2.21", id="tf2.18.1-cuda12.9-cudnn9.10-py311@h100")
    run = factory.run(factory.info(columns=(H100, both)))
    assert evaluate(run).steps == ()
    between = forward("12.9")
    found = evaluate(factory.run(factory.info(columns=(H100, between, both)))).steps
    assert [(one.variable, one.before.id, one.after.id) for one in found] == [
        ("cuda", H100.id, between.id),
        ("cudnn", between.id, both.id),
    ]


def test_a_step_between_official_pairs_says_what_moved_with_it() -> None:
    older = factory.column("2.17.1", "12.3", cudnn="8.9.7.29")
    (one,) = evaluate(factory.run(factory.info(columns=(older, H100)))).steps
    assert (one.variable, one.mixed) == ("tensorflow", True)
    assert one.sentence == (
        "TensorFlow 2.17.1 to 2.18.1, CUDA 12.3 to 12.5, cuDNN 8.9.7.29 to 9.3.0.75: "
        "they changed together, so an effect cannot be attributed to one of them."
    )
    assert not evaluate(factory.run(factory.info(columns=(dataclasses.replace(older, kind="legacy"), H100)))).steps


@pytest.mark.parametrize(
    "changes",
    [
        {"origin": {"name": "gpu-box", "engine": "venv"}},
        {"gpu": OTHER_GPU},
        {"device": "h200"},
        {"kind": "local"},
        {"cudnn": ""},
    ],
)
def test_times_of_two_machines_are_never_compared(changes: dict[str, Any]) -> None:
    base: dict[str, Any] = {"id": "tf2.18.1-cuda12.6-py311@h100", "kind": "forward", **changes}
    column = dataclasses.replace(factory.column(cuda="12.6"), **base)
    evaluated = evaluate(factory.run(factory.info(columns=(H100, column))))
    assert evaluated.steps == ()
    sides = (Side(results=evaluated, column=one.id) for one in (H100, column))
    # one machine, though nobody knows what to put a change down to: asked for by name, its times may be compared
    assert {one.cost is None for one in change(*sides).kernels} == {"cudnn" not in changes}
    letters = {one.digest_class for one in evaluated.verdicts if one.kernel == "matmul"}
    assert letters == {"A"}


def test_times_under_two_drivers_are_never_compared() -> None:
    column = forward("12.6")
    run = factory.run(factory.info(columns=(H100, column)))
    assert len(evaluate(run).steps) == 1
    moved = factory.changed(run, asked(gpu={"uuid": factory.GPU, "driver": "580.65.06"}), Change(column=column.id))
    assert evaluate(moved).steps == ()


@pytest.mark.parametrize("status", ["incompatible", "gpu-not-visible"])
def test_a_column_that_was_not_measured_has_no_number_whatever_lies_there(status: str) -> None:
    run = factory.run(GPU_RUN)
    column = dataclasses.replace(H100, status=status, reason="driver 470 is older than 525.60.13")
    stray = dataclasses.replace(run, info=dataclasses.replace(run.info, columns=(column,)))
    evaluated = evaluate(stray)
    assert {one.status for one in evaluated.verdicts} == {Status(status)}
    assert not any(one.observations or one.timing or one.digest_class for one in evaluated.verdicts)
    assert (
        dict(evaluated.groups),
        dict(evaluated.control_summaries),
        dict(evaluated.overheads),
        evaluated.measured,
    ) == ({}, {}, {}, 0)
    assert {why for _, why in evaluated.left_out} == {f"run.json says that its column was not measured: {status}"}
    digest = factory.digest("matmul same")[:12]
    for page in shown(stray):
        assert digest not in page
        assert "driver 470 is older than 525" in page.replace("\\", "")


def test_a_process_that_refuses_to_start_reports_the_reason() -> None:
    why = "not what was asked: libcublas.so.12 cannot be opened (no such file)"

    def refuses(one: Record) -> Record:
        ended = (
            dataclasses.replace(old, outcome="mismatch", error_class="MismatchError", message=why)
            for old in one.outcomes
        )
        return dataclasses.replace(one, processes=(), samples=(), outcomes=tuple(ended))

    run = factory.changed(factory.run(GPU_RUN), refuses, Change(mode="on", rounds=(4,)))
    found = verdict(run, column=H100.id)
    assert (found.status, found.why, found.timing) == (Status.MISMATCH, f"N{why[1:]}.", None)
    notice = next(notice for notice in build(evaluate(run)).notices if notice.title == "Not the planned measurement")
    assert notice.items == (f"{H100.id}, default, on: N{why[1:]}.",)


def test_a_column_without_a_gpu_still_tells_what_it_loaded() -> None:
    column = dataclasses.replace(H100, status="gpu-not-visible", reason="no driver")
    run = factory.changed(factory.run(GPU_RUN), ends_as_no_gpu)
    told = dataclasses.replace(run, info=dataclasses.replace(run.info, columns=(column,)))
    evaluated = evaluate(told)
    assert (evaluated.left_out, dict(evaluated.control_summaries)) == ((), {})
    assert {one.status for one in evaluated.verdicts} == {Status.GPU_NOT_VISIBLE}
    assert {fact.label: fact.value for fact in build(evaluated).environments[0].gpu}["cublas"] == "12.5.3"


def test_a_folder_for_the_drivers_cache_is_no_setting() -> None:
    """An engine gives every round a scratch folder of its own, and the cache of compiled code lies in it."""

    def own_folder(one: Record) -> Record:
        folder = f"/scratch/{one.request.mode}-{one.request.round}/cuda"
        return factory.settings(env={"CUDA_VISIBLE_DEVICES": factory.GPU, "CUDA_CACHE_PATH": folder})(one)

    run = factory.changed(factory.run(GPU_RUN), own_folder)
    assert verdict(run, column=H100.id).status is Status.REPRODUCIBLE
    other = factory.settings(env={"CUDA_VISIBLE_DEVICES": "0", "CUDA_CACHE_PATH": "/scratch/cuda"})
    found = verdict(factory.changed(run, other, Change(mode="on", rounds=(2,))), column=H100.id)
    assert (found.status, "different environment variables" in found.why) == (Status.MISMATCH, True)


@pytest.mark.parametrize("key", ["host", "engine", "environment"])
def test_rounds_of_two_hosts_are_no_rounds_of_one_column(key: str) -> None:
    def moved(one: Record) -> Record:
        context = {**one.request.context, key: f"{key}-{one.request.round}"}
        return dataclasses.replace(one, request=dataclasses.replace(one.request, context=context))

    found = verdict(factory.changed(factory.run(), moved))
    assert (found.status, f"more than one {key}" in found.why) == (Status.MISMATCH, True)


def test_other_work_on_a_gpu_is_not_compared_with_that_on_a_cpu() -> None:
    larger = factory.kernel("matmul", shapes="[4096,4096] on a GPU, [768,768] on a CPU")
    facts = factory.info(columns=(factory.column(), H100), kernels=(larger, *factory.info().kernels[1:]))

    def behave(spot: Spot) -> Behaviour:
        own = (spot.column, spot.mode) == (H100.id, "on") and not spot.kernel.startswith("control")
        return Behaviour(("on the GPU",)) if own else EXACT

    evaluated = evaluate(factory.run(facts, behave))

    def letters(kernel: str) -> list[str]:
        return [one.digest_class for one in evaluated.verdicts if one.kernel == kernel]

    assert letters("matmul") == ["A", "A", "A\N{PRIME}", "B\N{PRIME}"]
    assert letters("conv2d") == ["A", "A", "A", "B"]


def test_columns_of_two_other_hosts_are_never_compared_either() -> None:
    moved = (
        dataclasses.replace(column, origin={"name": name, "engine": "venv"})
        for column, name in ((H100, "box-1"), (forward("12.6"), "box-2"))
    )
    assert evaluate(factory.run(factory.info(columns=tuple(moved)))).steps == ()


def test_a_crash_lends_no_time_to_discarded_ones() -> None:
    def behave(spot: Spot) -> Behaviour:
        if spot.kernel != "matmul":
            return EXACT
        return Behaviour(("a", "a"), outcome="crashed") if spot.round == 1 else Behaviour(guard=THROTTLED)

    found = verdict(factory.run(GPU_RUN, behave), column=H100.id)
    assert (found.status, found.timing) == (Status.CRASHED, None)


@pytest.mark.parametrize(
    ("cuda", "told"), [({"cudnn": "8.9.0"}, "cuDNN 9.3.0.75, but 8.9.0"), ({"cudart": "11.8"}, "CUDA 12.5, but 11.8")]
)
def test_another_cuda_than_the_columns_is_not_what_was_asked(cuda: dict[str, str], told: str) -> None:
    found = verdict(factory.changed(factory.run(GPU_RUN), factory.facts_of_process(cuda=cuda)), column=H100.id)
    assert (found.status, told in found.why) == (Status.MISMATCH, True)
    same = factory.facts_of_process(cuda={"cudnn": "9.3.0", "cudart": "12.5"})
    assert verdict(factory.changed(factory.run(GPU_RUN), same), column=H100.id).status is Status.REPRODUCIBLE


def test_a_seed_that_nobody_asked_for_is_gained_by_nobody() -> None:
    """All repetitions agree; the page, and its replay line, name another seed than the one they came of."""
    reseeded = factory.in_samples(lambda one: dataclasses.replace(one, seed=7) if one.role != "second-seed" else one)
    found = verdict(factory.changed(factory.run(), reseeded))
    assert found.status is Status.MISMATCH
    assert "repeated with the seed 7, but 42 was requested" in found.why


@pytest.mark.parametrize(
    "change",
    [factory.facts_of_process(cpu_model="Another CPU", isa="avx2"), asked(context={"engine": "venv", "host": "other"})],
)
def test_variations_of_two_machines_are_no_column(change: Callable[[Record], Record]) -> None:
    """Each variation agrees with itself, and the facts of the first one stood above both."""
    run = factory.run(factory.info(variations={"default": (), "onednn=0": ()}))
    run = factory.changed(run, factory.settings(onednn="off"), Change(variation="onednn=0"))
    assert verdict(run, variation="onednn=0").status is Status.REPRODUCIBLE
    mixed = factory.changed(run, change, Change(variation="onednn=0"))
    assert {verdict(mixed, variation=one).status for one in ("default", "onednn=0")} == {Status.MISMATCH}
