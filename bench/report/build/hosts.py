"""Build what several hosts with one device model show about each environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report.formatting import cap, clean, listed
from bench.report.view import Fact, HostBits, HostComparison, HostRow, MeasuredHost
from bench.verdict.host_groups import Agreement
from bench.verdict.messages import count, enumerate_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.verdict.host_groups import HostGroup, HostResult
    from bench.verdict.results import RunResults

#: Kernels that a sentence names, and environments whose conflicts the headline states.
_MOST_NAMES, _MOST_ENVIRONMENTS = 4, 2
#: Characters of a differing fact that are shown.
_LONGEST = 80


def comparisons(results: RunResults) -> tuple[HostComparison, ...]:
    """Return each environment and device model that several hosts measured."""
    return tuple(map(_comparison, results.hosts))


def headline(results: RunResults) -> tuple[str, ...]:
    """Return a sentence for each environment in which hosts disagree with determinism on, at most two of them."""
    groups = [group for group in results.hosts if group.of("on", Agreement.CONFLICT)]
    texts = [
        f"{_disagreeing(group)} disagree on {_label(group)} with determinism on: {'; '.join(_conflicts(group, 'on'))}."
        for group in groups[:_MOST_ENVIRONMENTS]
    ]
    more = len(groups) - len(texts)
    return (*texts, *([f"Hosts disagree on {count(more, 'more environment')}."] if more > 0 else []))


def _disagreeing(group: HostGroup) -> str:
    return "Hosts" if len(group.hosts) > 1 else f"Columns of the host {clean(group.hosts[0])}"


def _label(group: HostGroup) -> str:
    return clean(f"{group.columns[0].partition('@')[0]} on {group.model}")


def _comparison(group: HostGroup) -> HostComparison:
    rows = [
        one
        for mode in ("on", "off")
        for kind in (Agreement.CONFLICT, Agreement.UNKNOWN)
        for one in group.of(mode, kind)
    ]
    return HostComparison(
        label=_label(group),
        hosts=tuple(MeasuredHost(column=clean(column), host=clean(host)) for column, host in group.measured),
        sentences=tuple(_sentences(group)),
        differing=tuple(
            Fact(
                label=title,
                value="; ".join(f"{clean(cap(value, _LONGEST))} on {_names(names)}" for value, names in values),
            )
            for title, values in group.differing.items()
        ),
        same_bits_off=len(group.of("off", Agreement.AGREE)),
        same_bits_on=len(group.of("on", Agreement.AGREE)),
        kernels=len({one.kernel for one in group.results}),
        rows=tuple(map(_row, rows)),
    )


def _row(one: HostResult) -> HostRow:
    bits = [f"{letter}: {', '.join(map(clean, names))}" for letter, names in one.groups]
    differs = [f"{_names(one.dissenting)} {_differ(one.dissenting)}"] if one.dissenting else []
    shown = [*bits, *differs] if one.agreement is Agreement.CONFLICT else []
    return HostRow(
        kernel=clean(one.kernel),
        mode=one.mode,
        agreement=str(one.agreement),
        text="; ".join([*shown, *([clean(one.why)] if one.why else [])]),
        groups=tuple(HostBits(letter=letter, hosts=tuple(map(clean, names))) for letter, names in one.groups),
        dissenting=tuple(map(clean, one.dissenting)),
        why=clean(one.why),
    )


def _sentences(group: HostGroup) -> Iterator[str]:
    """Say how many kernels agree in each mode and which do not, and what else differs between the hosts."""
    for columns in group.same_host:
        yield f"{_names(columns)} are of one host by their records: together they are no evidence of another host."
    for mode in ("on", "off"):
        planned = sum(one.mode == mode for one in group.results)
        if planned and len(group.hosts) == 1:
            yield f"With determinism {mode}: {'; '.join([*_conflicts(group, mode), *_unknown(group, mode)])}."
        elif planned:
            same = len(group.of(mode, Agreement.AGREE))
            hosts = "both hosts" if len(group.hosts) == 2 else f"all {len(group.hosts)} hosts"  # noqa: PLR2004
            text = f"With determinism {mode}, {same} of {count(planned, 'kernel')} give the same bits on {hosts}"
            yield "; ".join([text, *_conflicts(group, mode), *_unknown(group, mode)]) + "."
    conflict = any(group.of(mode, Agreement.CONFLICT) for mode in ("on", "off"))
    subject = "hosts" if len(group.hosts) > 1 else "columns"
    if group.differing:
        meaning = "a conflict may come from that" if conflict else "bits that are the same are so despite that"
        yield f"The {subject} also differ in {_names(tuple(group.differing))}: {meaning}."
    elif conflict:
        yield f"The records state nothing else that differs between the {subject}."


def _conflicts(group: HostGroup, mode: str) -> list[str]:
    """Return which hosts differ from which, with the number of kernels and the first of them."""
    ways: dict[tuple[tuple[str, ...], tuple[tuple[str, ...], ...]], list[str]] = {}
    for one in group.of(mode, Agreement.CONFLICT):
        ways.setdefault((one.dissenting, tuple(names for _, names in one.groups)), []).append(clean(one.kernel))
    return [
        f"{_who(dissenting, groups)} in {len(kernels)}: {listed(kernels, _MOST_NAMES)}"
        for (dissenting, groups), kernels in ways.items()
    ]


def _who(dissenting: Sequence[str], groups: Sequence[Sequence[str]]) -> str:
    if dissenting:
        return f"{_names(dissenting)} {_differ(dissenting)} from {_names(groups[0])}"
    return f"{', '.join(_names(names) for names in groups[:-1])} and {_names(groups[-1])} differ, without a majority,"


def _unknown(group: HostGroup, mode: str) -> list[str]:
    """Return how many kernels are not comparable for each reason, and the first of them."""
    reasons: dict[str, list[str]] = {}
    for one in group.of(mode, Agreement.UNKNOWN):
        reasons.setdefault(clean(one.why), []).append(clean(one.kernel))
    return [
        f"{len(kernels)} not comparable ({why}): {listed(kernels, _MOST_NAMES)}" for why, kernels in reasons.items()
    ]


def _differ(names: Sequence[str]) -> str:
    return "differs" if len(names) == 1 else "differ"


def _names(names: Sequence[str]) -> str:
    return enumerate_names([clean(name) for name in names])
