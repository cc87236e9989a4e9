"""The stored values of a run: tensor elements of each digest, from the files beside the records.

A digest identifies its bits, so the values that one column, round or mode has stored serve all others.
"""

from __future__ import annotations

import lzma
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.portable.value_limits import kept_files
from bench.store.read_record import read_lines
from bench.suite.kept_values import decode_tensor as read_tensor

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.suite.kept_values import KeptTensor


@dataclass(frozen=True)
class StoredValues:
    """Stored tensors by kernel and digest. ``problems`` maps files that could not be read to the reason."""

    rows: Mapping[tuple[str, str], tuple[Any, ...]] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)

    def tensors(self, kernel: str, digest: str) -> tuple[KeptTensor, ...]:
        """Return the tensors of a digest, training steps first; empty where nothing valid was stored."""
        try:
            tensors = tuple(read_tensor(row) for row in self.rows.get((kernel, digest), ()))
        except (KeyError, TypeError, ValueError, OverflowError):
            return ()
        valid = all(tensor.digest and (tensor.step is None or type(tensor.step) is int) for tensor in tensors)
        return tensors if valid else ()


def load_stored_values(folder: Path) -> StoredValues:
    """Read the stored values of a run. A file that cannot be read is listed: no verdict depends on it."""
    rows: dict[tuple[str, str], tuple[Any, ...]] = {}
    problems: dict[str, str] = {}
    for file in kept_files(folder):
        try:
            for row in read_lines(file):
                rows.setdefault((row["kernel"], row["digest"]), tuple(row["tensors"]))
        except (OSError, lzma.LZMAError, EOFError, ValueError, KeyError, TypeError, RecursionError) as error:
            problems[file.relative_to(folder).as_posix()] = str(error)
    return StoredValues(rows=rows, problems=problems)
