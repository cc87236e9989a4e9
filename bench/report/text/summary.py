"""What a terminal shows after a run: a summary of one screen.

It has the answer, the ranking with the overhead of determinism, what is not reproducible and why, what changed since
the last run, the warnings, and the path of the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.report.formatting import clean, listed
from bench.report.text.layout import WIDTH, paint, table_blocks, wrapped
from bench.report.text.terminal import NARROWEST, event_text, run_name
from bench.verdict.messages import count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from bench.report.view import ModeResult, Row, Since, VariationRow, View

#: Lines of the summary, and lines that its first sentences and each item take at most.
LINES = 30
_HEADLINE_LINES, _ITEM_LINES = 4, 2
#: Kernels, reasons and columns that an item names before it counts the rest.
_MOST_KERNELS, _MOST_REASONS, _MOST_COLUMNS = 8, 1, 2
#: Tones of results that need no explanation.
_FINE = frozenset({"good", "control", "none"})


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
        rest = f"  and {self.left_out} more" if self.items else f"  {self.left_out}, listed in the report"
        more = [rest] if self.left_out else []
        return [*self.head, *(line for item in self.items for line in item.split("\n")), *more]


@dataclass(frozen=True, kw_only=True)
class _Problem:
    """Kernels with one status, determinism on, all explained by known issues or none of them.

    ``variation`` is "" for the one that decides; under another one, kernels count that are fine under the deciding one.
    """

    symbol: str
    word: str
    tone: str
    variation: str
    kernels: tuple[str, ...]
    issues: tuple[str, ...]
    reasons: tuple[str, ...]

    @property
    def text(self) -> str:
        """``≠ nondeterministic 3: a, b and c - known issue: ...``."""
        if self.issues:
            several = f"{len(self.issues)} known issues"
            reason = several if len(self.issues) > _MOST_REASONS else f"known issue: {self.issues[0]}"
        elif self.tone == "bad":
            reason = "no known issue explains this"
        else:
            several = f"{len(self.reasons)} reasons, listed on the page"
            reason = several if len(self.reasons) > _MOST_REASONS else "".join(self.reasons)
        names = listed(list(self.kernels), _MOST_KERNELS)
        where = f"also under {self.variation}: " if self.variation else ""
        return f"{where}{self.symbol} {self.word} {len(self.kernels)}: {names}{f' - {reason}' if reason else ''}"


def render(view: View, page: Path, width: int = WIDTH, *, colour: bool = False, files: int = 0) -> str:
    """Return what a run found in at most ``LINES`` lines, and the path of its page.

    Sections with many items lose the last ones, and say how many. ``files`` counts files with evidence beside the page.
    """
    width = max(width, NARROWEST)
    sections = [
        _Section(head=_headline(view, width), items=[], share=_HEADLINE_LINES),
        _ranking(view, width, colour=colour),
        _noise_floor(view, width),
        _problems(view, width, colour=colour),
        _hosts(view, width),
        _changes(view.since, width, colour=colour),
        _warnings(view, width, colour=colour),
    ]
    sections = [section for section in sections if section.head]
    after = wrapped(beside(files), width).split("\n") if files else []
    _shorten(sections, LINES - len(sections) - len(after))
    texts = ["\n".join(section.lines) for section in sections]
    last, hint = f"Page: {page}", " (--full prints everything here)"
    last += hint if len(last + hint) <= width else ""
    return "\n\n".join(texts) + "\n" + "\n".join([last, *after]) + "\n"


def beside(files: int) -> str:
    """Say where the evidence is that is not on the page."""
    return f"The page is large, so its evidence is in {count(files, 'file')} in the folder details/ beside it."


def _shorten(sections: Sequence[_Section], most: int) -> None:
    """Leave out last items, of the section that exceeds its share most, until all fit in ``most`` lines."""
    sizes = [len(section.lines) for section in sections]
    while sum(sizes) > most:
        numbers = (number for number, section in enumerate(sections) if section.items)
        longest = max(numbers, key=lambda number: sizes[number] - sections[number].share)
        section = sections[longest]
        sizes[longest] -= section.items.pop().count("\n") + (section.left_out > 0)
        section.left_out += 1


def _headline(view: View, width: int) -> list[str]:
    """The sentences of the answer that fit, at least the first one."""
    lines: list[str] = []
    for end in range(1, len(view.answer) + 1):
        longer = _clipped(" ".join(view.answer[:end]), width, "", LINES).split("\n")
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


def _ranking(view: View, width: int, *, colour: bool) -> _Section:
    """The columns, the best first; one that was not measured says why."""
    rows = []
    for line in view.lines:
        measured = bool(line.rank)
        cost = line.overhead if measured else _clipped(line.sentence, width // 2, "")
        rows.append([line.rank or "-", line.label, f"{line.reproducible} of {line.kernels}" if measured else "-", cost])
    if not rows:
        return _Section(head=[], items=[], share=0)
    head, *items = table_blocks(rows, ["Rank", "Column", "Kernels", "Overhead of determinism"], width)
    for at, (line, row) in enumerate(zip(view.lines, rows, strict=True)):
        if line.rank:
            items[at] = items[at].replace(row[2], paint(row[2], "good" if line.safe else "part", colour=colour), 1)
    return _Section(head=head.split("\n"), items=items, share=11)


def _noise_floor(view: View, width: int) -> _Section:
    """How far the times of this host are from what they should be, in one line."""
    text = f"Noise floor: {view.noise_floor.sentence}" if view.noise_floor else ""
    return _Section(head=[_clipped(text, width, most=1)] if text else [], items=[], share=1)


def _problems(view: View, width: int, *, colour: bool) -> _Section:
    """What is not reproducible with determinism on, by status, and why; what no known issue explains comes first."""
    problems = _grouped(view)
    if not problems:
        return _Section(head=[], items=[], share=0)
    items = []
    for problem in problems:
        start = f"{problem.symbol} {problem.word}"
        text = _clipped(problem.text, width, most=_ITEM_LINES + 1)
        items.append(text.replace(start, paint(start, problem.tone, colour=colour), 1))
    return _Section(head=["Not reproducible with determinism on:"], items=items, share=7)


def _grouped(view: View) -> list[_Problem]:
    """Group the kernels by variation and status, and by whether a known issue explains them.

    The deciding variation comes first, and of each variation what no known issue explains.
    """
    measured = {column.column: column.label for column in view.columns if not column.blocked}
    groups: dict[tuple[str, bool, str], dict[str, dict[str, ModeResult]]] = {}
    for row in view.rows:
        for variation, column, result in () if row.control else _results(row):
            if column in measured and result.planned and result.tone not in _FINE:
                key = (variation, result.known_issue != "", result.word)
                groups.setdefault(key, {}).setdefault(row.kernel, {})[column] = result
    order = [word for _, word, _, _ in view.legend]
    keys = sorted(groups, key=lambda key: (*key[:2], order.index(key[2])))
    titles = {issue.id: issue.title for issue in view.known_issues}
    return [_problem(key[0], groups[key], measured, titles) for key in keys]


def _results(row: Row) -> Iterator[tuple[str, str, ModeResult]]:
    """Variation, column and result of a kernel with determinism on.

    The first variation decides and is named ""; the others follow where the kernel is fine under the first one.
    """
    first: Row | VariationRow = row.variations[0] if row.variations else row
    others = row.variations[1:]
    for place, entry in enumerate(first.entries):
        yield "", entry.column, entry.on
        if entry.on.tone in _FINE:
            yield from ((other.variation, entry.column, other.entries[place].on) for other in others)


def _problem(
    variation: str,
    kernels: Mapping[str, Mapping[str, ModeResult]],
    measured: Mapping[str, str],
    titles: Mapping[str, str],
) -> _Problem:
    """Make one group of its results by kernel and column.

    ``measured`` has the labels of all columns with a result, ``titles`` those of known issues by id.
    """
    results = [result for by_column in kernels.values() for result in by_column.values()]
    issues = [titles[result.known_issue] for result in results if result.known_issue in titles]
    names = []
    for kernel, by_column in kernels.items():
        labels = [measured[column] for column in by_column]
        where = (
            f"{listed(labels)} only" if len(labels) <= _MOST_COLUMNS else f"{len(labels)} of {len(measured)} columns"
        )
        names.append(f"{kernel} ({where})" if len(labels) < len(measured) else kernel)
    return _Problem(
        symbol=results[0].symbol,
        word=results[0].word,
        tone=results[0].tone,
        variation=variation,
        kernels=tuple(names),
        issues=tuple(dict.fromkeys(clean(title).rstrip(".") for title in issues)),
        reasons=tuple(dict.fromkeys(result.why.rstrip(".") for result in results if result.why)),
    )


def _hosts(view: View, width: int) -> _Section:
    """Whether hosts with one device model agree, in one item for each environment."""
    items = [_clipped(f"- {item.label}: {item.sentences[0]}", width) for item in view.hosts]
    return _Section(head=["Across hosts:"] if items else [], items=items, share=4)


def _changes(since: Since, width: int, *, colour: bool) -> _Section:
    """What changed since the last run: one sentence, then the kernels, the gravest change of each column first."""
    head = wrapped(f"Since the last run{run_name(since)}: {since.sentence}", width, "  ").split("\n")
    items = [_clipped(f"- {note}", width) for note in since.notes]
    for upgrade in since.upgrades:
        items += [_clipped(f"- {upgrade.label}: {event_text(line)}", width) for line in upgrade.lines]
    if not since.quiet:
        title = "Since the last run"
        head[0] = head[0].replace(title, paint(title, "warn", colour=colour), 1)
    return _Section(head=head, items=items, share=3)


def _warnings(view: View, width: int, *, colour: bool) -> _Section:
    """Titles and first sentences of the warnings, the gravest first."""
    items = []
    for notice in view.notices:
        text = _clipped(f"- {notice.title}: {notice.text}", width)
        items.append(text.replace(notice.title, paint(notice.title, notice.kind, colour=colour), 1))
    return _Section(head=["Warnings:"] if items else [], items=items, share=2)
