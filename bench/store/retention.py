"""Remove old logs and old runs, by rules that the user has set. Without a rule nothing is removed."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bench.errors import StorageError
from bench.store import find_run
from bench.store.log_tails import write_tails
from bench.store.run import load, read_info

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

#: Names of run folders that this project makes; anything else is not ours and is kept.
_OURS = re.compile(r"(\d{8}T\d{6})Z-[0-9a-f]{4,16}")


def apply(
    reports: Path, keep_logs_days: int | None, keep_runs_days: int | None, keep: Collection[str] = ()
) -> list[str]:
    """Remove the logs and the runs of a reports folder that are older than so many days, None for never.

    The newest run of each kernel in each column and on each host stays, and so do the runs named in ``keep`` and those
    that are not finished or cannot be read. The ends of logs that the page shows are kept.

    Returns:
        One sentence for each thing that was removed, or could not be.
    """
    messages: list[str] = []
    seen: set[tuple[str, ...]] = set()
    for folder in reversed(find_run.every(reports)):
        match = _OURS.fullmatch(folder.name)
        measured = _measured(folder)
        if match is None or folder.is_symlink() or measured is None:
            continue
        newest = not measured <= seen or folder.name in keep
        seen |= measured
        age = datetime.now(UTC) - datetime.strptime(match[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        if keep_runs_days is not None and not newest and age > timedelta(days=keep_runs_days):
            messages += _remove(folder, f"run {folder.name}")
        elif keep_logs_days is not None and age > timedelta(days=keep_logs_days) and (folder / "logs").is_dir():
            messages += _remove_logs(folder)
    return messages


def _measured(folder: Path) -> set[tuple[str, ...]] | None:
    """Return host, engine, column and kernel of what a finished run measured, None for any other run."""
    try:
        info = read_info(folder)
    except StorageError:
        return None
    if not info.finished:
        return None
    return {
        (
            str((column.origin or info.host).get("name")),
            str(column.origin.get("engine") if column.origin else info.engine),
            column.id,
            kernel.name,
        )
        for column in info.columns
        if column.status == "ready"
        for kernel in info.kernels
    }


def _remove_logs(folder: Path) -> Iterable[str]:
    try:
        write_tails(folder, load(folder).tails)
    except StorageError as error:
        return [f"the logs of run {folder.name} are kept: {error}"]
    return _remove(folder / "logs", f"the logs of run {folder.name}")


def _remove(path: Path, what: str) -> Iterable[str]:
    try:
        shutil.rmtree(path)
    except OSError as error:
        return [f"{what} cannot be removed: {error.strerror}"]
    return [f"removed {what}, as [nightly] of matrix.toml says"]
