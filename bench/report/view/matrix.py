"""The matrix as shown: heads, rows, and the two halves of every entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.verdict.results import Verdict
    from bench.verdict.timing import Overhead


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
    """The answer for one column. ``rank`` is "1", "1 (tie)" or "", ``overhead`` what determinism costs."""

    column: str
    label: str
    rank: str
    safe: bool
    sentence: str
    counts: tuple[Count, ...]
    overhead: str = ""


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something the reader must know before trusting a number; ``block`` is text of more lines shown as it is."""

    kind: str
    title: str
    text: str
    items: tuple[str, ...] = ()
    block: str = ""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the matrix's head. ``blocked`` is the status word of a column that was not measured.

    ``device`` is the short name of its GPU, or ``cpu``; ``kind`` the kind of its pair in words, ``note`` the line of
    the preflight and ``origin`` the host it was measured on, each "" where there is nothing to say.
    """

    column: str
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
class ModeResult:
    """One mode of one kernel in one column.

    ``letters`` are digest classes, ``why`` is a sentence, ``apart`` says in few words how far samples differ.
    """

    mode: str
    symbol: str
    word: str
    tone: str
    why: str
    variation: str = ""
    strength: str = ""
    apart: str = ""
    letters: str = ""
    time: str = ""
    overhead: str = ""
    new_value: bool = False
    verdict: Verdict | None = None
    overhead_data: Overhead | None = None

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

    column: str
    kernel: str
    anchor: str
    blocked: bool
    off: ModeResult
    on: ModeResult

    @property
    def halves(self) -> tuple[ModeResult, ModeResult]:
        """Off, then on."""
        return (self.off, self.on)


@dataclass(frozen=True, kw_only=True)
class SubRow:
    """One variation of a kernel over all columns."""

    variation: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One kernel over all columns: the worst variation of each, and every variation below.

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
    variations: tuple[SubRow, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """The status words that lead in the row, sorted: what a filter looks for."""
        return tuple(sorted({half.word for entry in self.entries for half in entry.halves}))


@dataclass(frozen=True, kw_only=True)
class Family:
    """Rows that belong together."""

    name: str
    rows: tuple[Row, ...]
