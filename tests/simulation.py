"""Power and false alarm of the whole verdict, by simulation: ``python -m tests.simulation``.

Synthetic runs, made of records as a worker writes them, are evaluated like real ones. In each, a planted kernel
differs from sample to sample with some probability, or from process to process, or never: it is a race between two
values. Slow kernels (training, XLA) have fewer repetitions. The controls differ at their true rates. One table has the
power as ``bench.verdict.detection`` computes it, the other how often each verdict occurred in simulated runs, with
Clopper-Pearson 95 % intervals. The same seed gives the same tables.
"""

from __future__ import annotations

import dataclasses
import math
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scipy.stats import binomtest

from bench.plan import config
from bench.suite.suite_hash import ROOT
from bench.verdict import Status, detection, evaluate
from tests.unit import factory
from tests.unit.factory import EXACT, Behaviour, Spot

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.suite.record import Record

SEED = 20130501
RUNS = 400
PLANTED = "planted"
SLOW = ", slow"


def shipped() -> dict[str, tuple[int, int, int]]:
    """Return rounds (processes), repetitions, and those of the planted kernel, for each kind of kernel of a profile."""
    rows = {}
    for name, profile in config.load(ROOT / "matrix.toml").profiles.items():
        heavy = profile.heavy_repetitions or profile.repetitions
        rows[name] = (profile.rounds, profile.repetitions, profile.repetitions)
        if 1 < heavy < profile.repetitions:
            rows[name + SLOW] = (profile.rounds, profile.repetitions, heavy)
    return rows


#: The kinds of kernels of the shipped profiles.
PROFILES = shipped()
#: How often a kernel differs, for the table of powers: in 1 of so many samples or processes.
ONE_IN = (2, 10, 50)
SHOWN = (
    Status.NONDETERMINISTIC,
    Status.REPRODUCIBLE_IN_PROCESS,
    Status.REPRODUCIBLE,
    Status.INCONCLUSIVE,
    Status.CONTROL_FAILED,
)


@dataclass(frozen=True)
class Plant:
    """How often the planted kernel has the other of two values.

    In each ``sample`` or in each ``process`` with probability ``rate``, or ``never``.

    With ``frozen`` the measurement is broken: each process returns its first repetition again and again.
    """

    where: str
    rate: float = 0.0
    frozen: bool = False

    @property
    def label(self) -> str:
        """The name in the table."""
        name = "never" if self.where == "never" else f"per {self.where}, p = {self.rate:g}"
        return f"{name}, frozen repetitions" if self.frozen else name


PLANTS = (
    Plant("never"),
    *(Plant("sample", rate) for rate in (0.5, 0.1, 0.02, 0.005)),
    *(Plant("process", rate) for rate in (0.5, 0.2, 0.05)),
    Plant("never", frozen=True),
)


@dataclass(frozen=True)
class Tally:
    """One row: how often each status occurred, and how often a green or inconclusive verdict hid a real difference."""

    profile: str
    plant: Plant
    runs: int
    statuses: Counter[Status]
    hidden: int

    def share(self, status: Status) -> str:
        """Percent with its interval, "-" for none."""
        found = self.statuses[status]
        low, high = interval(found, self.runs)
        return f"{found / self.runs:6.1%} [{low:.3f}, {high:.3f}]" if found else f"{'-':>6} [0, {high:.3f}]"


def interval(found: int, runs: int) -> tuple[float, float]:
    """Clopper-Pearson, two-sided, 95 %."""
    limits = binomtest(found, runs).proportion_ci(0.95, method="exact")
    return float(limits.low), float(limits.high)


def trial(profile: str, plant: Plant, stream: random.Random) -> tuple[Status, bool]:
    """Evaluate one run: return the planted kernel's status, and whether its data contained a difference."""
    rounds, repetitions, own = PROFILES[profile]
    kernels = (factory.kernel(PLANTED, call_again=False), *factory.GRADED)
    facts = factory.info(rounds=rounds, repetitions=repetitions, modes=("on",), kernels=kernels)
    rates = {one.name: one.rate for one in kernels if one.rate}
    shown: set[str] = set()

    def behave(spot: Spot) -> Behaviour:
        if spot.kernel in rates:
            return still(drawn(rates[spot.kernel], repetitions, stream))
        if spot.kernel != PLANTED:
            return EXACT
        found = planted(plant, own, stream)
        shown.update(found)
        return still(found)

    run = factory.changed(factory.run(facts, behave, keep=False), lambda record: shortened(record, own))
    if plant.frozen:
        run = factory.changed(run, freeze)
    found = evaluate(run).of(facts.columns[0].id, PLANTED, "default", "on")
    assert found is not None
    return found.status, len(shown) > 1


