"""Pages that several browser tests open, each rendered once."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.report.build.page import build
from bench.report.html import render as html_render
from bench.verdict import evaluate
from tests.unit import factory, shipped_sample
from tests.unit.factory import Behaviour

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from bench.store.run import Run

ROOT = Path(__file__).parents[2]
#: Seconds that a page gets to do what a test waits for.
WAIT_S = 20.0


def wait_until(page: Page, expression: str, argument: Any = None) -> None:
    """Wait until a JavaScript expression is true; fails after ``WAIT_S``.

    Playwright's ``wait_for_function`` evaluates inside the page, which the page's Content Security Policy forbids.
    """
    end = time.monotonic() + WAIT_S
    while not page.evaluate(expression, argument):
        assert time.monotonic() < end, f"{expression} stays false"
        page.wait_for_timeout(50)


def several() -> Run:
    """Columns with every kind of change: moved bits, times, errors, other alphabets, another Keras, another device."""
    columns = (
        factory.column("2.15.1"),
        factory.column("2.18.1"),
        factory.column("2.18.1", "12.5"),
        factory.column("2.21.0", "12.5"),
        factory.column("2.20.0", status="incompatible", reason="this host has no GPU"),
    )
    kernels = (
        *(factory.kernel(f"kernel_{number}", ("linalg", "convolutions")[number % 2]) for number in range(9)),
        factory.kernel("fit", "training", portable=False),
        *factory.GRADED,
    )
    variations = {"default": (), "threads=1": ("kernel_0", "kernel_3")}  # timed, too
    return factory.run(
        factory.info(columns=columns, kernels=kernels, rounds=6, repetitions=5, variations=variations), _behave
    )


def _behave(seen: Any) -> Behaviour:  # noqa: PLR0911 - one kernel after the other
    if seen.kernel.startswith("control"):
        return factory.EXACT
    number = int(seen.kernel[-1]) if seen.kernel[-1].isdigit() else 9
    later, gpu = "2.15.1" not in seen.column, "cuda" in seen.column
    slow = 1.4 if seen.mode == "on" and number % 2 else 1.0
    time = 0.001 * (number + 1) * slow * (1 + seen.round / 40) * (1.3 if later and number in (1, 2) else 1)
    if seen.variation != "default" and seen.mode == "on":
        time *= 5
    steady = (time,) if number != 3 else (time * (1 + seen.round % 2),)
    if number == 4 and seen.mode == "on" and later:
        return Behaviour(outcome="error", error_class="UnimplementedError", message="no deterministic kernel")
    if number == 5 and gpu and seen.mode == "off":
        return Behaviour(tuple(f"r{seen.round}{one}" for one in range(3)), steady_s=steady)
    if number == 6 and gpu:
        return Behaviour((f"p{seen.round % 2}",), steady_s=steady)
    if number == 7 and "2.21" in seen.column:
        return Behaviour(outcome="crashed")
    if number in (0, 8) and later:
        return Behaviour((f"moved{gpu}",), steady_s=steady)
    return Behaviour((f"same{seen.mode if number == 2 else ''}",), steady_s=steady)


@cache
def page(name: str) -> str:
    """Return the page of the shipped ``sample``, or of ``several``."""
    return html_render.render(shipped_sample.view() if name == "sample" else build(evaluate(several())))
