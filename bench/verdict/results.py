"""The evaluated results of a run: one verdict per column, kernel, variation and mode, and ways to look them up."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from bench.store.kept_values import StoredValues
from bench.store.log_tails import Tails
from bench.verdict.digest_comparison import Comparison
from bench.verdict.messages import count
from bench.verdict.observations import CUT_OFF
from bench.verdict.status import FROM_DIGESTS, UNMEASURED, EvidenceLevel, Status, severity
from bench.verdict.steps import steps

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from bench.store.run_info import ColumnInfo, RunInfo
    from bench.suite.record import Record
    from bench.verdict.controls import ControlSummary
    from bench.verdict.difference_types import Difference
    from bench.verdict.gpu_timing import DiscardedTimings
    from bench.verdict.host_groups import HostGroup
    from bench.verdict.known_issues import KnownIssue
    from bench.verdict.observations import AcceptedRecord, ProcessObservation
    from bench.verdict.paired_times import PairedTimes
    from bench.verdict.ratio import TimeRatio
    from bench.verdict.record_group import Group
    from bench.verdict.steps import Step
    from bench.verdict.timing import Timing

#: Errors within this factor of each other count as the same: they come from one set of random inputs.
SAME_WITHIN = 1.05


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the records show about one kernel in one column, variation and mode.

    ``why`` is one sentence, followed by ``remark``: what decides nothing but should be known, "" if nothing is.
    ``control`` is "" for a kernel and the demand for a control; ``passed`` says whether a control did what it must
    (None: undecided, or no control). ``changed_value`` says whether the bits with determinism on differ from those with
    it off, None if either has no single digest. ``explained`` says whether a known issue explains all observed
    differences.
    ``outcomes`` counts how the processes ended. ``measured`` and ``reused`` count records.

    ``difference`` says how far the samples of a verdict that varies are apart, and ``difference_why`` why
    this is unknown. ``errors`` has ``{"max", "rms"}`` of each output against a float64 reference, for the
    most frequent digest that has any. ``known_issue`` is the known issue behind an error or a
    difference. ``peak_mb`` is the highest resident memory of any process and ``peak_gpu_mb`` of the GPU, None if
    unknown. ``timing`` has the times, and ``discarded`` says which of them were left out because the GPU was throttled
    or shared; None without any. ``invalid`` says that something else ran than was requested: then there are
    observations, but no number of theirs is shown.
    """

    column: str
    kernel: str
    variation: str
    mode: str
    status: Status
    why: str
    remark: str = ""
    control: str = ""
    passed: bool | None = None
    level: EvidenceLevel | None = None
    comparison: Comparison = field(default_factory=Comparison)
    digest_class: str = ""
    changed_value: bool | None = None
    outcomes: tuple[tuple[str, int], ...] = ()
    error_class: str = ""
    error_message: str = ""
    difference: Difference | None = None
    difference_why: str = ""
    errors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    known_issue: KnownIssue | None = None
    explained: bool = False
    peak_mb: float | None = None
    peak_gpu_mb: float | None = None
    timing: Timing | None = None
    discarded: DiscardedTimings | None = None
    invalid: bool = False
    observations: tuple[ProcessObservation, ...] = ()

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What the kernel left behind in its processes, one sentence of each kind, with the number of processes."""
        by_kind: dict[str, list[str]] = {}
        for process in self.observations:
            for text in process.left_behind:
                by_kind.setdefault(text.partition(":")[0], []).append(text)  # names differ between processes
        total = len(self.observations)
        return tuple(f"{texts[0]} (in {len(texts)} of {count(total, 'process')})" for texts in by_kind.values())

    @property
    def measured(self) -> int:
        """Records of this run behind the verdict."""
        return len({process.path for process in self.observations if not process.reused_from})

    @property
    def reused(self) -> int:
        """Records of earlier runs behind the verdict."""
        return len({process.path for process in self.observations if process.reused_from})

    @property
    def lacks_records(self) -> bool:
        """Whether fewer rounds were found than were planned, or a record was cut off."""
        planned = max((process.planned_rounds or 0 for process in self.observations), default=0)
        ended = {process.round for process in self.observations if process.outcome != CUT_OFF}
        return self.status is Status.NOT_RUN or len(ended) < planned

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Column, kernel, variation, mode."""
        return (self.column, self.kernel, self.variation, self.mode)

    @property
    def complete(self) -> bool:
        """Whether the kernel ran to its end: the time of what crashes or raises means nothing."""
        return self.status in FROM_DIGESTS | {Status.CONTROL_FAILED}


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """The accuracy with determinism on compared to off, by the error against a float64 reference.

    ``on`` and ``off`` are the root mean square errors of the worst output, relative to that of the values.
    ``word`` is "more" if on is more accurate, "less", or "same" within ``SAME_WITHIN``.
    """

    word: str
    on: float
    off: float

    @property
    def sentence(self) -> str:
        """One sentence with both numbers."""
        relation = "as accurate as" if self.word == "same" else f"{self.word} accurate than"
        return f"On is {relation} off: relative error {self.on:.2g} against {self.off:.2g} (root mean square)."


