"""Was it measured what was asked? If not, there is nothing to judge.

Every check here closes a way to a wrong green: determinism that was never on, a column that ran another
TensorFlow, a GPU column that ran on the CPU or on another GPU, two processes compared that ran under different
settings or with different CUDA libraries. A value a process did not report cannot contradict anything; where a
claim needs it, ``unshown`` says so and the verdict stays weak.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.verdict.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.store.run_info import ColumnInfo, KernelInfo, RunInfo
    from bench.suite.record import Process
    from bench.verdict.observations import AcceptedRecord, ProcessObservation

#: Provenance that must agree between all processes of a column and variation. Host name, uname and load
#: may differ: a container has a name of its own.
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

#: Facts of a GPU that name it.
GPU_FACTS = ("uuid", "device_name", "compute_capability", "sm_count")

_NOT_ASKED = "not what was asked: "

#: The schema of run.json that knew no GPU: its processes could not say what a GPU column must show.
_BEFORE_GPUS = 2

#: Settings that must agree between all processes of a column and variation, whatever the mode.
SAME_SETTINGS = ("intra_op_threads", "inter_op_threads", "onednn", "isa_limit", "tf32", "xla_jit", "devices")

#: Settings that must agree within a mode: the determinism switch itself lives here.
SAME_IN_MODE = ("determinism_enabled", "switch", "env")

#: Say where files lie, and change neither bits nor settings: a round may have a folder of its own.
PLACES = frozenset({"CUDA_CACHE_PATH"})

#: Libraries whose versions must agree between processes that loaded them, by the beginning of their names.
SAME_LIBRARIES = ("libtensorflow", "libcud", "libcublas")


@dataclass(frozen=True)
class InvalidMeasurement:
    """Why a group of processes is no measurement."""

    status: Status
    reason: str


def invalid_measurement(
    info: RunInfo, column: ColumnInfo, by_mode: Mapping[str, Sequence[AcceptedRecord]], mode: str
) -> InvalidMeasurement | None:
    """The first reason why this mode of a column and variation is no measurement, or None.

    ``by_mode`` has the records of every mode of the column and variation: versions and settings must
    agree over all of them, or the comparison of on with off would compare something else.
    """
    group = by_mode.get(mode, ())
    if not group:
        return None
    everything = [kept for records in by_mode.values() for kept in records]
    reasons = (
        _no_gpu(column, group),
        _refused(group),
        _wrong_device(info, column, group),
        _wrong_gpu(column, everything),
        _wrong_mode(group, mode),
        _wrong_request(info, group, mode),
        _wrong_variation(group, mode),
        _other_place(everything),
        _other_environment(_processes(everything)),
        _wrong_lock(column, group),
        _wrong_versions(column, group),
        _disagree(_processes(everything), SAME_PROVENANCE, "provenance"),
        _other_gpu(_processes(everything)),
        _other_code(_processes(everything)),
        _other_libraries(_processes(everything)),
        _other_cuda(_processes(everything)),
        _disagree(_processes(everything), SAME_SETTINGS, "settings"),
        _disagree(_processes(group), SAME_IN_MODE, "settings"),
        _wrong_seeds(everything),
    )
    return next((reason for reason in reasons if reason is not None), None)


def mixed(column: ColumnInfo, group: Sequence[AcceptedRecord]) -> InvalidMeasurement | None:
    """Why the records of all variations of a column are not of one machine and environment, or None."""
    processes = _processes(group)
    reasons = (
        _wrong_gpu(column, group),
        _other_place(group),
        _disagree(processes, SAME_PROVENANCE, "provenance"),
        _other_gpu(processes),
        _other_code(processes),
        _other_libraries(processes),
        _other_cuda(processes),
    )
    return next((reason for reason in reasons if reason is not None), None)


def unshown(info: RunInfo, column: ColumnInfo, group: Sequence[AcceptedRecord]) -> tuple[str, ...]:
    """What a green would need to know and the processes did not say."""
    missing: dict[str, None] = {}
    on_gpu = column.device != "cpu" and info.schema > _BEFORE_GPUS
    for kept in group:
        request = kept.record.request
        if on_gpu and column.gpu and not request.gpu.get("uuid"):
            missing["a round was not asked for its GPU by the UUID"] = None
        for process in kept.record.processes:
            if on_gpu and not set(_mapping(process.provenance.get("cuda"))) - {"driver"}:
                missing["a process did not say which CUDA libraries it loaded"] = None
            gpu = _mapping(process.provenance.get("gpu"))
            if on_gpu and not (gpu.get("uuid") if column.gpu else gpu):
                missing["a process did not say which GPU it had"] = None
            if column.tensorflow and not process.provenance.get("tensorflow"):
                missing["a process did not say which TensorFlow it ran"] = None
            if request.tf32 is not None and process.settings.get("tf32") is None:
                missing["a process did not say whether TF32 was on"] = None
            if request.threads is not None and process.settings.get("intra_op_threads") is None:
                missing["a process did not say how many threads it had"] = None
    return tuple(missing)


def misplaced(column: ColumnInfo, kernel: KernelInfo, observations: Sequence[ProcessObservation]) -> tuple[str, ...]:
    """On a GPU column: a kernel meant for the GPU whose outputs all lived on the CPU measured the CPU."""
    if column.device == "cpu" or kernel.on_host:
        return ()
    for observation in observations:
        facts = {id(sample.outputs): sample.outputs for sample in (*observation.repetitions, *observation.timings)}
        for outputs in facts.values():
            places = {str(output.get("device") or "") for output in outputs.values()} - {""}
            if places and all(place.startswith("CPU") for place in places):
                return ("its outputs lived on the CPU",)
    return ()


def _processes(group: Iterable[AcceptedRecord]) -> list[Process]:
    return [process for kept in group for process in kept.record.processes]


def _not_asked(reason: str) -> InvalidMeasurement:
    return InvalidMeasurement(Status.MISMATCH, f"{_NOT_ASKED}{reason}")


def _no_gpu(column: ColumnInfo, group: Sequence[AcceptedRecord]) -> InvalidMeasurement | None:
    """A GPU column that saw no GPU measured its CPU: the worst bug this product can have."""
    for outcome in (one for kept in group for one in kept.record.outcomes):
        if outcome.outcome == "gpu-not-visible":
            return InvalidMeasurement(Status.GPU_NOT_VISIBLE, outcome.message or "TensorFlow saw no GPU")
    for process in _processes(group):
        devices = process.settings.get("devices")
        seen = "GPU" in json.dumps(devices, default=str).upper()
        if column.device == "cpu" and seen:
            return _not_asked("this column is for the CPU, but the process had a GPU")
        if column.device != "cpu" and not seen:
            return InvalidMeasurement(
                Status.GPU_NOT_VISIBLE, f"the column is for {column.device}, but TensorFlow saw no GPU"
            )
    return None


def _refused(group: Sequence[AcceptedRecord]) -> InvalidMeasurement | None:
    """A process that refused to begin says why, and does so of every kernel it was asked for."""
    for kept in group:
        said: dict[int, set[str]] = {}
        for one in kept.record.outcomes:
            said.setdefault(one.process, set()).add(one.message if one.error_class == "MismatchError" else "")
        whole = {process for process, told in said.items() if len(told) == 1} - {s.process for s in kept.record.samples}
        reason = next((why for process in sorted(whole) for why in said[process] if why), "")
        if reason:
            return _not_asked(reason.removeprefix(_NOT_ASKED))
    return None


def _wrong_device(info: RunInfo, column: ColumnInfo, group: Sequence[AcceptedRecord]) -> InvalidMeasurement | None:
    """What the request says; those of before GPUs all say ``cpu``, whatever was meant."""
    for kept in group:
        asked, wanted = kept.record.request.device, "cpu" if column.device == "cpu" else "gpu"
        if asked != wanted and info.schema > _BEFORE_GPUS:
            return _not_asked(
                f"the column is for a {wanted.upper()}, but a round was asked to run on a {asked.upper()}"
            )
    return None


def _wrong_gpu(column: ColumnInfo, group: Sequence[AcceptedRecord]) -> InvalidMeasurement | None:
    """The GPU a round was asked for, and the one its processes saw, against the column's."""
    for kept in group:
        uuid = str(kept.record.request.gpu.get("uuid") or "")
        if uuid and column.gpu and uuid != column.gpu:
            return _not_asked(f"the column is for {column.gpu}, but a round was asked to run on {uuid}")
        for process in kept.record.processes:
            seen = str(_mapping(process.provenance.get("gpu")).get("uuid") or "")
            whole = (column.gpu or uuid).startswith("GPU-")  # of a slice (MIG-...) driver and NVML may tell two names
            if seen and whole and seen != (column.gpu or uuid):
                return _not_asked(f"the column is for {column.gpu or uuid}, but a process ran on {seen}")
    drivers = dict.fromkeys(str(told) for kept in group if (told := kept.record.request.gpu.get("driver")))
    if len(drivers) > 1:
        return _not_asked(f"the rounds ran with more than one driver: {' and '.join(map(_short, drivers))}")
    return None


