"""How much "all equal" proves: the exact one-sided upper bound on the share of processes that can differ.

Clopper, C. J. and Pearson, E. S., "The use of confidence or fiducial limits illustrated in the case
of the binomial", Biometrika 26 (1934), 404-413. If none of n comparisons differed, the bound is
1 - (1 - confidence) ** (1 / n), about 3 / n at 95 % (the rule of three).

The bound holds for independent comparisons only. Processes are independent (each is started afresh). Repetitions
within a process are not (they share its memory layout and the algorithms that cuDNN and oneDNN picked), so they are
counted, but never enter a bound.
"""

from __future__ import annotations

import math
from functools import lru_cache

CONFIDENCE = 0.95


@lru_cache(maxsize=4096)
def upper_bound(differed: int, compared: int, confidence: float = CONFIDENCE) -> float:
    """Return the upper limit of the rate at which a process differs from the first one, a share from 0 to 1.

    Args:
        differed: how many of the compared processes gave other bits than the first one.
        compared: independent comparisons, which is processes - 1.
        confidence: of the one-sided interval.

    Returns:
        The Clopper-Pearson limit; 1.0 if nothing was compared, because nothing is excluded then.

    Raises:
        ValueError: a negative count, or more differing than compared.
    """
    if not 0 <= differed <= compared:
        message = f"{differed} of {compared} cannot have differed"
        raise ValueError(message)
    if differed == compared:  # also if nothing was compared
        return 1.0
    if differed == 0:
        return float(1 - (1 - confidence) ** (1 / compared))
    from scipy.special import betaincinv  # noqa: PLC0415 - slow to import, and rarely needed

    return float(betaincinv(differed + 1, compared - differed, confidence))


def percent_up(share: float) -> int:
    """Return a share from 0 to 1 as whole percent, rounded up so that rounding never understates a bound."""
    return min(100, math.ceil(share * 100 - 1e-9))
