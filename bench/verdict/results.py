"""What judging gives: one verdict per column, kernel, variation and mode, and the way to look them up."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from bench.store.kept_values import Kept as KeptValues
from bench.store.log_tails import Tails
from bench.verdict.digest_comparison import Comparison
from bench.verdict.status import FROM_DIGESTS, OF_COLUMN, EvidenceLevel, Status, severity
from bench.verdict.steps import steps
from bench.verdict.timing import overhead

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.store.run_info import ColumnInfo, RunInfo
    from bench.suite.record import Record
    from bench.verdict.controls import ControlSummary
    from bench.verdict.difference_types import Difference
    from bench.verdict.gpu_timing import DiscardedTimings
    from bench.verdict.known_issues import KnownIssue
    from bench.verdict.observations import Kept, ProcessObservation
    from bench.verdict.steps import Step
    from bench.verdict.timing import Overhead, Timing

Group = tuple[str, str, str]

#: Errors within this factor of each other are the same: they come from one draw of inputs.
SAME_WITHIN = 1.05


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the records say of one kernel in one column, variation and mode.

    ``why`` is one sentence. ``control`` is "" for a kernel and the demand for a control; ``passed`` says
    whether a control did what it must (None: not decided, or no control). ``changed_value`` says whether
    the bits with determinism on differ from those with it off, None where either has no single digest.
    ``explained`` says whether all that varies is what a known issue is about.
    ``outcomes`` counts how the processes ended. ``measured`` and ``reused`` count records.

    ``difference`` says how far the samples of a verdict that varies are apart, and ``difference_why`` why
    that is not known. ``errors`` has ``{"max", "rms"}`` of each output against a float64 reference, of the
    most frequent digest that has any. ``known_issue`` is the known issue behind an error or a
    variation. ``peak_mb`` is the highest resident memory of any process and ``peak_gpu_mb`` of the GPU, None where
    unknown. ``discarded`` says which times were left out, because the GPU was throttled or shared. ``invalid`` says that
    something else ran than was asked: then there are observations, and no number of theirs is shown.
    """

    column: str
    kernel: str
    variation: str
    mode: str
    status: Status
    why: str
    control: str = ""
    passed: bool | None = None
    level: EvidenceLevel | None = None
    comparison: Comparison = field(default_factory=Comparison)
    digest_class: str = ""
    changed_value: bool | None = None
    outcomes: tuple[tuple[str, int], ...] = ()
    error_class: str = ""
    error_message: str = ""
    timing: Timing | None = None
    difference: Difference | None = None
    difference_why: str = ""
    errors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    known_issue: KnownIssue | None = None
    explained: bool = False
    peak_mb: float | None = None
    peak_gpu_mb: float | None = None
    discarded: DiscardedTimings | None = None
    invalid: bool = False
    observations: tuple[ProcessObservation, ...] = ()

    @property
    def measured(self) -> int:
        """Records of this run behind the verdict."""
        return len({one.path for one in self.observations if not one.reused_from})

    @property
    def reused(self) -> int:
        """Records of earlier runs behind the verdict."""
        return len({one.path for one in self.observations if one.reused_from})

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Column, kernel, variation, mode."""
        return (self.column, self.kernel, self.variation, self.mode)


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Determinism on against off, by the error against a float64 reference.

    ``on`` and ``off`` are the root mean square errors of the worst output, relative to that of the values.
    ``word`` is "more" where on is the more accurate, "less", or "same" within ``SAME_WITHIN``.
    """

    word: str
    on: float
    off: float

    @property
    def sentence(self) -> str:
        """One sentence with both numbers."""
        told = "as accurate as" if self.word == "same" else f"{self.word} accurate than"
        return f"On is {told} off: relative error {self.on:.2g} against {self.off:.2g} (root mean square)."


@dataclass(frozen=True, kw_only=True)
class GpuControls:
    """Kernels known to vary on GPUs with determinism off, on one column.

    ``seen`` says whether each varied, None where it was not measured. ``notice`` is "" unless all that
    were measured came out exact.
    """

    seen: Mapping[str, bool | None]
    notice: str


