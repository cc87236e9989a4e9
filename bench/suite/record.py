"""The record: what one round writes, one JSON object a line, and how to read it back.

A round is one fresh process of one mode that runs the selected kernels. Lines are written
as things happen, so a dead worker loses one sample at most:

``header``   the request as given, the hash of the suite, once, by the driver;
``process``  provenance and the settings really in force, once per worker process;
``kernel``   a kernel begins;
``values``   what a digest stands for: facts of every output, once per process, kernel and digest;
``kept``     values of a digest's tensors, to compare later: the root keeps them in a file beside the
             record (``values.py``), so that the record itself stays small;
``sample``   one repetition of a kernel, one *contrast* (another seed, which must differ), or its timing pass;
``guard``    what the host saw of the GPU while the sample before it was taken; written by the root, not the column;
``outcome``  a kernel has ended: ``ok``, ``error``, ``crashed``, ``timeout``, ``oom``, ``mismatch``, ``gpu-not-visible``;
``loaded``   the libraries that were mapped when the process ended;
``end``      the round is whole. A record without it was cut off.
"""

from __future__ import annotations

import dataclasses
import json
import lzma
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterable, Mapping, Optional, TextIO

SCHEMA = 4
#: The version of tfrepro that reads each earlier schema.
READERS = {2: "0.1", 3: "0.1"}

#: Exit code of a worker that ends well and wants a new process for the kernels that are left.
RESTART = 75


class RecordError(ValueError):
    """A record that cannot be read: not JSON, no header, or a schema this version does not know."""


@dataclass(frozen=True)
class Request:
    """One round, as the runner asks for it.

    ``kernels`` is the order to run them in, shuffled with ``order_seed``; ``repetitions`` says how often each.
    ``second_seed`` asks for one more execution of each with another seed. ``steady_s`` is the budget of the
    timing pass of each kernel, 0 for none. ``env`` is what the variation adds to the worker's environment.
    ``kernel_files`` maps the names of the user's kernel files to their text. ``expect`` names distributions and
    the versions the lock promises; a worker that finds another version refuses to measure. ``context`` is
    carried into the header untouched (run, engine, lock hash, image id, host): what the record must know
    of the root. Times are in seconds.

    ``device`` is ``cpu`` or ``gpu``. ``libraries`` maps each library that a GPU column must be able to open, by the name
    TensorFlow asks for (``libcublas.so.12``), to the distribution that it must come from and its version
    (``nvidia-cublas-cu12==12.5.3.2``). ``gpu`` has what the host knows of the GPU asked for: ``uuid``, ``driver``
    (``550.54.15``) and ``cuda``, the number that driver reports (``12040``); empty where it is not known.
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
    steady_s: float = 0.2
    env: Mapping[str, str] = field(default_factory=dict)
    threads: Optional[int] = None  # intra-op threads; None: TensorFlow's default
    tf32: Optional[bool] = None  # TF32 execution; None: TensorFlow's default
    kernel_files: Mapping[str, str] = field(default_factory=dict)
    expect: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    libraries: Mapping[str, str] = field(default_factory=dict)
    gpu: Mapping[str, str] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The request as one line of JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Request:
        """Read a request back; raises TypeError on unknown keys."""
        data = json.loads(text)
        data["kernels"] = tuple(data["kernels"])
        return cls(**data)


@dataclass(frozen=True)
class Sample:
    """What one repetition gave.

    ``digest`` covers name, dtype, shape and bytes of every output, and every step of a training. ``outputs``
    maps each output to ``{"dtype", "shape", "digest", "nan", "inf", "device"}``, and ``errors`` those that have
    a float64 reference to ``{"max", "rms"}`` (see ``distance.error``); both are read from the ``values``
    line of the digest, and are empty where it is missing. ``role`` is "repetition", "second-seed" or "timing".

    ``first_s`` is the wall time of the first call (trace and compile included), ``steady_s`` the wall times of
    the calls after ``warmups`` more (only a timing sample has any). ``steady_agrees`` says whether all of them
    gave the bits of the first call (None: there were none). ``switches`` counts involuntary context switches
    during the first call. ``first_difference`` says where this sample left the first repetition of its process, None where
    it did not or where enough of them were described already: ``{"step", "tensor", "index", "first",
    "other", "outputs"}``, the last one a distance for each output that differs (``distance.Distance``).
    ``guard`` is what the host saw of the GPU meanwhile (``bench.gpu.guard``), None on a CPU.
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
    steady_s: tuple[float, ...]
    steady_cpu_s: tuple[float, ...]
    steady_agrees: Optional[bool]
    warmups: int
    load: float
    switches: int
    first_difference: Optional[Mapping[str, Any]] = None
    guard: Optional[Mapping[str, Any]] = None
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    errors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a kernel ended in this round.

    ``message`` is the first 4,000 characters, ``where`` the file and line of the kernel it came from.
    ``peak_mb`` is the highest resident memory of the process while it ran, in MB, None where unknown;
    ``peak_gpu_mb`` the highest GPU memory that TensorFlow's allocator held, in MB, None without a GPU.
    ``digest_s`` is the part of its seconds that went into comparing and hashing bytes.
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


