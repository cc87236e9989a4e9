"""What a night shows about its cells, and what somebody should look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bench.history.night import Place


class FindingKind(StrEnum):
    """The kinds of findings, the most serious first."""

    REGRESSED = "no longer reproducible"
    NONDETERMINISTIC = "becomes nondeterministic"
    DIFFERENT_BITS = "same environment, different bits"
    FAILS = "starts failing"
    CONTROLS = "controls failed"
    EVIDENCE = "evidence lost"
    MISSING = "no longer measured"
    SLOWER = "slower"
    HOST = "host slower"
    BITS_CHANGED = "bits changed with the environment"
    UNCONFIRMED = "slower on one night"
    STILL_SLOWER = "still slower"
    IMPROVED = "becomes reproducible"

    @property
    def alarm(self) -> bool:
        """Whether somebody should look at it before the next night."""
        return self not in {
            FindingKind.BITS_CHANGED,
            FindingKind.UNCONFIRMED,
            FindingKind.STILL_SLOWER,
            FindingKind.IMPROVED,
        }


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings with the most serious kinds first."""
    order = list(FindingKind)
    return sorted(findings, key=lambda finding: order.index(finding.kind))


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A fact of the environment or host that is not what it was; "" where it was not known."""

    title: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Shift:
    """How a time changed.

    ``paired``: ``ratio`` is the time tonight over that in the last environment, by pairs of the same night, with
    its interval ``low`` to ``high``. Otherwise it is tonight's time over the usual one of its series, without what all
    kernels of the host have in common, and ``smallest`` is the smallest ratio that would have been a suspect.
    """

    ratio: float
    paired: bool
    low: float | None = None
    high: float | None = None
    smallest: float | None = None

    @property
    def sentence(self) -> str:
        """The change in words."""
        if self.paired:
            interval = "" if self.low is None or self.high is None else f" ({self.low:.2f} to {self.high:.2f})"
            return f"{self.ratio:.2f}x slower{interval} than in the last environment, measured tonight in pairs."
        noticed = "" if self.smallest is None else f"; anything above {self.smallest:.2f}x would have been noticed"
        return f"{self.ratio:.2f}x the usual time in the same environment{noticed}."


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One kind of change in one column tonight.

    ``before`` is the id of the run that it is compared with. ``places`` are its cells, each with a sentence;
    ``shifts`` has the changes of times. ``differences`` are the facts that changed in between, the most likely cause
    first, and ``commands`` would test them.
    """

    kind: FindingKind
    column: str
    before: str
    places: Mapping[Place, str]
    differences: tuple[Difference, ...] = ()
    commands: tuple[str, ...] = ()
    shifts: Mapping[Place, Shift] = field(default_factory=dict)
