"""From a matrix to cells and rounds: selection, preflight by facts, and the order of work."""

from __future__ import annotations

import platform
import random
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import resources
from typing import TYPE_CHECKING, Any

from bench.errors import ConfigError, NothingError
from bench.plan.cell import Cell, Pair
from bench.plan.conditions import applies, settings
from bench.plan.locks import expected
from bench.plan.models import MODES, Condition, Matrix, Mode, Profile
from bench.suite.record import Request

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from bench.plan.own import Suite
    from bench.suite.kernels import Kernel


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What one invocation narrows. Empty globs and None mean: as the matrix says."""

    only: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    modes: tuple[Mode, ...] = MODES
    rounds: int | None = None
    repeats: int | None = None


@dataclass(frozen=True, kw_only=True)
class Round:
    """One fresh process to run: a cell, a mode, a condition, the number of the round (from 1 to ``planned``).

    ``kernels`` are in the order to run them, shuffled with ``order_seed``; ``repeats`` is by kernel, and ``heavy``
    names those that take long.
    """

    cell: Cell
    mode: Mode
    condition: str
    number: int
    planned: int
    kernels: tuple[str, ...]
    repeats: Mapping[str, int]
    heavy: frozenset[str]
    time_limit_s: float
    steady_s: float
    seed: int
    order_seed: int

    def request(self, sources: Mapping[str, str]) -> Request:
        """What a cell is asked for, with the user's files of kernels; its context is still empty."""
        asked = settings(self.condition)
        return Request(
            cell=self.cell.id,
            mode=self.mode,
            condition=self.condition,
            round=self.number,
            kernels=self.kernels,
            repeats=self.repeats,
            seed=self.seed,
            order_seed=self.order_seed,
            switch=asked.switch,
            contrast=self.number == 1,
            time_limit_s=self.time_limit_s,
            steady_s=self.steady_s,
            env=asked.env,
            threads=asked.threads,
            tf32=asked.tf32,
            extra=sources,
            expect=expected(self.cell.lock),
        )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that one invocation would do."""

    profile_name: str
    profile: Profile
    selection: Selection
    cells: tuple[Cell, ...]
    kernels: tuple[Kernel, ...]
    conditions: Mapping[str, tuple[str, ...]]
    condition_modes: Mapping[str, tuple[Mode, ...]]
    rounds: tuple[Round, ...]
    suite: Suite

    @property
    def ready(self) -> tuple[Cell, ...]:
        """Cells that can be prepared."""
        return tuple(cell for cell in self.cells if cell.status == "ready")


def releases() -> dict[str, Any]:
    """Facts of TensorFlow's releases by minor, from ``releases.toml``."""
    text = resources.files("bench.plan").joinpath("releases.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def make(matrix: Matrix, profile_name: str, selection: Selection, locks: Path, suite: Suite) -> Plan:
    """The plan of one invocation.

    Raises:
        ConfigError: an unknown profile, an unknown TensorFlow, a Python without a wheel, two pairs of
            one name.
        NothingError: the selection leaves no cell or no kernel.
    """
    profile = _profile(matrix, profile_name, selection)
    _refuse_idle_globs(matrix, suite)
    cells = tuple(_cell(pair, locks) for pair in _select_pairs(_pairs(matrix), matrix, selection))
    kernels = _select_kernels(suite, profile.kernels, selection.kernels)
    chosen, modes = _conditions(matrix, profile, selection, kernels)
    chosen = {name: names for name, names in chosen.items() if any(applies(name, cell.device) for cell in cells)}
    rounds = tuple(_rounds(matrix, profile, selection, cells, chosen, modes, suite))
    if not rounds and any(cell.status == "ready" for cell in cells):
        raise NothingError("The selection leaves no round to run.", "Loosen --mode, --kernels or the conditions.")
    return Plan(
        profile_name=profile_name,
        profile=profile,
        selection=selection,
        cells=cells,
        kernels=tuple(kernels),
        conditions=chosen,
        condition_modes={name: modes[name] for name in chosen},
        rounds=rounds,
        suite=suite,
    )


def _profile(matrix: Matrix, name: str, selection: Selection) -> Profile:
    if name not in matrix.profiles:
        raise ConfigError(f"There is no profile {name!r}.", f"matrix.toml has: {', '.join(sorted(matrix.profiles))}.")
    return _narrowed(matrix.profiles[name], selection)


def _pairs(matrix: Matrix) -> tuple[Pair, ...]:
    pairs = tuple(
        Pair(
            tensorflow=table.tensorflow,
            cuda=table.cuda,
            keras=table.keras,
            python=table.python or matrix.defaults.python,
            base=table.base or matrix.defaults.base,
        )
        for table in matrix.pairs
    )
    stems = [pair.stem for pair in pairs]
    doubles = sorted({stem for stem in stems if stems.count(stem) > 1})
    if doubles:
        raise ConfigError(f"matrix.toml names {', '.join(doubles)} more than once.", "Remove one of the pairs.")
    facts = releases()
    for pair in pairs:
        _refuse_unknown(pair, facts)
    return pairs


def _refuse_idle_globs(matrix: Matrix, suite: Suite) -> None:
    """A pattern that matches nothing is a slip of the pen, not a wish."""
    pairs = [pair.id for pair in _pairs(matrix)]
    places: list[tuple[str, tuple[str, ...], list[str]]]
    places = [(f"overrides -> select {one.select!r}", (one.select,), pairs) for one in matrix.overrides]
    kernels = list(suite.kernels)
    places += [(f"overrides -> skip of {one.select!r}", one.skip, kernels) for one in matrix.overrides]
    for name, one in matrix.conditions.items():
        places += [(f"conditions -> {name!r} -> {key}", getattr(one, key), kernels) for key in ("kernels", "skip")]
    for place, globs, names in places:
        for glob in globs:
            # a kernel of a file in error cannot be matched, and its error is told elsewhere
            unknowable = names is kernels and suite.errors
            if not unknowable and not any(fnmatchcase(name, glob) for name in names):
                raise ConfigError(f"matrix.toml: {place}: {glob!r} matches nothing.", f"There are: {', '.join(names)}.")


def _refuse_unknown(pair: Pair, facts: Mapping[str, Any]) -> None:
    minor = ".".join(pair.tensorflow.split(".")[:2])
    if minor not in facts:
        known = ", ".join(facts[key]["latest"] for key in facts)
        message = f"{pair.id}: TensorFlow {pair.tensorflow} is not among the releases this version knows."
        raise ConfigError(message, f"Known: {known}. A new one gets its line in bench/plan/releases.toml.")
    pythons = facts[minor]["python"]
    if pair.python not in pythons:
        message = f"{pair.id}: TensorFlow {minor} has no wheel for Python {pair.python}."
        raise ConfigError(message, f"Set the pair's python to one of {', '.join(pythons)}.")


def _select_pairs(pairs: tuple[Pair, ...], matrix: Matrix, selection: Selection) -> tuple[Pair, ...]:
    taken = [
        pair
        for pair in pairs
        if _matches(pair.id, matrix.select.include) and not _matches(pair.id, matrix.select.exclude)
    ]
    for glob in selection.only:
        if not any(_matches(name, (glob,)) for pair in taken for name in _names_of(pair)):
            raise NothingError(f"No pair matches {glob}.", f"There are: {', '.join(pair.id for pair in taken)}.")
    if selection.only:
        taken = [pair for pair in taken if any(_matches(name, selection.only) for name in _names_of(pair))]
    if not taken:
        asked = "include and exclude of matrix.toml"
        raise NothingError(f"No pair matches {asked}.", f"There are: {', '.join(pair.id for pair in pairs)}.")
    return tuple(taken)


def _names_of(pair: Pair) -> tuple[str, ...]:
    return (pair.id, pair.stem, f"{pair.stem}@{_device(pair)}")


def _device(pair: Pair) -> str:
    return "cpu" if pair.cuda == "cpu" else "gpu"


def _cell(pair: Pair, locks: Path) -> Cell:
    lock = locks / f"{pair.stem}.txt"
    status, reason = "ready", ""
    if pair.cuda != "cpu":
        status, reason = "impossible", "this version of tfrepro measures cpu pairs only; CUDA pairs are not run yet"
    elif platform.machine() != "x86_64" or platform.system() != "Linux":
        status, reason = "impossible", f"TensorFlow's locks are for Linux on x86_64, this is {platform.platform()}"
    elif not lock.is_file():
        status, reason = "build-failed", f"there is no {lock.name} in docker/locks; make it with: nox -s lock"
    return Cell(pair=pair, device=_device(pair), lock=lock, status=status, reason=reason)


def _select_kernels(suite: Suite, profile: tuple[str, ...], asked: tuple[str, ...]) -> tuple[Kernel, ...]:
    kernels = suite.kernels
    # whoever names a file of kernels wants them, whatever the profile lists
    found = {name: kernel for name, kernel in kernels.items() if kernel.file or _matches(name, profile)}
    for glob in asked or profile:
        if not suite.errors and not any(_matches(name, (glob,)) for name in (found if asked else kernels)):
            raise NothingError(f"No kernel matches {glob}.", f"There are: {', '.join(kernels)}.")
    if asked:
        found = {name: kernel for name, kernel in found.items() if _matches(name, asked)}
    # without its controls a cell proves nothing, so they run whatever was asked
    return tuple(kernel for name, kernel in kernels.items() if name in found or kernel.control)


def _conditions(
    matrix: Matrix, profile: Profile, selection: Selection, kernels: tuple[Kernel, ...]
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[Mode, ...]]]:
    """Kernels and modes of each condition; one that is left with its controls alone, or no mode, is left out."""
    controls = {kernel.name for kernel in kernels if kernel.control}
    only_controls = controls.issuperset(kernel.name for kernel in kernels)
    chosen: dict[str, tuple[str, ...]] = {}
    modes: dict[str, tuple[Mode, ...]] = {}
    for condition in profile.conditions:
        table = matrix.conditions.get(condition, Condition())
        names = _names(kernels, table)
        left = tuple(mode for mode in selection.modes if mode in table.modes)
        if left and (only_controls or not controls.issuperset(names)):
            chosen[condition], modes[condition] = names, left
    return chosen, modes


