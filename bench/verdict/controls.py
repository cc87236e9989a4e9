"""Controls: kernels that must differ, and kernels that must not. They show that the eyes are open.

A harness that never sees a difference calls everything exact. So in every column, variation and mode kernels
that must differ are run beside those in question: one in every sample, others in a known share of samples.
What a run of this size must have seen of them, and has not, blinds the group: equal bits prove nothing there.

What is out of reach is no fault: with 15 samples nobody can count on seeing what differs in one of 50. The
page says how far the eye reached (``ControlSummary.sensitivity``).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from bench.verdict.digest_comparison import compare
from bench.verdict.observations import CUT_OFF

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.store.run_info import KernelInfo
    from bench.verdict.digest_comparison import Comparison
    from bench.verdict.observations import ProcessObservation

MUST_DIFFER = "must-differ"
MUST_NOT_DIFFER = "must-not-differ"

#: With fewer samples of one seed nothing can be seen to differ.
MIN_SAMPLES = 2
#: A control is within reach if a healthy instrument misses it in no more than this share of groups.
REACH = 0.001
#: A count that chance alone gives more seldom than this comes from duplicated or frozen samples.
BELIEVABLE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Check:
    """What a control showed.

    ``passed`` is None where it could not show anything: too few samples, or out of reach and not seen.
    ``rate`` is the share of samples in which it must differ, 0 for one that must not; ``seen`` of its
    ``samples`` differed from the most frequent bits. ``reach`` says whether so many samples had to show it.
    """

    passed: bool | None
    why: str
    rate: float = 0.0
    reach: bool = False
    seen: int = 0
    samples: int = 0


@dataclass(frozen=True, kw_only=True)
class ControlSummary:
    """Whether a group of processes can see: ``control-failed`` says why not, ``concerns`` what keeps it from proof.

    ``fewest`` is the smallest number of repetitions behind an exact, 0 where nothing is exact.
    """

    checks: Mapping[str, Check]
    control_failed: str
    concerns: tuple[str, ...]
    fewest: int = 0

    @property
    def sensitivity(self) -> float | None:
        """The share of differing samples that would have been seen in every kernel called exact."""
        return self.sensitivity_for(self.fewest) if self.fewest else self.best

    @property
    def best(self) -> float | None:
        """The smallest share of differing samples that was within reach and seen; None where none was."""
        rates = (one.rate for one in self.checks.values() if one.rate and one.reach and one.passed)
        return min(rates, default=None)

    def sensitivity_for(self, samples: int) -> float | None:
        """The same for a kernel with so many repetitions: a control's repetitions are not those of a heavy kernel."""
        seen = (one.rate for one in self.checks.values() if one.rate and one.reach and one.passed)
        return min((rate for rate in seen if within_reach(rate, samples)), default=None)


def check(kernel: KernelInfo, observations: Sequence[ProcessObservation], found: Comparison | None = None) -> Check:
    """Check one control in one column, variation and mode."""
    rate = (kernel.rate or 1.0) if kernel.control == MUST_DIFFER else 0.0
    if not observations:
        return Check(passed=False, why="it never ran", rate=rate)
    bad = [one for one in observations if one.outcome not in ("ok", CUT_OFF)]
    if bad:
        return Check(passed=False, why=f"it {bad[0].outcome} in {len(bad)} of {len(observations)} processes", rate=rate)
    if kernel.control == MUST_DIFFER:
        return _must_differ(rate, observations)
    if kernel.control == MUST_NOT_DIFFER:
        return _must_not_differ(found or compare(observations))
    return Check(passed=False, why=f"this version does not know the demand {kernel.control!r}")


def within_reach(rate: float, samples: int) -> bool:
    """Whether so many samples must show what differs in this share of them.

    One sample never can, for there is nothing to compare it with.
    """
    return samples >= MIN_SAMPLES and float(1 - rate) ** samples <= REACH


