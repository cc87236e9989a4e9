"""What the host saw of the GPU while times were taken, and which times are therefore none.

A throttled or shared GPU is slow, and a time taken on it is the time of something else. It changes no bits: clocks
decide when an operation happens, never what it gives, so a discarded sample speaks for its digest like any other, and
only its times are left out. What nobody watched is shown, and the page says that nobody did.
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

    ``word`` is "throttled", or "shared" where other people's processes were all there was to see; ``reasons`` are
    those the host gave, each once.
    """

    word: str
    reasons: tuple[str, ...]
    left_out: int
    timed: int

    @property
    def sentence(self) -> str:
        """One sentence: how many, and why."""
        reasons = "; ".join(self.reasons)
        return f"Times of {self.left_out} of {self.timed} processes are left out ({self.word}): {reasons}."


def discard_reason(sample: Sample) -> str:
    """Why the times of a sample are none, "" where they are some."""
    return str((sample.guard or {}).get("discarded") or "").strip().rstrip(".")


def watched(sample: Sample) -> bool:
    """Whether the host looked at the GPU all the while this sample was taken."""
    seen = sample.guard or {}
    return bool(seen.get("samples")) and not seen.get("unwatched")


def clean(samples: Iterable[Sample]) -> tuple[Sample, ...]:
    """The samples whose times count."""
    return tuple(sample for sample in samples if not discard_reason(sample))


def timed(observation: ProcessObservation) -> tuple[Sample, ...]:
    """The samples whose times are used: the timing pass, or the first calls of what may not be called again."""
    return observation.timings or observation.repetitions


def silenced(observation: ProcessObservation) -> bool:
    """Whether all that a process timed is discarded."""
    samples = timed(observation)
    return bool(samples) and not clean(samples)


def discarded_timings(observations: Sequence[ProcessObservation]) -> DiscardedTimings | None:
    """What was left out of the times of a verdict, None where nothing was."""
    every = [one for one in observations if timed(one)]
    lost = [one for one in every if silenced(one)]
    bad = [sample for one in lost for sample in timed(one)]
    if not bad:
        return None
    word = SHARED if all(discard_reason(sample).startswith(SHARED) for sample in bad) else THROTTLED
    return DiscardedTimings(
        word=word,
        reasons=tuple(dict.fromkeys(discard_reason(sample).removeprefix(f"{word}: ") for sample in bad)),
        left_out=len(lost),
        timed=len(every),
    )
