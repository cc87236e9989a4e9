"""The answer to ``choose``: pairs ranked by requirements, and what to measure to know more."""

from __future__ import annotations

from dataclasses import dataclass

from bench.report.view.fields import Hidden


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One pair. ``fit`` is "fits", "unknown" or "does not fit"; ``rank`` is "1", "1 (tie)" or "".

    ``evidence`` says how many of the requested kernels are reproducible and how strong the evidence is, ``overhead``
    what determinism costs them. ``reasons`` say why the pair does not fit, ``unknowns`` what is not known. ``column``
    is the column of the run, or the pair where the run has none.
    """

    column: str
    label: str
    rank: str = ""
    fit: str
    symbol: Hidden[str]
    tone: Hidden[str]
    evidence: str
    overhead: str = ""
    reasons: tuple[str, ...] = ()
    unknowns: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Something that is not known, and the command that would measure it."""

    why: str
    command: str


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The answer to one set of requirements: ``question`` in words, and the ``rules`` of the ranking.

    ``sentence`` summarizes the answer. ``more`` counts the candidates that are not listed, "" where all are.
    """

    question: str
    rules: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    missing: tuple[Missing, ...]
    sentence: str = ""
    more: str = ""


@dataclass(frozen=True, kw_only=True)
class FamilyColumn:
    """What one pair offers to one family with determinism on: ``reproducible`` of ``kernels`` kernels are.

    ``text`` is "12 of 12", or the status of a column without measurements. ``slowest`` is the slowest kernel of those
    with a significant overhead ("sparse_xent 1.77x slower"), "" without one.
    """

    column: str
    reproducible: int
    kernels: int
    text: Hidden[str]
    slowest: str = ""


@dataclass(frozen=True, kw_only=True)
class FamilySummary:
    """One family over all columns."""

    family: str
    columns: tuple[FamilyColumn, ...]

    @property
    def slowest(self) -> bool:
        """Whether a kernel of a column has a significant overhead."""
        return any(column.slowest for column in self.columns)

    @property
    def reproducible(self) -> bool:
        """Whether every kernel is reproducible in every column."""
        return all(column.reproducible == column.kernels for column in self.columns)


@dataclass(frozen=True, kw_only=True)
class NarrowerRanking:
    """The columns ranked by one family of kernels or by all of them, with or without a limit on the overhead.

    ``title`` names the family or the limit, ``family`` and ``limit_percent`` are "" where they do not narrow it down.
    ``command`` computes the same ranking.
    """

    title: str
    family: str
    limit_percent: str
    choice: Choice
    command: str
