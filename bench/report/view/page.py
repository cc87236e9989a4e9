"""The whole report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field

from bench.report.view.comparison import ColumnComparison, Since, Upgrade
from bench.report.view.evidence import Detail, Environment, Instrument
from bench.report.view.fields import Facts, Hidden, Legend, StatusCounts, Texts
from bench.report.view.matrix import Column, Family, Line, Notice, Row
from bench.report.view.ranking import Choice, FamilyRanking, Need
from bench.verdict.known_issues import KnownIssue

#: The version of report.json.
SCHEMA: Final = 5


@dataclass(frozen=True, kw_only=True)
class View:
    """A run of tfrepro, evaluated. Renderers show the fields in this order; report.json is their serialization.

    A key that report.json leaves out has its default: unknown numbers are null, texts and lists empty. Times are in
    seconds, sizes in MB (10^6 bytes), bounds and rates are shares from 0 to 1.

    ``answer`` is the headline, ``lines`` the ranking. ``since`` says what changed since the last run. ``choice``
    answers for all kernels what ``choose`` answers for some, and ``needs`` says the same by family.
    ``comparisons`` and ``rankings`` are what only the page shows: any two columns, and rankings by one family.
    """

    schema_version: Annotated[Literal[5], Field(serialization_alias="schema")]
    run: str
    title: Hidden[str]
    answer: tuple[str, ...]
    lines: Annotated[tuple[Line, ...], Field(serialization_alias="ranking")]
    counts_off: StatusCounts
    counts_on: StatusCounts
    since: Since
    facts: Facts
    notices: Annotated[tuple[Notice, ...], Field(serialization_alias="warnings")]
    caption: Hidden[str]
    columns: tuple[Column, ...]
    families: tuple[Family, ...]
    choice: Choice
    needs: Annotated[tuple[Need, ...], Field(serialization_alias="family_summary")]
    upgrades: tuple[Upgrade, ...]
    details: Annotated[tuple[Detail, ...], Field(serialization_alias="evidence")]
    instrument: Annotated[Instrument, Field(serialization_alias="controls")]
    known_issues: tuple[KnownIssue, ...]
    environments: tuple[Environment, ...]
    legend: Legend
    terms: Texts
    comparisons: Hidden[tuple[ColumnComparison, ...]] = ()
    rankings: Hidden[tuple[FamilyRanking, ...]] = ()

    @property
    def rows(self) -> tuple[Row, ...]:
        """All kernels in order."""
        return tuple(row for family in self.families for row in family.rows)
