"""The oldest Python and TensorFlow that can be measured, and why: one sentence wherever an older one is named.

Every Python 3 can read this file, so that an old one gets the sentence.
"""

PYTHON = (3, 9)
TENSORFLOW = (2, 9)
REASON = "enable_op_determinism() exists since 2.8, and 2.9 is the oldest release that is supported"


def needs(what: str, found: str) -> str:
    """Return the sentence about ``what`` ("tfrepro local") where ``found`` ("this is Python 3.8.18") is too old."""
    return "{} needs Python {}.{} and TensorFlow {}.{} ({}): {}.".format(what, *PYTHON, *TENSORFLOW, found, REASON)


def too_old(tensorflow: str) -> bool:
    """Return whether a version of TensorFlow (``2.8.4``, ``2.4``) is older than TENSORFLOW."""
    numbers = tensorflow.split(".")[:2]
    return all(number.isdigit() for number in numbers) and tuple(int(number) for number in numbers) < TENSORFLOW
