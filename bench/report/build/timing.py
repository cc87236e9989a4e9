"""Build what the reader must know of times: how many ratios are significant, and the noise floor of the host."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from bench.report.build.columns import labels_by_column
from bench.report.build.ratio_text import ratio_text
from bench.report.formatting import clean
from bench.report.view import NoiseFloor, Notice
from bench.verdict.messages import count

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.verdict.ratio import TimeRatio
    from bench.verdict.results import RunResults


def noise_floor(results: RunResults) -> NoiseFloor | None:
    """Return how far off against off is from 1; None where no kernel has enough such pairs."""
    names = labels_by_column(results)
    known = {
        (column, kernel): ratio
        for (column, kernel), ratio in results.times.noise_floor.items()
        if column in names and ratio.low is not None and ratio.high is not None
    }
    if not known:
        return None
    distances = [abs(ratio.ratio - 1) for ratio in known.values()]
    inside = sum(_contains_one(ratio) for ratio in known.values())
    typical, largest = statistics.median(distances), max(distances)
    share = f"all {len(known)}" if inside == len(known) else f"{inside} of {len(known)}"
    return NoiseFloor(
        sentence=f"two timings with determinism off differ by {_percent(typical)} (median) and at most "
        f"{_percent(largest)}; {share} intervals contain 1",
        kernels=len(known),
        contain_one=inside,
        typical=typical,
        largest=largest,
        biased=tuple(
            (f"{clean(kernel)} on {names[column]}", ratio_text(ratio))
            for (column, kernel), ratio in known.items()
            if ratio.significant
        ),
    )


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _contains_one(ratio: TimeRatio) -> bool:
    return ratio.low is not None and ratio.high is not None and ratio.low <= 1 <= ratio.high


def facts(results: RunResults) -> tuple[tuple[str, str], ...]:
    """Return label and value of the facts about times; none without pairs."""
    floor = noise_floor(results)
    return (
        ("Overheads", _overheads(results.overheads.values())),
        ("Noise floor", floor.sentence if floor else ""),
    )


def _overheads(ratios: Iterable[TimeRatio]) -> str:
    known = [ratio for ratio in ratios if ratio.low is not None]
    if not known:
        return ""
    selected = [ratio for ratio in known if ratio.significant]
    text = (
        f"{len(selected)} of {count(len(known), 'ratio')} significant, at most 5 % of them falsely "
        "(Benjamini-Hochberg over all kernels and columns)"
    )
    if selected:
        text += f"; their intervals have the level {_level(selected[0].confidence)} to allow for the selection"
    return f"{text}; all others 95 %"


def _level(confidence: float) -> str:
    """Return a level in percent, with as many nines as it has: ``99.2 %``, ``99.96 %``."""
    missing = (1 - confidence) * 100
    digits = next((digits for digits in range(1, 6) if round(missing, digits)), 6)
    return f"{100 - missing:.{digits}f} %"


def notices(results: RunResults) -> list[Notice]:
    """Warn where off against off differs from 1 by more than chance."""
    floor = noise_floor(results)
    if floor is None or not floor.biased:
        return []
    text = (
        f"Off was timed against off, and {count(len(floor.biased), 'result')} of {floor.kernels} differ by more than "
        "chance allows. Overheads of this size may be artefacts of this host."
    )
    items = tuple(f"{where}: {ratio}" for where, ratio in floor.biased)
    return [Notice(kind="warn", title="Noise floor", text=text, items=items)]
