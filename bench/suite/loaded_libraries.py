"""Shared libraries mapped into this process, and the distributions that their files came with.

Read from the process's own maps, for what was asked for and what the loader found may be two things.
"""

from __future__ import annotations

import csv
import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Dict, Tuple

MAPS = Path("/proc/self/maps")
_INFO = ".dist-info"


@dataclass(frozen=True)
class Owner:
    """The distribution a file came with, as its folder spells it; both "" where no distribution's record lists it."""

    name: str = ""
    version: str = ""

    @property
    def canonical(self) -> str:
        """The name as requirements spell it: ``nvidia-cublas-cu12``."""
        return canonical(self.name)

    def __str__(self) -> str:
        return f"{self.canonical} {self.version}" if self.name else "no distribution"


@dataclass(frozen=True)
class Mapped:
    """One mapped library."""

    path: Path
    owner: Owner

    @property
    def shown(self) -> str:
        """The path from its distribution's folder on; whole where the file belongs to none."""
        return _owned().get(self.path, (self.path.as_posix(), self.owner))[0]


def libraries() -> Tuple[Mapped, ...]:
    """Every shared library that is mapped now, sorted by path; none where the system has no such maps."""
    try:
        rows = MAPS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    paths = {row.split(None, 5)[-1] for row in rows if "/" in row and ".so" in row}
    return tuple(Mapped(path, owner(path)) for path in map(Path, sorted(paths)))  # the kernel tells no links


def owner(path: Path) -> Owner:
    """The distribution whose record lists this file. ``path`` is resolved."""
    return _owned().get(path, ("", Owner()))[1]


def canonical(name: str) -> str:
    """A distribution's name as the package index compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


@lru_cache(maxsize=1)
def _owned() -> Dict[Path, Tuple[str, Owner]]:
    """Libraries and programs of all distributions on the path: file -> its place in the distribution, and that."""
    found: Dict[Path, Tuple[str, Owner]] = {}
    for folder in reversed([Path(entry).resolve() for entry in sys.path if entry]):  # the first on the path wins
        for record in folder.glob(f"*{_INFO}/RECORD"):
            name, _, version = record.parent.name[: -len(_INFO)].rpartition("-")
            with record.open(encoding="utf-8", newline="") as stream:
                for row in csv.reader(stream):
                    if row and (".so" in row[0] or "/bin/" in row[0]):
                        found[(folder / row[0]).resolve()] = row[0], Owner(name, version)
    return found
