"""Checks that records measured what the plan requested; anything else yields no verdict.

Every check here prevents a wrong green: determinism that was never on, a column that ran another TensorFlow, a GPU
column that ran on the CPU or on another GPU, a comparison of processes with different settings or CUDA libraries. A
value that a process did not report cannot contradict anything; if a claim needs it, ``unshown`` says so and the
verdict is ``inconclusive``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bench.verdict.gpu_validity import BEFORE_GPUS, no_gpu, other_cuda, other_gpu, wrong_device, wrong_gpu
from bench.verdict.invalid_measurement import (
    NOT_REQUESTED,
    InvalidMeasurement,
    mapping,
    mismatch,
    processes_of,
    shorten,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.store.run_info import ColumnInfo, RunInfo
    from bench.suite.record import Process
    from bench.verdict.observations import AcceptedRecord

#: Provenance that must agree between all processes of a column and variation. Host name, uname and load
#: may differ: each container has its own host name.
SAME_PROVENANCE = (
    "python",
    "tensorflow",
    "tensorflow_git",
    "tensorflow_compiler",
    "keras",
    "numpy",
    "protobuf",
    "build_info",
    "cpu_model",
    "cpu_flags_hash",
    "isa",
    "cores",
    "libc",
)

#: Settings that must agree between all processes of a column and variation, whatever the mode.
SAME_SETTINGS = ("intra_op_threads", "inter_op_threads", "onednn", "isa_limit", "tf32", "xla_jit", "devices")

#: Settings that must agree within a mode; they include the determinism switch itself.
SAME_IN_MODE = ("determinism_enabled", "switch", "env")

#: Variables that name folders, and change neither bits nor settings: each round may have its own.
PLACES = frozenset({"CUDA_CACHE_PATH"})

#: Libraries whose versions must agree between processes that loaded them, by prefix.
SAME_LIBRARIES = ("libtensorflow", "libcud", "libcublas")


def invalid_measurement(
    info: RunInfo, column: ColumnInfo, by_mode: Mapping[str, Sequence[AcceptedRecord]], mode: str
) -> InvalidMeasurement | None:
    """Return the first reason why this mode of a column and variation is not a valid measurement, or None.

    ``by_mode`` has the records of every mode of the column and variation: versions and settings must
    agree over all of them, otherwise comparing on with off would compare something else.
    """
    group = by_mode.get(mode, ())
    if not group:
        return None
    everything = [accepted for records in by_mode.values() for accepted in records]
    reasons = (
        no_gpu(column, group),
        _refused(group),
        wrong_device(info, column, group),
        wrong_gpu(column, everything),
        _wrong_mode(group, mode),
        _wrong_request(info, group, mode),
        _wrong_variation(group, mode),
        _other_place(everything),
        _other_environment(processes_of(everything)),
        _wrong_lock(column, group),
        _wrong_versions(column, group),
        _disagree(processes_of(everything), SAME_PROVENANCE, "provenance"),
        other_gpu(processes_of(everything)),
        _other_code(processes_of(everything)),
        _other_libraries(processes_of(everything)),
        other_cuda(processes_of(everything)),
        _disagree(processes_of(everything), SAME_SETTINGS, "settings"),
        _disagree(processes_of(group), SAME_IN_MODE, "settings"),
        _wrong_seeds(everything),
    )
    return next((reason for reason in reasons if reason is not None), None)


def mixed(column: ColumnInfo, group: Sequence[AcceptedRecord]) -> InvalidMeasurement | None:
    """Return why the records of all variations of a column are not of one machine and environment, or None."""
    processes = processes_of(group)
    reasons = (
        wrong_gpu(column, group),
        _other_place(group),
        _disagree(processes, SAME_PROVENANCE, "provenance"),
        other_gpu(processes),
        _other_code(processes),
        _other_libraries(processes),
        other_cuda(processes),
    )
    return next((reason for reason in reasons if reason is not None), None)


def unshown(info: RunInfo, column: ColumnInfo, group: Sequence[AcceptedRecord]) -> tuple[str, ...]:
    """Return what a green cell needs and the processes did not report."""
    missing: dict[str, None] = {}
    on_gpu = column.device != "cpu" and info.schema > BEFORE_GPUS
    for accepted in group:
        request = accepted.record.request
        if on_gpu and column.gpu and not request.gpu.get("uuid"):
            missing["a round did not request its GPU by UUID"] = None
        for process in accepted.record.processes:
            if on_gpu and not set(mapping(process.provenance.get("cuda"))) - {"driver"}:
                missing["a process did not report which CUDA libraries it loaded"] = None
            gpu = mapping(process.provenance.get("gpu"))
            if on_gpu and not (gpu.get("uuid") if column.gpu else gpu):
                missing["a process did not report which GPU it had"] = None
            if column.tensorflow and not process.provenance.get("tensorflow"):
                missing["a process did not report which TensorFlow it ran"] = None
            if request.tf32 is not None and process.settings.get("tf32") is None:
                missing["a process did not report whether TF32 was on"] = None
            if request.threads is not None and process.settings.get("intra_op_threads") is None:
                missing["a process did not report how many threads it had"] = None
    return tuple(missing)


def _refused(group: Sequence[AcceptedRecord]) -> InvalidMeasurement | None:
    """A process that refused to start reports the same reason for every requested kernel."""
    for accepted in group:
        messages: dict[int, set[str]] = {}
        for outcome in accepted.record.outcomes:
            message = outcome.message if outcome.error_class == "MismatchError" else ""
            messages.setdefault(outcome.process, set()).add(message)
        ran = {sample.process for sample in accepted.record.samples}
        refused = {process for process, texts in messages.items() if len(texts) == 1} - ran
        reason = next((message for process in sorted(refused) for message in messages[process] if message), "")
        if reason:
            return mismatch(reason.removeprefix(NOT_REQUESTED))
    return None


def _wrong_mode(group: Sequence[AcceptedRecord], mode: str) -> InvalidMeasurement | None:
    for accepted in group:
        known = {process.process: process for process in accepted.record.processes}
        numbers = {sample.process for sample in accepted.record.samples} | set(known)
        for number in sorted(numbers):
            if number not in known:
                return mismatch("a process gave samples but not its settings, so that its mode is unknown")
            enabled = known[number].settings.get("determinism_enabled")
            if enabled is not (mode == "on"):
                state = {"True": "on", "False": "off"}.get(str(enabled), "unknown")
                round_number = accepted.record.request.round
                return mismatch(f"determinism {mode} was requested, but it was {state} in round {round_number}")
    return None


def _wrong_request(info: RunInfo, group: Sequence[AcceptedRecord], mode: str) -> InvalidMeasurement | None:
    for accepted in group:
        request = accepted.record.request
        if request.seed != info.seed:
            return mismatch(f"the run's seed is {info.seed}, but round {request.round} used {request.seed}")
        for process in accepted.record.processes:
            threads = process.settings.get("intra_op_threads")
            if request.threads is not None and threads is not None and threads != request.threads:
                return mismatch(f"{request.threads} threads were requested, but {threads} were in effect")
            tf32 = process.settings.get("tf32")
            if request.tf32 is not None and tf32 is not None and tf32 is not request.tf32:
                words = {True: "on", False: "off"}
                return mismatch(f"TF32 {words[request.tf32]} was requested, but it was {words.get(tf32, 'unknown')}")
            switch = process.settings.get("switch")
            if mode == "on" and switch is not None and switch != request.switch:
                return mismatch(f"the switch {request.switch} was requested, but {switch} was used")
            env = process.settings.get("env")
            for name in sorted(request.env):
                if isinstance(env, dict) and str(env.get(name)) != request.env[name]:
                    return mismatch(f"{name}={request.env[name]!r} was requested, but it was {env.get(name)!r}")
    return None


def _wrong_variation(group: Sequence[AcceptedRecord], mode: str) -> InvalidMeasurement | None:
    """The settings in effect must be those that the variation's name promises."""
    for accepted in group:
        variation = accepted.record.request.variation
        for process in accepted.record.processes:
            for name, promised in _promised(variation, process, mode).items():
                actual = process.settings.get(name)
                if actual != promised:
                    shown = "unknown" if actual is None else actual
                    return mismatch(f"{variation} means {name} {promised}, but in effect was {shown}")
    return None


