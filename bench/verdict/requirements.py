"""What is asked of a pair: for which device, for which kernels, and what determinism may cost at most."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain
from typing import TYPE_CHECKING

from bench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.store.run_info import ColumnInfo
    from bench.verdict.results import RunResults

#: What may stand behind the name of a chip without making another one of it.
_SAME_CHIP = re.compile(r"pcie|sxm\d?|nvl|hbm\d?e?|\d+gb|[0-9a-f]{8}")
#: How a compute capability is written: ``sm_90``.
ARCHITECTURE = "sm_"
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """``device`` is ``cpu``, a compute capability (``sm_90``), or the beginning of a GPU's short name (``h100``).

    ``driver`` is a version or its beginning (``550``). ``needs`` are families, ``kernels`` globs; with neither, all
    kernels of the run are asked for. ``max_overhead`` is a greatest ratio on to off, None for any. An empty ``device``
    asks of every column what it is on its own device. ``suite`` has the (kernel, family) of the suite as it is now: a
    kernel that is asked for by name and is not in the run is unknown, not left out.
    """

    device: str = ""
    driver: str = ""
    needs: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    max_overhead: float | None = None
    suite: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The kernels of a run that are asked for, and names or globs asked for that are not in the run."""

    kernels: tuple[str, ...]
    absent: tuple[str, ...]


def needs(asked: Iterable[str], known: Iterable[tuple[str, str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The families, and the globs of kernels, that are meant; ``known`` are (kernel, family).

    ``conv`` is the family ``convolutions``. What begins no family's name is looked for in the names of kernels:
    ``scatter`` is ``*scatter*``.

    Raises:
        ConfigError: a word that is in neither.
    """
    pairs = tuple(known)
    names = tuple(dict.fromkeys(family for _, family in pairs))
    meant: set[str] = set()
    globs: list[str] = []
    for text in asked:
        found = [text] if text in names else [name for name in names if name.startswith(text)]
        if not found and not (_WORD.fullmatch(text) and any(text in kernel for kernel, _ in pairs)):
            near = difflib.get_close_matches(text, names, 1, 0.5)
            raise ConfigError(
                f"No family and no kernel is named {text!r}{f'; did you mean {near[0]!r}?' if near else '.'}",
                f"Families: {', '.join(names)}. Their first letters, or a word of kernels' names, are enough.",
            )
        meant.update(found)
        globs += [] if found else [f"*{text}*"]
    return tuple(name for name in names if name in meant), tuple(globs)


def asked(results: RunResults, question: Requirements) -> Asked:
    """The union of families and globs over the kernels of a run; controls never count."""
    here = [(one.name, one.family) for one in results.info.kernels if not one.control]
    if not question.needs and not question.kernels:
        return Asked(kernels=tuple(name for name, _ in here), absent=())
    found = tuple(name for name, family in here if _meant(name, family, question))
    known = dict.fromkeys(name for name, family in question.suite if _meant(name, family, question))
    names, groups = {name for name, _ in here}, {family for _, family in here}
    unmet = [glob for glob in question.kernels if not any(fnmatchcase(name, glob) for name in (*names, *known))]
    empty = [family for family in question.needs if family not in groups and not known]
    return Asked(kernels=found, absent=(*(name for name in known if name not in names), *empty, *unmet))


def _meant(name: str, family: str, question: Requirements) -> bool:
    return family in question.needs or any(fnmatchcase(name, glob) for glob in question.kernels)


def elsewhere(results: RunResults, column: ColumnInfo, question: Requirements) -> str:
    """Why what was measured in a column is no evidence for the device and driver asked about; "" where it is."""
    wanted = question.device
    if wanted == "cpu":
        return "" if column.device == "cpu" else f"measured on {column.device}, which says nothing about a CPU"
    if column.device == "cpu":
        return "measured on a CPU, which says nothing about a GPU" if wanted or question.driver else ""
    if wanted and not wanted.startswith(ARCHITECTURE) and not is_one(column.device, wanted):
        return f"measured on {column.device}, not on {wanted}"
    seen = architectures(results, [column])
    if wanted.startswith(ARCHITECTURE) and seen != [wanted]:
        return f"measured on {column.device} ({', '.join(seen) or 'compute capability not recorded'}), not on {wanted}"
    under = drivers(results, [column]) if question.driver else []
    if question.driver and (not under or not all(f"{one}.".startswith(f"{question.driver}.") for one in under)):
        told = f"measured under driver {', '.join(under)}" if under else "measured under a driver that nobody recorded"
        return f"{told}, not under {question.driver}"
    return ""


def is_one(device: str, wanted: str) -> bool:
    """Whether a GPU's short name is the one asked for: it, or it with a form factor, memory size or digits of a UUID.

    A ``ti``, ``laptop`` or ``mig`` behind the name makes another chip of it, or a part of one.
    """
    if device == wanted:
        return True
    rest = device.removeprefix(f"{wanted}-")
    return rest != device and all(_SAME_CHIP.fullmatch(part) for part in rest.split("-"))


def architectures(results: RunResults, columns: Iterable[ColumnInfo]) -> list[str]:
    """The compute capabilities that the processes of some columns saw, as ``sm_90``."""
    found = set()
    for record in chain.from_iterable(results.records(column.id) for column in columns):
        for process in record.processes:
            gpu = process.provenance.get("gpu")
            capability = gpu.get("compute_capability") if isinstance(gpu, dict) else None
            if isinstance(capability, list) and all(type(part) is int and part >= 0 for part in capability):
                found.add(ARCHITECTURE + "".join(map(str, capability)))
    return sorted(found)


def drivers(results: RunResults, columns: Iterable[ColumnInfo]) -> list[str]:
    """The drivers of the hosts of some columns, as the records have them."""
    records = chain.from_iterable(results.records(column.id) for column in columns)
    return sorted({str(record.request.gpu.get("driver") or "") for record in records} - {""})
