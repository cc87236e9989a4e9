"""What a reader must know before trusting a number, the gravest first."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bench.report import gpu
from bench.report.columns import labels, origin
from bench.report.text import clean, listed
from bench.report.view import Notice
from bench.verdict.asked import misplaced
from bench.verdict.sentences import count
from bench.verdict.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.verdict.judgement import Judgement, Verdict

_MOST_ITEMS = 12
_MOST_NAMES = 4


def notices(judgement: Judgement) -> tuple[Notice, ...]:
    """What must be known before a number is trusted, the gravest first."""
    groups = (
        _blind(judgement),
        _not_asked(judgement),
        _on_host(judgement),
        _columns(judgement),
        gpu.notices(judgement),
        _places(judgement),
        _records(judgement),
        _limitations(judgement),
        _gpu(judgement),
        _scope(judgement),
    )
    return tuple(notice for group in groups for notice in group)


def _kernels(judgement: Judgement, *statuses: Status) -> list[Verdict]:
    return [one for one in judgement.verdicts if one.status in statuses and not one.control]


def _blind(judgement: Judgement) -> list[Notice]:
    found = _kernels(judgement, Status.BLIND)
    if not found:
        return []
    items = [
        f"{clean(one.cell)}, {clean(one.condition)}, {one.mode}"
        f"{f', {clean(one.kernel)}' if one.comparison.seeds_collide else ''}: {clean(one.why)}"
        for one in found
    ]
    text = f"{count(len(found), 'verdict')} cannot be believed: a control failed, or the kernel does not feel its seed."
    return [Notice(kind="grave", title="Blind", text=text, items=_few(items))]


def _not_asked(judgement: Judgement) -> list[Notice]:
    found = [one for one in _kernels(judgement, Status.FAILED, Status.NO_GPU) if not one.comparison.repeats]
    places: dict[tuple[str, str], dict[str, None]] = {}
    for one in found:
        if one.witnesses and one.cell not in judgement.unmeasured:
            places.setdefault((clean(one.cell), clean(one.why)), {})[f"{clean(one.condition)}, {one.mode}"] = None
    if not places:
        return []
    items = [f"{cell}, {listed(list(where))}: {why}" for (cell, why), where in places.items()]
    text = "Something ran, but nothing can be concluded from it."
    return [Notice(kind="grave", title="Not a measurement", text=text, items=_few(items))]


def _columns(judgement: Judgement) -> list[Notice]:
    """How many columns have no number; the reason of each stands beside its name."""
    states = Counter(status.value for status, _ in judgement.unmeasured.values())
    if not states:
        return []
    told = ", ".join(f"{status} {number}" for status, number in states.items())
    text = f"{states.total()} of {len(judgement.info.cells)}: {told}. The reason stands beside each."
    return [Notice(kind="warn", title="Columns not measured", text=text), *_logs(judgement)]


def _logs(judgement: Judgement) -> list[Notice]:
    """The end of the log of a column that died before its first record; of many columns, of the first ones."""
    tails = [(cell, judgement.tails.cells.get(cell.id, "")) for cell in judgement.info.cells]
    told = [(cell, text) for cell, text in tails if text and cell.id in judgement.unmeasured][:_MOST_ITEMS]
    return [
        Notice(
            kind="note",
            title="Log tail",
            text=f"The last lines of the log of {clean(cell.id)}, {clean(cell.status)}.",
            block=clean(text, lines=True),
        )
        for cell, text in told
    ]


def _places(judgement: Judgement) -> list[Notice]:
    """Columns that are not of this host, or that no lock makes again."""
    names = labels(judgement)
    cells = list(zip(names, judgement.info.cells, strict=True))
    found = []
    as_found = [name for name, cell in cells if cell.kind == "here"]
    if as_found:
        text = f"{listed(as_found)}: an environment as it was found. No lock makes it again: its bits are its own."
        found.append(Notice(kind="note", title="Not locked", text=text))
    elsewhere = [f"{name}: {origin(cell)}" for name, cell in cells if cell.origin]
    if elsewhere:
        text = "Times are never compared between hosts; letters are."
        found.append(Notice(kind="note", title="From other hosts", text=text, items=_few(elsewhere)))
    return found


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
    kept = [f"{clean(path)}: {clean(reason)}" for path, reason in sorted(judgement.kept.problems.items())]
    if kept:
        text = f"{count(len(kept), 'file')} of kept values could not be read; verdicts do not rest on them."
        found.append(Notice(kind="warn", title="Unreadable values", text=text, items=_few(kept)))
    if judgement.tails.problem:
        text = f"tails.json, with the ends of logs, could not be read: {clean(judgement.tails.problem)}."
        found.append(Notice(kind="note", title="No log tails", text=text))
    return found


def _on_host(judgement: Judgement) -> list[Notice]:
    """Kernels of GPU columns whose outputs lived on the CPU: nothing is known of the GPU there."""
    items = [
        f"{clean(cell.id)}: {clean(kernel.name)}"
        for cell in judgement.info.cells
        if cell.device != "cpu"
        for kernel in judgement.info.kernels
        for mode in ("off", "on")
        if any(
            misplaced(cell, kernel, one.witnesses)
            for one in judgement.over_conditions(cell.id, kernel.name, mode)
            if one.control or one.status is not Status.EXACT  # what lived elsewhere is never called exact
        )
    ]
    if not items:
        return []
    number = count(len(set(items)), "kernel")
    text = f"{number} of a GPU column left all outputs on the CPU, so nothing is known of the GPU."
    return [Notice(kind="grave", title="Outputs lived on the CPU", text=text, items=_few(items))]


def _limitations(judgement: Judgement) -> list[Notice]:
    """The known limitations that were met, each with the kernels it explains; what to do stands beside these."""
    met: dict[str, dict[str, None]] = {}
    for verdict in judgement.verdicts:
        if verdict.limitation is not None:
            met.setdefault(clean(verdict.limitation.title).rstrip("."), {})[clean(verdict.kernel)] = None
    if not met:
        return []
    items = [f"{title}. Met by {listed(list(kernels), _MOST_NAMES)}." for title, kernels in met.items()]
    text = f"{count(len(met), 'limit')} of TensorFlow that {'explains' if len(met) == 1 else 'explain'} what is shown."
    return [Notice(kind="note", title="Known limitations", text=text, items=_few(items))]


def _gpu(judgement: Judgement) -> list[Notice]:
    """GPU columns in which nothing varied that is known to."""
    told = [clean(judgement.gpu_controls(cell.id).notice) for cell in judgement.info.cells]
    return [
        Notice(kind="warn", title="Nothing varied on the GPU", text=text) for text in dict.fromkeys(filter(None, told))
    ]


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
