"""The whole of report.json: the words of the page in its order, and the numbers behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.report.json.document.figures import Accuracy, Change, Closed, Difference, Overhead, Place, Verdict


@dataclass(frozen=True, kw_only=True)
class Label(Closed):
    """A label and its value."""

    label: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Meaning(Closed):
    """A word of the page, and what it means."""

    word: str
    symbol: str | None
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Pair(Closed):
    """The answer for one column, the best first."""

    column: str
    label: str
    rank: str | None
    """"1", "1 (tie)"; null where nothing was measured."""
    safe: bool
    """Every kernel is exact with determinism on."""
    sentence: str
    overhead: str | None
    """What determinism costs this pair, in words."""
    counts: dict[str, int]
    """Kernels by status, determinism on."""


@dataclass(frozen=True, kw_only=True)
class Counts(Closed):
    """Kernels by status over all columns, each by its worst variation; controls do not count."""

    off: dict[str, int]
    on: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Notice(Closed):
    """Something to know before trusting a number."""

    kind: str
    title: str
    text: str
    items: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Column(Closed):
    """One column: a pair on a device."""

    column: str
    label: str
    status: str
    """"ready", or the status word of a column that was not measured."""
    reason: str | None
    note: str | None
    """What the preflight says."""
    tensorflow: str
    cuda: str
    """CUDA minor, or "cpu"."""
    cudnn: str | None
    python: str
    keras: str | None
    device: str
    gpu: str | None
    """UUID of the GPU."""
    kind: str | None
    """How well the pair is supported: "official", "cpu", "local", ..."""
    locked: bool
    """Whether a hash-pinned lock makes this environment again."""
    origin: dict[str, str]
    """Facts of the host it was measured on; empty where that is the run's own."""


@dataclass(frozen=True, kw_only=True)
class ModeResult(Closed):
    """One mode of one kernel in one column, as the matrix shows it, and the numbers behind that."""

    status: str
    symbol: str
    variation: str | None
    """The variation that leads."""
    why: str
    strength: str | None
    apart: str | None
    classes: tuple[str, ...]
    """Digest classes: columns with a letter in common share bits."""
    time_text: str | None
    new_value: bool
    overhead_text: str | None
    overhead: Overhead | None
    verdict: Verdict | None


@dataclass(frozen=True, kw_only=True)
class Entry(Closed):
    """One kernel in one column."""

    column: str
    off: ModeResult
    on: ModeResult


@dataclass(frozen=True, kw_only=True)
class Variation(Closed):
    """One variation of a kernel over all columns."""

    variation: str
    columns: tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True)
class Kernel(Closed):
    """One kernel over all columns."""

    kernel: str
    family: str
    control: str | None
    own: str | None
    """The user's file, of a kernel of their own."""
    facts: dict[str, str]
    """What it exercises, its shapes and types, its source."""
    worst: tuple[Entry, ...]
    """Each column by its worst variation."""
    variations: tuple[Variation, ...]
    """Each variation; empty where there is only one."""


@dataclass(frozen=True, kw_only=True)
class Note(Closed):
    """Something to say of the evidence."""

    label: str
    where: str | None
    sentences: tuple[str, ...]
    block: str | None


@dataclass(frozen=True, kw_only=True)
class Evidence(Closed):
    """What lies behind one kernel in one column."""

    column: str
    kernel: str
    notes: tuple[Note, ...]
    replay: str | None
    """The command that measures just this again."""


@dataclass(frozen=True, kw_only=True)
class ControlSummary(Closed):
    """What the controls of one column showed, in words."""

    label: str
    places: str
    seen: str | None
    out_of_reach: str | None
    failed: str | None
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Instrument(Closed):
    """What the instrument could see."""

    sentence: str | None
    lines: tuple[ControlSummary, ...]
    places: tuple[Place, ...]
    gpu: tuple[str, ...]
    gpu_controls: dict[str, dict[str, bool | None]]
    """By GPU column, whether kernels known to vary there were seen to; null: not measured."""


