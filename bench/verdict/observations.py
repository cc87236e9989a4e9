"""From a run's records to observations: what one process reports about one kernel.

Also decides which records count at all. A record is left out, and listed with the reason, if it was measured with
another version of the suite, if its path contradicts its content, if it belongs to nothing in run.json or to a column
that was never measured, if it contains what no worker writes, or if it repeats a process: a copied file, or lines
copied within a file, must not pass for a second process.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.store.run import Run
    from bench.store.run_info import RunInfo
    from bench.suite.record import Outcome, Record, Sample

#: Outcome of a kernel whose record ends before the kernel does. No worker writes it.
CUT_OFF = "cut-off"

_WORST_FIRST = ("crashed", "oom", "timeout", "mismatch", "gpu-not-visible", "failed", "error", CUT_OFF, "ok")

#: A sample's result, what makes it a sample of its own, and what it belongs to.
_RESULT = attrgetter("role", "seed", "digest")
_UNIQUE = attrgetter("role", "repetition", "seed", "digest")
_KERNEL = attrgetter("kernel", "process")


@dataclass(frozen=True, kw_only=True)
class AcceptedRecord:
    """A record that counts, with its path relative to the run folder.

    ``reused_from`` is the id of the run that measured it, "" if this run did.
    """

    path: str
    record: Record
    reused_from: str


@dataclass(frozen=True, kw_only=True)
class SortedRecords:
    """The records of a run by (column, variation, mode), and those left out, each with the reason."""

    groups: Mapping[tuple[str, str, str], tuple[AcceptedRecord, ...]]
    outdated: Mapping[tuple[str, str, str], int]
    left_out: tuple[tuple[str, str], ...]

    @cached_property
    def custom_kernels(self) -> frozenset[str]:
        """The kernels of files of the user."""
        records = (accepted.record for group in self.groups.values() for accepted in group)
        return frozenset(name for record in records for name in record.request.kernel_files)

    @cached_property
    def starts(self) -> Mapping[str, tuple[str, ...]]:
        """Column -> when its processes started, without reused records."""
        starts: dict[str, list[str]] = defaultdict(list)
        for (column, *_), group in self.groups.items():
            for accepted in group:
                processes = () if accepted.reused_from else accepted.record.processes
                starts[column] += [str(process.started) for process in processes]
        return {column: tuple(times) for column, times in starts.items()}


@dataclass(frozen=True, kw_only=True)
class ProcessObservation:
    """What one process reports about one kernel. ``outcome`` is the worst it ended with, or ``cut-off``.

    ``planned_rounds`` is what the runner planned for this column, None if the record does not say. ``where`` is the
    file and line of the kernel that an error came from. ``later_calls_differ`` says that a call without a new seed gave
    other bits, although the kernel does not declare that it can be called again: that decides nothing. ``left_behind``
    has sentences about what the kernel left in the process, ``peak_mb`` the highest resident memory and ``peak_gpu_mb``
    that of the GPU, None if unknown.
    """

    path: str
    round: int
    process: int
    engine: str
    container: str
    reused_from: str
    requested_repetitions: int
    planned_rounds: int | None
    outcome: str
    error_class: str
    message: str
    samples: tuple[Sample, ...]
    where: str = ""
    later_calls_differ: bool = False
    peak_mb: float | None = None
    peak_gpu_mb: float | None = None
    left_behind: tuple[str, ...] = ()

    @cached_property
    def repetitions(self) -> tuple[Sample, ...]:
        """The repetitions, in order."""
        return tuple([sample for sample in self.samples if sample.role == "repetition"])

    @cached_property
    def second_seeds(self) -> tuple[Sample, ...]:
        """The samples with another seed, in order."""
        return tuple([sample for sample in self.samples if sample.role == "second-seed"])

    @cached_property
    def later_calls(self) -> tuple[Sample, ...]:
        """The later calls, without a new seed."""
        return tuple([sample for sample in self.samples if sample.role == "later-call"])

    @cached_property
    def own(self) -> tuple[Sample, ...]:
        """The samples of the run's own seed: repetitions and later calls."""
        return (*self.repetitions, *self.later_calls)

    @cached_property
    def seeds(self) -> frozenset[int]:
        """The seeds of its repetitions."""
        return frozenset([sample.seed for sample in self.repetitions])

    @cached_property
    def distinct(self) -> tuple[Sample, ...]:
        """One sample for each role, seed, digest and set of outputs, in order of appearance.

        Most samples of a process are equal, so that comparing these is several times faster than comparing all.
        """
        # samples of a record share the description of a digest's outputs, so that its identity is enough
        outputs = [id(sample.outputs) for sample in self.samples]
        return tuple(dict(zip(zip(map(_RESULT, self.samples), outputs), self.samples)).values())  # noqa: B905 - fast