def _mapping(value: Any) -> Mapping[str, Any]:
    """A mapping of a record; empty where a damaged one has something else in its place."""
    return value if isinstance(value, dict) else {}


def _wrong_mode(group: Sequence[AcceptedRecord], mode: str) -> InvalidMeasurement | None:
    for kept in group:
        known = {process.process: process for process in kept.record.processes}
        speakers = {item.process for item in kept.record.samples} | set(known)
        for number in sorted(speakers):
            if number not in known:
                return _not_asked("a process gave samples, but not its settings, so that its mode is unknown")
            enabled = known[number].settings.get("determinism_enabled")
            if enabled is not (mode == "on"):
                told = {"True": "on", "False": "off"}.get(str(enabled), "not known")
                return _not_asked(f"determinism was to be {mode}, and was {told} in round {kept.record.request.round}")
    return None


def _wrong_request(info: RunInfo, group: Sequence[AcceptedRecord], mode: str) -> InvalidMeasurement | None:
    for kept in group:
        request = kept.record.request
        if request.seed != info.seed:
            return _not_asked(f"the run's seed is {info.seed}, but round {request.round} used {request.seed}")
        for process in kept.record.processes:
            threads = process.settings.get("intra_op_threads")
            if request.threads is not None and threads is not None and threads != request.threads:
                return _not_asked(f"{request.threads} threads were asked for, and {threads} were in force")
            tf32 = process.settings.get("tf32")
            if request.tf32 is not None and tf32 is not None and tf32 is not request.tf32:
                words = {True: "on", False: "off"}
                return _not_asked(f"TF32 was to be {words[request.tf32]}, and was {words.get(tf32, 'not known')}")
            switch = process.settings.get("switch")
            if mode == "on" and switch is not None and switch != request.switch:
                return _not_asked(f"the switch was to be {request.switch}, and was {switch}")
            env = process.settings.get("env")
            for name in sorted(request.env):
                if isinstance(env, dict) and str(env.get(name)) != request.env[name]:
                    return _not_asked(f"{name} was to be {request.env[name]!r}, and was {env.get(name)!r}")
    return None


