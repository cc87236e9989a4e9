"""The two sides of a change, and whether their bits and times may be compared at all.

Equal or different bits mean something only for the same workload: same code of the kernel, same inputs, same settings.
Whatever is not known to be the same is not compared, and the reason is given.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bench.verdict.digest_groups import PRIME
from bench.verdict.steps import TITLES
from bench.verdict.validity import PLACES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.store.run_info import ColumnInfo, KernelInfo
    from bench.suite.record import Record
    from bench.verdict.results import RunResults, Verdict

#: Why results of the same processes are not compared.
SAME_RECORDS = "these are the same records, not measured again"
#: Host facts that identify a machine: neither another measurement nor a system update changes them.
_MACHINE = ("name", "hostname", "cpu", "cpu_model", "cores")
#: Facts that follow from the pair: reported only if a column is compared with itself.
FOLLOW = frozenset({"Python build", "TensorFlow build", "protobuf", "lock"})
#: Packages whose releases every comparison states, by their titles among the facts.
PACKAGES = ("TensorFlow", "Keras", "NumPy", "protobuf")
#: Effective settings that change times on one host, and bits with them.
_IN_FORCE = ("intra_op_threads", "inter_op_threads")


@dataclass(frozen=True, kw_only=True)
class Side:
    """One column of an evaluated run.

    Raises:
        KeyError: (on first use) the run has no such column.
    """

    results: RunResults
    column: str

    @cached_property
    def info(self) -> ColumnInfo:
        """The column as planned."""
        return self.results.columns[self.column]

    @cached_property
    def kernels(self) -> dict[str, KernelInfo]:
        """The kernels of its run by name."""
        return {kernel.name: kernel for kernel in self.results.info.kernels}

    @cached_property
    def facts(self) -> dict[str, str]:
        """All facts that can differ between sides, by title; "" if unknown."""
        info, results = self.info, self.results
        versions = {title: str(getattr(info, key, "")) for key, title in TITLES.items()}
        host = info.origin or results.info.host
        return versions | {
            TITLES["numpy"]: results.seen(self.column, "numpy"),
            "device": info.device,
            "GPU": info.gpu,
            "driver": "" if info.device == "cpu" else results.seen(self.column, "driver"),
            "host": " ".join(str(host[key]) for key in ("name", "hostname") if host.get(key)),
            "engine": str(info.origin.get("engine") or "") if info.origin else results.info.engine,
            "CPU": " ".join(str(host[key]) for key in ("cpu", "cpu_model") if host.get(key)),
            "cores": str(host.get("cores") or ""),
            "instruction set": results.seen(self.column, "isa"),
            "libc": results.seen(self.column, "libc"),
            "Python build": results.seen(self.column, "python"),
            "TensorFlow build": results.seen(self.column, "tensorflow_git"),
            "protobuf": results.seen(self.column, "protobuf"),
            "threads": " or ".join(sorted(self.in_force("default", "off") | self.in_force("default", "on"))),
            "lock": info.lock_hash[:8],
            "suite": results.info.suite_hash[:8],
        }

    @cached_property
    def machine(self) -> str:
        """What identifies the host, "" if unknown."""
        host = self.info.origin or self.results.info.host
        return json.dumps({key: str(host[key]) for key in _MACHINE if host.get(key)}, sort_keys=True)

    def records(self, variation: str, mode: str) -> tuple[Record, ...]:
        """Return the records that count."""
        return tuple(accepted.record for accepted in self.results.groups.get((self.column, variation, mode), ()))

    def sources(self, variation: str, mode: str) -> frozenset[str]:
        """Identify the processes behind a variation and mode."""
        return frozenset(
            f"{record.request.context.get('run', '')} {process.started} {process.pid} "
            f"{process.provenance.get('hostname', '')}"
            for record in self.records(variation, mode)
            for process in record.processes
            if process.started
        )

    def codes(self, variation: str, mode: str) -> dict[str, str]:
        """Return the hash of each kernel's code that its processes reported."""
        codes: dict[str, str] = {}
        for record in self.records(variation, mode):
            for process in record.processes:
                hashes = process.provenance.get("kernel_hashes")
                codes |= {str(name): str(code) for name, code in _items(hashes) if code}
        return codes

    def requested_settings(self, variation: str, mode: str) -> str:
        """Return the settings requested of its rounds: a variation's name may mean something else in another run."""
        records = self.records(variation, mode)
        return json.dumps(sorted({_requested_settings(record, mode) for record in records}))

    def in_force(self, variation: str, mode: str) -> set[str]:
        """Return the numbers of threads that its processes reported."""
        threads = [
            [process.settings.get(key) for key in _IN_FORCE]
            for record in self.records(variation, mode)
            for process in record.processes
        ]
        return {" and ".join(map(str, numbers)) for numbers in threads if None not in numbers}


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    """Return the items of a mapping; nothing if a damaged record has something else."""
    return value.items() if isinstance(value, dict) else ()


def _requested_settings(record: Record, mode: str) -> str:
    request = record.request
    env = {key: value for key, value in request.env.items() if key not in PLACES}
    switch = request.switch if mode == "on" else ""
    return json.dumps([env, request.threads, request.tf32, request.eager, switch], sort_keys=True, default=str)


