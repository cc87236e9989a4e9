"""Checks that a GPU column measured its GPU: the requested one, with one driver and one set of CUDA libraries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bench.verdict import requested
from bench.verdict.invalid_measurement import InvalidMeasurement, mapping, mismatch, processes_of, shorten
from bench.verdict.status import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.store.run_info import ColumnInfo, KernelInfo
    from bench.verdict.observations import AcceptedRecord, ProcessObservation
    from bench.verdict.requested import AnyProcess

#: Facts that identify a GPU.
GPU_FACTS = ("uuid", "device_name", "compute_capability", "sm_count")


def no_gpu(column: ColumnInfo, group: Sequence[AcceptedRecord]) -> InvalidMeasurement | None:
    """Return gpu-not-visible if a process of a GPU column saw no GPU: it measured the CPU."""
    for outcome in (outcome for accepted in group for outcome in accepted.record.outcomes):
        if outcome.outcome == "gpu-not-visible":
            return InvalidMeasurement(Status.GPU_NOT_VISIBLE, outcome.message or "TensorFlow saw no GPU")
    return requested.without_gpu(column, processes_of(group))


def wrong_gpu(column: ColumnInfo, group: Sequence[AcceptedRecord]) -> InvalidMeasurement | None:
    """Return a mismatch if rounds ran on another GPU than that of the column, or with different drivers."""
    for accepted in group:
        if reason := requested.wrong_gpu(column, accepted.record.request, accepted.record.processes):
            return reason
    drivers = dict.fromkeys(str(driver) for item in group if (driver := item.record.request.gpu.get("driver")))
    if len(drivers) > 1:
        return mismatch(f"the rounds ran with more than one driver: {' and '.join(map(shorten, drivers))}")
    return None


def other_gpu(processes: Sequence[AnyProcess]) -> InvalidMeasurement | None:
    """Return a mismatch if processes report different GPUs: only one model, slice and driver must give equal bits."""
    known = [mapping(process.provenance.get("gpu")) for process in processes]
    for key in GPU_FACTS:
        values = {json.dumps(fact[key], sort_keys=True, default=str): None for fact in known if fact.get(key)}
        if len(values) > 1:
            shown = " and ".join(shorten(value) for value in list(values)[:2])
            return mismatch(f"the compared processes ran on more than one GPU, by {key}: {shown}")
    return None


def other_cuda(processes: Sequence[AnyProcess]) -> InvalidMeasurement | None:
    """Return a mismatch if processes loaded two versions of a CUDA library; not all need to have loaded it."""
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
        facts = {id(sample.outputs): sample.outputs for sample in observation.own}
        for outputs in facts.values():
            places = {str(output.get("device") or "") for output in outputs.values()} - {""}
            if places and all(place.startswith("CPU") for place in places):
                return ("its outputs were on the CPU",)
    return ()
