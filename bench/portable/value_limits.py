"""Which kept values of a run are kept: every digest of a column once, and no more than the limits."""

from __future__ import annotations

import json
import lzma
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: Characters of kept values per column, variation and mode: a run stays small however much varies in it.
GROUP_LIMIT = 350_000
#: Distinct digests of one kernel that are kept per column, variation and mode.
DIGEST_LIMIT = 4


class Keeper:
    """Decides what of a column is kept: every digest once, and no more than the limits."""

    def __init__(self) -> None:
        self._known: set[tuple[str, str, str]] = set()
        self._spent: dict[tuple[str, str, str], int] = defaultdict(int)
        self._digests: dict[tuple[str, str, str, str], int] = defaultdict(int)

    def wants(self, group: tuple[str, str, str], kernel: str, digest: str, size: int) -> bool:
        """Whether this digest of a kernel is kept for ``group`` (column, variation, mode); counts it if so."""
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
        """Count what already lies in a run folder: records reused from another run bring their kept values."""
        for file in kept_files(folder):
            group = (file.parts[-3], file.parts[-2], file.name.partition("-")[0])
            damage = suppress(OSError, lzma.LZMAError, EOFError, ValueError, KeyError, TypeError, RecursionError)
            with damage, lzma.open(file, "rt", encoding="utf-8") as stream:
                for text in stream:
                    row = json.loads(text)
                    self.wants(group, row["kernel"], row["digest"], len(text))


def kept_files(folder: Path) -> list[Path]:
    """The files of kept values of a run folder, sorted."""
    return sorted((folder / "records").glob("*/*/*.kept.xz"))
