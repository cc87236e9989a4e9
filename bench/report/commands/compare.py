"""What ``python -m bench compare A B`` prints: a comparison for the terminal, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING

from bench.report.build.upgrade import compared, summary
from bench.report.formatting import clean
from bench.report.json import render as json_render
from bench.report.text.markdown import plain
from bench.report.view import Comparison
from bench.verdict.comparison import Bits, Event
from bench.verdict.status import Status

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from bench.report.view import Upgrade, UpgradeLine, UpgradeRow

__all__ = ["GATES", "Format", "compared", "comparison", "findings", "not_compared", "render"]

#: Of the JSON document.
SCHEMA = 2
_HEADS = ("Kernel", "Where", "What happened", "Before", "After", "Bits", "Time")
#: What each word of ``--fail-on`` is about.
GATES: Mapping[str, frozenset[Event]] = {
    "regressed": frozenset({Event.REGRESSED, Event.NONDETERMINISTIC, Event.VARIES_MORE, Event.UNCONFIRMED}),
    "errors": frozenset({Event.STARTS_RAISING}),
    "failures": frozenset({Event.STARTS_FAILING}),
    "bits-changed": frozenset({Event.BITS_CHANGED}),
    "less-evidence": frozenset({Event.LESS_EVIDENCE}),
    "slower": frozenset({Event.SLOWER}),
    "removed": frozenset({Event.REMOVED}),
}
#: What is only said of the evidence: where nothing else happened, nothing was compared.
_OF_EVIDENCE = frozenset({Event.LESS_EVIDENCE.value, Event.MORE_EVIDENCE.value, Event.UNCONFIRMED.value})


#: Statuses with bits that could be compared.
_ONE_DIGEST = frozenset({Status.REPRODUCIBLE.value, Status.INCONCLUSIVE.value, Status.NAN.value})


class Format(StrEnum):
    """What a comparison can be rendered as."""

    TERMINAL = "terminal"
    MARKDOWN = "markdown"
    JSON = "json"


def comparison(
    before: str, after: str, upgrades: Sequence[Upgrade], notes: Sequence[str] = (), apart: int = 0
) -> Comparison:
    """Changes of one or more columns as one comparison; ``before`` and ``after`` are what was asked for.

    ``apart`` columns are of one side only.
    """
    notes = [*map(clean, notes), *dict.fromkeys(one.note for one in upgrades if one.note)]
    return Comparison(
        before=clean(before),
        after=clean(after),
        sentence=summary(upgrades, apart),
        notes=tuple(notes),
        upgrades=tuple(upgrades),
        compared=sum(_compared(one) for one in upgrades),
    )


def blind_gates(found: Comparison, gates: Collection[str]) -> tuple[str, ...]:
    """The gates that nothing went through, for nothing of what they are about was compared."""
    rows = sum(row.bits != Bits.UNKNOWN for one in found.upgrades for row in one.rows)
    bits = rows + sum(one.kept + one.so_far for one in found.upgrades)
    seen = {"slower": sum(one.timed for one in found.upgrades), "bits": bits}
    return tuple(word for word, number in seen.items() if word in gates and not number)


def _compared(one: Upgrade) -> int:
    told = sum(not set(row.events) <= _OF_EVIDENCE for row in one.rows)
    return one.kept + one.so_far + one.as_before + told


def not_compared(one: Upgrade) -> Counter[str]:
    """Why bits of results were not compared, and of how many; what varies, raises or fails on a side has none.

    A result that is listed for its time, or for weaker evidence, is one of these too.
    """
    found = Counter(dict(one.unknown_why))
    for row in one.rows:
        sides = {half.word for half in (row.before, row.after) if half}
        evidence = bool(_OF_EVIDENCE & set(row.events))
        if row.bits == Bits.UNKNOWN and (evidence or sides <= _ONE_DIGEST):
            found[row.why] += 1
    return found


def findings(found: Comparison, gates: Mapping[str, float], gone: Sequence[str] = ()) -> tuple[str, ...]:
    """One sentence for each result that a gate is about.

    ``gates`` maps words of ``GATES`` to a factor: a time that rose by no more is let pass. ``gone`` names columns.
    """
    told = [f"removed: {clean(name)}" for name in gone] if "removed" in gates else []
    for one in found.upgrades:
        for word, factor in gates.items():
            events = {event.value for event in GATES[word]}
            told += [
                _finding(word, one, row) for row in one.rows if events & set(row.events) and _over(row, word, factor)
            ]
        if one.gone and "removed" in gates:
            told.append(f"removed: {one.gone} results of {one.label} are planned no more")
    return tuple(told)


def _over(row: UpgradeRow, word: str, factor: float) -> bool:
    return word != "slower" or (row.overhead is not None and row.overhead.ratio > factor)


def _finding(word: str, one: Upgrade, row: UpgradeRow) -> str:
    what = {"bits": f"bits changed{f', {row.distance}' if row.distance else ''}", "slower": row.time}.get(word, "")
    if not what:
        states = [half.status if half else "nothing" for half in (row.before, row.after)]
        what = f"{row.events[0]}, {' to '.join(states)}"
    return f"{word}: {row.kernel} ({row.variation}, {row.mode}), {one.label}: {what}"


def render(found: Comparison, form: Format, width: int = 120) -> str:
    """A comparison in one format."""
    return {Format.TERMINAL: _terminal, Format.MARKDOWN: _markdown, Format.JSON: _json}[form](found, width)


def _row(line: UpgradeLine) -> list[str]:
    return [
        line.kernel, line.where, ", ".join(line.events), line.before.status, line.after.status, line.bits, line.time,
    ]  # fmt: skip


def _texts(one: Upgrade) -> list[str]:
    return [one.moved, *one.sentences, *([f"Of the others: {one.rest}."] if one.rest else [])]


def _terminal(found: Comparison, width: int) -> str:
    from tabulate import tabulate  # noqa: PLC0415 - start-up stays quick without it

    parts = [found.sentence, *found.notes]
    bits = max(24, width // 4)
    for one in found.upgrades:
        parts.append("\n".join([one.label, *(f"  {text}" for text in _texts(one))]))
        if one.lines:
            table = tabulate(
                list(map(_row, one.lines)),
                _HEADS,
                tablefmt="simple",
                disable_numparse=True,
                maxcolwidths=[None, 22, 20, None, None, bits, bits],
            )
            parts.append("\n".join(line.rstrip() for line in table.split("\n")))
    return "\n\n".join(parts) + "\n"


def _markdown(found: Comparison, _: int) -> str:
    lines = [f"**{plain(found.sentence)}**", "", *(f"- {plain(note)}" for note in found.notes)]
    lines += [""] if found.notes else []
    for one in found.upgrades:
        lines += [f"## {plain(one.label)}", "", " ".join(map(plain, _texts(one))), ""]
        if one.lines:
            rows = [_HEADS, ["---"] * len(_HEADS), *([plain(text) for text in _row(line)] for line in one.lines)]
            lines += [*(f"| {' | '.join(row)} |" for row in rows), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _json(found: Comparison, _: int) -> str:
    document = {"schema": SCHEMA, **json_render.data(found)}
    return json.dumps(document, indent=1, ensure_ascii=True, allow_nan=False) + "\n"
