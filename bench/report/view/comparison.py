"""A change as shown: from one column to another, and since the last run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.report.view.matrix import ModeResult
    from bench.verdict.difference_types import Difference
    from bench.verdict.timing import Overhead


@dataclass(frozen=True, kw_only=True)
class UpgradeRow:
    """What a change does to one kernel in one mode and variation.

    ``events`` are words of ``bench.verdict.comparison.Event``, the gravest first. ``bits`` says ``same bits``, ``same so
    far``, ``moved`` or ``not compared``, and ``why`` the reason; ``distance`` how far moved bits are apart, "" where
    unknown. ``time`` is the ratio of times with its interval (``x1.30 (1.20 to 1.40) slower``), ``not resolved`` or ""
    for the reason in ``time_why``. ``before`` and ``after`` are the two verdicts as the matrix shows them, None where
    one side has none.
    """

    kernel: str
    family: str
    variation: str
    mode: str
    before: ModeResult | None
    after: ModeResult | None
    events: tuple[str, ...]
    bits: str
    distance: str
    time: str
    why: str
    overhead: Overhead | None
    time_why: str = ""
    difference: Difference | None = None


@dataclass(frozen=True, kw_only=True)
class UpgradeLine:
    """The rows of one kernel to which the same happened, for people. ``where`` names their modes and variations.

    ``turned`` says whether the status is another one. ``time`` names the mode where it is of one of several.
    """

    kernel: str
    where: str
    before: ModeResult
    after: ModeResult
    turned: bool
    events: tuple[str, ...]
    bits: str
    time: str


@dataclass(frozen=True, kw_only=True)
class Upgrade:
    """What a change from one column to another does to all kernels.

    ``step`` names what moves (``CUDA step``), ``alone`` says whether nothing else does, ``moved`` says it in words.
    ``sentences`` sum up each mode. ``counts`` has each event and the number of its results (one kernel under one
    variation and mode), ``rows`` those in which something happened, the gravest first, and ``lines`` the same for
    people; ``quiet`` counts the others, of which ``kept`` are known to keep status and bits, ``so_far`` keep them in
    what little was seen, ``as_before`` still vary, raise or fail (how much so is not compared), and ``unknown`` are not
    compared, for the reasons in ``unknown_why``, the most frequent first. ``untimed_why`` has the reasons why times of
    results are not compared, likewise. ``gone`` and ``new`` count what only one side planned.
    """

    label: str
    step: str
    alone: bool
    moved: str
    before: str
    after: str
    sentences: tuple[str, ...]
    counts: tuple[tuple[str, int], ...]
    rows: tuple[UpgradeRow, ...]
    quiet: int
    lines: tuple[UpgradeLine, ...] = ()
    kept: int = 0
    so_far: int = 0
    as_before: int = 0
    unknown: int = 0
    unknown_why: tuple[tuple[str, int], ...] = ()
    untimed_why: tuple[tuple[str, int], ...] = ()
    gone: int = 0
    new: int = 0
    note: str = ""

    @property
    def results(self) -> int:
        """Results that both sides planned."""
        return len(self.rows) + self.quiet

    @property
    def timed(self) -> int:
        """Results of which times are compared, resolved or not."""
        return self.results - sum(number for _, number in self.untimed_why)

    @property
    def rest(self) -> str:
        """What is to be said of the results in which nothing happened, "" where there are none."""
        why = self.unknown_why[0][0] if self.unknown_why else ""
        told = (
            (self.kept, "keep status and bits"),
            (self.so_far, "have the same bits so far, on weak evidence"),
            (self.as_before, "still vary, raise or fail"),
            (self.unknown, f"not compared ({why}{', among others' if len(self.unknown_why) > 1 else ''})"),
            (self.gone, "gone"),
            (self.new, "new"),
        )
        return "; ".join(f"{number} {words}" for number, words in told if number)


@dataclass(frozen=True, kw_only=True)
class Since:
    """What changed since the last run. ``upgrades`` has one entry for each column of both runs in which something did.

    ``run`` and ``moment`` name the earlier run, "" where there is none to compare with; ``sentence`` says so then.
    ``notes`` name columns that came and went, and what forbids a comparison. ``quiet`` says that no change was seen.
    """

    run: str
    moment: str
    sentence: str
    notes: tuple[str, ...]
    upgrades: tuple[Upgrade, ...]
    quiet: bool = True


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two columns, or two runs column by column. ``compared`` counts the results of which something is known."""

    before: str
    after: str
    sentence: str
    notes: tuple[str, ...]
    upgrades: tuple[Upgrade, ...]
    compared: int
