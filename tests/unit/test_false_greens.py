"""Ways to a wrong green that were found once: each is closed, and stays closed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench import report
from bench.report.build import build
from bench.store.kept import Kept
from bench.suite import values
from bench.verdict import Status, gate, judge
from bench.verdict.change import Side, change
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour, Change
from tests.unit.test_verdict import GRADED, only, sight, verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.store.run import Run
    from bench.store.run_info import CellInfo
    from bench.suite.record import Record
    from tests.unit.factory import Spot


@pytest.mark.parametrize(
    ("condition", "wrong"),
    [
        ("threads=1", {"intra_op_threads": 2}),
        ("threads=4xcores", {"intra_op_threads": 2}),
        ("onednn=0", {"onednn": "on"}),
        ("isa=avx2", {"isa_limit": "none"}),
        ("switch=env", {"switch": "api"}),
        ("onednn=0", {"onednn": None}),
    ],
)
def test_a_condition_that_was_not_in_force_is_no_measurement(condition: str, wrong: dict[str, Any]) -> None:
    run = factory.run(factory.info(conditions={"default": (), condition: ()}))
    assert verdict(run, condition=condition).status is Status.EXACT
    broken = factory.changed(run, factory.settings(**wrong), Change(mode="on", condition=condition))
    assert verdict(broken, condition=condition).status is Status.FAILED
    assert "was" in verdict(broken, condition=condition).why
    assert verdict(broken).status is Status.EXACT


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
    assert found.status is Status.WEAK
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
    assert (found.status, "Inf" in found.why) == (Status.WEAK, True)


def test_a_timing_pass_that_is_missing_is_told() -> None:
    run = factory.run(None, only("matmul", Behaviour(steady_s=(), steady_agrees=None)))
    assert "left out the timing pass" in verdict(run).why
    assert verdict(run).status is Status.WEAK


def test_few_repeats_are_not_spoken_for_by_controls_with_many() -> None:
    seen = sight(factory.run(dataclasses.replace(GRADED, repeats=20)))
    assert seen.sensitivity_for(100) == 0.1
    assert seen.sensitivity_for(25) == 0.5
    assert seen.sensitivity_for(1) is None
    assert dataclasses.replace(seen, fewest=25).sensitivity == 0.5


@pytest.mark.parametrize(
    ("condition", "acts", "explained"),
    [
        ("default", Behaviour(("a", "b")), True),
        ("threads=1", Behaviour(("a", "b")), False),
        ("default", Behaviour(("a", "b"), outcome="raised", error_class="ValueError"), False),
    ],
)
def test_a_limitation_explains_only_what_is_known_of_it(condition: str, acts: Behaviour, *, explained: bool) -> None:
    facts = factory.info(kernels=(factory.kernel("bincount_weighted"), *factory.GRADED), conditions={condition: ()})
    run = factory.run(facts, lambda spot: acts if spot.kernel == "bincount_weighted" else EXACT)
    assert bool(gate(judge(run), ["on-varies-unexplained"])) is not explained
    assert gate(judge(run), ["on-varies"])


def test_a_cause_in_code_for_the_cpu_explains_nothing_on_a_gpu() -> None:
    kernels = (factory.kernel("bincount_weighted"), *factory.CONTROLS)
    acts = Behaviour(("a", "b"))
    for column, explained in ((factory.cell(), True), (factory.cell(cuda="12.5"), False)):
        run = factory.run(
            factory.info(cells=(column,), kernels=kernels),
            lambda spot: acts if spot.kernel == "bincount_weighted" else EXACT,
        )
        assert bool(gate(judge(run), ["on-varies-unexplained"])) is not explained


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

    judged = judge(factory.changed(factory.run(), mistype, Change(mode="on", rounds=(2,))))
    assert (
        "a type that no worker writes" in dict(judged.left_out)["records/tf2.18.1-cpu-py311@cpu/default/on-002.jsonl"]
    )
    assert verdict(factory.changed(factory.run(), mistype, Change(mode="on", rounds=(2,)))).status is Status.WEAK


@pytest.mark.parametrize("field", ["first_s", "kernel"])
def test_a_mistyped_sample_is_left_out(field: str) -> None:
    nothing: dict[str, Any] = {field: None}

    def mistype(one: Record) -> Record:
        return dataclasses.replace(one, samples=tuple(dataclasses.replace(s, **nothing) for s in one.samples))

    judged = judge(factory.changed(factory.run(), mistype, Change(mode="on", rounds=(2,))))
    assert len(judged.left_out) == 1


@pytest.mark.parametrize("change", [{"most": float("inf")}, {"step": [1]}, {"digest": ""}])
def test_damaged_kept_values_are_none(change: dict[str, Any]) -> None:
    row = values.keep("x", None, np.arange(4.0), "d" * 16, 128)
    assert Kept(rows={("k", "d"): (row,)}).tensors("k", "d")
    assert Kept(rows={("k", "d"): ({**row, **change},)}).tensors("k", "d") == ()


# --- GPUs ---------------------------------------------------------------------------------------------


H100 = factory.cell(cuda="12.5")
GPU_RUN = factory.info(cells=(H100,))
OTHER_GPU = "GPU-99999999-0000-0000-0000-000000000009"
THROTTLED = {**factory.CALM, "reasons": ["hardware slowdown"], "spoiled": "throttled: hardware slowdown"}
SHARED = {**factory.CALM, "foreign": ["process 4711 holds 512 MiB"], "spoiled": "shared: process 4711 holds 512 MiB"}


def asked(**changes: Any) -> Callable[[Record], Record]:
    return lambda one: dataclasses.replace(one, request=dataclasses.replace(one.request, **changes))


def shown(run: Run) -> list[str]:
    """Every word of the page in all its formats."""
    judged = judge(run)
    return [report.render(judged, form) for form in report.Format]


def ends_as_no_gpu(one: Record) -> Record:
    """What a worker writes that sees no GPU: its settings, and an outcome for every kernel."""
    return dataclasses.replace(
        one,
        samples=(),
        outcomes=tuple(
            dataclasses.replace(old, outcome="no-gpu", message="no driver: libcuda.so.1 cannot be opened")
            for old in one.outcomes
        ),
    )


def test_a_gpu_column_measured_on_the_cpu_has_no_number() -> None:
    run = factory.changed(factory.run(GPU_RUN), ends_as_no_gpu)
    found = verdict(run, cell=H100.id)
    assert (found.status, found.why) == (Status.NO_GPU, "No driver: libcuda.so.1 cannot be opened.")
    assert (found.timing, found.peak_mb, found.peak_gpu_mb, found.digest_class) == (None, None, None, "")
    assert gate(judge(run), ["unmeasured"])
    for form in report.Format:
        page = report.render(judge(run), form).replace("\\", "")
        assert "no-gpu" in page
        if form is not report.Format.JSON:  # each of its verdicts stands alone; elsewhere one sentence says it of all
            # in the answer, at the head of the column, in the choice, and in the data of the page's script
            assert 1 <= page.count("libcuda.so.1 cannot be opened") <= 4


@pytest.mark.parametrize("change", [factory.settings(devices=["/device:CPU:0"]), ends_as_no_gpu])
def test_one_process_without_the_gpu_spoils_its_column(change: Callable[[Record], Record]) -> None:
    run = factory.changed(factory.run(GPU_RUN), change, Change(mode="on", rounds=(3,)))
    judged = judge(run)
    assert verdict(run, cell=H100.id).status is Status.NO_GPU
    assert (H100.id, "default", "on") not in judged.sights
    assert not judged.prices


def test_a_cpu_number_never_stands_in_a_gpu_column() -> None:
    run = factory.changed(factory.run(GPU_RUN), factory.settings(devices=["/device:CPU:0"]))
    found = judge(run)
    assert {one.status for one in found.verdicts} == {Status.NO_GPU}
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
    found = verdict(factory.changed(factory.run(GPU_RUN), change, Change(mode="on", rounds=(2,))), cell=H100.id)
    assert (found.status, told in found.why) == (Status.FAILED, True)
    assert found.timing is None


def test_a_slice_of_a_gpu_may_have_two_names() -> None:
    column = factory.cell(cuda="12.5", gpu="MIG-1a2b3c4d-0000-0000-0000-000000000001")
    run = factory.changed(
        factory.run(factory.info(cells=(column,))), factory.facts_of_process(gpu={"uuid": OTHER_GPU, "sm_count": 16})
    )
    assert verdict(run, cell=column.id).status is Status.EXACT


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
    found = verdict(factory.changed(factory.run(GPU_RUN), change, Change(mode="off", rounds=(2,))), cell=H100.id)
    assert (found.status, told in found.why) == (Status.FAILED, True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (factory.facts_of_process(cuda=None), "which CUDA libraries"),
        (factory.facts_of_process(cuda="12.5"), "which CUDA libraries"),
        (factory.facts_of_process(cuda={"driver": "12.4"}), "which CUDA libraries"),
        (factory.facts_of_process(gpu={}), "which GPU it had"),
        (factory.facts_of_process(gpu={"device_name": "NVIDIA H100"}), "which GPU it had"),
        (asked(gpu={}), "by the UUID"),
    ],
)
def test_a_gpu_column_that_does_not_say_what_it_loaded_is_weak(change: Callable[[Record], Record], told: str) -> None:
    run = factory.changed(factory.run(GPU_RUN), change)
    found = verdict(run, cell=H100.id)
    assert (found.status, told in found.why) == (Status.WEAK, True)
    old = dataclasses.replace(run, info=dataclasses.replace(run.info, schema=2))
    assert verdict(old, cell=H100.id).status is Status.EXACT


@pytest.mark.parametrize(("seen", "word"), [(THROTTLED, "throttled"), (SHARED, "shared")])
def test_a_spoiled_time_is_no_time_and_no_price(seen: dict[str, Any], word: str) -> None:
    slow = Behaviour(steady_s=(0.5, 0.6), guard=seen)
    run = factory.run(GPU_RUN, lambda spot: slow if (spot.kernel, spot.mode) == ("matmul", "on") else EXACT)
    found = verdict(run, cell=H100.id)
    assert (found.status, found.timing) == (Status.EXACT, None)  # clocks change no bits
    judged = judge(run)
    assert (H100.id, "matmul", "default") not in judged.prices
    assert (H100.id, "conv2d", "default") in judged.prices
    half = next(row.entries[0].on for row in build(judged).rows if row.kernel == "matmul")
    assert (half.time, half.price) == (word, word)
    notice = next(one for one in build(judged).notices if one.title == "Times left out")
    reason = str(seen["spoiled"]).partition(": ")[2]
    assert notice.items == (f"TF 2.18.1 CUDA 12.5 on h100: {word} ({reason}), 1 verdict",)
    for page in shown(run)[:4]:
        assert reason in page.replace("\\", "")


def test_a_retake_gives_the_time_that_was_spoiled() -> None:
    slow = Behaviour(steady_s=(0.5, 0.6), guard=THROTTLED)
    run = factory.run(GPU_RUN, lambda spot: slow if spot.kernel == "matmul" else EXACT)
    taken = factory.changed(run, lambda one: factory.again(one, "matmul", EXACT, GPU_RUN, H100))
    found = verdict(taken, cell=H100.id)
    assert found.timing is not None
    assert found.timing.per_process == pytest.approx([0.00105] * 5)
    assert (found.status, found.comparison.processes, found.comparison.compared) == (Status.EXACT, 10, 9)
    assert found.spoil is not None
    assert found.spoil.sentence.startswith("Times of 5 of 10 processes are left out (throttled)")
    assert judge(taken).prices[H100.id, "matmul", "default"].processes_on == 5


def test_a_retake_hides_no_difference() -> None:
    slow = Behaviour(guard=THROTTLED)
    run = factory.run(GPU_RUN, lambda spot: slow if spot.kernel == "matmul" else EXACT)
    first = Change(mode="on", rounds=(1,))
    other = factory.changed(run, lambda one: factory.again(one, "matmul", Behaviour(("x",)), GPU_RUN, H100), first)
    assert verdict(other, cell=H100.id).status is Status.EXACT_IN_PROCESS
    died = factory.run(GPU_RUN, lambda spot: Behaviour(outcome="crashed") if spot.round == 1 else EXACT)
    again = factory.changed(died, lambda one: factory.again(one, "matmul", EXACT, GPU_RUN, H100), first)
    assert verdict(again, cell=H100.id).status is Status.CRASHED


def test_retakes_lift_no_run_that_is_too_small() -> None:
    few = dataclasses.replace(GPU_RUN, rounds=3)
    run = factory.changed(factory.run(few), lambda one: factory.again(one, "matmul", EXACT, few, H100))
    found = verdict(run, cell=H100.id)
    assert (found.status, "only 3 processes" in found.why) == (Status.WEAK, True)


def test_a_process_told_twice_in_one_record_is_a_copy() -> None:
    def copied(one: Record) -> Record:
        found = factory.again(one, "matmul", EXACT, GPU_RUN, H100)
        first = found.processes[0]
        return dataclasses.replace(found, processes=(first, dataclasses.replace(first, process=2)))

    judged = judge(factory.changed(factory.run(GPU_RUN), copied))
    assert {why for _, why in judged.left_out} == {"a copy: it shows one process twice"}


def forward(cuda: str, cudnn: str = "9.3.0.75", **changes: Any) -> CellInfo:
    return factory.cell(cuda=cuda, cudnn=cudnn, kind="forward", **changes)


def test_a_mixed_step_is_put_down_to_no_one() -> None:
    both = forward("12.9", "9.10.2.21", id="tf2.18.1-cuda12.9-cudnn9.10-py311@h100")
    run = factory.run(factory.info(cells=(H100, both)))
    assert judge(run).steps == ()
    between = forward("12.9")
    found = judge(factory.run(factory.info(cells=(H100, between, both)))).steps
    assert [(one.variable, one.before.id, one.after.id) for one in found] == [
        ("cuda", H100.id, between.id),
        ("cudnn", between.id, both.id),
    ]


def test_a_step_between_official_pairs_says_what_moved_with_it() -> None:
    older = factory.cell("2.17.1", "12.3", cudnn="8.9.7.29")
    (one,) = judge(factory.run(factory.info(cells=(older, H100)))).steps
    assert (one.variable, one.mixed) == ("tensorflow", True)
    assert one.sentence == (
        "TensorFlow 2.17.1 to 2.18.1, CUDA 12.3 to 12.5, cuDNN 8.9.7.29 to 9.3.0.75: "
        "they moved together, so what changed is of no one alone."
    )
    assert not judge(factory.run(factory.info(cells=(dataclasses.replace(older, kind="legacy"), H100)))).steps


@pytest.mark.parametrize(
    "changes",
    [
        {"origin": {"name": "gpu-box", "engine": "venv"}},
        {"gpu": OTHER_GPU},
        {"device": "h200"},
        {"kind": "here"},
        {"cudnn": ""},
    ],
)
def test_times_of_two_machines_are_never_compared(changes: dict[str, Any]) -> None:
    base: dict[str, Any] = {"id": "tf2.18.1-cuda12.6-py311@h100", "kind": "forward", **changes}
    column = dataclasses.replace(factory.cell(cuda="12.6"), **base)
    judged = judge(factory.run(factory.info(cells=(H100, column))))
    assert judged.steps == ()
    sides = (Side(judgement=judged, cell=one.id) for one in (H100, column))
    # one machine, though nobody knows what to put a change down to: asked for by name, its times may be compared
    assert {one.cost is None for one in change(*sides).kernels} == {"cudnn" not in changes}
    letters = {one.digest_class for one in judged.verdicts if one.kernel == "matmul"}
    assert letters == {"A"}


def test_times_under_two_drivers_are_never_compared() -> None:
    column = forward("12.6")
    run = factory.run(factory.info(cells=(H100, column)))
    assert len(judge(run).steps) == 1
    moved = factory.changed(run, asked(gpu={"uuid": factory.GPU, "driver": "580.65.06"}), Change(cell=column.id))
    assert judge(moved).steps == ()


@pytest.mark.parametrize("status", ["impossible", "no-gpu"])
def test_a_column_that_was_not_measured_has_no_number_whatever_lies_there(status: str) -> None:
    run = factory.run(GPU_RUN)
    column = dataclasses.replace(H100, status=status, reason="driver 470 is older than 525.60.13")
    stray = dataclasses.replace(run, info=dataclasses.replace(run.info, cells=(column,)))
    judged = judge(stray)
    assert {one.status for one in judged.verdicts} == {Status(status)}
    assert not any(one.witnesses or one.timing or one.digest_class for one in judged.verdicts)
    assert (dict(judged.groups), dict(judged.sights), dict(judged.prices), judged.measured) == ({}, {}, {}, 0)
    assert {why for _, why in judged.left_out} == {f"run.json says that its column was not measured: {status}"}
    digest = factory.digest("matmul same")[:12]
    for page in shown(stray):
        assert digest not in page
        assert "driver 470 is older than 525" in page.replace("\\", "")


def test_a_process_that_refuses_to_begin_says_why() -> None:
    why = "not what was asked: libcublas.so.12 cannot be opened (no such file)"

    def refuses(one: Record) -> Record:
        ended = (
            dataclasses.replace(old, outcome="failed", error_class="NotAskedError", message=why) for old in one.outcomes
        )
        return dataclasses.replace(one, processes=(), samples=(), outcomes=tuple(ended))

    run = factory.changed(factory.run(GPU_RUN), refuses, Change(mode="on", rounds=(4,)))
    found = verdict(run, cell=H100.id)
    assert (found.status, found.why, found.timing) == (Status.FAILED, f"N{why[1:]}.", None)
    notice = next(one for one in build(judge(run)).notices if one.title == "Not a measurement")
    assert notice.items == (f"{H100.id}, default, on: N{why[1:]}.",)


def test_a_column_without_a_gpu_still_tells_what_it_loaded() -> None:
    column = dataclasses.replace(H100, status="no-gpu", reason="no driver")
    run = factory.changed(factory.run(GPU_RUN), ends_as_no_gpu)
    told = dataclasses.replace(run, info=dataclasses.replace(run.info, cells=(column,)))
    judged = judge(told)
    assert (judged.left_out, dict(judged.sights)) == ((), {})
    assert {one.status for one in judged.verdicts} == {Status.NO_GPU}
    assert {fact.label: fact.value for fact in build(judged).environments[0].gpu}["cublas"] == "12.5.3"


def test_a_folder_for_the_drivers_cache_is_no_setting() -> None:
    """An engine gives every round a scratch folder of its own, and the cache of compiled code lies in it."""

    def own_folder(one: Record) -> Record:
        folder = f"/scratch/{one.request.mode}-{one.request.round}/cuda"
        return factory.settings(env={"CUDA_VISIBLE_DEVICES": factory.GPU, "CUDA_CACHE_PATH": folder})(one)

    run = factory.changed(factory.run(GPU_RUN), own_folder)
    assert verdict(run, cell=H100.id).status is Status.EXACT
    other = factory.settings(env={"CUDA_VISIBLE_DEVICES": "0", "CUDA_CACHE_PATH": "/scratch/cuda"})
    found = verdict(factory.changed(run, other, Change(mode="on", rounds=(2,))), cell=H100.id)
    assert (found.status, "disagree on" in found.why) == (Status.FAILED, True)


@pytest.mark.parametrize("key", ["host", "engine", "environment"])
def test_rounds_of_two_hosts_are_no_rounds_of_one_cell(key: str) -> None:
    def moved(one: Record) -> Record:
        context = {**one.request.context, key: f"{key}-{one.request.round}"}
        return dataclasses.replace(one, request=dataclasses.replace(one.request, context=context))

    found = verdict(factory.changed(factory.run(), moved))
    assert (found.status, f"more than one {key}" in found.why) == (Status.FAILED, True)


def test_other_work_on_a_gpu_is_not_compared_with_that_on_a_cpu() -> None:
    larger = factory.kernel("matmul", shapes="[4096,4096] on a GPU, [768,768] on a CPU")
    facts = factory.info(cells=(factory.cell(), H100), kernels=(larger, *factory.info().kernels[1:]))

    def behave(spot: Spot) -> Behaviour:
        own = (spot.cell, spot.mode) == (H100.id, "on") and not spot.kernel.startswith("control")
        return Behaviour(("on the GPU",)) if own else EXACT

    judged = judge(factory.run(facts, behave))

    def letters(kernel: str) -> list[str]:
        return [one.digest_class for one in judged.verdicts if one.kernel == kernel]

    assert letters("matmul") == ["A", "A", "A\N{PRIME}", "B\N{PRIME}"]
    assert letters("conv2d") == ["A", "A", "A", "B"]


def test_columns_of_two_other_hosts_are_never_compared_either() -> None:
    moved = (
        dataclasses.replace(column, origin={"name": name, "engine": "venv"})
        for column, name in ((H100, "box-1"), (forward("12.6"), "box-2"))
    )
    assert judge(factory.run(factory.info(cells=tuple(moved)))).steps == ()


def test_a_crash_lends_no_time_to_spoiled_ones() -> None:
    def behave(spot: Spot) -> Behaviour:
        if spot.kernel != "matmul":
            return EXACT
        return Behaviour(("a", "a"), outcome="crashed") if spot.round == 1 else Behaviour(guard=THROTTLED)

    found = verdict(factory.run(GPU_RUN, behave), cell=H100.id)
    assert (found.status, found.timing) == (Status.CRASHED, None)


@pytest.mark.parametrize(
    ("cuda", "told"), [({"cudnn": "8.9.0"}, "cuDNN 9.3.0.75, but 8.9.0"), ({"cudart": "11.8"}, "CUDA 12.5, but 11.8")]
)
def test_another_cuda_than_the_columns_is_not_what_was_asked(cuda: dict[str, str], told: str) -> None:
    found = verdict(factory.changed(factory.run(GPU_RUN), factory.facts_of_process(cuda=cuda)), cell=H100.id)
    assert (found.status, told in found.why) == (Status.FAILED, True)
    same = factory.facts_of_process(cuda={"cudnn": "9.3.0", "cudart": "12.5"})
    assert verdict(factory.changed(factory.run(GPU_RUN), same), cell=H100.id).status is Status.EXACT


def test_a_seed_that_nobody_asked_for_is_gained_by_nobody() -> None:
    """All repeats agree; the page, and its replay line, name another seed than the one they came of."""
    reseeded = factory.in_samples(lambda one: dataclasses.replace(one, seed=7) if one.role != "contrast" else one)
    found = verdict(factory.changed(factory.run(), reseeded))
    assert found.status is Status.FAILED
    assert "repeated with the seed 7, and 42 was asked for" in found.why


@pytest.mark.parametrize(
    "change",
    [factory.facts_of_process(cpu_model="Another CPU", isa="avx2"), asked(context={"engine": "venv", "host": "other"})],
)
def test_conditions_of_two_machines_are_no_column(change: Callable[[Record], Record]) -> None:
    """Each condition agrees with itself, and the facts of the first one stood above both."""
    run = factory.run(factory.info(conditions={"default": (), "onednn=0": ()}))
    run = factory.changed(run, factory.settings(onednn="off"), Change(condition="onednn=0"))
    assert verdict(run, condition="onednn=0").status is Status.EXACT
    mixed = factory.changed(run, change, Change(condition="onednn=0"))
    assert {verdict(mixed, condition=one).status for one in ("default", "onednn=0")} == {Status.FAILED}
