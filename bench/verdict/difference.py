"""How far two samples are apart, and where they first part: the numbers behind every verdict that varies.

Inside one process all elements were at hand, and the record says it in full (``Sample.first_difference``). Across
processes only kept values can be compared: the whole of a small output, a fixed sample of a large one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from bench.verdict import tensor_diff
from bench.verdict.messages import count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.store.kept_values import StoredValues
    from bench.suite.distance import Distance
    from bench.suite.record import Sample
    from bench.verdict.observations import ProcessObservation
    from bench.verdict.results import RunResults, Verdict
    from bench.verdict.tensor_diff import Line


class HasKept(Protocol):
    """What has kept values: a run, and a results."""

    @property
    def kept(self) -> StoredValues:
        """The kept values."""


@dataclass(frozen=True, kw_only=True)
class FirstDifference:
    """The first divergence: the first tensor that differs, in the order in which they came about.

    ``step`` counts from 1 and is None for an output. ``index`` is the place of the first element that
    differs, ``first`` and ``other`` are both values there as decimal strings that round-trip, and
    ``distance`` is that of the whole tensor (of its kept elements, across processes). ``index`` is None
    and the values are "" where no two values can be shown, for instance because none of the kept elements
    differs; ``note`` says why. Where samples part earlier than the pair compared, ``note`` names them.
    """

    step: int | None
    tensor: str
    index: tuple[int, ...] | None
    first: str
    other: str
    distance: Distance | None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far two samples are apart.

    ``outputs`` has the measures of each output that differs: of the pair with the greatest ``rel_max``
    inside a process, of the pair compared otherwise. ``whole`` says that all elements were at hand; else
    ``kept_elements`` of ``elements`` were. ``first`` and ``other`` name the samples that are compared
    ("round 1 repetition 0"). ``parting`` is the first divergence, None where there are no two values to show.
    """

    outputs: Mapping[str, Distance]
    whole: bool
    kept_elements: int
    elements: int
    first: str
    other: str
    parting: FirstDifference | None


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One digest of a kernel in a column: ``places`` counts its samples by (variation, mode).

    ``kept`` says whether values were kept of it, so that it can be put side by side with another.
    """

    digest: str
    places: tuple[tuple[str, str, int], ...]
    kept: bool

    @property
    def total(self) -> int:
        """Samples with this digest."""
        return sum(number for _, _, number in self.places)


@dataclass(frozen=True, kw_only=True)
class _Told:
    """One sample that left the first one of its process, as the record says it."""

    parting: FirstDifference
    outputs: Mapping[str, Distance]
    first: str
    other: str

    @property
    def size(self) -> float:
        """The greatest ``rel_max`` of its outputs."""
        return max((tensor_diff.size_of(one) for one in self.outputs.values()), default=-1.0)


def of_verdict(
    kept: StoredValues, kernel: str, observations: Sequence[ProcessObservation], digests: Sequence[tuple[str, int]]
) -> tuple[Difference | None, str]:
    """How far the samples of a verdict that varies are apart, and why that is not known.

    In-process differences are told by the record with all elements; else the two most frequent digests of
    which values were kept are compared.
    """
    told = list(_told(observations))
    if told:
        return _in_process(told), ""
    known = [digest for digest, _ in digests if (kernel, digest) in kept.rows]
    if len(digests) < 2:  # noqa: PLR2004 - two are needed to differ
        return (
            None,
            "Only a later call of a timing pass, or a sample with another seed, gave other bits; neither is kept.",
        )
    if len(known) < 2:  # noqa: PLR2004 - as above
        return None, _why_not(kept, len(known), len(digests))
    first, other = known[:2]
    return _across(kept, kernel, (first, _place(observations, first)), (other, _place(observations, other)))


def between(source: HasKept, verdict_a: Verdict, verdict_b: Verdict) -> Difference | None:
    """How far two verdicts with one digest each are apart: off and on, two columns, two variations.

    None where either has no single digest, where both have the same, and where no values were kept.
    """
    single = [one.comparison.digests[0][0] for one in (verdict_a, verdict_b) if len(one.comparison.digests) == 1]
    if len(single) < 2 or single[0] == single[1] or verdict_a.kernel != verdict_b.kernel:  # noqa: PLR2004
        return None
    names = [
        ", ".join([*_apart(one, two), _place(one.observations, digest)])
        for one, two, digest in ((verdict_a, verdict_b, single[0]), (verdict_b, verdict_a, single[1]))
    ]
    found, _ = _across(source.kept, verdict_a.kernel, (single[0], names[0]), (single[1], names[1]))
    return found


def side_by_side(source: HasKept, kernel: str, digest_a: str, digest_b: str) -> tuple[Line, ...]:
    """Every tensor of two digests in the order in which they came about; empty where no values were kept of one."""
    first, other = (source.kept.tensors(kernel, digest) for digest in (digest_a, digest_b))
    return tensor_diff.lines(first, other) if first and other else ()


def digests_of(results: RunResults, column: str, kernel: str) -> tuple[Seen, ...]:
    """The digests of a kernel in a column, over all variations and modes, the most frequent first."""
    places: dict[str, list[tuple[str, str, int]]] = {}
    for verdict in results.verdicts:
        if (verdict.column, verdict.kernel) == (column, kernel):
            for digest, number in verdict.comparison.digests:
                places.setdefault(digest, []).append((verdict.variation, verdict.mode, number))
    found = [
        Seen(digest=digest, places=tuple(seen), kept=(kernel, digest) in results.kept.rows)
        for digest, seen in places.items()
    ]
    return tuple(sorted(found, key=lambda one: -one.total))


def _told(observations: Sequence[ProcessObservation]) -> Iterator[_Told]:
    """What the records say of samples that left the first one of their process, by round."""
    for observation in observations:
        own = (*observation.repetitions, *observation.timings)
        for sample in own:
            parting = _read_parting(sample.first_difference)
            if parting is None or sample.first_difference is None:
                continue
            rows = sample.first_difference.get("outputs")
            found = {
                str(name): distance
                for name, row in (rows.items() if isinstance(rows, Mapping) else ())
                if (distance := tensor_diff.distance_of(row)) is not None
            }
            yield _Told(
                parting=parting,
                outputs=found,
                first=_sample_name(observation, own[0]),
                other=_sample_name(observation, sample),
            )


def _read_parting(row: Any) -> FirstDifference | None:
    """The first divergence as a record has it; None where there is none, or it is damaged."""
    if not isinstance(row, Mapping):
        return None
    step, index = row.get("step"), row.get("index")
    distance = tensor_diff.distance_of(row.get("distance"))
    if not (step is None or type(step) is int) or not isinstance(index, list | tuple) or distance is None:
        return None
    if not all(type(one) is int for one in index):
        return None
    return FirstDifference(
        step=step,
        tensor=str(row.get("tensor", "")),
        index=tuple(index),
        first=str(row.get("first", "")),
        other=str(row.get("other", "")),
        distance=distance,
    )


def _in_process(told: Sequence[_Told]) -> Difference:
    """The measures of the worst pair, and the earliest divergence of all pairs."""
    worst = max(told, key=lambda one: one.size)
    earliest = min(told, key=lambda one: one.parting.step or math.inf)
    parting = earliest.parting
    if earliest is not worst and parting.step != worst.parting.step:
        parting = _with_note(parting, f"{earliest.first} and {earliest.other} part first")
    else:
        parting = worst.parting
    distances = list(worst.outputs.values()) or [one for one in (parting.distance,) if one]
    elements = sum(one.elements for one in distances)
    return Difference(
        outputs=worst.outputs,
        whole=True,
        kept_elements=elements,
        elements=elements,
        first=worst.first,
        other=worst.other,
        parting=parting,
    )


def _with_note(parting: FirstDifference, note: str) -> FirstDifference:
    return FirstDifference(**{**vars(parting), "note": note})


def _across(
    kept: StoredValues, kernel: str, first: tuple[str, str], other: tuple[str, str]
) -> tuple[Difference | None, str]:
    """Two digests, each with the name of a sample that has it, by the values kept of them."""
    sides = [kept.tensors(kernel, digest) for digest, _ in (first, other)]
    if not all(sides):
        return None, _why_not(kept, sum(bool(side) for side in sides), len(sides))
    unequal = [line for line in tensor_diff.lines(*sides) if not line.same]
    if not unequal:
        return None, "The kept values have the same digests for every tensor, though those of the samples differ."
    outputs = [line for line in unequal if line.step is None and line.distance is not None]
    counted = outputs or unequal[:1]
    kept_elements, elements = (sum(getattr(line, key) for line in counted) for key in ("kept", "elements"))
    start = unequal[0]
    found = Difference(
        outputs={line.tensor: line.distance for line in outputs if line.distance is not None},
        whole=0 < kept_elements == elements and len(outputs) == sum(line.step is None for line in unequal),
        kept_elements=kept_elements,
        elements=elements,
        first=first[1],
        other=other[1],
        parting=FirstDifference(
            step=start.step,
            tensor=start.tensor,
            index=start.index,
            first=start.first,
            other=start.other,
            distance=start.distance,
            note=start.note,
        ),
    )
    return found, ""


def _why_not(kept: StoredValues, known: int, of: int) -> str:
    """Why kept values do not say how far digests are apart."""
    why = f"Values were kept of {known} of its {count(of, 'digest')}" if known else "No values were kept of its digests"
    if kept.problems:
        file, reason = next(iter(sorted(kept.problems.items())))
        why += f"; {count(len(kept.problems), 'file')} of kept values could not be read (the first: {file}, {reason})"
    return f"{why}."


def _place(observations: Sequence[ProcessObservation], digest: str) -> str:
    """The first sample that gave a digest."""
    for observation in observations:
        for sample in (*observation.repetitions, *observation.timings):
            if sample.digest == digest:
                return _sample_name(observation, sample)
    return "a sample"


def _sample_name(observation: ProcessObservation, sample: Sample) -> str:
    name = "timing pass" if sample.role == "timing" else f"repetition {sample.repetition}"
    return f"round {observation.round} {name}"


def _apart(one: Verdict, other: Verdict) -> list[str]:
    """What tells a verdict from another one of its kernel, in words."""
    told = [one.column] if one.column != other.column else []
    told += [one.variation] if one.variation != other.variation else []
    return [*told, f"determinism {one.mode}"] if one.mode != other.mode else told
