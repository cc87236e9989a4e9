"""Regression tests: results that were once reported as reproducible although the measurement did not show it."""

from __future__ import annotations

import dataclasses
import lzma
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench import report
from bench.report.build.page import build
from bench.report.text import badge
from bench.store import run as store
from bench.store.kept_values import StoredValues
from bench.suite import kept_values
from bench.verdict import Status, evaluate, gate
from bench.verdict.comparison import Side, change
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour, Change
from tests.unit.test_report import rendered
from tests.unit.test_tails import folder_of
from tests.unit.test_verdict import GRADED, control_summary, only, verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
def test_a_variation_that_was_not_applied_is_a_mismatch(variation: str, wrong: dict[str, Any]) -> None:
    run = factory.run(factory.info(variations={"default": (), variation: ()}))
    assert verdict(run, variation=variation).status is Status.REPRODUCIBLE
    broken = factory.changed(run, factory.settings(**wrong), Change(mode="on", variation=variation))
    assert verdict(broken, variation=variation).status is Status.MISMATCH
    assert "was" in verdict(broken, variation=variation).why
    assert verdict(broken).status is Status.REPRODUCIBLE


def test_rounds_without_all_controls_are_inconclusive() -> None:
    def unwatched(record: Record) -> Record:
        kernels = tuple(name for name in record.request.kernels if not name.startswith("control"))
        return dataclasses.replace(
            record,
            request=dataclasses.replace(record.request, kernels=kernels),
            samples=tuple(s for s in record.samples if not s.kernel.startswith("control")),
            outcomes=tuple(o for o in record.outcomes if not o.kernel.startswith("control")),
        )

    result = verdict(factory.changed(factory.run(), unwatched, Change(mode="on", rounds=(2, 3, 4, 5))))
    assert result.status is Status.INCONCLUSIVE
    assert "4 of its 5 rounds ran without all controls" in result.why


def test_outputs_with_infinity_are_inconclusive() -> None:
    def infinite(record: Record) -> Record:
        return dataclasses.replace(
            record,
            samples=tuple(
                dataclasses.replace(s, outputs={k: {**v, "inf": 9} for k, v in s.outputs.items()})
                for s in record.samples
            ),
        )

    result = verdict(factory.changed(factory.run(), infinite))
    assert (result.status, "Inf" in result.why) == (Status.INCONCLUSIVE, True)


def test_a_missing_later_call_is_reported() -> None:
    run = factory.run(None, only("matmul", Behaviour(later_call=None)))
    assert "no process made a later call" in verdict(run).why
    assert verdict(run).status is Status.INCONCLUSIVE


def test_the_detection_limit_depends_on_the_repetitions_of_the_kernel() -> None:
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
def test_a_known_issue_explains_only_its_own_effect_and_variation(
    variation: str, acts: Behaviour, *, explained: bool
) -> None:
    facts = factory.info(kernels=(factory.kernel("bincount_weighted"), *factory.GRADED), variations={variation: ()})
    run = factory.run(facts, lambda spot: acts if spot.kernel == "bincount_weighted" else EXACT)
    assert bool(gate(evaluate(run), ["unknown-nondeterminism"])) is not explained
    assert gate(evaluate(run), ["nondeterministic-on"])


def test_a_known_issue_of_cpu_code_explains_nothing_on_a_gpu() -> None:
    kernels = (factory.kernel("bincount_weighted"), *factory.CONTROLS)
    acts = Behaviour(("a", "b"))
    for column, explained in ((factory.column(), True), (factory.column(cuda="12.5"), False)):
        run = factory.run(
            factory.info(columns=(column,), kernels=kernels),
            lambda spot: acts if spot.kernel == "bincount_weighted" else EXACT,
        )
        assert bool(gate(evaluate(run), ["unknown-nondeterminism"])) is not explained


@pytest.mark.parametrize("change", [{"most": float("inf")}, {"step": [1]}, {"digest": ""}])
def test_damaged_stored_values_are_ignored(change: dict[str, Any]) -> None:
    row = kept_values.keep("x", None, np.arange(4.0), "d" * 16, 128)
    assert StoredValues(rows={("k", "d"): (row,)}).tensors("k", "d")
    assert StoredValues(rows={("k", "d"): ({**row, **change},)}).tensors("k", "d") == ()


