"""Values that many parts of the view share, and how fields are written to report.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, PlainSerializer

_T = TypeVar("_T")

#: A field for renderers only. It is not in report.json, because other fields there state the same.
Hidden = Annotated[_T, Field(exclude=True)]


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A label and its value."""

    label: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Count:
    """The number of kernels with one status."""

    symbol: str
    word: str
    tone: str
    number: int


def _pairs(value: Any) -> Any:
    """Return the pairs of an object, as JSON has them."""
    return tuple(value.items()) if isinstance(value, dict) else value


def _facts(facts: tuple[Fact, ...]) -> dict[str, str]:
    return {fact.label: fact.value for fact in facts}


def _counts(counts: tuple[Count, ...]) -> dict[str, int]:
    return {count.word: count.number for count in counts}


def _legend(rows: tuple[tuple[str, str, str, str], ...]) -> dict[str, str]:
    return {word: meaning for _, word, _, meaning in rows}


#: (name, number) pairs, an object in JSON.
Numbers = Annotated[tuple[tuple[str, int], ...], PlainSerializer(dict, return_type=dict[str, int])]
#: (name, text) pairs, an object in JSON.
Texts = Annotated[
    tuple[tuple[str, str], ...], BeforeValidator(_pairs), PlainSerializer(dict, return_type=dict[str, str])
]
#: Labels and values, an object in JSON.
Facts = Annotated[tuple[Fact, ...], PlainSerializer(_facts, return_type=dict[str, str])]
#: Kernels by status, an object in JSON.
StatusCounts = Annotated[tuple[Count, ...], PlainSerializer(_counts, return_type=dict[str, int])]
#: (symbol, word, tone, meaning) rows, an object of words and meanings in JSON.
Legend = Annotated[tuple[tuple[str, str, str, str], ...], PlainSerializer(_legend, return_type=dict[str, str])]
