"""Checks that a GPU column measured its GPU: the requested one, with one driver and one set of CUDA libraries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bench.verdict.invalid_measurement import InvalidMeasurement, mapping, mismatch, processes_of, shorten
from bench.verdict.status import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.store.run_info import ColumnInfo, KernelInfo, RunInfo
    from bench.suite.record import Process
    from bench.verdict.observations import AcceptedRecord, ProcessObservation

#: Facts that identify a GPU.
GPU_FACTS = ("uuid", "device_name", "compute_capability", "sm_count")
#: The schema of run.json before GPUs: its processes could not report what a GPU column must show.
BEFORE_GPUS = 2


def no_gpu(column: ColumnInfo, group: Sequence[AcceptedRecord]) -> InvalidMeasurement | None:
    """A GPU column that saw no GPU measured its CPU, which would be the worst possible error."""
    for outcome in (outcome for accepted in group for outcome in accepted.record.outcomes):
        if outcome.outcome == "gpu-not-visible":
            return InvalidMeasurement(Status.GPU_NOT_VISIBLE, outcome.message or "TensorFlow saw no GPU")
    for process in processes_of(group):
        devices = process.settings.get("devices")
        seen = "GPU" in json.dumps(devices, default=str).upper()
        if column.device == "cpu" and seen:
            return mismatch("this column is for the CPU, but the process had a GPU")
        if column.device != "cpu" and not seen:
            return InvalidMeasurement(
                Status.GPU_NOT_VISIBLE, f"the column is for {column.device}, but TensorFlow saw no GPU"
            )
    return None


def wrong_device(info: RunInfo, column: ColumnInfo, group: Sequence[AcceptedRecord]) -> InvalidMeasurement | None:
    """Check that the request named the kind of device of the column; before GPUs were supported, all say ``cpu``."""
    for accepted in group:
        requested, wanted = accepted.record.request.device, "cpu" if column.device == "cpu" else "gpu"
        if requested != wanted and info.schema > BEFORE_GPUS:
            return mismatch(f"the column is for a {wanted.upper()}, but a round was requested on a {requested.upper()}")
    return None


def wrong_gpu(column: ColumnInfo, group: Sequence[AcceptedRecord]) -> InvalidMeasurement | None:
    """The GPU that a round requested and the one that its processes saw must be that of the column."""
    for accepted in group:
        uuid = str(accepted.record.request.gpu.get("uuid") or "")
        if uuid and column.gpu and uuid != column.gpu:
            return mismatch(f"the column is for {column.gpu}, but a round was requested on {uuid}")
        for process in accepted.record.processes:
            seen = str(mapping(process.provenance.get("gpu")).get("uuid") or "")
            whole = (column.gpu or uuid).startswith("GPU-")  # driver and NVML may name a slice (MIG-...) differently
            if seen and whole and seen != (column.gpu or uuid):
                return mismatch(f"the column is for {column.gpu or uuid}, but a process ran on {seen}")
    drivers = dict.fromkeys(str(driver) for item in group if (driver := item.record.request.gpu.get("driver")))
    if len(drivers) > 1:
        return mismatch(f"the rounds ran with more than one driver: {' and '.join(map(shorten, drivers))}")
    return None


def other_gpu(processes: Sequence[Process]) -> InvalidMeasurement | None:
    """Equal bits are only promised for one GPU model, slice and driver: all processes must report one GPU."""
    known = [mapping(process.provenance.get("gpu")) for process in processes]
    for key in GPU_FACTS:
        values = {json.dumps(fact[key], sort_keys=True, default=str): None for fact in known if fact.get(key)}
        if len(values) > 1:
            shown = " and ".join(shorten(value) for value in list(values)[:2])
            return mismatch(f"the compared processes ran on more than one GPU, by {key}: {shown}")
    return None


def other_cuda(processes: Sequence[Process]) -> InvalidMeasurement | None:
    """A library that only some processes loaded is no contradiction; two versions of one are."""
    known: dict[str, str] = {}
    for process in processes:
        for name, version in sorted(mapping(process.provenance.get("cuda")).items()):
            text = json.dumps(version, sort_keys=True, default=str)
            if version and known.setdefault(str(name), text) != text:
                first, other = shorten(known[str(name)]), shorten(text)
                return mismatch(f"the compared processes loaded {name} {first} and {other}")
    return None


def misplaced(column: ColumnInfo, kernel: KernelInfo, observations: Sequence[ProcessObservation]) -> tuple[str, ...]:
    """Return a concern if a GPU kernel of a GPU column had all its outputs on the CPU: it measured the CPU."""
    if column.device == "cpu" or kernel.on_host:
        return ()
    for observation in observations:
        facts = {id(sample.outputs): sample.outputs for sample in (*observation.repetitions, *observation.timings)}
        for outputs in facts.values():
            places = {str(output.get("device") or "") for output in outputs.values()} - {""}
            if places and all(place.startswith("CPU") for place in places):
                return ("its outputs were on the CPU",)
    return ()
