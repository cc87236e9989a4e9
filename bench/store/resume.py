"""Find the finished rounds of interrupted runs that a new run may reuse.

A round is reused only with the same resume key: suite, lock or image, device, driver, engine and every setting. Only
runs after the last finished one of the same plan count, so that a nightly run measures everything anew.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from bench.errors import StorageError
from bench.store import find_run
from bench.store.read_record import UNREADABLE, read_pair, read_record
from bench.store.run import pair_files, read_info, record_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bench.store.run_info import RunInfo
    from bench.suite.record import Record

#: Outcomes after which a round is reused.
_REUSED = frozenset({"ok", "error"})
#: The outcome of a kernel that was not run, because there was no GPU for it.
_NOT_RUN = "gpu-not-visible"


def resume_key(facts: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all that a round depends on, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def interrupted(reports: Path, like: RunInfo) -> tuple[Path, ...]:
    """Return the folders of unfinished runs whose rounds the run ``like`` may reuse, newest first.

    They end at a finished run of the same plan, at one that has reused rounds, and at a run with ``--no-resume``.
    """
    folders: list[Path] = []
    for folder in reversed(find_run.every(reports)):
        try:
            info = read_info(folder)
        except StorageError:
            continue  # a run that cannot be read has nothing to reuse
        if not info.finished:
            folders.append(folder)
            if "--no-resume" in info.command.split():
                break
        elif info.reused or _plan(info) == _plan(like):
            break  # the rounds before it have been used: none may count for two finished runs
    return tuple(folders)


def _plan(info: RunInfo) -> tuple[object, ...]:
    """Return everything that a run set out to measure."""
    columns, kernels = tuple(column.id for column in info.columns), tuple(kernel.name for kernel in info.kernels)
    variations = tuple(sorted(info.variation_modes.items()))
    return (info.profile, info.rounds, info.repetitions, info.seed, info.engine, columns, kernels, variations)


def measured_again(folders: tuple[Path, ...]) -> dict[str, str]:
    """Return resume key -> what died, for rounds of interrupted runs that are not reused for that reason.

    The process may have been killed from outside, so it is run again; but the page must still mention it.
    """
    died: dict[str, str] = {}
    for file, record in _complete_records(folders):
        outcomes = [outcome for outcome in record.outcomes if outcome.outcome not in {*_REUSED, _NOT_RUN}]
        if outcomes:
            kernels = ", ".join(f"{outcome.kernel} ({outcome.outcome})" for outcome in outcomes)
            died.setdefault(
                str(record.request.context.get("resume_key", "")), f"in run {_run(file, record)}: {kernels}"
            )
    return died


def finished_rounds(folders: tuple[Path, ...]) -> dict[str, tuple[Path, str]]:
    """Return resume key -> (record file, id of the run that measured it) of complete records in which nothing died."""
    rounds: dict[str, tuple[Path, str]] = {}
    for file, record in _complete_records(folders):
        key = str(record.request.context.get("resume_key", ""))
        if key and all(outcome.outcome in _REUSED for outcome in record.outcomes):
            rounds.setdefault(key, (file, _run(file, record)))
    return rounds


def finished_pairs(folders: tuple[Path, ...]) -> dict[str, tuple[Path, str]]:
    """Return resume key -> (record file, id of the run that measured it), by the rules of ``finished_rounds``.

    Both requests of a pair have its key in their context.
    """
    pairs: dict[str, tuple[Path, str]] = {}
    for file in (file for folder in folders for file in pair_files(folder)):
        try:
            record = read_pair(file)
        except UNREADABLE:
            continue
        context = record.requests["b"].context
        key = str(context.get("resume_key", ""))
        if key and record.complete and all(kernel.outcome in _REUSED for kernel in record.kernels):
            pairs.setdefault(key, (file, str(context.get("run", file.parts[-4]))))
    return pairs


def _run(file: Path, record: Record) -> str:
    """Return the id of the run that measured a record, by default that of the folder it is in."""
    return str(record.request.context.get("run", file.parts[-5]))


def _complete_records(folders: tuple[Path, ...]) -> Iterator[tuple[Path, Record]]:
    for folder in folders:
        for file in record_files(folder):
            try:
                record = read_record(file)
            except UNREADABLE:
                continue
            if record.complete:
                yield file, record
