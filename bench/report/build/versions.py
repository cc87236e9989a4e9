"""Lay out versions and settings for the page: what all pairs share once, and the rest pair by pair."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.report.build.notes import together
from bench.report.view import Fact
from bench.verdict.messages import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.report.view import Environment

#: Records that are named one by one.
_MOST_NAMED = 6
#: The parts of an environment, with their titles.
_PARTS = ("Provenance", "GPU, as seen by the processes and the host", "Loaded libraries", "Settings", "Records")
_SETTINGS, _RECORDS = _PARTS[3:]


@dataclass(frozen=True, kw_only=True)
class ColumnFacts:
    """The facts of one column that not all columns share."""

    label: str
    column: str
    anchor: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True, kw_only=True)
class Versions:
    """``shared`` has the facts that are the same in every column, by part; ``own`` the others, column by column."""

    shared: tuple[tuple[str, tuple[Fact, ...]], ...]
    own: tuple[ColumnFacts, ...]


def versions(environments: Sequence[Environment]) -> Versions:
    """Return all facts of all environments, each once."""
    parts = [_parts(environment) for environment in environments]
    shared = {part: _shared([facts[part] for facts in parts]) for part in _PARTS}
    own = [
        ColumnFacts(
            label=environment.label,
            column=environment.column,
            anchor=environment.anchor,
            facts=tuple(
                Fact(label=label, value=value)
                for part in _PARTS
                for label, value in facts[part].items()
                if label not in shared[part]
            ),
        )
        for environment, facts in zip(environments, parts, strict=True)
    ]
    rows = [
        (part, tuple(Fact(label=label, value=value) for label, value in facts.items()))
        for part, facts in shared.items()
        if facts
    ]
    return Versions(shared=tuple(rows), own=tuple(own))


def _parts(environment: Environment) -> dict[str, dict[str, str]]:
    facts = (environment.provenance, environment.gpu, environment.libraries)
    parts = dict(zip(_PARTS, map(_named, facts), strict=False))
    parts[_SETTINGS] = {name: _setting(environment.groups, values) for name, values in environment.settings}
    parts[_RECORDS] = {"records": _records(environment.records)}
    return parts


def _named(facts: Iterable[Fact]) -> dict[str, str]:
    """Return facts by label. A label that appears twice is numbered."""
    named: dict[str, str] = {}
    for fact in facts:
        label, number = fact.label, 1
        while label in named:
            number += 1
            label = f"{fact.label} ({number})"
        named[label] = fact.value
    return named


def _shared(facts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    first, rest = (facts[0], facts[1:]) if facts else ({}, ())
    return {label: value for label, value in first.items() if all(other.get(label) == value for other in rest)}


def _setting(groups: Sequence[str], values: Sequence[str]) -> str:
    """Return the value of a setting: ``1``, or ``0 (off); 1 (on)`` where it is not the same everywhere."""
    places: dict[str, list[str]] = {}
    for group, value in zip(groups, values, strict=True):
        places.setdefault(value, []).append(group)
    if len(places) == 1:
        return values[0] or "not reported"
    return "; ".join(f"{value or 'not reported'} ({together(where, groups)})" for value, where in places.items())


def _records(records: Sequence[Fact]) -> str:
    """Return how many records there are of each kind, and the names of those that were cut off."""
    cut_off = [fact for fact in records if fact.value.endswith("cut off")]
    kinds = Counter(fact.value for fact in records if fact not in cut_off)
    texts = [f"{count(number, 'record')} {kind}" for kind, number in kinds.items()]
    texts += [f"{fact.label} {fact.value}" for fact in cut_off[:_MOST_NAMED]]
    more = len(cut_off) - _MOST_NAMED
    return "; ".join([*texts, *([f"and {more} more cut off"] if more > 0 else [])])
