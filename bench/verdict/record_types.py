"""Checks that a record has only what a worker writes: evaluating anything else would be guessing, or raise an error."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The types that a worker writes, by field: anything else would raise when it is sorted or compared.
_NUMBER = (int, float)
_NUMBER_OR_NONE = (int, float, type(None))
_REQUEST: dict[str, Any] = {
    "column": str,
    "variation": str,
    "mode": str,
    "round": int,
    "env": Mapping,
    "context": Mapping,
    "device": str,
    "gpu": Mapping,
    "kernel_files": Mapping,
}
_PROCESS: dict[str, Any] = {"process": int}
_SAMPLE: dict[str, Any] = {
    "process": int,
    "kernel": str,
    "role": str,
    "repetition": int,
    "first_s": _NUMBER,
    "first_cpu_s": _NUMBER,
    "guard": (Mapping, type(None)),
}
_OUTCOME: dict[str, Any] = {
    "process": int,
    "kernel": str,
    "outcome": str,
    "error_class": str,
    "message": str,
    "where": str,
    "peak_mb": _NUMBER_OR_NONE,
    "peak_gpu_mb": _NUMBER_OR_NONE,
    "left_behind": (list, tuple),
}
_FACTS: dict[str, Any] = {"provenance": Mapping, "settings": Mapping, "libraries": Mapping}
_SIDE: dict[str, Any] = {"side": str, "started": str, **_FACTS}
_PAIRED_KERNEL: dict[str, Any] = {
    "kernel": str,
    "kind": str,
    "outcome": str,
    "message": str,
    "first_seconds": Mapping,
    "guard": (Mapping, type(None)),
}

_MISTYPED = "foreign: a field has a type that no worker writes"


def mistyped(record: Any) -> str:
    """Say that a field of a round has a type that no worker writes, or return ""."""
    valid = (
        _have_types([record.request], _REQUEST)
        and _have_types(record.processes, _PROCESS)
        and _have_types(record.samples, _SAMPLE)
        and _have_types(record.outcomes, _OUTCOME)
        and all(type(text) is str for outcome in record.outcomes for text in outcome.left_behind)
    )
    return "" if valid else _MISTYPED


def mistyped_pair(record: Any) -> str:
    """Say that a field of a pair has a type that no worker writes, or return ""."""
    valid = (
        _have_types([*record.requests.values()], _REQUEST)
        and _have_types(record.processes, _SIDE)
        and _have_types(record.kernels, _PAIRED_KERNEL)
        and all(
            isinstance(seconds, _NUMBER_OR_NONE)
            for kernel in record.kernels
            for seconds in kernel.first_seconds.values()
        )
    )
    return "" if valid else _MISTYPED


def foreign(record: Any) -> str:
    """Say what in a round no worker writes, or return ""."""
    repetitions = record.request.repetitions
    if not isinstance(repetitions, Mapping) or not all(
        type(repetitions.get(name)) is int for name in record.request.kernels
    ):
        return "foreign: it does not say how often each kernel was to be repeated"
    if not _have_types(record.processes, _FACTS):
        return "foreign: a process does not say what it ran with"
    for sample in record.samples:
        if type(sample.digest) is not str or type(sample.seed) is not int:
            return f"foreign: a sample of {sample.kernel} has no digest or seed"
    # samples share the description of their digest
    for sample in {id(sample.outputs): sample for sample in record.samples}.values():
        outputs = sample.outputs
        if not isinstance(outputs, Mapping) or not all(isinstance(facts, Mapping) for facts in outputs.values()):
            return f"foreign: the outputs of a sample of {sample.kernel} are described in an unknown way"
    return ""


def _have_types(rows: Sequence[Any], types: Mapping[str, Any]) -> bool:
    """Whether the fields of all rows have these types. Checks each type once: a run has 100,000 samples."""
    return all(
        issubclass(kind, types[field]) for field in types for kind in set(map(type, map(attrgetter(field), rows)))
    )