@dataclass(frozen=True, kw_only=True)
class GpuControls:
    """Kernels known to be nondeterministic on GPUs with determinism off, in one column.

    ``seen`` says whether each was, None if it was not measured. ``notice`` is "" unless all that
    were measured turned out reproducible.
    """

    seen: Mapping[str, bool | None]
    notice: str


@dataclass(frozen=True, kw_only=True)
class RunResults:
    """All verdicts of a run, by column, variation, mode and kernel in the order of run.json.

    ``overheads`` is by (column, kernel, variation), ``times`` has all that pairs measured. The first of ``variations``
    decides the headline; it is ``default`` unless the run has only others. ``groups`` has the records that count by
    (column, variation, mode), and ``control_summaries`` what their controls showed. ``left_out`` lists the records of
    rounds and pairs that do not count and ``unreadable`` those that could not be read, each with the reason. ``kept``
    has the kept values of the run, ``tails`` the ends of the logs of kernels that died. ``hosts`` compares the hosts of
    environments that were measured on several.
    """

    info: RunInfo
    verdicts: tuple[Verdict, ...]
    overheads: Mapping[tuple[str, str, str], TimeRatio]
    times: PairedTimes
    variations: tuple[str, ...]
    groups: Mapping[Group, tuple[AcceptedRecord, ...]]
    left_out: tuple[tuple[str, str], ...]
    unreadable: tuple[tuple[str, str], ...]
    control_summaries: Mapping[Group, ControlSummary] = field(default_factory=dict)
    kept: StoredValues = field(default_factory=StoredValues)
    tails: Tails = field(default_factory=Tails)
    hosts: tuple[HostGroup, ...] = ()

    @cached_property
    def columns(self) -> Mapping[str, ColumnInfo]:
        """The columns by id."""
        return {column.id: column for column in self.info.columns}

    @cached_property
    def _by_key(self) -> dict[tuple[str, str, str, str], Verdict]:
        return {verdict.key: verdict for verdict in self.verdicts}

    @cached_property
    def _by_column(self) -> dict[str, list[Verdict]]:
        by_column: dict[str, list[Verdict]] = {}
        for verdict in self.verdicts:
            by_column.setdefault(verdict.column, []).append(verdict)
        return by_column

    @property
    def deciding_variation(self) -> str:
        """The variation by which a kernel counts: ``default``, or the first one of a run without it."""
        return self.variations[0]

    def of(self, column: str, kernel: str, variation: str, mode: str) -> Verdict | None:
        """Return one verdict, or None if it was not planned."""
        return self._by_key.get((column, kernel, variation, mode))

    def over_variations(self, column: str, kernel: str, mode: str) -> tuple[Verdict, ...]:
        """Return the verdicts of all planned variations, ``default`` first.

        While the run is in progress, other variations that have not been measured yet are left out.
        """
        verdicts = self._planned(column, kernel, mode)
        if not self.info.in_progress:
            return verdicts
        return tuple(
            one for one in verdicts if one.variation == self.deciding_variation or one.status is not Status.NOT_RUN
        )

    def _planned(self, column: str, kernel: str, mode: str) -> tuple[Verdict, ...]:
        found = [self._by_key.get((column, kernel, variation, mode)) for variation in self.variations]
        return tuple(verdict for verdict in found if verdict is not None)

    def headline(self, column: str, kernel: str, mode: str) -> Verdict | None:
        """Return the verdict of the variation that decides the headline; None if it was not planned."""
        return self.of(column, kernel, self.deciding_variation, mode)

    def worst(self, column: str, kernel: str, mode: str, variations: Collection[str] = ()) -> Verdict | None:
        """Return the worst verdict over some variations, measured or not, or over all of ``over_variations``.

        Of equal statuses the one with the fewest comparisons comes first, then the one of the first variation.
        None if no variation planned this kernel in this mode.
        """
        if not variations:
            return min(self.over_variations(column, kernel, mode), key=_weakness, default=None)
        wanted = (one for one in self._planned(column, kernel, mode) if one.variation in variations)
        return min(wanted, key=_weakness, default=None)

    def worse_under(self, column: str, kernel: str, mode: str, variations: Collection[str]) -> tuple[Verdict, ...]:
        """Return the verdicts of other variations whose status is worse than the worst under ``variations``."""
        worst = self.worst(column, kernel, mode, variations)
        limit = severity(Status.NOT_RUN if worst is None else worst.status)
        return tuple(
            verdict
            for verdict in self.over_variations(column, kernel, mode)
            if verdict.variation not in variations and severity(verdict.status) < limit
        )

    def overhead(self, column: str, kernel: str) -> TimeRatio | None:
        """Return the overhead of determinism under the first variation that has one, ``default`` before others."""
        overheads = (self.overheads.get((column, kernel, variation)) for variation in self.variations)
        return next((overhead for overhead in overheads if overhead is not None), None)

    @cached_property
    def unmeasured(self) -> Mapping[str, tuple[Status, str]]:
        """The columns without any result, with their status and the one sentence that says why.

        These are columns that were never started or not reached yet, and those in which every process reports the same,
        for instance that TensorFlow saw no GPU.
        """
        unmeasured: dict[str, tuple[Status, str]] = {}
        for column, verdicts in self._by_column.items():
            reasons = {(verdict.status, verdict.why) for verdict in verdicts}
            if len(reasons) == 1 and all(status in UNMEASURED for status, _ in reasons):
                unmeasured[column] = reasons.pop()
        unmeasured |= {column.id: of_column(column) for column in self.info.columns if column.status != "ready"}
        return unmeasured

    @cached_property
    def incomplete(self) -> tuple[str, ...]:
        """The columns that were ready, but lack planned records: their folder was cut off or copied in part.

        In a run put together from several with other plans, a result that no record was planned for lacks nothing.
        """
        ready = {column.id for column in self.info.columns if column.status == "ready"}
        if self.info.merged_from:
            lacking = {one.column for one in self.verdicts if one.observations and one.lacks_records}
        else:
            lacking = {one.column for one in self.verdicts if one.lacks_records}
        return tuple(sorted(ready & lacking))

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The upgrades between measured columns, by the column they lead to: see ``bench.verdict.steps``."""
        columns = [column for column in self.info.columns if column.id not in self.unmeasured]
        seen = {column.id: {key: self.seen(column.id, key) for key in ("driver", "numpy")} for column in columns}
        return steps(columns, seen)

    def seen(self, column: str, key: str) -> str:
        """Return a fact that the processes of a column report, or the host about the requested GPU; "" if unknown."""
        records = self.records(column)
        reported = (process.provenance.get(key) for record in records for process in record.processes)
        requested = (record.request.gpu.get(key) for record in records)
        return next((str(value) for value in (*reported, *requested) if value), "")

    def records(self, column: str) -> Sequence[Record]:
        """Return the records of a column that count, of all its variations and modes."""
        return self._records.get(column, [])

    @cached_property
    def _records(self) -> dict[str, list[Record]]:
        by_column: dict[str, list[Record]] = {}
        for (column, *_), records in self.groups.items():
            by_column.setdefault(column, []).extend(accepted.record for accepted in records)
        return by_column

    def accuracy(self, column: str, kernel: str, variation: str) -> Accuracy | None:
        """Return whether determinism lowers or raises accuracy; None unless both errors are known."""
        worst = []
        for mode in ("on", "off"):
            verdict = self.of(column, kernel, variation, mode)
            if verdict is None or verdict.status not in FROM_DIGESTS or not verdict.errors:
                return None
            worst.append(max(output["rms"] for output in verdict.errors.values()))
        on, off = worst
        if max(on, off) <= min(on, off) * SAME_WITHIN:
            return Accuracy(word="same", on=on, off=off)
        return Accuracy(word="more" if on < off else "less", on=on, off=off)

    def shares_tmp(self, column: str) -> bool:
        """Return whether processes of a column had no private /tmp, as they report themselves."""
        processes = (process for record in self.records(column) for process in record.processes)
        return any(process.settings.get("private_tmp") is False for process in processes)

    def gpu_controls(self, column: str) -> GpuControls:
        """Return the kernels known to be nondeterministic on GPUs, and whether each was; empty for a CPU."""
        device = self.columns[column].device if column in self.columns else "cpu"
        names = [kernel.name for kernel in self.info.kernels if kernel.gpu_control and device != "cpu"]
        seen = {name: self._seen_to_vary(column, name) for name in names}
        measured = [name for name, varied in seen.items() if varied is not None]
        if not measured or any(seen[name] for name in measured):
            return GpuControls(seen=seen, notice="")
        notice = (
            f"None of {', '.join(measured)} was nondeterministic with determinism off, although all are known to be on "
            f"GPUs: the suite is not sensitive enough on {device}, or they are reproducible there."
        )
        return GpuControls(seen=seen, notice=notice)

    def _seen_to_vary(self, column: str, kernel: str) -> bool | None:
        verdicts = [v for v in self.over_variations(column, kernel, "off") if v.status in FROM_DIGESTS]
        return any(verdict.comparison.varies for verdict in verdicts) if verdicts else None

    @property
    def measured(self) -> int:
        """Records that count and were measured by this run."""
        return sum(not accepted.reused_from for group in self.groups.values() for accepted in group)

    @property
    def reused(self) -> int:
        """Records that count and were measured by an earlier run."""
        return sum(bool(accepted.reused_from) for group in self.groups.values() for accepted in group)


def _weakness(verdict: Verdict) -> tuple[int, int]:
    return severity(verdict.status), verdict.comparison.compared


def of_column(column: ColumnInfo) -> tuple[Status, str]:
    """Return status and reason of a column that is not ready; whatever its status in run.json, it is no measurement."""
    known = {status.value: status for status in Status if status not in FROM_DIGESTS}
    return known.get(column.status, Status.MISMATCH), column.reason or f"The column is {column.status}."
