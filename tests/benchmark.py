"""What the product costs, measured on this machine: ``nox -s self-benchmark``, or ``python -m tests.benchmark``.

Timing belongs here and in no test. One round of each kind is run in the venv engine, and what a profile costs is
projected from it by the plan's own numbers. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import lzma
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from tabulate import tabulate

from bench import report, verdict
from bench.engines.venv import VenvEngine
from bench.gpu.facts import Gpu, GpuInventory
from bench.plan import config, custom_kernels, planner
from bench.plan.devices import Devices
from bench.plan.planner import Selection
from bench.portable.value_limits import ValueLimits
from bench.report.build.page import build
from bench.report.html import render as html_render
from bench.store import run as store
from bench.suite import record
from bench.suite.digest import collect, digest, same_bits
from bench.suite.suite_hash import ROOT
from tests.screenshot import ARGUMENTS
from tests.unit.test_large_page import view_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.engines.base import Environment
    from bench.plan.planner import Plan
    from bench.plan.schedule import Round

T = TypeVar("T")

#: Budgets in seconds per column on two cores, and of one round of `standard`.
BUDGETS = {"quick": 90, "standard": 360, "nightly": 1800}
ROUND_BUDGET_S = 60


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description="What tfrepro costs on this machine.")
    parser.add_argument("--release", default="2.18.1", help="TensorFlow release to measure with (default: 2.18.1)")
    parser.add_argument("--profiles", default="quick,standard,nightly", help="profiles to project")
    parser.add_argument("--run", type=Path, help="a run folder: its size, and the time to evaluate and render it")
    parser.add_argument("--page", action="store_true", help="only the time to open and to filter pages in Chromium")
    options = parser.parse_args()
    if options.page:
        print(_pages(options.run or ROOT / "reports" / "sample"))
        return
    print(_planning())
    print(_hashing())
    if options.run:
        print(_reading(options.run))
    with tempfile.TemporaryDirectory(prefix="tfrepro-self-benchmark-") as folder:
        rounds = _Rounds(options.release, Path(folder))
        for profile in filter(None, options.profiles.split(",")):
            print(rounds.project(profile))


def _best(call: Callable[[], object], times: int = 5) -> float:
    """Least seconds of some calls: what the machine can do."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return min(taken)


def _planning() -> str:
    """A nightly plan of some 200 columns on six invented GPUs, preflight included."""
    gpus = tuple(
        Gpu(uuid=f"GPU-{number:08x}-0000", name="NVIDIA H100", capability=(9, 0), memory_mb=80_000)
        for number in range(6)
    )
    devices = Devices(kind="gpu", survey=GpuInventory(driver="550.54.15", cuda=12040, gpus=gpus), gpus=gpus)
    matrix, suite = config.load(ROOT / "matrix.toml"), custom_kernels.suite(())
    plan = planner.make(matrix, "nightly", Selection(), ROOT / "docker" / "locks", suite, devices)
    seconds = _best(lambda: planner.make(matrix, "nightly", Selection(), ROOT / "docker" / "locks", suite, devices))
    return f"planning and preflight of {len(plan.columns)} columns, {len(plan.rounds)} rounds: {seconds:.2f} s\n"


def _hashing() -> str:
    """40 MB as the suite meets them: hashed once, then compared with the first repeat's."""
    array = np.random.RandomState(0).standard_normal(10_000_000).astype("float32")
    one, two = collect({"x": array}), collect({"x": array.copy()})
    rows = [
        ("copy of 40 MB (memory speed)", _best(array.copy)),
        ("SHA-256 alone", _best(lambda: hashlib.sha256(array.data))),
        ("digest of a new value", _best(lambda: digest(one))),
        ("comparison with the first repetition", _best(lambda: same_bits(one, two))),
    ]
    shown = [(name, f"{seconds * 1000:.1f}", f"{0.04 / seconds:.1f}") for name, seconds in rows]
    return tabulate(shown, headers=["40 MB of float32", "ms", "GB/s"]) + "\n"


def _reading(folder: Path) -> str:
    run, seconds = _timed(lambda: store.load(folder))
    results, judging = _timed(lambda: verdict.evaluate(run))
    page, rendering = _timed(lambda: report.render(results, report.Format.HTML))
    sizes = {
        column.id: sum(file.stat().st_size for file in (folder / "records" / column.id).rglob("*.xz"))
        for column in run.info.columns
    }
    rows = [(f"records of {column}", f"{size / 1e6:.2f} MB") for column, size in sizes.items()]
    rows += [("load", f"{seconds:.1f} s"), ("evaluate", f"{judging:.1f} s")]
    rows += [("render HTML", f"{rendering:.1f} s"), ("page", f"{len(page.encode()) / 1e6:.2f} MB")]
    return tabulate(rows, headers=[folder.name, ""]) + "\n"


