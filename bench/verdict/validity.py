"""Checks that records measured what the plan requested; anything else yields no verdict.

Every check here prevents a wrong green: determinism that was never on, a column that ran another TensorFlow, a GPU
column that ran on the CPU or on another GPU, a comparison of processes with different settings or CUDA libraries. A
value that a process did not report cannot contradict anything; if a claim needs it, ``unshown`` says so and the
verdict is ``inconclusive``. Checks of a single request and its processes are in ``bench.verdict.requested`` and
``bench.verdict.claims``, because pairs of processes need them too.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bench.verdict import claims, requested
from bench.verdict.gpu_validity import no_gpu, other_cuda, other_gpu, wrong_gpu
from bench.verdict.invalid_measurement import (
    NOT_REQUESTED,
    InvalidMeasurement,
    mapping,
    mismatch,
    processes_of,
    shorten,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bench.store.run_info import ColumnInfo, RunInfo
    from bench.suite.record import Process
    from bench.verdict.observations import AcceptedRecord
    from bench.verdict.requested import AnyProcess

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
SAME_SETTINGS = ("intra_op_threads", "inter_op_threads", "onednn", "isa_limit", "tf32", "xla_jit", "eager", "devices")

#: Settings that must agree within a mode; they include the determinism switch itself.
SAME_IN_MODE = ("determinism_enabled", "switch", "env")

#: Variables that name folders, and change neither bits nor settings: each round may have its own.
PLACES = frozenset({"CUDA_CACHE_PATH"})

#: Libraries whose versions must agree between processes that loaded them, by prefix.
SAME_LIBRARIES = ("libtensorflow", "libcud", "libcublas")


_CUDA = "which CUDA libraries it loaded"


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
    own = [(accepted.record.request, accepted.record.processes) for accepted in group]
    processes = processes_of(everything)
    return _first(
        (
            no_gpu(column, group),
            _refused(group),
            *(requested.wrong_device(column, request) for request, _ in own),
            wrong_gpu(column, everything),
            _wrong_mode(group),
            *(requested.wrong_request(info, *pair) for pair in own),
            *(requested.wrong_variation(*pair) for pair in own),
            _other_place(everything),
            _other_environment(processes),
            *(requested.wrong_versions(column, known) for _, known in own),
            other_processes(processes),
            _disagree(processes, SAME_SETTINGS, "settings"),
            _disagree(processes_of(group), SAME_IN_MODE, "settings"),
            _wrong_seeds(everything),
        )
    )


def of_whole_column(
    info: RunInfo, column: ColumnInfo, group: Sequence[AcceptedRecord], starts: Iterable[str], read_at: str = ""
) -> InvalidMeasurement | None:
    """Return why the records of all variations of a column are not what run.json says of it, or None.

    They must be of one machine and environment, and agree with run.json (see ``bench.verdict.claims``, also
    for ``starts`` and ``read_at``).
    """
    processes = processes_of(group)
    return _first(
        (
            wrong_gpu(column, group),
            _other_place(group),
            other_processes(processes),
            *map(mismatch, filter(None, _contradictions(info, column, group, starts, read_at))),
        )
    )


def _contradictions(
    info: RunInfo, column: ColumnInfo, group: Sequence[AcceptedRecord], starts: Iterable[str], read_at: str
) -> Iterator[str]:
    yield claims.run_contradiction(info, column, starts, read_at)
    for accepted in group:
        request, processes = accepted.record.request, accepted.record.processes
        yield claims.contradiction(info, column, request, processes, reused_from=accepted.reused_from)


def other_processes(processes: Sequence[AnyProcess]) -> InvalidMeasurement | None:
    """Return in what processes of one column and variation differ, although they must not, or None."""
    return _first(
        (
            _disagree(processes, SAME_PROVENANCE, "provenance"),
            other_gpu(processes),
            _other_code(processes),
            _other_libraries(processes),
            other_cuda(processes),
        )
    )


def unshown(info: RunInfo, column: ColumnInfo, group: Sequence[AcceptedRecord]) -> tuple[str, ...]:
    """Return what a green cell needs and the processes did not report."""
    return tuple(dict.fromkeys(what for accepted in group for what in _unshown(info, column, accepted)))


def _unshown(info: RunInfo, column: ColumnInfo, accepted: AcceptedRecord) -> Iterator[str]:
    request = accepted.record.request
    on_gpu = column.device != "cpu"
    if on_gpu and column.gpu and not request.gpu.get("uuid"):
        yield "a round did not request its GPU by UUID"
    for process in accepted.record.processes:
        gpu = mapping(process.provenance.get("gpu"))
        cpu_named = (column.origin or info.host).get("cpu")
        reported = (
            (not on_gpu or bool(set(mapping(process.provenance.get("cuda"))) - {"driver"}), _CUDA),
            (not on_gpu or bool(gpu.get("uuid") if column.gpu else gpu), "which GPU it had"),
            (bool(process.started), "when it started"),
            (not cpu_named or bool(process.provenance.get("cpu_model")), "which CPU it had"),
            (not column.tensorflow or bool(process.provenance.get("tensorflow")), "which TensorFlow it ran"),
            (request.tf32 is None or process.settings.get("tf32") is not None, "whether TF32 was on"),
            *(
                (wanted is None or process.settings.get(setting) is not None, "how many threads it had")
                for wanted, setting in ((request.threads, "intra_op_threads"), (request.inter, "inter_op_threads"))
            ),
        )
        yield from (f"a process did not report {what}" for known, what in reported if not known)


def _refused(group: Sequence[AcceptedRecord]) -> InvalidMeasurement | None:
    """Return the reason of a process that refused to start, which it reports for every requested kernel, or None."""
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


def _wrong_mode(group: Sequence[AcceptedRecord]) -> InvalidMeasurement | None:
    for accepted in group:
        known = {process.process: process for process in accepted.record.processes}
        numbers = {sample.process for sample in accepted.record.samples} | set(known)
        for number in sorted(numbers):
            if number not in known:
                return mismatch("a process gave samples but not its settings, so that its mode is unknown")
            if reason := requested.wrong_mode(accepted.record.request, known[number]):
                return reason
    return None


def _first(reasons: Iterable[InvalidMeasurement | None]) -> InvalidMeasurement | None:
    return next((reason for reason in reasons if reason is not None), None)


def _other_place(group: Sequence[AcceptedRecord]) -> InvalidMeasurement | None:
    """Return a mismatch if rounds of one column ran on different engines, environments or hosts."""
    for key in ("engine", "environment", "host", "lock_hash"):
        values = {str(accepted.record.request.context.get(key, "")) for accepted in group}
        if len(values) > 1:
            return mismatch(f"the rounds ran in more than one {key}")
    return None


def _other_environment(processes: Sequence[Process]) -> InvalidMeasurement | None:
    """Return a mismatch if, apart from the switch, the environments of both modes differ: they are not comparable."""
    known: dict[str, None] = {}
    for process in processes:
        env = _compared(process.settings, "env")
        if isinstance(env, dict):
            known[json.dumps({k: v for k, v in env.items() if k != "TF_DETERMINISTIC_OPS"}, sort_keys=True)] = None
    return mismatch("the compared processes have different environment variables") if len(known) > 1 else None


def _disagree(processes: Sequence[AnyProcess], keys: Sequence[str], where: str) -> InvalidMeasurement | None:
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


def _other_code(processes: Sequence[AnyProcess]) -> InvalidMeasurement | None:
    """Return a mismatch if the code of a kernel changed between rounds, which may run different kernels."""
    known: dict[str, str] = {}
    for process in processes:
        hashes = process.provenance.get("kernel_hashes")
        for kernel, code in sorted(hashes.items()) if isinstance(hashes, dict) else ():
            if known.setdefault(kernel, code) != code:
                return mismatch(f"the compared processes ran different code of {kernel}")
    return None


def _other_libraries(processes: Sequence[AnyProcess]) -> InvalidMeasurement | None:
    """Return a mismatch if processes loaded different files of a library; not all need to have loaded it."""
    known: dict[str, str] = {}
    for process in processes:
        for name, version in process.libraries.items():
            if version and name.startswith(SAME_LIBRARIES) and known.setdefault(name, version) != version:
                return mismatch(f"the compared processes loaded {name} {known[name]} and {version}")
    return None


def _wrong_seeds(group: Sequence[AcceptedRecord]) -> InvalidMeasurement | None:
    """Return a mismatch if processes had different seeds, or another than that of the run."""
    for accepted in group:
        wanted = accepted.record.request.seed
        for sample in accepted.record.samples:
            if sample.seed != wanted and sample.role != "second-seed":
                return mismatch(f"{sample.kernel} was repeated with the seed {sample.seed}, but {wanted} was requested")
    return None
