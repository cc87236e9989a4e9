"""The view model: everything a page says, ready to show, and the same for every renderer.

All text from records passes ``clean`` here, once. The renderers only lay out.
"""

from __future__ import annotations

from bench.report.view.comparison import Comparison, Since, Upgrade, UpgradeLine, UpgradeRow
from bench.report.view.evidence import (
    Change,
    ControlLine,
    Detail,
    Environment,
    Instrument,
    Note,
    Part,
    Processes,
    ProcessLine,
)
from bench.report.view.matrix import Column, Count, Entry, Fact, Family, Line, ModeResult, Notice, Row, SubRow
from bench.report.view.page import SCHEMA, View
from bench.report.view.ranking import Candidate, Choice, Missing, Need, NeedColumn

__all__ = [
    "SCHEMA",
    "Candidate",
    "Change",
    "Choice",
    "Column",
    "Comparison",
    "ControlLine",
    "Count",
    "Detail",
    "Entry",
    "Environment",
    "Fact",
    "Family",
    "Instrument",
    "Line",
    "Missing",
    "ModeResult",
    "Need",
    "NeedColumn",
    "Note",
    "Notice",
    "Part",
    "ProcessLine",
    "Processes",
    "Row",
    "Since",
    "SubRow",
    "Upgrade",
    "UpgradeLine",
    "UpgradeRow",
    "View",
]
