"""Collect how far digest groups are apart, so that report.json states each distance once per kernel."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from bench.report.view import GroupDistance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.report.view import Detail, Family, Row, Upgrade
    from bench.verdict.difference_types import Difference

    Distances = dict[int, dict[tuple[str, str], Difference]]


def with_distances(
    families: Sequence[Family], details: Sequence[Detail], upgrades: Sequence[Upgrade]
) -> tuple[tuple[Family, ...], tuple[Upgrade, ...]]:
    """Move the differences between digest groups from the changes of details and the rows of upgrades to the kernels.

    Both sides of such a difference are results of this run with a letter each.
    """
    distances: Distances = {}
    rows = [row for family in families for row in family.rows]
    for row, detail in _pairs(rows, details):
        place = next(number for number, entry in enumerate(row.entries) if entry.anchor == detail.anchor)
        cells = {sub.variation: sub.entries[place] for sub in row.results}
        for change in detail.changes:
            cell = cells[change.variation]
            distances.setdefault(row.index, {})[cell.off.letters, cell.on.letters] = change.difference
    index = {row.kernel: row.index for row in reversed(rows)}
    for upgrade in upgrades:
        for result in upgrade.rows:
            if result.difference and result.before and result.after:
                key = (result.before.letters, result.after.letters)
                distances.setdefault(index[result.kernel], {})[key] = result.difference
    return (
        tuple(
            dataclasses.replace(family, rows=tuple(_with_distances(row, distances) for row in family.rows))
            for family in families
        ),
        tuple(
            dataclasses.replace(
                upgrade, rows=tuple(dataclasses.replace(result, difference=None) for result in upgrade.rows)
            )
            for upgrade in upgrades
        ),
    )


def _pairs(rows: Sequence[Row], details: Sequence[Detail]) -> list[tuple[Row, Detail]]:
    by_index = {row.index: row for row in rows}
    return [(by_index[detail.index], detail) for detail in details if detail.changes]


def _with_distances(row: Row, distances: Distances) -> Row:
    groups = tuple(
        GroupDistance(before=before, after=after, difference=difference)
        for (before, after), difference in sorted(distances.get(row.index, {}).items(), key=lambda item: item[0])
    )
    return dataclasses.replace(row, distances=groups)
