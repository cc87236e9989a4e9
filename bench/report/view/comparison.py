"""Comparisons of two columns: of one run, or of one column in two runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import PlainSerializer

from bench.report.view.fields import Hidden, Numbers
from bench.report.view.matrix import ModeResult
from bench.verdict.difference_types import Difference
from bench.verdict.ratio import TimeRatio


def _status(result: ModeResult | None) -> str | None:
    return result.word if result else None


#: A result that is elsewhere in report.json, which here has only its status.
StatusOf = Annotated[ModeResult | None, PlainSerializer(_status, return_type=str | None)]


@dataclass(frozen=True, kw_only=True)
class UpgradeRow:
    """One result that changed: one kernel in one mode and variation.

    ``events`` are values of ``bench.verdict.comparison.Event``, the most severe first. ``bits`` is a value of
    ``bench.verdict.comparison.Bits``, with the reason in ``why``. ``before`` and ``after`` are the results of both
    sides, None where a side has none. ``overhead`` is the time after over the time before, None for the reason in
    ``time_why``. ``distance`` and ``time`` are the texts for ``difference`` and ``overhead``.
    """

    kernel: str
    family: Hidden[str]
    variation: str
    mode: str
    before: StatusOf
    after: StatusOf
    events: tuple[str, ...]
    bits: str
    distance: Hidden[str]
    time: Hidden[str]
    why: str = ""
    overhead: TimeRatio | None = None
    time_why: str = ""
    difference: Difference | None = None


@dataclass(frozen=True, kw_only=True)
class UpgradeLine:
    """The rows of one kernel to which the same happened, as one line. ``where`` names their modes and variations.

    ``turned`` says whether the status changed. ``time`` names the mode where it belongs to one of several.
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
    """What changes from one column to another. A result is one kernel in one variation and mode.

    ``step`` names what is upgraded ("CUDA step") and ``changed_facts`` everything that differs; ``alone`` says that
    it is one thing only. ``sentences`` summarize each mode, ``counts`` the events over all results.

    The numbers add up: of ``results`` results that both sides planned, ``changed`` changed and are in ``rows``, the
    most severe first (``lines`` has them grouped by kernel). The others: ``kept`` keep status and bits, ``so_far`` have
    equal bits on weak evidence, ``as_before`` are still nondeterministic or still fail, and ``unknown`` are not
    compared for the reasons in ``unknown_why``, the most frequent first. ``untimed_why`` has the reasons why times are
    not compared. ``gone`` and ``new`` count results that only one side planned.
    ``packages`` has the releases of TensorFlow, Keras, NumPy and protobuf before and after, "" where unknown.
    """

    label: str
    step: str
    alone: bool
    changed_facts: str
    before: str
    after: str
    packages: tuple[tuple[str, str, str], ...] = ()
    results: int
    changed: int
    sentences: tuple[str, ...]
    counts: Numbers
    rows: tuple[UpgradeRow, ...]
    lines: Hidden[tuple[UpgradeLine, ...]] = ()
    kept: int = 0
    so_far: int = 0
    as_before: int = 0
    unknown: int = 0
    unknown_why: Numbers = ()
    untimed_why: Numbers = ()
    gone: int = 0
    new: int = 0
    note: str = ""

    @property
    def timed(self) -> int:
        """Results whose times are compared, whether the difference is significant or not."""
        return self.results - sum(number for _, number in self.untimed_why)

    @property
    def rest(self) -> str:
        """The results that did not change, in words; "" where there are none."""
        why = self.unknown_why[0][0] if self.unknown_why else ""
        among = ", among other reasons" if len(self.unknown_why) > 1 else ""
        parts = (
            (self.kept, "keep status and bits"),
            (self.so_far, "have the same bits so far, on weak evidence"),
            (self.as_before, "are still nondeterministic or still fail"),
            (self.unknown, f"not compared ({why}{among})"),
            (self.gone, "removed"),
            (self.new, "added"),
        )
        return "; ".join(f"{number} {words}" for number, words in parts if number)


@dataclass(frozen=True, kw_only=True)
class Since:
    """What changed since the last run. ``upgrades`` has an entry for each column of both runs that changed.

    ``run`` and ``moment`` identify the earlier run, "" where there is none. ``notes`` name columns that were added or
    removed, and what prevents a comparison. ``quiet`` says that no change was seen.
    """

    run: str = ""
    moment: str = ""
    sentence: str
    notes: tuple[str, ...] = ()
    upgrades: tuple[Upgrade, ...] = ()
    quiet: Hidden[bool] = True


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two columns, or two runs column by column. ``compared`` counts the results that could be compared."""

    before: str
    after: str
    sentence: str
    notes: tuple[str, ...] = ()
    upgrades: tuple[Upgrade, ...]
    compared: int


@dataclass(frozen=True, kw_only=True)
class ExecutionRow:
    """How far two ways of computing the same agree in one column and mode.

    ``ulps`` is the largest distance of two elements, None where unknown. ``wrong`` names what is wrong against float64.
    """

    column: str
    mode: str
    first: str
    other: str
    agreement: str
    ulps: float | None
    wrong: str


@dataclass(frozen=True, kw_only=True)
class Executions:
    """Two variations, or two kernels, compared within every column."""

    before: str
    after: str
    sentence: str
    rows: tuple[ExecutionRow, ...]
    compared: int


@dataclass(frozen=True, kw_only=True)
class ColumnComparison:
    """What changes from one column to another. ``before`` and ``after`` are places in the view's columns.

    ``lines_shown`` is the number of lines that the page lists; ``command`` prints all of them.
    """

    before: int
    after: int
    is_step: bool
    upgrade: Upgrade
    lines_shown: int
    command: str
