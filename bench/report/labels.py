"""The name, symbol and explanation of every status and event: one table for all renderers."""

from __future__ import annotations

from dataclasses import dataclass

from bench.report.formatting import DASH, TIMES
from bench.verdict.comparison import Event
from bench.verdict.digest_groups import PRIME
from bench.verdict.status import Status


@dataclass(frozen=True)
class StatusLabel:
    """A status as it is shown. ``tone`` selects colour and pattern; colour is never the only sign."""

    symbol: str
    word: str
    tone: str
    meaning: str


STATUS_LABELS: dict[Status, StatusLabel] = {
    Status.REPRODUCIBLE: StatusLabel(
        "=",
        "reproducible",
        "good",
        "All repetitions in all processes gave the same bits, and there were enough of both.",
    ),
    Status.REPRODUCIBLE_IN_PROCESS: StatusLabel(
        "≈", "reproducible-in-process", "part", "Each process repeats its own bits, but processes give different ones."
    ),
    Status.NONDETERMINISTIC: StatusLabel("≠", "nondeterministic", "bad", "The same seed gave different bits."),
    Status.INCONCLUSIVE: StatusLabel(
        "~",
        "inconclusive",
        "inconclusive",
        "The bits were equal so far, but the evidence is too weak; the reason is given.",
    ),
    Status.UNSUPPORTED: StatusLabel("∅", "unsupported", "info", "TensorFlow refuses to run it with determinism on."),
    Status.ERROR: StatusLabel("!", "error", "fault", "TensorFlow, or the code of the kernel, raised an error."),
    Status.NAN: StatusLabel(
        "N", "nan", "part", "The bits are equal, but the outputs contain NaN, which can hide differences."
    ),
    Status.MISMATCH: StatusLabel(
        TIMES, "mismatch", "fault", "What ran is not what was planned, or it returned nothing, so there is no result."
    ),
    Status.FAILED: StatusLabel(
        TIMES, "failed", "fault", "The kernel returned something that cannot be compared; the reason says what."
    ),
    Status.CRASHED: StatusLabel("†", "crashed", "fault", "The process died."),
    Status.TIMEOUT: StatusLabel("∞", "timeout", "fault", "The process was stopped at its time limit."),
    Status.OOM: StatusLabel("#", "oom", "fault", "The process ran out of memory."),
    Status.BUILD_FAILED: StatusLabel(TIMES, "build-failed", "none", "The environment could not be built."),
    Status.IMAGE_MISSING: StatusLabel(TIMES, "image-missing", "none", "The image no longer exists."),
    Status.INCOMPATIBLE: StatusLabel(
        DASH, "incompatible", "none", "This pair cannot run on this host; the reason is given."
    ),
    Status.GPU_NOT_VISIBLE: StatusLabel("○", "gpu-not-visible", "none", "TensorFlow saw no GPU in a GPU column."),
    Status.CONTROL_FAILED: StatusLabel(
        "?",
        "control-failed",
        "control-failed",
        "A control failed, or another seed gave the same bits, so the result proves nothing.",
    ),
    Status.THROTTLED: StatusLabel(
        "↓", "throttled", "none", "The GPU was throttled during timing. The bits are not affected."
    ),
    Status.OUTDATED: StatusLabel(
        "«", "outdated", "none", "All records were measured with another version of the suite."
    ),
    Status.NOT_RUN: StatusLabel("·", "not-run", "none", "It was planned, but there is no record."),
}

#: Symbol and tone of the changes between two columns, the most severe first.
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
PASS = StatusLabel("✓", "pass", "control", "A control behaved as required: some must differ, others must not.")
FAIL = StatusLabel(
    "✗", "fail", "fault", "A control did not behave as required, so the results of its group prove nothing."
)
UNDECIDED = StatusLabel("~", "undecided", "inconclusive", "A control with too few samples to pass or fail.")

#: A mode or variation that the run did not plan.
NOT_PLANNED = StatusLabel("·", "not planned", "none", "The run did not plan this mode under this variation.")

