"""Detection power: in what share of runs a kernel that is not reproducible is found, from its own number of samples.

A difference is found unless all samples have the same bits. How often that happens by chance depends on the kind:

* Bits that never occur again (a sum whose order varies, a control): n samples miss it if all have the usual bits.
* A race between two values: n samples also miss it if all have the other value. With p = 1/2, five processes therefore
  miss it in 2 / 2^5 = 1/16 of runs, not in 1/32.

The figures count repetitions only: later calls are compared, too, but not every kernel has them.
"""

from __future__ import annotations

import math

#: The rate for which the report states the power: 1 of so many samples.
ONE_IN = 10


def missed(share: float, samples: int) -> float:
    """Return the probability that samples are all equal although this share of them has bits that never occur again.

    One sample, or none, misses everything.
    """
    return float((1 - share) ** samples) if samples > 1 else 1.0


def missed_race(share: float, samples: int) -> float:
    """Return the probability that samples are all equal although this share of them has the second of two values."""
    return min(1.0, float((1 - share) ** samples + share**samples)) if samples > 1 else 1.0


def found(samples: int, one_in: int = ONE_IN) -> float:
    """Return the share of runs in which a race that gives the other value in 1 of ``one_in`` samples is found."""
    return 1 - missed_race(1 / one_in, samples)


def percent_down(share: float) -> int:
    """Return a share as whole percent, rounded down so that rounding never overstates a power; 100 only if it is 1."""
    return math.floor(share * 100 + 1e-9)


def sentence(samples: int) -> str:
    """State the power of this many samples: ``would be found in 92 % of runs if it differed in 1 of 10 samples``."""
    return f"would be found in {percent_down(found(samples))} % of runs if it differed in 1 of {ONE_IN} samples"
