"""What ``compare`` prints: a comparison for a terminal, as Markdown and as JSON, and what its gates find."""

from __future__ import annotations

import json
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING

from bench.report.build.upgrade import compared, summary
from bench.report.formatting import clean
from bench.report.json import render as json_render
from bench.report.text.layout import WIDTH, wrapped
from bench.report.text.markdown import plain
from bench.report.view import Comparison
from bench.verdict.comparison import Bits, Event
from bench.verdict.status import Status

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from bench.report.view import Upgrade, UpgradeLine, UpgradeRow

__all__ = ["GATES", "Format", "compared", "comparison", "findings", "not_compared", "render", "uncompared"]

#: Of the JSON document.
SCHEMA = 2
_HEADS = ("Kernel", "Where", "What happened", "Before", "After", "Bits", "Time")
_UNIT = "A result is one kernel under one variation in one mode. A line below may stand for several results."
#: Reasons that are named where results are not compared.
_MOST_REASONS = 3
#: The events that each gate of ``--fail-on`` is about.
GATES: Mapping[str, frozenset[Event]] = {
    "regressed": frozenset({Event.REGRESSED, Event.NONDETERMINISTIC, Event.VARIES_MORE, Event.UNCONFIRMED}),
    "errors": frozenset({Event.STARTS_RAISING}),
    "failures": frozenset({Event.STARTS_FAILING}),
    "bits-changed": frozenset({Event.BITS_CHANGED}),
    "less-evidence": frozenset({Event.LESS_EVIDENCE}),
    "slower": frozenset({Event.SLOWER}),
    "removed": frozenset({Event.REMOVED}),
}
#: Events that are about the evidence only: where nothing else happened, nothing was compared.
_OF_EVIDENCE = frozenset({Event.LESS_EVIDENCE.value, Event.MORE_EVIDENCE.value, Event.UNCONFIRMED.value})
#: Statuses of results whose bits could be compared.
_ONE_DIGEST = frozenset({Status.REPRODUCIBLE.value, Status.INCONCLUSIVE.value, Status.NAN.value})


class Format(StrEnum):
    """What a comparison can be rendered as."""

    TERMINAL = "terminal"
    MARKDOWN = "markdown"
    JSON = "json"


def comparison(
    before: str, after: str, upgrades: Sequence[Upgrade], notes: Sequence[str] = (), not_compared: int = 0
) -> Comparison:
    """Return the changes of one or more columns as one comparison.

    Args:
        before: the older side, as the user named it.
        after: the newer side.
        upgrades: the changes, one for each column.
        notes: what else the reader must know.
        not_compared: the number of columns that only one side has.
    """
    notes = [*map(clean, notes), *dict.fromkeys(upgrade.note for upgrade in upgrades if upgrade.note)]
    return Comparison(
        before=clean(before),
        after=clean(after),
        sentence=summary(upgrades, not_compared),
        notes=tuple(notes),
        upgrades=tuple(upgrades),
        compared=sum(_compared(upgrade) for upgrade in upgrades),
    )


def undecided_gates(changes: Comparison, gates: Collection[str]) -> tuple[str, ...]:
    """Return the gates that say nothing, because nothing of what they are about was compared."""
    rows = sum(row.bits != Bits.UNKNOWN for upgrade in changes.upgrades for row in upgrade.rows)
    bits = rows + sum(upgrade.kept + upgrade.so_far for upgrade in changes.upgrades)
    compared_results = {"slower": sum(upgrade.timed for upgrade in changes.upgrades), "bits-changed": bits}
    return tuple(gate for gate, number in compared_results.items() if gate in gates and not number)


def _compared(upgrade: Upgrade) -> int:
    changed = sum(not set(row.events) <= _OF_EVIDENCE for row in upgrade.rows)
    return upgrade.kept + upgrade.so_far + upgrade.as_before + changed


def not_compared(upgrade: Upgrade) -> Counter[str]:
    """Return why the bits of results were not compared, and of how many results.

    Results that are nondeterministic or fail on a side have no bits to compare and do not count. A result that is
    listed because its time or evidence changed does.
    """
    counts = Counter(dict(upgrade.unknown_why))
    for row in upgrade.rows:
        statuses = {result.word for result in (row.before, row.after) if result}
        evidence = bool(_OF_EVIDENCE & set(row.events))
        if row.bits == Bits.UNKNOWN and (evidence or statuses <= _ONE_DIGEST):
            counts[row.why] += 1
    return counts


def uncompared(upgrade: Upgrade, width: int = WIDTH) -> list[str]:
    """Return what was not compared in a change, bits and times, and why."""
    bits, lines = not_compared(upgrade), []
    if bits:
        also = bits.total() - upgrade.unknown
        listed = f" ({also} of them are listed for another change)" if also else ""
        text = f"not compared: bits of {bits.total()} of {upgrade.results} results{listed}, {upgrade.label}"
        lines.append(wrapped(f"{text}: {_reasons(bits)}", width, "  "))
    if upgrade.untimed_why:
        text = f"not compared: times of {upgrade.results - upgrade.timed} of {upgrade.results} results, {upgrade.label}"
        lines.append(wrapped(f"{text}: {_reasons(dict(upgrade.untimed_why))}", width, "  "))
    return lines


