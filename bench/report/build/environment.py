"""Versions, loaded libraries and settings of the view, as the processes reported them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.report.build import gpu
from bench.report.build.columns import labels
from bench.report.formatting import cap, clean, listed
from bench.report.view import Environment, Fact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.store.run_info import ColumnInfo
    from bench.verdict.observations import AcceptedRecord
    from bench.verdict.results import RunResults

#: Provenance that is shown elsewhere (``bench.report.build.gpu``) or once per kernel.
_NOT_SHOWN = frozenset({"kernel_hashes", "cuda", "cuda_files", "gpu"})
_MOST_VALUES = 4


def environments(results: RunResults) -> tuple[Environment, ...]:
    """Provenance and settings of every column that has records."""
    names = labels(results)
    found = []
    for place, column in enumerate(results.info.columns):
        order = [
            (variation, mode)
            for variation in results.variations
            for mode in ("off", "on")
            if (column.id, variation, mode) in results.groups
        ]
        if order:
            by_group = [results.groups[column.id, variation, mode] for variation, mode in order]
            lock = {**_lock(column), **column.environment, **_origin(column)}
            found.append(
                Environment(
                    column=clean(column.id),
                    label=names[place],
                    anchor=f"e{place}",
                    provenance=(*_facts([lock]), *_facts(_provenance(kept for group in by_group for kept in group))),
                    gpu=gpu.facts(results, column),
                    libraries=tuple(_facts(_libraries(kept for group in by_group for kept in group))),
                    groups=tuple(f"{clean(variation)}, {mode}" for variation, mode in order),
                    settings=_settings(by_group),
                    records=tuple(_record(kept) for group in by_group for kept in group),
                )
            )
    return tuple(found)


def _lock(column: ColumnInfo) -> Mapping[str, Any]:
    """The lock that makes the environment again. One that was found as it is has none."""
    if not column.lock_hash:
        return {"lock": "not locked: nothing makes this environment again"}
    return {"lock": column.lock, "lock_hash": column.lock_hash}


def _origin(column: ColumnInfo) -> Mapping[str, Any]:
    """The facts of the other host a column was measured on."""
    return {f"from host, {key}": value for key, value in sorted(column.origin.items())}


def _provenance(records: Iterable[AcceptedRecord]) -> list[Mapping[str, Any]]:
    return [process.provenance for kept in records for process in kept.record.processes]


def _libraries(records: Iterable[AcceptedRecord]) -> list[Mapping[str, Any]]:
    """What was mapped, by process; a file that tells no version is still there."""
    return [
        {name: version or "loaded" for name, version in sorted(process.libraries.items())}
        for kept in records
        for process in kept.record.processes
    ]


def _settings(groups: Sequence[Sequence[AcceptedRecord]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """One row for each setting: its values in each variation and mode."""
    by_group = [[process.settings for kept in group for process in kept.record.processes] for group in groups]
    keys = dict.fromkeys(key for group in by_group for settings in group for key in settings)
    return tuple((clean(key), tuple(_values(key, group) for group in by_group)) for key in keys)


def _facts(documents: Sequence[Mapping[str, Any]]) -> list[Fact]:
    keys = dict.fromkeys(key for document in documents for key in document if key not in _NOT_SHOWN)
    shown = [Fact(label=clean(key), value=_values(key, documents)) for key in keys]
    return [fact for fact in shown if fact.value]


def _values(key: str, documents: Sequence[Mapping[str, Any]]) -> str:
    """All values a key has, without repetition; long lists are shortened with their number."""
    raw = [document[key] for document in documents if key in document]
    new = [value for place, value in enumerate(raw) if not place or value != raw[place - 1]]  # most are the same
    values = list(dict.fromkeys(cap(_text(value), 400) for value in new))
    return listed(values, _MOST_VALUES)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{clean(str(key))}={_text(value[key])}" for key in sorted(value))
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value)) or "none"
    return clean(str(value))


def _record(kept: AcceptedRecord) -> Fact:
    state = f"reused from {clean(kept.reused_from)}" if kept.reused_from else "measured now"
    return Fact(label=clean(kept.path), value=state if kept.record.complete else f"{state}, cut off")
