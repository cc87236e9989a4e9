"""The view as one HTML file: no network, complete without JavaScript, nothing from a record becomes markup."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

from markupsafe import Markup

from bench.report.build.charts import small
from bench.report.build.kernel_table import Depth, common, depth, locks, sheets
from bench.report.build.versions import versions
from bench.report.labels import EVENTS
from bench.verdict.evidence import percent_up

if TYPE_CHECKING:
    from jinja2 import Environment

    from bench.report.view import ModeResult, Row, View

#: The script, in the order in which its parts need each other.
_SCRIPTS = ("numbers.js", "change.js", "choose.js", "script.js", "panels.js")
#: Pairs of the ranking that are always to be seen.
_BEST = 5
#: What may become a link: of a source nothing else than a plain https address.
_SOURCE = re.compile(r"(Source: )(https://[!#-;=?-~]+?)(\.?)")


def render(view: View, data: str = "{}") -> str:
    """The page. ``data`` is the JSON for its script (``script_data.document``)."""
    environment = _environment()
    script = _script(environment)
    room, told = depth(view), sheets(view)
    return environment.get_template("page.html").render(
        view=view,
        sheets=told,
        common=None if room is Depth.FULL else common(told),
        bounds=bounds(view),
        usual=usual(view) if room is Depth.BARE else "",
        locks=() if room is Depth.FULL else locks(view),
        short=room is not Depth.FULL,
        bare=room is Depth.BARE,
        best=len(view.lines) if len(view.lines) <= _BEST + 1 else _BEST,
        versions=versions(view.environments),
        spoken={one.column: one.anchor for one in view.environments},
        words=sorted({word for row in view.rows for word in row.words}),
        data=Markup(data),  # noqa: S704 - JSON without <, > and &
        script=Markup(script),  # noqa: S704 - our own files
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )


def _script(environment: Environment) -> str:
    """All files as one script without indents and comments, which makes it a third smaller."""
    lines = [line.strip() for name in _SCRIPTS for line in _source(environment, name).splitlines()]
    told = "\n".join(line for line in lines if line and not line.startswith("//"))
    return f'"use strict";\n{{\n{told}\n}}'


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None  # noqa: S101 - made below, with one
    return environment.loader.get_source(environment, name)[0]


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - start-up stays quick without it

    made = Environment(
        loader=PackageLoader("bench.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["events"] = {event.value: mark for event, mark in EVENTS.items()}
    made.filters["small"] = small
    made.filters["brief"] = brief
    made.filters["cited"] = cited
    made.filters["distinct"] = distinct
    return made


def brief(half: ModeResult) -> str:
    """The strength in little room: ``0/4``. Its bound stands above the matrix."""
    if half.strength == half.error_class:
        return half.strength
    return half.strength.partition(", ≤")[0].replace(" of ", "/").removesuffix(" differed")


def bounds(view: View) -> tuple[tuple[int, int], ...]:
    """What the strengths in the matrix are worth: of how many comparisons none differed, and the bound in percent."""
    found = {
        (half.compared, percent_up(half.bound))
        for row in view.rows
        for sub in row.results
        for entry in sub.entries
        for half in entry.halves
        if half.bound is not None and not half.differed and not half.differ_within
    }
    return tuple(sorted(found))


def usual(view: View) -> str:
    """The strength behind most that is exact: a very large page says it once."""
    halves = (half for row in view.rows for entry in row.entries for half in entry.halves if half.tone == "good")
    return next((text for text, _ in Counter(map(brief, halves)).most_common(1)), "")


def cited(sentence: str) -> tuple[str, str, str]:
    """A sentence before, of and after the address it names as its source: only that may be a link."""
    found = _SOURCE.fullmatch(sentence)
    return (found[1], found[2], found[3]) if found else (sentence, "", "")


def distinct(row: Row, mode: str) -> tuple[ModeResult, ...]:
    """One half for each status a kernel has over all columns in one mode, in their order."""
    halves = (entry.off if mode == "off" else entry.on for entry in row.entries)
    return tuple({half.word: half for half in halves}.values())