def _names(kernels: Iterable[Kernel], table: Condition) -> tuple[str, ...]:
    return tuple(
        one.name
        for one in kernels
        if one.control or ((one.file or _matches(one.name, table.kernels)) and not _matches(one.name, table.skip))
    )


def _rounds(
    matrix: Matrix,
    profile: Profile,
    selection: Selection,
    cells: tuple[Cell, ...],
    conditions: Mapping[str, tuple[str, ...]],
    modes: Mapping[str, tuple[Mode, ...]],
    suite: Suite,
) -> Iterable[Round]:
    """Round by round over all cells, modes alternating (off on, on off ...), so drift hits all alike."""
    settled = {cell.id: _settle(matrix, profile, selection, cell) for cell in cells if cell.status == "ready"}
    most = max((mine.rounds for mine, _ in settled.values()), default=0)
    for number in range(1, most + 1):
        for cell in cells:
            if cell.id not in settled or number > settled[cell.id][0].rounds:
                continue
            mine, skip = settled[cell.id]
            for condition, names in conditions.items():
                kernels = _unskipped(names, skip, suite)
                if not kernels or not applies(condition, cell.device):
                    continue
                table = matrix.conditions.get(condition, Condition())
                for mode in modes[condition] if number % 2 else tuple(reversed(modes[condition])):
                    yield _round(cell, mode, condition, number, kernels, mine, table, suite)