def _reasons(counts: Mapping[str, int]) -> str:
    """Return reasons with their numbers, the most frequent first: ``a (469); b (6); other reasons (3)``."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    shown = ordered if len(ordered) <= _MOST_REASONS + 1 else ordered[:_MOST_REASONS]
    rest = sum(number for _, number in ordered[len(shown) :])
    others = [f"other reasons ({rest})"] if rest else []
    return "; ".join([*(f"{reason} ({number})" for reason, number in shown), *others])


def findings(changes: Comparison, gates: Mapping[str, float], removed: Sequence[str] = ()) -> tuple[str, ...]:
    """Return one sentence for each result that breaks a gate.

    Args:
        changes: the comparison.
        gates: words of ``GATES``; the number of ``slower`` is the ratio of times up to which it passes.
        removed: the ids of columns that only the older side has.
    """
    sentences = [f"removed: {clean(name)}" for name in removed] if "removed" in gates else []
    for upgrade in changes.upgrades:
        for gate, factor in gates.items():
            events = {event.value for event in GATES[gate]}
            broken = [row for row in upgrade.rows if events & set(row.events) and _exceeds(row, gate, factor)]
            where = f", {upgrade.label}" if len(changes.upgrades) > 1 else ""
            sentences += [
                f"{gate}: {row.kernel} ({row.variation}, {row.mode}){where}: {_finding(gate, row)}" for row in broken
            ]
        if upgrade.gone and "removed" in gates:
            sentences.append(f"removed: {upgrade.gone} results of {upgrade.label} are no longer planned")
    return tuple(sentences)


def _exceeds(row: UpgradeRow, gate: str, factor: float) -> bool:
    return gate != "slower" or (row.overhead is not None and row.overhead.ratio > factor)


def _finding(gate: str, row: UpgradeRow) -> str:
    """What happened to a result, in the words of the gate."""
    if gate == "slower":
        return row.time
    if gate == "bits-changed":
        return row.distance or "how far is not known"
    statuses = [result.status if result else "nothing" for result in (row.before, row.after)]
    return f"{row.events[0]}, {' to '.join(statuses)}"


def render(changes: Comparison, form: Format, width: int = WIDTH) -> str:
    """Return a comparison in one format; ``width`` is that of a terminal."""
    if form is Format.TERMINAL:
        return _terminal(changes, width)
    return {Format.MARKDOWN: _markdown, Format.JSON: _json}[form](changes)


def _texts(upgrade: Upgrade) -> list[str]:
    return [upgrade.changed_facts, *upgrade.sentences, *([f"Other results: {upgrade.rest}."] if upgrade.rest else [])]


def _terminal(changes: Comparison, width: int) -> str:
    parts = [wrapped(changes.sentence, width), *(wrapped(note, width) for note in changes.notes)]
    parts += [wrapped(_UNIT, width)] if any(upgrade.rows for upgrade in changes.upgrades) else []
    for upgrade in changes.upgrades:
        texts = [wrapped(f"  {text}", width, "    ") for text in _texts(upgrade)]
        parts.append("\n".join([wrapped(upgrade.label, width), *texts]))
        lines = [text for line in upgrade.lines for text in _happened(line)]
        parts += ["\n".join(wrapped(text, width, "      ") for text in lines)] if lines else []
    return "\n\n".join(parts) + "\n"


def _happened(line: UpgradeLine) -> list[str]:
    """What happened to a kernel and where; then its statuses, bits and time."""
    statuses = f"{line.before.status} to {line.after.status}" if line.turned else ""
    bits = line.bits.removeprefix(f"{Bits.CHANGED}, ")
    bits = f"bits {bits}" if bits.startswith(Bits.UNKNOWN) else bits
    details = "; ".join(filter(None, (statuses, bits, line.time)))
    return [f"- {line.kernel}, {line.where}: {', '.join(line.events)}", *([f"    {details}"] if details else [])]


def _markdown(changes: Comparison) -> str:
    lines = [f"**{plain(changes.sentence)}**", "", *(f"- {plain(note)}" for note in changes.notes)]
    lines += [""] if changes.notes else []
    for upgrade in changes.upgrades:
        lines += [f"## {plain(upgrade.label)}", "", " ".join(map(plain, _texts(upgrade))), ""]
        if upgrade.lines:
            rows = [_HEADS, ["---"] * len(_HEADS), *(_row(line) for line in upgrade.lines)]
            lines += [*(f"| {' | '.join(row)} |" for row in rows), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _row(line: UpgradeLine) -> list[str]:
    statuses = [line.before.status, line.after.status]
    return [*map(plain, (line.kernel, line.where, ", ".join(line.events), *statuses, line.bits, line.time))]


def _json(changes: Comparison) -> str:
    document = {"schema": SCHEMA, **json_render.data(changes)}
    return json.dumps(document, indent=1, ensure_ascii=True, allow_nan=False) + "\n"
