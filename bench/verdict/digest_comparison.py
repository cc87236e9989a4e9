"""Compares digests: within a process, across processes, and with those of a second seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.verdict.evidence import upper_bound
from bench.verdict.status import EvidenceLevel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.verdict.observations import ProcessObservation


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What the samples of one (column, kernel, variation, mode) show.

    ``compared`` counts independent comparisons, each process with the first one, and ``differed``
    those that gave other bits. ``within_compared`` counts comparisons within processes, which are not
    independent; ``unsteady`` counts processes whose own samples differ. ``varies`` says whether
    any two samples of one seed differ. ``digests`` are those of the repetitions and the timing passes
    (``timings`` counts these), the most frequent first. ``seeds_collide`` says that two seeds gave the same bits, in
    all outputs or in one; ``sensitive`` says that a second seed was tried and gave other bits in every output.
    """

    processes: int = 0
    repetitions: int = 0
    timings: int = 0
    digests: tuple[tuple[str, int], ...] = ()
    second_seeds: tuple[tuple[str, int], ...] = ()
    compared: int = 0
    differed: int = 0
    within_compared: int = 0
    unsteady: int = 0
    varies: bool = False
    seeds_collide: bool = False
    sensitive: bool = False
    nan: bool = False
    inf: bool = False
    containers: int = 0

    @property
    def bound(self) -> float:
        """At most this share of processes can differ from the first one, at 95 %."""
        return upper_bound(self.differed, self.compared)

    @property
    def level(self) -> EvidenceLevel | None:
        """The strongest claim that the digests support; None if nothing was compared."""
        if self.unsteady:
            return EvidenceLevel.DIFFERS_WITHIN_PROCESS
        if self.varies or not self.compared:
            return EvidenceLevel.SAME_WITHIN_PROCESS if self.within_compared else None
        return EvidenceLevel.SAME_ACROSS_CONTAINERS if self.containers > 1 else EvidenceLevel.SAME_ACROSS_PROCESSES


def compare(observations: Sequence[ProcessObservation]) -> Comparison:
    """Compare every sample with those of its seed, and those of the second seed with all others.

    Every single output must depend on the seed: a gradient of zeros beside a changing loss proves nothing.
    All samples of the second seed use the same one: if they differ from each other, the kernel is nondeterministic,
    whatever the repetitions show.
    """
    processes = [observation for observation in observations if observation.samples]
    repeated = [observation for observation in processes if observation.repetitions]
    repetitions = sum(len(process.repetitions) for process in processes)
    own = Counter([sample.digest for process in processes for sample in (*process.repetitions, *process.timings)])
    second_seeds = Counter([sample.digest for process in processes for sample in process.second_seeds])
    first: dict[int, str] = {}
    differs = False
    for process in processes:
        for sample in process.distinct:
            differs |= first.setdefault(sample.seed, sample.digest) != sample.digest
    own_seeds = frozenset().union(*(process.seeds for process in processes))
    collide = _seeds_collide(processes)
    second_seed_ran = any(sample.seed not in own_seeds for process in processes for sample in process.second_seeds)
    unsteady = sum(not _steady(process) for process in processes)
    return Comparison(
        processes=len(repeated),
        repetitions=repetitions,
        timings=own.total() - repetitions,
        digests=_ranked(own),
        second_seeds=_ranked(second_seeds),
        compared=max(0, len(repeated) - 1),
        differed=_differing(repeated, first),
        within_compared=sum(_within_compared(process) for process in processes),
        unsteady=unsteady,
        varies=bool(unsteady) or differs,
        seeds_collide=collide,
        sensitive=second_seed_ran and not collide,
        nan=any(_has(process, "nan") for process in processes),
        inf=any(_has(process, "inf") for process in processes),
        containers=_containers(repeated),
    )


def _seeds_collide(observations: Sequence[ProcessObservation]) -> bool:
    """Whether two seeds gave the same bits, in all outputs or in one."""
    seeds: dict[tuple[str | None, str], int] = {}  # None: all outputs together
    for observation in observations:
        for sample in observation.distinct:
            seed = sample.seed
            if seeds.setdefault((None, sample.digest), seed) != seed:
                return True
            for output, facts in sample.outputs.items():
                if seeds.setdefault((output, str(facts.get("digest"))), seed) != seed:
                    return True
    return False


def _has(observation: ProcessObservation, fact: str) -> bool:
    """Whether any sample of the run's own seed has "nan" or "inf" in an output."""
    return any(
        facts.get(fact)
        for sample in observation.distinct
        if sample.role in ("repetition", "timing")
        for facts in sample.outputs.values()
    )


def _ranked(counts: Counter[str]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _differing(observations: Sequence[ProcessObservation], first: dict[int, str]) -> int:
    """Count the processes after the first that gave other bits than the first sample of the same seed."""
    return sum(
        any(sample.digest != first[sample.seed] or sample.steady_agrees is False for sample in observation.distinct)
        for observation in observations[1:]
    )


def _steady(observation: ProcessObservation) -> bool:
    """Whether all samples of each seed in a process have the same bits, later calls included."""
    first: dict[int, str] = {}
    return all(
        sample.steady_agrees is not False and first.setdefault(sample.seed, sample.digest) == sample.digest
        for sample in observation.distinct
    )


def _within_compared(observation: ProcessObservation) -> int:
    """Count comparisons within a process: all samples of the seed with the first, later calls with the first call."""
    if not observation.repetitions:
        return 0
    later = sum([sample.steady_agrees is not None for sample in observation.samples])
    return len(observation.repetitions) - 1 + len(observation.timings) + later


def _containers(observations: Sequence[ProcessObservation]) -> int:
    """Count distinct containers by name; 0 unless every process ran in Docker."""
    if not all(observation.engine == "docker" for observation in observations):
        return 0
    return len({observation.container for observation in observations if observation.container})
