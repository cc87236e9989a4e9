"""Positive and negative controls: kernels that must differ and kernels that must not.

They prove that the measurement can detect a difference. A harness that never sees one would call everything
reproducible, so in every column, variation and mode, control kernels run beside the kernels in question: one that
differs in every sample, others in a known share of samples. If a control that this many samples must expose was not
seen to differ, the whole group is marked ``control-failed``: equal bits prove nothing there.

A control that is too rare to detect is no failure: 15 samples cannot be expected to expose what differs in one of 50.
The page states the detection limit (``ControlSummary.detection_limit``).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from bench.verdict.detection import missed
from bench.verdict.digest_comparison import compare
from bench.verdict.observations import CUT_OFF

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.store.run_info import KernelInfo
    from bench.verdict.digest_comparison import Comparison
    from bench.verdict.observations import ProcessObservation

MUST_DIFFER = "must-differ"
MUST_NOT_DIFFER = "must-not-differ"

#: With fewer samples of one seed no difference can be seen.
MIN_SAMPLES = 2
#: A control is within reach if a working measurement misses it in at most this share of groups.
REACH = 0.001
#: A count that chance alone gives less often than this comes from duplicated or cached samples.
BELIEVABLE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Check:
    """What a control showed.

    ``passed`` is None if it could not show anything: too few samples, or too rare to detect.
    ``rate`` is the share of samples in which it must differ, 0 for one that must not; ``seen`` of its
    ``samples`` differed from the most frequent bits. ``reach`` says whether this many samples had to show it.
    """

    passed: bool | None
    why: str
    rate: float = 0.0
    reach: bool = False
    seen: int = 0
    samples: int = 0


@dataclass(frozen=True, kw_only=True)
class ControlSummary:
    """Whether a group of processes can detect a difference.

    ``control_failed`` says why it cannot, "" if no control failed. ``concerns`` say what is missing for a proof.
    ``fewest`` is the smallest number of repetitions behind a reproducible kernel, 0 if there is none.
    """

    checks: Mapping[str, Check]
    control_failed: str
    concerns: tuple[str, ...]
    fewest: int = 0

    @property
    def detection_limit(self) -> float | None:
        """The share of differing samples that would have been detected in every kernel called reproducible."""
        return self.detection_limit_for(self.fewest) if self.fewest else self.best

    @property
    def best(self) -> float | None:
        """The smallest share of differing samples that was within reach and detected; None if there is none."""
        rates = (check.rate for check in self.checks.values() if check.rate and check.reach and check.passed)
        return min(rates, default=None)

    def detection_limit_for(self, samples: int) -> float | None:
        """The detection limit for a kernel with this many repetitions, which may be fewer than those of a control."""
        rates = (check.rate for check in self.checks.values() if check.rate and check.reach and check.passed)
        return min((rate for rate in rates if within_reach(rate, samples)), default=None)


def check(
    kernel: KernelInfo, observations: Sequence[ProcessObservation], comparison: Comparison | None = None
) -> Check:
    """Check one control in one column, variation and mode."""
    rate = (kernel.rate or 1.0) if kernel.control == MUST_DIFFER else 0.0
    if not observations:
        return Check(passed=False, why="it never ran", rate=rate)
    bad = [observation.outcome for observation in observations if observation.outcome not in ("ok", CUT_OFF)]
    if bad:
        why = f"{bad[0]} in {len(bad)} of {len(observations)} processes"
        return Check(passed=False, why=why, rate=rate)
    if kernel.control == MUST_DIFFER:
        return _must_differ(rate, observations)
    if kernel.control == MUST_NOT_DIFFER:
        return _must_not_differ(comparison or compare(observations))
    return Check(passed=False, why=f"this version does not know the type of control {kernel.control!r}")


def within_reach(rate: float, samples: int) -> bool:
    """Whether this many samples must expose a kernel that differs in this share of them.

    One sample never can, because there is nothing to compare it with.
    """
    return samples >= MIN_SAMPLES and missed(rate, samples) <= REACH


def _must_differ(rate: float, observations: Sequence[ProcessObservation]) -> Check:
    counts = Counter(sample.digest for observation in observations for sample in observation.repetitions)
    samples = counts.total()
    seen = samples - max(counts.values(), default=0)
    reach = 0 < rate <= 1 and within_reach(rate, samples)
    passed, why = _compare_with_rate(rate, counts, reach=reach)
    return Check(passed=passed, why=why, rate=rate, reach=reach, seen=seen, samples=samples)


def _compare_with_rate(rate: float, counts: Counter[str], *, reach: bool) -> tuple[bool | None, str]:
    """Return whether a control has the digests that its rate promises, and why."""
    if not 0 < rate <= 1:
        return False, f"it declares that it differs in {rate:g} of samples, which is impossible"
    samples, base = counts.total(), max(counts.values(), default=0)
    if samples < MIN_SAMPLES:
        return None, f"{samples} repetitions cannot show a difference"
    seen = samples - base
    if not seen and reach:
        return False, f"it did not differ in {samples} repetitions, but must"
    if not seen:
        return None, f"too rare to detect: it differs in {rate:.0%} of samples, and none of {samples} differed"
    problem = _not_independent(rate, counts, seen)
    return not problem, problem or f"it differs, as it must: {len(counts)} digests in {samples} repetitions"


def _not_independent(rate: float, counts: Counter[str], seen: int) -> str:
    """Say why these digests cannot come from independent samples, or return ""."""
    samples = counts.total()
    repeated = [number for number in counts.values() if number > 1]
    # entropy never repeats, only the bits without it do: otherwise one sample was counted twice
    if len(repeated) > (0 if rate == 1 else 1):
        return f"its random values were repeated: {len(counts)} digests in {samples} repetitions"
    if rate < 1 and _unbelievable(seen, samples, rate):
        often = "often" if seen > rate * samples else "rarely"
        numbers = f"{seen} of {samples} repetitions had other than the most frequent bits, but {rate:.0%} should"
        return f"it differs too {often}: {numbers}; samples may be duplicated or cached"
    return ""


def _unbelievable(seen: int, samples: int, rate: float) -> bool:
    """Whether chance alone gives a count as extreme less often than ``BELIEVABLE``.

    The probability of the very count is a lower limit of that; it nearly always settles the question without SciPy,
    whose import takes a second.
    """
    ways = math.lgamma(samples + 1) - math.lgamma(seen + 1) - math.lgamma(samples - seen + 1)
    exactly = math.exp(ways + seen * math.log(rate) + (samples - seen) * math.log(1 - rate))
    return exactly < BELIEVABLE and chance(seen, samples, rate) < BELIEVABLE


@lru_cache(maxsize=4096)
def chance(seen: int, samples: int, rate: float) -> float:
    """Return the two-sided p-value of the exact binomial test: how often chance alone gives a count as extreme."""
    from scipy.stats import binomtest  # noqa: PLC0415 - takes a second to import, and is rarely needed

    return float(binomtest(seen, samples, rate).pvalue)


def _must_not_differ(comparison: Comparison) -> Check:
    samples = comparison.repetitions
    if comparison.varies:
        return Check(passed=False, why="it differs, but must not", samples=samples)
    if comparison.seeds_collide:
        return Check(passed=False, why="it gave the same digest for another seed", samples=samples)
    if samples < MIN_SAMPLES:
        return Check(passed=None, why=f"{samples} repetitions cannot show a difference", samples=samples)
    why = f"it does not differ, as it must not: {samples} repetitions"
    return Check(passed=True, why=why, reach=True, samples=samples)


def summarize(
    kernels: Sequence[KernelInfo],
    observations: Mapping[str, Sequence[ProcessObservation]],
    comparisons: Mapping[str, Comparison] | None = None,
) -> ControlSummary:
    """Check all controls of one column, variation and mode. A run without both kinds counts as failed."""
    declared = [kernel for kernel in kernels if kernel.control]
    known = comparisons or {}
    checks = {
        kernel.name: check(kernel, observations.get(kernel.name, ()), known.get(kernel.name)) for kernel in declared
    }
    kinds = {kernel.control for kernel in declared}
    lacking = [kind for kind in (MUST_DIFFER, MUST_NOT_DIFFER) if kind not in kinds]
    failed = [f"the control {name} failed: {result.why}" for name, result in checks.items() if result.passed is False]
    failed += [f"the run has no control that {kind.replace('-', ' ')}" for kind in lacking]
    undecided = {name: result for name, result in checks.items() if result.passed is None}
    concerns = [
        f"the control {name} is undecided: {result.why}" for name, result in undecided.items() if not result.rate
    ]
    if not any(result.rate and result.reach for result in checks.values()):
        concerns.append("so few repetitions could detect none of the controls that must differ")
    return ControlSummary(checks=checks, control_failed="; ".join(failed), concerns=tuple(concerns))