class SideComparison:
    """Two sides, and what prevents comparing their bits or times. Each variation and mode is examined once."""

    def __init__(self, before: Side, after: Side) -> None:
        self.before, self.after = before, after
        self._place: dict[tuple[str, str], tuple[str, dict[str, str], dict[str, str]]] = {}

    @property
    def two_runs(self) -> bool:
        """Whether the sides are from different runs."""
        return self.before.results is not self.after.results

    @cached_property
    def changed_facts(self) -> dict[str, tuple[str, str]]:
        """Every known fact that differs between the sides, by title."""
        before, after = self.before.facts, self.after.facts
        changed_facts = {key: (before[key], after[key]) for key in before if before[key] != after[key]}
        if not self.same_column:
            changed_facts = {key: values for key, values in changed_facts.items() if key not in FOLLOW}
        return changed_facts

    def verdicts(self, key: tuple[str, str, str]) -> tuple[Verdict | None, Verdict | None]:
        """Return the verdicts of a kernel, variation and mode before and after; None if a side did not plan it."""
        before, after = (side.results.of(side.column, *key) for side in (self.before, self.after))
        return before, after

    def repeated(self, variation: str, mode: str) -> bool:
        """Whether both sides come from the same records."""
        return self._of(variation, mode)[0] == SAME_RECORDS

    def other_work(self, before: Verdict, after: Verdict) -> str:
        """Say why two verdicts with samples are not of the same workload; "" if they are."""
        variation, mode, kernel = after.variation, after.mode, after.kernel
        place, old, new = self._of(variation, mode)
        ours, theirs = self.before.kernels[kernel], self.after.kernels[kernel]
        hashes = [codes.get(kernel, "") for codes in (old, new)]
        checks = (
            (bool(place), place),
            (_declared(ours) != _declared(theirs), "the kernel is declared with different inputs"),
            (all(hashes) and hashes[0] != hashes[1], "the kernel's code differs"),
            (
                not all(hashes) and "suite" in self.changed_facts,
                "the suite differs, and the hash of the kernel's code is not known",
            ),
            (seeds(before) != seeds(after), "they ran with different seeds"),
            (self._larger(before, after) or shapes(before) != shapes(after), "the workload has another size"),
        )
        return next((why for bad, why in checks if bad), "")

    def other_bits(self, before: Verdict, after: Verdict) -> str:
        """Say why digests of the same workload are not compared, "" if they are. Digests include names of outputs."""
        sides = (self.before, self.after)
        if not all(side.kernels[after.kernel].portable for side in sides):
            old, new = (side.info.keras for side in sides)
            if not (old and new):
                return "Keras is part of the kernel, and its release is not known"
            if old != new:
                return f"Keras is part of the kernel, and changes from {old} to {new}"
        return "" if outputs(before).keys() == outputs(after).keys() else "the outputs have different names"

    def other_place(self, variation: str, mode: str) -> str:
        """Say why times are not compared, "" if both were measured on one device, host, driver and engine."""
        sides = (self.before, self.after)
        named = not self.two_runs and not any(side.info.origin for side in sides)
        threads = [side.in_force(variation, mode) for side in sides]
        checks = (
            ("device" in self.changed_facts or "GPU" in self.changed_facts, "another device"),
            (self.before.machine != self.after.machine, "another host"),
            (not named and not self.before.facts["host"], "the host has no name"),
            ("driver" in self.changed_facts, "another driver"),
            (
                self.after.info.device != "cpu" and not all(self.after.facts[key] for key in ("GPU", "driver")),
                "the GPU or its driver is not known",
            ),
            ("engine" in self.changed_facts, "another engine"),
            ("suite" in self.changed_facts, "the suite, which measures the times, differs"),
            (
                any(side.info.kind == "local" for side in sides) and not self.same_column,
                "an existing environment is compared with itself only",
            ),
            (all(threads) and threads[0] != threads[1], "different numbers of threads"),
        )
        return next((why for bad, why in checks if bad), "")

    @property
    def same_column(self) -> bool:
        """Whether both sides are the same column, of two runs or of one."""
        return self.before.column == self.after.column

    def _of(self, variation: str, mode: str) -> tuple[str, dict[str, str], dict[str, str]]:
        """Return why nothing of a variation and mode is compared, and the code hashes of both sides."""
        key = (variation, mode)
        if key not in self._place:
            before, after = self.before, self.after
            why = ""
            if before.sources(*key) & after.sources(*key):
                why = SAME_RECORDS
            elif before.requested_settings(*key) != after.requested_settings(*key):
                why = f"the variation {variation} ran with different settings"
            self._place[key] = why, before.codes(*key), after.codes(*key)
        return self._place[key]

    def _larger(self, before: Verdict, after: Verdict) -> bool:
        """Whether one side is a CPU and the other a GPU, for a kernel that is larger on GPUs."""
        if (self.before.info.device == "cpu") == (self.after.info.device == "cpu"):
            return False
        declared = "GPU" in self.after.kernels[after.kernel].shapes
        return declared or (PRIME in before.digest_class) != (PRIME in after.digest_class)


def _declared(kernel: KernelInfo) -> tuple[str, str, bool]:
    return kernel.shapes, kernel.dtypes, kernel.call_again


def seeds(verdict: Verdict) -> frozenset[int]:
    """Return the seeds of its repetitions."""
    return frozenset().union(*(process.seeds for process in verdict.observations))


def shapes(verdict: Verdict) -> tuple[str, ...]:
    """Return the shapes of the outputs, whatever their names."""
    return tuple(sorted(str(facts.get("shape")) for facts in outputs(verdict).values()))


def outputs(verdict: Verdict) -> dict[str, Any]:
    """Return the outputs of the first sample that describes them."""
    samples = (sample for process in verdict.observations for sample in process.own)
    return next((dict(sample.outputs) for sample in samples if sample.outputs), {})
