"""Runs for tests, made of real Record and RunInfo objects: say only what is special.

``run()`` is a run in which everything is exact and both controls hold. A test says how one kernel
behaves (``behave``), changes single records (``changed``), or drops some (``without``). As in real runs, the
first round of each column, variation and mode has second seeds, and every digest has kept values.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.store.kept_values import StoredValues
from bench.store.run import Run
from bench.store.run_info import ColumnInfo, KernelInfo, RunInfo
from bench.suite import kept_values
from bench.suite.distance import as_dict, distance
from bench.suite.paired_record import Block, PairedKernel, SideProcess
from bench.suite.record import Outcome, Process, Record, Request, Sample
from tests.unit import paired_factory

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from bench.suite.paired_record import PairedRecord

SUITE = "5" * 64
GPU = "GPU-1a2b3c4d-0000-0000-0000-000000000001"
DRIVER = "550.54.15"
#: What processes of a GPU column loaded, by CUDA minor apart from cuDNN.
LIBRARIES = {"cublas": "12.5.3", "cudnn": "9.3.0", "driver": "12.4"}
#: What the host saw of a GPU that ran freely.
CALM: dict[str, Any] = {
    "samples": 40, "sm_mhz": [1965, 1980], "memory_mhz": [2619, 2619], "temperature_c": 48, "power_w": 420,
    "memory_mb": 900, "reasons": ["software power cap"], "foreign": [], "discarded": "",
}  # fmt: skip
SEED = 42
SECOND_SEED = 123
CORES = 2


@dataclass(frozen=True)
class Spot:
    """Where something happens: one kernel in one process."""

    column: str
    variation: str
    mode: str
    round: int
    kernel: str


@dataclass(frozen=True)
class Behaviour:
    """What a kernel does there.

    ``digests`` names the bits of each repetition (any text; repeated over the repetitions if there are fewer),
    ``second_seed`` those of the other seed ("" for none), and ``later_call`` those of a call without a new seed:
    "" for the bits of the first repetition, None for no such call. Times are in seconds. ``steady_s`` are those of
    calls after a warm-up in timing pairs; without any, ``first_s`` is timed there.
    ``device`` is where outputs lived ("" for what the column says), ``errors`` those of the first digest. ``guard`` is
    what the host saw of the GPU of a GPU column during timing.
    """

    digests: tuple[str, ...] = ("same",)
    second_seed: str = "other"
    later_call: str | None = ""
    steady_s: tuple[float, ...] = (0.0010, 0.0011)
    first_s: float = 0.05
    nan: bool = False
    outcome: str = "ok"
    error_class: str = ""
    message: str = ""
    device: str = ""
    errors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    peak_mb: float = 120.5
    left_behind: tuple[str, ...] = ()
    guard: Mapping[str, Any] | None = field(default_factory=lambda: CALM)


EXACT = Behaviour()


def digest(text: str) -> str:
    """SHA-256 of a name for bits, "" for ""."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() if text else ""


def column(tensorflow: str = "2.18.1", cuda: str = "cpu", **changes: Any) -> ColumnInfo:
    """A column; ``status`` and ``reason`` where it is not ready."""
    device = "cpu" if cuda == "cpu" else "h100"
    pair = f"tf{tensorflow}-{'cpu' if cuda == 'cpu' else 'cuda' + cuda}-py311"
    facts: dict[str, Any] = {
        "id": f"{pair}@{device}",
        "tensorflow": tensorflow,
        "cuda": cuda,
        "python": "3.11",
        "keras": "3.15.1",
        "device": device,
        "lock": f"docker/locks/{pair}.txt",
        "lock_hash": digest(pair),
        "status": "ready",
        "gpu": "" if cuda == "cpu" else GPU,
        "kind": "cpu" if cuda == "cpu" else "official",
        "cudnn": "" if cuda == "cpu" else "9.3.0.75",
    }
    return ColumnInfo(**{**facts, **changes})


def kernel(name: str, family: str = "linalg", control: str = "", **changes: Any) -> KernelInfo:
    """A row."""
    facts: dict[str, Any] = {
        "name": name,
        "family": "controls" if control else family,
        "exercises": f"what {name} exercises",
        "shapes": "[64, 64]",
        "dtypes": "float32",
        "source": "own",
        "control": control,
        "portable": True,
    }
    return KernelInfo(**{**facts, **changes})


