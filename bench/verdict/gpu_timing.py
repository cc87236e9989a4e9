"""What the host observed on the GPU during timing, and which times are therefore left out.

A throttled or shared GPU is slow, and a time measured on it says nothing about the kernel. It changes no bits: clocks
decide when an operation happens, never what it returns, so the digest of such a sample counts like any other, and
only its times are left out. Times are kept if nobody monitored the GPU, and the page says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.suite.record import Sample
    from bench.verdict.observations import ProcessObservation

THROTTLED = "throttled"
SHARED = "shared"


@dataclass(frozen=True, kw_only=True)
class DiscardedTimings:
    """Times of a verdict that are left out: of ``left_out`` among ``timed`` processes.

    ``word`` is "throttled", or "shared" if processes of other users were the only reason; ``reasons`` are
    those that the host recorded, each once.
    """

    word: str
    reasons: tuple[str, ...]
    left_out: int
    timed: int

    @property
    def sentence(self) -> str:
        """How many were left out, and why."""
        reasons = "; ".join(self.reasons)
        return f"Times of {self.left_out} of {self.timed} processes are left out ({self.word}): {reasons}."


def discard_reason(sample: Sample) -> str:
    """Return why the times of a sample are not used, "" if they are."""
    return str((sample.guard or {}).get("discarded") or "").strip().rstrip(".")


def watched(sample: Sample) -> bool:
    """Whether the host monitored the GPU during the whole sample."""
    seen = sample.guard or {}
    return bool(seen.get("samples")) and not seen.get("unwatched")


def clean(samples: Iterable[Sample]) -> tuple[Sample, ...]:
    """Return the samples whose times count."""
    return tuple([sample for sample in samples if not sample.guard or not discard_reason(sample)])


def timed(observation: ProcessObservation) -> tuple[Sample, ...]:
    """Return the samples whose times are used: the timing pass, or the first calls of what cannot be called again."""
    return observation.timings or observation.repetitions


def all_discarded(observation: ProcessObservation) -> bool:
    """Whether a process was timed and none of its times count."""
    samples = timed(observation)
    return bool(samples) and all(sample.guard and discard_reason(sample) for sample in samples)


def discarded_timings(observations: Sequence[ProcessObservation]) -> DiscardedTimings | None:
    """Return which times of a verdict were left out, None if all count."""
    processes = [observation for observation in observations if timed(observation)]
    lost = [observation for observation in processes if all_discarded(observation)]
    samples = [sample for observation in lost for sample in timed(observation)]
    if not samples:
        return None
    word = SHARED if all(discard_reason(sample).startswith(SHARED) for sample in samples) else THROTTLED
    return DiscardedTimings(
        word=word,
        reasons=tuple(dict.fromkeys(discard_reason(sample).removeprefix(f"{word}: ") for sample in samples)),
        left_out=len(lost),
        timed=len(processes),
    )
