"""The matrix: its columns, its rows, and the result of every cell in both modes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from bench.report.view.charts import TrainingCurves
from bench.report.view.fields import Facts, Hidden, Numbers, StatusCounts, Texts
from bench.verdict.difference_types import Difference
from bench.verdict.gpu_timing import DiscardedTimings
from bench.verdict.ratio import TimeRatio
from bench.verdict.timing import Timing


@dataclass(frozen=True, kw_only=True)
class Line:
    """The summary of one column, used in the ranking.

    ``rank`` is "1", "1 (tie)", or "" where nothing was measured. ``safe`` says that every kernel is reproducible with
    determinism on, and the same on all its hosts. ``counts`` has the kernels by status with determinism on,
    ``overhead`` the cost of determinism. ``not_on_all_hosts`` counts the kernels that are reproducible in this column,
    but have other bits on another host with the same device model, or are not known to have the same.
    """

    column: str
    label: Hidden[str]
    rank: str = ""
    safe: bool
    sentence: str
    counts: StatusCounts
    overhead: str = ""
    not_on_all_hosts: int = 0

    @property
    def kernels(self) -> int:
        """The number of kernels that were planned with determinism on."""
        return sum(count.number for count in self.counts)

    @property
    def reproducible(self) -> int:
        """How many of them are reproducible, on all hosts that the run has of the device model."""
        return sum(count.number for count in self.counts if count.tone == "good") - self.not_on_all_hosts


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A warning to read before relying on a number. ``block`` is preformatted text of several lines."""

    kind: str
    title: str
    text: str
    items: tuple[str, ...] = ()
    block: str = ""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: an environment on a device.

    ``blocked`` is the status of a column without measurements, with ``reason``; "" otherwise. ``note`` is what the
    preflight check says of it. ``cuda`` is the minor version, or "cpu"; ``gpu`` the UUID of the GPU. ``support`` says
    how well the pair is supported: "official", "cpu", "local" for an environment without a lock, and so on. ``locked``
    says whether a hash-pinned lock rebuilds the environment. ``host`` has the facts of the host that measured it,
    where that was another one, and as ``label`` its name in a run over several hosts.
    """

    column: str
    label: str
    release: Hidden[str]
    accelerator: Hidden[str]
    versions: Hidden[str]
    device: Hidden[str]
    kind: Hidden[str]
    note: str = ""
    origin: Hidden[str]
    blocked: Annotated[str, Field(serialization_alias="status")] = ""
    symbol: Hidden[str]
    reason: str = ""
    tensorflow: str = ""
    cuda: str = ""
    cudnn: str = ""
    python: str = ""
    keras: str = ""
    gpu_model: Annotated[str, Field(serialization_alias="device")] = ""
    gpu: str = ""
    support: str = ""
    locked: bool = False
    host: Texts = ()


@dataclass(frozen=True, kw_only=True)
class ModeResult:
    """The result of one kernel in one column, variation and mode. Times are in seconds, memory in MB (10^6 bytes).

    Status: ``why`` gives the reason where the numbers do not say it all. ``passed`` says whether a control behaved as
    required. ``known_issue`` is the id of the known issue of TensorFlow behind it. ``log_tail`` has the last lines of
    the log of a process that died. ``warnings`` say what the kernel left behind in its processes.

    Evidence: each of ``compared`` processes was compared with the first one and ``differed`` gave other bits, so at
    most the share ``bound`` of processes differs (95 %, Clopper-Pearson). ``differ_within`` processes disagree with
    themselves. ``detection_power`` is the share of runs in which a kernel with so many repetitions is found if it
    differs in 1 of 10 samples, None where nothing was compared. ``level`` is the strongest claim that the digests
    support. ``letters`` names the digest group: results of a kernel with the same letter have the same bits. Without a
    group, ``distinct_digests`` counts the digests, and ``digests`` has the first 16 hexadecimal characters of the most
    frequent ones with their numbers of samples. ``outcomes`` counts how processes ended, where any did not end
    normally. ``new_value``: with determinism on the bits differ from those with it off. ``measured`` and ``reused``
    count the records of this run and of earlier ones.

    Numbers: ``difference`` says how far two samples are apart and ``difference_why`` why that is unknown. ``errors``
    has the "max" and "rms" error of each output against float64. ``timing.per_process`` has one median per process.
    ``discarded`` describes times left out because the GPU was throttled or shared.
    """

    mode: Hidden[str]
    symbol: Hidden[str]
    word: Annotated[str, Field(serialization_alias="status")]
    tone: Hidden[str]
    why: Annotated[str, Field(serialization_alias="reason")] = ""
    planned: Hidden[bool] = True
    plain: Hidden[bool] = False
    severity: Hidden[int | None] = None
    variation: Hidden[str] = ""
    evidence_text: Hidden[str] = ""
    distance_text: Hidden[str] = ""
    letters: Annotated[str, Field(serialization_alias="digest_group")] = ""
    time: Hidden[str] = ""
    overhead: Hidden[str] = ""
    new_value: bool = False
    passed: bool | None = None
    level: str = ""
    processes: int = 0
    repetitions: int = 0
    compared: int = 0
    differed: int = 0
    bound: float | None = None
    differ_within: int = 0
    detection_power: float | None = None
    distinct_digests: int = 0
    digests: Numbers = ()
    nan: bool = False
    outcomes: Numbers = ()
    error_class: str = ""
    error_where: str = ""
    error_message: str = ""
    log_tail: str = ""
    known_issue: str = ""
    warnings: tuple[str, ...] = ()
    difference: Difference | None = None
    difference_why: str = ""
    errors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    timing: Timing | None = None
    discarded: DiscardedTimings | None = None
    overhead_data: Annotated[TimeRatio | None, Field(serialization_alias="overhead")] = None
    peak_mb: float | None = None
    peak_gpu_mb: float | None = None
    measured: int = 0
    reused: int = 0

    @property
    def status(self) -> str:
        """Symbol and word."""
        return f"{self.symbol} {self.word}"

    @property
    def time_kind(self) -> str:
        """Which times: "steady", "first", or "" where there are none."""
        return self.timing.kind.value if self.timing else ""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One cell: a kernel in a column, in both modes."""

    column: str
    kernel: Hidden[str]
    anchor: Hidden[str]
    blocked: Hidden[bool]
    off: ModeResult
    on: ModeResult

    @property
    def mode_results(self) -> tuple[ModeResult, ModeResult]:
        """Off, then on."""
        return (self.off, self.on)

    def in_mode(self, mode: str) -> ModeResult:
        """The result with determinism "off" or "on"."""
        return self.off if mode == "off" else self.on