def without_later_calls(observation: ProcessObservation) -> ProcessObservation:
    """Return an observation in which only calls after a new seed count, and which says whether other calls differ."""
    repeated = {sample.digest for sample in observation.repetitions}
    differ = any(sample.digest not in repeated for sample in observation.later_calls)
    samples = tuple(sample for sample in observation.samples if sample.role != "later-call")
    return dataclasses.replace(observation, samples=samples, later_calls_differ=differ)


def sort(run: Run) -> SortedRecords:
    """Group a run's records, and say which were left out and why. The order follows rounds and paths."""
    groups: dict[tuple[str, str, str], list[AcceptedRecord]] = defaultdict(list)
    outdated: dict[tuple[str, str, str], int] = defaultdict(int)
    left_out: list[tuple[str, str]] = []
    seen: dict[tuple[str, int, str], str] = {}
    statuses = {column.id: column.status for column in run.info.columns}
    for path, record in sorted(run.records.items(), key=lambda item: (item[1].request.round, item[0])):
        request = record.request
        key = (request.column, request.variation, request.mode)
        if record.suite_hash != run.info.suite_hash:
            outdated[key] += 1
            left_out.append((path, "outdated: measured with another version of the suite"))
            continue
        reason = _misplaced(run.info, statuses, path, record) or _unrepeated(record) or _copied(record, path, seen)
        if reason:
            left_out.append((path, reason))
            continue
        groups[key].append(AcceptedRecord(path=path, record=record, reused_from=run.info.reused.get(path, "")))
    return SortedRecords(
        groups={key: tuple(accepted) for key, accepted in groups.items()},
        outdated=dict(outdated),
        left_out=tuple(sorted(left_out)),
    )


def _unrepeated(record: Record) -> str:
    """Say that a record has kernels without a number of repetitions, or return ""."""
    if all(name in record.request.repetitions for name in record.request.kernels):
        return ""
    return "foreign: it does not say how often each kernel was to be repeated"


def _misplaced(info: RunInfo, statuses: Mapping[str, str], path: str, record: Record) -> str:
    """Say how a record contradicts its path or run.json, or return ""."""
    request = record.request
    folder = f"records/{request.column}/{request.variation}/"
    number = path.removeprefix(f"{folder}{request.mode}-").removesuffix(".jsonl").lstrip("0")
    if number != str(request.round):
        return f"its content says that it is {request.mode}, round {request.round}, of {folder}"
    if request.column not in statuses:
        return "run.json has no such column"
    status = statuses[request.column]
    if status != "ready" and not (status == "gpu-not-visible" and _without_gpu(record)):
        return f"run.json says that its column was not measured: {status}"
    if request.variation not in variations(info):
        return "run.json has no such variation"
    if request.mode not in modes(info, request.variation):
        return "run.json has no such mode for this variation"
    return ""


def _without_gpu(record: Record) -> bool:
    """Whether a record only says that there was no GPU, and which libraries were found: it has no results."""
    return not record.samples and all(outcome.outcome == "gpu-not-visible" for outcome in record.outcomes)


def _copied(record: Record, path: str, seen: dict[tuple[str, int, str], str]) -> str:
    """Say which process of this record occurred before, or return "" and remember its processes in ``seen``.

    A process is identified by host, process id and start time. Containers may all use the same process id; their
    host names, which are their own names, and start times tell them apart.
    """
    names = [
        (process.started, process.pid, str(process.provenance.get("hostname", ""))) for process in record.processes
    ]
    for name in names:
        if name[0] and name in seen:
            return f"a copy: it has the same process as {seen[name]}"
        if name[0] and names.count(name) > 1:
            return "a copy: it has one process twice"
    seen.update(dict.fromkeys(names, path))
    return ""


def variations(info: RunInfo) -> tuple[str, ...]:
    """Return the variations of a run in the order of run.json, ``default`` first."""
    names = tuple(info.variations) or ("default",)
    return tuple(sorted(names, key=lambda name: name != "default"))


def modes(info: RunInfo, variation: str) -> tuple[str, ...]:
    """Return the modes planned for a variation, off before on."""
    return tuple(sorted(info.variation_modes.get(variation, info.modes)))


