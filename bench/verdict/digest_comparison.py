"""The comparison of digests: within a process, across processes, and against the contrast."""

from __future__ import annotations

from collections import Counter, defaultdict
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

    ``compared`` counts independent comparisons, each process against the first one, and ``differed``
    those that gave other bits. ``within_compared`` counts comparisons inside processes, which are not
    independent; ``unsteady`` counts processes that disagree with themselves. ``nondeterministic`` says whether
    any two samples of one seed differ. ``digests`` are those of the repetitions and the timing passes
    (``timings`` counts these), the most frequent first.
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
        """At most this share of processes differs from the first, at 95 %."""
        return upper_bound(self.differed, self.compared)

    @property
    def level(self) -> EvidenceLevel | None:
        """The strongest claim the digests carry; None where nothing was compared."""
        if self.unsteady:
            return EvidenceLevel.DIFFERS_WITHIN_PROCESS
        if self.varies or not self.compared:
            return EvidenceLevel.SAME_WITHIN_PROCESS if self.within_compared else None
        return EvidenceLevel.SAME_ACROSS_CONTAINERS if self.containers > 1 else EvidenceLevel.SAME_ACROSS_PROCESSES


def compare(observations: Sequence[ProcessObservation]) -> Comparison:
    """Compare every sample with those of its seed; a second_seed with other seeds' samples as well.

    Every single output must feel the seed: a gradient of zeros beside a live loss proves nothing.
    All second_seeds run with one seed: where they differ among themselves, the kernel varies, whatever the
    repetitions say.
    """
    spoken = [observation for observation in observations if observation.samples]
    voiced = [observation for observation in spoken if observation.repetitions]
    repetitions = sum(len(one.repetitions) for one in spoken)
    own = Counter(sample.digest for one in spoken for sample in (*one.repetitions, *one.timings))
    second_seeds = Counter(sample.digest for one in spoken for sample in one.second_seeds)
    first: dict[int, str] = {}
    differs = False
    for one in spoken:
        for sample in one.samples:
            differs |= first.setdefault(sample.seed, sample.digest) != sample.digest
    own_seeds = frozenset().union(*(one.seeds for one in spoken))
    collide = _collide(spoken)
    shown = any(sample.seed not in own_seeds for one in spoken for sample in one.second_seeds)
    unsteady = sum(not _steady(one) for one in spoken)
    return Comparison(
        processes=len(voiced),
        repetitions=repetitions,
        timings=own.total() - repetitions,
        digests=_ranked(own),
        second_seeds=_ranked(second_seeds),
        compared=max(0, len(voiced) - 1),
        differed=_differing(voiced, first),
        within_compared=sum(_within(one) for one in spoken),
        unsteady=unsteady,
        varies=bool(unsteady) or differs,
        seeds_collide=collide,
        sensitive=shown and not collide,
        nan=any(_has(one, "nan") for one in spoken),
        inf=any(_has(one, "inf") for one in spoken),
        containers=_containers(voiced),
    )


def _collide(observations: Sequence[ProcessObservation]) -> bool:
    """Whether two seeds gave the same bits, in all or in one output. Samples share what they say of a digest."""
    seeds_of: dict[str, set[int]] = defaultdict(set)
    known: set[tuple[str, int, int]] = set()
    for one in observations:
        for sample in one.samples:
            name = (sample.digest, sample.seed, id(sample.outputs))
            if name in known:
                continue
            known.add(name)
            seeds_of[sample.digest].add(sample.seed)
            for output, facts in sample.outputs.items():
                seeds_of[f"{output} {facts.get('digest')}"].add(sample.seed)
    return any(len(seeds) > 1 for seeds in seeds_of.values())


def _has(observation: ProcessObservation, what: str) -> bool:
    """A NaN or Inf in any sample of the run's own seed."""
    facts = {id(sample.outputs): sample.outputs for sample in (*observation.repetitions, *observation.timings)}
    return any(output.get(what) for outputs in facts.values() for output in outputs.values())


def _ranked(counts: Counter[str]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _differing(observations: Sequence[ProcessObservation], first: dict[int, str]) -> int:
    """Processes, the first apart, that gave other bits than the first sample of the same seed."""
    return sum(
        any(sample.digest != first[sample.seed] or sample.steady_agrees is False for sample in one.samples)
        for one in observations[1:]
    )


def _steady(observation: ProcessObservation) -> bool:
    first: dict[int, str] = {}
    return all(
        sample.steady_agrees is not False and first.setdefault(sample.seed, sample.digest) == sample.digest
        for sample in observation.samples
    )


def _within(observation: ProcessObservation) -> int:
    """Comparisons inside one process: all samples of the seed with the first, later calls with the first call."""
    if not observation.repetitions:
        return 0
    later = sum(sample.steady_agrees is not None for sample in observation.samples)
    return len(observation.repetitions) - 1 + len(observation.timings) + later


def _containers(observations: Sequence[ProcessObservation]) -> int:
    """Distinct containers by their names, 0 unless every process ran in Docker."""
    if not all(one.engine == "docker" for one in observations):
        return 0
    return len({one.container for one in observations if one.container})
