"""Whether an environment gives the same bits on several hosts with one device model: the strongest level of evidence.

The columns of a run are grouped by environment and device model. Which of them are of different hosts is what their
records say, not what the columns are called: columns with the same host name, GPU or boot are one host. Only kernels
that are reproducible on every host, with work that may be compared, agree; what differs is a conflict, and everything
else is not comparable, with the reason. The first variation decides, as in the headline.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.verdict.claims import model_of
from bench.verdict.comparability import Side, SideComparison, outputs, seeds, shapes
from bench.verdict.host_groups import Agreement, HostGroup, HostResult
from bench.verdict.messages import enumerate_names
from bench.verdict.status import EvidenceLevel, Status

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from bench.store.run_info import ColumnInfo, RunInfo
    from bench.verdict.host_groups import Bits
    from bench.verdict.results import RunResults, Verdict

#: Facts of a side that differ between hosts anyway, or that make a group.
_NOT_STATED = frozenset({"host", "GPU", "device", "lock"})


@dataclass(frozen=True, kw_only=True)
class _Host:
    """The columns of one host; the first one stands for all where work is compared."""

    name: str
    sides: tuple[Side, ...]

    def bits(self, kernel: str, variation: str, mode: str) -> dict[str, tuple[Verdict | None, str]]:
        """Return the verdict with the bits of all columns by the name of the host, or by columns that differ.

        None and the reason where there are no bits; no reason where the kernel is not planned.
        """
        verdicts = {side.column: side.results.of(side.column, kernel, variation, mode) for side in self.sides}
        found = {column: verdict for column, verdict in verdicts.items() if verdict is not None}
        if not found:
            return {self.name: (None, "")}
        poor = [str(one.status) for one in found.values() if not _reproducible(one)]
        if poor or len(found) < len(verdicts):
            return {self.name: (None, poor[0] if poor else "not planned")}
        if len({one.comparison.digests[0][0] for one in found.values()}) > 1:
            return {column: (verdict, "") for column, verdict in found.items()}
        return {self.name: (next(iter(found.values())), "")}


def compare_hosts(results: RunResults, columns: Iterable[str] | None = None) -> tuple[HostGroup, ...]:
    """Compare the hosts of a run, one group for each environment and device model with several of them.

    ``columns`` are the ids of the only columns that count, None for all.
    """
    wanted = None if columns is None else frozenset(columns)
    environments: dict[tuple[str, ...], list[Side]] = {}
    for column in results.info.columns:
        if (environment := _environment(column)) and (wanted is None or column.id in wanted):
            environments.setdefault(environment, []).append(Side(results=results, column=column.id))
    models: dict[tuple[str, ...], list[Side]] = {}
    for environment, sides in environments.items():
        for side in sides if len(sides) > 1 else ():
            model = side.facts["CPU"] if side.info.device == "cpu" else model_of(side.info)
            if model not in ("", "gpu"):
                models.setdefault((model, *environment), []).append(side)
    return tuple(group for key, sides in models.items() if (group := _group(key[0], sides)) is not None)


def with_level(results: RunResults) -> RunResults:
    """Return results with the hosts compared, and the level of evidence of what agrees raised."""
    groups = compare_hosts(results)
    same = {
        (column, one.kernel, results.variations[0], one.mode)
        for group in groups
        for one in group.results
        if one.agreement is Agreement.AGREE
        for column in group.columns
    }
    verdicts = tuple(
        dataclasses.replace(one, level=EvidenceLevel.SAME_ACROSS_HOSTS) if one.key in same else one
        for one in results.verdicts
    )
    return dataclasses.replace(results, hosts=groups, verdicts=verdicts) if groups else results


def in_order(info: RunInfo) -> RunInfo:
    """Return a run over several hosts with its columns by device model, environment and host."""
    if not any(column.host for column in info.columns):
        return info
    models = list(dict.fromkeys(model_of(column) for column in info.columns))
    pairs = list(dict.fromkeys(_pair(column) for column in info.columns))

    def place(column: ColumnInfo) -> tuple[int, int, str]:
        return models.index(model_of(column)), pairs.index(_pair(column)), column.host

    return dataclasses.replace(info, columns=tuple(sorted(info.columns, key=place)))


def _pair(column: ColumnInfo) -> str:
    return column.id.partition("@")[0]


def _reproducible(verdict: Verdict) -> bool:
    return verdict.status is Status.REPRODUCIBLE and len(verdict.comparison.digests) == 1


def _environment(column: ColumnInfo) -> tuple[str, ...]:
    """Return what makes up the environment of a column; nothing where its packages are not known."""
    packages = column.lock_hash or column.environment.get("distributions", "")
    accelerator = "cpu" if column.device == "cpu" else "gpu"
    versions = (column.tensorflow, column.cuda, column.cudnn, column.python, column.keras)
    return (accelerator, column.kind, *versions, packages) if packages else ()


def _identity(side: Side) -> frozenset[tuple[str, str]]:
    """Return what tells the host of a column from others; nothing where its name or its boot is not known.

    The host name of a process counts where all processes have the same: each container has its own. The boot of the
    machine, which run.json has, shows that two hosts are containers of one machine.
    """
    records = side.results.records(side.column)
    names = {_short(str(record.request.context.get("host") or "")) for record in records} - {""}
    seen = {str(process.provenance.get("hostname") or "") for record in records for process in record.processes}
    names |= {_short(name) for name in seen if name and len(seen) == 1 and len(records) > 1}
    gpus = {str(record.request.gpu.get("uuid") or "") for record in records} - {""}
    boot = str((side.info.origin or side.results.info.host).get("boot_id") or "")
    known = {"name": names, "GPU": gpus, "boot": {boot}}
    return frozenset((kind, text) for kind, texts in known.items() for text in texts) if names and boot else frozenset()


def _short(name: str) -> str:
    """Return a host name without its domain, which the same host may or may not state."""
    head = name.partition(".")[0].lower()
    return name if head.isdigit() else head


def _group(model: str, sides: Sequence[Side]) -> HostGroup | None:
    """Compare the hosts of columns with one environment and model.

    None for one host, unless it has several names or its columns are in conflict. A column whose records do not tell
    its host from others can be in conflict, but is no evidence of another host.
    """
    merged = _by_host(sides)
    several_hosts = sum(any(map(_identity, of_host)) for of_host in merged) > 1
    same = [of_host for of_host in merged if len({side.info.host for side in of_host}) > 1]
    hosts = _named(merged)
    results = sides[0].results
    compared = [_Compared(hosts, results.variations[0], mode) for mode in ("off", "on")]
    found = [
        _compare(of_mode, kernel.name) for of_mode in compared for kernel in results.info.kernels if not kernel.control
    ]
    if not several_hosts and not same and all(one is None or one.agreement is not Agreement.CONFLICT for one in found):
        return None
    return HostGroup(
        model=model,
        measured=tuple((side.column, host.name) for host in hosts for side in host.sides),
        same_host=tuple(tuple(side.column for side in of_host) for of_host in same),
        differing=_differing(hosts),
        # the columns of a single host never agree: they are no evidence of another one
        results=tuple(one for one in found if one and (several_hosts or one.agreement is not Agreement.AGREE)),
    )


def _by_host(sides: Sequence[Side]) -> list[list[Side]]:
    """Put the columns together that share a host name, a GPU or a boot; one whose host is not known stays alone."""
    merged: list[tuple[set[tuple[str, str]], list[Side]]] = []
    for side in sides:
        known, own = set(_identity(side)), [side]
        for other in [one for one in merged if one[0] & known]:
            merged.remove(other)
            known, own = known | other[0], [*other[1], *own]
        merged.append((known, sorted(own, key=sides.index)))
    return sorted((own for _, own in merged), key=lambda own: sides.index(own[0]))


def _named(merged: Sequence[Sequence[Side]]) -> list[_Host]:
    """Name each host as its columns do, else by its records; by its column where a name is not unique."""
    names = [
        of_host[0].info.host or str((of_host[0].info.origin or of_host[0].results.info.host).get("name") or "")
        for of_host in merged
    ]
    return [
        _Host(name=name if name and names.count(name) == 1 else of_host[0].column, sides=tuple(of_host))
        for name, of_host in zip(names, merged, strict=True)
    ]


class _Compared:
    """The hosts of a group in one variation and mode, by name, and whether their work may be compared.

    Columns of a host with several are here by their ids, too.
    """

    def __init__(self, hosts: Sequence[_Host], variation: str, mode: str) -> None:
        self.hosts = hosts
        self.variation, self.mode = variation, mode
        columns = {side.column: side for host in hosts if len(host.sides) > 1 for side in host.sides}
        self._sides = {**{host.name: host.sides[0] for host in hosts}, **columns}
        self._pairs: dict[tuple[str, str], SideComparison] = {}
        self._codes = {name: side.codes(variation, mode) for name, side in self._sides.items()}
        self._settings = {name: side.requested_settings(variation, mode) for name, side in self._sides.items()}
        sources = {name: side.sources(variation, mode) for name, side in self._sides.items()}
        times = Counter(source for own in sources.values() for source in own)
        self._shared = {name for name, own in sources.items() if any(times[source] > 1 for source in own)}

    def work(self, name: str, own: Verdict) -> Hashable:
        """Return what decides whether bits may be compared: hosts with equal work need no comparison of their own."""
        side = self._sides[name]
        alone = name in self._shared or not side.info.keras
        of_kernel = (self._codes[name].get(own.kernel, ""), self._settings[name], side.info.keras, seeds(own))
        return (name if alone else "", *of_kernel, tuple(shapes(own)), frozenset(outputs(own)))

    def sets(self, verdicts: Mapping[str, Verdict], reasons: dict[str, list[str]]) -> list[list[str]]:
        """Return the sets of hosts whose work may be compared; adds to ``reasons`` why there is more than one."""
        sets: list[list[str]] = []
        works: list[dict[Hashable, tuple[str, Verdict]]] = []  # one host of each kind of work in each set
        for name, verdict in verdicts.items():
            work = self.work(name, verdict)
            obstacles = [self.obstacle(one.values(), name, verdict) for one in works]
            if "" in obstacles:
                sets[obstacles.index("")].append(name)
                works[obstacles.index("")].setdefault(work, (name, verdict))
                continue
            sets.append([name])
            works.append({work: (name, verdict)})
            if obstacles:
                reasons.setdefault(f"{obstacles[0]}: not compared with {sets[0][0]}", []).append(name)
        return sets

    def obstacle(self, others: Iterable[tuple[str, Verdict]], name: str, own: Verdict) -> str:
        """Say why the bits of a host may not be compared with those of any of several hosts, "" if they all may."""
        for other, verdict in others:
            pair = self._pairs.setdefault((other, name), SideComparison(self._sides[other], self._sides[name]))
            if why := pair.other_work(verdict, own) or pair.other_bits(verdict, own):
                return why
        return ""


def _compare(compared: _Compared, kernel: str) -> HostResult | None:
    """Compare a kernel on all hosts, in sets of hosts whose work may be compared; None where no host planned it.

    The columns of a host count one by one where they differ: it is in conflict with itself.
    """
    reasons: dict[str, list[str]] = {}
    found = {
        name: one
        for host in compared.hosts
        for name, one in host.bits(kernel, compared.variation, compared.mode).items()
    }
    if all(verdict is None and not why for verdict, why in found.values()):
        return None
    for name, (verdict, why) in found.items():
        if verdict is None:
            reasons.setdefault(why or "not planned", []).append(name)
    verdicts = {name: verdict for name, (verdict, _) in found.items() if verdict is not None}
    sets = compared.sets(verdicts, reasons)
    bits = [_groups(one, verdicts) for one in sets]
    conflicts = [groups for groups in bits if len(groups) > 1]
    agreement = Agreement.CONFLICT if conflicts else Agreement.UNKNOWN if reasons else Agreement.AGREE
    groups = conflicts[0] if conflicts else bits[0] if bits else ()
    majority = groups and len(groups[0][1]) > max(1, len(found) / 2)
    return HostResult(
        kernel=kernel,
        mode=compared.mode,
        agreement=agreement,
        groups=groups,
        dissenting=tuple(name for _, names in groups[1:] for name in names) if majority else (),
        why="; ".join(f"{why} on {enumerate_names(names)}" for why, names in reasons.items()),
    )


def _groups(names: Sequence[str], verdicts: Mapping[str, Verdict]) -> tuple[Bits, ...]:
    """Return the letter and the hosts of each digest, the most hosts first."""
    by_digest: dict[str, list[str]] = {}
    for name in names:
        by_digest.setdefault(verdicts[name].comparison.digests[0][0], []).append(name)
    ordered = sorted(by_digest.values(), key=len, reverse=True)
    return tuple((verdicts[hosts[0]].digest_class, tuple(hosts)) for hosts in ordered)


def _differing(hosts: Sequence[_Host]) -> dict[str, tuple[Bits, ...]]:
    """Return the facts that differ between hosts, or between columns of a host: a driver, an engine and so on."""
    found: dict[str, dict[str, list[str]]] = {}
    for host in hosts:
        for title in host.sides[0].facts:
            values = {side.column: side.facts[title] or "unknown" for side in host.sides}
            same = len(set(values.values())) == 1
            for name, value in {host.name: next(iter(values.values()))}.items() if same else values.items():
                found.setdefault(title, {}).setdefault(value, []).append(name)
    return {
        title: tuple((value, tuple(names)) for value, names in values.items())
        for title, values in found.items()
        if title not in _NOT_STATED and len(values) > 1
    }


def not_the_same(groups: Iterable[HostGroup], column: str) -> dict[Agreement, frozenset[str]]:
    """Return the kernels of a column that do not agree with its other hosts with determinism on, by the outcome."""
    own = [one for group in groups if column in group.columns for one in group.results if one.mode == "on"]
    return {
        outcome: frozenset(one.kernel for one in own if one.agreement is outcome)
        for outcome in (Agreement.CONFLICT, Agreement.UNKNOWN)
    }
