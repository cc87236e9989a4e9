"""The whole report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field

from bench.report.view.charts import HeatMap, IntervalPlot
from bench.report.view.comparison import ColumnComparison, Since, Upgrade
from bench.report.view.evidence import ControlChecks, Detail, Environment
from bench.report.view.fields import Facts, Hidden, Legend, StatusCounts, Texts
from bench.report.view.hosts import HostComparison
from bench.report.view.matrix import Column, Family, Line, Notice, Row
from bench.report.view.ranking import Choice, FamilySummary, NarrowerRanking
from bench.report.view.timing import NoiseFloor
from bench.verdict.known_issues import KnownIssue

#: The version of report.json.
SCHEMA: Final = 6


@dataclass(frozen=True, kw_only=True)
class View:
    """A run of tfrepro, evaluated. Renderers show the fields in this order; report.json is their serialization.

    A key that report.json leaves out has its default: unknown numbers are null, texts and lists empty. Times are in
    seconds, sizes in MB (10^6 bytes), bounds and rates are shares from 0 to 1.

    ``comparisons`` and ``rankings`` are what only the page shows: any two columns, and rankings by one family.
    ``history`` is the address of the page of all runs beside this one, "" for none; ``in_progress`` is whether the run
    still goes on.
    """

    # the texts below the fields are their descriptions in the schema and in docs/reference/report-json.md
    schema_version: Annotated[Literal[6], Field(serialization_alias="schema")]
    """The version of this format."""
    run: str
    """The id of the run."""
    title: Hidden[str]
    heat_map: Hidden[HeatMap]
    answer: tuple[str, ...]
    """The headline, one sentence each."""
    lines: Annotated[tuple[Line, ...], Field(serialization_alias="ranking")]
    """The columns, the best first, with the overhead of determinism."""
    counts_off: StatusCounts
    """Kernels by status over all columns, determinism off."""
    counts_on: StatusCounts
    """Kernels by status over all columns, determinism on."""
    since: Since
    """What changed since the last run."""
    facts: Facts
    """Facts about the run and its host, by label."""
    notices: Annotated[tuple[Notice, ...], Field(serialization_alias="warnings")]
    """Warnings and notes about the run."""
    caption: Hidden[str]
    columns: tuple[Column, ...]
    """Every environment on a device."""
    families: tuple[Family, ...]
    """The matrix: families, their kernels, and a cell for each column and variation."""
    choice: Choice
    """What `choose` answers for all kernels."""
    needs: Annotated[tuple[FamilySummary, ...], Field(serialization_alias="family_summary")]
    """What `choose` answers for each family, in short."""
    hosts: tuple[HostComparison, ...] = ()
    """Environments that several hosts with one device model measured, and whether their bits agree."""
    upgrades: tuple[Upgrade, ...]
    """What changes between neighbouring columns."""
    details: Annotated[tuple[Detail, ...], Field(serialization_alias="evidence")]
    """Samples, digests, times and differences behind each kernel."""
    noise_floor: NoiseFloor | None
    """The noise of the host: determinism off timed against off, null where that was not measured."""
    control_checks: Annotated[ControlChecks, Field(serialization_alias="controls")]
    """Controls and the detection limit."""
    known_issues: tuple[KnownIssue, ...]
    """Known issues of TensorFlow that explain results, by id."""
    environments: tuple[Environment, ...]
    """Versions, loaded libraries and settings of each column."""
    legend: Legend
    """The meaning of each status."""
    terms: Texts
    """The meaning of other terms."""
    comparisons: Hidden[tuple[ColumnComparison, ...]] = ()
    rankings: Hidden[tuple[NarrowerRanking, ...]] = ()
    overhead_plots: Hidden[tuple[IntervalPlot, ...]] = ()
    no_times: Hidden[str] = ""
    upgrade_plots: Hidden[tuple[IntervalPlot, ...]] = ()
    history: Hidden[str] = ""
    in_progress: Hidden[bool] = False
    deciding_variation: Hidden[str] = "default"

    @property
    def rows(self) -> tuple[Row, ...]:
        """All kernels in order."""
        return tuple(row for family in self.families for row in family.rows)
