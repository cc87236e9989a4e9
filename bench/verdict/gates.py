"""The answer of a run, and the gates a build may fail on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.errors import ConfigError
from bench.verdict.ranking import Fit, choose
from bench.verdict.status import OF_COLUMN, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.verdict.ranking import Candidate
    from bench.verdict.results import RunResults, Verdict


@dataclass(frozen=True, kw_only=True)
class ColumnSummary:
    """One column: its kernels (controls apart) by their worst status over all variations, determinism on.

    ``rank`` counts from 1 and is None for a column without any measurement; columns of which none is known to be
    better share a rank and are ``tied``. ``bound`` is the weakest bound behind an exact, ``compared`` the fewest
    independent comparisons.
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


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Which columns give the same bits with determinism on, the best first, unmeasured ones last."""

    columns: tuple[ColumnSummary, ...]

    @property
    def safe(self) -> tuple[str, ...]:
        """The columns in which every kernel is exact."""
        return tuple(column.column for column in self.columns if column.safe)


def answer(results: RunResults) -> Answer:
    """The columns as ``bench.verdict.ranking`` ranks them where nothing is asked: all kernels, any overhead.

    ``safe`` needs every kernel exact, under every variation, determinism on.
    """
    return Answer(columns=tuple(_column(results, one) for one in choose(results)))


def _column(results: RunResults, found: Candidate) -> ColumnSummary:
    return ColumnSummary(
        column=found.column,
        kernels=found.kernels,
        counts=found.counts,
        reproducible=found.reproducible,
        safe=found.fit is Fit.FITS,
        rank=found.rank,
        tied=found.tied,
        compared=found.compared,
        bound=found.bound,
        reason=results.unmeasured[found.column][1] if found.column in results.unmeasured else "",
    )


_FAULTS = frozenset({Status.CRASHED, Status.OOM, Status.TIMEOUT, Status.MISMATCH, Status.ERROR, Status.NAN})
_UNMEASURED = OF_COLUMN | {Status.NOT_RUN, Status.OUTDATED}


def _varies(verdict: Verdict, mode: str) -> bool:
    """A shown difference counts even where a crash leads the verdict; under a failed control nothing is shown."""
    return verdict.mode == mode and verdict.comparison.varies and verdict.status is not Status.CONTROL_FAILED


_RULES: dict[str, Callable[[Verdict], bool]] = {
    "on-varies": lambda verdict: _varies(verdict, "on"),
    "unknown-nondeterminism": lambda verdict: _varies(verdict, "on") and not verdict.explained,
    "nondeterministic-off": lambda verdict: _varies(verdict, "off"),
    "on-unsupported": lambda verdict: verdict.mode == "on" and verdict.status is Status.UNSUPPORTED,
    "control-failed": lambda verdict: verdict.status is Status.CONTROL_FAILED,
    "inconclusive": lambda verdict: verdict.status is Status.INCONCLUSIVE,
    "faults": lambda verdict: verdict.status in _FAULTS,
    "unmeasured": lambda verdict: verdict.status in _UNMEASURED,
}

#: What a build may fail on.
GATES = tuple(_RULES)


def gate(results: RunResults, fail_on: Sequence[str]) -> tuple[str, ...]:
    """One sentence for each kernel that breaks a gate; empty where all hold. Controls never count.

    Raises:
        ConfigError: a gate this version does not know. A misspelt gate must not pass.
    """
    unknown = [name for name in fail_on if name not in _RULES]
    if unknown:
        raise ConfigError(f"There is no gate {unknown[0]!r}.", f"Choose from: {', '.join(GATES)}.")
    sentences: dict[str, None] = {}
    for name in dict.fromkeys(fail_on):
        for verdict in results.verdicts:
            if not verdict.control and _RULES[name](verdict):
                where = f"{verdict.column}, {verdict.variation}, determinism {verdict.mode}"
                sentences[f"{name}: {verdict.kernel} is {verdict.status} in {where}. {verdict.why}"] = None
    return tuple(sentences)
