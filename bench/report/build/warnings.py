"""What a reader must know before trusting a number, the gravest first."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bench.report.build import gpu
from bench.report.build.columns import labels, origin
from bench.report.formatting import clean, listed
from bench.report.view import Notice
from bench.verdict.gpu_validity import misplaced
from bench.verdict.messages import count
from bench.verdict.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.verdict.results import RunResults, Verdict

_MOST_ITEMS = 12
_MOST_NAMES = 4


def notices(results: RunResults) -> tuple[Notice, ...]:
    """What must be known before a number is trusted, the gravest first."""
    groups = (
        _blind(results),
        _not_asked(results),
        _on_host(results),
        _columns(results),
        gpu.notices(results),
        _places(results),
        _records(results),
        _known_issues(results),
        _gpu(results),
        _scope(results),
    )
    return tuple(notice for group in groups for notice in group)


def _kernels(results: RunResults, *statuses: Status) -> list[Verdict]:
    return [one for one in results.verdicts if one.status in statuses and not one.control]


def _blind(results: RunResults) -> list[Notice]:
    found = _kernels(results, Status.CONTROL_FAILED)
    if not found:
        return []
    items = [
        f"{clean(one.column)}, {clean(one.variation)}, {one.mode}"
        f"{f', {clean(one.kernel)}' if one.comparison.seeds_collide else ''}: {clean(one.why)}"
        for one in found
    ]
    text = f"{count(len(found), 'verdict')} cannot be believed: a control failed, or the kernel does not feel its seed."
    return [Notice(kind="grave", title="Blind", text=text, items=_few(items))]


def _not_asked(results: RunResults) -> list[Notice]:
    found = [
        one for one in _kernels(results, Status.MISMATCH, Status.GPU_NOT_VISIBLE) if not one.comparison.repetitions
    ]
    places: dict[tuple[str, str], dict[str, None]] = {}
    for one in found:
        if one.observations and one.column not in results.unmeasured:
            places.setdefault((clean(one.column), clean(one.why)), {})[f"{clean(one.variation)}, {one.mode}"] = None
    if not places:
        return []
    items = [f"{column}, {listed(list(where))}: {why}" for (column, why), where in places.items()]
    text = "Something ran, but nothing can be concluded from it."
    return [Notice(kind="grave", title="Not a measurement", text=text, items=_few(items))]


def _columns(results: RunResults) -> list[Notice]:
    """How many columns have no number; the reason of each stands beside its name."""
    states = Counter(status.value for status, _ in results.unmeasured.values())
    if not states:
        return []
    told = ", ".join(f"{status} {number}" for status, number in states.items())
    text = f"{states.total()} of {len(results.info.columns)}: {told}. The reason stands beside each."
    return [Notice(kind="warn", title="Columns not measured", text=text), *_logs(results)]


def _logs(results: RunResults) -> list[Notice]:
    """The end of the log of a column that died before its first record; of many columns, of the first ones."""
    tails = [(column, results.tails.columns.get(column.id, "")) for column in results.info.columns]
    told = [(column, text) for column, text in tails if text and column.id in results.unmeasured][:_MOST_ITEMS]
    return [
        Notice(
            kind="note",
            title="Log tail",
            text=f"The last lines of the log of {clean(column.id)}, {clean(column.status)}.",
            block=clean(text, lines=True),
        )
        for column, text in told
    ]


def _places(results: RunResults) -> list[Notice]:
    """Columns that are not of this host, or that no lock makes again."""
    names = labels(results)
    columns = list(zip(names, results.info.columns, strict=True))
    found = []
    as_found = [name for name, column in columns if column.kind == "local"]
    if as_found:
        text = f"{listed(as_found)}: an environment as it was found. No lock makes it again: its bits are its own."
        found.append(Notice(kind="note", title="Not locked", text=text))
    elsewhere = [f"{name}: {origin(column)}" for name, column in columns if column.origin]
    if elsewhere:
        text = "Times are never compared between hosts; letters are."
        found.append(Notice(kind="note", title="From other hosts", text=text, items=_few(elsewhere)))
    return found


def _records(results: RunResults) -> list[Notice]:
    found = []
    unreadable = [f"{clean(path)}: {clean(reason)}" for path, reason in results.unreadable]
    if unreadable:
        text = f"{count(len(unreadable), 'record')} could not be read; nothing was concluded from them."
        found.append(Notice(kind="warn", title="Unreadable records", text=text, items=_few(unreadable)))
    left_out = [f"{clean(path)}: {clean(reason)}" for path, reason in results.left_out]
    if left_out:
        text = f"{count(len(left_out), 'record')}, for the reasons given."
        found.append(Notice(kind="warn", title="Records left out", text=text, items=_few(left_out)))
    kept = [f"{clean(path)}: {clean(reason)}" for path, reason in sorted(results.kept.problems.items())]
    if kept:
        text = f"{count(len(kept), 'file')} of kept values could not be read; verdicts do not rest on them."
        found.append(Notice(kind="warn", title="Unreadable values", text=text, items=_few(kept)))
    if results.tails.problem:
        text = f"tails.json, with the ends of logs, could not be read: {clean(results.tails.problem)}."
        found.append(Notice(kind="note", title="No log tails", text=text))
    return found


def _on_host(results: RunResults) -> list[Notice]:
    """Kernels of GPU columns whose outputs lived on the CPU: nothing is known of the GPU there."""
    items = [
        f"{clean(column.id)}: {clean(kernel.name)}"
        for column in results.info.columns
        if column.device != "cpu"
        for kernel in results.info.kernels
        for mode in ("off", "on")
        if any(
            misplaced(column, kernel, one.observations)
            for one in results.over_variations(column.id, kernel.name, mode)
            if one.control or one.status is not Status.REPRODUCIBLE  # what lived elsewhere is never called exact
        )
    ]
    if not items:
        return []
    number = count(len(set(items)), "kernel")
    text = f"{number} of a GPU column left all outputs on the CPU, so nothing is known of the GPU."
    return [Notice(kind="grave", title="Outputs lived on the CPU", text=text, items=_few(items))]


def _known_issues(results: RunResults) -> list[Notice]:
    """The known issues that were met, each with the kernels it explains; what to do stands beside these."""
    met: dict[str, dict[str, None]] = {}
    for verdict in results.verdicts:
        if verdict.known_issue is not None:
            met.setdefault(clean(verdict.known_issue.title).rstrip("."), {})[clean(verdict.kernel)] = None
    if not met:
        return []
    items = [f"{title}. Met by {listed(list(kernels), _MOST_NAMES)}." for title, kernels in met.items()]
    text = f"{count(len(met), 'limit')} of TensorFlow that {'explains' if len(met) == 1 else 'explain'} what is shown."
    return [Notice(kind="note", title="Known known_issues", text=text, items=_few(items))]


def _gpu(results: RunResults) -> list[Notice]:
    """GPU columns in which nothing varied that is known to."""
    told = [clean(results.gpu_controls(column.id).notice) for column in results.info.columns]
    return [
        Notice(kind="warn", title="Nothing varied on the GPU", text=text) for text in dict.fromkeys(filter(None, told))
    ]


def _scope(results: RunResults) -> list[Notice]:
    info = results.info
    found = []
    if info.seconds_left and not info.finished:
        minutes = max(1, round(info.seconds_left / 60))
        text = (
            f"In progress: pass {info.passes_done} of {info.passes_planned} is complete, about {minutes} min left. "
            "Results are inconclusive until the run is complete."
        )
        found.append(Notice(kind="warn", title="The run is in progress", text=text))
    elif not info.finished:
        text = "The results are those of the rounds measured so far."
        found.append(Notice(kind="warn", title="The run is not finished", text=text))
    weak = _kernels(results, Status.INCONCLUSIVE)
    if weak:
        text = f"{count(len(weak), 'verdict')}: equal bits so far, on too little evidence to call exact."
        found.append(Notice(kind="warn", title="Weak evidence", text=text, items=_few(_reasons(weak))))
    if info.columns and all(column.device == "cpu" for column in info.columns):
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
