"""Versions and settings as the page lays them out: what all pairs share once, and of each only what is its own."""

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
_PARTS = ("Provenance", "GPU, as the processes and the host saw it", "Libraries loaded", "Settings", "Records")
_SETTINGS, _RECORDS = _PARTS[3:]


@dataclass(frozen=True, kw_only=True)
class Own:
    """What is one pair's own."""

    label: str
    column: str
    anchor: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True, kw_only=True)
class Versions:
    """``shared`` has the facts that are the same in every pair, by part; ``own`` the rest, pair by pair."""

    shared: tuple[tuple[str, tuple[Fact, ...]], ...]
    own: tuple[Own, ...]


def versions(environments: Sequence[Environment]) -> Versions:
    """All facts of all environments, none twice."""
    told = [_parts(one) for one in environments]
    shared = [(part, _shared([one[part] for one in told])) for part in _PARTS]
    known = dict(shared)
    own = [
        Own(
            label=one.label,
            column=one.column,
            anchor=one.anchor,
            facts=tuple(
                Fact(label=label, value=value)
                for part in _PARTS
                for label, value in parts[part].items()
                if label not in known[part]
            ),
        )
        for one, parts in zip(environments, told, strict=True)
    ]
    facts = [(part, tuple(Fact(label=label, value=value) for label, value in held.items())) for part, held in shared]
    return Versions(shared=tuple((part, held) for part, held in facts if held), own=tuple(own))


def _parts(one: Environment) -> dict[str, dict[str, str]]:
    parts = dict(zip(_PARTS, map(_named, (one.provenance, one.gpu, one.libraries)), strict=False))
    parts[_SETTINGS] = {name: _setting(one.groups, values) for name, values in one.settings}
    parts[_RECORDS] = {"records": _records(one.records)}
    return parts


def _named(facts: Iterable[Fact]) -> dict[str, str]:
    """Facts by label. Where two labels read alike, the second one keeps a number."""
    found: dict[str, str] = {}
    for fact in facts:
        label, number = fact.label, 1
        while label in found:
            number += 1
            label = f"{fact.label} ({number})"
        found[label] = fact.value
    return found


def _shared(told: Sequence[Mapping[str, str]]) -> dict[str, str]:
    first, rest = (told[0], told[1:]) if told else ({}, ())
    return {label: value for label, value in first.items() if all(one.get(label) == value for one in rest)}


def _setting(groups: Sequence[str], values: Sequence[str]) -> str:
    """The value of a setting: ``1``, or ``0 (off); 1 (on)`` where it is not the same everywhere."""
    places: dict[str, list[str]] = {}
    for group, value in zip(groups, values, strict=True):
        places.setdefault(value, []).append(group)
    if len(places) == 1:
        return values[0] or "not reported"
    return "; ".join(f"{value or 'not reported'} ({together(where, groups)})" for value, where in places.items())


def _records(records: Sequence[Fact]) -> str:
    """How many there are of each kind; those that were cut off by name."""
    odd = [fact for fact in records if fact.value.endswith("cut off")]
    kinds = Counter(fact.value for fact in records if fact not in odd)
    told = [f"{count(number, 'record')} {kind}" for kind, number in kinds.items()]
    told += [f"{fact.label} {fact.value}" for fact in odd[:_MOST_NAMED]]
    return "; ".join([*told, *([f"and {len(odd) - _MOST_NAMED} more cut off"] if len(odd) > _MOST_NAMED else [])])
