"""Limits on the tensor values that a run stores: every digest of a column once, and a few digests per kernel."""

from __future__ import annotations

import json
import lzma
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: Characters of stored values per column, variation and mode, so that a run stays small however much differs in it.
GROUP_LIMIT = 350_000
#: Distinct digests of one kernel that are stored per column, variation and mode.
DIGEST_LIMIT = 4


class ValueLimits:
    """Decides which values of a run are stored, counting what was accepted."""

    def __init__(self) -> None:
        self._stored: set[tuple[str, str, str]] = set()
        self._characters: dict[tuple[str, str, str], int] = defaultdict(int)
        self._digests: dict[tuple[str, str, str, str], int] = defaultdict(int)

    def accepts(self, group: tuple[str, str, str], kernel: str, digest: str, size: int) -> bool:
        """Whether to store a digest's values for ``group`` (column, variation, mode); if so, they are counted."""
        name = (group[0], kernel, digest)
        if name in self._stored or self._digests[(*group, kernel)] >= DIGEST_LIMIT:
            return False
        if self._characters[group] + size > GROUP_LIMIT:
            return False
        self._stored.add(name)
        self._characters[group] += size
        self._digests[(*group, kernel)] += 1
        return True

    def count_stored(self, folder: Path) -> None:
        """Count what a run folder contains already, from an earlier start or with reused records."""
        for file in kept_files(folder):
            group = (file.parts[-3], file.parts[-2], file.name.partition("-")[0])
            damage = suppress(OSError, lzma.LZMAError, EOFError, ValueError, KeyError, TypeError, RecursionError)
            with damage, lzma.open(file, "rt", encoding="utf-8") as stream:
                for text in stream:
                    row = json.loads(text)
                    self.accepts(group, row["kernel"], row["digest"], len(text))


def kept_files(folder: Path) -> list[Path]:
    """Return the files of stored values of a run folder, sorted."""
    return sorted((folder / "records").glob("*/*/*.kept.xz"))
