"""``compare``: what changes from one column or run to another, with gates."""

from __future__ import annotations

import argparse
import difflib
import math
import shutil
import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from bench import errors, verdict
from bench.cli import options as shared
from bench.cli.command import Command
from bench.report.commands import compare as compare_report
from bench.report.commands import executions as execution_report
from bench.store import find_run as store_runs
from bench.store import run as store
from bench.store.previous_run import previous_run
from bench.suggest import nearest
from bench.verdict.comparison import Distances, Side

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bench.report.view import Comparison, Upgrade
    from bench.verdict.results import RunResults

LATEST, PREVIOUS = "latest", "previous"
#: Gates that apply where ``--fail-on`` is not given, with the factor of each.
DEFAULT_GATES = {"regressed": 1.0, "errors": 1.0, "failures": 1.0}
#: Suggestions for an unknown name.
_NEAR = 3


@dataclass(frozen=True)
class _Spec:
    """What A or B names: a run, and one of its columns or "" for all of them."""

    folder: Path
    column: str = ""


class _Runs:
    """Finds runs by folder or id, and reads and evaluates each once."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.reports: Path = options.reports
        self._given: Path | None = options.run_folder
        self._evaluated: dict[Path, RunResults] = {}

    @property
    def default(self) -> Path:
        """The run whose columns are compared where no run is named: that of ``--run``, or the newest."""
        return store_runs.chosen(self.reports, self._given)

    def previous(self) -> Path:
        """The run that the newest one is compared with on its page; raises NothingError if there is none."""
        newest = store_runs.chosen(self.reports, None)
        previous = previous_run(newest, self.evaluated(newest).info)
        if previous.folder is None:
            hint = "\n".join(previous.notes) or "Name a run by its id or folder."
            raise errors.NothingError(f"No complete run before {newest.name} shares a column with it.", hint)
        return previous.folder

    def folder(self, text: str) -> Path | None:
        """The run that a text names, or None."""
        if text in (LATEST, PREVIOUS):
            return store_runs.chosen(self.reports, None) if text == LATEST else self.previous()
        return store_runs.named(self.reports, text)

    def evaluated(self, folder: Path) -> RunResults:
        """The evaluated run of a folder; raises StorageError if it cannot be read."""
        path = folder.resolve()
        if path not in self._evaluated:
            self._evaluated[path] = verdict.evaluate(store.load(path))
        return self._evaluated[path]


def compare(options: argparse.Namespace) -> int:
    """Print what changes from A to B: two columns, two runs, two variations or two kernels; then check the gates."""
    runs = _Runs(options)
    if _are_executions(runs, options):
        return _executions(runs.evaluated(runs.default), options)
    sides = [_spec(runs, text) for text in (options.before, options.after)]
    if bool(sides[0].column) != bool(sides[1].column):
        raise errors.ConfigError(
            f"{options.before!r} and {options.after!r} are a run and a column.",
            "Name two runs or two columns; a column of another run is RUN:COLUMN.",
        )
    evaluated = [runs.evaluated(side.folder) for side in sides]
    _require_known_kernels(evaluated, options.kernels)
    removed: list[str] = []
    notes: list[str] = []
    if sides[0].column:
        pairs = [(sides[0].column, sides[1].column)]
    else:
        pairs, removed, notes = _columns(*evaluated)
    comparison = compare_report.comparison(
        options.before,
        options.after,
        list(_upgrades(evaluated, pairs, options)),
        notes + [f"Only before: {column}." for column in removed],
        len(notes) + len(removed),
    )
    width = shutil.get_terminal_size((80, 24)).columns
    print(compare_report.render(comparison, compare_report.Format(options.format), width), end="")
    return _check_gates(comparison, options, removed)


def _are_executions(runs: _Runs, options: argparse.Namespace) -> bool:
    """Whether A and B are two variations, or two kernels, of the run whose columns are compared."""
    names = (options.before, options.after)
    if any(":" in name or runs.folder(name) is not None for name in names):
        return False
    results = runs.evaluated(runs.default)
    kernels = {kernel.name for kernel in results.info.kernels if not kernel.control}
    return any(known.issuperset(names) for known in (set(results.variations), kernels))


def _executions(results: RunResults, options: argparse.Namespace) -> int:
    """Print how far two variations, or two kernels, agree within every column."""
    _require_known_kernels([results], options.kernels)
    modes = ("off", "on") if options.mode == "both" else (options.mode,)
    found = execution_report.executions(results, options.before, options.after, modes, options.kernels)
    width = shutil.get_terminal_size((80, 24)).columns
    print(execution_report.render(found, compare_report.Format(options.format), width), end="")
    failures = execution_report.findings(found) if "bits-changed" in options.fail_on else ()
    for message in failures:
        print(f"gate {message}", file=sys.stderr)
    if failures:
        return errors.GATE
    if not found.compared:
        raise errors.NothingError("Nothing could be compared, so no gate passed.", found.sentence)
    return errors.OK


def _upgrades(
    evaluated: Sequence[RunResults], pairs: Sequence[tuple[str, str]], options: argparse.Namespace
) -> Iterator[Upgrade]:
    distances = Distances(*evaluated)
    modes = ("off", "on") if options.mode == "both" else (options.mode,)
    for old, new in pairs:
        before, after = (
            Side(results=results, column=column) for results, column in zip(evaluated, (old, new), strict=True)
        )
        yield compare_report.compared(before, after, known=distances, modes=modes, kernels=options.kernels)


def _check_gates(comparison: Comparison, options: argparse.Namespace, removed: Sequence[str]) -> int:
    """Print what could not be compared and which gates failed; return the exit code.

    Raises:
        NothingError: nothing that a gate is about could be compared, so the gate did not pass.
    """
    for upgrade in comparison.upgrades:
        for text in compare_report.uncompared(upgrade):
            print(text, file=sys.stderr)
    failures = compare_report.findings(comparison, options.fail_on, removed)
    for message in failures:
        print(f"gate {message}", file=sys.stderr)
    if failures:
        return errors.GATE
    if not comparison.compared:
        unknown = any(upgrade.unknown for upgrade in comparison.upgrades)
        hint = "See the reasons above." if unknown else comparison.sentence
        raise errors.NothingError("Nothing could be compared, so no gate passed.", hint)
    unchecked = compare_report.undecided_gates(comparison, options.fail_on)
    if unchecked:
        message = f"Nothing that the gate {' and '.join(unchecked)} is about could be compared, so it did not pass."
        raise errors.NothingError(message, "See the reasons above.")
    return errors.OK


def _columns(before: RunResults, after: RunResults) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """The columns of both runs, those of the older run only, and notes on those of the newer run only."""
    old, new = ([column.id for column in results.info.columns] for results in (before, after))
    common = [(column, column) for column in new if column in old]
    notes = [f"Only after: {column}." for column in new if column not in old]
    return common, [column for column in old if column not in new], notes


def _spec(runs: _Runs, text: str) -> _Spec:
    """What A or B names.

    Raises:
        ConfigError: it names no run and no column, or more than one column.
    """
    folder = runs.folder(text)
    if folder is not None:
        return _Spec(folder)
    run, separator, column = text.rpartition(":")
    folder = runs.folder(run) if separator else None
    if folder is not None:
        return _Spec(folder, _column(column, runs, folder))
    return _Spec(runs.default, _column(text, runs, runs.default))


def _column(text: str, runs: _Runs, folder: Path) -> str:
    """The id of the one column that a text names: an id, an environment with or without the Python, or a pattern."""
    ids = [column.id for column in runs.evaluated(folder).info.columns]
    names = {column: {column, column.partition("@")[0], column.partition("-py")[0]} for column in ids}
    matches = [column for column in ids if text in names[column]]
    matches = matches or [column for column in ids if any(fnmatchcase(name, text) for name in names[column])]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise errors.ConfigError(f"{text!r} matches {len(matches)} columns.", f"Name one of: {', '.join(matches)}.")
    known = [
        *dict.fromkeys(name for column in ids for name in (column.partition("-py")[0], column)),
        *(run.name for run in store_runs.every(runs.reports)),
        LATEST,
        PREVIOUS,
    ]
    near = difflib.get_close_matches(text, known, _NEAR, 0.5)
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"The run has {', '.join(ids) or 'no column'}."
    raise errors.ConfigError(f"{text!r} is neither a column of run {folder.name} nor a run.", hint)


def _require_known_kernels(evaluated: Sequence[RunResults], patterns: Sequence[str]) -> None:
    """Raise ConfigError for a pattern that matches no kernel of either run."""
    names = list(
        dict.fromkeys(kernel.name for results in evaluated for kernel in results.info.kernels if not kernel.control)
    )
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = nearest(pattern, names)
            hint = f"Did you mean {near!r}?" if near else f"The kernels are {', '.join(names[:8]) or 'none'}, ..."
            raise errors.ConfigError(f"No kernel matches {pattern!r}.", hint)


def gates(text: str) -> dict[str, float]:
    """Parse ``--fail-on``: gates, each with its factor (1.0 where none is given).

    Raises:
        ArgumentTypeError: an unknown gate or an invalid factor.
    """
    if text.strip() == "none":
        return {}
    factors: dict[str, float] = {}
    for part in (part.strip() for part in text.split(",")):
        gate, separator, factor = part.partition(":")
        if gate not in compare_report.GATES or (separator and gate != "slower"):
            raise shared.unknown_gate(part, tuple(compare_report.GATES))
        factors[gate] = _factor(factor) if separator else 1.0
    return factors


def _factor(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 1):
        message = f"invalid factor {text!r}: slower:1.10 allows 10 % more time"
        raise argparse.ArgumentTypeError(message)
    return value


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("before", metavar="A", help="column, run, variation or kernel to start from")
    add("after", metavar="B", help="another one to compare with it")
    shared.add_run(parser)
    shared.add_reports(parser)
    shared.add_mode(parser)
    add("--kernels", type=shared.patterns, default=(), metavar="PATTERNS", help="only these: 'matmul*,reduce*'")
    add("--format", choices=list(compare_report.Format), default="terminal", help="output format (default: terminal)")
    default = ",".join(DEFAULT_GATES)
    known = ", ".join(compare_report.GATES)
    text = f"exit with 1 on: {known}, slower:1.10, or none (default: {default})"
    add("--fail-on", type=gates, default=DEFAULT_GATES, metavar="GATES", help=text)


COMMAND = Command(
    name="compare",
    summary="Show what changes from one column or run to another: bits, times and errors.",
    details="A and B are columns (tf2.15.1-cpu, an id, or a pattern that matches one), runs (a folder, an id, latest, "
    "previous), or RUN:COLUMN. Two variations (default eager=on) or two kernels of a run (softmax_xent "
    "softmax_xent_xla) are compared within each column: same bits, within how many ULP, or wrong against float64; the "
    "only gate that applies to them is bits-changed. Exit code 1: a gate failed; 3: no results for a gate could be "
    "compared.",
    example="nox -s compare -- tf2.15.1-cpu tf2.18.1-cpu --run reports/sample",
    add_arguments=_add_arguments,
    run=compare,
)
