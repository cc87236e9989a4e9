"""Checks on the run.json of an imported run, beyond its types: names, counts, and text that a terminal can show.

A run of this host needs no such check, and its measurements must not be lost over an odd character in a message.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from bench.errors import StorageError
from bench.store.run import read_info

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from bench.store.run_info import RunInfo

HASH = re.compile(r"[0-9a-f]{64}")
#: Names of columns, variations and kernels become folders, and appear on the page.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=@+-]{0,119}")
_RUN = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4,16}")
_FILE = re.compile(
    rf"run\.json|records/{_NAME.pattern}/{_NAME.pattern}/(?:off|on)-[0-9]{{3,4}}\.(?:jsonl|kept)\.xz"
    rf"|logs/{_NAME.pattern}/{_NAME.pattern}\.log"
)
_STATUSES = frozenset({"ready", "incompatible", "gpu-not-visible", "build-failed", "mismatch", "image-missing"})
_MAX_TEXT, _MAX_ITEMS, _MAX_NUMBER = 20_000, 2_000, 2**53
#: Of rounds and of repetitions, as in matrix.toml: other code counts up to them.
_MAX_ROUNDS = 1_000


def allowed_file(name: str) -> bool:
    """Whether a run folder can contain a file of this relative path."""
    return _FILE.fullmatch(name) is not None


def read_imported_info(folder: Path, files: Collection[str]) -> RunInfo:
    """Read run.json of an unpacked archive with these files.

    Raises StorageError where it is not valid, or a file belongs to a column that it does not have.
    """
    info = read_info(folder)
    if not _is_plain(json.loads((folder / "run.json").read_text(encoding="utf-8"))):
        raise StorageError("run.json: a text has control characters, or a text, list or number is too large")
    problem = _problem(info)
    if problem:
        raise StorageError(f"run.json: {problem}")
    columns = {column.id for column in info.columns}
    for name in files:
        parts = name.split("/")
        if len(parts) > 1 and parts[1] not in columns:
            raise StorageError(f"{name} belongs to no column of run.json")
    return info


def _is_plain(value: Any) -> bool:
    """Whether no text in a JSON value can control a terminal, and nothing in it is excessively large."""
    if isinstance(value, str):
        return len(value) <= _MAX_TEXT and all(char.isprintable() or char in "\n\t" for char in value)
    if isinstance(value, dict):
        return len(value) <= _MAX_ITEMS and all(_is_plain(item) for row in value.items() for item in row)
    if isinstance(value, list):
        return len(value) <= _MAX_ITEMS and all(map(_is_plain, value))
    return value is None or 0 <= value <= _MAX_NUMBER


def _problem(info: RunInfo) -> str:
    """Return what is wrong with the names and counts of run.json, "" where nothing is."""
    columns, kernels = [column.id for column in info.columns], [kernel.name for kernel in info.kernels]
    odd = next((name for name in (*columns, *info.variations, *kernels) if not _NAME.fullmatch(name)), None)
    modes = {mode for planned in (info.modes, *info.variation_modes.values()) for mode in planned}
    checks = (
        (odd is not None, f"{odd!r} is not a valid name of a column, variation or kernel"),
        (not _RUN.fullmatch(info.id), f"{info.id!r} is not a valid name of a run"),
        (not HASH.fullmatch(info.suite_hash), "the suite hash is not a SHA-256"),
        (not columns, "it has no column"),
        (len(set(columns)) != len(columns), "a column is in it twice"),
        (len(set(kernels)) != len(kernels), "a kernel is in it twice"),
        (any(column.status not in _STATUSES for column in info.columns), "a column has an unknown status"),
        (not {"off", "on"}.issuperset(modes), "a mode is neither off nor on"),
        (info.rounds < 1, "it planned no round"),
        (max(info.rounds, info.repetitions) > _MAX_ROUNDS, f"it planned more than {_MAX_ROUNDS} rounds or repetitions"),
    )
    return next((message for failed, message in checks if failed), "")
