"""Build the details of every cell: its digests, notes, processes, and the command that reproduces it."""

from __future__ import annotations

import dataclasses
from itertools import groupby
from typing import TYPE_CHECKING

from bench.report.build.columns import labels
from bench.report.build.distances import Changes
from bench.report.build.matrix import MODES, level
from bench.report.build.notes import notes, place, together
from bench.report.build.reproduce import line
from bench.report.formatting import TIMES, bits, clean, hexadecimal
from bench.report.view import Detail, Fact, Part, Processes, ProcessLine
from bench.verdict import detection
from bench.verdict.messages import count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.report.view import ModeResult, Row
    from bench.verdict.observations import ProcessObservation
    from bench.verdict.results import RunResults, Verdict

#: Digests that are listed, and samples of a process that are drawn.
_MOST_DIGESTS, _MOST_SAMPLES = 6, 40


def details(results: RunResults, rows: Sequence[Row]) -> tuple[Detail, ...]:
    """Return one detail for each cell that was measured, in the order of the matrix."""
    names = labels(results)
    changes = Changes(results)
    with_records = {key[0] for key in results.groups}
    return tuple(
        _detail(results, changes, row, number, names[number], f"e{number}" if column.id in with_records else "")
        for row in rows
        for number, column in enumerate(results.info.columns)
        if not row.entries[number].blocked
    )


def _detail(results: RunResults, changes: Changes, row: Row, number: int, label: str, environment: str) -> Detail:
    column, kernel = results.info.columns[number], results.info.kernels[row.index]
    entry = row.entries[number]
    by_variation = {sub.variation: sub.entries[number] for sub in row.results}
    verdicts, parts = [], []
    for variation in results.variations:
        off, on = (results.of(column.id, kernel.name, variation, mode) for mode in MODES)
        if off or on:
            shown = by_variation[clean(variation)]
            verdicts.append((off, on))
            parts.append((_part(off, shown.off) if off else None, _part(on, shown.on) if on else None))
    changed = [change for off, on in verdicts if (change := changes.of(off, on))]
    return Detail(
        index=row.index,
        column=clean(column.id),
        label=label,
        kernel=clean(kernel.name),
        anchor=entry.anchor,
        environment=environment,
        entry=entry,
        pairs=tuple(parts),
        notes=notes(results, column.id, kernel.name, verdicts, changed),
        processes=_processes_that_differ([verdict for pair in verdicts for verdict in pair if verdict]),
        changes=tuple(changed),
        accuracy=tuple(
            (clean(variation), accuracy.word)
            for variation in results.variations
            if (accuracy := results.accuracy(column.id, kernel.name, variation))
        ),
        reproduce_command=line(results, column, kernel),
    )


def _part(verdict: Verdict, mode_result: ModeResult) -> Part:
    digests = () if verdict.invalid else verdict.comparison.digests
    numbers = _numbers(verdict) if len(digests) > 1 else {}
    powerful = mode_result.detection_power is not None and not verdict.comparison.varies and not verdict.control
    evidence = (
        level(verdict.level),
        detection.sentence(verdict.comparison.repetitions) if powerful else "",
        f"{count(verdict.reused, 'record')} reused" if verdict.reused else "",
    )
    return Part(
        variation=clean(verdict.variation),
        mode_result=mode_result,
        evidence="; ".join(filter(None, evidence)),
        digests=_digests(digests, numbers),
        times=verdict.timing.per_process if verdict.timing else (),
    )


def _numbers(verdict: Verdict) -> dict[str, int]:
    """Number the digests in the order in which they appeared, so that a list of them is short."""
    order = dict.fromkeys(sample.digest for process in verdict.observations for sample in process.own if sample.digest)
    return {digest: number for number, digest in enumerate(order, 1)}


def _digests(digests: Sequence[tuple[str, int]], numbers: Mapping[str, int]) -> tuple[Fact, ...]:
    """Return the most frequent digests, each with its number and count, and how many more there are."""
    several = len(digests) > 1
    listed = [
        Fact(
            label=f"{numbers[digest]}: {hexadecimal(digest)}" if several and digest in numbers else hexadecimal(digest),
            value=f"{TIMES}{number}",
        )
        for digest, number in sorted(digests[:_MOST_DIGESTS], key=lambda item: numbers.get(item[0], 0))
    ]
    more = len(digests) - len(listed)
    return (*listed, *([Fact(label=f"and {more} more", value="")] if more else []))


def _processes_that_differ(verdicts: Sequence[Verdict]) -> tuple[Processes, ...]:
    """Return the processes of the verdicts in which they do not all agree; equal lists are returned once."""
    places = [place(verdict) for verdict in verdicts]
    by_lines: dict[tuple[ProcessLine, ...], list[str]] = {}
    for verdict in verdicts:
        if verdict.passed or verdict.invalid or _uniform(verdict):
            continue
        lines = _processes(verdict)
        endings = {process.outcome for process in verdict.observations}
        agree = len(lines) == 1 and len(verdict.comparison.digests) <= 1 and {lines[0].note} <= {"", *endings}
        if lines and not agree:
            by_lines.setdefault(lines, []).append(place(verdict))
    return tuple(Processes(where=together(where, places), lines=lines) for lines, where in by_lines.items())


def _uniform(verdict: Verdict) -> bool:
    """Return whether all processes agree, as far as that is clear without a look at each of them."""
    kinds = {(process.outcome, process.process, len(process.repetitions)) for process in verdict.observations}
    return len(verdict.comparison.digests) == 1 and len(kinds) == 1 and next(iter(kinds))[:2] == ("ok", 1)


def _processes(verdict: Verdict) -> tuple[ProcessLine, ...]:
    """Return one line per process; consecutive processes with the same result share a line."""
    numbers = _numbers(verdict)
    lines = [_process(observation, numbers) for observation in verdict.observations]
    merged = []
    for _, equal in groupby(lines, key=lambda line: (line.bits, line.note)):
        group = list(equal)
        first, last = group[0].name.removeprefix("round "), group[-1].name.removeprefix("round ")
        merged.append(
            dataclasses.replace(
                group[0],
                name=group[0].name if len(group) == 1 else f"rounds {first} to {last}",
                second_seed=", ".join(dict.fromkeys(line.second_seed for line in group if line.second_seed)),
            )
        )
    return tuple(merged)


def _process(observation: ProcessObservation, numbers: Mapping[str, int]) -> ProcessLine:
    own = {sample.digest for sample in observation.repetitions}
    other = [sample for sample in observation.later_calls if own and sample.digest not in own]
    notes = [
        clean(observation.outcome) if observation.outcome != "ok" else "",
        f"process {observation.process} of its round" if observation.process > 1 else "",
        f"a later call gave other bits: {numbers.get(other[0].digest, '')}".rstrip(": ") if other else "",
    ]
    samples = [numbers[sample.digest] for sample in observation.repetitions if sample.digest in numbers]
    return ProcessLine(
        name=f"round {observation.round}",
        bits=bits(samples),
        samples=tuple(samples[:_MOST_SAMPLES]),
        second_seed=_second_seed(observation),
        note="; ".join(filter(None, notes)),
    )


def _second_seed(observation: ProcessObservation) -> str:
    """Return whether another seed gave other bits in this process; "" where it ran none."""
    own = {sample.digest for sample in observation.repetitions}
    if not observation.second_seeds or not own:
        return ""
    return "same" if any(sample.digest in own for sample in observation.second_seeds) else "differs"
