"""Checks on run.json beyond its types: names, counts, times, and text that a terminal can show.

They are the same for a run of this host and for an imported one: both are files that anyone can have edited. What
writes run.json replaces control characters (``bench.portable.run_folder.plain``), so that no measurement is lost over
an odd character in a message.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bench.errors import StorageError
from bench.portable.run_folder import MOST_TEXT
from bench.store.run_info import DAMAGED, RunInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

HASH = re.compile(r"[0-9a-f]{64}")
#: Names of columns and variations become folders, and appear on the page.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=@+-]{0,119}")
#: Names of kernels appear on the page only; users choose those of custom kernels.
_KERNEL = re.compile(r"""[^<>&"'`\\\s][^<>&"'`\\\n\t]{0,119}""")
_RUN = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4,16}")
_FILE = re.compile(
    rf"run\.json|records/{_NAME.pattern}/{_NAME.pattern}/(?:off|on)-[0-9]{{3,4}}\.(?:jsonl|kept)\.xz"
    rf"|paired/{_NAME.pattern}/{_NAME.pattern}-[0-9]{{3,4}}\.jsonl\.xz"
    rf"|logs/{_NAME.pattern}/{_NAME.pattern}\.log|kernel-files/{HASH.pattern}\.tar\.xz"
)
_STATUSES = frozenset(
    {"ready", "incompatible", "gpu-not-visible", "build-failed", "mismatch", "image-missing", "not-run"}
)
#: What ``odd_values`` finds.
ODD = "a text has control characters, or a text, list or number is too large"
_MAX_ITEMS, _MAX_NUMBER = 20_000, 2**53
#: Of rounds and of repetitions, as in matrix.toml: other code counts up to them.
_MAX_ROUNDS = 1_000


def allowed_file(name: str) -> bool:
    """Whether a run folder can contain a file of this relative path."""
    return _FILE.fullmatch(name) is not None


def is_run_id(name: str) -> bool:
    """Whether a text is the name of a run, and so of a single folder."""
    return _RUN.fullmatch(name) is not None


def parse(text: str, name: str) -> RunInfo:
    """Read run.json; raises StorageError, with ``name`` and the position, where anything in it is not valid."""
    info = RunInfo.from_json(text, name)
    odd = next(odd_values(json.loads(text)), None)
    problem = f"{odd!a}: {ODD}" if odd is not None else _problem(info)
    if problem:
        raise StorageError(f"{name} is not a run's description ({problem})", DAMAGED)
    return info


def odd_values(value: Any, place: str = "") -> Iterator[str]:
    """Yield where a JSON value has a text that can control a terminal, or anything excessively large."""
    if isinstance(value, str):
        if len(value) > MOST_TEXT or not (
            value.isprintable() or all(char.isprintable() or char in "\n\t" for char in value)
        ):
            yield place
    elif isinstance(value, dict | list):
        if len(value) > _MAX_ITEMS:
            yield place
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            below = f"{place}.{name}".removeprefix(".")
            yield from odd_values(name, below) if isinstance(name, str) else ()
            yield from odd_values(item, below)
    elif value is not None and not 0 <= value <= _MAX_NUMBER:
        yield place


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _problem(info: RunInfo) -> str:
    """Return what is wrong with the names and counts of run.json, "" where nothing is."""
    columns, kernels = [column.id for column in info.columns], [kernel.name for kernel in info.kernels]
    odd = next((name for name in (*columns, *info.variations) if not _NAME.fullmatch(name)), None)
    modes = {mode for planned in (info.modes, *info.variation_modes.values()) for mode in planned}
    checks = (
        (odd is not None, f"{odd!r} is not a valid name of a column or variation"),
        (not all(map(_KERNEL.fullmatch, kernels)), "a kernel has an odd name"),
        (not _is_time(info.started), f"{info.started!r} is not the time of a start"),
        (bool(info.finished) and not _is_time(info.finished), f"{info.finished!r} is not the time of an end"),
        (not is_run_id(info.id), f"{info.id!r} is not a valid name of a run"),
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
