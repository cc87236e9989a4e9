"""The Python API: load a run and get its results as typed objects or as a flat table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import NothingError
from bench.store import find_run
from bench.store import run as store
from bench.verdict import evaluate
from bench.verdict.digest_comparison import Comparison

if TYPE_CHECKING:
    from bench.verdict import RunResults, Verdict


@dataclass(frozen=True, kw_only=True)
class Row:
    """One kernel in one column, variation and mode.

    ``compared`` counts fresh processes compared with the first one, and ``bound`` is the share of processes that may
    differ at most, at 95 % confidence. ``digest`` is None unless all samples have the same bits. ``median_seconds`` is
    the median over processes. ``overhead`` is the ratio of the time on to off over pairs of processes, the same in both
    rows of a kernel; ``significant`` says whether its interval excludes 1, corrected for all ratios of the run. Unknown
    values are None.
    """

    column: str
    kernel: str
    family: str
    variation: str
    mode: str
    status: str
    reason: str
    compared: int
    bound: float | None
    digest: str | None
    median_seconds: float | None
    overhead: float | None
    overhead_low: float | None
    overhead_high: float | None
    significant: bool | None


@dataclass(frozen=True, kw_only=True)
class Results:
    """The evaluated results of one run. ``evaluated`` has everything that the pages are made from."""

    folder: Path
    run_id: str
    evaluated: RunResults
    rows: tuple[Row, ...]

    def table(self) -> list[dict[str, Any]]:
        """Return one plain dictionary for each row, for instance for ``pandas.DataFrame``."""
        return [asdict(row) for row in self.rows]


def load(run: str | Path = "", *, reports: str | Path = "reports", controls: bool = False) -> Results:
    """Load and evaluate a run.

    Args:
        run: the folder or the id of a run; empty for the newest run in ``reports``.
        reports: the folder that contains ``runs/``; ids are looked up there.
        controls: include the control kernels.

    Raises:
        NothingError: there is no such run.
        StorageError: the run cannot be read.
    """
    if run and find_run.named(Path(reports), run) is None:
        raise NothingError(
            f"There is no run {str(run)!r}.", f"Give a folder with a run.json, or an id in {reports}/runs."
        )
    folder = find_run.chosen(Path(reports), Path(run) if run else None)
    evaluated = evaluate(store.load(folder))
    families = {kernel.name: kernel.family for kernel in evaluated.info.kernels}
    rows = tuple(
        _row(evaluated, verdict, families.get(verdict.kernel, ""))
        for verdict in evaluated.verdicts
        if controls or not verdict.control
    )
    return Results(folder=folder, run_id=evaluated.info.id, evaluated=evaluated, rows=rows)


def _row(evaluated: RunResults, verdict: Verdict, family: str) -> Row:
    overhead = evaluated.overheads.get((verdict.column, verdict.kernel, verdict.variation))
    # an invalid measurement ran something else: its numbers are not shown
    comparison = Comparison() if verdict.invalid else verdict.comparison
    return Row(
        column=verdict.column,
        kernel=verdict.kernel,
        family=family,
        variation=verdict.variation,
        mode=verdict.mode,
        status=verdict.status.value,
        reason=verdict.why,
        compared=comparison.compared,
        bound=comparison.bound if comparison.compared else None,
        digest=comparison.digests[0][0] if len(comparison.digests) == 1 else None,
        median_seconds=verdict.timing.median_s if verdict.timing else None,
        overhead=overhead.ratio if overhead else None,
        overhead_low=overhead.low if overhead else None,
        overhead_high=overhead.high if overhead else None,
        significant=overhead.significant if overhead else None,
    )
