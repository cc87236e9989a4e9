"""Reports of a run: one view model, and renderers for HTML, terminal, Markdown, JSON and JUnit."""

from __future__ import annotations

from bench.report.write import FORMATS, Format, Last, Pages, render

__all__ = ["FORMATS", "Format", "Last", "Pages", "render"]
