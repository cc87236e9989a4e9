"""From records to verdicts: validity, evidence, digest groups, overhead, ranking, gates. Pure functions, no I/O."""

from __future__ import annotations

from bench.verdict.evaluate import MIN_PROCESSES, MIN_REPETITIONS, evaluate
from bench.verdict.gates import GATES, gate
from bench.verdict.ranking import Fit, choose
from bench.verdict.results import RunResults, Verdict
from bench.verdict.status import EvidenceLevel, Status

__all__ = [
    "GATES",
    "MIN_PROCESSES",
    "MIN_REPETITIONS",
    "EvidenceLevel",
    "Fit",
    "RunResults",
    "Status",
    "Verdict",
    "choose",
    "evaluate",
    "gate",
]
