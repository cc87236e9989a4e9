"""Changes of reproducibility from the earlier nights to tonight.

An alarm is something new. A cell that has been nondeterministic, or has failed in the same way, on a night since the
last accepted change is known to do so: a race that shows on one night in three must not raise an alarm each time.
Whether bits are known to differ is decided by the earlier nights in tonight's environment, and by all others only if
there are none.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING

from bench.history.finding import Finding, FindingKind
from bench.history.provenance import explained, same_environment
from bench.verdict.status import FROM_DIGESTS, OF_COLUMN, Status

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from bench.history.night import Cell, Night, Place, Series

#: Statuses that say that bits differ.
DIFFERS = frozenset({Status.NONDETERMINISTIC, Status.REPRODUCIBLE_IN_PROCESS})
#: Statuses of cells whose samples all had the same bits.
AGREES = frozenset({Status.REPRODUCIBLE, Status.INCONCLUSIVE})
#: Statuses of kernels and columns that gave no result that can be trusted, because something failed.
FAILS = frozenset(
    {
        *(Status.CRASHED, Status.OOM, Status.TIMEOUT, Status.MISMATCH, Status.FAILED, Status.ERROR, Status.UNSUPPORTED),
        *(Status.BUILD_FAILED, Status.IMAGE_MISSING, Status.GPU_NOT_VISIBLE, Status.INCOMPATIBLE, Status.NAN),
    }
)


#: Nights during which losing the same evidence again raises no new alarm.
_RECENT = 7


def missing(night: Night, before: Mapping[int, Place], left_out: Collection[str]) -> list[Finding]:
    """Return what the last night measured and tonight does not have, and why nobody left it out.

    Args:
        night: the night.
        before: the places that the last night measured.
        left_out: columns, and kernels as ``COLUMN KERNEL``, that the budget left out.
    """
    tonight = {series.place for series in night.series}
    if night.last is None:
        return []
    groups: dict[str, dict[Place, str]] = defaultdict(dict)
    for place in before.values():
        if place not in tonight and not {place.column, f"{place.column} {place.kernel}"} & set(left_out):
            groups[place.column][place] = _why_missing(night, place)
    name = night.runs[night.last].name
    return [
        Finding(kind=FindingKind.MISSING, column=column, before=name, places=places)
        for column, places in groups.items()
    ]


def _why_missing(night: Night, place: Place) -> str:
    columns = {series.place.column: series.place.machine for series in night.series}
    machine = columns.get(place.column)
    if machine is None:
        return "Its column is not among those of tonight."
    if machine != place.machine:
        old, new = json.loads(place.machine), json.loads(machine)
        changed = [f"{key} {old.get(key)} to {new.get(key)}" for key in new if old.get(key) != new.get(key)]
        return f"It was measured on another machine: {', '.join(changed)}."
    return "Its column is among those of tonight, but it was not measured."


def findings(night: Night) -> list[Finding]:
    """Return what changed tonight: one finding for each kind, column, and run that it is compared with."""
    groups: dict[tuple[FindingKind, str, int], dict[Place, str]] = defaultdict(dict)
    for series in night.series:
        found = _change(night, series)
        if found is not None:
            kind, before, sentence = found
            groups[kind, series.place.column, before.run][series.place] = sentence
    return [explained(night, kind, before, places) for (kind, _, before), places in groups.items()]


def _change(night: Night, series: Series) -> tuple[FindingKind, Cell, str] | None:
    """Return the kind of change of a cell, the earlier cell that shows it, and a sentence; None without one."""
    now = Status(series.tonight.status)
    if now in FAILS:
        return _new_failure(series)
    bits = _bits(night, series) if now in AGREES else None
    if bits and bits[0].alarm:
        return bits
    if now is Status.REPRODUCIBLE:
        return bits or _improved(series.earlier)
    if now in DIFFERS:
        return _newly_different(night, series)
    green = _last(series.earlier, Status.REPRODUCIBLE)
    return (_no_longer_green(night, series, green) if green else None) or bits


def _no_longer_green(night: Night, series: Series, green: Cell) -> tuple[FindingKind, Cell, str] | None:
    """Return what became of a cell that is reproducible no longer; None if that is known from earlier nights."""
    now, earlier = series.tonight.status, series.earlier
    seen = f"It was reproducible in run {night.runs[green.run].name}"
    if any(cell.status not in {Status.REPRODUCIBLE, *FAILS} for cell in earlier[-_RECENT:]):
        return None  # what was lost on one of the last nights is not lost again
    if now == Status.CONTROL_FAILED:
        return FindingKind.CONTROLS, green, f"{seen}; tonight a control failed."
    return FindingKind.EVIDENCE, green, f"{seen}; tonight it is {now}."


def _newly_different(night: Night, series: Series) -> tuple[FindingKind, Cell, str] | None:
    """Return what became of a cell whose samples differ tonight; None if that is known, or on its first night."""
    now, earlier = series.tonight.status, series.earlier
    if not earlier or _known_to_differ(night, series):
        return None
    green = _last(earlier, Status.REPRODUCIBLE)
    if green is None:
        last = _last(earlier, Status.INCONCLUSIVE) or earlier[-1]
        seen = f"It was {last.status} in run {night.runs[last.run].name}; no earlier night shows that its bits differ"
        return FindingKind.NONDETERMINISTIC, last, f"{seen}, but tonight it is {now}."
    nights = sum(cell.status == Status.REPRODUCIBLE for cell in earlier) - 1
    seen = f"It was reproducible in run {night.runs[green.run].name}{f' and {nights} earlier' if nights else ''}"
    return FindingKind.REGRESSED, green, f"{seen}; tonight it is {now}."


def _known_to_differ(night: Night, series: Series) -> bool:
    decisive = _in_same_environment(night, series, series.earlier) or series.earlier
    return any(cell.status in DIFFERS for cell in decisive)


def _in_same_environment(night: Night, series: Series, cells: Iterable[Cell]) -> list[Cell]:
    """Return the cells that were measured in the environment, and with the code, of tonight."""
    now, place = series.tonight, series.place
    facts = night.facts_of(now, place)
    return [cell for cell in cells if same_environment([night.facts_of(cell, place), facts], [cell.code, now.code])]


def _last(cells: tuple[Cell, ...], status: Status) -> Cell | None:
    return next((cell for cell in reversed(cells) if cell.status == status), None)


def _new_failure(series: Series) -> tuple[FindingKind, Cell, str] | None:
    """Return the failure of a cell that has not failed in this way before, but has run."""
    now = series.tonight.status
    ran = next((cell for cell in reversed(series.earlier) if cell.status in FROM_DIGESTS), None)
    if ran is None or any(cell.status == now for cell in series.earlier):
        return None
    what = "its column is" if now in OF_COLUMN else "it is"
    return FindingKind.FAILS, ran, f"It was {ran.status} before; tonight {what} {now}."


def _improved(earlier: tuple[Cell, ...]) -> tuple[FindingKind, Cell, str] | None:
    """Return the improvement of a cell that was known to differ."""
    last = next((cell for cell in reversed(earlier) if cell.status in DIFFERS | FAILS), None)
    if last is None or last is not earlier[-1]:
        return None
    return FindingKind.IMPROVED, last, f"It was {last.status} on the last night."


def _bits(night: Night, series: Series) -> tuple[FindingKind, Cell, str] | None:
    """Return the change of the bits of a cell whose samples agree tonight, as they did on the earlier nights.

    With the same environment the bits must be those of one of the earlier nights: a cell that changes between digests
    that are known raises one alarm for each of them, not one each night.
    """
    now = series.tonight
    known = [cell for cell in series.earlier if cell.status in AGREES and cell.digest]
    if not (known and now.digest) or _known_to_differ(night, series):
        return None
    locked = _in_same_environment(night, series, known)
    last = (locked or known)[-1]
    if now.digest in {cell.digest for cell in locked or [last]}:
        return None
    sentence = f"Digest {last.digest.hex()} in run {night.runs[last.run].name}, {now.digest.hex()} tonight."
    return (FindingKind.DIFFERENT_BITS if locked else FindingKind.BITS_CHANGED), last, sentence
