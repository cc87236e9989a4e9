"""The whole view as text for a terminal: what ``--full`` prints."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from bench.report.build import common_evidence
from bench.report.text.layout import WIDTH, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.report.view import (
        Candidate,
        Count,
        Entry,
        Line,
        ModeResult,
        Row,
        Since,
        Upgrade,
        UpgradeLine,
        VariationRow,
        View,
    )

#: The narrowest width that is honoured.
NARROWEST = 40
_GAP = 2
#: What tabulate adds to the width of a head.
_PADDING = 2
#: Not blanks, which tabulate would strip.
_INDENT = "- "
#: Rows of a change, and commands to reproduce, that are listed before the rest is only counted.
_MOST_ROWS, _MOST_COMMANDS = 12, 10
#: Tones of results that are worth measuring again.
_BAD = frozenset({"bad", "fault"})


def render(view: View, width: int = WIDTH) -> str:
    """Return the whole view as text of at most ``width`` characters a line.

    Names that are longer, and commands, which are there to be copied, stay whole.
    """
    width = max(width, NARROWEST)
    parts = [
        wrapped(" ".join(view.answer), width),
        _hanging([[line.rank, line.label, _answer(line)] for line in view.lines], width),
        _counts("determinism off", view.counts_off, width) + "\n" + _counts("determinism on", view.counts_on, width),
        _since(view.since, width),
        _hanging([["Run", view.run], *([fact.label, fact.value] for fact in view.facts)], width),
        *_notices(view, width),
        *_matrix(view, width),
        "* time of the first call, including trace and compilation" if _has_first(view) else "",
        _choice(view, width),
        _needs(view, width),
        _hosts(view, width),
        *_upgrades(view, width),
        _reproduce(view),
        _legend(view, width),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _answer(line: Line) -> str:
    return f"{line.sentence}; overhead: {line.overhead}" if line.overhead else line.sentence


def _has_first(view: View) -> bool:
    return any(
        result.time_kind == "first" for row in view.rows for entry in row.entries for result in entry.mode_results
    )


def _counts(label: str, counts: Sequence[Count], width: int) -> str:
    text = "  ".join(f"{count.symbol}\0{count.word}\0{count.number}" for count in counts) or "not planned"
    return wrapped(f"{label:<16} {text}", width, " " * 17).replace("\0", " ")


def run_name(since: Since) -> str:
    """`` (run, moment)`` of the last run, "" where there is none."""
    return f" ({', '.join(filter(None, (since.run, since.moment)))})" if since.run else ""


def _since(since: Since, width: int) -> str:
    """What changed since the last run, with the rows in which something did."""
    lines = [wrapped(f"Since the last run{run_name(since)}: {since.sentence}", width)]
    lines += [wrapped(f"- {note}", width, "  ") for note in since.notes]
    return "\n".join([*lines, *(line for upgrade in since.upgrades for line in _upgrade(upgrade, width, since=True))])


def _notices(view: View, width: int) -> list[str]:
    return [
        "\n".join(
            [
                wrapped(f"{notice.title}: {notice.text}", width, "  "),
                *(wrapped(f"  - {item}", width, "    ") for item in notice.items),
            ]
        )
        for notice in view.notices
    ]


def _choice(view: View, width: int) -> str:
    """Pairs ranked for all kernels, with their reasons and unknowns, and the runs that would tell more."""
    choice = view.choice
    lines = [wrapped(f"Choose: {choice.sentence} {choice.question}", width, "  ")]
    lines += [line for candidate in choice.candidates for line in _candidate(candidate, width)]
    lines += [choice.more] if choice.more else []
    for missing in choice.missing:
        lines += [wrapped(f"- {missing.why}", width, "  "), f"    {missing.command}"]
    return "\n".join(lines) if choice.sentence or choice.candidates else ""


def _candidate(candidate: Candidate, width: int) -> list[str]:
    margin = " " * 9
    overhead = f"overhead: {candidate.overhead}" if candidate.overhead else ""
    unknowns = (f"unknown: {text}" for text in candidate.unknowns)
    texts = [candidate.evidence, overhead, *candidate.reasons, *unknowns]
    head = f"{candidate.rank or '-':<9}{candidate.label}: {candidate.symbol} {candidate.fit}"
    return [wrapped(head, width, margin), *(wrapped(f"{margin}{text}", width, f"{margin}  ") for text in texts if text)]


def _needs(view: View, width: int) -> str:
    """Families by column; those that are reproducible everywhere share one line."""
    if not view.needs or not view.columns:
        return ""
    done = [need.family for need in view.needs if need.reproducible]
    lines = [wrapped(f"Reproducible in every column: {', '.join(done)}.", width, "  ")] if done else []
    for need in view.needs:
        if not need.reproducible:
            columns = zip(view.columns, need.columns, strict=True)
            texts = (
                f"{matrix_column.label} {' '.join(filter(None, (column.text, column.slowest)))}"
                for matrix_column, column in columns
            )
            lines.append(wrapped(f"- {need.family}: {'; '.join(texts)}", width, "  "))
    head = "Kernels that are reproducible with determinism on, and the largest overhead, by family"
    return "\n".join([wrapped(head, width, "  "), *lines])


def _hosts(view: View, width: int) -> str:
    """What several hosts with one device model show about each environment."""
    lines = []
    for item in view.hosts:
        hosts = ", ".join(dict.fromkeys(one.host for one in item.hosts))
        lines.append(wrapped(f"- {item.label}; hosts: {hosts}", width, "  "))
        texts = [*item.sentences, *(f"{fact.label}: {fact.value}" for fact in item.differing)]
        texts += [f"{row.kernel}, {row.mode}: {row.agreement}; {row.text}" for row in item.rows[:_MOST_ROWS]]
        more = len(item.rows) - _MOST_ROWS
        texts += [f"and {more} more, listed on the page"] if more > 0 else []
        lines += [wrapped(f"  {text}", width, "    ") for text in texts]
    return "\n".join(["Across hosts", *lines]) if lines else ""


def _upgrades(view: View, width: int) -> list[str]:
    rows = [line for upgrade in view.upgrades for line in _upgrade(upgrade, width)]
    return ["\n".join(["What an upgrade changes", *rows])] if rows else []


def _upgrade(upgrade: Upgrade, width: int, *, since: bool = False) -> list[str]:
    """One change; the notes of all changes since the last run stand above them."""
    counts = ", ".join(f"{event} {number}" for event, number in upgrade.counts)
    head = f"- {upgrade.label}" if since else f"- {upgrade.step}, {upgrade.label}"
    rest = f"Other results: {upgrade.rest}." if upgrade.rest else ""
    texts = [upgrade.changed_facts, *upgrade.sentences, counts, rest, "" if since else upgrade.note]
    lines = [wrapped(head, width, "  "), *(wrapped(f"  {text}", width, "    ") for text in texts if text)]
    lines += [wrapped(f"    {event_text(line)}", width, "      ") for line in upgrade.lines[:_MOST_ROWS]]
    more = len(upgrade.lines) - _MOST_ROWS
    return [*lines, *([f"    and {more} more, listed on the page"] if more > 0 else [])]


def event_text(line: UpgradeLine) -> str:
    """Return what a change does to a kernel in one sentence: ``matmul, off: bits changed; = reproducible; ...``."""
    states = f"{line.before.status} to {line.after.status}" if line.turned else line.after.status
    text = "; ".join(filter(None, (", ".join(line.events), states, line.bits, line.time)))
    return f"{line.kernel}, {line.where}: {text}"


def _reproduce(view: View) -> str:
    """Commands that measure again what is nondeterministic or fails."""
    commands = [
        detail.reproduce_command
        for detail in view.details
        if detail.reproduce_command and {detail.entry.off.tone, detail.entry.on.tone} & _BAD
    ]
    if not commands:
        return ""
    more = len(commands) - _MOST_COMMANDS
    lines = [*commands[:_MOST_COMMANDS], *([f"and {more} more, listed on the page"] if more > 0 else [])]
    return "\n  ".join(["To measure again what is nondeterministic or fails:", *lines])


def _columns(view: View, width: int) -> str:
    """Versions, kind, origin and note of each column that was measured."""
    facts = [
        (column.label, list(filter(None, (column.versions, column.kind, column.origin, column.note))))
        for column in view.columns
        if not column.blocked
    ]
    return _hanging([[label, "; ".join(texts)] for label, texts in facts if texts], width)


def _legend(view: View, width: int) -> str:
    """The words in use; the page has all."""
    used = {word for row in view.rows for word in row.words}
    return _hanging([[f"{symbol} {word}", meaning] for symbol, word, _, meaning in view.legend if word in used], width)


def _matrix(view: View, width: int) -> list[str]:
    """The matrix in blocks of columns. Columns that were not measured are left out: the answer has their reason."""
    places = [place for place, column in enumerate(view.columns) if not column.blocked]
    if not places:
        return [view.caption]
    common = common_evidence.common(view)
    names = ["kernel (off | on)"]
    columns: list[list[str]] = [[] for _ in places]
    for family in view.families:
        names.append(f"[{family.name}]")
        for column in columns:
            column.append("")
        for row in family.rows:
            names.append(f"{row.kernel}\n{f'  ({row.own})' if row.own else ' '}")
            for column, place in zip(columns, places, strict=True):
                column.append(_entry(row.entries[place], common))
            for sub in _differing(row):
                names.append(f"{_INDENT}{sub.variation}")
                for column, place in zip(columns, places, strict=True):
                    column.append(_statuses(sub.entries[place]))
    heads = [view.columns[place].label for place in places]
    blocks = [_block(names, heads, columns, block) for block in _blocks(names, heads, columns, width)]
    lead = wrapped(f"{view.caption} {common_evidence.sentence(common)}".strip(), width)
    return [lead, _columns(view, width), *blocks]


def _differing(row: Row) -> tuple[VariationRow, ...]:
    """The variations of a row, or none where all have the statuses of the row."""
    heads = [result.status for entry in row.entries for result in entry.mode_results]
    alike = all(
        [result.status for entry in sub.entries for result in entry.mode_results] == heads for sub in row.variations
    )
    return () if alike else row.variations


def _block(names: list[str], heads: list[str], columns: list[list[str]], places: Sequence[int]) -> str:
    """A table of some columns. Its cells are not wrapped; tabulate drops lines of blanks only, so equal lines go."""
    from tabulate import tabulate  # noqa: PLC0415 - start-up stays quick without it

    rows = [[name, *(columns[place][index] for place in places)] for index, name in enumerate(names[1:])]
    text = tabulate(rows, [names[0], *(heads[place] for place in places)], tablefmt="simple", disable_numparse=True)
    return "\n".join(line for line, _ in groupby(line.rstrip() for line in text.split("\n")))


def _blocks(names: list[str], heads: list[str], columns: list[list[str]], width: int) -> list[list[int]]:
    """Columns side by side as long as they fit; at least one a block."""
    first = max(_PADDING + _width(names[0]), *map(_width, names[1:]), 0)
    blocks: list[list[int]] = []
    left = 0
    for place, column in enumerate(columns):
        need = max(_PADDING + _width(heads[place]), *map(_width, column), 0) + _GAP
        if not blocks or need > left:
            blocks.append([])
            left = width - first
        blocks[-1].append(place)
        left -= need
    return blocks


def _width(text: str) -> int:
    return max(map(len, text.split("\n")))


def _statuses(entry: Entry) -> str:
    return f"{entry.off.status} | {entry.on.status}"


def _entry(entry: Entry, common: tuple[str, str]) -> str:
    """Statuses; letters and times; the overhead; then what is special: the evidence, and how far samples differ."""
    lines = [_statuses(entry), f"{_short(entry.off)} | {_short(entry.on)}"]
    lines += [entry.on.overhead.partition(" (")[0]] if entry.on.overhead_data else []
    for result in entry.mode_results:
        lines += [
            f"{result.mode} {text}" for text in (common_evidence.own(result, common), result.distance_text) if text
        ]
        lines += [f"{result.mode} warning: {text.partition(':')[0]}" for text in result.warnings]
    return "\n".join(lines)


def _short(result: ModeResult) -> str:
    """Letters and time (``*``: of the first call)."""
    return " ".join(filter(None, [result.letters, result.time.replace(" first call", "*")])) or "-"


def _hanging(rows: Sequence[Sequence[str]], width: int) -> str:
    """Short columns side by side, and a long last one wrapped beside them, or below where it has no room."""
    heads = [max(len(row[place]) for row in rows) for place in range(len(rows[0]) - 1)] if rows else []
    left = sum(heads) + _GAP * len(heads)
    lines = []
    for row in rows:
        start = "".join(f"{text:<{size + _GAP}}" for text, size in zip(row, heads, strict=False))
        if left <= width // 2:
            lines.append(wrapped(start + row[-1], width, " " * left))
        else:
            lines += [wrapped(" ".join(row[:-1]).strip(), width), wrapped(f"    {row[-1]}", width, "    ")]
    return "\n".join(lines)
