"""The statuses, their order of severity, and the levels of evidence."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Status(StrEnum):
    """What the records show about one kernel. Only ``reproducible`` is ever green."""

    REPRODUCIBLE = "reproducible"
    REPRODUCIBLE_IN_PROCESS = "reproducible-in-process"
    NONDETERMINISTIC = "nondeterministic"
    INCONCLUSIVE = "inconclusive"
    UNSUPPORTED = "unsupported"
    ERROR = "error"
    NAN = "nan"
    MISMATCH = "mismatch"
    FAILED = "failed"
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


#: Worst first. An observed difference is a result and outranks everything; then come faults,
#: then results without bits, then missing evidence; ``reproducible`` is last.
SEVERITY = (
    Status.NONDETERMINISTIC,
    Status.REPRODUCIBLE_IN_PROCESS,
    Status.CRASHED,
    Status.OOM,
    Status.TIMEOUT,
    Status.MISMATCH,
    Status.FAILED,
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

#: The statuses that rest on compared digests. A failed control invalidates these;
#: a crash remains a crash whatever the controls show.
FROM_DIGESTS = frozenset(
    {Status.REPRODUCIBLE, Status.REPRODUCIBLE_IN_PROCESS, Status.NONDETERMINISTIC, Status.INCONCLUSIVE, Status.NAN}
)

#: The statuses under which a single digest gets the letter of its digest group.
COMPARABLE = frozenset({Status.REPRODUCIBLE, Status.INCONCLUSIVE, Status.NAN})

#: The statuses of a whole column that was never measured.
OF_COLUMN = frozenset({Status.BUILD_FAILED, Status.IMAGE_MISSING, Status.INCOMPATIBLE, Status.GPU_NOT_VISIBLE})
#: Statuses of results that no process measured, or none of this suite.
UNMEASURED = OF_COLUMN | {Status.NOT_RUN, Status.OUTDATED}


def severity(status: Status) -> int:
    """Return the position in the order of severity: 0 is the worst."""
    return SEVERITY.index(status)


class EvidenceLevel(IntEnum):
    """The strongest claim that the evidence supports, from the weakest up.

    ``SAME_ACROSS_HOSTS`` needs columns of several hosts and is decided by ``bench.verdict.hosts``.
    """

    DIFFERS_WITHIN_PROCESS = 0
    SAME_WITHIN_PROCESS = 1
    SAME_ACROSS_PROCESSES = 2
    SAME_ACROSS_CONTAINERS = 3
    SAME_ACROSS_HOSTS = 4

    @property
    def label(self) -> str:
        """``same-across-processes`` and so on."""
        return self.name.lower().replace("_", "-")
