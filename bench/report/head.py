"""The first screen of the view: the answer, the counts, the facts of the run, and what warns."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bench.report import words
from bench.report.matrix import labels
from bench.report.text import clean, listed, moment
from bench.report.view import Count, Fact, Line, Notice
from bench.verdict.answer import answer
from bench.verdict.sentences import count
from bench.verdict.status import SEVERITY, Status
from bench.verdict.strength import percent_up

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.verdict.answer import CellAnswer
    from bench.verdict.judgement import Judgement, Verdict

_MOST_ITEMS = 12
_HOST = {"cpu": "CPU", "cpu_model": "CPU", "gpu": "GPU", "memory_gb": "Memory in GB"}


def sentences(judgement: Judgement) -> tuple[str, ...]:
    """The answer in one or two sentences."""
    names = dict(zip((cell.id for cell in judgement.info.cells), labels(judgement), strict=True))
    found = [one for one in answer(judgement).cells if one.rank is not None and one.kernels]
    if not found:
        return ("Nothing was measured with determinism on, so there is no answer.",)
    total = found[0].kernels
    every = f"all {total} kernels are" if total > 1 else "the one kernel is"
    safe = [names[one.cell] for one in found if one.safe]
    rest = [one for one in found if not one.safe]
    told = []
    if safe:
        told.append(f"With determinism on, {every} exact on {listed(safe)}.")
    elif rest:
        best = [names[one.cell] for one in rest if one.exact == rest[0].exact]
        verb = "is" if rest[0].exact == 1 else "are"
        told.append(f"With determinism on, {rest[0].exact} of {total} kernels {verb} exact on {listed(best)}.")
        told.append("No pair is exact on every kernel." if len(found) > 1 else "It is not exact on every kernel.")
        rest = [one for one in rest if one.exact != rest[0].exact]
    if rest:
        parts = [f"{one.exact} of {total} on {names[one.cell]}" for one in rest]
        told.append(f"Exact elsewhere: {listed(parts, 4)}.")
    weakest = min((one for one in found if one.exact), key=lambda one: one.compared, default=None)
    if weakest:
        share = percent_up(weakest.bound)
        told.append(
            f"The weakest evidence behind an exact: 0 of {count(weakest.compared, 'process')} differed from the first, "
            f"so at most {share} % do (95 %)."
        )
    return tuple(told)


def lines(judgement: Judgement) -> tuple[Line, ...]:
    """One line for each column, the best first."""
    names = dict(zip((cell.id for cell in judgement.info.cells), labels(judgement), strict=True))
    return tuple(
        Line(
            cell=clean(one.cell),
            label=names[one.cell],
            rank="" if one.rank is None else f"{one.rank}{' (tie)' if one.tied else ''}",
            safe=one.safe,
            sentence=_sentence(one),
            counts=_counts(dict(one.counts)),
        )
        for one in answer(judgement).cells
    )


def _sentence(one: CellAnswer) -> str:
    if one.rank is None:
        states = [words.WORDS[status].word for status, _ in one.counts] or ["not-run"]
        return f"{', '.join(states)}{': ' + clean(one.reason) if one.reason else ''}"
    told = f"{'Safe: ' if one.safe else ''}{one.exact} of {count(one.kernels, 'kernel')} exact"
    if one.exact and one.compared:
        told += f"; weakest evidence: 0 of {one.compared} differed, ≤ {percent_up(one.bound)} %"
    others = [f"{words.WORDS[status].word} {number}" for status, number in one.counts if status is not Status.EXACT]
    return "; ".join([told, *others])


def _counts(numbers: dict[Status, int]) -> tuple[Count, ...]:
    return tuple(
        Count(symbol=word.symbol, word=word.word, tone=word.tone, number=numbers[status])
        for status in reversed(SEVERITY)
        if numbers.get(status)
        for word in [words.WORDS[status]]
    )


def counts(judgement: Judgement, mode: str) -> tuple[Count, ...]:
    """Kernels by status over all columns, each by its worst condition; controls do not count."""
    names = [kernel.name for kernel in judgement.info.kernels if not kernel.control]
    heads = [judgement.headline(cell.id, name, mode) for cell in judgement.info.cells for name in names]
    return _counts(Counter(head.status for head in heads if head))


def facts(judgement: Judgement) -> tuple[Fact, ...]:
    """Date, host, engine and what was measured."""
    info = judgement.info
    host = {key: clean(str(value)) for key, value in sorted(info.host.items()) if str(value)}
    name = host.pop("name", "") or host.pop("hostname", "")
    engine = f"{clean(info.engine)}, because {clean(info.engine_why)}" if info.engine_why else clean(info.engine)
    plan = f"{count(info.rounds, 'round')} of {count(info.repeats, 'repeat')} a mode, seed {info.seed}"
    records = f"{count(judgement.measured, 'record')} measured now, {judgement.taken_over} taken over"
    rows = [
        ("Measured", moment(info.started) + (f" to {moment(info.finished)}" if info.finished else ", not finished")),
        ("Host", name or "not recorded"),
        *((_HOST.get(key, key.replace("_", " ").capitalize()), host[key]) for key in host),
        ("Engine", engine),
        *(
            (f"{clean(info.engine).capitalize()} {clean(key)}", str(info.engine_facts[key]))
            for key in sorted(info.engine_facts)
        ),
        ("Plan", f"profile {clean(info.profile)}: {plan}"),
        ("Evidence", records),
        ("Suite", f"{clean(info.suite_hash)[:12]}, tfrepro {clean(info.version)} {clean(info.revision)}".rstrip()),
        ("Command", clean(info.command)),
    ]
    return tuple(Fact(label=label, value=clean(value)) for label, value in rows if value)


def notices(judgement: Judgement) -> tuple[Notice, ...]:
    """What must be known before a number is trusted, the gravest first."""
    groups = (_blind(judgement), _not_asked(judgement), _columns(judgement), _records(judgement), _scope(judgement))
    return tuple(notice for group in groups for notice in group)


def _kernels(judgement: Judgement, *statuses: Status) -> list[Verdict]:
    return [one for one in judgement.verdicts if one.status in statuses and not one.control]


def _blind(judgement: Judgement) -> list[Notice]:
    found = _kernels(judgement, Status.BLIND)
    if not found:
        return []
    items = [f"{clean(one.cell)}, {clean(one.condition)}, {one.mode}: {clean(one.why)}" for one in found]
    text = f"{count(len(found), 'verdict')} cannot be believed, because the instrument could not see there."
    return [Notice(kind="grave", title="Blind", text=text, items=_few(items))]


def _not_asked(judgement: Judgement) -> list[Notice]:
    found = [one for one in _kernels(judgement, Status.FAILED, Status.NO_GPU) if not one.comparison.repeats]
    items = [
        f"{clean(one.cell)}, {clean(one.condition)}, {one.mode}: {clean(one.why)}" for one in found if one.witnesses
    ]
    if not items:
        return []
    text = "Something ran, but nothing can be concluded from it."
    return [Notice(kind="grave", title="Not a measurement", text=text, items=_few(items))]


def _columns(judgement: Judgement) -> list[Notice]:
    names = labels(judgement)
    items = [
        f"{name}: {cell.status}: {clean(cell.reason) or 'no reason was recorded'}"
        for name, cell in zip(names, judgement.info.cells, strict=True)
        if cell.status != "ready"
    ]
    if not items:
        return []
    return [Notice(kind="warn", title="Columns not measured", text=f"{len(items)} of {len(names)}.", items=_few(items))]


def _records(judgement: Judgement) -> list[Notice]:
    found = []
    unreadable = [f"{clean(path)}: {clean(reason)}" for path, reason in judgement.unreadable]
    if unreadable:
        text = f"{count(len(unreadable), 'record')} could not be read; nothing was concluded from them."
        found.append(Notice(kind="warn", title="Unreadable records", text=text, items=_few(unreadable)))
    left_out = [f"{clean(path)}: {clean(reason)}" for path, reason in judgement.left_out]
    if left_out:
        text = f"{count(len(left_out), 'record')}, for the reasons given."
        found.append(Notice(kind="warn", title="Records left out", text=text, items=_few(left_out)))
    return found


def _scope(judgement: Judgement) -> list[Notice]:
    info = judgement.info
    found = []
    if not info.finished:
        text = "What is here is what was measured so far."
        found.append(Notice(kind="warn", title="The run is not finished", text=text))
    weak = _kernels(judgement, Status.WEAK)
    if weak:
        text = f"{count(len(weak), 'verdict')}: equal bits so far, on too little evidence to call exact."
        found.append(Notice(kind="warn", title="Weak evidence", text=text, items=_few(_reasons(weak))))
    if info.cells and all(cell.device == "cpu" for cell in info.cells):
        text = "GPU effects were not exercised: atomics, cuDNN's picks and ops without a deterministic GPU kernel."
        found.append(Notice(kind="note", title="CPU only", text=text))
    found += [Notice(kind="note", title="From the run", text=clean(text)) for text in info.warnings]
    return found


def _reasons(weak: Sequence[Verdict]) -> list[str]:
    """Why verdicts are weak, the most frequent reason first."""
    tally = Counter(one.why.partition(", but: ")[2].rstrip(".") for one in weak)
    return [f"{clean(why)} ({number})" for why, number in sorted(tally.items(), key=lambda item: (-item[1], item[0]))]


def _few(items: Iterable[str]) -> tuple[str, ...]:
    """Items without repetition, and how many more there are."""
    all_items = list(dict.fromkeys(items))
    more = len(all_items) - _MOST_ITEMS
    return (*all_items[:_MOST_ITEMS], *([f"and {more} more"] if more > 0 else []))
