"""Build the versions, loaded libraries and settings of every column, as the processes reported them."""

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

#: Provenance that ``bench.report.build.gpu`` shows, or that is shown once per kernel.
_NOT_SHOWN = frozenset({"kernel_hashes", "cuda", "cuda_files", "gpu"})
_MOST_VALUES = 4
#: Characters of a value that are shown.
_LONGEST = 400


def environments(results: RunResults) -> tuple[Environment, ...]:
    """Return the environment of every column that has records."""
    return tuple(
        _environment(results, column, place, label, keys)
        for place, (column, label) in enumerate(zip(results.info.columns, labels(results), strict=True))
        if (keys := _groups(results, column))
    )


def _groups(results: RunResults, column: ColumnInfo) -> list[tuple[str, str]]:
    """Return the variations and modes of a column that have records."""
    return [
        (variation, mode)
        for variation in results.variations
        for mode in ("off", "on")
        if (column.id, variation, mode) in results.groups
    ]


def _environment(
    results: RunResults, column: ColumnInfo, place: int, label: str, keys: Sequence[tuple[str, str]]
) -> Environment:
    groups = [results.groups[column.id, variation, mode] for variation, mode in keys]
    records = [kept for group in groups for kept in group]
    processes = [process for kept in records for process in kept.record.processes]
    planned = {**_lock(column), **column.environment, **_origin(column)}
    loaded = [
        {name: version or "loaded" for name, version in sorted(process.libraries.items())} for process in processes
    ]
    return Environment(
        column=clean(column.id),
        label=label,
        anchor=f"e{place}",
        provenance=(*_facts([planned]), *_facts([process.provenance for process in processes])),
        gpu=gpu.facts(results, column),
        libraries=tuple(_facts(loaded)),
        groups=tuple(f"{clean(variation)}, {mode}" for variation, mode in keys),
        settings=_settings(groups),
        records=tuple(map(_record, records)),
    )


def _lock(column: ColumnInfo) -> Mapping[str, Any]:
    """Return the lock that rebuilds the environment. An existing environment has none."""
    if not column.lock_hash:
        return {"lock": "not locked: this environment cannot be rebuilt exactly"}
    return {"lock": column.lock, "lock_hash": column.lock_hash}


def _origin(column: ColumnInfo) -> Mapping[str, Any]:
    """Return the facts of another host that measured the column."""
    return {f"from host, {key}": value for key, value in sorted(column.origin.items())}


def _settings(groups: Sequence[Sequence[AcceptedRecord]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return one row for each setting, with its value in each variation and mode."""
    by_group = [[process.settings for kept in group for process in kept.record.processes] for group in groups]
    keys = dict.fromkeys(key for group in by_group for settings in group for key in settings)
    return tuple((clean(key), tuple(_values(key, group) for group in by_group)) for key in keys)


def _facts(documents: Sequence[Mapping[str, Any]]) -> list[Fact]:
    keys = dict.fromkeys(key for document in documents for key in document if key not in _NOT_SHOWN)
    facts = [Fact(label=clean(key), value=_values(key, documents)) for key in keys]
    return [fact for fact in facts if fact.value]


def _values(key: str, documents: Iterable[Mapping[str, Any]]) -> str:
    """Return all distinct values of a key; a long list is shortened and says how many there are."""
    raw = [document[key] for document in documents if key in document]
    # most values equal the one before, and formatting them is slow
    new = [value for place, value in enumerate(raw) if not place or value != raw[place - 1]]
    return listed(list(dict.fromkeys(cap(_text(value), _LONGEST) for value in new)), _MOST_VALUES)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{clean(str(key))}={_text(value[key])}" for key in sorted(value))
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value)) or "none"
    return clean(str(value))


def _record(kept: AcceptedRecord) -> Fact:
    state = f"reused from {clean(kept.reused_from)}" if kept.reused_from else "measured now"
    return Fact(label=clean(kept.path), value=state if kept.record.complete else f"{state}, cut off")