def _promised(variation: str, process: Process, mode: str) -> dict[str, Any]:
    """Return the settings that a variation's name promises; none for names that only later versions know."""
    key, _, value = variation.partition("=")
    if key == "threads":
        factor, times, _ = value.partition("xcores")
        if not factor.isdecimal():
            return {}
        cores = process.provenance.get("cores") if times else 1
        return {"intra_op_threads": int(factor) * cores} if cores else {}
    known: dict[str, dict[str, Any]] = {
        "tf32": {"tf32": value == "on"},
        "onednn": {"onednn": "on" if value == "1" else "off"},
        "isa": {"isa_limit": value.upper()},
        "switch": {"switch": value} if mode == "on" else {},
    }
    return known.get(key, {})


def _other_place(group: Sequence[AcceptedRecord]) -> InvalidMeasurement | None:
    """Rounds of different engines, environments or hosts do not belong to one column."""
    for key in ("engine", "environment", "host"):
        values = {str(accepted.record.request.context.get(key, "")) for accepted in group}
        if len(values) > 1:
            return mismatch(f"the rounds ran in more than one {key}")
    return None


def _other_environment(processes: Sequence[Process]) -> InvalidMeasurement | None:
    """Apart from the switch, both modes must have one environment; otherwise on and off are not comparable."""
    known: dict[str, None] = {}
    for process in processes:
        env = _compared(process.settings, "env")
        if isinstance(env, dict):
            known[json.dumps({k: v for k, v in env.items() if k != "TF_DETERMINISTIC_OPS"}, sort_keys=True)] = None
    return mismatch("the compared processes have different environment variables") if len(known) > 1 else None


