"""A choice as shown: pairs ranked by what is asked of them, and what would have to be measured to know more."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One pair. ``fit`` is ``fits``, ``unknown`` or ``does not fit``; ``rank`` is "1", "1 (tie)" or "".

    ``evidence`` says how many of the kernels asked for are exact and by how much; ``overhead`` what determinism costs
    them; ``reasons`` why it does not fit, ``unknowns`` what nobody knows yet. ``column`` is that of the run, or the pair
    where the run has none.
    """

    column: str
    label: str
    rank: str
    fit: str
    symbol: str
    tone: str
    evidence: str
    overhead: str
    reasons: tuple[str, ...]
    unknowns: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Missing:
    """What is not known, and the command that would measure it."""

    why: str
    command: str


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The answer to one question: ``question`` in words, and the ``rules`` it was answered by.

    ``sentence`` sums the answer up, and ``more`` counts the candidates that are not listed, "" where all are.
    """

    question: str
    rules: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    missing: tuple[Missing, ...]
    sentence: str = ""
    more: str = ""


@dataclass(frozen=True, kw_only=True)
class NeedColumn:
    """What one pair gives to one family, determinism on: ``reproducible`` of ``kernels``, and the dearest resolved overhead.

    ``text`` is ready to show: ``12 of 12``, or the status of a column without any measurement; ``dearest`` too:
    ``x1.77 sparse_xent``, "" where no overhead is resolved.
    """

    column: str
    reproducible: int
    kernels: int
    text: str
    dearest: str


@dataclass(frozen=True, kw_only=True)
class Need:
    """One family over all columns."""

    family: str
    columns: tuple[NeedColumn, ...]

    @property
    def reproducible(self) -> bool:
        """Whether every kernel is exact in every column."""
        return all(one.reproducible == one.kernels for one in self.columns)
