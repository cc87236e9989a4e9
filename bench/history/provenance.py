"""What changed between two nights of a column besides its results, and how to test whether it is the cause."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from bench.history.finding import Difference, Finding

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.history.finding import FindingKind, Shift
    from bench.history.night import Night, Place

#: Facts in the order of how often they are the cause of a change; the others follow in their own order.
CAUSES = (
    "kernel code", "TensorFlow", "TensorFlow build", "Keras", "NumPy", "CUDA", "cuDNN", "driver", "GPU", "lock",
    "suite", "threads", "instruction set", "libc", "system", "microcode", "engine", "CPU", "cores", "host", "protobuf",
    "Python build", "Python",
)  # fmt: skip
#: Facts that the lock of an environment decides.
_OF_ENVIRONMENT = {"TensorFlow", "CUDA", "cuDNN", "Keras", "NumPy", "lock"}
#: Facts that decide about bits. A virtual machine can get another instruction set although its CPU keeps its name.
_DECIDES_BITS = ("lock", "driver", "device", "suite", "instruction set", "threads", "libc", "TensorFlow build")
#: Characters of a hash.
_SHOWN = 12


def explained(
    night: Night,
    kind: FindingKind,
    before: int,
    places: Mapping[Place, str],
    shifts: Mapping[Place, Shift] | None = None,
) -> Finding:
    """Return a finding about cells of one column, with what changed since the run with id ``before``, and commands."""
    place, name = next(iter(places)), night.runs[before].name
    found = differences(night, place, before)
    return Finding(
        kind=kind,
        column=place.column,
        before=name,
        places=places,
        differences=found,
        commands=_commands(night, place, name, found),
        shifts=shifts or {},
    )


def differences(night: Night, place: Place, before: int) -> tuple[Difference, ...]:
    """Return what differs between an earlier run and tonight for a cell, the most likely cause first."""
    series = night.by_place[place]
    old = next(cell for cell in series.cells if cell.run == before)
    sides = [
        {**night.facts_of(cell, place), "kernel code": cell.code.hex()} for cell in (old, series.tonight)
    ]  # fmt: skip
    titles = sorted({*sides[0], *sides[1]}, key=lambda title: (title not in CAUSES, _order(title), title))
    return tuple(
        Difference(title=title, before=_short(title, values[0]), after=_short(title, values[1]))
        for title in titles
        if (values := [side.get(title, "") for side in sides])[0] != values[1]
    )


def _order(title: str) -> int:
    return CAUSES.index(title) if title in CAUSES else len(CAUSES)


def _short(title: str, value: str) -> str:
    return value[:_SHOWN] if title in {"lock", "suite", "kernel code"} else value


def same_environment(facts: Sequence[Mapping[str, str]], codes: Sequence[bytes]) -> bool:
    """Whether all that decides about bits is known to be the same in two runs: lock, kernel code and other facts."""
    known = all(fact.get("lock") for fact in facts) and all(codes)
    return known and codes[0] == codes[1] and all(
        facts[0].get(title) == facts[1].get(title) for title in _DECIDES_BITS
    )  # fmt: skip


def _commands(night: Night, place: Place, before: str, found: Sequence[Difference]) -> tuple[str, ...]:
    """Return a command that compares both nights and, where the environment has changed, one that measures it again."""
    kernel = ["--kernels", place.kernel]
    result = ["nox", "-s", "compare", "--", f"{before}:{place.column}", f"{night.run.name}:{place.column}", *kernel]
    again = ["nox", "-s", "matrix", "--", "--env", _environment(place.column), *kernel, "--no-resume"]
    changed = {difference.title for difference in found} & _OF_ENVIRONMENT
    return tuple(map(shlex.join, [result, again] if changed else [result]))


def _environment(column: str) -> str:
    """Return the name of a column's pair: that of the column without Python and device."""
    return re.sub(r"-py\d+$", "", column.partition("@")[0])