def _wrong_lock(column: ColumnInfo, group: Sequence[AcceptedRecord]) -> InvalidMeasurement | None:
    for accepted in group:
        lock_hash = accepted.record.request.context.get("lock_hash")
        if lock_hash and column.lock_hash and lock_hash != column.lock_hash:
            return mismatch("the lock has changed since it was measured")
    return None


def _wrong_versions(column: ColumnInfo, group: Sequence[AcceptedRecord]) -> InvalidMeasurement | None:
    for process in processes_of(group):
        for name, wanted in (("tensorflow", column.tensorflow), ("keras", column.keras), ("python", column.python)):
            actual = str(process.provenance.get(name) or "")
            exact = name != "python"  # a column only names the minor of Python
            if wanted and actual and not _matches(wanted, actual, exact=exact):
                return mismatch(f"the column is {name} {wanted}, but {actual} ran")
        cuda = mapping(process.provenance.get("cuda"))
        for name, key, wanted in (("CUDA", "cudart", column.cuda), ("cuDNN", "cudnn", column.cudnn)):
            loaded = str(cuda.get(key) or "")
            minors = [f"{text}.".split(".")[:2] for text in (wanted, loaded)]
            if wanted and loaded and minors[0] != minors[1]:
                return mismatch(f"the column is {name} {wanted}, but {loaded} was loaded")
    return None


def _matches(wanted: str, actual: str, *, exact: bool) -> bool:
    """Compare versions as written, except for the dash that some releases have before ``rc1``.

    A vendor's suffix after a plus counts only if the column names it.
    """
    left, right = wanted.replace("-", ""), actual.replace("-", "")
    right = right if "+" in left else right.partition("+")[0]
    return left == right or (not exact and right.startswith(f"{left}."))


def _disagree(processes: Sequence[Process], keys: Sequence[str], where: str) -> InvalidMeasurement | None:
    for key in keys:
        values: dict[str, None] = {}
        for process in processes:
            facts: Mapping[str, Any] = process.provenance if where == "provenance" else process.settings
            fact = _compared(facts, key)
            if fact is not None:
                values[json.dumps(fact, sort_keys=True, default=str)] = None
        if len(values) > 1:
            shown = " and ".join(shorten(value) for value in list(values)[:2])
            return mismatch(f"the compared processes differ in {key}: {shown}")
    return None


def _compared(facts: Mapping[str, Any], key: str) -> Any:
    """Return a fact as it is compared: of an environment, only what can change bits or settings."""
    fact = facts.get(key)
    if key == "env" and isinstance(fact, dict):
        return {name: value for name, value in fact.items() if name not in PLACES}
    return fact


def _other_code(processes: Sequence[Process]) -> InvalidMeasurement | None:
    """Rounds may run different kernels, so hashes are compared kernel by kernel."""
    known: dict[str, str] = {}
    for process in processes:
        hashes = process.provenance.get("kernel_hashes")
        for kernel, code in sorted(hashes.items()) if isinstance(hashes, dict) else ():
            if known.setdefault(kernel, code) != code:
                return mismatch(f"the compared processes ran different code of {kernel}")
    return None


def _other_libraries(processes: Sequence[Process]) -> InvalidMeasurement | None:
    """A library that only some processes loaded is no contradiction: libraries are loaded on demand."""
    known: dict[str, str] = {}
    for process in processes:
        for name, version in process.libraries.items():
            if version and name.startswith(SAME_LIBRARIES) and known.setdefault(name, version) != version:
                return mismatch(f"the compared processes loaded {name} {known[name]} and {version}")
    return None


def _wrong_seeds(group: Sequence[AcceptedRecord]) -> InvalidMeasurement | None:
    """Repetitions with two seeds would look nondeterministic, and another seed could not be reproduced."""
    for accepted in group:
        wanted = accepted.record.request.seed
        for sample in accepted.record.samples:
            if sample.seed != wanted and sample.role != "second-seed":
                return mismatch(f"{sample.kernel} was repeated with the seed {sample.seed}, but {wanted} was requested")
    return None
