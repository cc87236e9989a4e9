"""Going on where a run stopped: which finished rounds of interrupted runs may be reused.

A round is reused only if its resume key is the same: suite, lock or image, device, driver, engine
and every setting. Only runs after the last finished one of the same plan count: a nightly run measures afresh.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from bench.errors import StorageError
from bench.store import find_run
from bench.store.run import UNREADABLE, read_info, record_files
from bench.suite import record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bench.store.run_info import RunInfo

#: Outcomes that are results, whoever asks again.
_TAKEN = frozenset({"ok", "error"})
#: Of a kernel that was not run: there was no GPU for it.
_NOT_RUN = "gpu-not-visible"


def resume_key(facts: Mapping[str, Any]) -> str:
    """SHA-256 of all that a round depends on, hexadecimal."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def interrupted(reports: Path, like: RunInfo) -> tuple[Path, ...]:
    """Folders of unfinished runs, newest first, back to a finished one of this plan or one that went on from them."""
    found: list[Path] = []
    for folder in reversed(find_run.every(reports)):
        try:
            info = read_info(folder)
        except StorageError:
            continue  # what cannot be understood has nothing to give
        if not info.finished:
            found.append(folder)
            if "--no-resume" in info.command.split():
                break  # whoever started over meant it
        elif info.reused or _plan(info) == _plan(like):
            break  # what it took over has served: no round is ever used for two finished runs
    return tuple(found)


def _plan(info: RunInfo) -> tuple[object, ...]:
    """What a run set out to do."""
    columns, kernels = tuple(column.id for column in info.columns), tuple(kernel.name for kernel in info.kernels)
    variations = tuple(sorted(info.variation_modes.items()))
    return (info.profile, info.rounds, info.repetitions, info.seed, info.engine, columns, kernels, variations)


def measured_again(folders: tuple[Path, ...]) -> dict[str, str]:
    """Resume key -> what died in a round of an interrupted run that is therefore not reused.

    It may have been killed from outside, so it gets another chance; but the page must not forget it.
    """
    found: dict[str, str] = {}
    for file, whole in _whole_records(folders):
        died = [one for one in whole.outcomes if one.outcome not in {*_TAKEN, _NOT_RUN}]
        if died:
            run = str(whole.request.context.get("run", file.parts[-5]))
            kernels = ", ".join(f"{one.kernel} ({one.outcome})" for one in died)
            found.setdefault(str(whole.request.context.get("resume_key", "")), f"in run {run}: {kernels}")
    return found


def _whole_records(folders: tuple[Path, ...]) -> Iterator[tuple[Path, record.Record]]:
    for folder in folders:
        for file in record_files(folder):
            try:
                whole = record.read(file)
            except UNREADABLE:
                continue
            if whole.complete:
                yield file, whole


def finished_rounds(folders: tuple[Path, ...]) -> dict[str, tuple[Path, str]]:
    """Resume key -> (record file, id of the run that measured it) of every whole record in which nothing died."""
    found: dict[str, tuple[Path, str]] = {}
    for file, whole in _whole_records(folders):
        key = str(whole.request.context.get("resume_key", ""))
        if key and all(one.outcome in _TAKEN for one in whole.outcomes):
            found.setdefault(key, (file, str(whole.request.context.get("run", file.parts[-5]))))
    return found
