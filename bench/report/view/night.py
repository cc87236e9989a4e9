"""What one night of the history shows: the content of nightly.json."""

from __future__ import annotations

from dataclasses import dataclass

from bench.report.view.fields import Texts

#: The version of nightly.json.
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class NightResult:
    """A result with a finding: ``sentence`` says what it is.

    ``ratio`` is a change of its time with the interval ``low`` to ``high`` where it was measured in pairs, else with
    ``smallest``, the smallest ratio that would have been noticed; all are None if the finding is not about times.
    """

    kernel: str
    variation: str
    mode: str
    sentence: str
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    smallest: float | None = None


@dataclass(frozen=True, kw_only=True)
class NightFinding:
    """One kind of change in one column, against run ``before``.

    ``machine`` is the kind of machine that measured them: CPU, cores and engine. ``changed`` has the facts of
    environment and host that differ, each with "before to after", the most likely cause first; ``commands`` test them.
    ``notes`` are what people wrote about these results.
    """

    kind: str
    column: str
    before: str
    results: tuple[NightResult, ...]
    changed: Texts = ()
    commands: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    machine: str = ""

    @property
    def sentence(self) -> str:
        """The finding in one line."""
        first, more = self.results[0], len(self.results) - 1
        names = f"{first.kernel} ({first.mode})" + (f" and {more} more" if more else "")
        return f"{self.column}: {self.kind}: {names}"


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """What the budget had no time for: a column, or a kernel of a column.

    ``measured`` is the start of the last run that measured it, ISO 8601, "" for none.
    """

    name: str
    measured: str


@dataclass(frozen=True, kw_only=True)
class NightView:
    """A night: ``headline`` is its answer. ``alarms`` need somebody's attention, ``changes`` do not.

    ``earlier`` is the number of earlier nights that it is compared with. ``measured`` counts its results. ``skipped``
    has the runs that the history does not use, each with the reason. ``failed`` says that the night has measured
    nothing: then ``run`` is "", and the headline says why.
    """

    schema: int
    run: str
    started: str
    finished: str
    headline: str
    earlier: int
    measured: int
    alarms: tuple[NightFinding, ...]
    changes: tuple[NightFinding, ...]
    left_out: tuple[LeftOut, ...] = ()
    skipped: Texts = ()
    notes: tuple[str, ...] = ()
    failed: bool = False
