"""What each status is called, drawn and explained as: one table for all renderers."""

from __future__ import annotations

from dataclasses import dataclass

from bench.report.formatting import DASH, TIMES
from bench.verdict.comparison import Event
from bench.verdict.digest_groups import PRIME
from bench.verdict.status import Status


@dataclass(frozen=True)
class Word:
    """A status for people. ``tone`` picks colour and pattern on the page; colour never stands alone."""

    symbol: str
    word: str
    tone: str
    meaning: str


WORDS: dict[Status, Word] = {
    Status.REPRODUCIBLE: Word(
        "=", "reproducible", "good", "Same bits in every repetition and process, with enough of both."
    ),
    Status.REPRODUCIBLE_IN_PROCESS: Word(
        "≈", "reproducible-in-process", "part", "Each process agrees with itself, but processes disagree."
    ),
    Status.NONDETERMINISTIC: Word("≠", "nondeterministic", "bad", "The same seed gave different bits."),
    Status.INCONCLUSIVE: Word(
        "~",
        "inconclusive",
        "inconclusive",
        "Equal so far, but too little evidence to call it exact; the reason is given.",
    ),
    Status.UNSUPPORTED: Word(
        "∅",
        "unsupported",
        "info",
        "TensorFlow has no deterministic implementation and says so: a result, not a failure.",
    ),
    Status.ERROR: Word("!", "error", "fault", "TensorFlow raised an error."),
    Status.NAN: Word("N", "nan", "part", "Equal bits, but the outputs have NaN, which hide differences."),
    Status.MISMATCH: Word(
        TIMES, "mismatch", "fault", "No measurement: something else ran than was asked, or nothing came back."
    ),
    Status.CRASHED: Word("†", "crashed", "fault", "The process died."),
    Status.TIMEOUT: Word("∞", "timeout", "fault", "Stopped after its time limit."),
    Status.OOM: Word("#", "oom", "fault", "It ran out of memory."),
    Status.BUILD_FAILED: Word(TIMES, "build-failed", "none", "The environment could not be made."),
    Status.IMAGE_MISSING: Word(TIMES, "image-missing", "none", "The image is no longer there."),
    Status.INCOMPATIBLE: Word(DASH, "incompatible", "none", "This pair cannot be measured here; the reason is given."),
    Status.GPU_NOT_VISIBLE: Word("○", "gpu-not-visible", "none", "A GPU column in which TensorFlow saw no GPU."),
    Status.CONTROL_FAILED: Word(
        "?",
        "control-failed",
        "control-failed",
        "A control failed, or another seed gave the same bits: it proves nothing.",
    ),
    Status.THROTTLED: Word("↓", "throttled", "none", "The GPU was throttled while a time was taken; bits stand."),
    Status.OUTDATED: Word("«", "outdated", "none", "Only records of another version of the suite."),
    Status.NOT_RUN: Word("·", "not-run", "none", "Planned, but there is no record."),
}

#: Symbol and tone of what can happen from one column to another, the gravest first.
EVENTS: dict[Event, tuple[str, str]] = {
    Event.REGRESSED: ("≠", "bad"),
    Event.STARTS_RAISING: ("!", "fault"),
    Event.STARTS_FAILING: ("†", "fault"),
    Event.NONDETERMINISTIC: ("≠", "bad"),
    Event.UNCONFIRMED: ("?", "control-failed"),
    Event.VARIES_MORE: ("≠", "bad"),
    Event.LESS_EVIDENCE: ("?", "inconclusive"),
    Event.BITS_CHANGED: ("→", "part"),
    Event.ENDS_DIFFERENTLY: ("!", "fault"),
    Event.SLOWER: ("▲", "part"),
    Event.REMOVED: ("\N{MINUS SIGN}", "none"),
    Event.FASTER: ("▼", "info"),
    Event.VARIES_LESS: ("≈", "info"),
    Event.IMPROVED: ("=", "good"),
    Event.STOPS_RAISING: ("✓", "info"),
    Event.STOPS_FAILING: ("✓", "info"),
    Event.MORE_EVIDENCE: ("+", "info"),
    Event.ADDED: ("+", "none"),
}

#: What a control shows instead of a status.
PASS = Word("✓", "pass", "control", "A control did what it must: one differs, one does not.")
FAIL = Word("✗", "fail", "fault", "A control did not do what it must, so all verdicts beside it are blind.")
UNDECIDED = Word("~", "undecided", "inconclusive", "A control with too few samples to show anything.")

