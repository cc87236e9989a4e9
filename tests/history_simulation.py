"""False alarms and power of the nightly alarms on run times: ``python -m tests.history_simulation``.

Nights of a matrix are simulated from the sample's own numbers: how far the medians of processes of one kernel are
apart, and how far the ratios of its timing pairs are. To these are added a drift of the host from night to night, and
nights on which a kernel is disturbed. Simulated pairs are evaluated like real ones. The same seed gives the same table.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bench import verdict
from bench.history import run_times
from bench.history.finding import FindingKind
from bench.history.night import Cell, Night, Place, RunRow, Series
from bench.store import run as store
from bench.suite.suite_hash import ROOT
from bench.verdict import ratio, timing
from bench.verdict.ratio import PairValues
from tests.simulation import interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from bench.verdict.ratio import TimeRatio
    from bench.verdict.results import RunResults

SEED = 20130501
#: Columns x kernels x modes of a large matrix.
SERIES, COLUMNS = 2520, 12
EARLIER, NIGHTS = 60, 30
#: Processes whose medians give the time of one night.
PROCESSES = 10
#: Standard deviation of what all kernels of a host have in common on one night.
HOST_DRIFT = 0.007
#: Share of times that are disturbed on a night, and by how much at most.
DISTURBED, DISTURBANCE = 0.03, 0.05
#: Standard deviation of a steady series from night to night.
STEADY = 0.01


@dataclass
class Noise:
    """What the sample shows: standard deviations between processes, and between pairs, of each measured series.

    ``shape`` has the distances of all processes from the mean of their series, in its standard deviations: few values
    of one series would repeat themselves, and their tails are those of all.
    """

    processes: list[float] = field(default_factory=list)
    pairs: list[float] = field(default_factory=list)
    kinds: list[timing.TimeKind] = field(default_factory=list)
    shape: list[float] = field(default_factory=list)


def measured(results: RunResults) -> Noise:
    """Return the noise of all timed results of a run."""
    noise = Noise()
    for (comparison, columns, _, kernel, variation), timed in results.times.kernels.items():
        logs = [one.log for one in timed if one.log is not None]
        times = [results.times.timing(columns[1], kernel, variation, mode) for mode in ("off", "on")]
        for known in times:
            if comparison == "overhead" and known and min(len(logs), len(known.per_process)) >= ratio.MIN_PAIRS:
                values = np.log(known.per_process)
                noise.processes.append(float(values.std(ddof=1)))
                noise.pairs.append(float(np.std(logs, ddof=1)))
                noise.kinds.append(known.kind)
                noise.shape += ((values - values.mean()) / values.std(ddof=0)).tolist()
    return noise


class Matrix:
    """A simulated matrix: its series, each with the noise of one that was measured, and the times of all nights."""

    def __init__(self, noise: Noise, chance: np.random.Generator, *, steady: bool) -> None:
        self.noise, self.chance = noise, chance
        # the median of processes varies about a quarter more than their mean
        spread = 1.25 * np.array(noise.processes) / math.sqrt(PROCESSES)
        self.source = chance.choice(np.flatnonzero(spread <= STEADY) if steady else len(spread), SERIES)
        nights = EARLIER + NIGHTS
        self.logs = np.stack([self._series(number, nights) for number in self.source], axis=1)
        self.logs += chance.normal(0, HOST_DRIFT, nights)[:, None]
        disturbed = chance.random(self.logs.shape) < DISTURBED
        self.logs += disturbed * chance.uniform(0, DISTURBANCE, self.logs.shape)

    def _series(self, number: int, nights: int) -> NDArray[np.float64]:
        draws = self.chance.choice(self.noise.shape, (nights, PROCESSES))
        medians: NDArray[np.float64] = np.median(draws * self.noise.processes[number], axis=1)
        return medians

    def night(self, number: int, slower: Mapping[int, float], changed: set[int]) -> Night:
        """Return a night; ``slower`` has the planted ratios by series, ``changed`` the columns with another lock."""
        rows = range(number, number + EARLIER + 1)
        last = rows[-1]
        machine = json.dumps({"device": "cpu"})
        runs = {
            row: RunRow(id=row, name=f"run-{row}", started="", finished="", profile="", state="indexed", reason="")
            for row in rows
        }
        series = []
        for place in range(SERIES):
            logs = self.logs[rows.start : rows.stop, place].copy()
            logs[-1] += math.log(slower.get(place, 1.0))
            cells = tuple(
                Cell(run=row, status="reproducible", digest=b"", code=b"c", processes=5, seconds=math.exp(log))
                for row, log in zip(rows, logs, strict=True)
            )
            where = Place(
                machine=machine, column=f"{place % COLUMNS}@cpu", kernel=str(place), variation="default", mode="off"
            )
            series.append(Series(place=where, cells=cells))
        facts = {
            (row, f"{column}@cpu"): {"lock": "new" if row == last and column in changed else "old"}
            for row in rows
            for column in range(COLUMNS)
        }
        return Night(run=runs[last], runs=runs, series=tuple(series), facts=facts)

    def pairs(self, places: Sequence[Place], slower: Mapping[int, float]) -> dict[Place, TimeRatio]:
        """Return what pairs with the last good environment would show of the kernels of changed columns."""
        logs: dict[Place, list[float]] = {place: [] for place in places}
        found: dict[Place, TimeRatio] = {}
        left = list(places)
        for _ in range(run_times.MOST_BATCHES):
            for place in left:
                logs[place] += self._batch(place, slower)
            found = self._ratios(logs)
            left = run_times.undecided(found)
        return found

    def _batch(self, place: Place, slower: Mapping[int, float]) -> list[float]:
        number = int(place.kernel)
        noise = self.chance.choice(self.noise.shape, run_times.BATCH_PAIRS) * self.noise.pairs[self.source[number]]
        values: list[float] = (noise + math.log(slower.get(number, 1.0))).tolist()
        return values

    def _ratios(self, logs: Mapping[Place, list[float]]) -> dict[Place, TimeRatio]:
        samples = {
            place: PairValues(
                kind=self.noise.kinds[self.source[int(place.kernel)]],
                logs=tuple(values),
                a_first=(True, False) * (len(values) // 2),
            )
            for place, values in logs.items()
        }
        return ratio.corrected(ratio.estimates(samples))


def alarms(matrix: Matrix, number: int, slower: Mapping[int, float], changed: set[int]) -> set[int]:
    """Return the series with an alarm for their time on a night."""
    night = matrix.night(number, slower, changed)
    found = run_times.from_history(night, run_times.examine(night).suspects)
    before = run_times.changed_environments(night)
    if before:
        found += run_times.from_pairs(night, before, matrix.pairs(list(before), slower))
    return {int(place.kernel) for one in found if one.kind is FindingKind.SLOWER for place in one.places}


def simulate(nights: int, seed: int) -> None:
    """Print both tables."""
    noise = measured(verdict.evaluate(store.load(ROOT / "reports" / "sample")))
    chance = np.random.default_rng(seed)
    print(f"{SERIES} series, {EARLIER} earlier nights, noise of {len(noise.processes)} measured series")
    for label, values in (("processes", noise.processes), ("pairs", noise.pairs)):
        print(f"standard deviation between {label}: {np.percentile(values, 50):.3f} (median), "
              f"{np.percentile(values, 90):.3f} (of 9 in 10)")  # fmt: skip
    matrix = Matrix(noise, chance, steady=False)
    for label, changed in CASES.items():
        count = sum(len(alarms(matrix, number, {}, changed)) for number in range(nights))
        print(f"{label}: {count} false alarms in {nights} nights")
    for label, steady, factor in (("all kernels", False, 1.10), ("steady kernels", True, 1.05)):
        matrix = Matrix(noise, chance, steady=steady)
        for case, changed in list(CASES.items())[1:]:
            total = found = 0
            for number in range(nights):
                own = [one for one in range(SERIES) if one % COLUMNS in changed]
                slower = dict.fromkeys(chance.choice(own, len(own) // 20, replace=False).tolist(), factor)
                found += len(alarms(matrix, number, slower, changed) & slower.keys())
                total += len(slower)
            low, high = interval(found, total)
            print(f"{factor:.2f}x slower, {label}, {case}: {found / total:.1%} found the same night "
                  f"({low:.1%} to {high:.1%})")  # fmt: skip


#: The columns with another lock tonight, by case.
CASES = {"no environment changed": set[int](), "one of 12": {0}, "all": set(range(COLUMNS))}


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=NIGHTS)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    began = time.monotonic()
    simulate(options.nights, options.seed)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
