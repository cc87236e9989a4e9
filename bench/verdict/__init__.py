"""From records to verdicts: ladder, strength, digest classes, price, gates. Pure functions, no I/O."""

from __future__ import annotations

from bench.verdict.answer import GATES, Answer, CellAnswer, answer, gate
from bench.verdict.choice import Fit
from bench.verdict.judgement import Judgement, Verdict
from bench.verdict.status import Rung, Status
from bench.verdict.verdict import MIN_PROCESSES, MIN_REPEATS, judge

__all__ = [
    "GATES",
    "MIN_PROCESSES",
    "MIN_REPEATS",
    "Answer",
    "CellAnswer",
    "Fit",
    "Judgement",
    "Rung",
    "Status",
    "Verdict",
    "answer",
    "gate",
    "judge",
]
