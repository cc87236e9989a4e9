"""``compare``: from one column to another, or from one run to another, with a gate."""

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
from bench.report.build.upgrade import reasons_text
from bench.report.commands import compare as compare_report
from bench.store import find_run as store_runs
from bench.store import run as store
from bench.store.previous_run import before as run_before
from bench.verdict.comparison import Distances, Side

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bench.report.view import Comparison, Upgrade
    from bench.verdict.results import RunResults

LATEST, PREVIOUS = "latest", "previous"
#: What makes exit code 1 where nothing else is said.
USUAL = {"regressed": 1.0, "errors": 1.0, "failures": 1.0}
#: Suggestions for a name that is not known.
_NEAR = 3
#: Reasons that are named where results could not be compared.
_MOST_REASONS = 3


@dataclass(frozen=True)
class _Spec:
    """What A or B means: a run, and one of its columns or "" for all."""

    folder: Path
    column: str = ""


class _Runs:
    """Runs by folder or id, each read and evaluated once."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.reports: Path = options.reports
        self._given: Path | None = options.run_folder
        self._evaluated: dict[Path, RunResults] = {}

    @property
    def usual(self) -> Path:
        """The run whose columns are meant where none is named: the one given, or the newest."""
        return store_runs.chosen(self.reports, self._given)

    def previous(self) -> Path:
        """The run that ``latest`` is compared with on its page; raises NothingError where there is none."""
        newest = store_runs.chosen(self.reports, None)
        found = run_before(newest, self.evaluated(newest).info)
        if found.folder is None:
            hint = "\n".join(found.notes) or "Name a run by its id or folder."
            raise errors.NothingError(f"No finished run before {newest.name} shares a column with it.", hint)
        return found.folder

    def folder(self, text: str) -> Path | None:
        """The run that a text names, None where it names none."""
        if text in (LATEST, PREVIOUS):
            return store_runs.chosen(self.reports, None) if text == LATEST else self.previous()
        return store_runs.named(self.reports, text)

    def evaluated(self, folder: Path) -> RunResults:
        """A run, evaluated; raises StorageError where it cannot be read."""
        place = folder.resolve()
        if place not in self._evaluated:
            self._evaluated[place] = verdict.evaluate(store.load(place))
        return self._evaluated[place]


def compare(options: argparse.Namespace) -> int:
    """``compare``: what moves, slows down or breaks from A to B: two columns of a run, or two runs."""
    runs = _Runs(options)
    sides = [_spec(runs, text) for text in (options.before, options.after)]
    if bool(sides[0].column) != bool(sides[1].column):
        raise errors.ConfigError(
            f"{options.before!r} and {options.after!r} are a run and a column.",
            "Name two runs, or two columns; a column of another run is RUN:COLUMN.",
        )
    evaluated = [runs.evaluated(side.folder) for side in sides]
    _known_kernels(evaluated, options.kernels)
    lost: list[str] = []
    notes: list[str] = []
    if sides[0].column:
        pairs = [(sides[0].column, sides[1].column)]
    else:
        pairs, lost, notes = _columns(*evaluated)
    found = compare_report.comparison(
        options.before,
        options.after,
        list(_upgrades(evaluated, pairs, options)),
        notes + [f"Only before: {x}." for x in lost],
        len(notes) + len(lost),
    )
    print(
        compare_report.render(
            found, compare_report.Format(options.format), shutil.get_terminal_size((120, 24)).columns
        ),
        end="",
    )
    return _gate(found, options, lost)


def _upgrades(
    evaluated: Sequence[RunResults], pairs: Sequence[tuple[str, str]], options: argparse.Namespace
) -> Iterator[Upgrade]:
    known = Distances(*evaluated)
    modes = ("off", "on") if options.mode == "both" else (options.mode,)
    for old, new in pairs:
        sides = [Side(results=one, column=column) for one, column in zip(evaluated, (old, new), strict=True)]
        yield compare_report.compared(sides[0], sides[1], known=known, modes=modes, kernels=options.kernels)


def _gate(found: Comparison, options: argparse.Namespace, lost: Sequence[str]) -> int:
    """Say what could not be compared and what a gate is about; the exit code."""
    for one in found.upgrades:
        reasons = compare_report.not_compared(one)
        if reasons:
            told = reasons_text(reasons.most_common(), _MOST_REASONS)
            print(
                f"not compared: bits of {reasons.total()} of {one.results} results, {one.label}: {told}",
                file=sys.stderr,
            )
        if one.untimed_why:
            told = reasons_text(one.untimed_why, _MOST_REASONS)
            print(
                f"not compared: times of {one.results - one.timed} of {one.results} results, {one.label}: {told}",
                file=sys.stderr,
            )
    broken = compare_report.findings(found, options.fail_on, lost)
    for sentence in broken:
        print(f"gate {sentence}", file=sys.stderr)
    if broken:
        return errors.GATE
    if not found.compared:
        hint = "See the reasons above." if any(one.unknown for one in found.upgrades) else found.sentence
        raise errors.NothingError("Nothing could be compared, so no gate was passed.", hint)
    blind = compare_report.blind_gates(found, options.fail_on)
    if blind:
        message = f"Nothing of what the gate {' and '.join(blind)} is about was compared, so it was not passed."
        raise errors.NothingError(message, "See the reasons above.")
    return errors.OK


def _columns(before: RunResults, after: RunResults) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """The columns of both runs, those that only the older one has, and notes on those that only the newer one has."""
    old, new = ([column.id for column in one.info.columns] for one in (before, after))
    common = [(column, column) for column in new if column in old]
    fresh = [column for column in new if column not in old]
    return common, [column for column in old if column not in new], [f"Only after: {column}." for column in fresh]


def _spec(runs: _Runs, text: str) -> _Spec:
    """What A or B means.

    Raises:
        ConfigError: it names no run and no column, or more than one column.
    """
    folder = runs.folder(text)
    if folder is not None:
        return _Spec(folder)
    named, found, column = text.rpartition(":")
    folder = runs.folder(named) if found else None
    if folder is not None:
        return _Spec(folder, _column(column, runs, folder))
    return _Spec(runs.usual, _column(text, runs, runs.usual))


def _column(text: str, runs: _Runs, folder: Path) -> str:
    """The id of the one column that a text names: its id, its pair with or without the Python minor, or a pattern."""
    ids = [column.id for column in runs.evaluated(folder).info.columns]
    names = {one: {one, one.partition("@")[0], one.partition("-py")[0]} for one in ids}
    fitting = [one for one in ids if text in names[one]]
    fitting = fitting or [one for one in ids if any(fnmatchcase(name, text) for name in names[one])]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise errors.ConfigError(f"{text!r} names {len(fitting)} columns.", f"Name one of: {', '.join(fitting)}.")
    known = [
        *dict.fromkeys(name for one in ids for name in (one.partition("-py")[0], one)),
        *(one.name for one in store_runs.every(runs.reports)),
        LATEST,
        PREVIOUS,
    ]
    near = difflib.get_close_matches(text, known, _NEAR, 0.5)
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"The run has {', '.join(ids) or 'no column'}."
    raise errors.ConfigError(f"{text!r} is no column of run {folder.name}, and no run.", hint)


def _known_kernels(evaluated: Sequence[RunResults], globs: Sequence[str]) -> None:
    """Refuse a pattern that fits no kernel of either run."""
    names = list(dict.fromkeys(one.name for found in evaluated for one in found.info.kernels if not one.control))
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in names):
            near = difflib.get_close_matches(glob, names, 1, 0.5)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(names[:8]) or 'none'}, ..."
            raise errors.ConfigError(f"No kernel fits {glob!r}.", hint)


def gates(text: str) -> dict[str, float]:
    """Read ``--fail-on``: words with a factor where one is given.

    Raises:
        ArgumentTypeError: a word or factor that is none.
    """
    if text.strip() == "none":
        return {}
    found: dict[str, float] = {}
    for part in (one.strip() for one in text.split(",")):
        word, given, factor = part.partition(":")
        if word not in compare_report.GATES or (given and word != "slower"):
            near = difflib.get_close_matches(word, compare_report.GATES, 1, 0.5)
            guess = f"; did you mean {near[0]!r}?" if near and near[0] != part else ""
            message = f"there is no gate {part!r}; choose from {', '.join(compare_report.GATES)} (slower:1.10), or none{guess}"
            raise argparse.ArgumentTypeError(message)
        found[word] = _factor(factor) if given else 1.0
    return found


def _factor(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 1):
        message = f"{text!r} is no factor: slower:1.10 lets a time rise by a tenth"
        raise argparse.ArgumentTypeError(message)
    return value