# --- GPUs ---------------------------------------------------------------------------------------------


H100 = factory.column(cuda="12.5")
GPU_RUN = factory.info(columns=(H100,))
OTHER_GPU = "GPU-99999999-0000-0000-0000-000000000009"
THROTTLED = {**factory.CALM, "reasons": ["hardware slowdown"], "discarded": "throttled: hardware slowdown"}
SHARED = {**factory.CALM, "foreign": ["process 4711 holds 512 MiB"], "discarded": "shared: process 4711 holds 512 MiB"}


def with_request(**changes: Any) -> Callable[[Record], Record]:
    return lambda record: dataclasses.replace(record, request=dataclasses.replace(record.request, **changes))


#: The formats that name what was not measured.
PAGES = tuple(form for form in report.Format if form is not report.Format.BADGE)


def reports_of(run: Run) -> list[str]:
    """Return the report in every format."""
    evaluated = evaluate(run)
    return [report.render(evaluated, form) for form in PAGES]


def ends_as_no_gpu(record: Record) -> Record:
    """Return what a worker without a visible GPU writes: its settings, and an outcome for every kernel."""
    return dataclasses.replace(
        record,
        samples=(),
        outcomes=tuple(
            dataclasses.replace(old, outcome="gpu-not-visible", message="no driver: libcuda.so.1 cannot be opened")
            for old in record.outcomes
        ),
    )


def test_a_gpu_column_measured_on_the_cpu_has_no_number() -> None:
    run = factory.changed(factory.run(GPU_RUN), ends_as_no_gpu)
    result = verdict(run, column=H100.id)
    assert (result.status, result.why) == (Status.GPU_NOT_VISIBLE, "No driver: libcuda.so.1 cannot be opened.")
    assert (result.timing, result.peak_mb, result.peak_gpu_mb, result.digest_class) == (None, None, None, "")
    assert gate(evaluate(run), ["unmeasured"])
    for form in PAGES:
        page = report.render(evaluate(run), form).replace("\\", "")
        assert "gpu-not-visible" in page
        # In the summary, in the header of the column, and in the ranking of each of the three requirements;
        # never once for each cell.
        assert 1 <= page.count("libcuda.so.1 cannot be opened") <= 5


@pytest.mark.parametrize("change", [factory.settings(devices=["/device:CPU:0"]), ends_as_no_gpu])
def test_one_process_without_the_gpu_invalidates_its_column(change: Callable[[Record], Record]) -> None:
    run = factory.changed(factory.run(GPU_RUN), change, Change(mode="on", rounds=(3,)))
    evaluated = evaluate(run)
    assert verdict(run, column=H100.id).status is Status.GPU_NOT_VISIBLE
    assert (H100.id, "default", "on") not in evaluated.control_summaries
    assert not evaluated.overheads


def test_a_number_measured_on_the_cpu_is_never_shown_in_a_gpu_column() -> None:
    run = factory.changed(factory.run(GPU_RUN), factory.settings(devices=["/device:CPU:0"]))
    results = evaluate(run)
    assert {result.status for result in results.verdicts} == {Status.GPU_NOT_VISIBLE}
    assert not any(result.timing or result.comparison.digests or result.peak_mb for result in results.verdicts)
    digest = factory.digest("matmul same")[:12]
    assert not any(digest in page for page in reports_of(run))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (with_request(gpu={"uuid": OTHER_GPU}), "requested on"),
        (with_request(device="cpu"), "requested on a CPU"),
        (factory.facts_of_process(gpu={"uuid": OTHER_GPU}), "a process ran on"),
    ],
)
def test_another_gpu_than_requested_is_a_mismatch(change: Callable[[Record], Record], expected: str) -> None:
    result = verdict(factory.changed(factory.run(GPU_RUN), change, Change(mode="on", rounds=(2,))), column=H100.id)
    assert (result.status, expected in result.why) == (Status.MISMATCH, True)
    assert result.timing is None


