"""What changed between two nights of a column besides its results, and how to test whether it is the cause."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bench.history.finding import Difference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.history.night import Night, Place

#: Facts in the order of how often they are the cause of a change; the others follow in their own order.
CAUSES = (
    "kernel code", "TensorFlow", "TensorFlow build", "Keras", "NumPy", "CUDA", "cuDNN", "driver", "GPU", "lock",
    "suite", "threads", "instruction set", "libc", "system", "microcode", "engine", "CPU", "cores", "host", "protobuf",
    "Python build", "Python",
)  # fmt: skip
#: Characters of a hash.
_SHOWN = 12


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
    """Whether lock, driver, device, suite and the code of a kernel are known to be the same in two runs."""
    known = all(fact.get("lock") for fact in facts) and all(codes)
    return known and codes[0] == codes[1] and all(
        facts[0].get(title) == facts[1].get(title) for title in ("lock", "driver", "device", "suite")
    )  # fmt: skip


def commands(night: Night, place: Place, before: str, found: Sequence[Difference]) -> tuple[str, ...]:
    """Return commands that test what changed a cell: the whole comparison, and a bisection where versions changed."""
    result = [
        f"nox -s compare -- {before}:{place.column} {night.run.name}:{place.column} --kernels {place.kernel}"
    ]  # fmt: skip
    titles = {difference.title for difference in found}
    if titles & {"TensorFlow", "CUDA", "cuDNN", "Keras", "NumPy", "lock"}:
        result.append(f"nox -s matrix -- --env {_environment(place.column)} --kernels {place.kernel} --no-resume")
    return tuple(result)


def _environment(column: str) -> str:
    """Return the name of a column's pair: that of the column without Python and device."""
    return re.sub(r"-py\d+$", "", column.partition("@")[0])