#: A mode or variation that the run did not plan.
NOT_PLANNED = Word("·", "not planned", "none", "The run did not plan this mode under this variation.")

#: Reading aids besides the statuses: term and explanation.
TERMS = (
    (
        "0 of 4 differed, ≤ 53 %",
        (
            "Strength. Of 5 processes, 4 were compared with the first and none gave other bits; so at most 53 % of "
            "processes do, with 95 % confidence (Clopper and Pearson 1934). Processes are independent; repetitions inside "
            "one are not, and are only counted."
        ),
    ),
    (
        "A, B, C",
        (
            "Digest class. Results of one kernel whose bits agree share a letter, over all columns, variations and "
            f"modes. No letter: more than one digest, or none. A{PRIME} is of other work than A, for some kernels are "
            "larger on a GPU: nothing is compared between them."
        ),
    ),
    (
        "1.05 ms",
        (
            "Time of one call: the median over processes of each process's median. “first call” marks times with trace "
            "and compile, where a kernel may not be called again. “throttled”, “shared”: the GPU was slowed down or "
            "used by others in every process, so there is no time."
        ),
    ),
    (
        f"{TIMES}1.30 (1.20{DASH}1.40)",
        (
            "Overhead of determinism: median time on over median time off, with its 95 % bootstrap interval over "
            "processes. “not resolved”: fewer than 3 processes a side, or the interval contains 1 or is wider "
            "than a factor of 2, or chance alone would order so few processes as clearly in more than 1 % of cases."
        ),
    ),
    (
        "new value",
        "With determinism on the bits differ from those with it off. Information, not a failure.",
    ),
    (
        "max diff 1.2e-07, V_c 0.43",
        (
            "How far two samples of a kernel that varies are apart: the greatest difference over the greatest value, "
            "and V_c, the share of elements that differ (Shanmugavelu et al. 2024). V_ermv is the mean of the relative "
            "differences, element by element (same source)."
        ),
    ),
    (
        "ULP",
        (
            "Unit in the last place: the step from one number of the format to the next. Median and p99 (99 % are "
            "smaller) over the elements that differ; near 0 even harmless differences are many ULP."
        ),
    ),
    (
        "128 kept of 1000000 elements",
        (
            "Within one process every element is compared. Across processes only what was kept of an output: all of a "
            "small one, the same sample of places of a large one."
        ),
    ),
    (
        "first divergence",
        "The first tensor in which two samples part, step by step for a training, and its first element that differs.",
    ),
    (
        "sensitivity",
        (
            "What the instrument could have seen. Control kernels differ in a known share of samples; the smallest "
            "share that had to be seen in every kernel called exact, and was. “Out of reach”: so few samples need not "
            "show it."
        ),
    ),
    (
        "error against float64",
        (
            "Root mean square of the difference to a reference in double precision, over that of the reference; of the "
            "worst output. On is called more or less accurate from a difference of 5 % on."
        ),
    ),
    (
        "same across processes",
        (
            "The level: the strongest claim the evidence carries. Differs within a process, same within a process, same "
            "across processes, same across containers."
        ),
    ),
    (
        "threads=4xcores, onednn=0, isa=avx2, switch=env",
        (
            "Variations. They change a process without touching determinism: threads within an op (4xcores: four for "
            "each core), oneDNN off, another instruction set for oneDNN, determinism by TF_DETERMINISTIC_OPS."
        ),
    ),
    (
        "Keras",
        "Keras's own code is part of the kernel: compare its letters and times within one Keras release only.",
    ),
    (
        "known issue",
        "TensorFlow's own limit behind an error or a variation: what it is, where it is written, and what to do.",
    ),
    (
        "upgrade cost",
        (
            "Time in a pair over time in the pair before it, same device, host and mode, with the interval and "
            "rules of a overhead. Above 1 the upgrade made it slower. A step is named after the one thing it moves "
            "(TensorFlow, with its Keras and NumPy; CUDA; cuDNN); between official pairs several move together, and it "
            "says so."
        ),
    ),
    (
        "CPU, first call, peak",
        (
            "CPU time of one call over all threads; wall time of the first call, trace and compile included; highest "
            "resident memory of the process while the kernel ran. Medians over processes, the peak is the greatest."
        ),
    ),
    ("own", "A kernel of the user's own, with the file it comes from."),
    (
        "worst variation leads",
        "A kernel measured under several variations shows the worst of them; unfold the row for each.",
    ),
)