#: Milliseconds from the start of a page's navigation to the end of its load event.
_OPENED = "performance.getEntriesByType('navigation')[0].loadEventEnd"
#: Milliseconds from a text in the filter box to the new layout.
_FILTERED = """(text) => {
  const box = document.querySelector("#filter [name=q]");
  const start = performance.now();
  box.value = text;
  box.dispatchEvent(new Event("input", {bubbles: true}));
  document.body.getBoundingClientRect();
  return performance.now() - start;
}"""


def _pages(folder: Path) -> str:
    """Return the times of the page of a run and of an invented one, 40 columns x 105 kernels; the least of three."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only this measurement needs a browser

    views = {folder.name: build(verdict.evaluate(store.load(folder))), "40 x 105": view_of(40, 105)}
    rows = []
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as scratch:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(ARGUMENTS))
        for number, (name, view) in enumerate(views.items()):
            file = Path(scratch) / f"{number}.html"
            file.write_text(html_render.render(view), encoding="utf-8")
            taken = []
            for _ in range(3):
                tab = browser.new_page(viewport={"width": 1400, "height": 900})
                tab.goto(file.as_uri())
                first, cleared = tab.evaluate(_FILTERED, view.rows[0].kernel), tab.evaluate(_FILTERED, "")
                taken.append((tab.evaluate(_OPENED), first, cleared))
                tab.close()
            rows.append(
                [name, file.stat().st_size // 1000, *(f"{min(column):.0f}" for column in zip(*taken, strict=True))]
            )
        browser.close()
    return tabulate(rows, headers=["page", "kB", "open, ms", "filter, ms", "clear the filter, ms"]) + "\n"


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    return call(), time.perf_counter() - start


@dataclasses.dataclass(frozen=True)
class _Cost:
    """One round: seconds of wall time, of its kernels, of hashing, and bytes of its record."""

    wall: float
    kernels: float
    hashing: float
    record: int
    kept: int


class _Rounds:
    """Runs one round of each kind of a plan."""

    def __init__(self, release: str, folder: Path) -> None:
        self._release = release
        self._folder = folder
        self._engine = VenvEngine(ROOT)
        self._environment: Environment | None = None

    def project(self, profile: str) -> str:
        """What a profile costs in one column."""
        plan = self._plan(profile)
        keeper = ValueLimits()
        kinds: dict[tuple[str, str, bool], list[Round]] = {}
        for one in plan.rounds:
            kinds.setdefault((one.variation, one.mode, one.number == 1), []).append(one)
        rows, total, size = [], 0.0, 0
        for (variation, mode, first), members in kinds.items():
            cost = self._cost(members[0], plan, keeper)
            total += cost.wall * len(members)
            size += (cost.record + cost.kept // (1 if first else len(members))) * len(members)
            share = f"{cost.kernels / cost.wall:.0%}", f"{cost.hashing / cost.wall:.1%}"
            kind = f"{variation}, {mode}{', first' if first else ''}"
            rows.append([kind, len(members), f"{cost.wall:.1f}", *share, cost.record // 1000, cost.kept // 1000])
        headers = [profile, "rounds", "s a round", "kernels", "hashing", "record kB", "kept kB"]
        actual = (
            f"{profile}: {total:.0f} s a column (budget {BUDGETS.get(profile, 0)} s), {size / 1e6:.2f} MB of records"
        )
        if profile == "standard":
            worst = max(float(str(row[2])) for row in rows)
            actual += f"; its longest round {worst:.1f} s (budget {ROUND_BUDGET_S} s)"
        return f"{tabulate(rows, headers=headers)}\n{actual}\n"

    def _plan(self, profile: str) -> Plan:
        matrix = config.load(ROOT / "matrix.toml")
        selection = Selection(only=(f"tf{self._release}-cpu",))
        return planner.make(matrix, profile, selection, ROOT / "docker" / "locks", custom_kernels.suite(()))

    def _cost(self, one: Round, plan: Plan, keeper: ValueLimits) -> _Cost:
        if self._environment is None:
            self._environment = self._engine.prepare(one.column, self._folder / "build.log", print)
        request = one.request(plan.suite)
        lines: list[str] = []
        start = time.perf_counter()
        self._engine.execute(self._environment, request, lines.append, self._folder / "round.log")
        wall = time.perf_counter() - start
        found = record.parse(lines)
        group = (one.column.id, one.variation, one.mode)
        kept = [text for text in lines if '"line": "kept"' in text and _wanted(keeper, group, text)]
        rest = [text for text in lines if '"line": "kept"' not in text]
        return _Cost(
            wall=wall,
            kernels=sum(outcome.seconds for outcome in found.outcomes),
            hashing=sum(outcome.digest_s for outcome in found.outcomes),
            record=len(lzma.compress("".join(rest).encode(), preset=6)),
            kept=len(lzma.compress("".join(kept).encode(), preset=6)) if kept else 0,
        )


def _wanted(keeper: ValueLimits, group: tuple[str, str, str], text: str) -> bool:
    row = json.loads(text)
    return keeper.accepts(group, row["kernel"], row["digest"], len(text))


if __name__ == "__main__":
    main()
