"""Kept values of a run: one ``kept`` line of the record's stream for each digest, beside the records.

A digest names its bits, so what one column, round or mode has kept of it serves all of them.
"""

from __future__ import annotations

import json
import lzma
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.portable.value_limits import kept_files
from bench.suite.kept_values import decode_tensor as read_tensor

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.suite.kept_values import KeptTensor


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
        except (OSError, lzma.LZMAError, EOFError, ValueError, KeyError, TypeError, RecursionError) as error:
            problems[file.relative_to(folder).as_posix()] = str(error)
    return Kept(rows=rows, problems=problems)
