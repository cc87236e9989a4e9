"""Checks that a process had what its request asked for: mode, seed, settings, versions and GPU.

Like ``bench.verdict.claims``, it checks one request and its processes, of a round or of one side of a pair.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bench.verdict.invalid_measurement import InvalidMeasurement, mapping, mismatch
from bench.verdict.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.store.run_info import ColumnInfo, RunInfo
    from bench.suite.paired_record import SideProcess
    from bench.suite.record import Process, Request

    AnyProcess = Process | SideProcess

#: Distributions that a lock pins and a process reports.
PINNED = frozenset({"tensorflow", "keras", "numpy", "protobuf"})


def as_requested(
    info: RunInfo, column: ColumnInfo, request: Request, processes: Sequence[AnyProcess]
) -> InvalidMeasurement | None:
    """Return the first reason why processes did not run what was requested, or None."""
    reasons = (
        wrong_device(column, request),
        wrong_gpu(column, request, processes),
        *(wrong_mode(request, process) for process in processes),
        wrong_request(info, request, processes),
        wrong_variation(request, processes),
        wrong_versions(column, processes),
    )
    return next((reason for reason in reasons if reason is not None), None)


def without_gpu(column: ColumnInfo, processes: Sequence[AnyProcess]) -> InvalidMeasurement | None:
    """Return gpu-not-visible if a process of a GPU column saw no GPU: it measured the CPU."""
    for process in processes:
        seen = "GPU" in json.dumps(process.settings.get("devices"), default=str).upper()
        if column.device == "cpu" and seen:
            return mismatch("this column is for the CPU, but the process had a GPU")
        if column.device != "cpu" and not seen:
            return InvalidMeasurement(
                Status.GPU_NOT_VISIBLE, f"the column is for {column.device}, but TensorFlow saw no GPU"
            )
    return None


def wrong_device(column: ColumnInfo, request: Request) -> InvalidMeasurement | None:
    """Check that the request named the kind of device of the column."""
    wanted = "cpu" if column.device == "cpu" else "gpu"
    if request.device == wanted:
        return None
    return mismatch(f"the column is for a {wanted.upper()}, but a round was requested on a {request.device.upper()}")


def wrong_gpu(column: ColumnInfo, request: Request, processes: Sequence[AnyProcess]) -> InvalidMeasurement | None:
    """Check that the GPU that was requested, and the one that the processes saw, are that of the column."""
    uuid = str(request.gpu.get("uuid") or "")
    if uuid and column.gpu and uuid != column.gpu:
        return mismatch(f"the column is for {column.gpu}, but a round was requested on {uuid}")
    for process in processes:
        seen = str(mapping(process.provenance.get("gpu")).get("uuid") or "")
        whole = (column.gpu or uuid).startswith("GPU-")  # driver and NVML may name a slice (MIG-...) differently
        if seen and whole and seen != (column.gpu or uuid):
            return mismatch(f"the column is for {column.gpu or uuid}, but a process ran on {seen}")
    return None


def wrong_mode(request: Request, process: AnyProcess) -> InvalidMeasurement | None:
    """Check that determinism was on exactly where the mode says so."""
    enabled = process.settings.get("determinism_enabled")
    if enabled is (request.mode == "on"):
        return None
    state = {"True": "on", "False": "off"}.get(str(enabled), "unknown")
    return mismatch(f"determinism {request.mode} was requested, but it was {state} in round {request.round}")


def wrong_request(info: RunInfo, request: Request, processes: Sequence[AnyProcess]) -> InvalidMeasurement | None:
    """Check that seed, threads, TF32, switch and environment variables were the requested ones."""
    if request.seed != info.seed:
        return mismatch(f"the run's seed is {info.seed}, but round {request.round} used {request.seed}")
    reasons = (reason for process in processes for reason in _other_settings(request, process))
    return next((mismatch(reason) for reason in reasons), None)


def _other_settings(request: Request, process: AnyProcess) -> Iterator[str]:
    for wanted, setting in ((request.threads, "intra_op_threads"), (request.inter, "inter_op_threads")):
        threads = process.settings.get(setting)
        if wanted is not None and threads is not None and threads != wanted:
            yield f"{wanted} threads were requested, but {threads} were in effect ({setting})"
    tf32 = process.settings.get("tf32")
    if request.tf32 is not None and tf32 is not None and tf32 is not request.tf32:
        words = {True: "on", False: "off"}
        yield f"TF32 {words[request.tf32]} was requested, but it was {words.get(tf32, 'unknown')}"
    switch = process.settings.get("switch")
    if request.mode == "on" and switch is not None and switch != request.switch:
        yield f"the switch {request.switch} was requested, but {switch} was used"
    env = process.settings.get("env")
    for name in sorted(request.env):
        if isinstance(env, dict) and str(env.get(name)) != request.env[name]:
            yield f"{name}={request.env[name]!r} was requested, but it was {env.get(name)!r}"
    for distribution, pinned in sorted(request.expect.items()):
        name = "tensorflow" if distribution.startswith("tensorflow") else distribution
        ran = str(process.provenance.get(name) or "") if name in PINNED else ""
        if ran and not same_version(pinned, ran, exact=True):
            yield f"the lock has {name} {pinned}, but {ran} ran"


def wrong_variation(request: Request, processes: Sequence[AnyProcess]) -> InvalidMeasurement | None:
    """Check that the settings in effect were those that the name of the variation stands for."""
    for process in processes:
        for name, promised in _promised(request, process).items():
            actual = process.settings.get(name)
            if actual != promised:
                shown = "unknown" if actual is None else actual
                return mismatch(f"{request.variation} means {name} {promised}, but in effect was {shown}")
    return None


def _promised(request: Request, process: AnyProcess) -> dict[str, Any]:
    """Return the settings that the name of a variation stands for; none for names that only later versions know."""
    key, _, value = request.variation.partition("=")
    if key in ("threads", "inter"):
        factor, times, _ = value.partition("xcores")
        if not factor.isdecimal():
            return {}
        cores = process.provenance.get("cores") if times else 1
        setting = "intra_op_threads" if key == "threads" else "inter_op_threads"
        return {setting: int(factor) * cores} if cores else {}
    if key == "devices" and value.isdecimal():
        return {"devices": [f"/device:CPU:{number}" for number in range(int(value))]}
    known: dict[str, dict[str, Any]] = {
        "tf32": {"tf32": value == "on"},
        "eager": {"eager": value == "on"},
        "onednn": {"onednn": "on" if value == "1" else "off"},
        "isa": {"isa_limit": value.upper()},
        "switch": {"switch": value} if request.mode == "on" else {},
    }
    return known.get(key, {})


def wrong_versions(column: ColumnInfo, processes: Sequence[AnyProcess]) -> InvalidMeasurement | None:
    """Check that TensorFlow, Keras, Python, CUDA and cuDNN were those of the column."""
    for process in processes:
        for name, wanted in (("tensorflow", column.tensorflow), ("keras", column.keras), ("python", column.python)):
            actual = str(process.provenance.get(name) or "")
            exact = name != "python"  # a column only names the minor of Python
            if wanted and actual and not same_version(wanted, actual, exact=exact):
                return mismatch(f"the column is {name} {wanted}, but {actual} ran")
        cuda = mapping(process.provenance.get("cuda"))
        for name, key, wanted in (("CUDA", "cudart", column.cuda), ("cuDNN", "cudnn", column.cudnn)):
            loaded = str(cuda.get(key) or "")
            minors = [f"{text}.".split(".")[:2] for text in (wanted, loaded)]
            if wanted and loaded and minors[0] != minors[1]:
                return mismatch(f"the column is {name} {wanted}, but {loaded} was loaded")
    return None


def same_version(wanted: str, actual: str, *, exact: bool) -> bool:
    """Compare versions as written, except for the dash that some releases have before ``rc1``.

    A vendor's suffix after a plus counts only if the column names it. Unless ``exact``, a minor fits its patches.
    """
    left, right = wanted.replace("-", ""), actual.replace("-", "")
    right = right if "+" in left else right.partition("+")[0]
    return left == right or (not exact and right.startswith(f"{left}."))
