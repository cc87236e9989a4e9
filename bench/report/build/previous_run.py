"""What changed since the last run, for the first screen."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING

from bench.report.build.upgrade import by_column, compared
from bench.report.formatting import clean, listed, moment
from bench.report.view import Since
from bench.verdict.comparison import Distances, Event, Side
from bench.verdict.messages import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.report.view import Upgrade
    from bench.verdict.results import RunResults

#: Facts without which two measurements of one column are of two machines.
_PLACE = ("device", "GPU", "host", "engine")
#: Changes of time, of which a drift of the machine is a part.
_TIMES = frozenset({Event.SLOWER.value, Event.FASTER.value})
_NONE = "There is no earlier run to compare with."


def since(results: RunResults, before: RunResults | None, notes: Sequence[str] = ()) -> Since:
    """What changed since ``before``, the last run of this kind. ``notes`` say why other runs were passed over."""
    told = [clean(one) for one in notes]
    if before is None:
        return Since(run="", moment="", sentence=_NONE, notes=tuple(told), upgrades=())
    known = Distances(before, results)
    ids = {column.id for column in before.info.columns}
    common = [column.id for column in results.info.columns if column.id in ids]
    pairs = [tuple(Side(results=one, column=column) for one in (before, results)) for column in common]
    moved = {new.column: _other_place(old, new) for old, new in pairs}
    names = by_column(results)
    found = [
        dataclasses.replace(compared(old, new, known=known), label=names[new.column])
        for old, new in pairs
        if not moved[new.column]
    ]
    told += [f"{names[column]} is not compared: {why}." for column, why in moved.items() if why]
    told += _came_and_went(results, before)
    apart = sum(map(bool, moved.values())) + len(ids ^ {column.id for column in results.info.columns})
    if results.info.suite_hash != before.info.suite_hash:
        told.append(
            "The suite has changed between the runs: times are not compared, and bits are only where they are equal "
            "and the kernel's own code is the same."
        )
    told += dict.fromkeys(one.note for one in found if one.note and _TIMES & {event for event, _ in one.counts})
    changed = tuple(one for one in found if one.rows)
    return Since(
        run=clean(before.info.id),
        moment=moment(before.info.started),
        sentence=sentence(found, apart),
        notes=tuple(told),
        upgrades=changed,
        quiet=not (changed or apart or any(one.gone or one.new for one in found)),
    )


def sentence(found: Iterable[Upgrade], apart: int = 0) -> str:
    """All columns in one sentence: what happened, what is kept, and what nobody knows.

    ``apart`` columns came, went or cannot be compared.
    """
    every = list(found)
    results = sum(one.results for one in every)
    if not results:
        return "Nothing can be compared: the runs have no result in common."
    happened = sum(len(one.rows) for one in every)
    kept, so_far, as_before, unknown, gone, new = (
        sum(getattr(one, key) for one in every) for key in ("kept", "so_far", "as_before", "unknown", "gone", "new")
    )
    whole = f"{kept} of {count(results, 'result')} keep status and bits"
    others = [
        f"{number} {words}"
        for number, words in (
            (so_far, "have the same bits so far, on weak evidence"),
            (as_before, "still vary, raise or fail"),
            (unknown, "cannot be compared"),
            (gone, "are gone"),
            (new, "are new"),
        )
        if number
    ]
    others += [f"{count(apart, 'column')} not compared"] if apart else []
    if happened:
        counts: Counter[str] = Counter()
        for one in every:
            counts.update({event: number for event, number in one.counts if event not in ("gone", "new")})
        head = f"{count(happened, 'result')} changed ({', '.join(f'{word} {n}' for word, n in counts.items())})"
    elif unknown == results:
        return f"Nothing is known: none of {count(results, 'result')} can be compared."
    else:
        head = "No change was seen" if others else "Nothing changed"
    return f"{head}: {'; '.join([whole, *others])}."


def _other_place(before: Side, after: Side) -> str:
    """Why a column of both runs is not compared, "" where it is; what was never measured cannot say where."""
    silent = any(side.column in side.results.unmeasured for side in (before, after))
    facts = [(key, before.facts[key], after.facts[key]) for key in _PLACE]
    other = [key for key, old, new in facts if old != new and not (silent and not (old and new))]
    if not other and before.machine != after.machine:
        other = ["host"]
    return f"it was measured with another {' and '.join(other)}" if other else ""


def _came_and_went(results: RunResults, before: RunResults) -> list[str]:
    told = []
    for word, here, there in (("New", results, before), ("Gone", before, results)):
        ids = {column.id for column in there.info.columns}
        names = [name for column, name in by_column(here).items() if column not in ids]
        if names:
            told.append(f"{word} since then: {listed(names)}.")
    return told
