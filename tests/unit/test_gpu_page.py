"""What the page shows about GPU columns: devices, pairs, libraries, clocks, hosts."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from bench.report import Format
from bench.verdict import evaluate
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour
from tests.unit.test_report import COMPLETE, rendered, view_of

if TYPE_CHECKING:
    from bench.report.view import Column, Notice
    from bench.store.run import Run
    from tests.unit.factory import Spot

H100 = factory.column(cuda="12.5")
OTHER_GPU = "GPU-99887766-0000-0000-0000-000000000009"


def columns(*columns: Any) -> tuple[Column, ...]:
    return view_of(factory.run(factory.info(columns=columns))).columns


def every_kind() -> Run:
    """A CPU column, GPU columns one step apart, two that were not measured, and an existing environment."""
    hot = {**factory.CALM, "reasons": ["hardware slowdown"], "discarded": "throttled: hardware slowdown"}
    columns = (
        factory.column(),
        dataclasses.replace(H100, advice="warn: the first run compiles PTX on this GPU"),
        factory.column(cuda="12.6", kind="forward"),
        factory.column("2.20.0", "12.5", status="incompatible", reason="driver 470 is older than 525.60.13"),
        factory.column("2.21.0", "12.5", status="gpu-not-visible", reason="this host has no GPU", device="gpu", gpu=""),
        dataclasses.replace(
            H100,
            id="tf2.18.1-cuda12.5-local-py312@h200",
            device="h200",
            kind="local",
            lock_hash="",
            origin={"name": "box"},
        ),
    )

    def behave(spot: Spot) -> Behaviour:
        return Behaviour(guard=hot) if (spot.kernel, spot.mode) == ("matmul", "on") and "12.6" in spot.column else EXACT

    return factory.run(factory.info(columns=columns), behave)


def notices(run: Run) -> dict[str, Notice]:
    return {notice.title: notice for notice in view_of(run).notices}


@pytest.mark.parametrize(
    ("changes", "label", "accelerator", "kind"),
    [
        ({}, "TF 2.18.1 CUDA 12.5 on h100", "CUDA 12.5 on h100", "official pair"),
        (
            {"kind": "forward"},
            "TF 2.18.1 CUDA 12.5 on h100",
            "CUDA 12.5 on h100",
            "newer CUDA than TensorFlow was built",
        ),
        (
            {"kind": "forward", "cudnn": "9.10.2.21", "id": "tf2.18.1-cuda12.5-cudnn9.10-py311@h100"},
            "TF 2.18.1 CUDA 12.5 cuDNN 9.10 on h100",
            "CUDA 12.5, cuDNN 9.10 on h100",
            "newer CUDA",
        ),
        (
            {"id": "tf2.18.1-cuda12.5-mine-py311@h100"},
            "TF 2.18.1 CUDA 12.5 mine on h100",
            "CUDA 12.5, mine on h100",
            "official pair",
        ),
        ({"kind": "older"}, "TF 2.18.1 CUDA 12.5 on h100", "CUDA 12.5 on h100", "older CUDA"),
        ({"kind": "local"}, "TF 2.18.1 CUDA 12.5 on h100, existing environment", "CUDA 12.5 on h100", "not locked"),
    ],
)
def test_a_column_names_its_pair_and_device(changes: dict[str, Any], label: str, accelerator: str, kind: str) -> None:
    (column,) = columns(dataclasses.replace(H100, **changes))
    assert (column.label, column.accelerator, column.device) == (label, accelerator, "h100")
    assert column.kind.startswith(kind) or kind in column.kind


def test_a_cpu_column_has_no_kind() -> None:
    (column,) = columns(factory.column())
    assert (column.kind, column.device, column.accelerator) == ("", "cpu", "CPU")


def test_two_gpus_of_one_model_are_distinguished_by_their_uuids() -> None:
    other = dataclasses.replace(H100, id=f"{H100.id}-2", gpu=OTHER_GPU)
    assert [column.device for column in columns(H100, other)] == ["h100-1a2b3c4d", "h100-99887766"]
    named = [dataclasses.replace(column, device=f"h100-{column.gpu[4:12]}") for column in (H100, other)]
    assert [column.device for column in columns(*named)] == ["h100-1a2b3c4d", "h100-99887766"]


def test_the_result_of_the_preflight_is_shown_with_its_column() -> None:
    text = "ok, minor-version compatibility (driver 535 is older than 12.5's 555)"
    run = factory.run(factory.info(columns=(dataclasses.replace(H100, advice=text),)))
    for form in (Format.HTML, Format.TERMINAL, Format.MARKDOWN, Format.JSON):
        page = " ".join(rendered(run, form).replace("\\", "").replace("&#39;", "'").split())
        assert page.count(text) == 1


def test_imported_columns_name_their_host_and_engine() -> None:
    elsewhere = dataclasses.replace(
        H100, id=f"{H100.id}-gpu-box", origin={"name": "gpu-box", "engine": "venv", "driver": "550.54.15"}
    )
    run = factory.run(factory.info(columns=(H100, elsewhere)))
    view = view_of(run)
    assert [column.label for column in view.columns] == [
        "TF 2.18.1 CUDA 12.5 on h100",
        "TF 2.18.1 CUDA 12.5 on h100, from gpu-box, engine venv",
    ]
    assert "not compared between hosts" in notices(run)["From other hosts"].text
    facts = {fact.label: fact.value for fact in view.environments[1].provenance}
    assert facts["from host, name"] == "gpu-box"
    assert json.loads(rendered(run, Format.JSON))["columns"][1]["host"]["engine"] == "venv"


def test_an_existing_environment_is_not_shown_as_locked() -> None:
    existing = dataclasses.replace(H100, kind="local", lock="", lock_hash="")
    run = factory.run(factory.info(columns=(existing,)))
    facts = {fact.label: fact.value for fact in view_of(run).environments[0].provenance}
    assert facts["lock"] == "not locked: this environment cannot be rebuilt exactly"
    assert "lock_hash" not in facts
    assert "cannot be rebuilt exactly" in notices(run)["Not locked"].text
    assert json.loads(rendered(run, Format.JSON))["columns"][0].get("locked", False) is False
    assert "Not locked" not in notices(factory.run(factory.info(columns=(H100,))))


def test_the_local_version_of_a_vendor_build_is_no_mismatch() -> None:
    name = "tf2.17.0-cuda12.5-local-py311@h100"
    vendor = dataclasses.replace(H100, id=name, kind="local", tensorflow="2.17.0+nv24.12")
    assert {
        verdict.status.value
        for verdict in evaluate(factory.run(factory.info(columns=(vendor,)))).verdicts
        if not verdict.control
    } == {"reproducible"}


def test_the_facts_of_the_gpu_are_shown_with_the_environment() -> None:
    run = factory.run(factory.info(columns=(H100, factory.column())))
    on_gpu, on_cpu = view_of(run).environments
    assert {fact.label: fact.value for fact in on_gpu.gpu} == {
        "GPU": f"NVIDIA H100, compute capability 9.0, 132 SMs, {factory.GPU}",
        "Driver": "550.54.15, CUDA 12.4 at most",
        "libcuda": "CUDA 12.4 at most, /usr/lib/libcuda.so.550.54.15",
        "cublas": "12.5.3",
        "cudnn": "9.3.0",
        "SM clock": "1965–1980 MHz",  # noqa: RUF001
        "Memory clock": "2619 MHz",
        "Highest temperature": "48 °C",
        "Highest power": "420 W",
        "Highest memory in use on the GPU": "900 MB",
        "Throttle reasons": "software power cap (10)",
    }
    assert on_cpu.gpu == ()
    head = {fact.label: fact.value for fact in view_of(run).facts}
    assert head["GPU measured"].startswith("NVIDIA H100, compute capability 9.0, 132 SMs, GPU-1a2b3c4d")
    assert head["GPU measured"].endswith("driver 550.54.15, CUDA 12.4 at most")
    assert "GPU measured" not in {fact.label for fact in view_of(factory.run()).facts}
    page = rendered(run, Format.HTML)
    assert "<dt>SM clock<dd>1965–1980 MHz" in page[page.index('id="env-title"') :]  # noqa: RUF001
    assert json.loads(rendered(run, Format.JSON))["environments"][0]["gpu"]["cudnn"] == "9.3.0"


def test_gpu_memory_is_shown_beside_the_memory_of_the_process() -> None:
    run = factory.run(factory.info(columns=(H100, factory.column())))
    page = rendered(run, Format.HTML)
    tables = page[page.index("class=kernel-evidence") :]
    assert "Peak on the GPU, MB" in tables
    assert "<td>64<td>64<td>" in tables
    found = json.loads(rendered(run, Format.JSON))["families"][0]["kernels"][0]["variations"][0]["cells"][0]["on"]
    assert (found["peak_gpu_mb"], "discarded" in found) == (64.0, False)


@pytest.mark.parametrize("guard", [None, {"samples": 0, "unwatched": "this host has no NVML"}])
def test_clocks_that_were_not_monitored_are_reported_once(guard: dict[str, Any] | None) -> None:
    def behave(spot: Spot) -> Behaviour:
        return EXACT if spot.kernel.startswith("control") else Behaviour(guard=guard)

    run = factory.run(factory.info(columns=(H100,)), behave)
    notice = notices(run)["GPU clocks not monitored"]
    assert notice.text.startswith("The GPU clocks were not monitored during all timings on TF 2.18.1")
    assert notice.items == (("this host has no NVML",) if guard else ())
    assert evaluate(run).overheads
    assert "GPU clocks not monitored" not in notices(factory.run(factory.info(columns=(H100,))))
    assert "GPU clocks not monitored" not in notices(factory.run())


HARM: tuple[dict[str, Any], ...] = (
    {"samples": "many", "sm_mhz": "fast", "reasons": 5, "foreign": {"a": 1}, "discarded": ["<b>"]},
    {"samples": 1, "sm_mhz": [None, "x"], "reasons": ["<script>"], "foreign": [], "discarded": "\x1b[31m<script>"},
    {},
)


@pytest.mark.parametrize("guard", HARM)
@pytest.mark.parametrize("form", Format)
def test_damaged_guard_facts_stay_text(guard: dict[str, Any], form: Format) -> None:
    facts = {"cuda": {"<b>": ["x"], "cudnn": None}, "gpu": {"compute_capability": "<i>", "sm_count": {}}}
    run = factory.run(
        factory.info(columns=(dataclasses.replace(H100, advice="<script>", origin={"name": "<script>"}),)),
        lambda spot: EXACT if spot.kernel.startswith("control") else Behaviour(guard=guard),
    )
    page = rendered(factory.changed(run, factory.facts_of_process(**facts)), form)
    assert "\x1b" not in page
    if form in (Format.HTML, Format.MARKDOWN):
        assert page.count("<script>") == (form is Format.HTML)  # its own


def test_a_step_is_named_on_every_page() -> None:
    newer = factory.column(cuda="12.6", kind="forward")
    run = factory.run(factory.info(columns=(H100, newer)))
    (step,) = view_of(run).upgrades
    assert (step.step, step.changed_facts, step.alone) == ("CUDA step", "CUDA 12.5 to 12.6 alone.", True)
    assert step.label == "TF 2.18.1 CUDA 12.5 on h100 to TF 2.18.1 CUDA 12.6 on h100"
    for form in (Format.HTML, Format.TERMINAL, Format.MARKDOWN, Format.JSON):
        page = re.sub(r"\s+", " ", rendered(run, form).replace("\\", ""))
        assert "CUDA step" in page
        assert "CUDA 12.5 to 12.6 alone." in page
    upgrade = json.loads(rendered(run, Format.JSON))["upgrades"][0]
    assert (upgrade["step"], upgrade["alone"]) == ("CUDA step", True)


def test_kernels_whose_bits_a_step_changes_are_counted() -> None:
    newer = factory.column(cuda="12.6", kind="forward")

    def moved(spot: Spot) -> Behaviour:
        return Behaviour(("new",)) if (spot.column, spot.kernel) == (newer.id, "matmul") else EXACT

    (step,) = view_of(factory.run(factory.info(columns=(H100, newer)), moved)).upgrades
    assert [text.partition("; ")[2] for text in step.sentences[1:3]] == ["bits changed in 1 of 2 kernels."] * 2
    assert step.sentences[0] == f"{step.changed} of {step.results} results changed."
    assert step.changed == len(step.rows) == dict(step.counts)["bits changed"]


def test_kernels_that_use_keras_are_not_compared_where_keras_changes() -> None:
    older = factory.column("2.17.1", keras="3.5.0")
    kernels = (factory.kernel("mlp_fit", portable=False), *factory.info().kernels)
    run = factory.run(factory.info(columns=(older, factory.column()), kernels=kernels))
    (step,) = view_of(run).upgrades
    assert step.changed_facts == "TensorFlow 2.17.1 to 2.18.1, and with it Keras 3.5.0 to 3.15.1."
    assert step.sentences[1].endswith("bits changed in 0 of 2 kernels, 1 not compared.")


@pytest.mark.parametrize("form", COMPLETE)
def test_a_column_without_a_measurement_has_its_reason_and_no_number(form: Format) -> None:
    page = " ".join(rendered(every_kind(), form).replace("\\", "").split())
    view = view_of(every_kind())
    for place, reason in ((3, "driver 470 is older than 525.60.13"), (4, "this host has no GPU")):
        assert view.columns[place].reason == f"{reason}."
        if form is Format.HTML:
            head = page[page.index('class="matrix') :].partition("</thead>")[0]
            assert head.count(reason) == 1
        elif form is not Format.JSON:
            assert reason in page
        halves = [half for row in view.rows for half in row.entries[place].mode_results]
        assert not any(
            half.time or half.overhead or half.evidence_text or half.letters or half.distance_text for half in halves
        )
