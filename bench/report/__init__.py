"""One view model and five renderers: HTML, terminal, Markdown, JSON, JUnit. Same content, order and words."""

from __future__ import annotations

from bench.report.write import FORMATS, Format, Last, Pages, render

__all__ = ["FORMATS", "Format", "Last", "Pages", "render"]
