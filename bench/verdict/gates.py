"""The headline of a run, and the gates that a build may fail on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.errors import ConfigError
from bench.verdict.host_groups import Agreement
from bench.verdict.messages import enumerate_names
from bench.verdict.ranking import ConcernKind, Fit, choose
from bench.verdict.status import OF_COLUMN, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.verdict.ranking import Candidate, Concern
    from bench.verdict.results import RunResults, Verdict


@dataclass(frozen=True, kw_only=True)
class ColumnSummary:
    """One column: its kernels (without controls) by status under the first variation, determinism on.

    ``safe`` says that every kernel is reproducible. ``rank`` counts from 1 and is None for a column without any
    measurement; columns of which none is known to be better share a rank and are ``tied``. ``bound`` is the weakest
    bound of a reproducible kernel, ``compared`` the fewest independent comparisons. ``also_under`` has the kernels that
    are worse under other variations. ``on_other_hosts`` counts the kernels that are reproducible in this column alone,
    by ``ConcernKind.OTHER_HOST`` and ``ConcernKind.UNKNOWN_HOST``; they are not among ``reproducible``.
    """

    column: str
    kernels: int
    counts: tuple[tuple[Status, int], ...]
    reproducible: int
    safe: bool
    rank: int | None
    tied: bool
    compared: int
    bound: float
    reason: str
    also_under: tuple[Concern, ...] = ()
    on_other_hosts: tuple[tuple[ConcernKind, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Which columns give reproducible results with determinism on, the best first, unmeasured ones last."""

    columns: tuple[ColumnSummary, ...]

    @property
    def safe(self) -> tuple[str, ...]:
        """The columns in which every kernel is reproducible."""
        return tuple(column.column for column in self.columns if column.safe)


def answer(results: RunResults) -> Answer:
    """Summarize the columns as ``bench.verdict.ranking`` ranks them without requirements: all kernels, any overhead.

    The first variation (``default``) decides; kernels that are worse under others are reported in ``also_under``.
    """
    return Answer(columns=tuple(_column(results, candidate) for candidate in choose(results)))


def _column(results: RunResults, candidate: Candidate) -> ColumnSummary:
    return ColumnSummary(
        column=candidate.column,
        kernels=candidate.kernels,
        counts=candidate.counts,
        reproducible=candidate.reproducible,
        safe=candidate.fit is Fit.FITS,
        rank=candidate.rank,
        tied=candidate.tied,
        compared=candidate.compared,
        bound=candidate.bound,
        reason=results.unmeasured[candidate.column][1] if candidate.column in results.unmeasured else "",
        also_under=candidate.also_under,
        on_other_hosts=tuple(
            (concern.kind, len(concern.kernels))
            for concern in (*candidate.reasons, *candidate.unknowns)
            if isinstance(concern.kind, ConcernKind)
            and concern.kind in (ConcernKind.OTHER_HOST, ConcernKind.UNKNOWN_HOST)
        ),
    )


_FAULTS = frozenset(
    {Status.CRASHED, Status.OOM, Status.TIMEOUT, Status.MISMATCH, Status.FAILED, Status.ERROR, Status.NAN}
)
_UNMEASURED = OF_COLUMN | {Status.NOT_RUN, Status.OUTDATED}


def _nondeterministic(verdict: Verdict, mode: str) -> bool:
    """Whether bits differed. This counts even if a crash decides the status; if a control failed, nothing counts."""
    return verdict.mode == mode and verdict.comparison.varies and verdict.status is not Status.CONTROL_FAILED


_RULES: dict[str, Callable[[Verdict], bool]] = {
    "nondeterministic-on": lambda verdict: _nondeterministic(verdict, "on"),
    "unknown-nondeterminism": lambda verdict: _nondeterministic(verdict, "on") and not verdict.explained,
    "nondeterministic-off": lambda verdict: _nondeterministic(verdict, "off"),
    "unsupported": lambda verdict: verdict.mode == "on" and verdict.status is Status.UNSUPPORTED,
    "control-failed": lambda verdict: verdict.status is Status.CONTROL_FAILED,
    "inconclusive": lambda verdict: verdict.status is Status.INCONCLUSIVE,
    "faults": lambda verdict: verdict.status in _FAULTS,
    "unmeasured": lambda verdict: verdict.status in _UNMEASURED,
}

#: The gates that a build may fail on.
GATES = (*_RULES, "host-conflict")


def gate(results: RunResults, fail_on: Sequence[str]) -> tuple[str, ...]:
    """Return one sentence for each kernel that fails a gate, under any variation. Controls never count.

    Raises:
        ConfigError: an unknown gate. A misspelt gate must not pass.
    """
    unknown = [name for name in fail_on if name not in GATES]
    if unknown:
        raise ConfigError(f"There is no gate {unknown[0]!r}.", f"Choose from: {', '.join(GATES)}.")
    sentences: dict[str, None] = {}
    for name in dict.fromkeys(fail_on):
        if name == "host-conflict":
            sentences |= dict.fromkeys(_host_conflicts(results))
            continue
        for verdict in results.verdicts:
            if not verdict.control and _RULES[name](verdict):
                where = f"{verdict.column}, {verdict.variation}, determinism {verdict.mode}"
                sentences[f"{name}: {verdict.kernel} is {verdict.status} in {where}. {verdict.why}"] = None
    return tuple(sentences)


def _host_conflicts(results: RunResults) -> Iterator[str]:
    """Return one sentence for each kernel with other bits on another host, determinism on."""
    for group in results.hosts:
        for one in group.of("on", Agreement.CONFLICT):
            bits = "; ".join(f"{letter} on {enumerate_names(hosts)}" for letter, hosts in one.groups)
            yield f"host-conflict: {one.kernel} has other bits on another host with the same {group.model}: {bits}."
