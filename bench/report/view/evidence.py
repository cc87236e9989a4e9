"""The evidence as shown: what lies behind every entry of the matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.report.view.matrix import Entry, Fact, ModeResult
    from bench.verdict.difference_types import Difference


@dataclass(frozen=True, kw_only=True)
class ProcessLine:
    """What processes gave that say the same: ``bits`` numbers the digests of their repetitions in order."""

    name: str
    bits: str
    second_seed: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Processes:
    """What the processes gave, one by one, in the variations and modes named, which all say the same."""

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
class Part:
    """One variation and mode of a detail."""

    variation: str
    half: ModeResult
    evidence: str
    digests: tuple[Fact, ...]
    times: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Change:
    """How far the bits with determinism on are from those with it off, in one variation."""

    variation: str
    difference: Difference


@dataclass(frozen=True, kw_only=True)
class Detail:
    """All evidence of one kernel in one column, off and on side by side for every variation.

    ``processes`` are told one by one only where they do not all say the same. ``replay`` is the command that runs just
    this again, pinned by lock, seed and kernel; "" where nothing could be run again.
    """

    index: int
    column: str
    label: str
    kernel: str
    anchor: str
    environment: str
    entry: Entry
    pairs: tuple[tuple[Part | None, Part | None], ...]
    notes: tuple[Note, ...]
    processes: tuple[Processes, ...]
    changes: tuple[Change, ...]
    replay: str = ""


@dataclass(frozen=True, kw_only=True)
class ControlLine:
    """What the controls of one column showed in the places named (variations and modes that say the same)."""

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
    lines: tuple[ControlLine, ...]
    gpu: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Provenance, loaded libraries and effective settings of one column, by its variations and modes.

    ``gpu`` is what the processes and the host saw of the GPU, empty for a CPU.
    """

    column: str
    label: str
    anchor: str
    provenance: tuple[Fact, ...]
    gpu: tuple[Fact, ...]
    libraries: tuple[Fact, ...]
    groups: tuple[str, ...]
    settings: tuple[tuple[str, tuple[str, ...]], ...]
    records: tuple[Fact, ...]
