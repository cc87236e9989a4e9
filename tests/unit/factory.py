"""Runs for tests, made of real Record and RunInfo objects: say only what is special.

``run()`` is a run in which everything is exact and both controls hold. A test says how one kernel
behaves (``behave``), changes single records (``changed``), or drops some (``without``).
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.store.run import CellInfo, KernelInfo, Run, RunInfo
from bench.suite.record import Outcome, Process, Record, Request, Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SUITE = "5" * 64
SEED = 42
CONTRAST_SEED = 123


@dataclass(frozen=True)
class Spot:
    """Where something happens: one kernel in one process."""

    cell: str
    condition: str
    mode: str
    round: int
    kernel: str


@dataclass(frozen=True)
class Behaviour:
    """What a kernel does there.

    ``digests`` names the bits of each repeat (any text; repeated over the repeats if there are fewer),
    ``contrast`` those of the other seed ("" for none). Times are in seconds.
    """

    digests: tuple[str, ...] = ("same",)
    contrast: str = "other"
    steady_agrees: bool | None = True
    steady_s: tuple[float, ...] = (0.0010, 0.0011)
    first_s: float = 0.05
    nan: bool = False
    outcome: str = "ok"
    error_class: str = ""
    message: str = ""


EXACT = Behaviour()


def digest(text: str) -> str:
    """SHA-256 of a name for bits, "" for ""."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() if text else ""


def cell(tensorflow: str = "2.18.1", cuda: str = "cpu", **changes: Any) -> CellInfo:
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
    }
    return CellInfo(**{**facts, **changes})


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


FLICKER = kernel("control_flicker", control="must-differ")
INTEGER = kernel("control_integer", control="must-not-differ")
CONTROLS = (FLICKER, INTEGER)


def info(**changes: Any) -> RunInfo:
    """One CPU column, two kernels and both controls, 5 rounds of 3 repeats in both modes."""
    facts: dict[str, Any] = {
        "schema": 1,
        "id": "20250130T120000Z-abcd",
        "started": "2025-01-30T12:00:00+00:00",
        "finished": "2025-01-30T12:10:00+00:00",
        "version": "0.1.0",
        "revision": "0123abc",
        "command": "python -m bench run",
        "profile": "standard",
        "rounds": 5,
        "repeats": 3,
        "seed": SEED,
        "modes": ("off", "on"),
        "conditions": {"default": ()},
        "condition_modes": {},
        "engine": "docker",
        "engine_why": "a Docker engine answers",
        "engine_facts": {"server": "20.10.24"},
        "host": {"hostname": "bench-host", "cpu_model": "Example CPU", "cores": "2", "system": "Linux 6.1"},
        "suite_hash": SUITE,
        "cells": (cell(),),
        "kernels": (kernel("matmul"), kernel("conv2d", "convolutions"), *CONTROLS),
    }
    return RunInfo(**{**facts, **changes})


def path_of(where: Spot) -> str:
    """Where the record of a spot's round belongs."""
    return f"records/{where.cell}/{where.condition}/{where.mode}-{where.round:03d}.jsonl"


def run(facts: RunInfo | None = None, behave: Callable[[Spot], Behaviour] | None = None, **context: Any) -> Run:
    """A whole run. ``behave`` is asked for every kernel that is no control, unless it wants to speak for them too.

    It may return ``EXACT``. ``context`` goes into every request.
    """
    facts = facts or info()
    records: dict[str, Record] = {}
    for column in facts.cells:
        if column.status != "ready":
            continue
        for condition in facts.conditions:
            for mode in facts.condition_modes.get(condition, facts.modes):
                for number in range(1, facts.rounds + 1):
                    spot = Spot(column.id, condition, mode, number, "")
                    records[path_of(spot)] = record(facts, column, spot, behave or (lambda _: EXACT), context)
    return Run(info=facts, records=records)


