"""Controls: kernels that must differ, and kernels that must not. They show that the eyes are open.

A harness that never sees a difference calls everything exact. So in every cell, condition and mode one
kernel must be seen to differ and one must not; where that fails, equal bits prove nothing there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.verdict.compare import Comparison, compare
from bench.verdict.evidence import CUT_OFF

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.store.run import KernelInfo
    from bench.verdict.evidence import Witness

MUST_DIFFER = "must-differ"
MUST_NOT_DIFFER = "must-not-differ"

#: With fewer samples of one seed nothing can be seen to differ.
MIN_SAMPLES = 2


@dataclass(frozen=True)
class Check:
    """What a control showed: ``passed`` is None where it had too few samples to show anything."""

    passed: bool | None
    why: str


def check(control: str, witnesses: Sequence[Witness]) -> Check:
    """Check one control in one cell, condition and mode."""
    if not witnesses:
        return Check(passed=False, why="it never ran")
    bad = [one for one in witnesses if one.outcome not in ("ok", CUT_OFF)]
    if bad:
        return Check(passed=False, why=f"it {bad[0].outcome} in {len(bad)} of {len(witnesses)} processes")
    found = compare(witnesses)
    if control == MUST_DIFFER:
        return _must_differ(found)
    if control == MUST_NOT_DIFFER:
        return _must_not_differ(found)
    return Check(passed=False, why=f"this version does not know the demand {control!r}")


def _must_differ(found: Comparison) -> Check:
    if len(found.digests) > 1 and len(found.digests) < found.repeats:
        # entropy does not repeat: the same sample was counted twice, so nothing here was compared
        return Check(
            passed=False, why=f"its entropy came twice: {len(found.digests)} digests in {found.repeats} repeats"
        )
    if found.varies:
        return Check(
            passed=True, why=f"it differs, as it must: {len(found.digests)} digests in {found.repeats} repeats"
        )
    if found.repeats < MIN_SAMPLES:
        return Check(passed=None, why=f"{found.repeats} repeats cannot show a difference")
    return Check(passed=False, why=f"it was not seen to differ in {found.repeats} repeats, but must")


def _must_not_differ(found: Comparison) -> Check:
    if found.varies:
        return Check(passed=False, why="it differs, but must not")
    if found.seeds_collide:
        return Check(passed=False, why="it gave the same digest for another seed")
    if found.repeats < MIN_SAMPLES:
        return Check(passed=None, why=f"{found.repeats} repeats cannot show a difference")
    return Check(passed=True, why=f"it does not differ, as it must not: {found.repeats} repeats")


@dataclass(frozen=True)
class Sight:
    """Whether a group of processes can see: ``blind`` says why not, ``doubts`` what keeps it from proof."""

    checks: Mapping[str, Check]
    blind: str
    doubts: tuple[str, ...]


def sight(kernels: Sequence[KernelInfo], witnesses: Mapping[str, Sequence[Witness]]) -> Sight:
    """Check all controls of one cell, condition and mode. A run without both kinds is blind."""
    declared = [kernel for kernel in kernels if kernel.control]
    checks = {kernel.name: check(kernel.control, witnesses.get(kernel.name, ())) for kernel in declared}
    kinds = {kernel.control for kernel in declared}
    lacking = [kind for kind in (MUST_DIFFER, MUST_NOT_DIFFER) if kind not in kinds]
    failed = [f"the control {name} failed: {one.why}" for name, one in checks.items() if one.passed is False]
    failed += [f"the run has no control that {kind.replace('-', ' ')}" for kind in lacking]
    doubts = [f"the control {name} is undecided: {one.why}" for name, one in checks.items() if one.passed is None]
    return Sight(checks=checks, blind="; ".join(failed), doubts=tuple(doubts))
