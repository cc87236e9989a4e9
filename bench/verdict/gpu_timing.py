"""What the host observed on the GPU during timing, and which times are therefore left out.

A throttled or shared GPU is slow, and a time measured on it says nothing about the kernel. It changes no bits: clocks
decide when an operation happens, never what it returns. Times are kept if nobody monitored the GPU, and the page says
so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.suite.paired_record import PairedKernel

THROTTLED = "throttled"
SHARED = "shared"


@dataclass(frozen=True, kw_only=True)
class DiscardedTimings:
    """Times of a verdict that are left out: of ``left_out`` among ``timed`` pairs.

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
        return f"Times of {self.left_out} of {self.timed} pairs are left out ({self.word}): {reasons}."


def discard_reason(kernel: PairedKernel) -> str:
    """Return why the times of a kernel in one pair are not used, "" if they are."""
    return str((kernel.guard or {}).get("discarded") or "").strip().rstrip(".")


def watched(kernel: PairedKernel) -> bool:
    """Whether the host monitored the GPU during all blocks of the kernel."""
    seen = kernel.guard or {}
    return bool(seen.get("samples")) and not seen.get("unwatched")


def discarded_timings(kernels: Sequence[PairedKernel]) -> DiscardedTimings | None:
    """Return which times of one kernel, by pair, were left out; None if all count."""
    reasons = [reason for kernel in kernels if (reason := discard_reason(kernel))]
    if not reasons:
        return None
    word = SHARED if all(reason.startswith(SHARED) for reason in reasons) else THROTTLED
    return DiscardedTimings(
        word=word,
        reasons=tuple(dict.fromkeys(reason.removeprefix(f"{word}: ") for reason in reasons)),
        left_out=len(reasons),
        timed=len(kernels),
    )
