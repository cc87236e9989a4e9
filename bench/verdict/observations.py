"""From a run's records to observations: what one process says of one kernel.

Also decides which records count at all. A record is left out, and listed, where it was measured with
another suite, stands at a path that is not its own, belongs to nothing in run.json or to a column that was never
measured, holds what no worker writes, or shows a process twice: a copied file, or lines copied within a file, must
not pass for a second process.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.store.run import Run
    from bench.store.run_info import RunInfo
    from bench.suite.record import Outcome, Record, Sample

#: Outcome of a kernel whose record ends before it does. No worker writes it.
CUT_OFF = "cut-off"

_BAD_FIRST = ("crashed", "oom", "timeout", "mismatch", "gpu-not-visible", "error", CUT_OFF, "ok")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A record that counts, with its path relative to the run folder.

    ``reused_from`` is the id of the run that measured it, "" where this run did.
    """

    path: str
    record: Record
    reused_from: str


@dataclass(frozen=True, kw_only=True)
class Sorted:
    """The records of a run by (column, variation, mode), and those left out, each with the reason."""

    groups: Mapping[tuple[str, str, str], tuple[Kept, ...]]
    stale: Mapping[tuple[str, str, str], int]
    left_out: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class ProcessObservation:
    """What one process says of one kernel. ``outcome`` is the worst it ended with, or ``cut-off``.

    ``planned_rounds`` is what the runner planned for this column, None where it did not say. ``timed`` says
    whether the round had a timing pass, and ``again`` that an earlier process of the round ran the kernel to its end:
    this one was started to take its time anew. ``where`` is the file and line of the kernel an error came from,
    ``peak_mb`` the highest resident memory and ``peak_gpu_mb`` that of the GPU, None where unknown.
    """

    path: str
    round: int
    process: int
    engine: str
    container: str
    reused_from: str
    asked_repetitions: int
    planned_rounds: int | None
    outcome: str
    error_class: str
    message: str
    samples: tuple[Sample, ...]
    timed: bool = True
    again: bool = False
    where: str = ""
    peak_mb: float | None = None
    peak_gpu_mb: float | None = None

    @cached_property
    def repetitions(self) -> tuple[Sample, ...]:
        """The repetitions, in order."""
        return tuple(sample for sample in self.samples if sample.role == "repetition")

    @cached_property
    def second_seeds(self) -> tuple[Sample, ...]:
        """The samples with another seed, in order."""
        return tuple(sample for sample in self.samples if sample.role == "second-seed")

    @cached_property
    def timings(self) -> tuple[Sample, ...]:
        """The timing pass."""
        return tuple(sample for sample in self.samples if sample.role == "timing")

    @cached_property
    def seeds(self) -> frozenset[int]:
        """The seeds of its repetitions."""
        return frozenset(sample.seed for sample in self.repetitions)


def sort(run: Run) -> Sorted:
    """Group a run's records, and say which were left out and why. Paths decide the order."""
    groups: dict[tuple[str, str, str], list[Kept]] = defaultdict(list)
    stale: dict[tuple[str, str, str], int] = defaultdict(int)
    left_out: list[tuple[str, str]] = []
    seen: dict[tuple[str, int, str], str] = {}
    mistyped = {path: why for path, record in run.records.items() if (why := _mistyped(record))}
    left_out += mistyped.items()
    whole = [item for item in run.records.items() if item[0] not in mistyped]
    for path, record in sorted(whole, key=lambda item: (item[1].request.round, item[0])):
        request = record.request
        key = (request.column, request.variation, request.mode)
        if record.suite_hash != run.info.suite_hash:
            stale[key] += 1
            left_out.append((path, "stale: measured with another version of the suite"))
            continue
        reason = _misplaced(run.info, path, record) or _foreign(record) or _copied(record, path, seen)
        if reason:
            left_out.append((path, reason))
            continue
        groups[key].append(Kept(path=path, record=record, reused_from=run.info.reused.get(path, "")))
    return Sorted(
        groups={key: tuple(kept) for key, kept in groups.items()},
        stale=dict(stale),
        left_out=tuple(sorted(left_out)),
    )