def of_process(accepted: AcceptedRecord, custom_kernel: str) -> AcceptedRecord:
    """Return a record with the processes that ran one custom kernel; without a name, with those that ran others."""
    record = accepted.record
    if not record.request.kernel_files:
        return accepted
    ran: dict[int, set[str]] = defaultdict(set)
    for kernel, process in map(_KERNEL, (*record.outcomes, *record.samples)):
        ran[process].add(kernel if kernel in record.request.kernel_files else "")
    wanted = {number for number, kernels in ran.items() if custom_kernel in kernels}
    if not custom_kernel:  # a process that gave nothing could be anyone's
        wanted |= {process.process for process in record.processes if not ran[process.process]}
    kept = dataclasses.replace(
        record,
        processes=tuple(process for process in record.processes if process.process in wanted),
        samples=tuple(sample for sample in record.samples if sample.process in wanted),
        outcomes=tuple(outcome for outcome in record.outcomes if outcome.process in wanted),
    )
    return dataclasses.replace(accepted, record=kept)


def observe(group: Iterable[AcceptedRecord], kernels: Sequence[str]) -> dict[str, tuple[ProcessObservation, ...]]:
    """Return what every process of a group reports about each kernel, by round.

    Rounds whose request did not include a kernel, and that did not run it, are left out.
    """
    observed: dict[str, list[ProcessObservation]] = {kernel: [] for kernel in kernels}
    for accepted in group:
        record = accepted.record
        hosts = {process.process: str(process.provenance.get("hostname", "")) for process in record.processes}
        samples: dict[str, dict[int, list[Sample]]] = defaultdict(lambda: defaultdict(list))
        for (kernel, number), consecutive in groupby(record.samples, _KERNEL):
            samples[kernel][number].extend(consecutive)
        outcomes: dict[str, dict[int, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
        for outcome in record.outcomes:
            outcomes[outcome.kernel][outcome.process].append(outcome)
        requested = set(record.request.kernels)
        for kernel in kernels:
            if kernel not in requested and kernel not in samples and kernel not in outcomes:
                continue
            numbers = sorted({*samples[kernel], *outcomes[kernel]})
            observed[kernel] += [
                _observation(
                    accepted, kernel, number, hosts.get(number, ""), samples[kernel][number], outcomes[kernel][number]
                )
                for number in numbers or [0]
            ]
    return {kernel: tuple(processes) for kernel, processes in observed.items()}


def _observation(
    accepted: AcceptedRecord,
    kernel: str,
    number: int,
    host: str,
    samples: Sequence[Sample],
    outcomes: Sequence[Outcome],
) -> ProcessObservation:
    request = accepted.record.request
    ending, error_class, message, where = _worst(outcomes, complete=accepted.record.complete)
    # a line that was written twice is one sample
    unique = dict(zip(map(_UNIQUE, samples), samples, strict=True))
    rounds = request.context.get("rounds")
    observation = ProcessObservation(
        path=accepted.path,
        round=request.round,
        process=number,
        engine=str(request.context.get("engine", "")),
        container=host,  # in a container the host name is the container's own
        reused_from=accepted.reused_from,
        requested_repetitions=request.repetitions.get(kernel, 0),
        planned_rounds=rounds if type(rounds) is int else None,
        outcome=ending,
        error_class=error_class.rpartition(".")[2],
        message=message,
        samples=tuple(unique.values()),
        where=where,
        peak_mb=max((outcome.peak_mb for outcome in outcomes if outcome.peak_mb is not None), default=None),
        peak_gpu_mb=max((outcome.peak_gpu_mb for outcome in outcomes if outcome.peak_gpu_mb is not None), default=None),
        left_behind=tuple(text for outcome in outcomes for text in outcome.left_behind),
    )
    damage = _damage(observation) if ending == "ok" else ""
    return dataclasses.replace(observation, outcome="mismatch", message=damage) if damage else observation


def _damage(observation: ProcessObservation) -> str:
    """Say why the samples of a kernel that ended well are no evidence, or return ""."""
    if not observation.repetitions:
        return "the kernel ended well, but left no sample"
    if not all(sample.digest for sample in observation.distinct):
        return "a sample has no digest"
    if not all(sample.outputs for sample in observation.distinct):
        return "a sample does not describe its outputs"
    return ""


def _worst(outcomes: Sequence[Outcome], *, complete: bool) -> tuple[str, str, str, str]:
    """Return outcome, error class, message and place of the worst ending of a kernel in one process."""
    if not outcomes:
        if complete:
            return "mismatch", "", "the round ended without saying how this kernel ended", ""
        return CUT_OFF, "", "the record was cut off before this kernel ended", ""

    def rank(outcome: Outcome) -> int:
        # an outcome that this version does not know is no success
        return _WORST_FIRST.index(outcome.outcome if outcome.outcome in _WORST_FIRST else "mismatch")

    bad = min(outcomes, key=rank)
    return _WORST_FIRST[rank(bad)], bad.error_class, bad.message, bad.where
