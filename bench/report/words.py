"""What each status is called, drawn and explained as: one table for all renderers."""

from __future__ import annotations

from dataclasses import dataclass

from bench.report.text import DASH, TIMES
from bench.verdict.status import Status


@dataclass(frozen=True)
class Word:
    """A status for people. ``tone`` picks colour and pattern on the page; colour never stands alone."""

    symbol: str
    word: str
    tone: str
    meaning: str


WORDS: dict[Status, Word] = {
    Status.EXACT: Word("=", "exact", "good", "Same bits in every repeat and process, with enough of both."),
    Status.EXACT_IN_PROCESS: Word(
        "≈", "exact-in-process", "part", "Each process agrees with itself, but processes disagree."
    ),
    Status.VARIES: Word("≠", "varies", "bad", "The same seed gave different bits."),
    Status.WEAK: Word("~", "weak", "weak", "Equal so far, but too few processes or repeats to call it exact."),
    Status.UNSUPPORTED: Word(
        "∅",
        "unsupported",
        "info",
        "TensorFlow has no deterministic implementation and says so: a result, not a failure.",
    ),
    Status.RAISED: Word("!", "raised", "fault", "TensorFlow raised an error."),
    Status.NAN: Word("N", "nan", "part", "Equal bits, but the outputs have NaN, which hide differences."),
    Status.FAILED: Word(
        TIMES, "failed", "fault", "No measurement: something else ran than was asked, or nothing came back."
    ),
    Status.CRASHED: Word("†", "crashed", "fault", "The process died."),
    Status.TIMEOUT: Word("∞", "timeout", "fault", "Stopped after its time limit."),
    Status.OOM: Word("#", "oom", "fault", "It ran out of memory."),
    Status.BUILD_FAILED: Word(TIMES, "build-failed", "none", "The environment could not be made."),
    Status.IMAGE_GONE: Word(TIMES, "image-gone", "none", "The image is no longer there."),
    Status.IMPOSSIBLE: Word(DASH, "impossible", "none", "This pair cannot be measured here; the reason is given."),
    Status.NO_GPU: Word("○", "no-gpu", "none", "A GPU column in which TensorFlow saw no GPU."),
    Status.BLIND: Word(
        "?", "blind", "blind", "A control failed, or another seed gave the same bits: it proves nothing."
    ),
    Status.THROTTLED: Word("↓", "throttled", "none", "The device was throttled, so times mean nothing."),
    Status.STALE: Word("«", "stale", "none", "Only records of another version of the suite."),
    Status.NOT_RUN: Word("·", "not-run", "none", "Planned, but there is no record."),
}

#: What a control shows instead of a status.
PASS = Word("✓", "pass", "control", "A control did what it must: one differs, one does not.")
FAIL = Word("✗", "fail", "fault", "A control did not do what it must, so all verdicts beside it are blind.")
UNDECIDED = Word("~", "undecided", "weak", "A control with too few samples to show anything.")

#: A mode or condition that the run did not plan.
NOT_PLANNED = Word("·", "not planned", "none", "The run did not plan this mode under this condition.")

#: Reading aids besides the statuses: term and explanation.
TERMS = (
    (
        "0 of 4 differed, ≤ 53 %",
        (
            "Strength. Of 5 processes, 4 were compared with the first and none gave other bits; so at most 53 % of "
            "processes do, with 95 % confidence (Clopper and Pearson 1934). Processes are independent; repeats inside "
            "one are not, and are only counted."
        ),
    ),
    (
        "A, B, C",
        (
            "Digest class. Results of one kernel whose bits agree share a letter, over all columns, conditions and "
            "modes. No letter: more than one digest, or none."
        ),
    ),
    (
        "1.05 ms",
        (
            "Time of one call: the median over processes of each process's median. “first call” marks times with trace "
            "and compile, where a kernel may not be called again."
        ),
    ),
    (
        f"{TIMES}1.30 (1.20{DASH}1.40)",
        (
            "Price of determinism: median time on over median time off, with its 95 % bootstrap interval over "
            "processes. “not resolved”: fewer than 3 processes a side, or the interval contains 1 or is wider "
            "than a factor of 2, or chance alone would order so few processes as clearly in more than 5 % of cases."
        ),
    ),
    (
        "new value",
        "With determinism on the bits differ from those with it off. Information, not a failure.",
    ),
    (
        "worst condition leads",
        "A kernel measured under several conditions shows the worst of them; unfold the row for each.",
    ),
)
