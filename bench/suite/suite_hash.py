"""What the suite is: its files and their hash, computed alike on the host and inside every column."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Tuple

#: The folder that holds ``bench``: the checkout on the host, the staged copy in a column.
ROOT = Path(__file__).resolve().parents[2]


def suite_files(root: Path = ROOT) -> Tuple[Path, ...]:
    """``bench/__init__.py`` and the Python files of ``bench/suite``, relative to ``root``.

    Sorted by their POSIX names, so that every host sees one order.
    """
    found = [root / "bench" / "__init__.py", *(root / "bench" / "suite").rglob("*.py")]
    relative = {path.relative_to(root) for path in found if path.is_file()}
    return tuple(sorted(relative, key=lambda path: path.as_posix()))


def suite_hash(root: Path = ROOT) -> str:
    """SHA-256 over names and bytes of the suite, hexadecimal; part of every resume key."""
    total = hashlib.sha256()
    for relative in suite_files(root):
        # each file by its own digest: no name or content can imitate a border between two files
        content = hashlib.sha256((root / relative).read_bytes()).hexdigest()
        total.update(f"{relative.as_posix()}\0{content}\n".encode())
    return total.hexdigest()
