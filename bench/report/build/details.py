"""The evidence of the view: every digest, every cost and every difference behind a verdict."""

from __future__ import annotations

import dataclasses
from itertools import groupby
from typing import TYPE_CHECKING

from bench.report.build.columns import labels
from bench.report.build.distances import Changes
from bench.report.build.matrix import level, of_verdict
from bench.report.build.notes import notes, place, together
from bench.report.build.reproduce import line
from bench.report.formatting import TIMES, bits, clean, hexadecimal
from bench.report.view import Detail, Fact, Part, Processes, ProcessLine
from bench.verdict.messages import count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.report.view import Entry, ModeResult, Row
    from bench.verdict.observations import ProcessObservation
    from bench.verdict.results import RunResults, Verdict

_MOST_DIGESTS = 6


def details(results: RunResults, rows: Sequence[Row]) -> tuple[Detail, ...]:
    """One detail for each kernel and each column that has evidence, in the order of the matrix."""
    names = labels(results)
    changes = Changes(results)
    spoken = {key[0] for key in results.groups}
    found = []
    for row in rows:
        for number, entry in enumerate(row.entries):
            column = results.info.columns[number].id
            if not entry.blocked:
                environment = f"e{number}" if column in spoken else ""
                found.append(_detail(results, changes, number, row, names[number], environment, entry))
    return tuple(found)


def _detail(
    results: RunResults, changes: Changes, number: int, row: Row, label: str, environment: str, entry: Entry
) -> Detail:
    column = results.info.columns[number].id
    kernel = results.info.kernels[row.index].name
    verdicts = [
        (results.of(column, kernel, variation, "off"), results.of(column, kernel, variation, "on"))
        for variation in results.variations
    ]
    verdicts = [pair for pair in verdicts if any(pair)]
    known = entry.halves if len(results.variations) == 1 else (None, None)
    changed = [change for off, on in verdicts if (change := changes.of(off, on))]
    return Detail(
        index=row.index,
        column=clean(column),
        label=label,
        kernel=clean(kernel),
        anchor=entry.anchor,
        environment=environment,
        entry=entry,
        pairs=tuple(
            (_part(results, off, known[0]) if off else None, _part(results, on, known[1]) if on else None)
            for off, on in verdicts
        ),
        notes=notes(results, column, kernel, verdicts, changed),
        processes=_one_by_one([verdict for pair in verdicts for verdict in pair if verdict]),
        changes=tuple(changed),
        replay=line(results, results.info.columns[number], results.info.kernels[row.index]),
    )


def _part(results: RunResults, verdict: Verdict, half: ModeResult | None) -> Part:
    """One variation and mode; ``half`` is what the matrix shows of it, where that is made already."""
    digests = verdict.comparison.digests
    numbers = _numbers(verdict) if len(digests) > 1 else {}
    evidence = [
        level(verdict.level),
        f"{count(verdict.reused, 'record')} reused" if verdict.reused else "",
    ]
    return Part(
        variation=clean(verdict.variation),
        half=half or of_verdict(results, verdict, verdict.mode),
        evidence="; ".join(filter(None, evidence)),
        digests=_digests(digests, numbers),
        times=verdict.timing.per_process if verdict.timing else (),
    )


def _numbers(verdict: Verdict) -> dict[str, int]:
    """A number for each digest, in the order in which they were seen, so that a list of them is short."""
    order = dict.fromkeys(
        sample.digest for one in verdict.observations for sample in (*one.repetitions, *one.timings) if sample.digest
    )
    return {digest: number for number, digest in enumerate(order, 1)}


def _digests(found: Sequence[tuple[str, int]], numbers: Mapping[str, int]) -> tuple[Fact, ...]:
    """The most frequent digests, each with its number and count, and how many more there are."""
    many = len(found) > 1
    shown = [
        Fact(
            label=f"{numbers[digest]}: {hexadecimal(digest)}" if many and digest in numbers else hexadecimal(digest),
            value=f"{TIMES}{number}",
        )
        for digest, number in sorted(found[:_MOST_DIGESTS], key=lambda item: numbers.get(item[0], 0))
    ]
    more = len(found) - len(shown)
    return (*shown, *([Fact(label=f"and {more} more", value="")] if more else []))


def _one_by_one(verdicts: Sequence[Verdict]) -> tuple[Processes, ...]:
    """The processes of verdicts in which they do not all say the same; those that read alike are told once."""
    places = [place(verdict) for verdict in verdicts]
    found: dict[tuple[ProcessLine, ...], list[str]] = {}
    for verdict in verdicts:
        if verdict.passed or verdict.invalid or _uniform(verdict):
            continue
        lines = _processes(verdict)
        endings = {one.outcome for one in verdict.observations}
        alike = len(lines) == 1 and len(verdict.comparison.digests) <= 1 and {lines[0].note} <= {"", *endings}
        if lines and not alike:
            found.setdefault(lines, []).append(place(verdict))
    return tuple(Processes(where=together(where, places), lines=lines) for lines, where in found.items())


def _uniform(verdict: Verdict) -> bool:
    """Whether it is plain, without a look at each process, that all say the same."""
    alike = {(one.outcome, one.process, len(one.repetitions)) for one in verdict.observations}
    calm = all(sample.steady_agrees is not False for one in verdict.observations for sample in one.timings)
    return len(verdict.comparison.digests) == 1 and len(alike) == 1 and calm and next(iter(alike))[:2] == ("ok", 1)


def _processes(verdict: Verdict) -> tuple[ProcessLine, ...]:
    """One line a process; neighbours that say the same share one, whoever had the contrast."""
    numbers = _numbers(verdict)
    lines = [_process(observation, numbers) for observation in verdict.observations]
    found = []
    for _, alike in groupby(lines, key=lambda line: (line.bits, line.note)):
        group = list(alike)
        names = [group[0].name, group[-1].name.removeprefix("round ")]
        found.append(
            dataclasses.replace(
                group[0],
                name=group[0].name if len(group) == 1 else f"rounds {names[0].removeprefix('round ')} to {names[1]}",
                second_seed=", ".join(dict.fromkeys(line.second_seed for line in group if line.second_seed)),
            )
        )
    return tuple(found)


def _process(observation: ProcessObservation, numbers: Mapping[str, int]) -> ProcessLine:
    own = {sample.digest for sample in observation.repetitions}
    apart = [sample for sample in observation.timings if own and sample.digest not in own]
    notes = [
        clean(observation.outcome) if observation.outcome != "ok" else "",
        f"process {observation.process} of its round{', timed again' if observation.again else ''}"
        if observation.process > 1
        else "",
        "a later call gave other bits" if any(one.steady_agrees is False for one in observation.samples) else "",
        f"its timing pass gave other bits: {numbers.get(apart[0].digest, '')}".rstrip(": ") if apart else "",
    ]
    return ProcessLine(
        name=f"round {observation.round}",
        bits=bits([numbers[sample.digest] for sample in observation.repetitions if sample.digest in numbers]),
        second_seed=_contrast(observation),
        note="; ".join(filter(None, notes)),
    )


def _contrast(observation: ProcessObservation) -> str:
    """Whether another seed gave other bits in this process; "" where it ran none."""
    own = {sample.digest for sample in observation.repetitions}
    if not observation.second_seeds or not own:
        return ""
    return "same" if any(sample.digest in own for sample in observation.second_seeds) else "differs"
