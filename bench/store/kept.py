"""Kept values of a run: one ``kept`` line of the record's stream for each digest, beside the records.

A digest names its bits, so what one cell, round or mode has kept of it serves all of them.
"""

from __future__ import annotations

import json
import lzma
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.suite.values import kept as read_tensor

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.suite.values import KeptTensor

#: Characters of kept values per cell, condition and mode: a run stays small however much varies in it.
GROUP_LIMIT = 350_000
#: Distinct digests of one kernel that are kept per cell, condition and mode.
DIGEST_LIMIT = 4


@dataclass(frozen=True)
class Kept:
    """What was kept, by kernel and digest. ``problems`` names the files that could not be read, with the reason."""

    rows: Mapping[tuple[str, str], tuple[Any, ...]] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)

    def tensors(self, kernel: str, digest: str) -> tuple[KeptTensor, ...]:
        """The tensors of a digest, steps first; empty where nothing (or nothing whole) was kept of it."""
        try:
            found = tuple(read_tensor(row) for row in self.rows.get((kernel, digest), ()))
        except (KeyError, TypeError, ValueError, OverflowError):
            return ()
        sound = all(one.digest and (one.step is None or type(one.step) is int) for one in found)
        return found if sound else ()


class Keeper:
    """Decides what of a cell is kept: every digest once, and no more than the limits."""

    def __init__(self) -> None:
        self._known: set[tuple[str, str, str]] = set()
        self._spent: dict[tuple[str, str, str], int] = defaultdict(int)
        self._digests: dict[tuple[str, str, str, str], int] = defaultdict(int)

    def wants(self, group: tuple[str, str, str], kernel: str, digest: str, size: int) -> bool:
        """Whether this digest of a kernel is kept for ``group`` (cell, condition, mode); counts it if so."""
        name = (group[0], kernel, digest)
        if name in self._known or self._digests[(*group, kernel)] >= DIGEST_LIMIT:
            return False
        if self._spent[group] + size > GROUP_LIMIT:
            return False
        self._known.add(name)
        self._spent[group] += size
        self._digests[(*group, kernel)] += 1
        return True

    def recall(self, folder: Path) -> None:
        """Count what already lies in a run folder: records taken over from another run bring their kept values."""
        for file in kept_files(folder):
            group = (file.parts[-3], file.parts[-2], file.name.partition("-")[0])
            damage = suppress(OSError, lzma.LZMAError, EOFError, ValueError, KeyError, TypeError)
            with damage, lzma.open(file, "rt", encoding="utf-8") as stream:
                for text in stream:
                    row = json.loads(text)
                    self.wants(group, row["kernel"], row["digest"], len(text))


def kept_files(folder: Path) -> list[Path]:
    """The files of kept values of a run folder, sorted."""
    return sorted((folder / "records").glob("*/*/*.kept.xz"))


def load_kept(folder: Path) -> Kept:
    """Read what a run has kept. A file that cannot be read is listed, never fatal: verdicts do not rest on it."""
    rows: dict[tuple[str, str], tuple[Any, ...]] = {}
    problems: dict[str, str] = {}
    for file in kept_files(folder):
        try:
            with lzma.open(file, "rt", encoding="utf-8") as stream:
                for text in stream:
                    row = json.loads(text)
                    rows.setdefault((row["kernel"], row["digest"]), tuple(row["tensors"]))
        except (OSError, lzma.LZMAError, EOFError, ValueError, KeyError, TypeError) as error:
            problems[file.relative_to(folder).as_posix()] = str(error)
    return Kept(rows=rows, problems=problems)
