"""The named statuses, their order of severity, and the rungs of the ladder."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Status(StrEnum):
    """What the records say of one kernel. Only ``exact`` is ever green."""

    EXACT = "exact"
    EXACT_IN_PROCESS = "exact-in-process"
    VARIES = "varies"
    WEAK = "weak"
    UNSUPPORTED = "unsupported"
    RAISED = "raised"
    NAN = "nan"
    FAILED = "failed"
    CRASHED = "crashed"
    TIMEOUT = "timeout"
    OOM = "oom"
    BUILD_FAILED = "build-failed"
    IMAGE_GONE = "image-gone"
    IMPOSSIBLE = "impossible"
    NO_GPU = "no-gpu"
    BLIND = "blind"
    THROTTLED = "throttled"
    STALE = "stale"
    NOT_RUN = "not-run"


#: Worst first. A difference that was seen is an answer and outranks everything; then come faults,
#: then results without bits, then holes in the evidence; ``exact`` is last.
SEVERITY = (
    Status.VARIES,
    Status.EXACT_IN_PROCESS,
    Status.CRASHED,
    Status.OOM,
    Status.TIMEOUT,
    Status.FAILED,
    Status.RAISED,
    Status.UNSUPPORTED,
    Status.BLIND,
    Status.NAN,
    Status.NO_GPU,
    Status.BUILD_FAILED,
    Status.IMAGE_GONE,
    Status.IMPOSSIBLE,
    Status.THROTTLED,
    Status.STALE,
    Status.NOT_RUN,
    Status.WEAK,
    Status.EXACT,
)

#: The statuses that rest on compared digests. A failed control takes the ground from under these;
#: a crash stays a crash whatever the controls say.
FROM_DIGESTS = frozenset({Status.EXACT, Status.EXACT_IN_PROCESS, Status.VARIES, Status.WEAK, Status.NAN})

#: The statuses under which a single digest may carry a class letter.
COMPARABLE = frozenset({Status.EXACT, Status.WEAK, Status.NAN})

#: The statuses of a whole column that was never measured.
OF_COLUMN = frozenset({Status.BUILD_FAILED, Status.IMAGE_GONE, Status.IMPOSSIBLE, Status.NO_GPU})


def severity(status: Status) -> int:
    """Place in the order of severity: 0 is the worst."""
    return SEVERITY.index(status)


class Rung(IntEnum):
    """The strongest claim the evidence carries, from the weakest up.

    "Same across hosts" needs several runs and is decided where runs are compared.
    """

    DIFFERS_WITHIN_PROCESS = 0
    SAME_WITHIN_PROCESS = 1
    SAME_ACROSS_PROCESSES = 2
    SAME_ACROSS_CONTAINERS = 3

    @property
    def label(self) -> str:
        """``same-across-processes`` and so on."""
        return self.name.lower().replace("_", "-")
