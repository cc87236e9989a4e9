"""The numbers of report.json: what ``bench.report.json.numbers`` makes of verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from bench.verdict.status import Status  # noqa: TC001 - the schema is made from the types


class Closed:
    """A document with the keys that are declared, and no others."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}


@dataclass(frozen=True, kw_only=True)
class Time(Closed):
    """Wall times of one kernel, in seconds. A process gives one number: the median of its calls."""

    kind: Literal["steady", "first"]
    """Calls after the first, or first calls (trace and compile included)."""
    median_s: float | None
    """Median over processes."""
    low_s: float | None
    """The fastest process."""
    high_s: float | None
    """The slowest process."""
    cpu_median_s: float | None
    """CPU seconds of all threads, median over processes."""
    first_median_s: float | None
    """First calls, median over processes."""
    per_process_s: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Overhead(Closed):
    """A ratio of times with its 95 % interval: on to off, or of an upgrade after to before."""

    ratio: float | None
    low: float | None
    high: float | None
    resolved: bool
    """Whether the interval is narrow enough and does not hold 1; else no number is stated."""
    why: str | None
    """Why it is not resolved."""
    kind: Literal["steady", "first"]
    processes_on: int
    processes_off: int


@dataclass(frozen=True, kw_only=True)
class Distance(Closed):
    """How far two arrays are apart. A measure that is not finite is null."""

    elements: int
    differing: int
    v_c: float | None
    """Share of elements that differ, 0 to 1."""
    v_ermv: float | None
    """Mean of abs(a - b) / abs(a) over elements where a is finite and not 0."""
    rel_max: float | None
    """Greatest abs(a - b) over greatest abs(a)."""
    ulp_median: float | None
    """Units in the last place, of the elements that differ."""
    ulp_p99: float | None
    nan_changes: int
    inf_changes: int
    sign_changes: int


@dataclass(frozen=True, kw_only=True)
class FirstDifference(Closed):
    """The first divergence."""

    step: int | None
    """Counted from 1, null for an output."""
    tensor: str
    index: tuple[int, ...] | None
    """Place of the first element that differs."""
    first: str | None
    """A decimal string that round-trips."""
    other: str | None
    distance: Distance | None
    note: str | None


@dataclass(frozen=True, kw_only=True)
class Difference(Closed):
    """How far two samples are apart."""

    first: str
    other: str
    whole: bool
    """Whether all elements were at hand."""
    kept_elements: int
    elements: int
    outputs: dict[str, Distance]
    parting: FirstDifference | None


@dataclass(frozen=True, kw_only=True)
class KnownIssue(Closed):
    """A known issue of TensorFlow."""

    id: str
    title: str
    advice: str
    source: str
    why: str | None
    reproducer: str | None


@dataclass(frozen=True, kw_only=True)
class Digest(Closed):
    """One digest (SHA-256 of all output bytes) and how many samples gave it."""

    digest: str
    count: int


@dataclass(frozen=True, kw_only=True)
class LeftOut(Closed):
    """Times left out because the GPU was throttled or shared: of ``left_out`` among ``timed`` processes."""

    word: str
    reasons: tuple[str, ...]
    left_out: int
    timed: int


@dataclass(frozen=True, kw_only=True)
class Verdict(Closed):
    """Every number behind a verdict."""

    variation: str
    status: Status
    level: str | None
    """The strongest claim the digests carry."""
    passed: bool | None
    """Of a control: whether it did what it must. Null where undecided, and for every kernel."""
    processes: int
    repetitions: int
    compared: int
    """Processes compared with the first one."""
    differed: int
    """Of these, those that gave other bits."""
    bound: float | None
    """At most this share of processes differs from the first, at 95 % (Clopper-Pearson). Null: nothing was compared."""
    differ_within: int
    """Processes that disagree with themselves."""
    digests: tuple[Digest, ...]
    changed_value: bool | None
    """Whether the bits with determinism on differ from those with it off."""
    nan: bool
    outcomes: dict[str, int]
    """How processes ended, counted."""
    error_class: str | None
    error_where: str | None
    known_issue: KnownIssue | None
    difference: Difference | None
    difference_why: str | None
    """Why it is not known how far samples are apart."""
    errors: dict[str, dict[str, float | None]]
    """Of each output, the "max" and "rms" error against a float64 reference."""
    peak_mb: float | None
    """Highest resident memory, MB."""
    peak_gpu_mb: float | None
    """Highest GPU memory, MB."""
    times_left_out: LeftOut | None
    measured: int
    """Records of this run."""
    reused: int
    """Records of earlier runs."""
    time: Time | None


@dataclass(frozen=True, kw_only=True)
class Change(Closed):
    """How far the bits with determinism on are from those with it off."""

    column: str
    kernel: str
    variation: str
    difference: Difference


@dataclass(frozen=True, kw_only=True)
class Accuracy(Closed):
    """Root mean square errors against float64, relative to the values."""

    column: str
    kernel: str
    variation: str
    off: float | None
    on: float | None
    on_is: Literal["more", "less", "same"]
    """Whether determinism on is more or less accurate than off."""


@dataclass(frozen=True, kw_only=True)
class Control(Closed):
    """What a control showed."""

    control: str
    passed: bool | None
    why: str
    rate: float
    """The share of samples in which it must differ, 0 for one that must not."""
    reach: bool
    """Whether so many samples had to show it."""
    seen: int
    samples: int


@dataclass(frozen=True, kw_only=True)
class Place(Closed):
    """What the controls showed in one column, variation and mode."""

    column: str
    variation: str
    mode: str
    control_failed: str | None
    """Why nothing there can be believed."""
    sensitivity: float | None
    """The share of differing samples that would have been seen."""
    controls: tuple[Control, ...]
