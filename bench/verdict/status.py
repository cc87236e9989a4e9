"""The named statuses, their order of severity, and the levels of the ladder."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Status(StrEnum):
    """What the records say of one kernel. Only ``reproducible`` is ever green."""

    REPRODUCIBLE = "reproducible"
    REPRODUCIBLE_IN_PROCESS = "reproducible-in-process"
    NONDETERMINISTIC = "nondeterministic"
    INCONCLUSIVE = "inconclusive"
    UNSUPPORTED = "unsupported"
    ERROR = "error"
    NAN = "nan"
    MISMATCH = "mismatch"
    CRASHED = "crashed"
    TIMEOUT = "timeout"
    OOM = "oom"
    BUILD_FAILED = "build-failed"
    IMAGE_MISSING = "image-missing"
    INCOMPATIBLE = "incompatible"
    GPU_NOT_VISIBLE = "gpu-not-visible"
    CONTROL_FAILED = "control-failed"
    THROTTLED = "throttled"
    OUTDATED = "outdated"
    NOT_RUN = "not-run"


#: Worst first. A difference that was seen is an answer and outranks everything; then come faults,
#: then results without bits, then holes in the evidence; ``reproducible`` is last.
SEVERITY = (
    Status.NONDETERMINISTIC,
    Status.REPRODUCIBLE_IN_PROCESS,
    Status.CRASHED,
    Status.OOM,
    Status.TIMEOUT,
    Status.MISMATCH,
    Status.ERROR,
    Status.UNSUPPORTED,
    Status.CONTROL_FAILED,
    Status.NAN,
    Status.GPU_NOT_VISIBLE,
    Status.BUILD_FAILED,
    Status.IMAGE_MISSING,
    Status.INCOMPATIBLE,
    Status.THROTTLED,
    Status.OUTDATED,
    Status.NOT_RUN,
    Status.INCONCLUSIVE,
    Status.REPRODUCIBLE,
)

#: The statuses that rest on compared digests. A failed control takes the ground from under these;
#: a crash stays a crash whatever the controls say.
FROM_DIGESTS = frozenset(
    {Status.REPRODUCIBLE, Status.REPRODUCIBLE_IN_PROCESS, Status.NONDETERMINISTIC, Status.INCONCLUSIVE, Status.NAN}
)

#: The statuses under which a single digest may carry a class letter.
COMPARABLE = frozenset({Status.REPRODUCIBLE, Status.INCONCLUSIVE, Status.NAN})

#: The statuses of a whole column that was never measured.
OF_COLUMN = frozenset({Status.BUILD_FAILED, Status.IMAGE_MISSING, Status.INCOMPATIBLE, Status.GPU_NOT_VISIBLE})


def severity(status: Status) -> int:
    """Place in the order of severity: 0 is the worst."""
    return SEVERITY.index(status)


class EvidenceLevel(IntEnum):
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