@dataclass(frozen=True, kw_only=True)
class RunResults:
    """All verdicts of a run, by column, variation, mode and kernel in the order of run.json.

    ``overheads`` is by (column, kernel, variation). ``groups`` has the records that count by (column,
    variation, mode), and ``control_summaries`` what their controls showed. ``left_out`` lists the records that do
    not count and ``unreadable`` those that could not be read, each with the reason. ``kept`` has the kept
    values of the run, ``tails`` the last words of what died.
    """

    info: RunInfo
    verdicts: tuple[Verdict, ...]
    overheads: Mapping[tuple[str, str, str], Overhead]
    variations: tuple[str, ...]
    groups: Mapping[Group, tuple[Kept, ...]]
    left_out: tuple[tuple[str, str], ...]
    unreadable: tuple[tuple[str, str], ...]
    control_summaries: Mapping[Group, ControlSummary] = field(default_factory=dict)
    kept: KeptValues = field(default_factory=KeptValues)
    tails: Tails = field(default_factory=Tails)

    @cached_property
    def _by_key(self) -> dict[tuple[str, str, str, str], Verdict]:
        return {verdict.key: verdict for verdict in self.verdicts}

    @cached_property
    def _by_column(self) -> dict[str, list[Verdict]]:
        found: dict[str, list[Verdict]] = {}
        for verdict in self.verdicts:
            found.setdefault(verdict.column, []).append(verdict)
        return found

    def of(self, column: str, kernel: str, variation: str, mode: str) -> Verdict | None:
        """One verdict, or None where that was not planned."""
        return self._by_key.get((column, kernel, variation, mode))

    def over_variations(self, column: str, kernel: str, mode: str) -> tuple[Verdict, ...]:
        """The verdicts of all planned variations, ``default`` first."""
        found = (self.of(column, kernel, variation, mode) for variation in self.variations)
        return tuple(verdict for verdict in found if verdict is not None)

    def headline(self, column: str, kernel: str, mode: str) -> Verdict | None:
        """The worst verdict over all variations.

        Of equal statuses the one with the fewest comparisons leads, then the one of the first variation.
        None where no variation planned this kernel in this mode.
        """
        verdicts = self.over_variations(column, kernel, mode)
        return min(verdicts, key=lambda one: (severity(one.status), one.comparison.compared), default=None)

    def overhead(self, column: str, kernel: str) -> Overhead | None:
        """The overhead of determinism under the first variation that has one, ``default`` before others."""
        found = (self.overheads.get((column, kernel, variation)) for variation in self.variations)
        return next((overhead for overhead in found if overhead is not None), None)

    @cached_property
    def unmeasured(self) -> Mapping[str, tuple[Status, str]]:
        """The columns that have no number at all, with their status and the one sentence that says why.

        Those that were never started, and those in which every process says the same, as where TensorFlow saw no GPU.
        """
        found: dict[str, tuple[Status, str]] = {}
        for column, verdicts in self._by_column.items():
            said = {(one.status, one.why) for one in verdicts}
            if len(said) == 1 and all(status in OF_COLUMN for status, _ in said):
                found[column] = said.pop()
        found |= {
            matrix_column.id: of_column(matrix_column)
            for matrix_column in self.info.columns
            if matrix_column.status != "ready"
        }
        return found

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Columns one step apart, in the order of the columns they lead to: see ``bench.verdict.steps``."""
        ready = [column for column in self.info.columns if column.status == "ready"]
        return steps(
            ready, {column.id: {key: self.seen(column.id, key) for key in ("driver", "numpy")} for column in ready}
        )

    def seen(self, column: str, key: str) -> str:
        """What the processes of a column say of themselves, or the host of the GPU asked for; "" where nobody said."""
        records = self.records(column)
        told = (process.provenance.get(key) for record in records for process in record.processes)
        asked = (record.request.gpu.get(key) for record in records)
        return next((str(value) for value in (*told, *asked) if value), "")

    def records(self, column: str) -> Sequence[Record]:
        """The records of a column that count, of all its variations and modes."""
        return self._records.get(column, [])

    @cached_property
    def _records(self) -> dict[str, list[Record]]:
        found: dict[str, list[Record]] = {}
        for (column, *_), held in self.groups.items():
            found.setdefault(column, []).extend(kept.record for kept in held)
        return found

    def accuracy(self, column: str, kernel: str, variation: str) -> Accuracy | None:
        """Whether determinism costs accuracy or gives some; None where not both errors are known."""
        worst = []
        for mode in ("on", "off"):
            verdict = self.of(column, kernel, variation, mode)
            if verdict is None or verdict.status not in FROM_DIGESTS or not verdict.errors:
                return None
            worst.append(max(one["rms"] for one in verdict.errors.values()))
        on, off = worst
        if max(on, off) <= min(on, off) * SAME_WITHIN:
            return Accuracy(word="same", on=on, off=off)
        return Accuracy(word="more" if on < off else "less", on=on, off=off)

    def gpu_controls(self, column: str) -> GpuControls:
        """What is known to vary on GPUs with determinism off, and whether it was seen to; empty for a CPU."""
        device = next((one.device for one in self.info.columns if one.id == column), "cpu")
        names = [one.name for one in self.info.kernels if one.gpu_control and device != "cpu"]
        seen = {name: self._seen_to_vary(column, name) for name in names}
        measured = [name for name, varied in seen.items() if varied is not None]
        if not measured or any(seen[name] for name in measured):
            return GpuControls(seen=seen, notice="")
        notice = (
            f"None of {', '.join(measured)} varied with determinism off, though all are known to on GPUs: "
            f"the suite is not sensitive enough on {device}, or the device has become exact."
        )
        return GpuControls(seen=seen, notice=notice)

    def _seen_to_vary(self, column: str, kernel: str) -> bool | None:
        told = [one for one in self.over_variations(column, kernel, "off") if one.status in FROM_DIGESTS]
        return any(one.comparison.varies for one in told) if told else None

    @property
    def measured(self) -> int:
        """Records that count and were measured by this run."""
        return sum(not kept.reused_from for group in self.groups.values() for kept in group)

    @property
    def reused(self) -> int:
        """Records that count and were measured by an earlier run."""
        return sum(bool(kept.reused_from) for group in self.groups.values() for kept in group)


def of_column(column: ColumnInfo) -> tuple[Status, str]:
    """Status and reason of a column that is not ready; whatever word a run.json has there, it is no measurement."""
    known = {status.value: status for status in Status if status not in FROM_DIGESTS}
    return known.get(column.status, Status.MISMATCH), column.reason or f"The column is {column.status}."


def overhead_of(dear: Verdict, cheap: Verdict) -> Overhead | None:
    """The overhead of one verdict against another; None unless both ran to their ends and were timed."""
    whole = all(one.status in FROM_DIGESTS | {Status.CONTROL_FAILED} for one in (dear, cheap))
    return overhead(dear.observations, cheap.observations, (dear.timing, cheap.timing)) if whole else None
