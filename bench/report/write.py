"""The door of the report: render a run, and write what was rendered. The only I/O of this room."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bench.report import html, jsonout, junit, markdown, terminal
from bench.report.build import build
from bench.store.folder import write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.report.view import View
    from bench.verdict import Judgement


class Format(StrEnum):
    """What a run can be rendered as."""

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
    """The last run of a kind, judged, None where there is none; ``notes`` say why others were passed over."""

    judgement: Judgement | None = None
    notes: tuple[str, ...] = ()


_NO_LAST = Last()


def render(judgement: Judgement, form: Format, *, width: int = terminal.WIDTH, before: Last = _NO_LAST) -> str:
    """A judged run in one format. ``width`` is the terminal's, in characters."""
    return _rendered(build(judgement, before.judgement, before.notes), form, width)


def write(judgement: Judgement, targets: Mapping[Format, Path], *, before: Last = _NO_LAST) -> tuple[Path, ...]:
    """Write a judged run in several formats, each file whole or not at all; the files written.

    Raises:
        StorageError: a file could not be written.
    """
    view = build(judgement, before.judgement, before.notes)
    for form, path in targets.items():
        write_atomic(path, _rendered(view, form, terminal.WIDTH))
    return tuple(targets.values())


def _rendered(view: View, form: Format, width: int) -> str:
    if form is Format.TERMINAL:
        return terminal.render(view, width)
    renderers = {
        Format.HTML: html.render,
        Format.MARKDOWN: markdown.render,
        Format.JSON: jsonout.render,
        Format.JUNIT: junit.render,
    }
    return renderers[form](view)
