"""The view as Markdown with GitHub's tables, for job summaries and pull requests.

GitHub accepts summaries of at most 1 MiB. A page that would be larger leaves out whole parts, and says which.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bench.report.build import common_evidence

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bench.report.view import (
        Candidate,
        Count,
        Detail,
        Entry,
        HostComparison,
        ModeResult,
        Note,
        Row,
        Upgrade,
        UpgradeLine,
        View,
    )

#: Bytes of a page that leave room in a summary for what a workflow adds.
LIMIT = 900_000
#: What is left out of a page that is too large, one level after the other.
_LEFT_OUT = (
    "",
    "the variations of each kernel",
    "the variations of each kernel, and the kernels that are reproducible everywhere",
    "the variations of each kernel, the kernels that are reproducible everywhere, and first differences and errors",
    "the matrix, and first differences and errors",
)
_NO_VARIATIONS, _NO_REPRODUCIBLE, _NO_EVIDENCE, _NO_MATRIX = 1, 2, 3, 4
#: Rows of a change that are listed before the rest is only counted.
_MOST_ROWS = 100
_BARE_LINK = re.compile(r"(?i)\b(www)\.")
_SPECIAL = re.compile(r"([\\`*_\[\]#|~@]|:(?=\S)|^[-+])")
#: A number that would begin a list, which a time of 9.45 ms does not.
_LISTED = re.compile(r"^(\d+)([.)])(?=\s|$)")
#: Labels of the notes that a summary has, and characters of each that it shows: at most, and of these at its start.
_NOTES = ("Difference", "First difference", "Error", "Log tail", "Time")
_MOST_TEXT, _HEAD = 500, 150
_FINE = frozenset({"good", "control"})


def render(view: View, limit: int = LIMIT) -> str:
    """Return the page in at most ``limit`` bytes, or as short as leaving out whole parts makes it."""
    *levels, last = range(len(_LEFT_OUT))
    pages = (_up_to(_page(view, level), limit) for level in levels)
    return next((page for page in pages if page is not None), None) or "\n".join(_page(view, last))


def _up_to(lines: Iterable[str], limit: int) -> str | None:
    """Return lines as one text, None once they have more than ``limit`` bytes; the others are never made."""
    taken: list[str] = []
    size = -1
    for line in lines:
        taken.append(line)
        size += 1 + len(line.encode("utf-8"))
        if size > limit:
            return None
    return "\n".join(taken)


def _page(view: View, level: int) -> Iterator[str]:
    lines = [f"# {plain(view.answer[0])}", ""]
    lines += [plain(" ".join(view.answer[1:])), ""] if len(view.answer) > 1 else []
    rows = [[line.rank, line.label, line.sentence, line.overhead] for line in view.lines]
    lines += table(["Rank", "Column", "Answer", "Overhead of determinism"], rows) if rows else []
    lines += [f"- Determinism off: {_counts(view.counts_off)}", f"- Determinism on: {_counts(view.counts_on)}", ""]
    lines += _since(view)
    facts = [["Run", view.run], *([fact.label, fact.value] for fact in view.facts)]
    lines += ["<details><summary>Facts of the run</summary>", "", *table(["Fact", "Value"], facts), "</details>", ""]
    for notice in view.notices:
        items = [f"> - {plain(item)}" for item in notice.items]
        lines += [f"> **{plain(notice.title)}.** {plain(notice.text)}", *items, ""]
    if _LEFT_OUT[level]:
        lines += [f"> **Left out for its size:** {_LEFT_OUT[level]}. The page has everything.", ""]
    yield from lines
    if level < _NO_MATRIX:
        yield from _matrix(view, level)
    yield from _choice(view)
    yield from _needs(view)
    yield from [*(f"{place}. {plain(rule)}" for place, rule in enumerate(view.choice.rules, 1)), ""]
    yield from ["## Across hosts", "", *(line for item in view.hosts for line in _hosts(item))] if view.hosts else []
    upgrades = [line for upgrade in view.upgrades for line in _upgrade(upgrade)]
    yield from ["## What an upgrade changes", "", *upgrades] if upgrades else []
    yield from _evidence(view) if level < _NO_EVIDENCE else []
    yield from _control_checks(view)
    yield from ["## Legend", ""]
    yield from table(["Status", "Meaning"], [[f"{symbol} {word}", meaning] for symbol, word, _, meaning in view.legend])
    yield from table(["Sign", "Meaning"], [list(term) for term in view.terms])


def _since(view: View) -> list[str]:
    since = view.since
    named = f" ({plain(', '.join(filter(None, (since.run, since.moment))))})" if since.run else ""
    lines = [f"**Since the last run{named}:** {plain(since.sentence)}", ""]
    lines += [*(f"- {plain(note)}" for note in since.notes), ""] if since.notes else []
    return [*lines, *(line for upgrade in since.upgrades for line in _upgrade(upgrade, since=True))]


def _matrix(view: View, level: int) -> Iterator[str]:
    """Kernels by family; an entry leaves out what is said above the table or in the row of its kernel."""
    if not view.columns or not view.families:
        yield from ("## Kernels and pairs", "", plain(view.caption), "")
        return
    common = common_evidence.common(view)
    heads = [f"{plain(column.label)} {mode}" for column in view.columns for mode in ("off", "on")]
    lead = plain(f"{view.caption} {common_evidence.sentence(common)}".strip())
    yield from ("## Kernels and pairs", "", lead, "", *_columns(view), *_raw_table(["Kernel", *heads], [])[:-1])
    for family in view.families:
        yield _raw_row([f"**{plain(family.name)}**", *[""] * len(heads)])
        for row in family.rows:
            if level >= _NO_REPRODUCIBLE and _fine(row):
                continue
            name = "<br>".join(plain(text) for text in (row.kernel, row.own) if text)
            yield _raw_row([name, *(text for entry in row.entries for text in _entry(entry, common))])
            for sub in () if level >= _NO_VARIATIONS else row.variations:
                entries = zip(sub.entries, row.entries, strict=True)
                under = [text for entry, head in entries for text in _entry(entry, common, head)]
                yield _raw_row([f"- {plain(sub.variation)}", *under])
    yield ""


def _fine(row: Row) -> bool:
    entries = [entry for entry in row.entries if not entry.blocked]
    return all(result.tone in _FINE for entry in entries for result in entry.mode_results if result.planned)


def _choice(view: View) -> list[str]:
    choice = view.choice
    lines = ["## Choose", "", f"**{plain(choice.sentence)}** {plain(choice.question)}", ""]
    heads = ["Rank", "Column", "Fit", "Evidence and overhead", "Against it, and unknown"]
    lines += _raw_table(heads, [_candidate(candidate) for candidate in choice.candidates]) if choice.candidates else []
    lines += [plain(choice.more), ""] if choice.more else []
    lines += [f"- {plain(missing.why)} {_code(missing.command)}" for missing in choice.missing]
    lines += [""] if choice.missing else []
    return lines


def _candidate(candidate: Candidate) -> list[str]:
    evidence = [candidate.evidence, f"overhead: {candidate.overhead}" if candidate.overhead else ""]
    against = [*candidate.reasons, *(f"unknown: {text}" for text in candidate.unknowns)]
    fit = f"{candidate.symbol} {candidate.fit}"
    columns = [[candidate.rank or "-"], [candidate.label], [fit], evidence, against]
    return ["<br>".join(plain(text) for text in texts if text) for texts in columns]


def _needs(view: View) -> list[str]:
    if not view.needs or not view.columns:
        return []
    heads = [
        "Reproducible with determinism on, and the largest overhead",
        *(matrix_column.label for matrix_column in view.columns),
    ]
    rows = [
        [need.family, *(f"{column.text} {column.slowest}".strip() for column in need.columns)] for need in view.needs
    ]
    return table(heads, rows)


def _hosts(item: HostComparison) -> list[str]:
    """One environment: whether its hosts agree, what else differs between them, and the kernels that do not agree."""
    hosts = ", ".join(dict.fromkeys(one.host for one in item.hosts))
    texts = [*item.sentences, *(f"{fact.label}: {fact.value}" for fact in item.differing)]
    lines = [f"**{plain(item.label)}; hosts: {plain(hosts)}.**", "", *(f"- {plain(text)}" for text in texts), ""]
    rows = [[row.kernel, row.mode, row.agreement, row.text] for row in item.rows[:_MOST_ROWS]]
    lines += table(["Kernel", "Determinism", "Hosts", "Bits by host"], rows) if rows else []
    more = len(item.rows) - _MOST_ROWS
    return [*lines, *([f"And {more} more, listed on the page.", ""] if more > 0 else [])]


def _upgrade(upgrade: Upgrade, *, since: bool = False) -> list[str]:
    """One change: what moves, what that does in sum, and the results in which something happened."""
    head = upgrade.label if since else f"{upgrade.step}, {upgrade.label}"
    counts = ", ".join(f"{event} {number}" for event, number in upgrade.counts)
    rest = f"Other results: {upgrade.rest}." if upgrade.rest else ""
    texts = [upgrade.changed_facts, *upgrade.sentences, counts, rest, "" if since else upgrade.note]
    lines = [f"**{plain(head)}** {' '.join(plain(text) for text in texts if text)}", ""]
    heads = ["Kernel", "Where", "What happened", "Before", "After", "Bits", "Time"]
    lines += table(heads, [_event(line) for line in upgrade.lines[:_MOST_ROWS]]) if upgrade.lines else []
    more = len(upgrade.lines) - _MOST_ROWS
    return [*lines, *([f"And {more} more, listed on the page.", ""] if more > 0 else [])]


def _event(line: UpgradeLine) -> list[str]:
    states = [line.before.status, line.after.status]
    return [line.kernel, line.where, ", ".join(line.events), *states, line.bits, line.time]


def _evidence(view: View) -> list[str]:
    """First differences, errors and the commands to reproduce them: what a reader of a job summary needs first."""
    rows = [row for detail in view.details for row in _of_detail(detail)]
    table = _raw_table(["Kernel", "Column", "What", "Where and how far"], rows)
    return ["## First differences and errors", "", *table] if rows else []


def _of_detail(detail: Detail) -> list[list[str]]:
    names = [plain(detail.kernel), plain(detail.label)]
    rows = [[*names, plain(note.label), _note(note)] for note in detail.notes if note.label in _NOTES]
    if detail.reproduce_command and any(
        result.planned and result.tone not in _FINE for result in detail.entry.mode_results
    ):
        rows.append([*names, "Reproduce", _code(detail.reproduce_command)])
    return rows


def _note(note: Note) -> str:
    sentences = " ".join(note.sentences)
    text = plain(f"{note.where}: {sentences}" if note.where else sentences)
    block = note.block.strip()
    if len(block) > _MOST_TEXT:  # the end of an error or a log says what went wrong
        block = f"{block[:_HEAD]} [the page has more] {block[_HEAD - _MOST_TEXT :]}"
    return "<br>".join([text, *(plain(line) for line in block.split("\n"))]) if block else text


def _control_checks(view: View) -> list[str]:
    shown = view.control_checks
    if not shown.lines:
        return []
    heads = ["Column", "Where", "Seen to differ", "Beyond the detection limit", "Failed", "Detection limit"]
    rows = []
    for line in shown.lines:
        kernels = [names or "none" for names in (line.seen, line.out_of_reach, line.failed)]
        rows.append([line.label, line.places, *kernels, line.sentence])
    texts = [plain(shown.sentence), "", *(plain(text) + "\n" for text in shown.gpu)]
    return ["## Controls and detection limit", "", *texts, *table(heads, rows)]


def _columns(view: View) -> list[str]:
    """Versions, kind, origin and note of each column that was measured."""
    rows = []
    for column in view.columns:
        notes = [text for text in (column.versions, column.kind, column.origin, column.note) if text]
        rows += [[column.label, "; ".join(notes)]] if notes and not column.blocked else []
    return table(["Column", "Notes"], rows) if rows else []


def _counts(counts: Sequence[Count]) -> str:
    return ", ".join(f"{plain(count.symbol)} {plain(count.word)} {count.number}" for count in counts) or "not planned"


def _entry(entry: Entry, common: tuple[str, str], head: Entry | None = None) -> list[str]:
    if entry.blocked:  # the answer gives its reason, once
        return [plain(entry.on.status), ""]
    heads = head.mode_results if head else (None, None)
    return [_mode_result(result, common, above) for result, above in zip(entry.mode_results, heads, strict=True)]


def _mode_result(result: ModeResult, common: tuple[str, str], head: ModeResult | None) -> str:
    """What a cell says in one mode; under the row of its kernel, the same overhead is not repeated."""
    where = f"in {result.variation}" if result.variation not in ("", "default") and head is None else ""
    new = "new value" if result.new_value else ""
    strength = common_evidence.own(result, common)
    overhead = "" if head is not None and head.overhead == result.overhead else result.overhead
    warnings = [f"warning: {text}" for text in result.warnings]
    parts = [
        f"{result.status} {result.letters}",
        where,
        strength,
        result.distance_text,
        new,
        result.time,
        overhead,
        *warnings,
    ]
    return "<br>".join(plain(part) for part in parts if part)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table and an empty one; all texts are escaped."""
    return _raw_table(list(map(plain, heads)), [list(map(plain, row)) for row in rows])


def _raw_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    line = "|".join(["", *("---" for _ in heads), ""])
    return [_raw_row(heads), line, *map(_raw_row, rows), ""]


def _raw_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _code(text: str) -> str:
    """A command as code that can be copied; as text where it contains what would end the code."""
    return plain(text) if set("`|\n\\") & set(text) else f"`{text}`"


def plain(text: str) -> str:
    """Return a text in one line, escaped: nothing in it becomes markup, HTML, a mention or a link."""
    safe = _LISTED.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", " ".join(text.split())))
    safe = safe.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _BARE_LINK.sub(r"\1&#46;", safe)
