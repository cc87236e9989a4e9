"""The record of one round: its data classes, its line format (JSON Lines) and its parser.

A round runs the selected kernels in one mode, in a fresh process. Lines are written as events happen, so a worker
that dies loses at most one sample:

``header``   the request and the hash of the suite; written once, by the driver;
``process``  provenance and effective settings; once per worker process;
``kernel``   a kernel starts;
``values``   description of a digest: facts about every output; once per process, kernel and digest;
``kept``     element values of a digest's tensors, for later comparison; the host stores them in a separate file
             next to the record (see ``kept_values.py``), so that the record stays small;
``sample``   one repetition of a kernel, a later call without a new seed, or its run with the second seed (which must
             differ);
``guard``    the state of the GPU during the preceding sample, as observed by the host; added by the host;
``outcome``  a kernel ended: ``ok``, ``failed`` (it returned what cannot be compared), ``error``, ``crashed``,
             ``timeout``, ``oom``, ``mismatch``, ``gpu-not-visible``;
``loaded``   the shared libraries that were mapped when the process ended;
``end``      the round is complete. A record without this line was truncated.
"""

from __future__ import annotations

import dataclasses
import json
import lzma
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterable, Mapping, Optional, Sequence, TextIO

SCHEMA = 5
#: Earlier schema -> the version of tfrepro that reads it.
READERS = {2: "0.1", 3: "0.1"}

#: Kind of the line by which a worker requests a new process for its remaining kernels. It is for the driver only, which
#: does not forward it. No exit code can serve for that, because a kernel can end its process with any.
RESTART = "restart"
#: Exit code of a worker that can no longer write its record, because a kernel closed the descriptor.
RECORD_CLOSED = 76


class RecordError(ValueError):
    """A record cannot be read: it is not JSON, has no header, or has an unsupported schema."""


@dataclass(frozen=True)
class Request:
    """Everything a worker needs to know to run one round. Times are in seconds.

    Attributes:
        kernels: Names in execution order, already shuffled with ``order_seed``.
        repetitions: Kernel name -> number of repetitions.
        second_seed: Whether to run each kernel once more with a different seed.
        env: Environment variables that the variation sets.
        inter: Inter-op threads, and ``devices``: logical CPU devices; None: TensorFlow's default.
        kernel_files: Custom kernel -> the file that declares it, ``HASH/name.py`` (see ``kernel_files.py``). The driver
            runs each in a process of its own; processes that run the suite do not load the files.
        expect: Distribution -> version pinned by the lock; a worker that finds another version does not measure.
        device: ``cpu`` or ``gpu``.
        libraries: Soname that TensorFlow opens (``libcublas.so.12``) -> the requirement that must provide it
            (``nvidia-cublas-cu12==12.5.3.2``).
        gpu: Facts the host knows about the requested GPU: ``uuid``, ``driver`` (``550.54.15``) and ``cuda``, the
            version number that the driver reports (``12040``); empty where unknown.
        context: Facts that the host adds (run, engine, lock hash, image id, host); copied to the header unchanged.
    """

    column: str
    mode: str  # "off" | "on"
    variation: str  # "default", "isa=avx2", ...
    round: int  # from 1
    kernels: tuple[str, ...]
    repetitions: Mapping[str, int]
    seed: int = 42
    order_seed: int = 0
    switch: str = "api"  # how mode "on" is switched: "api" | "env"
    second_seed: bool = True
    time_limit_s: float = 120.0  # for one kernel, all repetitions
    env: Mapping[str, str] = field(default_factory=dict)
    threads: Optional[int] = None  # intra-op threads; None: TensorFlow's default
    inter: Optional[int] = None
    devices: Optional[int] = None
    tf32: Optional[bool] = None  # TF32 execution; None: TensorFlow's default
    eager: bool = False  # functions run eagerly instead of as graphs
    kernel_files: Mapping[str, str] = field(default_factory=dict)
    expect: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    libraries: Mapping[str, str] = field(default_factory=dict)
    gpu: Mapping[str, str] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the request as one line of JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Request:
        """Parse a request; raises TypeError on unknown keys."""
        data = json.loads(text)
        data["kernels"] = tuple(data["kernels"])
        return cls(**data)


