"""Render a run in any format, and write the files. Nothing else in this package does I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bench.report.build.page import build
from bench.report.html import render as html_render
from bench.report.html import script_data
from bench.report.json import render as json_render
from bench.report.text import junit, markdown, terminal
from bench.store.run_folder import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bench.verdict import RunResults


class Format(StrEnum):
    """The formats of a report."""

    HTML = "html"
    TERMINAL = "terminal"
    MARKDOWN = "markdown"
    JSON = "json"
    JUNIT = "junit"


#: The usual file name of each format.
FORMATS = {
    Format.HTML: "index.html",
    Format.TERMINAL: "report.txt",
    Format.MARKDOWN: "report.md",
    Format.JSON: "report.json",
    Format.JUNIT: "junit.xml",
}


@dataclass(frozen=True, kw_only=True)
class Last:
    """The evaluated last run of the same kind, None where there is none; ``notes`` say why others were not used."""

    results: RunResults | None = None
    notes: tuple[str, ...] = ()


_NO_LAST = Last()


class Pages:
    """An evaluated run as reports. The view is built once, whatever the formats."""

    def __init__(self, results: RunResults, before: Last = _NO_LAST) -> None:
        self.view = build(results, before.results, before.notes)
        self._results = results

    def render(self, form: Format, width: int = terminal.WIDTH) -> str:
        """Return the report in one format. ``width`` is the width of the terminal in characters."""
        if form is Format.TERMINAL:
            return terminal.render(self.view, width)
        if form is Format.HTML:
            return html_render.render(self.view, script_data.document(self.view, self._results))
        renderers = {Format.MARKDOWN: markdown.render, Format.JSON: json_render.render, Format.JUNIT: junit.render}
        return renderers[form](self.view)

    def write(self, folder: Path, forms: Iterable[Format]) -> None:
        """Write several formats under their usual names. Each file is written completely or not at all.

        Raises:
            StorageError: a file could not be written.
        """
        for form in forms:
            write_atomic(folder / FORMATS[form], self.render(form))


def render(results: RunResults, form: Format, *, before: Last = _NO_LAST) -> str:
    """Return the report of an evaluated run in one format."""
    return Pages(results, before).render(form)
