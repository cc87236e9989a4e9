"""What ``compare`` prints for two variations or two kernels of a run: how far graph, eager and XLA agree."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bench.report.build.executions import executions
from bench.report.commands.compare import SCHEMA, Format
from bench.report.json import render as json_render
from bench.report.text.layout import WIDTH, wrapped
from bench.report.text.markdown import plain

if TYPE_CHECKING:
    from bench.report.view import ExecutionRow, Executions

__all__ = ["executions", "findings", "render"]

_HEADS = ("Column", "Determinism", "First", "Other", "Agreement", "Against float64")


def render(found: Executions, form: Format, width: int = WIDTH) -> str:
    """Return the comparisons in one format; ``width`` is that of a terminal."""
    if form is Format.JSON:
        document = {"schema": SCHEMA, **json_render.data(found)}
        return json.dumps(document, indent=1, ensure_ascii=True, allow_nan=False) + "\n"
    if form is Format.MARKDOWN:
        rows = [_HEADS, ["---"] * len(_HEADS), *(map(plain, _cells(row)) for row in found.rows)]
        return "\n".join([f"**{plain(found.sentence)}**", "", *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"
    lines = [wrapped(found.sentence, width)]
    for row in found.rows:
        where = f"- {row.first}, {row.other}: {row.column}, determinism {row.mode}"
        lines += [wrapped(where, width, "    "), wrapped(f"    {_text(row)}", width, "      ")]
    return "\n".join(lines) + "\n"


def findings(found: Executions) -> tuple[str, ...]:
    """Return one sentence for each comparison whose bits differ, for the gate ``bits-changed``."""
    return tuple(
        f"bits-changed: {row.first}, {row.other} ({row.column}, {row.mode}): {row.agreement}"
        for row in found.rows
        if row.ulps != 0 and not row.agreement.startswith("not compared")
    )


def _text(row: ExecutionRow) -> str:
    return "; ".join(filter(None, (row.agreement, row.wrong)))


def _cells(row: ExecutionRow) -> tuple[str, ...]:
    return row.column, row.mode, row.first, row.other, row.agreement, row.wrong