FLICKER = kernel("control_flicker", control="must-differ", rate=1.0)
FLICKER_P50 = kernel("control_flicker_p50", control="must-differ", rate=0.5)
FLICKER_P10 = kernel("control_flicker_p10", control="must-differ", rate=0.1)
FLICKER_P02 = kernel("control_flicker_p02", control="must-differ", rate=0.02)
INTEGER = kernel("control_integer", control="must-not-differ")
CONTROLS = (FLICKER, INTEGER)
#: The controls of the real suite: those that differ in a known share of samples, too.
GRADED = (FLICKER, FLICKER_P50, FLICKER_P10, FLICKER_P02, INTEGER)


def info(**changes: Any) -> RunInfo:
    """One CPU column, two kernels and both controls, 5 rounds of 3 repetitions in both modes.

    The run begins at noon of the day in its id.
    """
    stamp = str(changes.get("id", "20250130T"))
    day = f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}"
    facts: dict[str, Any] = {
        "schema": 5,
        "id": "20250130T120000Z-abcd",
        "started": f"{day}T12:00:00+00:00",
        "finished": f"{day}T12:10:00+00:00",
        "version": "0.1.0",
        "revision": "0123abc",
        "command": "python -m bench run",
        "profile": "standard",
        "rounds": 5,
        "repetitions": 3,
        "seed": SEED,
        "modes": ("off", "on"),
        "variations": {"default": ()},
        "variation_modes": {},
        "engine": "docker",
        "engine_why": "a Docker engine answers",
        "engine_facts": {"server": "20.10.24"},
        "host": {"hostname": "bench-host", "cpu_model": "Example CPU", "cores": "2", "system": "Linux 6.1"},
        "suite_hash": SUITE,
        "columns": (column(),),
        "kernels": (kernel("matmul"), kernel("conv2d", "convolutions"), *CONTROLS),
    }
    return RunInfo(**{**facts, **changes})


def path_of(where: Spot) -> str:
    """Where the record of a spot's round belongs."""
    return f"records/{where.column}/{where.variation}/{where.mode}-{where.round:03d}.jsonl"


def run(
    facts: RunInfo | None = None,
    behave: Callable[[Spot], Behaviour] | None = None,
    *,
    second_seeds: str = "first",
    timed: Collection[str] | None = None,
    keep: bool = True,
    **context: Any,
) -> Run:
    """A whole run. ``behave`` is called for every kernel that is no control, unless it takes them, too.

    It may return ``EXACT``. ``second_seeds`` are taken in the "first" round or in "all"; ``timed`` names the variations
    with timing pairs (None: all). ``keep`` makes kept values, and tells where samples part. ``context`` goes into
    every request.
    """
    facts = facts or info()
    records: dict[str, Record] = {}
    for column in facts.columns:
        if column.status != "ready":
            continue
        for variation in facts.variations:
            for mode in facts.variation_modes.get(variation, facts.modes):
                for number in range(1, facts.rounds + 1):
                    spot = Spot(column.id, variation, mode, number, "")
                    found = record(facts, column, spot, behave or (lambda _: EXACT), context, keep=keep)
                    records[path_of(spot)] = found if second_seeds == "all" or number == 1 else uncontrasted(found)
    paired = pairs(facts, behave or (lambda _: EXACT), timed)
    return Run(info=facts, records=records, paired=paired, kept=kept(records.values()) if keep else StoredValues())


def pairs(
    facts: RunInfo, behave: Callable[[Spot], Behaviour], timed: Collection[str] | None = None
) -> dict[str, PairedRecord]:
    """As many pairs, off and on, as rounds: each side takes the times that its behaviour has in the round.

    The pairs of the second variation begin at 101, those of the third at 201.
    """
    found = {}
    for column in facts.columns:
        for place, variation in enumerate(facts.variations if column.status == "ready" else ()):
            modes = facts.variation_modes.get(variation, facts.modes)
            if {"off", "on"} <= set(modes) and (timed is None or variation in timed):
                for number in range(1, facts.rounds + 1):
                    made = pair(facts, column, variation, number, behave)
                    path = f"paired/{column.id}/overhead-{100 * place + number:03d}.jsonl"
                    found[path] = dataclasses.replace(made, number=100 * place + number)
    return found