@dataclass(frozen=True)
class Sample:
    """The result of one execution of a kernel.

    Attributes:
        role: "repetition", "second-seed", or "later-call" (the last repetition's work called again without a
            new seed).
        digest: Hash of the name, dtype, shape and bytes of every output, and of every training step.
        first_s: Wall time of the first call, including tracing and compilation.
        switches: Involuntary context switches during the first call.
        first_difference: Where this sample first differs from the first repetition of its process, as returned by
            ``first_difference.find_first_difference``. None if it does not differ, or if enough differences of
            this kernel were described already.
        guard: State of the GPU meanwhile, as observed by the host (``bench.gpu.guard``); None on a CPU.
        outputs: Output -> ``{"dtype", "shape", "digest", "nan", "inf", "device"}``.
        errors: Output with a float64 reference -> ``{"max", "rms"}`` (see ``distance.reference_error``).
            Like ``outputs``, read from the ``values`` line of the digest, and empty if that line is missing.
    """

    process: int
    kernel: str
    role: str
    repetition: int
    seed: int
    digest: str
    setup_s: float
    first_s: float
    first_cpu_s: float
    load: float
    switches: int
    first_difference: Optional[Mapping[str, Any]] = None
    guard: Optional[Mapping[str, Any]] = None
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    errors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a kernel ended in this round.

    Attributes:
        message: The first 4,000 characters of the error message.
        where: File and line of the user's kernel file that raised the error, or "".
        peak_mb: Peak resident memory of the process while the kernel ran, in MB; None if unknown.
        peak_gpu_mb: Peak memory held by TensorFlow's GPU allocator, in MB; None without a GPU.
        digest_s: Seconds (included in ``seconds``) spent comparing and hashing outputs.
        left_behind: Sentences about what the kernel left in its process, such as ``left 1 thread running: ...``
            (see ``left_behind.py``). Its process ended for that reason.
    """

    process: int
    kernel: str
    outcome: str
    seconds: float
    error_class: str = ""
    message: str = ""
    where: str = ""
    peak_mb: Optional[float] = None
    digest_s: float = 0.0
    peak_gpu_mb: Optional[float] = None
    left_behind: Sequence[str] = ()


@dataclass(frozen=True)
class Process:
    """One worker process: provenance and effective settings (see ``provenance.py`` for the keys).

    ``libraries`` maps each shared library that was mapped at the end of the process to its version; it is empty if
    the process did not reach its end.
    """

    process: int
    pid: int
    started: str
    provenance: Mapping[str, Any]
    settings: Mapping[str, Any]
    libraries: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """One parsed round. ``complete`` is False if the ``end`` line is missing."""

    request: Request
    suite_hash: str
    processes: tuple[Process, ...]
    samples: tuple[Sample, ...]
    outcomes: tuple[Outcome, ...]
    complete: bool
    seconds: float


_KINDS = ("process", "kernel", "values", "kept", "sample", "guard", "outcome", "loaded", "end")


def check_schema(name: str, schema: object) -> None:
    """Raise RecordError, naming a version that can read it, unless ``schema`` is the current schema."""
    if schema == SCHEMA:
        return
    reader = READERS.get(schema) if isinstance(schema, int) else None
    advice = f"read it with tfrepro {reader}, or measure again" if reader else "measure again"
    raise RecordError(f"{name} has schema {schema!r}, but this version reads schema {SCHEMA}: {advice}")


def line(kind: str, body: Mapping[str, Any]) -> str:
    """Return one line of a record, including its newline; raises ValueError for NaN and infinity."""
    return json.dumps({"line": kind, **body}, sort_keys=True, allow_nan=False) + "\n"


def parse(lines: Iterable[str], name: str = "record") -> Record:
    """Parse a record from its lines.

    A truncated last line is ignored, because a killed writer leaves one behind.

    Raises:
        RecordError: There is no header, a line is not a JSON object, fields are missing or unknown, or the
            schema is not supported.
    """
    header: Optional[dict[str, Any]] = None
    rows: dict[str, list[dict[str, Any]]] = {kind: [] for kind in _KINDS}
    texts = [text for text in lines if text.strip()]
    for number, text in enumerate(texts, 1):
        try:
            row = json.loads(text)
            kind = row.pop("line")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if number == len(texts) and header is not None:
                break
            raise RecordError(f"{name}, line {number}: not a line of a record ({error})") from error
        if kind == "header":
            header = row
            check_schema(name, header.get("schema"))
        elif kind in rows:
            rows[kind].append(row)
        else:
            raise RecordError(f"{name}, line {number}: unknown kind of line {kind!r}")
    if header is None:
        raise RecordError(f"{name}: no header line")
    try:
        return _build(header, rows)
    except (TypeError, KeyError, ValueError) as error:
        raise RecordError(f"{name}: fields missing or unknown ({error})") from error


def _build(header: dict[str, Any], rows: dict[str, list[dict[str, Any]]]) -> Record:
    request = Request.from_json(json.dumps(header["request"]))
    descriptions = {(row["process"], row["kernel"], row["digest"]): row for row in rows["values"]}
    guards = {(row["process"], row["kernel"], row["role"], row["repetition"]): row["seen"] for row in rows["guard"]}
    samples = []
    for row in rows["sample"]:
        description = descriptions.get((row["process"], row["kernel"], row["digest"]), {})
        row["guard"] = guards.get((row["process"], row["kernel"], row["role"], row["repetition"]))
        samples.append(Sample(**row, outputs=description.get("outputs", {}), errors=description.get("errors", {})))
    loaded = {row["process"]: row["libraries"] for row in rows["loaded"]}
    return Record(
        request=request,
        suite_hash=str(header["suite_hash"]),
        processes=tuple(Process(**row, libraries=loaded.get(row["process"], {})) for row in rows["process"]),
        samples=tuple(samples),
        outcomes=tuple(Outcome(**row) for row in rows["outcome"]),
        complete=bool(rows["end"]),
        seconds=float(rows["end"][0]["seconds"]) if rows["end"] else 0.0,
    )


def read(path: Path) -> Record:
    """Read a record file, plain or compressed (``.xz``); raises RecordError, OSError, LZMAError or EOFError."""
    with open_record(path) as stream:
        return parse(stream, path.name)


def open_record(path: Path) -> TextIO:
    """Open a record file, plain or compressed, as text; bytes that are not UTF-8 are replaced."""
    if path.suffix == ".xz":
        return lzma.open(path, "rt", encoding="utf-8", errors="replace")
    return path.open(encoding="utf-8", errors="replace")
