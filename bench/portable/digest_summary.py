"""Count the kernels that produced more than one digest. This is no verdict: ``bench.verdict`` gives that on import."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from bench.suite.record import Record

_MOST_NAMED = 8


def digest_summary(records: Iterable[Record], controls: Collection[str], archive: Path) -> str:
    """Return the counts as text, "" where no kernel besides ``controls`` produced a sample.

    Only repetitions count, each within its variation: the second seed and another variation may differ.
    """
    digests: dict[str, dict[str, dict[str, set[str]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(set)))
    for record in records:
        for sample in record.samples:
            if sample.role == "repetition" and sample.kernel not in controls:
                digests[record.request.mode][sample.kernel][record.request.variation].add(sample.digest)
    if not digests:
        return ""
    several = {
        mode: sorted(name for name, seen in kernels.items() if any(len(found) > 1 for found in seen.values()))
        for mode, kernels in digests.items()
    }
    mode = "on" if "on" in digests else "off"
    names = several[mode]
    other = f" ({len(several['off'])} with it off)" if mode == "on" and "off" in digests else ""
    listed = ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
    return (
        f"{len(names) or 'None'} of {len(digests[mode])} kernels produced more than one digest with determinism {mode}"
        f"{other}{': ' + listed if names else ''}.\n"
        f"Run `nox -s import -- {archive}` (or `python -m bench import {archive}`) where tfrepro is installed to get "
        "the verdict and the page."
    )
