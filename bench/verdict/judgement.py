"""What judging gives: one verdict per cell, kernel, condition and mode, and the way to look them up."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from bench.verdict.compare import Comparison
from bench.verdict.status import Rung, Status, severity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.store.run import RunInfo
    from bench.verdict.evidence import Kept, Witness
    from bench.verdict.timing import Price, Timing

Group = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the records say of one kernel in one cell, condition and mode.

    ``why`` is one sentence. ``control`` is "" for a kernel and the demand for a control; ``passed`` says
    whether a control did what it must (None: not decided, or no control). ``changed_value`` says whether
    the bits with determinism on differ from those with it off, None where either has no single digest.
    ``outcomes`` counts how the processes ended. ``measured`` and ``taken_over`` count records.
    """

    cell: str
    kernel: str
    condition: str
    mode: str
    status: Status
    why: str
    control: str = ""
    passed: bool | None = None
    rung: Rung | None = None
    comparison: Comparison = field(default_factory=Comparison)
    digest_class: str = ""
    changed_value: bool | None = None
    outcomes: tuple[tuple[str, int], ...] = ()
    error_class: str = ""
    error_message: str = ""
    timing: Timing | None = None
    witnesses: tuple[Witness, ...] = ()

    @property
    def measured(self) -> int:
        """Records of this run behind the verdict."""
        return len({one.path for one in self.witnesses if not one.taken_from})

    @property
    def taken_over(self) -> int:
        """Records of earlier runs behind the verdict."""
        return len({one.path for one in self.witnesses if one.taken_from})

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Cell, kernel, condition, mode."""
        return (self.cell, self.kernel, self.condition, self.mode)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """All verdicts of a run, by cell, condition, mode and kernel in the order of run.json.

    ``prices`` is by (cell, kernel, condition). ``groups`` has the records that count by (cell,
    condition, mode). ``left_out`` lists the records that do not count and ``unreadable`` those that
    could not be read, each with the reason.
    """

    info: RunInfo
    verdicts: tuple[Verdict, ...]
    prices: Mapping[tuple[str, str, str], Price]
    conditions: tuple[str, ...]
    groups: Mapping[Group, tuple[Kept, ...]]
    left_out: tuple[tuple[str, str], ...]
    unreadable: tuple[tuple[str, str], ...]

    @cached_property
    def _by_key(self) -> dict[tuple[str, str, str, str], Verdict]:
        return {verdict.key: verdict for verdict in self.verdicts}

    def of(self, cell: str, kernel: str, condition: str, mode: str) -> Verdict | None:
        """One verdict, or None where that was not planned."""
        return self._by_key.get((cell, kernel, condition, mode))

    def over_conditions(self, cell: str, kernel: str, mode: str) -> tuple[Verdict, ...]:
        """The verdicts of all planned conditions, ``default`` first."""
        found = (self.of(cell, kernel, condition, mode) for condition in self.conditions)
        return tuple(verdict for verdict in found if verdict is not None)

    def headline(self, cell: str, kernel: str, mode: str) -> Verdict | None:
        """The worst verdict over all conditions.

        Of equal statuses the one with the fewest comparisons leads, then the one of the first condition.
        None where no condition planned this kernel in this mode.
        """
        verdicts = self.over_conditions(cell, kernel, mode)
        return min(verdicts, key=lambda one: (severity(one.status), one.comparison.compared), default=None)

    def price(self, cell: str, kernel: str) -> Price | None:
        """The price of determinism under the first condition that has one, ``default`` before others."""
        found = (self.prices.get((cell, kernel, condition)) for condition in self.conditions)
        return next((price for price in found if price is not None), None)

    @property
    def measured(self) -> int:
        """Records that count and were measured by this run."""
        return sum(not kept.taken_from for group in self.groups.values() for kept in group)

    @property
    def taken_over(self) -> int:
        """Records that count and were measured by an earlier run."""
        return sum(bool(kept.taken_from) for group in self.groups.values() for kept in group)
