"""Whether run.json of another host has the shape that everything after it relies on.

Dataclasses do not check their fields; what this root wrote needs no check, what came from elsewhere does.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bench.store.run_info import ColumnInfo, KernelInfo

if TYPE_CHECKING:
    from bench.store.run_info import RunInfo

#: Names become folders, and stand on the page.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=@+-]{0,119}")
_RUN = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4,16}")
HASH = re.compile(r"[0-9a-f]{64}")
_TEXT = 20_000
_MOST = 2_000
#: Of rounds and of repetitions, as in matrix.toml: what comes after counts up to it.
_MOST_ROUNDS = 1_000
_STATUSES = frozenset({"ready", "incompatible", "gpu-not-visible", "build-failed", "mismatch", "image-missing"})


def _is_text(value: Any) -> bool:
    """Text that a terminal shows as it is: nothing in it moves the cursor."""
    if not isinstance(value, str) or len(value) > _TEXT:
        return False
    return all(char.isprintable() or char in "\n\t" for char in value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 2**53


def _is_texts(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) <= _MOST and all(_is_text(one) for one in value)


def _is_mapping(inner: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        return (
            isinstance(value, Mapping)
            and len(value) <= _MOST
            and all(_is_text(key) and inner(one) for key, one in value.items())
        )

    return check


def _are(kind: type) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, tuple) and len(value) <= _MOST and all(isinstance(one, kind) for one in value)
    )


#: Annotation of a field -> whether a value is of it.
CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "str": _is_text,
    "int": lambda value: type(value) is int and _is_number(value),
    "float": _is_number,
    "bool": lambda value: type(value) is bool,
    "tuple[str, ...]": _is_texts,
    "Mapping[str, str]": _is_mapping(_is_text),
    "Mapping[str, tuple[str, ...]]": _is_mapping(_is_texts),
    "tuple[ColumnInfo, ...]": _are(ColumnInfo),
    "tuple[KernelInfo, ...]": _are(KernelInfo),
}


def problem(info: RunInfo) -> str:
    """What is wrong with run.json, in a few words; "" where nothing is."""
    items: list[RunInfo | ColumnInfo | KernelInfo] = [info]
    items += info.columns if _are(ColumnInfo)(info.columns) else ()
    items += info.kernels if _are(KernelInfo)(info.kernels) else ()
    for item in items:
        for one in dataclasses.fields(item):
            if not CHECKS[str(one.type)](getattr(item, one.name)):
                return f"{one.name!r} of {type(item).__name__} is not what this version writes"
    names = [column.id for column in info.columns] + list(info.variations)
    odd = next((name for name in names if not NAME.fullmatch(name)), None)
    checks = (
        (odd is not None, f"{odd!r} is no name of a column or variation"),
        (not _RUN.fullmatch(info.id), f"{info.id!r} is no name of a run"),
        (not HASH.fullmatch(info.suite_hash), "the hash of the suite is none"),
        (not info.columns, "it has no column"),
        (len(names) != len(set(names)), "a column is in it twice"),
        (any(column.status not in _STATUSES for column in info.columns), "a column has a status that is none"),
        (any(not NAME.fullmatch(kernel.name) for kernel in info.kernels), "a kernel has a name that is none"),
        (len({kernel.name for kernel in info.kernels}) != len(info.kernels), "a kernel is in it twice"),
        (not _modes(info), "a mode is neither off nor on"),
        (info.rounds < 1, "it planned no round"),
        (
            max(info.rounds, info.repetitions) > _MOST_ROUNDS,
            "it planned more rounds or repetitions than this version can",
        ),
    )
    return next((why for bad, why in checks if bad), "")


def _modes(info: RunInfo) -> bool:
    return {"off", "on"}.issuperset(info.modes) and all(
        {"off", "on"}.issuperset(modes) for modes in info.variation_modes.values()
    )