def _wrong_variation(group: Sequence[AcceptedRecord], mode: str) -> InvalidMeasurement | None:
    """What the variation's name promises, against what was in force."""
    for kept in group:
        variation = kept.record.request.variation
        for process in kept.record.processes:
            for name, promised in _promised(variation, process, mode).items():
                found = process.settings.get(name)
                if found != promised:
                    told = "not said" if found is None else found
                    return _not_asked(f"{variation} means {name} {promised}, and in force was: {told}")
    return None


def _promised(variation: str, process: Process, mode: str) -> dict[str, Any]:
    """Settings that a variation's name promises; nothing of names that later versions may know."""
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
    """Rounds of two engines, environments or hosts are no rounds of one column."""
    for key in ("engine", "environment", "host"):
        values = {str(kept.record.request.context.get(key, "")) for kept in group}
        if len(values) > 1:
            return _not_asked(f"the rounds ran in more than one {key}")
    return None


def _other_environment(processes: Sequence[Process]) -> InvalidMeasurement | None:
    """The switch apart, both modes must have had one environment, or on against off compares something else."""
    known: dict[str, None] = {}
    for process in processes:
        env = _compared(process.settings, "env")
        if isinstance(env, dict):
            known[json.dumps({k: v for k, v in env.items() if k != "TF_DETERMINISTIC_OPS"}, sort_keys=True)] = None
    return _not_asked("the processes compared disagree on their environment") if len(known) > 1 else None


