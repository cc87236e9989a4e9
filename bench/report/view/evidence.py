"""The evidence behind the matrix: details of every cell, controls, and environments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from bench.report.view.fields import Fact, Facts, Hidden, Texts
from bench.report.view.matrix import Entry, ModeResult
from bench.verdict.controls import Check
from bench.verdict.difference_types import Difference


@dataclass(frozen=True, kw_only=True)
class ProcessLine:
    """Consecutive processes with the same result: ``bits`` numbers the digests of their repetitions in order.

    ``samples`` has these numbers for the plot, the first ones where there are many.
    """

    name: str
    bits: str
    second_seed: str
    note: str
    samples: Hidden[tuple[int, ...]] = ()


@dataclass(frozen=True, kw_only=True)
class Processes:
    """The result of every process, in the variations and modes that ``where`` names."""

    where: str
    lines: tuple[ProcessLine, ...]


@dataclass(frozen=True, kw_only=True)
class Note:
    """Text beside one or more results of a detail; ``where`` names them, "" where it applies to all.

    ``sentences`` are shown one below the other, ``block`` is preformatted text of several lines.
    """

    label: str
    where: str
    sentences: tuple[str, ...]
    block: str = ""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One variation and mode of a detail, with its digests and its times per process in seconds."""

    variation: str
    mode_result: ModeResult
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
    """All evidence of one cell, off and on side by side for every variation.

    ``processes`` are listed only where they do not all agree. ``replay`` is the command that measures just this cell
    again, pinned by lock, seed and kernel code; "" where it cannot be reproduced. ``accuracy`` says by variation
    whether determinism on is "more" or "less" accurate than off, or the "same".
    """

    index: Hidden[int]
    column: str
    label: Hidden[str]
    kernel: str
    anchor: Hidden[str]
    environment: Hidden[str]
    entry: Hidden[Entry]
    pairs: Hidden[tuple[tuple[Part | None, Part | None], ...]]
    notes: Hidden[tuple[Note, ...]]
    processes: Hidden[tuple[Processes, ...]]
    changes: Hidden[tuple[Change, ...]] = ()
    accuracy: Texts = ()
    reproduce_command: Annotated[str, Field(serialization_alias="reproduce")] = ""


@dataclass(frozen=True, kw_only=True)
class ControlLine:
    """What the controls of one column showed in the variations and modes that ``places`` names."""

    label: str
    places: str
    seen: str
    out_of_reach: str
    failed: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class ControlGroup:
    """What the controls showed in one column, variation and mode.

    ``detection_limit`` is the smallest share of differing samples that would have been seen, None where unknown.
    ``failed`` says why the results of this group cannot be used, "" where they can.
    """

    column: str
    variation: str
    mode: str
    detection_limit: float | None = None
    failed: str = ""
    checks: Mapping[str, Check]


@dataclass(frozen=True, kw_only=True)
class ControlChecks:
    """The controls and the detection limit: a summary, and what each column showed.

    ``gpu_controls`` says by GPU column whether the kernels known to vary on GPUs varied; None where not measured.
    """

    sentence: str = ""
    lines: Hidden[tuple[ControlLine, ...]] = ()
    gpu: Hidden[tuple[str, ...]] = ()
    groups: tuple[ControlGroup, ...] = ()
    gpu_controls: Mapping[str, Mapping[str, bool | None]]


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Provenance, loaded libraries and effective settings of one column.

    ``gpu`` is what the processes and the host saw of the GPU. ``settings`` has one value for each of ``groups``
    (variation and mode). ``records`` has the record files.
    """

    column: str
    label: Hidden[str]
    anchor: Hidden[str]
    provenance: Facts
    gpu: Facts = ()
    libraries: Facts = ()
    groups: tuple[str, ...]
    settings: tuple[tuple[str, tuple[str, ...]], ...]
    records: Facts