def _misplaced(info: RunInfo, path: str, record: Record) -> str:
    request = record.request
    folder = f"records/{request.column}/{request.variation}/"
    number = path.removeprefix(f"{folder}{request.mode}-").removesuffix(".jsonl").lstrip("0")
    if number != str(request.round):
        return f"its content says that it is {request.mode}, round {request.round}, of {folder}"
    if request.column not in {column.id for column in info.columns}:
        return "run.json has no such column"
    status = next(column.status for column in info.columns if column.id == request.column)
    if status != "ready" and not (status == "gpu-not-visible" and _without_gpu(record)):
        return f"run.json says that its column was not measured: {status}"
    if request.variation not in variations(info):
        return "run.json has no such variation"
    if request.mode not in modes(info, request.variation):
        return "run.json has no such mode for this variation"
    return ""


def _without_gpu(record: Record) -> bool:
    """Whether all a record says is that there was no GPU, and which libraries were found: it has no number to show."""
    return not record.samples and all(one.outcome == "gpu-not-visible" for one in record.outcomes)


def _mistyped(record: Any) -> str:
    """A field of a type that no worker writes, or "": sorting and comparing would raise. So it is Any here."""
    request, number = record.request, (int, float)
    fields: list[tuple[Any, Any]] = [(text, str) for text in (request.column, request.variation, request.mode)]
    fields += [(request.round, int), (request.steady_s, number), (request.env, Mapping), (request.context, Mapping)]
    fields += [(request.device, str), (request.gpu, Mapping)]
    fields += [(one.process, int) for one in (*record.processes, *record.samples, *record.outcomes)]
    for one in record.samples:
        fields += [(one.kernel, str), (one.role, str), (one.repetition, int)]
        fields += [(time, number) for time in (one.first_s, one.first_cpu_s, *one.steady_s, *one.steady_cpu_s)]
        fields.append((one.guard, (Mapping, type(None))))
    for one in record.outcomes:
        fields += [(text, str) for text in (one.kernel, one.outcome, one.error_class, one.message, one.where)]
        fields += [(peak, (int, float, type(None))) for peak in (one.peak_mb, one.peak_gpu_mb)]
    sound = all(isinstance(value, kind) for value, kind in fields)
    return "" if sound else "foreign: a field has a type that no worker writes"


def _foreign(record: Any) -> str:
    """What in it no worker writes, or "": it parses, but judging it could only guess. So it is Any here."""
    repetitions = record.request.repetitions
    if not isinstance(repetitions, Mapping) or not all(
        type(repetitions.get(name)) is int for name in record.request.kernels
    ):
        return "foreign: it does not say how often each kernel was to be repeated"
    for process in record.processes:
        if not all(isinstance(one, Mapping) for one in (process.provenance, process.settings, process.libraries)):
            return "foreign: a process does not say what it ran with"
    sound: set[int] = set()  # samples share what is said of their digest
    for sample in record.samples:
        if type(sample.digest) is not str or type(sample.seed) is not int:
            return f"foreign: a sample of {sample.kernel} has no digest or seed"
        facts = sample.outputs
        if id(facts) in sound:
            continue
        if not isinstance(facts, Mapping) or not all(isinstance(one, Mapping) for one in facts.values()):
            return f"foreign: the outputs of a sample of {sample.kernel} are not described as this version knows it"
        sound.add(id(facts))
    return ""


def _copied(record: Record, path: str, seen: dict[tuple[str, int, str], str]) -> str:
    """Why a process of this record is one that was shown already, or "". Remembers the processes otherwise.

    A process is known by host, process id and start. Containers may all use the same process id; their
    host names, which are their own names, and start times tell them apart.
    """
    names = [
        (process.started, process.pid, str(process.provenance.get("hostname", ""))) for process in record.processes
    ]
    for name in names:
        if name[0] and name in seen:
            return f"a copy: it shows the same process as {seen[name]}"
        if name[0] and names.count(name) > 1:
            return "a copy: it shows one process twice"
    seen.update(dict.fromkeys(names, path))
    return ""


def variations(info: RunInfo) -> tuple[str, ...]:
    """The variations of a run in the order of run.json, ``default`` first."""
    names = tuple(info.variations) or ("default",)
    return tuple(sorted(names, key=lambda name: name != "default"))