@dataclass(frozen=True)
class Process:
    """One worker process: provenance and effective settings (see ``provenance.py`` for the keys).

    ``libraries`` maps the shared libraries mapped at its end to their versions; empty where it did not get there.
    """

    process: int
    pid: int
    started: str
    provenance: Mapping[str, Any]
    settings: Mapping[str, Any]
    libraries: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """One round, read back. ``complete`` is False where the ``end`` line is missing."""

    request: Request
    suite_hash: str
    processes: tuple[Process, ...]
    samples: tuple[Sample, ...]
    outcomes: tuple[Outcome, ...]
    complete: bool
    seconds: float


_KINDS = ("process", "kernel", "values", "kept", "sample", "guard", "outcome", "loaded", "end")


def check_schema(name: str, schema: object) -> None:
    """Raise RecordError, naming the version that reads it, unless ``schema`` is the one that this version reads."""
    if schema == SCHEMA:
        return
    reader = READERS.get(schema) if isinstance(schema, int) else None
    advice = f"read it with tfrepro {reader}, or measure again" if reader else "it was not written by this tfrepro"
    raise RecordError(f"{name} has schema {schema!r}, but this version reads schema {SCHEMA}: {advice}")


def line(kind: str, body: Mapping[str, Any]) -> str:
    """One line of a record, newline included. NaN and infinity are refused (ValueError)."""
    return json.dumps({"line": kind, **body}, sort_keys=True, allow_nan=False) + "\n"


def parse(lines: Iterable[str], name: str = "record") -> Record:
    """Read a record from its lines.

    Raises:
        RecordError: no header, a line that is no JSON object, missing or unknown fields, or another
            schema. A cut-off last line is forgiven: it is what a killed writer leaves.
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
    values = {(row["process"], row["kernel"], row["digest"]): row for row in rows["values"]}
    guards = {(row["process"], row["kernel"], row["role"], row["repetition"]): row["seen"] for row in rows["guard"]}
    samples = []
    for row in rows["sample"]:
        row["steady_s"] = tuple(row["steady_s"])
        row["steady_cpu_s"] = tuple(row["steady_cpu_s"])
        known = values.get((row["process"], row["kernel"], row["digest"]), {})
        row["guard"] = guards.get((row["process"], row["kernel"], row["role"], row["repetition"]))
        samples.append(Sample(**row, outputs=known.get("outputs", {}), errors=known.get("errors", {})))
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
    """Read one record file, compressed (``.xz``) or not; raises RecordError, OSError, LZMAError or EOFError."""
    with _open(path) as stream:
        return parse(stream, path.name)


def _open(path: Path) -> TextIO:
    if path.suffix == ".xz":
        return lzma.open(path, "rt", encoding="utf-8", errors="replace")
    return path.open(encoding="utf-8", errors="replace")
