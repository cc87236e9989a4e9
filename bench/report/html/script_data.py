"""What the page's script computes with, as compact JSON: arrays instead of objects, and everything said once.

The script never invents a rule: it asks the same questions as ``bench.verdict.comparison``, ``ratio`` and ``choice``, and
needs for them what stands here. All but headlines is of the first variation.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from itertools import islice, permutations
from typing import TYPE_CHECKING, Any

from bench.report.build import distances
from bench.report.build.suggestions import GOAL, rounds_for
from bench.report.build.upgrade import step_sentence
from bench.report.formatting import clean
from bench.report.labels import EVENTS, WORDS
from bench.verdict.comparability import FOLLOW, Pair, Side, outputs, seeds, shapes
from bench.verdict.comparison import Distances, endings, state
from bench.verdict.digest_groups import PRIME
from bench.verdict.evidence import percent_up
from bench.verdict.ranking import DOES_NOT_RUN, NOT_REPRODUCIBLE, UNMEASURED, overheads_of
from bench.verdict.requirements import architectures
from bench.verdict.status import FROM_DIGESTS, SEVERITY, Status
from bench.verdict.tensor_diff import lines
from bench.verdict.timing import Kind

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from bench.report.view import Column, Row, View
    from bench.verdict.results import RunResults, Verdict
    from bench.verdict.steps import Step

#: Of this document. A script reads only the one it was written for, and both travel in one file.
SCHEMA = 1
#: Of a time: recorded with four digits, so the middle of two has five.
_DIGITS = 5
#: Three characters hold a number below 64 ** 3.
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_ROOM = len(_ALPHABET) ** 3
#: Pairs of digests whose distance is told: of one kernel, and of all.
_MOST_PAIRS, _ALL_PAIRS = 40, 600
_MODES = ("off", "on")


def document(view: View, results: RunResults) -> str:
    """The JSON, safe inside a ``script`` element: no ``<`` and nothing but ASCII."""
    text = json.dumps(_body(view, results), ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _body(view: View, results: RunResults) -> dict[str, Any]:
    first = results.variations[0] if results.variations else "default"
    sides = _Sides(results, first)
    columns = [sides.column(place, told) for place, told in enumerate(view.columns)]
    kernels = [sides.kernel(row) for row in view.rows]
    number = {column.id: place for place, column in enumerate(results.info.columns)}
    return {
        "schema": SCHEMA,
        "first": clean(first),
        "variations": len(results.variations),
        "profile": clean(results.info.profile),
        "rounds": rounds_for(GOAL),
        "goal": percent_up(GOAL),
        "statuses": [_status(one) for one in SEVERITY],
        "events": [[event.value, *mark] for event, mark in EVENTS.items()],
        "titles": [title for title in (sides.sides[0].facts if sides.sides else ()) if title not in FOLLOW],
        "texts": sides.texts.values,
        "works": sides.works.values,
        "facts": sides.facts.values,
        "overheads": _other_overheads(view, results),
        "steps": {f"{number[one.before.id]} {number[one.after.id]}": _step(results, one) for one in results.steps},
        "columns": columns,
        "kernels": kernels,
    }


def _other_overheads(view: View, results: RunResults) -> dict[str, list[list[Any]]]:
    """Overheads under variations behind the first one, by row and column: lower and upper end, and whether resolved.

    Without ends where calls were timed, and the overhead is not known all the same.
    """
    kernels = [results.info.kernels[row.index].name for row in view.rows]
    found: dict[str, list[list[Any]]] = {}
    for row, name in enumerate(kernels):
        for place, column in enumerate(results.info.columns):
            overheads = overheads_of(results, column.id, name, results.variations)[1:]
            if overheads:
                ends = ([one.low, one.high, int(one.significant)] if one else [None, None, 0] for one in overheads)
                found[f"{row} {place}"] = list(ends)
    return found


def _step(results: RunResults, step: Step) -> str:
    sides = [Side(results=results, column=column.id) for column in (step.before, step.after)]
    return clean(step_sentence(Pair(*sides).moved, step))


def _status(one: Status) -> list[Any]:
    """Name, symbol, word, tone, and whether it can have a overhead, is an answer to a choice, is no measurement."""
    word = WORDS[one]
    flags = (
        one in FROM_DIGESTS or one is Status.CONTROL_FAILED,
        one in NOT_REPRODUCIBLE | DOES_NOT_RUN,
        one in UNMEASURED,
    )
    return [one.value, word.symbol, word.word, word.tone, *map(int, flags)]


#: What ended badly, and is told by how its processes ended.
_ENDED = frozenset({"raises", "fails"})


class _Table:
    """Values said once, each known by its number."""

    def __init__(self, *values: Hashable) -> None:
        self.numbers: dict[Hashable, int] = {value: number for number, value in enumerate(values)}

    def __call__(self, value: Hashable) -> int:
        return self.numbers.setdefault(value, len(self.numbers))

    @property
    def values(self) -> list[Any]:
        return list(self.numbers)


class _Sides:
    """The columns under the first variation, looked at once."""

    def __init__(self, results: RunResults, first: str) -> None:
        self.results, self.first = results, first
        self.texts, self.facts, self.works = _Table(""), _Table(0), _Table(0)
        self.known = Distances(results)
        self.hidden = _Table("")  # only whether two are the same is told
        self.columns = results.info.columns
        self.sides = [Side(results=results, column=column.id) for column in self.columns]
        self.codes = [[side.codes(first, mode) for mode in _MODES] for side in self.sides]
        self.sources = [[side.sources(first, mode) for mode in _MODES] for side in self.sides]
        self.often = Counter(source for one in self.sources for found in one for source in found)
        self.left = _ALL_PAIRS

    def column(self, place: int, told: Column) -> list[Any]:
        """Names, its status as a whole, its facts by title, and by mode what it was asked and which threads it had."""
        column, side = self.columns[place], self.sides[place]
        status, why = self.results.unmeasured.get(column.id, (None, ""))
        return [
            told.column,
            told.label,
            clean(column.tensorflow),
            clean(column.cuda),
            told.device,
            clean(column.device),
            SEVERITY.index(status) if status else -1,
            clean(why),
            int(column.kind == "here"),
            int(bool(column.origin)),
            self.hidden(side.machine),
            [self.texts(clean(value)) for title, value in side.facts.items() if title not in FOLLOW],
            [self.hidden(side.requested_settings(self.first, mode)) for mode in _MODES],
            [self.hidden(" ".join(sorted(side.in_force(self.first, mode)))) for mode in _MODES],
            [self.texts(name) for name in architectures(self.results, [column])],
            [sorted(self.hidden(one) for one in found if self.often[one] > 1) for found in self.sources[place]],
        ]

    def kernel(self, row: Row) -> list[Any]:
        """Names, flags, and by column and mode: the number of its facts, its digest, its times."""
        info = self.results.info.kernels[row.index]
        places = [(place, mode) for place in range(len(self.columns)) for mode in (0, 1)]
        own: tuple[_Table, ...] = tuple(_Table("") for _ in range(4))
        verdicts = [
            self.results.of(self.columns[place].id, info.name, self.first, _MODES[mode]) for place, mode in places
        ]
        timings = [one.timing if one else None for one in verdicts]
        digests = _Table("")
        return [
            row.kernel,
            row.family,
            row.index,
            int(bool(info.control)),
            int(info.portable),
            int("GPU" in info.shapes),
            _numbers(
                [
                    self.facts(self._facts(info.name, place, mode, one, own))
                    for (place, mode), one in zip(places, verdicts, strict=True)
                ]
            ),
            _numbers([digests(one.comparison.digests[0][0]) if one and one.digest_class else 0 for one in verdicts]),
            "" if info.control else ",".join(_times(one.per_process) if one else "" for one in timings),
            {} if info.control else self._distances(verdicts),
        ]

    def _facts(
        self, kernel: str, place: int, mode: int, one: Verdict | None, own: tuple[_Table, ...]
    ) -> tuple[int, ...] | int:
        """What the rules ask of one result, 0 where nothing was planned.

        Of all variations: status and variation of the headline, and, of those behind an exact one, the fewest
        comparisons and the greatest bound in percent. Of the first: status, state, class of error, work (code, seeds,
        shapes, names of outputs), whether it was timed, kind of time, whether its letter is of another alphabet;
        how the processes ended where they raised or failed, and whether anything varies.
        """
        column = self.columns[place].id
        head = self.results.worst(column, kernel, _MODES[mode])
        if head is None:
            return 0
        found = self.results.over_variations(column, kernel, _MODES[mode]) if head.status is Status.REPRODUCIBLE else ()
        lead = (
            SEVERITY.index(head.status),
            self.texts(clean(head.variation)) if head.variation != self.first else 0,
            min((verdict.comparison.compared for verdict in found), default=0),
            percent_up(max((verdict.comparison.bound for verdict in found), default=1.0)),
        )
        if one is None:
            return lead
        did = (
            self.codes[place][mode].get(kernel, ""),
            tuple(sorted(seeds(one))),
            tuple(shapes(one)),
            tuple(sorted(outputs(one))),
        )
        return (
            *lead,
            SEVERITY.index(one.status),
            self.texts(state(one).value),
            self.texts(clean(one.error_class)),
            self.works(tuple(table(value) for table, value in zip(own, did, strict=True))),
            int(any(observation.timed for observation in one.observations)),
            0 if one.timing is None else 1 + (one.timing.kind is Kind.FIRST),
            int(PRIME in one.digest_class),
            self.texts(endings(one) if one.outcomes and state(one) in _ENDED else ""),
            int(one.comparison.varies),
        )

    def _distances(self, verdicts: Sequence[Verdict | None]) -> dict[str, str]:
        """How far digests are apart, by the numbers of both, from and to; only some of many, and none is "unknown"."""
        first: dict[str, Verdict] = {}
        for one in verdicts:
            if one and one.digest_class:
                first.setdefault(one.comparison.digests[0][0], one)
        told: dict[str, str] = {}
        for (number, (digest, before)), (place, (other, after)) in islice(
            permutations(enumerate(first.items(), 1), 2), min(_MOST_PAIRS, self.left)
        ):
            text = _far(self.results, after.kernel, digest, other) or distances.short(self.known.of(before, after))
            if text:
                told[f"{number} {place}"] = text
        self.left -= len(told)
        return told


def _times(values: Sequence[float]) -> str:
    """One character for the number of decimals, three for each time; as it is where one of them needs more."""
    told = [float(f"{value:.{_DIGITS}g}") for value in values]
    decimals = max(max(0, _DIGITS - 1 - math.floor(math.log10(value))) for value in told)
    while decimals and all(float(f"{value:.{decimals - 1}f}") == value for value in told):
        decimals -= 1
    whole = [round(value * 10**decimals) for value in told]
    if max(whole) >= _ROOM or decimals >= len(_ALPHABET):
        return "=" + " ".join(f"{value:.{_DIGITS}g}" for value in told)
    return _ALPHABET[decimals] + "".join(_packed(number) for number in whole)


def _packed(number: int) -> str:
    size = len(_ALPHABET)
    return _ALPHABET[number // size**2] + _ALPHABET[number // size % size] + _ALPHABET[number % size]


def _far(results: RunResults, kernel: str, digest: str, other: str) -> str:
    """By the outputs alone, "" where they do not tell: steps of a training take long to compare, and are not shown."""
    sides = [results.kept.tensors(kernel, one) for one in (digest, other)]
    ends = [[one for one in side if one.step is None] for side in sides]
    found = {one.tensor: one.distance for one in lines(*ends) if not one.same and one.distance} if all(ends) else {}
    return distances.farthest(found)


def _numbers(values: Sequence[int]) -> str | list[int]:
    """One character a number where all are small."""
    return "".join(_ALPHABET[one] for one in values) if all(one < len(_ALPHABET) for one in values) else list(values)