def pair(
    facts: RunInfo, column: ColumnInfo, variation: str, number: int, behave: Callable[[Spot], Behaviour]
) -> PairedRecord:
    """One pair of a column, off and on, without controls."""
    only = facts.variations.get(variation, ())
    kernels = [one.name for one in facts.kernels if not one.control and (not only or one.name in only)]
    sides = {
        name: [behave(Spot(column.id, variation, mode, number, name)) for mode in ("off", "on")] for name in kernels
    }
    record = paired_factory.record(
        "overhead",
        number,
        [timed_in_turns(name, acts, gpu=column.device != "cpu") for name, acts in sides.items()],
        columns=(column.id, column.id),
        modes=("off", "on"),
        variation=variation,
    )
    return measured_pair(facts, record)


def measured_pair(facts: RunInfo, record: PairedRecord) -> PairedRecord:
    """The record of a pair as this run writes it: both sides are as run.json and their columns say."""
    columns = {column.id: column for column in facts.columns}
    requests: dict[str, Request] = {}
    processes: list[SideProcess] = []
    for side, request in record.requests.items():
        column = columns[request.column]
        spot = Spot(column.id, request.variation, request.mode, record.number, f"{record.comparison} {side}")
        requests[side] = dataclasses.replace(request, **requested(facts, column, spot))
        own = process(facts, column, spot)
        processes.append(SideProcess(side, own.pid, own.started, own.provenance, own.settings, own.libraries))
    return dataclasses.replace(record, requests=requests, processes=tuple(processes), suite_hash=facts.suite_hash)


def with_pairs(whole: Run, *several: Mapping[str, PairedRecord]) -> Run:
    """The run with these pairs, measured by it, besides those that it has."""
    added = {path: measured_pair(whole.info, record) for pairs in several for path, record in pairs.items()}
    return dataclasses.replace(whole, paired={**whole.paired, **added})


def timed_in_turns(name: str, acts: Sequence[Behaviour], *, gpu: bool) -> PairedKernel:
    """A kernel of a pair; what cannot be called again is built anew for each block."""
    steady = all(act.steady_s for act in acts)
    calls = {side: act.steady_s if steady else (act.first_s,) for side, act in zip("ab", acts, strict=True)}
    outcome = next((act.outcome for act in acts if act.outcome != "ok"), "ok")
    blocks = [Block(side, calls[side], tuple(2 * call for call in calls[side]), 0) for side in "abba"]
    guards = [act.guard for act in acts if gpu and act.guard]
    return PairedKernel(
        kernel=name,
        kind="steady" if steady else "first",
        outcome=outcome,
        message="",
        blocks=tuple(blocks) if outcome == "ok" else (),
        first_seconds={side: act.first_s for side, act in zip("ab", acts, strict=True)},
        load=0.5,
        guard=next((guard for guard in guards if guard.get("discarded")), guards[0] if guards else None),
    )


def record(
    facts: RunInfo,
    column: ColumnInfo,
    spot: Spot,
    behave: Callable[[Spot], Behaviour],
    context: Mapping[str, Any],
    *,
    keep: bool = True,
) -> Record:
    """One round of a run, in one process, with second seeds and later calls."""
    only = facts.variations.get(spot.variation, ())
    kernels = [one for one in facts.kernels if not only or one.name in only or one.control]
    found = [(one, behaviour(one, dataclasses.replace(spot, kernel=one.name), behave, facts)) for one in kernels]
    place = "CPU:0" if column.device == "cpu" else "GPU:0"
    return Record(
        request=Request(
            column=spot.column,
            mode=spot.mode,
            variation=spot.variation,
            round=spot.round,
            kernels=tuple(one.name for one in kernels),
            repetitions={one.name: facts.repetitions for one in kernels},
            order_seed=spot.round,
            kernel_files={one.name: f"{digest(one.file)[:16]}/{one.file}" for one in kernels if one.file},
            **requested(facts, column, spot, context),
        ),
        suite_hash=facts.suite_hash,
        processes=(process(facts, column, spot),),
        samples=tuple(
            sample
            for one, acts in found
            for sample in samples(one.name, acts, facts, place, control=bool(one.control), keep=keep)
        ),
        outcomes=tuple(
            dataclasses.replace(ending(one.name, acts), peak_gpu_mb=None if column.device == "cpu" else 64.0)
            for one, acts in found
        ),
        complete=True,
        seconds=4.0,
    )


