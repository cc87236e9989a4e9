"""Find the run to compare a run with: the last finished one before it that measured one of its columns."""

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
class PreviousRun:
    """The folder of the earlier run, None where there is none. ``notes`` name newer runs that could not be read."""

    folder: Path | None
    notes: tuple[str, ...] = ()


def previous_run(folder: Path, info: RunInfo) -> PreviousRun:
    """Return the newest finished run beside ``folder`` that began earlier and shares a column, host, GPU and engine.

    A run with the same profile and seed that planned at least the same is preferred. A run outside ``runs``, such as a
    sample, has no previous run. A merged import began when the run did that it was merged with, so the two are not
    compared.
    """
    if folder.resolve().parent.name != "runs":
        return PreviousRun(folder=None)
    notes: list[str] = []
    fallback: PreviousRun | None = None
    for place, earlier in _earlier(folder):
        if isinstance(earlier, StorageError):
            notes.append(f"Run {place.name} was skipped: {earlier}.")
        elif _shares_column(earlier, info):
            match = PreviousRun(folder=place, notes=tuple(notes))
            if _covers(earlier, info):
                return match
            fallback = fallback or match
    return fallback or PreviousRun(folder=None, notes=tuple(notes))


def _earlier(folder: Path) -> Iterator[tuple[Path, RunInfo | StorageError]]:
    """Yield runs with an earlier name, the newest first, or why one cannot be read."""
    own = folder.resolve()
    places = [place for place in reversed(find_run.every(own.parent.parent)) if place.name < own.name]
    for place in places[:MOST_RUNS]:
        try:
            yield place, read_info(place)
        except StorageError as error:  # the note is shown on a page, where the run's name is enough
            yield place, StorageError(str(error).replace(f"{place}/", "").replace(str(place), "it"))


def _shares_column(earlier: RunInfo, info: RunInfo) -> bool:
    """Whether an earlier run is finished, and measured a column of this one on the same host, GPU and engine."""
    return bool(earlier.finished) and earlier.started < info.started and bool(_columns(earlier) & _columns(info))


def _columns(info: RunInfo) -> set[tuple[str, str, str, str]]:
    """Return id, host, GPU and engine of the columns that were measured."""
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


def _covers(earlier: RunInfo, info: RunInfo) -> bool:
    """Whether an earlier run planned all that this one does; else an old failure could look like a new one."""
    return (earlier.profile, earlier.seed) == (info.profile, info.seed) and all(
        planned >= needed for planned, needed in zip(_planned(earlier), _planned(info), strict=True)
    )


def _planned(info: RunInfo) -> tuple[set[str], ...]:
    """Return columns, kernels, variations, and modes of each variation."""
    return (
        {column.id for column in info.columns if column.status == "ready"},
        {kernel.name for kernel in info.kernels},
        set(info.variations),
        {f"{name} {mode}" for name in info.variations for mode in info.variation_modes.get(name, info.modes)},
    )
