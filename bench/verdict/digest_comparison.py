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
    any two samples of one seed differ. ``digests`` are those of the repetitions and the later calls
    (``later_calls`` counts these), the most frequent first. ``seeds_collide`` says that two seeds gave
    the same bits in all outputs, ``seed_independent`` names the outputs in which they did, and ``sensitive`` says that
    a second seed was tried and gave other bits.
    """

    processes: int = 0
    repetitions: int = 0
    later_calls: int = 0
    digests: tuple[tuple[str, int], ...] = ()
    second_seeds: tuple[tuple[str, int], ...] = ()
    compared: int = 0
    differed: int = 0
    within_compared: int = 0
    unsteady: int = 0
    varies: bool = False
    seeds_collide: bool = False
    seed_independent: tuple[str, ...] = ()
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

    At least one output must depend on the seed. Those that do not prove nothing, and are named: a step count may be
    such an output, but also a gradient of zeros beside a changing loss.
    All samples of the second seed use the same one: if they differ from each other, the kernel is nondeterministic,
    whatever the repetitions show.
    """
    processes = [observation for observation in observations if observation.samples]
    repeated = [observation for observation in processes if observation.repetitions]
    repetitions = sum(len(process.repetitions) for process in processes)
    own = Counter([sample.digest for process in processes for sample in process.own])
    second_seeds = Counter([sample.digest for process in processes for sample in process.second_seeds])
    first: dict[int, str] = {}
    differs = False
    for process in processes:
        for sample in process.distinct:
            differs |= first.setdefault(sample.seed, sample.digest) != sample.digest
    own_seeds = frozenset().union(*(process.seeds for process in processes))
    collide, independent = _seeds_collide(processes)
    second_seed_ran = any(sample.seed not in own_seeds for process in processes for sample in process.second_seeds)
    unsteady = sum(not _steady(process) for process in processes)
    return Comparison(
        processes=len(repeated),
        repetitions=repetitions,
        later_calls=sum(len(process.later_calls) for process in processes),
        digests=_ranked(own),
        second_seeds=_ranked(second_seeds),
        compared=max(0, len(repeated) - 1),
        differed=_differing(repeated, first),
        within_compared=sum(_within_compared(process) for process in processes),
        unsteady=unsteady,
        varies=bool(unsteady) or differs,
        seeds_collide=collide,
        seed_independent=independent,
        sensitive=second_seed_ran and not collide,
        nan=any(_has(process, "nan") for process in processes),
        inf=any(_has(process, "inf") for process in processes),
        containers=_containers(repeated),
    )


def _seeds_collide(observations: Sequence[ProcessObservation]) -> tuple[bool, tuple[str, ...]]:
    """Return whether two seeds gave the same bits in all outputs, and the outputs in which they did."""
    seeds: dict[tuple[str | None, str], int] = {}  # None: all outputs together
    collide = False
    outputs: dict[str, None] = {}
    independent: dict[str, None] = {}
    for observation in observations:
        for sample in observation.distinct:
            collide |= seeds.setdefault((None, sample.digest), sample.seed) != sample.seed
            for output, facts in sample.outputs.items():
                outputs[output] = None
                if seeds.setdefault((output, str(facts.get("digest"))), sample.seed) != sample.seed:
                    independent[output] = None
    return collide or (bool(outputs) and outputs.keys() == independent.keys()), tuple(independent)


def _has(observation: ProcessObservation, fact: str) -> bool:
    """Whether any sample of the run's own seed has "nan" or "inf" in an output."""
    return any(
        facts.get(fact)
        for sample in observation.distinct
        if sample.role != "second-seed"
        for facts in sample.outputs.values()
    )


def _ranked(counts: Counter[str]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _differing(observations: Sequence[ProcessObservation], first: dict[int, str]) -> int:
    """Count the processes after the first that gave other bits than the first sample of the same seed."""
    return sum(
        any(sample.digest != first[sample.seed] for sample in observation.distinct) for observation in observations[1:]
    )


def _steady(observation: ProcessObservation) -> bool:
    """Whether all samples of each seed in a process have the same bits, later calls included."""
    first: dict[int, str] = {}
    return all(first.setdefault(sample.seed, sample.digest) == sample.digest for sample in observation.distinct)


def _within_compared(observation: ProcessObservation) -> int:
    """Count comparisons within a process: all samples of the run's own seed with the first."""
    return len(observation.own) - 1 if observation.repetitions else 0


def _containers(observations: Sequence[ProcessObservation]) -> int:
    """Count distinct containers by name; 0 unless every process ran in Docker."""
    if not all(observation.engine == "docker" for observation in observations):
        return 0
    return len({observation.container for observation in observations if observation.container})