def requested(
    facts: RunInfo, column: ColumnInfo, spot: Spot, context: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What the request of a round and that of one side of a pair have alike."""
    return {
        "switch": "env" if spot.variation == "switch=env" else "api",
        "seed": facts.seed,
        "device": "cpu" if column.device == "cpu" else "gpu",
        "gpu": {} if column.device == "cpu" else {"uuid": column.gpu, "driver": DRIVER, "cuda": "12040"},
        "context": {**measured_by(facts, column), **(context or {})},
    }


def ending(name: str, acts: Behaviour) -> Outcome:
    """How a kernel ended in the first process of a round."""
    return Outcome(
        1, name, acts.outcome, 0.5, acts.error_class, acts.message, peak_mb=acts.peak_mb, left_behind=acts.left_behind
    )


def again(one: Record, name: str, acts: Behaviour, facts: RunInfo, column: ColumnInfo) -> Record:
    """The record with one kernel run again, in a further process of the same round."""
    number = max(process.process for process in one.processes) + 1
    place = "CPU:0" if column.device == "cpu" else "GPU:0"
    first = one.processes[0]
    fresh = dataclasses.replace(first, process=number, pid=first.pid + 5000, started=f"{first.started[:14]}05:00+00:00")
    taken = [
        dataclasses.replace(plain, process=number)
        for plain in samples(name, acts, facts, place)
        if plain.role != "second-seed"
    ]
    return dataclasses.replace(
        one,
        processes=(*one.processes, fresh),
        samples=(*one.samples, *taken),
        outcomes=(*one.outcomes, dataclasses.replace(ending(name, acts), process=number)),
    )


def uncontrasted(one: Record) -> Record:
    """A round without second_seeds: one that is not the first."""
    request = dataclasses.replace(one.request, second_seed=False)
    return dataclasses.replace(one, request=request, samples=tuple(s for s in one.samples if s.role != "second-seed"))


def behaviour(one: KernelInfo, spot: Spot, behave: Callable[[Spot], Behaviour], facts: RunInfo) -> Behaviour:
    """A control does what it must, unless ``behave`` says something else than EXACT."""
    found = behave(spot)
    if one.control == "must-differ" and found == EXACT:
        first = (spot.round - 1) * facts.repetitions
        names = tuple(
            f"{spot}{repetition}" if int((place + 1) * one.rate) > int(place * one.rate) else "base"
            for repetition, place in enumerate(range(first, first + facts.repetitions))
        )
        return Behaviour(digests=names, second_seed=f"{spot}contrast", later_call=None, steady_s=())
    return found


def samples(
    name: str, acts: Behaviour, facts: RunInfo, device: str = "CPU:0", *, control: bool = False, keep: bool = True
) -> tuple[Sample, ...]:
    """The repetitions, the second call and the second seed of one kernel in one process.

    After a second call that differs, a worker takes one more repetition. A control has no second call, unless it
    differs.
    """
    first = digest(acts.digests[0] and f"{name} {acts.digests[0]}")
    later = digest(f"{name} {acts.later_call}") if acts.later_call else first
    called_again = acts.later_call is not None and not (control and later == first)
    number_of_samples = facts.repetitions + (called_again and later != first)
    names = [acts.digests[number % len(acts.digests)] for number in range(number_of_samples)]
    bits = [digest(text and f"{name} {text}") for text in names]
    acts = acts if acts.device else dataclasses.replace(acts, device=device)
    found = [
        dataclasses.replace(
            sample(name, acts, number, facts.seed, own),
            first_difference=first_difference(bits[0], own) if keep else None,
        )
        for number, own in enumerate(bits)
    ]
    if acts.outcome != "ok":
        return tuple(found[:-1] if len(acts.digests) > 1 else [])
    if called_again:
        second = sample(name, acts, 0, facts.seed, later, role="later-call")
        apart = first_difference(bits[0], later) if keep else None
        found.insert(facts.repetitions, dataclasses.replace(second, first_difference=apart))
    if acts.second_seed:
        found.append(sample(name, acts, 0, SECOND_SEED, digest(f"{name} {acts.second_seed}"), role="second-seed"))
    return tuple(found)


def sample(name: str, acts: Behaviour, repetition: int, seed: int, bits: str, role: str = "repetition") -> Sample:
    """One sample."""
    place = acts.device or "CPU:0"
    output = {
        "dtype": "float32", "shape": [64, 64], "digest": bits, "nan": int(acts.nan), "inf": 0, "device": place,
    }  # fmt: skip
    return Sample(
        process=1,
        kernel=name,
        role=role,
        repetition=repetition,
        seed=seed,
        digest=bits,
        setup_s=0.001,
        first_s=acts.first_s,
        first_cpu_s=acts.first_s,
        load=0.5,
        switches=0,
        outputs={"out": output},
        errors=acts.errors if role != "second-seed" else {},
    )


def first_difference(first: str, other: str) -> dict[str, Any] | None:
    """What a worker says of a sample that left the first one of its process."""
    return None if first == other or not (first and other) else _parted(first, other)


@lru_cache(maxsize=4096)
def _parted(first: str, other: str) -> dict[str, Any]:
    one, two = array(first), array(other)
    place = np.unravel_index(int(np.argmax(one != two)), one.shape)
    found = as_dict(distance("float32", one.reshape(-1).view(np.uint8), two.reshape(-1).view(np.uint8)))
    return {
        "step": None,
        "tensor": "out",
        "index": [int(number) for number in place],
        "first": repr(float(one[place])),
        "other": repr(float(two[place])),
        "distance": found,
        "outputs": {"out": found},
    }


@lru_cache(maxsize=256)
def array(bits: str) -> np.ndarray[Any, Any]:
    """Values behind a digest: the same numbers for all, but for a tenth of the elements."""
    whole = np.random.RandomState(1).standard_normal((64, 64)).astype("float32")
    own = np.random.RandomState(int(bits[:8], 16))
    moved = own.randint(0, whole.size, whole.size // 10)
    whole.reshape(-1)[moved] *= np.float32(1 + 2**-20)
    return whole


def kept(records: Iterable[Record]) -> StoredValues:
    """Stored values of every digest of the run's own seed, controls apart."""
    names = {
        (one.kernel, one.digest)
        for found in records
        for one in found.samples
        if one.role != "second-seed" and one.digest and not one.kernel.startswith("control")
    }
    return StoredValues(
        rows={(name, bits): (kept_values.keep("out", None, array(bits), bits, 256),) for name, bits in names}
    )


def measured_by(facts: RunInfo, column: ColumnInfo) -> dict[str, Any]:
    """What the host writes into a request: everything is as run.json says."""
    host = column.origin or facts.host
    return {
        "engine": column.origin.get("engine", "") if column.origin else facts.engine,
        "run": column.origin.get("run", facts.id),
        "host": host.get("name", ""),
        "lock_hash": column.lock_hash,
        "rounds": facts.rounds,
    }


def process(facts: RunInfo, column: ColumnInfo, spot: Spot) -> Process:
    """A process in which everything is as the run and the column say."""
    host = column.origin or facts.host
    place = int(digest(str(spot))[:6], 16)
    return Process(
        process=1,
        pid=1000 + place,
        started=f"{str(column.origin.get('started') or facts.started)[:17]}{spot.round % 60:02d}+00:00",
        provenance={
            **provenance(column, f"host-{place}"),
            **({"cpu_model": host["cpu"]} if host.get("cpu") else {}),
            **({"cores": int(host["cores"])} if host.get("cores") else {}),
        },
        settings={
            "determinism_enabled": spot.mode == "on",
            "switch": "api" if spot.mode == "on" else "none",
            "intra_op_threads": 2,
            "inter_op_threads": 2,
            "onednn": "on",
            "isa_limit": "none",
            "tf32": True,
            "xla_jit": "",
            "devices": ["/device:CPU:0"] + ["/device:GPU:0"] * (column.device != "cpu"),
            "env": {"TF_CPP_MIN_LOG_LEVEL": "2"},
            **in_force(spot),
        },
        libraries={"libtensorflow_cc": "2", "libtensorflow_framework": "2", "libc": "6", "libgomp": "1.0.0"},
    )


def in_force(spot: Spot) -> dict[str, Any]:
    """What a variation puts in force, on a host of ``CORES`` cores."""
    key, _, value = spot.variation.partition("=")
    factor, times, _ = value.partition("xcores")
    known: dict[str, Callable[[], dict[str, Any]]] = {
        "threads": lambda: {"intra_op_threads": int(factor) * (CORES if times else 1)},
        "onednn": lambda: {"onednn": "on" if value == "1" else "off"},
        "isa": lambda: {"isa_limit": value.upper()},
        "tf32": lambda: {"tf32": value == "on"},
        "eager": lambda: {"eager": value == "on"},
        "switch": lambda: {"switch": "env" if spot.mode == "on" else "none"},
    }
    return known.get(key, dict)()


def provenance(column: ColumnInfo, hostname: str) -> dict[str, Any]:
    """Versions as the column names them."""
    return {
        "python": f"{column.python}.7",
        "tensorflow": column.tensorflow,
        "tensorflow_git": f"v{column.tensorflow}",
        "keras": column.keras,
        "numpy": "2.0.2",
        "protobuf": "5.29.5",
        "build_info": {"is_cuda_build": str(column.cuda != "cpu")},
        "cpu_model": "Example CPU",
        "cpu_flags_hash": "f" * 16,
        "isa": "avx512f",
        "cores": CORES,
        "hostname": hostname,
        "kernel": "Linux-6.1",
        "load": 0.5,
        "kernel_hashes": {},
        **(gpu(column) if column.device != "cpu" else {}),
    }


def gpu(column: ColumnInfo) -> dict[str, Any]:
    """What a process of a GPU column tells besides."""
    return {
        "cuda": {**LIBRARIES, "cudnn": ".".join((column.cudnn or LIBRARIES["cudnn"]).split(".")[:3])},
        "cuda_files": {"libcuda": f"/usr/lib/libcuda.so.{DRIVER}"},
        "gpu": {
            "device_name": f"NVIDIA {column.device.upper()}",
            "compute_capability": [9, 0],
            "sm_count": 132,
            "uuid": column.gpu,
        },
    }


@dataclass(frozen=True)
class Change:
    """Which records to change: all fields left empty match everything."""

    column: str = ""
    variation: str = ""
    mode: str = ""
    rounds: tuple[int, ...] = field(default=())

    def fits(self, one: Record) -> bool:
        """Whether a record is meant."""
        request = one.request
        return (
            self.column in ("", request.column)
            and self.variation in ("", request.variation)
            and self.mode in ("", request.mode)
            and (not self.rounds or request.round in self.rounds)
        )


def changed(whole: Run, change: Callable[[Record], Record], where: Change | None = None) -> Run:
    """The run with some records changed."""
    meant = where or Change()
    records = {path: change(one) if meant.fits(one) else one for path, one in whole.records.items()}
    return dataclasses.replace(whole, records=records)


def without(whole: Run, where: Change) -> Run:
    """The run with some records gone."""
    records = {path: one for path, one in whole.records.items() if not where.fits(one)}
    return dataclasses.replace(whole, records=records)


def settings(**values: Any) -> Callable[[Record], Record]:
    """A change of every process's settings; None drops the key."""
    return lambda one: _in_processes(one, "settings", values)


def facts_of_process(**values: Any) -> Callable[[Record], Record]:
    """A change of every process's provenance; None drops the key."""
    return lambda one: _in_processes(one, "provenance", values)


def _in_processes(one: Record, where: str, values: Mapping[str, Any]) -> Record:
    def change(old: Process) -> Process:
        merged = {**getattr(old, where), **values}
        kept = {key: value for key, value in merged.items() if value is not None}
        return dataclasses.replace(old, provenance=kept) if where == "provenance" else _with_settings(old, kept)

    return dataclasses.replace(one, processes=tuple(change(old) for old in one.processes))


def _with_settings(old: Process, values: Mapping[str, Any]) -> Process:
    return dataclasses.replace(old, settings=values)


def in_samples(change: Callable[[Sample], Sample], name: str = "matmul") -> Callable[[Record], Record]:
    """A change of every sample of one kernel."""
    return lambda one: dataclasses.replace(
        one, samples=tuple(change(old) if old.kernel == name else old for old in one.samples)
    )


def libraries(**values: str | None) -> Callable[[Record], Record]:
    """A change of every process's loaded libraries; None drops one."""

    def change(old: Process) -> Process:
        merged = {**old.libraries, **values}
        return dataclasses.replace(old, libraries={name: text for name, text in merged.items() if text is not None})

    return lambda one: dataclasses.replace(one, processes=tuple(change(old) for old in one.processes))