def shortened(record: Record, repetitions: int) -> Record:
    """The record with fewer repetitions of the planted kernel."""
    requested = {**record.request.repetitions, PLANTED: repetitions}
    samples = tuple(sample for sample in record.samples if sample.kernel != PLANTED or sample.repetition < repetitions)
    return dataclasses.replace(
        record, request=dataclasses.replace(record.request, repetitions=requested), samples=samples
    )


def planted(plant: Plant, repetitions: int, stream: random.Random) -> tuple[str, ...]:
    """The bits of one process of the planted kernel: one of two values."""
    if plant.where == "process":
        return ("other" if stream.random() < plant.rate else "plain",) * repetitions
    rate = plant.rate if plant.where == "sample" else 0.0
    return tuple("other" if stream.random() < rate else "plain" for _ in range(repetitions))


def drawn(rate: float, number: int, stream: random.Random) -> tuple[str, ...]:
    """Return the plain bits, or with this probability bits that never occur again."""
    return tuple(f"{stream.getrandbits(64)}" if stream.random() < rate else "plain" for _ in range(number))


def still(digests: tuple[str, ...]) -> Behaviour:
    """Digests without a second call."""
    return Behaviour(digests=digests, later_call=None, steady_s=())


def freeze(one: Record) -> Record:
    """A broken measurement that does not repeat, but writes its first sample again."""
    first = {s.kernel: s.digest for s in reversed(one.samples) if s.role == "repetition"}
    samples = tuple(
        dataclasses.replace(s, digest=first[s.kernel]) if s.role == "repetition" else s for s in one.samples
    )
    return dataclasses.replace(one, samples=samples)


def simulate(runs: int, plants: tuple[Plant, ...] = PLANTS, seed: int = SEED) -> list[Tally]:
    """Simulate every profile with every planted kernel."""
    rows = []
    for profile in PROFILES:
        for plant in plants:
            stream = random.Random(f"{seed} {profile} {plant.label}")  # noqa: S311 - a simulation, not a secret
            found = [trial(profile, plant, stream) for _ in range(runs)]
            statuses = Counter(status for status, _ in found)
            hidden = sum(differs and status in {Status.REPRODUCIBLE, Status.INCONCLUSIVE} for status, differs in found)
            rows.append(Tally(profile, plant, runs, statuses, hidden))
    return rows


def table(rows: list[Tally], say: Callable[[str], object] = print) -> None:
    """Print the tallies, and the false alarms of working measurements."""
    width = max(len(row.plant.label) for row in rows)
    say(f"{'profile':14} {'planted kernel differs':{width}} " + " ".join(f"{status:>23}" for status in SHOWN))
    for row in rows:
        columns = " ".join(f"{row.share(status):>23}" for status in SHOWN)
        say(f"{row.profile:14} {row.plant.label:{width}} {columns}")
    for profile in PROFILES:
        healthy = [row for row in rows if row.profile == profile and not row.plant.frozen]
        failed, runs = (sum(row.statuses[Status.CONTROL_FAILED] for row in healthy), sum(row.runs for row in healthy))
        low, high = interval(failed, runs)
        say(
            f"{profile}: a working measurement was marked control-failed in {failed} of {runs} runs "
            f"[{low:.4f}, {high:.4f}]"
        )
    say(f"differences in the data that were called reproducible or inconclusive: {sum(row.hidden for row in rows)}")


def powers() -> list[tuple[str, ...]]:
    """Return the rows of the table in docs/explanation/controls.md: profile, samples, and the power per rate."""
    rows = []
    for name, (rounds, _, own) in PROFILES.items():
        by_sample = [power(rounds * own, one_in) for one_in in ONE_IN]
        by_process = [power(rounds, one_in) for one_in in ONE_IN[:2]]
        rows.append((name, f"{rounds} x {own}", *by_sample, *by_process))
    return rows


def power(samples: int, one_in: int) -> str:
    """Return the power in percent, rounded down to a tenth."""
    return f"{math.floor(1000 * detection.found(samples, one_in) + 1e-9) / 10:.1f} %"


def main() -> None:
    """Run the simulation; an argument is the number of runs of each row."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    start = time.perf_counter()
    sys.stdout.write(
        "power: a kernel that differs in 1 of 2, 10, 50 samples, or in 1 of 2, 10 processes, is found in\n"
    )
    for row in powers():
        sys.stdout.write(f"{row[0]:14} {row[1]:>6} {'  '.join(f'{text:>7}' for text in row[2:])}\n")
    rows = simulate(runs)
    sys.stdout.write(f"{runs} runs a row, seed {SEED}; share of runs [Clopper-Pearson 95 %]\n")
    table(rows)
    sys.stdout.write(f"{time.perf_counter() - start:.0f} s\n")


if __name__ == "__main__":
    main()