def _unskipped(names: tuple[str, ...], skip: tuple[str, ...], suite: Suite) -> tuple[str, ...]:
    """What is left of a condition's kernels; nothing where only controls are, which alone tell nothing."""
    controls = {name for name in names if suite.kernels[name].control}
    left = tuple(name for name in names if name in controls or not _matches(name, skip))
    return () if controls.issuperset(left) and not controls.issuperset(names) else left


def _round(
    cell: Cell,
    mode: Mode,
    condition: str,
    number: int,
    kernels: tuple[str, ...],
    profile: Profile,
    table: Condition,
    suite: Suite,
) -> Round:
    order_seed = profile.order_seed + number
    light = _least(profile.repeats, table.repeats)
    heavy = _least(profile.heavy_repeats or profile.repeats, table.heavy_repeats, light)
    return Round(
        cell=cell,
        mode=mode,
        condition=condition,
        number=number,
        planned=profile.rounds,
        kernels=tuple(random.Random(order_seed).sample(kernels, len(kernels))),  # noqa: S311 - an order, no secret
        repeats={name: heavy if suite.kernels[name].heavy else light for name in kernels},
        heavy=frozenset(name for name in kernels if suite.kernels[name].heavy),
        time_limit_s=profile.time_limit_s,
        steady_s=profile.steady_s if table.timed or condition == "default" else 0.0,
        seed=profile.seed,
        order_seed=order_seed,
    )


def _least(*numbers: int | None) -> int:
    return min(number for number in numbers if number is not None)


def _settle(matrix: Matrix, profile: Profile, selection: Selection, cell: Cell) -> tuple[Profile, tuple[str, ...]]:
    """The profile as it holds for one cell, and the kernels it skips; the command line has the last word."""
    skip: tuple[str, ...] = ()
    for override in matrix.overrides:
        if fnmatchcase(cell.pair.id, override.select):
            changes = override.model_dump(
                include={"rounds", "repeats", "heavy_repeats", "time_limit_s"}, exclude_none=True
            )
            profile = profile.model_copy(update=changes)
            skip += override.skip
    return _narrowed(profile, selection), skip


def _narrowed(profile: Profile, selection: Selection) -> Profile:
    changes = {"rounds": selection.rounds, "repeats": selection.repeats, "heavy_repeats": selection.repeats}
    return profile.model_copy(update={key: value for key, value in changes.items() if value is not None})


def _matches(name: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