def record(
    facts: RunInfo, column: CellInfo, spot: Spot, behave: Callable[[Spot], Behaviour], context: Mapping[str, Any]
) -> Record:
    """One round of a run, in one process."""
    only = facts.conditions.get(spot.condition, ())
    kernels = [one for one in facts.kernels if not only or one.name in only or one.control]
    found = [(one.name, behaviour(one, dataclasses.replace(spot, kernel=one.name), behave)) for one in kernels]
    return Record(
        request=Request(
            cell=spot.cell,
            mode=spot.mode,
            condition=spot.condition,
            round=spot.round,
            kernels=tuple(one.name for one in kernels),
            repeats=facts.repeats,
            seed=facts.seed,
            context={"engine": facts.engine, "run": facts.id, **context},
        ),
        suite_hash=facts.suite_hash,
        processes=(process(column, spot),),
        samples=tuple(one for name, acts in found for one in samples(name, acts, facts)),
        outcomes=tuple(Outcome(1, name, acts.outcome, 0.5, acts.error_class, acts.message) for name, acts in found),
        complete=True,
        seconds=4.0,
    )


def behaviour(one: KernelInfo, spot: Spot, behave: Callable[[Spot], Behaviour]) -> Behaviour:
    """A control does what it must, unless ``behave`` says something else than EXACT."""
    found = behave(spot)
    if one.control == "must-differ" and found == EXACT:
        names = tuple(f"{spot}{repeat}" for repeat in range(16))
        return Behaviour(digests=names, contrast=f"{spot}contrast", steady_agrees=None, steady_s=())
    return found


def samples(name: str, acts: Behaviour, facts: RunInfo) -> tuple[Sample, ...]:
    """The repeats and the contrast of one kernel in one process."""
    repeats = [
        sample(name, acts, number, SEED, digest(acts.digests[number % len(acts.digests)] and f"{name} {text}"))
        for number in range(facts.repeats)
        for text in [acts.digests[number % len(acts.digests)]]
    ]
    if acts.outcome != "ok":
        repeats = repeats[:-1] if len(acts.digests) > 1 else []
    if acts.contrast and acts.outcome == "ok":
        other = sample(name, acts, 0, CONTRAST_SEED, digest(f"{name} {acts.contrast}"))
        repeats.append(dataclasses.replace(other, role="contrast", steady_s=(), steady_cpu_s=(), steady_agrees=None))
    return tuple(repeats)


def sample(name: str, acts: Behaviour, repeat: int, seed: int, bits: str) -> Sample:
    """One repeat."""
    output = {"dtype": "float32", "shape": [64, 64], "digest": bits, "nan": int(acts.nan), "inf": 0}
    return Sample(
        process=1,
        kernel=name,
        role="repeat",
        repeat=repeat,
        seed=seed,
        digest=bits,
        outputs={"out": output},
        kept={"out": ("0.5", "0.25")},
        setup_s=0.001,
        first_s=acts.first_s,
        first_cpu_s=acts.first_s,
        steady_s=acts.steady_s,
        steady_cpu_s=acts.steady_s,
        steady_agrees=acts.steady_agrees,
        load=0.5,
    )


def process(column: CellInfo, spot: Spot) -> Process:
    """A process in which everything is as the column says."""
    place = int(digest(str(spot))[:6], 16)
    return Process(
        process=1,
        pid=1000 + place,
        started=f"2025-01-30T12:00:{spot.round:02d}+00:00",
        provenance=provenance(column, f"host-{place}"),
        settings={
            "determinism_enabled": spot.mode == "on",
            "switch": "api" if spot.mode == "on" else "none",
            "intra_op_threads": 0,
            "inter_op_threads": 0,
            "onednn": "default",
            "isa_limit": "none",
            "devices": ["/device:CPU:0"] + ["/device:GPU:0"] * (column.device != "cpu"),
            "env": {"TF_CPP_MIN_LOG_LEVEL": "2"},
        },
    )


def provenance(column: CellInfo, hostname: str) -> dict[str, Any]:
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
        "cores": 2,
        "hostname": hostname,
        "kernel": "Linux-6.1",
        "load": 0.5,
        "kernel_hashes": {},
    }


@dataclass(frozen=True)
class Change:
    """Which records to change: all fields left empty match everything."""

    cell: str = ""
    condition: str = ""
    mode: str = ""
    rounds: tuple[int, ...] = field(default=())

    def fits(self, one: Record) -> bool:
        """Whether a record is meant."""
        request = one.request
        return (
            self.cell in ("", request.cell)
            and self.condition in ("", request.condition)
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
