"""Computes how far two samples are apart and where they first differ, for every result that is not reproducible.

Within one process all elements were available, and the record has the full comparison (``Sample.first_difference``).
Across processes only kept values can be compared: all elements of a small output, a fixed subset of a large one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from bench.verdict import tensor_diff
from bench.verdict.difference_types import Difference, FirstDifference
from bench.verdict.messages import count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.store.kept_values import StoredValues
    from bench.suite.distance import Distance
    from bench.suite.record import Sample
    from bench.verdict.observations import ProcessObservation
    from bench.verdict.results import RunResults, Verdict
    from bench.verdict.tensor_diff import Line

#: A difference needs two digests.
_TWO = 2


class HasKept(Protocol):
    """Anything with kept values, such as ``Run``, ``RunResults`` and ``Distances``."""

    @property
    def kept(self) -> StoredValues:
        """The kept values."""


@dataclass(frozen=True, kw_only=True)
class KernelDigest:
    """One digest of a kernel in a column.

    ``places`` counts its samples as (variation, mode, number). ``kept`` says whether values were kept for it, so that
    it can be compared with another digest.
    """

    digest: str
    places: tuple[tuple[str, str, int], ...]
    kept: bool

    @property
    def total(self) -> int:
        """The number of samples with this digest."""
        return sum(number for _, _, number in self.places)


@dataclass(frozen=True, kw_only=True)
class _RecordedDifference:
    """One sample that differs from the first sample of its process, as the record describes it."""

    first_difference: FirstDifference
    outputs: Mapping[str, Distance]
    first: str
    other: str

    @property
    def size(self) -> float:
        """The largest ``rel_max`` of the outputs."""
        return max((tensor_diff.size_of(distance) for distance in self.outputs.values()), default=-1.0)


def of_verdict(
    kept: StoredValues, kernel: str, observations: Sequence[ProcessObservation], digests: Sequence[tuple[str, int]]
) -> tuple[Difference | None, str]:
    """Return how far the samples of a result that is not reproducible are apart, or None and the reason.

    Differences within a process come from the record and cover all elements; otherwise the two most frequent
    digests with kept values are compared.
    """
    recorded = list(_recorded(observations))
    if recorded:
        return _in_process(recorded), ""
    with_values = [digest for digest, _ in digests if (kernel, digest) in kept.rows]
    if len(digests) < _TWO:
        return None, "Only samples with another seed gave other bits, and their values are not kept."
    if len(with_values) < _TWO:
        return None, _missing_values(kept, len(with_values), len(digests))
    first, other = with_values[:2]
    return _across(kept, kernel, (first, _sample_with(observations, first)), (other, _sample_with(observations, other)))


def between(source: HasKept, verdict_a: Verdict, verdict_b: Verdict) -> Difference | None:
    """Return how far two verdicts with one digest each are apart: off and on, two columns, or two variations.

    None if either has more than one digest, if both have the same one, and if no values were kept.
    """
    pair = (verdict_a, verdict_b)
    single = [verdict.comparison.digests[0][0] for verdict in pair if len(verdict.comparison.digests) == 1]
    if len(single) < _TWO or single[0] == single[1] or verdict_a.kernel != verdict_b.kernel:
        return None
    names = [
        ", ".join([*_distinguishing(verdict, other), _sample_with(verdict.observations, digest)])
        for verdict, other, digest in ((verdict_a, verdict_b, single[0]), (verdict_b, verdict_a, single[1]))
    ]
    difference, _ = _across(source.kept, verdict_a.kernel, (single[0], names[0]), (single[1], names[1]))
    return difference


def side_by_side(source: HasKept, kernel: str, digest_a: str, digest_b: str) -> tuple[Line, ...]:
    """Compare every tensor of two digests, in the order of computation; empty if values are missing for one of them."""
    first, other = (source.kept.tensors(kernel, digest) for digest in (digest_a, digest_b))
    return tensor_diff.lines(first, other) if first and other else ()


def digests_of(results: RunResults, column: str, kernel: str) -> tuple[KernelDigest, ...]:
    """Return the digests of a kernel in a column over all variations and modes, the most frequent first."""
    places: dict[str, list[tuple[str, str, int]]] = {}
    for verdict in results.verdicts:
        if (verdict.column, verdict.kernel) == (column, kernel):
            for digest, number in verdict.comparison.digests:
                places.setdefault(digest, []).append((verdict.variation, verdict.mode, number))
    digests = [
        KernelDigest(digest=digest, places=tuple(where), kept=(kernel, digest) in results.kept.rows)
        for digest, where in places.items()
    ]
    return tuple(sorted(digests, key=lambda digest: -digest.total))


def _recorded(observations: Sequence[ProcessObservation]) -> Iterator[_RecordedDifference]:
    """Yield the samples that differ from the first one of their process, by round."""
    for observation in observations:
        own = observation.own
        for sample in own:
            first_difference = _read_first_difference(sample.first_difference)
            if first_difference is None or sample.first_difference is None:
                continue
            rows = sample.first_difference.get("outputs")
            outputs = {
                str(name): distance
                for name, row in (rows.items() if isinstance(rows, Mapping) else ())
                if (distance := tensor_diff.distance_of(row)) is not None
            }
            yield _RecordedDifference(
                first_difference=first_difference,
                outputs=outputs,
                first=sample_name(observation, own[0]),
                other=sample_name(observation, sample),
            )


def _read_first_difference(row: Any) -> FirstDifference | None:
    """Read the first difference from a record; None if there is none or it is damaged."""
    if not isinstance(row, Mapping):
        return None
    step, index = row.get("step"), row.get("index")
    distance = tensor_diff.distance_of(row.get("distance"))
    if not (step is None or type(step) is int) or not isinstance(index, list | tuple) or distance is None:
        return None
    if not all(type(position) is int for position in index):
        return None
    return FirstDifference(
        step=step,
        tensor=str(row.get("tensor", "")),
        index=tuple(index),
        first=str(row.get("first", "")),
        other=str(row.get("other", "")),
        distance=distance,
    )


def _in_process(recorded: Sequence[_RecordedDifference]) -> Difference:
    """Combine the measures of the worst pair with the earliest difference of all pairs."""
    worst = max(recorded, key=lambda pair: pair.size)
    earliest = min(recorded, key=lambda pair: pair.first_difference.step or math.inf)
    first_difference = worst.first_difference
    if earliest is not worst and earliest.first_difference.step != first_difference.step:
        note = f"{earliest.first} and {earliest.other} differ earliest"
        first_difference = dataclasses.replace(earliest.first_difference, note=note)
    # without measures of outputs, those of the tensor that differs first are counted
    distances = list(worst.outputs.values()) or [d for d in (first_difference.distance,) if d]
    elements = sum(distance.elements for distance in distances)
    return Difference(
        outputs=worst.outputs,
        whole=True,
        kept_elements=elements,
        elements=elements,
        first=worst.first,
        other=worst.other,
        first_difference=first_difference,
    )


def _across(
    kept: StoredValues, kernel: str, first: tuple[str, str], other: tuple[str, str]
) -> tuple[Difference | None, str]:
    """Compare the kept values of two digests, each given with the name of a sample that has it."""
    sides = [kept.tensors(kernel, digest) for digest, _ in (first, other)]
    if not all(sides):
        return None, _missing_values(kept, sum(bool(side) for side in sides), len(sides))
    unequal = [line for line in tensor_diff.lines(*sides) if not line.same]
    if not unequal:
        return None, "The kept values have the same digests for every tensor, although the samples' digests differ."
    outputs = [line for line in unequal if line.step is None and line.distance is not None]
    counted = outputs or unequal[:1]
    kept_elements, elements = (sum(getattr(line, key) for line in counted) for key in ("kept", "elements"))
    start = unequal[0]
    difference = Difference(
        outputs={line.tensor: line.distance for line in outputs if line.distance is not None},
        whole=0 < kept_elements == elements and len(outputs) == sum(line.step is None for line in unequal),
        kept_elements=kept_elements,
        elements=elements,
        first=first[1],
        other=other[1],
        first_difference=FirstDifference(
            step=start.step,
            tensor=start.tensor,
            index=start.index,
            first=start.first,
            other=start.other,
            distance=start.distance,
            note=start.note,
        ),
    )
    return difference, ""


def _missing_values(kept: StoredValues, number: int, digests: int) -> str:
    """Say why kept values do not show how far digests are apart."""
    reason = (
        f"Values were kept of {number} of its {count(digests, 'digest')}"
        if number
        else "No values were kept of its digests"
    )
    if kept.problems:
        file, problem = next(iter(sorted(kept.problems.items())))
        reason += (
            f"; {count(len(kept.problems), 'file')} of kept values could not be read (the first: {file}, {problem})"
        )
    return f"{reason}."


def _sample_with(observations: Sequence[ProcessObservation], digest: str) -> str:
    """Name the first sample that has a digest."""
    for observation in observations:
        for sample in observation.own:
            if sample.digest == digest:
                return sample_name(observation, sample)
    return "a sample"


def sample_name(observation: ProcessObservation, sample: Sample) -> str:
    """Name a sample: ``round 2 repetition 1``."""
    name = f"{'later call' if sample.role == 'later-call' else 'repetition'} {sample.repetition}"
    return f"round {observation.round} {name}"


def _distinguishing(verdict: Verdict, other: Verdict) -> list[str]:
    """The parts of a verdict's key that differ from another verdict of the same kernel, in words."""
    parts = [verdict.column] if verdict.column != other.column else []
    parts += [verdict.variation] if verdict.variation != other.variation else []
    return [*parts, f"determinism {verdict.mode}"] if verdict.mode != other.mode else parts
