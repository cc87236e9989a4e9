"""The view as text for a terminal: a summary of one screen after a run, and everything on demand (``--full``).

Both answer first which pair is reproducible, at what overhead, and what changed since the last run.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from bench.report.build import common_evidence
from bench.report.formatting import clean, listed
from bench.report.text.layout import WIDTH, paint, table_blocks, wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bench.report.view import (
        Candidate,
        Count,
        Entry,
        Line,
        ModeResult,
        Row,
        Since,
        SubRow,
        Upgrade,
        UpgradeLine,
        View,
    )

#: The narrowest width that is honoured.
_NARROWEST = 40
_GAP = 2
#: What tabulate adds to the width of a head.
_PADDING = 2
#: Not blanks, which tabulate would strip.
_INDENT = "- "
#: Rows of a change, and commands to reproduce, that are listed before the rest is only counted.
_MOST_ROWS, _MOST_COMMANDS = 12, 10
#: Tones of results that are worth measuring again, and of those that need no explanation.
_BAD = frozenset({"bad", "fault"})
_FINE = frozenset({"good", "control", "none"})

#: Lines of the summary, and lines that one of its items takes at most.
SUMMARY_LINES = 30
_HEADLINE_LINES, _ITEM_LINES = 4, 2
#: Kernels and reasons that a line of the summary names before it counts the rest.
_MOST_KERNELS, _MOST_REASONS, _MOST_COLUMNS = 8, 1, 2


# --- the summary --------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class _Section:
    """A section of the summary: lines that always stay, and items of which the last ones may be left out.

    ``share`` is the number of lines that the section may always fill.
    """

    head: list[str]
    items: list[str]
    share: int
    left_out: int = 0

    @property
    def lines(self) -> list[str]:
        more = [f"  and {self.left_out} more"] if self.left_out else []
        return [*self.head, *(line for item in self.items for line in item.split("\n")), *more]


@dataclass(frozen=True, kw_only=True)
class _Problem:
    """Kernels with one status, determinism on, all explained by known issues or none of them."""

    symbol: str
    word: str
    tone: str
    kernels: tuple[str, ...]
    issues: tuple[str, ...]
    reasons: tuple[str, ...]

    @property
    def text(self) -> str:
        """``≠ nondeterministic 3: a, b and c - known issue: ...``."""
        if self.issues:
            several = f"{len(self.issues)} known issues, explained on the page"
            reason = several if len(self.issues) > _MOST_REASONS else f"known issue: {self.issues[0]}"
        elif self.tone == "bad":
            reason = "no known issue explains this"
        else:
            several = f"{len(self.reasons)} reasons, listed on the page"
            reason = several if len(self.reasons) > _MOST_REASONS else "".join(self.reasons)
        names = listed(list(self.kernels), _MOST_KERNELS)
        return f"{self.symbol} {self.word} {len(self.kernels)}: {names}{f' - {reason}' if reason else ''}"


def summary(view: View, page: Path, width: int = WIDTH, *, colour: bool = False) -> str:
    """Return what a run found in at most ``SUMMARY_LINES`` lines, and the path of its page.

    Sections with many items lose the last ones, and say how many.
    """
    width = max(width, _NARROWEST)
    sections = [
        _Section(head=_headline(view, width), items=[], share=_HEADLINE_LINES),
        _ranking(view, width, colour),
        _problems(view, width, colour),
        _changes(view.since, width, colour),
        _warnings(view, width, colour),
    ]
    sections = [section for section in sections if section.head]
    _shorten(sections, SUMMARY_LINES - len(sections))
    texts = ["\n".join(section.lines) for section in sections]
    last, hint = f"Page: {page}", " (--full prints everything here)"
    return "\n\n".join(texts) + f"\n{last}{hint if len(last + hint) <= width else ''}\n"


def _shorten(sections: Sequence[_Section], most: int) -> None:
    """Leave out last items, of the section that exceeds its share most, until all fit in ``most`` lines."""
    while sum(len(section.lines) for section in sections) > most:
        longest = max((section for section in sections if section.items), key=lambda one: len(one.lines) - one.share)
        longest.items.pop()
        longest.left_out += 1


def _headline(view: View, width: int) -> list[str]:
    """The sentences of the answer that fit, at least the first one."""
    lines: list[str] = []
    for end in range(1, len(view.answer) + 1):
        longer = _clipped(" ".join(view.answer[:end]), width, "", SUMMARY_LINES).split("\n")
        if lines and len(longer) > _HEADLINE_LINES:
            break
        lines = longer[:_HEADLINE_LINES]
    return lines


def _clipped(text: str, width: int, hang: str = "  ", most: int = _ITEM_LINES) -> str:
    """Wrap a text, and cut it after so many lines."""
    lines = wrapped(text, width, hang).split("\n")
    if len(lines) <= most:
        return "\n".join(lines)
    last = lines[most - 1]
    while last.strip() and len(last) + len(" ...") > width:
        last = last.rpartition(" ")[0]
    return "\n".join([*lines[: most - 1], f"{last} ..."])


def _ranking(view: View, width: int, colour: bool) -> _Section:
    """The columns, the best first; one that was not measured says why."""
    rows = []
    for line in view.lines:
        total = sum(count.number for count in line.counts)
        good = sum(count.number for count in line.counts if count.tone == "good")
        measured = bool(line.rank)
        cost = line.overhead if measured else _clipped(line.sentence, width // 2, "")
        rows.append([line.rank or "-", line.label, f"{good} of {total}" if measured else "-", cost])
    if not rows:
        return _Section(head=[], items=[], share=0)
    head, *items = table_blocks(rows, ["Rank", "Pair", "Kernels", "Overhead of determinism"], width)
    for at, (line, row) in enumerate(zip(view.lines, rows, strict=True)):
        if line.rank:
            items[at] = items[at].replace(row[2], paint(row[2], "good" if line.safe else "part", colour), 1)
    return _Section(head=head.split("\n"), items=items, share=9)


def _problems(view: View, width: int, colour: bool) -> _Section:
    """What is not reproducible with determinism on, by status, and why; what no known issue explains comes first."""
    problems = _grouped(view)
    if not problems:
        return _Section(head=[], items=[], share=0)
    items = []
    for problem in problems:
        start = f"{problem.symbol} {problem.word}"
        text = _clipped(problem.text, width, most=_ITEM_LINES + 1)
        items.append(paint(start, problem.tone, colour) + text.removeprefix(start))
    return _Section(head=["Not reproducible with determinism on:"], items=items, share=7)


def _grouped(view: View) -> list[_Problem]:
    """Group the kernels by status, and by whether a known issue explains them; the unexplained ones come first."""
    measured = {column.column: column.label for column in view.columns if not column.blocked}
    groups: dict[tuple[str, bool], dict[str, dict[str, ModeResult]]] = {}
    for row in view.rows:
        for entry in () if row.control else row.entries:
            result = entry.on
            if not entry.blocked and result.verdict and result.tone not in _FINE:
                key = (result.word, result.verdict.known_issue is not None)
                groups.setdefault(key, {}).setdefault(row.kernel, {})[entry.column] = result
    order = [word for _, word, _, _ in view.legend]
    keys = sorted(groups, key=lambda key: (key[1], order.index(key[0])))
    return [_problem(groups[key], measured) for key in keys]


def _problem(kernels: Mapping[str, Mapping[str, ModeResult]], measured: Mapping[str, str]) -> _Problem:
    """Make one group of its results by kernel and column; ``measured`` has the labels of all columns with a result."""
    results = [result for by_column in kernels.values() for result in by_column.values()]
    verdicts = [result.verdict for result in results if result.verdict]
    issues = [verdict.known_issue.title for verdict in verdicts if verdict.known_issue]
    names = []
    for kernel, by_column in kernels.items():
        variation = next(iter(by_column.values())).variation
        where = [variation] if variation not in ("", "default") else []
        if len(by_column) < len(measured):
            labels = [measured[column] for column in by_column]
            few = len(labels) <= _MOST_COLUMNS
            where.append(f"{listed(labels)} only" if few else f"{len(labels)} of {len(measured)} columns")
        names.append(f"{kernel} ({', '.join(where)})" if where else kernel)
    return _Problem(
        symbol=results[0].symbol,
        word=results[0].word,
        tone=results[0].tone,
        kernels=tuple(names),
        issues=tuple(dict.fromkeys(clean(title).rstrip(".") for title in issues)),
        reasons=tuple(dict.fromkeys(result.why.rstrip(".") for result in results if result.why)),
    )


def _changes(since: Since, width: int, colour: bool) -> _Section:
    """What changed since the last run: one sentence, then the kernels, the gravest change of each column first."""
    head = wrapped(f"Since the last run{_named(since)}: {since.sentence}", width, "  ").split("\n")
    items = [_clipped(f"- {note}", width) for note in since.notes]
    for upgrade in since.upgrades:
        items += [_clipped(f"- {upgrade.label}: {_event(line)}", width) for line in upgrade.lines]
    head[0] = head[0] if since.quiet else head[0].replace("Since the last run", paint(
        "Since the last run", "warn", colour), 1)  # fmt: skip
    return _Section(head=head, items=items, share=3)


def _warnings(view: View, width: int, colour: bool) -> _Section:
    """Titles and first sentences of the warnings, the gravest first."""
    items = []
    for notice in view.notices:
        text = _clipped(f"- {notice.title}: {notice.text}", width)
        items.append(text.replace(notice.title, paint(notice.title, notice.kind, colour), 1))
    return _Section(head=["Warnings:"] if items else [], items=items, share=3)


# --- everything ---------------------------------------------------------------------------------------


def render(view: View, width: int = WIDTH) -> str:
    """Return the whole view as text of at most ``width`` characters a line.

    Names that are longer, and commands, which are there to be copied, stay whole.
    """
    width = max(width, _NARROWEST)
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
        *_upgrades(view, width),
        _reproduce(view),
        _legend(view, width),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _answer(line: Line) -> str:
    return f"{line.sentence}; overhead: {line.overhead}" if line.overhead else line.sentence


def _has_first(view: View) -> bool:
    return any(half.time_kind == "first" for row in view.rows for entry in row.entries for half in entry.halves)


def _counts(label: str, counts: Sequence[Count], width: int) -> str:
    text = "  ".join(f"{count.symbol}\0{count.word}\0{count.number}" for count in counts) or "not planned"
    return wrapped(f"{label:<16} {text}", width, " " * 17).replace("\0", " ")


def _named(since: Since) -> str:
    """`` (run, moment)`` of the last run, "" where there is none."""
    return f" ({', '.join(filter(None, (since.run, since.moment)))})" if since.run else ""


def _since(since: Since, width: int) -> str:
    """What changed since the last run, with the rows in which something did."""
    lines = [wrapped(f"Since the last run{_named(since)}: {since.sentence}", width)]
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
                f"{matrix_column.label} {' '.join(filter(None, (column.text, column.dearest)))}"
                for matrix_column, column in columns
            )
            lines.append(wrapped(f"- {need.family}: {'; '.join(texts)}", width, "  "))
    head = "Kernels that are reproducible with determinism on, and the largest overhead, by family"
    return "\n".join([wrapped(head, width, "  "), *lines])


def _upgrades(view: View, width: int) -> list[str]:
    rows = [line for upgrade in view.upgrades for line in _upgrade(upgrade, width)]
    return ["\n".join(["What an upgrade changes", *rows])] if rows else []


def _upgrade(upgrade: Upgrade, width: int, *, since: bool = False) -> list[str]:
    """One change; the notes of all changes since the last run stand above them."""
    counts = ", ".join(f"{event} {number}" for event, number in upgrade.counts)
    head = f"- {upgrade.label}" if since else f"- {upgrade.step}, {upgrade.label}"
    rest = f"Of the others: {upgrade.rest}." if upgrade.rest else ""
    texts = [upgrade.moved, *upgrade.sentences, counts, rest, "" if since else upgrade.note]
    lines = [wrapped(head, width, "  "), *(wrapped(f"  {text}", width, "    ") for text in texts if text)]
    lines += [wrapped(f"    {_event(line)}", width, "      ") for line in upgrade.lines[:_MOST_ROWS]]
    more = len(upgrade.lines) - _MOST_ROWS
    return [*lines, *([f"    and {more} more, listed on the page"] if more > 0 else [])]


def _event(line: UpgradeLine) -> str:
    states = f"{line.before.status} to {line.after.status}" if line.turned else line.after.status
    text = "; ".join(filter(None, (", ".join(line.events), states, line.bits, line.time)))
    return f"{line.kernel}, {line.where}: {text}"


def _reproduce(view: View) -> str:
    """Commands that measure again what is nondeterministic or fails."""
    commands = [
        detail.replay
        for detail in view.details
        if detail.replay and {detail.entry.off.tone, detail.entry.on.tone} & _BAD
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
    common = common_evidence.strength(view)
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


def _differing(row: Row) -> tuple[SubRow, ...]:
    """The variations of a row, or none where all have the statuses of the row."""
    heads = [half.status for entry in row.entries for half in entry.halves]
    alike = all([half.status for entry in sub.entries for half in entry.halves] == heads for sub in row.variations)
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
    """Statuses; letters, times and overhead; then what is special: the evidence, and how far samples differ."""
    lines = [_statuses(entry), f"{_short(entry.off)} | {_short(entry.on)}"]
    for half in entry.halves:
        lines += [f"{half.mode} {text}" for text in (common_evidence.own(half, common), half.apart) if text]
    return "\n".join(lines)


def _short(half: ModeResult) -> str:
    """Letters, time (``*``: of the first call) and overhead."""
    overhead = half.overhead.partition(" (")[0] if half.overhead_data and half.overhead_data.resolved else ""
    return " ".join(filter(None, [half.letters, half.time.replace(" first call", "*"), overhead])) or "-"


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
