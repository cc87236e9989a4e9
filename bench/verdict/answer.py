"""The answer of a run, and the gates a build may fail on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.errors import ConfigError
from bench.verdict.choice import Fit, choose
from bench.verdict.status import OF_COLUMN, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.verdict.choice import Candidate
    from bench.verdict.judgement import Judgement, Verdict


@dataclass(frozen=True, kw_only=True)
class CellAnswer:
    """One column: its kernels (controls apart) by their worst status over all conditions, determinism on.

    ``rank`` counts from 1 and is None for a column without any measurement; columns of which none is known to be
    better share a rank and are ``tied``. ``bound`` is the weakest bound behind an exact, ``compared`` the fewest
    independent comparisons.
    """

    cell: str
    kernels: int
    counts: tuple[tuple[Status, int], ...]
    exact: int
    safe: bool
    rank: int | None
    tied: bool
    compared: int
    bound: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Which cells give the same bits with determinism on, the best first, unmeasured ones last."""

    cells: tuple[CellAnswer, ...]

    @property
    def safe(self) -> tuple[str, ...]:
        """The cells in which every kernel is exact."""
        return tuple(cell.cell for cell in self.cells if cell.safe)


def answer(judgement: Judgement) -> Answer:
    """The columns as ``bench.verdict.choice`` ranks them where nothing is asked: all kernels, any price.

    ``safe`` needs every kernel exact, under every condition, determinism on.
    """
    return Answer(cells=tuple(_cell(judgement, one) for one in choose(judgement)))


def _cell(judgement: Judgement, found: Candidate) -> CellAnswer:
    return CellAnswer(
        cell=found.cell,
        kernels=found.kernels,
        counts=found.counts,
        exact=found.exact,
        safe=found.fit is Fit.FITS,
        rank=found.rank,
        tied=found.tied,
        compared=found.compared,
        bound=found.bound,
        reason=judgement.unmeasured[found.cell][1] if found.cell in judgement.unmeasured else "",
    )


_FAULTS = frozenset({Status.CRASHED, Status.OOM, Status.TIMEOUT, Status.FAILED, Status.RAISED, Status.NAN})
_UNMEASURED = OF_COLUMN | {Status.NOT_RUN, Status.STALE}


def _varies(verdict: Verdict, mode: str) -> bool:
    """A shown difference counts even where a crash leads the verdict; under a failed control nothing is shown."""
    return verdict.mode == mode and verdict.comparison.varies and verdict.status is not Status.BLIND


_RULES: dict[str, Callable[[Verdict], bool]] = {
    "on-varies": lambda verdict: _varies(verdict, "on"),
    "on-varies-unexplained": lambda verdict: _varies(verdict, "on") and not verdict.explained,
    "off-varies": lambda verdict: _varies(verdict, "off"),
    "on-unsupported": lambda verdict: verdict.mode == "on" and verdict.status is Status.UNSUPPORTED,
    "blind": lambda verdict: verdict.status is Status.BLIND,
    "weak": lambda verdict: verdict.status is Status.WEAK,
    "faults": lambda verdict: verdict.status in _FAULTS,
    "unmeasured": lambda verdict: verdict.status in _UNMEASURED,
}

#: What a build may fail on.
GATES = tuple(_RULES)


def gate(judgement: Judgement, fail_on: Sequence[str]) -> tuple[str, ...]:
    """One sentence for each kernel that breaks a gate; empty where all hold. Controls never count.

    Raises:
        ConfigError: a gate this version does not know. A misspelt gate must not pass.
    """
    unknown = [name for name in fail_on if name not in _RULES]
    if unknown:
        raise ConfigError(f"There is no gate {unknown[0]!r}.", f"Choose from: {', '.join(GATES)}.")
    sentences: dict[str, None] = {}
    for name in dict.fromkeys(fail_on):
        for verdict in judgement.verdicts:
            if not verdict.control and _RULES[name](verdict):
                where = f"{verdict.cell}, {verdict.condition}, determinism {verdict.mode}"
                sentences[f"{name}: {verdict.kernel} is {verdict.status} in {where}. {verdict.why}"] = None
    return tuple(sentences)