def test_a_slice_of_a_gpu_may_have_two_names() -> None:
    column = factory.column(cuda="12.5", gpu="MIG-1a2b3c4d-0000-0000-0000-000000000001")
    run = factory.changed(
        factory.run(factory.info(columns=(column,))), factory.facts_of_process(gpu={"uuid": OTHER_GPU, "sm_count": 16})
    )
    assert verdict(run, column=column.id).status is Status.REPRODUCIBLE


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (factory.facts_of_process(cuda={"cublas": "12.6.4"}), "loaded cublas"),
        (factory.facts_of_process(gpu={"device_name": "NVIDIA H200"}), "more than one GPU"),
        (factory.facts_of_process(gpu={"sm_count": 114}), "more than one GPU, by sm_count"),
        (with_request(gpu={"uuid": factory.GPU, "driver": "580.65.06"}), "more than one driver"),
    ],
)
def test_processes_of_two_gpus_drivers_or_libraries_are_not_compared(
    change: Callable[[Record], Record], expected: str
) -> None:
    result = verdict(factory.changed(factory.run(GPU_RUN), change, Change(mode="off", rounds=(2,))), column=H100.id)
    assert (result.status, expected in result.why) == (Status.MISMATCH, True)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (factory.facts_of_process(cuda=None), "which CUDA libraries"),
        (factory.facts_of_process(cuda="12.5"), "which CUDA libraries"),
        (factory.facts_of_process(cuda={"driver": "12.4"}), "which CUDA libraries"),
        (factory.facts_of_process(gpu={}), "which GPU it had"),
        (factory.facts_of_process(gpu={"device_name": "NVIDIA H100"}), "which GPU it had"),
        (with_request(gpu={}), "by UUID"),
    ],
)
def test_a_gpu_column_without_gpu_and_library_facts_is_inconclusive(
    change: Callable[[Record], Record], expected: str
) -> None:
    run = factory.changed(factory.run(GPU_RUN), change)
    result = verdict(run, column=H100.id)
    assert (result.status, expected in result.why) == (Status.INCONCLUSIVE, True)


@pytest.mark.parametrize(("seen", "word"), [(THROTTLED, "throttled"), (SHARED, "shared")])
def test_a_discarded_time_gives_no_time_and_no_overhead(seen: dict[str, Any], word: str) -> None:
    slow = Behaviour(steady_s=(0.5, 0.6), guard=seen)
    run = factory.run(GPU_RUN, lambda spot: slow if (spot.kernel, spot.mode) == ("matmul", "on") else EXACT)
    result = verdict(run, column=H100.id)
    assert (result.status, result.timing) == (Status.REPRODUCIBLE, None)  # clocks do not change bits
    evaluated = evaluate(run)
    assert (H100.id, "matmul", "default") not in evaluated.overheads
    assert (H100.id, "conv2d", "default") in evaluated.overheads
    cell = next(row.entries[0].on for row in build(evaluated).rows if row.kernel == "matmul")
    assert (cell.time, cell.overhead) == (word, word)
    notice = next(notice for notice in build(evaluated).notices if notice.title == "Times left out")
    reason = str(seen["discarded"]).partition(": ")[2]
    assert notice.items == (f"TF 2.18.1 CUDA 12.5 on h100: {word} ({reason}), 2 results",)
    for page in reports_of(run)[:4]:
        assert reason in page.replace("\\", "")


def test_a_further_process_of_a_round_hides_no_difference_and_no_crash() -> None:
    run = factory.run(GPU_RUN)
    first = Change(mode="on", rounds=(1,))
    other = factory.changed(
        run, lambda record: factory.again(record, "matmul", Behaviour(("x",)), GPU_RUN, H100), first
    )
    assert verdict(other, column=H100.id).status is Status.REPRODUCIBLE_IN_PROCESS
    died = factory.run(GPU_RUN, lambda spot: Behaviour(outcome="crashed") if spot.round == 1 else EXACT)
    again = factory.changed(died, lambda record: factory.again(record, "matmul", EXACT, GPU_RUN, H100), first)
    assert verdict(again, column=H100.id).status is Status.CRASHED


def test_further_processes_of_a_round_do_not_count_towards_the_minimum() -> None:
    few = dataclasses.replace(GPU_RUN, rounds=3)
    run = factory.changed(factory.run(few), lambda record: factory.again(record, "matmul", EXACT, few, H100))
    result = verdict(run, column=H100.id)
    assert (result.status, "only 3 processes" in result.why) == (Status.INCONCLUSIVE, True)


