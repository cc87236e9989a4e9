"""Measure what changed its environment in pairs with the last good one, on the same night."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.errors import TfreproError
from bench.history import run_times
from bench.plan.config_models import DEFAULT_VARIATION, MODES
from bench.plan.last_environment import paired_plan
from bench.store import locks
from bench.store import run as store
from bench.verdict import ratio
from bench.verdict.paired_times import PairedTimes, pair_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from bench.history.finding import Finding
    from bench.history.night import Cell, Night, Place
    from bench.plan.column import Column
    from bench.plan.config_models import Mode
    from bench.plan.planner import Plan
    from bench.verdict.paired_times import TimedKernel
    from bench.verdict.ratio import TimeRatio


@dataclass(kw_only=True)
class LastEnvironments:
    """Pairs every column whose environment has changed with the last one that was timed.

    ``measure`` runs a plan and returns its run folder; ``reports`` has the kept locks. ``notes`` say what could not be
    measured.
    """

    night: Night
    plan: Plan
    reports: Path
    measure: Callable[[Plan], Path]
    notes: list[str] = field(default_factory=list)

    def findings(self) -> list[Finding]:
        """Return what is slower than in the last environment. A column that cannot be paired becomes a note."""
        before: dict[Place, Cell] = {}
        found: dict[Place, TimeRatio] = {}
        columns = {column.id: column for column in self.plan.ready}
        for name, cell in run_times.changed_environments(self.night).items():
            lock = self._lock(name, cell)
            if lock is None or name not in columns:
                continue
            for mode in MODES:
                try:
                    ratios = self._paired(columns[name], lock, mode)
                except TfreproError as error:
                    self.notes.append(f"{name} was not paired with its last environment: {error}")
                    break
                found |= ratios
                before |= dict.fromkeys(ratios, cell)
        return run_times.from_pairs(self.night, before, found)

    def _lock(self, column: str, cell: Cell) -> Path | None:
        lock_hash = self.night.facts.get((cell.run, column), {}).get("lock", "")
        lock = locks.kept(self.reports, lock_hash)
        if lock is None:
            self.notes.append(
                f"{column} was not paired with its last environment: its lock {lock_hash[:8]} is not kept"
            )
        return lock

    def _paired(self, column: Column, lock: Path, mode: Mode) -> dict[Place, TimeRatio]:
        """Return the time tonight over that in the last environment: all kernels in one batch, then the undecided."""
        series = [one for one in self.night.series if (one.place.column, one.place.mode) == (column.id, mode)]
        places = {
            one.place.kernel: one.place
            for one in series
            if one.place.variation == DEFAULT_VARIATION and one.tonight.seconds
        }
        timed: dict[str, list[TimedKernel]] = defaultdict(list)
        kernels: Sequence[str] = list(places)
        found: dict[Place, TimeRatio] = {}
        for batch in range(run_times.MOST_BATCHES):
            if not kernels:
                break
            plan = paired_plan(self.plan, column, lock, kernels, mode, run_times.BATCH_PAIRS, batch)
            for name, pairs in _timed(self.measure(plan)):
                timed[name] += pairs
            found = _ratios(timed, places)
            kernels = [place.kernel for place in run_times.undecided(found)]
        return found


def _timed(folder: Path) -> Iterable[tuple[str, list[TimedKernel]]]:
    """Yield the kernels that were timed in a run of pairs with an earlier environment."""
    for (comparison, _, _, kernel, _), pairs in PairedTimes(store.load(folder)).kernels.items():
        if comparison == "upgrade":
            yield kernel, pairs


def _ratios(timed: Mapping[str, list[TimedKernel]], places: Mapping[str, Place]) -> dict[Place, TimeRatio]:
    values = {places[name]: known for name, pairs in timed.items() if (known := pair_values(pairs)) is not None}
    return ratio.corrected(ratio.estimates(values))
