"""The evidence of the view: every digest, every process, every setting behind a verdict."""

from __future__ import annotations

import dataclasses
from itertools import groupby
from typing import TYPE_CHECKING, Any

from bench.report.matrix import labels, of_verdict, rung
from bench.report.text import TIMES, cap, clean, hexadecimal, listed, seconds
from bench.report.view import Detail, Environment, Fact, Part, ProcessLine
from bench.verdict.sentences import count
from bench.verdict.timing import Kind, process_median

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.report.view import Entry, Row
    from bench.suite.record import Sample
    from bench.verdict.evidence import Kept, Witness
    from bench.verdict.judgement import Judgement, Verdict

#: Provenance that is shown elsewhere or once per kernel.
_NOT_SHOWN = frozenset({"kernel_hashes"})
_MOST_VALUES = 4
_MOST_DIGESTS = 8


def details(judgement: Judgement, rows: Sequence[Row]) -> tuple[Detail, ...]:
    """One detail for each kernel and each column that has evidence, in the order of the matrix."""
    names = labels(judgement)
    found = []
    for row in rows:
        for place, entry in enumerate(row.entries):
            cell = judgement.info.cells[place].id
            if not entry.blocked:
                found.append(_detail(judgement, cell, row, names[place], entry))
    return tuple(found)


def _detail(judgement: Judgement, cell: str, row: Row, label: str, entry: Entry) -> Detail:
    kernel = judgement.info.kernels[row.index].name
    pairs = []
    for condition in judgement.conditions:
        verdicts = [judgement.of(cell, kernel, condition, mode) for mode in ("off", "on")]
        if any(verdicts):
            off, on = (_part(judgement, verdict) if verdict else None for verdict in verdicts)
            pairs.append((off, on))
    return Detail(
        index=row.index,
        cell=clean(cell),
        label=label,
        kernel=clean(kernel),
        anchor=entry.anchor,
        environment=f"e{entry.anchor.rpartition('-')[2]}" if any(key[0] == cell for key in judgement.groups) else "",
        entry=entry,
        pairs=tuple(pairs),
    )


def _part(judgement: Judgement, verdict: Verdict) -> Part:
    found = verdict.comparison
    numbers = {digest: str(number) for number, (digest, _) in enumerate(found.digests, 1)}
    evidence = [
        rung(verdict.rung),
        f"{count(verdict.measured, 'record')} measured now" if verdict.measured else "",
        f"{count(verdict.taken_over, 'record')} taken over" if verdict.taken_over else "",
    ]
    return Part(
        condition=clean(verdict.condition),
        half=of_verdict(judgement, verdict, verdict.mode),
        evidence="; ".join(filter(None, evidence)),
        digests=_digests(found.digests),
        processes=_processes(verdict, numbers),
        times=verdict.timing.per_process if verdict.timing else (),
        error=cap(clean(verdict.error_message, lines=True)),
    )


def _digests(found: Sequence[tuple[str, int]]) -> tuple[Fact, ...]:
    """The most frequent digests with their counts, and how many more there are."""
    shown = [Fact(label=hexadecimal(digest), value=f"{TIMES}{number}") for digest, number in found[:_MOST_DIGESTS]]
    more = len(found) - len(shown)
    return (*shown, *([Fact(label=f"and {more} more", value="")] if more else []))


def _processes(verdict: Verdict, numbers: Mapping[str, str]) -> tuple[ProcessLine, ...]:
    """One line a process; neighbours that say the same, times apart, share one."""
    lines = [_process(verdict, witness, numbers) for witness in verdict.witnesses]
    found = []
    for _, alike in groupby(lines, key=lambda line: (line.bits, line.contrast, line.note)):
        group = list(alike)
        names = [group[0].name, group[-1].name.removeprefix("round ")]
        found.append(
            dataclasses.replace(
                group[0],
                name=group[0].name if len(group) == 1 else f"rounds {names[0].removeprefix('round ')} to {names[1]}",
                time=", ".join(line.time for line in group if line.time),
            )
        )
    return tuple(found)


def _process(verdict: Verdict, witness: Witness, numbers: Mapping[str, str]) -> ProcessLine:
    kind = verdict.timing.kind if verdict.timing else Kind.FIRST
    median = process_median(witness, kind)
    notes = [
        clean(witness.outcome) if witness.outcome != "ok" else "",
        f"process {witness.process} of its round" if witness.process > 1 else "",
        "a later call gave other bits" if any(one.steady_agrees is False for one in witness.samples) else "",
        f"taken over from {clean(witness.taken_from)}" if witness.taken_from else "",
    ]
    return ProcessLine(
        name=f"round {witness.round}",
        bits=" ".join(numbers.get(sample.digest) or hexadecimal(sample.digest) for sample in witness.repeats),
        contrast=_contrast(witness.repeats, witness.contrasts),
        time=seconds(median) if median is not None else "",
        note="; ".join(filter(None, notes)),
    )


def _contrast(repeats: Sequence[Sample], contrasts: Sequence[Sample]) -> str:
    if not contrasts:
        return "none"
    own = {sample.digest for sample in repeats}
    return "same" if any(sample.digest in own for sample in contrasts) else "differs"


def environments(judgement: Judgement) -> tuple[Environment, ...]:
    """Provenance and settings of every column that has records."""
    names = labels(judgement)
    found = []
    for place, cell in enumerate(judgement.info.cells):
        groups = {key: kept for key, kept in judgement.groups.items() if key[0] == cell.id}
        if groups:
            order = [
                (condition, mode)
                for condition in judgement.conditions
                for mode in ("off", "on")
                if (cell.id, condition, mode) in groups
            ]
            by_group = [groups[cell.id, condition, mode] for condition, mode in order]
            lock = {"lock": cell.lock, "lock_hash": cell.lock_hash, **cell.environment}
            found.append(
                Environment(
                    cell=clean(cell.id),
                    label=names[place],
                    anchor=f"e{place}",
                    provenance=(*_facts([lock]), *_facts(_provenance(kept for group in by_group for kept in group))),
                    groups=tuple(f"{clean(condition)}, {mode}" for condition, mode in order),
                    settings=_settings(by_group),
                    records=tuple(_record(kept) for group in by_group for kept in group),
                )
            )
    return tuple(found)


def _provenance(records: Iterable[Kept]) -> list[Mapping[str, Any]]:
    return [process.provenance for kept in records for process in kept.record.processes]


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
    values = list(dict.fromkeys(cap(_text(document[key]), 400) for document in documents if key in document))
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