def test_a_record_with_one_process_twice_is_left_out() -> None:
    def copied(record: Record) -> Record:
        repeated = factory.again(record, "matmul", EXACT, GPU_RUN, H100)
        first = repeated.processes[0]
        return dataclasses.replace(repeated, processes=(first, dataclasses.replace(first, process=2)))

    evaluated = evaluate(factory.changed(factory.run(GPU_RUN), copied))
    assert {why for _, why in evaluated.left_out} == {"a copy: it has one process twice"}


def forward(cuda: str, cudnn: str = "9.3.0.75", **changes: Any) -> ColumnInfo:
    return factory.column(cuda=cuda, cudnn=cudnn, kind="forward", **changes)


def test_a_step_that_changes_two_libraries_is_not_attributed() -> None:
    both = forward("12.9", "9.10.2.21", id="tf2.18.1-cuda12.9-cudnn9.10-py311@h100")
    run = factory.run(factory.info(columns=(H100, both)))
    assert evaluate(run).steps == ()
    between = forward("12.9")
    steps = evaluate(factory.run(factory.info(columns=(H100, between, both)))).steps
    assert [(step.variable, step.before.id, step.after.id) for step in steps] == [
        ("cuda", H100.id, between.id),
        ("cudnn", between.id, both.id),
    ]


