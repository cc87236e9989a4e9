"""The whole page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bench.report.view.comparison import Since, Upgrade
    from bench.report.view.evidence import Detail, Environment, Instrument
    from bench.report.view.matrix import Column, Count, Fact, Family, Line, Notice, Row
    from bench.report.view.ranking import Choice, Need
    from bench.verdict.results import RunResults

#: Of the JSON document (``bench.report.json.render``).
SCHEMA: Final = 4


@dataclass(frozen=True, kw_only=True)
class View:
    """A whole page; the order of its fields is that of every renderer.

    ``results`` has the numbers behind it, for renderers that hand them on.
    ``since`` says what changed since the last run, ``choice`` answers for all kernels what ``tfrepro choose`` answers
    for some, and ``needs`` has the same by family.
    """

    run: str
    title: str
    answer: tuple[str, ...]
    lines: tuple[Line, ...]
    counts_off: tuple[Count, ...]
    counts_on: tuple[Count, ...]
    since: Since
    facts: tuple[Fact, ...]
    notices: tuple[Notice, ...]
    caption: str
    columns: tuple[Column, ...]
    families: tuple[Family, ...]
    choice: Choice
    needs: tuple[Need, ...]
    upgrades: tuple[Upgrade, ...]
    details: tuple[Detail, ...]
    instrument: Instrument
    environments: tuple[Environment, ...]
    legend: tuple[tuple[str, str, str, str], ...]
    terms: tuple[tuple[str, str], ...]
    results: RunResults

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows in order."""
        return tuple(row for family in self.families for row in family.rows)
