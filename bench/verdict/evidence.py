"""How much an "all equal" is worth: the exact one-sided bound on the rate of differing.

Clopper, C. J. and Pearson, E. S., "The use of confidence or fiducial limits illustrated in the case
of the binomial", Biometrika 26 (1934), 404-413. For nothing seen in n tries the bound is
1 - (1 - confidence) ** (1 / n), about 3 / n at 95 % (the rule of three).

The bound holds for independent tries only. Processes are (each is started afresh); repetitions inside one
process are not (they share the process's memory layout and what cuDNN and oneDNN picked), so repetitions
are counted, and never put into a bound.
"""

from __future__ import annotations

import math
from functools import lru_cache

CONFIDENCE = 0.95


@lru_cache(maxsize=4096)
def upper_bound(differed: int, compared: int, confidence: float = CONFIDENCE) -> float:
    """Upper limit of the rate at which a process differs from the first one, a share from 0 to 1.

    Args:
        differed: how many of the compared processes gave other bits than the first one.
        compared: independent comparisons, which is processes - 1.
        confidence: of the one-sided interval.

    Returns:
        The Clopper-Pearson limit; 1.0 where nothing was compared, because nothing is excluded then.

    Raises:
        ValueError: a negative count, or more differing than compared.
    """
    if not 0 <= differed <= compared:
        message = f"{differed} of {compared} cannot have differed"
        raise ValueError(message)
    if compared == 0:
        return 1.0
    from scipy.stats import binomtest  # noqa: PLC0415 - a second of import that --help need not pay

    interval = binomtest(differed, compared, alternative="less").proportion_ci(confidence, method="exact")
    return float(interval.high)


def percent_up(share: float) -> int:
    """A share from 0 to 1 as whole percent, rounded up: a bound may be understated by no rounding."""
    return min(100, math.ceil(share * 100 - 1e-9))