def test_a_step_between_official_pairs_names_everything_that_changed() -> None:
    older = factory.column("2.17.1", "12.3", cudnn="8.9.7.29")
    (step,) = evaluate(factory.run(factory.info(columns=(older, H100)))).steps
    assert (step.variable, step.mixed) == ("tensorflow", True)
    assert step.sentence == (
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
def test_times_of_two_hosts_or_gpus_are_never_compared(changes: dict[str, Any]) -> None:
    name = f"tf2.18.1-cuda12.6-py311@{changes.get('device', 'h100')}"
    base: dict[str, Any] = {"id": name, "kind": "forward", **changes}
    column = dataclasses.replace(factory.column(cuda="12.6"), **base)
    evaluated = evaluate(factory.run(factory.info(columns=(H100, column))))
    assert evaluated.steps == ()
    sides = (Side(results=evaluated, column=side.id) for side in (H100, column))
    # Without a cuDNN version no change can be attributed, but times of one machine may be compared on request.
    assert {kernel.cost is None for kernel in change(*sides).kernels} == {"cudnn" not in changes}
    letters = {result.digest_class for result in evaluated.verdicts if result.kernel == "matmul"}
    assert letters == {"A"}


def test_times_under_two_drivers_are_never_compared() -> None:
    column = forward("12.6")
    run = factory.run(factory.info(columns=(H100, column)))
    assert len(evaluate(run).steps) == 1
    moved = factory.changed(
        run, with_request(gpu={"uuid": factory.GPU, "driver": "580.65.06"}), Change(column=column.id)
    )
    assert evaluate(moved).steps == ()


@pytest.mark.parametrize("status", ["incompatible", "gpu-not-visible"])
def test_stray_records_of_an_unmeasured_column_are_not_used(status: str) -> None:
    run = factory.run(GPU_RUN)
    column = dataclasses.replace(H100, status=status, reason="driver 470 is older than 525.60.13")
    stray = dataclasses.replace(run, info=dataclasses.replace(run.info, columns=(column,)))
    evaluated = evaluate(stray)
    assert {result.status for result in evaluated.verdicts} == {Status(status)}
    assert not any(result.observations or result.timing or result.digest_class for result in evaluated.verdicts)
    assert (
        dict(evaluated.groups),
        dict(evaluated.control_summaries),
        dict(evaluated.overheads),
        evaluated.measured,
    ) == ({}, {}, {}, 0)
    assert {why for _, why in evaluated.left_out} == {f"run.json says that its column was not measured: {status}"}
    digest = factory.digest("matmul same")[:12]
    for page in reports_of(stray):
        assert digest not in page
        assert "driver 470 is older than 525" in page.replace("\\", "")


def test_a_process_that_refuses_to_start_reports_the_reason() -> None:
    why = "not what was requested: libcublas.so.12 cannot be opened (no such file)"

    def refuses(record: Record) -> Record:
        ended = (
            dataclasses.replace(old, outcome="mismatch", error_class="MismatchError", message=why)
            for old in record.outcomes
        )
        return dataclasses.replace(record, processes=(), samples=(), outcomes=tuple(ended))

    run = factory.changed(factory.run(GPU_RUN), refuses, Change(mode="on", rounds=(4,)))
    result = verdict(run, column=H100.id)
    assert (result.status, result.why, result.timing) == (Status.MISMATCH, f"N{why[1:]}.", None)
    notice = next(notice for notice in build(evaluate(run)).notices if notice.title == "Not the planned measurement")
    assert notice.items == (f"{H100.id}, default, on: N{why[1:]}.",)


def test_a_column_without_a_gpu_still_shows_its_loaded_libraries() -> None:
    column = dataclasses.replace(H100, status="gpu-not-visible", reason="no driver")
    run = factory.changed(factory.run(GPU_RUN), ends_as_no_gpu)
    marked = dataclasses.replace(run, info=dataclasses.replace(run.info, columns=(column,)))
    evaluated = evaluate(marked)
    assert (evaluated.left_out, dict(evaluated.control_summaries)) == ((), {})
    assert {result.status for result in evaluated.verdicts} == {Status.GPU_NOT_VISIBLE}
    assert {fact.label: fact.value for fact in build(evaluated).environments[0].gpu}["cublas"] == "12.5.3"


def test_the_folder_of_the_drivers_cache_is_not_compared() -> None:
    """An engine gives every round its own scratch folder, which has the cache of compiled code."""

    def own_folder(record: Record) -> Record:
        folder = f"/scratch/{record.request.mode}-{record.request.round}/cuda"
        return factory.settings(env={"CUDA_VISIBLE_DEVICES": factory.GPU, "CUDA_CACHE_PATH": folder})(record)

    run = factory.changed(factory.run(GPU_RUN), own_folder)
    assert verdict(run, column=H100.id).status is Status.REPRODUCIBLE
    other = factory.settings(env={"CUDA_VISIBLE_DEVICES": "0", "CUDA_CACHE_PATH": "/scratch/cuda"})
    result = verdict(factory.changed(run, other, Change(mode="on", rounds=(2,))), column=H100.id)
    assert (result.status, "different environment variables" in result.why) == (Status.MISMATCH, True)


@pytest.mark.parametrize("key", ["host", "engine", "environment"])
def test_rounds_of_two_hosts_are_a_mismatch(key: str) -> None:
    def moved(record: Record) -> Record:
        context = {**record.request.context, key: f"{key}-{record.request.round}"}
        return dataclasses.replace(record, request=dataclasses.replace(record.request, context=context))

    result = verdict(factory.changed(factory.run(), moved))
    assert (result.status, f"more than one {key}" in result.why) == (Status.MISMATCH, True)


def test_a_kernel_with_other_shapes_on_a_gpu_is_not_compared_with_the_cpu() -> None:
    larger = factory.kernel("matmul", shapes="[4096,4096] on a GPU, [768,768] on a CPU")
    facts = factory.info(columns=(factory.column(), H100), kernels=(larger, *factory.info().kernels[1:]))

    def behave(spot: Spot) -> Behaviour:
        own = (spot.column, spot.mode) == (H100.id, "on") and not spot.kernel.startswith("control")
        return Behaviour(("on the GPU",)) if own else EXACT

    evaluated = evaluate(factory.run(facts, behave))

    def letters(kernel: str) -> list[str]:
        return [result.digest_class for result in evaluated.verdicts if result.kernel == kernel]

    assert letters("matmul") == ["A", "A", "A\N{PRIME}", "B\N{PRIME}"]
    assert letters("conv2d") == ["A", "A", "A", "B"]


def test_columns_imported_from_two_hosts_are_never_compared() -> None:
    moved = (
        dataclasses.replace(column, origin={"name": name, "engine": "venv"})
        for column, name in ((H100, "box-1"), (forward("12.6"), "box-2"))
    )
    assert evaluate(factory.run(factory.info(columns=tuple(moved)))).steps == ()


def test_a_crash_does_not_restore_discarded_times() -> None:
    def behave(spot: Spot) -> Behaviour:
        if spot.kernel != "matmul":
            return EXACT
        return Behaviour(("a", "a"), outcome="crashed") if spot.round == 1 else Behaviour(guard=THROTTLED)

    result = verdict(factory.run(GPU_RUN, behave), column=H100.id)
    assert (result.status, result.timing) == (Status.CRASHED, None)


@pytest.mark.parametrize(
    ("cuda", "expected"),
    [({"cudnn": "8.9.0"}, "cuDNN 9.3.0.75, but 8.9.0"), ({"cudart": "11.8"}, "CUDA 12.5, but 11.8")],
)
def test_another_cuda_than_that_of_the_column_is_a_mismatch(cuda: dict[str, str], expected: str) -> None:
    result = verdict(factory.changed(factory.run(GPU_RUN), factory.facts_of_process(cuda=cuda)), column=H100.id)
    assert (result.status, expected in result.why) == (Status.MISMATCH, True)
    same = factory.facts_of_process(cuda={"cudnn": "9.3.0", "cudart": "12.5"})
    assert verdict(factory.changed(factory.run(GPU_RUN), same), column=H100.id).status is Status.REPRODUCIBLE


def test_another_seed_than_requested_is_a_mismatch() -> None:
    """All repetitions agree, but the page and its reproduce command would name a seed that was not used."""
    reseeded = factory.in_samples(
        lambda sample: sample if sample.role == "second-seed" else dataclasses.replace(sample, seed=7)
    )
    result = verdict(factory.changed(factory.run(), reseeded))
    assert result.status is Status.MISMATCH
    assert "repeated with the seed 7, but 42 was requested" in result.why


@pytest.mark.parametrize(
    "change",
    [
        factory.facts_of_process(cpu_model="Another CPU", isa="avx2"),
        with_request(context={"engine": "venv", "host": "other"}),
    ],
)
def test_variations_measured_on_two_machines_are_a_mismatch(change: Callable[[Record], Record]) -> None:
    """Each variation is consistent, but the column has room for the facts of one machine only."""
    run = factory.run(factory.info(variations={"default": (), "onednn=0": ()}))
    run = factory.changed(run, factory.settings(onednn="off"), Change(variation="onednn=0"))
    assert verdict(run, variation="onednn=0").status is Status.REPRODUCIBLE
    mixed = factory.changed(run, change, Change(variation="onednn=0"))
    assert {verdict(mixed, variation=variation).status for variation in ("default", "onednn=0")} == {Status.MISMATCH}


def test_the_headline_names_the_variation_that_decides_unless_it_is_the_default() -> None:
    run = factory.run(factory.info(variations={"threads=1": ()}))
    view = build(evaluate(run))
    assert view.answer[0].startswith("With determinism on, under the variation threads=1, all 2 kernels are")
    assert "determinism on under the variation threads=1" in view.choice.question
    assert "2 of 2, TF 2.18.1 CPU, threads=1" in badge.render(view)
    for form in (report.Format.HTML, report.Format.MARKDOWN, report.Format.TERMINAL):
        assert "threads=1" in rendered(run, form)
    assert "default" not in build(evaluate(factory.run())).answer[0]


@pytest.mark.parametrize("name", ["matmul", "control_integer"])
def test_a_kernel_that_run_json_lacks_is_not_dropped(name: str) -> None:
    """A kernel that differs, or a control that failed, must not be hidden by removing it from run.json."""
    run = factory.run(None, only(name, Behaviour(("a", "b"))))
    kernels = tuple(kernel for kernel in run.info.kernels if kernel.name != name)
    evaluated = evaluate(dataclasses.replace(run, info=dataclasses.replace(run.info, kernels=kernels)))
    assert {one.status for one in evaluated.verdicts if not one.control} == {Status.MISMATCH}
    assert f"run.json has no kernel {name}, but a record has" in evaluated.verdicts[0].why


def test_a_custom_kernel_does_not_pass_for_one_of_the_suite() -> None:
    run = factory.changed(factory.run(), with_request(kernel_files={"matmul": "my.py"}))
    result = verdict(run)
    assert (result.status, "custom" in result.why) == (Status.MISMATCH, True)


def of_own_process(**settings: Any) -> Callable[[Record], Record]:
    """A change that moves ``mine``, a custom kernel, to a process of its own, whose file changed some settings."""

    def moved(record: Record) -> Record:
        first = record.processes[0]
        own = replace(first, process=2, pid=first.pid + 1000, settings={**first.settings, **settings})
        samples = tuple(replace(one, process=2) if one.kernel == "mine" else one for one in record.samples)
        outcomes = tuple(replace(one, process=2) if one.kernel == "mine" else one for one in record.outcomes)
        request = replace(record.request, kernel_files={"mine": f"{'a' * 64}/my.py"})
        return replace(record, request=request, processes=(first, own), samples=samples, outcomes=outcomes)

    return moved


@pytest.mark.parametrize(
    ("settings", "own"),
    [
        ({}, Status.REPRODUCIBLE),
        ({"intra_op_threads": 1}, Status.REPRODUCIBLE),
        ({"env": {"TF_CPP_MIN_LOG_LEVEL": "3"}}, Status.REPRODUCIBLE),
        ({"determinism_enabled": False}, Status.MISMATCH),
    ],
)
def test_what_a_custom_file_sets_concerns_its_own_kernels_only(settings: dict[str, Any], own: Status) -> None:
    kernels = (factory.kernel("matmul"), factory.kernel("mine", file="my.py"), *factory.CONTROLS)
    run = factory.changed(factory.run(factory.info(kernels=kernels)), of_own_process(**settings), Change(mode="on"))
    run = factory.changed(run, of_own_process(**{**settings, "determinism_enabled": False}), Change(mode="off"))
    assert verdict(run).status is Status.REPRODUCIBLE
    assert verdict(run, name="mine").status is own
    one = factory.changed(run, of_own_process(intra_op_threads=7), Change(mode="on", rounds=(2,)))
    assert verdict(one).status is Status.REPRODUCIBLE, "its rounds are compared with each other"
    assert verdict(one, name="mine").status is Status.MISMATCH


def test_a_process_of_both_kinds_is_checked_for_both() -> None:
    """Moving a sample of another kernel into a process must not exempt the process from the checks."""
    kernels = (factory.kernel("matmul"), factory.kernel("mine", file="my.py"), *factory.CONTROLS)
    run = factory.run(factory.info(kernels=kernels))

    def in_one_process(record: Record) -> Record:
        request = replace(record.request, kernel_files={"mine": f"{'a' * 64}/my.py"})
        return replace(factory.settings(determinism_enabled=False)(record), request=request)

    mixed = factory.changed(run, in_one_process, Change(mode="on"))
    assert {verdict(mixed).status, verdict(mixed, name="mine").status} == {Status.MISMATCH}


def test_a_record_beside_its_compressed_copy_must_be_the_same(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "run", factory.run())
    packed = next(folder.rglob("on-002.jsonl.xz"))
    plain = packed.with_suffix("")
    plain.write_bytes(lzma.decompress(packed.read_bytes()))
    assert not store.load(folder).unreadable
    plain.write_bytes(lzma.decompress(packed.with_name("on-003.jsonl.xz").read_bytes()))
    run = store.load(folder)
    (name,) = run.unreadable
    assert name == plain.relative_to(folder).as_posix()
    assert name not in run.records


@pytest.mark.parametrize(
    ("model", "claimed", "status"),
    [
        ("NVIDIA A100", "a10", Status.MISMATCH),
        ("NVIDIA L40S", "l4", Status.MISMATCH),
        ("NVIDIA L40S", "l40", Status.MISMATCH),
        ("NVIDIA L40S", "l40s", Status.REPRODUCIBLE),
        ("NVIDIA A100-SXM4-80GB", "a100", Status.REPRODUCIBLE),
    ],
)
def test_a_gpu_model_is_not_part_of_the_name_of_another(model: str, claimed: str, status: Status) -> None:
    column = dataclasses.replace(H100, id=f"tf2.18.1-cuda12.5-py311@{claimed}", device=claimed)
    run = factory.run(factory.info(columns=(column,)))
    gpu = {**run.records[next(iter(run.records))].processes[0].provenance["gpu"], "device_name": model}
    result = verdict(factory.changed(run, factory.facts_of_process(gpu=gpu)), column=column.id)
    assert result.status is status
