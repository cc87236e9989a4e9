"""A badge for a README: how many kernels are reproducible with determinism on in the best column of a run."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.report.view import View

_LABEL = "bitwise reproducible with determinism on"
#: Pixels of a character, and of the space on both sides of a text.
_CHARACTER, _SPACE = 6.6, 12.0
_GREEN, _ORANGE, _GREY = "#1a7f5a", "#b34700", "#5b616b"


def render(view: View) -> str:
    """Return the badge as SVG: green only if every kernel is reproducible in that column."""
    under = "" if view.deciding_variation == "default" else f", {view.deciding_variation}"
    best = next((line for line in view.lines if line.rank), None)
    text = f"{best.reproducible} of {best.kernels}, {best.label}{under}" if best else "not measured"
    colour = _GREY if best is None else _GREEN if best.safe else _ORANGE
    left, right = (round(len(part) * _CHARACTER + _SPACE) for part in (_LABEL, text))
    texts = [(left / 2, _LABEL), (left + right / 2, text)]
    drawn = "".join(f'<text x="{x:g}" y="14" textLength="{len(t) * _CHARACTER:g}">{escape(t)}</text>' for x, t in texts)
    name = escape(f"{_LABEL}: {text}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" aria-label="{name}">'
        f'<title>{name}</title><rect width="{left}" height="20" fill="#33373d"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{colour}"/>'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">{drawn}</g>'
        "</svg>\n"
    )
