"""Render the view as one HTML file: no network, complete without JavaScript, and no markup from records."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from bench.report.build.kernel_table import DetailLevel, common, depth, kernel_tables, locks
from bench.report.build.page_data import ALL_PAIRS_LIMIT, script_data
from bench.report.build.versions import versions
from bench.report.html.charts import (
    NARROW,
    NARROW_PLOT,
    WIDE,
    WIDE_PLOT,
    heat_map_layout,
    interval_mark,
    interval_plot_layout,
    sample_paths,
)
from bench.report.html.curves import curves_layout
from bench.report.labels import EVENTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jinja2 import Environment

    from bench.report.view import ModeResult, View

#: The files of the script, in the order in which they use each other.
SCRIPTS = (
    "data.js", "helpers.js", "matrix.js", "keyboard.js", "copy.js", "charts.js", "choose.js", "address.js", "theme.js",
    "page.js",
)  # fmt: skip
#: Bytes that a page has at least for each tile of its two heat maps.
_BYTES_OF_TILE = 150
#: The only text from a source that may become a link: a plain https address.
_SOURCE = re.compile(r"(Source: )(https://[!#-;=?-~]+?)(\.?)")


def render(view: View) -> str:
    """Return the page. The same view gives the same bytes."""
    return templates().get_template("page.html").render(page_values(view))


def render_up_to(view: View, most: int) -> str | None:
    """Return the page, None where it has more than ``most`` bytes; then most of it is never rendered."""
    if _BYTES_OF_TILE * sum(len(line.tiles) for line in view.heat_map.lines) > most:
        return None
    pieces: list[str] = []
    size = 0
    for piece in templates().get_template("page.html").generate(page_values(view)):
        pieces.append(piece)
        size += len(piece.encode("utf-8"))
        if size > most:
            return None
    return "".join(pieces)


def page_values(view: View, *, charts: bool = True) -> dict[str, Any]:
    """Return what the template of a page needs, with or without its charts."""
    level, tables = depth(view), kernel_tables(view)
    return {
        **shared_values(view, SCRIPTS),
        "heat_maps": tuple(heat_map_layout(view.heat_map, width) for width in (WIDE, NARROW) if charts),
        "tables": tables,
        "common": None if level is DetailLevel.FULL else common(tables),
        "locks": () if level is DetailLevel.FULL else locks(view),
        "short": level is not DetailLevel.FULL,
        "words": sorted({word for row in view.rows for word in row.words}),
        "data": Markup(_json(view)),  # noqa: S704 - JSON without <, > and &
    }


def shared_values(view: View, scripts: Iterable[str]) -> dict[str, Any]:
    """Return what every page needs, with or without a matrix. ``link`` is what precedes an anchor in an address."""
    return {
        "view": view,
        "link": "#",
        "bare": depth(view) is DetailLevel.BARE,
        "versions": versions(view.environments),
        "anchors": {environment.column: environment.anchor for environment in view.environments},
        "comparisons": view.comparisons,
        "all_pairs_limit": ALL_PAIRS_LIMIT,
        "rankings": view.rankings,
        "other_variations": tuple(dict.fromkeys(one.variation for row in view.rows for one in row.results[1:])),
        **script_values(scripts),
    }


def _json(view: View) -> str:
    """Return the script's data as JSON that is safe inside a ``script`` element: ASCII, without ``<``, ``>``, ``&``."""
    text = json.dumps(script_data(view), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def script_values(names: Iterable[str]) -> dict[str, Any]:
    """Return script files as one block, so that none of their names becomes global, with its hash for the policy."""
    environment = templates()
    loader = environment.loader
    assert loader is not None  # noqa: S101 - set in templates
    sources = (loader.get_source(environment, name)[0] for name in names)
    script = '"use strict";\n{\n' + "\n".join(sources) + "\n}"
    return {
        "script": Markup(script),  # noqa: S704 - our own files
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    }


@lru_cache(maxsize=1)
def templates() -> Environment:
    """Return Jinja's environment for all pages: everything is escaped, and nothing may be undefined."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - start-up stays quick without it

    environment = Environment(
        loader=PackageLoader("bench.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["event_marks"] = {event.value: mark for event, mark in EVENTS.items()}
    environment.filters["interval_plot_layouts"] = lambda plot: [
        interval_plot_layout(plot, width) for width in (WIDE_PLOT, NARROW_PLOT)
    ]
    environment.filters["curves_layout"] = curves_layout
    environment.filters["interval_mark"] = interval_mark
    environment.filters["sample_paths"] = sample_paths
    environment.filters["result_text"] = result_text
    environment.filters["split_source"] = split_source
    return environment


def result_text(result: ModeResult) -> str:
    """Return the evidence, the difference, the time and the overhead of a result in one line."""
    return "; ".join(filter(None, (result.evidence_text, result.distance_text, result.time, result.overhead)))


def split_source(sentence: str) -> tuple[str, str, str]:
    """Return a sentence split before and after the address that it gives as its source; only that becomes a link."""
    match = _SOURCE.fullmatch(sentence)
    return (match[1], match[2], match[3]) if match else (sentence, "", "")
