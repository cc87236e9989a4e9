"""What a user requires of a pair: for which device, for which kernels, and at most which overhead of determinism."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain
from typing import TYPE_CHECKING

from bench.errors import ConfigError
from bench.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.store.run_info import ColumnInfo, RunInfo
    from bench.verdict.results import RunResults

#: What may follow the name of a chip without making it another chip.
_SAME_CHIP = re.compile(r"pcie|sxm\d?|nvl|hbm\d?e?|\d+gb|[0-9a-f]{8}")
#: How a compute capability is written: ``sm_90``.
ARCHITECTURE = "sm_"
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """What is required of a column.

    ``device`` is ``cpu``, a compute capability (``sm_90``), or the beginning of a GPU's short name (``h100``); with an
    empty one, every column is ranked for its own device. ``driver`` is a version or its beginning (``550``).
    ``families`` are names of families, ``kernels`` globs; with neither, all kernels of the run are required.
    ``variations`` are required in addition to the first variation of the run, which always counts.
    ``max_overhead`` is the largest allowed ratio on to off, None for any. ``suite`` has the (kernel, family) of the
    current suite: a kernel of the suite that is required but not in the run is unknown, not ignored.
    """

    device: str = ""
    driver: str = ""
    families: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    variations: tuple[str, ...] = ()
    max_overhead: float | None = None
    suite: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class RequiredKernels:
    """The required kernels of a run, and those kernels or families that are not in the run."""

    kernels: tuple[str, ...]
    absent: tuple[str, ...]


def find_families(words: Iterable[str], known: Iterable[tuple[str, str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the families, and the globs of kernels, that some words stand for; ``known`` are (kernel, family).

    ``conv`` stands for the family ``convolutions``. A word that begins no family's name is looked for in the names of
    kernels: ``scatter`` becomes ``*scatter*``.

    Raises:
        ConfigError: a word that occurs in neither.
    """
    pairs = tuple(known)
    names = tuple(dict.fromkeys(family for _, family in pairs))
    families: set[str] = set()
    globs: list[str] = []
    for word in words:
        matching = [word] if word in names else [name for name in names if name.startswith(word)]
        if not matching and not (_WORD.fullmatch(word) and any(word in kernel for kernel, _ in pairs)):
            raise ConfigError(
                f"No family and no kernel is named {word!r}{did_you_mean(word, names)}",
                f"Families: {', '.join(names)}. Their first letters, or a part of a kernel's name, are enough.",
            )
        families.update(matching)
        globs += [] if matching else [f"*{word}*"]
    return tuple(name for name in names if name in families), tuple(globs)


def required_kernels(info: RunInfo, requirements: Requirements) -> RequiredKernels:
    """Return the union of the required families and globs over the kernels of a run; controls never count.

    Raises:
        ConfigError: a name or glob that matches no kernel of the run and none of the suite.
    """
    in_run = [(kernel.name, kernel.family) for kernel in info.kernels if not kernel.control]
    if not requirements.families and not requirements.kernels:
        return RequiredKernels(kernels=tuple(name for name, _ in in_run), absent=())
    matching = tuple(name for name, family in in_run if _required(name, family, requirements))
    of_suite = dict.fromkeys(name for name, family in requirements.suite if _required(name, family, requirements))
    names, families = {name for name, _ in in_run}, {family for _, family in in_run}
    known = dict.fromkeys((*(name for name, _ in in_run), *(name for name, _ in requirements.suite)))
    for glob in requirements.kernels:
        if not any(fnmatchcase(name, glob) for name in known):
            raise ConfigError(
                f"No kernel matches {glob!r}{did_you_mean(glob, known)}",
                "The run and the suite have no such kernel; `python -m bench kernels` lists the suite. "
                "To choose by a custom kernel, measure it first: nox -s matrix -- --kernel-file FILE.",
            )
    empty = [family for family in requirements.families if family not in families and not of_suite]
    return RequiredKernels(kernels=matching, absent=(*(name for name in of_suite if name not in names), *empty))


def deciding_variations(results: RunResults, requirements: Requirements) -> tuple[str, ...]:
    """Return the variations that count: the first one of the run and those named, in the order of the run.

    Raises:
        ConfigError: a variation that the run does not have.
    """
    for name in requirements.variations:
        if name not in results.variations:
            raise ConfigError(
                f"The run has no variation {name!r}{did_you_mean(name, results.variations)}",
                f"It was measured under: {', '.join(results.variations)}.",
            )
    wanted = {results.variations[0], *requirements.variations}
    return tuple(name for name in results.variations if name in wanted)


def _required(name: str, family: str, requirements: Requirements) -> bool:
    return family in requirements.families or any(fnmatchcase(name, glob) for glob in requirements.kernels)


def not_applicable(results: RunResults, column: ColumnInfo, requirements: Requirements) -> str:
    """Say why the results of a column are no evidence for the required device and driver; "" if they are."""
    wanted = requirements.device
    if wanted == "cpu":
        return "" if column.device == "cpu" else f"measured on {column.device}, which says nothing about a CPU"
    if column.device == "cpu":
        return "measured on a CPU, which says nothing about a GPU" if wanted or requirements.driver else ""
    if wanted and not wanted.startswith(ARCHITECTURE) and not is_same_gpu(column.device, wanted):
        return f"measured on {column.device}, not on {wanted}"
    seen = architectures(results, [column])
    if wanted.startswith(ARCHITECTURE) and seen != [wanted]:
        return f"measured on {column.device} ({', '.join(seen) or 'compute capability not recorded'}), not on {wanted}"
    under = drivers(results, [column]) if requirements.driver else []
    prefix = f"{requirements.driver}."
    if requirements.driver and (not under or not all(f"{driver}.".startswith(prefix) for driver in under)):
        measured = f"measured under driver {', '.join(under)}" if under else "measured under an unknown driver"
        return f"{measured}, not under {requirements.driver}"
    return ""


def is_same_gpu(device: str, wanted: str) -> bool:
    """Whether a GPU's short name is the required one, possibly with a form factor, memory size or digits of a UUID.

    A ``ti``, ``laptop`` or ``mig`` after the name makes it another chip, or a part of one.
    """
    if device == wanted:
        return True
    rest = device.removeprefix(f"{wanted}-")
    return rest != device and all(_SAME_CHIP.fullmatch(part) for part in rest.split("-"))


def architectures(results: RunResults, columns: Iterable[ColumnInfo]) -> list[str]:
    """Return the compute capabilities that the processes of some columns reported, as ``sm_90``."""
    found = set()
    for record in chain.from_iterable(results.records(column.id) for column in columns):
        for process in record.processes:
            gpu = process.provenance.get("gpu")
            capability = gpu.get("compute_capability") if isinstance(gpu, dict) else None
            if isinstance(capability, list) and all(type(part) is int and part >= 0 for part in capability):
                found.add(ARCHITECTURE + "".join(map(str, capability)))
    return sorted(found)


def drivers(results: RunResults, columns: Iterable[ColumnInfo]) -> list[str]:
    """Return the drivers of the hosts of some columns, from their records."""
    records = chain.from_iterable(results.records(column.id) for column in columns)
    return sorted({str(record.request.gpu.get("driver") or "") for record in records} - {""})