def modes(info: RunInfo, variation: str) -> tuple[str, ...]:
    """The modes planned for a variation, off before on."""
    return tuple(sorted(info.variation_modes.get(variation, info.modes)))


def hear(group: Iterable[Kept], kernels: Sequence[str]) -> dict[str, tuple[ProcessObservation, ...]]:
    """What every process of a group says of each kernel, by round; nothing of rounds that did not ask for it."""
    found: dict[str, list[ProcessObservation]] = {kernel: [] for kernel in kernels}
    for kept in group:
        record = kept.record
        hosts = {one.process: str(one.provenance.get("hostname", "")) for one in record.processes}
        samples: dict[str, dict[int, list[Sample]]] = defaultdict(lambda: defaultdict(list))
        for sample in record.samples:
            samples[sample.kernel][sample.process].append(sample)
        outcomes: dict[str, dict[int, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
        for outcome in record.outcomes:
            outcomes[outcome.kernel][outcome.process].append(outcome)
        asked = set(record.request.kernels)
        for kernel in kernels:
            if kernel not in asked and kernel not in samples and kernel not in outcomes:
                continue
            numbers = sorted({*samples[kernel], *outcomes[kernel]})
            said = [
                _observation(
                    kept, kernel, number, hosts.get(number, ""), samples[kernel][number], outcomes[kernel][number]
                )
                for number in numbers or [0]
            ]
            first = next((one.process for one in said if one.outcome == "ok"), None)
            found[kernel] += [
                dataclasses.replace(one, again=True) if first is not None and one.process > first else one
                for one in said
            ]
    return {kernel: tuple(said) for kernel, said in found.items()}


def _observation(
    kept: Kept, kernel: str, number: int, host: str, samples: Sequence[Sample], outcomes: Sequence[Outcome]
) -> ProcessObservation:
    request = kept.record.request
    ending, error_class, message, where = _worst(outcomes, complete=kept.record.complete)
    # a line written twice is one sample
    unique = {(one.role, one.repetition, one.seed, one.digest, one.steady_agrees): one for one in samples}
    damage = _damage(tuple(unique.values())) if ending == "ok" else ""
    if damage:
        ending, message = "mismatch", damage
    rounds = request.context.get("rounds")
    return ProcessObservation(
        path=kept.path,
        round=request.round,
        process=number,
        engine=str(request.context.get("engine", "")),
        container=host,  # in a container the host name is the container's own
        reused_from=kept.reused_from,
        asked_repetitions=request.repetitions.get(kernel, 0),
        planned_rounds=rounds if type(rounds) is int else None,
        outcome=ending,
        error_class=error_class.rpartition(".")[2],
        message=message,
        samples=tuple(unique.values()),
        timed=request.steady_s > 0,
        where=where,
        peak_mb=max((one.peak_mb for one in outcomes if one.peak_mb is not None), default=None),
        peak_gpu_mb=max((one.peak_gpu_mb for one in outcomes if one.peak_gpu_mb is not None), default=None),
    )


def _damage(samples: Sequence[Sample]) -> str:
    """Why the samples of a kernel that ended well are no evidence, or ""."""
    if not any(sample.role == "repetition" for sample in samples):
        return "the kernel ended well, but left no sample"
    if not all(sample.digest for sample in samples):
        return "a sample has no digest"
    if not all(sample.outputs for sample in samples):
        return "a sample says nothing of its outputs"
    return ""


def _worst(outcomes: Sequence[Outcome], *, complete: bool) -> tuple[str, str, str, str]:
    """Outcome, error class, message and place of the worst ending of a kernel in one process."""
    if not outcomes:
        if complete:
            return "mismatch", "", "the round ended without saying how this kernel ended", ""
        return CUT_OFF, "", "the record was cut off before this kernel ended", ""

    def rank(outcome: Outcome) -> int:
        # a word this version does not know is no success
        return _BAD_FIRST.index(outcome.outcome) if outcome.outcome in _BAD_FIRST else _BAD_FIRST.index("mismatch")

    bad = min(outcomes, key=rank)
    return _BAD_FIRST[rank(bad)], bad.error_class, bad.message, bad.where