#: Terms besides the statuses, with their explanations.
TERMS = (
    (
        "0 of 4 differed, ≤ 53 %",
        (
            "Evidence. Of 5 processes, 4 were compared with the first one and none gave other bits, so at most 53 % of "
            "processes can differ, with 95 % confidence (Clopper and Pearson 1934). Only processes count, because "
            "repetitions inside one process are not independent."
        ),
    ),
    (
        "A, B, C",
        (
            "Digest group. Results of one kernel with the same letter have the same bits, over all columns, variations "
            f"and modes. Without a letter there are several digests, or none. A{PRIME} did other work than A, because "
            "some kernels are larger on a GPU; the two are not compared."
        ),
    ),
    (
        "1.05 ms",
        (
            "Time of one call: the median over processes of each process's median. “first call” marks times that "
            "include trace and compile, of kernels that may not be called again or were not timed in pairs. "
            "“throttled” and “shared”: the GPU was slowed down or used by others in every pair, so there is no time. "
            "On the page, a tick marks the time of each process, with determinism off above and on below."
        ),
    ),
    (
        "1.30x slower (1.20 to 1.40)",
        (
            "Overhead of determinism: time on divided by time off, from pairs of processes that take turns on the same "
            "kernel, with its interval over pairs. At most 5 % of these statements on a page are false discoveries "
            "(Benjamini-Hochberg), and their intervals are widened for having been selected (Benjamini-Yekutieli). "
            "“no overhead above 3 %”: the ratio is not significant, and 3 % is the upper end of its 95 % interval, "
            "rounded up. “not measured: 2 pairs, 3 needed”: too few pairs for an interval."
        ),
    ),
    (
        "new value",
        "With determinism on, the bits differ from those with it off. This is information, not a failure.",
    ),
    (
        "max diff 1.2e-07, V_c 0.43",
        (
            "How far two samples of a nondeterministic kernel are apart: the greatest difference divided by the "
            "greatest value, and V_c, the share of elements that differ (Shanmugavelu et al. 2024). V_ermv is the "
            "mean relative difference of the elements (same source)."
        ),
    ),
    (
        "ULP",
        (
            "Unit in the last place: the distance from one number of the format to the next. Median and p99 (99 % are "
            "smaller) over the elements that differ; near 0 even harmless differences are many ULP."
        ),
    ),
    (
        "128 kept of 1000000 elements",
        (
            "Within one process every element is compared. Across processes only stored values can be compared: all "
            "of a small output, and the same sample of positions of a large one."
        ),
    ),
    (
        "first difference",
        (
            "The first tensor in which two samples differ, step by step for a training, and its first element that "
            "differs."
        ),
    ),
    (
        "detection limit",
        (
            "The rarest difference that the run would have detected. Control kernels differ in a known share of "
            "samples; the limit is the smallest share that had to be detected, and was. “Too rare to "
            "detect”: so few samples may show no difference."
        ),
    ),
    (
        "error against float64",
        (
            "Root mean square of the difference from a double-precision reference, divided by that of the reference, "
            "for the worst output. On is called more or less accurate from a difference of 5 % on."
        ),
    ),
    (
        "same across processes",
        (
            "Evidence level, the strongest claim that the digests support: differs within a process, same within a "
            "process, same across processes, same across containers."
        ),
    ),
    (
        "threads=4xcores, onednn=0, isa=avx2, switch=env",
        (
            "Variations. They change the process but not determinism itself: threads within an op (4xcores: four per "
            "core), oneDNN off, another instruction set for oneDNN, determinism by TF_DETERMINISTIC_OPS."
        ),
    ),
    (
        "Keras",
        "Keras code is part of the kernel: compare its digests and times within one Keras release only.",
    ),
    (
        "known issue",
        "A documented issue of TensorFlow behind an error or a difference: what it is, its source, and what to do.",
    ),
    (
        "upgrade cost",
        (
            "Time in a column divided by time in the one before it, on the same device and host and in the same mode, "
            "with the interval and the rules of an overhead. “not paired”: their processes were measured at different "
            "times, so that any drift of the host is part of the ratio. A step is named after the one thing that it "
            "changes (TensorFlow, with its Keras and NumPy; CUDA; cuDNN). Where several change together, it says so."
        ),
    ),
    (
        "CPU, first call, peak",
        (
            "CPU time of one call over all threads; wall time of the first call, including trace and compile; highest "
            "resident memory of the process while the kernel ran. Times are medians over processes, the peak is the "
            "greatest."
        ),
    ),
    ("custom", "A custom kernel, with the file that declares it."),
    (
        "worst variation",
        "A kernel that was measured under several variations shows the worst one; open the row for each of them.",
    ),
)

#: The term of a run over several hosts.
SAME_ACROSS_HOSTS = (
    "same across hosts",
    (
        "The strongest evidence level: reproducible on every host with this device model that is in the run, with the "
        "same bits on all of them."
    ),
)