def _wrong_lock(column: ColumnInfo, group: Sequence[AcceptedRecord]) -> InvalidMeasurement | None:
    for kept in group:
        lock_hash = kept.record.request.context.get("lock_hash")
        if lock_hash and column.lock_hash and lock_hash != column.lock_hash:
            return _not_asked("the lock has changed since it was measured")
    return None


def _wrong_versions(column: ColumnInfo, group: Sequence[AcceptedRecord]) -> InvalidMeasurement | None:
    for process in _processes(group):
        for name, wanted in (("tensorflow", column.tensorflow), ("keras", column.keras), ("python", column.python)):
            found = str(process.provenance.get(name) or "")
            exact = name != "python"  # a column names Python's minor only
            if wanted and found and not _fits(wanted, found, exact=exact):
                return _not_asked(f"the column is {name} {wanted}, but {found} ran")
        cuda = _mapping(process.provenance.get("cuda"))
        for name, key, wanted in (("CUDA", "cudart", column.cuda), ("cuDNN", "cudnn", column.cudnn)):
            found = str(cuda.get(key) or "")
            one, other = (f"{text}.".split(".")[:2] for text in (wanted, found))
            if wanted and found and one != other:
                return _not_asked(f"the column is {name} {wanted}, but {found} was loaded")
    return None


def _fits(wanted: str, found: str, *, exact: bool) -> bool:
    """Compare versions as written, except for the dash some releases put before ``rc1``.

    What a vendor adds behind a plus counts only where the column names it.
    """
    left, right = wanted.replace("-", ""), found.replace("-", "")
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
            shown = " and ".join(_short(value) for value in list(values)[:2])
            return _not_asked(f"the processes compared disagree on {key}: {shown}")
    return None


def _compared(facts: Mapping[str, Any], key: str) -> Any:
    """A fact as it is compared: of an environment, what can change a bit or a setting."""
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
                return _not_asked(f"the processes compared ran different code of {kernel}")
    return None


def _other_libraries(processes: Sequence[Process]) -> InvalidMeasurement | None:
    """What one process loaded and another did not is no contradiction: libraries are loaded when they are needed."""
    known: dict[str, str] = {}
    for process in processes:
        for name, version in process.libraries.items():
            if version and name.startswith(SAME_LIBRARIES) and known.setdefault(name, version) != version:
                return _not_asked(f"the processes compared loaded {name} {known[name]} and {version}")
    return None


def _other_gpu(processes: Sequence[Process]) -> InvalidMeasurement | None:
    """Equal bits are promised for one model, one slice of it and one driver only: processes must name one GPU."""
    known = [_mapping(process.provenance.get("gpu")) for process in processes]
    for key in GPU_FACTS:
        values = {json.dumps(fact[key], sort_keys=True, default=str): None for fact in known if fact.get(key)}
        if len(values) > 1:
            shown = " and ".join(_short(value) for value in list(values)[:2])
            return _not_asked(f"the processes compared ran on more than one GPU, by {key}: {shown}")
    return None


def _other_cuda(processes: Sequence[Process]) -> InvalidMeasurement | None:
    """A library that only some processes loaded is no contradiction; two versions of one are."""
    known: dict[str, str] = {}
    for process in processes:
        for name, version in sorted(_mapping(process.provenance.get("cuda")).items()):
            told = json.dumps(version, sort_keys=True, default=str)
            if version and known.setdefault(str(name), told) != told:
                first, other = _short(known[str(name)]), _short(told)
                return _not_asked(f"the processes compared loaded {name} {first} and {other}")
    return None


def _short(text: str) -> str:
    limit = 60
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _wrong_seeds(group: Sequence[AcceptedRecord]) -> InvalidMeasurement | None:
    """Repetitions with two seeds would look like a variation, and those with another than was asked nobody gets again."""
    for kept in group:
        wanted = kept.record.request.seed
        for sample in kept.record.samples:
            if sample.seed != wanted and sample.role != "second-seed":
                return _not_asked(
                    f"{sample.kernel} was repeated with the seed {sample.seed}, and {wanted} was asked for"
                )
    return None
