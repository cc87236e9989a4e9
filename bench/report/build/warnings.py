"""Build the warnings: what to know before relying on a number, the most serious first."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bench.report.build import gpu, timing
from bench.report.build.columns import labels, origin
from bench.report.build.summary import progress
from bench.report.formatting import clean, few, listed
from bench.report.view import Notice
from bench.verdict.gpu_validity import misplaced
from bench.verdict.messages import count
from bench.verdict.status import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.verdict.results import RunResults, Verdict

_MOST_NAMES, _MOST_LOGS = 4, 12
#: Remarks of the run that get a notice each; more of them share one.
_MOST_OWN_NOTICES = 2


def notices(results: RunResults) -> tuple[Notice, ...]:
    """Return all warnings, the most serious first."""
    groups = (
        _progress(results),
        _control_failed(results),
        _mismatch(results),
        _on_host(results),
        _columns(results),
        timing.notices(results),
        gpu.notices(results),
        _places(results),
        _records(results),
        _left_behind(results),
        _shared_tmp(results),
        _known_issues(results),
        _gpu_controls(results),
        _scope(results),
    )
    return tuple(notice for group in groups for notice in group)


def _kernels(results: RunResults, *statuses: Status) -> list[Verdict]:
    return [verdict for verdict in results.verdicts if verdict.status in statuses and not verdict.control]


def _progress(results: RunResults) -> list[Notice]:
    """Say how far a run is that is in progress."""
    if not results.info.in_progress:
        return []
    done = progress(results.info)
    text = f"{done[0].upper()}{done[1:]}. Results are inconclusive until the run is complete."
    return [Notice(kind="warn", title="The run is in progress", text=text)]


def _control_failed(results: RunResults) -> list[Notice]:
    verdicts = _kernels(results, Status.CONTROL_FAILED)
    if not verdicts:
        return []
    items = []
    for verdict in verdicts:
        kernel = f", {clean(verdict.kernel)}" if verdict.comparison.seeds_collide else ""
        items.append(
            f"{clean(verdict.column)}, {clean(verdict.variation)}, {verdict.mode}{kernel}: {clean(verdict.why)}"
        )
    text = (
        f"{count(len(verdicts), 'result')} cannot be used: a control failed, or the kernel gives the same bits with "
        "another seed."
    )
    return [Notice(kind="grave", title="Control failed", text=text, items=few(items))]


def _mismatch(results: RunResults) -> list[Notice]:
    verdicts = [
        verdict
        for verdict in _kernels(results, Status.MISMATCH, Status.GPU_NOT_VISIBLE)
        if not verdict.comparison.repetitions
    ]
    places: dict[tuple[str, str], dict[str, None]] = {}
    for verdict in verdicts:
        if verdict.observations and verdict.column not in results.unmeasured:
            where = f"{clean(verdict.variation)}, {verdict.mode}"
            places.setdefault((clean(verdict.column), clean(verdict.why)), {})[where] = None
    if not places:
        return []
    items = [f"{column}, {listed(list(where))}: {why}" for (column, why), where in places.items()]
    text = "What ran is not what was planned, so there is no result."
    return [Notice(kind="grave", title="Not the planned measurement", text=text, items=few(items))]


def _columns(results: RunResults) -> list[Notice]:
    """Return how many columns were not measured; the reason of each is shown with its name."""
    waiting = {Status.NOT_RUN} if results.info.in_progress else set()
    states = Counter(status.value for status, _ in results.unmeasured.values() if status not in waiting)
    if not states:
        return []
    tally = ", ".join(f"{status} {number}" for status, number in states.items())
    text = f"{states.total()} of {len(results.info.columns)}: {tally}. The reason is shown with each column."
    return [Notice(kind="warn", title="Columns not measured", text=text), *_logs(results)]


def _logs(results: RunResults) -> list[Notice]:
    """Return the end of the log of the first columns that died before their first record."""
    tails = [(column, results.tails.columns.get(column.id, "")) for column in results.info.columns]
    logs = [(column, text) for column, text in tails if text and column.id in results.unmeasured]
    return [
        Notice(
            kind="note",
            title="Log tail",
            text=f"The last lines of the log of {clean(column.id)}, {clean(column.status)}.",
            block=clean(text, lines=True),
        )
        for column, text in logs[:_MOST_LOGS]
    ]


def _places(results: RunResults) -> list[Notice]:
    """Name the columns that another host measured, or that no lock can rebuild."""
    columns = list(zip(labels(results), results.info.columns, strict=True))
    warnings = []
    existing = [name for name, column in columns if column.kind == "local"]
    if existing:
        text = f"{listed(existing)}: an existing environment without a lock. It cannot be rebuilt exactly."
        warnings.append(Notice(kind="note", title="Not locked", text=text))
    elsewhere = [f"{name}: {origin(column)}" for name, column in columns if column.origin]
    if elsewhere:
        text = "Times are not compared between hosts; digests are."
        warnings.append(Notice(kind="note", title="From other hosts", text=text, items=few(elsewhere)))
    return warnings


def _records(results: RunResults) -> list[Notice]:
    warnings = []
    unreadable = [f"{clean(path)}: {clean(reason)}" for path, reason in results.unreadable]
    if unreadable:
        text = f"{count(len(unreadable), 'record')} could not be read and were not used."
        warnings.append(Notice(kind="warn", title="Unreadable records", text=text, items=few(unreadable)))
    left_out = [f"{clean(path)}: {clean(reason)}" for path, reason in results.left_out]
    if left_out:
        text = f"{count(len(left_out), 'record')} were not used."
        warnings.append(Notice(kind="warn", title="Records left out", text=text, items=few(left_out)))
    values = [f"{clean(path)}: {clean(reason)}" for path, reason in sorted(results.kept.problems.items())]
    if values:
        text = f"{count(len(values), 'file')} of stored values could not be read. Statuses do not depend on them."
        warnings.append(Notice(kind="warn", title="Unreadable values", text=text, items=few(values)))
    if results.tails.problem:
        text = f"The log tails in tails.json could not be read: {clean(results.tails.problem)}."
        warnings.append(Notice(kind="note", title="No log tails", text=text))
    return warnings


def _on_host(results: RunResults) -> list[Notice]:
    """Name the kernels of GPU columns whose outputs were on the CPU, so that they say nothing about the GPU."""
    items = [
        f"{clean(column.id)}: {clean(kernel.name)}"
        for column in results.info.columns
        if column.device != "cpu"
        for kernel in results.info.kernels
        for mode in ("off", "on")
        if any(
            misplaced(column, kernel, verdict.observations)
            for verdict in results.over_variations(column.id, kernel.name, mode)
            if verdict.control or verdict.status is not Status.REPRODUCIBLE  # outputs elsewhere are never reproducible
        )
    ]
    if not items:
        return []
    number = count(len(set(items)), "kernel")
    text = f"{number} in GPU columns placed all outputs on the CPU, so the results say nothing about the GPU."
    return [Notice(kind="grave", title="Outputs on the CPU", text=text, items=few(items))]


def _left_behind(results: RunResults) -> list[Notice]:
    """Name the kernels that left something in their processes, which ended for that reason."""
    texts: dict[tuple[str, str], None] = {}
    for verdict in results.verdicts:
        for text in verdict.warnings:
            texts[clean(verdict.kernel), clean(text.partition(" (in ")[0])] = None
    if not texts:
        return []
    kernels = count(len({kernel for kernel, _ in texts}), "kernel")
    text = f"{kernels} left something behind. The process was ended each time, so no other kernel is affected."
    items = few([f"{kernel}: {sentence}" for kernel, sentence in texts])
    return [Notice(kind="warn", title="Left behind by kernels", text=text, items=items)]


def _shared_tmp(results: RunResults) -> list[Notice]:
    """Name the columns whose processes shared /tmp with others of their host."""
    columns = zip(labels(results), results.info.columns, strict=True)
    shared = [name for name, column in columns if results.shares_tmp(column.id)]
    if not shared:
        return []
    text = (
        f"{listed(shared)}: this host allows no private /tmp, so a file that a kernel leaves there can make results "
        "look reproducible; such files are reported. Use Docker to rule it out."
    )
    return [Notice(kind="warn", title="Shared /tmp", text=text)]


def _known_issues(results: RunResults) -> list[Notice]:
    """Name the known issues that were met, each with the kernels that it explains."""
    met: dict[str, dict[str, None]] = {}
    for verdict in results.verdicts:
        if verdict.known_issue is not None:
            met.setdefault(clean(verdict.known_issue.title).rstrip("."), {})[clean(verdict.kernel)] = None
    if not met:
        return []
    items = [f"{title}. Kernels: {listed(list(kernels), _MOST_NAMES)}." for title, kernels in met.items()]
    verb = "explains" if len(met) == 1 else "explain"
    text = f"{count(len(met), 'known issue')} of TensorFlow {verb} results of this run."
    return [Notice(kind="note", title="Known issues", text=text, items=few(items))]


def _gpu_controls(results: RunResults) -> list[Notice]:
    """Name the GPU columns in which every kernel that is known to be nondeterministic there repeated its bits."""
    texts = [clean(results.gpu_controls(column.id).notice) for column in results.info.columns]
    return [
        Notice(kind="warn", title="No nondeterminism seen on the GPU", text=text)
        for text in dict.fromkeys(filter(None, texts))
    ]


def _scope(results: RunResults) -> list[Notice]:
    info = results.info
    warnings = []
    if not info.finished and not info.in_progress:
        text = "This report shows what has been measured so far."
        warnings.append(Notice(kind="warn", title="The run is not finished", text=text))
    inconclusive = _kernels(results, Status.INCONCLUSIVE)
    if inconclusive:
        number = count(len(inconclusive), "result")
        text = f"{number} have equal bits so far, but too little evidence to call them reproducible."
        warnings.append(Notice(kind="warn", title="Weak evidence", text=text, items=few(_reasons(inconclusive))))
    if info.columns and all(column.device == "cpu" for column in info.columns):
        text = (
            "GPU effects were not measured: atomic operations, algorithm selection in cuDNN, and ops without a "
            "deterministic GPU kernel."
        )
        warnings.append(Notice(kind="note", title="CPU only", text=text))
    if len(info.warnings) > _MOST_OWN_NOTICES:
        text = f"{len(info.warnings)} remarks, listed in the details."
        items = few([clean(text) for text in info.warnings])
        warnings.append(Notice(kind="note", title="Notes of the run", text=text, items=items))
    else:
        warnings += [Notice(kind="note", title="Notes of the run", text=clean(text)) for text in info.warnings]
    return warnings


def _reasons(inconclusive: Sequence[Verdict]) -> list[str]:
    """Return why results are inconclusive, the most frequent reason first."""
    tally = Counter(verdict.why.partition(", but: ")[2].rstrip(".") for verdict in inconclusive)
    ordered = sorted(tally.items(), key=lambda item: (-item[1], item[0]))
    return [f"{clean(reason)} ({number})" for reason, number in ordered]
