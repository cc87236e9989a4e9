"""The view as one HTML file: no network, complete without JavaScript, nothing from a record becomes markup."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from bench.report.text import seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Environment

    from bench.report.view import Detail, Half, Part, Row, View

#: Left and right end of the strip of times, in the units of its view box.
_LEFT, _RIGHT = 32, 280


@dataclass(frozen=True)
class Strip:
    """Times per process as positions on one common line, and the ends of that line."""

    condition: str
    off: tuple[int, ...]
    on: tuple[int, ...]
    low: str
    high: str


def render(view: View) -> str:
    """The page. Same view, same bytes."""
    environment = _environment()
    script = environment.get_template("script.js").render()
    by_kernel: list[list[Detail]] = [[one for one in view.details if one.index == row.index] for row in view.rows]
    return environment.get_template("page.html").render(
        view=view,
        by_kernel=by_kernel,
        words=sorted({word for row in view.rows for word in row.words}),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - start-up stays quick without it

    made = Environment(
        loader=PackageLoader("bench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["priced"] = priced
    made.filters["telling"] = telling
    made.filters["distinct"] = distinct
    return made


def strip(pair: Sequence[Part | None]) -> Strip | None:
    """Both modes' times on one line from the fastest to the slowest process; None where no price is stated."""
    off, on = pair
    if off is None or on is None or not off.times or not on.times or off.half.time_kind != on.half.time_kind:
        return None
    if on.half.price_data is None or not on.half.price_data.resolved:
        return None
    low, high = min(*off.times, *on.times), max(*off.times, *on.times)
    span = (high - low) or 1.0

    def place(time: float) -> int:
        return round(_LEFT + (_RIGHT - _LEFT) * (time - low) / span)

    return Strip(
        condition=on.condition,
        off=tuple(sorted(map(place, off.times))),
        on=tuple(sorted(map(place, on.times))),
        low=seconds(low),
        high=seconds(high),
    )


def priced(detail: Detail) -> Strip | None:
    """The strip of the first condition whose price is stated: one of each kind is enough to see what it rests on."""
    return next((plot for pair in detail.pairs if (plot := strip(pair))), None)


def telling(detail: Detail) -> bool:
    """Whether there is more to show of a detail than its table."""
    return bool(detail.notes or detail.processes) or priced(detail) is not None


def distinct(row: Row, mode: str) -> tuple[Half, ...]:
    """One half for each status a kernel has over all columns in one mode, in their order."""
    halves = (entry.off if mode == "off" else entry.on for entry in row.entries)
    return tuple({half.word: half for half in halves}.values())