def _must_differ(rate: float, observations: Sequence[ProcessObservation]) -> Check:
    counts = Counter(sample.digest for one in observations for sample in one.repetitions)
    samples = counts.total()
    base = max(counts.values(), default=0)
    seen = samples - base
    reach = 0 < rate <= 1 and within_reach(rate, samples)
    passed, why = _evaluated(rate, counts, reach=reach)
    return Check(passed=passed, why=why, rate=rate, reach=reach, seen=seen, samples=samples)


def _evaluated(rate: float, counts: Counter[str], *, reach: bool) -> tuple[bool | None, str]:
    """Whether these digests of a control are what its rate promises."""
    if not 0 < rate <= 1:
        return False, f"it declares that it differs in {rate:g} of samples, which cannot be"
    samples, base = counts.total(), max(counts.values(), default=0)
    if samples < MIN_SAMPLES:
        return None, f"{samples} repetitions cannot show a difference"
    seen = samples - base
    if not seen and reach:
        return False, f"it was not seen to differ in {samples} repetitions, but must"
    if not seen:
        return None, f"out of reach: it differs in {rate:.0%} of samples, and was not seen in {samples}"
    strange = _strange(rate, counts, seen)
    return not strange, strange or f"it differs, as it must: {len(counts)} digests in {samples} repetitions"


def _strange(rate: float, counts: Counter[str], seen: int) -> str:
    """Why these digests cannot come from samples that were each made anew, or ""."""
    samples = counts.total()
    repeated = [number for number in counts.values() if number > 1]
    # entropy does not repetition, only the bits without it do: else one sample was counted twice
    if len(repeated) > (0 if rate == 1 else 1):
        return f"its entropy came twice: {len(counts)} digests in {samples} repetitions"
    if rate < 1 and chance(seen, samples, rate) < BELIEVABLE:
        often = "often" if seen > rate * samples else "seldom"
        told = f"{seen} of {samples} repetitions left the most frequent bits, and {rate:.0%} do"
        return f"it differs more {often} than it may: {told}; samples were duplicated or frozen"
    return ""


@lru_cache(maxsize=4096)
def chance(seen: int, samples: int, rate: float) -> float:
    """Two-sided p of the exact binomial test: how often chance alone gives a count as far off."""
    from scipy.stats import binomtest  # noqa: PLC0415 - a second of import that --help need not pay

    return float(binomtest(seen, samples, rate).pvalue)


def _must_not_differ(found: Comparison) -> Check:
    if found.varies:
        return Check(passed=False, why="it differs, but must not", samples=found.repetitions)
    if found.seeds_collide:
        return Check(passed=False, why="it gave the same digest for another seed", samples=found.repetitions)
    if found.repetitions < MIN_SAMPLES:
        return Check(
            passed=None, why=f"{found.repetitions} repetitions cannot show a difference", samples=found.repetitions
        )
    why = f"it does not differ, as it must not: {found.repetitions} repetitions"
    return Check(passed=True, why=why, reach=True, samples=found.repetitions)


def sight(
    kernels: Sequence[KernelInfo],
    observations: Mapping[str, Sequence[ProcessObservation]],
    comparisons: Mapping[str, Comparison] | None = None,
) -> ControlSummary:
    """Check all controls of one column, variation and mode. A run without both kinds is blind."""
    declared = [kernel for kernel in kernels if kernel.control]
    known = comparisons or {}
    checks = {one.name: check(one, observations.get(one.name, ()), known.get(one.name)) for one in declared}
    kinds = {kernel.control for kernel in declared}
    lacking = [kind for kind in (MUST_DIFFER, MUST_NOT_DIFFER) if kind not in kinds]
    failed = [f"the control {name} failed: {one.why}" for name, one in checks.items() if one.passed is False]
    failed += [f"the run has no control that {kind.replace('-', ' ')}" for kind in lacking]
    undecided = {name: one for name, one in checks.items() if one.passed is None}
    concerns = [f"the control {name} is undecided: {one.why}" for name, one in undecided.items() if not one.rate]
    if not any(one.rate and one.reach for one in checks.values()):
        concerns.append("no control that must differ was within reach of so few repetitions")
    return ControlSummary(checks=checks, control_failed="; ".join(failed), concerns=tuple(concerns))
