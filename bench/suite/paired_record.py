"""The record of one pair: two processes that took turns on the same kernels, so that both saw the same host.

A pair times two sides of a comparison, "a" and "b"; every ratio is time of b to time of a:

``overhead``     a: determinism off, b: on, in the same column;
``noise-floor``  both sides off in the same column, so the true ratio is 1: what differs is noise of this host;
``upgrade``      a: an older column, b: a newer one, in the same mode.

Lines (JSON Lines, written as events happen):

``header``   the comparison, its number, both requests, which side was started first, and the hash of the suite;
``process``  provenance and settings of one side's process, as in ``bench.suite.record``;
``loaded``   the shared libraries that were mapped when the process with this number in the record (from 1) ended;
``kernel``   all blocks of one kernel, in the order in which they ran;
``end``      the pair is complete. A record without this line was truncated.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

from bench.suite.record import RecordError, Request, check_schema, open_record

#: Values of ``PairedRecord.comparison``.
COMPARISONS = ("overhead", "noise-floor", "upgrade")


@dataclass(frozen=True)
class Block:
    """Successive timed calls of one side.

    Attributes:
        side: "a" or "b".
        seconds: Wall time of each call.
        cpu_seconds: CPU time (all threads) of each call.
        switches: Involuntary context switches during the block.
        batch: Calls per reading of the clock: short calls are timed together, and each time is their mean.
    """

    side: str
    seconds: Tuple[float, ...]
    cpu_seconds: Tuple[float, ...]
    switches: int
    batch: int = 1


@dataclass(frozen=True)
class PairedKernel:
    """The blocks of one kernel in one pair.

    Attributes:
        kind: "steady" (calls after a warm-up), or "first" (every block builds the kernel anew and times its first
            call: for kernels that may not be called again).
        outcome: "ok", or how the kernel ended without usable times: "error", "crashed", "timeout", "oom", "mismatch",
            "gpu-not-visible". Blocks measured before are kept.
        message: The error, "" if the outcome is "ok".
        blocks: In the order in which they ran.
        first_seconds: Side -> wall time of the first call in its process, including tracing and compilation.
        load: One-minute load average when the kernel ended.
        guard: State of the GPU meanwhile, as observed by the host (``bench.gpu.guard``); None on a CPU.
    """

    kernel: str
    kind: str
    outcome: str
    message: str
    blocks: Tuple[Block, ...]
    first_seconds: Mapping[str, float]
    load: float
    guard: Optional[Mapping[str, Any]] = None


@dataclass(frozen=True)
class SideProcess:
    """The process of one side: the fields of ``bench.suite.record.Process``, with the side instead of a number."""

    side: str
    pid: int
    started: str
    provenance: Mapping[str, Any]
    settings: Mapping[str, Any]
    libraries: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PairedRecord:
    """One parsed pair.

    Attributes:
        comparison: One of ``COMPARISONS``.
        number: From 1, within the comparison and column.
        requests: Side -> its request, whose ``column`` and ``mode`` say what the side is.
        started_first: The side whose process was started first; balanced over the pairs of a comparison.
        budget_s: Seconds of timed calls that were planned for each kernel and side.
        seconds: Duration of the whole pair, 0 if it is incomplete.
    """

    comparison: str
    number: int
    requests: Mapping[str, Request]
    started_first: str
    suite_hash: str
    processes: Tuple[SideProcess, ...]
    kernels: Tuple[PairedKernel, ...]
    complete: bool
    seconds: float
    budget_s: float = 0.0


def pair_name(comparison: str, number: int, old_column: str) -> str:
    """Return the name of a pair in its column: ``overhead-003``, or ``upgrade-from-tf2.15.1-cpu-py311@cpu-001``."""
    return f"{comparison}-from-{old_column}-{number:03d}" if comparison == "upgrade" else f"{comparison}-{number:03d}"


def parse(lines: Iterable[str], name: str = "paired record") -> PairedRecord:
    """Parse the record of a pair from its lines; a truncated last line is ignored.

    Raises:
        RecordError: There is no header, a line is not a JSON object, fields are missing or unknown, or the schema is
            not supported.
    """
    rows: Dict[str, List[Dict[str, Any]]] = {"header": [], "process": [], "loaded": [], "kernel": [], "end": []}
    texts = [text for text in lines if text.strip()]
    for number, text in enumerate(texts, 1):
        try:
            row = json.loads(text)
            rows[row.pop("line")].append(row)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if number == len(texts) and rows["header"]:
                break
            raise RecordError(f"{name}, line {number}: not a line of a paired record ({error})") from error
    if not rows["header"]:
        raise RecordError(f"{name}: no header line")
    header = rows["header"][0]
    check_schema(name, header.get("schema"))
    try:
        return _build(header, rows)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise RecordError(f"{name}: fields missing or unknown ({error})") from error


def _build(header: Mapping[str, Any], rows: Mapping[str, List[Dict[str, Any]]]) -> PairedRecord:
    if header["comparison"] not in COMPARISONS:
        raise ValueError(f"unknown comparison {header['comparison']!r}")
    kernels = []
    for row in rows["kernel"]:
        blocks = [
            Block(**{**block, "seconds": _times(block["seconds"]), "cpu_seconds": _times(block["cpu_seconds"])})
            for block in row.pop("blocks")
        ]
        kernels.append(PairedKernel(**row, blocks=tuple(blocks)))
    libraries = {row["process"]: row["libraries"] for row in rows["loaded"]}
    return PairedRecord(
        comparison=str(header["comparison"]),
        number=int(header["number"]),
        requests={side: Request.from_json(json.dumps(header["requests"][side])) for side in ("a", "b")},
        started_first=str(header["started_first"]),
        suite_hash=str(header["suite_hash"]),
        processes=tuple(
            SideProcess(**row, libraries=libraries.get(number, {})) for number, row in enumerate(rows["process"], 1)
        ),
        kernels=tuple(kernels),
        complete=bool(rows["end"]),
        seconds=float(rows["end"][0]["seconds"]) if rows["end"] else 0.0,
        budget_s=float(header.get("budget_s", 0.0)),
    )


def _times(values: Iterable[Any]) -> Tuple[float, ...]:
    """Return times in seconds; raises ValueError where one is negative or not finite."""
    times = tuple(float(value) for value in values)
    if not all(0 <= time < math.inf for time in times):
        raise ValueError("a time is negative or not finite")
    return times


def read(path: Path) -> PairedRecord:
    """Read the record of a pair, plain or compressed (``.xz``); raises RecordError, OSError, LZMAError or EOFError."""
    with open_record(path) as stream:
        return parse(stream, path.name)
