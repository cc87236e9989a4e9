"""The view model: everything that a report shows, the same for every renderer, and what report.json contains.

Text that a record supplied is made harmless when the view is built; renderers only lay it out.
"""

from __future__ import annotations

from bench.report.view.comparison import (
    ColumnComparison,
    Comparison,
    ExecutionRow,
    Executions,
    Since,
    Upgrade,
    UpgradeLine,
    UpgradeRow,
)
from bench.report.view.evidence import (
    Change,
    ControlChecks,
    ControlGroup,
    ControlLine,
    Detail,
    Environment,
    Note,
    Part,
    Processes,
    ProcessLine,
)
from bench.report.view.fields import Count, Fact
from bench.report.view.hosts import HostBits, HostComparison, HostRow, MeasuredHost
from bench.report.view.matrix import (
    Column,
    Entry,
    Family,
    GroupDistance,
    Line,
    ModeResult,
    Notice,
    Row,
    VariationRow,
    Worst,
)
from bench.report.view.page import SCHEMA, View
from bench.report.view.ranking import Candidate, Choice, FamilyColumn, FamilySummary, Missing, NarrowerRanking
from bench.report.view.timing import NoiseFloor

__all__ = [
    "SCHEMA",
    "Candidate",
    "Change",
    "Choice",
    "Column",
    "ColumnComparison",
    "Comparison",
    "ControlChecks",
    "ControlGroup",
    "ControlLine",
    "Count",
    "Detail",
    "Entry",
    "Environment",
    "ExecutionRow",
    "Executions",
    "Fact",
    "Family",
    "FamilyColumn",
    "FamilySummary",
    "GroupDistance",
    "HostBits",
    "HostComparison",
    "HostRow",
    "Line",
    "MeasuredHost",
    "Missing",
    "ModeResult",
    "NarrowerRanking",
    "NoiseFloor",
    "Note",
    "Notice",
    "Part",
    "ProcessLine",
    "Processes",
    "Row",
    "Since",
    "Upgrade",
    "UpgradeLine",
    "UpgradeRow",
    "VariationRow",
    "View",
    "Worst",
]
