"""Coverage, power and false discoveries of the paired timing: ``python -m tests.timing_simulation``.

Simulated pages, made of records as a pair writes them, are evaluated like real ones. Every kernel has a spread between
pairs of its own, from ``SPREADS``; calls, bursts, the start order and the drift of the host disturb all of them. The
same seed gives the same table. With run folders as arguments, real pairs of one column with determinism off on both
sides are drawn again and again instead: their true ratio is 1.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.store import run as store
from bench.verdict import ratio
from bench.verdict.paired_times import PairedTimes, log_ratio
from bench.verdict.ratio import PairValues
from bench.verdict.timing import TimeKind
from tests.simulation import interval
from tests.unit.paired_factory import Noise, Numbers, kernel, times

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.verdict.ratio import TimeRatio

SEED = 20130501
PAGES = 1000
PAIRS = 5
#: Of a page; a tenth of them have the overhead ``TRUTH``.
KERNELS = 60
TRUTH = 1.10
#: Standard deviations of the ratio between pairs, and the one at which the power is stated.
SPREADS, STATED = (0.02, 0.05), 0.03


@dataclass
class Tally:
    """What the intervals of many pages did. Every field counts intervals."""

    null: int = 0
    null_contain: int = 0
    real: int = 0
    found: int = 0
    selected: int = 0
    selected_contain: int = 0
    false_share: float = 0.0
    pages: int = 0
    width: float = 0.0

    def add(self, of_page: list[tuple[float, TimeRatio, TimeRatio]]) -> None:
        """Count a page: the truth, the ratio before correction, and the ratio as stated, of each kernel."""
        selected = [(truth, stated) for truth, _, stated in of_page if stated.significant]
        self.null += sum(truth == 1 for truth, *_ in of_page)
        self.null_contain += sum(truth == 1 and contains(raw, 1) for truth, raw, _ in of_page)
        self.real += sum(truth != 1 for truth, *_ in of_page)
        self.found += sum(truth != 1 for truth, _ in selected)
        self.selected += len(selected)
        self.selected_contain += sum(contains(stated, truth) for truth, stated in selected)
        self.false_share += sum(truth == 1 for truth, _ in selected) / max(1, len(selected))
        widths = [math.log(raw.high / raw.low) / 2 for _, raw, _ in of_page if raw.low and raw.high]
        self.width += sum(widths) / len(widths)
        self.pages += 1

    def lines(self) -> Iterator[str]:
        """Say what was found, with Clopper-Pearson 95 % intervals."""
        yield f"intervals of a true 1.00 contain 1 (before correction): {share(self.null_contain, self.null)}"
        yield f"half width of these intervals: {self.width / self.pages:.1%}"
        if self.real:
            yield f"a true {TRUTH:.2f} is found: {share(self.found, self.real)}"
            yield f"intervals of significant ratios contain the truth: {share(self.selected_contain, self.selected)}"
        yield f"false discoveries among the significant ones of a page: {self.false_share / self.pages:.2%}"


def contains(stated: TimeRatio, truth: float) -> bool:
    """Whether the interval contains the true ratio."""
    return stated.low is not None and stated.high is not None and stated.low <= truth <= stated.high


def share(part: int, whole: int) -> str:
    """Return percent with an interval."""
    low, high = interval(part, whole)
    return f"{part / whole:.2%} [{low:.4f}, {high:.4f}], {part} of {whole}"


def evaluated(samples: dict[int, PairValues], truth: list[float]) -> list[tuple[float, TimeRatio, TimeRatio]]:
    """Evaluate a page like a real one, and every kernel alone."""
    estimates = ratio.estimates(samples)
    stated = ratio.corrected(estimates)
    alone = {key: ratio.corrected({key: estimate})[key] for key, estimate in estimates.items()}
    return [(truth[key], alone[key], stated[key]) for key in samples]


def page(
    truth: Numbers, spread: Numbers, noise: Noise, pairs: int, stream: np.random.Generator
) -> dict[int, PairValues]:
    """Return the values of one simulated page, by number of the kernel."""
    seconds = times(truth, spread, noise, pairs, stream)
    samples = {}
    for place in range(len(truth)):
        logs = [log_ratio(kernel("", seconds[place, number - 1], number)) for number in range(1, pairs + 1)]
        samples[place] = PairValues(
            kind=TimeKind.STEADY,
            logs=tuple(log for log in logs if log is not None),
            a_first=tuple(bool(number % 2) for number in range(1, pairs + 1)),
        )
    return samples


def simulate(
    pages: int, *, real: float = 0.1, spreads: tuple[float, float] = SPREADS, pairs: int = PAIRS, seed: int = SEED
) -> Tally:
    """Simulate pages on which this share of kernels has an overhead of ``TRUTH``."""
    stream, tally = np.random.default_rng(seed), Tally()
    truth = np.where(np.arange(KERNELS) < round(KERNELS * real), TRUTH, 1.0)
    for _ in range(pages):
        spread = stream.uniform(*spreads, size=KERNELS)
        spread[truth != 1] = STATED
        tally.add(evaluated(page(truth, spread, Noise(), pairs, stream), truth.tolist()))
    return tally


def resampled(runs: Sequence[PairedTimes], pages: int, seed: int = SEED) -> Tally:
    """Draw pages of ``PAIRS`` pairs from those of real runs that compare off with off."""
    known = [
        [(record, log) for record, _, log in pairs if log is not None]
        for times_of_run in runs
        for key, pairs in times_of_run.kernels.items()
        if key[0] == "noise-floor"
    ]
    known = [pairs for pairs in known if len(pairs) >= PAIRS]
    if not known:
        sys.exit(f"There is no kernel with {PAIRS} pairs that compare off with off.")
    stream, tally = np.random.default_rng(seed), Tally()
    for _ in range(pages):
        samples = {}
        for place, pairs in enumerate(known):
            drawn = [pairs[number] for number in stream.choice(len(pairs), PAIRS, replace=False)]
            first = tuple(record.started_first == "a" for record, _ in drawn)
            samples[place] = PairValues(kind=TimeKind.STEADY, logs=tuple(log for _, log in drawn), a_first=first)
        tally.add(evaluated(samples, [1.0] * len(known)))
    return tally


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Coverage, power and false discoveries of the paired timing.")
    parser.add_argument("runs", nargs="*", type=Path, help="run folders with real pairs (default: simulate)")
    parser.add_argument("--pages", type=int, default=PAGES, help=f"number of pages (default: {PAGES})")
    options = parser.parse_args()
    start, low, high = time.perf_counter(), *SPREADS
    if options.runs:
        runs = [PairedTimes(store.load(folder)) for folder in options.runs]
        tables = [("real pairs, off against off", resampled(runs, options.pages))]
    else:
        overheads = f"a tenth truly {TRUTH:.2f} at a spread of {STATED:.0%}, the others 1.00 at {low:.0%} to {high:.0%}"
        tables = [
            (f"all truly 1.00, spread between pairs {low:.0%} to {high:.0%}", simulate(options.pages, real=0)),
            (overheads, simulate(options.pages)),
        ]
    sys.stdout.write(f"{options.pages} pages of {KERNELS} kernels, {PAIRS} pairs, seed {SEED}\n")
    for title, tally in tables:
        sys.stdout.write("\n".join([f"{title}:", *(f"  {line}" for line in tally.lines())]) + "\n")
    sys.stdout.write(f"{time.perf_counter() - start:.0f} s\n")


if __name__ == "__main__":
    main()
