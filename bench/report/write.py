"""Render a run in every format, and write the files: the only module of the report that does I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bench.report.build.page import build
from bench.report.html import render as html_render
from bench.report.json import render as json_render
from bench.report.text import badge, job_summary, junit, markdown, summary, terminal
from bench.store.run_folder import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from bench.report.view import View
    from bench.verdict import RunResults


class Format(StrEnum):
    """What a run can be rendered as."""

    HTML = "html"
    TERMINAL = "terminal"
    MARKDOWN = "markdown"
    JSON = "json"
    JUNIT = "junit"
    JOB_SUMMARY = "job-summary"
    BADGE = "badge"


#: The usual file name of each format.
FORMATS = {
    Format.HTML: "index.html",
    Format.TERMINAL: "report.txt",
    Format.MARKDOWN: "report.md",
    Format.JSON: "report.json",
    Format.JUNIT: "junit.xml",
    Format.JOB_SUMMARY: "summary.md",
    Format.BADGE: "badge.svg",
}


@dataclass(frozen=True, kw_only=True)
class Last:
    """The last run of a kind, evaluated, None where there is none; ``notes`` say why others were passed over."""

    results: RunResults | None = None
    notes: tuple[str, ...] = ()


_NO_LAST = Last()


#: How each format is made of a view: all renderers have one interface and only lay out.
RENDERERS: Mapping[Format, Callable[[View], str]] = {
    Format.HTML: html_render.render,
    Format.TERMINAL: terminal.render,
    Format.MARKDOWN: markdown.render,
    Format.JSON: json_render.render,
    Format.JUNIT: junit.render,
    Format.JOB_SUMMARY: job_summary.render,
    Format.BADGE: badge.render,
}


class Pages:
    """An evaluated run as people read it; its view is made once, whatever it is rendered as."""

    def __init__(self, results: RunResults, before: Last = _NO_LAST, history: str = "") -> None:
        self.view = build(results, before.results, before.notes, history)

    def render(self, form: Format) -> str:
        """Return one format."""
        return RENDERERS[form](self.view)

    def terminal(self, page: Path, width: int, *, full: bool = False, colour: bool = False) -> str:
        """Return what is printed after a run: a summary that names its ``page``, or everything."""
        if full:
            return f"{terminal.render(self.view, width)}\nPage: {page}\n"
        return summary.render(self.view, page, width, colour=colour)

    def write(self, folder: Path, forms: Iterable[Format]) -> None:
        """Write several formats under their usual names, each file whole or not at all.

        Raises:
            StorageError: a file could not be written.
        """
        for form in forms:
            write_atomic(folder / FORMATS[form], self.render(form))


def render(results: RunResults, form: Format, *, before: Last = _NO_LAST) -> str:
    """Return an evaluated run in one format."""
    return Pages(results, before).render(form)
