"""Render a run in every format, and write the files: the only module of the report that does I/O."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bench.errors import StorageError
from bench.regular_file import open_regular
from bench.report.build.page import build
from bench.report.html import large
from bench.report.html import render as html_render
from bench.report.json import render as json_render
from bench.report.text import badge, job_summary, junit, markdown, summary, terminal
from bench.store.read_record import paused_garbage_collection
from bench.store.run_folder import unwritable, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
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


#: Bytes at the start of a file with evidence that contain its mark.
_HEAD_BYTES = 2000
#: Bytes of a page that is written as one file; a larger one has its evidence in files beside it.
MOST_BYTES = 10_000_000


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
    """An evaluated run as people read it; its view is made once, whatever it is rendered as.

    ``files`` counts the files with evidence that ``write`` has put beside the page, because it was too large.
    """

    def __init__(self, results: RunResults, before: Last = _NO_LAST, history: str = "") -> None:
        with paused_garbage_collection():
            self.view = build(results, before.results, before.notes, history)
        self.files = 0

    def render(self, form: Format) -> str:
        """Return one format."""
        return RENDERERS[form](self.view)

    def terminal(self, page: Path, width: int, *, full: bool = False, colour: bool = False) -> str:
        """Return what is printed after a run: a summary that names its ``page``, or everything."""
        if full:
            beside = f"{summary.beside(self.files)}\n" if self.files else ""
            return f"{terminal.render(self.view, width)}\nPage: {page}\n{beside}"
        return summary.render(self.view, page, width, colour=colour, files=self.files)

    def write(self, folder: Path, forms: Iterable[Format]) -> None:
        """Write several formats under their usual names, each file whole or not at all.

        Raises:
            StorageError: a file could not be written, or the page of somebody else would be lost.
        """
        refuse_foreign_page(folder)
        with paused_garbage_collection():
            for form in forms:
                if form is Format.HTML:
                    self._write_page(folder)
                else:
                    write_atomic(folder / FORMATS[form], self.render(form))

    def _write_page(self, folder: Path) -> None:
        """Write the page as one file, or as a summary with the evidence in files beside it."""
        text, beside = html_render.render_up_to(self.view, MOST_BYTES), folder / large.FOLDER
        written: set[str] = set()
        if text is None:
            for name, evidence in large.details(self.view):
                write_atomic(beside / name, evidence)
                written.add(name)
            text = large.summary(self.view, MOST_BYTES)
        write_atomic(folder / FORMATS[Format.HTML], text)
        self.files = len(written)
        _remove_others(beside, written)


def refuse_foreign_page(folder: Path) -> None:
    """Raise StorageError where a folder has an ``index.html`` that this project did not write."""
    page = folder / FORMATS[Format.HTML]
    try:
        with open_regular(page) as stream:
            foreign = b"tfrepro" not in stream.read(_HEAD_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        raise unwritable(page, error) from error
    if foreign:
        raise StorageError(
            f"{page} was not written by tfrepro, and would be lost.", "Use another folder: --reports DIR."
        )


def _remove_others(folder: Path, keep: Collection[str]) -> None:
    """Remove files with evidence of an earlier page; whatever else is in the folder stays.

    Raises:
        StorageError: one could not be removed.
    """
    for path in sorted(folder.glob(large.NAMES)):
        try:
            if path.name not in keep and path.is_file() and not path.is_symlink() and _is_ours(path):
                path.unlink()
        except OSError as error:
            raise unwritable(path, error) from error
    if not keep:
        with suppress(OSError):  # it has other files, or does not exist
            folder.rmdir()


def _is_ours(path: Path) -> bool:
    """Return whether a file with evidence was written by this project, which its head says."""
    with path.open("rb") as stream:
        return large.MARK.encode() in stream.read(_HEAD_BYTES)


def render(results: RunResults, form: Format, *, before: Last = _NO_LAST) -> str:
    """Return an evaluated run in one format."""
    return Pages(results, before).render(form)
