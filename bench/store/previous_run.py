"""The run to compare a run with: the last finished one before it that measured one of its columns in the same place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.errors import StorageError
from bench.store import find_run
from bench.store.run import read_info

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.store.run_info import RunInfo

#: Earlier runs that are looked at, the newest first.
MOST_RUNS = 200


@dataclass(frozen=True, kw_only=True)
class Before:
    """The folder of the earlier run, None where there is none. ``notes`` name newer runs that could not be read."""

    folder: Path | None
    notes: tuple[str, ...] = ()


def before(folder: Path, info: RunInfo) -> Before:
    """The newest finished run beside ``folder`` that began before it and shares a column, host, GPU and engine with it.

    One of the same profile and seed with all its kernels goes before others. A run kept elsewhere, as a sample is, has
    no neighbours; a run and another one imported into it began at one moment, and are not compared.
    """
    if folder.resolve().parent.name != "runs":
        return Before(folder=None)
    notes: list[str] = []
    fallback: Before | None = None
    for place, found in _earlier(folder):
        if isinstance(found, StorageError):
            notes.append(f"Run {place.name} was passed over: {found}.")
        elif _shares(found, info):
            if _alike(found, info):
                return Before(folder=place, notes=tuple(notes))
            fallback = fallback or Before(folder=place, notes=tuple(notes))
    return fallback or Before(folder=None, notes=tuple(notes))


def _earlier(folder: Path) -> Iterator[tuple[Path, RunInfo | StorageError]]:
    """Runs with an earlier name, the newest first; a folder without run.json was never a run."""
    own = folder.resolve()
    for place in [one for one in reversed(find_run.every(own.parent.parent)) if one.name < own.name][:MOST_RUNS]:
        try:
            yield place, read_info(place)
        except StorageError as error:  # of a page, the run's name is enough
            yield place, StorageError(str(error).replace(f"{place}/", "").replace(str(place), "it"))


def _shares(found: RunInfo, info: RunInfo) -> bool:
    """Whether an earlier run is finished, and measured a column of this one in the same place."""
    return bool(found.finished) and found.started < info.started and bool(_columns(found) & _columns(info))


def _columns(info: RunInfo) -> set[tuple[str, str, str, str]]:
    return {
        (
            column.id,
            str((column.origin or info.host).get("name") or ""),
            column.gpu,
            str(column.origin.get("engine") or "") if column.origin else info.engine,
        )
        for column in info.columns
        if column.status == "ready"
    }


def _alike(found: RunInfo, info: RunInfo) -> bool:
    """Whether an earlier run set out to measure all that this one does: else what got worse here would seem new."""
    return (found.profile, found.seed) == (info.profile, info.seed) and all(
        _planned(found, what) >= _planned(info, what) for what in ("columns", "kernels", "modes", "variations")
    )


def _planned(info: RunInfo, what: str) -> set[str]:
    if what == "columns":
        return {column.id for column in info.columns if column.status == "ready"}
    if what == "kernels":
        return {kernel.name for kernel in info.kernels}
    if what == "modes":
        return {f"{name} {mode}" for name in info.variations for mode in info.variation_modes.get(name, info.modes)}
    return set(info.variations)
