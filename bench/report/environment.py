"""Versions, loaded libraries and settings of the view, as the processes reported them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.report import gpu
from bench.report.columns import labels
from bench.report.text import cap, clean, listed
from bench.report.view import Environment, Fact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.store.run_info import CellInfo
    from bench.verdict.evidence import Kept
    from bench.verdict.judgement import Judgement

#: Provenance that is shown elsewhere (``bench.report.gpu``) or once per kernel.
_NOT_SHOWN = frozenset({"kernel_hashes", "cuda", "cuda_files", "gpu"})
_MOST_VALUES = 4


def environments(judgement: Judgement) -> tuple[Environment, ...]:
    """Provenance and settings of every column that has records."""
    names = labels(judgement)
    found = []
    for place, cell in enumerate(judgement.info.cells):
        order = [
            (condition, mode)
            for condition in judgement.conditions
            for mode in ("off", "on")
            if (cell.id, condition, mode) in judgement.groups
        ]
        if order:
            by_group = [judgement.groups[cell.id, condition, mode] for condition, mode in order]
            lock = {**_lock(cell), **cell.environment, **_origin(cell)}
            found.append(
                Environment(
                    cell=clean(cell.id),
                    label=names[place],
                    anchor=f"e{place}",
                    provenance=(*_facts([lock]), *_facts(_provenance(kept for group in by_group for kept in group))),
                    gpu=gpu.facts(judgement, cell),
                    libraries=tuple(_facts(_libraries(kept for group in by_group for kept in group))),
                    groups=tuple(f"{clean(condition)}, {mode}" for condition, mode in order),
                    settings=_settings(by_group),
                    records=tuple(_record(kept) for group in by_group for kept in group),
                )
            )
    return tuple(found)


def _lock(cell: CellInfo) -> Mapping[str, Any]:
    """The lock that makes the environment again. One that was found as it is has none."""
    if not cell.lock_hash:
        return {"lock": "not locked: nothing makes this environment again"}
    return {"lock": cell.lock, "lock_hash": cell.lock_hash}


def _origin(cell: CellInfo) -> Mapping[str, Any]:
    """The facts of the other host a column was measured on."""
    return {f"from host, {key}": value for key, value in sorted(cell.origin.items())}


def _provenance(records: Iterable[Kept]) -> list[Mapping[str, Any]]:
    return [process.provenance for kept in records for process in kept.record.processes]


def _libraries(records: Iterable[Kept]) -> list[Mapping[str, Any]]:
    """What was mapped, by process; a file that tells no version is still there."""
    return [
        {name: version or "loaded" for name, version in sorted(process.libraries.items())}
        for kept in records
        for process in kept.record.processes
    ]


def _settings(groups: Sequence[Sequence[Kept]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """One row for each setting: its values in each condition and mode."""
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


def _record(kept: Kept) -> Fact:
    state = f"taken over from {clean(kept.taken_from)}" if kept.taken_from else "measured now"
    return Fact(label=clean(kept.path), value=state if kept.record.complete else f"{state}, cut off")
