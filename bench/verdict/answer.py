"""The answer of a run, and the gates a build may fail on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.errors import ConfigError
from bench.verdict.status import OF_COLUMN, SEVERITY, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.verdict.judgement import Judgement, Verdict


@dataclass(frozen=True, kw_only=True)
class CellAnswer:
    """One column: its kernels (controls apart) by their worst status over all conditions, determinism on.

    ``rank`` counts from 1 by the number of exact kernels and is None for a column without any
    measurement; equal numbers share a rank and are ``tied``. ``bound`` is the weakest bound behind an
    exact, ``compared`` the fewest independent comparisons.
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
    """Rank the columns. ``safe`` needs every kernel exact, under every condition, determinism on."""
    raw = [_cell(judgement, cell.id) for cell in judgement.info.cells]
    measured = sorted((one for one in raw if one[0]), key=lambda one: -one[1].exact)
    order = [found.exact for _, found in measured]
    ranked = [_ranked(found, order) for _, found in measured]
    return Answer(cells=(*ranked, *(found for seen, found in raw if not seen)))


def _ranked(found: CellAnswer, order: Sequence[int]) -> CellAnswer:
    return CellAnswer(
        cell=found.cell,
        kernels=found.kernels,
        counts=found.counts,
        exact=found.exact,
        safe=found.safe,
        rank=order.index(found.exact) + 1,
        tied=order.count(found.exact) > 1,
        compared=found.compared,
        bound=found.bound,
        reason=found.reason,
    )


def _cell(judgement: Judgement, cell: str) -> tuple[bool, CellAnswer]:
    """Whether anything was measured there, and the unranked answer."""
    names = [kernel.name for kernel in judgement.info.kernels if not kernel.control]
    heads = [judgement.headline(cell, name, "on") for name in names]
    statuses = Counter(head.status if head else Status.NOT_RUN for head in heads)
    exact = statuses[Status.EXACT]
    strengths = [
        verdict.comparison
        for name, head in zip(names, heads, strict=True)
        if head and head.status is Status.EXACT
        for verdict in judgement.over_conditions(cell, name, "on")
    ]
    return any(status not in _UNMEASURED for status in statuses), CellAnswer(
        cell=cell,
        kernels=len(names),
        counts=tuple((status, statuses[status]) for status in reversed(SEVERITY) if statuses[status]),
        exact=exact,
        safe=bool(names) and exact == len(names),
        rank=None,
        tied=False,
        compared=min((found.compared for found in strengths), default=0),
        bound=max((found.bound for found in strengths), default=1.0),
        reason=judgement.unmeasured[cell][1] if cell in judgement.unmeasured else "",
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
