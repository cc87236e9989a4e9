"""From records to verdicts: validity, evidence, digest groups, overhead, ranking, gates. Pure functions, no I/O."""

from __future__ import annotations

from bench.verdict.evaluate import MIN_PROCESSES, MIN_REPETITIONS, evaluate
from bench.verdict.gates import GATES, Answer, ColumnSummary, answer, gate
from bench.verdict.ranking import Fit
from bench.verdict.results import RunResults, Verdict
from bench.verdict.status import EvidenceLevel, Status

__all__ = [
    "GATES",
    "MIN_PROCESSES",
    "MIN_REPETITIONS",
    "Answer",
    "ColumnSummary",
    "EvidenceLevel",
    "Fit",
    "RunResults",
    "Status",
    "Verdict",
    "answer",
    "evaluate",
    "gate",
]