@dataclass(frozen=True, kw_only=True)
class Event(Closed):
    """What a change does to one kernel in one mode and variation."""

    kernel: str
    family: str | None
    variation: str | None
    mode: str
    before: str | None
    """The status before, null where there is none."""
    after: str | None
    events: tuple[str, ...]
    bits: str | None
    distance: str | None
    time: str | None
    why: str | None
    time_why: str | None
    """Why no ratio of times is stated."""
    overhead: Overhead | None
    difference: Difference | None


@dataclass(frozen=True, kw_only=True)
class Upgrade(Closed):
    """What a change from one column to another does."""

    label: str
    before: str
    """Column."""
    after: str
    """Column."""
    step: str
    alone: bool
    """Whether nothing else moved."""
    moved: str
    sentences: tuple[str, ...]
    counts: dict[str, int]
    """Rows by event."""
    rows: tuple[Event, ...]
    quiet: int
    """Results in which nothing happened: the sum of the four below."""
    kept: int
    """Known to keep status and bits."""
    so_far: int
    """Keep them in what little was seen."""
    as_before: int
    """Vary, raise or fail as before."""
    unknown: int
    """Not compared."""
    unknown_why: dict[str, int]
    untimed_why: dict[str, int]
    gone: int
    """Planned only before."""
    new: int
    """Planned only after."""
    note: str | None


@dataclass(frozen=True, kw_only=True)
class Since(Closed):
    """What changed since the last run."""

    run: str | None
    """The earlier run; null where there is none to compare with."""
    moment: str | None
    sentence: str
    notes: tuple[str, ...]
    upgrades: tuple[Upgrade, ...]


@dataclass(frozen=True, kw_only=True)
class Candidate(Closed):
    """One pair, held against a question."""

    column: str
    label: str
    rank: str | None
    fit: str
    symbol: str
    evidence: str
    overhead: str | None
    reasons: tuple[str, ...]
    """Why it does not fit."""
    unknowns: tuple[str, ...]
    """What nobody knows yet."""


@dataclass(frozen=True, kw_only=True)
class Missing(Closed):
    """What is not known, and the command that would measure it."""

    why: str
    command: str


@dataclass(frozen=True, kw_only=True)
class Choice(Closed):
    """Pairs ranked for all kernels at any overhead."""

    sentence: str | None
    question: str
    candidates: tuple[Candidate, ...]
    more: str | None
    missing: tuple[Missing, ...]
    rules: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class NeedColumn(Closed):
    """What one pair gives to one family, determinism on."""

    column: str
    reproducible: int
    kernels: int
    text: str
    dearest: str | None
    """The dearest resolved overhead, and its kernel."""


@dataclass(frozen=True, kw_only=True)
class Need(Closed):
    """One family over all columns."""

    family: str
    columns: tuple[NeedColumn, ...]


@dataclass(frozen=True, kw_only=True)
class Environment(Closed):
    """What really ran in one column."""

    column: str
    provenance: dict[str, str]
    gpu: dict[str, str]
    libraries: dict[str, str]
    settings: dict[str, dict[str, str]]
    """By setting, then by variation and mode."""
    records: dict[str, str]
    """Record files, and whether they were measured now."""


@dataclass(frozen=True, kw_only=True)
class Report(Closed):
    """A run of tfrepro, evaluated."""

    schema: Literal[4]
    run: str
    answer: tuple[str, ...]
    pairs: tuple[Pair, ...]
    counts: Counts
    since: Since
    facts: tuple[Label, ...]
    notices: tuple[Notice, ...]
    caption: str
    columns: tuple[Column, ...]
    kernels: tuple[Kernel, ...]
    choice: Choice
    needs: tuple[Need, ...]
    upgrades: tuple[Upgrade, ...]
    evidence: tuple[Evidence, ...]
    changes: tuple[Change, ...]
    accuracy: tuple[Accuracy, ...]
    instrument: Instrument
    environments: tuple[Environment, ...]
    legend: tuple[Meaning, ...]
    terms: tuple[Meaning, ...]
