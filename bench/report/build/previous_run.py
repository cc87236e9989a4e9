"""Compare a run with the last run of its kind."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from bench.report.build.columns import labels_by_column
from bench.report.build.upgrade import compared, summary
from bench.report.formatting import clean, listed, moment
from bench.report.view import Since
from bench.verdict.comparison import Distances, Event, Side

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.verdict.results import RunResults

#: Facts that must be equal for two measurements of a column to be comparable.
_PLACE = ("device", "GPU", "host", "engine")
#: Changes of time, which include any drift of the machine.
_TIMES = frozenset({Event.SLOWER.value, Event.FASTER.value})
_NO_EARLIER_RUN = "There is no earlier run to compare with."
_OTHER_SUITE = (
    "The suite has changed between the runs: times are not compared, and bits only count as compared where they are "
    "equal and the kernel's own code is the same."
)


def since(results: RunResults, before: RunResults | None, notes: Sequence[str] = ()) -> Since:
    """Return what changed since ``before``, the last run of this kind.

    ``notes`` say why other earlier runs were not used.
    """
    texts = [clean(note) for note in notes]
    if before is None:
        return Since(sentence=_NO_EARLIER_RUN, notes=tuple(texts))
    known = Distances(before, results)
    ids = {column.id for column in before.info.columns}
    common = [column.id for column in results.info.columns if column.id in ids]
    pairs = [tuple(Side(results=run, column=column) for run in (before, results)) for column in common]
    other_places = {new.column: _other_place(old, new) for old, new in pairs}
    names = labels_by_column(results)
    upgrades = [
        dataclasses.replace(compared(old, new, known=known), label=names[new.column])
        for old, new in pairs
        if not other_places[new.column]
    ]
    texts += [f"{names[column]} is not compared: {reason}." for column, reason in other_places.items() if reason]
    texts += _added_and_removed(results, before)
    not_compared = sum(map(bool, other_places.values())) + len(ids ^ {column.id for column in results.info.columns})
    if results.info.suite_hash != before.info.suite_hash:
        texts.append(_OTHER_SUITE)
    texts += dict.fromkeys(one.note for one in upgrades if one.note and _TIMES & {event for event, _ in one.counts})
    changed = tuple(upgrade for upgrade in upgrades if upgrade.changed)
    return Since(
        run=clean(before.info.id),
        moment=moment(before.info.started),
        sentence=summary(upgrades, not_compared),
        notes=tuple(texts),
        upgrades=changed,
        quiet=not (changed or not_compared or any(upgrade.gone or upgrade.new for upgrade in upgrades)),
    )


def _other_place(before: Side, after: Side) -> str:
    """Return why a column of both runs is not compared, "" where it is.

    A column that was never measured does not report where it ran, so an unknown fact of it is no difference.
    """
    unmeasured = any(side.column in side.results.unmeasured for side in (before, after))
    facts = [(key, before.facts[key], after.facts[key]) for key in _PLACE]
    other = [key for key, old, new in facts if old != new and not (unmeasured and not (old and new))]
    if not other and before.machine != after.machine:
        other = ["host"]
    return f"it was measured with another {' and '.join(other)}" if other else ""


def _added_and_removed(results: RunResults, before: RunResults) -> list[str]:
    texts = []
    for word, newer, older in (("Added", results, before), ("Removed", before, results)):
        ids = {column.id for column in older.info.columns}
        names = [name for column, name in labels_by_column(newer).items() if column not in ids]
        if names:
            texts.append(f"{word} since then: {listed(names)}.")
    return texts
