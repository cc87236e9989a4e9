"""The view model: everything a page says, ready to show, and the same for every renderer.

All text from records passes ``clean`` here, once. The renderers only lay out.
"""

from __future__ import annotations

from bench.report.view.change import Comparison, Since, Upgrade, UpgradeLine, UpgradeRow
from bench.report.view.choice import Candidate, Choice, Missing, Need, NeedCell
from bench.report.view.evidence import (
    Change,
    Detail,
    Environment,
    Instrument,
    Note,
    Part,
    Processes,
    ProcessLine,
    SightLine,
)
from bench.report.view.matrix import Column, Count, Entry, Fact, Family, Half, Line, Notice, Row, SubRow
from bench.report.view.page import SCHEMA, View

__all__ = [
    "SCHEMA",
    "Candidate",
    "Change",
    "Choice",
    "Column",
    "Comparison",
    "Count",
    "Detail",
    "Entry",
    "Environment",
    "Fact",
    "Family",
    "Half",
    "Instrument",
    "Line",
    "Missing",
    "Need",
    "NeedCell",
    "Note",
    "Notice",
    "Part",
    "ProcessLine",
    "Processes",
    "Row",
    "SightLine",
    "Since",
    "SubRow",
    "Upgrade",
    "UpgradeLine",
    "UpgradeRow",
    "View",
]
