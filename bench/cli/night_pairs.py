"""Measure columns whose environment has changed in pairs with their last environment, on the same night."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from bench.errors import TfreproError
from bench.history import run_times
from bench.plan.config_models import DEFAULT_VARIATION
from bench.plan.last_environment import paired_plan
from bench.store import locks
from bench.store import run as store
from bench.verdict import ratio
from bench.verdict.paired_times import PairedTimes, pair_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from bench.history.finding import Finding
    from bench.history.night import Night, Place
    from bench.plan.column import Column
    from bench.plan.config_models import Mode
    from bench.plan.planner import Plan
    from bench.verdict.paired_times import TimedKernel
    from bench.verdict.ratio import TimeRatio


@dataclass(kw_only=True)
class ChangedEnvironments:
    """Pairs every column whose environment has changed with the one of its last timed night.

    ``measure`` runs a plan and returns its run folder; ``reports`` has the kept locks. No batch of pairs is begun after
    ``deadline`` (of ``time.monotonic``). ``notes`` say what could not be measured.
    """

    night: Night
    plan: Plan
    reports: Path
    measure: Callable[[Plan], Path]
    deadline: float = float("inf")
    notes: list[str] = field(default_factory=list)

    def findings(self) -> list[Finding]:
        """Return what is slower than in the last environment. A column that cannot be paired becomes a note."""
        before = run_times.changed_environments(self.night)
        columns = {column.id: column for column in self.plan.ready}
        groups: dict[tuple[str, Mode, str], dict[str, Place]] = defaultdict(dict)
        for place, cell in before.items():
            lock = self.night.facts_of(cell, place)["lock"]
            if place.variation == DEFAULT_VARIATION and place.column in columns:
                groups[place.column, cast("Mode", place.mode), lock][place.kernel] = place
        found: dict[Place, TimeRatio] = {}
        for (name, mode, lock), places in groups.items():
            ratios, why = self._paired(columns[name], lock, mode, places)
            found |= ratios
            if why:
                self.notes.append(f"{name}, determinism {mode}: pairs with the last environment: {why}")
        return run_times.from_pairs(self.night, before, found)

    def _paired(
        self, column: Column, lock_hash: str, mode: Mode, places: Mapping[str, Place]
    ) -> tuple[dict[Place, TimeRatio], str]:
        """Return the time tonight over that in the last environment, and why something is missing.

        All kernels are timed in the first batch, in the others those that look slower and are not yet alarms.
        """
        lock = locks.kept(self.reports, lock_hash)
        if lock is None:
            return {}, f"its lock {lock_hash[:8]} is not kept"
        timed: dict[str, list[TimedKernel]] = defaultdict(list)
        kernels: Sequence[str] = list(places)
        found: dict[Place, TimeRatio] = {}
        for batch in range(run_times.MOST_BATCHES):
            if time.monotonic() > self.deadline:
                return found, f"there was time for {batch} batches only" if batch else "there was no time for them"
            plan = paired_plan(self.plan, column, lock, kernels, mode, run_times.BATCH_PAIRS, batch)
            try:
                for name, pairs in _timed(self.measure(plan)):
                    timed[name] += pairs
            except TfreproError as error:
                return found, str(error)
            found = _ratios(timed, places)
            if not found:
                return found, "they gave no times; its environment may not be built any more"
            kernels = [place.kernel for place in run_times.undecided(found)]
            if not kernels:
                break
        return found, ""


def _timed(folder: Path) -> Iterable[tuple[str, list[TimedKernel]]]:
    """Yield the kernels that were timed in a run of pairs with an earlier environment."""
    for (comparison, _, _, kernel, _), pairs in PairedTimes(store.load(folder)).kernels.items():
        if comparison == "upgrade":
            yield kernel, pairs


def _ratios(timed: Mapping[str, list[TimedKernel]], places: Mapping[str, Place]) -> dict[Place, TimeRatio]:
    values = {places[name]: known for name, pairs in timed.items() if (known := pair_values(pairs)) is not None}
    return ratio.corrected(ratio.estimates(values))
