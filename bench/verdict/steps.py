"""Steps from one column to another, each named after the one variable that changes.

A change of time or bits is attributed to a variable only if nothing else changed: between two columns of one GPU (or
CPU), one driver and one host that differ in the TensorFlow release, or in the CUDA minor, or in cuDNN, or in Python.
Keras and NumPy may change with TensorFlow, because a release requires its own. From one official pair to the next,
TensorFlow, CUDA and cuDNN may change together, because that is a typical upgrade: such a step says that its effect
cannot be attributed to one of them.

Columns of the engine ``local`` are in no step: what else differs in an existing environment is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from bench.store.run_info import RUN_FACTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.store.run_info import ColumnInfo

#: What can change, in the order in which it is listed.
TITLES = {
    "tensorflow": "TensorFlow",
    "cuda": "CUDA",
    "cudnn": "cuDNN",
    "python": "Python",
    "keras": "Keras",
    "numpy": "NumPy",
}
#: What may change with TensorFlow without being a variable of the matrix.
_FOLLOWS = frozenset({"keras", "numpy"})
_TENSORFLOW = "tensorflow"

_Values = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Step:
    """Two columns that are one step apart.

    ``variable`` is what the step is named after: a key of ``TITLES``.
    ``changed_facts`` maps every variable that changed to its value before and after.
    """

    before: ColumnInfo
    after: ColumnInfo
    variable: str
    changed_facts: Mapping[str, tuple[str, str]]

    @property
    def mixed(self) -> bool:
        """Whether more changed than the variable and what follows it, so that no effect can be attributed to it."""
        return bool(set(self.changed_facts) - {self.variable} - _FOLLOWS)

    @property
    def name(self) -> str:
        """``CUDA step``."""
        return f"{TITLES[self.variable]} step"

    @property
    def sentence(self) -> str:
        """What changed, as in ``CUDA 12.5 to 12.6 alone.``."""
        changes = [f"{TITLES[key]} {before} to {after}" for key, (before, after) in self.changed_facts.items()]
        if self.mixed:
            return f"{', '.join(changes)}: they changed together, so an effect cannot be attributed to one of them."
        return f"{changes[0]} alone." if len(changes) == 1 else f"{changes[0]}, and with it {', '.join(changes[1:])}."


def steps(columns: Sequence[ColumnInfo], seen: Mapping[str, Mapping[str, str]]) -> tuple[Step, ...]:
    """Return all steps between columns that were measured.

    ``seen`` maps their ids to the ``driver`` and ``numpy`` that their processes reported, "" if unknown. Columns of
    different devices, drivers or hosts are never combined, so that times of two machines are not compared.
    """
    places: dict[object, list[tuple[ColumnInfo, _Values]]] = {}
    for column in columns:
        # a GPU column with an unknown cuDNN may differ from another one in it
        if column.kind != "local" and (column.cuda == "cpu" or column.cudnn):
            values = {key: str(getattr(column, key, "")) for key in TITLES} | {"numpy": seen[column.id]["numpy"]}
            places.setdefault((_place(column), seen[column.id]["driver"]), []).append((column, values))
    found = {(step.before.id, step.after.id): step for group in places.values() for step in _of_place(group)}
    order = {column.id: number for number, column in enumerate(columns)}
    return tuple(sorted(found.values(), key=lambda step: (order[step.after.id], order[step.before.id])))


def _place(column: ColumnInfo) -> object:
    # a bundle measures one column, so that columns of one host are of different runs
    host = sorted((key, str(value)) for key, value in column.origin.items() if key not in RUN_FACTS)
    return column.device, column.gpu, column.host, tuple(host)


def _of_place(columns: Sequence[tuple[ColumnInfo, _Values]]) -> list[Step]:
    found = []
    for variable in TITLES:
        free = {variable} | (_FOLLOWS if variable == _TENSORFLOW else frozenset())
        alike: dict[tuple[str, ...], list[tuple[ColumnInfo, _Values]]] = {}
        for column, values in columns:
            fixed = tuple(value for key, value in values.items() if key not in free)
            alike.setdefault(fixed, []).append((column, values))
        for group in alike.values():
            found += _steps(group, variable)
    official: dict[str, list[tuple[ColumnInfo, _Values]]] = {}
    for column, values in columns:
        if column.kind == "official":
            official.setdefault(values["python"], []).append((column, values))
    return [*found, *(step for group in official.values() for step in _steps(group, _TENSORFLOW))]


def _steps(columns: Sequence[tuple[ColumnInfo, _Values]], variable: str) -> list[Step]:
    """Return the steps from each value of a variable to the next; two columns with one value are no step of it."""
    ordered = sorted(columns, key=lambda item: _order(item[1][variable]))
    return [
        Step(before=before, after=after, variable=variable, changed_facts=changed_facts)
        for (before, old), (after, new) in pairwise(ordered)
        for changed_facts in [{key: (old[key], new[key]) for key in TITLES if old[key] != new[key]}]
        if variable in changed_facts
    ]


def _order(text: str) -> tuple[Version, str]:
    try:
        return Version(text), text
    except InvalidVersion:
        return Version("0"), text