@dataclass(frozen=True, kw_only=True)
class VariationRow:
    """One kernel under one variation, over all columns."""

    variation: str
    entries: Annotated[tuple[Entry, ...], Field(serialization_alias="cells")]


@dataclass(frozen=True, kw_only=True)
class Worst:
    """The variation with the worst result of a cell, where that is not the first variation."""

    column: str
    mode: str
    variation: str


@dataclass(frozen=True, kw_only=True)
class GroupDistance:
    """How far the bits of one digest group are from those of another one of the same kernel, by their letters."""

    before: str
    after: str
    difference: Difference


@dataclass(frozen=True, kw_only=True)
class Row:
    """One kernel over all columns.

    ``entries`` has the worst variation of each cell, and ``results`` every planned variation. ``index`` is the place of
    the kernel in run.json: two names can look alike once they are made harmless. ``own`` marks a custom kernel and
    names its file. ``digest_groups`` has the SHA-256 digest behind each letter, and ``distances`` how far groups are
    apart. ``curves`` compares the steps of a training that has several digests.
    """

    index: Hidden[int]
    kernel: str
    family: Hidden[str]
    own: str = ""
    control: str = ""
    facts: Facts
    entries: Hidden[tuple[Entry, ...]]
    results: Annotated[tuple[VariationRow, ...], Field(serialization_alias="variations")]
    worst: tuple[Worst, ...] = ()
    digest_groups: Texts = ()
    distances: tuple[GroupDistance, ...] = ()
    curves: Hidden[TrainingCurves | None] = None

    @property
    def variations(self) -> tuple[VariationRow, ...]:
        """Every variation, where there are several to tell apart."""
        return self.results if len(self.results) > 1 else ()

    @property
    def deciding(self) -> tuple[Entry, ...]:
        """The cells under the variation that decides: the default one, or else the first that was planned."""
        return self.results[0].entries if self.results else self.entries

    @property
    def words(self) -> tuple[str, ...]:
        """The statuses of the row under any variation, sorted: what a filter looks for."""
        cells = (*self.entries, *(entry for variation in self.results for entry in variation.entries))
        return tuple(sorted({result.word for entry in cells for result in entry.mode_results}))

    @property
    def has_problem(self) -> bool:
        """Whether any result under the deciding variation is neither reproducible nor a control that passed."""
        return any(
            result.planned and result.tone not in ("good", "control")
            for entry in self.deciding
            if not entry.blocked
            for result in entry.mode_results
        )

    @property
    def differs(self) -> bool:
        """Whether two measured columns have another status or other bits, in the same mode."""
        measured = [entry for entry in self.deciding if not entry.blocked]
        return any(
            len({(result.word, result.letters) for result in results}) > 1
            for results in zip(*(entry.mode_results for entry in measured), strict=True)
        )

    def also(self, place: int, mode: str) -> str:
        """Return the variations under which a cell is worse than under the deciding one: ``isa=avx2: crashed``."""
        results = [variation.entries[place].in_mode(mode) for variation in self.results]
        worse = [
            f"{variation.variation}: {result.word}"
            for variation, result in zip(self.results[1:], results[1:], strict=True)
            if result.tone != "none"  # not measured yet
            and result.severity is not None
            and (results[0].severity is None or result.severity < results[0].severity)
        ]
        return ", ".join(worse)


@dataclass(frozen=True, kw_only=True)
class Family:
    """Kernels that belong together."""

    name: str
    rows: Annotated[tuple[Row, ...], Field(serialization_alias="kernels")]

    def reproducible(self, place: int, mode: str) -> int:
        """Return how many kernels of the family are reproducible in one column and mode."""
        return sum(row.deciding[place].in_mode(mode).tone == "good" for row in self.rows)
