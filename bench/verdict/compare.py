"""The comparison of digests: within a process, across processes, and against the contrast."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.verdict.status import Rung
from bench.verdict.strength import upper_bound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.verdict.evidence import Witness


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What the samples of one (cell, kernel, condition, mode) show.

    ``compared`` counts independent comparisons, each process against the first one, and ``differed``
    those that gave other bits. ``within_compared`` counts comparisons inside processes, which are not
    independent; ``unsteady`` counts processes that disagree with themselves. ``varies`` says whether
    any two samples of one seed differ. ``digests`` are those of the repeats and the timing passes
    (``timings`` counts these), the most frequent first.
    """

    processes: int = 0
    repeats: int = 0
    timings: int = 0
    digests: tuple[tuple[str, int], ...] = ()
    contrasts: tuple[tuple[str, int], ...] = ()
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
    def rung(self) -> Rung | None:
        """The strongest claim the digests carry; None where nothing was compared."""
        if self.unsteady:
            return Rung.DIFFERS_WITHIN_PROCESS
        if self.varies or not self.compared:
            return Rung.SAME_WITHIN_PROCESS if self.within_compared else None
        return Rung.SAME_ACROSS_CONTAINERS if self.containers > 1 else Rung.SAME_ACROSS_PROCESSES


def compare(witnesses: Sequence[Witness]) -> Comparison:
    """Compare every sample with those of its seed; a contrast with other seeds' samples as well.

    Every single output must feel the seed: a gradient of zeros beside a live loss proves nothing.
    All contrasts run with one seed: where they differ among themselves, the kernel varies, whatever the
    repeats say.
    """
    spoken = [witness for witness in witnesses if witness.samples]
    voiced = [witness for witness in spoken if witness.repeats]
    repeats = sum(len(one.repeats) for one in spoken)
    own = Counter(sample.digest for one in spoken for sample in (*one.repeats, *one.timings))
    contrasts = Counter(sample.digest for one in spoken for sample in one.contrasts)
    first: dict[int, str] = {}
    differs = False
    for one in spoken:
        for sample in one.samples:
            differs |= first.setdefault(sample.seed, sample.digest) != sample.digest
    own_seeds = frozenset().union(*(one.seeds for one in spoken))
    collide = _collide(spoken)
    shown = any(sample.seed not in own_seeds for one in spoken for sample in one.contrasts)
    unsteady = sum(not _steady(one) for one in spoken)
    return Comparison(
        processes=len(voiced),
        repeats=repeats,
        timings=own.total() - repeats,
        digests=_ranked(own),
        contrasts=_ranked(contrasts),
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


def _collide(witnesses: Sequence[Witness]) -> bool:
    """Whether two seeds gave the same bits, in all or in one output. Samples share what they say of a digest."""
    seeds_of: dict[str, set[int]] = defaultdict(set)
    known: set[tuple[str, int, int]] = set()
    for one in witnesses:
        for sample in one.samples:
            name = (sample.digest, sample.seed, id(sample.outputs))
            if name in known:
                continue
            known.add(name)
            seeds_of[sample.digest].add(sample.seed)
            for output, facts in sample.outputs.items():
                seeds_of[f"{output} {facts.get('digest')}"].add(sample.seed)
    return any(len(seeds) > 1 for seeds in seeds_of.values())


def _has(witness: Witness, what: str) -> bool:
    """A NaN or Inf in any sample of the run's own seed."""
    facts = {id(sample.outputs): sample.outputs for sample in (*witness.repeats, *witness.timings)}
    return any(output.get(what) for outputs in facts.values() for output in outputs.values())


def _ranked(counts: Counter[str]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _differing(witnesses: Sequence[Witness], first: dict[int, str]) -> int:
    """Processes, the first apart, that gave other bits than the first sample of the same seed."""
    return sum(
        any(sample.digest != first[sample.seed] or sample.steady_agrees is False for sample in one.samples)
        for one in witnesses[1:]
    )


def _steady(witness: Witness) -> bool:
    first: dict[int, str] = {}
    return all(
        sample.steady_agrees is not False and first.setdefault(sample.seed, sample.digest) == sample.digest
        for sample in witness.samples
    )


def _within(witness: Witness) -> int:
    """Comparisons inside one process: all samples of the seed with the first, later calls with the first call."""
    if not witness.repeats:
        return 0
    later = sum(sample.steady_agrees is not None for sample in witness.samples)
    return len(witness.repeats) - 1 + len(witness.timings) + later


def _containers(witnesses: Sequence[Witness]) -> int:
    """Distinct containers by their names, 0 unless every process ran in Docker."""
    if not all(one.engine == "docker" for one in witnesses):
        return 0
    return len({one.container for one in witnesses if one.container})
