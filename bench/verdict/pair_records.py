"""Decides which records of timing pairs count, by the rules that hold for rounds.

A pair is left out, and listed with the reason, if it was measured with another version of the suite, if its path
contradicts its content, if run.json claims something else (column, mode, lock, engine, host, run, versions, GPU), if
its two sides differ in what they must have alike, or if it repeats a process.
"""

from __future__ import annotations

import json
from operator import itemgetter
from typing import TYPE_CHECKING

from bench.suite.paired_record import pair_name
from bench.verdict import claims, validity
from bench.verdict.observations import modes, variations

if TYPE_CHECKING:
    from bench.store.run import Run
    from bench.store.run_info import RunInfo
    from bench.suite.paired_record import PairedRecord

    #: What identifies a process: when it started, its id, and the name of its host, which a container has of its own.
    Identity = tuple[str, int, str]


def sort_pairs(run: Run) -> tuple[tuple[PairedRecord, ...], tuple[tuple[str, str], ...]]:
    """Return the pairs that count, by path, and those left out, each with its path and the reason."""
    accepted: list[PairedRecord] = []
    left_out: list[tuple[str, str]] = []
    seen: dict[Identity, str] = {}
    for path, record in sorted(run.paired.items()):
        reason = _reason(run.info, path, record) or _copied(record, path, seen)
        if reason:
            left_out.append((path, reason))
        else:
            accepted.append(record)
    return tuple(accepted), tuple(left_out)


def _reason(info: RunInfo, path: str, record: PairedRecord) -> str:
    """Say why a pair does not count, or return ""."""
    if all(kernel.outcome == "gpu-not-visible" and not kernel.blocks for kernel in record.kernels):
        return ""  # it has no times
    if record.suite_hash != info.suite_hash:
        return "outdated: measured with another version of the suite"
    old, new = record.requests["a"], record.requests["b"]
    name = pair_name(record.comparison, record.number, old.column)
    if path != f"paired/{new.column}/{name}.jsonl":
        return f"its content says that it is {name} of {new.column}"
    for request in (old, new):
        if request.variation != new.variation or request.variation not in variations(info):
            return "run.json has no such variation"
        if request.mode not in modes(info, request.variation):
            return "run.json has no such mode for this variation"
    return (
        claims.pair_contradiction(info, record, reused_from=info.reused.get(path, ""))
        or _unequal_sides(record)
        or _without_process(record)
    )


def _unequal_sides(record: PairedRecord) -> str:
    """Say in what the two sides differ, although they are of one column, or return ""."""
    if record.comparison == "upgrade":
        return ""  # each side has the defaults of its TensorFlow
    if invalid := validity.other_processes(record.processes):
        return invalid.reason
    for key in validity.SAME_SETTINGS:
        a, b = (
            {json.dumps(process.settings.get(key), default=str) for process in record.processes if process.side == side}
            for side in "ab"
        )
        if a and b and a != b:  # processes of a custom kernel with a hook may differ from the others of their side
            return f"its two sides differ in {key}"
    return ""


def _without_process(record: PairedRecord) -> str:
    """Say which side has times, but no process that says what it ran with, or return ""."""
    timed = {block.side for kernel in record.kernels for block in kernel.blocks}
    lacking = sorted(timed - {process.side for process in record.processes})
    return f"side {lacking[0]} has times, but no settings, so that its mode is unknown" if lacking else ""


def _copied(record: PairedRecord, path: str, seen: dict[Identity, str]) -> str:
    """Say which process of this pair occurred before, or return "" and remember its processes in ``seen``."""
    identities = [
        (process.started, process.pid, str(process.provenance.get("hostname", ""))) for process in record.processes
    ]
    for identity in filter(itemgetter(0), identities):
        if identity in seen or identities.count(identity) > 1:
            return f"a copy: it has the same process as {seen.get(identity, 'its other side')}"
    seen.update(dict.fromkeys(identities, path))
    return ""
