"""The files of the suite and their hash, computed identically on the host and inside every column."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Tuple

#: The folder that contains ``bench``: the checkout on the host, the copy of it in a column.
ROOT = Path(__file__).resolve().parents[2]


def suite_files(root: Path = ROOT) -> Tuple[Path, ...]:
    """Return ``bench/__init__.py`` and the Python files of ``bench/suite``, relative to ``root``.

    They are sorted by POSIX path, so that the order is the same on every host.
    """
    paths = [root / "bench" / "__init__.py", *(root / "bench" / "suite").rglob("*.py")]
    relative = {path.relative_to(root) for path in paths if path.is_file()}
    return tuple(sorted(relative, key=lambda path: path.as_posix()))


def suite_hash(root: Path = ROOT) -> str:
    """Return the SHA-256 over names and contents of the suite's files, hexadecimal; it is part of every resume key."""
    total = hashlib.sha256()
    for relative in suite_files(root):
        # hash each file separately, so that no name or content can imitate the boundary between two files
        content = hashlib.sha256((root / relative).read_bytes()).hexdigest()
        total.update(f"{relative.as_posix()}\0{content}\n".encode())
    return total.hexdigest()
