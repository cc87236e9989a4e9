"""Steps from one column to another, each named after the one variable that it moves.

A change of time or bits is put down to a variable only where nothing else moved: between two columns of one GPU (or
CPU), one driver and one host that differ in the TensorFlow release, or in the CUDA minor, or in cuDNN, or in Python.
Keras and NumPy may follow TensorFlow, for a release asks for its own. From one official pair to the next TensorFlow,
CUDA and cuDNN may move together, for that is the upgrade people make: such a step says that it is of no one alone.

Columns of the engine ``local`` are in no step: nobody knows what else differs in an environment as it was found.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.store.run_info import ColumnInfo

#: What can move, in the order in which it is told.
TITLES = {
    "tensorflow": "TensorFlow",
    "cuda": "CUDA",
    "cudnn": "cuDNN",
    "python": "Python",
    "keras": "Keras",
    "numpy": "NumPy",
}
#: What may follow TensorFlow without being a variable of the matrix.
_FOLLOWS = frozenset({"keras", "numpy"})
_TENSORFLOW = "tensorflow"

_Values = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Step:
    """Two columns that are one step apart.

    ``variable`` is what the step is named after: a key of ``TITLES``.
    ``moved`` maps every variable that moved to its value before and after.
    """

    before: ColumnInfo
    after: ColumnInfo
    variable: str
    moved: Mapping[str, tuple[str, str]]

    @property
    def mixed(self) -> bool:
        """Whether more moved than the variable and what follows it: nothing can be put down to it alone."""
        return bool(set(self.moved) - {self.variable} - _FOLLOWS)

    @property
    def name(self) -> str:
        """``CUDA step``."""
        return f"{TITLES[self.variable]} step"

    @property
    def sentence(self) -> str:
        """What moved, as in ``CUDA 12.5 to 12.6 alone.``."""
        told = [f"{TITLES[key]} {before} to {after}" for key, (before, after) in self.moved.items()]
        if self.mixed:
            return f"{', '.join(told)}: they moved together, so what changed is of no one alone."
        return f"{told[0]} alone." if len(told) == 1 else f"{told[0]}, and with it {', '.join(told[1:])}."


def steps(columns: Sequence[ColumnInfo], seen: Mapping[str, Mapping[str, str]]) -> tuple[Step, ...]:
    """All steps between columns that were measured.

    ``seen`` maps their ids to what their processes said of ``driver`` and ``numpy``, "" for unknown. Columns of two
    devices, drivers or hosts are never put together, so that no times of two machines are compared.
    """
    places: dict[object, list[tuple[ColumnInfo, _Values]]] = {}
    for column in columns:
        # a GPU column whose cuDNN nobody names could differ from another one in that
        if column.kind != "local" and (column.cuda == "cpu" or column.cudnn):
            values = {key: str(getattr(column, key, "")) for key in TITLES} | {"numpy": seen[column.id]["numpy"]}
            places.setdefault((_place(column), seen[column.id]["driver"]), []).append((column, values))
    found = {(one.before.id, one.after.id): one for group in places.values() for one in _of_place(group)}
    order = {column.id: number for number, column in enumerate(columns)}
    return tuple(sorted(found.values(), key=lambda one: (order[one.after.id], order[one.before.id])))


def _place(column: ColumnInfo) -> object:
    return column.device, column.gpu, tuple(sorted((key, str(value)) for key, value in column.origin.items()))


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
    """Steps from each value of a variable to the next one; two columns of one value are a step of something else."""
    ordered = sorted(columns, key=lambda one: _order(one[1][variable]))
    return [
        Step(before=before, after=after, variable=variable, moved=moved)
        for (before, old), (after, new) in pairwise(ordered)
        for moved in [{key: (old[key], new[key]) for key in TITLES if old[key] != new[key]}]
        if variable in moved
    ]


def _order(text: str) -> tuple[Version, str]:
    try:
        return Version(text), text
    except InvalidVersion:
        return Version("0"), text
