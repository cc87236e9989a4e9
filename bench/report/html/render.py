"""Render the view as one HTML file: no network, complete without JavaScript, and no markup from records."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

from markupsafe import Markup

from bench.report.build.charts import small
from bench.report.build.kernel_table import DetailLevel, common, depth, locks, sheets
from bench.report.build.page_data import ALL_PAIRS_LIMIT, script_data
from bench.report.build.versions import versions
from bench.report.labels import EVENTS
from bench.verdict.evidence import percent_up

if TYPE_CHECKING:
    from jinja2 import Environment

    from bench.report.view import ModeResult, Row, View

#: The files of the script, in the order in which they use each other.
_SCRIPTS = ("matrix.js", "keyboard.js", "copy.js", "page.js")
#: Columns of the ranking that are visible without unfolding it.
_VISIBLE_RANKS = 5
#: Cells from which on the matrix has columns of one width, so that a browser lays out only the rows in view.
_MANY_CELLS = 800
#: The only text from a source that may become a link: a plain https address.
_SOURCE = re.compile(r"(Source: )(https://[!#-;=?-~]+?)(\.?)")


def render(view: View) -> str:
    """Return the page. The same view gives the same bytes."""
    environment = _environment()
    script = _script(environment)
    level, kernel_sheets = depth(view), sheets(view)
    return environment.get_template("page.html").render(
        view=view,
        sheets=kernel_sheets,
        common=None if level is DetailLevel.FULL else common(kernel_sheets),
        bounds=evidence_bounds(view),
        usual=usual_evidence(view) if level is DetailLevel.BARE else "",
        locks=() if level is DetailLevel.FULL else locks(view),
        short=level is not DetailLevel.FULL,
        bare=level is DetailLevel.BARE,
        many_cells=len(view.rows) * len(view.columns) > _MANY_CELLS,
        visible_ranks=len(view.lines) if len(view.lines) <= _VISIBLE_RANKS + 1 else _VISIBLE_RANKS,
        versions=versions(view.environments),
        anchors={environment.column: environment.anchor for environment in view.environments},
        words=sorted({word for row in view.rows for word in row.words}),
        comparisons=view.comparisons,
        all_pairs_limit=ALL_PAIRS_LIMIT,
        rankings=view.rankings,
        data=Markup(_json(view)),  # noqa: S704 - JSON without <, > and &
        script=Markup(script),  # noqa: S704 - our own files
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )


def _json(view: View) -> str:
    """Return the script's data as JSON that is safe inside a ``script`` element: ASCII, without ``<``, ``>``, ``&``."""
    text = json.dumps(script_data(view), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _script(environment: Environment) -> str:
    """Return all script files as one block, so that none of their names becomes global."""
    loader = environment.loader
    assert loader is not None  # noqa: S101 - set in _environment
    sources = (loader.get_source(environment, name)[0] for name in _SCRIPTS)
    return '"use strict";\n{\n' + "\n".join(sources) + "\n}"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - start-up stays quick without it

    environment = Environment(
        loader=PackageLoader("bench.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["event_marks"] = {event.value: mark for event, mark in EVENTS.items()}
    environment.filters["time_ticks"] = small
    environment.filters["short_evidence"] = short_evidence
    environment.filters["split_source"] = split_source
    environment.filters["distinct_statuses"] = distinct_statuses
    return environment


def short_evidence(result: ModeResult) -> str:
    """Return the evidence in few characters: ``0/4``. The lead of the matrix gives its bound."""
    if result.evidence_text == result.error_class:
        return result.evidence_text
    return result.evidence_text.partition(", ≤")[0].replace(" of ", "/").removesuffix(" differed")


def evidence_bounds(view: View) -> tuple[tuple[int, int], ...]:
    """Return every number of comparisons without a difference, and the bound in percent that follows from it."""
    bounds = {
        (result.compared, percent_up(result.bound))
        for row in view.rows
        for variation in row.results
        for cell in variation.entries
        for result in cell.mode_results
        if result.bound is not None and not result.differed and not result.differ_within
    }
    return tuple(sorted(bounds))


def usual_evidence(view: View) -> str:
    """Return the most frequent evidence of reproducible cells: a very large page states it once."""
    results = (
        result for row in view.rows for cell in row.entries for result in cell.mode_results if result.tone == "good"
    )
    return next((text for text, _ in Counter(map(short_evidence, results)).most_common(1)), "")


def split_source(sentence: str) -> tuple[str, str, str]:
    """Return a sentence split before and after the address that it gives as its source; only that becomes a link."""
    match = _SOURCE.fullmatch(sentence)
    return (match[1], match[2], match[3]) if match else (sentence, "", "")


def distinct_statuses(row: Row, mode: str) -> tuple[ModeResult, ...]:
    """Return one result for each status that a kernel has over all columns in one mode, in column order."""
    results = (cell.off if mode == "off" else cell.on for cell in row.entries)
    return tuple({result.word: result for result in results}.values())
