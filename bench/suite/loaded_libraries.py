"""The shared libraries mapped into this process, and the distributions that installed them.

They are read from the memory maps of the process, because the loader may have found another file than the one intended.
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
    """The distribution that installed a file, spelled as in its folder; both "" if no RECORD lists the file."""

    name: str = ""
    version: str = ""

    @property
    def canonical(self) -> str:
        """The name as requirements spell it, such as ``nvidia-cublas-cu12``."""
        return canonical(self.name)

    def __str__(self) -> str:
        return f"{self.canonical} {self.version}" if self.name else "no distribution"


@dataclass(frozen=True)
class MappedLibrary:
    """One mapped library."""

    path: Path
    owner: Owner

    @property
    def display_path(self) -> str:
        """The path within its distribution; the full path if no distribution installed the file."""
        return _files_of_distributions().get(self.path, (self.path.as_posix(), self.owner))[0]


def libraries() -> Tuple[MappedLibrary, ...]:
    """Return every shared library that is mapped now, sorted by path; empty on systems without ``/proc``."""
    try:
        rows = MAPS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    paths = {row.split(None, 5)[-1] for row in rows if "/" in row and ".so" in row}
    # the kernel has resolved all links in these paths
    return tuple(MappedLibrary(path, owner(path)) for path in map(Path, sorted(paths)))


def owner(path: Path) -> Owner:
    """Return the distribution whose RECORD lists this file; ``path`` must be resolved."""
    return _files_of_distributions().get(path, ("", Owner()))[1]


def canonical(name: str) -> str:
    """Return the normalised name of a distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


@lru_cache(maxsize=1)
def _files_of_distributions() -> Dict[Path, Tuple[str, Owner]]:
    """Return libraries and programs of all installed distributions: file -> path in its distribution, distribution."""
    owners: Dict[Path, Tuple[str, Owner]] = {}
    for folder in reversed([Path(entry).resolve() for entry in sys.path if entry]):  # the first entry of the path wins
        for record in folder.glob(f"*{_INFO}/RECORD"):
            name, _, version = record.parent.name[: -len(_INFO)].rpartition("-")
            with record.open(encoding="utf-8", newline="") as stream:
                for row in csv.reader(stream):
                    if row and (".so" in row[0] or "/bin/" in row[0]):
                        owners[(folder / row[0]).resolve()] = row[0], Owner(name, version)
    return owners
