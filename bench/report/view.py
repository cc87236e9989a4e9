"""The view model: everything a page says, ready to show, and the same for every renderer.

All text from records passes ``clean`` here, once. The renderers only lay out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.verdict.difference import Difference
    from bench.verdict.judgement import Judgement, Verdict
    from bench.verdict.timing import Price

SCHEMA = 3


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A label and its value."""

    label: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Count:
    """How many kernels have a status."""

    symbol: str
    word: str
    tone: str
    number: int


@dataclass(frozen=True, kw_only=True)
class Line:
    """The answer for one column. ``rank`` is "1", "1 (tie)" or ""."""

    cell: str
    label: str
    rank: str
    safe: bool
    sentence: str
    counts: tuple[Count, ...]


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something the reader must know before trusting a number."""

    kind: str
    title: str
    text: str
    items: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Column:
    """One cell of the matrix's head. ``blocked`` is the status word of a column that was not measured.

    ``device`` is the short name of its GPU, or ``cpu``; ``kind`` the kind of its pair in words, ``note`` the line of
    the preflight and ``origin`` the host it was measured on, each "" where there is nothing to say.
    """

    cell: str
    label: str
    release: str
    accelerator: str
    versions: str
    device: str
    kind: str
    note: str
    origin: str
    blocked: str
    symbol: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Half:
    """One mode of one kernel in one column.

    ``letters`` are digest classes, ``why`` is a sentence, ``apart`` says in few words how far samples differ.
    """

    mode: str
    symbol: str
    word: str
    tone: str
    why: str
    condition: str = ""
    strength: str = ""
    apart: str = ""
    letters: str = ""
    time: str = ""
    time_why: str = ""
    price: str = ""
    price_why: str = ""
    new_value: bool = False
    verdict: Verdict | None = None
    price_data: Price | None = None

    @property
    def status(self) -> str:
        """Symbol and word."""
        return f"{self.symbol} {self.word}"

    @property
    def time_kind(self) -> str:
        """Which times: "steady", "first", or "" where there are none."""
        timing = self.verdict.timing if self.verdict else None
        return timing.kind.value if timing else ""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One kernel in one column, both modes."""

    cell: str
    kernel: str
    anchor: str
    blocked: bool
    off: Half
    on: Half

    @property
    def halves(self) -> tuple[Half, Half]:
        """Off, then on."""
        return (self.off, self.on)


@dataclass(frozen=True, kw_only=True)
class SubRow:
    """One condition of a kernel over all columns."""

    condition: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One kernel over all columns: the worst condition of each, and every condition below.

    ``index`` is the kernel's place in run.json, for names may look the same once they are made harmless.
    ``own`` marks a kernel of the user's own: "own, my_kernels.py".
    """

    index: int
    kernel: str
    family: str
    own: str
    control: str
    facts: tuple[Fact, ...]
    entries: tuple[Entry, ...]
    conditions: tuple[SubRow, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """All status words of the row, sorted: what a filter looks for."""
        entries = (*self.entries, *(entry for sub in self.conditions for entry in sub.entries))
        return tuple(sorted({half.word for entry in entries for half in entry.halves}))


@dataclass(frozen=True, kw_only=True)
class Family:
    """Rows that belong together."""

    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class ProcessLine:
    """What processes gave that say the same: ``bits`` numbers the digests of their repeats in order."""

    name: str
    bits: str
    contrast: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Processes:
    """What the processes gave, one by one, in the conditions and modes named, which all say the same."""

    where: str
    lines: tuple[ProcessLine, ...]


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something to say of one or more parts of a detail; ``where`` names them, "" where it holds for all.

    ``sentences`` are shown one below the other, ``block`` is text of more lines shown as it is.
    """

    label: str
    where: str
    sentences: tuple[str, ...]
    block: str = ""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a kernel takes in one condition and mode, ready to show, "" where unknown.

    ``wall`` and ``span`` are the median and the range of a call over processes, ``cpu`` its CPU time,
    ``first`` the median of first calls, ``peak`` the highest resident memory and ``gpu_peak`` that of the GPU.
    """

    wall: str = ""
    span: str = ""
    cpu: str = ""
    first: str = ""
    peak: str = ""
    gpu_peak: str = ""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One condition and mode of a detail."""

    condition: str
    half: Half
    evidence: str
    digests: tuple[Fact, ...]
    times: tuple[float, ...]
    cost: Cost


@dataclass(frozen=True, kw_only=True)
class Change:
    """How far the bits with determinism on are from those with it off, in one condition."""

    condition: str
    difference: Difference


@dataclass(frozen=True, kw_only=True)
class Detail:
    """All evidence of one kernel in one column, off and on side by side for every condition.

    ``processes`` are told one by one only where they do not all say the same.
    """

    index: int
    cell: str
    label: str
    kernel: str
    anchor: str
    environment: str
    entry: Entry
    pairs: tuple[tuple[Part | None, Part | None], ...]
    notes: tuple[Note, ...]
    processes: tuple[Processes, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True, kw_only=True)
class Upgrade:
    """What a column costs against the one a step before it, all kernels: rows are kernel, off, on.

    ``step`` names what moves (``CUDA step``), ``alone`` says whether nothing else does, ``moved`` says it in words.
    """

    label: str
    step: str
    alone: bool
    moved: str
    before: str
    after: str
    sentences: tuple[str, ...]
    rows: tuple[tuple[str, str, str], ...]
    prices: tuple[tuple[str, str, Price], ...]


@dataclass(frozen=True, kw_only=True)
class SightLine:
    """What the controls of one column showed in the places named (conditions and modes that say the same)."""

    label: str
    places: str
    seen: str
    out_of_reach: str
    failed: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """What the instrument could see: one sentence over all, and one line for each column and what it showed."""

    sentence: str
    lines: tuple[SightLine, ...]
    gpu: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Provenance, loaded libraries and effective settings of one column, by its conditions and modes.

    ``gpu`` is what the processes and the host saw of the GPU, empty for a CPU.
    """

    cell: str
    label: str
    anchor: str
    provenance: tuple[Fact, ...]
    gpu: tuple[Fact, ...]
    libraries: tuple[Fact, ...]
    groups: tuple[str, ...]
    settings: tuple[tuple[str, tuple[str, ...]], ...]
    records: tuple[Fact, ...]


@dataclass(frozen=True, kw_only=True)
class View:
    """A whole page. ``judgement`` has the numbers behind it, for renderers that hand them on."""

    run: str
    title: str
    answer: tuple[str, ...]
    lines: tuple[Line, ...]
    facts: tuple[Fact, ...]
    counts_off: tuple[Count, ...]
    counts_on: tuple[Count, ...]
    notices: tuple[Notice, ...]
    caption: str
    columns: tuple[Column, ...]
    families: tuple[Family, ...]
    details: tuple[Detail, ...]
    instrument: Instrument
    upgrades: tuple[Upgrade, ...]
    environments: tuple[Environment, ...]
    legend: tuple[tuple[str, str, str, str], ...]
    terms: tuple[tuple[str, str], ...]
    judgement: Judgement

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows in order."""
        return tuple(row for family in self.families for row in family.rows)
