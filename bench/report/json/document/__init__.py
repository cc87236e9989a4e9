"""What report.json holds, declared once: ``bench.report.json.render`` fills it in, and its JSON Schema is made from it.

Unknown is null, never 0 and never empty text. Times are in seconds, sizes in MB (10^6 bytes), bounds and rates are
shares from 0 to 1. Text is that of the page, in the same order.
"""

from __future__ import annotations

import json
from typing import Any

from bench.report.json.document.figures import (
    Accuracy,
    Change,
    Control,
    Difference,
    Digest,
    Distance,
    FirstDifference,
    KnownIssue,
    LeftOut,
    Overhead,
    Place,
    Time,
    Verdict,
)
from bench.report.json.document.page import (
    Candidate,
    Choice,
    Column,
    ControlSummary,
    Counts,
    Entry,
    Environment,
    Event,
    Evidence,
    Instrument,
    Kernel,
    Label,
    Meaning,
    Missing,
    ModeResult,
    Need,
    NeedColumn,
    Note,
    Notice,
    Pair,
    Report,
    Since,
    Upgrade,
    Variation,
)
from bench.report.view import SCHEMA

__all__ = [
    "Accuracy",
    "Candidate",
    "Change",
    "Choice",
    "Column",
    "Control",
    "ControlSummary",
    "Counts",
    "Difference",
    "Digest",
    "Distance",
    "Entry",
    "Environment",
    "Event",
    "Evidence",
    "FirstDifference",
    "Instrument",
    "Kernel",
    "KnownIssue",
    "Label",
    "LeftOut",
    "Meaning",
    "Missing",
    "ModeResult",
    "Need",
    "NeedColumn",
    "Note",
    "Notice",
    "Overhead",
    "Pair",
    "Place",
    "Report",
    "Since",
    "Time",
    "Upgrade",
    "Variation",
    "Verdict",
    "schema",
]


def schema() -> str:
    """The JSON Schema (draft 2020-12) of report.json."""
    from pydantic import TypeAdapter  # noqa: PLC0415 - start-up stays quick without it
    from pydantic.json_schema import GenerateJsonSchema  # noqa: PLC0415

    class Untitled(GenerateJsonSchema):
        """Without titles, which only repetition names."""

        def field_title_should_be_set(self, _: Any) -> bool:
            return False

    made = TypeAdapter(Report).json_schema(schema_generator=Untitled, mode="serialization")
    head = {
        "$schema": Untitled.schema_dialect,
        "$id": f"urn:tfrepro:report:{SCHEMA}",
        "title": "report.json of tfrepro",
    }
    made["description"] = " ".join((__doc__ or "").split("\n\n", 1)[1].split())
    return json.dumps({**made, **head}, indent=1, sort_keys=True, ensure_ascii=True) + "\n"
